"""The same dashboard with grafanalib."""

from __future__ import annotations

import json
from typing import Any

from grafanalib import core
from grafanalib._gen import DashboardEncoder

_SOURCE = "${datasource}"


def build(given: dict[str, Any]) -> str:
    """The dashboard as JSON text."""
    made = core.Dashboard(
        title=given["title"],
        uid=given["uid"],
        description=given["description"],
        tags=given["tags"],
        editable=False,
        refresh="1m",
        timezone="browser",
        time=core.Time("now-6h", "now"),
        templating=core.Templating([_variable(each) for each in given["variables"]]),
        annotations=core.Annotations(given["annotations"]),
        links=[
            core.ExternalLink(uri=each["url"], title=each["title"], keepTime=True)
            for each in given["links"]
        ],
        panels=[_row(each) for each in given["rows"]],
    ).auto_panel_ids()
    return json.dumps(
        made.to_json_data(), cls=DashboardEncoder, sort_keys=True, separators=(",", ":")
    )


def _row(given: dict[str, Any]) -> core.RowPanel:
    return core.RowPanel(
        title=given["title"],
        collapsed=given["collapsed"],
        gridPos=_place(given["gridPos"]),
        panels=[_panel(each) for each in given["panels"]],
    )


def _place(given: dict[str, int]) -> core.GridPos:
    return core.GridPos(h=given["h"], w=given["w"], x=given["x"], y=given["y"])


def _panel(given: dict[str, Any]) -> Any:
    # It takes no null for the lowest.
    steps = [
        core.Threshold(step["color"], index, float(step["value"] or 0))
        for index, step in enumerate(given["steps"])
    ]
    common = {
        "title": given["title"],
        "description": given["description"],
        "dataSource": _SOURCE,
        "gridPos": _place(given["place"]),
        "targets": [_target(each) for each in given["targets"]],
        "thresholds": steps,
    }
    if given["type"] == "stat":
        return core.Stat(**common, format=given["unit"])
    if given["type"] == "table":
        return core.Table(**common, unit=given["unit"])
    if given["type"] == "heatmap":
        return core.Heatmap(**common, yAxis=core.YAxis(format=given["unit"]))
    return core.TimeSeries(**common, unit=given["unit"])


def _target(given: dict[str, Any]) -> core.Target:
    return core.Target(
        expr=given["expr"],
        legendFormat=given["legendFormat"],
        refId=given["refId"],
        instant=given["instant"],
        datasource=_SOURCE,
    )


def _variable(given: dict[str, Any]) -> core.Template:
    return core.Template(
        name=given["name"],
        label=given["label"],
        type=given["type"],
        query=given["query"],
        dataSource=_SOURCE,
        multi=given["multi"],
        includeAll=given["includeAll"],
        refresh=2,
    )
