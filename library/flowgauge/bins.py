"""Counts of durations by outcome, and how they move from one set of bounds to another. Pure.

Bounds belong to a profile, but decorated code may run before a profile is chosen. Until then
durations are counted in `GRID`, which holds the bounds that people choose, so that moving to those is
exact; any other bound takes the durations that lie up to a fifth below it.
"""

from __future__ import annotations

from bisect import bisect_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    Bounds = tuple[float, ...]

# How something ended: an index, because the hot path computes with it.
GOOD: Final = 0
FAILED: Final = 1
CANCELLED: Final = 2
SKIPPED: Final = 3  # neither good nor bad: nothing was to be done, or it will be tried again
COUNTED: Final = (GOOD, FAILED, CANCELLED)
OUTCOMES: Final = (*COUNTED, SKIPPED)
WORDS: Final = {"good": GOOD, "failed": FAILED, "cancelled": CANCELLED, "skipped": SKIPPED}


def _grid() -> Bounds:
    digits = (10, 12, 15, 18, 20, 25, 30, 35, 36, 40, 45, 50, 60, 70, 72, 75, 80, 90)
    # Hours and days: 4 h, 8 h, 12 h, 24 h, 48 h, 7 d.
    spans = (14400.0, 28800.0, 43200.0, 86400.0, 172800.0, 604800.0)
    return tuple(sorted({float(f"{d}e{e}") for d in digits for e in range(-7, 5)} | {*spans}))


GRID: Final = _grid()


class Bins:
    """Durations in seconds by outcome: one flat list of counts, `width` for each outcome, and sums.

    The last of the `width` counts of an outcome holds what lies above all bounds.
    """

    __slots__ = ("bounds", "counts", "sums", "width")

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.width = len(bounds) + 1
        self.counts = [0] * (self.width * len(OUTCOMES))
        self.sums = [0.0] * len(OUTCOMES)

    def by_outcome(self, outcome: int) -> list[int]:
        """The counts of one outcome, not cumulative."""
        return self.counts[outcome * self.width : (outcome + 1) * self.width]

    def total(self, outcome: int) -> int:
        """How many durations one outcome has."""
        return sum(self.by_outcome(outcome))


def fold(parts: Iterable[Bins], bounds: Bounds) -> Bins:
    """The sum of `parts` in `bounds`; a count goes where the upper bound of its bin belongs."""
    from math import fsum  # noqa: PLC0415 - a library to load, which only a scrape needs

    whole = Bins(bounds)
    parts = [*parts]
    # The same whatever the order: a sum that is less by its last bit has begun anew, for Prometheus.
    whole.sums = [fsum([part.sums[outcome] for part in parts]) for outcome in OUTCOMES]
    for part in parts:
        if part.bounds == bounds:
            whole.counts = [a + b for a, b in zip(whole.counts, part.counts, strict=True)]
        else:
            _move(part, whole)
    return whole


def _move(part: Bins, whole: Bins) -> None:
    for i, upper in enumerate((*part.bounds, float("inf"))):
        target = bisect_left(whole.bounds, upper)
        for outcome in OUTCOMES:
            whole.counts[outcome * whole.width + target] += part.counts[outcome * part.width + i]
