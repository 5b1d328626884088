"""Several processes as one program: real processes, real files, real signals."""

import contextlib
import ctypes
import fcntl
import http.client
import itertools
import json
import logging
import mmap
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
import tempfile
import textwrap
import threading
import time
import traceback
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

import flowgauge
from flowgauge import (
    cell,
    cells,
    dead,
    declared,
    guard,
    multiprocess,
    profiles,
    records,
    slotfile,
    slots,
    view,
)
from flowgauge.instruments import children as instrument_children
from flowgauge.metrics import Distribution, Quantiles

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
# Root of a namespace that has one user only cannot become another one.
USERS = int(Path("/proc/self/uid_map").read_text().split()[2]) if sys.platform == "linux" else 1


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.delenv(slots.MULTIPROCESS, raising=False)
    # As in a program that begins: other tests may have decided for this process, which its forks inherit.
    monkeypatch.setattr(slots, "_storage", None)


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
            if sys.platform == "linux":  # a test that fails leaves nobody behind
                ctypes.CDLL(None).prctl(1, signal.SIGKILL)
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
    """What `body` returns in a process of its own, in which nothing was measured yet."""

    def alone(_, *given):
        # The tests before have used up the names that a process tells apart.
        for known in cells._cells.values():
            known.clear()
        for collector in (declared.collector, records._collector):
            collector._instruments.clear()
        slots._storage = None  # decided for what was measured before, when this process was forked
        return body(*given)

    return Process(alone, *arguments).result()


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
                found |= {
                    (family.name, *key, i): n
                    for i, n in enumerate(itertools.accumulate(value.counts))
                }
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
            sums += [
                v.sum
                for f in handle.collect()
                if f.name == "workflow_run_duration_seconds"
                for v in f.values
            ]
            time.sleep(0.05)
        return sums

    sums = program(body)
    assert 0.3 <= sums[0] < 3
    assert len(set(sums)) == 1


