"""What holds for one field of a panel, and how its values look: text and colour by unit, mappings and thresholds. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowgauge_operator.preview import units
from flowgauge_operator.preview.board import Json, Panel, mapping
from flowgauge_operator.preview.colors import Theme
from flowgauge_operator.preview.frames import Column, Series
from flowgauge_operator.preview.transform import is_match


@dataclass(frozen=True, slots=True)
class Shown:
    """A value as a reader sees it; `color` is None where none was asked for."""

    text: str
    color: str | None = None
    is_empty: bool = False


@dataclass(frozen=True, slots=True)
class Threshold:
    """From `value` on, `color` holds."""

    value: float
    color: str


@dataclass(frozen=True, slots=True)
class Field:
    """Settings of one field: the panel's, with what its overrides say."""

    settings: Json

    @property
    def unit(self) -> str:
        """Grafana's name of the unit."""
        return str(self.settings.get("unit") or "")

    @property
    def decimals(self) -> int | None:
        """How many decimals, if that is said."""
        found = self.settings.get("decimals")
        return int(found) if isinstance(found, int | float) else None

    @property
    def custom(self) -> Json:
        """Settings that only its type of panel knows."""
        return mapping(self.settings.get("custom"))

    @property
    def name(self) -> str:
        """A name that is shown in the place of its own."""
        return str(self.settings.get("displayName") or "")

    def limit(self, name: str) -> float | None:
        """`min` or `max`, or a soft limit of the axis."""
        found = self.settings.get(name, self.custom.get(name))
        return float(found) if isinstance(found, int | float) and math.isfinite(found) else None

    def thresholds(self, low: float = 0, high: float = 1) -> Sequence[Threshold]:
        """Steps in rising order; percentages are of the range between two numbers."""
        given = mapping(self.settings.get("thresholds"))
        found = []
        for step in given.get("steps") or []:
            value = step.get("value")
            bound = float(value) if isinstance(value, int | float) else -math.inf
            if given.get("mode") == "percentage" and bound > -math.inf:
                bound = low + bound / 100 * (high - low)
            found.append(Threshold(bound, str(step.get("color"))))
        return sorted(found, key=lambda step: step.value)

    def color(self, value: float, theme: Theme, index: int = 0) -> str:
        """The colour of a value, or of the nth series where its colour does not follow from it."""
        given = mapping(self.settings.get("color"))
        mode = str(given.get("mode") or "thresholds")
        if mode in {"fixed", "shades"}:
            return theme.color(given.get("fixedColor") or "green")
        if mode != "thresholds":
            return theme.series(index)
        low, high = self.limit("min") or 0, self.limit("max")
        steps = self.thresholds(low, 100 if high is None else high)
        if not steps or math.isnan(value):
            return theme.color(steps[0].color if steps else "text")
        return theme.color(
            next((s.color for s in reversed(steps) if value >= s.value), steps[0].color)
        )

    def shown(self, value: object, theme: Theme, index: int = 0) -> Shown:
        """A value as text, with its colour."""
        if found := self._mapped(value):
            number = value if isinstance(value, int | float) else math.nan
            color = (
                theme.color(found["color"])
                if found.get("color")
                else self.color(float(number), theme, index)
            )
            plain = self._text(value)
            return Shown(str(found.get("text") or plain), color)
        if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
            return Shown(str(self.settings.get("noValue") or ""), is_empty=True)
        if isinstance(value, int | float):
            return Shown(self._text(value), self.color(float(value), theme, index))
        return Shown(str(value))

    def _text(self, value: object) -> str:
        if isinstance(value, int | float):
            return units.text(float(value), self.unit, self.decimals)
        return "" if value is None else str(value)

    def _mapped(self, value: object) -> Json | None:
        return next(
            (
                found
                for entry in self.settings.get("mappings") or []
                if (found := _result(mapping(entry), value)) is not None
            ),
            None,
        )


def _result(entry: Json, value: object) -> Json | None:
    options = mapping(entry.get("options"))
    kind, number = entry.get("type"), float(value) if isinstance(value, int | float) else None
    if kind == "value":
        keys = (str(value), f"{number:.15g}") if number is not None else (str(value),)
        return next((mapping(options[key]) for key in keys if key in options), None)
    result = mapping(options.get("result"))
    if kind == "range" and number is not None and not math.isnan(number):
        low, high = options.get("from"), options.get("to")
        above = low is None or number >= float(low)
        return result if above and (high is None or number <= float(high)) else None
    if kind == "regex" and isinstance(value, str):
        return result if is_match(str(options.get("pattern")).strip("/"), value) else None
    if kind == "special" and _is_special(str(options.get("match")), value):
        return result
    return None


def _is_special(match: str, value: object) -> bool:
    empty = value is None
    nan = isinstance(value, float) and math.isnan(value)
    # In a table and in a stat, Prometheus' NaN and a missing value look the same here.
    checks: Mapping[str, bool] = {
        "null": empty or nan,
        "nan": nan,
        "null+nan": empty or nan,
        "empty": value == "",
        "true": value is True,
        "false": value is False,
    }
    return checks.get(match, False)


def of_series(panel: Panel, series: Series) -> Field:
    """The settings of a series of a panel."""
    return Field(_effective(panel, (series.name, "Value"), series.ref, "number"))


def of_column(panel: Panel, column: Column) -> Field:
    """The settings of a column of a table."""
    return Field(_effective(panel, (column.title, column.name), column.ref, column.kind))


def of_panel(panel: Panel) -> Field:
    """The settings that hold for every field of a panel."""
    return Field(panel.defaults)


def _effective(panel: Panel, names: Iterable[str], ref: str, kind: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        **panel.defaults,
        "custom": dict(mapping(panel.defaults.get("custom"))),
    }
    if panel.is_graph:
        settings.setdefault("color", {"mode": "palette-classic"})
    overrides = mapping(panel.json.get("fieldConfig")).get("overrides")
    for entry in overrides if isinstance(overrides, list) else []:
        if _fits(mapping(mapping(entry).get("matcher")), tuple(names), ref, kind):
            for setting in mapping(entry).get("properties") or []:
                _put(settings, str(setting.get("id")), setting.get("value"))
    return settings


def _fits(matcher: Json, names: Sequence[str], ref: str, kind: str) -> bool:
    how, option = matcher.get("id"), matcher.get("options")
    if how == "byName":
        return option in names
    if how == "byNames":
        return any(name in (mapping(option).get("names") or []) for name in names)
    if how == "byRegexp":
        # Of what is shown, where names may be either.
        return is_match(str(option).strip("/"), names[0])
    if how == "byFrameRefID":
        return option == ref
    return how == "byType" and option == kind


def _put(settings: dict[str, Any], path: str, value: object) -> None:
    first, dot, rest = path.partition(".")
    if first == "custom" and dot:
        settings["custom"][rest] = value
    else:
        settings[path] = value
