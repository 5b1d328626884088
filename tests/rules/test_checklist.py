"""What every rule must obey, over every built-in profile and every example: the form that keeps alerts from lying.

Each check names what it finds, so that a failure says which rule of which group to mend.
"""

import re
from pathlib import Path

import promql_parser as ast
import pytest
import yaml
from test_rules import EXAMPLES, ONLY_DEFAULT, PROFILES, SLOS, groups

from flowgauge import profiles
from flowgauge_operator import duration, names, slo

OWNER = {"namespace", "monitored_workflow"}
COUNTER = re.compile(r".*_(total|count|sum|bucket)")
HISTOGRAMS = {
    f.name for p in PROFILES for f in profiles.builtin(p).families if f.type == "histogram"
}
# Some vocabularies call a gauge that.
GAUGES = {f.name for p in PROFILES for f in profiles.builtin(p).families if f.type == "gauge"}
# What a counter may be an argument of.
RATES = ("rate", "increase", "irate", "resets", "absent")
# The exception: what an objective counts are differences of what a counter said at two instants, since rates are up to
# some percent off where runs are few. docs/slos.md has the reason, test_truth.py and test_slo.py what it is worth.
STEPS = {slo.TOTAL: ("last_over_time", "min_over_time", "max_over_time")}
STEPS[slo.BAD] = STEPS[slo.TOTAL]
EVERYTHING = {
    "schedule": {"cron": "30 2 * * MON-FRI", "timeZone": "Europe/Zurich"},
    "maintenance": [{"name": "a", "cron": "0 3 * * *", "duration": "2h"}],
    "alerts": {"labels": {"team": "x"}},
}
FOLLOWING = {"schedule": {"cronJob": "nightly"}}
# Series of kube-state-metrics know no workflow: namespace and name of the object say whose they are.
OF_KUBERNETES = {"namespace", "cronjob"}
# Built-in objectives that every profile with runs can have.
OBJECTIVES = {name: slo for name, slo in SLOS.items() if name != "custom"}


def objectives(profile):
    roles = {family.role for family in profiles.builtin(profile).families}
    kinds = {"success": {"run.finished"}, "latency": {"run.duration"}}
    return {
        name: slo
        for name, slo in OBJECTIVES.items()
        if all(needs <= roles for kind, needs in kinds.items() if kind in slo)
    }


def rendered():
    for profile in PROFILES:
        slos = objectives(profile) | (ONLY_DEFAULT if profile == "workflow" else {})
        yield profile, groups(profile, slos=slos, **EVERYTHING)
        yield f"{profile} without objectives", groups(profile)
        yield f"{profile} and a CronJob", groups(profile, **EVERYTHING | FOLLOWING)
        yield f"{profile}, native", groups(profile, slos=slos, scrape={"nativeHistograms": True})
    for example in EXAMPLES:
        manifests = yaml.safe_load_all(example.read_text(encoding="utf-8"))
        rules = next(m for m in manifests if m["kind"] == "PrometheusRule")
        yield f"examples/{example.parent.name}", rules["spec"]["groups"]


RENDERED = dict(rendered())
every = pytest.mark.parametrize("made", RENDERED.values(), ids=RENDERED)


def rules(made, kind=None):
    return [r for group in made for r in group["rules"] if kind is None or kind in r]


def name_of(rule):
    return rule.get("alert") or rule["record"]


def walk(node):
    """The node and all below it, each with its parents, the nearest last."""

    def below(one, parents):
        yield one, parents
        for child in children(one):
            yield from below(child, (*parents, one))

    yield from below(node, ())


def children(node):
    if isinstance(node, ast.BinaryExpr):
        return [node.lhs, node.rhs]
    if isinstance(node, ast.Call):
        return list(node.args)
    if isinstance(node, ast.AggregateExpr):
        return [node.expr, *([node.param] if node.param is not None else [])]
    if isinstance(node, ast.MatrixSelector):
        return [node.vector_selector]
    if isinstance(node, ast.ParenExpr | ast.UnaryExpr | ast.SubqueryExpr):
        return [node.expr]
    return []


def parsed(rule):
    return walk(ast.parse(rule["expr"]))


def equalities(selector):
    return {m.name for m in selector.matchers.matchers if m.op == ast.MatchOp.Equal and m.value}


def calls(parents):
    return [p.func.name for p in parents if isinstance(p, ast.Call)]


