"""Expand macros over roles into PromQL over one workflow's series. Pure.

`$rate(run.finished{outcome="bad"}[5m], step)` becomes `sum by (namespace, monitored_workflow, step) (rate(...))` with
the metric and label names of the profile, values in base units. The macros are listed in `profiles/builtin/base.yaml`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Literal

from flowgauge.profiles import LABELS, ROLES, Family, Profile
from flowgauge_operator import duration, names, promql
from flowgauge_operator.promql import ExpressionError

Rounding = Literal["None", "Down", "Up"]

OWNER_LABELS = (names.NAMESPACE_LABEL, names.WORKFLOW_LABEL)

_CLASSES = ("good", "bad", "counted")
# Values that only some workflows have; what is written over them does not exist for the others.
OPTIONAL = ("due", "begun", "ended", "paused", "known")
# The time before a window in which a series must have been there not to be new.
_BEFORE = "1h"
_MACRO = re.compile(r"\$([a-z]+)\(")
_ROLE = re.compile(
    r"(?P<role>[a-z]+\.[a-z_]+)\s*(\{(?P<matchers>.*)\})?\s*(\[(?P<window>[^\]]+)\])?(?P<offset>\s+offset\s+[0-9a-z]+)?",
    re.DOTALL,
)
_MATCHER = re.compile(
    r'\s*(?P<label>[a-z_]+)\s*(?P<op>=~|!~|!=|=)\s*(?P<value>"(?:[^"\\]|\\.)*")\s*(,|$)'
)
_UP = Family(
    name="up", role="target.up", type="gauge", help="1 for a target that answered its last scrape."
)


class MissingRoleError(ExpressionError):
    """The profile has no family for a role; what is written over it does not exist for this profile.

    `role` is what is missing, or the series that nothing records.
    """

    def __init__(self, message: str, role: str = "") -> None:
        super().__init__(message)
        self.role = role


@dataclass(frozen=True, slots=True)
class Step:
    """How an evaluation counts events: those of `every` seconds, up to `delay` ago.

    What a counter said before is looked for over `reach` seconds. `single` where there is at most one scrape in a step.
    `window` is for expressions that cannot count so.
    """

    every: int
    delay: int
    reach: int
    single: bool
    window: int


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose series an expression reads, in which vocabulary.

    `shortest` is the smallest window in seconds over which a rate means something; shorter ones are widened to it.
    `threshold` is the bound in seconds that `$within` counts up to, `rounding` says which bucket bound takes its place
    where it is none. `native` says that histograms arrive as native ones, and not as classic ones. `values` fill
    `$window` and the like. `recorded` are the series that are recorded; None where that is not known, as for expressions
    of users.
    """

    profile: Profile
    namespace: str
    workflow: str
    shortest: float = 0
    threshold: float | None = None
    rounding: Rounding = "None"
    native: bool = False
    values: Mapping[str, str] = field(default_factory=dict, hash=False)
    recorded: frozenset[str] | None = None
    step: Step | None = None

    def with_values(self, **values: str) -> Scope:
        """The same scope with further `$name` values."""
        return replace(self, values={**self.values, **values})


@dataclass(frozen=True, slots=True)
class _Measure:
    role: str
    matchers: tuple[tuple[str, str, str], ...]
    window: str
    offset: str
    by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Source:
    """One family as it plays the role: sample name, matchers, and whether its values carry the role's unit."""

    family: Family
    name: str
    matchers: tuple[tuple[str, str, str], ...]
    counts: bool


