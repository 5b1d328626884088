"""What a MonitoredWorkflow makes of a real API server, under the RBAC of the chart."""

from __future__ import annotations

import json

import pytest
import yaml

from flowgauge_operator import cli

pytestmark = pytest.mark.cluster

# The garbage collector of Kubernetes looks for new kinds, such as ours, every 30 s.
GC_SECONDS = 60
NOTIFY = {"receiver": {"webhook": {"url": "http://hooks.ops:8080/"}}}
PAGER = {"name": "alerts", "key": "pager"}
CHILDREN = (
    ("service", "orders-metrics"),
    ("prometheusrule", "orders-rules"),
    ("configmap", "orders-dashboard"),
)


def apply(operator, namespace, name="orders", **spec):
    operator.cluster.apply([operator.workflow(namespace, name, **spec)])


def test_a_workflow_gets_its_children_and_is_ready_without_prometheus(operator, namespace):
    apply(operator, namespace)

    ready = operator.wait_condition("Ready", "True", namespace)

    assert ready["reason"] == "ReadyWithoutPrometheus"
    assert operator.condition("Loaded", namespace)["status"] == "Unknown"
    assert operator.condition("Healthy", namespace)["reason"] == "PrometheusNotConfigured"
    for kind, name in CHILDREN:
        assert (
            operator.get(kind, name, namespace)["metadata"]["ownerReferences"][0]["name"]
            == "orders"
        )
    operator.wait_get("servicemonitor", "flowgauge-shared", namespace)


def test_generate_prints_what_the_operator_applied(operator, namespace):
    everything = {
        "slack": {"apiURL": PAGER, "channel": "#orders"},
        "msteams": {"webhookURL": PAGER},
        "pagerduty": {"routingKey": PAGER},
        "opsgenie": {"apiKey": PAGER, "apiURL": "https://api.eu.opsgenie.com/"},
        "email": {
            "to": "a@b.c",
            "from": "d@e.f",
            "smarthost": "smtp:587",
            "authUsername": "u",
            "authPassword": PAGER,
        },
        "webhook": {"urlSecret": PAGER},
    }
    body = operator.workflow(namespace, notify={**NOTIFY, "page": everything})
    operator.cluster.apply([body])
    operator.wait_condition("Provisioned", "True", namespace)

    printed = list(yaml.safe_load_all(cli.generated(json.dumps(body), "test")))

    assert len(printed) == 6
    for manifest in printed:
        stored = operator.get(manifest["kind"], manifest["metadata"]["name"], namespace)
        assert stored["metadata"]["labels"] == manifest["metadata"]["labels"]
        assert stored["metadata"]["annotations"] == manifest["metadata"]["annotations"]
        assert stored.get("data") == manifest.get("data")
        if manifest["kind"] != "Service":
            assert stored.get("spec") == manifest.get("spec")


@pytest.mark.parametrize(
    ("scrape", "kind"),
    [
        ({"mode": "PodMonitor"}, "podmonitor"),
        ({"scheme": "https", "tls": {"ca": {"name": "ca", "key": "ca.crt"}}}, "servicemonitor"),
        ({"authorization": {"credentials": {"name": "token", "key": "token"}}}, "servicemonitor"),
        ({"limits": {"samples": 100}}, "servicemonitor"),
        ({"dropMetrics": ["python_gc_.*"]}, "servicemonitor"),
    ],
)
def test_what_cannot_travel_as_an_annotation_gets_a_monitor_of_its_own(
    operator, namespace, scrape, kind
):
    apply(operator, namespace, scrape=scrape)

    operator.wait_condition("Provisioned", "True", namespace)

    assert operator.get(kind, "orders-flowgauge", namespace)["metadata"]["ownerReferences"]
    assert operator.get("servicemonitor", "flowgauge-shared", namespace) is None


