import json

import promql_parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgauge import profiles
from flowgauge_operator import model, promql
from flowgauge_operator.render import Capabilities, Options, render
from flowgauge_operator.render.rule import literal

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


# Every sort of objective, with as long a reach as it takes.
KINDS = {
    "success": {"success": {}},
    "latency": {"latency": {"threshold": "5s"}},
    "freshness": {"freshness": {"maxAge": "6d"}},
    "gauge": {"gauge": {"role": "queue.depth", "max": 100}},
    "custom": {
        "custom": {
            "total": '$rate(step.finished{outcome="counted"}[$window])',
            "bad": '$rate(step.finished{outcome="bad"}[$window])',
        }
    },
}
LENGTHS = ("7d", "10d", "14d", "21d", "27d", "28d", "30d", "45d", "60d", "90d")


def test_both_sides_of_an_objective_of_plain_promql_look_equally_far_back():
    """Counted in steps, the total would be half a minute and the rest five minutes old: a ratio of different times."""
    plain = 'sum(rate(workflow_step_runs_total{$owner,status="failed"}[$window]))'
    own = {"total": "$rate(step.finished[$window])", "bad": plain}

    rendered = made(slos=[{"name": "own", "objective": 99, "custom": own}])

    counted = {rule["record"]: rule["expr"] for rule in records(rendered)}
    for name in ("slo:events_total:rate", "slo:events_bad:rate"):
        assert "[5m]" in counted[name]
        assert "last_over_time" not in counted[name]


