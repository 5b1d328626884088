"""The whole way on real parts: applied, scraped, ruled, verified; failing, paged; deleted, gone."""

from __future__ import annotations

import json

import pytest
from hostile import HOSTILE

from flowgauge_operator import model

# The time limit of a test is less than what a busy machine may need for all that is waited for.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def query(orders, metric):
    selector = f'{metric}{{namespace="{orders.namespace}",monitored_workflow="orders"}}'
    return orders.operator.cluster.prometheus_query(selector)


def wait_ready_with_both_targets(orders):
    # Prometheus may find one pod a moment before the other.
    orders.operator.wait(
        lambda: orders.operator.status(orders.namespace).get("targets") == {"up": 2, "total": 2},
        "both targets",
        60,
    )
    return orders.operator.wait_condition("Ready", "True", orders.namespace, timeout=60)


def test_an_applied_workflow_is_scraped_ruled_and_ready(orders):
    orders.monitor()

    ready = wait_ready_with_both_targets(orders)

    assert ready["reason"] == "Monitored"
    assert [sample["value"][1] for sample in query(orders, "up")] == ["1", "1"]
    orders.operator.wait(lambda: query(orders, "workflow:runs:rate5m"), "a recorded series", 60)

    def evaluated():
        groups = orders.operator.cluster.prometheus_get("rules")["groups"]
        prefix = f"flowgauge/{orders.namespace}/orders/"
        ours = [group for group in groups if group["name"].startswith(prefix)]
        rules = [rule for group in ours for rule in group["rules"]]
        return len(ours) == 10 and all(r["health"] != "unknown" for r in rules) and rules

    rules = orders.operator.wait(evaluated, "each rule of ten groups to be evaluated", 90)
    assert [rule["lastError"] for rule in rules if rule["health"] != "ok"] == []
    assert orders.operator.status(orders.namespace)["missingFamilies"] == []


def test_path_interval_and_timeout_travel_as_annotations(orders):
    orders.monitor(scrape={"interval": "2s", "timeout": "1s", "path": "/metrics"})

    def scraped():
        targets = orders.operator.cluster.prometheus_get("targets", state="active")["activeTargets"]
        ours = [t for t in targets if t["labels"].get("namespace") == orders.namespace]
        return len(ours) == 2 and [(t["scrapeInterval"], t["scrapeTimeout"]) for t in ours]

    assert orders.operator.wait(scraped, "two targets", 30) == [("2s", "1s")] * 2


def test_a_failing_workflow_pages_spends_its_budget_and_recovers(orders):
    orders.monitor()
    orders.operator.wait_condition("Ready", "True", orders.namespace, timeout=60)
    orders.operator.wait(
        lambda: (
            (orders.operator.status(orders.namespace).get("summary") or {}).get("budget") == "100%"
        ),
        "a full budget",
        60,
    )

    orders.break_input()
    alert = orders.operator.wait(
        lambda: orders.alerts("WorkflowErrorBudgetBurnFast"), "the page", 120
    )[0]

    assert alert["labels"]["monitored_workflow"] == "orders"
    assert alert["labels"]["slo"] == "success"
    assert alert["labels"]["severity"] == "critical"
    assert alert["labels"]["team"] == "fulfilment"

    def spent():
        slos = {
            slo["name"]: slo for slo in orders.operator.status(orders.namespace).get("slos", [])
        }
        success = slos.get("success", {})
        return success.get("firing") and success.get("errorBudgetRemaining", 1) < 0 and success

    success = orders.operator.wait(spent, "the budget to be spent", 60)
    assert success["firing"][0] == "WorkflowErrorBudgetBurnFast"
    assert success["burnRate"] > 1

    orders.mend_input()
    orders.operator.wait(
        lambda: not orders.alerts("WorkflowErrorBudgetBurnFast"), "the page to end", 180
    )


def test_a_target_that_dies_is_told_with_its_error(orders):
    orders.monitor()
    wait_ready_with_both_targets(orders)

    orders.pods[0].kill()

    healthy = orders.operator.wait_condition("Healthy", "False", orders.namespace, timeout=60)
    assert healthy["reason"] == "TargetsDown"
    assert (
        f"1 of 2 targets do not answer; http://{orders.pods[0].address}:9090/metrics"
        in healthy["message"]
    )
    assert orders.operator.status(orders.namespace)["summary"]["targets"] == "1/2"


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        (
            {"selector": {"matchLabels": {"app": "nobody"}}},
            "NoTargets",
            "does spec.selector match running pods?",
        ),
        ({"scrape": {"interval": "1s", "path": "/wrong"}}, "TargetsDown", "404"),
        ({"scrape": {"interval": "1s", "port": 9999}}, "TargetsDown", "9999"),
        (
            {"profile": "contd"},
            "MissingFamilies",
            "no series of contd_workflow_duration_seconds_count",
        ),
    ],
)
def test_the_usual_mistakes_are_told(orders, spec, reason, message):
    orders.monitor(**{"slos": [], "scrape": {"interval": "1s"}, **spec})

    def told():
        healthy = orders.operator.condition("Healthy", orders.namespace)
        return healthy.get("reason") == reason and message in healthy["message"] and healthy

    healthy = orders.operator.wait(told, f"Healthy to say {reason}: {message}", 60)
    assert healthy["status"] == "False"


