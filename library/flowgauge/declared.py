"""Metrics that a program declares for itself, served beside those of its workflows.

    orders = flowgauge.counter("orders_total", "Orders.", labels=["country"])
    orders.inc(country="ch")

They are those of one `MetricsCollector` for the process; see there for the arguments and what is raised.
"""

from __future__ import annotations

from typing import Final

from flowgauge.instruments import MetricsCollector

collector: Final = MetricsCollector(space="default")

counter: Final = collector.counter
gauge: Final = collector.gauge
histogram: Final = collector.histogram
summary: Final = collector.summary
