"""Metric families as messages of OTLP, the protocol of OpenTelemetry, in protobuf. Values in, bytes out.

Counts are cumulative, as a scrape sees them. Field numbers and meanings:
https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/metrics/v1/metrics.proto
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from flowgauge.exporters.buckets import coarser
from flowgauge.metrics import (
    Distribution,
    Exemplar,
    Exponential,
    LabelValues,
    MetricFamily,
    Quantiles,
    Value,
)
from flowgauge.wire import (
    field_bytes,
    field_double,
    field_fixed64,
    field_sint,
    field_text,
    field_varint,
    packed_doubles,
    packed_fixed64,
    packed_varints,
)

Attribute = str | bool | int | float

# Collectors take 20 MiB by default; smaller requests are kinder to both sides.
REQUEST_BYTES: Final = 2_000_000
# A message lists empty buckets too. Observations that are far apart would make that a list without end.
DENSE_BUCKETS: Final = 320

_CUMULATIVE: Final = 2
# https://ucum.org/, as the semantic conventions of OpenTelemetry use it.
_UNITS: Final = {
    "seconds": "s",
    "milliseconds": "ms",
    "microseconds": "us",
    "bytes": "By",
    "percent": "%",
    "ratio": "1",
    "count": "1",
}


class Times(NamedTuple):
    """Since when is counted, and until when: nanoseconds of Unix time."""

    start: int
    now: int


class _Form(NamedTuple):
    """A kind of metric: its field in a Metric, what follows its points, and how one is written."""

    field: int
    tail: bytes
    point: Callable[
        [LabelValues, MetricFamily, Any, Times], bytes
    ]  # the value is what `_field` chose it for


def requests(
    families: Iterable[MetricFamily], resource: Mapping[str, Attribute], version: str, times: Times
) -> Iterator[bytes]:
    """The families as messages ExportMetricsServiceRequest, each of about `REQUEST_BYTES` at most."""
    head = field_bytes(1, b"".join(attribute(1, key, value) for key, value in resource.items()))
    scope = field_bytes(1, field_text(1, "flowgauge") + field_text(2, version))
    metrics: list[bytes] = []
    size = 0
    for metric in _metrics(families, times):
        if metrics and size + len(metric) > REQUEST_BYTES:
            yield _request(head, scope, metrics)
            metrics, size = [], 0
        metrics.append(field_bytes(2, metric))
        size += len(metric)
    if metrics:
        yield _request(head, scope, metrics)


def attribute(field: int, key: str, value: Attribute) -> bytes:
    """A KeyValue, as the field of this number."""
    if isinstance(value, str):
        any_value = field_text(1, value)
    elif isinstance(value, bool):
        any_value = field_varint(2, int(value))
    elif isinstance(value, int):
        any_value = field_varint(3, value)
    else:
        any_value = field_double(4, value)
    return field_bytes(field, field_text(1, key) + field_bytes(2, any_value))


def _request(head: bytes, scope: bytes, metrics: list[bytes]) -> bytes:
    return field_bytes(1, head + field_bytes(2, scope + b"".join(metrics)))


def _metrics(families: Iterable[MetricFamily], times: Times) -> Iterator[bytes]:
    for family in families:
        head = field_text(1, family.name)
        for field, text in ((2, family.help), (3, _UNITS.get(family.unit, family.unit))):
            head += field_text(field, text) if text else b""
        # Native and classic histograms of one name are two metrics here.
        points: dict[int, list[bytes]] = {}
        sizes: dict[int, int] = {}
        for key, value in zip(family.keys, family.values, strict=False):
            field = _field(family, value)
            point = field_bytes(1, _FORMS[field].point(key, family, value, times))
            points.setdefault(field, []).append(point)
            sizes[field] = sizes.get(field, 0) + len(point)
            if sizes[field] > REQUEST_BYTES:
                yield head + _data(field, points.pop(field))
                sizes[field] = 0
        for field, rest in points.items():
            yield head + _data(field, rest)


def _data(field: int, points: list[bytes]) -> bytes:
    return field_bytes(field, b"".join(points) + _FORMS[field].tail)


def _field(family: MetricFamily, value: Value) -> int:
    if isinstance(value, Distribution):
        return _EXPONENTIAL if value.exponential else _HISTOGRAM
    if isinstance(value, Quantiles):
        return _SUMMARY
    return _SUM if family.kind == "counter" else _GAUGE


def _attributes(field: int, key: LabelValues, family: MetricFamily) -> bytes:
    pairs = zip(family.labels, key, strict=False)
    return b"".join(attribute(field, name, value) for name, value in pairs if value)


def _since(times: Times) -> bytes:
    return field_fixed64(2, times.start) + field_fixed64(3, times.now)


def _sum(key: LabelValues, family: MetricFamily, value: Any, times: Times) -> bytes:
    return _since(times) + field_double(4, value) + _attributes(7, key, family)


def _gauge(key: LabelValues, family: MetricFamily, value: Any, times: Times) -> bytes:
    return field_fixed64(3, times.now) + field_double(4, value) + _attributes(7, key, family)


def _histogram(key: LabelValues, family: MetricFamily, value: Any, times: Times) -> bytes:
    return (
        _since(times)
        + field_fixed64(4, value.count)
        + field_double(5, value.sum)
        + packed_fixed64(6, map(int, value.counts))
        + packed_doubles(7, value.bounds)
        + _exemplars(8, value.exemplars)
        + _attributes(9, key, family)
    )


def _exponential(key: LabelValues, family: MetricFamily, value: Any, times: Times) -> bytes:
    schema, offset, counts = _dense(value.exponential)
    zero = int(value.exponential.zero_count)
    return (
        _attributes(1, key, family)
        + _since(times)
        + field_fixed64(4, zero + sum(counts))
        + field_double(5, value.sum)
        + field_sint(6, schema)
        + field_fixed64(7, zero)
        + field_bytes(8, field_sint(1, offset) + packed_varints(2, counts))
        + _exemplars(11, value.exemplars)
        + field_double(14, value.exponential.zero_threshold)
    )


def _dense(exponential: Exponential) -> tuple[int, int, list[int]]:
    """Schema, offset and counts with the empty buckets between, coarse enough to be a short list."""
    counts: Mapping[int, int] = exponential.counts
    schema = exponential.schema
    while counts and max(counts) - min(counts) >= DENSE_BUCKETS:
        counts = coarser(counts, 1)
        schema -= 1
    if not counts:
        return schema, 0, []
    first, last = min(counts), max(counts)
    # Bucket i begins at base**i there, where ours ends.
    return schema, first - 1, [int(counts.get(index, 0)) for index in range(first, last + 1)]


def _summary(key: LabelValues, family: MetricFamily, value: Any, times: Times) -> bytes:
    # Without observations a quantile is NaN; below zero, says the protocol, it must not be.
    quantiles = [(quantile, at) for quantile, at in value.quantiles if at >= 0]
    return (
        _since(times)
        + field_fixed64(4, int(value.count))
        + field_double(5, value.sum)
        + b"".join(
            field_bytes(6, field_double(1, quantile) + field_double(2, at))
            for quantile, at in quantiles
        )
        + _attributes(7, key, family)
    )


def _exemplars(field: int, exemplars: Mapping[int, Exemplar]) -> bytes:
    return b"".join(field_bytes(field, _exemplar(each)) for each in exemplars.values())


def _exemplar(exemplar: Exemplar) -> bytes:
    message = field_fixed64(2, round(exemplar.timestamp * 1e9)) + field_double(3, exemplar.value)
    for name, value in exemplar.labels:
        field, size = {"span_id": (4, 8), "trace_id": (5, 16)}.get(name, (0, 0))
        identity = _identity(value, size)
        message += field_bytes(field, identity) if identity else attribute(7, name, value)
    return message


def _identity(text: str, size: int) -> bytes | None:
    try:
        identity = bytes.fromhex(text)
    except ValueError:
        return None
    return identity if size and len(identity) == size else None


_GAUGE: Final = 5
_SUM: Final = 7
_HISTOGRAM: Final = 9
_EXPONENTIAL: Final = 10
_SUMMARY: Final = 11
_TEMPORALITY: Final = field_varint(2, _CUMULATIVE)
_FORMS: Final = {
    _GAUGE: _Form(_GAUGE, b"", _gauge),
    _SUM: _Form(_SUM, _TEMPORALITY + field_varint(3, 1), _sum),
    _HISTOGRAM: _Form(_HISTOGRAM, _TEMPORALITY, _histogram),
    _EXPONENTIAL: _Form(_EXPONENTIAL, _TEMPORALITY, _exponential),
    _SUMMARY: _Form(_SUMMARY, b"", _summary),
}
