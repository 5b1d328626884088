"""The dashboard that lists the workflows of a namespace, or of all, by worst budget. Pure."""

from __future__ import annotations

from dataclasses import replace

from flowgauge.profiles import Panel, Query, Step
from flowgauge_operator import names, slo
from flowgauge_operator.render.dashboards import budget, frame, grid, panel
from flowgauge_operator.render.dashboards.panel import View
from flowgauge_operator.render.options import Options

_OWNER = f"{names.NAMESPACE_LABEL}, {names.WORKFLOW_LABEL}"
_SAME = f"on ({_OWNER}, slo)"
_FIRING = 'alertstate="firing"'
_SHARES = (Step(0.5, "orange"), Step(1, "green"))


def render(namespace: str | None, options: Options) -> str:
    """The dashboard as JSON; None stands for all namespaces, from which a variable chooses."""
    is_one = namespace is not None
    chosen = _chosen(namespace)
    where = f"in {namespace}" if is_one else "in all namespaces"
    variables = [] if is_one else [_namespaces()]
    marks = frame.marks(chosen)
    views = [*_numbers(chosen), _table(chosen, is_one=is_one), _alerts(chosen), *_graphs(chosen)]
    return frame.dashboard(
        names.fleet_uid(namespace),
        f"Workflows {where}",
        f"All monitored workflows {where}, the one with the least error budget first.",
        grid.placed(views, spent=len(variables) + len(marks)),
        tags=["fleet"],
        variables=variables,
        annotations=marks,
        links=[
            frame.link("Objectives", frame.path(names.objectives_uid(namespace))),
            *frame.outside(options, namespace or "${namespace:regex}", ".+"),
        ],
    )


def _chosen(namespace: str | None) -> str:
    which = '=~"$namespace"' if namespace is None else f'="{namespace}"'
    return f'{names.NAMESPACE_LABEL}{which},{names.WORKFLOW_LABEL}!=""'


def _namespaces() -> dict[str, object]:
    return frame.variable(
        "namespace", "Namespace", f'{names.INFO}{{{names.WORKFLOW_LABEL}!=""}}, namespace'
    )


def _numbers(chosen: str) -> list[View]:
    workflows = f"max by ({_OWNER}) ({names.INFO}{{{chosen}}})"
    paging = f'ALERTS{{{chosen},{_FIRING},severity="critical"}}'
    return [
        _number("Workflows", "Workflows that are monitored.", f"count({workflows})", None),
        _number(
            "Workflows that page",
            "Workflows with a critical alert that fires. Begin with the list of alerts below.",
            f"count(count by ({_OWNER}) ({paging})) or vector(0)",
            "red",
        ),
        _number(
            "Budgets spent",
            "Objectives whose error budget is spent: they are missed. Stop changes to those workflows.",
            f"count({slo.REMAINING}{{{chosen}}} <= 0) or vector(0)",
            "red",
        ),
        _number(
            "Targets down",
            "Scrape targets that do not answer: what they would say is missing on all pages.",
            f"count(up{{{chosen}}} == 0) or vector(0)",
            "orange",
        ),
    ]


def _number(title: str, description: str, expr: str, color: str | None) -> View:
    return panel.literal(
        Panel(
            title=title,
            description=description,
            type="stat",
            width=6,
            height=4,
            color="green" if color else "text",
            steps=(Step(1, color),) if color else (),
            queries=(Query(expr),),
            empty="None" if color is None else "",
        )
    )


