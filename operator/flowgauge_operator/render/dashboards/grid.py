"""Where panels stand: rows in the order of triage, lines that close up, and what is loaded on opening. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from flowgauge_operator.render.dashboards import panel, text
from flowgauge_operator.render.dashboards.panel import View

COLUMNS = 24
# Queries that a dashboard may send when it is opened, those of its annotations and variables included.
QUERIES = 30
# Is it well, is the budget being spent, what fails, where is the time going, what waits, what does it cost, can these
# numbers be trusted. What is in no list stands before the last two.
_TRIAGE = (
    "Overview",
    "Objectives",
    "Failures",
    "Duration",
    "Runs",
    "Steps",
    "Messages",
    "Waiting",
    "Schedules",
    "Workers",
    "Durability",
    "Event store",
    "Data quality",
    "Cost",
)
_LAST = ("Process", "Monitoring")
_BETWEEN = len(_TRIAGE)
_RANK = {row: rank for rank, row in enumerate(_TRIAGE)} | {
    row: _BETWEEN + 1 + rank for rank, row in enumerate(_LAST)
}


def placed(
    views: Iterable[View], *, first: Sequence[str] = (), spent: int = 0
) -> list[dict[str, Any]]:
    """The panels with rows, ids and positions, which follow from the order alone.

    `first` names rows and panels that come before the others, in its order; `spent` queries are sent by what is around
    the panels. Rows that would exceed what may be loaded on opening are closed, and load when they are opened.
    """
    made: list[dict[str, Any]] = []
    number, top, left = 0, 0, QUERIES - spent
    for title, members, is_open in _opened(_rows(views, first), left):
        number += 1
        row = _row(number, title, top)
        made.append(row)
        top += 1
        drawn = []
        for view, place, height in _lines(members, top):
            number += 1
            drawn.append(panel.grafana(view, number, place))
            bottom = height
        if is_open:
            made += drawn
            top = bottom
        else:
            row |= {"collapsed": True, "panels": drawn}
    return made


def _rows(views: Iterable[View], first: Sequence[str]) -> list[tuple[str, list[View]]]:
    rows: dict[str, list[View]] = {}
    for view in views:
        rows.setdefault(view.panel.row, []).append(view)
    wanted = {name: rank for rank, name in enumerate(first)}
    for members in rows.values():
        members.sort(key=lambda view: wanted.get(view.panel.title, len(wanted)))
    return sorted(
        rows.items(),
        key=lambda row: (wanted.get(row[0], len(wanted)), _RANK.get(row[0], _BETWEEN)),
    )


def _opened(
    rows: Iterable[tuple[str, list[View]]], left: int
) -> Iterator[tuple[str, list[View], bool]]:
    """Rows from the top for as long as their queries are few enough; a first one that is too large is cut."""
    is_open = True
    for index, (title, members) in enumerate(rows):
        fitting = _fitting(members, left) if is_open else 0
        if fitting == len(members):
            left -= sum(len(view.exprs) for view in members)
            yield title, members, True
            continue
        is_open = False
        if index or not fitting:
            yield title, members, False
        else:
            yield title, members[:fitting], True
            yield f"{title} · more", members[fitting:], False


def _fitting(members: Sequence[View], left: int) -> int:
    count = 0
    for view in members:
        left -= len(view.exprs)
        if left < 0:
            break
        count += 1
    return count


def _lines(members: Sequence[View], top: int) -> Iterator[tuple[View, dict[str, int], int]]:
    """Each panel with its place and the row below it; a line is as wide as the page and one panel high."""
    line: list[View] = []
    for view in [*members, None]:
        used = sum(member.panel.width for member in line)
        if line and (view is None or used + view.panel.width > COLUMNS):
            height = max(member.panel.height for member in line)
            left = 0
            for member, width in zip(line, _widths(line, used), strict=True):
                yield member, {"x": left, "y": top, "w": width, "h": height}, top + height
                left += width
            top, line = top + height, []
        if view is not None:
            line.append(view)


def _widths(line: Sequence[View], used: int) -> list[int]:
    """The widths that fill the page, in proportion, where panels are missing."""
    ends, total = [], 0
    for member in line:
        total += member.panel.width
        ends.append(total * COLUMNS // used)
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


def _row(number: int, title: str, top: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": "row",
        "title": text.line(title),
        "collapsed": False,
        "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
        "panels": [],
    }
