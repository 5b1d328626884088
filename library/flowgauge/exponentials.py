"""Exponential buckets: quantiles with a bounded relative error, and what native histograms are made of. Pure.

Bucket i of schema s covers (2**((i-1) / 2**s), 2**(i / 2**s)], so at schema 5 each is 2.2 % wide and its middle
is at most 1.1 % off. Merging is adding: over threads, processes and time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from math import frexp, inf, isqrt, ldexp, nan
from sys import float_info
from typing import Final

from flowgauge.metrics import Exponential

# What Prometheus and OpenTelemetry take.
LOWEST_SCHEMA: Final = -4
HIGHEST_SCHEMA: Final = 8


def index(value: float, schema: int) -> int:
    """The bucket of a positive, finite value: the smallest i with value <= bound(i, schema). ValueError otherwise."""
    _check(schema)
    if not 0.0 < value < inf:
        raise ValueError(f"only positive, finite values have a bucket, not {value}")
    fraction, exponent = frexp(value)
    if schema > 0:
        return ((exponent - 1) << schema) + bisect_left(fractions(schema), fraction)
    # frexp gives 1 for 2**0 and for 1.5 alike; the former belongs to the bucket below.
    return -(-(exponent - (fraction == 0.5)) >> -schema)


def bound(i: int, schema: int) -> float:
    """The upper bound of bucket i, which belongs to it; infinite beyond the range of floats."""
    _check(schema)
    exponent, k = (i >> schema, i & ((1 << schema) - 1)) if schema > 0 else (i << -schema, 0)
    try:
        return ldexp(fractions(schema)[k], exponent + 1)
    except OverflowError:
        # The largest floats end just below 2**1024.
        return float_info.max if (exponent, k) == (float_info.max_exp, 0) else inf


def bounds(schema: int, low: float, high: float) -> tuple[float, ...]:
    """The upper bounds of all buckets from that of `low` to that of `high`."""
    return tuple(bound(i, schema) for i in range(index(low, schema), index(high, schema) + 1))


def count(exponential: Exponential) -> int:
    """How many observations."""
    return exponential.zero_count + sum(exponential.counts.values())


def quantile(exponential: Exponential, q: float) -> float:
    """The observation of rank floor(q * (n - 1)) from 0, as the middle of its bucket; see `quantiles`."""
    return quantiles(exponential, (q,))[0][1]


def quantiles(exponential: Exponential, qs: Iterable[float]) -> tuple[tuple[float, float], ...]:
    """Each quantile, 0 to 1, with its value: 0 from the zero bucket, NaN without observations.

    The middle of a bucket is its geometric mean 2**((i - 0.5) / 2**schema): no other point has a smaller relative
    error at both ends.
    """
    ascending = sorted(exponential.counts)
    reached = [exponential.zero_count]
    for i in ascending:
        reached.append(reached[-1] + exponential.counts[i])
    return tuple((q, _at(exponential, ascending, reached, q)) for q in qs)


def _at(exponential: Exponential, ascending: list[int], reached: list[int], q: float) -> float:
    if not 0.0 <= q <= 1.0:
        raise ValueError(
            f"a quantile lies between 0 and 1, not at {q}; 0.99 is the 99th percentile"
        )
    if not reached[-1]:
        return nan
    rank = int(q * (reached[-1] - 1))
    # The first bucket by whose end more than `rank` observations have been passed.
    position = bisect_left(reached, rank + 1)
    if not position:
        return 0.0
    return float(2.0 ** ((ascending[position - 1] - 0.5) / 2.0**exponential.schema))


def downscale(exponential: Exponential, to_schema: int) -> Exponential:
    """The same observations in wider buckets: each step down joins two. ValueError for a step up."""
    _check(to_schema)
    steps = exponential.schema - to_schema
    if steps < 0:
        raise ValueError(
            f"schema {exponential.schema} cannot become {to_schema}: what was counted together stays together"
        )
    if not steps:
        return exponential
    counts: dict[int, int] = {}
    for i, number in exponential.counts.items():
        wide = -(-i >> steps)
        counts[wide] = counts.get(wide, 0) + number
    return exponential._replace(schema=to_schema, counts=counts)


def merge(a: Exponential, b: Exponential) -> Exponential:
    """The observations of both, at the lower schema and with the wider zero bucket."""
    schema = min(a.schema, b.schema)
    first, second = downscale(a, schema), downscale(b, schema)
    counts = dict(first.counts)
    for i, number in second.counts.items():
        counts[i] = counts.get(i, 0) + number
    threshold = max(a.zero_threshold, b.zero_threshold)
    whole = Exponential(schema, threshold, a.zero_count + b.zero_count, counts)
    return whole if a.zero_threshold == b.zero_threshold else _swallow(whole)


def _swallow(exponential: Exponential) -> Exponential:
    """Move what lies below the zero threshold into the zero bucket, which grows to the end of a bucket it cuts."""
    schema, threshold, zeros, counts = exponential
    below = {i for i in counts if bound(i - 1, schema) < threshold}
    if not below:
        return exponential
    return Exponential(
        schema,
        max(threshold, bound(max(below), schema)),
        zeros + sum(counts[i] for i in below),
        {i: number for i, number in counts.items() if i not in below},
    )


def limited(
    exponential: Exponential, max_buckets: int = 160, *, dense: bool = False
) -> Exponential:
    """The same at the highest schema that needs at most so many buckets, but never below the lowest schema.

    Only buckets in use count, as they do in Prometheus; `dense` counts the gaps between them too, as OTLP sends
    them.
    """
    if max_buckets < 1:
        raise ValueError(f"max_buckets must be at least 1, not {max_buckets}")
    while exponential.schema > LOWEST_SCHEMA and _size(exponential, dense=dense) > max_buckets:
        exponential = downscale(exponential, exponential.schema - 1)
    return exponential


def _size(exponential: Exponential, *, dense: bool) -> int:
    used = exponential.counts
    return max(used) - min(used) + 1 if dense and used else len(used)


def _check(schema: int) -> None:
    if not LOWEST_SCHEMA <= schema <= HIGHEST_SCHEMA:
        raise ValueError(f"schema must be {LOWEST_SCHEMA} to {HIGHEST_SCHEMA}, not {schema}")


_made: dict[int, tuple[float, ...]] = {}


def fractions(schema: int) -> tuple[float, ...]:
    """2**(k / 2**schema - 1) for each k below 2**schema: the bounds of a power of two as `frexp` splits them."""
    found = _made.get(schema)
    if found is None:
        found = _made[schema] = tuple(_roots(max(schema, 0)))
    return found


def _roots(schema: int) -> Iterator[float]:
    # In integers, since the last bit of a power of floats differs between mathematical libraries.
    bits = 128
    step = 2 << bits
    for _ in range(schema):
        step = isqrt(step << bits)
    power = 1 << (bits - 1)
    for _ in range(1 << schema):
        yield power / (1 << bits)
        power = power * step >> bits
