import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgauge import profiles
from flowgauge_operator import model, promql
from flowgauge_operator.render import Capabilities, Options, render, rules

GOOD = {"name": "good", "objective": 99, "success": {}}
OWN = {"name": "Own", "expr": "vector(1)"}


def made(profile="workflow", namespace="shop", name="orders", options=None, **spec):
    body = {"profile": profile, "selector": {"matchLabels": {"app": "orders"}}, **spec}
    workflow = model.parse({"metadata": {"name": name, "namespace": namespace}, "spec": body})
    return render(workflow, profiles.builtin(profile), Capabilities(), options or Options())


def groups(rendered):
    return next(c for c in rendered.children if c["kind"] == "PrometheusRule")["spec"]["groups"]


def alerts(rendered):
    return {r["alert"]: r for g in groups(rendered) for r in g["rules"] if "alert" in r}


def problems(rendered):
    return [(problem.path, problem.reason) for problem in rendered.problems]


@pytest.mark.parametrize(
    ("bad", "path", "reason"),
    [
        ({"latency": {"threshold": "7s"}}, "spec.slos[1]", "ThresholdNotABucket"),
        ({"success": {}, "window": "5m"}, "spec.slos[1]", "WindowTooShort"),
        ({"success": {}, "window": "91d"}, "spec.slos[1]", "WindowTooLong"),
        ({"custom": {"total": "up", "bad": "up"}}, "spec.slos[1]", "InvalidExpression"),
        ({"custom": {"total": "rate(", "bad": "up"}}, "spec.slos[1]", "InvalidExpression"),
        ({"custom": {"total": "$nope(a)", "bad": "up"}}, "spec.slos[1]", "InvalidExpression"),
        ({"custom": {"total": "1", "bad": "1"}}, "spec.slos[1]", "InvalidExpression"),
        ({"gauge": {"role": "worker.up", "min": 1}}, "spec.slos[1]", "RoleNotInProfile"),
        ({"gauge": {"role": "run.gone", "min": 1}}, "spec.slos[1]", "InvalidExpression"),
        ({"freshness": {"maxAge": "30d"}}, "spec.slos[1]", "InvalidSpec"),
    ],
)
def test_one_bad_objective_leaves_the_others(bad, path, reason):
    slos = [GOOD, {"name": "bad", "objective": 99, **bad}, GOOD | {"name": "last"}]

    rendered = made(slos=slos)

    assert problems(rendered) == [(path, reason)]
    assert [view.name for view in rendered.slos] == ["good", "last"]
    assert {
        r["labels"]["slo"] for g in groups(rendered) for r in g["rules"] if "slo" in r["labels"]
    } == {
        "good",
        "last",
    }


@pytest.mark.parametrize(
    ("expr", "reason"),
    [
        ("up > 0", "InvalidExpression"),
        ('up{namespace="other"}', "InvalidExpression"),
        ('up{namespace=~"shop"}', "InvalidExpression"),
        ("rate(", "InvalidExpression"),
        ("$rate(run.finished)", "InvalidExpression"),
        ("$rate(run.finished[$__rate_interval])", "InvalidExpression"),
        ('limitk(1, up{namespace="shop"})', "InvalidExpression"),
        ("$max(worker.up)", "RoleNotInProfile"),
    ],
)
def test_one_bad_alert_leaves_the_others(expr, reason):
    extra = [OWN, {"name": "Bad", "expr": expr}, OWN | {"name": "Last"}]

    rendered = made(alerts={"extra": extra})

    assert problems(rendered) == [("spec.alerts.extra[1].expr", reason)]
    assert list(alerts(rendered))[-2:] == ["Own", "Last"]


@pytest.mark.parametrize("namespace", ["shop", "other"])
def test_an_own_expression_is_judged_by_the_workflows_namespace(namespace):
    own = {"name": "Own", "expr": 'up{namespace="shop"} > 0'}

    rendered = made(namespace=namespace, alerts={"extra": [own]})

    assert ("Own" in alerts(rendered)) == (namespace == "shop")


