"""Discovery by label, not at all, in one namespace, and without the permission for it: an operator of its own for each."""

from __future__ import annotations

import pytest
from annotated_pods import Annotated, is_marked

from rig.kubectl import KubectlError

pytestmark = pytest.mark.cluster


def test_the_label_mode_sees_labelled_pods_only(operator, namespace, in_place_of):
    values = {"discovery": {"mode": "label"}}
    with in_place_of(operator, "labelled", **values) as running:
        annotated = Annotated(running, namespace)
        annotated.pod("a", workflow="unseen")
        annotated.pod("b", workflow="orders", labels={"flowgauge.dev/monitor": "true"})

        annotated.wait(is_marked, "a discovered workflow")

        assert annotated.found("unseen") is None
        assert running.metric("flowgauge_annotated_pods") == 1


def test_off_looks_at_no_pods_and_what_may_not_look_says_so(operator, namespace, in_place_of):
    values = {"discovery": {"mode": "off"}, "namespaces": [namespace]}
    with in_place_of(operator, "idle", **values) as running:
        annotated = Annotated(running, namespace)
        annotated.pod("a", workflow="unseen")
        annotated.by_hand()
        running.wait_condition("Provisioned", "True", namespace)

        account = next(m for m in running.release.manifests if m["kind"] == "ServiceAccount")
        who = f"{account['metadata']['namespace']}:{account['metadata']['name']}"
        for verb, resource in (("list", "pods"), ("create", "mwf"), ("delete", "mwf")):
            with pytest.raises(KubectlError):
                annotated.cluster.kubectl(
                    "auth",
                    "can-i",
                    verb,
                    resource,
                    f"--as=system:serviceaccount:{who}",
                    f"--namespace={namespace}",
                )
        assert annotated.found("unseen") is None
        requests = annotated.cluster.audit(f"system:serviceaccount:{who}")
        assert not [r for r in requests if r.resource == "pods"]


def test_a_missing_permission_is_told_and_stops_nothing_else(operator, namespace, in_place_of):
    values = {"discovery": {"mode": "off"}, "extraArgs": ["--discovery=annotation"]}
    with in_place_of(operator, "unallowed", namespaces=[namespace], **values) as running:
        annotated = Annotated(running, namespace)
        annotated.pod("a", workflow="unseen")
        annotated.by_hand()

        running.wait_condition("Provisioned", "True", namespace)

        (container,) = running.release.containers
        told = f"the operator may not list pods in namespace {namespace} (RBAC)"
        running.wait(lambda: told in container.log.read_text(), told)
        assert annotated.found("unseen") is None


def test_one_namespace_that_is_served_has_its_pods_found(operator, namespace, in_place_of):
    with in_place_of(operator, "one", namespaces=[namespace]) as running:
        annotated = Annotated(running, namespace)
        annotated.pod("a", workflow="orders")

        annotated.wait(lambda w: is_marked(w) and w.get("status"), "a discovered workflow")
