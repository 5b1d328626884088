"""The chart as one file, applied by kubectl alone, and changed by kustomize."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
import yaml
from chartcases import ROOT

import manifests
from rig.kubelet import Kubelet

pytestmark = pytest.mark.cluster

SPACE = "flowgauge-system"
KUSTOMIZE = ROOT / "examples/kustomize"


@pytest.fixture
def file(own_cluster, definitions, tmp_path, helm):
    """What `make manifests` writes; what was applied of it is gone afterwards, its processes first."""
    made = tmp_path / "install.yaml"
    made.write_text(yaml.safe_dump_all(manifests.objects(), sort_keys=False))
    yield made
    own_cluster.delete_namespace(SPACE, wait=True)
    own_cluster.kubectl("delete", f"--filename={made}", "--ignore-not-found", "--wait=true")


def test_one_file_installs_an_operator_that_works(own_cluster, namespace, file):
    own_cluster.start_scheduler()
    own_cluster.kubectl("delete", "namespace", SPACE, "--ignore-not-found", "--wait=true")
    for _ in range(2):
        # The second time nothing is new, and nothing is in the way.
        own_cluster.kubectl("apply", "--server-side", f"--filename={file}")
    space = own_cluster.get("namespace", SPACE)["metadata"]
    assert space["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"

    kubelet = Kubelet(own_cluster, path=[ROOT / ".venv-operator/bin"])
    selector = "app.kubernetes.io/name=flowgauge-operator"
    for pod in own_cluster.wait_pods(SPACE, selector, count=2):
        kubelet.run(pod).wait_ready()
    body = yaml.safe_load((ROOT / "examples/orders/workflow.yaml").read_text())
    body["metadata"]["namespace"] = namespace
    own_cluster.apply([body])

    def is_ready():
        return "True" in own_cluster.kubectl(
            "get", "mwf", "orders", "-n", namespace,
            "--output=jsonpath={.status.conditions[?(@.type=='Ready')].status}",
        )  # fmt: skip

    own_cluster.wait_for(is_ready, 40, "the workflow to be Ready")


def test_kustomize_changes_it(own_cluster, file, tmp_path):
    folder = tmp_path / "kustomize"
    shutil.copytree(KUSTOMIZE, folder)
    shutil.copy(file, folder)

    made = list(yaml.safe_load_all(own_cluster.kubectl("kustomize", str(folder))))

    (deployment,) = (item for item in made if item["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert deployment["spec"]["replicas"] == 3
    version = yaml.safe_load((ROOT / "charts/flowgauge/Chart.yaml").read_text())["version"]
    assert container["image"] == f"registry.example.com/flowgauge:{version}"
    assert "--rule-labels=release=kube-prometheus-stack" in container["args"]
    (policy,) = (item for item in made if item["kind"] == "NetworkPolicy")
    assert {"port": 9090, "protocol": "TCP"} in policy["spec"]["egress"][-1]["ports"]
    assert len(made) == len(list(manifests.objects()))
    own_cluster.create_namespace(SPACE)
    own_cluster.kubectl("apply", "--server-side", "--dry-run=server", f"--kustomize={folder}")


def test_the_command_takes_values_and_says_what_is_wrong_with_them(helm, tmp_path):
    values, written = tmp_path / "values.yaml", tmp_path / "install.yaml"

    def run(text):
        values.write_text(text)
        return subprocess.run(
            [sys.executable, ROOT / "hack/manifests.py", "--values", values, "--output", written],
            capture_output=True,
            text=True,
            check=False,
        )

    refused = run("replicas: two")

    assert refused.returncode == 1
    assert "at '/replicas': got string, want integer" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not written.exists()
    assert run("replicas: 3\nserviceMonitor: {force: true}").returncode == 0
    made = list(yaml.safe_load_all(written.read_text()))
    (deployment,) = (item for item in made if item["kind"] == "Deployment")
    assert deployment["spec"]["replicas"] == 3
    assert "ServiceMonitor" in {item["kind"] for item in made}
    # Nothing says that helm takes care of it.
    assert "Helm" not in written.read_text()
