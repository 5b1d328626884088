"""A dashboard of ours as plain records, from which the other side builds an equal one. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]


def described(board: Json) -> Json:
    """What the builders of the peers are given: rows with their panels, and what is around them."""
    rows: list[Json] = []
    for panel in board["panels"]:
        if panel["type"] == "row":
            rows.append({**panel, "panels": [_panel(each) for each in panel["panels"]]})
        else:
            rows[-1]["panels"].append(_panel(panel))
    return {
        "uid": board["uid"],
        "title": board["title"],
        "description": board["description"],
        "tags": board["tags"],
        "rows": rows,
        "annotations": board["annotations"]["list"],
        "variables": board["templating"]["list"],
        "links": board["links"],
    }


def _panel(panel: Json) -> Json:
    defaults = panel["fieldConfig"]["defaults"]
    return {
        "type": panel["type"],
        "title": panel["title"],
        "description": panel["description"],
        "place": panel["gridPos"],
        "unit": defaults["unit"],
        "steps": defaults["thresholds"]["steps"],
        "targets": panel["targets"],
    }


def shown(board: Json) -> list[tuple[str, str, tuple[str, ...]]]:
    """What two equal dashboards have in common: type, title and queries of each panel, in order."""
    return [
        (panel["type"], panel["title"], tuple(target["expr"] for target in panel["targets"]))
        for panel in _panels(board["panels"])
    ]


def _panels(panels: list[Json]) -> Iterator[Json]:
    for panel in panels:
        if panel["type"] == "row":
            yield from _panels(panel["panels"])
        else:
            yield panel
