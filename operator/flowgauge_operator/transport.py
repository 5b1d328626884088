"""One HTTP request to the API server: session, TLS, token, pace, time-out, retries, errors. Used by `cluster` only."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp
import orjson

from flowgauge_operator import errors
from flowgauge_operator.bucket import Bucket
from flowgauge_operator.credentials import Bearer, Credentials, CredentialsError
from flowgauge_operator.kinds import Kind

JSON = "application/json"
Observe = Callable[[str, str, str, float], None]


@dataclass(frozen=True)
class Pace:
    """Bound what we ask of the API server; seconds and requests a second.

    `wait_limit` is the longest Retry-After that is waited for here; a longer one goes to the caller.
    """

    qps: float = 100.0
    burst: float = 200.0
    workers: int = 10
    timeout: float = 30.0
    attempts: int = 3
    wait_limit: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """Describe one call. `verb` and `kind` are for the metrics; `is_urgent` skips every queue.

    `is_repeatable` says that sending it twice does no harm.
    """

    verb: str
    kind: str
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    accept: str = JSON
    content_type: str = JSON
    is_write: bool = False
    is_urgent: bool = False
    is_repeatable: bool = True


def ignore(_verb: str, _kind: str, _code: str, _seconds: float) -> None:
    """Observe nothing."""


class Transport:
    """Send requests over one pool of connections. An async context manager.

    `may_write` is asked right before each write that is not urgent.
    """

    may_write: Callable[[], bool]

    def __init__(self, credentials: Credentials, pace: Pace, observe: Observe = ignore) -> None:
        self.may_write = lambda: True
        self._credentials = credentials
        self._pace = pace
        self._observe = observe
        self._bearer = Bearer(credentials)
        self._slots = asyncio.Semaphore(pace.workers)
        self._session: aiohttp.ClientSession | None = None
        self._bucket: Bucket | None = None

    async def __aenter__(self) -> Self:
        secure = self._credentials.server.startswith("https")
        tls = await asyncio.to_thread(self._credentials.tls) if secure else True
        # The pool is wider than the workers: lease and discovery never wait for one of them.
        pool = aiohttp.TCPConnector(ssl=tls, limit=self._pace.workers + 8, keepalive_timeout=60)
        self._session = aiohttp.ClientSession(
            connector=pool,
            headers={"User-Agent": "flowgauge-operator"},
            timeout=aiohttp.ClientTimeout(total=self._pace.timeout),
            proxy=self._credentials.proxy,
        )
        self._bucket = Bucket(self._pace.qps, self._pace.burst, asyncio.get_running_loop().time)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, request: Request) -> Any:
        """Return the decoded answer, or None where it is empty; raise ApiError."""
        attempts = self._pace.attempts if request.is_repeatable and not request.is_urgent else 1
        for attempt in range(1, attempts + 1):
            try:
                return await self._paced(request)
            except errors.Unavailable as error:
                wait = self._wait(error, attempt)
                if wait is None or attempt == attempts:
                    raise
            await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    async def stream(self, request: Request, *, silence: float) -> AsyncIterator[bytes]:
        """Yield the answer in pieces as they come, for as long as it lasts; raise ApiError.

        It has no place among the paced requests, since it would hold it. `silence` is how many seconds may pass without a
        piece.
        """
        if self._session is None:
            raise RuntimeError("use the client as an async context manager")
        headers = {"Accept": request.accept}
        if token := await self._token():
            headers["Authorization"] = f"Bearer {token}"
        try:
            async with self._session.get(
                self._credentials.server + request.path,
                params=request.query,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=silence),
            ) as answer:
                self._observe(request.verb, request.kind, str(answer.status), 0.0)
                if answer.status >= 300:
                    raise errors.from_answer(answer.status, answer.headers, await answer.read())
                async for piece in answer.content.iter_any():
                    yield piece
        except TimeoutError:
            text = f"{request.path}: nothing for {silence:g} s"
            raise errors.Unavailable(0, "Timeout", text) from None
        except aiohttp.ClientError as error:
            text = f"{self._credentials.server}: {error or type(error).__name__}"
            raise errors.Unavailable(0, "Network", text) from error

    def _wait(self, error: errors.Unavailable, attempt: int) -> float | None:
        """Return the seconds before the next attempt, or None if the caller should decide."""
        if error.reason == "Timeout":
            return None  # it has already taken long enough
        if error.retry_after is None:
            return 0.2 * 2.0**attempt * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
        return error.retry_after if error.retry_after <= self._pace.wait_limit else None

    async def _paced(self, request: Request) -> Any:
        if request.is_urgent:
            return await self._authorized(request)
        if request.is_write and self._bucket is not None and (wait := self._bucket.take()):
            await asyncio.sleep(wait)
        async with self._slots:
            return await self._authorized(request)

    async def _authorized(self, request: Request) -> Any:
        token = await self._token()
        try:
            return await self._observed(request, token)
        except errors.Unauthorized:
            renewed = await self._token(fresh=True)
            if renewed == token:
                raise
            return await self._observed(request, renewed)

    async def _token(self, *, fresh: bool = False) -> str | None:
        try:
            return await self._bearer.token(fresh=fresh)
        except CredentialsError as error:
            raise errors.Unauthorized(0, "NoToken", str(error)) from error

    async def _observed(self, request: Request, token: str | None) -> Any:
        # Here and not where a turn begins: it may have begun before the process was stopped, or have waited.
        if request.is_write and not request.is_urgent and not self.may_write():
            raise errors.Fenced(0, "Fenced", f"{request.path}: not written, the lease is lost")
        clock = asyncio.get_running_loop().time
        started, code = clock(), "cancelled"
        try:
            status, headers, body = await self._exchange(request, token)
            code = str(status)
        except TimeoutError:
            code = "timeout"
            text = f"{request.path}: no answer within {self._pace.timeout:g} s"
            raise errors.Unavailable(0, "Timeout", text) from None
        except aiohttp.ClientError as error:
            code = "network"
            text = f"{self._credentials.server}: {error or type(error).__name__}"
            raise errors.Unavailable(0, "Network", text) from error
        finally:
            self._observe(request.verb, request.kind, code, clock() - started)
        if status >= 300:
            raise errors.from_answer(status, headers, body)
        return _decoded(body, request.path)

    async def _exchange(
        self, request: Request, token: str | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        if self._session is None:
            raise RuntimeError("use the client as an async context manager")
        headers = {"Accept": request.accept}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None
        if request.body is not None:
            headers["Content-Type"] = request.content_type
            data = orjson.dumps(request.body)
        async with self._session.request(
            request.method,
            self._credentials.server + request.path,
            params=request.query,
            data=data,
            headers=headers,
            allow_redirects=False,
        ) as answer:
            return answer.status, answer.headers, await answer.read()


def _decoded(body: bytes, path: str) -> Any:
    try:
        return orjson.loads(body) if body else None
    except orjson.JSONDecodeError as error:
        text = f"{path}: the answer is not JSON; is a proxy in the way?"
        raise errors.Unavailable(0, "NotJson", text) from error


def read(verb: str, kind: Kind, path: str, **options: Any) -> Request:
    """Return a GET."""
    return Request(verb=verb, kind=kind.kind, method="GET", path=path, **options)
