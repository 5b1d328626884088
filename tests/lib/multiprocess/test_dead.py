"""Processes that die at any moment: nothing is lost, and nothing counts twice."""

import contextlib
import fcntl
import itertools
import json
import mmap
import os
import random
import select
import signal
import time
from pathlib import Path

import pytest
from together import Process, counted, files, program, run, runs, together

import flowgauge
from flowgauge import (
    cell,
    multiprocess,
    records,
    slots,
)
from flowgauge.instruments import children as instrument_children
from flowgauge.metrics import Distribution, Quantiles

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


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
    # So many that the check means something; how many there are in its time is the machine's affair.
    assert started > 20
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
