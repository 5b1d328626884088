"""Speak to the API server, and to Prometheus and Alertmanager. The only module here that knows HTTP.

Requests go through the pool of connections that `connecting` made, as plain JSON. Nothing is written but access reviews,
nothing here asks for Secrets, and every request has a time-out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from flowgauge_operator.doctor.impersonation import Impersonation
from flowgauge_operator.doctor.places import Way
from flowgauge_operator.doctor.snapshot import Bodies, Unseen

_OBJECT = re.compile(r"^(<.*?>|\w+\(.*?\)): ")
_LARGEST = 256 * 1024 * 1024
_AT_ONCE = 8
_PAGE = 500


class Api:
    """One API server, as one user. Every answer is decoded JSON or an `Unseen`; nothing raises.

    `token` is what the header Authorization says now; `pool` sends, as a pool manager of urllib3.
    """

    def __init__(
        self,
        address: str,
        pool: Any,
        token: Callable[[], str],
        impersonation: Impersonation,
        timeout: float,
    ) -> None:
        self.address = address.rstrip("/")
        self._pool = pool
        self._token = token
        self.impersonation = impersonation
        self._timeout = timeout
        self.date: datetime | None = None

    def get(self, path: str, **query: str | Sequence[str]) -> Any:
        """The object or list at a path."""
        return self._send("GET", path, query, None)

    def create(self, path: str, body: Mapping[str, Any]) -> Any:
        """Post a review, which stores nothing."""
        return self._send("POST", path, {}, body)

    def listed(self, path: str, **query: str) -> Bodies:
        """All objects of a collection, page by page."""
        found: list[Any] = []
        following = ""
        while True:
            more = {"continue": following} if following else {}
            page = self.get(path, limit=str(_PAGE), **query, **more)
            if isinstance(page, Unseen):
                return page
            kind = str(page.get("kind", "")).removesuffix("List")
            # The items of a list do not repeat what they are.
            found += [{"kind": kind, **item} for item in page.get("items") or []]
            following = (page.get("metadata") or {}).get("continue") or ""
            if not following:
                return found

    def through(self, way: Way, path: str, query: Mapping[str, str | Sequence[str]]) -> Any:
        """What a server behind a Service answers."""
        return self._send("GET", way.path + path, query, None)

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | Sequence[str]],
        body: Mapping[str, Any] | None,
    ) -> Any:
        url = f"{self.address}{path}{f'?{urlencode(query, doseq=True)}' if query else ''}"
        try:
            headers = self._headers()
        except Exception as problem:  # a plugin's own errors are of any type
            return Unseen(f"the credential plugin failed: {problem}")
        answer = _sent(self._pool, method, url, headers, body, self._timeout)
        if isinstance(answer, Unseen):
            return answer
        status, data, date = answer
        self.date = date or self.date
        right = _right(method, path)
        return _decoded(status, data, right and f"{right}{self.impersonation.flags()}")

    def _headers(self) -> urllib3.HTTPHeaderDict:
        token = self._token()
        found = {"Accept": "application/json", "User-Agent": "flowgauge-doctor"}
        found |= {"Authorization": token} if token else {}
        headers = urllib3.HTTPHeaderDict(found)
        for name, value in self.impersonation.headers():
            headers.add(name, value)
        return headers


class Outside:
    """A server that is reached by its own URL; user and password may stand in it."""

    def __init__(self, url: str, token: str, ca_file: str, timeout: float) -> None:
        parts = urlsplit(url)
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")
        self._url = urlunsplit(bare).rstrip("/")
        self._headers = {"Accept": "application/json"}
        if parts.username:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers |= urllib3.make_headers(basic_auth=login)
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        proxy = _proxy_of(self._url)
        self._pool = (
            urllib3.ProxyManager(proxy, ca_certs=ca_file or None)
            if proxy
            else urllib3.PoolManager(ca_certs=ca_file or None)
        )
        self._timeout = timeout
        self.way = f"at {self._url}"

    def get(self, path: str, query: Mapping[str, str | Sequence[str]]) -> Any:
        """What it answers."""
        url = f"{self._url}{path}{f'?{urlencode(query, doseq=True)}' if query else ''}"
        answer = _sent(self._pool, "GET", url, self._headers, None, self._timeout)
        return answer if isinstance(answer, Unseen) else _decoded(answer[0], answer[1], "")


def together(asked: Mapping[Any, Callable[[], Any]]) -> dict[Any, Any]:
    """Ask several things at once; an error of one is its answer."""

    def safe(ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except Exception as problem:
            return Unseen(f"{type(problem).__name__}: {problem}")

    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        return dict(zip(asked, pool.map(safe, asked.values()), strict=True))
    finally:
        # Where somebody has interrupted us, what has not begun shall not begin.
        pool.shutdown(wait=False, cancel_futures=True)


def _sent(
    pool: Any,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: Mapping[str, Any] | None,
    timeout: float,
) -> tuple[int, bytes, datetime | None] | Unseen:
    sent = urllib3.HTTPHeaderDict(headers)
    if body is not None:
        sent["Content-Type"] = "application/json"
    try:
        response = pool.request(
            method,
            url,
            headers=sent,
            body=json.dumps(body) if body is not None else None,
            timeout=urllib3.Timeout(connect=min(5.0, timeout), read=timeout),
            retries=False,
            redirect=False,
            preload_content=False,
        )
        with response:
            data = response.read(_LARGEST + 1, decode_content=True)
            response.release_conn()
    except (urllib3.exceptions.HTTPError, OSError, ValueError, OverflowError) as problem:
        return Unseen(_words(problem))
    if len(data) > _LARGEST:
        return Unseen("the answer is too large")
    return response.status, data, _date(response.headers.get("Date"))


def _words(problem: Exception) -> str:
    """What happened, without addresses of objects."""
    # Some versions call a connection that is refused a time-out as well.
    is_refused = isinstance(problem, urllib3.exceptions.NewConnectionError)
    if isinstance(problem, urllib3.exceptions.TimeoutError) and not is_refused:
        return "no answer in time"
    text = str(problem.args[-1] if problem.args else problem) or type(problem).__name__
    told = _OBJECT.sub("", text)
    return f"the proxy: {told}" if isinstance(problem, urllib3.exceptions.ProxyError) else told


def _proxy_of(url: str) -> str | None:
    """The proxy that the environment names for a URL (HTTPS_PROXY, NO_PROXY); what is forwarded to this machine needs none."""
    parts = urlsplit(url)
    is_here = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if is_here or proxy_bypass(parts.netloc):
        return None
    return getproxies().get(parts.scheme)


def _date(text: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(text).astimezone(UTC) if text else None
    except ValueError:
        return None


def _right(method: str, path: str) -> str:
    """The command that tells whether the reader has the right to this."""
    parts = [part for part in path.split("/") if part]
    if "proxy" in parts:
        space = parts[3] if len(parts) > 3 else "default"
        return f"kubectl auth can-i get services/proxy -n {space}"
    if method != "GET":
        return f"kubectl auth can-i create {parts[-1]}"
    rest = parts[3:] if parts[:1] == ["apis"] else parts[2:]
    group = f".{parts[1]}" if parts[:1] == ["apis"] and len(parts) > 1 else ""
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        verb = "get" if len(rest) > 3 else "list"
        return f"kubectl auth can-i {verb} {rest[2]}{group} -n {rest[1]}"
    if not rest:
        return ""
    verb = "get" if len(rest) > 1 else "list"
    return f"kubectl auth can-i {verb} {rest[0]}{group} --all-namespaces"


def _decoded(status: int, data: bytes, right: str) -> Any:
    try:
        body = json.loads(data) if data else {}
    except ValueError:
        body = None
    if status < 300:
        return (
            body
            if body is not None
            else Unseen("what answers speaks no JSON; is it the right port?")
        )
    told = ""
    if isinstance(body, dict):
        told = str(body.get("message") or body.get("error") or "")
    text = " ".join((told or data[:200].decode(errors="replace")).split())[:300]
    if status == 403:
        return Unseen(f"forbidden: {text}", right, "forbidden")
    if status == 404:
        return Unseen(f"not found: {text}", "", "absent")
    if status == 401:
        return Unseen(f"the credentials are not accepted (401): {text}", "", "unauthorized")
    return Unseen(f"it answered {status}: {text}")
