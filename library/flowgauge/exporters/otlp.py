"""Send metrics to an OpenTelemetry collector, or any back end that takes OTLP over HTTP.

https://opentelemetry.io/docs/specs/otlp/ says what may be sent again and when. Counts are cumulative, so sending
again never counts twice, and an export that is lost is made good by the next.
"""

from __future__ import annotations

import gzip
import http.client
import os
import random
import re
import ssl
import threading
import time as clock
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from time import monotonic, time, time_ns
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from flowgauge import forks, guard
from flowgauge.exporters.exporter import Exporter, remaining
from flowgauge.exporters.otlp_messages import Attribute, Times, requests
from flowgauge.metrics import MetricFamily

# The statuses that the specification lets a client repeat.
_REPEATABLE: Final = frozenset({429, 502, 503, 504})
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
_ANSWER_BYTES: Final = 65536


class _RepeatableError(Exception):
    """A failure that may pass; `after` is how many seconds the server asks to wait, if it does."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class OtlpExporter(Exporter):
    """Sends to the OTLP receiver at `endpoint`.

    `headers` go with every request, for example with a token. `attributes` describe the process, beside
    `service_name` and an identity that each process gets: without one, the counts of two processes would be taken
    for those of one. `tls` is for a private certificate authority or a client certificate.

    Raises:
        ValueError: an argument cannot be right; the message names it.

    """

    def __init__(
        self,
        endpoint: str = "http://localhost:4318/v1/metrics",
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        service_name: str = "unknown_service:python",
        protocol: str = "http/protobuf",
        attributes: Mapping[str, Attribute] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        headers = dict(headers or {})
        _check(endpoint, headers, service_name, protocol)
        url = urlsplit(endpoint)
        # A path is taken as it is; an address without one is that of a collector.
        endpoint = endpoint if url.path.strip("/") else f"{url.scheme}://{url.netloc}/v1/metrics"
        super().__init__(endpoint.partition("?")[0], timeout, headers.values())
        self._endpoint = endpoint
        self._headers = headers
        self._attributes = {**(attributes or {}), "service.name": service_name}
        self._opener = urllib.request.build_opener(
            _NoRedirects, urllib.request.HTTPSHandler(context=tls)
        )
        self._left: list[bytes] = []
        self._ending = threading.Event()

    def close(self) -> None:
        """Try once more to send what a failed export left. Never raises; ends the pauses of one that runs."""
        self._ending.set()
        super().close()

    def _send(self, families: list[MetricFamily], until: float) -> None:
        process = _process()
        version = _version()
        resource = {
            "service.instance.id": process.identity,
            "telemetry.sdk.name": "flowgauge",
            "telemetry.sdk.language": "python",
            "telemetry.sdk.version": version,
            **self._attributes,
        }
        times = Times(process.started, max(time_ns(), process.started))
        # What an earlier export left is in this one.
        self._left = [
            gzip.compress(each, 1) for each in requests(families, resource, version, times)
        ]
        self._send_rest(until)

    def _send_rest(self, until: float) -> None:
        while self._left:
            self._post(self._left[0], until)
            self._left.pop(0)

    def _start_anew(self) -> None:
        self._left = []
        self._ending = threading.Event()

    def _post(self, body: bytes, until: float) -> None:
        """Send a request, again where the specification allows it, until it is taken or there is no time.

        Raises:
            OSError: it was not taken.

        """
        for pause in _pauses():
            try:
                self._try(body, remaining(until))
            except _RepeatableError as error:
                wait = pause if error.after is None else error.after
                if monotonic() + wait >= until or self._ending.wait(wait):
                    raise OSError(str(error)) from None
            else:
                return

    def _try(self, body: bytes, seconds: float) -> None:
        request = urllib.request.Request(self._endpoint, data=body, method="POST")  # noqa: S310 - http or https, as checked
        for name, value in {
            **_HEADERS,
            **self._headers,
            "User-Agent": f"flowgauge/{_version()}",
        }.items():
            request.add_header(name, value)
        try:
            with self._opener.open(request, timeout=seconds) as response:
                _warn_of_rejected(response.read(_ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLError):
                raise OSError(f"TLS: {error.reason}") from None
            raise _RepeatableError(str(error.reason)) from None
        except (OSError, http.client.HTTPException) as error:
            raise _RepeatableError(f"{type(error).__name__}: {error}") from None

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        text = f"answered with {error.code} {error.reason}"
        if error.code in _REPEATABLE:
            return _RepeatableError(text, _seconds(error.headers.get("Retry-After")))
        return OSError(text)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET, and take the headers to another host; so it is a failure."""

    def redirect_request(self, *_: Any) -> None:
        """Answer that there is no other request."""


