"""Render metric families in the protobuf format of Prometheus, the only one that can carry native histograms. Pure.

The page is a row of messages of type io.prometheus.client.MetricFamily, each after its length. Labels are encoded
once: while a family comes with the same list of keys, only its values are.

Source: https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from math import inf
from operator import sub
from typing import Final, NamedTuple

from flowgauge import exponentials, guard, wire
from flowgauge.metrics import (
    Distribution,
    Exemplar,
    Exponential,
    Kind,
    LabelValues,
    MetricFamily,
    Quantiles,
    Value,
)

CONTENT_TYPE: Final = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)

# Number of the type, and the field of Metric that has its value. An info is a gauge that is always 1.
_KINDS: Final[dict[Kind, tuple[int, int]]] = {
    "counter": (0, 3),
    "gauge": (1, 2),
    "info": (1, 2),
    "summary": (2, 4),
    "unknown": (3, 5),
    "histogram": (4, 7),
}
_METRIC: Final = 4
_DOUBLE: Final = wire.tag_fixed64(1)
_UPPER: Final = wire.tag_fixed64(2)
# A classic bucket up to its count, by the length of the count; ten more bytes are the tags and the bound.
_BUCKETS: Final = tuple(
    wire.tag_length(3) + wire.varint(10 + length) + wire.tag_varint(1) for length in range(11)
)


def _delta(number: int) -> bytes:
    return wire.field_sint(13, number)


# Neighbouring buckets differ little.
_DELTAS: Final = {number: _delta(number) for number in range(-128, 128)}

Key = tuple[str, Kind]


class _Known(NamedTuple):
    """The label sets of a list of keys, encoded. Holds the list, so that no other one gets the identity it is known by."""

    keys: Sequence[LabelValues]
    encoded: list[bytes]
    # For families of numbers, by the field of the value: all of a metric but the number.
    heads: dict[int, list[bytes]]


class Renderer:
    """Renders families, and keeps the labels of those of the last page. Pages of several threads may overlap."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, tuple[str, ...]], _Known] = {}

    def render(self, families: Iterable[MetricFamily]) -> bytes:
        """The page. Families of one name and kind become one message; of equal series the first one counts.

        A family that cannot be encoded is reported and left out.
        """
        messages: dict[Key, list[bytes]] = {}
        seen: dict[Key, list[_Known]] = {}
        known: dict[tuple[int, tuple[str, ...]], _Known] = {}
        for family in families:
            key, of = (family.name, family.kind), (id(family.keys), family.labels)
            try:
                labels = known[of] = _known(family, known.get(of) or self._known.get(of))
                metrics = _metrics(family, labels)
            except Exception as error:
                guard.report(f"rendering {family.name}", error)
                continue
            if key in messages:
                metrics = _new(metrics, labels, seen[key])
            if metrics:
                messages.setdefault(key, [_head(family)]).extend(metrics)
                seen.setdefault(key, []).append(labels)
        # Only what is on this page is kept, so what is gone takes no memory.
        self._known = known
        return b"".join([wire.delimited(b"".join(parts)) for parts in messages.values()])


def _known(family: MetricFamily, known: _Known | None) -> _Known:
    """The labels of a family, as far as they are known."""
    size = len(family.keys)
    if known is None or len(known.encoded) > size:
        known = _Known(family.keys, [], {})
    done = len(known.encoded)
    if done == size:
        return known
    more = [_pairs(zip(family.labels, key, strict=True)) for key in family.keys[done:]]
    # A copy: another thread may be at a page with what was known.
    return _Known(family.keys, [*known.encoded, *more], {})


def _new(metrics: list[bytes], labels: _Known, seen: Iterable[_Known]) -> list[bytes]:
    """The metrics whose label sets no earlier family of the same name has."""
    taken = {encoded for earlier in seen for encoded in earlier.encoded}
    return [m for m, own in zip(metrics, labels.encoded, strict=True) if own not in taken]


def _head(family: MetricFamily) -> bytes:
    number, _ = _KINDS[family.kind]
    head = wire.field_text(1, family.name)
    if family.help:
        head += wire.field_text(2, family.help)
    head += wire.field_varint(3, number)
    # Protobuf takes fields in any order, so the unit, field 5, may stand before the metrics.
    return head + wire.field_text(5, family.unit) if family.unit else head


def _pairs(labels: Iterable[tuple[str, str]]) -> bytes:
    """The labels by name as fields of a metric or an exemplar; one that is empty is no label."""
    return b"".join(
        [
            wire.field_bytes(1, wire.field_text(1, name) + wire.field_text(2, value))
            for name, value in sorted(labels)
            if value
        ]
    )


