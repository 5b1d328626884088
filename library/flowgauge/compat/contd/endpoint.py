"""contd's set-up: the endpoint in contd's names, and the background collector."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

from flowgauge import observability
from flowgauge.observability import Observability

# The variable of contd's manifests; FLOWGAUGE_PORT counts where it is not set.
PORT: Final = "METRICS_PORT"

F = TypeVar("F", bound=Callable[[], object])

_samplers: list[Callable[[], object]] = []
# How often the background collector runs and for whom, once it does.
_running: list[tuple[Observability, float]] = []


def setup_observability(
    metrics_port: int | None = None,
    enable_background: bool = True,
    background_interval: float = 15,
    **options: Any,
) -> Observability:
    """Serve what this process measures, in contd's names, at `/metrics` of `metrics_port`.

    `metrics_port` is else `METRICS_PORT`, else as `flowgauge.setup_observability` says, where the other arguments
    are described too. The background collector calls each `sampler` every `background_interval` seconds; without
    one it has nothing to do and no thread, since the process itself is read at each scrape. A second call changes
    the interval.

    Raises:
        ValueError: the port or the interval cannot be right.
        RuntimeError: monitoring is set up already, with other settings.

    """
    if not background_interval > 0:
        raise ValueError(
            f"background_interval is {background_interval!r}, must be seconds above 0, such as 15"
        )
    port = _port() if metrics_port is None else metrics_port
    handle = observability.setup_observability(profile="contd", port=port, **options)
    if enable_background:
        _running[:] = [(handle, background_interval)]
        for function in _samplers:
            handle.every(background_interval, function)
    return handle


def sampler(function: F) -> F:
    """Let the background collector call the function, for what has to be asked for, such as a queue's depth."""
    _samplers.append(function)
    for handle, seconds in _running:
        if observability.current() is handle:
            handle.every(seconds, function)
    return function


def _port() -> int | None:
    value = os.environ.get(PORT, "")
    # The latter is of Kubernetes, for a Service called metrics in the pod's namespace.
    if not value or value.startswith("tcp://"):
        return None
    if not (value.isascii() and value.isdigit() and int(value) <= 65535):
        raise ValueError(f"{PORT} is {value!r}, must be a number from 0 to 65535")
    return int(value)
