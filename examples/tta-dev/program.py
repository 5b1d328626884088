"""Answers questions from a cache or a model: primitives with cost and savings, in TTA.dev's names.

The model is a stand-in that sleeps and sometimes fails; its prices are made up.
"""

import logging
import os
import random
import signal
import threading
import time

import flowgauge
from flowgauge.compat.tta_dev import get_prometheus_exporter

PORT = int(os.environ.get("METRICS_PORT", "5000"))
INTERVAL = float(os.environ.get("INTERVAL", "0.2"))
OBJECTIVE = 95.0  # per cent of executions that shall succeed
DOLLARS = 0.002  # of one answer

log = logging.getLogger("answers")
exporter = get_prometheus_exporter(objective=OBJECTIVE)
cache: dict[int, str] = {}
stop = threading.Event()


def ask_model(question: int) -> str:
    """Ask the model, which costs time and money."""
    with exporter.track("ask_model", "llm"):
        time.sleep(random.uniform(0.01, 0.1))
        exporter.record_cost("ask_model", DOLLARS, "llm", category="tokens")
        if random.random() < 0.02:
            raise TimeoutError("the model does not answer")
    return f"answer {question}"


def answer(question: int) -> str:
    """Answer from the cache, if it can."""
    with exporter.track("answer", "api"):
        if question in cache:
            exporter.record_cost("ask_model", 0.0, "llm", category="tokens", savings=DOLLARS)
        else:
            cache[question] = ask_model(question)
        return cache[question]


def main() -> None:
    """Run until SIGTERM."""
    logging.basicConfig(level=logging.INFO)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    flowgauge.setup_observability(profile="tta-dev", port=PORT, objective=OBJECTIVE)
    while not stop.wait(INTERVAL):
        if random.random() < 0.05:
            cache.clear()
        try:
            answer(random.randrange(20))
        except TimeoutError as error:
            log.warning("%s", error)


if __name__ == "__main__":
    main()
