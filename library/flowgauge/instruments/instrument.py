"""Counter, gauge, histogram and summary: a metric with its label sets."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from flowgauge import guard, slots
from flowgauge.cell import OTHER
from flowgauge.cells import text
from flowgauge.instruments.children import (
    CounterChild,
    Found,
    GaugeChild,
    HistogramChild,
    LatestGaugeChild,
    SummaryChild,
    Timer,
    merged,
)
from flowgauge.metrics import Distribution, Kind, LabelValues, MetricFamily, Quantiles, Value
from flowgauge.sketch import Sketch

if TYPE_CHECKING:
    from flowgauge.slots import Values

# How the values of one gauge in several processes become one.
Merge = Literal["sum", "max", "min", "latest"]

C = TypeVar("C", CounterChild, GaugeChild, HistogramChild, SummaryChild)


class Others(Protocol):
    """The other processes of the program."""

    def instruments(self, space: str) -> Iterable[Found]:
        """Their label sets of this space."""

    def admitted(
        self, family: tuple[str, ...], keys: Collection[LabelValues], limit: int
    ) -> Collection[LabelValues]:
        """Which label sets have a series of their own, where all processes together have too many."""


class Instrument(Generic[C]):
    """A metric with its label sets. Made by a `MetricsCollector`."""

    kind: Kind = "unknown"

    def __init__(
        self,
        name: str,
        help_text: str,
        labels: Sequence[str],
        *,
        unit: str,
        limit: int,
        dropped: Values,
        space: str,
        is_own: bool = True,
    ) -> None:
        self.name = name
        self.help = help_text
        self.label_names = tuple(labels)
        self.unit = unit
        self._space = space
        self._limit = limit
        self.dropped = dropped
        self._children: dict[LabelValues, C] = {}
        # Those of the last scrape, and their keys, so that a scrape makes nothing for each of them.
        self._seen: tuple[list[C], list[LabelValues]] = ([], [])
        # One that only other processes declared takes no room of this one.
        if is_own and not labels:
            self.child(())

    def labels(self, /, *values: object, **labels: object) -> C:
        """The label set of these values, in the order of the declaration or by name; made if it is new."""
        named = dict(zip(self.label_names, values, strict=False))
        if len(values) > len(named) or not named.keys().isdisjoint(labels):
            self._warn(f"{len(values)} values and {sorted(labels)}")
        return self._child({**labels, **named})

    def child(self, key: LabelValues) -> C:
        """The label set with these values in the order of the declaration; one shared set beyond the limit."""
        found = self._children.get(key)
        if found is None:
            if len(self._children) >= self._limit:
                self.dropped[0] += 1.0
                guard.warn(
                    f"too many {self.name}",
                    f"{self.name} has more than {self._limit} label sets; {dict(zip(self.label_names, key, strict=False))}"
                    f" and others count as {OTHER!r}. Take label values from a small set, never from data",
                )
                return self._overflow()
            found = self._made(key)
        return found

    def _made(self, key: LabelValues) -> C:
        return self._children.setdefault(
            key, self._new(key)
        )  # atomic: two threads get the same one

    def remove(self, /, **labels: object) -> None:
        """Forget one label set; nothing happens if there is none. It is made again when it is next used."""
        found = self._children.pop(self._key(labels), None)
        if found is not None:
            found.release()

    def clear(self) -> None:
        """Forget all label sets."""
        for key in list(self._children):
            found = self._children.pop(key, None)
            if found is not None:  # else another thread was faster
                found.release()

    def find(self, labels: Mapping[str, object]) -> C | None:
        """The label set of these values, if there is one; looking makes none."""
        return self._children.get(self._key(labels))

    def collect(self) -> MetricFamily:
        """The metric at this instant."""
        children = list(self._children.values())
        seen, keys = self._seen
        if children != seen:
            # The same list tells a renderer that the label sets are the ones of last time.
            keys = [child.key for child in children]
            self._seen = (children, keys)
        values = self._read(children)
        return MetricFamily(
            self.name, self.kind, self.help, self.label_names, keys, values, self.unit
        )

    def reset(self) -> None:
        """Forget the numbers, in a forked child."""
        for child in list(self._children.values()):
            child.reset()

    def move(self) -> None:
        """Keep the numbers in the storage that is used now."""
        for child in list(self._children.values()):
            child.move()

    def _find(self, labels: dict[str, Any]) -> C:
        """The label set for a call that names its labels; the hot path of calls without a child."""
        names = self.label_names
        try:
            if len(labels) == len(names):
                return self._children[tuple([labels[name] for name in names])]
        except Exception:  # noqa: S110 - a value may do anything when it is hashed or compared
            pass
        return self._child(labels)

    def _child(self, labels: Mapping[str, object]) -> C:
        if labels.keys() != set(self.label_names):
            self._warn(f"{sorted(labels)}")
        return self.child(self._key(labels))

    def _key(self, labels: Mapping[str, object]) -> LabelValues:
        try:
            return tuple([text(labels.get(name, "")) for name in self.label_names])
        except Exception as error:
            guard.report(f"labels of {self.name}", error)
            return (OTHER,) * len(self.label_names)

    def _warn(self, used: str) -> None:
        guard.warn(
            f"labels of {self.name}",
            f"{self.name} has the labels {list(self.label_names)}, and was used with {used};"
            " what is missing counts as empty, what is unknown is left out",
        )

    def _overflow(self) -> C:
        key = (OTHER,) * len(self.label_names)
        return self._children.get(key) or self._made(key)

    def description(self, key: LabelValues) -> slots.Description:
        """What a label set counts, for readers in other processes."""
        labels = self.label_names
        return (self.kind, self._space, self.name, self.help, labels, key, self.unit, self._limit)

    def joined(self, found: Iterable[Found], others: Others) -> MetricFamily:
        """The metric at this instant, with what other processes counted."""
        children: dict[LabelValues, C] = dict(self._children)
        runs: dict[LabelValues, list[Found]] = self._by_key(found)
        keys = dict.fromkeys((*children, *runs))
        keys.pop((OTHER,) * len(self.label_names), None)
        if len(keys) > self._limit:
            admitted = others.admitted(("metric", self._space, self.name), keys, self._limit)
            self._gather_others(children, runs, admitted)
        shown = [*children, *(key for key in runs if key not in children)]
        seen = self._seen[1]
        if shown == seen:
            shown = seen
        self._seen = ([], shown)
        values = [self._joined(children.get(key), runs.get(key, [])) for key in shown]
        return MetricFamily(
            self.name, self.kind, self.help, self.label_names, shown, values, self.unit
        )

    def _by_key(self, found: Iterable[Found]) -> dict[LabelValues, list[Found]]:
        runs: dict[LabelValues, list[Found]] = {}
        for each in found:
            kind, labels, key = each.description[0], each.description[4], each.description[5]
            if kind == self.kind and labels == self.label_names:
                runs.setdefault(key, []).append(each)
            else:
                guard.warn(
                    f"declarations of {self.name}",
                    f"{self.name} is a {self.kind} with the labels {list(self.label_names)}, and a {kind} with the"
                    f" labels {list(labels)} in another process, which is left out; declare it the same way in all",
                )
        return runs

    def _gather_others(
        self,
        children: dict[LabelValues, C],
        runs: dict[LabelValues, list[Found]],
        admitted: Collection[LabelValues],
    ) -> None:
        """Make one label set of all that have none of their own."""
        other = (OTHER,) * len(self.label_names)
        for key in dict.fromkeys((*children, *runs)):
            if key not in admitted and key != other:
                guard.warn(
                    f"too many {self.name}",
                    f"all processes together have more than {self._limit} label sets of {self.name};"
                    f" {dict(zip(self.label_names, key, strict=True))} and others count as {OTHER!r}."
                    " Take label values from a small set, never from data",
                )
                gathered = runs.setdefault(other, [])
                gathered.extend(runs.pop(key, []))
                child = children.pop(key, None)
                if child is not None:
                    gathered.extend(child.runs())

    def _joined(self, own: C | None, runs: list[Found]) -> Value:
        raise NotImplementedError

    def _new(self, key: LabelValues) -> C:
        raise NotImplementedError

    def _read(self, children: list[C]) -> list[Value]:
        return [child.get() for child in children]


class Counter(Instrument[CounterChild]):
    """Something that only grows: requests, errors, money spent."""

    kind = "counter"

    def inc(self, /, amount: float = 1.0, **labels: object) -> None:
        """Add `amount`; one that is negative or no finite number is logged and not counted."""
        self._find(labels).inc(amount)

    def get(self, /, **labels: object) -> float:
        """The number of one label set; 0 if there is none yet."""
        found = self.find(labels)
        return 0.0 if found is None else found.get()

    def _new(self, key: LabelValues) -> CounterChild:
        return CounterChild(self, key, 1)

    def _joined(self, own: CounterChild | None, runs: list[Found]) -> float:
        return math.fsum([own.values[0] if own else 0.0, *(found.values[0] for found in runs)])

    def _read(self, children: list[CounterChild]) -> list[Value]:
        return [child.values[0] for child in children]


class Gauge(Instrument[GaugeChild]):
    """Something that goes up and down: connections, depth of a queue."""

    kind = "gauge"

    def __init__(self, *fields: Any, merge: Merge = "sum", **named: Any) -> None:
        self.merge = merge
        super().__init__(*fields, **named)

    def set(self, /, value: float, **labels: object) -> None:
        """Make it `value`."""
        self._find(labels).set(value)

    def inc(self, /, amount: float = 1.0, **labels: object) -> None:
        """Add `amount`."""
        self._find(labels).inc(amount)

    def dec(self, /, amount: float = 1.0, **labels: object) -> None:
        """Take `amount` away."""
        self._find(labels).dec(amount)

    def set_to_current_time(self, /, **labels: object) -> None:
        """Make it the Unix time of now, in seconds."""
        self._find(labels).set_to_current_time()

    def get(self, /, **labels: object) -> float:
        """The number of one label set; 0 if there is none yet."""
        found = self.find(labels)
        return 0.0 if found is None else found.get()

    def description(self, key: LabelValues) -> slots.Description:
        """What a label set counts, for readers in other processes."""
        return (*super().description(key), self.merge)

    def _joined(self, own: GaugeChild | None, runs: list[Found]) -> float:
        values = [[own.values[0], own.values[1]]] if own else []
        return merged(self.merge, [*values, *(found.values for found in runs)])[0]

    def _new(self, key: LabelValues) -> GaugeChild:
        return (LatestGaugeChild if self.merge == "latest" else GaugeChild)(self, key, 2)

    def _read(self, children: list[GaugeChild]) -> list[Value]:
        return [child.values[0] for child in children]


class Histogram(Instrument[HistogramChild]):
    """Observations in buckets: durations, sizes. Buckets of many processes can be added."""

    kind = "histogram"

    def __init__(self, *fields: Any, buckets: tuple[float, ...], **named: Any) -> None:
        self.buckets = buckets
        super().__init__(*fields, **named)

    def observe(self, /, value: float, **labels: object) -> None:
        """Count one observation; one that is no finite number is logged and not counted."""
        self._find(labels).observe(value)

    def time(self, /, **labels: object) -> Timer:
        """A context manager that observes the seconds that its block takes."""
        return self._find(labels).time()

    def rebind(self, buckets: tuple[float, ...]) -> None:
        """Count in other buckets from now on, and move what was counted. One thread at a time."""
        self.buckets = buckets
        for child in list(self._children.values()):
            child.rebind(buckets)

    def get(self, /, **labels: object) -> Distribution:
        """The observations of one label set; none if there is none yet."""
        found = self.find(labels)
        empty = [0] * (len(self.buckets) + 1)
        return Distribution(self.buckets, empty, 0.0) if found is None else found.get()

    def description(self, key: LabelValues) -> slots.Description:
        """What a label set counts, for readers in other processes."""
        return (*super().description(key), self.buckets)

    def _joined(self, own: HistogramChild | None, runs: list[Found]) -> Distribution:
        counts = [0] * (len(self.buckets) + 1)
        runs = [*(own.runs() if own else ()), *runs]
        for found in runs:
            bounds = (*found.description[-1], math.inf)
            for bound, count in zip(bounds, found.values[1:], strict=True):
                counts[bisect_left(self.buckets, bound)] += int(count)
        return Distribution(self.buckets, counts, math.fsum([found.values[0] for found in runs]))

    def _new(self, key: LabelValues) -> HistogramChild:
        return HistogramChild(self, key, self.buckets)


class Summary(Instrument[SummaryChild]):
    """Observations with quantiles, each within 1.1 % of the true value. Quantiles of processes cannot be added."""

    kind = "summary"

    def __init__(self, *fields: Any, quantiles: tuple[float, ...], **named: Any) -> None:
        self.quantiles = quantiles
        self._windows: dict[LabelValues, Sketch] = {}
        super().__init__(*fields, **named)

    def observe(self, /, value: float, **labels: object) -> None:
        """Count one observation; NaN is none, what is negative counts as 0, and what is infinite as 2**60."""
        self._find(labels).observe(value)

    def time(self, /, **labels: object) -> Timer:
        """A context manager that observes the seconds that its block takes."""
        return self._find(labels).time()

    def get(self, /, **labels: object) -> Quantiles:
        """Count, sum and quantiles of one label set; NaN quantiles if there is none yet."""
        found = self.find(labels)
        if found is None:
            return Quantiles(0, 0.0, tuple((q, math.nan) for q in self.quantiles))
        return found.get()

    def _new(self, key: LabelValues) -> SummaryChild:
        return SummaryChild(self, key, self.quantiles)

    def description(self, key: LabelValues) -> slots.Description:
        """What a label set counts, for readers in other processes."""
        return (*super().description(key), self.quantiles)

    def _joined(self, own: SummaryChild | None, runs: list[Found]) -> Quantiles:
        rows = [(int(found.description[-1]), found.values) for found in runs]
        # A label set that only others have needs a memory too, of when the quantiles' window began.
        sketch = own.sketch if own else self._windows.setdefault(runs[0].description[5], Sketch())
        return sketch.read(self.quantiles, more=rows)

    def joined(self, found: Iterable[Found], others: Others) -> MetricFamily:
        """The metric at this instant, with what other processes counted."""
        family = super().joined(found, others)
        for key in self._windows.keys() - set(family.keys):
            del self._windows[key]
        return family


Declared = Counter | Gauge | Histogram | Summary
