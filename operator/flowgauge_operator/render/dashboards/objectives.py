"""The dashboard that looks at one objective: its budget, its burn rates by window, and their history. Pure."""

from __future__ import annotations

from dataclasses import replace

from flowgauge.profiles import Panel, Query, Step
from flowgauge_operator import names, slo
from flowgauge_operator.names import BURN_TIER_LABEL
from flowgauge_operator.render.dashboards import budget, frame, grid, panel
from flowgauge_operator.render.dashboards.panel import View
from flowgauge_operator.render.options import Options

_SAME = f"on ({names.NAMESPACE_LABEL}, {names.WORKFLOW_LABEL}, slo)"
_FIRING = 'alertstate="firing"'
_NOTHING = "No events yet"


def render(namespace: str | None, options: Options) -> str:
    """The dashboard as JSON; None stands for all namespaces, from which a variable chooses."""
    is_one = namespace is not None
    within = f'{names.NAMESPACE_LABEL}="{namespace if is_one else "$namespace"}"'
    workflow = f'{within},{names.WORKFLOW_LABEL}="$workflow"'
    chosen = f'{workflow},slo="$slo"'
    variables = [] if is_one else [_variable("namespace", "Namespace", f"{_ANY}, namespace")]
    variables += [
        _variable("workflow", "Workflow", f"{slo.OBJECTIVE}{{{within}}}, monitored_workflow"),
        _variable("slo", "Objective", f"{slo.OBJECTIVE}{{{workflow}}}, slo"),
    ]
    marks = frame.marks(workflow)
    views = [*_numbers(chosen), *_history(chosen), _windows(chosen), _alerts(chosen)]
    return frame.dashboard(
        names.objectives_uid(namespace),
        f"Objectives in {namespace}" if is_one else "Objectives in all namespaces",
        "One service level objective: what was promised, what was kept, and how fast its error budget burns.",
        grid.placed(views, spent=len(variables) + len(marks)),
        tags=["slo"],
        variables=variables,
        annotations=marks,
        links=[
            frame.link("Workflows", frame.path(names.fleet_uid(namespace))),
            *frame.outside(options, namespace or "$namespace", "$workflow"),
        ],
        since="now-7d",
        refresh="5m",
    )


_ANY = f'{slo.OBJECTIVE}{{{names.WORKFLOW_LABEL}!=""}}'


def _variable(name: str, label: str, values_of: str) -> dict[str, object]:
    return frame.variable(name, label, values_of, is_one=True)


def _burn(record: str, chosen: str) -> str:
    return f"{record}{{{chosen}}} / {_SAME} (1 - {slo.OBJECTIVE}{{{chosen}}})"


def _by_window(chosen: str) -> str:
    """Burn rates over all windows that are recorded, with the window as a label."""
    every = f'{{__name__=~"{slo.ratio_record(0).removesuffix("0s")}.+",{chosen}}}'
    named = f'label_replace({every}, "window", "$1", "__name__", ".*rate(.*)")'
    return f"{named} / {_SAME} group_left () (1 - {slo.OBJECTIVE}{{{chosen}}})"


def _numbers(chosen: str) -> list[View]:
    tiers = (
        f'2 * max(ALERTS{{{chosen},{_FIRING},{BURN_TIER_LABEL}="page"}})'
        f' or max(ALERTS{{{chosen},{_FIRING},{BURN_TIER_LABEL}="ticket"}})'
        f" or 0 * max({slo.OBJECTIVE}{{{chosen}}})"
    )
    number = Panel("", "", "stat", (), width=6, height=5, unit="ratio", empty=_NOTHING)
    return [
        panel.literal(
            Panel(
                title="State",
                description=(
                    "Whether its budget burns: Page means fast enough that somebody was woken, Ticket steadily. Follow the"
                    " link of the alert to its runbook."
                ),
                type="stat",
                width=6,
                height=5,
                steps=(
                    Step(0, "green", "✓ Quiet"),
                    Step(1, "orange", "▲ Ticket"),
                    Step(2, "red", "✗ Page"),
                ),
                empty="Not recorded",
                queries=(Query(tiers),),
            )
        ),
        panel.literal(
            replace(
                number,
                title="Error budget left",
                description="Below 25 %, put off what is risky; at zero the objective is missed: stop changes.",
                color="red",
                steps=budget.POLICY,
                maximum=1,
                queries=(Query(f"{slo.REMAINING}{{{chosen}}}"),),
            )
        ),
        panel.literal(
            replace(
                number,
                title="Good events",
                description="Share of good events over the objective's window. Below the objective it is missed.",
                maximum=1,
                color="text",
                queries=(Query(f"1 - {slo.PERIOD}{{{chosen}}}"),),
            )
        ),
        panel.literal(
            replace(
                number,
                title="Objective",
                description="The share of good events that was promised.",
                maximum=1,
                color="text",
                queries=(Query(f"{slo.OBJECTIVE}{{{chosen}}}"),),
            )
        ),
    ]


