"""Name the numbers of a process as a profile does: labels, units, buckets, outcome values. Pure.

The one place where a role becomes series. Whatever exposes or sends metrics takes its families from
here and never looks at a cell. A role is read from the cells that decorated functions fill, if they
measure it, and from what was recorded by hand. Where both have a series, it is the sum; of moments it is
the latest, and of ratios the worst.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from flowgauge import clock, exponentials, guard, measures
from flowgauge.bins import CANCELLED, COUNTED, FAILED, GOOD, SKIPPED, WORDS
from flowgauge.cell import Snapshot
from flowgauge.metrics import (
    Distribution,
    Exemplar,
    Exponential,
    LabelValues,
    MetricFamily,
    Quantiles,
    Value,
)
from flowgauge.profiles.roles import ROLES
from flowgauge.profiles.types import Family, Profile

if TYPE_CHECKING:
    from flowgauge.bins import Bounds
    from flowgauge.cells import Cells, Scope

# Semantic labels that a cell knows; of the others, `outcome` and `error` vary within a cell.
_KNOWN: Final = ("workflow", "step", "trigger", "kind")
_SCOPES: Final[tuple[Scope, ...]] = ("run", "step")
_MEASURES: Final = frozenset({*measures.SCALARS, "finished", "failed", "duration"})
_SLO: Final = frozenset({"slo.compliance", "slo.budget"})
# How values of one series that come from several cells or processes become one; else they are added.
_MAXIMA: Final = frozenset({"oldest_age", "last_success", "last_finish", "last", "heartbeat"})

# Buckets of native histograms: of each power of two eight, from about a microsecond to twelve days.
SCHEMA: Final = 3
NATIVE: Final = exponentials.bounds(SCHEMA, 2.0**-20, 2.0**20)

Labels = Mapping[str, str]
# What was recorded by hand: of each role, label sets (semantic) and their values in base units.
Records = Mapping[str, list[tuple[Labels, Value]]]


class Reader:
    """Reads one family. `native` adds buckets of equal relative width to a histogram; `objective` is a ratio."""

    def __init__(self, family: Family, *, native: bool = False, objective: float = 0.99) -> None:
        prefix, self._measure = family.role.split(".", 1)
        self.family = family
        self.measured = (prefix in _SCOPES and self._measure in _MEASURES) or family.role in _SLO
        self.scope: Scope = "step" if prefix == "step" else "run"
        self.bounds = _base_bounds(family) if family.type == "histogram" else ()
        self._native = native and family.type == "histogram"
        self._objective = objective
        self._names = (*family.labels.values(), *family.where)
        self._known = tuple(label for label in family.labels if label in _KNOWN)
        self._outcomes = outcome_values(family)
        self._scale = float(1 / family.factor)
        self._is_ratio = ROLES[family.role].unit == "ratio"
        self._listed = tuple(_listed(family))
        self._complete = family.labels.keys() <= {*self._known, *family.values}
        self._early = family.type == "counter" and family.labels.keys() <= {
            "workflow",
            *family.values,
        }
        self._keys: list[LabelValues] = []
        self._into: dict[Bounds, list[int]] = {}

    @property
    def wanted(self) -> Bounds:
        """The bounds in base units that observations must be counted in for this family."""
        if not self._native:
            return self.bounds
        factor = float(self.family.factor)
        return tuple(sorted({*self.bounds, *(bound * factor for bound in NATIVE)}))

    def read(self, cells: Mapping[Scope, Cells], records: Records, now: float) -> MetricFamily:
        """The family's series; `now` is on the clock of `perf_counter`."""
        series: dict[LabelValues, Value] = {}
        if self.measured:
            for known, snapshots in self._grouped(cells[self.scope]).items():
                labels = dict(zip(self._known, known, strict=True))
                self._born(series, labels)
                for event, value in self._numbers(measures.merged(snapshots, self.wanted), now):
                    self._put(series, {**labels, **event}, value)
        elif self._early:
            # A counter exists before its first event, for each workflow if it has one, so that the first is an increase.
            for known in self._grouped(cells["run"]) if self._known else ((),):
                self._born(series, dict(zip(self._known, known, strict=True)))
        for recorded, value in records.get(self.family.role, ()):
            meant = self._named(recorded)
            if self._complete:
                self._born(series, {label: meant.get(label, "") for label in self._known})
            self._put(series, meant, self._converted(value))
        # The same list as long as it is equal; scrapes in other threads may have seen other label sets.
        keys, before = list(series), self._keys
        if keys == before:
            keys = before
        self._keys = keys
        f = self.family
        return MetricFamily(f.name, f.type, f.help, self._names, keys, [*series.values()], _unit(f))

    def _grouped(self, cells: Cells) -> dict[LabelValues, list[Snapshot]]:
        groups: dict[LabelValues, list[Snapshot]] = {}
        for key, snapshot in cells:
            values = tuple([getattr(key, label) for label in self._known])
            groups.setdefault(values, []).append(snapshot)
        return groups

    def _born(self, series: dict[LabelValues, Value], labels: Labels) -> None:
        for listed in self._listed:
            series.setdefault(self._values({**labels, **listed}), self._zero())

    def _put(self, series: dict[LabelValues, Value], labels: Labels, value: Value) -> None:
        values = self._values(labels)
        known = series.get(values)
        series[values] = value if known is None else self._together(known, value)

    def _together(self, a: Value, b: Value) -> Value:
        if isinstance(a, Distribution) and isinstance(b, Distribution):
            return added(a, b)
        if isinstance(a, Quantiles) and isinstance(b, Quantiles):
            return Quantiles(a.count + b.count, a.sum + b.sum, a.quantiles or b.quantiles)
        if isinstance(a, float | int) and isinstance(b, float | int):
            if self._is_ratio:
                return min((x for x in (a, b) if x == x), default=a)  # noqa: PLR0124 - NaN, not known yet
            return max(a, b) if self._measure in _MAXIMA else a + b
        return b

    def _values(self, labels: Labels) -> LabelValues:
        own = [labels.get(label, "") for label in self.family.labels]
        return (*own, *self.family.where.values())

    def _named(self, labels: Labels) -> Labels:
        """The labels of a record, with the vocabulary's word for the outcome."""
        word = self._outcomes.get(WORDS.get(labels.get("outcome", ""), -1))
        return labels if word is None else {**labels, "outcome": word}

    def _zero(self) -> Value:
        if self.family.type == "histogram":
            buckets = self.family.buckets
            empty = Exponential(SCHEMA, 0.0, 0, {}) if self._native else None
            return Distribution(buckets, [0] * (len(buckets) + 1), 0.0, {}, empty)
        if self.family.type == "summary":
            return Quantiles(0, 0.0, ())
        return math.nan if self._is_ratio else 0.0

    def _numbers(self, snapshot: Snapshot, now: float) -> Iterator[tuple[Labels, Value]]:
        if self._measure == "duration":
            if "outcome" in self.family.labels:
                for outcome, word in self._ended(snapshot):
                    yield {"outcome": word}, self._durations(snapshot, (outcome,))
            else:
                yield {}, self._durations(snapshot, COUNTED)
        elif self._measure == "finished":
            for outcome, word in self._ended(snapshot):
                yield {"outcome": word}, float(snapshot.finished(outcome))
        elif self._measure == "failed":
            for error, count in snapshot.errors.items():
                yield {"error": error}, float(count)
        elif self.family.role in _SLO:
            yield {}, measures.slo(self._measure, snapshot, self._objective)
        else:
            yield {}, measures.SCALARS[self._measure](snapshot, now) * self._scale

    def _ended(self, snapshot: Snapshot) -> Iterator[tuple[int, str]]:
        """Each outcome with its word; to be skipped is rare, and has no series before it happens."""
        for outcome, word in self._outcomes.items():
            if outcome != SKIPPED or snapshot.finished(SKIPPED):
                yield outcome, word

    def _durations(self, snapshot: Snapshot, outcomes: Sequence[int]) -> Value:
        bins = snapshot.bins
        parts = [bins.by_outcome(each) for each in outcomes]
        counts = [sum(c) for c in zip(*parts, strict=True)]
        total = sum([bins.sums[each] for each in outcomes])
        made = self._converted(Distribution(bins.bounds, counts, total))
        if not isinstance(made, Distribution) or not snapshot.marks:
            return made
        exemplars = {}
        for mark in sorted(snapshot.marks.values(), key=lambda mark: mark.moment):
            i = next((i for i, b in enumerate(self.bounds) if mark.seconds <= b), len(self.bounds))
            seconds = mark.seconds * self._scale
            exemplars[i] = Exemplar(mark.labels, seconds, clock.unix(mark.moment))
        return made._replace(exemplars=exemplars)

    def _converted(self, value: Value) -> Value:
        """A value in base units as one in the family's unit and buckets."""
        if isinstance(value, Distribution):
            if self.family.type == "summary":
                return Quantiles(value.count, value.sum * self._scale, ())
            counts = self._in_buckets(value)
            exponential = self._exponential(value) if self._native else None
            return Distribution(
                self.family.buckets, counts, value.sum * self._scale, {}, exponential
            )
        return value if isinstance(value, Quantiles) else value * self._scale

    def _in_buckets(self, value: Distribution) -> Sequence[int]:
        if value.bounds == self.bounds:
            return value.counts
        into = self._into.get(value.bounds)
        if into is None:
            into = [bisect_left(self.bounds, upper) for upper in (*value.bounds, math.inf)]
            self._into = {value.bounds: into}  # there is one at a time
        counts = [0] * (len(self.bounds) + 1)
        for i, count in zip(into, value.counts, strict=True):
            counts[i] += count
        return counts

    def _exponential(self, value: Distribution) -> Exponential:
        counts: dict[int, int] = {}
        below = 0
        # The conversion of a bound may end a hair above it, in the next bucket.
        scale = self._scale * (1 - 1e-9)
        top = value.bounds[-1] * 2 if value.bounds else 1.0
        for upper, count in zip((*value.bounds, top), value.counts, strict=True):
            if count and upper <= 0:
                below += count
            elif count:
                i = exponentials.index(upper * scale, SCHEMA)
                counts[i] = counts.get(i, 0) + count
        return Exponential(SCHEMA, 0.0, below, counts)


