"""What is recorded by role: visible in every vocabulary that has the role, and never a fault of the program."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
import threading
from bisect import bisect_left
from decimal import Decimal

import pytest

import flowgauge
from flowgauge import cells, guard, profiles, readings, records
from flowgauge.bins import CANCELLED, FAILED, GOOD, GRID
from flowgauge.instruments import Counter, Gauge, Histogram, MetricsCollector
from flowgauge.metrics import Distribution, Quantiles
from flowgauge.profiles import LABELS, ROLES, UNITS

# What the library and Prometheus tell by themselves.
TOLD = {
    *("message.rate", "series.dropped", "library.info"),
    *("target.up", "process.cpu", "process.memory"),
}
RECORDED = [name for name in ROLES if name not in TOLD]
RECORD = {"counter": records.count, "gauge": records.set, "histogram": records.observe}


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """As in a process that has recorded nothing yet."""
    monkeypatch.setattr(records, "_collector", MetricsCollector(space="roles"))
    monkeypatch.setattr(records, "_bounds", {})
    monkeypatch.setattr(records, "_begun", {})
    monkeypatch.setattr(records, "_meter", records._Meter())


@pytest.fixture
def told(monkeypatch, caplog):
    """What was logged since the last question, with the errors, as if nothing had been logged before."""
    monkeypatch.setattr(guard, "_reported", {})

    def since():
        found = [f"{r.getMessage()} {r.exc_info[1] if r.exc_info else ''}" for r in caplog.records]
        caplog.clear()
        guard._reported.clear()
        return found

    return since


def family(role, **fields):
    """A family of a role as a profile has it, with all labels that the role may carry."""
    meant = ROLES[role]
    suffix = "_total" if meant.instrument == "counter" else ""
    labels = fields.setdefault("labels", {label: label for label in meant.labels})
    if "outcome" in labels:
        fields.setdefault("outcomes", {"good": ["success"]})
        fields.setdefault("values", {"outcome": ["success", "failed", "cancelled"]})
    if meant.instrument == "histogram" and fields.get("type", "histogram") == "histogram":
        fields.setdefault("buckets", [0.1, 1, 10])
    made = {"name": role.replace(".", "_") + suffix, "role": role, "type": meant.instrument}
    return made | {"help": meant.meaning, **fields}


def vocabulary(*families):
    return profiles.from_object(
        {
            "apiVersion": "flowgauge.dev/v1alpha1",
            "kind": "WorkflowProfile",
            "metadata": {"name": "test"},
            "spec": {
                "title": "Test",
                "description": "T.",
                "extends": None,
                "families": [*families],
            },
        },
        source="test",
    )


@pytest.fixture
def speak(observe):
    """Set up in the words of these families."""

    def setup(*families):
        return observe(profile=vocabulary(*families), serve=False, process_metrics=False)

    return setup


def series(handle, name):
    """The values of a family by label set."""
    found = next(family for family in handle.collect() if family.name == name)
    return {
        tuple((n, v) for n, v in zip(found.labels, key, strict=True) if v): value
        for key, value in zip(found.keys, found.values, strict=True)
    }


def labelled(role, name):
    """A value for each label of a role; the workflow is the test's own."""
    made = {label: f"a {label}" for label in ROLES[role].labels} | {"workflow": name}
    return {label: value for label, value in made.items() if label in ROLES[role].labels}


# Every role.


@pytest.mark.parametrize("role", RECORDED)
def test_every_role_is_seen_where_a_vocabulary_has_it_and_only_there(speak, told, role, name):
    labels = labelled(role, name)
    handle = speak(family(role), family("queue.depth" if role != "queue.depth" else "lease.failed"))

    RECORD[ROLES[role].instrument](role, 0.25, **labels)

    wanted = tuple((label, labels[label]) for label in ROLES[role].labels)
    made = family(role)["name"]
    value = series(handle, made)[wanted]
    if ROLES[role].instrument == "histogram":
        assert value == Distribution((0.1, 1.0, 10.0), [0, 1, 0, 0], 0.25)
    else:
        assert value == 0.25
    assert told() == []
    handle.close()
    other = speak(family("schedule.missed" if role != "schedule.missed" else "lease.failed"))
    assert made not in {found.name for found in other.collect()}


