"""A prometheus_client collector: the readings of a profile as metrics of that library."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from importlib import metadata
from time import perf_counter
from typing import Final

from prometheus_client import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from flowgauge import cells, guard, readings
from flowgauge.profiles.types import Family, Profile

_INFO: Final = "library.info"


class ProfileCollector(Collector):
    """Everything that decorated functions measured, in the names of `profile`."""

    def __init__(self, profile: Profile) -> None:
        self._readers = readings.readers(profile)
        self._constants = [
            readings.constant(f, {"version": version()}) for f in profile.by_role(_INFO)
        ]

    def bind(self) -> None:
        """Count durations in the buckets of the profile from now on."""
        cells.rebind("run", readings.bounds(self._readers, "run"))
        cells.rebind("step", readings.bounds(self._readers, "step"))

    def describe(self) -> Iterable[Metric]:
        """The families without series, so that a registry refuses a second owner of a name at once."""
        names = {r.family.name: r.family for r in self._readers} | {
            c.family.name: c.family for c in self._constants
        }
        return [_metric(family) for family in names.values()]

    def collect(self) -> Iterable[Metric]:
        """The families with their series of this instant."""
        metrics: dict[str, Metric] = {}
        seen: set[tuple[str, frozenset[tuple[str, str]]]] = set()
        for reading in self._readings():
            metric = metrics.setdefault(reading.family.name, _metric(reading.family))
            for values, number in reading.series.items():
                labels = dict(zip(reading.names, values, strict=True))
                series = (reading.family.name, frozenset(labels.items()))
                # Two roles may be parts of one metric; where they overlap, the first one of the profile counts.
                if series not in seen:
                    seen.add(series)
                    _add(metric, reading.family, labels, number)
        return metrics.values()

    def _readings(self) -> Iterator[readings.Reading]:
        snapshots = {"run": cells.snapshots("run"), "step": cells.snapshots("step")}
        now = perf_counter()
        for reader in self._readers:
            try:
                yield reader.read(snapshots[reader.scope], now)
            except Exception as error:
                guard.report(f"reading {reader.family.name}", error)
        yield from self._constants


def version() -> str:
    """The version of this library, `unknown` where it runs without being installed."""
    try:
        return metadata.version("flowgauge")
    except metadata.PackageNotFoundError:
        return "unknown"


def _metric(family: Family) -> Metric:
    # prometheus_client adds `_total` and `_info` to the names of these types, and OpenMetrics insists on
    # them; a counter or info without it is exposed with its own name and a type that allows it.
    name, kind = family.name, family.type
    for suffix, of, otherwise in (("_total", "counter", "unknown"), ("_info", "info", "gauge")):
        if kind == of:
            if name.endswith(suffix):
                return Metric(name.removesuffix(suffix), family.help, of)
            return Metric(name, family.help, otherwise)
    return Metric(name, family.help, kind)


def _le(bound: float) -> str:
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]


def _add(metric: Metric, family: Family, labels: dict[str, str], number: readings.Number) -> None:
    if not isinstance(number, readings.Distribution):
        metric.add_sample(family.name, labels, number)
        return
    if family.type == "histogram":
        bounds = (*number.bounds, float("inf"))
        for bound, count in zip(bounds, itertools.accumulate(number.counts), strict=True):
            metric.add_sample(f"{family.name}_bucket", labels | {"le": _le(bound)}, count)
    metric.add_sample(f"{family.name}_count", labels, sum(number.counts))
    metric.add_sample(f"{family.name}_sum", labels, number.sum)
