"""The chart's life on a real API server: installed, tested, upgraded and uninstalled by helm, its operator running."""

from __future__ import annotations

import json
import shutil
import time

import pytest
import yaml
from chartcases import CHART, QUICK, ROOT

from rig.chart import ChartError
from rig.kubectl import KubectlError

pytestmark = pytest.mark.cluster

EXAMPLE = ROOT / "examples/orders/workflow.yaml"
OURS = ("monitoredworkflows.flowgauge.dev", "workflowprofiles.flowgauge.dev")
TAKE = ["--take-ownership", "--force-conflicts"]


def apply_workflow(cluster, space, name="orders"):
    body = yaml.safe_load(EXAMPLE.read_text())
    body["metadata"] = {"name": name, "namespace": space}
    cluster.apply([body])


def wait_ready(cluster, space, name="orders"):
    def ask():
        status = cluster.get("mwf", name, f"--namespace={space}").get("status", {})
        return any(
            each["type"] == "Ready" and each["status"] == "True"
            for each in status.get("conditions", ())
        )

    cluster.wait_for(ask, 40, f"{space}/{name} to be Ready")


def everything(cluster, space):
    """What is in a namespace of users, by kind and name, with its version."""
    kinds = "mwf,services,configmaps,servicemonitors,prometheusrules"
    found = cluster.get(kinds, f"--namespace={space}")["items"]
    return {
        (item["kind"], item["metadata"]["name"]): (
            item["metadata"]["uid"],
            item["metadata"]["resourceVersion"],
        )
        for item in found
        if item["metadata"]["name"] != "kube-root-ca.crt"
    }


def settled(cluster, space):
    """The same, when a second has changed nothing of it."""

    def ask():
        before = everything(cluster, space)
        time.sleep(1)
        return everything(cluster, space) == before and before

    return cluster.wait_for(ask, 30, f"nothing to change in {space}")


def kinds_of(release):
    return {item["kind"] for item in release.manifests}


def definition(cluster):
    return cluster.get("crd", OURS[0])


