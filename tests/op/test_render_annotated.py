"""The PodMonitor that the annotated pods of a namespace share."""

from __future__ import annotations

import re

import pytest
import re2
import yaml

from flowgauge import profiles
from flowgauge_operator import model
from flowgauge_operator.cli import product
from flowgauge_operator.render import Capabilities, Options, annotated, render, shared
from flowgauge_operator.render.annotated import Pods

SPEC = {"scrape": {"mode": "AnnotatedPods"}}


def workflow(name="orders", profile="workflow", **scrape):
    spec = {"profile": profile, "scrape": {"mode": "AnnotatedPods", **scrape}}
    return {
        "apiVersion": "flowgauge.dev/v1alpha1",
        "kind": "MonitoredWorkflow",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": spec,
    }


def made(body, capabilities=None, **spec):
    parsed = model.parse({**body, "spec": body["spec"] | spec})
    profile = profiles.builtin(parsed.spec.profile)
    return render(parsed, profile, capabilities or Capabilities(), Options())


def monitor(*bodies):
    shares = [share for body in bodies for share in made(body).shares if share.pods]
    (share,) = shared.united(shares)
    return shared.manifest(share, "shop", Options())


def target(manifest, annotations, **discovered):
    """What Prometheus makes of a container of a pod: its labels after relabeling, or None where it drops it.

    As Prometheus does it: regular expressions are anchored, and an empty label is none.
    """
    (endpoint,) = manifest["spec"]["podMetricsEndpoints"]
    labels = {
        "__address__": "10.0.0.1:80",
        "__metrics_path__": "/metrics",
        "__scrape_interval__": endpoint["interval"],
        "container": "main",
        "__meta_kubernetes_pod_ip": "10.0.0.1",
        "__meta_kubernetes_pod_phase": "Running",
        "__meta_kubernetes_pod_container_init": "false",
        "__meta_kubernetes_pod_container_port_name": "metrics",
        **{f"__meta_kubernetes_pod_{key}": value for key, value in discovered.items()},
    }
    for key, value in annotations.items():
        labels["__meta_kubernetes_pod_annotation_" + re.sub(r"[^A-Za-z0-9]", "_", key)] = value
    for rule in endpoint["relabelings"]:
        source = rule.get("separator", ";").join(
            labels.get(label, "") for label in rule.get("sourceLabels", ())
        )
        found = re2.fullmatch(rule.get("regex", "(.*)"), source)
        action = rule["action"]
        if action == "keepequal":
            if source != labels.get(rule["targetLabel"], ""):
                return None
        elif action in ("keep", "drop"):
            if (action == "keep") is not bool(found):
                return None
        elif found:
            text = rule.get("replacement", "$1")
            for number in range(len(found.groups()), 0, -1):
                text = text.replace(f"${number}", found[number] or "")
            labels[rule["targetLabel"]] = text
    return {key: value for key, value in labels.items() if value and not key.startswith("__meta_")}


ORDERS = {"flowgauge.dev/workflow": "orders"}


