"""Buckets to the last bit, quantiles against the exact ones, totals under threads, windows by hand."""

from __future__ import annotations

import math
import random
import sys
import threading
import time
from array import array
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowgauge import exponentials, guard, sketch
from flowgauge.exponentials import bound, index
from flowgauge.metrics import Exponential, Quantiles
from flowgauge.sketch import Sketch, Window

SCHEMAS = range(-4, 9)
COUNT = 200_000
QUANTILES = (0.5, 0.9, 0.99, 0.999)


def shared(_row, size):
    """What another process could read: doubles in a buffer."""
    return memoryview(array("d", bytes(8 * size)))


STORES = pytest.mark.parametrize("allocate", [None, shared], ids=["list", "memoryview"])


@pytest.fixture
def reports(monkeypatch):
    found = []
    monkeypatch.setattr(guard, "report", lambda place, error: found.append((place, error)))
    return found


def filled(*values, **options):
    store = Sketch(**options)
    for value in values:
        store.observe(value)
    return store


# Buckets


def some_indices(schema):
    ends = (index(1e-300, schema), index(1e300, schema))
    around_one = range(-600, 600)
    spread = random.Random(schema).sample(range(*ends), min(500, ends[1] - ends[0]))
    return sorted({i for i in (*around_one, *spread, *ends) if ends[0] <= i <= ends[1]})


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_bound_belongs_to_its_bucket_and_its_neighbours_to_theirs(schema):
    for i in some_indices(schema):
        upper = bound(i, schema)

        assert index(upper, schema) == i
        assert index(math.nextafter(upper, 0), schema) == i
        assert index(math.nextafter(upper, math.inf), schema) == i + 1


@pytest.mark.parametrize("schema", range(-4, 1))
def test_bounds_of_whole_powers_are_exact(schema):
    width = 2**-schema

    assert [bound(i, schema) for i in (-2, -1, 0, 1, 2)] == [
        2.0 ** (width * i) for i in (-2, -1, 0, 1, 2)
    ]


@pytest.mark.parametrize("schema", range(1, 9))
def test_bounds_between_are_the_nearest_floats(schema):
    per_octave = 2**schema
    for i in range(per_octave + 1):
        upper = bound(i, schema)
        low = (Fraction(math.nextafter(upper, 0)) + Fraction(upper)) / 2
        high = (Fraction(math.nextafter(upper, 4)) + Fraction(upper)) / 2

        # low <= 2**(i / 2**schema) <= high, without a root.
        assert low**per_octave <= 2**i <= high**per_octave


@pytest.mark.parametrize(
    ("value", "schema", "expected"),
    [
        (1.0, 0, 0),
        (1.5, 0, 1),
        (2.0, 0, 1),
        (0.5, 0, -1),
        (1.0, 5, 0),
        (2.0, 5, 32),
        (0.25, 5, -64),
        (1.0, -4, 0),
        (1.0000000000000002, -4, 1),
        (65536.0, -4, 1),
        (65537.0, -4, 2),
        (2.0**-16, -4, -1),
        (5e-324, 0, -1074),
        (sys.float_info.max, 0, 1024),
        (sys.float_info.max, 8, 1024 * 256),
    ],
)
def test_buckets_of_values(value, schema, expected):
    assert index(value, schema) == expected


@given(
    st.floats(min_value=sys.float_info.min, max_value=sys.float_info.max),
    st.integers(min_value=-4, max_value=8),
)
def test_the_index_is_the_smallest_whose_bound_is_not_below(value, schema):
    i = index(value, schema)

    assert bound(i - 1, schema) < value <= bound(i, schema)


def test_the_last_bucket_ends_with_the_last_float():
    assert bound(1024 * 256, 8) == sys.float_info.max
    assert bound(1024 * 256 + 1, 8) == math.inf
    assert bound(65, -4) == math.inf


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_what_is_not_positive_and_finite_has_no_bucket(value):
    with pytest.raises(ValueError, match="positive, finite"):
        index(value, 3)


@pytest.mark.parametrize("schema", [-5, 9])
def test_a_schema_that_nobody_takes_is_refused(schema):
    with pytest.raises(ValueError, match="-4 to 8"):
        index(1.0, schema)
    with pytest.raises(ValueError, match="-4 to 8"):
        bound(1, schema)
    with pytest.raises(ValueError, match="-4 to 8"):
        exponentials.downscale(Exponential(5, 0.0, 0, {1: 1}), schema)


