"""Texts of a profile that become part of PromQL are matched to the letter, whatever stands in them.

Who writes a profile may write templates and PromQL, which are theirs; a value of a label is neither.
"""

import json
import re

import promql_parser
import pytest
import re2
import yaml
from hostile import HOSTILE

from flowgauge import profiles
from flowgauge.profiles import ProfileError
from flowgauge_operator import measure, model, promql
from flowgauge_operator.measure import Scope
from flowgauge_operator.render import Capabilities, Options, render

VALUES = [*HOSTILE, "a.b|c", "good|bad", ".*", "[a]", "a\\.b", "^a$", "$__range", "${datasource}[["]


def own(**families):
    """A profile with a counter of runs, by outcome, with these fields besides."""
    family = {
        "name": "jobs_total",
        "role": "run.finished",
        "type": "counter",
        "help": "Jobs.",
        "labels": {"workflow": "task", "outcome": "end"},
        "outcomes": {"good": ["ok"]},
    }
    return {
        "apiVersion": "flowgauge.dev/v1alpha1",
        "kind": "WorkflowProfile",
        "metadata": {"name": "own"},
        "spec": {"title": "Own", "description": "Own.", "families": [family | families]},
    }


def parsed(**families):
    return profiles.from_object(own(**families), source="own.yaml")


def matchers(profile, text):
    """The matchers of the one selector that a macro becomes, as a parser reads it."""
    expr = measure.expand(text, Scope(profile, "shop", "orders"))
    promql.check(expr, "shop")
    (selector,) = promql.selectors(expr)
    return {m.name: (m.op, m.value) for m in selector.matchers.matchers}


def is_text(value):
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


@pytest.mark.parametrize("value", [value for value in VALUES if is_text(value)])
def test_fixed_matchers_are_what_the_profile_says(value):
    found = matchers(parsed(where={"state": value}), "$rate(run.finished[5m])")

    assert found["state"] == (promql_parser.MatchOp.Equal, value)
    assert found.keys() == {"namespace", "monitored_workflow", "state"}


@pytest.mark.parametrize("value", [value for value in VALUES if is_text(value)])
def test_outcomes_are_matched_to_the_letter(value):
    family = {"good": ["ok", value], "ignored": ["a.b|c"]}
    profile = parsed(outcomes=family)
    others = ["ok2", "axb", "c", "a", "", "other", *(v for v in VALUES if is_text(v))]

    op, good = matchers(profile, '$rate(run.finished{outcome="good"}[5m])')["end"]
    assert op == promql_parser.MatchOp.Re
    assert {v for v in others if re2.fullmatch(good, v)} == {
        v for v in others if v in ("ok", value)
    }

    op, bad = matchers(profile, '$rate(run.finished{outcome="bad"}[5m])')["end"]
    assert op == promql_parser.MatchOp.NotRe
    not_bad = {"ok", value, "a.b|c"}
    assert {v for v in others if re2.fullmatch(bad, v)} == {v for v in others if v in not_bad}

    op, one = matchers(
        parsed(outcomes={"good": [value]}), '$rate(run.finished{outcome="good"}[5m])'
    )["end"]
    assert (op, one) == (promql_parser.MatchOp.Equal, value)


def rendered(value):
    """The expressions of rules and of panels of a workflow under a profile with a value in every place."""
    profile = parsed(where={"state": value}, outcomes={"good": ["ok", value]})
    spec = {
        "profile": "own",
        "scrape": {"mode": "None"},
        "slos": [{"name": "a", "objective": 99, "success": {}}],
    }
    workflow = model.parse({"metadata": {"name": "orders", "namespace": "shop"}, "spec": spec})
    made = render(workflow, profile, Capabilities(), Options())
    assert made.problems == ()
    by_kind = {child["kind"]: child for child in made.children}
    dashboard = json.loads(next(iter(by_kind["ConfigMap"]["data"].values())))
    groups = by_kind["PrometheusRule"]["spec"]["groups"]
    return (
        [rule["expr"] for group in groups for rule in group["rules"]],
        [query["expr"] for panel in panels(dashboard) for query in panel.get("targets", ())],
    )


def panels(dashboard):
    """Every panel, those in closed rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


@pytest.mark.parametrize("value", [value for value in VALUES if is_text(value)])
def test_what_is_rendered_with_such_values_is_whole_and_grafana_fills_nothing_in(value):
    rules, panels = rendered(value)

    for expr in rules:
        promql.check(expr, "shop")
    variable = re.compile(r"\$\w*|\[\[")
    assert [variable.findall(e) for e in panels] == [
        variable.findall(e) for e in rendered("plain")[1]
    ]


def test_what_is_no_text_is_refused_by_path():
    with pytest.raises(ProfileError) as caught:
        parsed(where={"state": "\ud800"})

    assert caught.value.path == "spec.families[0].where.state"


@pytest.mark.parametrize("value", [value for value in VALUES if value not in ("yes", "")])
@pytest.mark.parametrize("field", ["name", "role", "type", "unit"])
def test_a_hostile_name_is_refused_by_path(field, value):
    with pytest.raises(ProfileError) as caught:
        profiles.from_object(own(**{field: value}), source="own.yaml")

    assert caught.value.path == f"spec.families[0].{field}"


@pytest.mark.parametrize("value", [value for value in VALUES if value != "yes"])
@pytest.mark.parametrize("labels", ["key", "value"])
def test_a_hostile_name_of_a_label_is_refused_by_path(labels, value):
    named = {value: "task"} if labels == "key" else {"workflow": value}
    with pytest.raises(ProfileError) as caught:
        parsed(labels={"outcome": "end", **named})

    assert caught.value.path.startswith("spec.families[0].labels")


@pytest.mark.parametrize("value", [value for value in VALUES if is_text(value)])
def test_a_profile_that_is_written_is_read_as_it_was(value):
    body = own(where={"state": value}, outcomes={"good": [value]})
    text = yaml.dump(body, allow_unicode=True)

    family = profiles.parse(text, source="own.yaml").families[0]

    assert family.where == {"state": value}
    assert family.outcomes.good == (value,)
