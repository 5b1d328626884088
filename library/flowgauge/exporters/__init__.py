"""Send metrics elsewhere: StatsD, Datadog, CloudWatch, OTLP; once, or regularly with a `Flusher`.

Importing this package loads nothing; each exporter is loaded when its name is used, and the package that it
sends with (`datadog`, `boto3`) when it first sends.
"""

from typing import TYPE_CHECKING, Any

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
    "CloudWatchExporter": "cloudwatch",
    "DatadogExporter": "datadog",
    "ExportError": "exporter",
    "Exporter": "exporter",
    "Flusher": "flusher",
    "OtlpExporter": "otlp",
    "PrometheusExporter": "prometheus",
    "StatsDExporter": "statsd",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module  # noqa: PLC0415 - the cost of a name is paid by who uses it

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
