"""Panels of the built-in profiles: in the order of triage, none twice, none without words, every role shown."""

import re

import pytest

from flowgauge import profiles
from flowgauge_operator import measure
from flowgauge_operator.measure import MissingRoleError, Scope

NAMES = profiles.names()
each_profile = pytest.mark.parametrize("name", NAMES)
ROWS = (
    "Overview",
    "Objectives",
    "Failures",
    "Duration",
    "Runs",
    "Steps",
    "Messages",
    "Waiting",
    "Schedules",
    "Workers",
    "Durability",
    "Event store",
    "Data quality",
    "Cost",
    "Process",
    "Monitoring",
)
# What each guide has of panels, or of queries that it would have as panels, by its own words.
GUIDES = {
    "contd": [
        "Restore Latency P95",
        "Workflow Success Rate",
        "Managed Steps",
        "Idempotency Hit Rate",
    ],
    "ia-modules": [
        "Pipeline execution rate",
        "Success rate",
        "Active pipelines",
        "Duration (P95)",
        "Step duration by name",
        "Error rate by type",
        "API calls per pipeline",
        "Cost per hour",
        "Throughput (items/sec)",
        "Memory usage",
        "CPU usage",
    ],
    "orchestrix": [
        "Message throughput",
        "Handler latency",
        "Error rates by type",
        "Event store performance",
        "Active handlers",
    ],
    "tta-dev": [
        "Latency P95 by primitive",
        "Latency P99 by type",
        "Requests per second",
        "Success rate",
        "Error rate",
        "SLO compliance",
        "Error budget remaining",
        "SLO burn rate",
        "Cost per hour",
        "Savings rate",
        "Cost by category",
        "Active requests",
        "Peak active requests",
        "Request rate trend",
    ],
}


def recorded(profile):
    """What is recorded for a workflow without a schedule and without an objective of freshness."""
    scope = Scope(profile, "shop", "orders", values={"slow": "1"})
    found = set()
    for recording in profile.recordings:
        try:
            measure.expand(recording.expr, scope)
        except MissingRoleError:
            continue
        found |= set() if recording.needs else {recording.record}
    return frozenset(found)


def shown(name):
    """The panels that such a workflow has, each with its expressions and the families that they read."""
    profile = profiles.builtin(name)
    scope = Scope(profile, "shop", "orders", recorded=recorded(profile))
    for panel in profile.panels:
        try:
            exprs = [measure.expand(query.expr, scope) for query in panel.queries]
        except MissingRoleError:
            continue
        read = [f for query in panel.queries for f in measure.families(query.expr, scope)]
        yield panel, exprs, read


@pytest.mark.parametrize(("name", "titles"), GUIDES.items())
def test_a_guides_panels_are_shown_under_their_names(name, titles):
    assert set(titles) <= {panel.title for panel, _, _ in shown(name)}


@each_profile
def test_every_family_is_on_a_panel(name):
    families = {family.name for family in profiles.builtin(name).families}

    on_panels = {family.name for _, _, read in shown(name) for family in read}
    assert families - on_panels == set()


@each_profile
def test_nothing_is_shown_twice(name):
    # A number is what is now, a graph how it came to that.
    seen = [(panel.type == "stat", *exprs) for panel, exprs, _ in shown(name)]

    assert [s for s in seen if seen.count(s) > 1] == []


@pytest.mark.parametrize("name", [*NAMES, "base"])
def test_every_row_is_one_of_those_that_have_a_place_in_triage(name):
    assert {panel.row for panel in profiles.builtin(name).panels} <= set(ROWS)


@pytest.mark.parametrize("name", [*NAMES, "base"])
def test_a_description_says_what_is_seen_and_then_what_it_means(name):
    short = [
        p.title for p in profiles.builtin(name).panels if not re.search(r"[.;] ", p.description)
    ]

    assert short == []


@pytest.mark.parametrize("name", [*NAMES, "base"])
def test_rates_are_over_the_interval_of_a_graph_and_totals_over_the_time_shown(name):
    for panel in profiles.builtin(name).panels:
        windows = {w for q in panel.queries for w in re.findall(r"[a-z}]\[([^\]:]+)\]", q.expr)}
        wanted = "$__rate_interval" if panel.type in ("timeseries", "heatmap") else "$__range"
        assert windows <= {wanted}, panel.title


def test_the_default_dashboard_opens_with_eighteen_queries_of_its_profile():
    first = [
        len(exprs)
        for panel, exprs, _ in shown("workflow")
        if panel.row in ("Overview", "Failures", "Duration")
    ]

    assert sum(first) <= 18


@each_profile
def test_a_state_has_a_word_for_every_value_that_is_no_number(name):
    for panel in profiles.builtin(name).panels:
        worded = [step for step in panel.steps if step.text]
        # Below the first word there is none.
        assert not worded or panel.steps[0].text, panel.title
