"""The permissions that the chart gives are those that the operator uses: no more, no less, and it lives without the optional ones.

One operator does everything that it can do; the API server's audit log says what it asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
import yaml

from rig import audit

pytestmark = pytest.mark.cluster

NAME = "exact"
ROLE = f"flowgauge-system:{NAME}"
USER = f"system:serviceaccount:flowgauge-system:{NAME}"
NOTIFY = {"receiver": {"webhook": {"url": "http://hooks.ops:8080/"}}}
OWN = {"scheme": "https", "tls": {"insecureSkipVerify": True}}
# Everybody may ask these of itself: system:basic-user.
FOR_EVERYBODY = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"}
# An apply that creates is authorized as both, and audited as a patch.
CREATED = 201

Right = tuple[str, str, str]  # group, resource[/subresource], verb


def granted(manifests: Iterable[Mapping[str, Any]], account: str) -> dict[Right, str]:
    """What an account is given, each right with the role that gives it."""
    found = list(manifests)
    bound = {
        (item["roleRef"]["kind"], item["roleRef"]["name"])
        for item in found
        if item["kind"].endswith("RoleBinding")
        and any(s["name"] == account for s in item["subjects"])
    }
    return {
        (group, resource, verb): f"{role['kind']} {role['metadata']['name']}"
        for role in found
        if role["kind"] in ("Role", "ClusterRole")
        and (role["kind"], role["metadata"]["name"]) in bound
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def used(requests: Iterable[audit.Request]) -> Iterator[Right]:
    """What was asked for, and allowed."""
    for one in requests:
        if not one.resource or one.resource in FOR_EVERYBODY:
            continue
        resource = "/".join(filter(None, (one.resource, one.subresource)))
        yield (one.group, resource, one.verb)
        if (one.verb, one.code) == ("patch", CREATED):
            yield (one.group, resource, "create")


@pytest.fixture(scope="module")
def everything(operator, in_place_of) -> Iterator[Any]:
    """An operator with every right, two replicas, and every kind of object in the cluster."""
    flags = [
        "--discovery-interval=2",
        "--discovery-keep=2s",
        "--discovery-keep-intermittent=2s",
        "--resync=15",
    ]
    with (
        operator.cluster.grafana_kinds(),
        in_place_of(operator, NAME, replicas=2, extraArgs=flags) as running,
    ):
        yield running


def profile(name: str) -> dict[str, Any]:
    family = {
        "name": "app_runs_total",
        "role": "run.finished",
        "type": "counter",
        "help": "Runs that ended.",
        "labels": {"outcome": "result"},
        "outcomes": {"good": ["ok"]},
    }
    return {
        "apiVersion": "flowgauge.dev/v1alpha1",
        "kind": "WorkflowProfile",
        "metadata": {"name": name},
        "spec": {"title": "Exact", "description": "Runs.", "families": [family]},
    }


def pod(namespace: str) -> dict[str, Any]:
    container = {
        "name": "app",
        "image": "app",
        "ports": [{"name": "metrics", "containerPort": 8000}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "found-1",
            "namespace": namespace,
            "annotations": {"flowgauge.dev/workflow": "found"},
        },
        "spec": {"containers": [container]},
    }


CHILDREN = (
    "service",
    "configmap",
    "servicemonitor",
    "podmonitor",
    "prometheusrule",
    "alertmanagerconfig",
    "grafanadashboard",
)


def ours(everything, kind: str, namespace: str) -> list[str]:
    """The names of what the operator made of a kind."""
    flags = (f"--namespace={namespace}", "--selector=app.kubernetes.io/managed-by=flowgauge")
    return [item["metadata"]["name"] for item in everything.cluster.get(kind, *flags)["items"]]


def repaired(everything, kind: str, name: str, namespace: str) -> None:
    """Change an object, and wait until it is as it was."""
    label = "app.kubernetes.io/managed-by"
    flags = (f"--namespace={namespace}", f"{label}=me", "--overwrite")
    everything.cluster.kubectl("label", kind, name, *flags)

    def is_ours() -> bool:
        found = everything.get(kind, name, namespace)
        return found["metadata"]["labels"][label] == "flowgauge"

    everything.wait(is_ours, f"{kind} {name} to be ours again", 30)


def renamed(body: dict[str, Any]) -> dict[str, Any]:
    kept = ("namespace", "labels", "annotations", "ownerReferences")
    metadata = {key: body["metadata"][key] for key in kept} | {"name": "former"}
    return {**{key: body[key] for key in ("apiVersion", "kind", "spec")}, "metadata": metadata}


def do_everything(everything, namespace: str) -> None:
    """Make, look at, repair and remove an object of every kind; find a workflow, and lose it."""
    workflows = {
        "orders": {"notify": NOTIFY},
        "own": {"scrape": OWN},
        "pods": {"scrape": {"mode": "PodMonitor", "port": 8000}},
        "board": {"dashboard": {"mode": "GrafanaDashboard"}},
        "mine": {"profile": NAME},
    }
    cluster = everything.cluster
    cluster.apply([profile(NAME)])
    cluster.apply(
        [everything.workflow(namespace, name, **spec) for name, spec in workflows.items()]
    )
    cluster.deploy([pod(namespace)])
    for name in workflows:
        everything.wait_condition("Provisioned", "True", namespace, name, timeout=60)
    everything.wait(lambda: everything.status(namespace, "found"), "the discovered workflow", 60)
    for kind in CHILDREN:
        repaired(everything, kind, ours(everything, kind, namespace)[0], namespace)
    # What an older version called otherwise.
    cluster.apply([renamed(everything.get("prometheusrule", "orders-rules", namespace))])
    everything.wait(
        lambda: everything.get("prometheusrule", "former", namespace) is None, "the rule to go", 60
    )
    cluster.kubectl("delete", "pod", "found-1", f"--namespace={namespace}", "--force")
    everything.wait(
        lambda: everything.get("mwf", "found", namespace) is None, "what was found to go", 60
    )
    bare = {"scrape": {"mode": "None"}, "dashboard": {"mode": "None"}}
    cluster.apply([everything.workflow(namespace, name, **bare) for name in workflows])
    for kind in (
        "service",
        "servicemonitor",
        "podmonitor",
        "alertmanagerconfig",
        "grafanadashboard",
    ):
        everything.wait(
            lambda k=kind: not ours(everything, k, namespace), f"every {kind} to go", 60
        )
    cluster.kubectl("delete", "wfp", NAME)


@pytest.mark.timeout(400)
def test_it_may_do_what_it_does_and_nothing_else(everything, namespace):
    mark = everything.cluster.audit_mark()
    with everything.resting():
        everything.cluster.kubectl("delete", "lease", NAME, "--namespace=flowgauge-system")
    do_everything(everything, namespace)
    # A watch is audited when it ends.
    with everything.resting():
        requests = list(everything.cluster.audit(USER, since=mark))
    given = granted(everything.release.manifests, NAME)
    done = set(used(requests))
    refused = [one for one in requests if one.code == 403]

    assert [(one.verb, one.resource, one.namespace) for one in refused] == []
    assert done - given.keys() == set()
    assert {right: given[right] for right in given.keys() - done} == {}


OPTIONAL = [
    ("monitoring.coreos.com", "alertmanagerconfigs", "Watching alertmanagerconfigs"),
    ("grafana.integreatly.org", "grafanadashboards", "Watching grafanadashboards"),
    ("flowgauge.dev", "workflowprofiles", "Watching workflowprofiles"),
    ("", "pods", "Watching pods again"),
]


@pytest.mark.parametrize(
    ("group", "resource", "again"), OPTIONAL, ids=[case[1] for case in OPTIONAL]
)
def test_without_an_optional_right_it_says_so_and_does_the_rest(
    everything, namespace, group, resource, again
):
    """The right is taken, and given back while it works."""
    cluster, containers = everything.cluster, everything.release.containers
    before = {
        name: cluster.get("clusterrole", name)["rules"] for name in (ROLE, f"{ROLE}-profiles")
    }
    sizes = {container.name: container.log.stat().st_size for container in containers}

    def told(text: str) -> bool:
        return any(
            text in container.log.read_text()[sizes[container.name] :] for container in containers
        )

    for name, rules in before.items():
        kept = [
            rule
            for rule in rules
            if group not in rule["apiGroups"] or resource not in rule["resources"]
        ]
        replace(cluster, name, kept)
    if resource == "pods":
        # A watch that is open is not asked again.
        for container in containers:
            container.restart()
    try:
        everything.wait(lambda: told(f"the operator may not list {resource}"), "it to be told", 40)
        cluster.apply([everything.workflow(namespace, notify=NOTIFY)])
        everything.wait_condition("Ready", "True", namespace, timeout=60)
        assert everything.get("prometheusrule", "orders-rules", namespace)
        assert all(container.is_running for container in containers)
    finally:
        # Before the right is back: the next look comes at any time.
        for container in containers:
            sizes[container.name] = container.log.stat().st_size
        for name, rules in before.items():
            replace(cluster, name, rules)
    everything.wait(lambda: told(again), "it to go on with it", 60)


def replace(cluster, name: str, rules: list[dict[str, Any]]) -> None:
    patch = json.dumps([{"op": "replace", "path": "/rules", "value": rules}])
    cluster.kubectl("patch", "clusterrole", name, "--type=json", f"--patch={patch}")


def test_a_right_that_is_not_used_would_be_seen():
    role = yaml.safe_load("""
kind: Role
metadata: {name: r}
rules:
- {apiGroups: [""], resources: [services, services/status], verbs: [get, create]}
- {apiGroups: [x], resources: [y], verbs: [patch]}
""")
    other = {"kind": "Role", "metadata": {"name": "other"}, "rules": role["rules"]}
    binding = yaml.safe_load("""
kind: RoleBinding
roleRef: {kind: Role, name: r}
subjects: [{kind: ServiceAccount, name: me}]
""")
    requests = [
        audit.Request("me", "patch", "x", "y", "", "n", "o", 201, ""),
        audit.Request("me", "get", "", "services", "status", "n", "o", 200, ""),
        audit.Request(
            "me", "create", "authorization.k8s.io", "selfsubjectaccessreviews", "", "", "", 201, ""
        ),
    ]

    given, done = granted([role, other, binding], "me"), set(used(requests))

    assert given.keys() - done == {
        ("", "services", "get"),
        ("", "services", "create"),
        ("", "services/status", "create"),
    }
    assert done - given.keys() == {("x", "y", "create")}