# -- labels of a result -----------------------------------------------------------------------------------------------


SCALAR, ANY = "scalar", None


def labels_of(node, recorded):  # noqa: PLR0911 - one for each sort of node
    """The labels of the result: a set, `SCALAR`, or `ANY` where they are those of scraped series."""
    if isinstance(node, ast.ParenExpr | ast.UnaryExpr | ast.SubqueryExpr):
        return labels_of(node.expr, recorded)
    if isinstance(node, ast.NumberLiteral | ast.StringLiteral):
        return SCALAR
    if isinstance(node, ast.MatrixSelector):
        return labels_of(node.vector_selector, recorded)
    if isinstance(node, ast.VectorSelector):
        return recorded.get(node.name, ANY)
    if isinstance(node, ast.AggregateExpr):
        return _aggregated(node, labels_of(node.expr, recorded))
    if isinstance(node, ast.Call):
        return _called(node, recorded)
    return _combined(node, recorded)


def _aggregated(node, inner):
    by = str(node.modifier or "")
    assert not by.startswith("without")
    listed = set(filter(None, re.split(r"[\s,]+", by.removeprefix("by").strip(" ()"))))
    return listed if inner is ANY else listed & set(inner)


def _called(node, recorded):
    if node.func.name in ("time", "scalar"):
        return SCALAR
    if node.func.name == "vector":
        return set()
    if node.func.name in ("absent", "absent_over_time"):
        selector = next(n for n, _ in walk(node.args[0]) if isinstance(n, ast.VectorSelector))
        return equalities(selector)
    inner = [labels_of(arg, recorded) for arg in node.args]
    vectors = [labels for labels in inner if labels is not SCALAR]
    if not vectors:
        return set()  # minute() and its like, of the present
    (one,) = vectors
    return one - {"le"} if node.func.name == "histogram_quantile" and one is not ANY else one


def _combined(node, recorded):
    left, right = labels_of(node.lhs, recorded), labels_of(node.rhs, recorded)
    if SCALAR in (left, right):
        return right if left is SCALAR else left
    modifier = str(node.modifier or "")
    if str(node.op) in ("and", "or", "unless"):
        return left
    on = re.search(r"on \(([^)]*)\)", modifier)
    return set(filter(None, re.split(r"[\s,]+", on[1]))) if on else left


def recorded_in(made):
    return {rule["record"]: set(rule["labels"]) for rule in rules(made, "record")}


# -- the checks -------------------------------------------------------------------------------------------------------


@every
def test_names_of_alerts_are_camel_case_and_carry_the_prefix(made):
    assert [
        r["alert"]
        for r in rules(made, "alert")
        if not re.fullmatch(r"[A-Z][A-Za-z0-9]+", r["alert"])
    ] == []


@every
def test_severities_are_those_that_people_route_by(made):
    assert {r["labels"]["severity"] for r in rules(made, "alert")} <= {
        "critical",
        "warning",
        "info",
    }


@every
def test_summaries_are_static_sentences_and_descriptions_there(made):
    for rule in rules(made, "alert"):
        summary = rule["annotations"]["summary"]
        assert re.fullmatch(r"[A-Z][^{}]{0,118}\.", summary), (rule["alert"], summary)
        assert rule["annotations"]["description"], rule["alert"]


@every
def test_templates_name_labels_that_the_expression_has(made):
    recorded = recorded_in(made)
    for rule in rules(made, "alert"):
        known = labels_of(ast.parse(rule["expr"]), recorded)
        named = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        assert known is ANY or named <= known, (rule["alert"], named, known)


@every
def test_an_alert_compares(made):
    for rule in rules(made, "alert"):
        compares = any(
            (
                isinstance(n, ast.BinaryExpr)
                and str(n.op) in ("==", "!=", ">", "<", ">=", "<=", "unless")
            )
            or (isinstance(n, ast.Call) and n.func.name == "absent")
            for n, _ in parsed(rule)
        )
        assert compares, rule["alert"]


@every
def test_every_selector_matches_namespace_and_workflow_by_equality(made):
    for rule in rules(made):
        for node, _ in parsed(rule):
            if isinstance(node, ast.VectorSelector):
                owner = OF_KUBERNETES if node.name.startswith("kube_") else OWNER
                assert equalities(node) >= owner, (name_of(rule), str(node))


