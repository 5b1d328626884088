"""Variables of a dashboard: what they ask for, and their values in the place of their names, as Grafana puts them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from flowgauge_operator.preview.window import Window, clock

_NAME = re.compile(r"\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?:\.([^:}]+))?(?::([^}]+))?\}")
_LABEL_VALUES = re.compile(r"label_values\(\s*(?:(.+),\s*)?([a-zA-Z_]\w*)\s*\)", re.DOTALL)
_QUERY_RESULT = re.compile(r"query_result\((.+)\)", re.DOTALL)
_SPECIAL = re.compile(r"[\\^$*+?.()|\[\]{}]")
_QUOTES = {ord('"'): "\\x22", ord("'"): "\\x27", ord("\n"): "\\n"}
_ALL = ("$__all", "All")


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable as the dashboard declares it."""

    name: str
    label: str
    kind: str
    query: str = ""
    regex: str = ""
    has_all: bool = False
    all_value: str = ""
    multi: bool = False
    current: tuple[str, ...] = ()
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Value:
    """What a variable stands for; `is_list` where it may be several, `written` where that is given as it is."""

    texts: tuple[str, ...]
    is_list: bool = False
    is_all: bool = False
    written: str | None = None

    @property
    def shown(self) -> str:
        """The choice, for a reader."""
        return "All" if self.is_all else ", ".join(self.texts) or "none"


@dataclass(frozen=True, slots=True)
class LabelValues:
    """Values of a label, of the series of a selector or of all."""

    selector: str
    label: str


@dataclass(frozen=True, slots=True)
class QueryResult:
    """Series of a query, as text."""

    expr: str


Question = LabelValues | QueryResult


@dataclass(frozen=True, slots=True)
class Scope:
    """Everything that a name can stand for at a place."""

    values: Mapping[str, Value] = field(default_factory=dict)
    built_in: Mapping[str, str] = field(default_factory=dict)

    def filled(self, text: str, form: str = "prometheus") -> str:
        """The text with names replaced, once: what a value holds is no name."""
        return _NAME.sub(lambda found: self._of(found, form), text)

    def _of(self, found: re.Match[str], form: str) -> str:
        name = found[1] or found[2] or found[4]
        own = found[3] or found[6] or ""
        if name in self.built_in:
            return self.built_in[name]
        if name not in self.values:
            return found[0]
        value = self.values[name]
        if value.written is not None and not own:
            return value.written
        return _formatted(value, own or form)


def _formatted(value: Value, form: str) -> str:
    texts = value.texts
    if form == "prometheus":
        if not value.is_list:
            return "".join(_quoted(text) for text in texts[:1])
        escaped = [_regex_quoted(text) for text in texts]
        return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"
    if form == "regex":
        escaped = [_SPECIAL.sub(r"\\\g<0>", text) for text in texts]
        return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"
    joined = {"pipe": "|", "csv": ","}.get(form, ",").join(texts)
    if form == "text":
        return value.shown
    if form in {"url", "percentencode", "queryparam"}:
        return quote(joined, safe="")
    return joined


def _quoted(text: str) -> str:
    """A text that stays within its quotes, whichever they are."""
    return text.replace("\\", "\\\\").translate(_QUOTES)


def _regex_quoted(text: str) -> str:
    """A text that is literal in a regular expression, which stands in quotes."""
    return _quoted(_SPECIAL.sub(r"\\\g<0>", text))


def declared(dashboard: Mapping[str, Any]) -> Sequence[Variable]:
    """The variables of a dashboard, in order."""
    listed = (dashboard.get("templating") or {}).get("list") or []
    return [_variable(entry) for entry in listed if isinstance(entry, dict) and entry.get("name")]


def _variable(entry: Mapping[str, Any]) -> Variable:
    query = entry.get("query")
    text = query.get("query", "") if isinstance(query, dict) else query or ""
    current = (entry.get("current") or {}).get("value")
    chosen = current if isinstance(current, list) else [current]
    return Variable(
        name=str(entry["name"]),
        label=str(entry.get("label") or entry["name"]),
        kind=str(entry.get("type")),
        query=str(text),
        regex=str(entry.get("regex") or ""),
        has_all=bool(entry.get("includeAll")),
        all_value=str(entry.get("allValue") or ""),
        multi=bool(entry.get("multi")),
        current=tuple(str(value) for value in chosen if value not in (None, "")),
        hidden=entry.get("hide") == 2,
    )


def question(variable: Variable, scope: Scope) -> Question | None:
    """What has to be asked to know its values; None where nothing has, or where its query is of no kind that we know."""
    if variable.kind != "query":
        return None
    text = scope.filled(variable.query).strip()
    if found := _LABEL_VALUES.fullmatch(text):
        return LabelValues((found[1] or "").strip(), found[2])
    if found := _QUERY_RESULT.fullmatch(text):
        return QueryResult(found[1])
    return None


def value(variable: Variable, found: Iterable[str], given: Sequence[str] = ()) -> Value:
    """What it stands for: what is given, else what the dashboard has chosen, else all, else the first that was found."""
    options = _options(variable, found)
    is_list = variable.multi or variable.has_all
    chosen = tuple(given) or variable.current
    if chosen and chosen[0] not in _ALL:
        return Value(chosen if is_list else chosen[:1], is_list=is_list)
    if variable.has_all:
        return Value(options, is_list=True, is_all=True, written=variable.all_value or None)
    return Value(options[:1], is_list=is_list)


def _options(variable: Variable, found: Iterable[str]) -> tuple[str, ...]:
    if variable.kind in {"constant", "textbox"}:
        return (variable.query,)
    if variable.kind in {"custom", "interval"}:
        return tuple(
            part.partition(" : ")[2].strip() or part.strip() for part in variable.query.split(",")
        )
    return tuple(dict.fromkeys(_captured(variable.regex, found)))


def _captured(regex: str, found: Iterable[str]) -> Iterable[str]:
    body = regex.strip().removeprefix("/").rpartition("/")[0] if regex.startswith("/") else regex
    try:
        pattern = re.compile(re.sub(r"\(\?<(?![=!])", "(?P<", body)) if body else None
    except re.error:
        pattern = None
    for text in found:
        if pattern is None:
            yield text
        elif match := pattern.search(text):
            yield match.groupdict().get("value") or (match[1] if match.groups() else text)


def built_in(window: Window, step: float) -> dict[str, str]:
    """The names that Grafana itself fills, for a query with this step."""
    rate = window.rate_interval(step)
    return {
        "__interval": _short(step),
        "__interval_ms": f"{step * 1000:.0f}",
        "__rate_interval": _short(rate),
        "__rate_interval_ms": f"{rate * 1000:.0f}",
        "__range": f"{window.length:.0f}s",
        "__range_s": f"{window.length:.0f}",
        "__range_ms": f"{window.length * 1000:.0f}",
        "__from": f"{window.start * 1000:.0f}",
        "__to": f"{window.end * 1000:.0f}",
        "__url_time_range": f"from={window.start * 1000:.0f}&to={window.end * 1000:.0f}",
        "timezone": "utc",
        "__timezone": "utc",
        "__name": clock(window.end),
    }


def _short(seconds: float) -> str:
    return f"{seconds:.0f}s" if seconds >= 1 else f"{seconds * 1000:.0f}ms"
