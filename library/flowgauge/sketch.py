"""Count observations in exponential buckets: quantiles for summaries, and native histograms.

`Sketch` counts the observations of one label set, and `Window` sees what came lately in totals that only grow.

hundred buckets in use takes 6 kB, one with 370 takes 13 kB, and 4 kB more for each age of its window; one run for
the whole range would start at 26 kB.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable
from math import frexp, fsum, inf
from operator import itemgetter
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple

from flowgauge import guard
from flowgauge.exponentials import (
    HIGHEST_SCHEMA,
    count,
    fractions,
    quantiles,
)
from flowgauge.metrics import Exponential, Quantiles

if TYPE_CHECKING:
    from flowgauge.slots import Values

# A sketch tells the values from 2**-40 (1e-12) to 2**60 (1e18) apart. Without ends, values that are made of
# garbage could take a row for each of the two thousand powers of two that a float can have.
ZERO_ROW: Final = -40
TOP_ROW: Final = 60
ZERO_THRESHOLD: Final = 2.0**ZERO_ROW
TOP: Final = 2.0**TOP_ROW

# Takes the number of a row and its size, and gives so many slots of zero.
Allocate = Callable[[int, int], "Values"]


class Total(NamedTuple):
    """What was observed: the counts, and the sum of the values."""

    exponential: Exponential
    sum: float


def fold(schema: int, rows: Iterable[tuple[int, Values]]) -> Total:
    """Add up rows of sketches of one schema, by their numbers. Those of several processes may be mixed."""
    width = 1 << schema
    take = _taker(width + 2)
    zeros = 0
    sums: list[float] = []
    counts: dict[int, int] = {}
    for number, row in rows:
        part, *slots = take(row)
        sums.append(part)
        if number == ZERO_ROW:
            zeros += int(sum(slots))
            continue
        for i, slot in enumerate(slots, (number - 1) * width):
            if slot:
                counts[i] = counts.get(i, 0) + int(slot)
    return Total(Exponential(schema, ZERO_THRESHOLD, zeros, counts), fsum(sums))


def _taker(size: int) -> Callable[[Values], tuple[float, ...]]:
    # All slots in one call into C: counts and sum of a row belong to one instant.
    return itemgetter(*range(size))


class _Mark(NamedTuple):
    moment: float
    zeros: int
    # Ten bytes for each bucket; a dict would need a hundred.
    indices: array[int]
    counts: array[float]


class Window:
    """What came in the last `seconds`, seen in totals that only grow. Seconds on any one clock that never steps.

    It remembers the total as it was at `ages` moments in the window and subtracts. So observing costs nothing for
    it, processes need not agree on a clock, and between two readings no observation is missed, however far apart
    they are: the window then reaches back to the earlier one. The price is that it is up to `seconds / ages` too
    long; before it is full, it is everything. Readings of several threads may overlap.
    """

    __slots__ = ("_every", "_marks", "_seconds")

    def __init__(self, seconds: float, ages: int) -> None:
        if not 0.0 < seconds < inf:
            raise ValueError(
                f"window must be a positive number of seconds, or None for all time, not {seconds}"
            )
        if ages < 1:
            raise ValueError(f"ages must be at least 1, not {ages}")
        self._seconds = seconds
        self._every = seconds / ages
        # Replaced, never changed: a reading in another thread goes on with what it has.
        self._marks: tuple[_Mark, ...] = ()

    def since(self, total: Exponential, now: float) -> Exponential:
        """The part of `total` that is younger than the window. To be called at each reading."""
        marks = self._marks
        old = sum(mark.moment <= now - self._seconds for mark in marks)
        marks = marks[max(old - 1, 0) :]
        base = marks[0] if old else None
        if not marks or now - marks[-1].moment >= self._every:
            marks = (*marks, _mark(total, now))
        self._marks = marks
        return _difference(total, base) if base else total


def _mark(total: Exponential, now: float) -> _Mark:
    return _Mark(now, total.zero_count, array("i", total.counts), array("d", total.counts.values()))


def _difference(total: Exponential, base: _Mark) -> Exponential:
    counts = dict(total.counts)
    # A total that shrank began anew, for example when processes went; what is left of it is new.
    for i, number in zip(base.indices, base.counts, strict=True):
        left = counts.pop(i, 0) - int(number)
        if left > 0:
            counts[i] = left
    return total._replace(zero_count=max(total.zero_count - base.zeros, 0), counts=counts)


class Sketch:
    """Counts the observations of one label set. Safe for threads, forks and signal handlers, by the rule of `slots`.

    Row e holds the values from 2**(e-1) to 2**e: their sum, and the counts of the buckets. Its first bucket is the
    bound 2**(e-1) alone, which also is the last one of row e-1; `fold` adds them. The first row and beyond, with
    zero and what is negative, is the zero bucket; what lies beyond the last row is counted in its last bucket.

    A negative value counts as 0, also in the sum, which is a counter. An infinite one counts as the largest that
    is told apart, 2**60, since the sum would never recover. NaN is no observation. There is no slot for the count:
    it is the sum of all buckets, so the two never disagree.

    `window` is the time in seconds that quantiles look back on, None for all; `ages` is in how many steps it moves.
    """

    __slots__ = ("_ages", "_allocate", "_end", "_rows", "_seconds", "_table", "_window", "schema")

    def __init__(
        self,
        schema: int = 5,
        window: float | None = 600.0,
        ages: int = 5,
        allocate: Allocate | None = None,
    ) -> None:
        if not 0 <= schema <= HIGHEST_SCHEMA:
            raise ValueError(
                f"schema must be 0 to {HIGHEST_SCHEMA}, not {schema}; 5 is exact to 1.1 %"
            )
        self.schema = schema
        self._allocate = allocate or _private
        # With ends, so that what a row may take has the positions from 2 to 2**schema + 1, which are its slots; the
        # bound of the row has position 1, like zero and what is negative; NaN has 0, and infinity one too many.
        self._table = (-inf, *fractions(schema), 1.0)
        self._end = len(self._table)
        self._rows: dict[int, Values] = {}
        self._seconds = window
        self._ages = ages
        self._window = Window(window, ages) if window is not None else None

    def observe(self, value: float) -> None:
        """Count one observation. Never raises: what is not a number is reported and counted nowhere."""
        try:
            if type(value) is float:
                fraction, exponent = frexp(value)
                slot = bisect_left(self._table, fraction)
                if slot > 1:
                    row = self._rows[exponent]
                    # No call from here on. The count first: infinity has no slot and must not reach the sum.
                    row[slot] += 1.0
                    row[0] += value
                    return
        except (KeyError, IndexError):
            pass
        self._observe_rare(value)

    def _observe_rare(self, value: float) -> None:
        """The same for every other value: of another type, special, out of range, or the first of its row."""
        try:
            # Not only for int: a float32 of numpy would make a sum of its own precision.
            number = float(value)
            if number != number:  # noqa: PLR0124 - NaN
                return
            if number <= ZERO_THRESHOLD:
                slot, exponent, number = 1, ZERO_ROW, max(number, 0.0)
            elif number >= TOP:
                slot, exponent = self._end - 1, TOP_ROW
                number = number if number < inf else TOP
            else:
                fraction, exponent = frexp(number)
                slot = bisect_left(self._table, fraction)
            while not self._add(exponent, slot, number):
                self._make(exponent)
        except Exception as error:
            guard.report("observing a value", error)

    def _add(self, exponent: int, slot: int, number: float) -> bool:
        try:
            row = self._rows[exponent]
            row[0] += number
            row[slot] += 1.0
        except KeyError:
            return False
        return True

    def _make(self, exponent: int) -> None:
        # Two threads may make a row at the same time; the one that came first stays.
        made = self._allocate(exponent, self._end)
        self._rows.setdefault(exponent, made)

    @property
    def count(self) -> int:
        """How many observations since the start."""
        return count(self.total().exponential)

    @property
    def sum(self) -> float:
        """The sum of all observations since the start."""
        return self.total().sum

    def total(self) -> Total:
        """Everything since the start, as a native histogram shows it."""
        return fold(self.schema, {**self._rows}.items())

    def exponential(self, now: float | None = None) -> Exponential:
        """The observations of the window, at `now` on the clock of `monotonic`."""
        return self._recent(self.total().exponential, now)

    def quantiles(
        self, qs: Iterable[float], now: float | None = None
    ) -> tuple[tuple[float, float], ...]:
        """Each quantile with its value in the window."""
        return quantiles(self.exponential(now), qs)

    def read(
        self,
        qs: Iterable[float],
        now: float | None = None,
        more: Iterable[tuple[int, Values]] = (),
    ) -> Quantiles:
        """A summary: count and sum since the start, quantiles of the window, all of the same observations.

        `more` are rows of the same label set in other processes.
        """
        total = fold(self.schema, [*{**self._rows}.items(), *more])
        recent = self._recent(total.exponential, now)
        return Quantiles(count(total.exponential), total.sum, quantiles(recent, qs))

    def _recent(self, total: Exponential, now: float | None) -> Exponential:
        window = self._window
        if window is None:
            return total
        return window.since(total, monotonic() if now is None else now)

    def rows(self) -> list[tuple[int, Values]]:
        """The rows, each with its number."""
        return list({**self._rows}.items())

    def move(self, allocate: Allocate) -> None:
        """Keep the numbers in rows of `allocate` from now on. No observation is lost; a reading meanwhile may miss some."""
        old, self._allocate, self._rows = self._rows, allocate, {}
        for exponent, row in old.items():
            self._make(exponent)
            target = self._rows[exponent]
            for slot in range(self._end):
                target[slot] += row[slot]
                row[slot] = 0.0  # others may still read it

    def reset(self) -> None:
        """Forget everything, as a forked child must, and take new rows."""
        self._rows = {}
        if self._seconds is not None:
            self._window = Window(self._seconds, self._ages)


def _private(_row: int, size: int) -> Values:
    return [0.0] * size
