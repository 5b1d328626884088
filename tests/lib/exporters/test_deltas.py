import math
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from receivers import counter, family, gauge, histogram, summary

from flowgauge.exporters import deltas
from flowgauge.exporters.deltas import Deltas, Level
from flowgauge.metrics import Distribution, Exponential, MetricFamily


def exported(ledgers, *families, succeed=True):
    """What an export sends: name to count."""
    ledgers.read(families)
    sent = {}
    for change in ledgers.changes():
        sent[change.series.name] = change.count
        if succeed:
            change.settle()
    return sent


def test_only_what_is_new_is_sent():
    ledgers = Deltas()

    assert exported(ledgers, counter("a", 5.0)) == {"a": 5.0}
    assert exported(ledgers, counter("a", 7.0)) == {"a": 2.0}
    assert exported(ledgers, counter("a", 7.0)) == {}


def test_a_new_series_is_made_known_at_zero_until_somebody_knows_it():
    ledgers = Deltas()

    assert exported(ledgers, counter("a", 0.0), succeed=False) == {"a": 0}
    assert exported(ledgers, counter("a", 0.0)) == {"a": 0}
    assert exported(ledgers, counter("a", 0.0)) == {}


def test_what_failed_goes_with_the_next():
    ledgers = Deltas()
    exported(ledgers, counter("a", 5.0), succeed=False)

    assert exported(ledgers, counter("a", 7.0)) == {"a": 7.0}


def test_a_lower_value_is_a_new_life_that_counts_from_zero():
    ledgers = Deltas()
    exported(ledgers, counter("a", 5.0))

    assert exported(ledgers, counter("a", 3.0)) == {"a": 3.0}


def test_a_reset_while_nothing_could_be_sent_loses_nothing():
    ledgers = Deltas()
    exported(ledgers, counter("a", 10.0))
    exported(ledgers, counter("a", 15.0), succeed=False)

    assert exported(ledgers, counter("a", 12.0)) == {"a": 17.0}


