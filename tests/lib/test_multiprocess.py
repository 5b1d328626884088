"""Several processes as one program: real processes, real files, real signals."""

import contextlib
import itertools
import json
import logging
import math
import mmap
import multiprocessing
import os
import random
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import urllib.request
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

import flowgauge
from flowgauge import cells, clock, dead, multiprocess, records, slotfile, slots
from flowgauge.metrics import Distribution, Quantiles

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.delenv(slots.MULTIPROCESS, raising=False)


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "numbers")


class Process:
    """A forked process that runs `body` with two pipes: `say` and `hear`. It ends as if it had crashed, without any care."""

    def __init__(self, body, *arguments):
        self._from_child, to_parent = os.pipe()
        from_parent, self._to_child = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            self._from_child, self._to_child = from_parent, to_parent
            try:
                result = body(self, *arguments)
                os.write(to_parent, b"=" + json.dumps(result).encode())
                status = 0
            except BaseException:
                os.write(to_parent, b"!" + traceback.format_exc().encode())
            finally:
                os._exit(status)
        os.close(to_parent)
        os.close(from_parent)

    def say(self):
        """Let the other end of the pipes go on."""
        os.write(self._to_child, b".")

    def hear(self, seconds=20):
        """Wait until the other end says so."""
        assert select.select([self._from_child], [], [], seconds)[0], "nothing comes"
        answer = os.read(self._from_child, 1)
        if answer != b".":
            pytest.fail((answer + self._rest()).decode())

    def kill(self):
        """SIGKILL, and wait for the end."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def wait(self):
        """The status of the end."""
        status = os.waitpid(self.pid, 0)[1]
        os.close(self._from_child)
        os.close(self._to_child)
        return status

    def result(self, seconds=60):
        """What `body` returned; the test fails if the process hangs or raised."""
        text = bytearray()
        end = time.monotonic() + seconds
        while select.select([self._from_child], [], [], max(end - time.monotonic(), 0))[0]:
            part = os.read(self._from_child, 65536)
            if not part:
                break
            text += part
        else:
            self.kill()
            pytest.fail("the process hangs")
        self.wait()
        answer = bytes(text).lstrip(b".")
        if not answer.startswith(b"="):
            pytest.fail(answer.decode() or "the process died")
        return json.loads(answer[1:])

    def _rest(self):
        return os.read(self._from_child, 65536)


def program(body, *arguments):
    """What `body` returns in a process of its own."""
    return Process(lambda _, *given: body(*given), *arguments).result()


def together(folder, **arguments):
    """Set up multi-process mode in this process."""
    return flowgauge.setup_observability(serve=False, multiprocess_dir=folder, **arguments)


def run(name, times=1):
    for _ in range(times):
        with flowgauge.run(name):
            pass


def runs(handle, name, status="success"):
    return handle.value("workflow_runs_total", workflow=name, status=status)


def own(name):
    """What this process alone counted."""
    return cells.run_cell(name, trigger="manual").snapshot()


def counted(handle):
    """All counters of a page: those with `_total`, buckets, counts and sums."""
    found = {}
    for family in handle.collect():
        if family.name.startswith(("process_", "python_")):
            continue
        for key, value in zip(family.keys, family.values, strict=True):
            if isinstance(value, Distribution):
                found |= {(family.name, *key, i): n for i, n in enumerate(itertools.accumulate(value.counts))}
                found[family.name, *key, "sum"] = value.sum
            elif isinstance(value, Quantiles):
                found[family.name, *key] = value.count
            elif family.kind == "counter":
                found[family.name, *key] = value
    return found


def files(folder):
    return sorted(name for name in os.listdir(folder) if ".slots" in name)


@contextlib.contextmanager
def warnings():
    """What the library logs meanwhile."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("flowgauge")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


# -- the same totals, however a process was started --------------------------------------------------------------------

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
        [sys.executable, script, way, folder], capture_output=True, text=True, timeout=60, check=False
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
        return [in_child, *before, runs(handle, "w"), handle.value("workflow_active_runs", workflow="w")]

    assert program(body) == [0, 0, 1, 1, 0]


def test_children_that_are_forked_under_load_neither_hang_nor_count_for_the_parent(folder):
    def child(_):
        run("w", 2)
        flowgauge.counter("c_total", labels=["i"]).inc(i="1")

    def body():
        handle = together(folder)
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
        return [runs(handle, "w") - sum(done), sum(v for k, v in counted(handle).items() if k[0] == "c_total") - sum(done)]

    assert program(body) == [160, 80]


# -- processes that die ------------------------------------------------------------------------------------------------


def test_what_was_in_progress_when_a_process_died_counts_as_failed_and_is_called_aborted(folder):
    def worker(parent, name):
        block = flowgauge.run(name)
        block.__enter__()
        run("done")
        parent.say()
        parent.hear()

    def body():
        handle = together(folder)
        run("w")
        first = Process(worker, "w")
        first.hear()
        time.sleep(0.05)
        second = Process(worker, "w")
        second.hear()

        def numbers():
            return [
                handle.value("workflow_active_runs", workflow="w"),
                runs(handle, "w", "failed"),
                handle.value("workflow_run_errors_total", workflow="w", type="aborted"),
                handle.value("workflow_run_duration_seconds", workflow="w"),
                runs(handle, "done"),
            ]

        found = [numbers()]
        oldest = [handle.value("workflow_oldest_active_run_age_seconds", workflow="w")]
        first.kill()
        found.append(numbers())
        oldest.append(handle.value("workflow_oldest_active_run_age_seconds", workflow="w"))
        second.kill()
        found += [numbers(), numbers()]
        oldest.append(handle.value("workflow_oldest_active_run_age_seconds", workflow="w"))
        return found, oldest

    found, oldest = program(body)
    assert found == [
        [2, 0, None, 1, 2],
        [1, 1, 1, 2, 2],
        [0, 2, 2, 3, 2],
        [0, 2, 2, 3, 2],
    ]
    assert oldest[0] > oldest[1] > oldest[2] == 0