class Vocabulary(NamedTuple):
    """A profile as readers, in its order."""

    profile: Profile
    readers: tuple[Reader, ...]

    def bounds(self, scope: Scope) -> Bounds:
        """The bounds in seconds that serve every duration of this scope."""
        wanted = [r.wanted for r in self.readers if r.measured and r.scope == scope]
        return tuple(sorted({bound for bounds in wanted for bound in bounds}))

    def recorded(self) -> dict[str, Bounds]:
        """The bounds in base units of each role whose observations are recorded by hand."""
        roles: dict[str, set[float]] = {}
        for reader in self.readers:
            if not reader.measured and reader.family.type == "histogram":
                roles.setdefault(reader.family.role, set()).update(reader.wanted)
        return {role: tuple(sorted(bounds)) for role, bounds in roles.items()}


def vocabulary(profile: Profile, *, native: bool = False, objective: float = 0.99) -> Vocabulary:
    """A reader for each family of the profile that a program can fill."""
    return Vocabulary(
        profile,
        tuple(
            Reader(family, native=native, objective=objective)
            for family in profile.families
            if family.role not in _ELSEWHERE
        ),
    )


# The process itself and Prometheus tell these.
_ELSEWHERE: Final = frozenset({"target.up", "process.cpu", "process.memory"})


