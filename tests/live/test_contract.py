"""The contract: what rules and panels of a profile name, the library emits under that profile.

A real program runs decorated functions and records what no decorator sees; a real Prometheus scrapes it and evaluates
the rules of a workflow with every feature. Each selector of each expression must have series with each label that it is
grouped by. What cannot be is named here, in one place, with the reason.
"""

import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path

import promql_parser as ast
import pytest
import yaml

from flowgauge import profiles
from flowgauge_operator import model
from flowgauge_operator.render import Capabilities, Options, render
from rig import lone, waiting

pytestmark = pytest.mark.parts

# Profiles of engines have no word for the library: tests/profiles holds them against what the engines expose.
EMITTED = [name for name in profiles.names() if profiles.builtin(name).by_role("library.info")]
OWNER = {"namespace": "shop", "monitored_workflow": "orders"}
# Selectors that the library has no series for, by profile, with the reason; docs/profiles.md says the same.
NOT_EMITTED = {}
# Recorded series that are not there after some seconds.
LATER = {
    "workflow:maintenance:active": "while a window is open",
    "workflow:run_duration_seconds:mean1h_p95_14d": "wants a day of history",
    "workflow:schedule:due_timestamp_seconds": "the deadline of a plan must be over",
}
PROGRAM = Path(__file__).with_name("vocabulary_program.py")
SPEC = {
    "selector": {"matchLabels": {"app": "orders"}},
    "scrape": {"interval": "1s"},
    "schedule": {"cron": "0 * * * *", "timeZone": "Europe/Zurich"},
    # Over, so that the time of day changes nothing.
    "maintenance": [
        {"name": "move", "start": "2026-01-01T00:00:00Z", "end": "2026-01-01T01:00:00Z"}
    ],
    "slos": [
        {"name": "success", "objective": 99.5, "success": {}},
        {"name": "fast", "objective": 95, "latency": {"threshold": "1s"}},
        {"name": "fresh", "objective": 99, "freshness": {"maxAge": "2h"}},
        {"name": "short", "objective": 99, "gauge": {"role": "queue.depth", "max": 100}},
        {
            "name": "own",
            "objective": 99,
            "custom": {
                "total": "$rate(process.cpu[$window])",
                "bad": "$rate(series.dropped[$window])",
            },
        },
    ],
}


def rendered(profile):
    """The rule groups and the dashboard of a workflow with every feature that the profile can express."""
    spec = {"profile": profile, **SPEC}
    workflow = model.parse({"metadata": {"name": "orders", "namespace": "shop"}, "spec": spec})
    made = render(workflow, profiles.builtin(profile), Capabilities(), Options())
    assert {p.reason for p in made.problems} <= {"RoleNotInProfile"}
    by_kind = {child["kind"]: child for child in made.children}
    dashboard = json.loads(next(iter(by_kind["ConfigMap"]["data"].values())))
    return by_kind["PrometheusRule"]["spec"]["groups"], dashboard


def panels(dashboard):
    """Each query of the dashboard with its panel; what Grafana fills in is some seconds and all targets."""
    for row in dashboard["panels"]:
        for panel in (row, *row.get("panels", ())):
            for target in panel.get("targets", ()):
                expr = re.sub(r"\$__(rate_interval|range|interval)", "5s", target["expr"])
                yield panel, re.sub(r"\$(job|instance)", ".+", expr)


class Vocabulary:
    """A profile in use: what was rendered for it, and the Prometheus that looks at the program."""

    def __init__(self, profile, groups, dashboard, prometheus):
        self.profile, self.groups, self.prometheus = profile, groups, prometheus
        self.rules = [rule for group in groups for rule in group["rules"]]
        self.panels = list(panels(dashboard))

    def expressions(self):
        return [*(rule["expr"] for rule in self.rules), *(expr for _, expr in self.panels)]


@pytest.fixture(scope="module", params=EMITTED)
def vocabulary(request):
    groups, dashboard = rendered(request.param)
    # Nothing of a rule depends on how often it is looked at.
    often = [{**group, "interval": "500ms"} for group in groups]
    port = lone.free_port()
    # What the operator's monitors do.
    job = yaml.safe_dump(
        {"relabel_configs": [{"target_label": k, "replacement": v} for k, v in OWNER.items()]}
    )
    program = subprocess.Popen([sys.executable, str(PROGRAM), request.param, str(port)])
    try:
        with lone.prometheus(port, job=job, rules=json.dumps({"groups": often})) as prometheus:
            prometheus.wait_series('count_over_time(up{namespace="shop"}[1h]) > 8', 60)
            yield Vocabulary(request.param, groups, dashboard, prometheus)
    finally:
        program.terminate()
        program.wait(10)


