"""Without Prometheus Operator's kinds the operator falls back, says so, and moves over when they appear."""

from __future__ import annotations

import pytest
import yaml
from annotated_pods import Annotated

from rig import tools

pytestmark = pytest.mark.cluster

KINDS = ("servicemonitors", "podmonitors", "prometheusrules", "alertmanagerconfigs")
NOTIFY = {"receiver": {"webhook": {"url": "http://hooks.ops:8080/"}}}


@pytest.fixture
def without_prometheus_operator(operator, looking):
    """A cluster in which nobody has installed Prometheus Operator; it comes back afterwards."""
    names = [f"crd/{kind}.monitoring.coreos.com" for kind in KINDS]
    saved = [operator.cluster.get(name) for name in names]
    for crd in saved:
        crd["metadata"] = {
            "name": crd["metadata"]["name"],
            "annotations": crd["metadata"].get("annotations", {}),
        }
        crd.pop("status", None)
    operator.cluster.kubectl("delete", *names)

    def restore():
        operator.cluster.apply(saved)
        operator.cluster.wait_established(*names)

    yield restore
    restore()


def test_it_falls_back_says_so_and_moves_over(looking, without_prometheus_operator, namespace):
    looking.wait(lambda: looking.metric("flowgauge_watch_restarts_total") >= 0, "metrics")
    looking.cluster.apply([looking.workflow(namespace, notify=NOTIFY)])
    Annotated(looking, namespace).pod("a", workflow="annotated", slo_success="99.5")

    def provisioned_as(reason, name="orders"):
        found = looking.condition("Provisioned", namespace, name)
        return found if found.get("reason") == reason else None

    provisioned = looking.wait(lambda: provisioned_as("AppliedWithFallback"), "the fallback", 60)
    assert provisioned["status"] == "True"
    assert "PrometheusRule is not available" in provisioned["message"]
    assert "prometheus.io annotations" in provisioned["message"]
    assert "AlertmanagerConfig is not available: spec.notify notifies" in provisioned["message"]
    service = looking.get("service", "orders-metrics", namespace)
    assert service["metadata"]["annotations"]["prometheus.io/scrape"] == "true"
    rules = looking.get("configmap", "orders-rules", namespace)
    assert rules["metadata"]["labels"]["flowgauge.dev/rules"] == "true"
    groups = yaml.safe_load(rules["data"][f"{namespace}_orders.yaml"])["groups"]
    assert groups[0]["name"] == f"flowgauge/{namespace}/orders/info"

    annotated = looking.wait(
        lambda: provisioned_as("AppliedWithFallback", "annotated"), "that of annotated pods"
    )
    assert annotated["status"] == "True"
    assert "only a Prometheus that follows the pods' own prometheus.io" in annotated["message"]
    assert {
        (r["kind"], r["name"]) for r in looking.status(namespace, "annotated")["resources"]
    } == {
        ("ConfigMap", "flowgauge-dashboards"),
        ("ConfigMap", "annotated-dashboard"),
        ("ConfigMap", "annotated-rules"),
    }

    without_prometheus_operator()

    looking.wait(
        lambda: looking.get("prometheusrule", "orders-rules", namespace), "the PrometheusRule", 60
    )
    looking.wait(
        lambda: looking.get("configmap", "orders-rules", namespace) is None,
        "the ConfigMap to go",
        30,
    )
    looking.wait(
        lambda: looking.get("servicemonitor", "flowgauge-shared", namespace),
        "the shared monitor",
        30,
    )
    looking.wait(
        lambda: looking.get("alertmanagerconfig", "orders-notify", namespace),
        "the AlertmanagerConfig",
        30,
    )
    pods = looking.wait(
        lambda: looking.get("podmonitor", "flowgauge-pods", namespace), "the PodMonitor", 30
    )
    (endpoint,) = pods["spec"]["podMetricsEndpoints"]
    assert endpoint["relabelings"][0]["regex"] == "annotated"
    for name in ("orders", "annotated"):
        looking.wait(
            lambda name=name: provisioned_as("Applied", name), f"Provisioned of {name}", 30
        )
    service = looking.get("service", "orders-metrics", namespace)
    assert "prometheus.io/scrape" not in service["metadata"]["annotations"]


def test_the_crds_of_the_rig_are_those_that_the_operator_looks_for():
    found = {
        file.stem.partition("_")[2] for file in tools.crds().glob("monitoring.coreos.com_*.yaml")
    }

    assert set(KINDS) <= found
