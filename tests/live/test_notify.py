"""Who is told of what: the real prometheus-operator makes the configuration, the real Alertmanager notifies by it."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rig import fetch

# The time limit of a test is less than what a busy machine may need for all that is waited for.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ACCOUNT = "system:serviceaccount:flowgauge-system:"
QUICK = {"groupWait": "2s", "groupInterval": "1s"}


class Inbox:
    """A program that is notified: it keeps what Alertmanager posts, by path."""

    def __init__(self):
        inbox, self.posts = self, []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                inbox.posts.append((self.path, body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, path):
        return f"http://127.0.0.1:{self.server.server_port}{path}"

    def told(self, path, status="firing"):
        """The names of the alerts that were told there, in order; each as often as it was told."""
        return [
            alert["labels"]["alertname"]
            for where, body in list(self.posts)
            for alert in body["alerts"]
            if where == path and alert["status"] == status
        ]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def inbox():
    made = Inbox()
    yield made
    made.close()


def secret(cluster, namespace, name="hooks", **urls):
    cluster.apply(
        [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": namespace},
                "stringData": urls,
            }
        ]
    )


def webhook(key):
    return {"webhook": {"urlSecret": {"name": "hooks", "key": key}}}


def configuration(operator):
    """What Alertmanager runs with now."""
    status = fetch.json_of(f"{operator.cluster.alertmanager_url}/api/v2/status")
    return status["config"]["original"]


def wait_routed(operator, namespace, *names):
    """Wait until Alertmanager itself runs with the routes of these workflows."""

    def is_routed():
        text = configuration(operator)
        return all(f"{namespace}/{name}-notify/receiver" in text for name in names)

    operator.wait(is_routed, f"routes of {names} in Alertmanager", 60)


def alerts(operator, namespace, workflow):
    """What Alertmanager has of a workflow: by alert and objective, whether it is silenced by another alert."""
    return {
        (alert["labels"]["alertname"], alert["labels"].get("slo", "")): bool(
            alert["status"]["inhibitedBy"]
        )
        for alert in operator.cluster.alerts()
        if alert["labels"].get("namespace") == namespace
        and alert["labels"].get("monitored_workflow") == workflow
    }


def post(operator, *alerts):
    """Let alerts with these labels fire, as Prometheus would."""
    until = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
    fetch.send(
        f"{operator.cluster.alertmanager_url}/api/v2/alerts",
        json.dumps([{"labels": labels, "endsAt": until} for labels in alerts]).encode(),
    )


PAGE = {"severity": "critical", "burn_tier": "page", "slo": "success"}
TICKET = {"severity": "warning", "burn_tier": "ticket", "slo": "success"}


def outage(part, severity):
    return {"outage": part, "severity": severity}


# alerts that fire together, and which of them are silenced
TOGETHER = [
    ([PAGE, TICKET], [1]),
    ([PAGE, TICKET | {"slo": "fast"}], []),
    ([TICKET], []),
    ([PAGE | {"severity": "warning"}, TICKET], [1]),
    ([PAGE | {"severity": "warning"}, TICKET | {"severity": "critical"}], []),
    ([PAGE | {"severity": "info"}, TICKET], []),
    ([outage("cause", "critical"), outage("absence", "warning")], [1]),
    ([outage("cause", "critical"), outage("effect", "critical")], [1]),
    (
        [outage("cause", "critical"), outage("absence", "warning"), outage("effect", "warning")],
        [1, 2],
    ),
    ([outage("cause", "critical"), PAGE | outage("effect", "critical"), TICKET], [1, 2]),
    ([outage("cause", "critical"), {"severity": "critical"}, {"severity": "warning"}], []),
    ([outage("cause", "critical"), outage("cause", "critical")], []),
    ([outage("cause", "warning"), outage("effect", "critical")], []),
    ([outage("cause", "warning"), outage("effect", "warning")], [1]),
    ([outage("cause", "info"), outage("effect", "warning")], []),
    ([outage("absence", "warning"), outage("effect", "warning")], [1]),
    ([outage("absence", "warning"), outage("effect", "critical")], []),
    ([outage("effect", "critical"), outage("effect", "warning")], []),
]


def test_what_is_silenced_is_never_worse_than_what_silences_it(verifying, namespace, inbox):
    cluster = verifying.cluster
    secret(cluster, namespace, all=inbox.url("/all"))
    names = [f"w{number}" for number in range(len(TOGETHER))]
    notify = {"receiver": webhook("all")}
    cluster.apply(
        [verifying.workflow(namespace, name, notify=notify, suspend=True) for name in names]
    )
    wait_routed(verifying, namespace, *names)

    fired = [
        {
            "namespace": namespace,
            "monitored_workflow": name,
            "alertname": f"A{number}",
            **labels,
        }
        for name, (together, _) in zip(names, TOGETHER, strict=True)
        for number, labels in enumerate(together)
    ]
    post(verifying, *fired)

    def silenced(name):
        return sorted(
            int(alert.removeprefix("A"))
            for (alert, _), is_silenced in alerts(verifying, namespace, name).items()
            if is_silenced
        )

    expected = [silent for _, silent in TOGETHER]
    verifying.wait(
        lambda: [silenced(name) for name in names] == expected,
        lambda: f"{expected} to be silenced; it is {[silenced(name) for name in names]}",
        20,
    )


def test_the_page_of_an_objective_is_told_and_its_ticket_is_not(orders, inbox):
    operator, namespace = orders.operator, orders.namespace
    mark = operator.cluster.audit_mark()
    secret(operator.cluster, namespace, page=inbox.url("/page"), ticket=inbox.url("/ticket"))
    spec = {"notify": {"receiver": webhook("ticket"), "page": webhook("page"), **QUICK}}
    orders.monitor(**spec)
    operator.wait_condition("Ready", "True", namespace, timeout=60)
    wait_routed(operator, namespace, "orders")

    orders.break_input()

    fast, slow = "WorkflowErrorBudgetBurnFast", "WorkflowErrorBudgetBurnSlow"
    operator.wait(lambda: fast in inbox.told("/page"), "the page", 120)
    operator.wait(
        lambda: alerts(operator, namespace, "orders").get((slow, "success")),
        lambda: f"the ticket to be silenced; there is {alerts(operator, namespace, 'orders')}",
        120,
    )
    # What fires from now on takes the same way as the ticket would, and arrives after it.
    later = {"name": "Later", "expr": "$count(target.up) > 0"}
    orders.monitor(**spec, alerts={"extra": [later], "labels": {"team": "fulfilment"}})
    operator.wait(lambda: "Later" in inbox.told("/ticket"), "a later alert", 60)
    assert slow not in inbox.told("/ticket") + inbox.told("/page")
    assert inbox.told("/page") == [fast]

    orders.mend_input()
    operator.wait(lambda: fast in inbox.told("/page", "resolved"), "the end of the page", 180)

    read = [r for r in operator.cluster.audit(since=mark) if r.resource == "secrets"]
    assert [r for r in read if r.user.startswith(ACCOUNT)] == []
    assert [r for r in read if r.namespace == namespace]  # the log does tell who reads Secrets


def test_a_dead_target_is_told_once_and_silences_what_follows_from_it(orders, inbox):
    operator, namespace = orders.operator, orders.namespace
    secret(operator.cluster, namespace, orders=inbox.url("/orders"), other=inbox.url("/other"))
    soon = {"TargetDown": {"for": "0s"}, "MetricsAbsent": {"for": "1s"}}
    fresh = {
        "name": "fresh",
        "objective": 95,
        "window": "1h",
        "freshness": {"maxAge": "10s"},
    }
    spec = {"alerts": {"overrides": soon}, "slos": [fresh]}
    orders.monitor(**spec, notify={"receiver": webhook("orders"), **QUICK})
    other = operator.workflow(
        namespace,
        "other",
        selector={"matchLabels": {"app": "nobody"}},
        scrape={"interval": "1s"},
        **spec | {"slos": []},
        notify={"receiver": webhook("other"), **QUICK},
    )
    operator.wait_condition("Ready", "True", namespace, timeout=60)
    wait_routed(operator, namespace, "orders")
    # Until the first good run is seen, nothing is fresh.
    operator.wait(
        lambda: not alerts(operator, namespace, "orders"),
        lambda: f"all to be well; there is {alerts(operator, namespace, 'orders')}",
        180,
    )
    inbox.posts.clear()

    for pod in orders.pods:
        pod.kill()

    operator.wait(lambda: inbox.told("/orders"), "the dead target to be told", 60)
    follows = [
        ("WorkflowMetricsAbsent", ""),
        ("WorkflowErrorBudgetBurnFast", "fresh"),
        ("WorkflowErrorBudgetBurnSlow", "fresh"),
    ]
    operator.wait(
        lambda: all(alerts(operator, namespace, "orders").get(alert) for alert in follows),
        lambda: f"{follows} to be silenced; there is {alerts(operator, namespace, 'orders')}",
        120,
    )
    # The other workflow is told of, in the same namespace and of an alert that is silenced here.
    operator.cluster.apply([other])
    operator.wait(
        lambda: "WorkflowMetricsAbsent" in inbox.told("/other"), "the other workflow's alert", 60
    )
    assert inbox.told("/orders") == ["WorkflowTargetDown"]

    for pod in orders.pods:
        pod.restart()
    operator.wait(
        lambda: "WorkflowTargetDown" in inbox.told("/orders", "resolved"), "the end of it", 60
    )


def test_a_secret_that_comes_later_is_taken_and_stops_nobody_meanwhile(verifying, namespace, inbox):
    late = {"receiver": {"slack": {"apiURL": {"name": "late", "key": "url"}}}}
    ready = {"receiver": {"webhook": {"url": inbox.url("/ready")}}}
    verifying.cluster.apply(
        [
            verifying.workflow(namespace, name, notify=notify, suspend=True)
            for name, notify in (("late", late), ("ready", ready))
        ]
    )
    wait_routed(verifying, namespace, "ready")

    def reasons():
        found = verifying.cluster.get("events.events.k8s.io", f"--namespace={namespace}")["items"]
        return {e["reason"] for e in found if e["regarding"]["name"] == "late-notify"}

    assert verifying.wait(reasons, "an Event on the AlertmanagerConfig") == {"InvalidConfiguration"}

    secret(verifying.cluster, namespace, "late", url=inbox.url("/late"))

    wait_routed(verifying, namespace, "late", "ready")


@pytest.fixture
def strategy(verifying):
    """Set whether prometheus-operator adds matchers on the namespace; afterwards it does, as by default."""

    def choose(name):
        change = json.dumps({"spec": {"alertmanagerConfigMatcherStrategy": {"type": name}}})
        target = ("alertmanager", "main", "--namespace=monitoring", "--type=merge")
        verifying.cluster.kubectl("patch", *target, f"--patch={change}")

    yield choose
    choose("OnNamespace")


# Where prometheus-operator adds a matcher to the route, the namespace is in it twice; the rules have it twice each.
@pytest.mark.parametrize(("name", "matchers"), [("OnNamespace", 8), ("None", 7)])
def test_a_route_takes_no_alert_of_another_namespace_nor_what_is_for_the_record(
    verifying, namespace, inbox, strategy, name, matchers
):
    strategy(name)
    verifying.cluster.apply(
        [
            verifying.workflow(
                namespace,
                notify={"receiver": {"webhook": {"url": inbox.url("/all")}}, **QUICK},
                suspend=True,
            )
        ]
    )
    verifying.wait(
        lambda: configuration(verifying).count(f'namespace="{namespace}"') == matchers,
        f"{matchers} matchers on the namespace",
        60,
    )

    mine = {"namespace": namespace, "monitored_workflow": "orders"}
    post(verifying, {**mine, "alertname": "Record", "severity": "info"})
    post(verifying, {**mine, "alertname": "Elsewhere", "severity": "warning", "namespace": "else"})
    post(
        verifying, {**mine, "alertname": "Other", "severity": "warning", "monitored_workflow": "x"}
    )
    # The last one is told, and so would have been those before.
    post(verifying, {**mine, "alertname": "Mine", "severity": "warning"})
    verifying.wait(lambda: "Mine" in inbox.told("/all"), "my own alert", 30)
    assert inbox.told("/all") == ["Mine"]
