"""Send metrics to Amazon CloudWatch with PutMetricData, through `boto3`.

Counters go as what was gained since the last export. A histogram goes as values with counts, which is what gives
percentiles there: one value for each bucket, chosen so that count and sum are exact. `boto3` and its client cost a
quarter of a second of CPU and 36 MiB, so they are made when something is first sent.

PutMetricData is no repeatable request: when its answer is lost, CloudWatch may have the numbers or not. They are sent
again, so that nothing is missing; `boto3` does the same in its own retries.

Limits: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from flowgauge import guard
from flowgauge.exporters.buckets import condensed, spread
from flowgauge.exporters.deltas import Change, Deltas, Level, Series
from flowgauge.exporters.exporter import Exporter, RefusalError, load, remaining, require
from flowgauge.exporters.statsd import percent_name
from flowgauge.metrics import MetricFamily

METRICS_PER_CALL: Final = 1000
# Of 1 MB; the rest is for what surrounds the metrics.
BYTES_PER_CALL: Final = 950_000
VALUES_PER_METRIC: Final = 150
DIMENSIONS: Final = 30
# The range of a value.
LARGEST: Final = 2.0**360
SMALLEST: Final = 2.0**-360

_NAME_LENGTH: Final = 255
_VALUE_LENGTH: Final = 1024
_REGION: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+", re.ASCII)
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]+")
_NOT_PRINTABLE: Final = re.compile(r"[^\x20-\x7e]")

# Codes that find fault with the metrics; all others are about access, load or the service.
_FAULTS: Final = frozenset(
    {
        "InvalidParameterValue",
        "InvalidParameterCombination",
        "MissingParameter",
        "MissingRequiredParameter",
        "ValidationError",
        "Validation",
        "Serialization",
    }
)

_UNITS: Final = {
    "seconds": "Seconds",
    "milliseconds": "Milliseconds",
    "microseconds": "Microseconds",
    "bits": "Bits",
    "bytes": "Bytes",
    "kilobytes": "Kilobytes",
    "megabytes": "Megabytes",
    "gigabytes": "Gigabytes",
    "terabytes": "Terabytes",
    "percent": "Percent",
    "count": "Count",
}


class _Datum(NamedTuple):
    """One metric of a request, the bytes that it takes at most, and what to settle when it was taken."""

    metric: dict[str, Any]
    size: int
    settle: Callable[[], None] | None


class CloudWatchExporter(Exporter):
    """Sends to CloudWatch, under `namespace`.

    `region` is else what `boto3` finds in its configuration, as are the credentials. `client` is a client that you
    made yourself, for example with a role or an endpoint of its own; then the rest of the set-up is yours, also that
    a forked child does not share it. `high_resolution` keeps points of a second instead of a minute.

    Raises:
        ModuleNotFoundError: `boto3` is not installed, and no client was given.
        ValueError: an argument cannot be right; the message names it.

    """

    def __init__(
        self,
        namespace: str,
        region: str | None = None,
        *,
        client: Any = None,
        timeout: float = 10.0,
        high_resolution: bool = False,
    ) -> None:
        _check(namespace, region)
        if client is None:
            require("boto3", "cloudwatch")
        super().__init__(
            f"CloudWatch, namespace {namespace}, region {region or 'of boto3'}", timeout
        )
        self._namespace = namespace
        self._region = region
        self._given = client
        self._client = client
        self._resolution = 1 if high_resolution else 60
        self._deltas = Deltas()

    def _send(self, families: list[MetricFamily], until: float) -> None:
        levels = self._deltas.read(families)
        self._deliver(levels, until)

    def _send_rest(self, until: float) -> None:
        if self._deltas.has_unsent():
            self._deliver([], until)

    def _deliver(self, levels: list[Level], until: float) -> None:
        refusal: RefusalError | None = None
        for call in _calls(self._data(levels)):
            remaining(until)
            try:
                self._put([datum.metric for datum in call])
            except RefusalError as error:
                refusal = error  # one bad metric must not keep the other calls
                continue
            for datum in call:
                if datum.settle:
                    datum.settle()
        if refusal:
            raise refusal

    def _put(self, metrics: list[dict[str, Any]]) -> None:
        """Put the metrics.

        Raises:
            RefusalError: CloudWatch finds fault with them.
            OSError: CloudWatch did not take them.
            Exception: what boto3 raises when there is no answer.

        """
        if self._client is None:
            self._client = self._made()
        try:
            self._client.put_metric_data(Namespace=self._namespace, MetricData=metrics)
        except Exception as error:
            answer = getattr(error, "response", None)
            if not isinstance(answer, dict):
                raise
            code = str(answer.get("Error", {}).get("Code", "an error"))
            status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", "no status")
            # Its message may quote the request with its signature, so only the code is told.
            kind = RefusalError if code.removesuffix("Exception") in _FAULTS else OSError
            raise kind(f"answered with {code} ({status})") from None

    def _made(self) -> Any:
        # Two attempts of a connection and an answer each, so that a call ends within the time of an export.
        config = load("botocore.config").Config(
            connect_timeout=self._timeout / 4,
            read_timeout=self._timeout / 4,
            retries={"mode": "standard", "total_max_attempts": 2},
        )
        # A session of our own: the one that is shared is not safe for threads.
        session = load("boto3.session").Session(region_name=self._region)
        return session.client("cloudwatch", config=config)

    def _let_go(self) -> None:
        if self._given is None and self._client is not None:
            self._client.close()
            self._client = None

    def _start_anew(self) -> None:
        self._deltas = Deltas()
        # The parent's connections are in it.
        self._client = self._given

    def _data(self, levels: list[Level]) -> Iterator[_Datum]:
        now = datetime.now(UTC)
        for change in self._deltas.changes():
            yield from self._changed(change, now)
        for level in levels:
            suffix = "" if level.quantile is None else percent_name(level.quantile)
            yield from self._single(level.series, suffix, level.value, now, None)

    def _changed(self, change: Change, now: datetime) -> Iterator[_Datum]:
        series = change.series
        new = change.rows()
        if series.kind == "counter":
            yield from self._single(series, "", change.count, now, change.settle)
        elif not change.grid:
            yield from self._single(series, "count", change.count, now, change.settle_count)
            yield from self._single(series, "sum", change.sum, now, change.settle_sum)
        elif new:
            yield from self._many(
                series, condensed(spread(new, change.sum), VALUES_PER_METRIC), now, change
            )
        else:
            change.settle()  # a histogram without observations has no value to show

    def _single(
        self,
        series: Series,
        suffix: str,
        value: float,
        now: datetime,
        settle: Callable[[], None] | None,
    ) -> Iterator[_Datum]:
        if abs(value) > LARGEST:
            return
        metric = self._metric(series, suffix, now) | {"Value": _in_range(value)}
        yield _Datum(metric, _size(metric), settle)

    def _many(
        self, series: Series, pairs: list[tuple[float, float]], now: datetime, change: Change
    ) -> Iterator[_Datum]:
        if any(abs(value) > LARGEST for value, _ in pairs):
            return
        metric = self._metric(series, "", now)
        metric["Values"] = [_in_range(value) for value, _ in pairs]
        metric["Counts"] = [float(count) for _, count in pairs]
        yield _Datum(metric, _size(metric), change.settle)

    def _metric(self, series: Series, suffix: str, now: datetime) -> dict[str, Any]:
        name = f"{series.name}.{suffix}" if suffix else series.name
        metric: dict[str, Any] = {
            "MetricName": _text(name, _NAME_LENGTH),
            "Timestamp": now,
            "Unit": "Count" if suffix == "count" else _unit(series),
            "StorageResolution": self._resolution,
        }
        dimensions = self._dimensions(series)
        if dimensions:
            metric["Dimensions"] = dimensions
        return metric

    def _dimensions(self, series: Series) -> list[dict[str, str]]:
        tags = series.tags()
        if len(tags) > DIMENSIONS:
            guard.warn(
                "exporters.cloudwatch",
                f"{series.name} has {len(tags)} labels; CloudWatch takes {DIMENSIONS}, the others are left out",
            )
        return [
            {"Name": _text(name, _NAME_LENGTH), "Value": _text(value, _VALUE_LENGTH)}
            for name, value in tags[:DIMENSIONS]
        ]


def _calls(data: Iterator[_Datum]) -> Iterator[list[_Datum]]:
    call: list[_Datum] = []
    size = 0
    for datum in data:
        if call and (len(call) == METRICS_PER_CALL or size + datum.size > BYTES_PER_CALL):
            yield call
            call, size = [], 0
        call.append(datum)
        size += datum.size
    if call:
        yield call


def _size(metric: dict[str, Any]) -> int:
    """The bytes that a metric takes at most, which is as a form: older versions of boto3 send one.

    There each value is named with its whole path, such as `&MetricData.member.1000.Values.member.150=`.
    """
    size = 350 + len(metric["MetricName"]) + 140 * len(metric.get("Values", ()))
    for dimension in metric.get("Dimensions", ()):
        size += 110 + len(quote(dimension["Name"])) + len(quote(dimension["Value"], safe=""))
    return size


def _text(text: str, length: int) -> str:
    """What CloudWatch takes: printable ASCII that is not all blank."""
    return _NOT_PRINTABLE.sub("?", text)[:length] if text.strip() else "?"


def _in_range(value: float) -> float:
    return 0.0 if abs(value) < SMALLEST else float(value)


def _unit(series: Series) -> str:
    """The unit of a family, or what its name ends in; counters without one count things."""
    words = [series.unit, *reversed(series.name.removesuffix("_total").split("_")[-1:])]
    for word in words:
        if word in _UNITS:
            return _UNITS[word]
    return "Count" if series.kind == "counter" else "None"


def _check(namespace: str, region: str | None) -> None:
    if (
        not namespace.strip()
        or not _PRINTABLE.fullmatch(namespace)
        or len(namespace) > _NAME_LENGTH
    ):
        raise ValueError(
            f"namespace is {namespace!r}, must be 1 to {_NAME_LENGTH} printable ASCII characters, such as 'MyApplication'"
        )
    if namespace.startswith((":", "AWS/")):
        raise ValueError(
            f"namespace is {namespace!r}, must not begin with ':' or 'AWS/', which is Amazon's own"
        )
    if region is not None and not _REGION.fullmatch(region):
        raise ValueError(
            f"region is {region!r}, must be a region such as 'us-east-1', or None for that of boto3"
        )
