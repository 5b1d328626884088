"""Panels of the objectives of one workflow: what is left of their budgets, and how fast it burns. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flowgauge.profiles import Panel, Query, Step
from flowgauge_operator import names, promql, slo
from flowgauge_operator.model import Workflow
from flowgauge_operator.render.dashboards import frame, panel
from flowgauge_operator.render.dashboards.panel import View
from flowgauge_operator.render.options import SloView

ROW = "Objectives"
# At zero the objective is missed; below a quarter what is risky should wait.
POLICY = (Step(0.0, "orange"), Step(0.25, "green"))
_SAME = f"on ({names.NAMESPACE_LABEL}, {names.WORKFLOW_LABEL}, slo)"
_MAX = f"max by ({names.NAMESPACE_LABEL}, {names.WORKFLOW_LABEL}, slo)"
_NOTHING = "No events yet"


def panels(workflow: Workflow, slos: Sequence[SloView]) -> Iterable[View]:
    """The panels; their number does not grow with that of the objectives."""
    owner = frame.owner(workflow.namespace, workflow.name)
    height = max(6, 3 + len(slos))
    return (
        panel.literal(_left(owner, height)),
        _table(owner, slos, height),
        panel.literal(_history(owner)),
        panel.literal(_burn(owner, slos)),
    )


def burn_rate(owner: str, slos: Sequence[SloView]) -> str:
    """The burn rate of each objective over the first long window of its page: error ratio by what is allowed."""
    records: dict[str, list[str]] = {}
    for view in slos:
        records.setdefault(view.burn_record, []).append(view.name)
    if len(records) == 1:
        ratios = f"{slos[0].burn_record}{{{owner}}}"
    else:
        # Windows below seven days have records of their own.
        ratios = " or ".join(
            f"{record}{{{owner},slo=~{promql.quote(promql.any_of(members))}}}"
            for record, members in records.items()
        )
        ratios = f"({ratios})"
    return f"{ratios} / {_SAME} (1 - {slo.OBJECTIVE}{{{owner}}})"


def _left(owner: str, height: int) -> Panel:
    return Panel(
        title="Error budget left",
        description=(
            "Share of each objective's error budget that is left. Below 25 %, put off what is risky; at zero the objective"
            " is missed: stop changes and work on what fails."
        ),
        type="stat",
        row=ROW,
        width=10,
        height=height,
        unit="ratio",
        color="red",
        steps=POLICY,
        maximum=1,
        empty=_NOTHING,
        queries=(Query(f"{slo.REMAINING}{{{owner}}}", "{{slo}}"),),
    )


def _table(owner: str, slos: Sequence[SloView], height: int) -> View:
    windows = ", ".join(f"{view.name}: {view.window}" for view in slos)
    chosen = f"{{{owner}}}"
    what = Panel(
        title="Objectives",
        description=(
            f"What was promised and what was kept, over the window of each objective ({windows}). A burn rate of 1 spends"
            " the budget exactly over the window; above it look at Failures and Duration below."
        ),
        type="table",
        row=ROW,
        width=14,
        height=height,
        unit="ratio",
        color="red",
        empty=_NOTHING,
        queries=(
            # One row for each objective: what is merged must have the same labels, and so no name.
            Query(f"{_MAX} ({slo.REMAINING}{chosen})", "Budget left"),
            Query(f"1 - {_MAX} ({slo.PERIOD}{chosen})", "Good events"),
            Query(f"{_MAX} ({slo.OBJECTIVE}{chosen})", "Target"),
            Query(f"{_MAX} ({burn_rate(owner, slos)})", "Burn rate", ""),
        ),
    )
    cell, steps = {"type": "color-text"}, panel.thresholds("red", POLICY)
    burning = panel.thresholds("green", (Step(1, "orange"), *_paged(slos)))
    return panel.literal(
        what,
        columns={"slo": "Objective"},
        hidden=(names.NAMESPACE_LABEL, names.WORKFLOW_LABEL),
        sort="Budget left",
        overrides=(
            panel.override("Budget left", custom_cellOptions=cell, thresholds=steps),
            panel.override("Burn rate", custom_cellOptions=cell, thresholds=burning),
        ),
    )


def _history(owner: str) -> Panel:
    return Panel(
        title="Error budget over time",
        description=(
            "What is left of each budget, down to -100 %. A cliff is one incident, a slope a lasting fault; it rises again"
            " when bad events leave the window."
        ),
        type="timeseries",
        row=ROW,
        unit="ratio",
        color="red",
        steps=POLICY,
        maximum=1,
        empty=_NOTHING,
        queries=(Query(f"clamp_min({slo.REMAINING}{{{owner}}}, -1)", "{{slo}}"),),
    )


def _paged(slos: Sequence[SloView]) -> tuple[Step, ...]:
    above = [view.paged_above for view in slos if view.paged_above]
    return (Step(min(above), "red"),) if above else ()


def _burn(owner: str, slos: Sequence[SloView]) -> Panel:
    paged = _paged(slos)
    red = f" Above the red line, {paged[0].value:.4g}, someone is paged." if paged else ""
    return Panel(
        title="Burn rate",
        description=f"How fast each budget burns: 1 spends it exactly over the window.{red}",
        type="timeseries",
        row=ROW,
        color="green",
        minimum=0,
        steps=(Step(1.0, "orange"), *paged),
        empty=_NOTHING,
        queries=(Query(burn_rate(owner, slos), "{{slo}}"),),
    )