@pytest.mark.parametrize("role", RECORDED)
def test_labels_that_are_left_out_are_empty(speak, told, role):
    handle = speak(family(role))

    RECORD[ROLES[role].instrument](role, 1)

    assert () in series(handle, family(role)["name"])
    assert told() == []


@pytest.mark.parametrize("role", sorted(TOLD))
def test_what_others_tell_cannot_be_recorded_and_that_is_logged(speak, told, role):
    record = RECORD["gauge" if ROLES[role].instrument == "gauge" else "counter"]

    for _ in range(2):
        record(role, 5.0)

    [message] = told()
    assert "is told by the library or by Prometheus, and cannot be recorded" in message
    assert all(found.name != role.replace(".", ":") for found in records._collector.collect_all())


def test_what_the_library_tells_of_itself_is_there(speak):
    handle = speak(
        family("library.info", name="lib_info"), family("series.dropped"), family("message.rate")
    )

    assert handle.value("lib_info", version=flowgauge.__version__) == 1.0
    assert handle.value("series_dropped_total") is not None
    assert handle.value("message_rate") == 0.0


@pytest.mark.parametrize("role", ["run.finishd", "", "run", None, 5, ["run.finished"], {}])
def test_a_role_that_does_not_exist_is_logged_once_and_raises_nothing(told, role):
    for record in (records.count, records.observe, records.set, records.add):
        for _ in range(2):
            record(role, 1.0, workflow="w")
        records.touch(role)

        [message] = told()
        assert f"there is no role {role!r}; docs/roles.md lists them" in message.replace("\\", "")
    assert records._collector.collect_all() == []


@pytest.mark.parametrize("role", RECORDED)
def test_a_label_that_the_role_does_not_have_is_logged_once_and_left_out(speak, told, role, name):
    unknown = next(label for label in LABELS if label not in ROLES[role].labels)
    handle = speak(family(role))

    for _ in range(2):
        RECORD[ROLES[role].instrument](role, 1.0, **{unknown: "x"}, **labelled(role, name))

    [message] = told()
    assert f"{role} has the labels {list(ROLES[role].labels)}, and was recorded with" in message
    found = series(handle, family(role)["name"])
    assert not any(label == unknown for key in found for label, _ in key)
    wanted = tuple((label, labelled(role, name)[label]) for label in ROLES[role].labels)
    assert wanted in found


@pytest.mark.parametrize("role", RECORDED)
def test_a_role_that_is_recorded_as_another_kind_is_logged_once_and_nothing_is_recorded(
    speak, told, role, name
):
    handle = speak(family(role))
    instrument = ROLES[role].instrument
    before = series(handle, family(role)["name"])

    for kind, record in {**RECORD, "gauge of": records.add}.items():
        if kind.split()[0] != instrument:
            for _ in range(2):
                record(role, 1.0, **labelled(role, name))
            [message] = told()
            assert (
                f"{role} is a {instrument}; it cannot be recorded as a {kind.split()[0]}" in message
            )

    after = series(handle, family(role)["name"])
    assert {key: value for key, value in after.items() if value != 0.0} == {
        key: value for key, value in before.items() if value != 0.0
    }


@pytest.mark.parametrize("amount", ["much", None, [], math.nan, math.inf, -1.0, Decimal("NaN")])
def test_an_amount_that_is_none_is_logged_and_raises_nothing(speak, told, amount, name):
    handle = speak(
        family("lease.failed"),
        family("restore.duration"),
        family("message.published"),
        family("message.rate"),
    )

    records.count("lease.failed", amount, workflow=name)
    records.count("message.published", amount)
    if amount != -1.0:
        records.observe("restore.duration", amount, workflow=name)

    assert told() != []
    assert handle.value("lease_failed_total", workflow=name) == 0.0
    assert handle.value("message_published_total") == 0.0
    assert handle.value("restore_duration", workflow=name) in (None, 0)
    assert handle.value("message_rate") == 0.0


