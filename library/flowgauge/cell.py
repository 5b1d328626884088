"""The numbers of one label set: start, finish, snapshot. Knows no metric name, no label, no unit but seconds.

A cell writes to a run of slots by the rule of `slots`: compute first, then write in one straight line. The
wrappers of decorated functions contain the same lines as `start` and `finish`, because a call costs more than
all of them.

Whoever finishes a call names the run of slots in which it began. It is another one if the process was forked
meanwhile, and then the call is the parent's and counts nothing; or if `rebind` came between.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from time import perf_counter

from flowgauge import guard, slots
from flowgauge.bins import COUNTED, GOOD, OUTCOMES, Bins

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from flowgauge.bins import Bounds
    from flowgauge.slots import Description, Values

    # A call in progress: the run of slots in which it began, its slot of BEGUN, and when it began.
    Started = tuple[Values, int, float]
    # Labels that lead from a measurement to its trace; empty without a trace.
    Tracer = Callable[[], tuple[tuple[str, str], ...]]

# Types of errors that one cell tells apart; later ones share `OTHER`, so that totals stay right.
ERROR_LIMIT: Final = 32
OTHER: Final = "other"

# The run of slots: calls started, retries, how often the cell was reset, when a call last ended by outcome
# (`perf_counter`), sums by outcome (seconds), when calls in progress began (`perf_counter`, 0 for a free slot), errors
# by type, and counts as in `Bins`.
STARTED: Final = 0
RETRIED: Final = 1
RESETS: Final = 2
LAST: Final = 3
SUMS: Final = LAST + len(OUTCOMES)
BEGUN: Final = SUMS + len(OUTCOMES)
# A call takes the next of these in turn if it is free, so that the oldest call is never pushed out by newer ones.
TRACKED: Final = 32
ERRORS: Final = BEGUN + TRACKED
COUNTS: Final = ERRORS + ERROR_LIMIT + 1

_ALL: Final = slice(None)


class Mark:
    """A measurement that has a trace: seconds, when (`perf_counter`), and the labels that lead to the trace."""

    __slots__ = ("labels", "moment", "seconds")

    def __init__(self, seconds: float, moment: float, labels: tuple[tuple[str, str], ...]) -> None:
        self.seconds = seconds
        self.moment = moment
        self.labels = labels


class Snapshot:
    """The numbers of one instant: durations in seconds, moments on the clock of `perf_counter`, 0 for never.

    `oldest` is when the oldest call in progress began. `marks` are the newest measurements with a trace, by
    index of their bin.
    """

    __slots__ = (
        "active",
        "bins",
        "errors",
        "last_finish",
        "last_success",
        "marks",
        "oldest",
        "retried",
        "started",
    )

    def __init__(
        self,
        *,
        started: int,
        active: int,
        oldest: float,
        retried: int,
        bins: Bins,
        errors: dict[str, int],
        last_success: float,
        last_finish: float,
        marks: dict[int, Mark],
    ) -> None:
        self.started = started
        self.active = active
        self.oldest = oldest
        self.retried = retried
        self.bins = bins
        self.errors = errors
        self.last_success = last_success
        self.last_finish = last_finish
        self.marks = marks

    def finished(self, outcome: int) -> int:
        """How many calls ended this way."""
        return self.bins.total(outcome)


class Cell:
    """Counts calls. Safe for threads, forks, signal handlers and finalizers."""

    __slots__ = (
        "_description",
        "_errors",
        "_marks",
        "_next",
        "_pending",
        "_resets",
        "_retired",
        "_tracer",
        "bounds",
        "fast",
        "tick",
        "values",
    )

    def __init__(self, bounds: Bounds, description: Description = ()) -> None:
        self._description = description
        self._tracer: Tracer | None = None
        self._resets = -1.0
        self.tick = itertools.cycle(range(BEGUN, BEGUN + TRACKED)).__next__
        self._clear(bounds)

    def _clear(self, bounds: Bounds) -> None:
        self._resets += 1.0
        # The slot of each type of error.
        self._errors: dict[str, int] = {}
        self._next = itertools.count(ERRORS)
        self._marks: dict[int, Mark] = {}
        # The run of slots that `rebind` is emptying.
        self._pending: tuple[Values, Bounds] | None = None
        # Runs with other bounds that count no more. Other processes read them, so nothing is moved out of them:
        # a reader, or whoever finds this process dead, would see it twice or not at all.
        self._retired: tuple[tuple[Values, Bounds], ...] = ()
        self.bounds = bounds
        self.values = self._allocate(bounds)
        # The run of slots that a wrapper may write to by itself; None if every end has to go through `finish`.
        self.fast: Values | None = None if self._tracer else self.values

    def _allocate(self, bounds: Bounds) -> Values:
        size = COUNTS + len(OUTCOMES) * (len(bounds) + 1)
        values = slots.allocate(("calls", *self._description, bounds), size)
        values[RESETS] = self._resets
        return values

    def start(self) -> Started:
        """Count a call that begins; what it returns belongs to `finish`."""
        slot = self.tick()
        begun = perf_counter()
        values = self.values
        values[STARTED] += 1.0
        if not values[slot]:
            values[slot] = begun
        return values, slot, begun

    def finish(self, started: Started, outcome: int = GOOD, error: str = "") -> None:
        """Count the end of the call; `error` is the type of what was raised."""
        self.end(started, perf_counter(), outcome, error)

    def end(self, started: Started, now: float, outcome: int = GOOD, error: str = "") -> None:
        """Count the end of the call at `now`, on the clock of `perf_counter`."""
        values, slot, begun = started
        if values[RESETS] != self.values[RESETS]:
            return  # the call is the parent's
        self.count(now - begun, now, outcome, error)
        if values[slot] == begun:
            values[slot] = 0.0
        values = self.values  # `rebind` may have come between
        if values[slot] == begun:
            values[slot] = 0.0

    def count(self, elapsed: float, now: float, outcome: int = GOOD, error: str = "") -> None:
        """Count an end whose start was counted: after `elapsed` seconds, at `now`."""
        wrong = self._error(error) if error else ERRORS
        failed = 1.0 if error else 0.0
        while True:
            bounds, values = self.bounds, self.values
            inner = bisect_left(bounds, elapsed)
            i = COUNTS + outcome * (len(bounds) + 1) + inner
            if values is self.values:  # else `rebind` came between
                values[i] += 1.0
                values[SUMS + outcome] += elapsed
                if now > values[LAST + outcome]:  # noqa: PLR1730 - `max` is a call
                    values[LAST + outcome] = now
                values[wrong] += failed
                break
        if self._tracer is not None:
            try:  # noqa: SIM105 - `suppress` would be a call
                self._mark(inner, elapsed, now)
            except RecursionError:  # no stack is left for it, but the end is counted
                pass

    def _mark(self, inner: int, elapsed: float, now: float) -> None:
        try:
            labels = self._tracer() if self._tracer is not None else ()
            if labels:
                self._marks[inner] = Mark(elapsed, now, labels)
        except Exception as error:
            guard.report("exemplar", error)

    def begin(self, amount: float = 1.0) -> None:
        """Count starts whose ends are told by `count`."""
        self.values[STARTED] += amount

    def retry(self) -> None:
        """Count an attempt after the first."""
        self.values[RETRIED] += 1.0

    def trace(self, tracer: Tracer | None) -> None:
        """Keep the newest measurement of each bin that `tracer` has labels for; None keeps none."""
        self._tracer = tracer
        self.fast = self.values if tracer is None else None

    def rebind(self, bounds: Bounds) -> None:
        """Count in `bounds` (seconds) from now on. One thread at a time."""
        if slots.is_private(self.values):
            self._replace(bounds)
        elif bounds != self.bounds:
            self._retire(bounds)

    def move(self) -> None:
        """Keep the numbers in the storage that is used now. One thread at a time."""
        self._replace(self.bounds)
        while self._retired:
            each, *more = self._retired
            rest = tuple(more)
            # One straight line: a snapshot counts it once.
            self._pending = each
            self._retired = rest
            self._empty(*each)
        for error, slot in {**self._errors}.items():
            self._announce(error, slot)

    def _replace(self, bounds: Bounds) -> None:
        """Count in a new run, and move what was counted."""
        fresh = self._allocate(bounds)
        old, before = self.values, self.bounds
        self._take(fresh, bounds, pending=(old, before), retired=self._retired)
        self._empty(old, before)

    def _empty(self, old: Values, bounds: Bounds) -> None:
        # Nobody but late starts writes to `old` any more, and snapshots count both until it is empty.
        _move(old, bounds, self.values, self.bounds)
        self._pending = None

    def _retire(self, bounds: Bounds) -> None:
        """Count in another run, and leave what was counted where it is."""
        old, before = self.values, self.bounds
        again = [values for values, each in self._retired if each == bounds]
        fresh = again[0] if again else self._allocate(bounds)
        kept = tuple([each for each in self._retired if each[1] != bounds])
        self._take(fresh, bounds, retired=((old, before), *kept))
        # Now nobody writes to `old` but for ends of what began there.
        if not any(value for i, value in enumerate(old) if i != RESETS):
            self._retired = kept
            slots.release(old)

    def _take(
        self,
        fresh: Values,
        bounds: Bounds,
        *,
        retired: tuple[tuple[Values, Bounds], ...],
        pending: tuple[Values, Bounds] | None = None,
    ) -> None:
        fast = fresh if self._tracer is None else None
        marks: dict[int, Mark] = {}
        # One straight line, so that a snapshot sees all of it or nothing.
        self._pending = pending
        self._retired = retired
        self._marks = marks
        self.bounds = bounds
        self.values = fresh
        self.fast = fast

    def snapshot(self) -> Snapshot:
        """All numbers of one instant."""
        return self._read(apart=False)[0]

    def snapshots(self) -> list[Snapshot]:
        """All numbers of one instant; behind the first, only sums of durations: those of each earlier set-up.

        Other processes see them apart, and must come to the same sum, to its last bit.
        """
        return self._read(apart=True)

    def _read(self, *, apart: bool) -> list[Snapshot]:
        values: list[float] = []
        rest: list[float] = []
        sums: list[list[float]] = []
        bounds = self.bounds
        pending = self._pending
        retired = self._retired
        values[_ALL] = self.values
        if pending is not None:
            rest[_ALL] = pending[0]
        if pending is not None or retired:
            whole = [0.0] * len(values)
            if pending is not None:
                _move(rest, pending[1], whole, bounds)
            _move(values, bounds, whole, bounds)
            for run, each in retired:
                # These do not change any more, or count on beside the one that is counted in now.
                rest[_ALL] = run
                if apart:
                    sums.append(rest[SUMS:BEGUN])
                    rest[SUMS:BEGUN] = [0.0] * (BEGUN - SUMS)
                _move(rest, each, whole, bounds)
            values = whole
        first = read(values, bounds, {**self._errors}, {**self._marks})
        return [first, *[_of_sums(each, bounds) for each in sums]]

    def reset(self) -> None:
        """Forget everything, in a forked child."""
        self._clear(self.bounds)

    def _error(self, error: str) -> int:
        slot = self._errors.get(error)
        if slot is None:
            if len(self._errors) >= ERROR_LIMIT:
                return ERRORS + ERROR_LIMIT
            # `setdefault` is atomic; a thread that loses the race wastes a slot, hence the `min`.
            slot = min(next(self._next), ERRORS + ERROR_LIMIT)
            slot = self._errors.setdefault(error, slot)
            self._announce(error, slot)
        return slot

    def _announce(self, error: str, slot: int) -> None:
        # Readers in other processes see the count, and learn its name from this empty run.
        slots.allocate(("error", *self._description, error, slot), 0)


def read(
    values: list[float], bounds: Bounds, errors: dict[str, int], marks: dict[int, Mark]
) -> Snapshot:
    """The numbers in a copy of a run of slots; `errors` has the slot of each type of error."""
    errors[OTHER] = errors.get(OTHER, ERRORS + ERROR_LIMIT)
    named = {name: int(values[slot]) for name, slot in errors.items()}
    if errors[OTHER] != ERRORS + ERROR_LIMIT:
        named[OTHER] += int(values[ERRORS + ERROR_LIMIT])
    bins = Bins(bounds)
    bins.counts = [int(count) for count in values[COUNTS:]]
    bins.sums = values[SUMS:BEGUN]
    started = int(values[STARTED])
    return Snapshot(
        started=started,
        # An end that is told without a start counts as one: no number of calls is below zero.
        active=max(started - sum(bins.counts), 0),
        oldest=min(filter(None, values[BEGUN:ERRORS]), default=0.0),
        retried=int(values[RETRIED]),
        bins=bins,
        errors={name: count for name, count in named.items() if count},
        last_success=values[LAST + GOOD],
        last_finish=max([values[LAST + outcome] for outcome in COUNTED]),
        marks=marks,
    )


def _of_sums(sums: list[float], bounds: Bounds) -> Snapshot:
    made = read([0.0] * (COUNTS + len(OUTCOMES) * (len(bounds) + 1)), bounds, {}, {})
    made.bins.sums = sums
    return made


def _move(source: Values, source_bounds: Bounds, target: Values, bounds: Bounds) -> None:
    """Take the numbers out of one run of slots and add them to another, slot by slot."""
    for i in (STARTED, RETRIED, *range(SUMS, BEGUN), *range(ERRORS, COUNTS)):
        target[i] += source[i]
        source[i] = 0.0
    for i in range(LAST, SUMS):
        if source[i] > target[i]:  # noqa: PLR1730 - `max` is a call
            target[i] = source[i]
        source[i] = 0.0
    for i in range(BEGUN, ERRORS):
        if not target[i]:
            target[i] = source[i]
        source[i] = 0.0
    into = fold_map(source_bounds, bounds)
    for i in range(COUNTS, len(source)):
        k = into[i - COUNTS]
        target[k] += source[i]
        source[i] = 0.0


def fold_map(source: Bounds, bounds: Bounds) -> list[int]:
    """The slot in a run with `bounds` for each count of a run with the bounds `source`."""
    inner = [bisect_left(bounds, upper) for upper in (*source, float("inf"))]
    width = len(bounds) + 1
    return [COUNTS + outcome * width + i for outcome in OUTCOMES for i in inner]
