"""The examples with several processes run."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from together import ignore

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


EXAMPLES = Path(__file__).parents[3] / "examples/multiprocess"


@contextlib.contextmanager
def example(name, **settings):
    """The program of an example while it runs, and its port for metrics."""
    with socket.create_server(("", 0)) as one, socket.create_server(("", 0)) as other:
        ports = [one.getsockname()[1], other.getsockname()[1]]
    environment = {"FLOWGAUGE_PORT": ports[0], "SERVER_PORT": ports[1], **settings}
    one = subprocess.Popen(
        [sys.executable, EXAMPLES / name],
        env={**os.environ, **{key: str(value) for key, value in environment.items()}},
        start_new_session=True,
    )
    try:
        yield one, *ports
        one.terminate()
        assert one.wait(30) == 0
    finally:
        # Its children too, should it have failed to end them.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(one.pid, signal.SIGKILL)
        one.wait()


def eventually(page, condition, seconds=30):
    """The first page for which the condition holds."""
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError):
            found = page()
            if condition(found):
                return found
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)


def children(one):
    text = Path(f"/proc/{one.pid}/task/{one.pid}/children").read_text()
    return [int(pid) for pid in text.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_example_with_a_pool(read):
    steps = {"workflow": "primes", "step": "count"}
    with example("pool.py", PRIMES_LIMIT=40000, PRIMES_INTERVAL=0) as (one, port, _):

        def page():
            return read(f"http://127.0.0.1:{port}/metrics")

        def good(found):
            return found.value("workflow_runs_total", workflow="primes", status="success") or 0

        found = eventually(page, lambda found: good(found) >= 2)
        assert found.value("workflow_steps_total", **steps, status="success") >= 16
        assert found.value("primes_found_total") >= 2 * 4203

        for pid in children(one):
            os.kill(pid, signal.SIGKILL)
        found = eventually(
            page,
            lambda found: found.value(
                "workflow_run_errors_total", workflow="primes", type="BrokenProcessPool"
            ),
        )
        eventually(page, lambda later: good(later) > good(found))
        found = page()
        assert found.value("workflow_steps_total", **steps, status="failed") == (
            found.value("workflow_step_errors_total", **steps, type="aborted") or 0
        )


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_example_with_a_server(read):
    with example("server.py") as (one, port, web):

        def page():
            return read(f"http://127.0.0.1:{port}/metrics")

        answers = []

        def get(path="/"):
            with urllib.request.urlopen(f"http://127.0.0.1:{web}{path}", timeout=10) as response:
                answers.append(response.read())
            return answers

        # Whoever answers serves the metrics already.
        eventually(get, lambda answers: len({*answers}) == 2)
        total = len(answers)
        pages = {page().value("http_requests_total", status="200") for _ in range(10)}
        assert pages == {total}

        slow = threading.Thread(target=ignore, args=(get, "/?seconds=20"))
        slow.start()
        eventually(page, lambda found: found.value("http_requests_in_progress"))
        for pid in children(one):
            os.kill(pid, signal.SIGKILL)
        slow.join()
        found = eventually(page, lambda found: not found.value("http_requests_in_progress"))
        assert found.value("http_requests_total", status="200") == total
        assert found.value("workflow_run_errors_total", workflow="request", type="aborted") == 1
        eventually(get, bool)
