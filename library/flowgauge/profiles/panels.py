"""What a panel must be for a dashboard to show it; checked before anything is rendered. Pure."""

from __future__ import annotations

import re

from flowgauge.profiles.decode import Decoder
from flowgauge.profiles.types import Panel, Query

# Base units that a panel can show; macros yield nothing else.
UNITS = ("", "ratio", "seconds", "bytes", "per_second", "cost")
COLUMNS = 24

_COLORS = ("green", "red", "orange", "yellow", "blue", "purple")
_COLOR = re.compile(
    rf"text|transparent|(semi-dark-|dark-|light-|super-light-)?({'|'.join(_COLORS)})|#[0-9a-fA-F]{{6}}"
)
_HEIGHTS = range(1, 41)


def check(panel: Panel, path: str, decoder: Decoder) -> None:
    """Refuse a panel that Grafana would show wrongly, or that says nothing.

    Raises:
        ProfileError: the message names path and remedy.
    """
    _check_words(panel, path, decoder)
    _check_place(panel, path, decoder)
    _check_unit(panel.unit, f"{path}.unit", decoder)
    _check_colors(panel, path, decoder)
    _check_queries(panel, path, decoder)


def _check_words(panel: Panel, path: str, decoder: Decoder) -> None:
    for field in ("title", "description", "row"):
        if not getattr(panel, field).strip():
            decoder.fail(f"{path}.{field}", "is empty; say what one sees")


def _check_place(panel: Panel, path: str, decoder: Decoder) -> None:
    if not 1 <= panel.width <= COLUMNS:
        decoder.fail(f"{path}.width", f"is {panel.width}, must be 1 to {COLUMNS} columns")
    if panel.height not in _HEIGHTS:
        decoder.fail(f"{path}.height", f"is {panel.height}, must be 1 to {_HEIGHTS[-1]}")
    low, high = panel.minimum, panel.maximum
    if low is not None and high is not None and low >= high:
        decoder.fail(f"{path}.maximum", f"is {high:g}, must be above the minimum, {low:g}")


def _check_unit(unit: str, path: str, decoder: Decoder) -> None:
    if unit not in UNITS:
        decoder.fail(path, f"is {unit!r}, must be one of {', '.join(filter(None, UNITS))}")


def _check_colors(panel: Panel, path: str, decoder: Decoder) -> None:
    named = [(f"{path}.color", panel.color)]
    named += [(f"{path}.steps[{i}].color", step.color) for i, step in enumerate(panel.steps)]
    for where, color in named:
        if not _COLOR.fullmatch(color):
            known = ", ".join((*_COLORS, "text"))
            decoder.fail(
                where,
                f"is {color!r}, must be one of {known}, also with dark- or light- before, or #rrggbb",
            )
    values = [step.value for step in panel.steps]
    if values != sorted(set(values)):
        decoder.fail(f"{path}.steps", "must rise, each value once")


def _check_queries(panel: Panel, path: str, decoder: Decoder) -> None:
    if not panel.queries:
        decoder.fail(f"{path}.queries", "is empty; a panel needs something to show")
    for i, query in enumerate(panel.queries):
        _check_query(query, panel, f"{path}.queries[{i}]", decoder)
    headings = [query.legend for query in panel.queries]
    if panel.type == "table" and len(set(headings)) < len(headings):
        decoder.fail(
            f"{path}.queries", "have a heading twice; give each column a legend of its own"
        )
    if panel.type == "heatmap" and len(panel.queries) > 1:
        decoder.fail(f"{path}.queries", "are several, but a heatmap shows one; remove the others")


def _check_query(query: Query, panel: Panel, path: str, decoder: Decoder) -> None:
    if panel.type == "table" and not query.legend.strip():
        decoder.fail(f"{path}.legend", "is missing; it is the heading of the column")
    if panel.type == "stat" and len(panel.queries) > 1 and not query.legend.strip():
        decoder.fail(f"{path}.legend", "is missing; it tells the values of a stat apart")
    if query.unit is not None:
        if panel.type != "table":
            decoder.fail(
                f"{path}.unit",
                f"is for columns of a table, not for a {panel.type}; move it to the panel",
            )
        _check_unit(query.unit, f"{path}.unit", decoder)
