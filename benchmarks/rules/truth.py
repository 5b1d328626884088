"""What is right to say of a window, and how far from it a recorded value is. Pure.

Two truths. *Known*: runs count from the scrape that first told of them, and those of which none told are left out. It
is what a reader with all scrapes at hand could say, and the only one that a window of minutes can be held to.
*Happened*: all runs, when they ended.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """Bad and all runs."""

    bad: int
    total: int

    @property
    def ratio(self) -> float | None:
        """The error ratio; None where nothing ran."""
        return self.bad / self.total if self.total else None


class Ledger:
    """Runs by time, to be counted over any window."""

    def __init__(self, runs: Sequence[tuple[float, bool]]) -> None:
        self._at = [at for at, _ in runs]
        self._bad = [0, *itertools.accumulate(bad for _, bad in runs)]

    def window(self, until: float, seconds: float) -> Counts:
        """Those after `until - seconds` and not after `until`."""
        first, last = (bisect.bisect_right(self._at, at) for at in (until - seconds, until))
        return Counts(self._bad[last] - self._bad[first], last - first)


def error(recorded: float | None, true: float | None) -> float | None:
    """How far a recorded ratio is from the true one, as a share of the true one. None where there is nothing to say.

    Where nothing was bad, anything but zero is all wrong; where something was, no value is.
    """
    if recorded is not None and math.isnan(recorded):
        recorded = None
    if true is None:
        return None
    if true == 0:
        return 0 if recorded is None or abs(recorded) < 1e-9 else 1
    return 1 if recorded is None else abs(recorded - true) / true
