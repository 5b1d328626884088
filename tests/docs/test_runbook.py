import re
from pathlib import Path

import pytest

from flowgauge import profiles
from flowgauge_operator import model, promql
from flowgauge_operator.render import Capabilities, Options, render

TEXT = (Path(__file__).resolve().parents[2] / "docs/runbook.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE))
ANCHORS = {heading.lower() for heading in SECTIONS} | set(re.findall(r'<a id="(\w+)">', TEXT))
SLO = {"name": "success", "objective": 99, "success": {}}


def alerts(profile):
    """The alerts of a profile as rendered, with the anchor that each links to."""
    spec = {"profile": profile, "selector": {"matchLabels": {"a": "b"}}, "slos": [SLO]}
    workflow = model.parse({"metadata": {"name": "orders", "namespace": "shop"}, "spec": spec})
    options = Options(runbook_url="https://example.com/runbook")
    rendered = render(workflow, profiles.builtin(profile), Capabilities(), options)
    groups = next(c for c in rendered.children if c["kind"] == "PrometheusRule")["spec"]["groups"]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    return {r["alert"]: r["annotations"]["runbook_url"].partition("#")[2] for r in rules}


@pytest.mark.parametrize("profile", profiles.names())
def test_every_alert_links_to_a_section(profile):
    assert {anchor for anchor in alerts(profile).values() if anchor not in ANCHORS} == set()


def test_every_alert_has_a_heading_and_every_heading_an_alert():
    default = set(alerts("workflow"))
    # What other profiles inherit has the heading of the default profile, which puts a prefix before its names.
    known = default | {name.removeprefix("Workflow") for name in default}
    others = set().union(*map(alerts, profiles.names())) - known

    assert {"DataCorruption", "PipelineDurationAnomaly", "SlowHandlers"} <= others
    assert set(SECTIONS) == default | others


def test_every_anchor_is_one_that_an_alert_links_to():
    linked = {anchor for profile in profiles.names() for anchor in alerts(profile).values()}

    assert linked >= ANCHORS - {heading.lower() for heading in SECTIONS} - UNPREFIXED
    assert linked >= {heading.lower() for heading in SECTIONS}


# Base alerts of roles that only the default vocabulary has; another profile may have them tomorrow.
UNPREFIXED = {"queueitemold"}


@pytest.mark.parametrize("heading", SECTIONS)
@pytest.mark.parametrize("part", ["Meaning", "Impact", "Diagnosis", "Mitigation"])
def test_every_section_has_its_four_parts(heading, part):
    assert len(re.findall(rf"^\*\*{part}\b", SECTIONS[heading], re.MULTILINE)) == 1


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_query_can_be_pasted(heading):
    queries = "".join(re.findall(r"```promql\n(.*?)```", SECTIONS[heading], re.DOTALL)).splitlines()

    assert queries
    for query in queries:
        promql.check(query, "shop")


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_query_names_metrics_that_a_profile_has(heading):
    known = {"up", "ALERTS"}
    for profile in profiles.names():
        for family in profiles.builtin(profile).families:
            known |= {family.name, f"{family.name}_bucket"}
    queries = re.findall(r"```promql\n(.*?)```", SECTIONS[heading], re.DOTALL)

    names = {s.name for text in queries for q in text.splitlines() for s in promql.selectors(q)}

    assert {name for name in names if name and not name.startswith("slo:")} <= known


def test_every_link_within_the_page_has_a_target():
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= ANCHORS