def test_gauges_are_set_and_added_to(speak, name):
    handle = speak(family("queue.depth"))

    records.set("queue.depth", 5, queue="in", workflow=name)
    records.add("queue.depth", 3, queue="in", workflow=name)
    records.add("queue.depth", -6, queue="in", workflow=name)
    records.add("queue.depth", 2, queue="out", workflow=name)

    assert handle.value("queue_depth", queue="in", workflow=name) == 2.0
    assert handle.value("queue_depth", queue="out", workflow=name) == 2.0


def test_a_child_is_kept_and_wrong_ones_are_refused_where_the_program_starts(speak, name):
    handle = speak(family("lease.failed"), family("lease.duration"), family("queue.depth"))
    failed = records.child("lease.failed", Counter, workflow=name)
    waited = records.child("lease.duration", Histogram, workflow=name)
    depth = records.child("queue.depth", Gauge, queue="in")

    failed.inc()
    waited.observe(0.5)
    depth.set(3)

    assert handle.value("lease_failed_total", workflow=name) == 1.0
    assert handle.value("lease_duration", workflow=name) == 1.0
    assert handle.value("queue_depth", queue="in") == 3.0
    with pytest.raises(TypeError, match=r"lease.failed is a counter, and no histogram"):
        records.child("lease.failed", Histogram)
    with pytest.raises(KeyError, match="no role 'lease.lost'"):
        records.child("lease.lost", Counter)


def test_touching_makes_a_series_at_zero(speak, name):
    handle = speak(family("restore.duration"), family("queue.depth"))
    records.touch("restore.duration", workflow=name)
    records.touch("queue.depth", queue="in")

    assert handle.value("restore_duration", workflow=name) == 0.0
    assert handle.value("queue_depth", queue="in") == 0.0


# Words, units and bounds of the vocabulary.


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit])
def test_a_gauge_is_told_in_the_unit_of_the_vocabulary(speak, unit):
    base, factor = UNITS[unit]
    role = {
        "seconds": "queue.oldest_age",
        "timestamp": "worker.heartbeat",
        "bytes": "checkpoint.size",
        "ratio": "slo.budget",
        "cost": "cost.total",
        "per_second": "message.rate",
    }[base]
    if base == "per_second":
        records.count("message.published", 90.0)
    else:
        RECORD[ROLES[role].instrument](role, 90.0)
    handle = speak(family(role, unit=unit, name="told_total" if base == "cost" else "told"))

    told = handle.value("told_total" if base == "cost" else "told")

    # A rate falls while the test waits for a busy machine.
    near = 0.9 if base == "per_second" else 1e-9
    assert told == pytest.approx(90.0 / float(factor), rel=near)


@pytest.mark.parametrize("early", [True, False])
def test_seconds_become_milliseconds_with_their_buckets_and_sum(speak, early, name):
    buckets = [1, 250, 1000, 30000]

    def record():
        for seconds in (0.0005, 0.25, 0.2500001, 1.0, 30.0, 31.0):
            records.observe("queue.delay", seconds, queue="in", workflow=name)

    if early:
        record()
    handle = speak(family("queue.delay", name="delay_ms", unit="milliseconds", buckets=buckets))
    if not early:
        record()

    found = series(handle, "delay_ms")[("queue", "in"), ("workflow", name)]
    assert found.bounds == (1.0, 250.0, 1000.0, 30000.0)
    assert list(found.counts) == [1, 1, 2, 1, 1]
    assert found.sum == pytest.approx(62500.5001)


def test_a_histogram_may_be_told_as_a_summary_without_quantiles(speak, name):
    records.observe("restore.duration", 0.25, workflow=name)
    handle = speak(family("restore.duration", type="summary", unit="milliseconds"))

    assert series(handle, "restore_duration")[("workflow", name),] == Quantiles(1, 250.0, ())


def emitted(profile):
    """Whether the library emits a vocabulary; those of engines have no word for it."""
    return bool(profiles.builtin(profile).by_role("library.info"))


