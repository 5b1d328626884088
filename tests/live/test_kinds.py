"""Our own CRD may be removed and installed again, and namespaces may go while we work."""

from __future__ import annotations

import secrets
import time

import pytest

pytestmark = pytest.mark.cluster

CRD = "crd/monitoredworkflows.flowgauge.dev"


def test_the_crd_is_removed_and_installed_again(looking, namespace):
    crd = looking.cluster.get(CRD)
    looking.cluster.apply([looking.workflow(namespace)])
    looking.wait_condition("Ready", "True", namespace)

    looking.cluster.kubectl("delete", CRD)
    try:
        looking.wait(
            lambda: looking.metric("flowgauge_workflows") == 0, "the operator to forget", 40
        )
    finally:
        crd["metadata"] = {
            "name": crd["metadata"]["name"],
            "labels": crd["metadata"].get("labels", {}),
        }
        crd.pop("status", None)
        looking.cluster.apply([crd])
        looking.cluster.wait_established(CRD)
    looking.cluster.apply([looking.workflow(namespace)])

    looking.wait_condition("Ready", "True", namespace, timeout=60)
    assert looking.release.containers[0].is_running


def test_a_namespace_that_goes_away_leaves_no_endless_errors(looking):
    name = f"gone-{secrets.token_hex(3)}"
    looking.cluster.create_namespace(name)
    looking.cluster.apply([looking.workflow(name, f"w{i}") for i in range(10)])
    looking.wait_condition("Ready", "True", name, "w9")

    looking.wait_quiet()
    errors = looking.metric('flowgauge_reconcile_total{result="error"}')

    looking.cluster.delete_namespace(name, wait=True)

    looking.wait_quiet()
    mark, turns = looking.cluster.audit_mark(), looking.metric("flowgauge_reconcile_total")
    # A turn that fails comes again after a second, and after two more.
    time.sleep(4)
    assert looking.metric('flowgauge_reconcile_total{result="error"}') == errors
    assert looking.metric("flowgauge_reconcile_total") == turns
    assert looking.writes_since(mark, name) == []


def test_deleting_many_workflows_makes_none_of_their_children_again(looking, namespace):
    looking.cluster.apply([looking.workflow(namespace, f"w{i}") for i in range(20)])
    looking.wait_condition("Ready", "True", namespace, "w19")
    looking.wait_quiet()
    mark = looking.cluster.audit_mark()

    looking.cluster.kubectl("delete", "mwf", "--all", f"--namespace={namespace}")
    selector = "--selector=app.kubernetes.io/managed-by=flowgauge"
    kinds = "service,configmap,prometheusrule,servicemonitor"
    looking.wait(
        lambda: not looking.cluster.get(kinds, f"--namespace={namespace}", selector)["items"],
        "every child to go",
        60,
    )

    writes = looking.writes_since(mark, namespace)
    assert [request for request in writes if request.verb != "delete"] == []
