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

import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NamedTuple, Protocol, Self, TypeVar
from weakref import WeakSet

from flowgauge import forks, guard, slots
from flowgauge.cell import OTHER
from flowgauge.cells import text
from flowgauge.metrics import Distribution, Kind, LabelValues, MetricFamily, Quantiles, Value
from flowgauge.sketch import Sketch

if TYPE_CHECKING:
    from flowgauge.slots import Values

# Label sets of one metric; the guides ask for fewer than 1,000.
LIMIT: Final = 1000
# Seconds, from 5 ms to 10 s: what prometheus_client takes, so that a program that moves here keeps its series.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
QUANTILES: Final = (0.5, 0.9, 0.95, 0.99)
# How the values of one gauge in several processes become one.
Merge = Literal["sum", "max", "min", "latest"]

_ALL: Final = slice(None)
_RESERVED: Final = {"histogram": "le", "summary": "quantile"}
# What methods call the number that they take: a label of this name could not be given beside it.
_NUMBERS: Final = {
    "counter": ("amount",),
    "gauge": ("amount", "value"),
    "histogram": ("value",),
    "summary": ("value",),
}


class Others(Protocol):
    """The other processes of the program."""

    def instruments(self, space: str) -> Iterable[Found]:
        """Their label sets of this space."""

    def admitted(
        self, family: tuple[str, ...], keys: Collection[LabelValues], limit: int
    ) -> Collection[LabelValues]:
        """Which label sets have a series of their own, where all processes together have too many."""


class Found(NamedTuple):
    """What a run of slots holds that other processes read; `errors` names the slots of errors, for calls."""

    description: slots.Description
    values: list[float]
    errors: dict[str, int]


class Child:
    """One label set of a metric. Keep it where the same labels are used often."""

    __slots__ = ("key", "owner", "values")

    def __init__(self, owner: Instrument[Any], key: LabelValues, size: int) -> None:
        self.owner = owner
        self.key = key
        self.values: Values = slots.allocate(owner.description(key), size)

    def reset(self) -> None:
        """Forget everything, in a forked child or between tests."""
        self.release()
        self.values = slots.allocate(self.owner.description(self.key), len(self.values))

    def move(self) -> None:
        """Keep the numbers in the storage that is used now."""
        old = self.values
        fresh = slots.allocate(self.owner.description(self.key), len(old))
        self.values = fresh
        for i in range(len(old)):
            fresh[i] += old[i]
            old[i] = 0.0

    def release(self) -> None:
        """Take the numbers away from readers in other processes."""
        slots.release(self.values)

    def runs(self) -> Iterator[Found]:
        """The numbers as other processes see them."""
        yield Found(self.owner.description(self.key), list(self.values), {})


class CounterChild(Child):
    """A number that only grows."""

    __slots__ = ()

    def inc(self, amount: float = 1.0) -> None:
        """Add `amount`; one that is negative or no finite number is logged and not counted."""
        try:
            if type(amount) is not float:
                amount = _number(amount)
            if amount >= 0 and amount - amount == 0:  # neither NaN nor infinite
                self.values[0] += amount
                return
        except Exception as error:
            guard.report("counter", error)
            return
        guard.warn(
            "counter", f"a counter cannot go up by {amount!r}; use a gauge for what goes down"
        )

    def get(self) -> float:
        """The number."""
        return self.values[0]


