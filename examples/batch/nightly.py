"""Adds up a day's sales by shop, and ends: a batch job, whose metrics are pushed when it does.

Several pods may share the work: each adds up the shops of its shard.
"""

import csv
import logging
import os
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TextIO

import flowgauge

HERE = Path(__file__).parent
INPUT = Path(os.environ.get("NIGHTLY_INPUT", HERE / "sales.csv"))
REPORT = Path(os.environ.get("NIGHTLY_REPORT", HERE / "report.csv"))
PAUSE = float(
    os.environ.get("NIGHTLY_PAUSE", "0.01")
)  # seconds for a shop: real work takes its time
SHARD = int(
    os.environ.get("JOB_COMPLETION_INDEX", "0")
)  # Kubernetes numbers the pods of an indexed job
SHARDS = int(os.environ.get("NIGHTLY_SHARDS", "1"))

log = logging.getLogger("nightly")

# Each shard is a group in the Pushgateway. Each pod would be one too many: a group stays there for ever. By the first
# two labels, the rules of Flowgauge find the series.
GROUP = {
    "namespace": os.environ.get("NIGHTLY_NAMESPACE", "shop"),
    "monitored_workflow": "nightly",
    "shard": SHARD,
}


@flowgauge.batch("nightly", grouping=GROUP, cumulative=True)
def add_up() -> None:
    """One run: read, add up, write."""
    totals: dict[str, Decimal] = defaultdict(Decimal)
    for shop, text in sales():
        totals[shop] += amount(text)
    with report() as file:
        for shop in sorted(totals):
            write(file, shop, totals[shop])
    log.info("shard %d: %d shops", SHARD, len(totals))


def sales() -> Iterator[tuple[str, str]]:
    """Shop and amount of each sale in this shard."""
    with INPUT.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if zlib.crc32(row["shop"].encode()) % SHARDS == SHARD:
                yield row["shop"], row["amount"]


@flowgauge.step
def amount(text: str) -> Decimal:
    """The amount; a file with a line that has none is not to be trusted."""
    try:
        return Decimal(text)
    except InvalidOperation as error:
        raise ValueError(f"{INPUT}: {text!r} is no amount") from error


@contextmanager
def report() -> Iterator[TextIO]:
    """A new report, which takes the old one's place when it is complete. Whatever ends it before, no draft is left."""
    draft = REPORT.with_suffix(".draft")
    try:
        with draft.open("w", encoding="utf-8") as file:
            yield file
        draft.replace(REPORT)
    finally:
        draft.unlink(missing_ok=True)


@flowgauge.step
def write(file: TextIO, shop: str, total: Decimal) -> None:
    """One line of the report."""
    time.sleep(PAUSE)
    file.write(f"{shop},{total:.2f}\n")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    add_up()
