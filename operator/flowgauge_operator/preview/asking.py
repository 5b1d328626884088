"""Ask Prometheus everything that a dashboard asks, a few queries at a time; one that fails is told in its panel."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flowgauge_operator.preview import questions, variables
from flowgauge_operator.preview.answers import Answer, Answers, Question
from flowgauge_operator.preview.board import Board
from flowgauge_operator.preview.variables import LabelValues, Scope, Value, Variable
from flowgauge_operator.preview.window import Window
from flowgauge_operator.prometheus import Prometheus, PrometheusError

_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Asking:
    """One dashboard at one time; `given` are values of variables that the user chose."""

    prometheus: Prometheus
    window: Window
    width: int
    given: Mapping[str, Sequence[str]]

    async def everything(self, board: Board) -> Answers:
        """All answers that drawing it takes.

        Raises:
            PrometheusError: it cannot be asked at all.
        """
        await self.prometheus.instant("vector(1)", self.window.end)
        scope, faults = await self._scope(board.variables)
        asked = questions.questions(board, scope, self.window, self.width)
        marked = [(one, questions.asked(one, scope, self.window)) for one in board.annotations]
        answers = await self._all([*asked.values(), *(question for _, question in marked)])
        faults += [
            f"{one.name}: query failed: {answers[q].error}" for one, q in marked if answers[q].error
        ]
        told = [(one, answers[q].data, q.step or 60) for one, q in marked]
        return Answers(
            self.window, scope, answers, asked, questions.events(told, self.window), faults
        )

    async def _scope(self, declared: Iterable[Variable]) -> tuple[Scope, list[str]]:
        """Values of the variables in their order: one may stand in the query of a later one."""
        values, faults = dict[str, Value](), list[str]()
        names = variables.built_in(self.window, self.window.step(self.width))
        for variable in declared:
            if variable.kind == "datasource":
                continue
            try:
                found = await self._values(variable, Scope(values, names))
            except PrometheusError as error:
                found = ()
                faults.append(f"variable {variable.name}: query failed: {error}")
            values[variable.name] = variables.value(
                variable, found, self.given.get(variable.name, ())
            )
        return Scope(values, names), faults

    async def _values(self, variable: Variable, scope: Scope) -> Sequence[str]:
        question = variables.question(variable, scope)
        if question is None:
            return ()
        if isinstance(question, LabelValues):
            return await self.prometheus.label_values(
                question.label, question.selector, self.window.start, self.window.end
            )
        data = await self.prometheus.instant(question.expr, self.window.end)
        return [_series_text(sample) for sample in data.get("result") or []]

    async def _all(self, asked: Iterable[Question]) -> dict[Question, Answer]:
        room = asyncio.Semaphore(_AT_ONCE)

        async def ask(question: Question) -> Answer:
            async with room:
                return await self._answer(question)

        distinct = list(dict.fromkeys(asked))
        answers = await asyncio.gather(*(ask(question) for question in distinct))
        return dict(zip(distinct, answers, strict=True))

    async def _answer(self, question: Question) -> Answer:
        try:
            if question.step is None:
                return Answer(await self.prometheus.instant(question.expr, self.window.end))
            grid = self.window.grid(question.step)
            return Answer(
                await self.prometheus.over_time(question.expr, grid[0], grid[-1], question.step)
            )
        except PrometheusError as error:
            return Answer(error=str(error))


def _series_text(sample: Mapping[str, object]) -> str:
    metric, value = sample.get("metric"), sample.get("value")
    labels = dict(metric) if isinstance(metric, dict) else {}
    name = labels.pop("__name__", "")
    inner = ",".join(f'{key}="{text}"' for key, text in sorted(labels.items()))
    number = f" {value[1]}" if isinstance(value, list) else ""
    return f"{name}{{{inner}}}{number}"