def fields(crd):
    (version,) = crd["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]


def older(folder, *, with_folder):
    """The chart as a version before had it: its definition lacks a field; in its templates, or in a folder `crds`."""
    made = folder / "older"
    shutil.copytree(CHART, made)
    metadata = yaml.safe_load((made / "Chart.yaml").read_text())
    (made / "Chart.yaml").write_text(
        yaml.safe_dump({**metadata, "version": "0.0.9", "appVersion": "0.0.9"})
    )
    file = made / "files/crds/flowgauge.dev_monitoredworkflows.yaml"
    crd = yaml.load(file.read_text(), yaml.CSafeLoader)
    del fields(crd)["maintenance"]
    file.write_text(json.dumps(crd))
    if with_folder:
        shutil.move(made / "files/crds", made / "crds")
        (made / "templates/crds.yaml").unlink()
    return made


def test_a_release_lives_as_its_user_expects(install, own_cluster, namespace, shop):
    own_cluster.kubectl(
        "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"
    )
    with pytest.raises(KubectlError, match="violates PodSecurity"):
        own_cluster.kubectl("run", "root", "--image=x", f"--namespace={namespace}")

    release = install()

    assert len(release.containers) == 2
    apply_workflow(own_cluster, shop)
    wait_ready(own_cluster, shop)

    mark = own_cluster.audit_mark()
    assert "Phase:          Succeeded" in release.test()
    asked = {
        (request.verb, request.resource, request.code)
        for request in own_cluster.audit(
            f"system:serviceaccount:{namespace}:flowgauge-test", since=mark
        )
    }
    assert {(verb, resource) for verb, resource, _ in asked} == {
        ("create", "monitoredworkflows"),
        ("get", "monitoredworkflows"),
        ("delete", "monitoredworkflows"),
    }
    assert {code for *_, code in asked} == {200, 201, 404}
    # The hook and what it needs went with it.
    assert "flowgauge-test" not in own_cluster.kubectl(
        "get", "pods,serviceaccounts,roles,rolebindings,mwf", "-n", namespace, "-o", "name"
    )

    # Pods that are new and have nothing to do write nothing.
    before = settled(own_cluster, shop)
    assert ("MonitoredWorkflow", "orders") in before
    assert len(before) >= 4
    first = release.containers
    release.upgrade(overrides={**QUICK, "podAnnotations": {"rolled": "yes"}})
    release.wait_ready()
    own_cluster.wait_for(lambda: not any(each.is_running for each in first), 30, "the rollout")
    apply_workflow(own_cluster, shop, "later")
    wait_ready(own_cluster, shop, "later")
    after = everything(own_cluster, shop)
    changed = {key for key in before if after.get(key) != before[key]}
    # What the namespace shares may be written for the new workflow; nothing of the old one is.
    assert {key for key in changed if not key[1].startswith("flowgauge-")} == set()

    # What is switched off goes.
    had = kinds_of(release)
    off = {"enabled": False}
    release.upgrade(
        overrides={
            **QUICK,
            "replicas": 1,
            "networkPolicy": off,
            "serviceMonitor": off,
            "prometheusRule": off,
            "rbac": {"aggregate": False},
            "grafana": {"mode": "None"},
        }
    )
    gone = {"NetworkPolicy", "PodDisruptionBudget", "ServiceMonitor", "PrometheusRule", "ConfigMap"}
    assert gone <= had
    assert kinds_of(release) & gone == set()
    left = own_cluster.kubectl(
        "get",
        "networkpolicies,poddisruptionbudgets,servicemonitors,prometheusrules,roles,clusterroles",
        f"--namespace={namespace}",
        "--selector=app.kubernetes.io/instance=flowgauge",
        "--output=name",
    ).split()
    assert left == [
        f"clusterrole.rbac.authorization.k8s.io/{namespace}:flowgauge",
        f"clusterrole.rbac.authorization.k8s.io/{namespace}:flowgauge-profiles",
    ]

    # Users' objects outlive the release, and the next one goes on with them.
    kept = everything(own_cluster, shop)
    assert "kept due to the resource policy" in release.uninstall()
    assert everything(own_cluster, shop).keys() == kept.keys()
    assert own_cluster.pods(namespace) == []
    with pytest.raises(ChartError, match="invalid ownership metadata|cannot be imported"):
        # Its own label of helm stays on the definition: another release has to say that it takes it over.
        install(release="another", run=[])
    again = install(release="another", flags=TAKE, crds={"keep": False})
    apply_workflow(own_cluster, shop, "third")
    wait_ready(own_cluster, shop, "third")
    assert {key: uid for key, (uid, _) in everything(own_cluster, shop).items() if key in kept} == {
        key: uid for key, (uid, _) in kept.items()
    }

    # And everything goes with one that is told so.
    again.uninstall()
    own_cluster.wait_for(
        lambda: not any(name in own_cluster.kubectl("get", "crd", "-o", "name") for name in OURS),
        30,
        "the definitions to go",
    )


def test_helm_test_fails_where_the_operator_does_not_work(install, own_cluster, namespace):
    release = install(replicas=1)
    release.test()

    binding = own_cluster.get("clusterrolebinding", f"{namespace}:flowgauge")
    own_cluster.kubectl("delete", "clusterrolebinding", f"{namespace}:flowgauge")
    with pytest.raises(ChartError) as without_rbac:
        release.test()
    assert "FAILED" in str(without_rbac.value)
    assert "no operator has seen it" in str(without_rbac.value)

    for key in ("resourceVersion", "uid", "managedFields"):
        binding["metadata"].pop(key, None)
    own_cluster.apply([binding])
    release.stop()
    with pytest.raises(ChartError, match="no operator has seen it"):
        release.test()
    own_cluster.kubectl("delete", "crd", *OURS)
    with pytest.raises(ChartError, match="Is the CRD installed"):
        release.test()


def test_an_upgrade_brings_the_definitions_and_touches_no_workflow(
    install, own_cluster, shop, tmp_path
):
    release = install(older(tmp_path, with_folder=True), replicas=1)
    assert "maintenance" not in fields(definition(own_cluster))
    apply_workflow(own_cluster, shop)
    wait_ready(own_cluster, shop)
    before = settled(own_cluster, shop)

    new = {**QUICK, "replicas": 1}
    with pytest.raises(ChartError, match="invalid ownership metadata"):
        release.upgrade(CHART, overrides=new)
    release.upgrade(CHART, overrides=new, flags=TAKE)
    release.wait_ready()

    crd = definition(own_cluster)
    assert "maintenance" in fields(crd)
    assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    release.test()
    assert everything(own_cluster, shop) == before


def test_an_upgrade_from_a_chart_with_the_definitions_in_its_templates_needs_no_flag(
    install, own_cluster, tmp_path
):
    release = install(older(tmp_path, with_folder=False), run=[])
    uid = definition(own_cluster)["metadata"]["uid"]
    assert "maintenance" not in fields(definition(own_cluster))

    release.upgrade(CHART, overrides=QUICK)

    crd = definition(own_cluster)
    assert "maintenance" in fields(crd)
    assert crd["metadata"]["uid"] == uid
    assert crd["metadata"]["labels"]["helm.sh/chart"] != "flowgauge-0.0.9"


def test_definitions_of_kubectl_are_taken_over_or_left_alone(install, own_cluster, namespace):
    own_cluster.kubectl("apply", "--server-side", f"--filename={ROOT / 'crds'}")
    uid = definition(own_cluster)["metadata"]["uid"]
    with pytest.raises(ChartError, match="invalid ownership metadata"):
        install(run=[])

    alone = install(run=[], crds={"enabled": False})
    assert "annotations" not in definition(own_cluster)["metadata"] or (
        "meta.helm.sh/release-name" not in definition(own_cluster)["metadata"]["annotations"]
    )
    alone.upgrade(overrides=QUICK, flags=TAKE)

    crd = definition(own_cluster)
    assert crd["metadata"]["uid"] == uid
    assert crd["metadata"]["annotations"]["meta.helm.sh/release-namespace"] == namespace
    # No longer wanted of helm, and still kept.
    alone.upgrade(overrides={**QUICK, "crds": {"enabled": False}})
    assert definition(own_cluster)["metadata"]["uid"] == uid


def test_two_releases_of_one_name_serve_their_own_namespaces(spaces, install, own_cluster, shop):
    second, bakery = spaces("second"), spaces("bakery")
    own_cluster.create_namespace(bakery)
    one = install(replicas=1, namespaces=[shop])
    other = install(
        space=second,
        replicas=2,
        namespaces=[bakery],
        crds={"enabled": False},
    )
    for space in (shop, bakery):
        apply_workflow(own_cluster, space)
        wait_ready(own_cluster, space)

    # Neither namespace of a release is served: the test goes where the operator is.
    mark = own_cluster.audit_mark()
    one.test()
    other.test()
    for release, served in ((one, shop), (other, bakery)):
        account = f"system:serviceaccount:{release.namespace}:flowgauge"
        written = {
            request.namespace
            for request in own_cluster.audit(account, since=mark)
            if request.is_write and request.resource not in ("leases", "selfsubjectaccessreviews")
        }
        assert written == {served}
    other.uninstall()
    wait_ready(own_cluster, shop)
    assert own_cluster.get("clusterrole", f"{one.namespace}:flowgauge-profiles")