def added(a: Distribution, b: Distribution) -> Distribution:
    """The observations of both, which have the same bounds."""
    counts = [x + y for x, y in zip(a.counts, b.counts, strict=True)]
    both = a.exponential, b.exponential
    exponential = both[0] or both[1]
    if both[0] and both[1]:
        exponential = exponentials.merge(both[0], both[1])
    return Distribution(
        a.bounds, counts, a.sum + b.sum, {**a.exemplars, **b.exemplars}, exponential
    )


def outcome_values(family: Family) -> dict[int, str]:
    """The values of the outcome label for good, failed, cancelled and, if the vocabulary can say so, skipped.

    Failed is the first listed value that is neither good nor ignored. Cancelled is `cancelled` where
    the vocabulary lists it, and failed where it does not. Skipped is `skipped` if that is ignored, else the first
    ignored value; what is skipped has no series in a vocabulary without one.
    """
    good = family.outcomes.good if family.outcomes and family.outcomes.good else ("success",)
    ignored = family.outcomes.ignored if family.outcomes else ()
    listed = family.values.get("outcome", ())
    failed = next(
        (value for value in listed if value not in good and value not in ignored), "failed"
    )
    return {
        GOOD: next((value for value in listed if value in good), good[0]),
        FAILED: failed,
        CANCELLED: "cancelled" if "cancelled" in listed else failed,
        **({SKIPPED: "skipped" if "skipped" in ignored else ignored[0]} if ignored else {}),
    }


def _unit(family: Family) -> str:
    unit = family.unit if family.unit is not None else ROLES[family.role].unit
    return unit if family.name.removesuffix("_total").endswith(f"_{unit}") else ""


def _base_bounds(family: Family) -> Bounds:
    return tuple(float(Decimal(repr(bucket)) * family.factor) for bucket in family.buckets)


def _listed(family: Family) -> Iterator[Labels]:
    """Labels of the series that exist from the start; none where something must happen first."""
    if "error" in family.labels and "error" not in family.values:
        return
    for combination in itertools.product(*family.values.values()):
        listed = dict(zip(family.values, combination, strict=True))
        if "outcome" in listed or "outcome" not in family.labels:
            yield listed


def combined(families: Iterable[MetricFamily]) -> list[MetricFamily]:
    """The families with each name once: those that share one become one.

    Where they have the same series, counters are added, and of others the first value counts. One of another kind
    than the first of its name is left out, since a metric has one kind.
    """
    by_name: dict[str, list[MetricFamily]] = {}
    for family in families:
        parts = by_name.setdefault(family.name, [])
        if not parts or parts[0].kind == family.kind:
            parts.append(family)
        else:
            guard.warn(
                f"name {family.name}",
                f"{family.name} is a {parts[0].kind} already, and the {family.kind} of this name is not shown;"
                " use another name",
            )
    return [_joined(parts) if len(parts) > 1 else parts[0] for parts in by_name.values()]


def _plus(a: Value, b: Value) -> Value:
    return a + b if isinstance(a, float) and isinstance(b, float) else a


def _joined(parts: list[MetricFamily]) -> MetricFamily:
    labels = tuple(dict.fromkeys(label for part in parts for label in part.labels))
    series: dict[LabelValues, Value] = {}
    for part in parts:
        at = [part.labels.index(label) if label in part.labels else -1 for label in labels]
        for key, value in zip(part.keys, part.values, strict=True):
            whole = tuple([key[i] if i >= 0 else "" for i in at])
            if whole not in series:
                series[whole] = value
            elif part.kind == "counter":
                series[whole] = _plus(series[whole], value)
    return parts[0]._replace(labels=labels, keys=[*series], values=[*series.values()])