def test_changing_the_mode_prunes_what_is_no_longer_wanted(operator, namespace):
    apply(operator, namespace)
    operator.wait_condition("Provisioned", "True", namespace)
    operator.wait_get("servicemonitor", "flowgauge-shared", namespace)

    apply(operator, namespace, scrape={"mode": "None"}, dashboard={"mode": "None"})

    operator.wait(
        lambda: operator.get("service", "orders-metrics", namespace) is None, "the service to go"
    )
    operator.wait(
        lambda: operator.get("configmap", "orders-dashboard", namespace) is None,
        "the dashboard to go",
    )
    operator.wait(
        lambda: operator.get("servicemonitor", "flowgauge-shared", namespace) is None,
        "the monitor to go",
    )
    assert operator.get("prometheusrule", "orders-rules", namespace)


def test_notify_comes_and_goes_with_its_field(operator, namespace):
    apply(operator, namespace, notify=NOTIFY)
    operator.wait_condition("Provisioned", "True", namespace)
    made = operator.get("alertmanagerconfig", "orders-notify", namespace)
    assert made["metadata"]["ownerReferences"][0]["name"] == "orders"
    assert made["spec"]["receivers"][0]["webhookConfigs"][0]["url"] == "http://hooks.ops:8080/"

    pager = {"pagerduty": {"routingKey": PAGER}}
    apply(operator, namespace, notify={**NOTIFY, "page": pager})
    operator.wait(
        lambda: (
            len(operator.get("alertmanagerconfig", "orders-notify", namespace)["spec"]["receivers"])
            == 2
        ),
        "the pager",
    )

    apply(operator, namespace)
    operator.wait(
        lambda: operator.get("alertmanagerconfig", "orders-notify", namespace) is None,
        "the AlertmanagerConfig to go",
    )


def test_without_the_permission_notify_is_told_and_nothing_else_stops(
    operator, namespace, in_place_of
):
    denied = {"create": True, "alertmanagerConfigs": False}
    with in_place_of(operator, "unpermitted", rbac=denied) as running:
        apply(running, namespace, notify=NOTIFY)

        provisioned = running.wait_condition("Provisioned", "True", namespace)

        assert provisioned["reason"] == "AppliedWithFallback"
        assert "AlertmanagerConfig is not available" in provisioned["message"]
        assert running.get("alertmanagerconfig", "orders-notify", namespace) is None
        assert running.get("prometheusrule", "orders-rules", namespace)


def test_deleting_the_workflow_removes_every_child(operator, namespace):
    apply(operator, namespace)
    operator.wait_condition("Ready", "True", namespace)

    operator.cluster.kubectl("delete", "mwf", "orders", f"--namespace={namespace}")

    for kind, name in (*CHILDREN, ("servicemonitor", "flowgauge-shared")):
        operator.wait(
            lambda k=kind, n=name: operator.get(k, n, namespace) is None,
            f"{kind} {name} to go",
            GC_SECONDS,
        )


def test_the_shared_monitor_lives_as_long_as_one_workflow_needs_it(operator, namespace):
    for name in ("a", "b"):
        apply(operator, namespace, name)
        operator.wait_condition("Ready", "True", namespace, name)
    operator.wait_get("servicemonitor", "flowgauge-shared", namespace)

    operator.cluster.kubectl("delete", "mwf", "a", f"--namespace={namespace}")
    operator.wait(
        lambda: operator.get("service", "a-metrics", namespace) is None,
        "a's service to go",
        GC_SECONDS,
    )

    assert operator.get("servicemonitor", "flowgauge-shared", namespace)


def test_an_object_of_somebody_else_is_not_overwritten(operator, namespace):
    theirs = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "orders-dashboard", "namespace": namespace},
        "data": {"mine": "yes"},
    }
    operator.cluster.apply([theirs])

    apply(operator, namespace)

    provisioned = operator.wait_condition("Provisioned", "False", namespace)
    assert provisioned["reason"] == "Conflict"
    assert "orders-dashboard exists and is not ours; rename or delete it" in provisioned["message"]
    assert operator.get("configmap", "orders-dashboard", namespace)["data"] == {"mine": "yes"}
    assert operator.get("prometheusrule", "orders-rules", namespace)

    operator.cluster.kubectl("delete", "configmap", "orders-dashboard", f"--namespace={namespace}")
    operator.wait_condition("Provisioned", "True", namespace, timeout=60)


