"""The packaged stack, installed by helm into an empty cluster whose namespace enforces Pod Security "restricted".

Run by test_stack_install.py in a network of its own, since the suite's cluster is not empty. Its tests build on each other:
what is installed first is upgraded and uninstalled last.
"""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import charts
from rig import chart, fetch, tools, waiting
from rig.cluster import Cluster
from rig.kubectl import KubectlError
from rig.kubelet import Container, Kubelet
from rig.operated import Operated

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv-operator/bin"
EXAMPLE = ROOT / "examples/orders"
NAMESPACE, NAME = "monitoring", "flowgauge-stack"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
PROGRAMS = {
    name: [str(tools.path(name))]
    for name in ("prometheus-operator", "pushgateway", "kube-state-metrics", "kubectl")
}
QUICK: dict[str, Any] = {
    "prometheus": {"scrapeInterval": "1s", "evaluationInterval": "1s"},
    "annotatedPods": {
        "interval": "1s",
        "exclude": [{"namespace": "plain", "matchLabels": {"app": "excluded"}}],
    },
    "alertmanager": {
        "receivers": [{"name": "team", "webhook_configs": [{"url": "http://127.0.0.1:9/"}]}],
        "route": {"receiver": "team", "groupWait": "1s", "groupInterval": "1s"},
    },
    "flowgauge": {
        "replicas": 1,
        "prometheus": {"verifyInterval": 1},
        "serviceMonitor": {"interval": "1s"},
    },
}


