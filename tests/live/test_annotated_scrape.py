"""A real Prometheus and annotated pods: one target for each that runs, at the port and path that it names."""

from __future__ import annotations

import secrets

import pytest
from annotated_pods import Annotated, is_marked

pytestmark = pytest.mark.e2e

ORDERS = {"flowgauge.dev/workflow": "orders"}
INIT = [{"name": "prepare", "image": "x", "ports": [{"name": "web", "containerPort": 9999}]}]
# Two containers with four ports, and one that is over before the others begin.
CONTAINERS = [
    {
        "name": "main",
        "image": "x",
        "ports": [
            {"name": "metrics", "containerPort": 9100},
            {"name": "other", "containerPort": 9101},
        ],
    },
    {
        "name": "side",
        "image": "x",
        "ports": [
            {"name": "web", "containerPort": 9200},
            {"containerPort": 9201, "protocol": "UDP"},
        ],
    },
]
# Annotations of a pod, and where it is scraped; None for nowhere.
PODS = {
    "silent": ({}, ":9100/metrics"),
    "convention": ({"prometheus.io/port": "9000", "prometheus.io/path": "/m"}, ":9000/m"),
    "ours-wins": (
        {"prometheus.io/port": "9000", "flowgauge.dev/port": "65535", "flowgauge.dev/path": "/x/y"},
        ":65535/x/y",
    ),
    "named": ({"flowgauge.dev/port": "web"}, ":9200/metrics"),
    "named-nothing": ({"flowgauge.dev/port": "nobody"}, None),
    "astray": ({"flowgauge.dev/workflow": "astray", "flowgauge.dev/port": "nobody"}, None),
    "wrong": ({"flowgauge.dev/port": "65536", "prometheus.io/path": "no path"}, ":9100/metrics"),
    "over": ({"rig/ends": "true"}, None),
    "others": ({"flowgauge.dev/workflow": "by-hand"}, None),
    "nobodys": ({"flowgauge.dev/workflow": "orders|.*"}, None),
    "fixed": ({"flowgauge.dev/workflow": "fixed", "flowgauge.dev/port": "1"}, ":7000/metrics"),
    "contd": (
        {"flowgauge.dev/workflow": "durable", "flowgauge.dev/profile": "contd"},
        ":9090/metrics",
    ),
}


def test_an_annotated_program_is_ready_without_a_line_of_yaml(orders):
    told = [f"{key}={value}" for key, value in ORDERS.items()]
    annotated = Annotated(orders.operator, orders.namespace)
    orders.operator.cluster.kubectl(
        "annotate",
        "pods",
        "--selector=app=orders",
        f"--namespace={orders.namespace}",
        *told,
        "flowgauge.dev/port=metrics",
        "flowgauge.dev/slo-success=99.5",
    )

    annotated.operator.wait(
        lambda: orders.operator.status(orders.namespace).get("targets") == {"up": 2, "total": 2},
        "both targets",
        60,
    )
    ready = orders.operator.wait_condition("Ready", "True", orders.namespace, timeout=60)

    assert ready["reason"] == "Monitored"
    assert is_marked(annotated.found())
    assert orders.operator.status(orders.namespace)["missingFamilies"] == []