@pytest.mark.parametrize(
    ("said", "address", "path"),
    [
        (
            {},
            "10.0.0.1:80",
            "/metrics",
        ),  # the port named metrics, which is the one that is looked at
        ({"prometheus.io/port": "9000"}, "10.0.0.1:9000", "/metrics"),
        ({"flowgauge.dev/port": "65535"}, "10.0.0.1:65535", "/metrics"),
        ({"flowgauge.dev/port": "1", "prometheus.io/port": "2"}, "10.0.0.1:1", "/metrics"),
        ({"flowgauge.dev/port": "65536", "prometheus.io/port": "2"}, "10.0.0.1:2", "/metrics"),
        ({"flowgauge.dev/port": "0"}, "10.0.0.1:80", "/metrics"),
        ({"flowgauge.dev/port": "metrics"}, "10.0.0.1:80", "/metrics"),
        # No port has a name of 16 characters, or one without a letter: the port of the profile is meant.
        ({"flowgauge.dev/port": "0123456789abcdef"}, "10.0.0.1:80", "/metrics"),
        ({"flowgauge.dev/port": "8080-"}, "10.0.0.1:80", "/metrics"),
        ({"flowgauge.dev/path": "/m/x"}, "10.0.0.1:80", "/m/x"),
        ({"prometheus.io/path": "/a", "flowgauge.dev/path": "b"}, "10.0.0.1:80", "/a"),
        ({"flowgauge.dev/path": "/m?x=http://elsewhere"}, "10.0.0.1:80", "/metrics"),
        ({"flowgauge.dev/path": "/m\n/n"}, "10.0.0.1:80", "/metrics"),
    ],
)
def test_a_pod_is_scraped_where_it_says(said, address, path):
    found = target(monitor(workflow()), ORDERS | said)

    assert (found["__address__"], found["__metrics_path__"]) == (address, path)
    assert found["monitored_workflow"] == "orders"


@pytest.mark.parametrize(
    ("annotations", "discovered"),
    [
        ({}, {}),
        ({"flowgauge.dev/workflow": "other"}, {}),
        ({"flowgauge.dev/workflow": "orders|other"}, {}),
        ({"flowgauge.dev/workflow": "orders\n"}, {}),
        ({"flowgauge.dev/workflow": "xorders"}, {}),
        (ORDERS, {"phase": "Pending"}),
        (ORDERS, {"phase": "Succeeded"}),
        (ORDERS, {"container_init": "true"}),
        (ORDERS, {"container_port_name": "web"}),
        (ORDERS | {"flowgauge.dev/port": "web"}, {}),
    ],
)
def test_what_is_no_running_pod_of_a_workflow_is_not_scraped(annotations, discovered):
    assert target(monitor(workflow()), annotations, **discovered) is None


def test_a_dot_in_a_name_stands_for_itself():
    manifest = monitor(workflow("a.b"))

    assert target(manifest, {"flowgauge.dev/workflow": "a.b"})
    assert target(manifest, {"flowgauge.dev/workflow": "axb"}) is None


def test_every_container_and_port_of_a_pod_is_the_same_target():
    said = ORDERS | {"flowgauge.dev/port": "9000"}
    manifest = monitor(workflow())

    found = [
        target(manifest, said, container_port_name=port, container_name=container)
        for port in ("metrics", "web", "")
        for container in ("main", "side")
    ]

    assert found[0]
    assert all(one == found[0] for one in found)
    assert "container" not in found[0]


def test_an_ipv6_address_has_brackets():
    found = target(monitor(workflow()), ORDERS | {"flowgauge.dev/port": "9000"}, ip="fd00::1")

    assert found["__address__"] == "[fd00::1]:9000"


def test_each_workflow_has_the_port_of_its_profile_and_what_its_spec_fixes():
    manifest = monitor(
        workflow("a", profile="contd"),
        workflow("b", profile="orchestrix"),
        workflow("c", profile="contd"),
        workflow("d", port=7000, path="/fixed", interval="5s"),
    )

    def of(name, **said):
        said = {f"flowgauge.dev/{key}": value for key, value in said.items()}
        found = target(manifest, {"flowgauge.dev/workflow": name} | said)
        return found["__address__"], found["__metrics_path__"], found["__scrape_interval__"]

    assert of("a") == ("10.0.0.1:9090", "/metrics", "15s")
    assert of("b") == ("10.0.0.1:8000", "/metrics", "15s")
    assert of("b", port="1") == ("10.0.0.1:1", "/metrics", "15s")
    assert of("d", port="1", path="/said") == ("10.0.0.1:7000", "/fixed", "5s")


