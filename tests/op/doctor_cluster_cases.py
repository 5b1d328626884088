"""What may be wrong with the cluster itself and with the operator, and the finding that says so."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta

import doctor_scene as scene
from doctor_scene import ABSENT, FORBIDDEN, NOW, snapshot

from flowgauge_operator import kinds
from flowgauge_operator.doctor.snapshot import Held, Unseen
from flowgauge_operator.render import Options

OPERATOR = scene.installed(scene.deployment())


def definitions(**changes):
    return snapshot().crds | changes


def without(field):
    """Our CRD of MonitoredWorkflow without a field of `spec.scrape`."""
    name = kinds.WORKFLOW.resource
    old = json.loads(json.dumps(snapshot().crds[name]))
    schema = old["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    del schema["properties"]["spec"]["properties"]["scrape"]["properties"][field]
    return {name: old}


def more():
    """The same with a field that this version does not know."""
    name = kinds.WORKFLOW.resource
    new = json.loads(json.dumps(snapshot().crds[name]))
    schema = new["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["properties"]["colour"] = {
        "type": "object",
        "properties": {"a": {}},
    }
    return {name: new}


def served(version):
    name = kinds.WORKFLOW.resource
    old = json.loads(json.dumps(snapshot().crds[name]))
    old["spec"]["versions"] = [{"name": version, "served": True}]
    return {name: old}


def operators(*args, lease=None, pods=(), **manifest):
    return [scene.installed(scene.deployment(*args, **manifest), lease=lease, pods=pods)]


def electing(holder="pod-1_uid", seconds=2, *flags):
    lease = holder if isinstance(holder, Unseen) else Held(holder, NOW - timedelta(seconds=seconds))
    pods = [{"metadata": {"name": "pod-1", "uid": "uid"}}]
    url = "--prometheus-url=http://p:9090"
    return operators("--leader-elect", url, *flags, lease=lease, pods=pods, replicas=2)


CLUSTER = {
    "an old cluster": (
        lambda: snapshot(server={"gitVersion": "v1.27.3"}),
        "api-server", "warning", "needs 1.29 or newer",
    ),
    "a version that may not be seen": (
        lambda: snapshot(server=FORBIDDEN), "api-server", "unknown", "forbidden",
    ),
    "a clock of the API server": (
        lambda: snapshot(server_time=NOW + timedelta(seconds=90)),
        "clock", "warning", "the API server by +90 s",
    ),
    "a clock of Prometheus": (
        lambda: snapshot(prometheus=scene.answered(time=str(NOW.timestamp() - 45))),
        "clock", "warning", "Prometheus by -45 s",
    ),
    "no definition": (
        lambda: snapshot(crds=definitions(**{kinds.PROFILE.resource: ABSENT})),
        "crds", "error", "workflowprofiles.flowgauge.dev is not installed",
    ),
    "a definition that may not be seen": (
        lambda: snapshot(crds=definitions(**{kinds.PROFILE.resource: FORBIDDEN})),
        "crds", "unknown", "could not be seen",
    ),
    "a definition that is not established": (
        lambda: snapshot(crds=definitions(**{kinds.PROFILE.resource: snapshot().crds[kinds.PROFILE.resource] | {"status": {}}})),
        "crds", "error", "is not established",
    ),
    "an old version": (
        lambda: snapshot(crds=definitions(**served("v1alpha0"))),
        "crds", "error", "serves v1alpha0, not v1alpha1",
    ),
    "an old definition": (
        lambda: snapshot(crds=definitions(**without("tls"))),
        "crd-fields", "error", "it lacks spec.scrape.tls; the API server drops these",
    ),
    "a newer definition": (
        lambda: snapshot(crds=definitions(**more())),
        "crd-fields", "warning", "it also has spec.colour",
    ),
    "no Prometheus Operator": (
        lambda: snapshot(crds=definitions(**{kinds.PROMETHEUS_RULE.resource: ABSENT})),
        "prometheus-operator", "warning", "prometheusrules.monitoring.coreos.com",
    ),
    "no grafana-operator, which the workflow needs": (
        lambda: snapshot(scene.workflow({"dashboard": {"mode": "GrafanaDashboard"}})),
        "grafana-operator", "warning", "spec.dashboard.mode asks for GrafanaDashboards",
    ),
    "no grafana-operator, which the operator needs": (
        lambda: snapshot(None, options=Options(dashboard_mode="GrafanaDashboard")),
        "grafana-operator", "warning", "--dashboard-mode of the operator asks",
    ),
    "a right of one's own": (
        lambda: snapshot(reviews={r: r.resource != "leases" for r in snapshot().reviews}),
        "own-rights", "unknown", "you (anna) may not list leases.coordination.k8s.io",
    ),
}  # fmt: skip

OPERATORS = {
    "no operator": (
        lambda: snapshot(operators=[]), "operator", "error", "no Deployment runs flowgauge-operator",
    ),
    "an operator that nobody may see": (
        lambda: snapshot(operators=[], workloads=FORBIDDEN), "operator", "unknown", "forbidden",
    ),
    "scaled to nothing": (
        lambda: snapshot(operators=operators(replicas=0)), "operator", "error", "scaled to 0",
    ),
    "no replica is ready": (
        lambda: snapshot(operators=[dataclasses.replace(OPERATOR, deployment=OPERATOR.deployment | {"status": {}}, pods=[{"status": {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]}}])]),
        "operator", "error", "none of its 1 replicas is ready; ImagePullBackOff: no such image",
    ),
    "some replicas are ready": (
        lambda: snapshot(operators=[dataclasses.replace(OPERATOR, deployment=scene.deployment(replicas=2) | {"status": {"readyReplicas": 1}})]),
        "operator", "warning", "1 of 2 replicas are ready",
    ),
    "another version": (
        lambda: snapshot(operators=operators(image="registry:5000/flowgauge:v0.3.1@sha256:ab")),
        "operator-version", "warning", "the operator is v0.3.1, this command line 0.1.0",
    ),
    "two operators": (
        lambda: snapshot(operators=[*operators(), *operators(name="old")]),
        "operator-single", "error", "Deployment flowgauge-system/old serve the same namespaces",
    ),
    "replicas without election": (
        lambda: snapshot(operators=operators("--prometheus-url=http://p:1", replicas=2)),
        "operator-single", "error", "without --leader-elect",
    ),
    "no lease": (
        lambda: snapshot(operators=electing(ABSENT)), "operator-lease", "error", "is not there",
    ),
    "a lease that nobody holds": (
        lambda: snapshot(operators=electing("")), "operator-lease", "error", "nobody holds",
    ),
    "a lease that is old": (
        lambda: snapshot(operators=electing(seconds=120)),
        "operator-lease", "error", "has not renewed it for 120 s",
    ),
    "a lease that is old and lasts long": (
        lambda: snapshot(operators=electing("pod-1", 250, "--lease-duration=300")),
        "operator-lease", "ok", "renewed 250 s ago",
    ),
    "a lease of somebody else": (
        lambda: snapshot(operators=electing("stranger")),
        "operator-lease", "error", "is no pod of this Deployment",
    ),
    "a lease as it should be": (
        lambda: snapshot(operators=electing()), "operator-lease", "ok", "renewed 2 s ago",
    ),
    "no Prometheus URL": (
        lambda: snapshot(operators=operators("--log-level=info")),
        "operator-flags", "warning", "no --prometheus-url",
    ),
    "a flag that cannot be read": (
        lambda: snapshot(operators=operators("--prometheus-url=http://p:1", "--workers=many")),
        "operator-flags", "error", "--workers 'many'",
    ),
    "another namespace": (
        lambda: snapshot(operators=operators("--prometheus-url=http://p:1", "--namespaces=a,b")),
        "operator-namespaces", "error", "it serves a, b, not shop",
    ),
    "a right of the operator": (
        lambda: snapshot(reviews={r: not (r.user and r.verb == "patch" and r.subresource) for r in snapshot().reviews}),
        "operator-rights", "error", "may not patch monitoredworkflows.flowgauge.dev/status",
    ),
    "pods, which discovery watches": (
        lambda: snapshot(reviews={r: not (r.user == OPERATOR.account and r.resource == "pods") for r in snapshot().reviews}),
        "operator-rights", "error", "may not list pods, watch pods",
    ),
    "a kind that the chart leaves out": (
        lambda: snapshot(reviews={r: r.resource != "alertmanagerconfigs" for r in snapshot().reviews}),
        "operator-rights", "ok", "without rights on alertmanagerconfigs, as rbac.alertmanagerConfigs=false",
    ),
    "rights that may not be asked": (
        lambda: snapshot(reviews=dict.fromkeys(snapshot().reviews, FORBIDDEN)),
        "operator-rights", "unknown", "could not be seen: forbidden",
    ),
}  # fmt: skip
