"""A shop's background work: orders are charged, retried when the bank does not answer, and confirmed.

python examples/celery/shop.py [count]      puts orders into the queue; the worker is started by Celery
"""

import logging
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from celery import Celery

import flowgauge
from flowgauge.integrations.celery import instrument

log = logging.getLogger("shop")
app = Celery("shop", broker=os.environ.get("SHOP_BROKER", "filesystem://"))
app.conf.task_ignore_result = True
instrument(app)

if not os.environ.get("SHOP_BROKER"):
    # Without a broker: files, which is enough to try it on one machine.
    folder = Path(os.environ.get("SHOP_FOLDER", tempfile.gettempdir())) / "flowgauge-shop"
    for name in ("queue", "control"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    app.conf.broker_transport_options = {
        "data_folder_in": str(folder / "queue"),
        "data_folder_out": str(folder / "queue"),
        "control_folder": str(folder / "control"),
    }


class BankError(Exception):
    """The bank does not answer."""


class DeclinedError(Exception):
    """The bank says no."""


@app.task(name="charge", autoretry_for=(BankError,), max_retries=3, default_retry_delay=1)
def charge(order: int) -> None:
    """Charge one order. One in five attempts finds no bank, one order in fifty is declined."""
    with flowgauge.stepping("ask the bank"):
        time.sleep(random.uniform(0.01, 0.1))
        if random.random() < 0.2:
            raise BankError
    if order % 50 == 0:
        raise DeclinedError(order)
    confirm.delay(order)


@app.task(name="confirm")
def confirm(order: int) -> None:
    """Write to the customer."""
    with flowgauge.stepping("send"):
        log.info("order %d is on its way", order)


if __name__ == "__main__":
    count = int(sys.argv[1]) if sys.argv[1:] else 100
    for number in range(1, count + 1):
        charge.delay(number)
    print(f"{count} orders are in the queue")
