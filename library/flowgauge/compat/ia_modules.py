"""Instead of `ia_modules.telemetry`: collectors, exporters and tracers, all of them those of this library.

Importing it loads nothing; each name is loaded when it is used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowgauge.exporters.cloudwatch import CloudWatchExporter
    from flowgauge.exporters.datadog import DatadogExporter
    from flowgauge.exporters.prometheus import PrometheusExporter
    from flowgauge.exporters.statsd import StatsDExporter
    from flowgauge.instruments import Counter, Gauge, Histogram, MetricsCollector, Summary
    from flowgauge.tracing import SimpleTracer, Span, Tracer, trace_context, traced
    from flowgauge.tracing.otel import OpenTelemetryTracer

__all__ = [
    "CloudWatchExporter",
    "Counter",
    "DatadogExporter",
    "Gauge",
    "Histogram",
    "MetricsCollector",
    "OpenTelemetryTracer",
    "PrometheusExporter",
    "SimpleTracer",
    "Span",
    "StatsDExporter",
    "Summary",
    "Tracer",
    "trace_context",
    "traced",
]

_HOMES = {
    "CloudWatchExporter": "exporters.cloudwatch",
    "Counter": "instruments",
    "DatadogExporter": "exporters.datadog",
    "Gauge": "instruments",
    "Histogram": "instruments",
    "MetricsCollector": "instruments",
    "OpenTelemetryTracer": "tracing.otel",
    "PrometheusExporter": "exporters.prometheus",
    "SimpleTracer": "tracing",
    "Span": "tracing",
    "StatsDExporter": "exporters.statsd",
    "Summary": "instruments",
    "Tracer": "tracing",
    "trace_context": "tracing",
    "traced": "tracing",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module  # noqa: PLC0415 - the cost of a name is paid by who uses it

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"flowgauge.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