def histograms():
    for profile in filter(emitted, profiles.names()):
        for made in profiles.builtin(profile).families:
            if made.type == "histogram" and made.buckets:
                yield pytest.param(profile, made, id=f"{profile} {made.name} {made.where or ''}")


@pytest.mark.parametrize(("profile", "made"), [*histograms()])
def test_what_was_observed_before_set_up_is_in_the_bucket_it_belongs_to(
    observe, monkeypatch, profile, made, name
):
    for scope in ("run", "step"):
        monkeypatch.setitem(cells._bounds, scope, GRID)  # as before any set-up
    factor = float(made.factor)
    bounds = [bucket * factor for bucket in made.buckets]
    observed = []
    for bound in bounds:
        exact = float(Decimal(repr(bound / factor)) * made.factor)
        observed += [exact * 0.999, exact, exact * 1.2]
    labels = {k: v for k, v in labelled(made.role, name).items() if k in made.labels}
    labels |= {label: made.where[label] for label in ROLES[made.role].labels if label in made.where}
    for value in observed:
        if made.role in ("run.duration", "step.duration"):
            scope = records.run_finished if made.role == "run.duration" else records.step_finished
            names = (name,) if made.role == "run.duration" else (name, "a step")
            scope(*names, value, **({"started": False} if made.role == "run.duration" else {}))
        else:
            records.observe(made.role, value, **labels)

    handle = observe(profile=profile, serve=False)

    found = [
        value
        for family in handle.collect()
        if family.name == made.name
        for key, value in zip(family.keys, family.values, strict=True)
        if name in key or not {"workflow"} & made.labels.keys()
    ]
    whole = [sum(column) for column in zip(*[value.counts for value in found], strict=True)]
    expected = [0] * (len(bounds) + 1)
    exact = [float(Decimal(repr(bucket)) * made.factor) for bucket in made.buckets]
    for value in observed:
        expected[bisect_left(exact, value)] += 1
    assert whole == expected


def test_observations_move_to_the_bounds_of_another_vocabulary(speak, name):
    for seconds in (0.05, 0.5, 5.0, 50.0):
        records.observe("restore.duration", seconds, workflow=name)
    first = speak(family("restore.duration", buckets=[0.1, 1, 10]))
    assert list(series(first, "restore_duration")[("workflow", name),].counts) == [1, 1, 1, 1]
    first.close()

    second = speak(family("restore.duration", buckets=[1, 10]))
    records.observe("restore.duration", 0.5, workflow=name)

    found = series(second, "restore_duration")[("workflow", name),]
    assert (list(found.counts), found.sum) == ([3, 1, 1], 56.05)


@pytest.mark.parametrize("before", [True, False])
def test_bounds_that_nobody_else_chooses_are_exact_from_set_up_on(speak, before, name):
    if before:
        records.touch("restore.duration", workflow=name)
    handle = speak(family("restore.duration", buckets=[0.333, 7.77]))
    for seconds in (0.331, 0.333, 0.334, 7.7, 7.78):
        records.observe("restore.duration", seconds, workflow=name)

    assert list(series(handle, "restore_duration")[("workflow", name),].counts) == [2, 2, 1]


def test_large_numbers_before_set_up_are_in_their_buckets(speak, name):
    for events in (900_000, 1_000_000, 1_200_000, 2.4e9, 2.6e9, 6e12):
        records.observe("restore.replayed", events, workflow=name)
    handle = speak(family("restore.replayed", buckets=[1e6, 2.5e9, 5e12]))

    assert list(series(handle, "restore_replayed")[("workflow", name),].counts) == [2, 2, 1, 1]


def test_as_many_bounds_are_not_the_same_bounds(name):
    [made] = vocabulary(family("restore.duration", buckets=[0.1, 1])).families
    reader = readings.Reader(made)
    for bounds, counts in {
        (0.5, 2.0): [0, 1, 6],
        (0.05, 0.1): [3, 0, 4],
        (0.1, 1.0): [1, 2, 4],
    }.items():
        recorded = {
            "restore.duration": [({"workflow": name}, Distribution(bounds, [1, 2, 4], 9.0))]
        }

        read = reader.read({"run": [], "step": []}, recorded, 0.0)

        assert [list(value.counts) for value in read.values] == [counts]