def selections(expr):
    """The selectors of an expression, each with the labels that it is grouped by."""

    def below(node, labels):
        if isinstance(node, ast.VectorSelector):
            yield node, labels
        elif isinstance(node, ast.MatrixSelector):
            yield node.vector_selector, labels
        elif isinstance(node, ast.AggregateExpr):
            listed = re.fullmatch(r"by \((.*)\)", str(node.modifier or "by ()"))[1]
            yield from below(
                node.expr, labels | {name for name in re.split(r",\s*", listed) if name}
            )
        elif isinstance(node, ast.BinaryExpr):
            yield from below(node.lhs, labels)
            yield from below(node.rhs, labels)
        elif isinstance(node, ast.Call):
            for argument in node.args:
                yield from below(argument, labels)
        elif isinstance(node, ast.ParenExpr | ast.UnaryExpr | ast.SubqueryExpr):
            yield from below(node.expr, labels)

    return below(ast.parse(expr), set())


def text_of(selector):
    """A selector as Prometheus reads it."""
    ops = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}
    matchers = (
        f"{m.name}{ops[str(m.op).rsplit('.', maxsplit=1)[-1]]}{json.dumps(m.value, ensure_ascii=False)}"
        for m in selector.matchers.matchers
    )
    return f"{selector.name}{{{','.join(matchers)}}}"


def test_every_series_and_label_that_rules_and_panels_name_is_emitted(vocabulary):
    wanted = {}
    for expr in vocabulary.expressions():
        for selector, labels in selections(expr):
            # An alert has a series while it fires.
            if ":" not in selector.name and selector.name != "ALERTS":
                wanted.setdefault(text_of(selector), set()).update(labels)

    def missing():
        found = {
            selector: lacking(vocabulary.prometheus, selector, labels)
            for selector, labels in wanted.items()
        }
        return {selector: what for selector, what in found.items() if what}

    expected = NOT_EMITTED.get(vocabulary.profile, {}).keys()
    found = settled(missing, lambda found: found.keys() == expected)
    assert found.keys() == expected, found
    assert len(wanted) > 10


def lacking(prometheus, selector, labels):
    """What there is not of a selector and the labels that it is grouped by; empty if all is there."""
    found = prometheus.ask("series", **{"match[]": selector})
    there = set.union(set(), *({k for k, v in series.items() if v} for series in found))
    if not found:
        return "no series"
    return f"no label {', '.join(sorted(labels - there))}" if labels - there else ""


def test_every_rule_is_evaluated_without_an_error(vocabulary):
    def evaluated():
        groups = vocabulary.prometheus.ask("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        return all(rule["health"] != "unknown" for rule in rules) and rules

    waiting.wait_for(evaluated, 60, "each rule to be evaluated")
    rules = evaluated()

    assert len(rules) == len(vocabulary.rules)
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] != "ok"] == []


def settled(question, is_expected, seconds=60):
    """The answer, which is asked for until it is what is expected or the time is over."""
    with contextlib.suppress(TimeoutError):
        waiting.wait_for(lambda: is_expected(question()), seconds, "the answer", every=0.5)
    return question()


def test_every_recording_rule_has_a_series(vocabulary):
    names = {rule["record"] for rule in vocabulary.rules if "record" in rule}

    def without():
        return {name for name in names if not vocabulary.prometheus.series(name)}

    expected = names & LATER.keys()
    assert settled(without, lambda found: found == expected) == expected


def test_every_query_of_the_dashboard_answers(vocabulary):
    def unanswered():
        # Others may be empty after some seconds, and say what that means; that their series are there is asked above.
        return {
            panel["title"]
            for panel, expr in vocabulary.panels
            if not panel["fieldConfig"]["defaults"].get("noValue")
            and not vocabulary.prometheus.series(expr)
        }

    assert settled(unanswered, lambda found: not found) == set()
