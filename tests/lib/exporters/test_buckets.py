import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge.exporters import buckets
from flowgauge.exporters.buckets import ZERO, Grid, Row

CLASSIC = Grid((0.1, 1.0, 10.0))


def test_classic_buckets_begin_at_zero_and_end_at_infinity():
    assert buckets.rows(CLASSIC, {0: 4, 1: 0, 2: 2, 3: 1}) == [
        Row(0.0, 0.1, 4),
        Row(1.0, 10.0, 2),
        Row(10.0, math.inf, 1),
    ]


def test_an_exponential_bucket_ends_at_its_power():
    rows = buckets.rows(Grid(None, 0, 0.001), {3: 5, -1: 2, ZERO: 1})

    assert rows == [Row(0.0, 0.001, 1), Row(0.25, 0.5, 2), Row(4.0, 8.0, 5)]


def test_the_highest_exponential_bucket_ends_at_the_largest_float_and_not_in_an_error():
    assert buckets.rows(Grid(None, 0), {1024: 1}) == [Row(2.0**1023, sys.float_info.max, 1)]


@pytest.mark.parametrize(("percent", "value"), [(50, 0.1), (75, 5.5), (80, 6.4), (100, 10.0)])
def test_a_percentile_lies_evenly_in_its_bucket(percent, value):
    rows = buckets.rows(CLASSIC, {0: 5, 2: 5})

    assert buckets.percentile(rows, percent) == pytest.approx(value)


def test_a_percentile_above_the_last_bound_is_the_last_bound():
    assert buckets.percentile(buckets.rows(CLASSIC, {0: 1, 3: 9}), 99) == 10.0


def test_without_bounds_nothing_can_be_said_of_a_percentile():
    assert buckets.percentile(buckets.rows(Grid(()), {0: 9}), 50) is None


def test_two_neighbours_merge_into_one_with_the_same_upper_bound():
    assert buckets.coarser({1: 1, 2: 2, 3: 4, 4: 8, 0: 16, -1: 32, ZERO: 64}, 1) == {
        1: 3,
        2: 12,
        0: 48,
        ZERO: 64,
    }


def test_a_wider_zero_bucket_swallows_what_lies_in_it():
    old, new = Grid(None, 0, 0.0), Grid(None, 0, 0.5)

    assert buckets.aligned({-1: 3, 0: 4, ZERO: 1}, old, new) == {ZERO: 4, 0: 4}


@st.composite
def observations(draw):
    """Observations with the bounds of a histogram."""
    bounds = tuple(sorted(draw(st.sets(st.integers(1, 1000), min_size=1, max_size=8))))
    return bounds, draw(st.lists(st.floats(0, 2000), min_size=1, max_size=50))


@given(observations())
def test_spread_values_have_the_count_and_sum_of_the_observations_and_stay_in_their_buckets(case):
    bounds, values = case
    counts = [0] * (len(bounds) + 1)
    for value in values:
        counts[next((i for i, bound in enumerate(bounds) if value <= bound), len(bounds))] += 1

    pairs = buckets.spread(buckets.rows(Grid(bounds), dict(enumerate(counts))), sum(values))

    assert sum(count for _, count in pairs) == len(values)
    total = sum(value * count for value, count in pairs)
    assert total == pytest.approx(sum(values), rel=1e-9, abs=1e-9)
    lows, highs = (0, *bounds), (*bounds, math.inf)
    edges = [edge for *edge, count in zip(lows, highs, counts, strict=True) if count]
    for (low, high), (value, _) in zip(edges, pairs, strict=True):
        assert low - 1e-6 <= value <= high + 1e-6


def test_observations_below_zero_are_not_lost_from_the_sum():
    pairs = buckets.spread(buckets.rows(CLASSIC, {0: 2, 1: 1}), -7.0)

    assert sum(value * count for value, count in pairs) == pytest.approx(-7.0)


def test_without_bounds_all_stand_at_their_mean():
    assert buckets.spread(buckets.rows(Grid(()), {0: 4}), 10.0) == [(2.5, 4)]


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 1000)), max_size=1000))
def test_condensed_pairs_keep_count_and_sum(pairs):
    fewer = buckets.condensed(pairs, 150)

    assert len(fewer) <= 150
    assert sum(count for _, count in fewer) == sum(count for _, count in pairs)
    total = sum(value * count for value, count in pairs)
    assert sum(value * count for value, count in fewer) == pytest.approx(total)