# Workflows differ in few of their expressions: a spec that is new shares most of them with others.
@functools.lru_cache(maxsize=8192)
def expand(text: str, scope: Scope) -> str:
    """The PromQL that `text` means in `scope`.

    Raises:
        MissingRoleError: the profile has no family for a role that the text names.
        ExpressionError: the text uses a macro wrongly.
    """
    text = _tidy(text)
    for name, value in scope.values.items():
        text = re.sub(rf"\${name}\b", value.replace("\\", r"\\"), text)
    for name in OPTIONAL:
        if f"${name}" in text:
            raise MissingRoleError(f"the workflow has no ${name}")
    text = text.replace("$owner", promql.matchers(promql.owner(scope.namespace, scope.workflow)))
    out, position = [], 0
    while match := _MACRO.search(text, position):
        end = _closing(text, match.end())
        out += [
            text[position : match.start()],
            _call(match[1], _split(text[match.end() : end]), scope),
        ]
        position = end + 1
    return _tidy(_windowed("".join([*out, text[position:]]), scope))


def between(text: str) -> str:
    """What of a text stands between its macros: plain PromQL.

    Raises:
        ExpressionError: a macro is not closed.
    """
    out, position = [], 0
    while match := _MACRO.search(text, position):
        out.append(text[position : match.start()])
        position = _closing(text, match.end()) + 1
    return "".join([*out, text[position:]])


def _windowed(text: str, scope: Scope) -> str:
    """The text with the window for what no macro counts."""
    return re.sub(r"\$window\b", duration.text(scope.step.window), text) if scope.step else text


@functools.lru_cache(maxsize=4096)
def families(text: str, scope: Scope) -> tuple[Family, ...]:
    """The families that the macros in `text` read.

    Raises:
        MissingRoleError: the profile has no family for a role that the text names.
    """
    found: list[Family] = []
    for match in _MACRO.finditer(text):
        if match[1] == "recorded":
            continue
        arguments = _split(text[match.end() : _closing(text, match.end())])
        role = arguments[1] if match[1] == "quantile" else arguments[0]
        found += [source.family for source in _sources(_measure(role, (), scope), scope)]
    return tuple({family.name: family for family in found}.values())


def legend(text: str, query: str, scope: Scope) -> str:
    """A legend format in which `{{step}}` and other semantic labels carry the vocabulary's own label names."""
    if "{{" not in text:
        return text
    known = {
        semantic: label
        for family in families(query, scope)
        for semantic, label in family.labels.items()
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda m: "{{" + known.get(m[1], m[1]) + "}}", text)


_SPACE = re.compile(
    r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)|(?:\s|\#[^\n]*)+""", re.DOTALL
)


def _tidy(text: str) -> str:
    """One space where there were many or a comment, but not within quotes: a comment would swallow the next line."""
    return _SPACE.sub(lambda match: match[1] or " ", text).strip()


def _closing(text: str, start: int) -> int:
    """The position of the parenthesis that closes a call whose arguments begin at `start`."""
    depth, position, quoted = 1, start, False
    while position < len(text):
        character = text[position]
        if quoted:
            position += character == "\\"
            quoted = character != '"'
        elif character == '"':
            quoted = True
        elif character in "()":
            depth += 1 if character == "(" else -1
            if depth == 0:
                return position
        position += 1
    raise ExpressionError(f"a parenthesis is not closed in {text.strip()!r}")


def _split(arguments: str) -> list[str]:
    """The arguments of a call, split at the commas outside of quotes and brackets."""
    parts, depth, quoted, escaped, current = [], 0, False, False, ""
    for character in arguments:
        if character == '"' and not escaped:
            quoted = not quoted
        escaped = quoted and character == "\\" and not escaped
        if not quoted:
            depth += (character in "([{") - (character in ")]}")
            if character == "," and depth == 0:
                parts.append(current.strip())
                current = ""
                continue
        current += character
    return [*parts, current.strip()]


