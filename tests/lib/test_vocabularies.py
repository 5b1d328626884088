import asyncio
import contextlib
import time

import pytest

import flowgauge
from flowgauge import profiles, readings
from flowgauge.profiles import builtin, parse

# Profiles of engines describe what others emit, and have no word for the library itself.
EMITTED = [name for name in profiles.names() if builtin(name).by_role("library.info")]
PROFILE = """
apiVersion: flowgauge.dev/v1alpha1
kind: WorkflowProfile
metadata: {name: own}
spec:
  title: Own
  description: A vocabulary with everything that is unusual.
  families:
"""


def own(families):
    return parse(PROFILE + families, source="own.yaml")


def work(name, *, failing=0, cancelled=0, good=1, kind="", trigger="manual"):
    """Runs of one step each, of which some end badly."""

    @flowgauge.step(name="s")
    def step(error):
        if error:
            raise error

    @flowgauge.workflow(name=name, kind=kind, trigger=trigger)
    def run(error):
        step(error)

    for error in [None] * good + [ValueError()] * failing + [asyncio.CancelledError()] * cancelled:
        with contextlib.suppress(ValueError, asyncio.CancelledError):
            run(error)


def test_the_default_profile_counts_runs_and_steps(name, scrape):
    work(name, good=3, failing=2, cancelled=1)

    page = scrape()

    runs = {
        s: page.value("workflow_runs_total", workflow=name, status=s)
        for s in ("success", "failed", "cancelled")
    }
    assert runs == {"success": 3, "failed": 2, "cancelled": 1}
    assert page.value("workflow_runs_started_total", workflow=name, trigger="manual") == 6
    assert page.value("workflow_run_errors_total", workflow=name, type="ValueError") == 2
    assert page.value("workflow_run_errors_total", workflow=name, type="CancelledError") == 1
    assert page.value("workflow_run_duration_seconds_count", workflow=name) == 6
    assert page.value("workflow_run_duration_seconds_bucket", workflow=name, le="+Inf") == 6
    assert page.value("workflow_active_runs", workflow=name) == 0
    assert page.value("workflow_oldest_active_run_age_seconds", workflow=name) == 0
    assert page.value("workflow_steps_total", workflow=name, step="s", status="success") == 3
    assert page.value("workflow_step_errors_total", workflow=name, step="s", type="ValueError") == 2
    assert page.value("workflow_step_duration_seconds_count", workflow=name, step="s") == 6
    assert page.value("workflow_step_retries_total", workflow=name, step="s") == 0
    assert page.value("flowgauge_library_info", version=flowgauge.__version__) == 1
    assert page.value("process_resident_memory_bytes") > 1e6


def test_every_outcome_is_zero_from_decoration_on(name, scrape):
    @flowgauge.step(name="s", workflow=name)
    def step():
        pass

    @flowgauge.workflow(name=name)
    def run():
        pass

    page = scrape()

    for status in ("success", "failed", "cancelled"):
        assert page.value("workflow_runs_total", workflow=name, status=status) == 0
        assert page.value("workflow_steps_total", workflow=name, step="s", status=status) == 0
    assert page.value("workflow_runs_started_total", workflow=name, trigger="manual") == 0
    assert page.value("workflow_last_success_timestamp_seconds", workflow=name) == 0
    assert page.value("workflow_run_duration_seconds_count", workflow=name) == 0


def test_gauges_are_true_during_a_run(name, observe, read):
    with observe() as handle, flowgauge.run(name), flowgauge.stepping("s"):
        time.sleep(0.05)
        page = read(handle.address)

    assert page.value("workflow_active_runs", workflow=name) == 1
    assert page.value("workflow_active_steps", workflow=name, step="s") == 1
    assert 0.05 <= page.value("workflow_oldest_active_run_age_seconds", workflow=name) < 5


def test_the_last_good_run_is_a_unix_time_that_a_failure_does_not_move(name, scrape):
    before = time.time()
    work(name, good=1, failing=0)
    after = time.time()
    work(name, good=0, failing=1)

    assert (
        before <= scrape().value("workflow_last_success_timestamp_seconds", workflow=name) <= after
    )


