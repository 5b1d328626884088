"""Every alert has a page that says what to do, and every page an alert."""

import re
from pathlib import Path

import pytest
import yaml

from flowgauge import profiles
from flowgauge_operator import model, promql
from flowgauge_operator.render import Capabilities, Options, render

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs/runbooks"
INDEX = (FOLDER / "README.md").read_text(encoding="utf-8")
PAGES = {
    path.stem: path.read_text(encoding="utf-8")
    for path in sorted(FOLDER.glob("*.md"))
    if path.name != "README.md"
}
BURN = {"ErrorBudgetBurnFast", "ErrorBudgetBurnSlow"}
BASE = "https://example.com/runbooks"


def rules(profile):
    """The rules of a workflow that has all that an alert may need, and an objective that every profile can express."""
    up = 'up{namespace="shop"}'
    spec = {
        "profile": profile,
        "selector": {"matchLabels": {"a": "b"}},
        "schedule": {"cronJob": "orders"},
        "slos": [{"name": "success", "objective": 99, "custom": {"total": up, "bad": up}}],
    }
    workflow = model.parse({"metadata": {"name": "orders", "namespace": "shop"}, "spec": spec})
    options = Options(runbook_url=BASE)
    rendered = render(workflow, profiles.builtin(profile), Capabilities(), options)
    groups = next(c for c in rendered.children if c["kind"] == "PrometheusRule")["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


RULES = {profile: rules(profile) for profile in profiles.names()}
KUBERNETES = {
    selector.name
    for rule in RULES[profiles.DEFAULT]
    for selector in promql.selectors(rule["expr"])
    if selector.name.startswith("kube_")
}
ALERTS = {profile: [rule for rule in rules if "alert" in rule] for profile, rules in RULES.items()}
# Alerts that no built-in profile can express are there as well: another may tomorrow.
OPERATOR = {
    rule["alert"]: rule
    for group in yaml.safe_load((ROOT / "charts/flowgauge/files/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
}
NAMED = (
    BURN
    | {alert.name for name in profiles.names() for alert in profiles.builtin(name).alerts}
    | set(OPERATOR)
)


def sections(page):
    """The headings of a page with their text, in order."""
    return re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGES[page], re.DOTALL | re.MULTILINE)


def queries(page):
    blocks = re.findall(r"```promql\n(.*?)```", PAGES[page], re.DOTALL)
    return [query for block in blocks for query in block.splitlines()]


def test_every_alert_has_a_page():
    assert NAMED - set(PAGES) == set()


def test_every_page_has_an_alert():
    assert {"TargetDown", "WorkflowSuccessRate", "SlowHandlers"} <= NAMED
    assert set(PAGES) - NAMED == set()


@pytest.mark.parametrize("profile", profiles.names())
def test_every_rule_links_to_a_page(profile):
    urls = {rule["alert"]: rule["annotations"]["runbook_url"] for rule in ALERTS[profile]}

    assert len(urls) > len(BURN)
    prefix = profiles.builtin(profile).alert_prefix
    for name, url in urls.items():
        page = name.removeprefix("Workflow" if name.removeprefix("Workflow") in BURN else prefix)
        assert url == f"{BASE}/{page}"
        assert page in PAGES


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_its_four_sections_with_text(page):
    found = sections(page)

    assert [heading for heading, _ in found] == ["Meaning", "Impact", "Diagnosis", "Mitigation"]
    for heading, text in found:
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        assert len(prose.split()) >= 2, heading


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_severity_and_names_of_its_alert_in_each_profile(page):
    title, said = PAGES[page].split("\n\n", 2)[:2]
    text = " ".join(said.split())

    assert title == f"# {page}"
    for profile, alerts in ALERTS.items():
        for rule in alerts:
            if rule["annotations"]["runbook_url"] == f"{BASE}/{page}":
                part = rf"{rule['labels']['severity'].capitalize()}:[^.]*`{rule['alert']}` in "
                where = re.search(part + r"([^;.]*)", text)
                assert where
                assert f"`{profile}`" in where[1] or where[1] == "every profile"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_queries_that_can_be_pasted(page):
    found = [
        text for heading, text in sections(page) if heading == "Diagnosis" and "```promql" in text
    ]

    assert found
    assert queries(page)
    for query in queries(page):
        promql.check(query, "flowgauge-system" if page in OPERATOR else "shop")


def of_the_operator():
    """The metrics that an operator exposes, which `test_docs` compares with the code."""
    page = (ROOT / "docs/operator.md").read_text(encoding="utf-8")
    found = set(re.findall(r"^\| `(flowgauge_\w+)", page, re.MULTILINE))
    return found | {f"{name}_bucket" for name in found} | {"process_cpu_seconds_total"}


@pytest.mark.parametrize("page", PAGES)
def test_a_query_names_what_a_profile_has(page):
    known = (
        {"up", "ALERTS"}
        | KUBERNETES
        | {rule["record"] for rules in RULES.values() for rule in rules if "record" in rule}
    )
    for profile in profiles.names():
        for family in profiles.builtin(profile).families:
            ends = ("_bucket", "_count", "_sum") if family.type == "histogram" else ("",)
            known |= {family.name + end for end in ends}

    if page in OPERATOR:
        known |= of_the_operator()

    names = {selector.name for query in queries(page) for selector in promql.selectors(query)}

    assert {name for name in names if name}
    assert {name for name in names if name} - known == set()


@pytest.mark.parametrize("page", PAGES)
def test_a_link_to_another_page_is_called_like_it(page):
    for text, target in re.findall(r"\[([^\]]+)\]\((\w+)\.md\)", PAGES[page]):
        if target != "README":
            assert target in PAGES
            assert text == target


@pytest.mark.parametrize("page", ["README", *PAGES])
def test_every_link_has_a_target(page):
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")

    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (FOLDER / target).exists(), target


def test_the_index_has_every_alert_as_it_is():
    rows = re.findall(
        r"^\| \[(\w+)\]\((\w+)\.md\) \| (\w+) \| (.+?) \| (.+) \|$", INDEX, re.MULTILINE
    )

    assert {page for page, *_ in rows} == set(PAGES)
    for name, rule in OPERATOR.items():
        row = (
            name,
            name,
            rule["labels"]["severity"],
            f"{rule['for']} | {rule['annotations']['summary']}",
        )
        assert [(*first[:3], " | ".join(first[3:])) for first in rows if first[0] == name] == [row]
    assert all(page == target for page, target, *_ in rows)
    for profile, alerts in ALERTS.items():
        for rule in alerts:
            page = rule["annotations"]["runbook_url"].removeprefix(f"{BASE}/")
            severity, summary = rule["labels"]["severity"], rule["annotations"]["summary"]
            assert any(
                row[0] == page
                and row[2:4] == (severity, summary)
                and (f"`{profile}`" in row[4] or row[4] == "every profile")
                for row in rows
            ), (profile, page)


def test_an_alert_of_the_users_own_has_no_page():
    spec = {
        "selector": {"matchLabels": {"a": "b"}},
        "alerts": {"extra": [{"name": "Own", "expr": "$rate(run.finished[5m]) > 1"}]},
    }
    workflow = model.parse({"metadata": {"name": "orders", "namespace": "shop"}, "spec": spec})
    rendered = render(
        workflow, profiles.builtin("workflow"), Capabilities(), Options(runbook_url=BASE)
    )
    groups = next(c for c in rendered.children if c["kind"] == "PrometheusRule")["spec"]["groups"]
    own = next(r for group in groups for r in group["rules"] if r.get("alert") == "Own")

    assert set(own["annotations"]) == {"summary", "description"}
