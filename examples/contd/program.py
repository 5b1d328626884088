"""Charges orders once each, and goes on where it stopped: a durable workflow in contd's names.

Every charge is an event in a journal, with a checksum. After some events the state is saved as a snapshot, so that
the next start replays few of them. Break a line of the journal, and the next start counts it; start the program
twice, and the second one does not get the lease.
"""

import fcntl
import json
import logging
import os
import random
import signal
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flowgauge.compat.contd import collector, setup_observability, step, workflow

FOLDER = Path(os.environ.get("STATE_FOLDER", "state"))
INTERVAL = float(os.environ.get("INTERVAL", "1"))
NAME = "charges"
ORDERS = 20  # of one run
SNAPSHOT_EVENTS = 50

JOURNAL, SNAPSHOT, LOCK = FOLDER / "journal.jsonl", FOLDER / "snapshot.json", FOLDER / "lock"

log = logging.getLogger(NAME)
charged: dict[str, int] = {}  # cents, by order
stop = threading.Event()


@contextmanager
def lease() -> Iterator[None]:
    """One process at a time charges."""
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


@step(cache=charged, key=lambda order, _cents: order)
def charge(order: str, cents: int) -> int:
    """Charge an order; a second time, the result is the one of the first."""
    time.sleep(random.uniform(0.001, 0.01))
    line = json.dumps({"order": order, "cents": cents})
    with JOURNAL.open("a") as journal:
        journal.write(f"{zlib.crc32(line.encode()):08x} {line}\n")
    return cents


@step
def save() -> None:
    """Save a snapshot, and begin the journal anew."""
    begun = time.perf_counter()
    fresh = SNAPSHOT.with_suffix(".new")
    fresh.write_text(json.dumps(charged))
    fresh.replace(SNAPSHOT)
    JOURNAL.write_text("")
    collector.record_snapshot(NAME, (time.perf_counter() - begun) * 1000)


@workflow(name=NAME, trigger="schedule", lease=lease)
def charges(first: int) -> None:
    """Charge some orders, of which each fifth comes twice."""
    for number in range(first, first + ORDERS):
        for _ in range(2 if number % 5 == 0 else 1):
            charge(f"order-{number}", 100 + number % 7)
    if len(JOURNAL.read_text().splitlines()) >= SNAPSHOT_EVENTS:
        save()


def restore() -> None:
    """Bring back what earlier processes charged."""
    begun = time.perf_counter()
    had_snapshot = SNAPSHOT.exists()
    if had_snapshot:
        charged.update(json.loads(SNAPSHOT.read_text()))
    replayed = 0
    JOURNAL.touch()
    for entry in JOURNAL.read_text().splitlines():
        checksum, _, line = entry.partition(" ")
        if checksum != f"{zlib.crc32(line.encode()):08x}":
            collector.record_checksum_failure(NAME)
            log.error("the journal has a line that does not match its checksum: %s", entry)
            continue
        event = json.loads(line)
        charged[event["order"]] = event["cents"]
        replayed += 1
    collector.record_restore(NAME, (time.perf_counter() - begun) * 1000, replayed, had_snapshot)


def main() -> None:
    """Run until SIGTERM."""
    logging.basicConfig(level=logging.INFO)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    FOLDER.mkdir(parents=True, exist_ok=True)
    setup_observability()
    restore()
    log.info("%d orders were charged before", len(charged))
    while not stop.is_set():
        try:
            charges(len(charged))
        except BlockingIOError:
            log.warning("another process has the lease")
        stop.wait(INTERVAL)


if __name__ == "__main__":
    main()
