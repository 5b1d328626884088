"""One panel of the profile format as a panel of Grafana. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowgauge.profiles import Panel, Query, Step
from flowgauge_operator.render.dashboards import text

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Grafana's names of our base units.
_UNITS = {
    "ratio": "percentunit",
    "seconds": "s",
    "bytes": "bytes",
    "per_second": "cps",
    "": "short",
    "cost": "short",
}
# Of a histogram's samples Prometheus may keep exemplars, which lead to traces.
_HISTOGRAM = re.compile(r"_bucket\{|histogram_quantile\(")


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A panel whose queries are PromQL, and what its profile does not say.

    A view is equal to itself only, so that it can be a key of what was made of it. `roles` are those that it reads.
    `overrides` are Grafana's, for single series or columns. In a table, `columns` are headings of labels; a label that is
    in `hidden` is no column. `sort` is the heading that it is sorted by, with a minus sign for the greatest first.
    """

    panel: Panel
    exprs: tuple[str, ...]
    roles: frozenset[str] = frozenset()
    overrides: tuple[dict[str, Any], ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    sort: str = ""
    native: bool = False


def literal(panel: Panel, **more: Any) -> View:
    """A panel whose queries are PromQL already."""
    return View(panel, tuple(query.expr for query in panel.queries), **more)


def grafana(view: View, number: int, place: dict[str, int]) -> dict[str, Any]:
    """The panel as Grafana reads it."""
    return {**_body(view), "id": number, "gridPos": place}


@functools.lru_cache(maxsize=2048)
def _body(view: View) -> dict[str, Any]:
    panel = view.panel
    made = {
        "type": panel.type,
        "title": text.line(panel.title),
        "description": text.markdown(panel.description),
        "datasource": DATASOURCE,
        "targets": [_target(i, query, view) for i, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _overrides(view)},
        "options": _options(view),
    }
    if panel.type == "table":
        made["transformations"] = _transformations(view)
    return made


def override(name: str, *, by: str = "byName", **properties: Any) -> dict[str, Any]:
    """Properties of the series or column of that name; `_` in a property stands for a dot."""
    listed = [{"id": key.replace("_", "."), "value": value} for key, value in properties.items()]
    return {"matcher": {"id": by, "options": name}, "properties": listed}


def dashed(name: str, color: str, *, by: str = "byName", **custom: Any) -> dict[str, Any]:
    """A series in a fixed colour and dashed: colour alone is no sign for everybody."""
    return override(
        name,
        by=by,
        color={"mode": "fixed", "fixedColor": color},
        custom_lineStyle={"fill": "dash", "dash": [10, 6]},
        **custom,
    )


def ref(index: int) -> str:
    """The name of a query within its panel: A to Z, then AA."""
    head, tail = divmod(index, 26)
    return (chr(64 + head) if head else "") + chr(65 + tail)


def thresholds(color: str, steps: Iterable[Step]) -> dict[str, Any]:
    """Colours by value: `color` below the first of the steps."""
    listed = [{"color": color, "value": None}]
    ordered = sorted(steps, key=lambda step: step.value)
    return {
        "mode": "absolute",
        "steps": [*listed, *({"color": s.color, "value": s.value} for s in ordered)],
    }


def _target(index: int, query: Query, view: View) -> dict[str, Any]:
    kind, expr = view.panel.type, view.exprs[index]
    is_instant = kind in ("stat", "table")
    # The bounds of native histograms come with the samples.
    legend = "" if kind == "heatmap" and view.native else query.legend
    formats = {"heatmap": "heatmap", "table": "table"}
    made = {
        "refId": ref(index),
        "datasource": DATASOURCE,
        "expr": expr,
        "legendFormat": text.line(legend) or "__auto",
        "instant": is_instant,
        "range": not is_instant,
        "format": formats.get(kind, "time_series"),
        "editorMode": "code",
    }
    if kind == "heatmap" or (not is_instant and _HISTOGRAM.search(expr)):
        made["exemplar"] = True
    return made


def _defaults(panel: Panel) -> dict[str, Any]:
    made: dict[str, Any] = {
        "unit": _UNITS[panel.unit],
        "thresholds": thresholds(panel.color, panel.steps),
        "color": {"mode": "thresholds" if panel.type in ("stat", "table") else "palette-classic"},
        "mappings": _words(panel.steps),
    }
    if panel.empty:
        made["noValue"] = text.line(panel.empty)
    if panel.minimum is not None:
        made["min"] = panel.minimum
    if panel.maximum is not None:
        made["max"] = panel.maximum
    if panel.type == "timeseries":
        made["custom"] = {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 30 if panel.stack else 10,
            # A point that stands alone would be no line.
            "showPoints": "auto",
            # A workflow that runs now and then has gaps; a line across them would invent runs.
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stack else "none", "group": "A"},
            # Areas would be one more colour under those of the marks.
            "thresholdsStyle": {"mode": "dashed" if panel.steps else "off"},
        }
    if panel.type == "table":
        made["custom"] = {"align": "auto", "cellOptions": {"type": "auto"}, "filterable": False}
    return made


