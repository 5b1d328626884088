"""Instead of `contd.observability` and `contd.sdk`: decorators, the collector, set-up and the pusher.

    from flowgauge.compat.contd import setup_observability, step, workflow

The metrics have the names, labels and units of contd, whatever profile the environment asks for. Importing this loads
nothing; each name is loaded when it is used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowgauge.compat.contd.decorators import step, workflow
    from flowgauge.compat.contd.endpoint import sampler, setup_observability
    from flowgauge.compat.contd.pushing import MetricsPusher
    from flowgauge.compat.contd.recording import MetricsCollector, collector

__all__ = [
    "MetricsCollector",
    "MetricsPusher",
    "collector",
    "sampler",
    "setup_observability",
    "step",
    "workflow",
]

_HOMES = {
    "MetricsCollector": "recording",
    "MetricsPusher": "pushing",
    "collector": "recording",
    "sampler": "endpoint",
    "setup_observability": "endpoint",
    "step": "decorators",
    "workflow": "decorators",
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
