"""What is answered over HTTP, whoever serves it: our own server, or the application that metrics are mounted in."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from http import HTTPStatus
from time import gmtime
from typing import TYPE_CHECKING, Final, NamedTuple

from flowgauge import guard
from flowgauge.serving import negotiation
from flowgauge.serving.flights import Flights, LateError, Result
from flowgauge.serving.pages import Page, Render

if TYPE_CHECKING:
    from flowgauge.serving.auth import Auth

# Rendering that takes longer is not waited for; twice the longest timeout that a scrape usually has.
RENDER_SECONDS: Final = 60.0

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()  # noqa: SIM905 - one line

Headers = tuple[tuple[str, str], ...]


class Answer(NamedTuple):
    """A response. `headers` has everything but what depends on the connection."""

    status: int
    headers: Headers
    body: bytes


class Asked(NamedTuple):
    """What matters of a request for metrics; a header that was not sent is empty."""

    method: str
    accept: str
    accept_encoding: str
    authorization: str


def plain(status: int, text: str, *headers: tuple[str, str]) -> Answer:
    """An answer of one line of text."""
    body = f"{text}\n".encode()
    return Answer(status, (*_described("text/plain; charset=utf-8", body), *headers), body)


def head(answer: Answer, *, close: bool) -> bytes:
    """The bytes of an answer before its body."""
    lines = [f"HTTP/1.1 {status_line(answer)}", f"Date: {_date()}", "Server: flowgauge"]
    lines.extend(f"{name}: {value}" for name, value in answer.headers)
    if close:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def status_line(answer: Answer) -> str:
    """The status with its meaning, such as `200 OK`."""
    return f"{answer.status} {HTTPStatus(answer.status).phrase}"


def checked_path(path: str) -> str:
    """The path of the metrics, if it can be one.

    Raises:
        ValueError: it cannot; the message says why.

    """
    if not path.startswith("/") or any(mark in path for mark in "?# \r\n\t") or not path.isascii():
        raise ValueError(
            f"path is {path!r}, must begin with a slash and have no space, ? or #, such as /metrics"
        )
    return path


class Metrics:
    """Answers requests for metrics; concurrent ones with the same `Accept` header share one rendering."""

    def __init__(self, render: Render, auth: Auth | None = None) -> None:
        self._flights = Flights(lambda accept: _Rendered(render(accept)), name="flowgauge-render")
        self._allows = auth.checker() if auth else None
        self._challenges = (
            tuple(("WWW-Authenticate", value) for value in auth.challenges) if auth else ()
        )

    def answer(self, asked: Asked, reply: Callable[[Answer], None]) -> None:
        """Call `reply` with the answer, now or later and then in another thread; it must not block or raise."""
        refused = self._refused(asked)
        if refused is not None:
            reply(refused)
            return
        self._flights.join(
            asked.accept, lambda result: reply(_scraped(result, asked.accept_encoding))
        )

    def wait(self, asked: Asked) -> Answer:
        """The answer, waited for."""
        refused = self._refused(asked)
        if refused is not None:
            return refused
        try:
            result = self._flights.wait(asked.accept, seconds=RENDER_SECONDS)
        except LateError:
            return too_slow()
        return _scraped(result, asked.accept_encoding)

    def _refused(self, asked: Asked) -> Answer | None:
        if asked.method not in ("GET", "HEAD"):
            return not_allowed()
        if self._allows is not None and not self._allows(asked.authorization):
            return plain(401, "credentials are missing or wrong", *self._challenges)
        return None


def not_allowed() -> Answer:
    """The answer to a method that only a page that can be changed would have."""
    return plain(405, "only GET and HEAD are allowed here", ("Allow", "GET, HEAD"))


def too_slow() -> Answer:
    """The answer where making the right one takes too long."""
    seconds = f"{RENDER_SECONDS:g} s"
    guard.warn("slow", f"rendering metrics takes longer than {seconds}; look for a slow collector")
    return plain(503, f"the answer takes longer than {seconds} to make; see the log")


class _Rendered:
    """A page, packed once for all who want it packed."""

    def __init__(self, page: Page) -> None:
        self._body, self._type = page
        self._packed = b""

    def answer(self, *, packed: bool) -> Answer:
        if not packed:
            return Answer(200, _described(self._type, self._body), self._body)
        # Level 9 costs ten times the time for a sixth of the bytes. 31: a gzip header, the largest window.
        self._packed = self._packed or zlib.compress(self._body, 1, 31)
        headers = (*_described(self._type, self._packed), ("Content-Encoding", "gzip"))
        return Answer(200, headers, self._packed)


def _scraped(result: Result[_Rendered], accept_encoding: str) -> Answer:
    error = result.error
    try:
        if result.value is not None:
            return result.value.answer(packed=negotiation.accepts_gzip(accept_encoding))
    except Exception as fault:  # no memory to pack it
        error = fault
    guard.report("render", exception(error))
    return plain(500, "metrics could not be rendered; see the log")


def exception(error: BaseException | None) -> Exception:
    """The error as one that can be logged like every other; SystemExit in a collector is no exit."""
    return error if isinstance(error, Exception) else RuntimeError(repr(error))


def _described(content_type: str, body: bytes) -> Headers:
    return (
        ("Content-Type", content_type),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("Vary", "Accept, Accept-Encoding"),
        ("X-Content-Type-Options", "nosniff"),
    )


def _date() -> str:
    # Not strftime, whose names depend on the locale.
    now = gmtime()
    clock = f"{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
    return f"{_DAYS[now.tm_wday]}, {now.tm_mday:02} {_MONTHS[now.tm_mon - 1]} {now.tm_year} {clock} GMT"
