"""The same series in each library: counters or histograms with three labels and, for histograms, 15 buckets.

Counters count whole numbers, as they mostly do; those of the shape `amounts` add fractions, which are longer.

`Contents.change` gives each series a new value, so that nothing can serve what it kept from the rendering before.
"""

# ruff: noqa: PLC0415 - each suite runs where only its own library is installed

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.library.suites.five import BUCKETS
from benchmarks.library.suites.instruments import VALUES

Render = Callable[[], bytes]
LABELS = ["workflow", "step", "status"]
# Lines of one histogram: a bucket for each bound and one above all, count and sum.
LINES = len(BUCKETS) + 3


@dataclass(frozen=True)
class Contents:
    """`renders` by format; `series` is the number of lines."""

    series: int
    change: Callable[[], None]
    renders: dict[str, Render]


def keys(shape: str, series: int) -> Iterator[tuple[str, str, str]]:
    """Label values for so many lines."""
    count = round(series / LINES) if shape == "histogram" else series
    for number in range(count):
        yield f"workflow-{number // 100}", f"step-{number % 100}", ("success", "failed")[number % 2]


def ours(shape: str, series: int) -> Contents:
    from flowgauge.instruments import MetricsCollector
    from flowgauge.text import Renderer

    collector = MetricsCollector(limit=series + 1)
    if shape != "histogram":
        counter = collector.counter("steps_total", "Steps by status.", labels=LABELS)
        calls = [counter.labels(*key).inc for key in keys(shape, series)]
    else:
        histogram = collector.histogram(
            "step_seconds", "Durations.", labels=LABELS, buckets=BUCKETS
        )
        calls = [histogram.labels(*key).observe for key in keys(shape, series)]
    renderer = Renderer()

    def render(*, openmetrics: bool) -> bytes:
        return renderer.render(collector.collect_all(), openmetrics=openmetrics)

    renders = {
        "text": lambda: render(openmetrics=False),
        "openmetrics": lambda: render(openmetrics=True),
    }
    return Contents(series, changer(shape, calls), renders)


def prometheus_client(shape: str, series: int) -> Contents:
    from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
    from prometheus_client.exposition import generate_latest
    from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

    # They are twice the lines, and ours has none.
    disable_created_metrics()
    registry = CollectorRegistry()
    if shape != "histogram":
        counter = Counter("steps", "Steps by status.", LABELS, registry=registry)
        calls = [counter.labels(*key).inc for key in keys(shape, series)]
    else:
        histogram = Histogram(
            "step_seconds", "Durations.", LABELS, buckets=BUCKETS, registry=registry
        )
        calls = [histogram.labels(*key).observe for key in keys(shape, series)]
    renders = {
        "text": lambda: generate_latest(registry),
        "openmetrics": lambda: generate_openmetrics(registry),
    }
    return Contents(series, changer(shape, calls), renders)


def aioprometheus(shape: str, series: int) -> Contents:
    from aioprometheus import REGISTRY, Counter, Histogram, render
    from aioprometheus.formats import text

    labels = [dict(zip(LABELS, key, strict=True)) for key in keys(shape, series)]
    calls: list[Callable[[float], None]]
    if shape != "histogram":
        counter = Counter("steps_total", "Steps by status.")
        calls = [lambda value, of=of: counter.add(of, value) for of in labels]
    else:
        histogram = Histogram("step_seconds", "Durations.", buckets=BUCKETS)
        calls = [lambda value, of=of: histogram.observe(of, value) for of in labels]
    accepts = [text.TextFormatter.get_headers(text.TextFormatter())["Content-Type"]]
    return Contents(series, changer(shape, calls), {"text": lambda: render(REGISTRY, accepts)[0]})


def opentelemetry(shape: str, series: int) -> Contents:
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
    from prometheus_client import REGISTRY
    from prometheus_client.exposition import generate_latest
    from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

    # By default it keeps 2,000 label sets, and counts all others as one.
    views = [
        View(instrument_name="steps", aggregation_cardinality_limit=series + 1),
        View(
            instrument_name="step_seconds",
            aggregation=ExplicitBucketHistogramAggregation(BUCKETS),
            aggregation_cardinality_limit=series + 1,
        ),
    ]
    provider = MeterProvider([PrometheusMetricReader()], views=views, shutdown_on_exit=False)
    meter = provider.get_meter("bench")
    call = (
        meter.create_counter("steps").add
        if shape != "histogram"
        else meter.create_histogram("step_seconds").record
    )
    labels = [dict(zip(LABELS, key, strict=True)) for key in keys(shape, series)]
    calls = [lambda value, of=of: call(value, of) for of in labels]
    renders = {
        "text": lambda: generate_latest(REGISTRY),
        "openmetrics": lambda: generate_openmetrics(REGISTRY),
    }
    return Contents(series, changer(shape, calls), renders)


def changer(shape: str, calls: Sequence[Callable[[float], Any]]) -> Callable[[], None]:
    """Each call gets another value each time; all get some at once."""
    turn = 0
    values = [float(math.ceil(value * 10)) for value in VALUES] if shape == "counter" else VALUES

    def change() -> None:
        nonlocal turn
        turn += 1
        size = len(values)
        for number, call in enumerate(calls):
            call(values[(number * 31 + turn) % size])

    change()
    return change
