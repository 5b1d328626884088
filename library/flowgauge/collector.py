"""A prometheus_client collector: what this library measured, as metrics of that one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate
from threading import get_ident
from typing import Final

from prometheus_client import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample

from flowgauge import text
from flowgauge.metrics import Distribution, LabelValues, MetricFamily, Quantiles, Value
from flowgauge.view import View

Labels = dict[str, str]


class ViewCollector(Collector):
    """The families of a view, for a registry of prometheus_client."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._muted: set[int] = set()

    def describe(self) -> Iterable[Metric]:
        """The families without series, so that a registry refuses a second owner of a name at once."""
        return [metric(family) for family in self._view.described()]

    def collect(self) -> Iterable[Metric]:
        """The families with their series of this instant."""
        if get_ident() in self._muted:
            return []
        return [metric(family) for family in self._view.collect()]

    def mute(self) -> None:
        """Collect nothing in this thread until `unmute`: who renders the view itself wants the rest only."""
        self._muted.add(get_ident())

    def unmute(self) -> None:
        """Undo `mute`."""
        self._muted.discard(get_ident())


def metric(family: MetricFamily) -> Metric:
    """The family as prometheus_client has it."""
    name, kind = text.typed(family)
    made = Metric(name, family.help, kind, text.unit(family))
    for key, value in zip(family.keys, family.values, strict=True):
        made.samples.extend(_samples(family.name, _labels(family.labels, key), value))
    return made


def _labels(names: tuple[str, ...], key: LabelValues) -> Labels:
    return {name: value for name, value in zip(names, key, strict=True) if value}


def _samples(name: str, labels: Labels, value: Value) -> Iterator[Sample]:
    if isinstance(value, Distribution):
        bounds: Final = (*value.bounds, float("inf"))
        for i, (bound, count) in enumerate(zip(bounds, accumulate(value.counts), strict=True)):
            mark = value.exemplars.get(i)
            exemplar = Exemplar(dict(mark.labels), mark.value, mark.timestamp) if mark else None
            yield Sample(f"{name}_bucket", labels | {"le": text.go(bound)}, count, None, exemplar)
    elif isinstance(value, Quantiles):
        for q, v in value.quantiles:
            yield Sample(name, labels | {"quantile": text.go(q)}, v)
    else:
        yield Sample(name, labels, value)
        return
    yield Sample(f"{name}_count", labels, value.count)
    yield Sample(f"{name}_sum", labels, value.sum)