def test_a_source_that_misses_one_reading_is_not_counted_twice():
    ledgers = Deltas()
    exported(ledgers, counter("a", 100.0))
    exported(ledgers)

    assert exported(ledgers, counter("a", 101.0)) == {"a": 1.0}


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by a second with each reading, and further as told."""
    now = [1000.0]

    def monotonic():
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(deltas, "monotonic", monotonic)
    return now


def test_families_that_are_exported_apart_are_not_taken_for_gone(clock):
    ledgers = Deltas()
    exported(ledgers, counter("a", 100.0))
    for number in range(500):
        exported(ledgers, counter("b", float(number)))

    assert exported(ledgers, counter("a", 101.0)) == {"a": 1.0}


def test_series_that_are_gone_are_forgotten(clock):
    ledgers = Deltas()
    for number in range(2000):
        exported(ledgers, counter("a", {(str(number),): 1.0}, labels=("x",)))

    assert len(ledgers) <= deltas.KEEP_SECONDS + 2


def test_what_a_series_gained_before_it_was_gone_is_sent_when_somebody_listens_again(clock):
    ledgers = Deltas()
    exported(ledgers, counter("a", 4.0), succeed=False)
    clock[0] += 10 * deltas.KEEP_SECONDS
    exported(ledgers, succeed=False)

    assert exported(ledgers) == {"a": 4.0}
    exported(ledgers)
    assert len(ledgers) == 0


def test_a_back_end_that_is_down_for_long_does_not_fill_the_memory(monkeypatch, caplog, clock):
    monkeypatch.setattr(deltas, "KEEP_MISSING", 20)
    ledgers = Deltas()
    exported(ledgers, counter("known", 5.0))
    for number in range(200):
        exported(ledgers, counter("a", {(str(number),): 1.0}, labels=("x",)), succeed=False)

    assert len(ledgers) == 21
    assert "counts of the oldest are lost" in caplog.text
    left = [change.series.labels for change in ledgers.changes()]
    assert left == [(("x", str(number)),) for number in range(179, 200)]


def test_of_missing_series_those_without_news_go_first(monkeypatch, caplog, clock):
    monkeypatch.setattr(deltas, "KEEP_MISSING", 3)
    ledgers = Deltas()
    known = counter("a", {(str(n),): 1.0 for n in range(10)}, labels=("x",))
    ledgers.read([counter("b", 7.0), known])
    for change in list(ledgers.changes())[1:]:
        change.settle()
    ledgers.read([])

    assert len(ledgers) == 3
    assert exported(ledgers) == {"b": 7.0}
    assert not caplog.text


def test_two_families_with_the_same_series_are_one_series():
    ledgers = Deltas()

    assert exported(ledgers, counter("a", 2.0), counter("a", 3.0)) == {"a": 5.0}
    assert exported(ledgers, counter("a", 4.0), counter("a", 3.0)) == {"a": 2.0}


def test_gauges_and_quantiles_are_levels_and_numbers_that_are_none_are_left_out():
    ledgers = Deltas()
    levels = ledgers.read(
        [
            gauge("g", {("a",): -1.5, ("b",): math.nan, ("c",): math.inf}, labels=("x",)),
            family("info", "build_info", {("1",): 1.0}, labels=("version",)),
            summary("s", 3, 6.0, ((0.5, 2.0), (0.99, math.nan))),
        ]
    )

    assert [(level.series.name, level.value, level.quantile) for level in levels] == [
        ("g", -1.5, None),
        ("build_info", 1.0, None),
        ("s", 2.0, 0.5),
    ]
    assert isinstance(levels[0], Level)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_counter_that_is_no_number_is_left_out(value):
    ledgers = Deltas()
    exported(ledgers, counter("a", 2.0))

    assert exported(ledgers, counter("a", value)) == {}
    assert exported(ledgers, counter("a", 5.0)) == {"a": 3.0}


def test_an_infinite_observation_does_not_spoil_the_sum_for_ever():
    ledgers = Deltas()
    ledgers.read([histogram("h", (1.0,), [1, 0], 0.5)])
    ledgers.read([histogram("h", (1.0,), [1, 1], math.inf)])
    (change,) = ledgers.changes()

    assert (change.count, change.sum) == (2, 0.5)


def test_count_and_sum_of_a_histogram_may_arrive_apart():
    ledgers = Deltas()
    ledgers.read([histogram("h", (1.0,), [3, 1], 9.0)])
    (first,) = ledgers.changes()
    first.settle_count()
    ledgers.read([histogram("h", (1.0,), [4, 1], 9.5)])
    (second,) = ledgers.changes()

    assert (second.count, second.sum) == (1, 9.5)


def native(counts, *, schema=2, zero_threshold=0.0, zero_count=0, total=1.0):
    exponential = Exponential(schema, zero_threshold, zero_count, counts)
    number = sum(counts.values()) + zero_count
    return MetricFamily(
        "n", "histogram", "", (), [()], [Distribution((), [number], total, {}, exponential)]
    )


def test_exponential_buckets_that_become_coarser_are_no_reset():
    ledgers = Deltas()
    exported(ledgers, native({1: 4, 2: 3, 3: 2}))
    ledgers.read([native({1: 7, 2: 3}, schema=1)])
    (change,) = ledgers.changes()

    assert change.counts == {2: 1}
    assert change.grid.schema == 1


def test_a_batch_may_settle_after_its_buckets_became_coarser():
    ledgers = Deltas()
    ledgers.read([native({1: 4, 2: 3})])
    (change,) = ledgers.changes()
    ledgers.read([native({1: 8}, schema=1)])
    change.settle()
    (rest,) = ledgers.changes()

    assert rest.counts == {1: 1}


def test_a_zero_bucket_that_becomes_wider_is_no_reset():
    ledgers = Deltas()
    exported(ledgers, native({-9: 4, 4: 3}))

    assert exported(ledgers, native({4: 3}, zero_threshold=0.5, zero_count=4)) == {}


@st.composite
def histories(draw):
    """Lives of one series: each grows, and the next begins below where the last ended. With the true totals."""
    readings, total = [], 0
    last = 0
    for _ in range(draw(st.integers(1, 4))):
        value = draw(st.integers(0, max(0, last - 1))) if readings else draw(st.integers(0, 50))
        if readings and value >= last:
            break
        for _ in range(draw(st.integers(1, 6))):
            readings.append(value)
            last = value
            value += draw(st.integers(0, 20))
        total += last
    return readings, total


@given(st.lists(histories(), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_whatever_fails_and_whatever_is_reset_the_sum_of_what_arrived_is_what_was_counted(
    series, chance
):
    ledgers = Deltas()
    arrived = defaultdict(float)

    def export(families, working):
        ledgers.read(families)
        for change in ledgers.changes():
            if chance.random() > working:
                break  # this batch and the rest failed
            arrived[change.series.name] += change.count
            arrived[change.series.name + "_sum"] += change.sum
            change.settle()

    for step in range(max(len(readings) for readings, _ in series)):
        families = []
        for number, (readings, _) in enumerate(series):
            value = readings[min(step, len(readings) - 1)]
            families += [
                counter(f"c{number}", float(value)),
                histogram(f"h{number}", (1.0, 2.0), [value, 0, 2 * value], value * 0.5),
            ]
        export(families, working=chance.choice([0.0, 0.5, 0.9, 1.0]))
    export(families, working=1.0)

    for number, (_, total) in enumerate(series):
        assert arrived[f"c{number}"] == total
        assert arrived[f"h{number}"] == 3 * total
        assert arrived[f"h{number}_sum"] == total * 0.5
    assert not ledgers.has_unsent()


def test_amounts_with_decimals_add_up():
    ledgers, arrived, value = Deltas(), 0.0, 0.0
    for step in range(10_000):
        value += 0.1 * (step % 7)
        working = step % 3 != 0
        sent = exported(ledgers, counter("a", value), succeed=working)
        arrived += sent.get("a", 0.0) if working else 0.0
    arrived += exported(ledgers, counter("a", value)).get("a", 0.0)

    assert arrived == pytest.approx(value, rel=1e-12)
