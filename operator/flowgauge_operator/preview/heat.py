"""Heatmaps of histograms: of classic buckets, whose series are cumulative, and of native ones. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from numpy.typing import NDArray

from flowgauge_operator.preview import axes as frame
from flowgauge_operator.preview import svg, units
from flowgauge_operator.preview.axes import Canvas
from flowgauge_operator.preview.frames import Series, number

_SCHEMES = {
    "Oranges": ("#fff5eb", "#fdbe85", "#fd8d3c", "#d94701", "#7f2704"),
    "Blues": ("#f7fbff", "#9ecae1", "#4292c6", "#08519c", "#08306b"),
    "Greens": ("#f7fcf5", "#a1d99b", "#41ab5d", "#006d2c", "#00441b"),
    "Reds": ("#fff5f0", "#fc9272", "#ef3b2c", "#a50f15", "#67000d"),
    "Spectral": ("#5e4fa2", "#66c2a5", "#ffffbf", "#f46d43", "#9e0142"),
}


@dataclass(frozen=True, slots=True)
class Cells:
    """How many fell between which bounds, at every instant; rows rise with their bounds."""

    bounds: tuple[tuple[float, float], ...]
    counts: NDArray[np.float64]

    @property
    def most(self) -> float:
        """The largest count."""
        return (
            float(np.nanmax(self.counts))
            if self.counts.size and not np.isnan(self.counts).all()
            else 0.0
        )


def cells(series: Sequence[Series]) -> Cells | None:
    """The cells of the answers to a heatmap's query, None where there are none."""
    if any(one.histograms for one in series):
        return _native(series)
    by_bound: dict[float, NDArray[np.float64]] = {}
    for one in series:
        bound = number(one.labels.get("le", one.name).replace("+Inf", "inf"))
        values = np.asarray(one.values, dtype=np.float64)
        if not math.isnan(bound):
            by_bound[bound] = by_bound[bound] + values if bound in by_bound else values
    if not by_bound:
        return None
    bounds = sorted(by_bound)
    rows = np.vstack([by_bound[bound] for bound in bounds])
    # Buckets are cumulative; a scrape between two of them may make one a little smaller than the one below.
    counts = np.maximum(np.diff(rows, axis=0, prepend=0), 0)
    return _trimmed(list(zip([-math.inf, *bounds], bounds, strict=False)), counts)


def _native(series: Sequence[Series]) -> Cells | None:
    told: dict[tuple[float, float], dict[int, float]] = {}
    length = max((len(one.values) for one in series), default=0)
    for one in series:
        for at, histogram in enumerate(one.histograms):
            for low, high, count in _buckets(histogram or {}):
                row = told.setdefault((low, high), {})
                row[at] = row.get(at, 0) + count
    if not told:
        return None
    seen = {
        at for one in series for at, histogram in enumerate(one.histograms) if histogram is not None
    }
    counts = np.full((len(told), length), np.nan)
    for number_, bound in enumerate(sorted(told)):
        for at in seen:
            counts[number_, at] = told[bound].get(at, 0)
    return Cells(tuple(sorted(told)), counts)


def _buckets(histogram: Mapping[str, Any]) -> Iterable[tuple[float, float, float]]:
    for bucket in histogram.get("buckets") or []:
        if isinstance(bucket, list) and len(bucket) == 4:
            yield number(bucket[1]), number(bucket[2]), number(bucket[3])


def _trimmed(bounds: Sequence[tuple[float, float]], counts: NDArray[np.float64]) -> Cells:
    """Without the rows above and below all that happened, of which ten buckets may be."""
    used = [row for row in range(len(bounds)) if np.nansum(counts[row]) > 0]
    if not used:
        return Cells(tuple(bounds), counts)
    low, high = max(used[0] - 1, 0), min(used[-1] + 2, len(bounds))
    return Cells(tuple(bounds[low:high]), counts[low:high])


def drawn(
    found: Cells,
    grid: Sequence[float],
    canvas: Canvas,
    *,
    unit: str,
    scheme: str,
    exponent: float,
    key: str,
    label: str,
) -> str:
    """The heatmap as SVG; its cells are one small picture within."""
    figure = svg.figure(canvas.width, canvas.height)
    marks = _marks(found, unit, most=max(2, int(canvas.height // 24)))
    axes = frame.framed(figure, canvas, [text for _, text in marks])
    axes.set_yticks([at for at, _ in marks], [text for _, text in marks])
    apart = grid[1] - grid[0] if len(grid) > 1 else 60
    shown = np.where(found.counts > 0, found.counts, np.nan)
    axes.imshow(
        shown,
        origin="lower",
        aspect="auto",
        interpolation="none",
        cmap=_colors(scheme, canvas.theme.name),
        norm=PowerNorm(exponent, 0, found.most or 1),
        extent=(grid[0] - apart / 2, grid[-1] + apart / 2, 0, len(found.bounds)),
        zorder=1,
    )
    axes.set_xlim(canvas.window.start, canvas.window.end)
    axes.set_ylim(0, len(found.bounds))
    frame.mark(axes, canvas)
    return svg.text(figure, key=key, label=label)


def gradient(scheme: str, theme: str) -> Sequence[str]:
    """The colours from few to many."""
    colors = _SCHEMES.get(scheme, _SCHEMES["Oranges"])
    return colors[1:] if theme == "light" else tuple(reversed(colors))[1:]


def _colors(scheme: str, theme: str) -> LinearSegmentedColormap:
    return LinearSegmentedColormap.from_list("cells", list(gradient(scheme, theme)))


def _marks(found: Cells, unit: str, most: int) -> Sequence[tuple[float, str]]:
    """Bounds at the upper edges of their rows, as many as there is room for."""
    every = max(1, math.ceil(len(found.bounds) / most))
    finite = [
        (row + 1.0, high) for row, (_, high) in enumerate(found.bounds) if math.isfinite(high)
    ]
    return frame.shortened([(at, units.text(high, unit)) for at, high in finite[::every]])
