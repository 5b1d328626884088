import re

import pytest

from flowgauge import profiles
from flowgauge.profiles import LABELS, ROLES
from flowgauge_operator import model
from flowgauge_operator.measure import Scope, expand
from flowgauge_operator.render import Capabilities, Options, render

NAMES = profiles.names()
# Their names are those of programs that do not use the library.
ENGINES = ("airflow", "argo-workflows", "celery", "cronjob", "prefect", "temporal")
EMITTED = [name for name in NAMES if name not in ENGINES]
# What each guide says of its alerts: name, and threshold in base units (None where it names no number).
GUIDES = {
    "contd": {"DataCorruption": None, "RestoreLatencySLO": 1, "WorkflowSuccessRate": 0.99},
    "ia-modules": {
        "HighErrorRate": 0.05,
        "PipelineDurationAnomaly": 300,
        "HighCost": 10,
        "LowThroughput": 100,
        "HighMemoryUsage": 1e9,
        "NoExecutions": None,
        "HighStepFailureRate": 0.1,
        "APIRateLimitApproaching": 1000,
        "HighCPUUsage": 0.8,
        "QueueDepthGrowing": 0.1,
    },
    "orchestrix": {"HighErrorRate": 0.05, "SlowHandlers": 1},
}
ROLE = re.compile(r"\$(?:quantile\([0-9.]+,\s*|[a-z]+\()([a-z]+\.[a-z_]+)")


def texts(profile):
    """Every expression of a profile."""
    found = [item.expr for item in (*profile.recordings, *profile.alerts)]
    found += [text for sli in profile.slis for text in (sli.total, sli.bad)]
    return found + [query.expr for panel in profile.panels for query in panel.queries]


def rendered(name):
    spec = {"profile": name, "selector": {"matchLabels": {"a": "b"}}}
    spec |= {"schedule": {"cronJob": "a"}} if name == "cronjob" else {}
    workflow = model.parse({"metadata": {"name": "orders", "namespace": "shop"}, "spec": spec})
    return render(workflow, profiles.builtin(name), Capabilities(), Options())


def test_these_are_built_in():
    assert EMITTED == ["contd", "ia-modules", "orchestrix", "tta-dev", "workflow"]
    assert set(NAMES) == {*EMITTED, *ENGINES}


@pytest.mark.parametrize("name", [*NAMES, "base"])
def test_a_built_in_profile_loads(name):
    assert profiles.builtin(name).name == name


@pytest.mark.parametrize("name", NAMES)
def test_a_built_in_profile_renders_without_a_problem(name):
    assert rendered(name).problems == ()


@pytest.mark.parametrize("name", [*NAMES, "base"])
def test_every_role_that_a_rule_or_panel_names_exists(name):
    named = {role for text in texts(profiles.builtin(name)) for role in ROLE.findall(text)}

    assert named
    assert named <= set(ROLES)


@pytest.mark.parametrize("name", NAMES)
def test_every_own_entry_of_a_profile_is_rendered_for_it(name):
    profile, base = profiles.builtin(name), profiles.builtin("base")
    own = [text for text in texts(profile) if text not in texts(base)]
    # An age where it is a window, else a number; here it only has to be expanded.
    values = {"threshold": "5m", "window": "5m", "seconds": "1"}

    scope = Scope(profile, "shop", "orders", threshold=5, values=values)
    assert all(expand(text, scope) for text in own)


@pytest.mark.parametrize(("name", "alerts"), GUIDES.items())
def test_a_guides_alerts_are_there_with_its_thresholds(name, alerts):
    have = {alert.name: alert.threshold for alert in profiles.builtin(name).alerts}

    assert {alert: have.get(alert, "missing") for alert in alerts} == alerts


@pytest.mark.parametrize("name", NAMES)
def test_every_family_carries_labels_that_its_role_has(name):
    for family in profiles.builtin(name).families:
        assert set(family.labels) <= set(ROLES[family.role].labels), family.name


def test_every_role_has_labels_that_exist_and_every_label_a_role():
    assert {label for role in ROLES.values() for label in role.labels} == set(LABELS)


@pytest.mark.parametrize("name", EMITTED)
def test_what_the_library_says_of_itself_and_its_process_has_one_name_everywhere(name):
    families = {f.name: (f.role, f.type, dict(f.labels)) for f in profiles.builtin(name).families}

    assert OWN.items() <= families.items()


OWN = {
    "flowgauge_library_info": ("library.info", "info", {"version": "version"}),
    "flowgauge_series_dropped_total": ("series.dropped", "counter", {}),
    "process_resident_memory_bytes": ("process.memory", "gauge", {}),
    "process_cpu_seconds_total": ("process.cpu", "counter", {}),
}


@pytest.mark.parametrize("name", EMITTED)
def test_a_counter_is_called_total_but_for_names_that_a_guide_gives(name):
    counters = {f.name for f in profiles.builtin(name).families if f.type == "counter"}

    assert {n for n in counters if not n.endswith("_total")} <= {"pipeline_cost_usd"}


@pytest.mark.parametrize("name", NAMES)
def test_a_threshold_of_seconds_can_be_passed_within_the_buckets(name):
    profile = profiles.builtin(name)
    for alert in profile.alerts:
        for role in re.findall(r"\$quantile\(0.95, ([a-z]+\.[a-z_]+)", alert.expr):
            for family in profile.by_role(role):
                assert alert.threshold < family.buckets[-1] * float(family.factor)
                assert alert.threshold in [b * float(family.factor) for b in family.buckets]


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
        "profile 'nothing': does not exist; built in are airflow, argo-workflows, celery, contd, cronjob, ia-modules,"
        " orchestrix, prefect, temporal, tta-dev, workflow"
    )
