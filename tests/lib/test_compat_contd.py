"""contd's module: the programs of its users, then what each call counts."""

import asyncio
import subprocess
import sys
import threading
import time

import pytest
from programs import Page, free_port, get, page_of, printed, programs, run

import flowgauge
from flowgauge import guard
from flowgauge.compat import contd
from flowgauge.compat.contd import collector, setup_observability
from rig.pytest_plugin import binary

PROGRAMS = programs("contd")


@pytest.fixture(autouse=True)
def unheard(monkeypatch):
    """Each test hears the warnings that another has had."""
    monkeypatch.setattr(guard, "_reported", {})


@pytest.fixture
def page(scrape):
    return lambda: scrape(profile="contd")


def test_the_program_that_is_scraped_serves_at_its_port():
    port = free_port()

    out = run(PROGRAMS["pull"], changes=[("9090", str(port))], after=page_of(port))

    assert "# TYPE contd_workflows_completed_total counter" in printed(out).lines
    assert printed(out).value("process_resident_memory_bytes") > 1e6


def test_the_program_with_another_interval_takes_the_port_of_its_manifests():
    port = free_port()

    out = run(
        PROGRAMS["interval"],
        before="""
            import time
            from flowgauge.compat.contd import sampler, setup_observability
            called = []
            sampler(lambda: called.append(1))
        """,
        changes=[("60", "0.05")],
        after=f"time.sleep(0.5)\nprint(len(called))\n{page_of(port)}",
        METRICS_PORT=str(port),
    )

    assert 4 <= int(out.splitlines()[0]) <= 11
    assert "# TYPE contd_workflow_success_rate gauge" in printed(out).lines


def test_the_program_with_decorators_emits_every_metric_that_its_guide_lists():
    port = free_port()

    out = run(
        PROGRAMS["decorators"],
        after=f"""
from flowgauge.compat.contd import setup_observability
setup_observability(metrics_port={port})
assert my_workflow() == {{"status": "done"}}
{page_of(port)}""",
    )
    found = printed(out)

    of = {"workflow_name": "my_workflow"}
    assert found.value("contd_workflows_started_total", trigger="manual", **of) == 1
    assert found.value("contd_workflows_completed_total", status="completed", **of) == 1
    assert found.value("contd_workflows_completed_total", status="failed", **of) == 0
    assert found.value("contd_workflow_duration_seconds_count", **of) == 1
    assert found.value("contd_workflow_success_rate", **of) == 1
    # Nothing was acquired, so nothing was observed; the metric is there.
    assert found.value("contd_lease_acquisition_duration_milliseconds_count", **of) == 0
    assert found.value("contd_lease_acquisition_failures_total", **of) == 0
    assert found.value("contd_checksum_validation_failures_total", **of) == 0
    step = {"step_name": "process_data", **of}
    assert found.value("contd_steps_executed_total", status="completed", **step) == 1
    assert found.value("contd_step_duration_milliseconds_count", **step) == 1
    assert found.value("contd_managed_steps_total", **of) == 1
    assert (
        found.lacks("""\
# TYPE contd_workflows_started_total counter
# TYPE contd_workflows_completed_total counter
# TYPE contd_workflow_duration_seconds histogram
# TYPE contd_lease_acquisition_duration_milliseconds histogram
# TYPE contd_steps_executed_total counter
# TYPE contd_step_duration_milliseconds histogram
# TYPE contd_managed_steps_total counter
# TYPE contd_idempotency_cache_hits_total counter
# TYPE contd_restore_duration_milliseconds histogram
# TYPE contd_events_replayed_per_restore histogram
# TYPE contd_checksum_validation_failures_total counter
# TYPE contd_workflow_success_rate gauge
# TYPE contd_lease_acquisition_failures_total counter
# TYPE contd_snapshot_save_duration_milliseconds histogram
""")
        == []
    )


