"""The same totals, however a process was started."""

import os
import subprocess
import sys
import threading

import pytest
from together import Process, counted, own, program, run, runs, together

import flowgauge

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


PROGRAM = """
import multiprocessing, os, subprocess, sys
from concurrent.futures import ProcessPoolExecutor
import flowgauge
from flowgauge import cells

orders = flowgauge.counter("orders_total", "Orders.", labels=["country"])

@flowgauge.workflow(name="work")
def work(fail):
    orders.inc(country="ch")
    if fail:
        raise KeyError

def task(number):
    before = cells.run_cell("work", trigger="manual", kind="").snapshot().started
    for i in range(100):
        try:
            work(i % 10 == 0)
        except KeyError:
            pass
    return os.getpid(), before

def many(way):
    if way == "fork":
        for _ in range(4):
            if os.fork() == 0:
                task(0)
                os._exit(0)
        for _ in range(4):
            os.wait()
    elif way == "subprocess":
        children = [subprocess.Popen([sys.executable, __file__, "task"]) for _ in range(4)]
        assert [child.wait() for child in children] == [0] * 4
    elif way == "pool":
        with ProcessPoolExecutor(4) as pool:
            began = dict(pool.map(task, range(4)))
            # Those that took a second task had 100 already.
            assert set(began.values()) <= {0, 100, 200, 300}, began
    else:
        context = multiprocessing.get_context(way)
        with context.Pool(4) as pool:
            began = pool.map(task, range(4), chunksize=1)
            assert min(before for _, before in began) == 0, began

if __name__ == "__main__":
    if sys.argv[1] == "task":
        assert task(0)[1] == 0
    else:
        handle = flowgauge.setup_observability(serve=False, multiprocess_dir=sys.argv[2])
        task(0)
        many(sys.argv[1])
        for _ in range(2):  # before and after the dead are put together
            print(handle.value("workflow_runs_total", workflow="work", status="success"),
                  handle.value("workflow_runs_total", workflow="work", status="failed"),
                  handle.value("workflow_run_errors_total", workflow="work", type="KeyError"),
                  handle.value("workflow_run_duration_seconds", workflow="work"),
                  handle.value("orders_total", country="ch"))
"""


@pytest.mark.parametrize("way", ["fork", "subprocess", "pool", "spawn", "forkserver"])
def test_totals_are_exact_however_processes_are_started(folder, tmp_path, way):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)

    done = subprocess.run(
        [sys.executable, script, way, folder],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["450.0 50.0 50.0 500.0 500.0"] * 2


def test_children_inherit_a_directory_that_was_given_as_a_relative_path(tmp_path):
    def body():
        os.chdir(tmp_path)
        handle = together("numbers")
        os.mkdir("elsewhere")
        code = "import flowgauge\nwith flowgauge.run('w'): pass"
        subprocess.run([sys.executable, "-c", code], cwd="elsewhere", check=True)
        return runs(handle, "w")

    assert program(body) == 1


def test_a_forked_child_begins_at_zero_and_its_own_child_too(folder):
    def grandchild(_):
        run("w", 3)
        return own("w").started

    def child(_):
        run("w", 5)
        return [own("w").started, Process(grandchild).result()]

    def body():
        handle = together(folder)
        run("w", 7)
        found = Process(child).result()
        return [*found, own("w").started, runs(handle, "w")]

    assert program(body) == [5, 3, 7, 15]


def test_a_call_of_the_parent_that_ends_in_the_child_counts_nothing_there(folder):
    def body():
        handle = together(folder)
        block = flowgauge.run("w")
        block.__enter__()

        def child(_):
            block.__exit__(None, None, None)
            return own("w").active

        in_child = Process(child).result()
        before = [runs(handle, "w"), handle.value("workflow_active_runs", workflow="w")]
        block.__exit__(None, None, None)
        return [
            in_child,
            *before,
            runs(handle, "w"),
            handle.value("workflow_active_runs", workflow="w"),
        ]

    assert program(body) == [0, 0, 1, 1, 0]


def test_children_that_are_forked_under_load_neither_hang_nor_count_for_the_parent(folder):
    def child(_):
        run("w", 2)
        flowgauge.counter("c_total", labels=["i"]).inc(i="1")

    def body():
        handle = together(folder)
        # Python's own lock of an import that a fork comes across stays locked in the child.
        child(None)
        running, done = True, [0, 0, 0]

        def load(i):
            while running:
                run("w")
                flowgauge.counter("c_total", labels=["i"]).inc(i=str(done[i] % 50))
                if i == 2:
                    handle.collect()
                done[i] += 1

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        threads = [threading.Thread(target=load, args=(i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(80):
            Process(child).result(20)
        running = False
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()
        return [
            runs(handle, "w") - sum(done),
            sum(v for k, v in counted(handle).items() if k[0] == "c_total") - sum(done),
        ]

    assert program(body) == [162, 81]
