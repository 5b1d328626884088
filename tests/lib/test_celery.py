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
from celery._state import _set_task_join_will_block
from celery.contrib.testing import worker as testing
from celery.exceptions import Ignore, Reject
from celery.worker import state
from prometheus_client.parser import text_string_to_metric_families as parse

import flowgauge
from flowgauge import guard, observability
from flowgauge.integrations import celery as integration
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
    outcomes: {good: [success], ignored: [again]}
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


@pytest.fixture(autouse=True, scope="module")
def disconnected():
    """Signals belong to the process: without this applications of other test files would be measured too."""
    yield
    for each, receiver in integration._RECEIVERS:
        each.disconnect(receiver)


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    file = tmp_path_factory.mktemp("profile") / "tasks.yaml"
    file.write_text(PROFILE)
    return file


def make_app(name, profile, **settings):
    made = celery.Celery(name, set_as_current=False)
    made.conf.update(
        broker_url=f"memory://{name}",
        result_backend="cache+memory://",
        task_default_queue=name,
        worker_hijack_root_logger=False,
    )
    given = {"profile": profile, "host": "127.0.0.1", "port": 0, "process_metrics": False}
    return instrument(made, **given | settings)


@pytest.fixture(scope="module")
def tasks(profile):
    """Tasks by name, of an application whose worker runs in this process."""
    app = make_app("main", profile)
    define(app)
    with run_worker(app, "solo"):
        yield app.tasks


def define(app):
    @app.task(shared=False, name="add")
    def add(a, b):
        inside.append(value("active", task="add"))
        with flowgauge.stepping("sum"):
            return a + b

    @app.task(shared=False, name="fail")
    def fail():
        raise ZeroDivisionError

    @app.task(shared=False, name="flaky", bind=True, max_retries=2, default_retry_delay=0)
    def flaky(self):
        if self.request.retries < 2:
            raise self.retry(exc=ConnectionError())

    @app.task(
        shared=False,
        name="hopeless",
        autoretry_for=(ConnectionError,),
        max_retries=1,
        default_retry_delay=0,
    )
    def hopeless():
        raise ConnectionError

    @app.task(shared=False, name="picky", acks_late=True)
    def picky(error):
        if error == "requeue":
            put_back.append(error)
            if len(put_back) == 1:
                raise Reject("later", requeue=True)
            return
        raise {"reject": Reject("no", requeue=False), "ignore": Ignore()}[error]

    def done():
        return "done"

    for name in ("revoked", "due", "eager", "once", "sturdy"):
        app.task(name=name, shared=False)(done)


put_back = []  # executions that asked to be put back into the queue
inside = []  # how many runs of `add` were in progress while it ran


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
        lambda: value("finished_total", task=task, status=status) == count,
        f"{task} to end {count} times with {status}",
    )


# -- workers of their own; before the shared one, since a process has one set-up


def test_the_endpoint_of_a_worker_in_threads_begins_and_ends_with_it(profile):
    app = make_app("threads", profile)

    @app.task(name="threaded", shared=False)
    def count(n):
        return n

    with run_worker(app, "threads"):
        assert [count.delay(n).get(timeout=LONG) for n in range(3)] == [0, 1, 2]
        ended("threaded", "success", 3)
        address = observability.current().address
        with urllib.request.urlopen(address, timeout=LONG) as response:
            assert b'finished_total{status="success",task="threaded"} 3' in response.read()

    assert observability.current() is None
    with pytest.raises(OSError):
        urllib.request.urlopen(address, timeout=LONG)


def test_a_set_up_of_the_program_is_left_as_it_is(profile, caplog):
    app = make_app("own", profile)

    @app.task(name="prepared", shared=False)
    def prepared():
        pass

    with flowgauge.setup_observability(profile=profile, serve=False) as own:
        with run_worker(app, "solo"):
            assert observability.current() is own
            assert value("finished_total", task="prepared", status="failed") == 0
        assert observability.current() is own
    assert "measuring failed" not in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_that_a_worker_forks_does_not_end_what_the_worker_opened(
    profile, tmp_path, monkeypatch
):
    with run_worker(make_app("forking", profile), "solo"):
        monkeypatch.setattr(integration._Worker, "folder", str(tmp_path))
        pid = os.fork()
        if pid == 0:
            try:
                integration._worker_ends()  # as at the end of an interpreter
            finally:
                os._exit(0)
        os.waitpid(pid, 0)

        assert tmp_path.exists()
    assert not tmp_path.exists()


def test_instrumenting_does_not_complete_the_application():
    app = instrument(celery.Celery("early", set_as_current=False))

    assert not app.finalized
    assert not app.configured


def test_the_current_application_may_be_given_by_its_proxy():
    app = celery.Celery("proxied")
    instrument(celery.current_app)

    @app.task(name="proxied", shared=False)
    def proxied():
        return 1

    with flowgauge.setup_observability(serve=False) as handle:
        proxied.apply()
        assert handle.value("workflow_runs_total", workflow="proxied", status="success") == 1


# -- the shared worker


