import contextlib
import datetime as dt
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import celery
import pytest
from celery import signals
from celery._state import _set_task_join_will_block
from celery.contrib.testing import worker as testing
from celery.exceptions import Ignore, Reject
from celery.worker import state
from prometheus_client.parser import text_string_to_metric_families as parse

import flowgauge
from flowgauge import guard, observability
from flowgauge.integrations.celery import instrument

LONG = 60

PROFILE = """
apiVersion: flowgauge.dev/v1alpha1
kind: WorkflowProfile
metadata: {name: tasks}
spec:
  title: Tasks
  description: What Celery tells, under names of the tests.
  families:
  - {name: started_total, role: run.started, type: counter, help: h., labels: {workflow: task, trigger: trigger}}
  - name: finished_total
    role: run.finished
    type: counter
    help: h.
    labels: {workflow: task, outcome: status}
    outcomes: {good: [success]}
    values: {outcome: [success, failed, cancelled]}
  - {name: errors_total, role: run.failed, type: counter, help: h., labels: {workflow: task, error: type}}
  - {name: active, role: run.active, type: gauge, help: h., labels: {workflow: task}}
  - {name: retried_total, role: run.retried, type: counter, help: h., labels: {workflow: task}}
  - {name: duration_seconds, role: run.duration, type: histogram, unit: seconds, buckets: [0.05, 10], help: h.,
     labels: {workflow: task}}
  - {name: delay_seconds, role: queue.delay, type: histogram, unit: seconds, buckets: [0.5, 10], help: h.,
     labels: {workflow: task, queue: queue}}
  - {name: steps_total, role: step.finished, type: counter, help: h.,
     labels: {workflow: task, step: step, outcome: status}, outcomes: {good: [success]},
     values: {outcome: [success, failed]}}
"""


@pytest.fixture(autouse=True)
def told(monkeypatch):
    monkeypatch.setattr(guard, "_reported", {})


@pytest.fixture(autouse=True)
def disconnected():
    """Signals belong to the process: without this an application of another test would be measured too."""
    yield
    for each in vars(signals).values():
        for lookup, _ in list(getattr(each, "receivers", None) or []):
            if str(lookup[0]).startswith("flowgauge."):
                each.disconnect(dispatch_uid=lookup[0])


@pytest.fixture
def profile(tmp_path):
    file = tmp_path / "tasks.yaml"
    file.write_text(PROFILE)
    return file


@pytest.fixture
def app(profile):
    made = celery.Celery(f"app-{time.monotonic_ns()}", set_as_current=False)
    made.conf.update(
        broker_url=f"memory://{made.main}",
        result_backend="cache+memory://",
        task_default_queue=made.main,
        worker_hijack_root_logger=False,
    )
    return instrument(made, profile=profile, host="127.0.0.1", port=0, process_metrics=False)


@contextlib.contextmanager
def run_worker(app, pool):
    """A worker in a thread, which ends like one that gets SIGTERM."""
    testing.setup_app_for_worker(app, "WARNING", None)
    worker = testing.TestWorkController(
        app=app,
        pool=pool,
        concurrency=1,
        without_heartbeat=True,
        without_mingle=True,
        without_gossip=True,
    )
    thread = threading.Thread(target=worker.start)
    thread.start()
    try:
        worker.ensure_started()
        _set_task_join_will_block(False)  # a result may be waited for beside a worker
        yield
    finally:
        state.should_stop = 0
        thread.join(LONG)
        state.should_stop = None
        assert not thread.is_alive()


def wait_for(true, what):
    end = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


def value(name, **labels):
    return observability.current().value(name, **labels)


def ended(task, status, count=1):
    wait_for(
        lambda: value("finished_total", task=task.name, status=status) == count,
        f"{task.name} to end {count} times with {status}",
    )


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_tasks_are_runs(app, pool):
    inside = []

    @app.task(name=f"add-{pool}")
    def add(a, b):
        inside.append(value("active", task=add.name))
        with flowgauge.stepping("sum"):
            return a + b

    @app.task(name=f"fail-{pool}")
    def fail():
        raise ZeroDivisionError

    with run_worker(app, pool):
        assert value("finished_total", task=fail.name, status="failed") == 0
        results = [add.delay(1, n) for n in range(3)]
        fail.delay()
        assert sorted(result.get(timeout=LONG) for result in results) == [1, 2, 3]
        ended(add, "success", 3)
        ended(fail, "failed")

        assert value("started_total", task=add.name, trigger="event") == 3
        assert inside[0] >= 1
        assert value("active", task=add.name) == 0
        assert value("steps_total", task=add.name, step="sum", status="success") == 3
        assert value("duration_seconds", task=add.name) == 3
        assert value("errors_total", task=fail.name, type="ZeroDivisionError") == 1
        assert value("delay_seconds", task=add.name, queue=app.main) == 3


