"""Turns a file of orders into a report of revenue, once a second: the workflow of Flowgauge's examples.

Break or remove the file of orders, and the runs fail; put it back, and they succeed again.
"""

import csv
import logging
import os
import signal
import sys
import threading
import zlib
from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import flowgauge

HERE = Path(__file__).parent
INPUT = Path(os.environ.get("ORDERS_INPUT", HERE / "orders.csv"))
REPORT = Path(os.environ.get("ORDERS_REPORT", HERE / "report.csv"))
INTERVAL = float(os.environ.get("ORDERS_INTERVAL", "1"))

log = logging.getLogger("orders")
attempts: dict[str, int] = defaultdict(int)  # calls of the customer service


class BrokenInputError(Exception):
    """The file as a whole cannot be used; the run fails."""


class RejectedOrderError(ValueError):
    """One order cannot be used; the run goes on without it."""


class Order(NamedTuple):
    """One line of the file."""

    number: int
    day: date
    customer: str
    sku: str
    quantity: int


@flowgauge.workflow(name="orders", trigger="schedule")
def make_report() -> None:
    """One run: parse, check, enrich, aggregate, write."""
    products = table(HERE / "prices.csv", "sku", "name", "price")
    prices = {row["sku"]: Decimal(row["price"]) for row in products}
    discounts: dict[str, Decimal] = {}
    revenue: dict[tuple[date, str], Decimal] = defaultdict(Decimal)
    total = rejected = 0
    for row in table(INPUT, "order", "date", "customer", "sku", "quantity"):
        total += 1
        try:
            order = check(parse(row), prices)
            if order.customer not in discounts:
                discounts[order.customer] = enrich(order.customer)
        except RejectedOrderError:
            rejected += 1  # the failed step is counted; nothing else to do
            continue
        price = prices[order.sku] * (1 - discounts[order.customer])
        revenue[order.day, order.sku] += order.quantity * price
    if rejected > total / 10:
        raise BrokenInputError(f"{INPUT}: {rejected} of {total} orders were rejected")
    write(aggregate(revenue))
    log.info("%d orders, %d rejected", total, rejected)


def table(path: Path, *columns: str) -> Iterator[dict[str, str]]:
    """The rows of a file that begins with these columns."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != [*columns]:
            raise BrokenInputError(f"{path}: does not begin with {','.join(columns)}")
        yield from reader


@flowgauge.step(workflow="orders")
def parse(row: dict[str, str]) -> Order:
    """Text into an order."""
    try:
        day, number = date.fromisoformat(row["date"]), int(row["order"])
        return Order(number, day, row["customer"], row["sku"], int(row["quantity"]))
    except (TypeError, ValueError) as error:
        raise RejectedOrderError(f"malformed: {row}") from error


@flowgauge.step(workflow="orders")
def check(order: Order, prices: dict[str, Decimal]) -> Order:
    """The order, if it can be what somebody meant."""
    if order.sku not in prices:
        raise RejectedOrderError(f"order {order.number}: no product {order.sku!r}")
    if not 0 < order.quantity < 1000:
        raise RejectedOrderError(f"order {order.number}: quantity {order.quantity}")
    return order


@flowgauge.step(workflow="orders", retries=3, backoff=0.005, retry_on=(ConnectionError,))
def enrich(customer: str) -> Decimal:
    """The customer's discount. Stands for a remote service: now and then it does not answer at once."""
    attempts[customer] += 1
    if zlib.crc32(f"{customer} {attempts[customer]}".encode()) % 250 == 0:
        raise ConnectionError("the customer service does not answer")
    for row in table(HERE / "customers.csv", "customer", "country", "discount"):
        if row["customer"] == customer:
            return Decimal(row["discount"])
    raise RejectedOrderError(f"no customer {customer!r}")


@flowgauge.step(workflow="orders")
def aggregate(revenue: dict[tuple[date, str], Decimal]) -> list[tuple[str, str, str]]:
    """Revenue by day and product, the best product of each day first."""
    best_first = sorted(revenue.items(), key=lambda item: (item[0][0], -item[1]))
    return [(day.isoformat(), sku, f"{amount:.2f}") for (day, sku), amount in best_first]


@flowgauge.step(workflow="orders")
def write(rows: list[tuple[str, str, str]]) -> None:
    """Replace the report in one move, so that nobody reads half of it."""
    draft = REPORT.with_suffix(".draft")
    with draft.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("date", "sku", "revenue"), *rows])
    draft.replace(REPORT)


def main() -> None:
    """Run once with --once, else until SIGTERM."""
    logging.basicConfig(level=logging.INFO)
    once = "--once" in sys.argv
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    flowgauge.setup_observability()
    while True:
        try:
            make_report()
        except Exception:
            if once:
                raise
            log.exception("the run failed")
        if once or stop.wait(INTERVAL):
            return


if __name__ == "__main__":
    main()
