"""Metrics of one's own: what is refused, what is logged, what is counted."""

from __future__ import annotations

import contextlib
import enum
import gc
import math
import os
import random
import struct
import subprocess
import sys
import threading
import weakref
from collections import Counter as Tally
from decimal import Decimal
from fractions import Fraction

import pytest
from forked import in_child
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgauge import guard, instruments, text
from flowgauge.instruments import MetricsCollector
from flowgauge.metrics import Distribution

THREADS = 8


@pytest.fixture
def collector():
    return MetricsCollector()


@pytest.fixture
def told(monkeypatch, caplog):
    """What was logged since the last question, as if nothing had been logged before."""
    monkeypatch.setattr(guard, "_reported", {})

    def since():
        messages = [record.getMessage() for record in caplog.records]
        caplog.clear()
        guard._reported.clear()
        return messages

    return since


def series(instrument):
    """The values of a metric by label set, as a scrape sees them."""
    family = instrument.collect()
    assert len(family.keys) == len(family.values)
    made = dict(zip(family.keys, family.values, strict=True))
    assert len(made) == len(family.keys), f"a label set stands twice in {family.keys}"
    return made


@contextlib.contextmanager
def switching():
    """Threads are switched as often as possible."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def together(*targets):
    """Run each function in a thread of its own, all at the same time; what they raise is raised here."""
    start, faults = threading.Barrier(len(targets)), []

    def run(target):
        try:
            start.wait()
            target()
        except BaseException as error:
            faults.append(error)
            raise

    threads = [threading.Thread(target=run, args=(target,)) for target in targets]
    with switching():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    if faults:
        raise faults[0]


# What is wrong with a declaration is raised, with the field and the remedy.

NAME = "use letters, digits and _"


@pytest.mark.parametrize("kind", ["counter", "gauge", "histogram", "summary"])
@pytest.mark.parametrize(
    "name", ["", "1st", "a b", "a-b", "grün", "a\n", "٣", 5, None, b"x", ["x"]]
)
def test_a_name_that_cannot_be_is_refused(collector, kind, name):
    with pytest.raises(ValueError, match=NAME) as caught:
        getattr(collector, kind)(name)

    assert repr(name) in str(caught.value)
    assert collector.collect_all() == []


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("method", "labels of x are 'method', must be a list of names"),
        (b"method", "labels of x are b'method', must be a list of names"),
        (None, "labels of x are None, must be a list of names"),
        (7, "labels of x are 7, must be a list of names"),
        (["1st"], f"'1st' of x is no name of a label; {NAME}"),
        (["a b"], f"'a b' of x is no name of a label; {NAME}"),
        (["a:b"], f"'a:b' of x is no name of a label; {NAME}"),
        (["__name__"], "'__name__' of x is no name of a label"),
        ([""], "'' of x is no name of a label"),
        ([5], "5 of x is no name of a label"),
        (["a", "b", "a"], "labels of x are ['a', 'b', 'a'], must differ from each other"),
    ],
)
@pytest.mark.parametrize("kind", ["counter", "gauge", "histogram", "summary"])
def test_labels_that_cannot_be_are_refused(collector, kind, labels, message):
    with pytest.raises(ValueError) as caught:
        getattr(collector, kind)("x", labels=labels)

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("histogram", {"labels": ["le"]}, "'le' of x is a label that every histogram has"),
        ("summary", {"labels": ["quantile"]}, "'quantile' of x is a label that every summary has"),
        *[
            (
                kind,
                {"labels": ["a", label]},
                f"'{label}' of x is what methods of a {kind} call their number",
            )
            for kind, label in (
                ("counter", "amount"),
                ("gauge", "amount"),
                ("gauge", "value"),
                ("histogram", "value"),
                ("summary", "value"),
            )
        ],
        ("counter", {"help_text": None}, "help_text of x is None, must be text"),
        ("gauge", {"help_text": 5}, "help_text of x is 5, must be text"),
        ("gauge", {"unit": 5}, "unit of x is 5, must be text"),
        ("gauge", {"merge": "mean"}, "merge of x is 'mean', must be sum, max, min or latest"),
        *[
            (
                "histogram",
                {"buckets": buckets},
                f"buckets of x are {buckets}, must be finite numbers",
            )
            for buckets in (
                *([], [math.inf], [1, 1], [2, 1], [1, 2, math.inf, 3], [math.inf, 1], [math.nan]),
                *([-math.inf, 1], ["a"], [None], [1, "2b"], [[1]], [1, 2j]),
            )
        ],
        ("histogram", {"buckets": None}, "buckets of x are None, must be finite numbers"),
        ("histogram", {"buckets": 5}, "buckets of x are 5, must be finite numbers"),
        *[
            ("summary", {"quantiles": quantiles}, f"quantiles of x are {quantiles}, must be from 0")
            for quantiles in ([1.5], [-0.1], [math.nan], [99], ["a"], [None], None, 0.5)
        ],
    ],
)
def test_a_field_that_cannot_be_is_refused(collector, kind, fields, message):
    with pytest.raises(ValueError) as caught:
        getattr(collector, kind)("x", **fields)

    assert message in str(caught.value)
    assert collector.get("x") is None


@pytest.mark.parametrize("limit", [0, -1, 1.5, "9", None])
def test_a_limit_that_cannot_be_is_refused(limit):
    with pytest.raises(ValueError, match=f"limit is {limit!r}, must be a whole number, at least 1"):
        MetricsCollector(limit=limit)


def test_the_same_declaration_gives_the_same_metric(collector):
    first = collector.histogram("x", "Help.", ["a"], buckets=[1, 2, math.inf])

    assert collector.histogram("x", "Other help.", ("a",), buckets=(1.0, 2.0)) is first
    assert collector.get("x") is first
    assert [family.help for family in collector.collect_all()] == ["Help."]


@pytest.mark.parametrize(
    "again",
    [
        lambda c: c.counter("x", labels=["a"]),
        lambda c: c.summary("x", labels=["a"]),
        lambda c: c.gauge("x"),
        lambda c: c.gauge("x", labels=["b"]),
        lambda c: c.gauge("x", labels=["a"], merge="max"),
        lambda c: c.histogram("h", buckets=[1, 3]),
        lambda c: c.summary("s", quantiles=[0.9]),
    ],
)
def test_another_declaration_of_the_same_name_is_refused_with_what_there_is(collector, again):
    collector.gauge("x", labels=["a"])
    collector.histogram("h", buckets=[1, 2])
    collector.summary("s", quantiles=[0.5])

    with pytest.raises(ValueError, match="is declared already, as a .* use another name"):
        again(collector)


def test_labels_may_be_anything_that_can_be_gone_through(collector):
    metric = collector.counter("x", labels=(name for name in ("a", "b")))
    metric.inc(a="1", b="2")

    assert series(metric) == {("1", "2"): 1.0}


def test_infinity_may_end_the_buckets_and_is_there_in_any_case(collector):
    with_it = collector.histogram("x", buckets=(bound for bound in [1, 2, math.inf]))
    without = collector.histogram("y", buckets=[Decimal(1), Fraction(2)])
    for metric in (with_it, without):
        metric.observe(1e9)

    assert with_it.get() == without.get() == Distribution((1.0, 2.0), [0, 0, 1], 1e9)


# Nothing is raised when the program runs.


def test_a_metric_without_labels_is_there_before_anything_happens(collector):
    collector.counter("c")
    collector.gauge("g")
    collector.histogram("h", buckets=[1])
    collector.summary("s", quantiles=[0.5])
    collector.counter("labelled", labels=["a"])

    found = {family.name: list(family.values) for family in collector.collect_all()}

    assert found["c"] == found["g"] == [0.0]
    assert found["h"] == [Distribution((1.0,), [0, 0], 0.0)]
    [empty] = found["s"]
    assert (empty.count, empty.sum, math.isnan(empty.quantiles[0][1])) == (0, 0.0, True)
    assert found["labelled"] == []


@pytest.mark.parametrize(
    ("use", "counted"),
    [
        (lambda m: m.inc(a="1"), ("1", "")),
        (lambda m: m.inc(), ("", "")),
        (lambda m: m.inc(a="1", b="2", c="3"), ("1", "2")),
        (lambda m: m.inc(a="1", c="3"), ("1", "")),
        (lambda m: m.labels("1").inc(), ("1", "")),
        (lambda m: m.labels("1", "2", "3").inc(), ("1", "2")),
        (lambda m: m.labels("1", c="3").inc(), ("1", "")),
        (lambda m: m.labels("1", "2", a="other").inc(), ("1", "2")),
    ],
)
def test_labels_that_do_not_fit_are_logged_once_and_it_is_counted(collector, told, use, counted):
    metric = collector.counter("x", labels=["a", "b"])

    for _ in range(3):
        use(metric)

    [message] = told()
    assert "x has the labels ['a', 'b'], and was used with" in message
    assert series(metric) == {counted: 3.0}


def test_labels_go_by_name_or_by_place_and_lead_to_the_same_child(collector, told):
    metric = collector.counter("x", labels=["b", "a"])
    child = metric.labels("1", a="2")
    child.inc()
    metric.labels(a="2", b="1").inc()
    metric.labels("1", "2").inc()
    metric.inc(b="1", a="2")

    assert child is metric.labels("1", "2")
    assert (child.get(), metric.get(a="2", b="1"), series(metric)) == (4.0, 4.0, {("1", "2"): 4.0})
    assert told() == []


def test_a_label_may_be_called_like_a_parameter(collector, told):
    for metric in (
        collector.counter("c", labels=["self", "labels"]),
        collector.gauge("g", labels=["self", "labels"]),
    ):
        metric.inc(self="1", labels="2")
        metric.labels(self="1", labels="2").inc()
        assert metric.get(self="1", labels="2") == 2.0
        metric.remove(self="1", labels="2")
        assert series(metric) == {}
    assert told() == []


NO_NUMBERS = ("a", "5", b"5", None, [1], {}, object(), 2j, Decimal("sNaN"))
NOT_FINITE = (math.nan, math.inf, -math.inf, Decimal("NaN"), Decimal("Infinity"))
TOO_LARGE = 10**400


@pytest.mark.parametrize(
    "amount", [*NO_NUMBERS, *NOT_FINITE, TOO_LARGE, -1, -0.5, Decimal(-2)], ids=str
)
def test_a_counter_goes_up_by_a_finite_number_or_not_at_all(collector, told, amount):
    metric = collector.counter("x", labels=["a"])
    metric.inc(2, a="1")

    for _ in range(3):
        metric.inc(amount, a="1")
    metric.inc(3, a="1")

    assert len(told()) == 1
    assert series(metric) == {("1",): 5.0}


@pytest.mark.parametrize("value", [*NO_NUMBERS, TOO_LARGE], ids=str)
def test_a_gauge_takes_numbers_only(collector, told, value):
    metric = collector.gauge("x", labels=["a"])
    metric.set(7, a="1")

    for act in (metric.set, metric.inc, metric.dec):
        act(value, a="1")
        assert len(told()) == 1, act
    assert series(metric) == {("1",): 7.0}


@pytest.mark.parametrize("value", [math.inf, -math.inf, -1e300, -0.0])
def test_a_gauge_may_be_any_number(collector, value):
    metric = collector.gauge("x")
    metric.set(value)

    assert repr(metric.get()) == repr(value)
    metric.set(math.nan)
    assert math.isnan(metric.get())


@pytest.mark.parametrize("value", [*NO_NUMBERS, *NOT_FINITE, TOO_LARGE], ids=str)
def test_an_observation_of_a_histogram_is_a_finite_number_or_none(collector, told, value):
    metric = collector.histogram("x", labels=["a"])
    metric.observe(0.25, a="1")

    for _ in range(3):
        metric.observe(value, a="1")
    metric.observe(0.5, a="1")

    assert len(told()) == 1
    assert (metric.get(a="1").count, metric.get(a="1").sum) == (2, 0.75)


@pytest.mark.parametrize(
    ("value", "counted", "logged"),
    [
        *[(value, [], 1) for value in ("a", None, [1], {}, object(), 2j, TOO_LARGE)],
        *[(value, [], 0) for value in (math.nan, Decimal("NaN"))],
        *[(value, [0.0], 0) for value in (-1, -math.inf, Decimal(-2))],
        *[(value, [2.0**60], 0) for value in (math.inf, Decimal("Infinity"))],
    ],
    ids=str,
)
def test_an_observation_of_a_summary_is_what_a_sketch_takes(
    collector, told, value, counted, logged
):
    metric = collector.summary("x", labels=["a"], quantiles=[])
    for observed in (0.25, value, 0.5):
        metric.observe(observed, a="1")

    assert len(told()) == logged
    found = metric.get(a="1")
    assert (found.count, found.sum) == (2 + len(counted), sum(counted) + 0.75)


class Single(float):
    """As float32 of numpy: whatever is computed with one is one, and ends at 2**24 for steps of 1."""

    def __add__(self, other):
        return Single(struct.unpack("f", struct.pack("f", float(self) + float(other)))[0])

    __radd__ = __add__

    def __sub__(self, other):
        return self + -float(other)

    def __neg__(self):
        return Single(-float(self))

    def __repr__(self):
        return f"Single({float(self)})"

    __str__ = __repr__


@pytest.mark.parametrize(
    "number", [True, 2, 0.5, Decimal("0.1"), Fraction(1, 3), Single(1.0), 2**70], ids=repr
)
def test_every_sort_of_number_is_counted_as_a_float_of_full_precision(collector, told, number):
    counter, gauge = collector.counter("c"), collector.gauge("g")
    up, down = collector.gauge("up"), collector.gauge("down")
    histogram, summary = collector.histogram("h"), collector.summary("s")
    large = 2.0**24
    for act in (counter.inc, gauge.set, up.inc, down.dec, histogram.observe, summary.observe):
        act(number)
    for act in (counter.inc, up.inc, histogram.observe, summary.observe):
        act(large)
        act(1)

    whole = float(number) + large + 1.0
    assert (counter.get(), up.get(), histogram.get().sum) == (whole, whole, whole)
    assert summary.get().sum == pytest.approx(whole)
    assert (gauge.get(), down.get()) == (float(number), -float(number))
    for found in (counter.get(), gauge.get(), up.get(), down.get(), histogram.get().sum):
        assert type(found) is float
    assert f"\nc {text.go(whole)}\n" in text.Renderer().render(collector.collect_all()).decode()
    assert told() == []


class Broken:
    """A label value that can do nothing right."""

    def __str__(self):
        raise RuntimeError("no text")

    def __hash__(self):
        raise RuntimeError("no hash")

    def __eq__(self, other):
        raise RuntimeError("not equal to anything")


class BrokenText:
    def __str__(self):
        raise RuntimeError("no text")


class BrokenHash(str):
    __slots__ = ()

    def __hash__(self):
        raise RuntimeError("no hash")


class Unequal:
    """Found in the same place of a dictionary as "x", and then not to be compared."""

    def __hash__(self):
        return hash("x")

    def __eq__(self, other):
        raise RuntimeError("not equal to anything")

    def __str__(self):
        return "unequal"


class Word(str, enum.Enum):  # noqa: UP042 - `StrEnum` is not what is tested
    GOOD = "good"


ODD_VALUES = [
    (Broken(), "other"),
    (BrokenText(), "other"),
    (BrokenHash("hash"), "hash"),
    (Unequal(), "unequal"),
    ([1, {}], "[1, {}]"),
    (None, "None"),
    (True, "True"),
    (7, "7"),
    (1.5, "1.5"),
    (b"raw", "b'raw'"),
    (Word.GOOD, "good"),
    ("", ""),
    ("a\udc80", "a?"),
    ('\n"\\%s', '\n"\\%s'),
]


@pytest.mark.parametrize(("value", "read"), ODD_VALUES, ids=[read for _, read in ODD_VALUES])
def test_whatever_a_label_value_is_it_is_counted(collector, value, read):
    metric = collector.counter("x", labels=["a"])
    metric.inc(a="x")

    metric.inc(a=value)
    metric.labels(value).inc()
    metric.labels(a=value).inc()

    assert series(metric) == {("x",): 1.0, (read,): 3.0}
    assert metric.get(a=value) == 3.0
    text.Renderer().render(collector.collect_all())
    metric.remove(a=value)
    assert series(metric) == {("x",): 1.0}


def test_a_word_counts_under_its_text_whether_that_was_used_before_or_not(collector):
    metric = collector.counter("x", labels=["a"])
    metric.inc(a=Word.GOOD)
    metric.inc(a="good")
    metric.inc(a=Word.GOOD)

    assert series(metric) == {("good",): 3.0}


def test_reading_makes_no_label_set(collector):
    for kind in ("counter", "gauge", "histogram", "summary"):
        metric = getattr(collector, kind)(f"{kind}_x", labels=["a"])
        metric.get(a="1")
        metric.get()
        metric.remove(a="1")
        metric.remove(b="1")

        assert series(metric) == {}


def test_what_is_removed_is_gone_and_begins_anew(collector):
    metric = collector.counter("x", labels=["a"])
    renderer = text.Renderer()

    def page():
        return renderer.render(collector.collect_all()).decode().splitlines()[2:]

    for value in ("1", "2", "3"):
        metric.inc(a=value)
    assert page() == ['x{a="1"} 1.0', 'x{a="2"} 1.0', 'x{a="3"} 1.0']
    metric.remove(a="1")
    assert page() == ['x{a="2"} 1.0', 'x{a="3"} 1.0']
    metric.remove(a="2")
    metric.inc(5, a="4")  # as many label sets as before
    assert page() == ['x{a="3"} 1.0', 'x{a="4"} 5.0']
    metric.clear()
    assert page() == []
    metric.inc(a="3")
    assert page() == ['x{a="3"} 1.0']


def test_the_list_of_label_sets_is_the_same_one_as_long_as_they_are(collector):
    # A renderer makes the text of label sets anew where the list is another one.
    metric = collector.counter("x", labels=["a"])
    metric.inc(a="1")
    first = metric.collect().keys
    metric.inc(a="1")

    assert metric.collect().keys is first
    metric.inc(a="2")
    assert [*metric.collect().keys] == [("1",), ("2",)]


@settings(deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, unique=True).map(sorted),
    st.lists(st.floats(-1e7, 1e7)),
)
def test_an_observation_is_in_the_first_bucket_whose_bound_is_not_below_it(bounds, observations):
    metric = MetricsCollector().histogram("x", buckets=bounds)
    for value in observations:
        metric.observe(value)
    found = metric.get()

    cumulative = [sum(found.counts[: i + 1]) for i in range(len(found.counts))]

    below = [sum(value <= bound for value in observations) for bound in bounds]
    assert cumulative == [*below, len(observations)]
    assert found.sum == pytest.approx(math.fsum(observations), abs=1e-3)


def test_a_summary_tells_its_quantiles_in_order(collector):
    metric = collector.summary("x", quantiles=[0.99, 0.5, 0.5])
    for value in range(1, 1001):
        metric.observe(value)

    found = metric.get()

    assert [q for q, _ in found.quantiles] == [0.5, 0.99]
    assert [v for _, v in found.quantiles] == [
        pytest.approx(500, rel=0.02),
        pytest.approx(990, rel=0.02),
    ]


def test_a_timer_observes_seconds_also_where_its_block_raises(collector, monkeypatch):
    ticks = iter([10.0, 10.25, 20.0, 20.5])
    monkeypatch.setattr(instruments.children, "perf_counter", lambda: next(ticks))
    metric = collector.histogram("x", labels=["a"], buckets=[0.3])

    with metric.time(a="1"):
        pass
    with pytest.raises(KeyError), metric.labels("1").time():
        raise KeyError

    assert series(metric) == {("1",): Distribution((0.3,), [1, 1], 0.75)}


def test_now_is_unix_time(collector, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.5)
    metric = collector.gauge("x", labels=["a"])

    metric.set_to_current_time(a="1")

    assert metric.get(a="1") == 1_700_000_000.5


def test_a_reset_sets_everything_to_zero_and_keeps_the_label_sets(collector):
    metric = collector.counter("x", labels=["a"])
    child = metric.labels("1")
    child.inc(5)

    collector.reset()

    assert series(metric) == {("1",): 0.0}
    child.inc()
    assert series(metric) == {("1",): 1.0}


# Threads.


def test_totals_are_exact_when_threads_count_in_the_same_metrics(collector):
    counter, gauge = collector.counter("c", labels=["a"]), collector.gauge("g", labels=["a"])
    histogram = collector.histogram("h", labels=["a"], buckets=[1, 2])
    summary, calls = collector.summary("s", labels=["a"], quantiles=[0.5]), 6000

    def work():
        child = histogram.labels("1")
        for i in range(calls):
            counter.inc(2, a="1")
            gauge.inc(3, a="1")
            gauge.dec(a="1")
            child.observe(i % 3)
            summary.observe(float(1 + i % 3), a="1")

    running = True

    def watch():
        seen = [0.0]
        while running:
            seen.append(sum(series(counter).values()))
            for found in series(histogram).values():
                # Counts and sum are of one instant: a third each of 0, 1 and 2, but for what is under way.
                assert abs(found.sum - found.count) <= THREADS
        assert seen == sorted(seen)

    def workers():
        nonlocal running
        try:
            together(*[work] * THREADS)
        finally:
            running = False

    together(workers, watch)

    n = THREADS * calls
    assert series(counter) == {("1",): 2.0 * n}
    assert series(gauge) == {("1",): 2.0 * n}
    assert series(histogram) == {("1",): Distribution((1.0, 2.0), [n // 3 * 2, n // 3, 0], 1.0 * n)}
    assert (summary.get(a="1").count, summary.get(a="1").sum) == (n, 2.0 * n)


def test_label_sets_that_threads_make_at_the_same_time_keep_their_own_totals():
    for _ in range(20):
        collector = MetricsCollector()
        metric, names = collector.counter("x", labels=["n"]), range(200)
        running = True

        def make(metric=metric, names=names):
            for n in random.sample(names, len(names)):
                metric.inc(n, n=n)

        def watch(metric=metric):
            while running:
                for (n,), value in series(metric).items():
                    assert value in range(0, THREADS * int(n) + 1, int(n) or 1)

        def makers(make=make):
            nonlocal running
            try:
                together(*[make] * THREADS)
            finally:
                running = False

        together(makers, watch)

        assert series(metric) == {(f"{n}",): float(THREADS * n) for n in names}


def test_keys_and_values_stay_paired_while_label_sets_come_and_go(collector):
    metric, names = collector.gauge("x", labels=["n"]), range(40)
    running, pages = True, Tally()

    def change():
        for i in range(20_000):
            n = random.choice(names)
            if i % 3:
                metric.set(float(n), n=n)
            else:
                metric.remove(n=n)

    def watch():
        renderer = text.Renderer()
        while running:
            renderer.render([metric.collect()])
            for (n,), value in series(metric).items():
                assert value in (0.0, float(n)), f"{n} has the value of another label set"
            pages["read"] += 1

    def changers():
        nonlocal running
        try:
            together(*[change] * 3)
        finally:
            running = False

    together(changers, watch, watch)

    for n in names:
        metric.set(float(n), n=n)
    assert series(metric) == {(f"{n}",): float(n) for n in names}
    assert pages["read"] > 20


def test_threads_may_clear_a_metric_together_while_others_count(collector):
    metrics = [
        getattr(collector, kind)(f"{kind}_x", labels=["n"])
        for kind in ("counter", "gauge", "histogram", "summary")
    ]

    def clear():
        for i in range(400):
            for n in range(10):
                for metric in metrics:
                    metric.labels(n)
            for metric in metrics:
                metric.remove(n=i % 10)
                metric.clear()

    together(clear, clear, clear, clear, lambda: [series(m) for m in metrics for _ in range(200)])

    for metric in metrics:
        metric.clear()
        assert series(metric) == {}


# Bounds of memory.


def test_label_sets_beyond_the_limit_share_one_and_the_sum_stays_right(told):
    collector = MetricsCollector(limit=3)
    metric = collector.counter("x", labels=["a", "b"])

    for i in range(10):
        metric.inc(a=i, b="same")
    metric.inc(a=0, b="same")

    assert series(metric) == {
        ("0", "same"): 2.0,
        ("1", "same"): 1.0,
        ("2", "same"): 1.0,
        ("other", "other"): 7.0,
    }
    assert collector.dropped[0] == 7.0
    [message] = told()
    assert "x has more than 3 label sets; {'a': '3', 'b': 'same'} and others" in message
    assert "from a small set" in message


def test_the_limit_holds_when_threads_reach_it_together():
    collector = MetricsCollector(limit=50)
    metric = collector.counter("x", labels=["a"])

    def make(thread):
        for i in range(400):
            metric.inc(a=f"{thread}-{i}")

    together(*[lambda thread=thread: make(thread) for thread in range(THREADS)])

    # Threads that look at the same time may each make one; then there is the shared one.
    assert len(series(metric)) <= 50 + THREADS + 1
    assert sum(series(metric).values()) == 400 * THREADS


# A label set that stayed would take at least five blocks of memory: the slots, the child, its key and the texts.
STREAM = """
import sys
import flowgauge

