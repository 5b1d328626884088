"""Who is told of what: the AlertmanagerConfig of a workflow."""

import pytest

from flowgauge import profiles
from flowgauge_operator import model
from flowgauge_operator.render import Capabilities, Options, notify, render

KEY = {"name": "alerts", "key": "url"}
HOOK = {"webhook": {"url": "http://hooks.ops:8080/"}}
OWNER = [
    {"name": "namespace", "matchType": "=", "value": "shop"},
    {"name": "monitored_workflow", "matchType": "=", "value": "orders"},
]
EVERYTHING = {
    "slack": {"apiURL": KEY, "channel": "#orders"},
    "msteams": {"webhookURL": KEY},
    "pagerduty": {"routingKey": KEY},
    "opsgenie": {"apiKey": KEY, "apiURL": "https://api.eu.opsgenie.com/"},
    "email": {
        "to": "a@b.c",
        "from": "d@e.f",
        "smarthost": "smtp:587",
        "authUsername": "u",
        "authPassword": KEY,
    },
    "webhook": {"urlSecret": KEY},
}


def rendered(given, capabilities=None, options=None, **spec):
    body = {"selector": {"matchLabels": {"app": "orders"}}, **spec}
    body |= {"notify": given} if given else {}
    workflow = model.parse({"metadata": {"name": "orders", "namespace": "shop"}, "spec": body})
    return render(
        workflow,
        profiles.builtin(workflow.spec.profile),
        capabilities or Capabilities(),
        options or Options(),
    )


def config(given, **more):
    found = [c for c in rendered(given, **more).children if c["kind"] == "AlertmanagerConfig"]
    assert len(found) == 1
    return found[0]


def test_a_workflow_without_notify_has_no_alertmanager_config():
    assert "AlertmanagerConfig" not in [child["kind"] for child in rendered(None).children]


def test_it_is_a_child_like_the_others_with_the_labels_of_the_settings():
    made = config({"receiver": HOOK}, options=Options(alertmanager_config_labels={"a": "1"}))

    assert made["apiVersion"] == "monitoring.coreos.com/v1alpha1"
    assert made["metadata"]["name"] == "orders-notify"
    assert made["metadata"]["namespace"] == "shop"
    assert made["metadata"]["labels"]["flowgauge.dev/workflow"] == "orders"
    assert made["metadata"]["labels"]["a"] == "1"
    assert "a" in Options(alertmanager_config_labels={"a": "1"}).keys


def test_where_the_kind_is_missing_it_is_told():
    made = rendered({"receiver": HOOK}, Capabilities(frozenset({"PrometheusRule"})))

    assert "AlertmanagerConfig is not available: spec.notify notifies nobody" in made.notes
    assert "AlertmanagerConfig" not in [child["kind"] for child in made.children]


def test_one_receiver_gets_everything_but_what_is_for_the_record():
    spec = config({"receiver": HOOK})["spec"]

    assert spec["route"] == {
        "receiver": "receiver",
        "matchers": [*OWNER, {"name": "severity", "matchType": "!=", "value": "info"}],
        "groupBy": ["namespace", "monitored_workflow", "alertname", "slo"],
        "groupWait": "30s",
        "groupInterval": "5m",
        "repeatInterval": "4h",
    }
    assert spec["receivers"] == [
        {
            "name": "receiver",
            "webhookConfigs": [{"url": "http://hooks.ops:8080/", "sendResolved": True}],
        }
    ]


def test_a_page_goes_to_the_pager_alone():
    spec = config({"receiver": HOOK, "page": {"pagerduty": {"routingKey": KEY}}})["spec"]

    assert spec["route"]["routes"] == [
        {
            "receiver": "page",
            "matchers": [{"name": "severity", "matchType": "=", "value": "critical"}],
        }
    ]
    assert [receiver["name"] for receiver in spec["receivers"]] == ["receiver", "page"]


def test_grouping_and_times_are_the_users():
    given = {
        "groupBy": ["team"],
        "groupWait": "0s",
        "groupInterval": "1m",
        "repeatInterval": "12h",
        "sendResolved": False,
    }

    spec = config({"receiver": EVERYTHING, **given})["spec"]

    assert {key: spec["route"][key] for key in given if key != "sendResolved"} == {
        key: value for key, value in given.items() if key != "sendResolved"
    }
    made = [made for key, made in spec["receivers"][0].items() if key != "name"]
    assert [config["sendResolved"] for (config,) in made] == [False] * 6


def test_every_sort_of_receiver_names_its_secret_and_nothing_else_of_it():
    (receiver,) = config({"receiver": EVERYTHING})["spec"]["receivers"]

    assert {
        key: {field: value for field, value in made[0].items() if value == KEY}
        for key, made in receiver.items()
        if key != "name"
    } == {
        "slackConfigs": {"apiURL": KEY},
        "msteamsv2Configs": {"webhookURL": KEY},
        "pagerdutyConfigs": {"routingKey": KEY},
        "opsgenieConfigs": {"apiKey": KEY},
        "emailConfigs": {"authPassword": KEY},
        "webhookConfigs": {"urlSecret": KEY},
    }
    assert receiver["slackConfigs"][0]["channel"] == "#orders"
    assert receiver["opsgenieConfigs"][0]["apiURL"] == "https://api.eu.opsgenie.com/"
    mail = receiver["emailConfigs"][0]
    assert (mail["to"], mail["from"], mail["smarthost"]) == ("a@b.c", "d@e.f", "smtp:587")
    assert (mail["authUsername"], mail["requireTLS"]) == ("u", True)


def test_inhibition_is_of_this_workflow_alone():
    rules = config({"receiver": HOOK})["spec"]["inhibitRules"]

    assert len(rules) == len(notify.INHIBITIONS)
    for rule in rules:
        assert rule["sourceMatch"][:2] == rule["targetMatch"][:2] == OWNER
        assert {"namespace", "monitored_workflow"} <= set(rule["equal"])


@pytest.mark.parametrize("profile", profiles.names())
def test_no_alert_of_a_profile_is_on_both_sides_of_an_inhibition(profile):
    slos = [{"name": "fresh", "objective": 99, "freshness": {"maxAge": "1h"}}]
    slos += [{"name": "up", "objective": 99, "gauge": {"role": "target.up", "min": 1}}]
    made = rendered(None, profile=profile, slos=slos, schedule={"cron": "@hourly"})
    groups = next(c for c in made.children if c["kind"] == "PrometheusRule")["spec"]["groups"]
    alerts = [r["labels"] for g in groups for r in g["rules"] if "alert" in r]

    # A user may give an alert any severity.
    given = [{**a, "severity": s} for a in alerts for s in ("critical", "warning", "info")]
    for rule in notify.INHIBITIONS:
        assert not [a for a in given if matches(rule.source, a) and matches(rule.target, a)]
        assert [a for a in given if matches(rule.source, a)]


def matches(matchers, labels):
    return all(
        {
            "=": labels.get(name, "") == value,
            "!=": labels.get(name, "") != value,
            "=~": labels.get(name, "") in value.split("|"),
        }[sort]
        for name, sort, value in matchers
    )