def _call(macro: str, arguments: list[str], scope: Scope) -> str:
    if macro == "recorded":
        if scope.recorded is not None and arguments[0] not in scope.recorded:
            raise MissingRoleError(
                f"nothing records {arguments[0]} for this workflow", arguments[0]
            )
        return f"{arguments[0]}{{{promql.matchers(promql.owner(scope.namespace, scope.workflow))}}}"
    if macro not in _MACROS:
        raise ExpressionError(
            f"${macro} is no macro; known are {', '.join(f'${name}' for name in (*_MACROS, 'recorded'))}"
        )
    quantile = arguments.pop(0) if macro == "quantile" else ""
    if not arguments:
        raise ExpressionError(f"${macro} needs a role")
    measure = _measure(arguments[0], tuple(arguments[1:]), scope)
    if macro in _OVER_TIME and not measure.window:
        raise ExpressionError(f"${macro} needs a window, as in {measure.role}[5m]")
    if macro not in _OVER_TIME and measure.window:
        raise ExpressionError(f"${macro} takes no window; remove [{measure.window}]")
    return _MACROS[macro](measure, scope, quantile)


def _measure(text: str, by: tuple[str, ...], scope: Scope) -> _Measure:
    match = _ROLE.fullmatch(text)
    if not match:
        raise ExpressionError(f'{text!r} is not of the form role{{label="value"}}[window]')
    if match["role"] not in ROLES:
        raise ExpressionError(
            f"{match['role']!r} is no role; see the list of roles in the documentation"
        )
    for label in by:
        if label not in LABELS:
            raise ExpressionError(f"{label!r} is no semantic label; known are {', '.join(LABELS)}")
    return _Measure(
        role=match["role"],
        matchers=_parse_matchers(match["matchers"] or ""),
        window=_widened(match["window"] or "", scope),
        offset=match["offset"] or "",
        by=by,
    )


def _widened(window: str, scope: Scope) -> str:
    if not window or window.startswith("$"):
        return window
    try:
        return duration.text(max(duration.seconds(window), scope.shortest))
    except ValueError as error:
        raise ExpressionError(str(error)) from error


def _parse_matchers(text: str) -> tuple[tuple[str, str, str], ...]:
    found, position = [], 0
    while position < len(text.rstrip()):
        match = _MATCHER.match(text, position)
        if not match or match["label"] not in LABELS:
            raise ExpressionError(
                f"{text!r} are no matchers over semantic labels; known are {', '.join(LABELS)}"
            )
        try:
            value = json.loads(match["value"])
        except ValueError as error:
            raise ExpressionError(f"{match['value']} is no string") from error
        if match["label"] == "outcome" and value in _CLASSES and match["op"] != "=":
            raise ExpressionError(f'outcome{match["op"]}"{value}": a class of outcomes takes =')
        found.append((match["label"], match["op"], value))
        position = match.end()
    return tuple(found)


def _sources(measure: _Measure, scope: Scope) -> list[_Source]:
    """The families that play the role, with what stands in for a role that the profile does not have itself."""
    if measure.role == "target.up":
        return [_source(_UP, measure, scope)]
    for role, matchers in _stand_ins(measure):
        found = [
            family
            for name in role
            for family in scope.profile.by_role(name)
            if not any(label == "outcome" for label, _, _ in matchers) or family.outcomes
        ]
        # Half of a pair of counters would pass for the whole.
        if found and all(any(family.role == name for family in found) for name in role):
            return [_source(family, replace(measure, matchers=matchers), scope) for family in found]
    raise MissingRoleError(f"the profile {scope.profile.name} has no {measure.role}", measure.role)


_Way = tuple[tuple[str, ...], tuple[tuple[str, str, str], ...]]


def _stand_ins(measure: _Measure) -> list[_Way]:
    """Roles to look for, in order. A vocabulary may count outcomes by a label or by separate counters."""
    ways: list[_Way] = [((measure.role,), measure.matchers)]
    thing, _, event = measure.role.partition(".")
    if event == "started" and not measure.matchers:
        # What has ended has begun.
        return ways + _stand_ins(replace(measure, role=f"{thing}.finished"))
    if event != "finished":
        return ways
    outcomes = [(op, value) for label, op, value in measure.matchers if label == "outcome"]
    outcome = outcomes[0][1] if outcomes else ""
    if outcomes and (len(outcomes) > 1 or outcome not in _CLASSES):
        return ways
    rest = tuple(matcher for matcher in measure.matchers if matcher[0] != "outcome")
    pair = (f"{thing}.succeeded", f"{thing}.failed")
    others: dict[str, list[_Way]] = {
        "": [(pair, rest), ((f"{thing}.duration",), rest)],
        "counted": [((measure.role,), rest), (pair, rest), ((f"{thing}.duration",), rest)],
        "good": [((pair[0],), rest)],
        "bad": [((pair[1],), rest)],
    }
    return ways + others.get(outcome, [])