def test_every_selector_of_every_rule_carries_both_owner_matchers():
    slos = [GOOD, {"name": "fast", "objective": 95, "latency": {"threshold": "5s"}}]
    rendered = made(slos=slos)

    found = [s for g in groups(rendered) for r in g["rules"] for s in promql.selectors(r["expr"])]

    assert len(found) > 50
    owner = {("namespace", "shop"), ("monitored_workflow", "orders")}
    assert all(owner <= {(m.name, m.value) for m in s.matchers.matchers} for s in found)


def test_every_rule_says_whose_it_is():
    for group in groups(made(slos=[GOOD], alerts={"extra": [OWN]})):
        for rule in group["rules"]:
            assert rule["labels"]["namespace"] == "shop"
            assert rule["labels"]["monitored_workflow"] == "orders"


def test_groups_are_these():
    assert [(g["name"], g["interval"]) for g in groups(made(slos=[GOOD]))] == [
        ("flowgauge/shop/orders/info", "30s"),
        ("flowgauge/shop/orders/recordings", "30s"),
        ("flowgauge/shop/orders/history", "2m30s"),
        ("flowgauge/shop/orders/alerts", "30s"),
        ("flowgauge/shop/orders/slo-good-short", "30s"),
        ("flowgauge/shop/orders/slo-good-long", "2m30s"),
        ("flowgauge/shop/orders/slo-good-alerts", "30s"),
    ]


def test_an_objective_is_fourteen_rules():
    rules_ = [r for g in groups(made(slos=[GOOD])) for r in g["rules"] if "slo" in r["labels"]]

    assert len(rules_) == 14
    assert len({rule["record"] for rule in rules_ if "record" in rule}) == 12


def test_a_suspended_workflow_keeps_its_recordings_only():
    rendered = made(suspend=True, slos=[GOOD], alerts={"extra": [OWN]})

    kept = [group["name"].rsplit("/")[-1] for group in groups(rendered)]
    assert kept == ["info", "recordings", "history"]
    assert (alerts(rendered), rendered.slos, rendered.problems) == ({}, (), ())


@pytest.mark.parametrize("name", ["SlowRuns", "WorkflowSlowRuns"])
def test_an_alert_is_known_with_and_without_prefix(name):
    assert "WorkflowSlowRuns" not in alerts(made(alerts={"disabled": [name]}))
    rule = alerts(made(alerts={"overrides": {name: {"threshold": 60}}}))["WorkflowSlowRuns"]
    assert rule["expr"].endswith(" > 60")


def test_an_override_changes_what_it_names_and_nothing_else():
    override = {"threshold": 0.25, "for": "1h", "severity": "info"}
    before = alerts(made())["WorkflowHighErrorRate"]

    after = alerts(made(alerts={"overrides": {"HighErrorRate": override}}))["WorkflowHighErrorRate"]

    assert after["expr"] == before["expr"].replace("> 0.05)", "> 0.25)")
    assert (after["for"], after["labels"]["severity"]) == ("1h", "info")
    assert after["annotations"] == before["annotations"]


def test_an_override_can_take_the_holding_time_away():
    rule = alerts(made(alerts={"overrides": {"SlowRuns": {"for": "0s"}}}))["WorkflowSlowRuns"]

    assert "for" not in rule


@pytest.mark.parametrize(
    ("given", "path", "reason"),
    [
        ({"disabled": ["Gone"]}, "spec.alerts.disabled", "UnknownAlert"),
        ({"overrides": {"Gone": {}}}, "spec.alerts.overrides", "UnknownAlert"),
        (
            {"overrides": {"TargetDown": {"threshold": 1}}},
            "spec.alerts.overrides.TargetDown.threshold",
            "InvalidSpec",
        ),
    ],
)
def test_what_the_profile_does_not_know_is_a_problem_and_changes_nothing(given, path, reason):
    rendered = made(alerts=given)

    assert problems(rendered) == [(path, reason)]
    assert alerts(rendered) == alerts(made())


