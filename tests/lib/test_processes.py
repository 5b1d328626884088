"""Several processes are one program: what each counts, and what those counted that are dead."""

import subprocess
import sys

PROGRAM = """
import os
import signal
import sys

import flowgauge

handle = flowgauge.setup_observability(multiprocess_dir=sys.argv[1], serve=False)
orders = flowgauge.counter("orders_total", labels=["country"])
level = flowgauge.gauge("level")
peak = flowgauge.gauge("peak", merge="max")


@flowgauge.workflow
def job(fail=False):
    if fail:
        raise ValueError


def child(number, ready, go):
    for _ in range(10):
        job()
    try:
        job(fail=True)
    except ValueError:
        pass
    orders.inc(number, country="ch")
    level.set(5)
    peak.set(number)
    with flowgauge.run("hanging"):
        os.write(ready, b"x")
        os.read(go, 1)


def numbers():
    runs = [
        handle.value("workflow_runs_total", workflow="job", status=s) for s in ("success", "failed")
    ]
    return [
        *runs,
        handle.value("orders_total", country="ch"),
        handle.value("level"),
        handle.value("peak"),
        handle.value("workflow_active_runs", workflow="hanging"),
        handle.value("workflow_run_errors_total", workflow="hanging", type="aborted"),
    ]


job()
ready, say = os.pipe()
pids = []
for number in (1, 2, 3):
    pid = os.fork()
    if not pid:
        child(number, say, os.pipe()[0])
        os._exit(0)
    pids.append(pid)
for _ in pids:
    os.read(ready, 1)
print(numbers())
for pid in pids:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
print(numbers())
print(numbers())
print(len([name for name in os.listdir(sys.argv[1]) if name.endswith(".slots")]))
"""


def test_every_process_counts_for_all_and_the_dead_are_not_forgotten(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path / "numbers")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.stderr, done.returncode) == ("", 0)
    living, dead, again, files = done.stdout.splitlines()
    assert living == "[31.0, 3.0, 6.0, 15.0, 3.0, 3.0, None]"
    assert dead == again == "[31.0, 3.0, 6.0, 0.0, 3.0, 0.0, 3.0]"
    assert files == "1"