def test_two_families_of_a_role_have_each_their_own_bounds(speak, name):
    handle = speak(
        family("restore.duration", buckets=[0.1, 1]),
        family("restore.duration", name="restore_ms", unit="milliseconds", buckets=[500, 2000]),
    )
    for seconds in (0.05, 0.3, 0.7, 1.5, 3.0):
        records.observe("restore.duration", seconds, workflow=name)

    assert list(series(handle, "restore_duration")[("workflow", name),].counts) == [1, 2, 2]
    assert list(series(handle, "restore_ms")[("workflow", name),].counts) == [2, 2, 1]


def test_an_outcome_is_told_in_the_word_of_the_vocabulary(speak, name):
    for outcome, amount in {"good": 1, "failed": 2, "cancelled": 4, "skipped": 8}.items():
        records.count("record.processed", amount, workflow=name, outcome=outcome)
    full = family("record.processed", values={"outcome": ["success", "failed", "cancelled"]})
    short = family(
        "record.processed",
        name="rows_total",
        outcomes={"good": ["ok"], "ignored": ["skipped"]},
        values={"outcome": ["skipped", "ok", "bad"]},
    )
    handle = speak(full, short)

    def told(made):
        found = series(handle, made)
        return {key[1][1]: value for key, value in found.items() if key[0] == ("workflow", name)}

    assert told("record_processed_total") == {
        "success": 1,
        "failed": 2,
        "cancelled": 4,
        "skipped": 8,
    }
    # Without a word for it, what was cancelled has failed.
    assert told("rows_total") == {"ok": 1, "bad": 6, "skipped": 8}


EARLY = [
    role
    for role, meant in ROLES.items()
    if role in RECORDED
    and meant.instrument == "counter"
    and "workflow" in meant.labels
    and role.split(".")[0] not in ("run", "step")
]


@pytest.mark.parametrize("role", EARLY)
def test_a_counter_is_there_at_zero_for_each_known_workflow_so_that_its_first_event_is_an_increase(
    speak, role, name
):
    kept = {label: label for label in ROLES[role].labels if label in ("workflow", "outcome")}
    handle = speak(family(role, labels=kept))
    made = family(role)["name"]
    with flowgauge.run(name):
        pass
    born = {
        key: value for key, value in series(handle, made).items() if key[0] == ("workflow", name)
    }

    records.count(role, workflow=name, **({"outcome": "failed"} if "outcome" in kept else {}))

    outcomes = [{"outcome": word} for word in ("success", "failed", "cancelled")]
    assert born == {
        (("workflow", name), *more.items()): 0.0
        for more in (outcomes if "outcome" in kept else [{}])
    }
    more = {"outcome": "failed"} if "outcome" in kept else {}
    assert handle.value(made, workflow=name, **more) == 1.0


def test_a_counter_without_labels_is_there_at_zero(speak):
    handle = speak(family("message.published", labels={}))

    assert handle.value("message_published_total") == 0.0


def test_the_other_outcomes_are_there_at_zero_from_the_first_record_on(speak, name):
    handle = speak(family("checkpoint.finished"))
    assert handle.value("checkpoint_finished_total", workflow=name, outcome="failed") is None

    records.count("checkpoint.finished", workflow=name, outcome="good")

    found = series(handle, "checkpoint_finished_total")
    words = {dict(key)["outcome"]: v for key, v in found.items() if ("workflow", name) in key}
    assert words == {"success": 1.0, "failed": 0.0, "cancelled": 0.0}


def test_what_is_measured_and_what_is_recorded_add_up(speak, name):
    handle = speak(
        family("run.retried"),
        family("run.last_success"),
        family("run.success_ratio"),
        family("slo.compliance"),
    )
    with flowgauge.run(name):
        pass
    with contextlib.suppress(KeyError), flowgauge.run(name):
        raise KeyError
    records.retried(name)
    records.count("run.retried", 2, workflow=name)
    records.set("run.last_success", 4e9, workflow=name)

    assert handle.value("run_retried_total", workflow=name) == 3.0
    assert handle.value("run_last_success", workflow=name) == 4e9  # the later one
    records.set("run.success_ratio", 0.25, workflow=name)
    records.set("slo.compliance", 0.75, workflow=name)
    assert (
        handle.value("run_success_ratio", workflow=name) == 0.25
    )  # the worse one, as of two processes
    assert handle.value("slo_compliance", workflow=name) == 0.5


