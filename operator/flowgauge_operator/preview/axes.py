"""What every graph has: a time axis, events as vertical lines, and the grid. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flowgauge_operator.preview import svg
from flowgauge_operator.preview.colors import Theme, readable
from flowgauge_operator.preview.window import Window

_TOP, _BOTTOM, _RIGHT = 16, 22, 12
_LETTER = 0.62  # width of a letter, in its size
_LONGEST = 24


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened; `number` leads from its line in a graph to its text on the page."""

    number: int
    name: str
    color: str
    start: float
    end: float
    title: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Canvas:
    """The pixels, colours and time that a graph is drawn in."""

    width: float
    height: float
    theme: Theme
    window: Window
    size: float = 11
    events: Sequence[Event] = ()


def shortened(ticks: Sequence[tuple[float, str]]) -> Sequence[tuple[float, str]]:
    """Ticks whose labels leave room for the graph, whatever a user's unit is."""
    return [(at, svg.printable(" ".join(label.split()))[:_LONGEST]) for at, label in ticks]


def framed(
    figure: Figure, canvas: Canvas, labels: Sequence[str], right: Sequence[str] = ()
) -> Axes:
    """Axes with room for these labels on their sides."""
    letter = canvas.size * _LETTER
    left = 10 + letter * max((len(label) for label in labels), default=2)
    room = max(
        _RIGHT, 10 + letter * max((len(label) for label in right), default=0) if right else 0
    )
    width = max(canvas.width - left - room, 40)
    axes = figure.add_axes(
        (
            left / canvas.width,
            _BOTTOM / canvas.height,
            width / canvas.width,
            max(canvas.height - _BOTTOM - _TOP, 20) / canvas.height,
        )
    )
    axes.set_facecolor("none")
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xlim(canvas.window.start, canvas.window.end)
    ticks = [
        (at, label)
        for at, label in canvas.window.ticks(width)
        if _fits(at, label, canvas, width, left, room)
    ]
    axes.set_xticks([at for at, _ in ticks], [label for _, label in ticks])
    style(axes, canvas)
    axes.grid(visible=True, color=canvas.theme.line, linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def _fits(at: float, label: str, canvas: Canvas, width: float, left: float, right: float) -> bool:
    """Whether a label at an instant ends within the picture."""
    x = (at - canvas.window.start) / canvas.window.length * width
    half = len(label) * canvas.size * _LETTER / 2
    return x + left >= half and x + half <= width + right


def style(axes: Axes, canvas: Canvas) -> None:
    """Small quiet labels without tick marks."""
    axes.tick_params(length=0, pad=4, labelsize=canvas.size, labelcolor=canvas.theme.weak)


def mark(axes: Axes, canvas: Canvas) -> None:
    """Draw the events: a dashed line each, with its number above; a time that lasts is shaded."""
    shown = [
        e for e in canvas.events if e.end >= canvas.window.start and e.start <= canvas.window.end
    ]
    _shade(axes, shown, canvas)
    last, numbers = -1e9, list[tuple[float, str, list[int]]]()
    width = canvas.width * axes.get_position().width
    # As much as a name of several takes, so that names never run into each other.
    digits = len(str(max((event.number for event in shown), default=0)))
    room = max(26, (2 * digits + 2) * canvas.size * _LETTER)
    for event in sorted(shown, key=lambda e: e.start):
        at, color = max(event.start, canvas.window.start), readable(event.color, canvas.theme)
        axes.axvline(at, color=color, linewidth=1, linestyle=(0, (3, 2)), zorder=3)
        x = (at - canvas.window.start) / canvas.window.length * width
        if numbers and x - last < room:
            numbers[-1][2].append(event.number)
        else:
            numbers.append((at, color, [event.number]))
            last = x
    for at, color, own in numbers:
        name = f"▾{own[0]}" if len(own) == 1 else f"▾{own[0]}-{own[-1]}"
        axes.text(
            at, 1.01, name, transform=axes.get_xaxis_transform(), color=color, fontsize=canvas.size - 1,
            ha="left" if at == canvas.window.start else "center", va="bottom", clip_on=False,
        )  # fmt: skip


def _shade(axes: Axes, events: Sequence[Event], canvas: Canvas) -> None:
    """Shade the times that last, each instant once for a colour: many alerts at one time would hide what they mark."""
    for color in {event.color for event in events}:
        lasting = sorted((e.start, e.end) for e in events if e.color == color and e.end > e.start)
        reached = canvas.window.start
        for start, end in lasting:
            left, right = max(start, reached), min(end, canvas.window.end)
            if right > left:
                axes.axvspan(left, right, color=color, alpha=0.1, linewidth=0, zorder=0.5)
                reached = right
