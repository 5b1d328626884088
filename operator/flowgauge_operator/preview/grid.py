"""Sizes of what is on the page, as Grafana's grid has them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowgauge_operator.preview.board import Panel

COLUMNS, ROW, GAP = 24, 30, 8
EDGE_WIDE, EDGE_NARROW = 16, 8
_FRAME = 18  # padding and border of a panel, left and right
_HEAD = 42  # its title, and its padding below
NARROW = 390
LETTER = 6.6  # of the page's small text, rather too much than too little


@dataclass(frozen=True, slots=True)
class Size:
    """Pixels that the content of a panel has."""

    width: float
    height: float


def wide(panel: Panel, page: int) -> Size:
    """On a desk: its part of the columns."""
    column = (page - 2 * EDGE_WIDE - (COLUMNS - 1) * GAP) / COLUMNS
    width = panel.place.width * column + (panel.place.width - 1) * GAP - _FRAME
    return Size(max(width, 60), _height(panel))


def narrow(panel: Panel) -> Size:
    """On a phone: the whole width."""
    return Size(NARROW - 2 * EDGE_NARROW - _FRAME, max(_height(panel) - 20, 150))


def _height(panel: Panel) -> float:
    return max(panel.place.height * (ROW + GAP) - GAP - _HEAD, 40)


def legend_rows(lengths: Sequence[int], width: float, most: int) -> tuple[int, int]:
    """How many of these names fit into rows of a legend, and how many rows they take."""
    rows, used = 1, 0.0
    for count, length in enumerate(lengths):
        wanted = min(length * LETTER + 36, width)
        if used and used + wanted > width:
            if rows == most:
                # The last place is for how many more there are.
                return max(count - 1, 1), rows
            rows, used = rows + 1, 0.0
        used += wanted
    return len(lengths), rows
