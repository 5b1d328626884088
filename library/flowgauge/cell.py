"""The numbers of one label set: start, finish, snapshot. Knows no metric name, no label, no unit but seconds.

Two rules keep forked children, signal handlers and finalizers from waiting for ever:

1. Nothing is called while a cell's lock is held. A call is where the interpreter switches threads and
   runs signal handlers. Nor is anything made there that the garbage collector counts, for it may run
   a finalizer, which may finish a measurement of the same cell. So copies go into lists made before.
2. A child that was forked calls `reset` (see `forks`): a new lock, and none of the parent's numbers.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from threading import Lock
from time import perf_counter, time
from typing import Final, NamedTuple

from flowgauge.bins import GOOD, OUTCOMES, Bins, Bounds, fold

# Types of errors that one cell tells apart; later ones share `OTHER`, so that totals stay right.
ERROR_LIMIT: Final = 32
OTHER: Final = "other"

_ALL: Final = slice(None)


class Snapshot(NamedTuple):  # a dataclass would import `inspect` into every program
    """The numbers of one instant. Durations in seconds, `oldest` on the clock of `perf_counter`.

    `oldest` is the start of the oldest call in progress, None without one. `last_success` and
    `last_finish` are Unix times, 0 if there was none.
    """

    started: int
    active: int
    oldest: float | None
    retried: int
    bins: Bins
    errors: dict[str, int]
    last_success: float
    last_finish: float

    def finished(self, outcome: int) -> int:
        """How many calls ended this way."""
        return self.bins.total(outcome)


class Cell:
    """Counts calls. Safe for threads, forks, signal handlers and finalizers."""

    __slots__ = (
        "_bins",
        "_errors",
        "_first",
        "_last",
        "_lock",
        "_next_slot",
        "_past",
        "_retried",
        "_serial",
        "_slots",
        "_starts",
    )

    def __init__(self, bounds: Bounds) -> None:
        # Serials go on in a forked child, so that a token of the parent is never taken for one of the child's.
        self._serial = 0
        self._clear(bounds)

    def _clear(self, bounds: Bounds) -> None:
        self._lock = Lock()
        self._first = self._serial
        self._starts: dict[int, float] = {}
        self._retried = 0
        self._bins = Bins(bounds)
        self._past: tuple[Bins, ...] = ()
        self._slots: dict[str, int] = {}
        self._next_slot = itertools.count()
        self._errors = [0] * (ERROR_LIMIT + 1)
        self._last = [0.0] * len(OUTCOMES)

    def start(self) -> int:
        """Count a call that begins; the token belongs to `finish`."""
        now = perf_counter()
        with self._lock:
            token = self._serial
            self._serial = token + 1
            self._starts[token] = now
        return token

    def finish(self, token: int, outcome: int = GOOD, error: str = "") -> None:
        """Count the end of the call that `token` began; `error` is the type of what was raised.

        A token that is unknown counts nothing: the call ended already, or began before a fork and is
        the parent's.
        """
        now = perf_counter()
        begun = self._starts.get(token)
        if begun is None:
            return
        wall = time()
        elapsed = now - begun
        slot = self._slot(error) if error else -1
        while True:
            bins = self._bins
            i = outcome * bins.width + bisect_left(bins.bounds, elapsed)
            with self._lock:
                if bins is self._bins:  # else `rebind` came between
                    bins.counts[i] += 1
                    bins.sums[outcome] += elapsed
                    self._last[outcome] = wall
                    if slot >= 0:
                        self._errors[slot] += 1
                    del self._starts[token]
                    return

    def retry(self) -> None:
        """Count an attempt after the first."""
        with self._lock:
            self._retried += 1

    def rebind(self, bounds: Bounds) -> None:
        """Count in `bounds` (seconds) from now on, and move what was counted. One thread at a time."""
        fresh, old = Bins(bounds), self._bins
        past = (*self._past, old)
        with self._lock:
            self._past = past
            self._bins = fresh
        # Nobody writes to `old` any more; until it is folded, snapshots fold it themselves.
        folded = (fold(past, bounds),)
        with self._lock:
            self._past = folded

    def snapshot(self) -> Snapshot:
        """All numbers of one instant."""
        starts: dict[int, float] = {}
        counts: list[int] = []
        sums: list[float] = []
        errors: list[int] = []
        last: list[float] = []
        with self._lock:
            started = self._serial - self._first
            retried = self._retried
            bins = self._bins
            past = self._past
            counts[_ALL] = bins.counts
            sums[_ALL] = bins.sums
            errors[_ALL] = self._errors
            last[_ALL] = self._last
            starts |= self._starts
        copy = Bins(bins.bounds)
        copy.counts, copy.sums = counts, sums
        return Snapshot(
            started=started,
            active=len(starts),
            oldest=min(starts.values(), default=None),
            retried=retried,
            bins=fold((*past, copy), bins.bounds) if past else copy,
            errors=self._named(errors),
            last_success=last[GOOD],
            last_finish=max(last),
        )

    def reset(self) -> None:
        """Forget everything, in a forked child."""
        self._clear(self._bins.bounds)

    def _slot(self, error: str) -> int:
        slot = self._slots.get(error)
        if slot is None:
            if len(self._slots) >= ERROR_LIMIT:
                return ERROR_LIMIT
            # `setdefault` is atomic; a thread that loses the race wastes a number, hence the `min`.
            slot = self._slots.setdefault(error, min(next(self._next_slot), ERROR_LIMIT))
        return slot

    def _named(self, errors: list[int]) -> dict[str, int]:
        named = {
            name: errors[i]
            for name, i in list(self._slots.items())
            if i < ERROR_LIMIT and errors[i]
        }
        if errors[ERROR_LIMIT]:
            named[OTHER] = named.get(OTHER, 0) + errors[ERROR_LIMIT]
        return named
