"""Flowgauge: measure workflows and serve the metrics, in the names of one profile.

    import flowgauge

    @flowgauge.workflow
    def orders(): ...

    flowgauge.setup_observability()

Importing this package does nothing and loads nothing heavy; each name is loaded when it is used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowgauge.blocks import run, stepping
    from flowgauge.decorators import step, workflow
    from flowgauge.observability import EndpointError, Observability, setup_observability
    from flowgauge.profiles import Profile, ProfileError

    __version__: str

__all__ = [
    "EndpointError",
    "Observability",
    "Profile",
    "ProfileError",
    "run",
    "setup_observability",
    "step",
    "stepping",
    "workflow",
]

_HOMES = {
    "EndpointError": "observability",
    "Observability": "observability",
    "Profile": "profiles",
    "ProfileError": "profiles",
    "run": "blocks",
    "setup_observability": "observability",
    "step": "decorators",
    "stepping": "blocks",
    "workflow": "decorators",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module  # noqa: PLC0415 - the cost of a name is paid by who uses it

    if name == "__version__":
        return import_module("flowgauge.collector").version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