def test_the_time_until_it_was_found_dead_is_the_duration_of_what_was_in_progress(folder):
    def worker(parent):
        flowgauge.run("w").__enter__()
        parent.say()
        parent.hear()

    def body():
        handle = together(folder)
        one = Process(worker)
        one.hear()
        time.sleep(0.3)
        one.kill()
        sums = []
        for _ in range(3):
            sums += [v.sum for f in handle.collect() if f.name == "workflow_run_duration_seconds" for v in f.values]
            time.sleep(0.05)
        return sums

    sums = program(body)
    assert 0.3 <= sums[0] < 3
    assert len(set(sums)) == 1


class Tally:
    """Numbers of many processes in shared memory: how many calls each began and ended, by their own account."""

    def __init__(self, size):
        self._map = mmap.mmap(-1, 16 * size)
        self.began = memoryview(self._map).cast("q")[:size]
        self.ended = memoryview(self._map).cast("q")[size:]


def test_counters_never_go_down_and_nothing_is_lost_or_doubled_while_processes_die_at_any_moment(folder):
    """Workers and scrapers are killed at random moments, also those that put the dead together."""
    scrapes, most = 1000, 4000
    tally = Tally(most)

    def worker(_, number):
        rng = random.Random(number)
        counter = flowgauge.counter("c_total", labels=["i"])
        while True:
            tally.began[number] += 1
            run(f"w{rng.randrange(3)}")
            counter.inc(i=str(rng.randrange(5)))
            records.observe("restore.duration", rng.random(), workflow="w")
            tally.ended[number] += 1

    def scraper(_):
        handle = together(folder)
        before = {}
        while True:
            before = check(before, counted(handle))

    def churn(parent):
        rng = random.Random(1)
        numbers = iter(range(most))
        living = []
        while not select.select([parent._from_child], [], [], 0)[0]:
            while len(living) < 6:
                kind = worker if rng.random() < 0.7 else scraper
                living.append(Process(kind, *([next(numbers)] if kind is worker else [])))
            time.sleep(rng.random() * 0.02)
            one = living.pop(rng.randrange(len(living)))
            assert not select.select([one._from_child], [], [], 0)[0], one._rest()
            one.kill()
        for one in living:
            one.kill()
        return next(numbers)

    def check(before, now):
        down = {k: (v, now.get(k)) for k, v in before.items() if now.get(k, -1) < v}
        assert not down, down
        return now

    def body():
        handle = together(folder)
        run("own")
        churner = Process(churn)
        before, sizes = {}, []
        for _ in range(scrapes):
            before = check(before, counted(handle))
            sizes.append(len(files(folder)))
        churner.say()
        started = churner.result()
        final = check(before, counted(handle))
        good = sum(v for k, v in final.items() if k[0] == "workflow_runs_total" and "success" in k)
        failed = sum(v for k, v in final.items() if k[0] == "workflow_runs_total" and "failed" in k)
        begun = sum(v for k, v in final.items() if k[0] == "workflow_runs_started_total")
        other = sum(v for k, v in final.items() if k[0] == "c_total")
        assert handle.value("workflow_active_runs", workflow="w0") == 0
        return started, good - 1, failed, begun - 1, other, max(sizes), files(folder)

    started, good, failed, begun, other, size, left = program(body)
    began, ended = sum(tally.began), sum(tally.ended)
    assert started > 50
    assert ended <= good <= began
    assert ended <= other <= began
    assert good + failed == begun
    assert failed <= started
    assert size < 100
    assert len(left) == 1


@pytest.mark.parametrize("moment", ["before the move", "after the move", "between two removals"])
def test_nothing_is_lost_or_doubled_when_the_process_dies_that_puts_the_dead_together(folder, moment):
    def worker(_):
        run("w", 10)
        flowgauge.run("w").__enter__()

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def undertaker(_):
        handle = together(folder)
        if moment == "before the move":
            os.replace = die
        else:
            removals = itertools.count()
            limit = 0 if moment == "after the move" else 1
            unlink = os.unlink
            os.unlink = lambda path: die() if next(removals) >= limit else unlink(path)
        handle.collect()
        return "it did not die"

    def body():
        for _ in range(3):
            Process(worker, ).wait()
        assert Process(undertaker).wait() == signal.SIGKILL
        handle = together(folder)
        left = len(files(folder))
        found = [[runs(handle, "w"), runs(handle, "w", "failed")] for _ in range(3)]
        return found, left, len(files(folder))

    def alone_then():
        os.environ[slots.MULTIPROCESS] = folder
        return body()

    found, left, after = program(alone_then)
    assert found == [[30, 3]] * 3
    # The undertaker's own file, ours, and those of the three that were not removed yet.
    assert left == {"before the move": 5, "after the move": 5, "between two removals": 4}[moment]
    assert after == 1
