"""The same dashboard with the builders of Grafana's Foundation SDK."""

from __future__ import annotations

import json
import warnings
from typing import Any

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders import (
        dashboard,
        heatmap,
        prometheus,
        stat,
        table,
        timeseries,
    )
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models import dashboard as models
    from grafana_foundation_sdk.models.common import DataSourceRef

_SOURCE = DataSourceRef("prometheus", "${datasource}")
_KINDS = {
    "stat": stat.Panel,
    "timeseries": timeseries.Panel,
    "table": table.Panel,
    "heatmap": heatmap.Panel,
}


def build(given: dict[str, Any]) -> str:
    """The dashboard as JSON text."""
    made = (
        dashboard.Dashboard(given["title"])
        .uid(given["uid"])
        .description(given["description"])
        .tags(given["tags"])
        .readonly()
        .refresh("1m")
        .time("now-6h", "now")
        .timezone("browser")
    )
    for variable in given["variables"]:
        made.with_variable(_variable(variable))
    for annotation in given["annotations"]:
        made.annotation(_annotation(annotation))
    for link in given["links"]:
        made.link(dashboard.DashboardLink(link["title"]).url(link["url"]).keep_time(keep_time=True))
    for row in given["rows"]:
        head = dashboard.Row(row["title"]).collapsed(collapsed=row["collapsed"])
        for panel in row["panels"]:
            head.with_panel(_panel(panel))
        made.with_row(head)
    return json.dumps(made.build(), cls=JSONEncoder, sort_keys=True, separators=(",", ":"))


def _panel(given: dict[str, Any]) -> Any:
    place = given["place"]
    steps = [models.Threshold(step["value"], step["color"]) for step in given["steps"]]
    made: Any = (
        _KINDS[given["type"]]()
        .title(given["title"])
        .description(given["description"])
        .datasource(_SOURCE)
        .grid_pos(models.GridPos(place["h"], place["w"], place["x"], place["y"]))
        .unit(given["unit"])
        .thresholds(dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    )
    for target in given["targets"]:
        made.with_target(_target(target))
    return made


def _target(given: dict[str, Any]) -> prometheus.Dataquery:
    made = (
        prometheus.Dataquery()
        .expr(given["expr"])
        .legend_format(given["legendFormat"])
        .ref_id(given["refId"])
        .datasource(_SOURCE)
    )
    return made.instant() if given["instant"] else made.range()


def _variable(given: dict[str, Any]) -> Any:
    if given["type"] == "datasource":
        return dashboard.DatasourceVariable(given["name"]).label(given["label"]).type("prometheus")
    return (
        dashboard.QueryVariable(given["name"])
        .label(given["label"])
        .query(given["query"])
        .datasource(_SOURCE)
        .multi(multi=given["multi"])
        .include_all(include_all=given["includeAll"])
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    )


def _annotation(given: dict[str, Any]) -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery()
        .name(given["name"])
        .datasource(_SOURCE)
        .enable(enable=True)
        .icon_color(given["iconColor"])
        .expr(given["expr"])
    )
