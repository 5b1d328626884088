"""What a role reads from the numbers of a cell, in base units. Pure; knows no names and no labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from flowgauge import clock
from flowgauge.bins import COUNTED, GOOD, fold
from flowgauge.cell import Snapshot

if TYPE_CHECKING:
    from flowgauge.bins import Bounds

Measure = Callable[[Snapshot, float], float]


def merged(snapshots: Sequence[Snapshot], bounds: Bounds) -> Snapshot:
    """Several cells as one, where a family has fewer labels than they, or several processes are one program.

    Those that count in different bounds, because some processes have chosen no profile, are counted in `bounds`: each
    by itself, so that the order in which they come makes no difference.
    """
    if len(snapshots) == 1:
        return snapshots[0]
    if all(s.bins.bounds == snapshots[0].bins.bounds for s in snapshots):
        bounds = snapshots[0].bins.bounds
    errors: dict[str, int] = {}
    for snapshot in snapshots:
        for name, count in snapshot.errors.items():
            errors[name] = errors.get(name, 0) + count
    return Snapshot(
        started=sum(s.started for s in snapshots),
        active=sum(s.active for s in snapshots),
        oldest=min((s.oldest for s in snapshots if s.oldest), default=0.0),
        retried=sum(s.retried for s in snapshots),
        bins=fold([s.bins for s in snapshots], bounds),
        errors=errors,
        last_success=max(s.last_success for s in snapshots),
        last_finish=max(s.last_finish for s in snapshots),
        marks={i: mark for s in snapshots for i, mark in s.marks.items()},
    )


def _finished(snapshot: Snapshot, _now: float) -> float:
    return sum(snapshot.finished(outcome) for outcome in COUNTED)


def _oldest_age(snapshot: Snapshot, now: float) -> float:
    return max(now - snapshot.oldest, 0.0) if snapshot.oldest else 0.0


def _success_ratio(snapshot: Snapshot, now: float) -> float:
    # Not a number until something ended: neither 0 nor 1 would be true, and no comparison holds for it.
    finished = _finished(snapshot, now)
    return snapshot.finished(GOOD) / finished if finished else math.nan


def slo(measure: str, snapshot: Snapshot, objective: float) -> float:
    """The share of good runs (`compliance`), or the share of the error budget that is left (`budget`), 0 to 1.

    The budget is what `objective`, a ratio below 1, leaves for runs that fail. Before the first run ends, the
    objective is met and no budget spent.
    """
    finished = _finished(snapshot, 0.0)
    compliance = snapshot.finished(GOOD) / finished if finished else 1.0
    if measure == "compliance":
        return compliance
    return min(max(1.0 - (1.0 - compliance) / (1.0 - objective), 0.0), 1.0)


# By the second word of a role. `now` is on the clock of `perf_counter`.
SCALARS: Final[Mapping[str, Measure]] = {
    "started": lambda s, _: s.started,
    "succeeded": lambda s, _: s.finished(GOOD),
    "active": lambda s, _: s.active,
    "retried": lambda s, _: s.retried,
    "billed": _finished,
    "oldest_age": _oldest_age,
    "last_success": lambda s, _: clock.unix(s.last_success),
    "last_finish": lambda s, _: clock.unix(s.last_finish),
    "success_ratio": _success_ratio,
}