@every
def test_counters_are_read_through_rates_only(made):
    for rule in rules(made):
        for node, parents in parsed(rule):
            if (
                isinstance(node, ast.VectorSelector)
                and (COUNTER.fullmatch(node.name) or node.name in HISTOGRAMS)
                and ":" not in node.name
                and node.name not in GAUGES
            ):
                # How many there are is no value of theirs.
                counted = [str(p.op) for p in parents if isinstance(p, ast.AggregateExpr)] == [
                    "count"
                ]
                known = {*RATES, *STEPS.get(rule.get("record"), ())}
                read = counted or {*calls(parents)} & known or is_of_new_series(parents)
                assert read, (name_of(rule), str(node))


def is_of_new_series(parents):
    """Whether the value is read of series only that were not there before the window of their increase."""
    return any(
        isinstance(node, ast.BinaryExpr)
        and str(node.op) == "unless"
        and [read_over_time(node.lhs)] == [read_over_time(node.rhs, before=True)] != [None]
        for node in parents
    )


def read_over_time(node, *, before=False):
    """Selector and window of `max_over_time`; of `last_over_time` what it reads and how long before."""
    function = "last_over_time" if before else "max_over_time"
    if not isinstance(node, ast.Call) or node.func.name != function:
        return None
    (selector,) = (arg.vector_selector for arg in node.args)
    matchers = [(m.name, str(m.op), m.value) for m in selector.matchers.matchers]
    return selector.name, matchers, selector.offset if before else node.args[0].range


@every
def test_quantiles_are_of_sums_by_le_of_rates(made):
    for rule in rules(made):
        for node, _ in parsed(rule):
            if isinstance(node, ast.Call) and node.func.name == "histogram_quantile":
                inner = node.args[1]
                assert isinstance(inner, ast.AggregateExpr), name_of(rule)
                # A native histogram is one series, and its buckets are within.
                is_native = inner.expr.args[0].vector_selector.name in HISTOGRAMS
                has_bounds = re.search(r"\ble\b", str(inner.modifier)) is not None
                assert has_bounds != is_native, name_of(rule)
                assert isinstance(inner.expr, ast.Call), name_of(rule)
                assert inner.expr.func.name == "rate", name_of(rule)


@every
def test_both_sides_of_an_operator_have_the_same_labels(made):
    recorded = recorded_in(made)
    for rule in rules(made):
        for node, parents in parsed(rule):
            if not isinstance(node, ast.BinaryExpr) or "on (" in str(node.modifier or ""):
                continue
            left, right = labels_of(node.lhs, recorded), labels_of(node.rhs, recorded)
            if SCALAR in (left, right) or ANY in (left, right):
                continue
            # Within max() without labels, each side may have its own: one of them is left.
            whole = any(
                isinstance(p, ast.AggregateExpr) and not str(p.modifier or "") for p in parents
            )
            assert left == right or (whole and str(node.op) == "or"), (name_of(rule), str(node))


@every
def test_nothing_is_picked_by_rank(made):
    for rule in rules(made, "alert"):
        used = {str(n.op) for n, _ in parsed(rule) if isinstance(n, ast.AggregateExpr)}
        assert not used & {"topk", "bottomk", "limitk", "limit_ratio"}, rule["alert"]


@pytest.mark.parametrize("interval", ["5s", "15s", "1m", "2m"])
@pytest.mark.parametrize("profile", PROFILES)
def test_rates_look_back_over_four_scrapes(profile, interval):
    slos = {name: slo for name, slo in objectives(profile).items() if name != "short"}
    for rule in rules(groups(profile, scrape={"interval": interval}, slos=slos)):
        for node, parents in parsed(rule):
            if isinstance(node, ast.MatrixSelector) and calls(parents)[-1:] in (
                ["rate"],
                ["increase"],
            ):
                least = 4 * duration.seconds(interval)
                assert node.range.total_seconds() >= least, (name_of(rule), str(node))


@every
def test_no_function_is_experimental(made):
    for rule in rules(made):
        assert not [n for n, _ in parsed(rule) if isinstance(n, ast.Call) and n.func.experimental]


@every
def test_what_is_absent_is_waited_for(made):
    for rule in rules(made, "alert"):
        if any(isinstance(n, ast.Call) and n.func.name == "absent" for n, _ in parsed(rule)):
            assert duration.seconds(rule["for"]) >= 120, rule["alert"]