def test_each_running_pod_is_one_target_where_it_says(verifying, stack, namespace):
    annotated = Annotated(verifying, namespace)
    annotated.cluster.apply(
        [
            verifying.workflow(namespace, "by-hand"),
            {
                "apiVersion": "flowgauge.dev/v1alpha1",
                "kind": "MonitoredWorkflow",
                "metadata": {"name": "fixed", "namespace": namespace},
                "spec": {"scrape": {"mode": "AnnotatedPods", "port": 7000, "interval": "7s"}},
            },
        ]
    )
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "annotations": ORDERS | said},
            "spec": {
                "automountServiceAccountToken": False,
                "initContainers": INIT,
                "containers": CONTAINERS,
            },
        }
        for name, (said, _) in PODS.items()
    ]
    annotated.cluster.deploy(pods)
    running = verifying.wait(
        lambda: (
            found
            if len(found := annotated.cluster.pods(namespace)) == len(PODS)
            and all(pod.get("status", {}).get("podIP") for pod in found)
            and any(pod["status"]["phase"] == "Succeeded" for pod in found)
            else None
        ),
        "the pods",
        60,
    )
    address = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in running}
    expected = {
        f"http://{address[name]}{where}" for name, (_, where) in PODS.items() if where is not None
    }

    def targets():
        active = stack.prometheus_get("targets", state="active")["activeTargets"]
        return [target for target in active if target["labels"].get("namespace") == namespace]

    verifying.wait(
        lambda: {target["scrapeUrl"] for target in targets()} == expected,
        lambda: (
            f"these targets: {sorted(expected)}; there are {sorted(t['scrapeUrl'] for t in targets())}"
        ),
        60,
    )

    found = {target["scrapeUrl"]: target for target in targets()}
    assert len(targets()) == len(expected)
    assert all("container" not in target["labels"] for target in targets())
    by_pod = {target["labels"]["pod"]: target for target in targets()}
    assert by_pod["fixed"]["scrapeInterval"] == "7s"
    assert by_pod["silent"]["scrapeInterval"] == "15s"
    assert by_pod["contd"]["labels"]["monitored_workflow"] == "durable"
    assert len(found) == len(by_pod)
    # It would count as idle, were it not for a pod that runs.
    told = verifying.wait_condition("Healthy", "False", namespace, "astray", timeout=60)
    assert told["reason"] == "NoTargets"
    assert "pod astray runs" in told["message"]


def test_without_its_profile_a_workflow_is_scraped_on_after_a_restart(verifying, stack, namespace):
    """Whom it shares the monitor with goes on to change it."""
    annotated, profile = Annotated(verifying, namespace), f"mine-{secrets.token_hex(3)}"
    told = {
        "apiVersion": "flowgauge.dev/v1alpha1",
        "kind": "WorkflowProfile",
        "metadata": {"name": profile},
        "spec": {
            "title": "Mine",
            "description": "A profile that goes away.",
            "scrape": {"port": 9123, "path": "/mine"},
            "families": [
                {"name": "mine_total", "role": "run.finished", "type": "counter", "help": "Runs."}
            ],
        },
    }
    annotated.cluster.apply([told])
    annotated.pod("a", workflow="orders", profile=profile)
    annotated.pod("b", workflow="other", port="9200")

    def urls():
        active = stack.prometheus_get("targets", state="active")["activeTargets"]
        return {
            target["labels"]["pod"]: target["scrapeUrl"].rpartition(":")[2]
            for target in active
            if target["labels"].get("namespace") == namespace
        }

    both = {"a": "9123/mine", "b": "9200/metrics"}
    verifying.wait(lambda: urls() == both, "both targets", 60)

    annotated.cluster.kubectl("delete", "wfp", profile)
    verifying.wait_condition("Accepted", "False", namespace)
    (container,) = verifying.release.containers
    container.restart()
    container.wait_ready()
    annotated.pod("c", workflow="third", port="9300")
    verifying.wait(lambda: urls() == both | {"c": "9300/metrics"}, "all three targets", 60)
    annotated.remove("b")
    annotated.cluster.kubectl("delete", "mwf", "other", f"--namespace={namespace}")
    verifying.wait(lambda: "b" not in urls(), "the end of another one", 60)

    assert urls() == {"a": "9123/mine", "c": "9300/metrics"}
    assert annotated.accepted()["reason"] == "UnknownProfile"
    told["spec"]["scrape"]["port"] = 9124
    annotated.cluster.apply([told])
    verifying.wait(lambda: urls().get("a") == "9124/mine", "the profile that is back", 60)
    annotated.cluster.kubectl("delete", "wfp", profile)