def _source(family: Family, measure: _Measure, scope: Scope) -> _Source:
    pairs = [
        *promql.owner(scope.namespace, scope.workflow),
        *((k, "=", v) for k, v in family.where.items()),
        *((label, "!=", "") for label in _distinguishing(family, scope.profile)),
    ]
    for semantic, operator, value in measure.matchers:
        if semantic == "outcome" and family.outcomes and value in _CLASSES:
            pairs += _outcome(family, value)
        elif semantic in family.labels:
            pairs.append((family.labels[semantic], operator, value))
        else:
            raise MissingRoleError(
                f"the profile {scope.profile.name} has no label for {semantic} on {family.role}"
            )
    observed = family.type in ("histogram", "summary")
    return _Source(family, family.name, tuple(pairs), observed)


def _distinguishing(family: Family, profile: Profile) -> tuple[str, ...]:
    """The labels that only this part of its metric has, where one metric plays several roles without `where`."""
    others = [
        other
        for other in profile.families
        if other.name == family.name and other is not family and not _are_apart(family, other)
    ]
    shared = {label for other in others for label in other.labels.values()}
    return tuple(label for label in family.labels.values() if others and label not in shared)


def _are_apart(a: Family, b: Family) -> bool:
    """Whether fixed matchers tell two parts of one metric apart already."""
    return any(a.where[label] != b.where[label] for label in a.where.keys() & b.where.keys())


def _outcome(family: Family, value: str) -> list[tuple[str, str, str]]:
    label, outcomes = family.labels["outcome"], family.outcomes
    if outcomes is None:
        return []
    wanted = {
        "good": ("=", outcomes.good),
        "bad": ("!", (*outcomes.good, *outcomes.ignored)),
        "counted": ("!", outcomes.ignored),
    }
    sign, listed = wanted[value]
    if not listed:
        return []
    if len(listed) == 1:
        return [(label, "=" if sign == "=" else "!=", listed[0])]
    return [(label, f"{sign}~", promql.any_of(listed))]


def _by(sources: list[_Source], measure: _Measure, *more: str) -> str:
    own = [
        s.family.labels[label] for label in measure.by for s in sources if label in s.family.labels
    ]
    return ", ".join(dict.fromkeys((*more, *OWNER_LABELS, *own)))


def _scaled(expr: str, factor: Decimal) -> str:
    return expr if factor == 1 else f"({factor:f} * {expr})"


def _check_instrument(macro: str, measure: _Measure, remedy: str, *allowed: str) -> None:
    instrument = ROLES[measure.role].instrument
    if instrument not in allowed:
        raise ExpressionError(
            f"${macro} makes no sense of {measure.role}, which is a {instrument}; {remedy}"
        )


def _summed(function: str) -> Callable[[_Measure, Scope, str], str]:
    def call(measure: _Measure, scope: Scope, _: str) -> str:
        _check_instrument(
            function, measure, "use $max, $min or $sum", "counter", "histogram", "summary"
        )
        sources = _sources(measure, scope)
        parts = [_ranged(function, source, measure, scope) for source in sources]
        if len(parts) > 1:
            # `or` keeps only one of two equal label sets; a source label keeps both apart until they are summed.
            parts = [
                f'label_replace({part}, "flowgauge_source", "{i}", "", "")'
                for i, part in enumerate(parts)
            ]
        return f"sum by ({_by(sources, measure)}) ({' or '.join(parts)})"

    return call