def test_contd_has_its_names_labels_and_units(name, scrape):
    work(name, good=3, failing=1, cancelled=1)

    with flowgauge.run(name), flowgauge.stepping("slow"):
        time.sleep(0.02)
    page = scrape(profile="contd")

    labels = {"workflow_name": name}
    assert page.names(**labels) >= {
        "contd_workflows_started_total",
        "contd_workflows_completed_total",
        "contd_workflow_duration_seconds_bucket",
        "contd_workflow_duration_seconds_count",
        "contd_workflow_duration_seconds_sum",
        "contd_workflow_success_rate",
        "contd_steps_executed_total",
        "contd_step_duration_milliseconds_bucket",
        "contd_step_duration_milliseconds_count",
        "contd_step_duration_milliseconds_sum",
        "contd_managed_steps_total",
    }
    assert page.value("contd_workflows_started_total", trigger="manual", **labels) == 6
    assert page.labels("contd_workflows_completed_total", **labels) == [
        {"workflow_name": name, "status": "completed"},
        {"workflow_name": name, "status": "failed"},
    ]
    assert page.value("contd_workflows_completed_total", status="completed", **labels) == 4
    assert page.value("contd_workflows_completed_total", status="failed", **labels) == 2
    assert page.value("contd_workflow_success_rate", **labels) == 4 / 6
    assert page.value("contd_managed_steps_total", **labels) == 6
    assert (
        page.value("contd_step_duration_milliseconds_bucket", step_name="slow", le="10.0", **labels)
        == 0
    )
    assert (
        page.value(
            "contd_step_duration_milliseconds_bucket", step_name="slow", le="1000.0", **labels
        )
        == 1
    )
    assert (
        20 <= page.value("contd_step_duration_milliseconds_sum", step_name="slow", **labels) < 1000
    )
    bounds = [
        b["le"]
        for b in page.labels("contd_step_duration_milliseconds_bucket", step_name="slow", **labels)
    ]
    assert bounds == [
        "1.0",
        "5.0",
        "10.0",
        "50.0",
        "100.0",
        "500.0",
        "1000.0",
        "5000.0",
        "10000.0",
        "60000.0",
        "+Inf",
    ]
    assert not [n for n in page.families if n.startswith("workflow_")]


def test_tta_dev_has_its_names_and_labels(name, scrape):
    work(name, good=2, failing=1, cancelled=1, kind="sequential")

    page = scrape(profile="tta-dev")

    labels = {"primitive_name": name, "primitive_type": "sequential"}
    assert page.names(primitive_name=name) >= {
        "primitive_requests_total",
        "primitive_duration_seconds_bucket",
        "primitive_duration_seconds_count",
        "primitive_duration_seconds_sum",
        "primitive_active_requests",
    }
    assert page.value("primitive_requests_total", status="success", **labels) == 2
    assert page.value("primitive_requests_total", status="failure", **labels) == 2
    assert page.value("primitive_duration_seconds_count", **labels) == 4
    assert page.value("primitive_active_requests", **labels) == 0


@pytest.mark.parametrize("profile", EMITTED)
def test_every_builtin_profile_emits_what_it_declares_and_parses_in_both_formats(
    profile, name, scrape
):
    work(name, good=1, failing=1)
    declared = {}
    for family in builtin(profile).families:
        if not family.role.startswith("process."):
            own = {*family.labels.values(), *family.where}
            declared.setdefault(family.probe, set()).update(own)

    for openmetrics in (False, True):
        page = scrape(profile=profile, openmetrics=openmetrics)
        for sample in page.samples:
            if sample.name in declared:
                assert set(sample.labels) <= declared[sample.name]
        for reader in readings.vocabulary(builtin(profile)).readers:
            if reader.measured and "error" not in reader.family.labels:
                assert page.labels(reader.family.probe), reader.family.name


def test_what_was_measured_before_setup_is_in_the_buckets_after_it(name, scrape):
    with flowgauge.run(name):
        time.sleep(0.03)
    work(name, good=4)

    page = scrape()

    assert page.value("workflow_run_duration_seconds_count", workflow=name) == 5
    assert page.value("workflow_run_duration_seconds_bucket", workflow=name, le="0.025") == 4
    assert page.value("workflow_run_duration_seconds_bucket", workflow=name, le="5.0") == 5


def test_runs_of_one_workflow_with_several_triggers_are_one_series_where_the_family_has_no_trigger(
    name, scrape
):
    work(name, good=2, trigger="schedule")
    work(name, good=3, trigger="event")

    page = scrape()

    triggers = ("schedule", "event", "manual")
    started = [
        page.value("workflow_runs_started_total", workflow=name, trigger=t) for t in triggers
    ]
    assert started == [2, 3, 0]
    assert page.value("workflow_runs_total", workflow=name, status="success") == 5
    assert page.value("workflow_run_duration_seconds_count", workflow=name) == 5


