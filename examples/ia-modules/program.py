"""Cleans records from a queue and looks each up at a service: a pipeline with spans, in the names of IA Modules.

Runs and steps are measured by decorators; what only the program knows, such as cost, is recorded by role.
"""

import asyncio
import logging
import os
import random
import signal
from collections import deque

import flowgauge
from flowgauge import records
from flowgauge.compat.ia_modules import SimpleTracer, trace_context, traced

INTERVAL = float(os.environ.get("INTERVAL", "1"))
PIPELINE = "data_processor"
DOLLARS = 0.0004  # of one look-up

log = logging.getLogger(PIPELINE)
tracer = SimpleTracer(limit=1000)
queue: deque[str] = deque()


@flowgauge.step
@traced(tracer, "clean")
async def clean(item: str) -> str:
    """Make a record fit for look-up."""
    return item.strip().lower()


@flowgauge.step(retries=2, backoff=0.01, retry_on=(ConnectionError,))
async def look_up(item: str) -> str:
    """Ask the service, which does not always answer."""
    with trace_context(tracer, "look_up") as span:
        span.set_attribute("item", item)
        records.count("api.called", workflow=PIPELINE, api="customers")
        records.count("cost.total", DOLLARS, workflow=PIPELINE)
        await asyncio.sleep(random.uniform(0.001, 0.01))
        if random.random() < 0.05:
            raise ConnectionError("no answer")
    return f"customer of {item}"


@flowgauge.workflow(name=PIPELINE, trigger="schedule")
@traced(tracer, "run_pipeline")
async def run_pipeline() -> None:
    """Work off the queue."""
    while queue:
        await look_up(await clean(queue.popleft()))
        records.count("record.processed", workflow=PIPELINE)
        records.set("queue.depth", len(queue), workflow=PIPELINE, queue="inbox")


async def main() -> None:
    """Run until SIGTERM."""
    logging.basicConfig(level=logging.INFO)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    flowgauge.setup_observability(profile="ia-modules")
    while not stop.is_set():
        queue.extend(f" Record {number} " for number in range(random.randrange(5, 50)))
        try:
            await run_pipeline()
        except ConnectionError:
            log.warning("the service did not answer; %d records wait", len(queue))
        longest = max(tracer.get_spans(), key=lambda span: span.duration)
        log.info("longest: %s, %.3f s", longest.name, longest.duration)
        tracer.clear()
        try:
            await asyncio.wait_for(stop.wait(), INTERVAL)
        except TimeoutError:
            continue


if __name__ == "__main__":
    asyncio.run(main())