def test_labels_go_to_every_alert_and_never_replace_ours():
    extra = OWN | {"labels": {"team": "own"}}
    rendered = made(slos=[GOOD], alerts={"labels": {"team": "all", "area": "eu"}, "extra": [extra]})

    teams = {name: rule["labels"]["team"] for name, rule in alerts(rendered).items()}

    assert teams.pop("Own") == "own"
    assert set(teams.values()) == {"all"}
    assert {rule["labels"]["area"] for rule in alerts(rendered).values()} == {"eu"}


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("plain", "plain"),
        ('{{ query "up" }}', '{{ "{{" }} query "up" }}'),
        ("{{{{", '{{ "{{" }}{{ "{{" }}'),
        ("{{{", '{{ "{{" }}{'),
        ("{ {", "{ {"),
        ("}}", "}}"),
    ],
)
def test_a_template_opening_of_a_user_is_text(text, literal):
    extra = OWN | {"summary": text, "description": text, "labels": {"team": text}}
    rule = alerts(made(alerts={"extra": [extra], "labels": {"area": text}}))["Own"]

    assert rule["annotations"] == {"summary": literal, "description": literal}
    assert (rule["labels"]["team"], rule["labels"]["area"]) == (literal, literal)


@settings(deadline=None)  # a busy machine is no failure
@given(st.text("{}} a", max_size=30))
def test_no_two_braces_of_a_user_meet(text):
    assert rules.literal(text).replace('{{ "{{" }}', "").count("{{") == 0


def test_an_alert_links_to_runbook_and_dashboard():
    options = Options(runbook_url="https://x.example/r", grafana_url="https://g.example")

    rule = alerts(made(options=options, slos=[GOOD]))["WorkflowErrorBudgetBurnFast"]

    assert rule["annotations"]["runbook_url"] == "https://x.example/r/ErrorBudgetBurnFast"
    assert rule["annotations"]["dashboard_url"] == "https://g.example/d/fg-25854a7eceb1fa1f2e726553"


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://x.example/r", "https://x.example/r/TargetDown"),
        ("https://x.example/r/", "https://x.example/r/TargetDown"),
        ("https://x.example/r/{alert}.md", "https://x.example/r/TargetDown.md"),
        ("https://x.example/{alert}/#{alert}", "https://x.example/TargetDown/#TargetDown"),
    ],
)
def test_the_name_of_a_runbook_goes_behind_the_base_or_where_the_base_says(base, url):
    rule = alerts(made(options=Options(runbook_url=base)))["WorkflowTargetDown"]

    assert rule["annotations"]["runbook_url"] == url


def test_an_alert_does_not_link_to_a_dashboard_that_is_not_made():
    rendered = made(options=Options(grafana_url="https://g.example"), dashboard={"mode": "None"})

    assert not any("dashboard_url" in rule["annotations"] for rule in alerts(rendered).values())


def test_the_description_of_a_burn_names_only_factors_that_can_be_reached():
    slos = [{"name": "low", "objective": 93, "success": {}}]

    text = alerts(made(slos=slos))["WorkflowErrorBudgetBurnFast"]["annotations"]["description"]

    assert "more than 6 times over 6h as fast" in text
    assert "14.4" not in text


def test_an_objective_without_alerting_still_records():
    rendered = made(slos=[GOOD | {"alerting": False}])

    assert [g["name"].rsplit("/")[-1] for g in groups(rendered)][-2:] == [
        "slo-good-short",
        "slo-good-long",
    ]


@pytest.mark.parametrize(
    ("change", "is_new"),
    [
        ({"alerts": {"disabled": ["SlowRuns"]}}, True),
        ({"slos": [GOOD]}, True),
        ({"scrape": {"interval": "5m"}}, True),
        ({"scrape": {"interval": "1m"}}, False),
        ({"dashboard": {"folder": "x"}}, False),
        ({"scrape": {"path": "/m"}}, False),
    ],
)
def test_the_revision_changes_with_the_rules(change, is_new):
    assert (made(**change).revision != made().revision) == is_new


def test_the_info_rule_carries_profile_and_revision():
    rendered = made()

    rule = groups(rendered)[0]["rules"][0]

    assert (rule["record"], rule["expr"]) == ("workflow:monitoring:info", "vector(1)")
    assert (rule["labels"]["profile"], rule["labels"]["revision"]) == (
        "workflow",
        rendered.revision,
    )


def test_a_slow_scrape_widens_the_windows_of_rates():
    rule = alerts(made(scrape={"interval": "5m"}))["WorkflowHighErrorRate"]

    assert "[20m]" in rule["expr"]
    assert "[10m]" not in rule["expr"]
