"""An operator that serves some namespaces only, with a Role in each of them and no ClusterRole."""

from __future__ import annotations

import json
import secrets

import pytest

from rig.kubectl import KubectlError

pytestmark = pytest.mark.cluster


@pytest.fixture
def elsewhere(operator):
    name = f"else-{secrets.token_hex(3)}"
    operator.cluster.create_namespace(name)
    yield name
    operator.cluster.delete_namespace(name)


@pytest.fixture
def scoped(operator, namespace, in_place_of):
    with in_place_of(operator, f"scoped-{secrets.token_hex(2)}", namespaces=[namespace]) as running:
        yield running


def test_it_serves_its_namespace_and_may_do_nothing_elsewhere(scoped, namespace, elsewhere):
    scoped.cluster.apply([scoped.workflow(elsewhere), scoped.workflow(namespace)])

    scoped.wait_condition("Ready", "True", namespace)

    account = next(m for m in scoped.release.manifests if m["kind"] == "ServiceAccount")["metadata"]
    user = f"system:serviceaccount:{account['namespace']}:{account['name']}"
    assert scoped.status(elsewhere) == {}
    for verb, resource in (
        ("create", "services"),
        ("list", "monitoredworkflows"),
        ("get", "secrets"),
    ):
        with pytest.raises(KubectlError):
            scoped.cluster.kubectl(
                "auth", "can-i", verb, resource, f"--as={user}", f"--namespace={elsewhere}"
            )


def test_it_may_read_no_secret_anywhere(operator):
    account = next(m for m in operator.release.manifests if m["kind"] == "ServiceAccount")[
        "metadata"
    ]
    user = f"system:serviceaccount:{account['namespace']}:{account['name']}"
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": {"verb": "get", "resource": "secrets"}},
    }

    answer = json.loads(
        operator.cluster.kubectl("create", "-f", "-", "-o", "json", stdin=json.dumps(review))
    )

    assert answer["status"]["allowed"] is False