class _Process(NamedTuple):
    started: int  # nanoseconds of Unix time
    identity: str


_HEADERS: Final = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
_this: _Process | None = None
_loaded = time_ns()
_known_version: str | None = None


def _process() -> _Process:
    """Start and identity of this process, the same ones as long as it lives."""
    global _this  # noqa: PLW0603 - there is one process
    if _this is None:
        _this = _Process(_started(), str(uuid.uuid4()))
    return _this


def _forget_process() -> None:
    global _this, _loaded  # noqa: PLW0603 - a forked child is another process
    _this = None
    _loaded = time_ns()


forks.on_fork(_forget_process)


def _started() -> int:
    """When the kernel made the process, before which nothing was counted; where that is unknown, the import."""
    try:
        with open("/proc/self/stat", "rb") as stat:  # noqa: PTH123 - a file of the kernel, read once
            # The name of the program comes second, in parentheses, and may hold blanks; the start is field 22.
            ticks = int(stat.read().rpartition(b")")[2].split()[19])
        age = clock.clock_gettime(clock.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return min(time_ns() - int(age * 1e9), _loaded)
    except (OSError, ValueError, IndexError):
        return _loaded


def _version() -> str:
    global _known_version  # noqa: PLW0603 - the package does not change while it runs
    if _known_version is None:
        from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - slow, and needed once

        try:
            _known_version = version("flowgauge")
        except PackageNotFoundError:  # run from a copy of the source
            _known_version = "0"
    return _known_version


def _pauses() -> Iterator[float]:
    """Seconds before each further attempt, doubling, each a little different so that clients do not march in step."""
    pause = FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        pause = min(pause * 2, LONGEST_PAUSE)


def _seconds(header: str | None) -> float | None:
    """What Retry-After asks to wait: a number of seconds or a date."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time())
    except ValueError:
        return None


def _warn_of_rejected(answer: bytes) -> None:
    """Tell of points that the receiver took but will not keep. It must not be sent them again."""
    rejected, message = _partial_success(answer)
    if rejected:
        guard.warn(
            "exporters.otlp", f"the OTLP receiver rejected {rejected} data points: {message[:300]}"
        )


def _partial_success(answer: bytes) -> tuple[int, str]:
    """The number of rejected points, and why, of an ExportMetricsServiceResponse."""
    try:
        fields = dict(_fields(dict(_fields(answer)).get(1, b"")))
    except (IndexError, TypeError):  # no such message; some receivers answer JSON or text
        return 0, ""
    rejected, message = fields.get(1, 0), fields.get(2, b"")
    if not isinstance(rejected, int) or not isinstance(message, bytes):
        return 0, ""
    return rejected, message.decode(errors="replace")


def _fields(message: int | bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message that are varints or have a length; others end it."""
    if isinstance(message, int):
        raise TypeError("no message")
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        value, at = _varint(message, at)
        if key & 7 == 2:
            if at + value > len(message):
                raise IndexError(value)
            yield key >> 3, message[at : at + value]
            at += value
        elif key & 7 == 0:
            yield key >> 3, value
        else:
            return


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while message[at] & 0x80:
        value |= (message[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | message[at] << shift, at + 1


def _check(endpoint: str, headers: Mapping[str, str], service_name: str, protocol: str) -> None:
    if protocol != "http/protobuf":
        raise ValueError(
            f"protocol is {protocol!r}; only 'http/protobuf' is spoken, on port 4318 of a collector"
        )
    try:
        url = urlsplit(endpoint)
        fits = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:  # a port that is no number
        fits = False
    if not fits or not endpoint.isascii() or any(each.isspace() for each in endpoint):
        raise ValueError("endpoint must be an address such as 'http://localhost:4318/v1/metrics'")
    if url.username or url.password:
        raise ValueError(
            "endpoint holds a user or password; give them as headers={'Authorization': ...}"
        )
    for name, value in headers.items():
        if (
            not _TOKEN.fullmatch(name)
            or not isinstance(value, str)
            or not value.isprintable()
            or not value.isascii()
        ):
            raise ValueError(f"headers holds {name!r}, whose name or value is no HTTP header")
    if not service_name.strip():
        raise ValueError("service_name is empty; give the name of the program")


_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