@pytest.mark.parametrize(
    "scrape",
    [{"mode": "PodMonitor"}, {"limits": {"samples": 20000}}, {"dropMetrics": ["workflow_step_.*"]}],
)
def test_a_monitor_of_its_own_is_scraped_under_the_same_labels(orders, scrape):
    orders.monitor(scrape={"interval": "1s", **scrape})

    orders.operator.wait_condition("Ready", "True", orders.namespace, timeout=60)

    assert len(query(orders, "workflow_runs_total")) >= 2
    assert bool(query(orders, "workflow_step_duration_seconds_count")) is (
        "dropMetrics" not in scrape
    )


def said(number, text):
    """An alert with a text in each place that a text can have; None where the text is refused."""
    alert = {
        "name": f"Hostile{number}",
        "expr": "$count(target.up) > 0",
        "summary": text,
        "description": text,
        "labels": {"area": text},
    }
    try:
        model.ExtraAlert.model_validate(alert)
    except ValueError:
        return None
    return alert


def test_rules_with_hostile_user_text_load_and_stay_text(orders):
    # A workflow has at most 32 alerts of its own.
    extra = [alert for i, text in enumerate(HOSTILE) if text and (alert := said(i, text))][:32]
    team = 'x"} or vector(1) or up{a="'

    orders.monitor(alerts={"labels": {"team": team}, "extra": extra})

    def fired():
        found = {alert["labels"]["alertname"]: alert for alert in orders.operator.cluster.alerts()}
        return all(alert["name"] in found for alert in extra) and found

    found = orders.operator.wait(fired, "the alerts", 90)
    assert len(extra) == 32
    for alert in extra:
        shown = found[alert["name"]]
        assert shown["annotations"]["summary"] == alert["summary"]
        assert shown["annotations"]["description"] == alert["description"]
        assert (shown["labels"]["area"], shown["labels"]["team"]) == (alert["summary"], team)
    orders.operator.wait_condition("Ready", "True", orders.namespace, timeout=60)


def test_an_expression_that_reads_another_namespace_is_not_rendered(orders):
    extra = [
        {"name": "Spy", "expr": 'count(up{namespace=~".+"}) > 0'},
        {"name": "Mine", "expr": "$count(target.up) > 0"},
    ]

    orders.monitor(alerts={"extra": extra})

    accepted = orders.operator.wait_condition("Accepted", "False", orders.namespace)
    assert accepted["reason"] == "InvalidExpression"
    assert "by equality; add the matcher" in accepted["message"]
    orders.operator.wait(lambda: orders.alerts("Mine"), "the other alert", 60)
    assert not orders.alerts("Spy")


def test_deleting_the_workflow_takes_everything_along(orders):
    orders.monitor()
    orders.operator.wait_condition("Ready", "True", orders.namespace, timeout=60)

    orders.operator.cluster.kubectl("delete", "mwf", "orders", f"--namespace={orders.namespace}")

    for kind, name in (
        ("service", "orders-metrics"),
        ("prometheusrule", "orders-rules"),
        ("configmap", "orders-dashboard"),
        ("servicemonitor", "flowgauge-shared"),
    ):
        orders.operator.wait(
            lambda k=kind, n=name: orders.operator.get(k, n, orders.namespace) is None,
            f"{name} to go",
            60,
        )

    def unloaded():
        groups = orders.operator.cluster.prometheus_get("rules")["groups"]
        return not any(
            group["name"].startswith(f"flowgauge/{orders.namespace}/") for group in groups
        )

    orders.operator.wait(unloaded, "Prometheus to forget the rules", 30)


def test_every_query_of_the_dashboard_answers(orders):
    orders.monitor()
    orders.operator.wait_condition("Ready", "True", orders.namespace, timeout=60)
    config = orders.operator.get("configmap", "orders-dashboard", orders.namespace)
    dashboard = json.loads(next(iter(config["data"].values())))
    panels = [panel for row in dashboard["panels"] for panel in (row, *row.get("panels", ()))]
    # What says of itself what it means that it is empty may be: the example's program does not play all roles.
    pending = {
        target["expr"]: panel["title"]
        for panel in panels
        if panel["type"] != "row" and not panel["fieldConfig"]["defaults"].get("noValue")
        for target in panel["targets"]
    }
    assert len(pending) >= 3
    orders.break_input()

    def unanswered():
        for expr in list(pending):
            asked = expr.replace("$__rate_interval", "10s").replace("$__range", "1m")
            asked = asked.replace("$job", ".+").replace("$instance", ".+")
            if orders.operator.cluster.prometheus_query(asked):
                del pending[expr]
        return not pending

    orders.operator.wait(unanswered, f"answers for {pending}", 60)
