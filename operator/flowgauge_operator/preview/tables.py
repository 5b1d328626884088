"""Tables of instant queries as HTML: one column of each query, in its own unit, with its links. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from flowgauge_operator.preview import board, fields, frames, markup, transform
from flowgauge_operator.preview.answers import Answers
from flowgauge_operator.preview.board import Panel, mapping
from flowgauge_operator.preview.colors import Theme, ink, readable
from flowgauge_operator.preview.fields import Field, Shown
from flowgauge_operator.preview.frames import Column, Table
from flowgauge_operator.preview.window import clock

_MOST_ROWS = 200
_NARROW_COLUMNS = 5
_CELL = re.compile(
    r"\$\{__(?:data\.fields(?:\.([^}:\[\]]+)|\[\"?([^\"\]]+)\"?\])|value\.(raw|text|numeric))(?::[^}]*)?\}"
)


def table(panel: Panel, answers: Answers, theme: Theme, grafana: str = "") -> str:
    """The table of a panel, empty where it has no rows."""
    found, unknown = _tables(panel, answers)
    shown = next((one for one in found if one and one[0].cells), ())
    if not shown:
        return ""
    for entry in reversed(panel.options.get("sortBy") or []):
        shown = transform.ordered(
            shown, str(entry.get("displayName")), descending=bool(entry.get("desc"))
        )
    columns = [(column, fields.of_column(panel, column)) for column in shown]
    columns = [(column, field) for column, field in columns if not field.custom.get("hidden")]
    count = len(shown[0].cells)
    head = "".join(_heading(column, field) for column, field in columns)
    rows = "".join(
        f"<tr>{''.join(_cell(column, field, row, shown, answers, theme, grafana) for column, field in columns)}</tr>"
        for row in range(min(count, _MOST_ROWS))
    )
    notes = [f"The transformation {name} is not known to the preview." for name in unknown]
    notes += [f"{count - _MOST_ROWS} more rows."] if count > _MOST_ROWS else []
    # On a phone, and in its picture, nothing else tells that there is more to the right.
    cue = (
        f'<p class="note narrow">↔ {len(columns)} columns; move the table to see all.</p>'
        if len(columns) > _NARROW_COLUMNS
        else ""
    )
    told = cue + "".join(f'<p class="note">{markup.text(note)}</p>' for note in notes)
    label = markup.text(panel.title, 200)
    return (
        f'<div class="table" role="region" tabindex="0" aria-label="{label}"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{told}"
    )


def _tables(panel: Panel, answers: Answers) -> tuple[list[Table], list[str]]:
    alone = len(panel.targets) == 1
    tables = [
        frames.table(target, answers.of(panel, target, instant=target.is_instant).data, alone=alone)
        for target in panel.targets
    ]
    steps = panel.json.get("transformations")
    found, unknown = transform.transformed(
        tables, [mapping(step) for step in steps] if isinstance(steps, list) else []
    )
    return found, unknown


def _heading(column: Column, field: Field) -> str:
    kind = ' class="number"' if column.kind == "number" else ""
    return f'<th scope="col"{kind}>{markup.text(field.name or column.title, 100)}</th>'


def _cell(
    column: Column,
    field: Field,
    row: int,
    everything: Table,
    answers: Answers,
    theme: Theme,
    grafana: str,
) -> str:
    value = column.cells[row]
    if column.kind == "time" and isinstance(value, float) and not field.unit:
        shown = Shown(clock(value / 1000))
    else:
        shown = field.shown(value, theme)
    style = _style(field, shown, theme)
    written = markup.text(shown.text or "-", 300)
    links = list(board.links(field.settings.get("links")))
    if links and not shown.is_empty:
        url = _filled(links[0].url, column, row, everything)
        written = markup.link(shown.text, answers.scope.filled(url, "url"), grafana, links[0].title)
    kind = ' class="number"' if column.kind == "number" else ""
    return f"<td{kind}{style}>{written}</td>"


def _style(field: Field, shown: Shown, theme: Theme) -> str:
    options = mapping(field.custom.get("cellOptions"))
    kind = str(options.get("type") or field.custom.get("displayMode") or "auto")
    if shown.color is None or shown.is_empty:
        return ""
    if kind.startswith("color-background"):
        return f' style="background:{shown.color};color:{ink(shown.color)}"'
    if kind == "color-text":
        return f' style="color:{readable(shown.color, theme)};font-weight:600"'
    return ""


def _filled(url: str, column: Column, row: int, everything: Table) -> str:
    """A link's address with values of its row in it."""

    def of(found: re.Match[str]) -> str:
        if found[3]:
            return str(column.cells[row])
        name = (found[1] or found[2] or "").strip("\"'")
        return _named(everything, name, row)

    return _CELL.sub(of, url)


def _named(everything: Table, name: str, row: int) -> str:
    by_name: Mapping[str, Column] = {column.name: column for column in everything}
    by_title = {column.title: column for column in everything}
    found = by_name.get(name) or by_title.get(name)
    return "" if found is None or found.cells[row] is None else str(found.cells[row])