def _ranged(function: str, source: _Source, measure: _Measure, scope: Scope) -> str:
    selector = _counter(source, scope)
    if _is_native(source, scope):
        # A native histogram has no maximum over time, which telling new series apart would need.
        function = "increase" if function == "events" else function
        return f"histogram_count({function}({selector}[{measure.window}]{measure.offset}))"
    expr = (
        _events(selector, measure)
        if function == "events"
        else _over(function, selector, measure, scope)
    )
    return expr if source.counts else _scaled(expr, source.family.factor)


def _is_native(source: _Source, scope: Scope) -> bool:
    return scope.native and source.family.type == "histogram"


def probe(family: Family, *, native: bool) -> str:
    """The name of the series that prove the family; a native histogram is one series of the family's own name."""
    return family.name if native and family.type == "histogram" else family.probe


def _counter(source: _Source, scope: Scope) -> str:
    name = probe(source.family, native=scope.native) if source.counts else source.name
    return f"{name}{{{promql.matchers(source.matchers)}}}"


def _events(selector: str, measure: _Measure) -> str:
    """The increase of each series; of one that was not there before the window, all that it counts.

    A series that begins with its first event does not increase by it. Whether it was there is asked of a time before,
    not of an instant: one failed scrape would make old totals new.
    """
    if measure.offset:
        raise ExpressionError("$events takes no offset; use $increase")
    window = measure.window
    known = window.startswith("$") or duration.seconds(window) <= duration.seconds(_BEFORE)
    before = f"last_over_time({selector}[{_BEFORE if known else window}] offset {window})"
    born = f"(max_over_time({selector}[{window}]) unless {before})"
    return f"({born} or increase({selector}[{window}]))"


def _over(function: str, selector: str, measure: _Measure, scope: Scope) -> str:
    """A function over the window; a rate over the step of an objective is counted."""
    if scope.step and function == "rate" and measure.window == "$window":
        if measure.offset:
            raise ExpressionError("a rate over $window takes no offset; remove it")
        return _counted(selector, scope.step)
    return f"{function}({selector}[{measure.window}]{measure.offset})"


def _counted(selector: str, step: Step) -> str:
    """By how much a counter grew in one step, a second. Steps add up to the whole: each increment is in one of them.

    `rate` would extrapolate, weigh by position, and see nothing across a longer gap. What the counter said before the step
    is found over a gap. One that fell began anew at zero. One that was not there is compared with its first value.
    """

    def over(function: str, seconds: int, ago: int) -> str:
        window, offset = duration.text(seconds), duration.text(ago)
        return f"{function}_over_time({selector}[{window}] offset {offset})"

    last, first, most = (over(f, step.every, step.delay) for f in ("last", "min", "max"))
    before = over("last", step.reach, step.delay + step.every)
    if step.single:
        return f"((({last} - ({before} or {last})) >= 0) or {last}) / {step.every}"
    # Between two scrapes of one step, a counter may have grown before it fell.
    grown = f"(({last} - ({before} or {first})) >= 0)"
    fell = f"({last} + (({most} - {before}) >= 0))"
    return f"({grown} or {fell} or {last}) / {step.every}"


def _aggregated(operator: str) -> Callable[[_Measure, Scope, str], str]:
    def call(measure: _Measure, scope: Scope, _: str) -> str:
        if operator != "count":
            remedy = "use $rate, $increase or, of a histogram, $quantile"
            _check_instrument(operator, measure, remedy, "gauge", "info")
        sources = _sources(measure, scope)
        source = sources[0]
        expr = f"{operator} by ({_by(sources, measure)}) ({source.name}{{{promql.matchers(source.matchers)}}}{measure.offset})"
        return expr if operator == "count" else _scaled(expr, source.family.factor)

    return call