def _words(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Words in the place of numbers, so that a state can be read without its colour."""
    made = []
    ordered = sorted(steps, key=lambda step: step.value)
    for index, step in enumerate(ordered):
        if not step.text:
            continue
        # Both ends belong to a range in Grafana.
        following = ordered[index + 1].value if index + 1 < len(ordered) else None
        end = None if following is None else following - (following - step.value) / 1000
        result = {"text": text.line(step.text), "color": step.color, "index": index}
        options = {"from": step.value, "to": end, "result": result}
        made.append({"type": "range", "options": options})
    return made


def _overrides(view: View) -> list[dict[str, Any]]:
    panel = view.panel
    if panel.type != "table":
        return [*view.overrides]
    made = []
    for query in panel.queries:
        properties: dict[str, Any] = {}
        if query.unit is not None and query.unit != panel.unit:
            properties["unit"] = _UNITS[query.unit]
        elif panel.steps:
            properties["custom_cellOptions"] = {"type": "color-text"}
        # What the panel says of itself when it is empty is not what an empty cell means.
        made.append(override(text.line(query.legend), noValue="-", **properties))
    made += [override(heading, noValue="-") for heading in view.columns.values()]
    return [*made, *view.overrides]


def _options(view: View) -> dict[str, Any]:
    panel = view.panel
    if panel.type == "stat":
        return {
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": "background" if panel.steps else "value",
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": "auto",
        }
    if panel.type == "timeseries":
        return {
            "legend": {
                "calcs": [],
                "displayMode": "list",
                "placement": "bottom",
                "showLegend": True,
            },
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    if panel.type == "table":
        return {"showHeader": True, "cellHeight": "sm", "sortBy": _sort(view)}
    return {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5},
        "exemplars": {"color": "rgba(31, 120, 193, 0.9)"},
        "legend": {"show": True},
        "tooltip": {"mode": "single", "yHistogram": False},
        "yAxis": {"axisPlacement": "left", "unit": _UNITS[panel.unit]},
    }


def _sort(view: View) -> list[dict[str, Any]]:
    if not view.sort:
        return []
    return [{"displayName": text.line(view.sort.lstrip("-")), "desc": view.sort.startswith("-")}]


def _transformations(view: View) -> list[dict[str, Any]]:
    """One row for each set of labels, one column for each query."""
    # With one query Grafana calls its column Value, with several Value and the query's name.
    queries = view.panel.queries
    values = ["Value"] if len(queries) == 1 else [f"Value #{ref(i)}" for i in range(len(queries))]
    names = {value: text.line(query.legend) for value, query in zip(values, queries, strict=True)}
    order = [*view.columns, *values]
    organize = {
        "excludeByName": dict.fromkeys(("Time", "__name__", *view.hidden), True),
        "indexByName": {name: index for index, name in enumerate(order)},
        "renameByName": {**view.columns, **names},
    }
    return [{"id": "merge", "options": {}}, {"id": "organize", "options": organize}]
