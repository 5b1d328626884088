"""Instead of `contd.observability` and `contd.sdk`: decorators, the collector, set-up and the pusher.

    from flowgauge.compat.contd import setup_observability, step, workflow

The metrics have the names, labels and units of contd, whatever profile the environment asks for. Importing this loads
nothing; each name is loaded when it is used.
"""

from typing import TYPE_CHECKING

from flowgauge.lazy import names

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
    "MetricsCollector": "flowgauge.compat.contd.recording",
    "MetricsPusher": "flowgauge.compat.contd.pushing",
    "collector": "flowgauge.compat.contd.recording",
    "sampler": "flowgauge.compat.contd.endpoint",
    "setup_observability": "flowgauge.compat.contd.endpoint",
    "step": "flowgauge.compat.contd.decorators",
    "workflow": "flowgauge.compat.contd.decorators",
}

__getattr__, __dir__ = names(__name__, _HOMES, globals())