def _absent(measure: _Measure, scope: Scope, _: str) -> str:
    source = _sources(measure, scope)[0]
    # absent() takes its labels from equality matchers; the owner's two are among them.
    name = probe(source.family, native=scope.native)
    return f"absent({name}{{{promql.matchers(source.matchers)}}}{measure.offset})"


def _latest(measure: _Measure, scope: Scope, _: str) -> str:
    _check_instrument("latest", measure, "use $rate or $increase", "gauge")
    sources = _sources(measure, scope)
    selector = f"{sources[0].name}{{{promql.matchers(sources[0].matchers)}}}[{measure.window}]{measure.offset}"
    return _scaled(
        f"max by ({_by(sources, measure)}) (max_over_time({selector}))", sources[0].family.factor
    )


def _bucketed(source: _Source, measure: _Measure, *, function: str = "rate") -> str:
    selector = promql.matchers(source.matchers)
    return f"{function}({source.name}_bucket{{{selector}}}[{measure.window}]{measure.offset})"


def _whole(source: _Source, measure: _Measure, by: str, function: str = "rate") -> str:
    """The native histograms of the source, added up."""
    selector = promql.matchers(source.matchers)
    return (
        f"sum by ({by}) ({function}({source.name}{{{selector}}}[{measure.window}]{measure.offset}))"
    )


def _distributions(measure: _Measure, scope: Scope, *types: str) -> list[_Source]:
    """The sources of a macro that reads more than one value of a measurement."""
    if ROLES[measure.role].instrument != "histogram":
        raise ExpressionError(
            f"{measure.role} is no histogram; choose a role of durations or sizes"
        )
    sources = _sources(measure, scope)
    if sources[0].family.type not in types:
        raise MissingRoleError(
            f"the profile {scope.profile.name} has no {' or '.join(types)} of {measure.role}"
        )
    return sources


def _quantile(measure: _Measure, scope: Scope, quantile: str) -> str:
    sources = _distributions(measure, scope, "histogram", "summary")
    family = sources[0].family
    if family.type == "summary":
        selector = promql.matchers((*sources[0].matchers, ("quantile", "=", quantile)))
        return _scaled(
            f"max by ({_by(sources, measure)}) ({family.name}{{{selector}}})", family.factor
        )
    if scope.native:
        rates = _whole(sources[0], measure, _by(sources, measure))
    else:
        rates = f"sum by ({_by(sources, measure, 'le')}) ({_bucketed(sources[0], measure)})"
    return _scaled(f"histogram_quantile({quantile}, {rates})", family.factor)


def _buckets(measure: _Measure, scope: Scope, _: str) -> str:
    sources = _distributions(measure, scope, "histogram")
    if scope.native:
        return _whole(sources[0], measure, _by(sources, measure), "increase")
    return f"sum by ({_by(sources, measure, 'le')}) ({_bucketed(sources[0], measure, function='increase')})"


def _mean(measure: _Measure, scope: Scope, _: str) -> str:
    sources = _distributions(measure, scope, "histogram", "summary")
    by, selector = _by(sources, measure), promql.matchers(sources[0].matchers)
    if _is_native(sources[0], scope):
        whole = _whole(sources[0], measure, by)
        total, count = f"histogram_sum({whole})", f"histogram_count({whole})"
    else:
        total, count = (
            f"sum by ({by}) (rate({sources[0].name}{suffix}{{{selector}}}[{measure.window}]{measure.offset}))"
            for suffix in ("_sum", "_count")
        )
    return _scaled(f"({total} / ({count} > 0))", sources[0].family.factor)


