"""A scrape of several processes: CPU milliseconds with four that live, and when many more have died.

Each process has ten workflows of five metrics. The scrape goes through the endpoint of each library, in a process of
its own as it is deployed. `merge` is the first scrape after the deaths.
"""

# ruff: noqa: PLC0415 - each suite runs where only its own library is installed

from __future__ import annotations

import os
import urllib.request
from collections.abc import Callable
from contextlib import contextmanager
from time import process_time
from typing import TYPE_CHECKING

from benchmarks.library.suites import decorators, five
from benchmarks.library.suites.references import work
from benchmarks.library.timing import Effort, Results

if TYPE_CHECKING:
    from collections.abc import Iterator

ALIVE, WORKFLOWS, CALLS = 4, 10, 20


def ours(effort: Effort) -> Results:
    import flowgauge

    def count() -> None:
        flowgauge.setup_observability(serve=False)
        for number in range(WORKFLOWS):
            decorated = flowgauge.workflow(name=f"workflow-{number}")(work)
            for _ in range(CALLS):
                decorated()

    def serve() -> str:
        return str(flowgauge.setup_observability(host="127.0.0.1", port=0, strict=True).address)

    return _scrapes(effort, "FLOWGAUGE_MULTIPROCESS_DIR", count, serve, lambda _pid: None)


def prometheus_client(effort: Effort) -> Results:
    def count() -> None:
        metrics = five.Metrics()
        for number in range(WORKFLOWS):
            decorated = five.bound(metrics, f"workflow-{number}")(work)
            for _ in range(CALLS):
                decorated()

    def serve() -> str:
        from prometheus_client import CollectorRegistry, multiprocess, start_http_server

        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        server, _ = start_http_server(0, "127.0.0.1", registry=registry)
        return f"http://127.0.0.1:{server.server_port}/metrics"

    def buried(pid: int) -> None:
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]

    return _scrapes(effort, "PROMETHEUS_MULTIPROC_DIR", count, serve, buried)


def _scrapes(
    effort: Effort,
    variable: str,
    count: Callable[[], None],
    serve: Callable[[], str],
    buried: Callable[[int], None],
) -> Results:
    dead = 100 if effort.quick else 1000
    with decorators.shared_folder() as folder:
        os.environ[variable] = folder
        with _nursery(count, buried) as raise_and_bury:
            url = serve()
            _check(url, ALIVE)
            alive = [_scrape(url)[0] for _ in range(effort.repeats * 3)]
            raise_and_bury(dead)
            merge, _ = _scrape(url)
            _check(url, ALIVE + dead)
            after = [_scrape(url)[0] for _ in range(effort.repeats * 3)]
    return {"alive": alive, "merge": [merge], "with dead": after}


@contextmanager
def _nursery(
    count: Callable[[], None], buried: Callable[[int], None]
) -> Iterator[Callable[[int], None]]:
    """A process that has living children and makes others that die, so that the scraper itself never forks."""
    (orders, command), (answer, answers) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(command)
        os.close(answer)
        _raise_children(orders, answers, count, buried)
    os.close(orders)
    os.close(answers)

    def done() -> None:
        if os.read(answer, 1) != b"+":
            raise SystemExit("the processes that count have failed")

    def raise_and_bury(dead: int) -> None:
        os.write(command, dead.to_bytes(4, "big"))
        done()

    done()
    try:
        yield raise_and_bury
    finally:
        os.close(command)
        os.waitpid(pid, 0)


def _raise_children(
    orders: int, answers: int, count: Callable[[], None], buried: Callable[[int], None]
) -> None:
    status = 1
    try:
        (wait, hold), (ready, told) = os.pipe(), os.pipe()
        for _ in range(ALIVE):
            if os.fork() == 0:
                os.close(hold)
                count()
                os.write(told, b"+")
                os.read(wait, 1)  # until the nursery ends
                os._exit(0)
        for _ in range(ALIVE):
            os.read(ready, 1)
        os.write(answers, b"+")
        while order := os.read(orders, 4):
            for _ in range(int.from_bytes(order, "big")):
                pid = os.fork()
                if pid == 0:
                    count()
                    os._exit(0)
                _, result = os.waitpid(pid, 0)
                if result:
                    raise SystemExit("a process that counts has failed")
                buried(pid)
            os.write(answers, b"+")
        status = 0
    finally:
        # Never back into the code of the parent, which would go on twice.
        os._exit(status)


def _scrape(url: str) -> tuple[float, str]:
    began = process_time()
    with urllib.request.urlopen(url, timeout=120) as response:
        body = response.read().decode()
    return (process_time() - began) * 1e3, body


def _check(url: str, processes: int) -> None:
    """Counts of every process are in the scrape, those of the dead, too."""
    total = sum(
        float(line.rpartition(" ")[2])
        for line in _scrape(url)[1].splitlines()
        if line.startswith(("workflow_runs_total{", "runs_total{"))
    )
    if total != processes * WORKFLOWS * CALLS:
        raise SystemExit(
            f"{processes} processes counted {total} runs, not {processes * WORKFLOWS * CALLS}"
        )