def raw_ranges(expr):
    """Seconds of every range over series that are scraped, subqueries included."""
    found = []

    def visit(node):
        if isinstance(node, promql_parser.MatrixSelector | promql_parser.SubqueryExpr):
            inner = node.vector_selector if hasattr(node, "vector_selector") else node.expr
            if any(":" not in s.name for s in promql.selectors(str(inner.prettify()))):
                found.append(node.range.total_seconds())

    promql_parser.walk(promql_parser.parse(expr), visit)
    return found


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("window", LENGTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_objective_is_at_most_fourteen_rules_and_twelve_series_and_scans_no_raw_window(
    kind, window, native
):
    slo = {"name": "own", "objective": 99, "window": window, **KINDS[kind]}

    rendered = made(slos=[slo], scrape={"nativeHistograms": native})

    own = [r for g in groups(rendered) for r in g["rules"] if r["labels"].get("slo") == "own"]
    records = [(r["record"], tuple(sorted(r["labels"].items()))) for r in own if "record" in r]
    assert rendered.problems == rendered.warnings == ()
    assert (len(own), len(records), len({*records})) == (14, 12, 12)
    assert len({r["alert"] for r in own if "alert" in r}) == 2
    # Over sixty scrapes what a counter said before is looked for; all that looks further back reads what is recorded.
    assert max((s for r in own for s in raw_ranges(r["expr"])), default=0) <= 60 * 15


@pytest.mark.parametrize("profile", profiles.names())
def test_what_objectives_make_a_workflow_record_costs_the_same_whatever_the_age(profile):
    fresh = {"name": "fresh", "objective": 99, "freshness": {"maxAge": "6d"}}
    spec = {"schedule": {"cronJob": "nightly"}} if profile == "cronjob" else {}

    rendered = made(profile, slos=[fresh, fresh | {"name": "again", "window": "90d"}], **spec)

    extra = {r["record"]: r for r in records(rendered)} | {}
    for record in {r["record"] for r in records(made(profile, **spec))}:
        extra.pop(record)
    extra = {name: r for name, r in extra.items() if not name.startswith("slo:")}
    if rendered.problems:
        assert problems(rendered) == [(f"spec.slos[{i}]", "RoleNotInProfile") for i in (0, 1)]
        assert f"the profile {profile} has no run." in rendered.problems[0].message
        assert extra == {}
    else:
        # Once for the workflow, however many objectives read it.
        assert list(extra) == (["workflow:run_success:last_timestamp_seconds"] if not spec else [])
        # An hour of counters that say when a run ended well: whether a series is new is asked of the hour before.
        assert max((s for r in extra.values() for s in raw_ranges(r["expr"])), default=0) <= 3600


def records(rendered):
    return [r for g in groups(rendered) for r in g["rules"] if "record" in r]


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


FAST, SLOW = "WorkflowErrorBudgetBurnFast", "WorkflowErrorBudgetBurnSlow"
BURNS = {FAST, SLOW}


def burns(rendered):
    """Of each objective, its burn alerts by name."""
    found = {}
    for group in groups(rendered):
        for rule in group["rules"]:
            if rule.get("alert") in BURNS:
                found.setdefault(rule["labels"]["slo"], {})[rule["alert"]] = rule
    return found


@pytest.mark.parametrize(
    ("alerts_", "made_"),
    [
        ({"page": {"enabled": False}}, [SLOW]),
        ({"ticket": {"enabled": False}}, [FAST]),
        ({"page": {"enabled": False}, "ticket": {"enabled": False}}, []),
        ({"page": {}, "ticket": {}}, [FAST, SLOW]),
    ],
)
def test_each_burn_alert_of_an_objective_has_a_switch(alerts_, made_):
    rendered = made(slos=[GOOD | {"alerts": alerts_}, GOOD | {"name": "other"}])

    assert list(burns(rendered).get("good", {})) == made_
    assert list(burns(rendered)["other"]) == [FAST, SLOW]


def test_a_burn_alert_has_the_severity_and_the_labels_of_its_objective():
    page = {"severity": "warning", "labels": {"team": "own", "area": "eu"}}
    slos = [GOOD | {"alerts": {"page": page}}, GOOD | {"name": "other"}]

    found = burns(made(slos=slos, alerts={"labels": {"team": "all"}}))

    shown = {
        (slo, name.removeprefix("WorkflowErrorBudgetBurn")): (
            rule["labels"]["severity"],
            rule["labels"]["team"],
            rule["labels"].get("area"),
            rule["labels"]["burn_tier"],
        )
        for slo, of in found.items()
        for name, rule in of.items()
    }
    assert shown == {
        ("good", "Fast"): ("warning", "own", "eu", "page"),
        ("good", "Slow"): ("warning", "all", None, "ticket"),
        ("other", "Fast"): ("critical", "all", None, "page"),
        ("other", "Slow"): ("warning", "all", None, "ticket"),
    }


@pytest.mark.parametrize("profile", ["workflow", "contd"])
@pytest.mark.parametrize("name", ["ErrorBudgetBurnSlow", "WorkflowErrorBudgetBurnSlow"])
def test_a_burn_alert_of_all_objectives_is_disabled_by_its_name(profile, name):
    slos = [GOOD, GOOD | {"name": "other"}]

    rendered = made(profile, slos=slos, alerts={"disabled": [name]})

    assert rendered.problems == ()
    assert [list(of) for of in burns(rendered).values()] == [[FAST], [FAST]]


def test_an_override_of_a_burn_alert_holds_for_all_objectives_that_do_not_say_otherwise():
    slos = [GOOD, GOOD | {"name": "own", "alerts": {"page": {"severity": "critical"}}}]
    override = {"severity": "info", "for": "10m"}

    rendered = made(slos=slos, alerts={"overrides": {"ErrorBudgetBurnFast": override}})

    assert rendered.problems == ()
    shown = {slo: of[FAST] for slo, of in burns(rendered).items()}
    assert {slo: rule["labels"]["severity"] for slo, rule in shown.items()} == {
        "good": "info",
        "own": "critical",
    }
    assert {rule["for"] for rule in shown.values()} == {"10m"}
    assert all("for" not in of[SLOW] for of in burns(rendered).values())


def test_the_threshold_of_a_burn_alert_says_where_it_comes_from():
    rendered = made(slos=[GOOD], alerts={"overrides": {"ErrorBudgetBurnFast": {"threshold": 0.1}}})

    (problem,) = rendered.problems
    assert problem.path == "spec.alerts.overrides.ErrorBudgetBurnFast.threshold"
    assert problem.message == (
        "is computed from objective and window and cannot be set; change these, or minBadEvents of the SLO"
    )
    assert burns(rendered) == burns(made(slos=[GOOD]))


def test_an_alert_that_is_unknown_is_told_with_those_of_objectives_among_the_known():
    (problem,) = made(alerts={"disabled": ["ErrorBudgetBurn"]}).problems

    assert problem.message.startswith(
        "ErrorBudgetBurn is no alert of the profile or of an objective"
    )
    assert FAST in problem.message


def warnings(rendered):
    return {(w.path, w.reason): w.message for w in rendered.warnings}


@pytest.mark.parametrize(
    ("objective", "window", "message"),
    [
        (
            80,
            "30d",
            (
                "at 80 % the page alert can never fire and is left out, because its threshold is above an error ratio of 1:"
                " over 1h (possible from 93.06 % on) and over 6h (possible from 83.34 % on)"
            ),
        ),
        (
            93,
            "30d",
            (
                "at 93 % part of the page alert can never fire and is left out, because its threshold is above an error"
                " ratio of 1: over 1h (possible from 93.06 % on); it still fires over 6h"
            ),
        ),
        (
            20,
            "7d",
            (
                "at 20 % part of the ticket alert can never fire and is left out, because its threshold is above an error"
                " ratio of 1: over 1d (possible from 28.58 % on); it still fires over 3d"
            ),
        ),
        (
            0.999,
            "30d",
            (
                "at 0.999 % part of the ticket alert can never fire and is left out, because its threshold is above an error"
                " ratio of 1: over 1d (possible from 66.67 % on); it still fires over 3d; it is in percent: is 99.9 meant?"
            ),
        ),
    ],
)
def test_an_alert_that_can_never_fire_is_told(objective, window, message):
    slos = [GOOD, {"name": "low", "objective": objective, "window": window, "success": {}}]

    rendered = made(slos=slos)

    assert rendered.problems == ()
    assert message in [w.message for w in rendered.warnings]
    assert {(w.path, w.reason) for w in rendered.warnings} == {
        ("spec.slos[1].objective", "AlertUnreachable")
    }


def test_an_alert_that_is_switched_off_is_not_told_of():
    low = {"name": "low", "objective": 80, "success": {}}

    assert made(slos=[low | {"alerts": {"page": {"enabled": False}}}]).warnings == ()
    assert made(slos=[low], alerts={"disabled": ["ErrorBudgetBurnFast"]}).warnings == ()


@pytest.mark.parametrize("window", LENGTHS)
def test_an_objective_that_people_set_is_alerted_on_in_full_whatever_its_window(window):
    rendered = made(slos=[GOOD | {"objective": 93.1, "window": window}])

    assert rendered.warnings == ()
    assert list(burns(rendered)["good"]) == [FAST, SLOW]


@pytest.mark.parametrize(
    ("threshold", "rounding", "message"),
    [
        (
            "7s",
            "Down",
            (
                "7s lies between the buckets 5s and 10s of workflow_run_duration_seconds; rounded down, 5s is what counts,"
                " and runs between the two count as bad"
            ),
        ),
        (
            "7s",
            "Up",
            (
                "7s lies between the buckets 5s and 10s of workflow_run_duration_seconds; rounded up, 10s is what counts,"
                " and runs between the two count as good"
            ),
        ),
        (
            "1ms",
            "Up",
            (
                "1ms lies below the first bucket 5ms of workflow_run_duration_seconds; rounded up, 5ms is what counts, and"
                " runs between the two count as good"
            ),
        ),
        (
            "5h",
            "Down",
            (
                "5h lies beyond the last bucket 4h of workflow_run_duration_seconds; rounded down, 4h is what counts, and"
                " runs between the two count as bad"
            ),
        ),
    ],
)
def test_a_threshold_that_is_rounded_is_told(threshold, rounding, message):
    latency = {"threshold": threshold, "rounding": rounding}

    rendered = made(slos=[{"name": "fast", "objective": 95, "latency": latency}])

    assert rendered.problems == ()
    assert warnings(rendered) == {("spec.slos[0].latency.threshold", "ThresholdRounded"): message}


@pytest.mark.parametrize(
    ("latency", "native"),
    [
        ({"threshold": "5s", "rounding": "Up"}, False),
        ({"threshold": "7s", "rounding": "Up"}, True),
        ({"threshold": "7s"}, True),
    ],
)
def test_a_threshold_that_stays_what_it_is_is_not_told(latency, native):
    slo = {"name": "fast", "objective": 95, "latency": latency}

    rendered = made(slos=[slo], scrape={"nativeHistograms": native})

    assert (rendered.problems, rendered.warnings) == ((), ())


@pytest.mark.parametrize("profile", profiles.names())
def test_rules_and_panels_read_native_histograms_where_they_are_or_classic_ones_and_never_both(
    profile,
):
    classic, native = (made(profile, scrape={"nativeHistograms": value}) for value in (False, True))
    families = profiles.builtin(profile).families
    histograms = {f.name for f in families if f.type == "histogram"}
    # A vocabulary may count runs by a part of a histogram, under that name.
    counters = {f.name for f in families if f.type == "counter"}
    for rendered, own, other in (
        (native, histograms, {f"{name}{s}" for name in histograms for s in SUFFIXES}),
        (classic, {f"{name}{s}" for name in histograms for s in SUFFIXES}, histograms),
    ):
        read = {s.name for expr in expressions(rendered) for s in promql.selectors(expr)}
        assert not (read & other) - counters
        assert not histograms or read & own


SUFFIXES = ("_bucket", "_sum", "_count")


def expressions(rendered):
    """All that rules and panels ask."""
    dashboard = next(c for c in rendered.children if c["metadata"]["name"] == "orders-dashboard")
    (text,) = dashboard["data"].values()
    panels = json.loads(text)["panels"]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    asked = [expr.replace("$__rate_interval", "5m").replace("$__range", "1h") for expr in asked]
    return [*asked, *(rule["expr"] for group in groups(rendered) for rule in group["rules"])]


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
    assert literal(text).replace('{{ "{{" }}', "").count("{{") == 0


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


def test_an_objective_without_alerts_still_records():
    off = {"enabled": False}
    rendered = made(slos=[GOOD | {"alerts": {"page": off, "ticket": off}}])

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
