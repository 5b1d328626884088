"""A program that does everything the library can measure, over and over, under the profile of its first argument.

Runs and steps come from decorators and blocks only; every other role of the profile is recorded by hand, each with all
of its labels. The second argument is the port.
"""

import asyncio
import contextlib
import sys
import time

import flowgauge
from flowgauge import profiles, readings, records


@flowgauge.step(workflow="orders")
def load(fails: bool = False) -> None:
    if fails:
        raise ValueError("no input")


@flowgauge.step(workflow="orders", retries=1)
def save(attempts: list[int]) -> None:
    attempts.append(1)
    if len(attempts) == 1:
        raise ConnectionError("once")


@flowgauge.step(workflow="orders")
async def send(waits: bool = False) -> None:
    await asyncio.sleep(60 if waits else 0)


@flowgauge.workflow(name="orders", trigger="schedule", kind="sequential")
def good() -> None:
    load()
    save([])


@flowgauge.workflow(name="orders", kind="sequential")
def failing() -> None:
    load(fails=True)


@flowgauge.workflow(name="orders", kind="parallel")
async def good_async() -> None:
    await send()


@flowgauge.workflow(name="orders", kind="parallel")
async def failing_async() -> None:
    await send()
    raise KeyError("missing")


@flowgauge.workflow(name="orders", kind="parallel")
async def cancelled() -> None:
    await send(waits=True)


async def asynchronous() -> None:
    await good_async()
    with contextlib.suppress(KeyError):
        await failing_async()
    task = asyncio.create_task(cancelled())
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def by_hand(profile: profiles.Profile) -> None:
    """Record every role that no decorator measures."""
    measured = {r.family.role for r in readings.vocabulary(profile).readers if r.measured}
    for role in {family.role for family in profile.families} - measured - records._TOLD:
        meant = profiles.ROLES[role]
        labels = {label: "orders" if label == "workflow" else "a" for label in meant.labels}
        for outcome in ("good", "failed"):
            if "outcome" in labels:
                labels["outcome"] = outcome
            if meant.instrument == "counter":
                records.count(role, **labels)
            elif meant.instrument == "histogram":
                records.observe(role, 0.3, **labels)
            else:
                records.set(role, time.time() if meant.unit == "timestamp" else 1, **labels)


def skipped() -> None:
    with flowgauge.run("orders", kind="sequential") as run:
        run.skip()


def main(name: str, port: int) -> None:
    handle = flowgauge.setup_observability(profile=name, host="127.0.0.1", port=port, strict=True)
    while True:
        good()
        with contextlib.suppress(ValueError):
            failing()
        asyncio.run(asynchronous())
        skipped()
        by_hand(handle.profile)
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