def test_who_was_found_dead_stays_dead_though_another_process_looks_at_the_same_time(folder):
    def worker(parent):
        flowgauge.run("w").__enter__()
        parent.say()
        parent.hear()

    def holder(parent, *names):
        for name in names:  # kept open
            fd = os.open(os.path.join(folder, name), os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.lockf(fd, fcntl.LOCK_EX)
        parent.say()
        parent.hear()

    def body():
        handle = together(folder)
        one = Process(worker)
        one.hear()
        name = next(name for name in files(folder) if name.startswith(f"{one.pid}-"))
        undertaker = Process(holder, "lock")  # so that the file stays where it is
        undertaker.hear()
        one.kill()
        found = [runs(handle, "w", "failed")]
        prober = Process(holder, name)
        prober.hear()
        found.append(runs(handle, "w", "failed"))
        undertaker.kill()
        found.append(runs(handle, "w", "failed"))
        prober.kill()
        return [*found, runs(handle, "w", "failed"), len(files(folder))]

    assert program(body) == [1, 1, 1, 1, 1]


class Tally:
    """Numbers of many processes in shared memory: how many calls each began and ended, by their own account."""

    def __init__(self, size):
        self._map = mmap.mmap(-1, 16 * size)
        self.began = memoryview(self._map).cast("q")[:size]
        self.ended = memoryview(self._map).cast("q")[size:]


def test_counters_never_go_down_and_nothing_is_lost_or_doubled_while_processes_die_at_any_moment(
    folder,
):
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
        with contextlib.suppress(BrokenPipeError):  # then it tells why
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
    assert len([name for name in left if name.endswith(".slots")]) == 1


@pytest.mark.parametrize("moment", ["before the move", "after the move", "between two removals"])
def test_nothing_is_lost_or_doubled_when_the_process_dies_that_puts_the_dead_together(
    folder, moment
):
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
            Process(worker).wait()
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


def test_bounds_that_change_while_others_read_or_the_process_dies_make_no_count_double(folder):
    """A set-up counts in other buckets from then on. What was counted is never moved before the eyes of others."""

    def worker(parent):
        for _ in range(50):
            records.run_finished("w", 0.3, started=False)
            records.observe("restore.duration", 0.3, workflow="w")
        # Should anything be moved, then slowly.
        cell._move, instrument_children._fold = slow(cell._move), slow(instrument_children._fold)
        parent.say()
        while True:
            for profile in ("workflow", "contd", "orchestrix"):
                flowgauge.setup_observability(serve=False, profile=profile).close()

    def slow(move):
        def slowly(source, *more):
            copy = list(source)
            move(copy, *more)
            time.sleep(0.005)
            for i in range(len(source)):
                source[i] = 0.0

        return slowly

    def numbers(handle):
        durations = handle.value("workflow_run_duration_seconds", workflow="w")
        role = next(f for r, f in records.families() if r == "restore.duration")
        return runs(handle, "w"), durations, role.values[0].count

    def body():
        handle = together(folder)
        seen = set()
        rng = random.Random(3)
        for number in range(1, 16):
            one = Process(worker)
            one.hear()
            end = time.monotonic() + rng.random() * 0.2
            while time.monotonic() < end:
                seen.add((number, *numbers(handle)))
            one.kill()
            seen.add((number, *numbers(handle)))
        return sorted(seen)

    assert program(body) == [[n, *[50 * n] * 3] for n in range(1, 16)]


def test_a_process_that_has_lost_its_lock_goes_on_as_a_new_one(folder):
    """As who closes all descriptors to become a daemon."""

    def daemon(parent):
        handle = together(folder)
        run("w", 5)
        block = flowgauge.run("w")
        block.__enter__()
        for fd in range(3, 256):
            if fd not in (parent._from_child, parent._to_child):
                with contextlib.suppress(OSError):
                    os.close(fd)
        parent.say()
        parent.hear()
        own_view = [runs(handle, "w"), runs(handle, "w", "failed")]
        run("w", 3)
        block.__exit__(None, None, None)
        parent.say()
        parent.hear()
        return own_view

    def body():
        handle = together(folder)
        one = Process(daemon)
        one.hear()
        found = [[runs(handle, "w"), runs(handle, "w", "failed")] for _ in range(2)]
        one.say()
        one.hear()
        found.append([runs(handle, "w"), runs(handle, "w", "failed")])
        one.say()
        found.append(one.result())
        found.append([runs(handle, "w"), runs(handle, "w", "failed")])
        return found

    assert program(body) == [[5, 1], [5, 1], [8, 1], [5, 1], [8, 1]]


def test_scrapes_cost_what_the_living_cost(folder):
    def worker(_, number):
        run("w")
        flowgauge.counter("c_total", labels=["i"]).inc(i=str(number % 10))

    def body():
        handle = together(folder)
        found = []
        for number in range(200):
            Process(worker, number).wait()
        found.append(len(files(folder)) <= multiprocess._CROWD + 2)  # nobody has scraped until now
        found.append(runs(handle, "w"))
        size = len(json.loads(Path(folder, "dead.json").read_text())["found"])
        for number in range(100):
            Process(worker, number).wait()
        found += [runs(handle, "w"), sorted(name.partition(".")[2] for name in os.listdir(folder))]
        return [*found, len(json.loads(Path(folder, "dead.json").read_text())["found"]) == size]

    assert program(body) == [True, 200, 300, ["", "json", "slots"], True]


def test_sums_of_floats_are_the_same_to_the_last_bit_whoever_adds_them_in_whichever_order(folder):
    """A counter that is less by one bit has begun anew, for Prometheus."""

    def count(seed):
        rng = random.Random(seed)
        for i in range(100):
            label = str(i % 20)
            flowgauge.counter("c_total", labels=["i"]).inc(rng.random(), i=label)
            flowgauge.histogram("h", labels=["i"]).observe(rng.random() * 10, i=label)
            flowgauge.summary("s", labels=["i"]).observe(rng.random() * 10, i=label)
            records.run_finished(f"w{label}", rng.random() * 10, started=False)
            records.observe("restore.duration", rng.random() * 10, workflow=f"w{label}")
            if seed == 3 and i % 25 == 24:
                for profile in ("orchestrix", "contd"):  # in several buckets, so in several runs
                    flowgauge.setup_observability(serve=False, profile=profile).close()

    def worker(parent, seed):
        count(seed)
        parent.say()
        parent.hear()

    def scraper(_):
        count(3)
        return sums(together(folder, profile="contd"))

    def sums(handle):
        found = {}
        for family in handle.collect():
            if not family.name.startswith("process_"):
                for key, value in zip(family.keys, family.values, strict=True):
                    found[f"{family.name}{key}"] = (
                        value.sum if isinstance(value, Distribution | Quantiles) else value
                    )
        return found

    def body():
        os.environ[slots.MULTIPROCESS] = folder
        workers = [Process(worker, seed) for seed in range(8)]
        for one in workers:
            one.hear()
        count(50)
        handle = together(folder, profile="contd")
        found = [sums(handle)]
        for one in (*workers[3:6], *reversed(workers[:3]), *workers[6:]):
            one.kill()
            found += [sums(handle), sums(handle)]
        first = Process(scraper).result()
        return found, [first, sums(handle)]

    found, after = program(body)
    floats = [
        name for name, value in found[0].items() if value != int(value) and "time" not in name
    ]
    assert len(floats) >= 80
    for name in floats:
        assert {each[name] for each in found} == {found[0][name]}, name
        assert after[0][name] == after[1][name], name


def test_a_run_in_which_the_set_up_is_made_ends_for_others_too(folder):
    """The set-up chooses other buckets, and the run ends in these."""

    def worker(parent):
        with flowgauge.run("w"):
            records.run_started("w")
            flowgauge.setup_observability(serve=False, profile="contd")
            parent.say()
            parent.hear()
        records.run_finished("w", 1.0)
        parent.say()
        parent.hear()

    def body():
        os.environ[slots.MULTIPROCESS] = folder
        one = Process(worker)
        one.hear()
        handle = together(folder)

        def numbers():
            return [
                handle.value("workflow_active_runs", workflow="w"),
                runs(handle, "w"),
                runs(handle, "w", "failed"),
            ]

        found = [numbers()]
        one.say()
        one.hear()
        found.append(numbers())
        one.kill()
        return [*found, numbers(), numbers()]

    assert program(body) == [[2, 0, 0], [0, 2, 0], [0, 2, 0], [0, 2, 0]]


# -- kinds of numbers --------------------------------------------------------------------------------------------------


def test_gauges_of_several_processes_become_one(folder):
    def worker(parent, value, last):
        for merge in ("sum", "max", "min", "latest"):
            flowgauge.gauge(f"g_{merge}", merge=merge).set(value)
        flowgauge.gauge("temperature", labels=["room"], merge="max").set(-value, room="a")
        if last:
            flowgauge.gauge("g_latest", merge="latest").inc(1)
        parent.say()
        parent.hear()

    def body():
        handle = together(folder)
        flowgauge.gauge("temperature", labels=["room"], merge="max").labels(
            "a"
        )  # exists, and was never set
        names = ("g_sum", "g_max", "g_min", "g_latest")

        def numbers():
            return [*(handle.value(name) for name in names), handle.value("temperature", room="a")]

        first = Process(worker, 10.0, False)
        first.hear()
        second = Process(worker, 3.0, True)
        second.hear()
        found = [numbers()]
        second.kill()
        found += [numbers(), numbers()]
        first.kill()
        return [*found, numbers(), numbers()]

    assert program(body) == [
        [13, 10, 3, 4, -3],
        [10, 10, 3, 4, -3],
        [10, 10, 3, 4, -3],
        [None, 10, 3, 4, -3],
        [None, 10, 3, 4, -3],
    ]


def test_timestamps_of_other_processes_are_right_since_all_have_one_clock(folder):
    def worker(_):
        run("w")
        return time.time()

    def body():
        handle = together(folder)
        Process(worker).result()
        moment = Process(worker).result()
        return moment, [
            handle.value("workflow_last_success_timestamp_seconds", workflow="w") for _ in range(2)
        ]

    moment, found = program(body)
    assert found == pytest.approx([moment, moment], abs=0.5)

    code = "import time; print(repr(time.perf_counter()))"
    before = time.perf_counter()
    theirs = float(
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    )
    assert before < theirs < time.perf_counter()


def test_quantiles_are_those_of_the_observations_of_all_processes(folder):
    def worker(parent, values):
        summary = flowgauge.summary("s", labels=["of"])
        for value in values:
            summary.observe(value, of="a")
        parent.say()
        parent.hear()

    def body():
        handle = together(folder)

        def numbers():
            family = next(f for f in handle.collect() if f.name == "s")
            return family.values[0].count, family.values[0].sum, dict(family.values[0].quantiles)

        low, high = Process(worker, range(1, 51)), Process(worker, range(51, 101))
        low.hear()
        high.hear()
        found = [numbers()]
        flowgauge.summary("s", labels=["of"])
        found.append(numbers())
        low.kill()
        found.append(numbers())
        high.kill()
        return [*found, numbers()]

    for count, total, quantiles in program(body):
        assert (count, total) == (100, 5050)
        assert quantiles["0.5"] == pytest.approx(50, rel=0.02)
        assert quantiles["0.99"] == pytest.approx(99, rel=0.02)


SECONDS = [0.0004, 0.02, 0.3, 0.51, 1.02, 5.1, 7.0, 70.0, 5000.0, 1e6]


@pytest.mark.parametrize("first", ["with a set-up", "without"])
def test_durations_lie_in_the_same_buckets_in_whichever_order_processes_are_read(folder, first):
    """A worker of a pool counts in a fine grid, a process that was set up in the buckets of the profile.

    These buckets are not in the grid, so what is moved through it twice would end in another one.
    """
    contd = profiles.builtin("contd")
    odd = replace(
        contd,
        families=tuple(
            replace(f, buckets=tuple(b * 1.03 for b in f.buckets)) if f.type == "histogram" else f
            for f in contd.families
        ),
    )

    def count():
        for seconds in SECONDS:
            records.run_finished("w", seconds, started=False)
            records.observe("restore.duration", seconds, workflow="w")

    def worker(parent, is_set_up):
        if is_set_up:
            flowgauge.setup_observability(serve=False, profile=odd)
        count()
        parent.say()
        parent.hear()

    def buckets(handle):
        return {
            family.name: [*itertools.accumulate(family.values[0].counts), family.values[0].sum]
            for family in handle.collect()
            if family.kind == "histogram" and family.values
        }

    def alone(is_set_up):
        if is_set_up:
            flowgauge.setup_observability(serve=False, profile=odd)
        count()
        return buckets(flowgauge.setup_observability(serve=False, profile=odd))

    def body():
        os.environ[slots.MULTIPROCESS] = folder
        order = [True, False] if first == "with a set-up" else [False, True]
        workers = [Process(worker, is_set_up) for is_set_up in order]
        for one in workers:
            one.hear()
        handle = together(folder, profile=odd)
        found = [buckets(handle)]
        for one in workers:
            one.kill()
            found.append(buckets(handle))
        count()
        return [*found, buckets(handle)]

    exact, through_the_grid = program(alone, True), program(alone, False)
    assert len(exact) >= 2
    assert exact != through_the_grid
    found = program(body)
    for name in exact:
        both = [a + b for a, b in zip(exact[name], through_the_grid[name], strict=True)]
        assert [each[name] for each in found[:3]] == [pytest.approx(both)] * 3
        more = [a + b for a, b in zip(both, exact[name], strict=True)]
        assert found[3][name] == pytest.approx(more)


def test_histograms_that_processes_declare_with_different_buckets_are_shown_with_all_of_them(
    folder,
):
    def worker(_, buckets):
        h = flowgauge.histogram("h", buckets=buckets)
        h.observe(0.5)
        h.observe(3)

    def body():
        handle = together(folder)
        for buckets in ([1, 4], [2, 4]):
            Process(worker, buckets).result()
        family = next(f for f in handle.collect() if f.name == "h")
        found = [family.values[0].bounds, family.values[0].counts]
        # What other processes have declared does not bind this one.
        flowgauge.histogram("h", buckets=[1, 2, 8]).observe(5)
        family = next(f for f in handle.collect() if f.name == "h")
        return [*found, family.values[0].bounds, family.values[0].counts]

    assert program(body) == [[1, 2, 4], [1, 1, 2, 0], [1, 2, 8], [1, 1, 3, 0]]


def test_a_metric_that_another_process_declares_as_something_else_is_left_out_of_it(folder):
    def worker(parent):
        flowgauge.gauge("a").set(5)
        flowgauge.counter("b", labels=["x"]).inc(x="1")
        flowgauge.counter("c").inc(2)
        parent.say()
        parent.hear()

    def body():
        handle = together(folder)
        one = Process(worker)
        one.hear()
        flowgauge.counter("a").inc()
        flowgauge.counter("b", labels=["y"]).inc(y="1")
        flowgauge.counter("c").inc(1)
        with warnings() as lines:
            found = [handle.value("a"), handle.value("b", y="1"), handle.value("c")]
        one.kill()
        return found, [line for line in lines if "declare it the same way" in line]

    found, lines = program(body)
    assert found == [1, 1, 3]
    assert len(lines) == 2


def test_a_label_set_that_was_removed_is_gone_for_others_too_and_leaves_no_trace_in_the_file(
    folder,
):
    def worker(parent):
        gauge = flowgauge.gauge("g", labels=["job"])
        histogram = flowgauge.histogram("h", labels=["job"])
        summary = flowgauge.summary("s", labels=["job"])
        for _ in range(3000):
            gauge.set(1, job="a")
            histogram.observe(1, job="a")
            summary.observe(1, job="a")
            for metric in (gauge, histogram, summary):
                metric.remove(job="a")
        gauge.set(7, job="b")
        parent.say()
        parent.hear()
        gauge.inc(2, job="a")
        histogram.observe(1, job="a")
        parent.say()
        parent.hear()

    def body():
        handle = together(folder)
        one = Process(worker)
        one.hear()

        def numbers():
            return [
                handle.value("g", job="a"),
                handle.value("h", job="a"),
                handle.value("s", job="a"),
                handle.value("g", job="b"),
            ]

        found = [numbers()]
        one.say()
        one.hear()
        found.append(numbers())
        name = next(name for name in files(folder) if name.startswith(f"{one.pid}-"))
        size = os.stat(os.path.join(folder, name)).st_size
        one.kill()
        return found, size

    found, size = program(body)
    assert found == [[None, None, None, 7], [2, 1, None, 7]]
    assert size <= 32 << 10


def test_errors_of_many_types_keep_their_sum_over_processes(folder):
    def worker(_, number):
        for i in range(30):
            kind = type(f"Error{i + 10 * number}", (Exception,), {})
            with contextlib.suppress(kind), flowgauge.run("w"):
                raise kind

    def body():
        handle = together(folder)
        for number in range(4):
            Process(worker, number).result()
        family = next(f for f in handle.collect() if f.name == "workflow_run_errors_total")
        common = handle.value("workflow_run_errors_total", workflow="w", type="Error25")
        return runs(handle, "w", "failed"), sum(family.values), len(family.values), common

    failed, total, types, common = program(body)
    assert failed == total == 120
    assert types <= 33
    assert common == 3


def test_what_was_dropped_is_the_sum_of_all_processes(folder):
    def worker(_):
        for i in range(cells.LIMIT + 5):
            run(f"w{i}")

    def body():
        handle = together(folder)
        for _ in range(2):
            Process(worker).result()
        return [view._recorded()["series.dropped"][0][1] for _ in range(2) if handle.collect()]

    assert program(body) == [10, 10]


def test_cpu_memory_and_files_are_those_of_all_processes_and_cpu_never_goes_down(folder):
    def worker(parent):
        end = time.process_time() + 0.15
        while time.process_time() < end:
            run("w")
        parent.say()
        parent.hear()

    def scraper(_):
        return numbers(flowgauge.setup_observability(serve=False))

    def numbers(handle):
        return [
            handle.value("process_cpu_seconds_total"),
            handle.value("process_resident_memory_bytes"),
            handle.value("process_open_fds"),
        ]

    def body():
        handle = together(folder)
        found = [numbers(handle)]
        workers = [Process(worker) for _ in range(3)]
        for one in workers:
            one.hear()
        found.append(numbers(handle))
        for one in workers:
            one.kill()
            found += [numbers(handle), Process(scraper).result()]
        names = {family.name for family in handle.collect()}
        return found, "python_gc_collections_total" in names

    found, tells_collections = program(body)
    cpu, memory, opened = zip(*found, strict=True)
    assert cpu[1] - cpu[0] >= 0.4
    assert list(cpu) == sorted(cpu)
    assert memory[1] > 3 * memory[0]
    assert opened[1] >= 4 * opened[0] - 20
    assert memory[-1] < memory[1]
    assert not tells_collections


def test_the_rate_of_messages_is_that_of_all_living_processes(folder):
    def worker(parent):
        records.count("message.published", 1000, message="m")
        parent.say()
        parent.hear()

    def rate():
        multiprocess.refresh()
        return next(f for r, f in records.families() if r == "message.rate").values[0]

    def body():
        records.count("message.published", 500, message="m")
        before = rate()
        together(folder)
        moved = Process(lambda _: rate()).result()
        workers = [Process(worker) for _ in range(2)]
        for one in workers:
            one.hear()
        found = [before, moved, rate(), Process(lambda _: rate()).result()]
        workers[0].kill()
        found.append(rate())
        workers[1].kill()
        return found

    before, moved, mine, theirs, after = program(body)
    assert before > 100
    assert moved > 0
    # The clock goes on while this is read.
    assert 3 * before < mine <= 5.01 * before
    assert 0.3 * mine < theirs <= mine
    assert after < 0.9 * mine


# -- who reads ---------------------------------------------------------------------------------------------------------


def test_a_process_that_counts_nothing_may_be_the_one_that_is_scraped(folder):
    def worker(_):
        run("w", 4)
        flowgauge.counter("c_total").inc(2)

    def body():
        os.environ[slots.MULTIPROCESS] = folder
        workers = [Process(worker) for _ in range(3)]
        for one in workers:
            one.result()

    program(body)
    code = """
import flowgauge
print([line for line in flowgauge.setup_observability(serve=False).render().body.decode().splitlines()
       if line.startswith(("c_total", 'workflow_runs_total{status="success"'))])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, slots.MULTIPROCESS: folder},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (
        done.stdout
        == """['workflow_runs_total{status="success",workflow="w"} 12.0', 'c_total 6.0']\n"""
    )
    assert done.stderr == ""


def test_scrapers_at_the_same_time_in_threads_and_in_a_forked_child_all_see_the_same(folder):
    def count(i):
        flowgauge.counter("c_total", labels=["i"]).inc(i=str(i))

    def living(parent):
        count(0)
        parent.say()
        parent.hear()
        for i in range(1, 400):
            count(i)
        parent.say()
        parent.hear()

    def dying(_):
        count(0)

    def total(handle):
        return sum(v for k, v in counted(handle).items() if k[0] == "c_total")

    def scraper(_):
        handle = flowgauge.setup_observability(serve=False)
        return sorted({total(handle) for _ in range(10)})

    def body():
        handle = together(folder)
        alive = Process(living)
        alive.hear()
        total(handle)
        alive.say()  # what is new in a file that is known is read by many threads at once
        alive.hear()
        seen = []
        add = slotfile.Reader._add
        slotfile.Reader._add = lambda *arguments: (
            add(*arguments),
            time.sleep(0),
        )  # others may come
        threads = [threading.Thread(target=lambda: seen.append(total(handle))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        slotfile.Reader._add = add
        for _ in range(27):
            Process(dying).wait()
        others = [Process(scraper) for _ in range(3)]
        found = [seen, *(one.result() for one in others)]
        alive.kill()
        return found

    assert program(body) == [[400] * 8, [427], [427], [427]]


@pytest.mark.parametrize("handler", ["scrapes", "raises"])
def test_a_signal_handler_in_the_middle_of_a_scrape_leaves_no_count_double(folder, handler):
    def worker(parent):
        for i in range(50):
            flowgauge.counter("c_total", labels=["i"]).inc(i=str(i))
        parent.say()
        parent.hear()

    def body():
        handle = together(folder)
        one = Process(worker)
        one.hear()
        add, left = slotfile.Reader._add, [20]

        def handle_it(*_):
            if handler == "raises":
                raise KeyboardInterrupt
            handle.collect()

        def interrupted(*arguments):
            add(*arguments)
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGUSR1)

        signal.signal(signal.SIGUSR1, handle_it)
        slotfile.Reader._add = interrupted
        with contextlib.suppress(KeyboardInterrupt):
            handle.collect()
        found = [sum(v for k, v in counted(handle).items() if k[0] == "c_total") for _ in range(2)]
        one.kill()
        return found

    assert program(body) == [50, 50]


@pytest.mark.parametrize("who", ["thread", "process"])
def test_two_that_put_the_dead_together_at_the_same_time_lose_nothing(folder, who):
    """The second comes when the first is about to write, and somebody has died in between."""

    def worker(_):
        run("w")

    def body():
        handle = together(folder)
        dump = dead.Dead.dump
        writing, go_on = threading.Event(), threading.Event()

        def slowly(*arguments):
            dead.Dead.dump = dump
            text = dump(*arguments)
            writing.set()
            go_on.wait(10)
            return text

        def second(_):
            return [runs(flowgauge.setup_observability(serve=False), "w") for _ in range(2)]

        Process(worker).wait()
        dead.Dead.dump = slowly
        first = threading.Thread(target=handle.collect)
        first.start()
        writing.wait(10)
        Process(worker).wait()
        if who == "thread":
            other = threading.Thread(target=handle.collect)
            other.start()
            time.sleep(0.1)
            seen = [2, 2]
        else:
            seen = Process(second).result()  # it does not wait either
            other = first
        go_on.set()
        first.join()
        other.join()
        return seen, runs(handle, "w"), runs(handle, "w")

    assert program(body) == [[2, 2], 2, 2]


def test_numbers_from_before_the_set_up_move_to_the_directory_exactly_once(folder):
    def scraper(_):
        return list(counted(together(folder)).items())

    def body():
        run("w", 3)
        with contextlib.suppress(KeyError), flowgauge.run("w"):
            raise KeyError
        open_run = flowgauge.run("w")
        open_run.__enter__()
        flowgauge.counter("c_total", labels=["a"]).inc(5, a="x")
        flowgauge.histogram("h").observe(0.2)
        summary = flowgauge.summary("s")
        summary.observe(3)
        records.observe("restore.duration", 2.0, workflow="w")
        alone = counted(flowgauge.setup_observability(serve=False))
        flowgauge.setup_observability(serve=False).close()
        found = []
        for _ in range(2):
            with together(folder) as handle:
                found += [counted(handle), dict(map(_pair, Process(scraper).result()))]
        with together(folder + "-2") as handle:
            found.append(counted(handle))
        open_run.__exit__(None, None, None)
        with together(folder) as handle:
            found.append(
                [
                    own("w").started,
                    own("w").active,
                    handle.value("workflow_active_runs", workflow="w"),
                ]
            )
        return [each == alone for each in found[:-1]], found[-1]

    assert program(body) == [[True] * 5, [5, 0, 0]]


def _pair(item):
    return tuple(item[0]), item[1]


def test_numbers_in_the_buckets_of_several_set_ups_move_to_another_directory_too(folder):
    def body():
        for profile in ("workflow", "contd", "orchestrix", "contd"):
            together(folder, profile=profile).close()
            run("w")
            records.observe("restore.duration", 2.0, workflow="w")
        handle = together(folder + "-2")
        return [
            *numbers(handle),
            *Process(lambda _: numbers(flowgauge.setup_observability(serve=False))).result(),
        ]

    def numbers(handle):
        good = runs(handle, "w")
        role = next(f for r, f in records.families() if r == "restore.duration")
        return [good, role.values[0].count]

    assert program(body) == [4, 4, 4, 4]


def test_a_directory_may_be_named_in_the_environment_after_the_first_number_was_made(folder):
    def worker(_):
        flowgauge.setup_observability(serve=False)
        run("w", 2)

    def body():
        run("w")
        os.environ[slots.MULTIPROCESS] = folder
        Process(worker).result()
        return runs(flowgauge.setup_observability(serve=False), "w")

    assert program(body) == 3


def test_threads_that_count_their_first_numbers_at_the_same_time_are_all_seen_by_others(folder):
    def worker(parent):
        barrier = threading.Barrier(8)

        def first(i):
            barrier.wait()
            flowgauge.counter("c_total", labels=["i"]).inc(i=str(i))
            run(f"w{i}")

        threads = [threading.Thread(target=first, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        parent.say()
        parent.hear()

    def body():
        # The fork finds a process that has not decided yet.
        os.environ[slots.MULTIPROCESS] = folder
        one = Process(worker)
        one.hear()
        found = counted(together(folder))
        one.kill()
        return [
            sum(v for k, v in found.items() if k[0] == name)
            for name in ("c_total", "workflow_runs_started_total")
        ]

    assert program(body) == [8, 8]


def test_threads_that_count_while_the_directory_is_chosen_lose_nothing(folder):
    def body():
        running, done = True, [0] * 3

        def load(i):
            while running:
                run(f"w{done[i] % 20}")
                done[i] += 1

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        threads = [threading.Thread(target=load, args=(i,)) for i in range(3)]
        for thread in threads:
            thread.start()
        for number in range(10):
            time.sleep(0.01)
            together(f"{folder}-{number}").close()
        running = False
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
        handle = together(folder)
        return sum(
            v for k, v in counted(handle).items() if k[0] == "workflow_runs_started_total"
        ) - sum(done)

    assert program(body) == 0


def test_one_port_is_served_by_several_processes_and_each_answers_for_all(folder, read):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def worker(parent):
        handle = flowgauge.setup_observability(
            multiprocess_dir=folder, host="127.0.0.1", port=port, strict=True
        )
        run("w")
        answered = flowgauge.counter("answered_total", labels=["pid"])
        render = handle._exposition.render
        handle._exposition.render = lambda accept: (answered.inc(pid=os.getpid()), render(accept))[
            1
        ]
        parent.say()
        parent.hear()

    def scrape():
        # A client that keeps its connection stays with one process; each of these is new.
        return read(f"http://127.0.0.1:{port}/metrics")

    workers = [Process(worker) for _ in range(3)]
    try:
        for one in workers:
            one.hear()
        pages = [scrape() for _ in range(40)]
        total = {
            page.value("workflow_runs_total", workflow="w", status="success") for page in pages
        }
        assert total == {3}
        assert len(pages[-1].labels("answered_total")) == 3
        while len(workers) > 1:
            workers.pop().kill()
            pages = [scrape() for _ in range(10)]
            total = {p.value("workflow_runs_total", workflow="w", status="success") for p in pages}
            assert total == {3}
    finally:
        for one in workers:
            one.kill()


@pytest.mark.parametrize("directory", ["", "/proc/no/such/directory"])
def test_a_port_is_shared_only_where_processes_are_one_program(directory):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def body():
        os.environ[slots.MULTIPROCESS] = directory
        arguments = {"host": "127.0.0.1", "port": port, "strict": True}
        first = flowgauge.setup_observability(**arguments)

        def second(_):
            try:
                flowgauge.setup_observability(**arguments)
            except flowgauge.EndpointError as error:
                return str(error)
            return "served"

        with first:
            return Process(second).result()

    assert "FLOWGAUGE_PORT" in program(body)


# -- files and disks ---------------------------------------------------------------------------------------------------


def test_files_are_for_their_user_only_and_small(folder):
    def body():
        together(folder)
        run("w")
        path = os.path.join(folder, files(folder)[0])
        found = os.stat(path)
        return stat.S_IMODE(found.st_mode), found.st_size, found.st_blocks * 512

    mode, size, on_disk = program(body)
    assert mode == 0o600
    assert size <= 32 << 10
    assert on_disk <= 36 << 10


def test_a_file_that_was_never_finished_is_removed_when_it_is_old(folder):
    def half(name, age):
        path = Path(folder, f"{name}.slots.new")
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age, time.time() - age))

    def body():
        handle = together(folder)
        half(f"77-{1:016x}", 3600)
        half(f"78-{2:016x}", 1)
        half("notes", 3600)
        handle.collect()
        return [name for name in files(folder) if name.endswith("new")]

    assert program(body) == [f"78-{2:016x}.slots.new", "notes.slots.new"]


def test_what_is_not_ours_is_left_alone_and_what_is_damaged_is_told_once(folder):
    def worker(_):
        run("w", 3)
        flowgauge.counter("c_total", labels=["a"]).inc(a="x")

    def live(parent):
        worker(parent)
        parent.say()
        parent.hear()

    def name(number):
        return os.path.join(folder, f"1-{number:016x}.slots")

    def body():
        together(folder)
        one = Process(live)
        one.hear()
        source = next(n for n in files(folder) if n.startswith(f"{one.pid}-"))
        good = Path(folder, source).read_bytes()
        end = good.rindex(b"c_total")  # in the last record
        one.kill()
        handle = together(folder)
        before = [runs(handle, "w"), handle.value("c_total", a="x")]

        foreign = ["notes.slots", "1-2.slots", "dead.json.old", "1-00000000000000ff.slots.bak"]
        for each in foreign:
            Path(folder, each).write_bytes(good)
        os.mkdir(name(1))
        os.mkfifo(name(2))
        os.symlink(os.path.join(folder, "notes.slots"), name(3))
        Path(name(4)).write_bytes(b"")
        Path(name(5)).write_bytes(b"flowgauge-slots9" + good[16:])
        Path(name(6)).write_bytes(os.urandom(4000))
        kept = {*foreign, *(os.path.basename(name(i)) for i in range(1, 7))}
        # Dead, ours, and damaged: what is whole of it counts.
        damaged = {7: good[: end - 30], 8: good[:end] + b"\xff\xfe" + good[end + 2 :], 9: good[:60]}
        at = slotfile._HEADER
        while struct.unpack_from("<Q", good, at)[0]:
            last, at = at, at + struct.unpack_from("<Q", good, at)[0]
        damaged[10] = good[:last] + struct.pack("<Q", 1 << 40) + good[last + 8 :]
        damaged[12] = good[:last] + struct.pack("<Q", 4) + good[last + 8 :]
        damaged[11] = good[: last + 12] + struct.pack("<I", 1 << 20) + good[last + 16 :]
        for number, content in damaged.items():
            Path(name(number)).write_bytes(content)
        with warnings() as lines:
            found = [[runs(handle, "w"), handle.value("c_total", a="x")] for _ in range(3)]
        left = {n for n in os.listdir(folder) if n in kept}
        gone = [i for i in damaged if os.path.exists(name(i))]
        return before, found, len(lines), sorted(kept - left), gone, lines

    before, found, warned, removed, gone, lines = program(body)
    assert before == [3, 1]
    # All damaged files but one have all of their calls; none the whole last record.
    assert found == [[18, 1]] * 3
    assert removed == []
    assert gone == [9]
    assert warned == len(set(lines)) == 11


def test_a_file_that_is_cut_short_while_it_is_read_does_no_harm(folder):
    """A reader that mapped the file would be ended by SIGBUS."""

    def worker(parent):
        for i in range(300):
            flowgauge.counter("c_total", labels=["i"]).inc(i=str(i))
        parent.say()
        parent.hear()

    def body():
        handle = together(folder)
        one = Process(worker)
        one.hear()
        path = Path(folder, next(n for n in files(folder) if n.startswith(f"{one.pid}-")))
        found = [sum(v for k, v in counted(handle).items() if k[0] == "c_total")]
        with path.open("r+b") as file:
            file.truncate(4096)
        with warnings() as lines:
            found.append(0 < sum(v for k, v in counted(handle).items() if k[0] == "c_total") < 300)
        one.kill()
        return found, len(lines)

    assert program(body) == [[300, True], 1]


def test_a_damaged_file_of_the_dead_is_told_and_replaced(folder):
    def worker(_):
        run("w")

    def body():
        handle = together(folder)
        found = []
        for content in (
            "{",
            "[]",
            '{"boot": 5}',
            '{"boot": "BOOT", "buried": [], "admitted": [], "found": [[["calls"], 1]]}',
        ):
            Path(folder, "dead.json").write_text(content.replace("BOOT", slotfile.boot().decode()))
            with warnings() as lines:
                handle.collect()
            found.append(len(lines))
            guard._reported.clear()
        Process(worker).wait()
        return found, [runs(handle, "w") for _ in range(2)]

    assert program(body) == [[1, 1, 0, 1], [1, 1]]


def test_a_file_that_is_full_is_told_and_what_is_new_is_counted_for_this_process(folder):
    def worker(parent):
        slotfile.SIZE = 64 << 10
        with warnings() as lines:
            for i in range(900):
                flowgauge.counter("c_total", labels=["i"]).inc(i=str(i))
                run(f"w{i % 300}")
        handle = flowgauge.setup_observability(serve=False)
        found = counted(handle)
        parent.say()
        parent.hear()
        mine = [
            sum(v for k, v in found.items() if k[0] == name)
            for name in ("c_total", "workflow_runs_started_total")
        ]
        return [*mine, len(lines), "use fewer label sets" in lines[0]]

    def body():
        os.environ[slots.MULTIPROCESS] = folder
        one = Process(worker)
        one.hear()
        handle = together(folder)
        seen = [sum(v for k, v in counted(handle).items() if k[0] == "c_total") for _ in range(2)]
        one.say()
        return [one.result(), 0 < seen[0] < 900, seen[0] == seen[1]]

    assert program(body) == [[900, 900, 1, True], True, True]


def small_disk(folder, body):
    """What the code of `body` prints in a process that has a disk of 256 KiB at `folder`."""
    os.makedirs(folder)
    unshare = (
        ["unshare", "--mount"] if IS_ROOT else ["unshare", "--user", "--map-root-user", "--mount"]
    )
    mount = f"mount -t tmpfs -o size=256k tmpfs '{folder}' && exec \"$@\""
    script = textwrap.dedent(f"folder = {folder!r}") + textwrap.dedent(body)
    done = subprocess.run(
        [*unshare, "sh", "-c", mount, "sh", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no disk of our own: {done.stderr}")
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout.splitlines(), done.stderr.splitlines()


def test_a_full_disk_is_told_and_ends_nothing(folder):
    """A write to a map that the disk has no room for would be SIGBUS."""
    out, log = small_disk(
        folder,
        """
        import os, flowgauge
        handle = flowgauge.setup_observability(serve=False, multiprocess_dir=folder)
        counter = flowgauge.counter("c_total", labels=["i"])

        def total():
            return sum(sum(f.values) for f in handle.collect() if f.name == "c_total")

        def worker():
            with flowgauge.run("w"):
                counter.inc(i="-1")
            os._exit(0)

        for _ in range(2):  # one that is put together before, and one for which there is no room
            if os.fork() == 0:
                worker()
            os.wait()
            print(total())
            for i in range(900):
                counter.inc(i=str(i))
                with flowgauge.run(f"w{i % 300}"):
                    pass
        with open(folder + "/rest", "wb", 0) as file:
            try:
                while file.write(b"x" * 512):
                    pass
            except OSError:
                pass
        pid = os.fork()
        if pid == 0:
            for i in range(200):  # which has no file at all
                counter.inc(i=str(i))
            os._exit(0 if total() >= 200 else 1)
        print(os.waitpid(pid, 0)[1], total(), total())
        os.unlink(folder + "/rest")
        print(total(), total(), handle.value("workflow_runs_total", workflow="w", status="success"))
        """,
    )
    # The second one had no room for all of its numbers.
    seen = [float(line) for line in out[:2]]
    assert seen[0] == 1
    assert seen[1] in (901, 902)
    total = str(seen[1] + 900)
    assert out[2] == f"0 {total} {total}"
    assert out[3] in (f"{total} {total} 1.0", f"{total} {total} 2.0")
    assert any("No space left on device" in line for line in log)
    assert len(log) < 12


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_a_directory_that_cannot_be_used_is_an_error_at_set_up_and_a_warning_otherwise(how):
    def argument():
        try:
            together("/proc/no/such/directory")
        except OSError as error:
            return str(error)
        return "fine"

    def variable():
        os.environ[slots.MULTIPROCESS] = "/proc/no/such/directory"
        with warnings() as lines:
            run("w", 2)
            handle = flowgauge.setup_observability(serve=False)
        return [*lines, runs(handle, "w")]

    if how == "argument":
        message = program(argument)
    else:
        message, count = program(variable)
        assert "FLOWGAUGE_MULTIPROCESS_DIR" in message
        assert count == 2
    assert "/proc/no/such/directory" in message
    assert "may write to" in message


@pytest.mark.skipif(not IS_ROOT or USERS < 65535, reason="only root, where there are several users")
def test_files_of_another_user_are_told_and_left_out():
    folder = tempfile.mkdtemp(dir="/tmp")

    def worker(parent, user):
        os.setuid(user)
        multiprocess.share(folder)
        run("w")
        parent.say()
        parent.hear()

    def scraper(_, user):
        os.setuid(user)
        handle = together(folder)
        with warnings() as lines:
            found = [runs(handle, "w") for _ in range(3)]
        return found, lines

    def body():
        os.chmod(folder, 0o777)
        # What is imported only now may not be readable for others.
        flowgauge.setup_observability(serve=False).collect()
        run("w", 0)
        workers = [Process(worker, user) for user in (65534, 0)]
        for one in workers:
            one.hear()
        found = [Process(scraper, 65534).result(), Process(scraper, 0).result()]
        for one in workers:
            one.kill()
        return found

    try:
        (theirs, lines), (roots, _) = program(body)
    finally:
        shutil.rmtree(folder)
    assert theirs == [1, 1, 1]
    assert len(lines) >= 1
    assert all("of another user" in line for line in lines)
    assert roots == [2, 2, 2]


@pytest.mark.parametrize("gone", ["files", "directory"])
def test_a_directory_that_is_emptied_while_processes_run_ends_nothing(folder, gone):
    def worker(parent):
        handle = together(folder)
        run("w", 2)
        for _ in range(3):
            parent.say()
            parent.hear()
            run("w")
            handle.collect()
        return runs(handle, "w")

    def body():
        handle = together(folder)
        run("w", 10)
        one = Process(worker)
        one.hear()
        found = [runs(handle, "w")]
        shutil.rmtree(folder)
        if gone == "files":
            os.mkdir(folder)
        with warnings() as lines:
            found.append(runs(handle, "w"))
        one.say()
        one.hear()
        found.append(runs(handle, "w"))
        one.say()
        one.hear()
        one.say()
        return [*found, one.result(), len(lines)]

    # Ten and two; ten, which is what this process has itself; then they find each other again.
    assert (
        program(body)
        == {
            "files": [12, 10, 13, 15, 0],
            "directory": [12, 10, 10, 5, 0],
        }[gone]
    )


def test_what_is_there_of_an_earlier_start_of_the_machine_is_removed(folder):
    def worker(_):
        run("w")

    def body():
        handle = together(folder)
        for _ in range(2):
            Process(worker).wait()
        runs(handle, "w")
        Process(worker).wait()
        for path in Path(folder).iterdir():
            if f"{os.getpid()}-" not in path.name:
                path.write_bytes(
                    path.read_bytes().replace(slotfile.boot(), b"0" * len(slotfile.boot()))
                )
        found = [runs(handle, "w"), len(files(folder))]
        Process(worker).wait()
        return [*found, runs(handle, "w"), runs(handle, "w")]

    assert program(body) == [None, 1, 1, 1]


def test_an_allocation_that_is_interrupted_hides_none_that_come_later(folder):
    def worker(parent):
        counter = flowgauge.counter("c_total", labels=["i"])
        counter.inc(i="1")
        own_file = multiprocess._directory._own
        real = own_file._map

        class Interrupted:
            def __setitem__(self, *_):
                raise KeyboardInterrupt

        own_file._map = Interrupted()
        with contextlib.suppress(KeyboardInterrupt):
            counter.inc(i="2")
        own_file._map = real
        counter.inc(i="3")
        parent.say()
        parent.hear()

    def body():
        handle = together(folder)
        one = Process(worker)
        one.hear()
        found = [[handle.value("c_total", i=str(i)) for i in (1, 2, 3)]]
        one.kill()
        return [*found, [handle.value("c_total", i=str(i)) for i in (1, 2, 3)]]

    assert program(body) == [[1, None, 1]] * 2


# -- limits ------------------------------------------------------------------------------------------------------------


def test_names_that_are_made_of_data_in_many_processes_are_few_in_the_end_and_no_count_is_lost(
    folder, monkeypatch
):
    monkeypatch.setattr(cells, "LIMIT", 50)
    monkeypatch.setattr(declared.collector, "_limit", 40)

    def worker(parent, number):
        counter = flowgauge.counter("c_total", labels=["i"])
        histogram = flowgauge.histogram("h", labels=["i"])
        summary = flowgauge.summary("s", labels=["i"])
        for i in [*range(30)] * (number + 1):
            run(f"w{number}-{i}")
            counter.inc(i=f"{number}-{i}")
            histogram.observe(i, i=f"{number}-{i}")
            summary.observe(i, i=f"{number}-{i}")
        parent.say()
        parent.hear()

    def scraper(_):
        return numbers(together(folder))

    def numbers(handle):
        found = {"others": {}}
        for name in ("workflow_runs_started_total", "c_total", "h", "s"):
            family = next(f for f in handle.collect() if f.name == name)
            values = [v if isinstance(v, float) else v.count for v in family.values]
            other = [v for k, v in zip(family.keys, values, strict=True) if "other" in k]
            found[name] = [len(family.keys), sum(values)]
            found["others"][name] = sum(other)
        return found

    def body():
        os.environ[slots.MULTIPROCESS] = folder
        workers = [Process(worker, number) for number in range(4)]
        for one in workers:
            one.hear()
        handle = together(folder)
        found = []
        with warnings() as lines:
            run("own")
            for one in reversed(workers):  # so that the first to die is the last in every order
                found += [numbers(handle), Process(scraper).result()]
                one.kill()
            found += [numbers(handle), Process(scraper).result(), numbers(handle)]
        sizes = {}
        for (kind, *fields), *_ in json.loads(Path(folder, "dead.json").read_text())["found"]:
            if kind != "number":
                sizes.setdefault(kind, set()).add(str(fields[:5] if kind == "calls" else fields[4]))
        return (
            found,
            [len(sizes[k]) for k in ("calls", "counter", "histogram", "summary")],
            len(lines),
        )

    found, sizes, warned = program(body)
    for each in found:
        # One of the two more is at zero: the profile lists the trigger that most runs have.
        assert each["workflow_runs_started_total"] == [52, 301]
        assert [each[name] for name in ("c_total", "h", "s")] == [[41, 300]] * 3
        assert each["others"] == found[0]["others"]
    assert max(sizes[1:]) <= 41
    assert sizes[0] <= 51
    assert 4 <= warned <= 8


def test_many_label_sets_of_the_dead_stay_bounded_where_nobody_looks(folder, monkeypatch):
    monkeypatch.setattr(cells, "LIMIT", 50)

    def worker(_, number):
        for i in range(30):
            run(f"w{number}-{i}")

    def body():
        os.environ[slots.MULTIPROCESS] = folder
        for number in range(100):
            Process(worker, number).wait()
        known = json.loads(Path(folder, "dead.json").read_text())["found"]
        handle = together(folder)
        family = next(f for f in handle.collect() if f.name == "workflow_runs_started_total")
        return (
            len({tuple(d[1:6]) for d, *_ in known if d[0] == "calls"}),
            len(family.keys),
            sum(family.values),
        )

    known, shown, total = program(body)
    assert known <= 51
    assert shown <= 52
    assert total == 3000


# -- examples ----------------------------------------------------------------------------------------------------------

EXAMPLES = Path(__file__).parents[2] / "examples/multiprocess"


@contextlib.contextmanager
def example(name, **settings):
    """The program of an example while it runs, and its port for metrics."""
    with socket.create_server(("", 0)) as one, socket.create_server(("", 0)) as other:
        ports = [one.getsockname()[1], other.getsockname()[1]]
    environment = {"FLOWGAUGE_PORT": ports[0], "SERVER_PORT": ports[1], **settings}
    one = subprocess.Popen(
        [sys.executable, EXAMPLES / name],
        env={**os.environ, **{key: str(value) for key, value in environment.items()}},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield one, *ports
        one.terminate()
        assert one.wait(30) == 0
    finally:
        one.kill()
        one.communicate()


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

        def get(path="/"):
            with urllib.request.urlopen(f"http://127.0.0.1:{web}{path}", timeout=10) as response:
                return response.read()

        eventually(get, bool)
        eventually(page, lambda found: found.value("http_requests_total", status="200"))
        # A worker that has just begun may answer before the other one serves its endpoint.
        answers = {get() for _ in range(40)}
        assert len(answers) == 2
        assert {page().value("http_requests_total", status="200") for _ in range(10)} == {41}

        slow = threading.Thread(target=_ignore, args=(get, "/?seconds=20"))
        slow.start()
        eventually(page, lambda found: found.value("http_requests_in_progress"))
        for pid in children(one):
            os.kill(pid, signal.SIGKILL)
        slow.join()
        found = eventually(page, lambda found: not found.value("http_requests_in_progress"))
        assert found.value("http_requests_total", status="200") == 41
        assert found.value("workflow_run_errors_total", workflow="request", type="aborted") == 1
        eventually(get, bool)


def _ignore(call, *arguments):
    with contextlib.suppress(OSError, http.client.HTTPException):
        call(*arguments)
