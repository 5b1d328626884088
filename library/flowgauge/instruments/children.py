"""The numbers of one label set of an instrument: a run of slots, written by the rule of `slots`."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from flowgauge import guard, slots
from flowgauge.metrics import Distribution, LabelValues, Quantiles
from flowgauge.sketch import Sketch

if TYPE_CHECKING:
    from flowgauge.instruments.instrument import Instrument
    from flowgauge.slots import Values

_ALL: Final = slice(None)


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


def merged(merge: str, runs: list[list[float]]) -> list[float]:
    """One run of slots for several of a gauge: its value, and when it was set (`perf_counter`)."""
    if merge == "sum":
        return [sum(run[0] for run in runs), max(run[1] for run in runs)]
    given = [run for run in runs if run[1]] or runs
    ranks = {"max": lambda run: run[0], "min": lambda run: -run[0], "latest": lambda run: run[1]}
    return max(given, key=ranks[merge])


def _number(value: Any) -> float:
    """The number as a float: with others, sums would be of another type, as coarse as a float32 of numpy.

    Raises:
        Exception: it is no number; text is none, though `float` takes it.

    """
    return float(value + 0)