@pytest.mark.parts
def test_the_batch_job_pushes_contds_names_without_a_set_up():
    port = free_port()
    command = [binary("pushgateway"), f"--web.listen-address=127.0.0.1:{port}"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as gateway:
        try:
            get(f"http://127.0.0.1:{port}/-/ready")
            run(PROGRAMS["push"], changes=[("localhost:9091", f"127.0.0.1:{port}")])
            found = Page(get(f"http://127.0.0.1:{port}/metrics"))
        finally:
            gateway.terminate()

    group = {"job": "contd_batch", "instance": ""}
    labels = {"workflow_name": "batch_job", "trigger": "schedule"}
    assert found.value("contd_workflows_started_total", **labels, **group) == 1
    assert found.value("contd_active_workflows", workflow_name="batch_job", **group) == 1


def test_the_tests_are_about_all_programs():
    assert sorted(PROGRAMS) == ["decorators", "interval", "pull", "push"]


def test_pushers_put_an_instance_into_the_group_only_if_one_is_given():
    assert contd.MetricsPusher("localhost:9091", "nightly").url.endswith("/metrics/job/nightly")
    pusher = contd.MetricsPusher("localhost:9091", job_name="nightly", instance="a")
    assert pusher.url.endswith("/metrics/job/nightly/instance/a")


def test_workflows_recorded_by_hand_are_counted_like_decorated_ones(name, page):
    collector.record_workflow_start(name, trigger="schedule")
    collector.record_workflow_start(name)
    collector.record_workflow_start(name, "event")
    collector.record_workflow_complete(name, duration_seconds=2.0, status="completed")
    collector.record_workflow_complete(name, 70.0, "failed")
    found = page()

    of = {"workflow_name": name}
    assert found.value("contd_workflows_started_total", trigger="schedule", **of) == 1
    assert found.value("contd_workflows_started_total", trigger="manual", **of) == 1
    assert found.value("contd_workflows_completed_total", status="completed", **of) == 1
    assert found.value("contd_workflows_completed_total", status="failed", **of) == 1
    assert found.value("contd_workflow_duration_seconds_sum", **of) == 72
    assert found.value("contd_workflow_duration_seconds_bucket", le="5.0", **of) == 1
    assert found.value("contd_workflow_success_rate", **of) == 0.5
    # An end has no trigger, and still is that of a start that had one.
    assert found.value("contd_active_workflows", **of) == 1


def test_steps_recorded_by_hand_are_in_milliseconds_and_billed(name, page):
    collector.record_step_execution(name, "load", duration_ms=7.5, status="completed")
    collector.record_step_execution(name, "load", 700, "failed", user_id="u1", plan_type="free")
    collector.record_step_execution(name, "load", 0, "completed", was_cached=True)
    collector.record_managed_step(name, 4)
    collector.record_idempotency_hit(name, "save")
    found = page()

    of = {"workflow_name": name, "step_name": "load"}
    assert found.value("contd_steps_executed_total", status="completed", **of) == 2
    assert found.value("contd_steps_executed_total", status="failed", **of) == 1
    assert found.value("contd_step_duration_milliseconds_sum", **of) == pytest.approx(707.5)
    assert found.value("contd_step_duration_milliseconds_bucket", le="10.0", **of) == 2
    assert found.value("contd_idempotency_cache_hits_total", **of) == 1
    hits = {"workflow_name": name, "step_name": "save"}
    assert found.value("contd_idempotency_cache_hits_total", **hits) == 1
    assert found.value("contd_managed_steps_total", workflow_name=name) == 7


def test_what_happens_to_durable_state_is_in_milliseconds(name, page):
    collector.record_restore(name, duration_ms=250, events_replayed=42, had_snapshot=True)
    collector.record_snapshot(
        name, duration_ms=12, size_bytes=100, workflow_id="w1", storage_type="s3"
    )
    collector.record_lease_acquisition(name, 3.0)
    collector.record_lease_acquisition(name, 900, result="locked", owner_id="a")
    collector.record_lease_failure(name)
    collector.record_checksum_failure(name)
    collector.record_data_corruption(name, data_type="event", workflow_id="w1")
    found = page()

    of = {"workflow_name": name}
    assert found.value("contd_restore_duration_milliseconds_sum", **of) == 250
    assert found.value("contd_restore_duration_milliseconds_bucket", le="250.0", **of) == 1
    assert found.value("contd_restore_duration_milliseconds_bucket", le="100.0", **of) == 0
    assert found.value("contd_events_replayed_per_restore_sum", **of) == 42
    assert found.value("contd_events_replayed_per_restore_bucket", le="50.0", **of) == 1
    assert found.value("contd_events_replayed_per_restore_bucket", le="25.0", **of) == 0
    assert found.value("contd_snapshot_save_duration_milliseconds_sum", **of) == 12
    assert found.value("contd_lease_acquisition_duration_milliseconds_count", **of) == 2
    assert found.value("contd_lease_acquisition_duration_milliseconds_sum", **of) == 903
    assert found.value("contd_lease_acquisition_failures_total", **of) == 2
    assert found.value("contd_checksum_validation_failures_total", **of) == 2


def test_what_is_recorded_wrongly_is_logged_and_never_raised(name, page, caplog):
    collector.record_workflow_complete(name, "long", "completed")
    collector.record_step_execution(name, "s", "short", "done")
    collector.record_restore(name, None, "many")
    found = page()

    texts = caplog.text
    assert "status is 'done', must be one of completed, success, failed" in texts
    assert "measuring failed at contd duration" in texts
    of = {"workflow_name": name, "step_name": "s"}
    assert found.value("contd_steps_executed_total", status="failed", **of) == 1
    assert found.value("contd_restore_duration_milliseconds_count", workflow_name=name) == 0


def test_a_lease_is_held_during_the_run_and_its_acquisition_is_timed(name, page):
    seen = []

    class Lease:
        def __enter__(self):
            time.sleep(0.02)
            seen.append("acquired")

        def __exit__(self, *_):
            seen.append("released")

    @contd.workflow(name=name, lease=Lease)
    def nightly():
        seen.append("ran")
        return 5

    assert nightly() == 5
    found = page()

    assert seen == ["acquired", "ran", "released"]
    of = {"workflow_name": name}
    assert found.value("contd_lease_acquisition_duration_milliseconds_count", **of) == 1
    took = found.value("contd_lease_acquisition_duration_milliseconds_sum", **of)
    assert 20 <= took < 1000
    assert found.value("contd_workflow_duration_seconds_sum", **of) * 1000 >= took
    assert found.value("contd_lease_acquisition_failures_total", **of) == 0


def test_a_lease_that_is_not_given_fails_the_run(name, page):
    class Locked:
        def __enter__(self):
            raise TimeoutError("locked")

        def __exit__(self, *_):
            raise AssertionError

    @contd.workflow(name=name, lease=Locked)
    def nightly():
        raise AssertionError

    with pytest.raises(TimeoutError, match="locked"):
        nightly()
    found = page()

    of = {"workflow_name": name}
    assert found.value("contd_lease_acquisition_failures_total", **of) == 1
    assert found.value("contd_lease_acquisition_duration_milliseconds_count", **of) == 1
    assert found.value("contd_workflows_completed_total", status="failed", **of) == 1


@pytest.mark.parametrize("lock", [asyncio.Lock, threading.Lock])
def test_coroutines_hold_leases_of_both_sorts(name, page, lock):
    async def main():
        held = lock()

        @contd.workflow(name=name, lease=lambda: held)
        async def nightly():
            return held.locked()

        return await nightly(), held.locked()

    assert asyncio.run(main()) == (True, False)
    labels = {"workflow_name": name}
    assert page().value("contd_lease_acquisition_duration_milliseconds_count", **labels) == 1


def test_a_step_with_a_cache_runs_once_for_each_key(name, page):
    cache, calls = {}, []

    @contd.step(cache=cache)
    def load(number, *, double=False):
        calls.append(number)
        return number * (2 if double else 1)

    with flowgauge.run(name):
        results = [load(1), load(1), load(2), load(2, double=True), load(2, double=True)]
        before = list(calls)

    assert results == [1, 1, 2, 4, 4]
    assert before == [1, 2, 2]
    found = page()
    of = {"workflow_name": name, "step_name": "load"}
    assert found.value("contd_idempotency_cache_hits_total", **of) == 2
    assert found.value("contd_steps_executed_total", status="completed", **of) == 5
    assert found.value("contd_managed_steps_total", workflow_name=name) == 5


def test_hits_exist_at_zero_from_the_first_call_on(name, page):
    @contd.step(cache={}, workflow=name)
    def load():
        return None

    load()

    of = {"workflow_name": name, "step_name": "load"}
    assert page().value("contd_idempotency_cache_hits_total", **of) == 0


def test_the_key_of_a_cached_coroutine_may_be_computed(name, page):
    cache = {}

    @contd.step(name="charge", cache=cache, key=lambda order: order["id"], workflow=name)
    async def charge(order):
        return f"charged {order['amount']}"

    async def main():
        return [await charge({"id": 7, "amount": 1}), await charge({"id": 7, "amount": 2})]

    assert asyncio.run(main()) == ["charged 1", "charged 1"]
    assert cache == {7: "charged 1"}
    of = {"workflow_name": name, "step_name": "charge"}
    assert page().value("contd_idempotency_cache_hits_total", **of) == 1


def test_a_step_that_raises_is_not_cached(name):
    cache = {}

    @contd.step(cache=cache, workflow=name, retries=1)
    def load():
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        load()

    assert cache == {}


def test_decorators_go_on_methods_of_every_sort(name, page):
    class Job:
        @contd.workflow(name=name, lease=threading.Lock)
        @staticmethod
        def static():
            return "static"

        @classmethod
        @contd.step(cache={}, workflow=name)
        def load(cls, number):
            return number

        @contd.workflow
        def bare(self):
            return "bare"

    assert (Job.static(), Job.load(1), Job.load(1), Job().bare()) == ("static", 1, 1, "bare")
    found = page()
    labels = {"workflow_name": name, "step_name": "load"}
    assert found.value("contd_idempotency_cache_hits_total", **labels) == 1
    assert found.value("contd_workflow_duration_seconds_count", workflow_name=name) == 1


def test_what_cannot_be_decorated_is_refused_where_it_stands():
    with pytest.raises(TypeError, match="is a generator, which cannot hold a lease"):

        @contd.workflow(lease=threading.Lock)
        def pages():
            yield 1

    with pytest.raises(TypeError, match="is a generator, which cannot be cached"):

        @contd.step(cache={})
        def items():
            yield 1

    with pytest.raises(TypeError, match="goes on a function"):
        contd.step(cache={})("load")
    with pytest.raises(ValueError, match="key is given without cache"):
        contd.step(key=len)


def test_the_port_is_that_of_the_argument_then_of_the_manifests_then_flowgauges(monkeypatch):
    monkeypatch.setenv("FLOWGAUGE_PORT", "0")
    with setup_observability(host="127.0.0.1", enable_background=False) as handle:
        assert handle.settings.port == 0
    monkeypatch.setenv("METRICS_PORT", str(port := free_port()))
    with setup_observability(host="127.0.0.1") as handle:
        assert handle.port == port
        assert handle.profile.name == "contd"
    with setup_observability(0, host="127.0.0.1") as handle:
        assert handle.port not in (0, port)
    # Of Kubernetes, for a Service of this name.
    monkeypatch.setenv("METRICS_PORT", "tcp://10.96.0.7:9090")
    with setup_observability(host="127.0.0.1", enable_background=False) as handle:
        assert handle.settings.port == 0
    monkeypatch.setenv("METRICS_PORT", "nine")
    with pytest.raises(ValueError, match="METRICS_PORT is 'nine', must be a number"):
        setup_observability()


def test_the_background_collector_runs_at_the_interval_of_the_last_set_up(monkeypatch):
    called = []

    def depth():
        called.append(1)

    monkeypatch.setattr("flowgauge.compat.contd.endpoint._samplers", [])
    with pytest.raises(ValueError, match="background_interval is 0, must be seconds above 0"):
        setup_observability(0, background_interval=0)
    with setup_observability(0, host="127.0.0.1", background_interval=600):
        contd.sampler(depth)
        until = time.monotonic() + 5
        while not called:
            assert time.monotonic() < until
            time.sleep(0.01)
        setup_observability(0, host="127.0.0.1", background_interval=0.02)
        while len(called) < 5:
            assert time.monotonic() < until
            time.sleep(0.01)
    ended = len(called)
    with setup_observability(0, host="127.0.0.1", enable_background=False):
        time.sleep(0.1)

    assert len(called) - ended <= 1


def test_importing_the_module_loads_nothing():
    code = """
import sys, typing, importlib
before = {*sys.modules}
import flowgauge.compat.contd, flowgauge.compat.ia_modules
print(*sorted({*sys.modules} - before))
"""

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert {*out.stdout.split()} - {"__future__"} == {
        "flowgauge",
        "flowgauge.compat",
        "flowgauge.compat.contd",
        "flowgauge.compat.ia_modules",
        "flowgauge.forks",
        "flowgauge.lazy",
    }
