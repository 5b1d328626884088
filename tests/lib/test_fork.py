import contextlib
import os
import signal
import socket
import sys
import threading
import time
import urllib.request

import pytest
from forked import in_child

import flowgauge
from flowgauge import cells
from flowgauge.bins import FAILED, GOOD

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def counts(name):
    snapshot = cells.run_cell(name, trigger="manual", kind="").snapshot()
    return snapshot.started, snapshot.finished(GOOD), snapshot.finished(FAILED), snapshot.active


@contextlib.contextmanager
def load(*targets):
    """Threads that call `targets` again and again, switched as often as possible."""
    running = True

    def again(target):
        while running:
            target()

    interval = sys.getswitchinterval()
    threads = [threading.Thread(target=again, args=(target,)) for target in targets]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        yield
    finally:
        running = False
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()


def test_a_child_that_is_forked_under_load_neither_hangs_nor_counts_the_parents_runs(name):
    @flowgauge.workflow(name=name)
    def work(error):
        if error:
            raise error

    def fail():
        with contextlib.suppress(ValueError):
            work(ValueError())

    def succeed():
        work(None)

    def child():
        work(None)
        return counts(name)

    with load(succeed, fail, fail, lambda: cells.snapshots("run")):
        answers = {in_child(child) for _ in range(60)}

    assert answers == {"(1, 1, 0, 0)"}
    started, good, failed, active = counts(name)
    assert started == good + failed
    assert active == 0


def test_a_run_that_began_before_the_fork_is_counted_by_the_parent_only(name):
    block = flowgauge.run(name)
    block.__enter__()

    def child():
        block.__exit__(None, None, None)
        return counts(name)

    assert in_child(child) == "(0, 0, 0, 0)"
    block.__exit__(None, None, None)
    assert counts(name) == (1, 1, 0, 0)


def test_the_child_gives_up_the_port_and_may_serve_its_own(observe, read, name):
    with flowgauge.run(name):
        pass
    parent = observe()

    def child():
        with flowgauge.run(name):
            pass
        own = flowgauge.setup_observability(host="127.0.0.1", port=0)
        with urllib.request.urlopen(own.address, timeout=5) as response:
            text = response.read().decode()
        return (
            parent.serving,
            own.port != parent.port,
            f'workflow_runs_total{{status="success",workflow="{name}"}} 1.0' in text,
        )

    assert in_child(child) == "(False, True, True)"
    assert read(parent.address).value("workflow_runs_total", workflow=name, status="success") == 1


def test_a_child_that_lives_on_does_not_keep_the_parents_port(observe):
    parent = observe()
    port = parent.port
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writable, b"forked")
        time.sleep(30)
        os._exit(0)
    try:
        assert os.read(readable, 6) == b"forked"
        parent.close()
        with socket.create_server(("127.0.0.1", port)):
            pass
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(readable)
        os.close(writable)


def test_a_signal_handler_may_measure_while_the_main_thread_is_scraped_or_measures(name):
    handled = []

    def handler(*_):
        with flowgauge.run(name):
            handled.append(1)

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        end = time.monotonic() + 0.5
        outer = 0
        while time.monotonic() < end:
            with flowgauge.run(name):
                outer += 1
            cells.run_cell(name, trigger="manual", kind="").snapshot()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)

    assert len(handled) > 50
    assert counts(name) == (outer + len(handled), outer + len(handled), 0, 0)
