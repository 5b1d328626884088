"""Takes orders as commands and tells of them as events, kept in a database: a message bus in Orchestrix' names."""

import json
import logging
import os
import random
import signal
import sqlite3
import threading
import time
from dataclasses import dataclass

from flowgauge.compat.orchestrix import (
    Command,
    ConcurrencyError,
    Event,
    HandlerError,
    InMemoryMessageBus,
    MetricsConfig,
    init_metrics,
    measured_store,
)

PORT = int(os.environ.get("METRICS_PORT", "8000"))
INTERVAL = float(os.environ.get("INTERVAL", "0.2"))

log = logging.getLogger("orders")
stop = threading.Event()


@dataclass(frozen=True)
class ProcessOrder(Command):
    """An order shall be processed."""

    order_id: str


@dataclass(frozen=True)
class OrderProcessed(Event):
    """An order was processed."""

    order_id: str


class SqliteStore:
    """Events in a database. Nothing in it knows of metrics."""

    def __init__(self) -> None:
        self._database = sqlite3.connect(":memory:", isolation_level=None)
        self._database.execute(
            "create table events (aggregate text, version int, body text, primary key (aggregate, version))"
        )

    def save(self, aggregate_id: str, events: list[OrderProcessed], expected_version: int) -> None:
        """Append events."""
        rows = [
            (aggregate_id, expected_version + i, json.dumps({"order_id": event.order_id}))
            for i, event in enumerate(events)
        ]
        try:
            self._database.executemany("insert into events values (?, ?, ?)", rows)
        except sqlite3.IntegrityError:
            raise ConcurrencyError(
                aggregate_id, expected_version, len(self.load(aggregate_id))
            ) from None

    def load(self, aggregate_id: str) -> list[dict[str, str]]:
        """The events of an aggregate."""
        rows = self._database.execute(
            "select body from events where aggregate = ? order by version", (aggregate_id,)
        )
        return [json.loads(body) for (body,) in rows]


bus = InMemoryMessageBus()
store = measured_store(SqliteStore(), name="sqlite")


def handle_process_order(command: ProcessOrder) -> None:
    """Process an order; some carriers do not answer, and some orders were changed meanwhile."""
    events = store.load(command.order_id)
    time.sleep(random.uniform(0.005, 0.06))
    if random.random() < 0.01:
        raise TimeoutError("the carrier does not answer")
    event = OrderProcessed(order_id=command.order_id, causation_id=command.id)
    version = 0 if random.random() < 0.01 else len(events)
    store.save(command.order_id, [event], expected_version=version)
    bus.publish(event)


def handle_order_processed(event: OrderProcessed) -> None:
    """Tell the customer."""
    log.debug("%s is on its way", event.order_id)


def main() -> None:
    """Run until SIGTERM."""
    logging.basicConfig(level=logging.INFO)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    init_metrics(MetricsConfig(port=PORT))
    bus.subscribe(ProcessOrder, handle_process_order)
    bus.subscribe(OrderProcessed, handle_order_processed)
    while not stop.wait(INTERVAL):
        try:
            bus.publish(ProcessOrder(order_id=f"order-{random.randrange(1000)}"))
        except HandlerError as error:
            log.warning("%s", error)


if __name__ == "__main__":
    main()
