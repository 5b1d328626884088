"""What can be said about observations of which only the buckets are known. Pure arithmetic, for the exporters.

Counts are by index, not cumulative: for classic buckets the place among the bounds, for exponential ones the index
of `flowgauge.metrics.Exponential`, with `ZERO` for the bucket around zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from flowgauge import exponentials

# Below every index that a float can have, so that it comes first when indices are sorted.
ZERO: Final = -(1 << 62)

Count = TypeVar("Count", int, float)


class Grid(NamedTuple):
    """How buckets are cut: at `bounds`, or, where there are none, exponentially by `schema`."""

    bounds: tuple[float, ...] | None
    schema: int = 0
    zero_threshold: float = 0.0


class Row(NamedTuple):
    """`number` observations above `low`, up to `high`."""

    low: float
    high: float
    number: float


def coarser(counts: Mapping[int, Count], steps: int) -> dict[int, Count]:
    """The same exponential buckets with a schema that is lower by `steps`: each step merges two neighbours."""
    merged: dict[int, Count] = {}
    for index, count in counts.items():
        # The upper bound belongs to the bucket, so indices round up: 1 and 2 become 1, 3 and 4 become 2.
        wider = index if index == ZERO else -(-index >> steps)
        merged[wider] = merged[wider] + count if wider in merged else count
    return merged


def aligned(counts: Mapping[int, Count], old: Grid, new: Grid) -> Mapping[int, Count]:
    """The counts of exponential buckets cut by `old`, as cut by `new`, which must not be the finer one."""
    if old == new:
        return counts
    steps = old.schema - new.schema
    result: dict[int, Count] = {}
    for index, count in (coarser(counts, steps) if steps > 0 else counts).items():
        inside = index == ZERO or exponentials.bound(index, new.schema) <= new.zero_threshold
        place = ZERO if inside else index
        result[place] = result[place] + count if place in result else count
    return result


def rows(grid: Grid, counts: Mapping[int, float]) -> list[Row]:
    """The buckets that hold something, ascending."""
    return [
        Row(*_edges(grid, index), count) for index, count in sorted(counts.items()) if count > 0
    ]


def _edges(grid: Grid, index: int) -> tuple[float, float]:
    if grid.bounds is None:
        if index == ZERO:
            return 0.0, grid.zero_threshold
        return exponentials.bound(index - 1, grid.schema), exponentials.bound(index, grid.schema)
    bounds = (_floor(grid.bounds), *grid.bounds, math.inf)
    return bounds[index], bounds[index + 1]


def _floor(bounds: tuple[float, ...]) -> float:
    # Nothing is known below the first bound. Durations and sizes begin at zero.
    if not bounds:
        return -math.inf
    return 0.0 if bounds[0] > 0 else bounds[0]


def percentile(buckets: Sequence[Row], percent: float) -> float | None:
    """The value that `percent` of the observations do not exceed, taking them as spread evenly in a bucket.

    Like `histogram_quantile` of PromQL, it answers the highest finite bound for what lies above; None where
    nothing can be said.
    """
    rank = sum(row.number for row in buckets) * percent / 100.0
    below = 0.0
    for row in buckets:
        if below + row.number >= rank:
            if math.isinf(row.high):
                return row.low if math.isfinite(row.low) else None
            return row.low + (row.high - row.low) * (rank - below) / row.number
        below += row.number
    return None


def spread(buckets: Sequence[Row], total: float) -> list[tuple[float, float]]:
    """A value for each bucket, with its count, so that count and sum are exactly those of the histogram.

    All values stand at the same share of their bucket's width; the share is what makes their sum `total`. What
    lies above the last bound takes what is left over from the middles of the others.
    """
    finite = [row for row in buckets if _is_finite(row)]
    tail = [row for row in buckets if not _is_finite(row)]
    beyond = sum(row.number for row in tail)
    middles = sum(row.number * (row.low + row.high) / 2 for row in finite)
    if beyond:
        least = min(row.low for row in tail)
        value = max(least, (total - middles) / beyond)
        total -= value * beyond
    values = _shares(finite, total)
    if beyond:
        values.append((value, beyond))
    return values


def _is_finite(row: Row) -> bool:
    return math.isfinite(row.low) and math.isfinite(row.high)


def _shares(finite: Sequence[Row], total: float) -> list[tuple[float, float]]:
    if not finite:
        return []
    lowest = sum(row.number * row.low for row in finite)
    room = sum(row.number * (row.high - row.low) for row in finite)
    share = min(max((total - lowest) / room, 0.0), 1.0) if room > 0 else 0.0
    values = [(row.low + share * (row.high - row.low), row.number) for row in finite]
    # Observations below zero, which no bucket tells of, make the sum smaller than any share could.
    missing = total - sum(value * count for value, count in values)
    end = 0 if missing < 0 else -1
    value, count = values[end]
    values[end] = (value + missing / count, count)
    return values


def condensed(pairs: list[tuple[float, float]], limit: int) -> list[tuple[float, float]]:
    """At most `limit` pairs of a value and its count, with the same count and sum: neighbours are averaged."""
    while len(pairs) > limit:
        pairs = list(_halved(pairs))
    return pairs


def _halved(pairs: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    for start in range(0, len(pairs), 2):
        group = pairs[start : start + 2]
        count = sum(each for _, each in group)
        yield sum(value * each for value, each in group) / count, count