class GaugeChild(Child):
    """A number that goes up and down. The second slot is above 0 once it was set."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """Make it `value`."""
        try:
            if type(value) is not float:
                value = _number(value)
            values = self.values
            values[0] = value
            values[1] = 1.0
        except Exception as error:
            guard.report("gauge", error)

    def inc(self, amount: float = 1.0) -> None:
        """Add `amount`."""
        try:
            if type(amount) is not float:
                amount = _number(amount)
            values = self.values
            values[0] += amount
            values[1] = 1.0
        except Exception as error:
            guard.report("gauge", error)

    def dec(self, amount: float = 1.0) -> None:
        """Take `amount` away."""
        try:
            self.inc(-amount)
        except Exception as error:
            guard.report("gauge", error)

    def set_to_current_time(self) -> None:
        """Make it the Unix time of now, in seconds."""
        from time import time  # noqa: PLC0415 - the name would hide what is imported above

        self.set(time())

    def get(self) -> float:
        """The number."""
        return self.values[0]


class LatestGaugeChild(GaugeChild):
    """A number of which several processes take the one that was set last; the second slot is when (`perf_counter`)."""

    __slots__ = ()

    def set(self, value: float) -> None:
        """Make it `value`."""
        try:
            if type(value) is not float:
                value = _number(value)
            now = perf_counter()
            values = self.values
            values[0] = value
            values[1] = now
        except Exception as error:
            guard.report("gauge", error)

    def inc(self, amount: float = 1.0) -> None:
        """Add `amount`."""
        try:
            if type(amount) is not float:
                amount = _number(amount)
            now = perf_counter()
            values = self.values
            values[0] += amount
            values[1] = now
        except Exception as error:
            guard.report("gauge", error)


class HistogramChild(Child):
    """Observations in buckets. The first slot is the sum."""

    __slots__ = ("bounds", "retired")

    def __init__(self, owner: Instrument[Any], key: LabelValues, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        # Runs in other bounds that count no more. Other processes read them, so nothing is moved out of them.
        self.retired: tuple[tuple[Values, tuple[float, ...]], ...] = ()
        super().__init__(owner, key, len(bounds) + 2)

    def observe(self, value: float) -> None:
        """Count one observation; one that is no finite number is logged and not counted."""
        try:
            if type(value) is not float:
                value = _number(value)
            if value - value == 0:
                while True:
                    bounds = self.bounds
                    i = 1 + bisect_left(bounds, value)
                    values = self.values
                    if bounds is self.bounds:  # else `rebind` came between
                        values[i] += 1.0
                        values[0] += value
                        return
        except Exception as error:
            guard.report("histogram", error)
            return
        guard.warn("histogram", f"a histogram cannot count {value!r}")

    def time(self) -> Timer:
        """A context manager that observes the seconds that its block takes."""
        return Timer(self.observe)

    def rebind(self, bounds: tuple[float, ...]) -> None:
        """Count in `bounds` from now on. One thread at a time."""
        old, before = self.values, self.bounds
        if bounds == before:
            return
        again = [values for values, each in self.retired if each == bounds]
        kept = tuple([each for each in self.retired if each[1] != bounds])
        fresh = again[0] if again else slots.allocate(self._description(bounds), len(bounds) + 2)
        is_private = slots.is_private(old)
        retired = kept if is_private else ((old, before), *kept)
        # One straight line, so that nothing is counted by half.
        self.retired = retired
        self.bounds = bounds
        self.values = fresh
        if is_private:
            _fold(old, before, fresh, bounds)
        elif not any(old):
            self.retired = kept
            slots.release(old)

    def move(self) -> None:
        """Keep the numbers in the storage that is used now. One thread at a time."""
        old, retired, bounds = self.values, self.retired, self.bounds
        fresh = slots.allocate(self._description(bounds), len(bounds) + 2)
        self.values = fresh
        self.retired = ()
        for run, before in ((old, bounds), *retired):
            _fold(run, before, fresh, bounds)

    def reset(self) -> None:
        """Forget everything, in a forked child or between tests."""
        self.release()
        self.retired = ()
        self.values = slots.allocate(self._description(self.bounds), len(self.values))

    def release(self) -> None:
        """Take the numbers away from readers in other processes."""
        slots.release(self.values)
        for run, _ in self.retired:
            slots.release(run)

    def runs(self) -> Iterator[Found]:
        """The numbers as other processes see them."""
        for run, bounds in ((self.values, self.bounds), *self.retired):
            yield Found(self._description(bounds), list(run), {})

    def get(self) -> Distribution:
        """The observations by bucket."""
        copy: list[float] = []
        bounds = self.bounds
        retired = self.retired
        copy[_ALL] = self.values
        for run, before in retired:
            _fold(list(run), before, copy, bounds)
        return Distribution(bounds, [int(count) for count in copy[1:]], copy[0])

    def _description(self, bounds: tuple[float, ...]) -> slots.Description:
        return (*self.owner.description(self.key)[:-1], bounds)


def _fold(
    source: Values, source_bounds: tuple[float, ...], target: Values, bounds: tuple[float, ...]
) -> None:
    """Take the observations out of one run of slots and add them to another."""
    into = [0, *(1 + bisect_left(bounds, bound) for bound in (*source_bounds, math.inf))]
    for i, k in enumerate(into):
        target[k] += source[i]
        source[i] = 0.0


class SummaryChild:
    """Observations with quantiles of the last ten minutes, and count and sum of all."""

    __slots__ = ("_allocate", "_owner", "_quantiles", "key", "observe", "sketch")

    def __init__(
        self, owner: Instrument[Any], key: LabelValues, quantiles: tuple[float, ...]
    ) -> None:
        self._quantiles = quantiles

        def allocate(row: int, size: int) -> Values:
            return slots.allocate((*owner.description(key), row), size)

        self._allocate = allocate
        self._owner = owner
        self.key = key
        self.sketch = Sketch(allocate=allocate)
        # Counts one observation, and raises nothing itself. A method that called it would cost a third of it.
        self.observe = self.sketch.observe

    def time(self) -> Timer:
        """A context manager that observes the seconds that its block takes."""
        return Timer(self.observe)

    def get(self) -> Quantiles:
        """Count, sum and quantiles."""
        return self.sketch.read(self._quantiles)

    def release(self) -> None:
        """Take the numbers away from readers in other processes."""
        for _, row in self.sketch.rows():
            slots.release(row)

    def runs(self) -> Iterator[Found]:
        """The numbers as other processes see them."""
        for number, row in self.sketch.rows():
            yield Found((*self._owner.description(self.key), number), list(row), {})

    def reset(self) -> None:
        """Forget everything, in a forked child or between tests."""
        self.release()
        self.sketch.reset()

    def move(self) -> None:
        """Keep the numbers in the storage that is used now."""
        self.sketch.move(self._allocate)


class Timer:
    """Measures a block."""

    __slots__ = ("_begun", "_observe")

    def __init__(self, observe: Callable[[float], None]) -> None:
        self._observe = observe
        self._begun = 0.0

    def __enter__(self) -> Self:
        self._begun = perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self._observe(perf_counter() - self._begun)


C = TypeVar("C", CounterChild, GaugeChild, HistogramChild, SummaryChild)


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
        bounds = _bounds(name, buckets)
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
        ordered = tuple(sorted(set(_quantiles(name, quantiles))))
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
        names = _checked(sort.kind, name, help_text, labels, unit)
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


def merged(merge: str, runs: list[list[float]]) -> list[float]:
    """One run of slots for several of a gauge: its value, and when it was set (`perf_counter`)."""
    if merge == "sum":
        return [sum(run[0] for run in runs), max(run[1] for run in runs)]
    given = [run for run in runs if run[1]] or runs
    ranks = {"max": lambda run: run[0], "min": lambda run: -run[0], "latest": lambda run: run[1]}
    return max(given, key=ranks[merge])


_collectors: WeakSet[MetricsCollector] = WeakSet()
# Label sets that other processes of the program have.
_elsewhere: Others | None = None


def _checked(
    kind: str, name: str, help_text: str, labels: Iterable[str], unit: str
) -> tuple[str, ...]:
    """The names of the labels, if everything is what it must be."""
    if not _is_name(name, also=":"):
        raise ValueError(
            f"{name!r} is no name of a metric; use letters, digits and _, not a digit first"
        )
    for field, value in (("help_text", help_text), ("unit", unit)):
        if not isinstance(value, str):
            raise ValueError(f"{field} of {name} is {value!r}, must be text")  # noqa: TRY004 - one error for all
    names = _listed(labels)
    if names is None:
        raise ValueError(f"labels of {name} are {labels!r}, must be a list of names")
    _check_labels(kind, name, names)
    return names


def _check_labels(kind: str, name: str, labels: tuple[str, ...]) -> None:
    for label in labels:
        if not _is_name(label) or label.startswith("__"):
            raise ValueError(
                f"{label!r} of {name} is no name of a label; use letters, digits and _, not a digit first, not __ first"
            )
        if label in _NUMBERS.get(kind, ()):
            raise ValueError(
                f"{label!r} of {name} is what methods of a {kind} call their number; use another name"
            )
        if label == _RESERVED.get(kind):
            raise ValueError(
                f"{label!r} of {name} is a label that every {kind} has; use another name"
            )
    if len(set(labels)) != len(labels):
        raise ValueError(f"labels of {name} are {list(labels)}, must differ from each other")


def _bounds(name: str, buckets: Iterable[float]) -> tuple[float, ...]:
    given = _listed(buckets)
    bounds = _numbers(given)
    if bounds and bounds[-1] == math.inf:
        bounds.pop()  # every histogram has it
    if not bounds or not all(map(math.isfinite, bounds)) or bounds != sorted(set(bounds)):
        raise ValueError(
            f"buckets of {name} are {_shown(given, buckets)}, must be finite numbers that ascend"
        )
    return tuple(bounds)


def _quantiles(name: str, quantiles: Iterable[float]) -> list[float]:
    given = _listed(quantiles)
    found = _numbers(given)
    if given is None or len(found) != len(given) or not all(0 <= q <= 1 for q in found):
        raise ValueError(f"quantiles of {name} are {_shown(given, quantiles)}, must be from 0 to 1")
    return found


def _listed(given: Any) -> tuple[Any, ...] | None:
    """What was given as a list; None for what is none, such as text, whose letters nobody means."""
    if isinstance(given, str | bytes):
        return None
    try:
        return tuple(given)
    except TypeError:
        return None


def _numbers(given: tuple[Any, ...] | None) -> list[float]:
    """Floats; none at all if one of them cannot be one."""
    try:
        return [float(number) for number in given or ()]
    except (TypeError, ValueError, OverflowError):
        return []


def _shown(listed: tuple[Any, ...] | None, given: object) -> str:
    return repr(given if listed is None else list(listed))


def _number(value: Any) -> float:
    """The number as a float: with others, sums would be of another type, as coarse as a float32 of numpy.

    Raises:
        Exception: it is no number; text is none, though `float` takes it.

    """
    return float(value + 0)


def _is_name(name: object, *, also: str = "") -> bool:
    if not isinstance(name, str) or not name or name[0].isdigit():
        return False
    return all((c.isascii() and c.isalnum()) or c == "_" or c in also for c in name)


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
