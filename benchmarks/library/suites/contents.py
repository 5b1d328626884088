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
RECORD: dict[str, Callable[[Any, float], object]] = {
    "counter": lambda child, value: child.inc(value),
    "amounts": lambda child, value: child.inc(value),
    "histogram": lambda child, value: child.observe(value),
}


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

    collector, renderer = MetricsCollector(limit=series + 1), Renderer()
    metric: Any
    if shape == "histogram":
        metric = collector.histogram("step_seconds", "Durations.", labels=LABELS, buckets=BUCKETS)
    else:
        metric = collector.counter("steps_total", "Steps by status.", labels=LABELS)
    children = [metric.labels(*key) for key in keys(shape, series)]

    def render(*, openmetrics: bool) -> bytes:
        return renderer.render(collector.collect_all(), openmetrics=openmetrics)

    renders = {
        "text": lambda: render(openmetrics=False),
        "openmetrics": lambda: render(openmetrics=True),
    }
    return Contents(series, changer(shape, children, RECORD[shape]), renders)


def prometheus_client(shape: str, series: int) -> Contents:
    import prometheus_client as client
    from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

    # They are twice the lines, and ours has none.
    client.disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = client.CollectorRegistry()
    metric: Any
    if shape == "histogram":
        metric = client.Histogram(
            "step_seconds", "Durations.", LABELS, buckets=BUCKETS, registry=registry
        )
    else:
        metric = client.Counter("steps", "Steps by status.", LABELS, registry=registry)
    children = [metric.labels(*key) for key in keys(shape, series)]
    renders: dict[str, Render] = {
        "text": lambda: client.generate_latest(registry),
        "openmetrics": lambda: generate_openmetrics(registry),  # type: ignore[no-untyped-call]
    }
    return Contents(series, changer(shape, children, RECORD[shape]), renders)


def aioprometheus(shape: str, series: int) -> Contents:
    from aioprometheus import REGISTRY, Counter, Histogram, render  # type: ignore[import-not-found]
    from aioprometheus.formats import text  # type: ignore[import-not-found]

    if shape == "histogram":
        record = Histogram("step_seconds", "Durations.", buckets=BUCKETS).observe
    else:
        record = Counter("steps_total", "Steps by status.").add
    accepts = [text.TextFormatter().get_headers()["Content-Type"]]
    change = changer(shape, _labels(shape, series), record)
    return Contents(series, change, {"text": lambda: render(REGISTRY, accepts)[0]})


def opentelemetry(shape: str, series: int) -> Contents:
    import prometheus_client as client
    from opentelemetry.exporter.prometheus import PrometheusMetricReader  # type: ignore[import-not-found]
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

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
    record = (
        meter.create_histogram("step_seconds").record
        if shape == "histogram"
        else meter.create_counter("steps").add
    )
    change = changer(shape, _labels(shape, series), lambda of, value: record(value, of))
    return Contents(series, change, {"text": lambda: client.generate_latest(client.REGISTRY)})


def _labels(shape: str, series: int) -> list[dict[str, str]]:
    return [dict(zip(LABELS, key, strict=True)) for key in keys(shape, series)]


def changer(
    shape: str, targets: Sequence[Any], record: Callable[[Any, float], object]
) -> Callable[[], None]:
    """Record another value to each target each time; all get some at once.

    `targets` are children or label sets, not bound methods: those would be objects of ours in the library's memory.
    """
    turn = 0
    values = [float(math.ceil(value * 10)) for value in VALUES] if shape == "counter" else VALUES

    def change() -> None:
        nonlocal turn
        turn += 1
        size = len(values)
        for number, target in enumerate(targets):
            record(target, values[(number * 31 + turn) % size])

    change()
    return change