def test_a_ratio_that_is_not_known_gives_way_to_one_that_was_recorded(speak, name):
    handle = speak(family("run.success_ratio"))
    records.run_started(name)
    assert math.isnan(handle.value("run_success_ratio", workflow=name))

    records.set("run.success_ratio", 0.75, workflow=name)

    assert handle.value("run_success_ratio", workflow=name) == 0.75


# Messages a second.


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test moves."""
    now = [1000.25]
    monkeypatch.setattr(records, "perf_counter", lambda: now[0])
    return now


def rate(now):
    [(_, found)] = [pair for pair in records.families() if pair[0] == "message.rate"]
    return found.values[0]


def test_a_steady_rate_is_told_as_it_is_whenever_it_is_asked_for(clock):
    series = records.child("message.published", Counter, kind="event")
    assert rate(clock) == 0.0

    rates = []
    for tick in range(400):  # four a second
        clock[0] = 1000.0 + tick / 4
        if tick % 2:
            records.published(series)
        else:
            records.count("message.published")
        if tick > 60:
            rates.append(rate(clock))

    assert rates == [pytest.approx(4.0, abs=0.5)] * len(rates)
    assert series.get() == 200.0


def test_a_rate_ends_when_its_window_is_over_and_not_before(clock):
    for second in range(5):
        clock[0] = 1000.0 + second
        records.count("message.published", 20)
    assert rate(clock) == pytest.approx(100 / 4)

    clock[0] += records.WINDOW - 5
    assert rate(clock) > 0
    clock[0] += 5.0
    assert rate(clock) == 0.0
    clock[0] += 2 * records.WINDOW - 1  # the same places of the ring again
    records.count("message.published", 30)
    assert rate(clock) == pytest.approx(30 / (records.WINDOW - 1))


def test_one_message_is_no_rate_of_thousands(clock):
    records.count("message.published")
    clock[0] += 0.001

    assert rate(clock) == 1.0


def test_nothing_is_no_message(clock):
    records.count("message.published", 0)
    clock[0] += 100.0
    records.count("message.published", 10)

    assert rate(clock) == 10.0


# Runs and steps that no decorator sees.


def calls(workflow, *, trigger="", kind=""):
    found = cells.run_cell(workflow, trigger=trigger, kind=kind).snapshot()
    ends = tuple(found.finished(outcome) for outcome in (GOOD, FAILED, CANCELLED))
    return found.started, found.active, ends


def test_a_run_that_is_told_is_like_one_that_is_measured(speak, name):
    handle = speak(*(family(role) for role in ROLES if role.startswith(("run.", "step."))))
    records.run_started(name, kind="etl")
    records.run_started(name, kind="etl")
    during = handle.value("run_active", workflow=name, kind="etl")
    records.run_finished(name, 0.5, kind="etl")
    records.run_finished(name, 5.0, "failed", error="TimeoutError", kind="etl")

    def value(role, **labels):
        return handle.value(family(role)["name"], workflow=name, kind="etl", **labels)

    assert (during, value("run.active")) == (2.0, 0.0)
    assert (value("run.started"), value("run.succeeded")) == (2.0, 1.0)
    ends = [value("run.finished", outcome=word) for word in ("success", "failed", "cancelled")]
    assert ends == [1.0, 1.0, 0.0]
    assert value("run.failed", error="TimeoutError") == 1.0
    assert value("run.success_ratio") == 0.5
    assert value("run.last_success") == pytest.approx(value("run.last_finish"), abs=60) != 0.0
    durations = series(handle, "run_duration")
    took = {
        dict(key)["outcome"]: v.sum for key, v in durations.items() if dict(key)["workflow"] == name
    }
    assert took == {"success": 0.5, "failed": 5.0, "cancelled": 0.0}


def test_an_end_whose_start_was_not_told_counts_as_a_start_too(name):
    records.run_finished(name, 1.0, started=False)
    records.run_finished(name, 1.0, "cancelled", started=False)

    assert calls(name) == (2, 0, (1, 0, 1))


def test_what_is_skipped_is_in_no_duration_ratio_or_failure(speak, name):
    ended = {"outcomes": {"good": ["success"], "ignored": ["skipped"]}}
    without = family("run.finished", name="ends_total")
    by_outcome = family("run.duration", name="took", **ended)
    whole = family("run.duration", labels={"workflow": "workflow"}, name="whole")
    roles = "run.started", "run.active", "run.failed", "run.success_ratio", "run.last_finish"
    handle = speak(
        family("run.finished", **ended), without, by_outcome, whole, *(family(r) for r in roles)
    )

    records.run_started(name)
    records.run_finished(name, 5.0, "skipped")

    def value(made, **labels):
        return handle.value(made, workflow=name, kind="", **labels)

    assert value("run_finished_total", outcome="skipped") == 1
    assert [value("run_finished_total", outcome=o) for o in ("success", "failed")] == [0, 0]
    # Without a word for it, it is nowhere but among the starts.
    assert [value("ends_total", outcome=o) for o in ("success", "failed", "cancelled")] == [0, 0, 0]
    assert value("ends_total", outcome="skipped") is None
    assert value("took", outcome="skipped") == 1
    assert handle.value("whole", workflow=name) == 0
    assert math.isnan(value("run_success_ratio"))
    assert value("run_last_finish") == 0
    assert (value("run_active"), value("run_started_total", trigger="")) == (0, 1)


def test_a_run_ends_where_it_was_counted_as_started(name):
    for trigger in ("schedule", "schedule", "api"):
        records.run_started(name, trigger=trigger)
    assert [calls(name, trigger=t)[:2] for t in ("schedule", "api")] == [(2, 2), (1, 1)]

    records.run_finished(name, 0.1)
    # The one that began first, as is most likely.
    assert [calls(name, trigger=t)[:2] for t in ("schedule", "api")] == [(2, 1), (1, 1)]
    for _ in range(2):
        records.run_finished(name, 0.1)

    assert calls(name, trigger="schedule") == (2, 0, (2, 0, 0))
    assert calls(name, trigger="api") == (1, 0, (1, 0, 0))
    assert calls(name) == (0, 0, (0, 0, 0))


@pytest.mark.parametrize(
    "seconds", [-1, -0.001, math.nan, math.inf, -math.inf, None, "soon", [], 10**400]
)
def test_a_run_whose_duration_cannot_be_ends_all_the_same(told, seconds, name):
    records.run_started(name)
    records.run_finished(name, seconds)
    records.step_finished(name, "s", seconds)

    assert calls(name) == (1, 0, (1, 0, 0))
    step = cells.step_cell(name, "s").snapshot()
    assert (step.started, step.active, step.finished(GOOD), step.bins.sums[GOOD]) == (1, 0, 1, 0.0)
    [message] = told()
    is_number = isinstance(seconds, float | int) and seconds != 10**400
    assert ("a duration cannot be" if is_number else "measuring failed at record") in message


@pytest.mark.parametrize("outcome", ["success", "", None, 5, ["good"], {}])
def test_an_unknown_outcome_counts_as_failed_and_is_logged(told, outcome, name):
    records.run_started(name)
    records.run_finished(name, 1.0, outcome)

    assert calls(name) == (1, 0, (0, 1, 0))
    [message] = told()
    assert f"outcome is {str(outcome)!r}, must be one of good, failed, cancelled" in message


class Broken:
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


def test_whatever_is_told_of_an_end_it_is_an_end(told, name):
    records.run_started(name)
    records.run_finished(name, Broken(), Broken(), error=Broken())

    assert calls(name) == (1, 0, (0, 1, 0))
    assert cells.run_cell(name).snapshot().errors == {"other": 1}
    assert told() != []


@pytest.mark.parametrize(
    "odd", [Broken(), None, 5, b"x", "a\udc80", ["list"]], ids=lambda o: type(o).__name__
)
def test_names_that_are_no_text_raise_nothing_and_leave_no_run_in_progress(odd):
    before = sum(snapshot.active for _, snapshot in cells.snapshots("run"))
    records.run_started(odd, trigger="api", kind="k")
    records.run_started("named", trigger=odd, kind=odd)
    records.run_finished(odd, 1.0, kind="k")
    records.run_finished("named", 1.0, kind=odd)
    records.step_finished(odd, odd, 1.0)
    records.retried(odd, odd)
    records.retried(odd)

    assert sum(snapshot.active for _, snapshot in cells.snapshots("run")) == before


def test_steps_and_retries_are_counted(name):
    records.step_finished(name, "load", 0.25)
    records.step_finished(name, "load", 0.5, "failed", error="KeyError")
    records.retried(name, "load")
    records.retried(name)

    step = cells.step_cell(name, "load").snapshot()
    assert (step.started, step.active, step.retried, step.errors) == (2, 0, 1, {"KeyError": 1})
    assert step.bins.sums == [0.25, 0.5, 0.0, 0.0]
    assert cells.run_cell(name).snapshot().retried == 1


# In a process of its own: cells live as long as the process.
MANY = """
import flowgauge
from flowgauge import cells, records