def test_a_thousand_workflows_fit_into_one_monitor():
    found = [Pods(f"workflow-{i:04}", "metrics", "/metrics", "15s", "10s") for i in range(1000)]

    manifest = annotated.monitor("shop", found, {})

    assert len(str(manifest)) < 70_000
    (endpoint,) = manifest["spec"]["podMetricsEndpoints"]
    assert len(endpoint["relabelings"]) < 20


def test_the_order_of_workflows_says_nothing():
    bodies = [workflow("a", profile="contd"), workflow("b"), workflow("c", port=1)]

    assert monitor(*bodies) == monitor(*reversed(bodies))


FOUND = [
    Pods("a.b", "9090", "/metrics", "15s", "10s"),
    Pods("axb", "metrics", "/m", "7s", "7s", "7000", "/fixed"),
    Pods("b", "metrics", "/metrics", "15s", "10s", "", "/own"),
    Pods("c", "9090", "/metrics", "1m", "10s", "web"),
]


def test_what_each_workflow_asked_for_can_be_read_from_the_monitor():
    manifest = annotated.monitor("shop", FOUND, {})

    assert list(annotated.recorded(manifest).values()) == FOUND


def test_of_too_many_workflows_the_monitor_keeps_no_record():
    many = [Pods(f"w{i:062}", "metrics", "/metrics", "15s", "10s") for i in range(2500)]

    manifest = annotated.monitor("shop", many, {})

    assert manifest["metadata"]["annotations"] == {}
    assert len(str(annotated.monitor("shop", many[:2000], {})["metadata"])) < 256 * 1024
    assert annotated.recorded(manifest) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "7",
        '[[["orders"],"1","/","15s","10s"]]',
        '{"orders": 1}',
        '["orders"]',
        '[["orders","1"]]',
        '[["orders",1,"/","15s","10s"]]',
        '[["orders","1","/","soon","10s"]]',
        '[["orders","1","/",15,"10s"]]',
        "[" * 100_000,
    ],
)
def test_a_record_that_makes_no_sense_says_nothing(text):
    manifest = {"metadata": {"annotations": {"flowgauge.dev/pods": text}}}

    assert annotated.recorded(manifest) == {}


def test_it_can_be_generated_without_a_cluster():
    files = [
        yaml.dump(workflow(name, profile=profile))
        for name, profile in (("a", "contd"), ("b", "workflow"))
    ]

    made_of_both = [*yaml.safe_load_all(product.generated("---\n".join(files), "w.yaml"))]

    monitors = [m for m in made_of_both if m["kind"] == "PodMonitor"]
    assert [m["metadata"]["name"] for m in monitors] == ["flowgauge-pods"]
    assert target(monitors[0], {"flowgauge.dev/workflow": "a"})["__address__"] == "10.0.0.1:9090"
    assert target(monitors[0], {"flowgauge.dev/workflow": "b"})["__address__"] == "10.0.0.1:80"


def test_without_prometheus_operator_the_pods_own_annotations_serve_and_that_is_told():
    rendered = made(workflow(), Capabilities(frozenset()))

    assert (rendered.pool, rendered.is_scraped) == (None, True)
    assert any("prometheus.io annotations" in note for note in rendered.notes)
    assert not [share for share in rendered.shares if share.pods]


def test_what_needs_a_monitor_of_its_own_is_told():
    rendered = made(workflow(scheme="https"))

    assert [problem.reason for problem in rendered.problems] == ["NotForAnnotatedPods"]


def test_a_selector_that_is_not_used_is_told():
    rendered = made(workflow(), selector={"matchLabels": {"app": "orders"}})

    assert [warning.reason for warning in rendered.warnings] == ["SelectorNotUsed"]


def test_a_workflow_that_comes_and_goes_has_no_alert_on_absence():
    def alerts(**scrape):
        rules = next(c for c in made(workflow(**scrape)).children if c["kind"] == "PrometheusRule")
        return {r.get("alert") for group in rules["spec"]["groups"] for r in group["rules"]}

    assert alerts() - alerts(intermittent=True) == {"WorkflowMetricsAbsent"}