def test_bounds_of_a_range():
    assert exponentials.bounds(0, 0.3, 4.0) == (0.5, 1.0, 2.0, 4.0)
    assert len(exponentials.bounds(5, 1.0, 2.0)) == 33


# Quantiles


def test_a_quantile_is_the_middle_of_the_bucket_of_its_rank():
    found = Exponential(0, 0.0, 2, {1: 1, 4: 2})

    assert exponentials.quantile(found, 0.0) == 0.0
    assert exponentials.quantile(found, 0.25) == 0.0  # rank 1, the second of two zeros
    assert exponentials.quantile(found, 0.5) == 2**0.5
    assert exponentials.quantile(found, 0.75) == 2**3.5
    assert exponentials.quantile(found, 1.0) == 2**3.5
    assert exponentials.count(found) == 5


def test_without_observations_a_quantile_is_not_a_number():
    assert math.isnan(exponentials.quantile(Exponential(5, 0.0, 0, {}), 0.5))


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan, 99])
def test_a_quantile_outside_of_its_range_is_refused(q):
    with pytest.raises(ValueError, match="between 0 and 1"):
        exponentials.quantile(Exponential(5, 0.0, 0, {1: 1}), q)


def lognormal(rng):
    return rng.lognormvariate(-3, 1.2)


def pareto(rng):
    return 0.001 * rng.paretovariate(1.2)


def bimodal(rng):
    # p90 lies exactly where 10 ms jumps to 2 s.
    return rng.gauss(0.01, 0.001) if rng.random() < 0.9 else rng.gauss(2.0, 0.1)


@STORES
@pytest.mark.parametrize("draw", [lognormal, pareto, bimodal])
def test_quantiles_are_within_the_error_of_the_schema(draw, allocate):
    rng = random.Random(7)
    values = [draw(rng) for _ in range(COUNT)]
    store = Sketch(allocate=allocate)
    for value in values:
        store.observe(value)

    values.sort()
    for q, found in store.quantiles(QUANTILES):
        exact = values[int(q * (COUNT - 1))]
        assert found == pytest.approx(exact, rel=0.011), q
    assert store.count == COUNT
    assert store.sum == pytest.approx(math.fsum(values), rel=1e-9)


@pytest.mark.parametrize("schema", range(9))
def test_the_error_halves_with_each_schema(schema):
    rng = random.Random(schema)
    values = sorted(lognormal(rng) for _ in range(2000))
    store = filled(*values, schema=schema)

    error = 2 ** (0.5 / 2**schema) - 1
    for rank in range(0, 2000, 50):
        found = store.quantiles((rank / 1999,))[0][1]
        assert found == pytest.approx(values[int(rank / 1999 * 1999)], rel=error * 1.0001)


# Change of schema, merging


def test_each_step_down_joins_two_buckets():
    fine = Exponential(2, 0.5, 3, {-1: 1, 0: 2, 1: 4, 2: 8, 5: 16})

    assert exponentials.downscale(fine, 1) == Exponential(1, 0.5, 3, {0: 3, 1: 12, 3: 16})
    assert exponentials.downscale(fine, 0) == Exponential(0, 0.5, 3, {0: 3, 1: 12, 2: 16})
    assert exponentials.downscale(fine, 2) is fine
    with pytest.raises(ValueError, match="stays together"):
        exponentials.downscale(fine, 3)


@given(
    st.lists(st.floats(min_value=1e-9, max_value=1e9), max_size=30),
    st.integers(min_value=0, max_value=8),
    st.integers(min_value=-4, max_value=8),
)
def test_a_lower_schema_is_what_it_would_have_counted_itself(values, schema, to_schema):
    fine = filled(*values, schema=schema).total().exponential
    to_schema = min(schema, to_schema)

    expected = {}
    for value in values:
        i = index(value, to_schema)
        expected[i] = expected.get(i, 0) + 1
    assert exponentials.downscale(fine, to_schema).counts == expected


def test_merging_is_observing_both():
    first, second = (1.0, 0.3, 7.0, 0.0), (0.3, 900.0)

    together = exponentials.merge(
        filled(*first).total().exponential, filled(*second).total().exponential
    )

    assert together == filled(*first, *second).total().exponential


def test_merging_goes_to_the_lower_schema():
    merged = exponentials.merge(
        filled(3.0).total().exponential, Exponential(1, 2.0**-40, 1, {2: 5})
    )

    assert merged == Exponential(1, 2.0**-40, 1, {2: 5, 4: 1})


