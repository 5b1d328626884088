"""What is within a panel, as HTML: by its type a graph, numbers, a table or a text. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flowgauge_operator.preview import fields, frames, heat, lines, markup, units
from flowgauge_operator.preview.answers import Answers
from flowgauge_operator.preview.axes import Canvas
from flowgauge_operator.preview.board import Panel, mapping
from flowgauge_operator.preview.colors import Theme, ink, readable
from flowgauge_operator.preview.frames import Series
from flowgauge_operator.preview.grid import Size, legend_rows
from flowgauge_operator.preview.lines import Line
from flowgauge_operator.preview.tables import table

_LEGEND_ROWS = 4


@dataclass(frozen=True, slots=True)
class Drawing:
    """All that a panel is drawn with; `wide` and `narrow` are its sizes on a desk and on a phone."""

    panel: Panel
    answers: Answers
    theme: Theme
    wide: Size
    narrow: Size
    grafana: str = ""

    def canvas(self, size: Size, font: float) -> Canvas:
        """What its graph is drawn on."""
        events = [
            dataclasses.replace(e, color=self.theme.color(e.color)) for e in self.answers.events
        ]
        return Canvas(size.width, size.height, self.theme, self.answers.window, font, events)


def body(drawing: Drawing) -> str:
    """The content of a panel, with what went wrong above it."""
    panel = drawing.panel
    if panel.foreign:
        return _note(
            f"Asks a data source of another kind ({panel.foreign}); the preview knows Prometheus only."
        )
    draw = _KINDS.get(panel.type)
    if draw is None:
        return _note(f"A panel of the type {panel.type} is not drawn by the preview.")
    return _faults(drawing) + (draw(drawing) or _empty(drawing))


def _written(drawing: Drawing) -> str:
    """Markdown and HTML of a text panel, as it was written."""
    text = drawing.answers.scope.filled(str(drawing.panel.options.get("content") or ""), "text")
    return f'<pre class="written">{markup.text(text)}</pre>'


def _table(drawing: Drawing) -> str:
    return table(drawing.panel, drawing.answers, drawing.theme, drawing.grafana)


def _note(text: str) -> str:
    return f'<p class="note">{markup.text(text)}</p>'


def _faults(drawing: Drawing) -> str:
    told = drawing.answers
    found = [
        f"query {target.ref} failed: {error}"
        for target in drawing.panel.targets
        for instant in (False, True)
        if (error := told.of(drawing.panel, target, instant=instant).error)
    ]
    return "".join(
        f'<p class="error" role="alert">{markup.text(text, 400)}</p>'
        for text in dict.fromkeys(found)
    )


def _empty(drawing: Drawing) -> str:
    """What it means that there is nothing; not after an error, which says more."""
    if _faults(drawing):
        return ""
    told = drawing.panel.defaults.get("noValue")
    kind = "empty told" if told else "empty"
    return f'<p class="{kind}">{markup.text(told or "No data", 300)}</p>'


def _series(drawing: Drawing) -> list[tuple[Series, tuple[float, ...]]]:
    """The series of all queries, each with its instants."""
    found = []
    for target in drawing.panel.targets:
        legend = drawing.answers.scope.filled(target.legend, "text")
        named = dataclasses.replace(target, legend=legend)
        for instant in (True, False):
            if not (target.is_instant if instant else target.is_range):
                continue
            answer = drawing.answers.of(drawing.panel, target, instant=instant)
            grid = (
                (drawing.answers.window.end,)
                if instant
                else drawing.answers.grid(drawing.panel, target)
            )
            found += (
                [(one, grid) for one in frames.series(named, answer.data, grid)] if grid else []
            )
    return found


def _graph(drawing: Drawing) -> str:
    panel, theme = drawing.panel, drawing.theme
    found = [(one, grid) for one, grid in _series(drawing) if len(grid) > 1]
    if not found:
        return ""
    grid = found[0][1]
    given = []
    for index, (one, own) in enumerate(found):
        field = fields.of_series(panel, one)
        # Queries of a panel share its step, unless one of them has a least one of its own.
        values = one.values if len(own) == len(grid) else _resampled(one.values, own, grid)
        color = field.color(frames.reduced(values, "lastNotNull"), theme, index)
        given.append((field.name or one.name, color, field, values))
    ready = lines.stacked(given)
    legend, rows = _legend(drawing, [line for line in ready if not _is_unnamed(line)])
    label = f"{panel.title}: {lines.summary(ready)}"
    wide = dataclasses.replace(
        drawing.wide, height=drawing.wide.height - 20 * rows - (6 if rows else 0)
    )
    pictures = _both(
        *(
            lines.drawn(
                ready, grid, drawing.canvas(size, font), key=f"p{panel.key}{name}", label=label
            )
            for name, size, font in (("w", wide, 11), ("n", drawing.narrow, 12))
        )
    )
    return pictures + legend


def _resampled(
    values: Sequence[float], own: Sequence[float], grid: Sequence[float]
) -> tuple[float, ...]:
    step = own[1] - own[0]
    indices = (int((instant - own[0]) // step) for instant in grid)
    return tuple(values[min(max(index, 0), len(values) - 1)] for index in indices)


def _both(wide: str, narrow: str) -> str:
    return f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>'


def _is_unnamed(line: Line) -> bool:
    return bool(mapping(line.field.custom.get("hideFrom")).get("legend"))


def _legend(drawing: Drawing, ready: Sequence[Line]) -> tuple[str, int]:
    """The legend, and how many rows it takes on a desk."""
    options = mapping(drawing.panel.options.get("legend"))
    if options.get("showLegend") is False or options.get("displayMode") == "hidden" or not ready:
        return "", 0
    calcs = [str(name) for name in options.get("calcs") or []][:3]
    names = [_legend_text(line, calcs) for line in ready]
    most = min(_LEGEND_ROWS, max(1, int(drawing.wide.height // 60)))
    fitting, rows = legend_rows([len(name) for name in names], drawing.wide.width, most)
    items = [
        f'<li title="{markup.text(name)}">{_swatch(line)}<span>{markup.text(name, 200)}</span></li>'
        for line, name in zip(ready, names, strict=True)
    ]
    more = ""
    if len(items) > fitting:
        hidden = "".join(items[fitting:])
        more = f"<li><details><summary>{len(items) - fitting} more</summary><ul>{hidden}</ul></details></li>"
    return (
        f'<ul class="legend" style="max-height:{20 * rows}px">{"".join(items[:fitting])}{more}</ul>',
        rows,
    )


def _legend_text(line: Line, calcs: Sequence[str]) -> str:
    values = list(line.values - line.base)
    told = [
        f"{name} {units.text(frames.reduced(values, name), line.field.unit, line.field.decimals)}"
        for name in calcs
    ]
    return f"{line.name}  {', '.join(told)}" if told else line.name


def _swatch(line: Line) -> str:
    style = "dashed" if line.is_dashed else "solid"
    return f'<i style="border-top:3px {style} {line.color}"></i>'


def _stats(drawing: Drawing) -> str:
    panel, theme = drawing.panel, drawing.theme
    calcs = mapping(panel.options.get("reduceOptions")).get("calcs")
    calculation = str(calcs[0]) if isinstance(calcs, list) and calcs else "lastNotNull"
    found = _series(drawing)
    if not found:
        return ""
    mode, text_mode = panel.options.get("colorMode", "value"), panel.options.get("textMode", "auto")
    tiles = []
    for index, (one, _) in enumerate(found[:40]):
        field = fields.of_series(panel, one)
        shown = field.shown(frames.reduced(one.values, calculation), theme, index)
        name = field.name or one.name
        named = text_mode in {"name", "value_and_name"} or (text_mode == "auto" and len(found) > 1)
        color = shown.color or theme.text
        style = {
            "background": f"background:{color};color:{ink(color)}",
            "background_solid": f"background:{color};color:{ink(color)}",
            "value": f"color:{readable(color, theme)}",
        }.get(str(mode), "")
        # What has no value has no state either: it is written, not painted.
        style = "" if shown.is_empty else style
        value = shown.text or "No data"
        inner = (
            f'<span class="name" title="{markup.text(name)}">{markup.text(name, 100)}</span>'
            if named
            else ""
        )
        inner += (
            f'<span class="value" style="--n:{min(max(len(value), 3), 60)}">{markup.text(value, 200)}</span>'
            if text_mode != "name"
            else ""
        )
        tiles.append(f'<div class="stat" style="{style}">{inner}</div>')
    more = _note(f"and {len(found) - 40} more") if len(found) > 40 else ""
    return f'<div class="stats">{"".join(tiles)}</div>{more}'


def _heatmap(drawing: Drawing) -> str:
    panel = drawing.panel
    found = [(one, grid) for one, grid in _series(drawing) if len(grid) > 1]
    cells = heat.cells([one for one, _ in found])
    if cells is None or not cells.most:
        return ""
    unit = str(mapping(panel.options.get("yAxis")).get("unit") or panel.defaults.get("unit") or "")
    coloring = mapping(panel.options.get("color"))
    scheme, given = str(coloring.get("scheme") or "Oranges"), coloring.get("exponent")
    exponent = min(max(given, 0.1), 2) if isinstance(given, int | float) else 0.5
    label = f"{panel.title}: heatmap; the fullest cell has {units.text(cells.most, 'short')}"
    wide = dataclasses.replace(drawing.wide, height=drawing.wide.height - 26)
    pictures = _both(
        *(
            heat.drawn(
                cells, found[0][1], drawing.canvas(size, font), unit=unit, scheme=scheme, exponent=exponent,
                key=f"p{panel.key}{name}", label=label,
            )
            for name, size, font in (("w", wide, 11), ("n", drawing.narrow, 12))
        )
    )  # fmt: skip
    colors = ",".join(heat.gradient(scheme, drawing.theme.name))
    return (
        f'{pictures}<p class="scale"><span>few</span><i style="background:linear-gradient(90deg,{colors})"></i>'
        f"<span>{markup.text(units.text(cells.most, 'short'))}</span></p>"
    )


_KINDS: Mapping[str, Callable[[Drawing], str]] = {
    "text": _written,
    "timeseries": _graph,
    "graph": _graph,
    **dict.fromkeys(("stat", "gauge", "bargauge", "singlestat"), _stats),
    "table": _table,
    "heatmap": _heatmap,
}