@dataclass
class Stack:
    """The release and what runs of it."""

    cluster: Cluster
    release: chart.Release
    kubelet: Kubelet
    operated: Operated
    parts: Mapping[str, Container]

    def series(self, query: str) -> list[dict[str, Any]]:
        return [sample["metric"] for sample in self.cluster.prometheus_query(query)]

    def wait_series(self, query: str, timeout: float = 40) -> list[dict[str, Any]]:
        return self.cluster.wait_for(lambda: self.series(query), timeout, query)

    def alert(self, name: str) -> dict[str, Any] | None:
        found = (a for a in self.cluster.alerts() if a["labels"]["alertname"] == name)
        return next(found, None)

    def wait(self, ask: Callable[[], Any], what: waiting.What, timeout: float = 60) -> Any:
        return self.cluster.wait_for(ask, timeout, what)

    def run_orders(self, namespace: str, folder: Path, **pod: Any) -> list[Container]:
        """The pods of the example, with labels and annotations of their own, under Pod Security "restricted"."""
        shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
        manifest = yaml.safe_load((EXAMPLE / "deployment.yaml").read_text())
        name = pod.get("name", "orders")
        labels = {"app": name}
        manifest["metadata"] |= {"name": name, "namespace": namespace, "labels": labels}
        manifest["spec"]["replicas"] = pod.get("replicas", 1)
        manifest["spec"]["selector"]["matchLabels"] = labels
        manifest["spec"]["template"]["metadata"] = {
            "labels": labels,
            "annotations": pod.get("annotations", {}),
        }
        self.cluster.deploy([manifest])
        kubelet = Kubelet(self.cluster, path=[BIN], cwd=folder)
        pods = self.cluster.wait_pods(namespace, f"app={name}", count=pod.get("replicas", 1))
        running = [kubelet.run(item) for item in pods]
        for container in running:
            container.wait_ready()
        return running


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart as users get it: from a copy of the committed files, so that a checkout stays as it is."""
    folder = tmp_path_factory.mktemp("charts")
    copy = shutil.copytree(charts.STACK, folder / "flowgauge-stack")
    charts.complete(copy, tools.crds(), charts.OPERATOR)
    return charts.package(copy, folder / "dist")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(crds=False) as running:
        yield running


@pytest.fixture(scope="module")
def stack(cluster: Cluster, package: Path) -> Stack:
    release = chart.install(
        cluster,
        package,
        release=NAME,
        namespace=NAMESPACE,
        labels=RESTRICTED,
        overrides=QUICK,
        run=(),
        programs=PROGRAMS,
    )
    kubelet = Kubelet(cluster, path=[BIN], programs=PROGRAMS)

    def run(part: str, **options: Any) -> Container:
        (pod,) = cluster.wait_pods(NAMESPACE, f"app.kubernetes.io/name={part}")
        container = kubelet.run(pod, **options)
        container.wait_ready(60)
        return container

    parts = {"prometheus-operator": run("prometheus-operator")}
    operated = Operated(cluster, namespace=NAMESPACE, name=NAME)
    operated.start()
    cluster.prometheus_url = f"http://{operated.prometheus.address}:9090"
    cluster.alertmanager_url = f"http://{operated.alertmanager.address}:9093"
    parts |= {part: run(part) for part in ("pushgateway", "kube-state-metrics")}
    # A rig has no DNS: the name of the Service that prometheus-operator makes.
    hosts = {"prometheus-operated": operated.prometheus.address}
    parts["flowgauge"] = run("flowgauge-operator", hosts=hosts)
    return Stack(cluster, release, kubelet, operated, parts)


def test_every_pod_is_admitted_under_restricted_pod_security(stack):
    names = {pod["metadata"]["name"] for pod in stack.cluster.pods(NAMESPACE)}
    privileged = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root", "namespace": NAMESPACE},
        "spec": {"containers": [{"name": "root", "image": "root"}]},
    }

    def all_ready():
        kinds = ("deployments,statefulsets", f"--namespace={NAMESPACE}")
        found = stack.cluster.get(*kinds)["items"]
        ready = (w["status"]["readyReplicas"] == w["spec"]["replicas"] for w in found)
        return len(found) == 7 and all(ready) and found

    for workload in stack.wait(all_ready, "seven workloads to be ready"):
        assert any(name.startswith(workload["metadata"]["name"]) for name in names)
    with pytest.raises(KubectlError, match="violates PodSecurity"):
        stack.cluster.apply([privileged])


def test_the_release_fits_into_its_secret_many_times(stack):
    (secret,) = stack.cluster.get("secrets", f"--namespace={NAMESPACE}", "--selector=owner=helm")[
        "items"
    ]

    # The API server takes 1 MiB.
    assert len(secret["data"]["release"]) * 3 / 4 < 350_000


def test_the_definitions_are_those_of_prometheus_operator(stack):
    found = stack.cluster.get("crd")["items"]
    names = {
        crd["metadata"]["name"]
        for crd in found
        if "monitoring.coreos.com" in crd["metadata"]["name"]
    }

    assert names == {
        f"{file.stem.partition('_')[2]}.monitoring.coreos.com" for file in tools.crds().iterdir()
    }
    explained = stack.cluster.kubectl("explain", "servicemonitor.spec.endpoints.port")
    assert "Service port which this endpoint refers to" in " ".join(explained.split())


def test_prometheus_operator_may_do_what_it_has_to(stack):
    def states(kind):
        found = stack.cluster.get(kind, NAME, f"--namespace={NAMESPACE}")["status"]
        return {item["type"]: item["status"] for item in found["conditions"]}

    for kind in ("prometheus", "alertmanager"):
        stack.wait(
            lambda k=kind: states(k) == {"Reconciled": "True", "Available": "True"},
            lambda k=kind: f"{k} to be reconciled and available; it is {states(k)}",
        )
    log = stack.parts["prometheus-operator"].log.read_text()
    assert "forbidden" not in log.lower()


def test_prometheus_scrapes_the_parts_of_the_stack(stack):
    # What has no process here is down: Grafana, and the reloaders, which run beside the pods.
    up = stack.wait(
        lambda: (
            (found := stack.series("up == 1")) and len({s["service"] for s in found}) >= 6 and found
        ),
        "six services up",
    )

    assert {(s["job"], s["endpoint"]) for s in up} >= {
        (f"{NAME}-prometheus", "web"),
        (f"{NAME}-alertmanager", "web"),
        (f"{NAME}-prometheus-operator", "http"),
        (f"{NAME}-pushgateway", "http"),
        (f"{NAME}-kube-state-metrics", "http"),
        (NAME, "http"),
    }


def test_promtool_and_amtool_accept_what_results(stack):
    folder = stack.cluster.run_folder / f"operated-{NAMESPACE}-{NAME}"
    checks = (
        ("promtool", "check", "config", folder / "prometheus/prometheus.env.yaml"),
        ("amtool", "check-config", folder / "alertmanager/alertmanager.env.yaml"),
    )

    for tool, *arguments in checks:
        done = subprocess.run(
            [tools.path(tool), *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "SUCCESS" in done.stdout


def test_rules_of_the_stack_are_loaded_and_evaluate(stack):
    def evaluated():
        group = next(
            g for g in stack.cluster.prometheus_get("rules")["groups"] if g["name"] == NAME
        )
        return all(rule["health"] != "unknown" for rule in group["rules"]) and group

    own = stack.wait(evaluated, "the rules to be evaluated")
    assert [rule["lastError"] for rule in own["rules"] if rule["health"] != "ok"] == []
    stack.wait(lambda: stack.alert("Watchdog"), "the alert that always fires")


def test_a_workflow_is_ready_and_pages_through_the_stacks_own_objects(stack, tmp_path):
    cluster = stack.cluster
    cluster.create_namespace("shop", RESTRICTED)
    stack.run_orders("shop", tmp_path, replicas=2)
    workflow = yaml.safe_load((EXAMPLE / "workflow-demo.yaml").read_text())
    always = {"expr": "$count(target.up) > 0", "summary": "x", "description": "x"}
    workflow["spec"]["alerts"]["extra"] = [
        {"name": "AlwaysCritical", "severity": "critical", **always},
        {"name": "AlwaysWarning", "severity": "warning", **always},
    ]
    cluster.apply([workflow])

    def ready():
        status = cluster.get("mwf", "orders", "--namespace=shop").get("status", {})
        states = {item["type"]: item["status"] for item in status.get("conditions", ())}
        return states.get("Ready") == "True" and status["targets"] == {"up": 2, "total": 2}

    stack.wait(ready, "the workflow to be ready", 90)
    page = stack.wait(lambda: stack.alert("AlwaysCritical"), "the page")
    assert page["labels"]["monitored_workflow"] == "orders"
    assert [receiver["name"] for receiver in page["receivers"]] == ["team"]

    def silenced():
        warning = stack.alert("AlwaysWarning")
        return warning and warning["status"]["inhibitedBy"]

    stack.wait(silenced, "the warning to be silenced by the critical alert")


def test_annotated_pods_are_scraped_once(stack, tmp_path):
    stack.cluster.create_namespace("plain")
    annotated = {"prometheus.io/scrape": "true", "prometheus.io/port": "9090"}
    for name, more in (
        ("excluded", {}),
        ("discovered", {"flowgauge.dev/workflow": "discovered"}),
        ("not-asked-for", {"prometheus.io/scrape": "false"}),
    ):
        stack.run_orders("plain", tmp_path, name=name, annotations=annotated | more)
    # Last: who knows this one knows the others.
    (pod,) = stack.run_orders("plain", tmp_path, name="annotated", annotations=annotated)

    stack.wait_series(f'workflow_runs_total{{pod="{pod.name}"}}')
    targets = stack.cluster.prometheus_get("targets", state="active")["activeTargets"]
    pool = f"podMonitor/{NAMESPACE}/{NAME}-annotated/0"
    assert [target["scrapeUrl"] for target in targets if target["scrapePool"] == pool] == [
        f"http://{pod.address}:9090/metrics"
    ]
    (target,) = [target for target in targets if target["scrapePool"] == pool]
    assert target["labels"]["namespace"] == "plain"
    assert target["health"] == "up"


def test_an_annotated_port_path_and_scheme_win(stack):
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "odd",
            "namespace": "plain",
            "annotations": {
                "prometheus.io/scrape": "true",
                "prometheus.io/port": "8443",
                "prometheus.io/path": "/odd/metrics",
                "prometheus.io/scheme": "https",
            },
        },
        "spec": {
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "one",
                    "image": "x",
                    "ports": [{"containerPort": 1}, {"containerPort": 2}],
                },
                {"name": "two", "image": "x", "ports": [{"containerPort": 3}]},
            ],
        },
    }
    stack.cluster.deploy([pod])
    address = stack.wait(
        lambda: stack.cluster.get("pod", "odd", "--namespace=plain")["status"].get("podIP"),
        "address",
    )

    def urls():
        targets = stack.cluster.prometheus_get("targets", state="active")["activeTargets"]
        return [t["scrapeUrl"] for t in targets if t["labels"].get("pod") == "odd"]

    assert stack.wait(urls, "a target") == [f"https://{address}:8443/odd/metrics"]


def test_a_workflow_that_asks_for_annotations_is_scraped_under_its_name(stack):
    workflow = yaml.safe_load((EXAMPLE / "workflow-demo.yaml").read_text())
    workflow["metadata"] |= {"name": "annotations", "namespace": "plain"}
    workflow["spec"] |= {
        "selector": {"matchLabels": {"app": "not-asked-for"}},
        "scrape": {"mode": "Annotations", "port": 9090, "interval": "1s"},
        "slos": [],
    }
    stack.cluster.apply([workflow])

    found = stack.wait_series('workflow_runs_total{monitored_workflow="annotations"}')

    assert {sample["namespace"] for sample in found} == {"plain"}


def test_what_is_pushed_keeps_its_labels(stack):
    url = stack.parts["pushgateway"].url("http", "/metrics/job/nightly/namespace/batch")
    fetch.send(url, b"nightly_done 1\n", method="PUT", form="text/plain")

    (sample,) = stack.wait_series("nightly_done")

    assert (sample["job"], sample["namespace"]) == ("nightly", "batch")


def test_cronjobs_of_all_namespaces_are_known(stack):
    container = {"name": "nightly", "image": "x"}
    pod = {"restartPolicy": "Never", "containers": [container]}
    cronjob = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "nightly", "namespace": "plain"},
        "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {"spec": pod}}}},
    }
    stack.cluster.deploy([cronjob])

    (sample,) = stack.wait_series("kube_cronjob_info")

    assert (sample["namespace"], sample["cronjob"]) == ("plain", "nightly")


def test_grafanas_account_reads_dashboards_everywhere_and_no_secret(stack):
    account = f"--as=system:serviceaccount:{NAMESPACE}:{NAME}-grafana"

    def may(verb, kind, namespace):
        try:
            return (
                stack.cluster.kubectl(
                    "auth", "can-i", verb, kind, account, f"--namespace={namespace}"
                ).strip()
                == "yes"
            )
        except KubectlError:
            return False

    assert may("list", "configmaps", "shop")
    assert not may("get", "secrets", NAMESPACE)
    assert not may("create", "configmaps", "shop")


def test_an_upgrade_keeps_the_password_and_brings_the_definitions_up_to_date(stack, package):
    cluster = stack.cluster
    before = password(cluster)
    # As an older version might have it.
    cluster.kubectl(
        "patch",
        "crd",
        "servicemonitors.monitoring.coreos.com",
        "--type=json",
        '--patch=[{"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/sampleLimit"}]',
    )

    more = {
        "grafana": {"env": {"GF_LOG_LEVEL": "warn"}, "admin": {"user": "other"}},
        "prometheus": {**QUICK["prometheus"], "thanos": {"enabled": True}},
    }
    stack.release.upgrade(package, overrides=QUICK | more)

    # Grafana has both in its database by now.
    assert password(cluster) == before
    assert len(before) == 32
    assert admin(cluster, "admin-user") == "admin"
    definition = cluster.get(
        "crd", "servicemonitors.monitoring.coreos.com", "--show-managed-fields"
    )
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert "sampleLimit" in schema["properties"]["spec"]["properties"]
    managers = {entry["manager"] for entry in definition["metadata"]["managedFields"]}
    assert "flowgauge-stack" not in managers
    jobs = cluster.get("jobs", f"--namespace={NAMESPACE}")["items"]
    assert jobs == []

    def has_sidecar():
        pod = cluster.get("pod", f"prometheus-{NAME}-0", f"--namespace={NAMESPACE}")
        return "thanos-sidecar" in [item["name"] for item in pod["spec"]["containers"]]

    # Pod Security admits it, too.
    stack.wait(has_sidecar, "Thanos' sidecar")


def test_uninstalled_it_leaves_definitions_and_grafanas_data_only(stack, package):
    cluster = stack.cluster
    before = password(cluster)

    stack.release.uninstall()

    def named(kinds, selector):
        found = cluster.get(kinds, f"--namespace={NAMESPACE}", f"--selector={selector}")
        return {(item["kind"], item["metadata"]["name"]) for item in found["items"]}

    grafanas = {
        ("Secret", f"{NAME}-grafana-admin"),
        ("PersistentVolumeClaim", f"{NAME}-grafana"),
    }
    # Those of StatefulSets stay by themselves.
    others = {
        ("PersistentVolumeClaim", f"prometheus-{NAME}-db-prometheus-{NAME}-0"),
        ("PersistentVolumeClaim", f"alertmanager-{NAME}-db-alertmanager-{NAME}-0"),
    }
    kinds = "deployments,services,configmaps,secrets,pvc"
    assert named(kinds, f"app.kubernetes.io/instance={NAME}") == grafanas | others
    # The commands that delete them take no more than they say.
    page = (charts.STACK / "README.md").read_text()
    commands = re.findall(
        r"^kubectl -n monitoring delete (\S+) --selector (\S+)$", page, re.MULTILINE
    )
    assert [named(*command) for command in commands] == [grafanas, others]
    assert cluster.get("crd", "prometheuses.monitoring.coreos.com")
    assert cluster.get("mwf", "orders", "--namespace=shop")

    stack.release.upgrade(package, overrides=QUICK)

    assert password(cluster) == before


def password(cluster: Cluster) -> str:
    return admin(cluster, "admin-password")


def admin(cluster: Cluster, key: str) -> str:
    secret = cluster.get("secret", f"{NAME}-grafana-admin", f"--namespace={NAMESPACE}")
    return base64.b64decode(secret["data"][key]).decode()
