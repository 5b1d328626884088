"""Send metrics elsewhere: StatsD, Datadog, CloudWatch, OTLP; once, or regularly with a `Flusher`.

Importing this package loads nothing; each exporter is loaded when its name is used, and the package that it
sends with (`datadog`, `boto3`) when it first sends.
"""

from typing import TYPE_CHECKING

from flowgauge.lazy import names

if TYPE_CHECKING:
    from flowgauge.exporters.cloudwatch import CloudWatchExporter
    from flowgauge.exporters.datadog import DatadogExporter
    from flowgauge.exporters.exporter import Exporter, ExportError
    from flowgauge.exporters.flusher import Flusher
    from flowgauge.exporters.otlp import OtlpExporter
    from flowgauge.exporters.prometheus import PrometheusExporter
    from flowgauge.exporters.statsd import StatsDExporter

__all__ = [
    "CloudWatchExporter",
    "DatadogExporter",
    "ExportError",
    "Exporter",
    "Flusher",
    "OtlpExporter",
    "PrometheusExporter",
    "StatsDExporter",
]

_HOMES = {
    "CloudWatchExporter": "flowgauge.exporters.cloudwatch",
    "DatadogExporter": "flowgauge.exporters.datadog",
    "ExportError": "flowgauge.exporters.exporter",
    "Exporter": "flowgauge.exporters.exporter",
    "Flusher": "flowgauge.exporters.flusher",
    "OtlpExporter": "flowgauge.exporters.otlp",
    "PrometheusExporter": "flowgauge.exporters.prometheus",
    "StatsDExporter": "flowgauge.exporters.statsd",
}

__getattr__, __dir__ = names(__name__, _HOMES, globals())
