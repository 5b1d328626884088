"""Send metrics to Datadog over HTTPS, with the HTTP client of the package `datadog`.

That package keeps keys and host in global variables, which belong to the program; we hand ours to its HTTP client with
each request, and take only proxy and certificates from there.

Datadog keeps one value for a series and a second: the last that came. Three things follow. A batch whose fate is
unknown is sent again as it was, and replaces itself. No second is used twice. And two processes must not send the same
series: the host tells pods apart, `tags` several programs of a host, and a forked child adds its process number.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from time import monotonic, time
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from flowgauge.exporters.buckets import percentile
from flowgauge.exporters.deltas import Deltas, Level, Series
from flowgauge.exporters.exporter import Exporter, RefusalError, load, remaining, require
from flowgauge.exporters.statsd import PERCENTILES, percent_name
from flowgauge.metrics import MetricFamily

# Before compression. The limits are 3.2 MB for this version of the endpoint and 0.5 MB for the next, after it:
# https://docs.datadoghq.com/api/latest/metrics/#submit-metrics
BATCH_BYTES: Final = 400_000
# Points older than an hour are dropped, says the same page; a batch that waited that long is made anew.
STALE_SECONDS: Final = 3000.0
# How far the clock of the points may run ahead when exports follow each other faster than once a second; ten minutes
# is what Datadog takes.
AHEAD_SECONDS: Final = 60

# https://docs.datadoghq.com/getting_started/tagging/ and .../metrics/custom_metrics/: what Datadog makes an underscore
_NOT_IN_NAME: Final = re.compile(r"[^A-Za-z0-9_.]", re.ASCII)
_NOT_IN_TAG: Final = re.compile(r"[^\w.:/-]")
_PREFIX: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*", re.ASCII)
_LONGEST: Final = 200

# The batch itself is at fault, so it would be every time. All other failures may pass by themselves.
_UNREADABLE: Final = frozenset({400, 413, 422})


class _Batch(NamedTuple):
    body: bytes
    settle: list[Callable[[], None]]
    made: float  # of the monotonic clock


class _Entry:
    """One series of a request. What Datadog would take for the same series is added up here."""

    __slots__ = ("metric", "settle", "tags", "type", "value")

    def __init__(self, metric: str, tags: tuple[str, ...], kind: str) -> None:
        self.metric = metric
        self.tags = tags
        self.type = kind
        self.value = 0.0
        self.settle: list[Callable[[], None]] = []


class DatadogExporter(Exporter):
    """Sends to Datadog's API.

    Counters go as counts, with what was gained; histograms and summaries as the counts `.count` and `.sum` and
    gauges such as `.p95`. `api_host` is for other sites than the American one, such as
    `https://api.datadoghq.eu`; `tags` are added to every series; `host` is else the name of this host, in a pod
    that of the pod.

    Raises:
        ModuleNotFoundError: the package `datadog` is not installed.
        ValueError: an argument cannot be right; the message names it.

    """

    def __init__(
        self,
        api_key: str,
        app_key: str = "",
        prefix: str = "",
        *,
        api_host: str | None = None,
        timeout: float = 10.0,
        tags: Sequence[str] = (),
        host: str | None = None,
    ) -> None:
        api_host = (api_host or "https://api.datadoghq.com").rstrip("/")
        _check(api_key, app_key, prefix, api_host, tags)
        require("datadog", "datadog")
        super().__init__(api_host, timeout, (api_key, app_key))
        self._headers = {"DD-API-KEY": api_key, "Content-Encoding": "deflate"}
        self._headers["Content-Type"] = "application/json"
        if app_key:
            self._headers["DD-APPLICATION-KEY"] = app_key
        self._url = f"{api_host}/api/v1/series"
        self._prefix = f"{prefix}." if prefix else ""
        self._tags = tuple(map(_tag, tags))
        self._host = socket.gethostname() if host is None else host
        self._begin()

    def _begin(self) -> None:
        self._deltas = Deltas()
        self._client: Any = None
        self._doubtful: _Batch | None = None
        self._second = 0
        self._since = monotonic()

    def _send(self, families: list[MetricFamily], until: float) -> None:
        levels = self._deltas.read(families)
        self._send_again(until)
        second = self._next_second()
        if second <= time() + AHEAD_SECONDS:
            self._deliver(levels, second, until)
        # Else the counts wait for a second of their own.

    def _send_rest(self, until: float) -> None:
        self._send_again(until)
        if self._deltas.has_unsent():
            self._deliver([], self._next_second(), until)

    def _send_again(self, until: float) -> None:
        """Settle the batch whose fate is unknown, before what it holds is counted a second time."""
        if self._doubtful and monotonic() - self._doubtful.made > STALE_SECONDS:
            self._doubtful = None
        if self._doubtful:
            self._post(self._doubtful, until)

    def _next_second(self) -> int:
        now = int(time())
        if self._second > now + 2 * AHEAD_SECONDS:  # the clock was set back
            self._second = 0
        return max(now, self._second + 1)

    def _deliver(self, levels: list[Level], second: int, until: float) -> None:
        interval = max(1, round(monotonic() - self._since))
        self._second, self._since = second, monotonic()
        refusal: RefusalError | None = None
        for batch in self._batches(self._entries(levels), second, interval):
            try:
                self._post(batch, until)
            except RefusalError as error:
                refusal = error  # one bad series must not keep the other batches
        if refusal:
            raise refusal

    def _entries(self, levels: list[Level]) -> list[_Entry]:
        entries: dict[tuple[str, tuple[str, ...], str], _Entry] = {}

        def entry(series: Series, suffix: str, kind: str) -> _Entry:
            key = self._name(series, suffix), self._tagged(series), kind
            return entries.setdefault(key, _Entry(*key))

        for change in self._deltas.changes():
            counter = change.series.kind == "counter"
            count = entry(change.series, "" if counter else "count", "count")
            count.value += change.count
            count.settle.append(change.settle_count)
            if counter:
                continue
            total = entry(change.series, "sum", "count")
            total.value += change.sum
            total.settle.append(change.settle_sum)
            new = change.rows()
            for percent in PERCENTILES:
                value = percentile(new, percent)
                if value is not None:
                    entry(change.series, f"p{percent}", "gauge").value = value
        for level in levels:
            suffix = "" if level.quantile is None else percent_name(level.quantile)
            entry(level.series, suffix, "gauge").value = level.value
        return list(entries.values())

    def _batches(self, entries: list[_Entry], second: int, interval: int) -> Iterator[_Batch]:
        texts: list[str] = []
        settle: list[Callable[[], None]] = []
        size = 0
        for entry in entries:
            text = json.dumps(self._point(entry, second, interval), separators=(",", ":"))
            if texts and size + len(text) > BATCH_BYTES:
                yield _batch(texts, settle)
                texts, settle, size = [], [], 0
            texts.append(text)
            settle += entry.settle
            size += len(text) + 1
        if texts:
            yield _batch(texts, settle)

    def _point(self, entry: _Entry, second: int, interval: int) -> dict[str, Any]:
        point: dict[str, Any] = {
            "metric": entry.metric,
            "type": entry.type,
            "points": [[second, entry.value]],
            "tags": entry.tags,
            "host": self._host,
        }
        if entry.type == "count":
            point["interval"] = interval
        return point

    def _post(self, batch: _Batch, until: float) -> None:
        """Send a batch and settle it; after a failure that leaves its fate open, keep it.

        Raises:
            RefusalError: Datadog cannot read it.
            OSError: it was not taken.
            Exception: what the HTTP client raises.

        """
        left = remaining(until)
        self._doubtful = batch
        try:
            response = self._request(batch.body, left)
        except Exception as error:
            # The client raises for some statuses and returns others; the response is in the error that it met.
            response = getattr(error.__context__, "response", None)
            if getattr(response, "status_code", 0) not in _UNREADABLE:
                raise
        status = response.status_code
        if not 200 <= status < 300:
            answer = f"answered with {status}: {response.content[:200].decode(errors='replace')}"
            if status in _UNREADABLE:
                self._doubtful = None
                raise RefusalError(answer)
            raise OSError(answer)
        self._doubtful = None
        for settle in batch.settle:
            settle()

    def _request(self, body: bytes, seconds: float) -> Any:
        api = load("datadog.api")
        if self._client is None:
            base = load("datadog.api.http_client").resolve_http_client()
            # A session of our own: the one that is shared keeps the retries of whoever sends first.
            self._client = type(
                "_Client", (base,), {"_session": None, "_session_lock": threading.Lock()}
            )
        return self._client.request(
            method="POST",
            url=self._url,
            headers=self._headers,
            params={},
            data=body,
            timeout=seconds,
            max_retries=0,
            proxies=api._proxies,  # noqa: SLF001 - where `datadog.initialize` puts it
            verify=api._cacert,  # noqa: SLF001
        )

    def _let_go(self) -> None:
        session = getattr(self._client, "_session", None)
        if session is not None:
            session.close()
        self._client = None

    def _start_anew(self) -> None:
        self._tags = (
            *(tag for tag in self._tags if not tag.startswith("pid:")),
            f"pid:{os.getpid()}",
        )
        self._begin()

    def _name(self, series: Series, suffix: str) -> str:
        name = self._prefix + _NOT_IN_NAME.sub("_", series.name)
        return (f"{name}.{suffix}" if suffix else name)[:_LONGEST]

    def _tagged(self, series: Series) -> tuple[str, ...]:
        return (*(_tag(f"{name}:{value}") for name, value in series.tags()), *self._tags)


def _batch(texts: list[str], settle: list[Callable[[], None]]) -> _Batch:
    body = f'{{"series":[{",".join(texts)}]}}'.encode()
    return _Batch(zlib.compress(body, 1), settle, monotonic())


def _tag(text: str) -> str:
    """As Datadog itself writes a tag: in lower case, with underscores for what it does not take."""
    return _NOT_IN_TAG.sub("_", text.lower())[:_LONGEST]


def _check(api_key: str, app_key: str, prefix: str, api_host: str, tags: Sequence[str]) -> None:
    if not _is_key(api_key):
        raise ValueError("api_key must be the API key of the organisation: letters and digits")
    if app_key and not _is_key(app_key):
        raise ValueError("app_key must be an application key, letters and digits, or empty")
    if prefix and not (_PREFIX.fullmatch(prefix) and len(prefix) < 100):
        raise ValueError(
            f"prefix is {prefix!r}, must be parts of letters, digits and _ with dots between, beginning with a letter"
        )
    url = urlsplit(api_host)
    if url.scheme not in {"http", "https"} or not url.hostname or url.username or url.query:
        raise ValueError(
            "api_host must be an address such as 'https://api.datadoghq.eu', without keys"
        )
    if isinstance(tags, str):
        raise ValueError(f"tags is {tags!r}, must be a list such as ['team:data']")  # noqa: TRY004 - one error for all


def _is_key(key: str) -> bool:
    return bool(key) and all(each.isalnum() or each in "_-" for each in key) and key.isascii()
