"""Flowgauge: measure workflows and serve the metrics, in the names of one profile.

    import flowgauge

    @flowgauge.workflow
    def orders(): ...

    flowgauge.setup_observability()

Importing this package does nothing and loads nothing heavy; each name is loaded when it is used.
"""

from flowgauge.forks import loading

# The module `typing` costs more to import than all that a program which only decorates functions needs from here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from flowgauge.blocks import run, stepping
    from flowgauge.declared import counter, gauge, histogram, summary
    from flowgauge.decorators import step, workflow
    from flowgauge.instruments import Counter, Gauge, Histogram, MetricsCollector, Summary
    from flowgauge.metrics import MetricFamily
    from flowgauge.mounted import asgi_app, django_view, mount, wsgi_app
    from flowgauge.observability import EndpointError, Observability, setup_observability
    from flowgauge.profiles import Profile, ProfileError
    from flowgauge.push import Pusher, PushError
    from flowgauge.push.batch import Batch as batch  # noqa: N813 - it is used like a function
    from flowgauge.serving.auth import Auth
    from flowgauge.serving.tls import Tls
    from flowgauge.tracing import SimpleTracer, Span, current_span, trace_context, traced
    from flowgauge.tracing.otel import OpenTelemetryTracer

    __version__: str

__all__ = [
    "Auth",
    "Counter",
    "EndpointError",
    "Gauge",
    "Histogram",
    "MetricFamily",
    "MetricsCollector",
    "Observability",
    "OpenTelemetryTracer",
    "Profile",
    "ProfileError",
    "PushError",
    "Pusher",
    "SimpleTracer",
    "Span",
    "Summary",
    "Tls",
    "asgi_app",
    "batch",
    "counter",
    "current_span",
    "django_view",
    "gauge",
    "histogram",
    "mount",
    "run",
    "setup_observability",
    "step",
    "stepping",
    "summary",
    "trace_context",
    "traced",
    "workflow",
    "wsgi_app",
]

# Where each name is, and what it is called there.
_HOMES = {
    "Auth": ("serving.auth", "Auth"),
    "Counter": ("instruments", "Counter"),
    "EndpointError": ("observability", "EndpointError"),
    "Gauge": ("instruments", "Gauge"),
    "Histogram": ("instruments", "Histogram"),
    "MetricFamily": ("metrics", "MetricFamily"),
    "MetricsCollector": ("instruments", "MetricsCollector"),
    "Observability": ("observability", "Observability"),
    "OpenTelemetryTracer": ("tracing.otel", "OpenTelemetryTracer"),
    "Profile": ("profiles", "Profile"),
    "ProfileError": ("profiles", "ProfileError"),
    "PushError": ("push", "PushError"),
    "Pusher": ("push", "Pusher"),
    "SimpleTracer": ("tracing", "SimpleTracer"),
    "Span": ("tracing", "Span"),
    "Summary": ("instruments", "Summary"),
    "Tls": ("serving.tls", "Tls"),
    "asgi_app": ("mounted", "asgi_app"),
    "batch": ("push.batch", "Batch"),
    "counter": ("declared", "counter"),
    "current_span": ("tracing", "current_span"),
    "django_view": ("mounted", "django_view"),
    "gauge": ("declared", "gauge"),
    "histogram": ("declared", "histogram"),
    "mount": ("mounted", "mount"),
    "run": ("blocks", "run"),
    "setup_observability": ("observability", "setup_observability"),
    "step": ("decorators", "step"),
    "stepping": ("blocks", "stepping"),
    "summary": ("declared", "summary"),
    "trace_context": ("tracing", "trace_context"),
    "traced": ("tracing", "traced"),
    "workflow": ("decorators", "workflow"),
    "wsgi_app": ("mounted", "wsgi_app"),
}


def __getattr__(name: str) -> "Any":
    if name == "__version__":
        return _load("view").version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, there = _HOMES[name]
    value = getattr(_load(module), there)
    globals()[name] = value
    return value


def _load(module: str) -> "Any":
    # Not by `importlib`, which is a second cost for who uses one name.
    with loading:
        return __import__(f"{__name__}.{module}", fromlist=[module])


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
