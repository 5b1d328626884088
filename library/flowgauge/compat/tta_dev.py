"""Instead of `tta_dev_primitives.observability`: the exporter of primitives.

    exporter = get_prometheus_exporter()
    exporter.record_execution("api_process", "api", duration_seconds=0.2, success=True)

It shows everything in the registry of prometheus_client, for programs that serve that one. Where prometheus_client is
not installed, everything is measured all the same, and `flowgauge.setup_observability(profile="tta-dev")` serves it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from flowgauge import blocks, cells, forks, observability, profiles, records
from flowgauge.view import View

if TYPE_CHECKING:
    from flowgauge.metrics import MetricFamily

PROFILE: Final = "tta-dev"
OBJECTIVE: Final = 99.0
_LABELS: Final = ("primitive_name", "primitive_type")


class PrometheusExporter:
    """Records what primitives do; `get_prometheus_exporter` makes the one of the process.

    Names and types are label values: take them from a small set, never from data. Nothing that records raises.
    """

    def __init__(self, objective: float = OBJECTIVE) -> None:
        if not 0 < objective < 100:
            raise ValueError(f"objective is {objective!r}, must be a percentage between 0 and 100")
        self.objective = objective
        self._view = View(profiles.builtin(PROFILE), objective=objective / 100)
        if observability.current() is None:
            self._view.bind()
        self.registered = _register(self._view)

    def record_execution(
        self,
        primitive_name: str,
        primitive_type: str,
        duration_seconds: float,
        success: bool,
        *,
        cost: float | None = None,
        savings: float | None = None,
        category: str = "",
        error_type: str = "",
    ) -> None:
        """Count an execution that ended, its cost and what it saved; `error_type` is the class of its error."""
        records.run_finished(
            primitive_name,
            duration_seconds,
            "good" if success else "failed",
            kind=primitive_type,
            error=error_type,
            started=False,
        )
        if cost is not None or savings is not None:
            self.record_cost(
                primitive_name,
                0.0 if cost is None else cost,
                primitive_type,
                category=category,
                savings=0.0 if savings is None else savings,
            )

    def record_cost(
        self,
        primitive_name: str,
        cost: float,
        primitive_type: str = "",
        *,
        category: str = "",
        savings: float = 0.0,
    ) -> None:
        """Add to the cost, and to what was saved, for example by a cache; in any one currency."""
        labels = {"workflow": primitive_name, "kind": primitive_type, "category": category}
        records.count("cost.total", cost, **labels)
        records.count("cost.saved", savings, **labels)

    def track(self, primitive_name: str, primitive_type: str) -> blocks.Block:
        """Measure a `with` block as one execution: active while it runs, then its duration, success or failure.

        Do not call `record_execution` for it too.
        """
        return blocks.run(primitive_name, kind=primitive_type)

    def export_metrics(self, primitive_type: str | None = None) -> Iterator[MetricFamily]:
        """The families of this instant, with one type of primitives only if one is given.

        They are computed when somebody iterates over them. What a scrape shows does not depend on this call: it is
        always current and whole, since a counter that is hidden and shown again looks as if it had been reset. To
        serve a part only, export this to a `PrometheusExporter` of `flowgauge.compat.ia_modules` and serve its text.
        """
        for family in self._view.collect():
            if primitive_type is None:
                yield family
            elif "primitive_type" in family.labels:
                at = family.labels.index("primitive_type")
                kept = [i for i, key in enumerate(family.keys) if key[at] == primitive_type]
                yield family._replace(
                    keys=[family.keys[i] for i in kept], values=[family.values[i] for i in kept]
                )

    def get_metrics_count(self) -> dict[str, int]:
        """How many series there are.

        `label_combinations` are pairs of name and type; a process keeps `max_combinations` of them apart, and later
        ones count as `other`. `dropped` is how often that happened. `metrics` are families, `series` what they have.
        """
        families = self._view.collect()
        return {
            "label_combinations": len(set().union(*map(_pairs, families))),
            "max_combinations": cells.LIMIT,
            "dropped": int(cells.dropped() + records.dropped()),
            "metrics": len(families),
            "series": sum(len(family.keys) for family in families),
        }


def get_prometheus_exporter(*, objective: float | None = None) -> PrometheusExporter:
    """The exporter of this process, which the first call makes.

    `objective` is the percentage of executions that shall succeed, 99 unless the first call says otherwise; the
    error budget is what it leaves.

    Raises:
        ValueError: the objective is none, or not that of the first call; or another metric in the registry of
            prometheus_client has one of the names.

    """
    global _exporter  # noqa: PLW0603 - there is one to a process
    made = _exporter
    if made is None:
        with _lock:
            made = _exporter
            if made is None:
                made = _exporter = PrometheusExporter(OBJECTIVE if objective is None else objective)
    if objective not in (None, made.objective):
        raise ValueError(
            f"objective is {objective!r}, but the exporter was made with {made.objective!r}; say it in the first call"
        )
    return made


def _register(view: View) -> bool:
    """Show the view in the registry of prometheus_client; whether it is there."""
    try:
        from prometheus_client import REGISTRY  # noqa: PLC0415 - works without it
    except ModuleNotFoundError:
        return False
    current = observability.current()
    if current is None or current.settings.registry is not REGISTRY:
        from flowgauge.collector import ViewCollector  # noqa: PLC0415 - works without it

        REGISTRY.register(ViewCollector(view))
    return True


def _pairs(family: MetricFamily) -> set[tuple[Any, ...]]:
    if not set(_LABELS) <= set(family.labels):
        return set()
    at = [family.labels.index(label) for label in _LABELS]
    return {tuple(key[i] for i in at) for key in family.keys}


_lock = threading.Lock()
_exporter: PrometheusExporter | None = None


def _forked() -> None:
    global _lock  # noqa: PLW0603 - another thread may have held it
    # The exporter itself, and its place in the registry, are the child's too.
    _lock = threading.Lock()


forks.on_fork(_forked)