def test_tasks_are_runs(tasks):
    assert value("finished_total", task="fail", status="failed") == 0

    results = [tasks["add"].delay(1, n) for n in range(3)]
    tasks["fail"].delay()
    assert [result.get(timeout=LONG) for result in results] == [1, 2, 3]
    ended("add", "success", 3)
    ended("fail", "failed")

    assert value("started_total", task="add", trigger="event") == 3
    assert inside == [1, 1, 1]
    assert value("active", task="add") == 0
    assert value("steps_total", task="add", step="sum", status="success") == 3
    assert value("duration_seconds", task="add") == 3
    assert value("errors_total", task="fail", type="ZeroDivisionError") == 1
    assert value("delay_seconds", task="add", queue="main") == 3


def test_a_retry_is_no_failure_and_is_counted(tasks):
    tasks["flaky"].delay()
    ended("flaky", "success")

    assert value("retried_total", task="flaky") == 2
    assert value("finished_total", task="flaky", status="again") == 2
    assert value("finished_total", task="flaky", status="cancelled") == 0
    assert value("finished_total", task="flaky", status="failed") == 0
    assert value("duration_seconds", task="flaky") == 1
    assert value("active", task="flaky") == 0


def test_the_last_retry_fails_with_the_error_of_the_task(tasks):
    tasks["hopeless"].delay()
    ended("hopeless", "failed")

    assert value("retried_total", task="hopeless") == 1
    assert value("errors_total", task="hopeless", type="ConnectionError") == 1


def test_a_revoked_or_expired_task_is_cancelled(tasks):
    late = tasks["revoked"].apply_async(countdown=0.5)
    tasks["revoked"].app.control.revoke(late.id)
    past = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=9)
    tasks["revoked"].apply_async(expires=past)
    ended("revoked", "cancelled", 2)

    assert value("errors_total", task="revoked", type="Revoked") == 2
    assert value("started_total", task="revoked", trigger="event") == 2
    assert value("active", task="revoked") == 0


def test_a_rejected_task_is_cancelled_and_one_that_ignores_itself_is_good(tasks):
    tasks["picky"].delay("reject")
    ended("picky", "cancelled")
    tasks["picky"].delay("ignore")
    ended("picky", "success")

    assert value("errors_total", task="picky", type="Reject") == 1
    assert value("finished_total", task="picky", status="failed") == 0


def test_a_task_that_is_put_back_into_its_queue_is_skipped(tasks):
    before = value("finished_total", task="picky", status="success")
    tasks["picky"].delay("requeue")
    ended("picky", "success", before + 1)

    assert value("finished_total", task="picky", status="again") == 1
    assert value("active", task="picky") == 0


def test_the_delay_of_a_task_begins_when_it_is_due(tasks):
    begun = time.monotonic()
    tasks["due"].apply_async(countdown=2)
    ended("due", "success")
    took = time.monotonic() - begun

    [family] = [f for f in observability.current().collect() if f.name == "delay_seconds"]
    [delay] = [v for k, v in zip(family.keys, family.values, strict=True) if "due" in k]
    assert delay.count == 1
    assert 0 <= delay.sum <= took - 1.9


def test_a_task_that_is_applied_in_place_is_a_run_without_delay(tasks):
    assert tasks["eager"].apply().get() == "done"
    assert tasks["eager"]() == "done"  # a plain call is no task

    assert value("finished_total", task="eager", status="success") == 1
    assert value("delay_seconds", task="eager", queue="main") is None


def test_celerys_own_tasks_and_other_applications_are_left_alone(tasks):
    other = celery.Celery("other", set_as_current=False, result_backend="cache+memory://")

    @other.task(name="stranger", shared=False)
    def stranger():
        return 1

    assert stranger.apply().get() == 1
    tasks["celery.accumulate"].apply()

    text = observability.current().render().body.decode()
    assert 'task="add"' in text
    assert "stranger" not in text
    assert "celery." not in text


def test_instrumenting_twice_counts_once(tasks, profile):
    instrument(tasks["once"].app, profile=profile, host="127.0.0.1", port=0)
    make_app("second", profile)

    tasks["once"].delay()
    ended("once", "success")
    assert value("started_total", task="once", trigger="event") == 1


def test_an_error_of_the_measuring_does_not_reach_the_task(tasks, monkeypatch, caplog):
    def broken(*_, **__):
        raise RuntimeError("broken")

    monkeypatch.setattr("flowgauge.integrations.celery.blocks.run", broken)

    assert tasks["sturdy"].delay().get(timeout=LONG) == "done"
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
from flowgauge.integrations import celery as integration
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
        self.end = signal.SIGTERM

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
        self.process.send_signal(self.end)
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

    assert list(prefork.folder.glob("flowgauge-*")) == []


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
        prefork.end = signal.SIGQUIT  # a cold shutdown

    assert list(prefork.folder.glob("flowgauge-*")) == []


def test_a_task_whose_process_is_killed_has_failed(prefork):
    prefork.end = signal.SIGKILL
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
        assert prefork.value("errors_total", task="sleep", type="aborted") == 1
