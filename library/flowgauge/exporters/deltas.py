"""What was gained since it was last sent, for back ends that add up. One `Deltas` for each exporter.

Metrics count up for ever; a back end such as StatsD wants what came in addition. A series keeps two things: the
value last seen, and what was gained and has not arrived. Reading moves gains into the second, only a confirmed send
takes them out, so that a failed send neither loses a count nor repeats it, also when the metric was reset meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter
from time import monotonic
from typing import Final, NamedTuple

from flowgauge import guard
from flowgauge.exporters import buckets
from flowgauge.exporters.buckets import Grid, Row
from flowgauge.metrics import Distribution, Kind, MetricFamily, Quantiles, Value

# A series that is missing for so long is forgotten. Not at once: a source that failed for one reading, or another
# caller who exports other families, would bring it back with all it ever counted, which would be sent again.
KEEP_SECONDS: Final = 600.0
# At most so many missing series are kept, also those whose last gains could not be sent: a back end that is down must
# not fill the memory.
KEEP_MISSING: Final = 10_000


class Series(NamedTuple):
    """One series; `labels` in the order of its family, also those whose value is empty."""

    name: str
    kind: Kind
    unit: str
    labels: tuple[tuple[str, str], ...]

    def tags(self) -> list[tuple[str, str]]:
        """The labels that it has: an empty value is no label."""
        return [pair for pair in self.labels if pair[1]]


class Level(NamedTuple):
    """The present value of a gauge, or of one quantile of a summary. Always finite."""

    series: Series
    value: float
    quantile: float | None = None


class _Reading(NamedTuple):
    """A series that counts, as it was read. A counter or summary is one bucket, the one with the index 0."""

    grid: Grid | None
    counts: Mapping[int, float]
    sum: float


class _Ledger:
    """One series: what was seen last, and what has not been sent."""

    __slots__ = ("announced", "counts", "grid", "read", "seen", "seen_sum", "series", "sum")

    def __init__(self, series: Series, grid: Grid | None) -> None:
        self.series = series
        self.grid = grid
        self.seen: Mapping[int, float] = {}
        self.seen_sum = 0.0
        self.counts: dict[int, float] = {}
        self.sum = 0.0
        self.announced = False  # whether the back end knows the series, be it at zero
        self.read = 0.0  # when it was last part of a reading

    def gain(self, reading: _Reading) -> None:
        counts = self._fitted(reading)
        # A metric only grows, so a lower count means that it began anew, and all of it is a gain.
        anew = any(counts.get(index, 0) < count for index, count in self.seen.items())
        seen = {} if anew else self.seen
        for index, count in counts.items():
            gained = count - seen.get(index, 0)
            if gained:
                self.counts[index] = self.counts.get(index, 0) + gained
        self.seen = counts
        if math.isfinite(reading.sum):
            self.sum += reading.sum - (0.0 if anew else self.seen_sum)
            self.seen_sum = reading.sum

    def _fitted(self, reading: _Reading) -> Mapping[int, float]:
        """The counts of the reading, after both were brought to the coarser of their grids."""
        old, new = self.grid, reading.grid
        if old is None or new is None or old == new:
            return reading.counts
        schema = min(old.schema, new.schema)
        self.grid = Grid(None, schema, max(old.zero_threshold, new.zero_threshold))
        self.seen = buckets.aligned(self.seen, old, self.grid)
        self.counts = dict(buckets.aligned(self.counts, old, self.grid))
        return buckets.aligned(reading.counts, new, self.grid)

    def has_unsent(self) -> bool:
        return any(self.counts.values()) or self.sum != 0


class Change:
    """What one series gained. Call `settle` when it has arrived; the parts, when they travel apart."""

    __slots__ = ("_ledger", "count", "counts", "grid", "series", "sum")

    def __init__(self, ledger: _Ledger) -> None:
        self._ledger = ledger
        self.series = ledger.series
        self.grid = ledger.grid
        self.counts = {index: count for index, count in ledger.counts.items() if count}
        self.count = sum(self.counts.values())
        self.sum = ledger.sum

    def rows(self) -> list[Row]:
        """The new observations of a histogram, by bucket."""
        return buckets.rows(self.grid, self.counts) if self.grid else []

    def settle(self) -> None:
        """All of it has arrived."""
        self.settle_count()
        self.settle_sum()

    def settle_count(self) -> None:
        """The counts have arrived."""
        ledger = self._ledger
        ledger.announced = True
        gone = self._aligned()
        for index, count in gone.items():
            left = ledger.counts.get(index, 0) - count
            if left:
                ledger.counts[index] = left
            else:
                ledger.counts.pop(index, None)

    def settle_sum(self) -> None:
        """The sum has arrived."""
        self._ledger.sum -= self.sum

    def _aligned(self) -> Mapping[int, float]:
        # A batch whose fate was unknown may settle after the buckets of its histogram became coarser.
        old, new = self.grid, self._ledger.grid
        return buckets.aligned(self.counts, old, new) if old and new else self.counts


class Deltas:
    """The ledgers of one exporter. Not safe for threads: its exporter reads and sends one export at a time."""

    def __init__(self) -> None:
        self._ledgers: dict[tuple[Series, object], _Ledger] = {}

    def read(self, families: Iterable[MetricFamily]) -> list[Level]:
        """Take in what the families gained. Returns what is no count; numbers that are not finite are left out."""
        now = monotonic()
        levels: list[Level] = []
        for (series, cut), reading in _readings(families, levels).items():
            ledger = self._ledgers.get((series, cut))
            if ledger is None:
                ledger = self._ledgers[series, cut] = _Ledger(series, reading.grid)
            ledger.gain(reading)
            ledger.read = now
        self._forget(now)
        return levels

    def changes(self) -> Iterator[Change]:
        """Everything that has not arrived. A new series is a change, also at zero, so that it is known."""
        for ledger in list(self._ledgers.values()):
            if ledger.has_unsent() or not ledger.announced:
                yield Change(ledger)

    def has_unsent(self) -> bool:
        """Whether something was gained that has not arrived."""
        return any(ledger.has_unsent() for ledger in self._ledgers.values())

    def __len__(self) -> int:
        return len(self._ledgers)

    def _forget(self, now: float) -> None:
        """Drop series that are gone. What they gained at last is kept for the back end, within reason."""
        missing = []
        for key, ledger in list(self._ledgers.items()):
            if ledger.read == now:
                continue
            if now - ledger.read > KEEP_SECONDS and not ledger.has_unsent():
                del self._ledgers[key]
            else:
                missing.append((ledger.has_unsent(), ledger.read, key))
        if len(missing) <= KEEP_MISSING:
            return
        missing.sort(key=itemgetter(0, 1))
        for unsent, _, key in missing[:-KEEP_MISSING]:
            del self._ledgers[key]
            if unsent:
                guard.warn(
                    "exporters.deltas",
                    f"more than {KEEP_MISSING} series ended while they could not be sent; counts of the oldest are lost",
                )


def _readings(
    families: Iterable[MetricFamily], levels: list[Level]
) -> dict[tuple[Series, object], _Reading]:
    """The series that count, each once; what is no count goes to `levels`."""
    found: dict[tuple[Series, object], _Reading] = {}
    for family in families:
        for key, value in zip(family.keys, family.values, strict=False):
            labels = tuple(zip(family.labels, key, strict=False))
            series = Series(family.name, family.kind, family.unit, labels)
            reading = _reading(value) if family.kind in _COUNTING else None
            if reading is None:
                levels.extend(_levels(series, value))
            elif _is_finite(reading):
                levels.extend(_levels(series, value) if family.kind == "summary" else ())
                # Exponential buckets may become coarser while a histogram lives; other ones are another histogram.
                cut = reading.grid.bounds if reading.grid else None
                other = found.get((series, cut))
                found[series, cut] = _both(other, reading) if other else reading
    return found


_COUNTING: Final = frozenset({"counter", "histogram", "summary"})


def _reading(value: Value) -> _Reading:
    if isinstance(value, Quantiles):
        return _Reading(None, {0: value.count}, value.sum)
    if not isinstance(value, Distribution):
        return _Reading(None, {0: value}, 0.0)
    fine = value.exponential
    if fine is None:
        return _Reading(Grid(value.bounds), dict(enumerate(value.counts)), value.sum)
    counts = {**fine.counts, buckets.ZERO: fine.zero_count}
    return _Reading(Grid(None, fine.schema, fine.zero_threshold), counts, value.sum)


def _is_finite(reading: _Reading) -> bool:
    return all(map(math.isfinite, reading.counts.values()))


def _both(one: _Reading, other: _Reading) -> _Reading:
    """Two families may hold the same series; together they are what was counted."""
    counts = dict(one.counts)
    for index, count in other.counts.items():
        counts[index] = counts.get(index, 0) + count
    return _Reading(one.grid, counts, one.sum + other.sum)


def _levels(series: Series, value: Value) -> Iterator[Level]:
    if isinstance(value, Quantiles):
        for quantile, at in value.quantiles:
            if math.isfinite(at):
                yield Level(series, at, quantile)
    elif not isinstance(value, Distribution) and math.isfinite(value):
        yield Level(series, value)