for number in range(1500):
    records.run_started(f"order-{number}", trigger="api")
assert sum(snapshot.active for _, snapshot in cells.snapshots("run")) == 1500
for number in range(1500):
    records.run_finished(f"order-{number}", 0.1)
for number in range(5000):
    records.run_started(f"late-{number}", trigger="api")
    records.run_finished(f"late-{number}", 0.1)
found = cells.snapshots("run")
print(sum(snapshot.active for _, snapshot in found), sum(snapshot.started for _, snapshot in found))
print(len(records._begun) <= cells.LIMIT + 1, len(found) <= cells.LIMIT + 2)
for number in range(5000):
    records.count("lease.failed", workflow=f"order-{number}")
print(records.dropped(), len(next(f for r, f in records.families() if r == "lease.failed").keys))
"""


def test_beyond_the_limit_runs_end_as_well():
    done = subprocess.run(
        [sys.executable, "-c", MANY], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.splitlines() == ["0 6500", "True True", "4000.0 1001"]


# Threads and forks.


def test_the_first_record_of_a_role_by_many_threads_is_counted_by_all(speak, name):
    handle = speak(family("lease.failed"), family("lease.duration"), family("queue.depth"))
    ready = threading.Barrier(8)

    def record(number):
        ready.wait()
        for i in range(500):
            records.count("lease.failed", workflow=name)
            records.observe("lease.duration", 0.5, workflow=name)
            records.add("queue.depth", 1, queue=f"q{i % 10}")
            records.run_started(name, trigger="t")
            records.run_finished(name, 0.1)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=record, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval)

    assert handle.value("lease_failed_total", workflow=name) == 4000.0
    assert handle.value("lease_duration", workflow=name) == 4000.0
    assert [handle.value("queue_depth", queue=f"q{i}") for i in range(10)] == [400.0] * 10
    assert calls(name, trigger="t") == (4000, 0, (4000, 0, 0))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_records_from_zero(name):
    records.count("lease.failed", 5, workflow=name)
    records.count("message.published", 5)
    records.run_started(name, trigger="api")
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            records.count("lease.failed", workflow=name)
            found = {role: list(made.values) for role, made in records.families()}
            records.run_started(name, trigger="timer")
            records.run_finished(name, 0.1)  # the child's, not the parent's
            rates = found["message.rate"]
            numbers = found["lease.failed"], rates, calls(name, trigger="timer")
            os.write(writable, repr(numbers).encode())
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable) as answer:
        got = answer.read()
    os.waitpid(pid, 0)

    assert got == "([1.0], [0.0], (1, 0, (1, 0, 0)))"
    records.run_finished(name, 0.1)
    assert calls(name, trigger="api") == (1, 0, (1, 0, 0))
