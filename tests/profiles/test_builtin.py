import re

import pytest

from flowgauge import profiles
from flowgauge.profiles import LABELS, ROLES
from flowgauge_operator import model
from flowgauge_operator.measure import Scope, expand
from flowgauge_operator.render import Capabilities, Options, render

NAMES = profiles.names()
BASE = [
    "TargetDown",
    "TargetsDown",
    "MetricsAbsent",
    "HighErrorRate",
    "SlowRuns",
    "RunStuck",
    "LowThroughput",
    "HighStepFailureRate",
    "RetryStorm",
    "PartialFailure",
    "QueueItemOld",
    "ChecksumMismatch",
]
ALERTS = {
    "workflow": [f"Workflow{name}" for name in BASE],
    "contd": [n for n in BASE if n not in ("RunStuck", "RetryStorm", "QueueItemOld")]
    + ["DataCorruption", "RestoreLatencySLO", "WorkflowSuccessRate"],
    "tta-dev": [*BASE[:5], "LowThroughput"],
}
ROLE = re.compile(r"\$(?:quantile\([0-9.]+,\s*|[a-z]+\()([a-z]+\.[a-z_]+)")


def texts(profile):
    """Every expression of a profile."""
    found = [item.expr for item in (*profile.recordings, *profile.alerts)]
    found += [text for sli in profile.slis for text in (sli.total, sli.bad)]
    return found + [query.expr for panel in profile.panels for query in panel.queries]


def rendered(name):
    spec = {"profile": name, "selector": {"matchLabels": {"a": "b"}}}
    workflow = model.parse({"metadata": {"name": "orders", "namespace": "shop"}, "spec": spec})
    return render(workflow, profiles.builtin(name), Capabilities(), Options())


def test_these_are_built_in():
    assert NAMES == ("contd", "tta-dev", "workflow")


@pytest.mark.parametrize("name", [*NAMES, "base"])
def test_a_built_in_profile_loads(name):
    assert profiles.builtin(name).name == name


@pytest.mark.parametrize("name", NAMES)
def test_a_built_in_profile_renders_with_every_alert(name):
    made = rendered(name)

    groups = next(c for c in made.children if c["kind"] == "PrometheusRule")["spec"]["groups"]
    assert [r["alert"] for g in groups for r in g["rules"] if "alert" in r] == ALERTS[name]
    assert made.problems == ()


@pytest.mark.parametrize("name", [*NAMES, "base"])
def test_every_role_that_a_rule_or_panel_names_exists(name):
    named = {role for text in texts(profiles.builtin(name)) for role in ROLE.findall(text)}

    assert named
    assert named <= set(ROLES)


@pytest.mark.parametrize("name", NAMES)
def test_every_own_entry_of_a_profile_is_rendered_for_it(name):
    profile, base = profiles.builtin(name), profiles.builtin("base")
    own = [text for text in texts(profile) if text not in texts(base)]
    values = {"threshold": "1", "window": "5m", "seconds": "1"}

    assert all(expand(text, Scope(profile, "shop", "orders", values=values)) for text in own)


@pytest.mark.parametrize("name", NAMES)
def test_every_family_carries_labels_that_exist(name):
    for family in profiles.builtin(name).families:
        assert set(family.labels) <= set(LABELS)


@pytest.mark.parametrize("name", NAMES)
def test_a_threshold_of_seconds_can_be_passed_within_the_buckets(name):
    profile = profiles.builtin(name)
    for alert in profile.alerts:
        for role in re.findall(r"\$quantile\(0.95, ([a-z]+\.[a-z_]+)", alert.expr):
            for family in profile.by_role(role):
                assert alert.threshold < family.buckets[-1] * float(family.factor)


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_says_what_is_and_what_it_means(name):
    for alert in profiles.builtin(name).alerts:
        assert re.fullmatch(r"[A-Z][^{}]{0,118}\.", alert.summary)
        assert "{{ $labels.namespace }}/{{ $labels.monitored_workflow }}" in alert.description


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_is_described(name):
    assert all(panel.description.endswith(".") for panel in profiles.builtin(name).panels)


def test_a_profile_that_does_not_exist_names_those_that_do():
    with pytest.raises(profiles.ProfileError) as caught:
        profiles.builtin("nothing")

    assert str(caught.value) == (
        "profile 'nothing': does not exist; built in are contd, tta-dev, workflow"
    )
