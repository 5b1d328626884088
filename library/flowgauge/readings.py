"""Name the numbers of the cells as a profile does: labels, units, buckets, outcome values. Pure.

The one place where a role becomes series. Whatever exposes or sends metrics takes its readings from
here and never looks at a cell.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from flowgauge import measures
from flowgauge.bins import CANCELLED, FAILED, GOOD, OUTCOMES, Bounds, fold
from flowgauge.cell import Snapshot
from flowgauge.cells import Key, Scope
from flowgauge.profiles.types import Family, Profile

Cells = list[tuple[Key, Snapshot]]
Values = tuple[str, ...]

# Semantic labels that a cell knows; of the others, `outcome` and `error` vary within a cell.
_KNOWN: Final = ("workflow", "step", "trigger", "kind")
_SCOPES: Final[tuple[Scope, ...]] = ("run", "step")
_MEASURES: Final = frozenset({*measures.SCALARS, "finished", "failed", "duration"})


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram in the family's unit: `counts` for each bucket, not cumulative, and one above all bounds."""

    bounds: Bounds
    counts: tuple[int, ...]
    sum: float


Number = float | Distribution


@dataclass(frozen=True, slots=True)
class Reading:
    """One family at one instant; each series has the values of the labels `names`, in that order."""

    family: Family
    names: tuple[str, ...]
    series: dict[Values, Number]


class Reader:
    """Reads one family from the cells of its scope."""

    def __init__(self, family: Family) -> None:
        prefix, self._measure = family.role.split(".", 1)
        self.scope: Scope = "run" if prefix == "run" else "step"
        self.family = family
        self.bounds = _seconds(family) if self._measure == "duration" else ()
        self._names = (*family.labels.values(), *family.where)
        self._known = tuple(label for label in family.labels if label in _KNOWN)
        self._outcomes = outcome_values(family)
        self._scale = float(1 / family.factor)
        self._listed = tuple(_listed(family))

    def read(self, cells: Cells, now: float) -> Reading:
        """The family's series; `now` is on the clock of `perf_counter`."""
        series: dict[Values, Number] = {}
        for known, snapshots in self._grouped(cells).items():
            labels = dict(zip(self._known, known, strict=True))
            for listed in self._listed:
                series.setdefault(self._values(labels | listed), self._zero())
            for event, number in self._numbers(measures.merged(snapshots), now):
                values = self._values(labels | event)
                series[values] = _sum(series.get(values, self._zero()), number)
        return Reading(self.family, self._names, series)

    def _grouped(self, cells: Cells) -> dict[Values, list[Snapshot]]:
        groups: dict[Values, list[Snapshot]] = {}
        for key, snapshot in cells:
            groups.setdefault(tuple(getattr(key, label) for label in self._known), []).append(
                snapshot
            )
        return groups

    def _values(self, labels: dict[str, str]) -> Values:
        return (
            *(labels.get(label, "") for label in self.family.labels),
            *self.family.where.values(),
        )

    def _zero(self) -> Number:
        if self._measure != "duration":
            return 0.0
        return Distribution(self.family.buckets, (0,) * (len(self.family.buckets) + 1), 0.0)

    def _numbers(self, snapshot: Snapshot, now: float) -> Iterator[tuple[dict[str, str], Number]]:
        if self._measure == "duration":
            yield from self._durations(snapshot)
        elif self._measure == "finished":
            for outcome in OUTCOMES:
                yield {"outcome": self._outcomes[outcome]}, float(snapshot.finished(outcome))
        elif self._measure == "failed":
            for error, count in snapshot.errors.items():
                yield {"error": error}, float(count)
        else:
            yield {}, measures.SCALARS[self._measure](snapshot, now) * self._scale

    def _durations(self, snapshot: Snapshot) -> Iterator[tuple[dict[str, str], Number]]:
        bins = fold([snapshot.bins], self.bounds)
        for outcome in OUTCOMES:
            counts = tuple(bins.by_outcome(outcome))
            number = Distribution(self.family.buckets, counts, bins.sums[outcome] * self._scale)
            yield {"outcome": self._outcomes[outcome]}, number


def readers(profile: Profile) -> tuple[Reader, ...]:
    """A reader for each family that decorated functions fill, in the order of the profile."""
    return tuple(Reader(family) for family in profile.families if _is_measured(family.role))


def bounds(profile_readers: Iterable[Reader], scope: Scope) -> Bounds:
    """The bounds in seconds that serve every duration of this scope."""
    return tuple(
        sorted(
            {
                bound
                for reader in profile_readers
                if reader.scope == scope
                for bound in reader.bounds
            }
        )
    )


def constant(family: Family, labels: dict[str, str]) -> Reading:
    """A family of one series whose value is 1; `labels` are semantic."""
    names = (*family.labels.values(), *family.where)
    values = (*(labels.get(label, "") for label in family.labels), *family.where.values())
    return Reading(family, names, {values: 1.0})


def outcome_values(family: Family) -> dict[int, str]:
    """The values of the outcome label for good, failed and cancelled.

    Failed is the first listed value that is neither good nor ignored. Cancelled is `cancelled` where
    the vocabulary lists it, and failed where it does not.
    """
    good = family.outcomes.good if family.outcomes and family.outcomes.good else ("success",)
    ignored = family.outcomes.ignored if family.outcomes else ()
    listed = family.values.get("outcome", ())
    failed = next(
        (value for value in listed if value not in good and value not in ignored), "failed"
    )
    return {
        GOOD: good[0],
        FAILED: failed,
        CANCELLED: "cancelled" if "cancelled" in listed else failed,
    }


def _is_measured(role: str) -> bool:
    prefix, _, measure = role.partition(".")
    return prefix in _SCOPES and measure in _MEASURES


def _seconds(family: Family) -> Bounds:
    return tuple(float(Decimal(repr(bucket)) * family.factor) for bucket in family.buckets)


def _listed(family: Family) -> Iterator[dict[str, str]]:
    """Labels of the series that exist from the start; none where a type of error must happen first."""
    if "error" in family.labels and "error" not in family.values:
        return
    for combination in itertools.product(*family.values.values()):
        listed = dict(zip(family.values, combination, strict=True))
        if "outcome" in listed or "outcome" not in family.labels:
            yield listed


def _sum(a: Number, b: Number) -> Number:
    if isinstance(a, Distribution) and isinstance(b, Distribution):
        counts = tuple(x + y for x, y in zip(a.counts, b.counts, strict=True))
        return Distribution(a.bounds, counts, a.sum + b.sum)
    if isinstance(a, Distribution) or isinstance(b, Distribution):
        raise TypeError("a distribution and a number cannot be added")
    return a + b