@pytest.mark.parametrize("swapped", [False, True])
def test_a_wider_zero_bucket_swallows_what_lies_in_it(swapped):
    wide = Exponential(0, 0.3, 1, {})
    narrow = Exponential(0, 0.0, 2, {-3: 4, -1: 8, 0: 16})
    pair = (narrow, wide) if swapped else (wide, narrow)

    # 0.3 cuts the bucket up to 0.5, so all of that bucket goes.
    assert exponentials.merge(*pair) == Exponential(0, 0.5, 15, {0: 16})


def test_a_zero_bucket_that_nothing_lies_in_stays():
    assert exponentials.merge(
        Exponential(0, 0.5, 1, {}), Exponential(0, 0.0, 0, {0: 3})
    ) == Exponential(0, 0.5, 1, {0: 3})


def test_a_limit_lowers_the_schema_as_little_as_needed():
    store = filled(*(1.01**n for n in range(1000)))
    whole = store.total().exponential

    limited = exponentials.limited(whole, 160)

    assert len(whole.counts) > 320
    assert (limited.schema, exponentials.count(limited)) == (3, 1000)
    assert 80 < len(limited.counts) <= 160
    assert exponentials.limited(whole, 1000) is whole


def test_a_dense_limit_counts_the_gaps():
    gaps = Exponential(5, 0.0, 0, {-160: 1, 160: 1})

    assert exponentials.limited(gaps, 160) is gaps
    assert exponentials.limited(gaps, 160, dense=True).schema == 3
    assert exponentials.limited(Exponential(5, 0.0, 0, {}), 1, dense=True).schema == 5


def test_a_limit_that_cannot_be_kept_ends_at_the_lowest_schema():
    ends = Exponential(0, 0.0, 0, {-1000: 1, 1000: 1})

    assert exponentials.limited(ends, 1).schema == -4
    with pytest.raises(ValueError, match="max_buckets"):
        exponentials.limited(ends, 0)


# The store


@STORES
def test_values_are_in_the_buckets_of_their_index(allocate):
    rng = random.Random(3)
    values = [rng.lognormvariate(0, 6) for _ in range(5000)]
    values += [2.0**n for n in range(-39, 61)]
    values += [bound(i, 5) for i in range(-900, 900)]
    values += [math.nextafter(bound(i, 5), math.inf) for i in range(-900, 900)]

    found = filled(*values, allocate=allocate).total()

    expected = {}
    for value in values:
        expected[index(value, 5)] = expected.get(index(value, 5), 0) + 1
    assert found.exponential.counts == expected
    assert found.sum == pytest.approx(math.fsum(values), rel=1e-12)
    assert {type(n) for n in found.exponential.counts.values()} == {int}


@STORES
@pytest.mark.parametrize(
    ("value", "counted", "summed"),
    [
        (0.0, "zero", 0.0),
        (-0.0, "zero", 0.0),
        (-5.0, "zero", 0.0),
        (-math.inf, "zero", 0.0),
        (5e-324, "zero", 5e-324),
        (2.0**-40, "zero", 2.0**-40),
        (math.nextafter(2.0**-40, 1), -40 * 32 + 1, 2.0**-40),
        (2.0**60, 60 * 32, 2.0**60),
        (1e300, 60 * 32, 1e300),
        (math.inf, 60 * 32, 2.0**60),
        (3, index(3, 5), 3.0),
        (True, 0, 1.0),
        (Fraction(1, 2), -32, 0.5),
    ],
)
def test_the_edges(value, counted, summed, allocate, reports):
    # Twice: the first value of a row goes another way than those that follow. And after one of the row that
    # frexp gives for zero and infinity.
    total = filled(0.75, value, value, allocate=allocate).total()

    zeros, counts = (2, {}) if counted == "zero" else (0, {counted: 2})
    found = total.exponential
    assert (found.zero_count, found.counts) == (zeros, {index(0.75, 5): 1, **counts})
    assert total.sum == pytest.approx(0.75 + 2 * summed, rel=1e-15)
    assert not reports


@STORES
@pytest.mark.parametrize("value", [math.nan, -math.nan])
def test_nan_is_no_observation(value, allocate):
    store = filled(0.75, value, allocate=allocate)

    assert (store.count, store.sum) == (1, 0.75)


class Odd:
    def __float__(self):
        raise KeyError("odd")


@pytest.mark.parametrize("value", ["fast", None, Odd(), 10**400], ids=str)
def test_what_is_no_number_is_reported_and_counted_nowhere(value, reports):
    store = filled(1.0, value)

    assert (store.count, store.sum) == (1, 1.0)
    assert [place for place, _ in reports] == ["observing a value"]


