"""What has to be asked to draw a dashboard, and what events its annotations' answers hold. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flowgauge_operator import duration
from flowgauge_operator.preview import frames
from flowgauge_operator.preview.answers import Question
from flowgauge_operator.preview.axes import Event
from flowgauge_operator.preview.board import Annotation, Board, Panel, Target
from flowgauge_operator.preview.grid import wide
from flowgauge_operator.preview.variables import Scope, built_in
from flowgauge_operator.preview.window import Window

_MOST_EVENTS = 60


def questions(
    shown: Board, scope: Scope, window: Window, width: int
) -> dict[tuple[str, str, bool], Question]:
    """The queries of all panels as they are sent, by panel, query and whether it asks for one instant."""
    found = {}
    for panel in shown.panels:
        for target in panel.targets:
            step = _step(panel, target, window, width)
            filled = Scope(scope.values, built_in(window, step)).filled(target.expr)
            if target.is_instant:
                found[panel.key, target.ref, True] = Question(filled)
            if target.is_range:
                found[panel.key, target.ref, False] = Question(filled, step)
    return found


def _step(panel: Panel, target: Target, window: Window, width: int) -> float:
    points = panel.json.get("maxDataPoints")
    wanted = (
        int(points)
        if isinstance(points, int | float) and points > 0
        else int(wide(panel, width).width)
    )
    return window.step(wanted, _least(target.least_step or str(panel.json.get("interval") or "")))


def _least(text: str) -> float:
    try:
        return duration.seconds(text.lstrip(">"))
    except ValueError:
        return 0


def asked(annotation: Annotation, scope: Scope, window: Window) -> Question:
    """The query of an annotation."""
    step = window.step(1500, _least(annotation.step))
    return Question(Scope(scope.values, built_in(window, step)).filled(annotation.expr), step)


def events(
    found: Iterable[tuple[Annotation, Mapping[str, Any], float]], window: Window
) -> list[Event]:
    """Numbered events of all annotations, each given with its answer and step; the first ones, if there are too many."""
    everything = itertools.chain.from_iterable(_events(*one) for one in found)
    inside = [
        event for event in everything if event.end >= window.start and event.start <= window.end
    ]
    ordered = sorted(inside, key=lambda event: (event.start, event.name, event.title))
    return [
        Event(number, e.name, e.color, e.start, e.end, e.title, e.text)
        for number, e in enumerate(ordered[:_MOST_EVENTS], 1)
    ]


def _events(annotation: Annotation, data: Mapping[str, Any], step: float) -> Iterator[Event]:
    for sample in data.get("result") or []:
        labels = {str(key): str(text) for key, text in sample.get("metric", {}).items()}
        title, text = (
            frames.event_text(form, labels) for form in (annotation.title, annotation.text)
        )
        points = [(float(at), frames.number(value)) for at, value in sample.get("values") or []]
        for start, end in _times(annotation, points, step):
            yield Event(0, annotation.name, annotation.color, start, end, title, text)


def _times(
    annotation: Annotation, points: list[tuple[float, float]], step: float
) -> Iterator[tuple[float, float]]:
    if annotation.value_is_time:
        for value in dict.fromkeys(value for _, value in points):
            if math.isfinite(value):
                yield value / 1000, value / 1000
        return
    start = last = -math.inf
    for at, value in points:
        if not value > 0:
            continue
        if at - last > step * 1.5:
            if start > -math.inf:
                yield start, last
            start = at
        last = at
    if start > -math.inf:
        yield start, last