def _table(chosen: str, *, is_one: bool) -> View:
    ratio = slo.ratio_record(3600)
    burning = f"{ratio}{{{chosen}}} / {_SAME} (1 - {slo.OBJECTIVE}{{{chosen}}})"
    queries = (
        Query(f"min by ({_OWNER}) ({slo.REMAINING}{{{chosen}}})", "Budget left"),
        Query(f"max by ({_OWNER}) ({burning})", "Burn rate (1h)", ""),
        Query(f"count by ({_OWNER}) (ALERTS{{{chosen},{_FIRING}}})", "Firing", ""),
        Query(_recorded("workflow:run_success:ratio_rate5m", chosen), "Good runs"),
        Query(_recorded("workflow:runs:rate5m", chosen), "Runs a second", "per_second"),
        Query(_recorded("workflow:run_duration_seconds:p95_rate5m", chosen), "p95", "seconds"),
        Query(f"avg by ({_OWNER}) (up{{{chosen}}})", "Targets up"),
        Query(f"max by ({_OWNER}, profile, dashboard) ({names.INFO}{{{chosen}}})", "info", ""),
    )
    what = Panel(
        title="Workflows by worst budget",
        description=(
            "Budget left is that of the worst objective of each workflow; below zero it is missed. Follow a name to the"
            " workflow's own dashboard."
        ),
        type="table",
        width=24,
        height=12,
        unit="ratio",
        empty="No workflow is monitored",
        queries=queries,
    )
    down = f"/d/${{__data.fields.dashboard}}?{_TIME}"
    within = f"/d/{names.fleet_uid(None)}?var-namespace=${{__value.raw}}&{_TIME}"
    return panel.literal(
        what,
        columns={"monitored_workflow": "Workflow", "namespace": "Namespace", "profile": "Profile"},
        hidden=("namespace",) if is_one else (),
        sort="Budget left",
        overrides=(
            panel.override("Workflow", links=[{"title": "Open its dashboard", "url": down}]),
            panel.override("Namespace", links=[{"title": "Only this namespace", "url": within}]),
            _coloured("Budget left", "red", *budget.POLICY),
            _coloured("Burn rate (1h)", "green", Step(1, "orange"), Step(10, "red")),
            _coloured("Firing", "green", Step(1, "red")),
            _coloured("Targets up", "red", *_SHARES),
            # Not shown, but there for the links.
            panel.override("dashboard", custom_hidden=True),
            panel.override("info", custom_hidden=True),
        ),
    )


_TIME = "var-datasource=${datasource}&${__url_time_range}"


def _recorded(name: str, chosen: str) -> str:
    return f"max by ({_OWNER}) ({name}{{{chosen}}})"


def _coloured(column: str, color: str, *steps: Step) -> dict[str, object]:
    return panel.override(
        column,
        custom_cellOptions={"type": "color-text"},
        thresholds=panel.thresholds(color, steps),
    )


def _alerts(chosen: str) -> View:
    labels = f"severity, alertname, {_OWNER}, slo"
    what = Panel(
        title="Firing alerts",
        description="What fires now. Critical ones page; each links to its runbook where it is notified.",
        type="table",
        width=24,
        height=6,
        empty="Nothing fires",
        queries=(Query(f"max by ({labels}) (ALERTS{{{chosen},{_FIRING}}})", "Value"),),
    )
    columns = {
        "severity": "Severity",
        "alertname": "Alert",
        "monitored_workflow": "Workflow",
        "namespace": "Namespace",
        "slo": "Objective",
    }
    return panel.literal(
        what,
        columns=columns,
        sort="Severity",
        overrides=(panel.override("Value", custom_hidden=True),),
    )


def _graphs(chosen: str) -> list[View]:
    legend = "{{monitored_workflow}} · {{namespace}}"
    budgets = f"min by ({_OWNER}) ({slo.REMAINING}{{{chosen}}})"
    ratio = f"{slo.ratio_record(3600)}{{{chosen}}}"
    burning = f"max by ({_OWNER}) ({ratio} / {_SAME} (1 - {slo.OBJECTIVE}{{{chosen}}}))"
    bad = (
        f"{_recorded('workflow:runs:rate5m', chosen)} * (1 -"
        f" {_recorded('workflow:run_success:ratio_rate5m', chosen)})"
    )
    graph = Panel("", "", "timeseries", (), row="Over time", width=8)
    return [
        panel.literal(
            replace(
                graph,
                title="Least error budget",
                description="The ten workflows with the least budget at each time, down to -100 %. A cliff is an incident.",
                unit="ratio",
                color="red",
                steps=budget.POLICY,
                maximum=1,
                empty="No objectives",
                queries=(Query(f"bottomk(10, clamp_min({budgets}, -1))", legend),),
            )
        ),
        panel.literal(
            replace(
                graph,
                title="Fastest burn",
                description=(
                    "The ten workflows whose budgets burn fastest, over an hour; 1 spends them over their window. Objectives"
                    " of less than a week are not here."
                ),
                steps=(Step(1, "orange"),),
                minimum=0,
                empty="No events yet",
                queries=(Query(f"topk(10, {burning})", legend),),
            )
        ),
        panel.literal(
            replace(
                graph,
                title="Bad runs",
                description="The ten workflows with the most runs that end badly, a second.",
                unit="per_second",
                minimum=0,
                empty="No bad runs",
                queries=(Query(f"topk(10, {bad} > 0)", legend),),
            )
        ),
    ]
