"""Counts primes with a pool of processes, again and again: the steps run in the workers, the run in this process.

Kill a worker, and the step that it was at counts as aborted; the run fails, and the next one has a new pool.
"""

import logging
import os
import signal
import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import flowgauge

WORKERS = int(os.environ.get("PRIMES_WORKERS", "2"))
LIMIT = int(os.environ.get("PRIMES_LIMIT", "200000"))
INTERVAL = float(os.environ.get("PRIMES_INTERVAL", "1"))
PARTS = 8

log = logging.getLogger("primes")
found = flowgauge.counter("primes_found_total", "Primes that were found.")


@flowgauge.step(workflow="primes")
def count(first: int, last: int) -> int:
    """How many primes there are from `first` up to `last`. Runs in a worker, which needs no set-up."""
    primes = sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(max(first, 2), last))
    found.inc(primes)
    return primes


@flowgauge.workflow(name="primes", trigger="schedule")
def count_all(pool: ProcessPoolExecutor) -> int:
    """One run."""
    bounds = [LIMIT * i // PARTS for i in range(PARTS + 1)]
    return sum(pool.map(count, bounds, bounds[1:]))


def main() -> None:
    """Run until SIGTERM."""
    logging.basicConfig(level=logging.INFO)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with tempfile.TemporaryDirectory() as folder:
        # Before the pool: its processes inherit the directory.
        os.environ.setdefault("FLOWGAUGE_MULTIPROCESS_DIR", folder)
        with flowgauge.setup_observability():
            run(stop)


def run(stop: threading.Event) -> None:
    """One run after another, with a new pool when a worker has died."""
    while not stop.is_set():
        with ProcessPoolExecutor(WORKERS) as pool:
            try:
                while not stop.is_set():
                    log.info("%d primes below %d", count_all(pool), LIMIT)
                    stop.wait(INTERVAL)
            except BrokenProcessPool:
                log.exception("a worker died; making new ones")


if __name__ == "__main__":
    main()