def test_storage_that_fails_is_reported(reports):
    def full(row, size):
        raise OSError("no space left")

    assert filled(1.0, allocate=full).count == 0
    assert [str(error) for _, error in reports] == ["no space left"]


def test_the_sum_does_not_take_the_type_of_a_value():
    class Short(float):
        def __radd__(self, other):
            return Short(round(other + float(self), 1))

    store = filled(1.0, Short(1.2345678), Short(1.2345678))

    assert store.sum == pytest.approx(1.0 + 2 * 1.2345678, rel=1e-15)
    assert type(store.sum) is float


def test_a_sketch_needs_memory_for_the_rows_in_use_only():
    rows = []

    def allocate(row, size):
        rows.append((row, size))
        return [0.0] * size

    filled(*(0.1 + n / 1000 for n in range(800)), allocate=allocate)

    assert sorted(rows) == [(-3, 34), (-2, 34), (-1, 34), (0, 34)]


def test_no_value_takes_a_row_outside_of_the_range():
    rows = set()

    def allocate(row, size):
        rows.add(row)
        return [0.0] * size

    filled(*(2.0**n * 1.5 for n in range(-1070, 1023)), allocate=allocate)

    assert rows == set(range(-40, 61))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schema": 9}, "schema must be 0 to 8"),
        ({"schema": -1}, "schema must be 0 to 8"),
        ({"window": 0.0}, "window must be a positive number of seconds"),
        ({"window": math.inf}, "window must be a positive number of seconds"),
        ({"ages": 0}, "ages must be at least 1"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Sketch(**options)


def test_a_reading_has_count_sum_and_quantiles_of_the_same_observations():
    store = filled(1.0, 1.0, 4.0)

    found = store.read((0.5, 1.0), now=0.0)

    middle = 2 ** (-0.5 / 32)
    assert found == Quantiles(3, 6.0, ((0.5, middle), (1.0, 4 * middle)))


def test_rows_of_several_processes_add_up():
    first, second = {}, {}
    for rows, values in ((first, (1.0, 3.0, 0.0)), (second, (3.0, 100.0))):
        filled(
            *values,
            allocate=lambda row, size, rows=rows: rows.setdefault(row, shared(row, size)),
        )

    both = sketch.fold(5, [*first.items(), *second.items()])

    assert both == filled(1.0, 3.0, 0.0, 3.0, 100.0).total()


def test_a_reading_takes_rows_of_other_processes():
    others = {}
    filled(100.0, 100.0, 0.5, allocate=lambda row, size: others.setdefault(row, shared(row, size)))
    store = filled(1.0, 0.5)

    found = store.read((1.0,), now=0.0, more=others.items())

    assert (found.count, found.sum) == (5, 202.0)
    assert found.quantiles[0][1] == pytest.approx(100.0, rel=0.011)
    # They are in the window too.
    assert store.read((1.0,), now=700.0, more=others.items()).count == 5
    assert math.isnan(store.read((1.0,), now=700.0, more=others.items()).quantiles[0][1])


def test_moving_leaves_nothing_behind():
    old, rows = {}, {}
    store = filled(
        *(1.0, 3.0, -1.0, math.inf),
        allocate=lambda row, size: old.setdefault(row, [0.0] * size),
    )
    before = store.total()

    store.move(lambda row, size: rows.setdefault(row, shared(row, size)))
    store.observe(5.0)

    assert sketch.fold(5, rows.items()) == store.total()
    assert store.count == 5
    assert store.sum == before.sum + 5.0
    assert not any(value for row in old.values() for value in row)


def test_forgetting():
    store = filled(1.0, 3.0)
    store.read((0.5,), now=0.0)

    store.reset()
    store.observe(3.0)

    assert (store.count, store.sum) == (1, 3.0)
    assert exponentials.count(store.exponential(now=600.0)) == 1


# The window


def test_quantiles_forget_what_is_older_than_the_window_and_the_total_does_not():
    store = Sketch(window=600.0, ages=5)
    for minute in range(20):
        store.observe(1.0 if minute < 8 else 100.0)
        store.read((0.5,), now=60.0 * minute)

    # At 19 min the newest mark that is 10 min old is that of 8 min, which has the observation of 8 min itself.
    assert exponentials.count(store.exponential(now=60.0 * 19)) == 11
    assert store.quantiles((0.0,), now=60.0 * 19)[0][1] == pytest.approx(100.0, rel=0.011)
    assert store.count == 20
    assert store.sum == 8 * 1.0 + 12 * 100.0


def test_before_the_window_is_full_everything_counts():
    store = filled(1.0)

    assert exponentials.count(store.exponential(now=0.0)) == 1
    store.observe(1.0)
    assert exponentials.count(store.exponential(now=599.9)) == 2
    assert exponentials.count(store.exponential(now=600.0)) == 1


def test_no_observation_is_missed_between_readings_that_are_far_apart():
    store = filled(1.0)
    store.read((), now=0.0)
    store.observe(2.0)
    store.observe(2.0)

    assert exponentials.count(store.exponential(now=86_400.0)) == 2
    assert exponentials.count(store.exponential(now=86_401.0)) == 2
    # Then nothing came for a whole window.
    assert exponentials.count(store.exponential(now=87_000.0)) == 0


def test_an_empty_window_has_no_quantiles():
    store = filled(1.0)
    store.read((), now=0.0)

    found = store.read((0.5,), now=700.0)

    assert (found.count, found.sum) == (1, 1.0)
    assert math.isnan(found.quantiles[0][1])


def test_the_window_is_never_shorter_and_at_most_one_step_longer():
    window, seconds = Window(60.0, 6), range(400)
    for second in seconds:
        # One observation a second, so a count is a time.
        got = exponentials.count(window.since(Exponential(0, 0.0, 0, {1: second}), float(second)))
        if second >= 70:
            assert 60 <= got <= 70


def test_the_window_remembers_no_more_than_its_ages():
    window = Window(60.0, 6)
    for second in range(1000):
        window.since(Exponential(0, 0.0, 0, {1: second}), float(second))

    assert len(window._marks) <= 8


def test_zeros_leave_the_window_too():
    store = filled(0.0, 0.0)
    store.read((), now=0.0)
    store.observe(0.0)

    assert store.exponential(now=600.0).zero_count == 1


def test_a_total_that_began_anew_counts_with_what_it_has():
    window = Window(60.0, 6)
    window.since(Exponential(0, 0.0, 5, {1: 10, 2: 10}), 0.0)

    found = window.since(Exponential(0, 0.0, 1, {2: 12, 3: 1}), 60.0)

    assert found == Exponential(0, 0.0, 0, {2: 2, 3: 1})


def test_without_a_window_all_time_counts():
    store = filled(1.0, window=None)
    store.read((), now=0.0)

    assert exponentials.count(store.exponential(now=1e9)) == 1


def test_the_clock_of_the_machine_is_the_default(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(sketch, "monotonic", lambda: now)
    store = filled(1.0)
    store.read(())
    now += 601

    assert exponentials.count(store.exponential()) == 0


# Threads


@pytest.fixture
def eager():
    """Threads that are switched as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def run(*targets):
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


@STORES
def test_totals_are_exact_under_threads_and_readings_never_go_back(eager, allocate):
    done = threading.Event()
    store = Sketch(allocate=allocate)
    seen = []

    def observe(seed):
        rng = random.Random(seed)
        values = [rng.choice((0.25, 0.5, 1.0, 3, 1024.0)) for _ in range(20_000)]
        for value in values:
            store.observe(value)

    def read():
        while not done.is_set():
            seen.append(store.count)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        run(*(lambda seed=seed: observe(seed) for seed in range(6)))
    finally:
        done.set()
        reader.join(10)

    rngs = [random.Random(seed) for seed in range(6)]
    values = [rng.choice((0.25, 0.5, 1.0, 3, 1024.0)) for rng in rngs for _ in range(20_000)]
    assert (store.count, store.sum) == (120_000, sum(values))
    assert seen == sorted(seen)
    assert len(set(seen)) > 2


def test_threads_that_make_the_same_row_share_it():
    gate = threading.Barrier(4)

    def slow(row, size):
        gate.wait(10)  # all four are in here at the same time
        return [0.0] * size

    store = Sketch(allocate=slow)
    run(*([lambda: store.observe(1.5)] * 4))

    assert (store.count, store.sum) == (4, 6.0)


def test_nothing_is_lost_while_the_rows_move(eager):
    store = Sketch()

    def observe():
        for value in [0.3, 1.0, 2.5, 7, 0.0] * 4000:
            store.observe(value)

    def move():
        for number in range(100):
            store.move(shared if number % 2 else sketch._private)

    run(observe, observe, observe, move)

    assert (store.count, store.sum) == (60_000, pytest.approx(3 * 4000 * 10.8))


# Speed


def cpu(function, values):
    started = time.process_time_ns()
    for value in values:
        function(value)
    return time.process_time_ns() - started
