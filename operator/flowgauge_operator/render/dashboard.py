"""The Grafana dashboard of a workflow, as classic JSON for Grafana 10 to 13. Pure; the same bytes in every render."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any

from flowgauge.profiles import Panel, Profile, Query, Step
from flowgauge_operator import measure, names, promql, slo
from flowgauge_operator.measure import Scope
from flowgauge_operator.model import Workflow
from flowgauge_operator.render.options import SloView

_SCHEMA = 41
_COLUMNS = 24
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_UNITS = {
    "ratio": "percentunit",
    "seconds": "s",
    "bytes": "bytes",
    "per_second": "cps",
    "": "short",
    "cost": "short",
}


def render(workflow: Workflow, profile: Profile, slos: Sequence[SloView]) -> str:
    """The dashboard as JSON text."""
    native = workflow.spec.scrape.native_histograms
    scope = Scope(profile, workflow.namespace, workflow.name, native=native)
    own = list(_role_panels(profile, scope))
    # Triage order: is it well, is the budget being spent, and only then what fails and where.
    first = own[0].row if own else ""
    overview, rest = [p for p in own if p.row == first], [p for p in own if p.row != first]
    panels = list(_grid([*overview, *_slo_panels(slos), *rest], scope))
    dashboard = {
        "uid": names.dashboard_uid(workflow.namespace, workflow.name),
        "title": f"{workflow.name} · {workflow.namespace}",
        "description": f"Workflow {workflow.name} in namespace {workflow.namespace}, profile {profile.name}.",
        "tags": ["flowgauge", f"profile-{profile.name}"],
        "schemaVersion": _SCHEMA,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "annotations": {"list": [_alert_annotation(workflow)]},
        "templating": {"list": [_datasource_variable()]},
        "links": [],
        "panels": panels,
    }
    return json.dumps(dashboard, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _datasource_variable() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "refresh": 1,
        "regex": "",
        "skipUrlSync": False,
    }


def _alert_annotation(workflow: Workflow) -> dict[str, Any]:
    owner = promql.matchers(promql.owner(workflow.namespace, workflow.name))
    return {
        "name": "Firing alerts",
        "datasource": _DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "red",
        "expr": f'ALERTS{{{owner},alertstate="firing"}}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{slo}} {{severity}}",
        "step": "60s",
        "useValueForTime": False,
    }


def _slo_panels(slos: Sequence[SloView]) -> list[Panel]:
    row = "Objectives"
    panels: list[Panel] = []
    for view in slos:
        share = view.objective / 100
        chosen = f'{{$owner,slo="{view.name}"}}'
        paged = (Step(view.paged_above, "red"),) if view.paged_above else ()
        red = " Above the red line someone is paged." if paged else ""
        panels += [
            Panel(
                title=f"Error budget left · {view.name}",
                description=(
                    f"Share of the error budget of {view.objective:.12g} % over {view.window} that is left. At zero the"
                    " objective is missed: stop what is risky and work on what fails."
                ),
                type="stat",
                row=row,
                width=6,
                height=7,
                unit="ratio",
                color="red",
                steps=(Step(0.0, "orange"), Step(0.25, "green")),
                maximum=1,
                queries=(Query(f"{slo.REMAINING}{chosen}"),),
            ),
            Panel(
                title=f"Good events · {view.name}",
                description=f"Share of good events over {view.window}; the objective is {view.objective:.12g} %.",
                type="stat",
                row=row,
                width=6,
                height=7,
                unit="ratio",
                color="red",
                steps=(Step(share, "green"),),
                minimum=0,
                maximum=1,
                queries=(Query(f"1 - {slo.PERIOD}{chosen}"),),
            ),
            Panel(
                title=f"Burn rate · {view.name}",
                description=f"How fast the budget burns: 1 spends it exactly over the window.{red}",
                type="timeseries",
                row=row,
                width=12,
                height=7,
                color="green",
                minimum=0,
                steps=(Step(1.0, "orange"), *paged),
                queries=(
                    Query(
                        f"{view.burn_record}{chosen} / {slo.budget(view.objective):f}", "burn rate"
                    ),
                ),
            ),
        ]
    return panels


def _role_panels(profile: Profile, scope: Scope) -> Iterable[Panel]:
    """The profile's panels for which it has the roles."""
    for panel in profile.panels:
        try:
            for query in panel.queries:
                measure.expand(query.expr, scope)
        except measure.MissingRoleError:
            continue
        named = tuple(Query(q.expr, measure.legend(q.legend, q.expr, scope)) for q in panel.queries)
        yield dataclasses.replace(panel, queries=named)


def _grid(panels: Iterable[Panel], scope: Scope) -> Iterable[dict[str, Any]]:
    """Place panels row by row, left to right; ids and positions follow from the order alone."""
    rows: dict[str, list[Panel]] = {}
    for panel in panels:
        rows.setdefault(panel.row, []).append(panel)
    number, top = 0, 0
    for title, members in rows.items():
        number += 1
        yield _row(number, title, top)
        top, left, tallest = top + 1, 0, 0
        for panel in members:
            if left + panel.width > _COLUMNS:
                top, left, tallest = top + tallest, 0, 0
            number += 1
            yield _panel(
                number, panel, {"x": left, "y": top, "w": panel.width, "h": panel.height}, scope
            )
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest


def _row(number: int, title: str, top: int) -> dict[str, Any]:
    place = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
    return {
        "id": number,
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": place,
        "panels": [],
    }


def _panel(number: int, panel: Panel, place: dict[str, int], scope: Scope) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.type,
        "title": panel.title,
        "description": panel.description,
        "datasource": _DATASOURCE,
        "gridPos": place,
        "targets": [
            _target(index, query, panel, scope) for index, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _target(index: int, query: Query, panel: Panel, scope: Scope) -> dict[str, Any]:
    return {
        "refId": chr(ord("A") + index),
        "datasource": _DATASOURCE,
        "expr": measure.expand(query.expr, scope),
        "legendFormat": query.legend or "__auto",
        "instant": panel.type == "stat",
        "range": panel.type != "stat",
        "format": "heatmap" if panel.type == "heatmap" else "time_series",
        "editorMode": "code",
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps = [
        {"color": panel.color, "value": None},
        *({"color": step.color, "value": step.value} for step in panel.steps),
    ]
    defaults: dict[str, Any] = {
        "unit": _UNITS[panel.unit],
        "thresholds": {"mode": "absolute", "steps": steps},
        "color": {"mode": "thresholds" if panel.type == "stat" else "palette-classic"},
        "mappings": [],
    }
    if panel.minimum is not None:
        defaults["min"] = panel.minimum
    if panel.maximum is not None:
        defaults["max"] = panel.maximum
    if panel.type == "timeseries":
        defaults["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 30 if panel.stack else 10,
            "showPoints": "never",
            # A workflow that runs now and then has gaps; a line across them would invent runs.
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stack else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if panel.steps else "off"},
        }
    return defaults


def _options(panel: Panel) -> dict[str, Any]:
    if panel.type == "stat":
        return {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "background",
            "graphMode": "none",
            "textMode": "auto",
        }
    if panel.type == "timeseries":
        return {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    return (
        {"calculate": False, "yAxis": {"unit": _UNITS[panel.unit]}}
        if panel.type == "heatmap"
        else {}
    )