def test_a_shared_monitor_of_somebody_else_is_not_overwritten(operator, namespace):
    theirs = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {"name": "flowgauge-shared", "namespace": namespace},
        "spec": {"selector": {}, "endpoints": [{"port": "theirs"}]},
    }
    operator.cluster.apply([theirs])

    apply(operator, namespace)

    provisioned = operator.wait_condition("Provisioned", "False", namespace)
    assert provisioned["reason"] == "Conflict"
    assert "flowgauge-shared exists and is not ours" in provisioned["message"]
    found = operator.get("servicemonitor", "flowgauge-shared", namespace)
    assert found["spec"]["endpoints"] == [{"port": "theirs"}]

    monitor = "servicemonitor/flowgauge-shared"
    operator.cluster.kubectl("delete", monitor, f"--namespace={namespace}")
    operator.wait_condition("Provisioned", "True", namespace, timeout=60)
    found = operator.get("servicemonitor", "flowgauge-shared", namespace)
    assert found["spec"]["endpoints"][0]["port"] == "metrics"


def test_one_broken_workflow_among_ten_delays_none_of_the_others(operator, namespace):
    broken = operator.workflow(namespace, "w0", profile="no-such-profile")
    good = [operator.workflow(namespace, f"w{i}") for i in range(1, 10)]

    operator.cluster.apply([broken, *good])

    for i in range(1, 10):
        operator.wait_condition("Ready", "True", namespace, f"w{i}")
    accepted = operator.wait_condition("Accepted", "False", namespace, "w0")
    assert accepted["reason"] == "UnknownProfile"
    assert "orchestrix, prefect, temporal, tta-dev, workflow" in accepted["message"]


def test_one_bad_objective_leaves_the_others_in_place(operator, namespace):
    slos = [
        {"name": "good", "objective": 99, "success": {}},
        {"name": "between", "objective": 99, "latency": {"threshold": "7s"}},
    ]

    apply(operator, namespace, slos=slos)

    accepted = operator.wait_condition("Accepted", "False", namespace)
    assert accepted["reason"] == "ThresholdNotABucket"
    assert "the nearest are 5s below and 10s above" in accepted["message"]
    groups = operator.get("prometheusrule", "orders-rules", namespace)["spec"]["groups"]
    names = [group["name"].rpartition("/")[2] for group in groups]
    assert names == [
        "info",
        "recordings",
        "history",
        "alerts",
        "slo-good-short",
        "slo-good-long",
        "slo-good-alerts",
    ]


def test_a_spec_that_turns_bad_keeps_the_last_good_children(operator, namespace):
    apply(operator, namespace)
    operator.wait_condition("Ready", "True", namespace)
    before = operator.get("prometheusrule", "orders-rules", namespace)["metadata"][
        "resourceVersion"
    ]

    apply(operator, namespace, profile="no-such-profile")

    operator.wait_condition("Accepted", "False", namespace)
    assert operator.condition("Provisioned", namespace)["status"] == "Unknown"
    assert (
        operator.get("prometheusrule", "orders-rules", namespace)["metadata"]["resourceVersion"]
        == before
    )


def test_events_are_posted_on_transitions_only(operator, namespace):
    apply(operator, namespace, profile="no-such-profile")
    operator.wait_condition("Accepted", "False", namespace)
    apply(operator, namespace)
    operator.wait_condition("Ready", "True", namespace)

    def reasons():
        found = operator.cluster.get("events.events.k8s.io", f"--namespace={namespace}")["items"]
        return sorted(
            event["reason"] for event in found if event["regarding"]["kind"] == "MonitoredWorkflow"
        )

    operator.wait(
        lambda: reasons() == ["ReadyWithoutPrometheus", "UnknownProfile", "Valid"],
        lambda: f"three events; there are {reasons()}",
    )


def test_names_that_no_service_may_have_are_mapped(operator, namespace):
    for name in ("1st.run", "a" * 63):
        apply(operator, namespace, name)
        operator.wait_condition("Ready", "True", namespace, name)
        label = f"flowgauge.dev/workflow={name}"
        services = operator.cluster.get(
            "service", f"--namespace={namespace}", f"--selector={label}"
        )["items"]
        assert len(services) == 1
