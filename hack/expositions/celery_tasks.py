"""Print what celery-exporter exposes after tasks that end well, fail and are retried. Broker, worker, exporter: one process."""

# mypy: ignore-errors
from __future__ import annotations

import threading
import time
import urllib.request

from celery import Celery, Task
from celery.contrib.testing.worker import start_worker
from src.exporter import Exporter

BROKER = "memory://"
PORT = 19808
OPTIONS = {
    "broker_url": BROKER,
    "broker_transport_option": [None],
    "broker_ssl_option": [None],
    "accept_content": None,
    "retry_interval": 5,
    "log_level": "ERROR",
    "host": "127.0.0.1",
    "port": PORT,
}

app = Celery("shop", broker=BROKER, backend="cache+memory://")
app.conf.update(worker_send_task_events=True, task_send_sent_event=True)


@app.task
def good() -> None:
    """End well."""


@app.task
def bad() -> None:
    """Fail."""
    raise ValueError("no")


@app.task(bind=True, max_retries=1)
def again(self: Task) -> None:
    """Fail once, then end well."""
    if not self.request.retries:
        raise self.retry(countdown=0)


def main() -> None:
    """Work for a few seconds, then print."""
    exporter = Exporter(initial_queues=["celery"])
    threading.Thread(target=exporter.run, args=(OPTIONS,), daemon=True).start()
    time.sleep(3)
    with start_worker(app, perform_ping_check=False, pool="solo", without_heartbeat=False):
        for task in (good, bad, again):
            task.delay()
        time.sleep(8)
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=30) as response:
            print(response.read().decode())


if __name__ == "__main__":
    main()
