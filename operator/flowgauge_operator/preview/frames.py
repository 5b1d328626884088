"""Answers of Prometheus as series and tables, named as Grafana names them. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowgauge_operator.preview.board import Target

NAN = math.nan
_LEGEND = re.compile(r"\{\{\s*(.+?)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Series:
    """One line: a value at every instant of a grid, NaN where there is none."""

    ref: str
    name: str
    labels: Mapping[str, str]
    values: tuple[float, ...]
    histograms: tuple[Mapping[str, Any] | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a table; `heading` is shown in the place of the name where it is given."""

    name: str
    cells: tuple[Any, ...]
    ref: str = ""
    kind: str = "string"
    heading: str = ""

    @property
    def title(self) -> str:
        """What stands above it."""
        return self.heading or self.name


Table = tuple[Column, ...]


def series(target: Target, data: Mapping[str, Any], grid: Sequence[float]) -> list[Series]:
    """The series of an answer, on a grid of instants; an instant answer has a grid of one."""
    samples = _samples(data)
    labels = [{str(k): str(v) for k, v in sample.get("metric", {}).items()} for sample in samples]
    single = _single_label(labels)
    found = []
    for own, sample in zip(labels, samples, strict=True):
        values, histograms = _placed(sample, grid)
        found.append(Series(target.ref, named(target, own, single), own, values, histograms))
    return found


def _samples(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    result = data.get("result")
    if data.get("resultType") in {"scalar", "string"} and isinstance(result, list):
        return [{"metric": {}, "value": result}]
    return (
        [sample for sample in result if isinstance(sample, dict)]
        if isinstance(result, list)
        else []
    )


def _placed(
    sample: Mapping[str, Any], grid: Sequence[float]
) -> tuple[tuple[float, ...], tuple[Mapping[str, Any] | None, ...]]:
    values = [NAN] * len(grid)
    points = sample.get("values") or ([sample["value"]] if "value" in sample else [])
    for instant, text in points:
        if 0 <= (at := _index(grid, float(instant))) < len(grid):
            values[at] = number(text)
    told = sample.get("histograms") or ([sample["histogram"]] if "histogram" in sample else [])
    histograms: list[Mapping[str, Any] | None] = [None] * len(grid) if told else []
    for instant, histogram in told:
        if 0 <= (at := _index(grid, float(instant))) < len(grid):
            histograms[at] = histogram
            values[at] = number(histogram.get("count"))
    return tuple(values), tuple(histograms)


def _index(grid: Sequence[float], instant: float) -> int:
    if len(grid) < 2:
        return 0
    return round((instant - grid[0]) / (grid[1] - grid[0]))


def number(text: object) -> float:
    """A number as Prometheus writes it."""
    try:
        return float(str(text))
    except ValueError:
        return NAN


def _single_label(labels: Iterable[Mapping[str, str]]) -> str:
    keys = {key for own in labels for key in own if key != "__name__"}
    return keys.pop() if len(keys) == 1 else ""


def named(target: Target, labels: Mapping[str, str], single: str = "") -> str:
    """The name of a series by its legend format."""
    if target.legend and target.legend != "__auto":
        return _LEGEND.sub(lambda found: labels.get(found[1], ""), target.legend)
    if target.legend and not labels:
        return target.expr
    if target.legend and single in labels:
        return labels[single]
    inner = ", ".join(
        f'{key}="{text}"' for key, text in sorted(labels.items()) if key != "__name__"
    )
    name = labels.get("__name__", "")
    return f"{name}{{{inner}}}" if inner else name or target.expr


def event_text(form: str, labels: Mapping[str, str]) -> str:
    """A title or text of an annotation."""
    return _LEGEND.sub(lambda found: labels.get(found[1], ""), form).strip()


def table(target: Target, data: Mapping[str, Any], *, alone: bool) -> Table:
    """An answer as a table: instant, labels and value, as the data source gives it for the format `table`."""
    samples = [sample for sample in _samples(data) if "value" in sample or sample.get("values")]
    if not samples:
        return ()
    points = [sample.get("value") or sample["values"][-1] for sample in samples]
    keys = sorted({key for sample in samples for key in sample.get("metric", {})})
    labels = [
        Column(str(key), tuple(sample["metric"].get(key, "") for sample in samples), target.ref)
        for key in keys
    ]
    time = Column("Time", tuple(float(point[0]) * 1000 for point in points), target.ref, "time")
    name = "Value" if alone else f"Value #{target.ref}"
    return (
        time,
        *labels,
        Column(name, tuple(number(point[1]) for point in points), target.ref, "number"),
    )


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]


_REDUCERS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "last": lambda values: values[-1] if values else NAN,
    "lastNotNull": lambda values: (_finite(values) or [NAN])[-1],
    "firstNotNull": lambda values: (_finite(values) or [NAN])[0],
    "first": lambda values: values[0] if values else NAN,
    "min": lambda values: min(_finite(values), default=NAN),
    "max": lambda values: max(_finite(values), default=NAN),
    "sum": lambda values: math.fsum(_finite(values)),
    "mean": lambda values: (
        math.fsum(_finite(values)) / len(_finite(values)) if _finite(values) else NAN
    ),
    "count": lambda values: float(len(values)),
    "range": lambda values: max(_finite(values), default=NAN) - min(_finite(values), default=NAN),
    "diff": lambda values: (_finite(values) or [NAN])[-1] - (_finite(values) or [NAN])[0],
}


def reduced(values: Sequence[float], calculation: str) -> float:
    """One number for many; what we do not know is the last one."""
    return _REDUCERS.get(calculation, _REDUCERS["lastNotNull"])(values)