def test_names_with_quotes_newlines_and_lone_surrogates_can_be_scraped(scrape):
    odd = 'a "quoted"\nname \\ \udc80 \u00e9'
    with flowgauge.run(odd), flowgauge.stepping(odd):
        pass

    page = scrape()

    expected = 'a "quoted"\nname \\ ? \u00e9'
    assert page.value("workflow_runs_total", workflow=expected, status="success") == 1
    assert (
        page.value("workflow_steps_total", workflow=expected, step=expected, status="success") == 1
    )


def test_unusual_families_are_emitted_as_the_profile_says(name, scrape):
    profile = own("""
  - {name: jobs_done, role: run.finished, type: counter, help: h, labels: {workflow: task, outcome: end},
     outcomes: {good: [ok]}, values: {outcome: [ok, bad]}, where: {source: python}}
  - {name: jobs_grown, role: run.started, type: gauge, cumulative: true, help: h, labels: {workflow: task}}
  - {name: job_minutes, role: run.duration, type: summary, unit: minutes, help: h, labels: {workflow: task, outcome: end},
     outcomes: {good: [ok]}, values: {outcome: [ok, bad]}}
  - {name: job_success_percent, role: run.success_ratio, type: gauge, unit: percent, help: h, labels: {workflow: task}}
  - {name: job_ended_ms, role: run.last_finish, type: gauge, unit: timestamp_milliseconds, help: h, labels: {workflow: task}}
  - {name: jobs_failed_total, role: run.failed, type: counter, help: h, labels: {workflow: task}}
  - {name: build, role: library.info, type: info, help: h, labels: {version: release}}
""")
    work(name, good=3, failing=1)
    before = time.time()

    for openmetrics in (False, True):
        page = scrape(profile=profile, openmetrics=openmetrics)
        assert page.value("jobs_done", task=name, end="ok", source="python") == 3
        assert page.value("jobs_done", task=name, end="bad", source="python") == 1
        assert page.value("jobs_grown", task=name) == 4
        assert page.value("job_minutes_count", task=name, end="ok") == 3
        assert page.value("job_minutes_count", task=name, end="bad") == 1
        assert 0 < page.value("job_minutes_sum", task=name, end="ok") < 1
        assert page.value("job_success_percent", task=name) == 75
        assert page.value("job_ended_ms", task=name) == pytest.approx(before * 1000, abs=60_000)
        assert page.value("jobs_failed_total", task=name) == 1
        assert page.value("build", release=flowgauge.__version__) == 1


def test_two_roles_may_be_parts_of_one_metric(name, scrape):
    profile = own("""
  - {name: jobs_total, role: run.started, type: counter, help: h, labels: {workflow: task}, where: {state: begun}}
  - {name: jobs_total, role: run.succeeded, type: counter, help: h, labels: {workflow: task}, where: {state: good}}
""")
    work(name, good=2, failing=1)

    page = scrape(profile=profile)

    assert page.value("jobs_total", task=name, state="begun") == 3
    assert page.value("jobs_total", task=name, state="good") == 2


def test_a_label_that_the_library_cannot_know_is_left_out(name, scrape):
    profile = own(
        "  - {name: jobs_total, role: run.started, type: counter, help: h, labels: {workflow: task, worker: by}}"
    )
    work(name)

    assert scrape(profile=profile).value("jobs_total", task=name) == 1


def test_a_family_that_cannot_be_read_does_not_stop_the_others(name, scrape, monkeypatch):
    work(name)

    def broken(self, snapshot):
        raise RuntimeError

    monkeypatch.setattr(readings.Reader, "_durations", broken)
    page = scrape()

    assert page.value("workflow_runs_total", workflow=name, status="success") == 1
    assert page.value("workflow_run_duration_seconds_count", workflow=name) is None


def test_many_types_of_errors_are_few_series_with_the_right_total(name, scrape):
    for i in range(100):
        with pytest.raises(Exception, match="x"), flowgauge.run(name):
            raise type(f"Error{i}", (Exception,), {})("x")

    page = scrape()

    series = page.labels("workflow_run_errors_total", workflow=name)
    assert len(series) == 33
    assert sum(page.value("workflow_run_errors_total", **labels) for labels in series) == 100
    assert page.value("workflow_runs_total", workflow=name, status="failed") == 100