def _within(measure: _Measure, scope: Scope, _: str) -> str:
    sources = _distributions(measure, scope, "histogram")
    family = sources[0].family
    if scope.threshold is None:
        raise ExpressionError("$within is for latency SLOs, which give its bound")
    if scope.native:
        whole = _whole(sources[0], measure, _by(sources, measure))
        bound = Decimal(str(scope.threshold)) / family.factor
        # From -Inf on: from 0 on, half of a zero bucket that stands alone would be below it. Without observations the
        # fraction is NaN, which would spoil every longer window; nothing compares with NaN.
        inside = f"histogram_fraction(-Inf, {bound.normalize():f}, {whole})"
        return f"((histogram_count({whole}) * {inside}) >= 0)"
    matcher = ("le", "=~", _le(bucket(family, scope.threshold, scope.rounding)))
    selector = f"{family.name}_bucket{{{promql.matchers((*sources[0].matchers, matcher))}}}"
    return f"sum by ({_by(sources, measure)}) ({_over('rate', selector, measure, scope)})"


def bucket(family: Family, threshold: float, rounding: Rounding) -> Decimal:
    """The bucket bound for a threshold in seconds, in the unit of the family.

    Raises:
        ThresholdError: the threshold is no bound, and there is none in the direction of `rounding`.
    """
    below, above = neighbours(family, threshold)
    if below == above and below is not None:
        return below
    chosen = {"None": None, "Down": below, "Up": above}[rounding]
    if chosen is None:
        raise ThresholdError(_refusal(family, threshold, below, above))
    return chosen


def neighbours(family: Family, threshold: float) -> tuple[Decimal | None, Decimal | None]:
    """The bucket bounds on both sides of a threshold in seconds, in the family's unit; twice the threshold if it is one."""
    wanted = Decimal(str(threshold)) / family.factor
    bounds = [Decimal(str(bound)) for bound in family.buckets]
    return (
        max((bound for bound in bounds if bound <= wanted), default=None),
        min((bound for bound in bounds if bound >= wanted), default=None),
    )


def _refusal(family: Family, threshold: float, below: Decimal | None, above: Decimal | None) -> str:
    known = [
        (text, side, rounding)
        for bound, side, rounding in ((below, "below", "Down"), (above, "above", "Up"))
        if bound is not None and (text := duration.text(float(bound * family.factor)))
    ]
    if not known:
        return f"the profile lists no buckets of {family.name}, so no run can be counted against a threshold"
    nearest = " and ".join(f"{text} {side}" for text, side, _ in known)
    chosen = " or ".join(text for text, _, _ in known)
    rounded = " or ".join(f"{rounding} ({text})" for text, _, rounding in known)
    verb = "is" if len(known) == 1 else "are"
    return (
        f"{duration.text(threshold)} is no bucket bound of {family.name}; the nearest {verb} {nearest}."
        f" Set latency.threshold to {chosen}, or latency.rounding to {rounded}"
    )


def _le(bound: Decimal) -> str:
    """A regular expression for every spelling of a bucket bound: Prometheus 2 keeps `30`, Prometheus 3 writes `30.0`."""
    plain = f"{bound.normalize():f}"
    if "." in plain:
        return promql.any_of([plain])
    spellings = dict.fromkeys((plain, f"{plain}.0", _exponent(bound)))
    return promql.any_of(spellings)


def _exponent(bound: Decimal) -> str:
    """Go's shortest spelling, which has an exponent from a million on: `1.44e+07`, but `300` stays `300`."""
    exponent = bound.adjusted()
    if exponent < 6:
        return f"{bound.normalize():f}"
    return f"{bound.scaleb(-exponent).normalize():f}e+{exponent:02d}"


class ThresholdError(ExpressionError):
    """A latency threshold between two buckets, where no events can be counted."""


# Macros that read a range, and so need a window.
_OVER_TIME = ("rate", "increase", "events", "latest", "quantile", "buckets", "mean", "within")
_MACROS: dict[str, Callable[[_Measure, Scope, str], str]] = {
    "rate": _summed("rate"),
    "increase": _summed("increase"),
    "events": _summed("events"),
    **{operator: _aggregated(operator) for operator in ("sum", "max", "min", "avg", "count")},
    "absent": _absent,
    "latest": _latest,
    "quantile": _quantile,
    "buckets": _buckets,
    "mean": _mean,
    "within": _within,
}
