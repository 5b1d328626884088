"""One call of a counter, gauge, histogram or summary."""

# ruff: noqa: PLC0415 - each suite runs where only its own library is installed

from __future__ import annotations

import random
from typing import Any

from benchmarks.library.suites import references
from benchmarks.library.suites.five import BUCKETS
from benchmarks.library.timing import Case, Effort, Results, per_call

# Seconds, as durations are: most of them small, some large. Every bucket gets some.
_DICE = random.Random(7)  # noqa: S311 - the same values in every process
VALUES = [_DICE.lognormvariate(-2, 1.5) for _ in range(4096)]
KEYWORDS = 'call(method="GET", status="200")'


def ours(effort: Effort) -> Results:
    from flowgauge.instruments import MetricsCollector

    collector = MetricsCollector()
    counter = collector.counter("requests_total", "Requests.", labels=["method", "status"])
    gauge = collector.gauge("depth", "Depth.")
    histogram = collector.histogram("seconds", "Seconds.", labels=["method"], buckets=BUCKETS)
    summary = collector.summary("latency", "Latency.", labels=["method"])
    cases = [
        Case("counter", "call()", {"call": counter.labels(method="GET", status="200").inc}),
        Case("counter, keywords", KEYWORDS, {"call": counter.inc}),
        Case("gauge", "call(7.0)", {"call": gauge.set}),
        _observing("histogram", histogram.labels(method="GET").observe),
        _observing("histogram, keywords", histogram.observe, 'call(value, method="GET")'),
        _observing("summary", summary.labels(method="GET").observe),
    ]
    results = per_call([*references.cases(), *cases], effort)
    if not (
        counter.get(method="GET", status="200") > 1000 and histogram.get(method="GET").count > 1000
    ):
        raise SystemExit("flowgauge's instruments counted nothing")
    return results


def prometheus_client(effort: Effort) -> Results:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

    registry = CollectorRegistry()
    counter = Counter("requests", "Requests.", ["method", "status"], registry=registry)
    gauge = Gauge("depth", "Depth.", registry=registry)
    histogram = Histogram("seconds", "Seconds.", ["method"], buckets=BUCKETS, registry=registry)
    by_keywords = KEYWORDS + ".inc()"
    observing = 'call(method="GET").observe(value)'
    cases = [
        Case("counter", "call()", {"call": counter.labels("GET", "200").inc}),
        Case("counter, keywords", by_keywords, {"call": counter.labels}),
        Case("gauge", "call(7.0)", {"call": gauge.set}),
        _observing("histogram", histogram.labels("GET").observe),
        _observing("histogram, keywords", histogram.labels, observing),
    ]
    return per_call([*references.cases(), *cases], effort)


def ddsketch(effort: Effort) -> Results:
    from ddsketch import DDSketch

    return per_call([*references.cases(), _observing("add", DDSketch(0.01).add)], effort)


def _observing(name: str, call: Any, statement: str = "call(value)") -> Case:
    return Case(name, statement, {"call": call}, values=VALUES)
