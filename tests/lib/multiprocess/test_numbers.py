"""What the numbers of several processes become: gauges, quantiles, buckets, moments, rates."""

import contextlib
import itertools
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from together import Process, files, program, run, runs, together, warnings

import flowgauge
from flowgauge import (
    cells,
    multiprocess,
    profiles,
    records,
    slots,
    view,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


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