def _history(chosen: str) -> list[View]:
    ratio, allowed = slo.ratio_record(3600), f"1 - {slo.OBJECTIVE}{{{chosen}}}"
    return [
        panel.literal(
            Panel(
                title="Error budget over time",
                description=(
                    "Down to -100 %. A cliff is one incident, a slope a lasting fault; it rises again when bad events leave"
                    " the window."
                ),
                type="timeseries",
                row="History",
                unit="ratio",
                color="red",
                steps=budget.POLICY,
                maximum=1,
                empty=_NOTHING,
                queries=(Query(f"clamp_min({slo.REMAINING}{{{chosen}}}, -1)", "budget left"),),
            )
        ),
        panel.literal(
            Panel(
                title="Burn rate by window",
                description=(
                    "How fast the budget burns over each window; 1 spends it exactly over the objective's window. Short"
                    " windows rise first in an incident, and fall first when it is over."
                ),
                type="timeseries",
                row="History",
                steps=(Step(1, "orange"),),
                minimum=0,
                empty=_NOTHING,
                queries=(Query(_by_window(chosen), "{{window}}"),),
            )
        ),
        panel.literal(
            Panel(
                title="Bad share of events",
                description="Share of bad events over an hour beside what is allowed.",
                type="timeseries",
                row="History",
                unit="ratio",
                minimum=0,
                empty=_NOTHING,
                queries=(
                    Query(f"{ratio}{{{chosen}}}", "bad, over 1h"),
                    Query(allowed, "allowed"),
                ),
            ),
            overrides=(panel.dashed("allowed", "text", custom_fillOpacity=0),),
        ),
        panel.literal(
            Panel(
                title="Events",
                description="Events that count, a second, and the bad ones of them. With few events ratios jump.",
                type="timeseries",
                row="History",
                unit="per_second",
                minimum=0,
                empty=_NOTHING,
                queries=(
                    Query(f"{slo.TOTAL}{{{chosen}}}", "all"),
                    Query(f"{slo.BAD}{{{chosen}}}", "bad"),
                ),
            ),
            overrides=(panel.dashed("bad", "red"),),
        ),
    ]


def _windows(chosen: str) -> View:
    what = Panel(
        title="Burn rates now",
        description="Above 1 in the long windows the objective will be missed if nothing changes.",
        type="table",
        row="Details",
        height=8,
        steps=(Step(1, "orange"),),
        empty=_NOTHING,
        queries=(Query(f"sum by (window) ({_by_window(chosen)})", "Burn rate"),),
    )
    return panel.literal(what, columns={"window": "Window"}, sort="-Burn rate")


def _alerts(chosen: str) -> View:
    what = Panel(
        title="Firing alerts",
        description="Alerts of this objective that fire now.",
        type="table",
        row="Details",
        height=8,
        empty="Nothing fires",
        queries=(Query(f"max by (severity, alertname) (ALERTS{{{chosen},{_FIRING}}})", "Value"),),
    )
    return panel.literal(
        what,
        columns={"severity": "Severity", "alertname": "Alert"},
        overrides=(panel.override("Value", custom_hidden=True),),
    )
