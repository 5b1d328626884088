"""Counters, gauges, histograms and summaries of one's own, by name and labels: the collector's part of the library.

    collector = MetricsCollector()
    requests = collector.counter("http_requests_total", "Requests.", labels=["method"])
    requests.inc(method="GET")

What is wrong with a declaration is raised at once, where the program starts. Nothing is raised afterwards: a label
that is missing, an amount that is no number or a counter that would go down is logged, rarely, and not counted.

Each label set is a run of slots, written by the rule of `slots`. A metric has at most `limit` label sets; later ones
share the set whose values are `other`, so that sums stay right and memory is bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakSet

from flowgauge import forks, slots
from flowgauge.instruments.children import Found
from flowgauge.instruments.declaration import bounds_of, checked, quantiles_of
from flowgauge.instruments.instrument import Counter, Gauge, Histogram, Merge, Others, Summary
from flowgauge.metrics import MetricFamily

if TYPE_CHECKING:
    from flowgauge.slots import Values

__all__ = [
    "Counter",
    "Declared",
    "Gauge",
    "Histogram",
    "MetricsCollector",
    "Others",
    "Summary",
    "reset",
    "share",
]

# Label sets of one metric; the guides ask for fewer than 1,000.
LIMIT: Final = 1000
# Seconds, from 5 ms to 10 s: what prometheus_client takes, so that a program that moves here keeps its series.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
QUANTILES: Final = (0.5, 0.9, 0.95, 0.99)

Declared = Counter | Gauge | Histogram | Summary
I = TypeVar("I", Counter, Gauge, Histogram, Summary)  # noqa: E741 - an instrument


class MetricsCollector:
    """Declares metrics and reads them all. Each declaration of a name gives the same metric.

    `limit` is how many label sets each metric may have. Where several processes are one program, collectors of
    the same `space` are one.

    Raises:
        ValueError: a declaration has a name, label, bucket or quantile that cannot be, or differs from an earlier
            one of the same name.

    """

    def __init__(self, *, limit: int = LIMIT, space: str = "") -> None:
        if not isinstance(limit, int) or limit < 1:
            raise ValueError(f"limit is {limit!r}, must be a whole number, at least 1")
        self._limit = limit
        self._space = space
        self._instruments: dict[str, Declared] = {}
        # What other processes declared and this one did not, such as the metrics of tasks.
        self._adopted: dict[str, Declared] = {}
        self.dropped: Values = slots.private((), 1)
        if _elsewhere is not None:
            self._move_dropped()
        _collectors.add(self)

    def counter(
        self, name: str, help_text: str = "", labels: Sequence[str] = (), *, unit: str = ""
    ) -> Counter:
        """A number that only grows, such as `requests_total`."""
        return self._declare(Counter, name, help_text, labels, unit)

    def gauge(
        self,
        name: str,
        help_text: str = "",
        labels: Sequence[str] = (),
        *,
        unit: str = "",
        merge: Merge = "sum",
    ) -> Gauge:
        """A number that goes up and down; `merge` makes one of the values of several processes."""
        if merge not in ("sum", "max", "min", "latest"):
            raise ValueError(f"merge of {name} is {merge!r}, must be sum, max, min or latest")
        return self._declare(Gauge, name, help_text, labels, unit, merge=merge)

    def histogram(
        self,
        name: str,
        help_text: str = "",
        labels: Sequence[str] = (),
        buckets: Sequence[float] = BUCKETS,
        *,
        unit: str = "",
    ) -> Histogram:
        """Observations in buckets; `buckets` are the upper bounds, ascending, without infinity."""
        bounds = bounds_of(name, buckets)
        return self._declare(Histogram, name, help_text, labels, unit, buckets=bounds)

    def summary(
        self,
        name: str,
        help_text: str = "",
        labels: Sequence[str] = (),
        quantiles: Sequence[float] = QUANTILES,
        *,
        unit: str = "",
    ) -> Summary:
        """Observations with `quantiles`, each from 0 to 1."""
        ordered = tuple(sorted(set(quantiles_of(name, quantiles))))
        return self._declare(Summary, name, help_text, labels, unit, quantiles=ordered)

    def get(self, name: str) -> Declared | None:
        """The metric of this name."""
        return self._instruments.get(name)

    def collect_all(self) -> list[MetricFamily]:
        """Every metric at this instant, in the order of declaration."""
        if _elsewhere is None:
            return [instrument.collect() for instrument in list(self._instruments.values())]
        found: dict[str, list[Found]] = {}
        for each in _elsewhere.instruments(self._space):
            found.setdefault(each.description[2], []).append(each)
        declared = dict(self._instruments)
        for name, runs in found.items():
            if name not in declared:
                declared[name] = self._adopt(runs)
        return [
            instrument.joined(found.get(name, ()), _elsewhere)
            for name, instrument in declared.items()
        ]

    def _adopt(self, runs: list[Found]) -> Declared:
        """A metric that only other processes declared. It is no declaration of this process, which may differ."""
        kind, _, name, help_text, labels, _, unit, _, *more = runs[0].description
        known = self._adopted.get(name)
        if known is None or (known.kind, known.label_names) != (kind, labels):
            sort, field = _SORTS[kind]
            known = self._adopted[name] = sort(
                name,
                help_text,
                labels,
                unit=unit,
                limit=self._limit,
                dropped=self.dropped,
                space=self._space,
                is_own=False,
                **({field: more[0]} if field else {}),
            )
        if isinstance(known, Histogram):
            # All bounds of all processes, so that each observation is where its process has put it.
            bounds = [run.description[8] for run in runs if run.description[0] == kind]
            known.buckets = tuple(sorted({bound for each in bounds for bound in each}))
        return known

    collect = collect_all

    def reset(self) -> None:
        """Set every metric to zero, in a forked child or between tests."""
        slots.release(self.dropped)
        self.dropped = slots.private((), 1)
        self._move_dropped()
        for instrument in list(self._instruments.values()):
            instrument.reset()

    def move(self) -> None:
        """Keep the numbers in the storage that is used now."""
        self._move_dropped()
        for instrument in list(self._instruments.values()):
            instrument.move()

    def _move_dropped(self) -> None:
        if _elsewhere is not None:
            old, self.dropped = self.dropped, slots.allocate(("number", "dropped"), 1)
            self.dropped[0] += old[0]
        for instrument in list(self._instruments.values()):
            instrument.dropped = self.dropped

    def _declare(
        self,
        sort: type[I],
        name: str,
        help_text: str,
        labels: Sequence[str],
        unit: str,
        **more: Any,
    ) -> I:
        names = checked(sort.kind, name, help_text, labels, unit)
        known = self._instruments.get(name)
        if known is None:
            made = sort(
                name,
                help_text,
                names,
                unit=unit,
                limit=self._limit,
                dropped=self.dropped,
                space=self._space,
                **more,
            )
            known = self._instruments.setdefault(name, made)
        same = all(getattr(known, field, None) == value for field, value in more.items())
        if not isinstance(known, sort) or known.label_names != names or not same:
            raise ValueError(
                f"{name} is declared already, as a {known.kind} with the labels {list(known.label_names)};"
                " use another name, or declare it the same way"
            )
        return known


# Of each kind, the class and the field that it has beside those of all.
_SORTS: Final[dict[str, tuple[Any, str]]] = {
    "counter": (Counter, ""),
    "gauge": (Gauge, "merge"),
    "histogram": (Histogram, "buckets"),
    "summary": (Summary, "quantiles"),
}

_collectors: WeakSet[MetricsCollector] = WeakSet()
# Label sets that other processes of the program have.
_elsewhere: Others | None = None


def reset() -> None:
    """Forget the numbers, in a forked child."""
    for collector in list(_collectors):
        collector.reset()


def share(others: Others) -> None:
    """Move every label set to the storage that is used now, and count in those of `others` from now on."""
    global _elsewhere  # noqa: PLW0603 - a process has one storage
    _elsewhere = others
    for collector in list(_collectors):
        collector.move()


forks.on_fork(reset)
