"""Graphs over time: lines, areas, bars and points, stacked or not, with thresholds and two axes. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from flowgauge_operator.preview import axes as frame
from flowgauge_operator.preview import svg, units
from flowgauge_operator.preview.axes import Canvas
from flowgauge_operator.preview.board import mapping
from flowgauge_operator.preview.colors import readable
from flowgauge_operator.preview.fields import Field
from flowgauge_operator.preview.frames import reduced

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Line:
    """One series as it is drawn: from `base`, which is 0 where nothing is stacked below."""

    name: str
    color: str
    field: Field
    values: Numbers
    base: Numbers

    @property
    def is_hidden(self) -> bool:
        """Whether it is only there for others, such as the lower end of a band."""
        return bool(mapping(self.field.custom.get("hideFrom")).get("viz"))

    @property
    def is_dashed(self) -> bool:
        """Whether its line is broken."""
        return mapping(self.field.custom.get("lineStyle")).get("fill") in {"dash", "dot"}

    def setting(self, name: str, default: float) -> float:
        """A number among the settings."""
        found = self.field.custom.get(name)
        return float(found) if isinstance(found, int | float) else default


def stacked(lines: Sequence[tuple[str, str, Field, Sequence[float]]]) -> list[Line]:
    """Lines in their order; those of one stack each upon the one before."""
    tops: dict[str, Numbers] = {}
    found = []
    for name, color, field, numbers in lines:
        values = np.asarray(numbers, dtype=np.float64)
        values[~np.isfinite(values)] = np.nan
        if field.custom.get("transform") == "negative-Y":
            values = -values
        stacking = mapping(field.custom.get("stacking"))
        base = np.zeros_like(values)
        if stacking.get("mode") in {"normal", "percent"}:
            key = f"{stacking.get('group')} {field.unit}"
            base = tops.get(key, base)
            tops[key] = base + np.nan_to_num(values)
            values = np.where(np.isnan(values), np.nan, base + values)
        found.append(Line(name, color, field, values, base))
    return found


def drawn(
    lines: Sequence[Line], grid: Sequence[float], canvas: Canvas, *, key: str, label: str
) -> str:
    """The graph as SVG."""
    figure = svg.figure(canvas.width, canvas.height)
    shown = [line for line in lines if not line.is_hidden]
    right_unit = _second_unit(shown)
    left = [line for line in shown if not _is_right(line, right_unit)]
    right = [line for line in shown if _is_right(line, right_unit)]
    left_ticks, right_ticks = _ticks(left, canvas), _ticks(right, canvas) if right else None
    axes = frame.framed(
        figure,
        canvas,
        [text for _, text in left_ticks.marks],
        [text for _, text in right_ticks.marks] if right_ticks else (),
    )
    _fill(axes, left, lines, grid, canvas, left_ticks)
    if right_ticks:
        other = axes.twinx()
        frame.style(other, canvas)
        for side in other.spines.values():
            side.set_visible(False)
        _fill(other, right, lines, grid, canvas, right_ticks)
    frame.mark(axes, canvas)
    return svg.text(figure, key=key, label=label)


def _second_unit(lines: Sequence[Line]) -> str | None:
    used = list(dict.fromkeys(line.field.unit for line in lines))
    return used[1] if len(used) > 1 else None


def _is_right(line: Line, unit: str | None) -> bool:
    placement = line.field.custom.get("axisPlacement")
    return placement == "right" or (
        placement != "left" and unit is not None and line.field.unit == unit
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    marks: Sequence[tuple[float, str]]
    log: float = 0


def _ticks(lines: Sequence[Line], canvas: Canvas) -> _Scale:
    field = lines[0].field if lines else Field({})
    low, high = _range(lines, field)
    log = mapping(field.custom.get("scaleDistribution"))
    if log.get("type") == "log" and high > 0:
        base = float(log.get("log") or 10)
        low = (
            low
            if low > 0
            else min(
                (float(v) for line in lines for v in line.values if v > 0), default=high / base
            )
        )
        first, last = math.floor(math.log(low, base)), math.ceil(math.log(high, base))
        powers = range(first, last + 1, max(1, (last - first) // 6))
        marks = [(base**p, units.text(base**p, field.unit)) for p in powers]
        return _Scale(base**first, base**last, frame.shortened(marks), base)
    most = max(2, int(canvas.height // 36))
    return _Scale(low, high, frame.shortened(units.ticks(low, high, field.unit, most)))


def _range(lines: Sequence[Line], field: Field) -> tuple[float, float]:
    """The ends of the value axis, as Grafana finds them: data with a tenth of room, and 0 where it is near."""
    numbers = [float(v) for line in lines for v in line.values if not math.isnan(v)]
    numbers += [
        0.0 for line in lines if line.field.custom.get("drawStyle") == "bars" or line.base.any()
    ]
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    room = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
    soft_low, soft_high = field.limit("axisSoftMin"), field.limit("axisSoftMax")
    bottom = low - room if low < 0 or low - room > 0 else 0.0
    top = high + room if high > 0 or high + room < 0 else (0.0 if low < 0 else room)
    bottom = bottom if soft_low is None or low < soft_low else soft_low
    top = top if soft_high is None or high > soft_high else soft_high
    least, most = field.limit("min"), field.limit("max")
    bottom, top = bottom if least is None else least, top if most is None else most
    return (bottom, top) if bottom < top else (bottom, bottom + max(abs(bottom), 1.0))


def _fill(
    axes: Axes,
    lines: Sequence[Line],
    everything: Sequence[Line],
    grid: Sequence[float],
    canvas: Canvas,
    scale: _Scale,
) -> None:
    axes.set_ylim(scale.low, scale.high)
    if scale.log:
        axes.set_yscale("log", base=scale.log)
        axes.minorticks_off()
    axes.set_yticks([at for at, _ in scale.marks], [text for _, text in scale.marks])
    instants = np.asarray(grid, dtype=np.float64)
    # The first lies below the others in a stack and above them elsewhere, as in Grafana.
    for order, line in enumerate(lines):
        _line(axes, line, instants, zorder=2 + order / 1000)
        _band(axes, line, everything, instants)
    if lines:
        _thresholds(axes, lines[0].field, canvas, scale)


def _line(axes: Axes, line: Line, instants: Numbers, *, zorder: float) -> None:
    style, step = line.field.custom.get("drawStyle"), _steps(line)
    opacity, width = line.setting("fillOpacity", 0) / 100, line.setting("lineWidth", 1)
    common: dict[str, Any] = {"color": line.color, "zorder": zorder}
    apart = float(instants[1] - instants[0]) if len(instants) > 1 else 60.0
    if style == "bars":
        there = ~np.isnan(line.values)
        axes.bar(
            instants[there], (line.values - line.base)[there], apart * 0.8, line.base[there],
            alpha=max(opacity, 0.3), linewidth=0, **common,
        )  # fmt: skip
        return
    if style == "points":
        axes.plot(instants, line.values, ".", markersize=line.setting("pointSize", 5), **common)
        return
    values, xs, base = line.values, instants, line.base
    if line.field.custom.get("spanNulls") is True:
        there = ~np.isnan(values)
        values, xs, base = values[there], instants[there], base[there]
    if opacity:
        axes.fill_between(
            xs,
            base,
            values,
            where=~np.isnan(values),
            step=_FILLS.get(step),
            alpha=opacity,
            linewidth=0,
            **common,
        )
    axes.plot(
        xs, values, drawstyle=step, linewidth=max(width, 1) * 1.25, linestyle=_dash(line), **common
    )
    if line.field.custom.get("showPoints") != "never":
        alone = ~np.isnan(values) & _edges(values)
        axes.plot(xs[alone], values[alone], ".", markersize=5, **common)


_FILLS: dict[str, Any] = {"steps-post": "post", "steps-pre": "pre"}


def _steps(line: Line) -> Any:
    return {"stepAfter": "steps-post", "stepBefore": "steps-pre"}.get(
        str(line.field.custom.get("lineInterpolation")), "default"
    )


def _dash(line: Line) -> Any:
    style = mapping(line.field.custom.get("lineStyle"))
    if not line.is_dashed:
        return "-"
    given = style.get("dash")
    pattern = (
        [float(n) for n in given] if isinstance(given, list) and len(given) > 1 else [6.0, 4.0]
    )
    # Matplotlib counts in line widths, Grafana in pixels.
    width = max(line.setting("lineWidth", 1), 1) * 1.25
    return (0, tuple(max(n, 1) / width for n in pattern[: len(pattern) // 2 * 2]))


def _edges(values: Numbers) -> NDArray[np.bool_]:
    """Where a value has no neighbour, so that no line shows it."""
    missing = np.isnan(np.concatenate(([np.nan], values, [np.nan])))
    return missing[:-2] & missing[2:]


def _band(axes: Axes, line: Line, everything: Sequence[Line], instants: Numbers) -> None:
    below = line.field.custom.get("fillBelowTo")
    other = next((one for one in everything if one.name == below), None)
    if below and other is not None:
        there = ~np.isnan(line.values) & ~np.isnan(other.values)
        opacity = line.setting("fillOpacity", 0) / 100 or 0.2
        axes.fill_between(
            instants,
            other.values,
            line.values,
            where=there,
            color=line.color,
            alpha=opacity,
            linewidth=0,
        )


def _thresholds(axes: Axes, field: Field, canvas: Canvas, scale: _Scale) -> None:
    mode = str(mapping(field.custom.get("thresholdsStyle")).get("mode") or "off")
    steps = field.thresholds(scale.low, scale.high) if mode != "off" else ()
    uppers = [step.value for step in steps[1:]] + [math.inf]
    named = -math.inf
    for step, upper in zip(steps, uppers, strict=False):
        color = canvas.theme.color(step.color)
        low, high = max(step.value, scale.low), min(upper, scale.high)
        if "area" in mode and low < high:
            axes.axhspan(low, high, color=color, alpha=0.1, linewidth=0, zorder=0.4)
        if mode != "area" and scale.low <= step.value <= scale.high:
            dash: Any = (0, (6, 4)) if "dashed" in mode else "-"
            axes.axhline(step.value, color=color, linewidth=1.5, linestyle=dash, zorder=2.5)
            if (step.value - named) / (scale.high - scale.low) * canvas.height > 22:
                _name(axes, step.value, field, color, canvas, scale)
                named = step.value


def _name(axes: Axes, at: float, field: Field, color: str, canvas: Canvas, scale: _Scale) -> None:
    """The number of a threshold beside its line: colour is not the only sign."""
    is_high = (at - scale.low) / (scale.high - scale.low) > 0.85
    text = frame.shortened([(at, units.text(at, field.unit, field.decimals))])[0][1]
    axes.annotate(
        text,
        (1, at),
        xycoords=("axes fraction", "data"),
        xytext=(-2, -2 if is_high else 2),
        textcoords="offset points",
        ha="right",
        va="top" if is_high else "bottom",
        fontsize=canvas.size - 1,
        zorder=4,
        color=readable(color, canvas.theme),
    )


def summary(lines: Sequence[Line]) -> str:
    """The last and the largest value of every line, for those who do not see it."""
    parts = []
    for line in lines[:12]:
        values = list(line.values - line.base)
        last, most = (
            units.text(reduced(values, kind), line.field.unit) for kind in ("lastNotNull", "max")
        )
        parts.append(f"{line.name}: last {last}, largest {most}")
    more = f"; and {len(lines) - 12} more" if len(lines) > 12 else ""
    return "; ".join(parts) + more
