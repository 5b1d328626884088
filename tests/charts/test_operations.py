"""The procedures of docs/operations.md on a real API server: the commands are those of the page, as their reader types them."""

from __future__ import annotations

import os
import re
import subprocess

import pytest
import yaml
from chartcases import CHART, QUICK, ROOT
from test_release import (
    OURS,
    apply_workflow,
    definition,
    everything,
    fields,
    older,
    wait_ready,
)

from rig import tools

pytestmark = pytest.mark.cluster

PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
SYSTEM = "flowgauge-system"
PROFILE = {
    "apiVersion": "flowgauge.dev/v1alpha1",
    "kind": "WorkflowProfile",
    "metadata": {"name": "mine"},
    "spec": {
        "title": "Mine",
        "description": "What a cluster brings itself.",
        "scrape": {"port": 9123},
        "families": [
            {"name": "mine_total", "role": "run.finished", "type": "counter", "help": "Runs."}
        ],
    },
}


def commands(section):
    """The blocks of a section that are to be typed."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    return re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def typed(own_cluster, tmp_path):
    """Run a block of the page as in a checkout, and return what it printed."""
    (tmp_path / "charts").symlink_to(CHART.parent)
    (tmp_path / "bin").mkdir()
    for name in ("helm", "kubectl"):
        (tmp_path / "bin" / name).symlink_to(tools.path(name))
    env = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "KUBECONFIG": str(own_cluster.kubeconfig),
        "KUBECACHEDIR": str(tmp_path / "cache"),
        **{f"HELM_{kind}_HOME": str(tmp_path / "helm") for kind in ("CACHE", "CONFIG", "DATA")},
    }

    def run(block):
        done = subprocess.run(
            ["bash", "-eu", "-o", "pipefail", "-c", block],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def use_everything(cluster, space):
    """A workflow of a profile of the cluster's own, one that was applied by client-side, and an annotated pod."""
    body = yaml.safe_load((ROOT / "examples/orders/workflow.yaml").read_text())
    body["metadata"] = {"name": "own", "namespace": space}
    body["spec"] |= {"profile": "mine", "slos": [], "alerts": {}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "a",
            "namespace": space,
            "annotations": {"flowgauge.dev/workflow": "found"},
        },
        "spec": {"containers": [{"name": "main", "image": "x"}]},
    }
    cluster.apply([PROFILE])
    cluster.apply([body], server_side=False)
    cluster.deploy([pod])
    for name in ("orders", "own", "found"):
        wait_ready(cluster, space, name)


def specs(cluster, space):
    found = cluster.get("mwf", f"--namespace={space}")["items"]
    return {item["metadata"]["name"]: item["spec"] for item in found}


def left(cluster, space):
    """What there is of ours in a namespace of users, by name."""
    kinds = "services,configmaps,servicemonitors,podmonitors,prometheusrules"
    selector = "--selector=app.kubernetes.io/managed-by=flowgauge"
    found = cluster.get(kinds, f"--namespace={space}", selector)["items"]
    return {item["metadata"]["name"] for item in found}


def has_definitions(cluster):
    return any(name in cluster.kubectl("get", "crd", "--output=name") for name in OURS)


def test_there_is_a_way_back_and_a_backup_and_an_end(install, own_cluster, shop, typed, tmp_path):
    upgrade, rollback = commands("Upgrades")
    backup, restore = commands("Backup and restore")
    uninstall, rest = commands("Uninstall")
    rest = f"set +e\n{rest}"  # of a kind that the cluster lacks, only kubectl complains

    # Back to the version before, and forth again.
    release = install(older(tmp_path, with_folder=False), space=SYSTEM, replicas=1)
    apply_workflow(own_cluster, shop)
    wait_ready(own_cluster, shop)
    typed(backup)
    assert yaml.safe_load((tmp_path / "values.yaml").read_text()) == {**QUICK, "replicas": 1}
    typed(upgrade)
    assert "maintenance" in fields(definition(own_cluster))
    before = everything(own_cluster, shop)
    typed(rollback)
    crd = definition(own_cluster)
    assert "maintenance" not in fields(crd)
    assert crd["metadata"]["labels"]["app.kubernetes.io/version"] == "0.0.9"
    typed(upgrade)
    release.follow()
    release.wait_ready()
    assert everything(own_cluster, shop) == before

    # All is lost, and comes back from three files.
    use_everything(own_cluster, shop)
    given = specs(own_cluster, shop)
    typed(backup)
    typed(restore.splitlines()[-1])  # over what is there
    assert specs(own_cluster, shop) == given
    typed(uninstall)
    assert not has_definitions(own_cluster)
    shared = {"flowgauge-shared", "flowgauge-pods", "flowgauge-dashboards"}
    own_cluster.wait_for(lambda: left(own_cluster, shop) == shared, 30, "what workflows own to go")
    typed(rest)
    assert left(own_cluster, shop) == set()
    typed(restore)
    release.follow()
    release.wait_ready()
    for name in given:
        wait_ready(own_cluster, shop, name)
    assert specs(own_cluster, shop) == given
    found = own_cluster.get("mwf", "found", f"--namespace={shop}")
    # The pod has made it, and not the file.
    assert found["metadata"]["labels"] == {"flowgauge.dev/discovered": "true"}