@every
def test_no_vector_of_zero_stands_in_where_labels_are_needed(made):
    for rule in rules(made):
        for node, _ in parsed(rule):
            if isinstance(node, ast.BinaryExpr) and str(node.op) == "or":
                zero = isinstance(node.rhs, ast.Call) and node.rhs.func.name == "vector"
                assert not zero or "on ()" in str(node.modifier or ""), (name_of(rule), str(node))


@every
def test_every_division_by_a_series_is_guarded(made):
    for rule in rules(made):
        for node, _ in parsed(rule):
            if not (isinstance(node, ast.BinaryExpr) and str(node.op) == "/"):
                continue
            divisor = node.rhs
            while isinstance(divisor, ast.ParenExpr):
                divisor = divisor.expr
            number = isinstance(divisor, ast.NumberLiteral) and divisor.val != 0
            guarded = isinstance(divisor, ast.BinaryExpr) and str(divisor.op) == ">"
            assert number or guarded, (name_of(rule), str(node))


@every
def test_groups_are_evaluated_within_the_look_back_and_have_names_of_their_own(made):
    assert all(duration.seconds(group["interval"]) <= 300 for group in made)
    assert len({group["name"] for group in made}) == len(made)


@every
def test_recorded_names_have_three_parts_and_no_two_rules_write_the_same_series(made):
    written = [(r["record"], tuple(sorted(r["labels"].items()))) for r in rules(made, "record")]
    assert len(set(written)) == len(written)
    assert [n for n, _ in written if not re.fullmatch(r"[a-z_]+(:[a-zA-Z0-9_]+){2}", n)] == []


@every
def test_everything_that_is_read_of_recorded_series_is_recorded(made):
    recorded = set(recorded_in(made))
    read = {n.name for r in rules(made) for n, _ in parsed(r) if isinstance(n, ast.VectorSelector)}
    assert {name for name in read if ":" in name} <= recorded


@every
def test_a_group_reads_of_itself_only_what_stands_before(made):
    """What stands behind, or in a slower group, is of the evaluation before: only what remembers may read itself."""
    for group in made:
        order = [r.get("record") for r in group["rules"]]
        for i, rule in enumerate(group["rules"]):
            read = {n.name for n, _ in parsed(rule) if isinstance(n, ast.VectorSelector)}
            late = read & set(filter(None, order[i:]))
            assert late <= {rule.get("record")}, (name_of(rule), late)


@every
def test_the_object_is_far_below_the_limit_of_its_size(made):
    assert len(yaml.dump(made, Dumper=yaml.CSafeDumper)) < 400_000


@every
def test_an_objective_costs_fourteen_rules_and_twelve_series(made):
    by_slo = {}
    for rule in rules(made):
        if "slo" in rule["labels"]:
            by_slo.setdefault(rule["labels"]["slo"], []).append(rule)
    for name, own in by_slo.items():
        assert len(own) <= 14, name
        assert len({r["record"] for r in own if "record" in r}) <= 12, name


@every
def test_regular_expressions_stand_only_where_one_value_is_not_enough(made):
    for rule in rules(made):
        for node, _ in parsed(rule):
            if isinstance(node, ast.VectorSelector):
                for m in node.matchers.matchers:
                    if m.op in (ast.MatchOp.Re, ast.MatchOp.NotRe):
                        assert re.search(r"[|.*+?\[(]", m.value), (name_of(rule), str(node))


@every
def test_labels_are_short_and_say_whose_a_rule_is(made):
    for rule in rules(made):
        assert rule["labels"].keys() >= OWNER, name_of(rule)
        assert all(len(str(value).encode()) <= 1024 for value in rule["labels"].values())
        assert len(rule["labels"][names.WORKFLOW_LABEL]) <= 63


def test_the_longest_window_fits_the_retention_that_prometheus_has_by_default():
    """Fifteen days; objectives over more are the user's choice, and the status warns of them."""
    for profile in PROFILES:
        for rule in rules(groups(profile)):
            for node, _ in parsed(rule):
                if isinstance(node, ast.MatrixSelector):
                    reach = node.range.total_seconds()
                    if node.vector_selector.offset:
                        reach += node.vector_selector.offset.total_seconds()
                    assert reach <= 15 * 86400, (name_of(rule), str(node))


def test_examples_are_among_what_is_checked():
    assert {Path(name).name for name in RENDERED if name.startswith("examples/")} >= {
        "orders",
        "contd",
    }
