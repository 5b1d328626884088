"""Ask Prometheus. The only module that talks to it; what its answers mean is in `verify`."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import aiohttp
import orjson

from flowgauge_operator import verify
from flowgauge_operator.render import Rendered
from flowgauge_operator.verify import Observation


class PrometheusError(Exception):
    """Prometheus could not be asked, or did not understand; `status` is what it answered, 0 where it did not."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


# A layer above several, such as Thanos or Mimir, does not know a path, or knows no POST or GET of it.
_UNKNOWN_PATH = (404, 405, 501)


def without_credentials(url: str) -> str:
    """The URL as it may be shown: user and password in it are nobody's business."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class Prometheus:
    """One Prometheus, or what speaks its HTTP API. An async context manager."""

    def __init__(
        self, url: str, *, token_file: str = "", ca_file: str = "", timeout: float = 20
    ) -> None:
        self._url = url.rstrip("/")
        self._shown = without_credentials(self._url)
        self._token_file = token_file
        self._ca_file = ca_file
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        tls = ssl.create_default_context(cafile=self._ca_file) if self._ca_file else True
        connector = aiohttp.TCPConnector(ssl=tls, limit=4)
        self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session:
            await self._session.close()

    async def observe(self, expected: Iterable[Rendered]) -> Observation:
        """Look at everything once: at most eight requests, however many workflows there are.

        Does not raise: an observation that could not be made says why.
        """
        seen = Observation()
        try:
            asked = verify.questions(expected)
            verify.read_targets(await self._query(asked.targets), seen)
            verify.read_families(await self._query(asked.families), seen)
            verify.read_values(await self._query(asked.values), seen)
            verify.read_firing(await self._query(asked.firing), seen)
            verify.read_rules((await self._get("/api/v1/rules"))["groups"], seen)
            pools = await self._known("/api/v1/scrape_pools")
            seen.pools = None if pools is None else set(pools.get("scrapePools") or [])
            verify.read_retention(await self._runtime(), seen)
            if any(up < total for up, total in seen.targets.values()):
                targets = await self._known("/api/v1/targets?state=active") or {}
                verify.read_down(targets.get("activeTargets") or [], seen)
        except PrometheusError as error:
            return Observation(error=str(error))
        except (AttributeError, LookupError, TypeError, ValueError):
            return Observation(error=f"{self._shown} speaks another API than that of Prometheus")
        return seen

    async def instant(self, promql: str, time: float) -> dict[str, Any]:
        """The answer to a query at an instant, with its type."""
        return await self._send("POST", "/api/v1/query", {"query": promql, "time": f"{time:.3f}"})

    async def over_time(self, promql: str, start: float, end: float, step: float) -> dict[str, Any]:
        """The answer to a query at every step from `start` to `end`."""
        form = {"start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        return await self._send("POST", "/api/v1/query_range", {"query": promql, **form})

    async def label_values(
        self, label: str, selector: str, start: float, end: float
    ) -> Sequence[str]:
        """The values of a label of the selector's series between two instants; of all series without a selector."""
        asked = {"start": f"{start:.3f}", "end": f"{end:.3f}"}
        asked |= {"match[]": selector} if selector else {}
        path = f"/api/v1/label/{quote(label, safe='')}/values?{urlencode(asked)}"
        found: Any = await self._get(path)
        return [str(value) for value in found]

    async def _runtime(self) -> dict[str, Any]:
        """Runtime information; nothing from what speaks the query API only, such as a layer above several."""
        with contextlib.suppress(PrometheusError):
            return await self._get("/api/v1/status/runtimeinfo")
        return {}

    async def _known(self, path: str) -> dict[str, Any] | None:
        """What it answers; None from what speaks another part of the API only."""
        try:
            return await self._get(path)
        except PrometheusError as error:
            if error.status in _UNKNOWN_PATH:
                return None
            raise

    async def _query(self, promql: str) -> list[dict[str, Any]]:
        answer = await self._send("POST", "/api/v1/query", {"query": promql})
        result: list[dict[str, Any]] = answer["result"]
        return result

    async def _get(self, path: str) -> dict[str, Any]:
        return await self._send("GET", path, None)

    async def _send(self, method: str, path: str, form: dict[str, str] | None) -> dict[str, Any]:
        if self._session is None:
            raise PrometheusError("not connected")
        try:
            headers = await self._headers()
            async with self._session.request(
                method, self._url + path, data=form, headers=headers
            ) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise PrometheusError(
                f"{self._shown} cannot be asked: {error or type(error).__name__}"
            ) from error
        return self._data(path, response.status, body)

    def _data(self, path: str, status: int, body: bytes) -> dict[str, Any]:
        try:
            answer = orjson.loads(body)
            if status == 200 and answer["status"] == "success":
                data: dict[str, Any] = answer["data"]
                return data
            detail = answer.get("error", "")
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            detail = "this is not the API of a Prometheus"
        raise PrometheusError(
            f"{self._shown}{path.partition('?')[0]} answered {status}: {detail[:200]}", status
        )

    async def _headers(self) -> dict[str, str]:
        if not self._token_file:
            return {}
        # Read every time: a projected token changes while we run.
        token = await asyncio.to_thread(Path(self._token_file).read_text)
        return {"Authorization": f"Bearer {token.strip()}"}