def test_a_retry_is_no_failure_and_is_counted(app):
    @app.task(name="flaky", bind=True, max_retries=2, default_retry_delay=0)
    def flaky(self):
        if self.request.retries < 2:
            raise self.retry(exc=ConnectionError())
        return "done"

    with run_worker(app, "solo"):
        flaky.delay()
        ended(flaky, "success")

        assert value("retried_total", task="flaky") == 2
        assert value("finished_total", task="flaky", status="cancelled") == 2
        assert value("errors_total", task="flaky", type="Retry") == 2
        assert value("finished_total", task="flaky", status="failed") == 0
        assert value("active", task="flaky") == 0


def test_the_last_retry_fails_with_the_error_of_the_task(app):
    @app.task(
        name="hopeless", autoretry_for=(ConnectionError,), max_retries=1, default_retry_delay=0
    )
    def hopeless():
        raise ConnectionError

    with run_worker(app, "solo"):
        hopeless.delay()
        ended(hopeless, "failed")

        assert value("retried_total", task="hopeless") == 1
        assert value("errors_total", task="hopeless", type="ConnectionError") == 1


def test_a_revoked_or_expired_task_is_cancelled(app):
    @app.task(name="revoked")
    def revoked():
        raise AssertionError

    with run_worker(app, "solo"):
        late = revoked.apply_async(countdown=0.5)
        app.control.revoke(late.id)
        revoked.apply_async(expires=dt.datetime.now(dt.UTC) - dt.timedelta(seconds=9))
        ended(revoked, "cancelled", 2)

        assert value("errors_total", task="revoked", type="Revoked") == 2
        assert value("started_total", task="revoked", trigger="event") == 2
        assert value("active", task="revoked") == 0


def test_a_rejected_task_is_cancelled_and_one_that_ignores_itself_is_good(app):
    @app.task(name="picky", acks_late=True)
    def picky(error):
        raise {"reject": Reject("no", requeue=False), "ignore": Ignore()}[error]

    with run_worker(app, "solo"):
        picky.delay("reject")
        ended(picky, "cancelled")
        picky.delay("ignore")
        ended(picky, "success")

        assert value("errors_total", task="picky", type="Reject") == 1
        assert value("finished_total", task="picky", status="failed") == 0


def test_the_delay_of_a_task_begins_when_it_is_due(app):
    @app.task(name="due")
    def due():
        pass

    with run_worker(app, "solo"):
        due.apply_async(countdown=1.5)
        ended(due, "success")

        [family] = [f for f in observability.current().collect() if f.name == "delay_seconds"]
        [delay] = [v for k, v in zip(family.keys, family.values, strict=True) if k[0] == "due"]
        assert delay.count == 1
        assert 0 <= delay.sum < 1.5


def test_a_task_that_is_applied_in_place_is_a_run_without_delay(app):
    @app.task(name="eager")
    def eager():
        return 1

    with run_worker(app, "solo"):
        assert eager.apply().get() == 1
        assert eager() == 1  # a plain call is no task

        assert value("finished_total", task="eager", status="success") == 1
        assert value("delay_seconds", task="eager", queue=app.main) is None


def test_celerys_own_tasks_and_other_applications_are_left_alone(app):
    other = celery.Celery(
        "other", set_as_current=False, broker_url="memory://other", result_backend="cache+memory://"
    )

    @other.task(name="stranger")
    def stranger():
        return 1

    with run_worker(app, "solo"):
        stranger.apply()
        app.tasks["celery.accumulate"].apply()

        names = {
            dict(zip(f.labels, key, strict=True)).get("task")
            for f in observability.current().collect()
            for key in f.keys
        }
        assert not names & {"stranger", "celery.accumulate", "celery.ping"}


def test_instrumenting_twice_counts_once(app, profile):
    instrument(app, profile=profile, host="127.0.0.1", port=0)
    instrument(celery.Celery("second", set_as_current=False))

    @app.task(name="once")
    def once():
        return 1

    with run_worker(app, "solo"):
        once.delay()
        ended(once, "success")
        assert value("started_total", task="once", trigger="event") == 1


def test_the_worker_serves_and_ends_its_endpoint(app):
    with run_worker(app, "solo"):
        address = observability.current().address
        with urllib.request.urlopen(address, timeout=LONG) as response:
            assert b"finished_total" in response.read()

    assert observability.current() is None
    with pytest.raises(OSError):
        urllib.request.urlopen(address, timeout=LONG)


def test_a_set_up_of_the_program_is_left_as_it_is(app, profile):
    with flowgauge.setup_observability(profile=profile, serve=False) as own:
        with run_worker(app, "solo"):
            assert observability.current() is own
        assert observability.current() is own


def test_an_error_of_the_measuring_does_not_reach_the_task(app, monkeypatch, caplog):
    @app.task(name="sturdy")
    def sturdy():
        return "done"

    def broken(*_, **__):
        raise RuntimeError("broken")

    with run_worker(app, "solo"):
        monkeypatch.setattr("flowgauge.integrations.celery.blocks.run", broken)
        assert sturdy.delay().get(timeout=LONG) == "done"
    assert "measuring failed at celery" in caplog.text


@pytest.mark.parametrize("app", [None, "app", object()])
def test_what_is_no_application_is_refused(app):
    with pytest.raises(TypeError, match="must be a Celery application"):
        instrument(app)


