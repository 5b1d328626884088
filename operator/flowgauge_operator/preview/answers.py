"""What Prometheus answered to the queries of a dashboard. Pure records between those who ask and those who draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowgauge_operator.preview.axes import Event
from flowgauge_operator.preview.board import Panel, Target
from flowgauge_operator.preview.variables import Scope
from flowgauge_operator.preview.window import Window


@dataclass(frozen=True, slots=True)
class Question:
    """A query as it is sent; without a step it is one at the end of the time."""

    expr: str
    step: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """Its data, or why there are none."""

    data: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True)
class Answers:
    """Everything that was asked for one dashboard."""

    window: Window
    scope: Scope
    given: Mapping[Question, Answer]
    questions: Mapping[tuple[str, str, bool], Question]
    events: Sequence[Event] = ()
    faults: Sequence[str] = ()

    def of(self, panel: Panel, target: Target, *, instant: bool) -> Answer:
        """The answer to a query of a panel."""
        question = self.questions.get((panel.key, target.ref, instant))
        return self.given.get(question, Answer()) if question else Answer()

    def grid(self, panel: Panel, target: Target) -> tuple[float, ...]:
        """The instants of a query over time."""
        question = self.questions.get((panel.key, target.ref, False))
        return self.window.grid(question.step) if question and question.step else ()
