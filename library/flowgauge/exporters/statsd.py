"""Send metrics to a StatsD server over UDP, in lines such as `myapp.requests_total:3|c`.

StatsD has no cumulative counters, no histograms of buckets and, in its plain form, no labels. So counters go as what
was gained since the last export; of a histogram go what it gained in observations and in sum, as counters, and the
percentiles of the new observations, as gauges. The protocol: https://github.com/statsd/statsd/blob/master/docs/metric_types.md
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal, NamedTuple

from flowgauge import guard
from flowgauge.exporters.buckets import percentile
from flowgauge.exporters.datagrams import Datagrams
from flowgauge.exporters.deltas import Change, Deltas, Level, Series
from flowgauge.exporters.exporter import Exporter, remaining
from flowgauge.metrics import MetricFamily

Tags = Literal["none", "datadog", "influx", "graphite"]

PERCENTILES: Final = (50, 95, 99)
# Fits an Ethernet frame of 1500 bytes with the headers of IPv6 and a tunnel; a longer one is cut in pieces on its
# way, and lost with any of them.
MAX_PACKET: Final = 1432

_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", re.ASCII)
_NOT_IN_NAME: Final = re.compile(r"[^A-Za-z0-9_.-]", re.ASCII)
_NOT_IN_PART: Final = re.compile(r"[^A-Za-z0-9_-]", re.ASCII)
# What ends a tag or a line in one of the dialects, and control characters.
_NOT_IN_TAG: Final = {
    "datadog": re.compile(r"[\s|,#\x00-\x1f\x7f]"),
    "influx": re.compile(r"[\s|,=:\x00-\x1f\x7f]"),
    "graphite": re.compile(r"[\s|;:~=!^\x00-\x1f\x7f]"),
}


class _Line(NamedTuple):
    """Text that must stay in one packet, and what to settle when it was sent."""

    text: bytes
    settle: Callable[[], None] | None = None


class StatsDExporter(Exporter):
    """Sends to a StatsD server.

    `tags` is how the server wants labels: not at all (`none`: their values become parts of the name), or in the
    dialect of Datadog's agent, of Telegraf (`influx`) or of Graphite. A packet has at most `max_packet` bytes.

    Raises:
        ValueError: an argument cannot be right; the message names it.

    """

    def __init__(
        self,
        host: str = "localhost",
        port: int = 8125,
        prefix: str = "",
        *,
        tags: Tags = "none",
        timeout: float = 1.0,
        max_packet: int = MAX_PACKET,
    ) -> None:
        _check(host, port, prefix, tags, max_packet)
        super().__init__(f"{host}:{port} over UDP", timeout)
        self._address = (host, port)
        self._datagrams = Datagrams(*self._address)
        self._prefix = f"{prefix}." if prefix else ""
        self._tags = tags
        self._max_packet = max_packet
        self._deltas = Deltas()

    def _send(self, families: list[MetricFamily], until: float) -> None:
        levels = self._deltas.read(families)
        self._deliver([*self._changed(), *(self._level(level) for level in levels)], until)

    def _send_rest(self, until: float) -> None:
        if self._deltas.has_unsent():
            self._deliver(self._changed(), until)

    def _deliver(self, lines: Iterable[_Line], until: float) -> None:
        for packet in self._packets(lines):
            self._datagrams.send(b"\n".join([line.text for line in packet]), remaining(until))
            for line in packet:
                if line.settle:
                    line.settle()

    def _let_go(self) -> None:
        self._datagrams.close()

    def _start_anew(self) -> None:
        self._deltas = Deltas()
        self._datagrams.close()  # of the child; the parent's stays open
        self._datagrams = Datagrams(*self._address)

    def _packets(self, lines: Iterable[_Line]) -> Iterator[list[_Line]]:
        packet: list[_Line] = []
        size = 0
        for line in lines:
            length = len(line.text) + 1  # with the newline before it
            if length - 1 > self._max_packet:
                guard.warn(
                    "exporters.statsd",
                    f"a StatsD line is longer than max_packet ({self._max_packet} bytes) and left out: "
                    f"{line.text[:80].decode(errors='replace')}...; shorten its labels",
                )
                continue
            if packet and size + length - 1 > self._max_packet:
                yield packet
                packet, size = [], 0
            packet.append(line)
            size += length
        if packet:
            yield packet

    def _changed(self) -> Iterator[_Line]:
        for change in self._deltas.changes():
            if change.series.kind == "counter":
                yield self._count(change.series, "", change.count, change.settle)
            else:
                yield from self._distribution(change)

    def _distribution(self, change: Change) -> Iterator[_Line]:
        series, new = change.series, change.rows()
        yield self._count(series, "count", change.count, change.settle_count)
        yield self._count(series, "sum", change.sum, change.settle_sum)
        for percent in PERCENTILES:
            value = percentile(new, percent)
            if value is not None:
                yield self._gauge(series, f"p{percent}", value)

    def _level(self, level: Level) -> _Line:
        suffix = "" if level.quantile is None else percent_name(level.quantile)
        return self._gauge(level.series, suffix, level.value)

    def _count(
        self, series: Series, suffix: str, amount: float, settle: Callable[[], None]
    ) -> _Line:
        return _Line(self._line(series, suffix, amount, "c"), settle)

    def _gauge(self, series: Series, suffix: str, value: float) -> _Line:
        text = self._line(series, suffix, value, "g")
        # A sign means "by so much" and not "to so much", so a gauge must be set to 0 to go below it. Datadog's
        # agent knows no such step.
        if value < 0 and self._tags != "datadog":
            text = self._line(series, suffix, 0, "g") + b"\n" + text
        return _Line(text)

    def _line(self, series: Series, suffix: str, value: float, kind: str) -> bytes:
        name = self._prefix + _NOT_IN_NAME.sub("_", series.name)
        parts = [name]
        if self._tags == "none":
            # A place for each label, also for one that is not set, so that a place always means the same label.
            parts += [_NOT_IN_PART.sub("_", part) or "_" for _, part in series.labels]
        if suffix:
            parts.append(suffix)
        name = ".".join(parts)
        tags = self._tagged(series)
        if self._tags == "datadog":
            line = f"{name}:{_number(value)}|{kind}{tags}"
        else:
            line = f"{name}{tags}:{_number(value)}|{kind}"
        return line.encode("utf-8", "replace")

    def _tagged(self, series: Series) -> str:
        if self._tags == "none":
            return ""
        unfit = _NOT_IN_TAG[self._tags]
        pairs = [(name, unfit.sub("_", value)) for name, value in series.tags()]
        if self._tags == "datadog":
            return "|#" + ",".join(f"{name}:{value}" for name, value in pairs) if pairs else ""
        separator = "," if self._tags == "influx" else ";"
        return "".join(f"{separator}{name}={value}" for name, value in pairs)


def percent_name(quantile: float) -> str:
    """The suffix for a quantile: `p50` for 0.5, `p99_9` for 0.999. A dot would begin another part of a name."""
    return f"p{quantile * 100:.10g}".replace(".", "_")


def _number(value: float) -> str:
    # Some servers read no exponents, so a count never has one.
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _check(host: str, port: int, prefix: str, tags: str, max_packet: int) -> None:
    if not host or any(each.isspace() or each in "/@" for each in host):
        raise ValueError(f"host is {host!r}, must be a host name or an address")
    if not isinstance(port, int) or not 1 <= port <= 65535:
        raise ValueError(f"port is {port!r}, must be a number from 1 to 65535; StatsD's is 8125")
    if prefix and not _PREFIX.fullmatch(prefix):
        raise ValueError(
            f"prefix is {prefix!r}, must be parts of letters, digits, _ and - with dots between, such as 'myapp'"
        )
    if tags not in {"none", *_NOT_IN_TAG}:
        raise ValueError(f"tags is {tags!r}, must be 'none', 'datadog', 'influx' or 'graphite'")
    if not 64 <= max_packet <= 65507:
        raise ValueError(f"max_packet is {max_packet!r}, must be from 64 to 65507 bytes")