def _metrics(family: MetricFamily, labels: _Known) -> list[bytes]:
    _, field = _KINDS[family.kind]
    if family.kind == "histogram":
        return _histograms(family.values, labels, field)
    if family.kind == "summary":
        return [
            wire.field_bytes(_METRIC, own + wire.field_bytes(field, _summary(value)))
            for own, value in zip(labels.encoded, family.values, strict=True)
        ]
    heads = labels.heads.get(field)
    if heads is None:
        heads = labels.heads[field] = [_number_head(own, field) for own in labels.encoded]
    pack = wire.pack_double
    return [head + pack(value) for head, value in zip(heads, family.values, strict=True)]


def _number_head(labels: bytes, field: int) -> bytes:
    metric = labels + wire.field_bytes(field, _DOUBLE + bytes(8))
    return wire.field_bytes(_METRIC, metric)[:-8]


def _summary(value: Value) -> bytes:
    if not isinstance(value, Quantiles):
        raise TypeError(f"a summary has Quantiles, not {value!r}")
    pairs = [
        wire.field_bytes(3, wire.field_double(1, q) + wire.field_double(2, v))
        for q, v in value.quantiles
    ]
    return b"".join((wire.field_varint(1, value.count), wire.field_double(2, value.sum), *pairs))


def _histograms(values: Sequence[Value], labels: _Known, field: int) -> list[bytes]:
    metrics: list[bytes] = []
    # Most families have the same bounds everywhere.
    bounds: tuple[float, ...] | None = None
    tails: list[bytes] = []
    for own, value in zip(labels.encoded, values, strict=True):
        if not isinstance(value, Distribution):
            raise TypeError(f"a histogram has Distributions, not {value!r}")
        if value.bounds != bounds:
            bounds = value.bounds
            tails = [_UPPER + wire.pack_double(bound) for bound in (*bounds, inf)]
        histogram = _histogram(value, tails)
        metrics.append(wire.field_bytes(_METRIC, own + wire.field_bytes(field, histogram)))
    return metrics


def _histogram(value: Distribution, tails: list[bytes]) -> bytes:
    exponential = value.exponential
    # Prometheus refuses a native histogram whose count is not that of its buckets.
    count = value.count if exponential is None else exponentials.count(exponential)
    parts = [wire.field_varint(1, count), wire.field_double(2, value.sum)]
    parts += _buckets(value.counts, tails, value.exemplars)
    if exponential is not None:
        parts += _native(exponential)
    return b"".join(parts)


def _buckets(
    counts: Sequence[int], tails: list[bytes], exemplars: Mapping[int, Exemplar]
) -> list[bytes]:
    varint = wire.varint
    if exemplars:
        return [
            wire.field_bytes(3, wire.field_varint(1, n) + tail + _exemplar_field(exemplars.get(i)))
            for i, (n, tail) in enumerate(zip(accumulate(counts), tails, strict=True))
        ]
    numbers = [varint(n) for n in accumulate(counts)]
    return [_BUCKETS[len(n)] + n + tail for n, tail in zip(numbers, tails, strict=True)]


def _exemplar_field(exemplar: Exemplar | None) -> bytes:
    if exemplar is None:
        return b""
    # A float tells Unix times apart to a quarter of a microsecond; nanoseconds would only show its last bits.
    seconds, microseconds = divmod(round(exemplar.timestamp * 1e6), 10**6)
    timestamp = wire.field_varint(1, seconds) + wire.field_varint(2, microseconds * 1000)
    body = _pairs(exemplar.labels) + wire.field_double(2, exemplar.value)
    return wire.field_bytes(3, body + wire.field_bytes(3, timestamp))


def _native(exponential: Exponential) -> list[bytes]:
    parts = [
        wire.field_sint(5, exponential.schema),
        wire.field_double(6, exponential.zero_threshold),
        wire.field_varint(7, exponential.zero_count),
    ]
    spans, numbers = _spans(exponential.counts)
    # A span of nothing tells a histogram that nothing was observed in from a classic one.
    for offset, length in spans or [[0, 0]]:
        span = wire.field_sint(1, offset) + wire.field_varint(2, length)
        parts.append(wire.field_bytes(12, span))
    known = _DELTAS.get
    parts += [known(d) or _delta(d) for d in map(sub, numbers, (0, *numbers))]
    return parts


def _spans(counts: Mapping[int, int]) -> tuple[list[list[int]], list[int]]:
    """Runs of buckets, each as the gap before it, for the first from 0, and its length; and all their counts."""
    spans: list[list[int]] = []
    numbers: list[int] = []
    end = 0
    for i in sorted(counts):
        gap = i - end
        # Two empty buckets take less room than another span.
        if spans and gap <= 2:
            numbers += [0] * gap
            spans[-1][1] += gap + 1
        else:
            spans.append([gap, 1])
        numbers.append(counts[i])
        end = i + 1
    return spans, numbers


# One for all endpoints of the process.
render: Final = Renderer().render
