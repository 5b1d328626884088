"""Flowgauge: measure workflows and serve the metrics, in the names of one profile.

    import flowgauge

    @flowgauge.workflow
    def orders(): ...

    flowgauge.setup_observability()

Importing this package does nothing and loads nothing heavy; each name is loaded when it is used.
"""

# The module `typing` costs more to import than all that a program which only decorates functions needs from here.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from flowgauge.auth import Auth
    from flowgauge.batch import batch
    from flowgauge.blocks import run, stepping
    from flowgauge.declared import counter, gauge, histogram, summary
    from flowgauge.decorators import step, workflow
    from flowgauge.instruments import Counter, Gauge, Histogram, MetricsCollector, Summary
    from flowgauge.metrics import MetricFamily
    from flowgauge.mounted import asgi_app, django_view, mount, wsgi_app
    from flowgauge.observability import EndpointError, Observability, setup_observability
    from flowgauge.profiles import Profile, ProfileError
    from flowgauge.push import Pusher, PushError
    from flowgauge.tls import Tls
    from flowgauge.tracing import SimpleTracer, Span, trace_context, traced

    __version__: str

_HOMES = {
    "Auth": "auth",
    "Counter": "instruments",
    "EndpointError": "observability",
    "Gauge": "instruments",
    "Histogram": "instruments",
    "MetricFamily": "metrics",
    "MetricsCollector": "instruments",
    "Observability": "observability",
    "Profile": "profiles",
    "ProfileError": "profiles",
    "PushError": "push",
    "Pusher": "push",
    "SimpleTracer": "tracing",
    "Span": "tracing",
    "Summary": "instruments",
    "Tls": "tls",
    "asgi_app": "mounted",
    "batch": "batch",
    "counter": "declared",
    "django_view": "mounted",
    "gauge": "declared",
    "histogram": "declared",
    "mount": "mounted",
    "run": "blocks",
    "setup_observability": "observability",
    "step": "decorators",
    "stepping": "blocks",
    "summary": "declared",
    "trace_context": "tracing",
    "traced": "tracing",
    "workflow": "decorators",
    "wsgi_app": "mounted",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - each name is in the table once


def __getattr__(name: str) -> "Any":
    if name == "__version__":
        return _load("view").version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_load(_HOMES[name]), name)
    globals()[name] = value
    return value


def _load(module: str) -> "Any":
    # Not by `importlib`, which is a second cost for who uses one name.
    return __import__(f"{__name__}.{module}", fromlist=[module])


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
