"""PromQL text: quoting what users give, and judging what was rendered. Pure.

Values are quoted here and nowhere else. A name that comes from a user never enters an expression unquoted, and after
rendering every selector is looked at again by a parser.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import promql_parser
import re2

from flowgauge_operator import names

_SPECIAL = re.compile(r"([.^$*+?()\[\]{}|\\])")
# Aggregations that Prometheus takes only with a feature flag; the parser tells it of functions itself.
_EXPERIMENTAL = ("limitk", "limit_ratio")
_RANGES = (promql_parser.MatrixSelector, promql_parser.SubqueryExpr)
_QUIET = re2.Options()
_QUIET.log_errors = False


class ExpressionError(ValueError):
    """An expression that cannot be used, and why."""


def quote(value: str) -> str:
    """`value` as a PromQL string literal, quotes included."""
    # JSON's escapes are a subset of PromQL's as long as nothing is written as a surrogate pair.
    text = json.dumps(value, ensure_ascii=False)
    # Grafana fills in `$name` and `[[name]]` wherever they stand in a query.
    return text.replace("$", r"\u0024").replace("[[", r"[\u005b")


def any_of(values: Iterable[str]) -> str:
    """A regular expression (RE2, anchored by Prometheus) that matches exactly these values."""
    return "|".join(_SPECIAL.sub(r"\\\1", value) for value in values)


def matchers(pairs: Iterable[tuple[str, str, str]]) -> str:
    """`(label, operator, value)` triples as the inside of a selector's braces."""
    return ",".join(f"{label}{operator}{quote(value)}" for label, operator, value in pairs)


def owner(namespace: str, workflow: str) -> tuple[tuple[str, str, str], ...]:
    """The two matchers that every selector of a workflow carries."""
    return ((names.NAMESPACE_LABEL, "=", namespace), (names.WORKFLOW_LABEL, "=", workflow))


# Workflows of one profile differ in some of their expressions, and have the others in common.
@functools.lru_cache(maxsize=4096)
def check(expr: str, namespace: str) -> None:
    """Refuse an expression that Prometheus would not take or that could read another namespace's series.

    Prometheus refuses a whole rule file for one expression, so the parser's dialect must not be wider than its own.

    Raises:
        ExpressionError: why it is refused.
    """
    tree = _parsed(expr)
    _check_type(tree)
    nodes = _nodes(tree)
    for node in nodes:
        _check_dialect(node)
    for selector in _selectors(nodes):
        _check_regexes(selector)
        if not _is_bound(selector, namespace):
            raise ExpressionError(
                f'the selector {selector.prettify()} does not match namespace="{namespace}" by equality; add the matcher'
            )


def selectors(expr: str) -> Iterator[Any]:
    """The vector selectors of an expression, as the parser sees them.

    Raises:
        ExpressionError: the expression does not parse.
    """
    yield from _selectors(_nodes(_parsed(expr)))


def _selectors(nodes: Iterable[Any]) -> Iterator[Any]:
    return (node for node in nodes if isinstance(node, promql_parser.VectorSelector))


def _parsed(expr: str) -> Any:
    try:
        return promql_parser.parse(expr)
    except ValueError as error:
        raise ExpressionError(f"is not valid PromQL: {error}") from error


def _nodes(tree: Any) -> list[Any]:
    """Every node of the tree; the selector within a range counts as a node of its own."""
    found: list[Any] = []
    promql_parser.walk(tree, found.append)
    return found


def _check_type(tree: Any) -> None:
    while isinstance(tree, promql_parser.ParenExpr):
        tree = tree.expr
    if isinstance(tree, (*_RANGES, promql_parser.StringLiteral)):
        raise ExpressionError("yields no number at one point in time; use a function such as rate")


def _check_dialect(node: Any) -> None:
    used = ""
    if isinstance(node, promql_parser.Call) and node.func.experimental:
        used = f"the function {node.func.name}"
    elif isinstance(node, promql_parser.AggregateExpr) and str(node.op) in _EXPERIMENTAL:
        used = f"the aggregation {node.op}"
    elif isinstance(node, promql_parser.BinaryExpr) and node.modifier is not None:
        fill = node.modifier.fill_values
        used = "" if fill is None or (fill.lhs is None and fill.rhs is None) else "fill"
    if used:
        raise ExpressionError(
            f"uses {used}, which Prometheus knows only as an experiment; write it in another way"
        )


def _check_regexes(selector: Any) -> None:
    for matcher in selector.matchers.matchers:
        if matcher.op in (promql_parser.MatchOp.Re, promql_parser.MatchOp.NotRe):
            try:
                re2.compile(matcher.value, options=_QUIET)
            except re2.error as error:
                raise ExpressionError(
                    f"{matcher.value!r} is no regular expression that Prometheus takes (RE2); mend it"
                ) from error


def _is_bound(selector: Any, namespace: str) -> bool:
    # The parser also reads `or` between matchers; Prometheus does not.
    return not selector.matchers.or_matchers and any(
        m.name == names.NAMESPACE_LABEL
        and m.op == promql_parser.MatchOp.Equal
        and m.value == namespace
        for m in selector.matchers.matchers
    )
