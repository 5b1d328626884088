"""Threads: what a call costs when eight make it at once, and how long a scrape stops a thread that works.

Not pinned to one CPU, since the point is what several do to each other.
"""

# ruff: noqa: PLC0415 - each suite runs where only its own library is installed

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable

from benchmarks.library.suites import contents, five
from benchmarks.library.suites.contents import Contents
from benchmarks.library.suites.references import Function, work
from benchmarks.library.timing import Effort, Results

THREADS = 8


def ours(effort: Effort) -> Results:
    import flowgauge

    decorated = flowgauge.workflow(name="orders")(work)
    flowgauge.setup_observability(serve=False)
    return _contention(effort, decorated)


def prometheus_client(effort: Effort) -> Results:
    return _contention(effort, five.bound(five.Metrics())(work))


def ours_scraped(effort: Effort, series: int) -> Results:
    return _stalls(effort, contents.ours("counter", series))


def prometheus_client_scraped(effort: Effort, series: int) -> Results:
    return _stalls(effort, contents.prometheus_client("counter", series))


def _contention(effort: Effort, call: Function) -> Results:
    """CPU of a call in eight threads, relative to that in one thread. Both in turns, in one process."""
    count = 40_000 if effort.quick else 200_000

    def calls(number: int) -> None:
        for _ in range(number):
            call()

    calls(count // 4)
    ratios = []
    for _ in range(effort.repeats):
        alone, together = _cpu(calls, count, 1), _cpu(calls, count // THREADS, THREADS)
        ratios.append(together / alone)
    return {"8 threads": ratios}


def _cpu(calls: Callable[[int], None], count: int, threads: int) -> float:
    workers = [threading.Thread(target=calls, args=(count,)) for _ in range(threads)]
    began = time.process_time()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.process_time() - began


def _stalls(effort: Effort, made: Contents) -> Results:
    """Milliseconds for which a busy thread stood still at most: in some scrapes, and as long without one."""
    render = made.renders["text"]
    render()
    results: Results = {"scrape": [], "no scrape": []}
    for _ in range(2 if effort.quick else effort.repeats):
        made.change()
        worst, seconds = _worst_pause(render)
        results["scrape"].append(worst)
        results["no scrape"].append(_worst_pause(functools.partial(time.sleep, seconds))[0])
    # The garbage collector comes now and then only; a median would hide it.
    return {name: [max(values)] for name, values in results.items()}


def _worst_pause(during: Callable[[], object]) -> tuple[float, float]:
    """The longest pause of a busy thread in milliseconds while `during` runs, and its seconds."""
    done, worst = threading.Event(), 0.0

    def busy() -> None:
        nonlocal worst
        clock, is_done = time.perf_counter, done.is_set
        last = clock()
        while not is_done():
            now = clock()
            if now - last > worst:  # noqa: PLR1730 - a call would be a pause of its own
                worst = now - last
            last = now

    thread = threading.Thread(target=busy)
    thread.start()
    began = time.perf_counter()
    during()
    seconds = time.perf_counter() - began
    done.set()
    thread.join()
    return worst * 1e3, seconds