handle = flowgauge.setup_observability(serve=False, process_metrics=False)
counter = flowgauge.counter("stream_total", labels=["id"])
gauge = flowgauge.gauge("stream_depth", labels=["id"])
histogram = flowgauge.histogram("stream_seconds", labels=["id"])
summary = flowgauge.summary("stream_size", labels=["id"])
kinds = [counter.inc, gauge.inc, histogram.observe, summary.observe]


def use(numbers):
    for number in numbers:
        kinds[number % 4](1.0, id=number)


use(range(8_000))
for accept in ("", "application/openmetrics-text"):
    handle.render(accept)
before = sys.getallocatedblocks()
use(range(8_000, 1_000_000))
handle.render()
print(sys.getallocatedblocks() - before)
print(handle.value("stream_total", id="other"), handle.value("stream_seconds", id="other"))
print(handle.value("flowgauge_series_dropped_total"))
print(max(len(family.keys) for family in handle.collect()))
"""


def test_names_that_are_made_of_data_fill_no_memory_and_are_told_as_dropped():
    done = subprocess.run(
        [sys.executable, "-c", STREAM], capture_output=True, text=True, check=True, timeout=120
    )

    blocks, totals, dropped, label_sets = done.stdout.splitlines()
    assert int(blocks) < 5_000
    assert totals == "249000.0 249000.0"
    assert float(dropped) == 4 * 249_000
    assert int(label_sets) == 1001
    assert "stream_total has more than 1000 label sets" in done.stderr


# Forks and ends.


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_counts_from_zero_and_the_parent_goes_on(collector):
    counter, gauge = collector.counter("c", labels=["a"]), collector.gauge("g")
    histogram, summary = collector.histogram("h", buckets=[1]), collector.summary("s", quantiles=[])
    child = counter.labels("1")
    small = MetricsCollector(limit=1)
    narrow = small.counter("x", labels=["a"])
    for _ in range(3):
        child.inc()
        gauge.inc()
        histogram.observe(0.5)
        summary.observe(2.0)
        narrow.inc(a="1")
        narrow.inc(a="2")

    def count():
        before = [list(family.values) for family in collector.collect_all()]
        child.inc()
        histogram.observe(3.0)
        after = [list(family.values) for family in collector.collect_all()]
        return before, after, small.dropped[0]

    empty, one = Distribution((1.0,), [0, 0], 0.0), Distribution((1.0,), [0, 1], 3.0)
    nothing = summary.get()._replace(count=0, sum=0.0)
    expected = (
        [[0.0], [0.0], [empty], [nothing]],
        [[1.0], [0.0], [one], [nothing]],
        0.0,
    )
    assert in_child(lambda: repr(count())) == repr(expected)
    assert (child.get(), gauge.get(), histogram.get().count, summary.get().count) == (3, 3, 3, 3)
    assert small.dropped[0] == 3.0


def test_a_collector_that_nobody_has_any_more_is_forgotten():
    collector = MetricsCollector()
    collector.counter("c", labels=["a"]).inc(a="1")
    collector.summary("s").observe(1.0)
    gone = weakref.ref(collector)
    gc.collect()
    known = len(instruments._collectors)

    del collector
    gc.collect()

    assert gone() is None
    assert len(instruments._collectors) == known - 1


def test_a_metric_outlives_its_collector():
    metric = MetricsCollector().counter("x")
    gc.collect()
    metric.inc()

    assert metric.get() == 1.0
