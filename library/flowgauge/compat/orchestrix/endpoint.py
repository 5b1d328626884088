"""Orchestrix' set-up: the endpoint in its names."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

from flowgauge import observability, profiles
from flowgauge.observability import Observability
from flowgauge.profiles import Profile


@dataclasses.dataclass(frozen=True)
class MetricsConfig:
    """Where metrics are served, and how.

    `enable_default_metrics` adds those of the process and of Python. `histogram_buckets`, in seconds, are the bounds
    of both latencies, those of handlers and of event stores, instead of 0.01 to 5.

    Raises:
        ValueError: the buckets are no finite numbers that ascend.

    """

    port: int = 8000
    path: str = "/metrics"
    enable_default_metrics: bool = True
    histogram_buckets: Sequence[float] | None = None

    def __post_init__(self) -> None:
        """Make numbers of the buckets."""
        given = self.histogram_buckets
        if given is None:
            return
        # Infinity is always the last one, whether it is given or not.
        bounds = tuple(float(bound) for bound in given if bound != math.inf)
        if not bounds or not all(map(math.isfinite, bounds)) or list(bounds) != sorted(set(bounds)):
            raise ValueError(
                f"histogram_buckets is {list(given)}, must be finite numbers of seconds that ascend"
            )
        object.__setattr__(self, "histogram_buckets", bounds)


def init_metrics(config: MetricsConfig | None = None) -> Observability:
    """Serve what this process measures, in Orchestrix' names.

    Call it once; what was measured before is kept. A second call with the same configuration returns the same
    handle. A port that cannot be listened on is logged, and the program goes on.

    Raises:
        RuntimeError: monitoring is set up already, with other settings.
        ValueError: the port or the path cannot be right.

    """
    config = config or MetricsConfig()
    buckets = config.histogram_buckets
    return observability.setup_observability(
        profile=_profile(None if buckets is None else tuple(buckets)),
        port=config.port,
        path=config.path,
        process_metrics=config.enable_default_metrics,
    )


@functools.cache
def _profile(buckets: tuple[float, ...] | None) -> Profile:
    """The vocabulary; the same object for the same buckets, so that a second set-up is seen to be the same one."""
    profile = profiles.builtin("orchestrix")
    if buckets is None:
        return profile
    families = (
        dataclasses.replace(family, buckets=buckets) if family.type == "histogram" else family
        for family in profile.families
    )
    return dataclasses.replace(profile, families=tuple(families))
