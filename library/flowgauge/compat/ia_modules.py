"""Instead of `ia_modules.telemetry`: collectors, exporters and tracers, all of them those of this library.

Importing it loads nothing; each name is loaded when it is used.
"""

from typing import TYPE_CHECKING

from flowgauge.lazy import names

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
    "CloudWatchExporter": "flowgauge.exporters.cloudwatch",
    "Counter": "flowgauge.instruments",
    "DatadogExporter": "flowgauge.exporters.datadog",
    "Gauge": "flowgauge.instruments",
    "Histogram": "flowgauge.instruments",
    "MetricsCollector": "flowgauge.instruments",
    "OpenTelemetryTracer": "flowgauge.tracing.otel",
    "PrometheusExporter": "flowgauge.exporters.prometheus",
    "SimpleTracer": "flowgauge.tracing",
    "Span": "flowgauge.tracing",
    "StatsDExporter": "flowgauge.exporters.statsd",
    "Summary": "flowgauge.instruments",
    "Tracer": "flowgauge.tracing",
    "trace_context": "flowgauge.tracing",
    "traced": "flowgauge.tracing",
}

__getattr__, __dir__ = names(__name__, _HOMES, globals())
