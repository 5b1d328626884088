"""Whatever somebody does to a child is undone; a restart with nothing changed writes nothing."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.cluster


NOTIFY = {"receiver": {"webhook": {"url": "http://hooks.ops:8080/"}}}


@pytest.fixture
def workflow(operator, namespace):
    """A workflow whose children stand, with a monitor of its own of each sort that CRD defaults could change."""
    operator.cluster.apply(
        [
            operator.workflow(namespace, notify=NOTIFY),
            operator.workflow(
                namespace,
                "own",
                scrape={
                    "scheme": "https",
                    "tls": {"ca": {"name": "a", "key": "b"}, "insecureSkipVerify": True},
                    "authorization": {"credentials": {"name": "a", "key": "b"}},
                    "limits": {"samples": 5},
                    "dropMetrics": ["a.*"],
                },
            ),
            operator.workflow(namespace, "pods", scrape={"mode": "PodMonitor", "port": 8000}),
        ]
    )
    for name in ("orders", "own", "pods"):
        operator.wait_condition("Ready", "True", namespace, name)
    operator.wait_get("servicemonitor", "flowgauge-shared", namespace)
    return namespace


def patch(operator, namespace, kind, name, body):
    operator.cluster.kubectl(
        "patch",
        kind,
        name,
        f"--namespace={namespace}",
        "--type=merge",
        f"--patch={json.dumps(body)}",
    )


EDITS = [
    ("prometheusrule", "orders-rules", {"spec": {"groups": []}}),
    (
        "prometheusrule",
        "orders-rules",
        {"spec": {"groups": [{"name": "theirs", "rules": [{"record": "a:b:c", "expr": "1"}]}]}},
    ),
    (
        "prometheusrule",
        "orders-rules",
        {"metadata": {"labels": {"flowgauge.dev/workflow": "other"}}},
    ),
    (
        "prometheusrule",
        "orders-rules",
        {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}},
    ),
    ("prometheusrule", "orders-rules", {"metadata": {"annotations": {"flowgauge.dev/hash": "0"}}}),
    ("prometheusrule", "orders-rules", {"metadata": {"ownerReferences": None}}),
    ("configmap", "orders-dashboard", {"data": {"added.json": "{}"}}),
    ("configmap", "orders-dashboard", {"metadata": {"labels": {"grafana_dashboard": None}}}),
    ("service", "orders-metrics", {"spec": {"selector": {"app": "theirs"}}}),
    (
        "service",
        "orders-metrics",
        {"spec": {"ports": [{"name": "metrics", "port": 1, "targetPort": 1}]}},
    ),
    ("service", "orders-metrics", {"metadata": {"annotations": {"flowgauge.dev/path": "/theirs"}}}),
    ("servicemonitor", "flowgauge-shared", {"spec": {"sampleLimit": 1}}),
    ("servicemonitor", "own-flowgauge", {"spec": {"endpoints": []}}),
    ("podmonitor", "pods-flowgauge", {"spec": {"selector": {"matchLabels": {"app": "theirs"}}}}),
    ("alertmanagerconfig", "orders-notify", {"spec": {"route": {"groupWait": "1h"}}}),
    ("alertmanagerconfig", "orders-notify", {"spec": {"muteTimeIntervals": [{"name": "theirs"}]}}),
]


def ours(body):
    metadata = body["metadata"]
    return {
        "labels": metadata.get("labels"),
        "annotations": metadata.get("annotations"),
        "owner": [owner["uid"] for owner in metadata.get("ownerReferences") or []],
        "spec": body.get("spec"),
        "data": body.get("data"),
    }


@pytest.mark.parametrize(("kind", "name", "edit"), EDITS)
def test_an_edit_is_undone(operator, workflow, kind, name, edit):
    before = ours(operator.get(kind, name, workflow))

    patch(operator, workflow, kind, name, edit)

    operator.wait(
        lambda: ours(operator.get(kind, name, workflow)) == before, f"{kind} {name} to be as before"
    )


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("prometheusrule", "orders-rules"),
        ("configmap", "orders-dashboard"),
        ("service", "orders-metrics"),
        ("servicemonitor", "flowgauge-shared"),
        ("podmonitor", "pods-flowgauge"),
        ("alertmanagerconfig", "orders-notify"),
    ],
)
def test_a_deleted_child_comes_back(operator, workflow, kind, name):
    before = operator.get(kind, name, workflow)["metadata"]["uid"]

    operator.cluster.kubectl("delete", kind, name, f"--namespace={workflow}")

    def back():
        found = operator.get(kind, name, workflow)
        return found and found["metadata"]["uid"] != before

    operator.wait(back, f"{kind} {name} to come back")


def test_what_others_add_beside_our_fields_stays(operator, workflow):
    theirs = {"metadata": {"labels": {"team": "theirs"}, "annotations": {"note": "theirs"}}}
    mark = operator.cluster.audit_mark()

    patch(operator, workflow, "service", "orders-metrics", theirs)
    patch(
        operator, workflow, "service", "orders-metrics", {"spec": {"selector": {"app": "theirs"}}}
    )

    def repaired():
        service = operator.get("service", "orders-metrics", workflow)
        return service["spec"]["selector"] == {"app": "orders"} and service["metadata"]

    metadata = operator.wait(repaired, "the selector to be repaired")
    assert metadata["labels"]["team"] == "theirs"
    assert metadata["annotations"]["note"] == "theirs"
    services = [r for r in operator.writes_since(mark, workflow) if r.resource == "services"]
    assert {request.name for request in services} == {"orders-metrics"}


def test_the_same_name_with_another_uid_gets_children_of_its_own(operator, workflow):
    uid = operator.get("mwf", "orders", workflow)["metadata"]["uid"]
    operator.cluster.kubectl(
        "delete", "mwf", "orders", f"--namespace={workflow}", "--cascade=orphan"
    )
    operator.cluster.apply([operator.workflow(workflow)])

    def adopted():
        new = operator.get("mwf", "orders", workflow)["metadata"]["uid"]
        rule = operator.get("prometheusrule", "orders-rules", workflow)
        owners = [
            owner["uid"]
            for owner in (rule or {"metadata": {}})["metadata"].get("ownerReferences") or []
        ]
        return new != uid and owners == [new]

    operator.wait(adopted, "the rule to belong to the new workflow", 30)


def test_a_restart_with_nothing_changed_writes_nothing(operator, namespace):
    count = 100
    operator.cluster.apply(
        [operator.workflow(namespace, f"w{i:03}", notify=NOTIFY) for i in range(count)]
    )
    for i in range(count):
        operator.wait_condition("Ready", "True", namespace, f"w{i:03}", timeout=60)
    operator.wait_quiet()
    with operator.resting():
        mark = operator.cluster.audit_mark()

    operator.wait(
        lambda: operator.metric("flowgauge_reconcile_total") > count,
        "every workflow to have had a turn",
        60,
    )
    operator.wait_quiet()

    assert operator.metric("flowgauge_workflows") >= count
    assert operator.writes_since(mark, namespace) == []


def test_what_changed_while_the_operator_was_down_is_repaired_at_start(operator, workflow):
    with operator.resting():
        operator.cluster.kubectl(
            "delete", "configmap", "orders-dashboard", f"--namespace={workflow}"
        )
        patch(operator, workflow, "prometheusrule", "orders-rules", {"spec": {"groups": []}})
        operator.cluster.kubectl("delete", "mwf", "own", "pods", f"--namespace={workflow}")

    operator.wait(
        lambda: operator.get("configmap", "orders-dashboard", workflow),
        "the dashboard to come back",
    )
    operator.wait(
        lambda: operator.get("prometheusrule", "orders-rules", workflow)["spec"].get("groups"),
        "the rules to come back",
    )


def test_a_shared_monitor_that_nobody_needs_any_more_goes_at_the_start(operator, namespace):
    operator.cluster.apply([operator.workflow(namespace)])
    operator.wait_condition("Ready", "True", namespace)
    operator.wait_get("servicemonitor", "flowgauge-shared", namespace)
    with operator.resting():
        operator.cluster.kubectl("delete", "mwf", "orders", f"--namespace={namespace}")

    operator.wait(
        lambda: operator.get("servicemonitor", "flowgauge-shared", namespace) is None,
        "the monitor to go",
    )