def test_a_missing_celery_is_told_with_the_remedy():
    program = "import sys\nsys.modules['celery'] = None\nimport flowgauge.integrations.celery\n"
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=LONG
    )

    assert "flowgauge.integrations.celery needs Celery: pip install celery" in done.stderr


# -- a worker of its own, with children


PROGRAM = """
import os, time
from celery import Celery
from flowgauge.integrations.celery import instrument

app = Celery("tasks", broker="filesystem://", backend="file://{folder}/results")
app.conf.update(
    broker_transport_options=dict(
        data_folder_in="{folder}/queue", data_folder_out="{folder}/queue", control_folder="{folder}/control",
        store_processed=False,
    ),
    broker_connection_retry_on_startup=True,
)
instrument(app)

@app.task(name="pid")
def pid():
    time.sleep(0.2)  # so that both children get some
    return os.getpid()

@app.task(name="fail")
def fail():
    raise ZeroDivisionError

@app.task(name="sleep")
def sleep():
    open("{folder}/asleep", "w").close()
    time.sleep(600)
"""


class Prefork:
    """A worker as a program, with a broker of files."""

    def __init__(self, folder, profile):
        self.folder = folder
        for name in ("queue", "control", "results"):
            (folder / name).mkdir()
        (folder / "preforked.py").write_text(PROGRAM.format(folder=folder))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.environment = os.environ | {
            "FLOWGAUGE_PROFILE": str(profile),
            "FLOWGAUGE_HOST": "127.0.0.1",
            "FLOWGAUGE_PORT": str(self.port),
            "TMPDIR": str(folder),
            "C_FORCE_ROOT": "1",
        }
        self.process = None

    def __enter__(self):
        command = [
            sys.executable,
            "-m",
            "celery",
            "-A",
            "preforked",
            "worker",
            "--concurrency",
            "2",
        ]
        self.log = (self.folder / "log").open("w+")
        self.process = subprocess.Popen(
            [*command, "--without-gossip", "--without-mingle"],
            cwd=self.folder, env=self.environment, stdout=self.log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(LONG)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def call(self, code):
        return subprocess.run(
            [sys.executable, "-c", f"import preforked as p\n{code}"],
            cwd=self.folder, env=self.environment, check=True, capture_output=True, text=True, timeout=LONG,
        ).stdout  # fmt: skip

    def value(self, name, **labels):
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}/metrics", timeout=LONG
            ) as response:
                text = response.read().decode()
            for family in parse(text):
                for sample in family.samples:
                    if sample.name == name and sample.labels == labels:
                        return sample.value
        return None

    def wait(self, expected, name, **labels):
        try:
            wait_for(lambda: self.value(name, **labels) == expected, f"{name} {labels} {expected}")
        except AssertionError:
            self.log.seek(0)
            print(self.log.read())
            raise


@pytest.fixture
def prefork(tmp_path, profile):
    return Prefork(tmp_path, profile)


def test_what_children_do_is_in_the_scrape_of_the_worker(prefork):
    with prefork:
        prefork.wait(0, "finished_total", task="pid", status="success")
        pids = prefork.call(
            "print(len({r.get(timeout=60) for r in [p.pid.delay() for _ in range(8)]}))"
        )
        prefork.call("p.fail.delay()")

        assert pids == "2\n"
        prefork.wait(8, "finished_total", task="pid", status="success")
        prefork.wait(1, "finished_total", task="fail", status="failed")
        assert prefork.value("errors_total", task="fail", type="ZeroDivisionError") == 1
        assert prefork.value("started_total", task="pid", trigger="event") == 8
        assert prefork.value("active", task="pid") == 0
        assert prefork.value("delay_seconds_count", task="pid", queue="celery") == 8
        assert prefork.value("duration_seconds_bucket", task="pid", le="0.05") == 0

    assert [p.name for p in prefork.folder.iterdir() if p.name.startswith("flowgauge-")] == []


def test_a_task_that_is_terminated_while_it_runs_is_cancelled_once(prefork):
    with prefork:
        prefork.wait(0, "finished_total", task="sleep", status="success")
        task = prefork.call("print(p.sleep.delay().id)").strip()
        prefork.wait(1, "active", task="sleep")
        prefork.call(f"p.app.control.revoke({task!r}, terminate=True)")

        prefork.wait(1, "finished_total", task="sleep", status="cancelled")
        prefork.wait(0, "active", task="sleep")
        assert prefork.value("finished_total", task="sleep", status="failed") == 0
        assert prefork.value("errors_total", task="sleep", type="Terminated") == 1


def test_a_task_whose_process_is_killed_has_failed(prefork):
    with prefork:
        prefork.wait(0, "finished_total", task="sleep", status="success")
        prefork.call("p.sleep.delay()")
        prefork.wait(1, "active", task="sleep")
        children = subprocess.check_output(
            ["ps", "-o", "pid=", "--ppid", str(prefork.process.pid)], text=True
        )
        for child in children.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)

        prefork.wait(1, "finished_total", task="sleep", status="failed")
        prefork.wait(0, "active", task="sleep")
