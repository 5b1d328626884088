"""The 17 rules of Grafana's dashboard-linter, at commit 4d0844b, as functions over a decoded dashboard.

Each rule yields what it finds, as the place and the reason. Where upstream sees less than its rule says, ours sees it;
the function says where. There is no Loki here, so the two rules about LogQL refuse whatever is not Prometheus'.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import promql_parser
from grafana_units import UNITS

Json = dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """What a rule found; `about` is the metric or the like that it is about."""

    rule: str
    where: str
    reason: str
    about: str = ""


Found = Iterator[tuple[str, str, str]]
RULES: dict[str, Callable[[Json], Found]] = {}

# A window that nothing else has tells where `$__rate_interval` stood.
RATE_INTERVAL = "217s"
_INTERVALS = {"__rate_interval": RATE_INTERVAL, "__range": "3607s", "__interval": "61s"}
_VARIABLE = re.compile(r"\$\{?(\w+)(?::\w+)?\}?", re.ASCII)
_MEASURED = ("stat", "singlestat", "graph", "table", "timeseries", "gauge")


def lint(board: Json) -> list[Finding]:
    """What all rules find."""
    return [Finding(rule, *found) for rule, check in RULES.items() for found in check(board)]


def _rule(name: str) -> Callable[[Callable[[Json], Found]], Callable[[Json], Found]]:
    def kept(check: Callable[[Json], Found]) -> Callable[[Json], Found]:
        RULES[name] = check
        return check

    return kept


# -- what the rules look at -------------------------------------------------------------------------------------------


def panels(board: Json) -> Iterator[Json]:
    """Every panel but the rows, those within rows too."""
    for panel in board.get("panels", ()):
        if panel["type"] == "row":
            yield from panels(panel)
        else:
            yield panel


def _targets(board: Json) -> Iterator[tuple[str, Json]]:
    for panel in panels(board):
        for target in panel.get("targets", ()):
            yield f"{panel.get('title')} {target.get('refId')}", target


def _variables(board: Json, kind: str) -> list[Json]:
    return [each for each in board["templating"]["list"] if each["type"] == kind]


def _is_prometheus(target: Json) -> bool:
    return bool((target.get("datasource") or {}).get("type") == "prometheus")


def _sent(expr: str) -> str:
    return _VARIABLE.sub(lambda found: _INTERVALS.get(found[1], f"value_of_{found[1]}"), expr)


@functools.cache
def _nodes(expr: str) -> list[Any]:
    """The nodes of an expression; none where it does not parse, which is a finding of another rule."""
    found: list[Any] = []
    try:
        promql_parser.walk(promql_parser.parse(_sent(expr)), found.append)
    except ValueError:
        return []
    return found


def _selectors(expr: str) -> Iterator[Any]:
    yield from (node for node in _nodes(expr) if isinstance(node, promql_parser.VectorSelector))


# -- the rules --------------------------------------------------------------------------------------------------------


@_rule("template-datasource-rule")
def _datasource(board: Json) -> Found:
    found = _variables(board, "datasource")
    if len(found) != 1:
        yield "templating", f"has {len(found)} data source variables, must have one", ""
    for each in found:
        if each["query"] != "prometheus":
            yield "templating", f"is for {each['query']}, must be for prometheus", each["name"]
        wanted = {"datasource": "Data source", "prometheus_datasource": "Prometheus data source"}
        if wanted.get(each["name"]) != each.get("label"):
            yield "templating", f"is called {each['name']}, {each.get('label')}", each["name"]


@_rule("template-job-rule")
def _job(board: Json) -> Found:
    yield from _target_variable(board, "job", "Job")


@_rule("template-instance-rule")
def _instance(board: Json) -> Found:
    yield from _target_variable(board, "instance", "Instance")


def _target_variable(board: Json, name: str, label: str) -> Found:
    found = [each for each in board["templating"]["list"] if each["name"] == name]
    if not found:
        yield "templating", f"has no variable {name}", name
    for each in found:
        wanted = {"type": "query", "label": label, "multi": True, "allValue": ".+"}
        for key, value in wanted.items():
            if each.get(key) != value:
                yield "templating", f"{key} is {each.get(key)!r}, must be {value!r}", name
        if (each.get("datasource") or {}).get("uid") not in ("$datasource", "${datasource}"):
            yield "templating", "does not use $datasource", name


@_rule("template-label-promql-rule")
def _label_query(board: Json) -> Found:
    for each in _variables(board, "query"):
        query = each["query"]["query"] if isinstance(each["query"], dict) else each["query"]
        asked = re.fullmatch(r"label_values\((?:(.+),)?\s*(\w+)\)", query, re.DOTALL)
        if not asked:
            yield "templating", f"{query!r} is no label_values(...)", each["name"]
        elif not asked[1] or not _nodes(asked[1]):
            yield "templating", f"{asked[1]!r} is no PromQL", each["name"]


@_rule("template-on-time-change-reload-rule")
def _reload(board: Json) -> Found:
    for each in _variables(board, "query"):
        if each.get("refresh") != 2:
            yield "templating", "is not asked again when the time range changes", each["name"]


@_rule("panel-datasource-rule")
def _panel_datasource(board: Json) -> Found:
    for panel in panels(board):
        uid = (panel.get("datasource") or {}).get("uid")
        if uid not in ("$datasource", "${datasource}"):
            yield panel.get("title", ""), f"reads from {uid!r}, must be ${{datasource}}", ""


@_rule("panel-title-description-rule")
def _described(board: Json) -> Found:
    for panel in panels(board):
        for key in ("title", "description"):
            if not panel.get(key):
                yield panel.get("title", ""), f"has no {key}", ""


@_rule("panel-units-rule")
def _units(board: Json) -> Found:
    """Upstream looks at the defaults only; the columns of a table have theirs in overrides."""
    for panel in panels(board):
        config = panel.get("fieldConfig", {})
        defaults = config.get("defaults", {})
        own = [
            each["value"]
            for override in config.get("overrides", ())
            for each in override["properties"]
            if each["id"] == "unit"
        ]
        if panel["type"] in _MEASURED and not defaults.get("mappings"):
            own.append(defaults.get("unit"))
        for unit in own:
            if unit not in UNITS:
                yield panel.get("title", ""), f"has the unit {unit!r}, which Grafana lacks", ""


@_rule("panel-no-targets-rule")
def _has_targets(board: Json) -> Found:
    for panel in panels(board):
        if not panel.get("targets"):
            yield panel.get("title", ""), "has no query", ""


@_rule("target-promql-rule")
def _promql(board: Json) -> Found:
    for where, target in _targets(board):
        if not _is_prometheus(target):
            continue
        try:
            promql_parser.parse(_sent(target["expr"]))
        except ValueError as error:
            yield where, f"is no PromQL: {error}", ""


@_rule("target-logql-rule")
def _logql(board: Json) -> Found:
    for where, target in _targets(board):
        if not _is_prometheus(target):
            yield where, "does not ask Prometheus; nothing here parses LogQL", ""


@_rule("target-logql-auto-rule")
def _logql_auto(board: Json) -> Found:
    for where, target in _targets(board):
        if not _is_prometheus(target) and re.search(r"\[(?!\$__auto\])", target.get("expr", "")):
            yield where, "has a range that is not $__auto", ""


@_rule("target-rate-interval-rule")
def _rate_interval(board: Json) -> Found:
    for where, target in _targets(board):
        for call in _calls(target["expr"], "rate", "irate"):
            ranged = call.args[0]
            seconds = getattr(getattr(ranged, "range", None), "total_seconds", lambda: None)()
            if f"{seconds or 0:.0f}s" != RATE_INTERVAL:
                asked = "now" if target.get("instant") else ""
                yield where, f"{call.prettify()} does not use $__rate_interval", asked


def _calls(expr: str, *functions: str) -> Iterator[Any]:
    for node in _nodes(expr):
        if isinstance(node, promql_parser.Call) and node.func.name in functions:
            yield node


@_rule("target-job-rule")
def _by_job(board: Json) -> Found:
    yield from _by_variable(board, "job")


@_rule("target-instance-rule")
def _by_instance(board: Json) -> Found:
    yield from _by_variable(board, "instance")


def _by_variable(board: Json, label: str) -> Found:
    for where, target in _targets(board):
        for selector in _selectors(target["expr"]):
            matched = {(m.name, str(m.op), m.value) for m in selector.matchers.matchers}
            if not any(
                name == label and "Re" in op and "Not" not in op and value == f"value_of_{label}"
                for name, op, value in matched
            ):
                yield (
                    where,
                    f'{selector.prettify()} has no {label}=~"${label}"',
                    selector.name or "",
                )


@_rule("target-counter-agg-rule")
def _counter(board: Json) -> Found:
    """Upstream looks at the end of the printed selector, and so sees only those without matchers."""
    for where, target in _targets(board):
        rated = [
            call.args[0].vector_selector.prettify()
            for call in _calls(target["expr"], "rate", "irate", "increase")
            if isinstance(call.args[0], promql_parser.MatrixSelector)
        ]
        for selector in _selectors(target["expr"]):
            if (selector.name or "").endswith("_total") and selector.prettify() not in rated:
                yield where, f"{selector.prettify()} is a counter without a rate", selector.name


@_rule("uneditable-dashboard")
def _uneditable(board: Json) -> Found:
    if board.get("editable") is not False:
        yield "dashboard", "may be edited", ""
