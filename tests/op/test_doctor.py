"""Each finding of the doctor: one thing is changed in a healthy snapshot, and the check that it concerns says so."""

from __future__ import annotations

import dataclasses
import json
import sys
from datetime import timedelta

import doctor_scene as scene
import pytest
from doctor_scene import ABSENT, FORBIDDEN, NAME, NOW, SPACE, changed, found, snapshot, the

from flowgauge_operator import command, kinds
from flowgauge_operator.doctor import (
    access,
    arguments,
    catalogue,
    causes,
    diagnosis,
    flags,
    places,
    report,
    servers,
)
from flowgauge_operator.doctor.finding import Level
from flowgauge_operator.doctor.places import Way
from flowgauge_operator.doctor.servers import Reach
from flowgauge_operator.doctor.snapshot import Access, Held, Server, Unseen
from flowgauge_operator.operation import WATCHED
from flowgauge_operator.render import Capabilities, Options
from flowgauge_operator.verify import Group

OPERATOR = scene.installed(scene.deployment())
DOWN = Server(error=Unseen("no endpoints"))


def test_a_healthy_snapshot_yields_nothing_but_ok():
    findings = diagnosis.examine(snapshot())

    assert [f for f in findings if f.level is not Level.OK] == []
    assert len(findings) > 35


def test_a_healthy_cluster_without_a_workflow_does_too():
    findings = diagnosis.examine(snapshot(None))

    assert [f for f in findings if f.level is not Level.OK] == []
    assert not {f.check for f in findings} & {"targets", "port", "conditions"}


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


def electing(holder="pod-1_uid", seconds=2):
    lease = holder if isinstance(holder, Unseen) else Held(holder, NOW - timedelta(seconds=seconds))
    pods = [{"metadata": {"name": "pod-1", "uid": "uid"}}]
    url = "--prometheus-url=http://p:9090"
    return operators("--leader-elect", url, lease=lease, pods=pods, replicas=2)


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

KPS = {"matchLabels": {"release": "kps"}}
NOTIFY = {"notify": {"receiver": {"webhook": {"url": "http://h/"}}}}


def alertmanager(**spec):
    meta = {"name": "main", "namespace": "monitoring"}
    return {"kind": "Alertmanager", "metadata": meta, "spec": spec}


MONITORING = {
    "no Prometheus": (
        lambda: snapshot(prometheuses=[]), "prometheus-object", "error", "there is no Prometheus object",
    ),
    "a paused one": (
        lambda: snapshot(prometheuses=[scene.prometheus(paused=True)]),
        "prometheus-object", "error", "it is paused",
    ),
    "limits": (
        lambda: snapshot(prometheuses=[scene.prometheus(enforcedSampleLimit=1000)]),
        "prometheus-limits", "ok", "enforcedSampleLimit 1000",
    ),
    "a label of the monitor": (
        lambda: snapshot(prometheuses=[scene.prometheus(serviceMonitorSelector=KPS)]),
        "monitor-selector", "error", "serviceMonitorSelector: label release=kps is missing",
    ),
    "a label of the rules": (
        lambda: snapshot(prometheuses=[scene.prometheus(ruleSelector=KPS)]),
        "rule-selector", "error", "ruleSelector: label release=kps is missing",
    ),
    "a label of the rules, for the cluster alone": (
        lambda: snapshot(None, prometheuses=[scene.prometheus(ruleSelector=KPS)]),
        "rule-selector", "error", "no Prometheus selects PrometheusRules in shop",
    ),
    "no selector": (
        lambda: snapshot(prometheuses=[scene.prometheus(ruleSelector=None)]),
        "rule-selector", "error", "ruleSelector is not set, so nothing is selected",
    ),
    "its own namespace alone": (
        lambda: snapshot(prometheuses=[scene.prometheus(ruleNamespaceSelector=None)]),
        "rule-selector", "error", "only its own namespace is looked into",
    ),
    "a label of the namespace": (
        lambda: snapshot(prometheuses=[scene.prometheus(ruleNamespaceSelector=KPS)]),
        "rule-selector", "error", "of the namespace shop, label release=kps is missing",
    ),
    "namespaces that may not be seen": (
        lambda: snapshot(namespaces=FORBIDDEN, prometheuses=[scene.prometheus(ruleNamespaceSelector=KPS)]),
        "rule-selector", "unknown", "the labels of namespaces could not be seen",
    ),
    "another Prometheus takes them": (
        lambda: snapshot(prometheuses=[scene.prometheus(ruleSelector=KPS), scene.prometheus()]),
        "rule-selector", "ok", "is selected by",
    ),
    "a PodMonitor": (
        lambda: snapshot(scene.workflow({"scrape": {"mode": "PodMonitor"}}), prometheuses=[scene.prometheus(podMonitorSelector=KPS)]),
        "monitor-selector", "error", "podMonitorSelector: label release=kps is missing",
    ),
    "a right of Prometheus": (
        lambda: snapshot(reviews={r: r.resource != "endpoints" for r in snapshot().reviews}),
        "prometheus-rights", "error", "may not list endpoints, watch endpoints in shop",
    ),
    "credentials of its own": (
        lambda: snapshot(prometheuses=[scene.prometheus(apiserverConfig={"host": "x"})]),
        "prometheus-rights", "unknown", "apiserverConfig",
    ),
    "Prometheus does not answer": (
        lambda: snapshot(prometheus=DOWN), "prometheus-answers", "unknown", "no endpoints",
    ),
    "it knows no Alertmanager": (
        lambda: snapshot(prometheus=scene.answered(alertmanagers={"activeAlertmanagers": []})),
        "alertmanager-answers", "warning", "Prometheus knows no Alertmanager",
    ),
    "nobody takes the AlertmanagerConfig": (
        lambda: snapshot(scene.workflow(NOTIFY), alertmanagers=[alertmanager()]),
        "alertmanager-object", "error", "alertmanagerConfigSelector is not set",
    ),
    "a label of the AlertmanagerConfig": (
        lambda: snapshot(scene.workflow(NOTIFY), alertmanagers=[alertmanager(alertmanagerConfigSelector=KPS, alertmanagerConfigNamespaceSelector={})]),
        "alertmanager-object", "error", "alertmanagerConfigSelector: label release=kps is missing",
    ),
    "no Alertmanager object": (
        lambda: snapshot(scene.workflow(NOTIFY), alertmanagers=[]),
        "alertmanager-object", "error", "there is no Alertmanager object",
    ),
    "an Alertmanager that takes it": (
        lambda: snapshot(scene.workflow(NOTIFY), alertmanagers=[alertmanager(alertmanagerConfigSelector={}, alertmanagerConfigNamespaceSelector={})]),
        "alertmanager-object", "ok", "matcher strategy OnNamespace",
    ),
    "another label of dashboards": (
        lambda: snapshot(workloads=[scene.grafana({"LABEL": "dash", "NAMESPACE": "ALL"})]),
        "dashboard-sidecar", "error", "looks for the label dash, our ConfigMaps carry grafana_dashboard=1",
    ),
    "another value of it": (
        lambda: snapshot(workloads=[scene.grafana({"LABEL": "grafana_dashboard", "LABEL_VALUE": "yes", "NAMESPACE": "ALL"})]),
        "dashboard-sidecar", "error", "looks for the label grafana_dashboard=yes",
    ),
    "its own namespace": (
        lambda: snapshot(workloads=[scene.grafana({"LABEL": "grafana_dashboard"})]),
        "dashboard-sidecar", "error", "looks into monitoring only, not into shop",
    ),
    "another annotation of folders": (
        lambda: snapshot(workloads=[scene.grafana({"LABEL": "grafana_dashboard", "NAMESPACE": "a, ALL", "FOLDER_ANNOTATION": "dir"})]),
        "dashboard-sidecar", "warning", "reads the folder in the annotation dir",
    ),
    "no sidecar": (
        lambda: snapshot(workloads=[]), "dashboard-sidecar", "unknown", "no Grafana with a sidecar",
    ),
}  # fmt: skip

BOARD = {"dashboard": {"mode": "GrafanaDashboard"}}
GRAFANA = {
    "kind": "Grafana",
    "metadata": {"name": "g", "namespace": "m", "labels": {"dashboards": "grafana"}},
}


def boarded(*conditions):
    flow = scene.workflow(BOARD)
    (child,) = flow.dashboards
    told = child | {
        "metadata": child["metadata"] | {"generation": 1},
        "status": {"conditions": list(conditions)},
    }
    return dataclasses.replace(flow, dashboards=[told])


def delivered(status, message):
    return scene.condition("DashboardSynchronized", status, "X", message) | {
        "observedGeneration": 1
    }


INSTALLED = {kinds.GRAFANA_DASHBOARD.resource: {"metadata": {}}}
BOARDS = {
    "no Grafana object": (
        lambda: snapshot(boarded(), crds=definitions(**INSTALLED), grafanas=[]),
        "grafana-instances", "error", "there is no Grafana object",
    ),
    "another label": (
        lambda: snapshot(boarded(), crds=definitions(**INSTALLED), grafanas=[GRAFANA | {"metadata": {"name": "g", "namespace": "m", "labels": {"a": "b"}}}]),
        "grafana-instances", "error", "Grafana m/g has a=b",
    ),
    "another namespace": (
        lambda: snapshot(boarded(), crds=definitions(**INSTALLED), grafanas=[GRAFANA], options=Options(dashboard_cross_namespace=False)),
        "grafana-instances", "error", "is in another namespace",
    ),
    "it is not in Grafana": (
        lambda: snapshot(boarded(delivered("False", "401")), crds=definitions(**INSTALLED), grafanas=[GRAFANA]),
        "dashboard-delivered", "warning", "401",
    ),
    "it is in Grafana": (
        lambda: snapshot(boarded(delivered("True", "fine")), crds=definitions(**INSTALLED), grafanas=[GRAFANA]),
        "dashboard-delivered", "ok", "fine",
    ),
    "nobody has said": (
        lambda: snapshot(boarded(), crds=definitions(**INSTALLED), grafanas=[GRAFANA]),
        "dashboard-delivered", "unknown", "has not said yet",
    ),
}  # fmt: skip


def flow(**changes):
    return snapshot(scene.workflow(**changes))


def status(**changes):
    return snapshot(
        scene.workflow(),
        workflow=dataclasses.replace(scene.workflow(), body=scene.body() | changes),
    )


OTHER = scene.pod(
    "pay-1", metadata={"name": "pay-1", "namespace": SPACE, "labels": {"app": "order"}}
)
DENY = {"metadata": {"name": "deny", "namespace": SPACE}, "spec": {"podSelector": {}}}
NUMBER = {"scrape": {"port": 9999}}

ANNOTATED = {"selector": None, "scrape": {"mode": "AnnotatedPods"}}
SOMETIMES = {"scrape": {"intermittent": True}}


def noted(name=NAME, **more):
    """A pod with our annotations and none of the labels."""
    notes = {"flowgauge.dev/workflow": name} | more
    return scene.pod(metadata={"name": "batch-1", "namespace": SPACE, "annotations": notes})


WORKFLOWS = {
    "an annotated pod": (
        lambda: flow(spec=ANNOTATED, pods=[noted()]),
        "selector", "ok", "the annotation flowgauge.dev/workflow: orders matches 1 pod: batch-1",
    ),
    "a pod that is annotated for another": (
        lambda: flow(spec=ANNOTATED, pods=[noted("order")]),
        "selector", "error", "no pod in shop has the annotation flowgauge.dev/workflow: orders; the pods there are annotated for order",
    ),
    "a port that a pod names in vain": (
        lambda: flow(spec=ANNOTATED, pods=[noted(**{"prometheus.io/port": "80", "flowgauge.dev/port": "web"})]),
        "port", "error", "has a port named web; the containers declare metrics (9090)",
    ),
    "a port that the profile names": (
        lambda: flow(spec=ANNOTATED, pods=[noted()]), "port", "ok", "the pods declare metrics",
    ),
    "no pod now": (
        lambda: flow(spec=SOMETIMES, pods=[]), "selector", "ok", "only while it runs",
    ),
    "one that is not Ready": (
        lambda: snapshot(None, workflows=[scene.body() | {"status": {"conditions": [scene.condition("Ready", "False", "X", "why")]}}]),
        "workflows", "warning", "shop/orders is not Ready: why",
    ),
    "one that is not there": (
        lambda: snapshot(dataclasses.replace(scene.workflow(), name="order", body=ABSENT)),
        "workflow", "error", "there is no MonitoredWorkflow shop/order; did you mean shop/orders?",
    ),
    "one that may not be seen": (
        lambda: snapshot(dataclasses.replace(scene.workflow(), body=FORBIDDEN)),
        "workflow", "unknown", "shop/orders could not be seen",
    ),
    "no status": (lambda: status(status={}), "workflow", "error", "has not written a status"),
    "an old status": (
        lambda: status(metadata=scene.body()["metadata"] | {"generation": 7}),
        "workflow", "warning", "speaks of generation 1, the spec is at 7",
    ),
    "a fault of the spec": (
        lambda: flow(faults=("spec.slos[0]: no",)), "workflow", "error", "spec.slos[0]: no",
    ),
    "suspended": (lambda: flow(spec={"suspend": True}), "workflow", "warning", "it is suspended"),
    "no profile": (
        lambda: flow(spec={"profile": "celry"}, profiles={"celry": ABSENT}),
        "profile", "error", "there is no profile celry; did you mean celery",
    ),
    "a profile with an error": (
        lambda: flow(spec={"profile": "own"}, profiles={"own": {"status": {"conditions": [scene.condition("Accepted", "False", "X", "bad")]}}}),
        "profile", "error", "the WorkflowProfile own cannot be used: bad",
    ),
    "a condition": (
        lambda: status(status={"observedGeneration": 1, "conditions": [scene.condition("Loaded", "False", "RulesNotLoaded")]}),
        "conditions", "error", "as it should be",
    ),
    "a condition that is a warning": (
        lambda: status(status={"observedGeneration": 1, "conditions": [scene.condition("Loaded", "True", "RetentionTooShort")]}),
        "conditions", "warning", "as it should be",
    ),
    "a selector": (
        lambda: flow(pods=[OTHER]), "selector", "error", "matches no pod in shop; did you mean app=order?",
    ),
    "a selector, and no pods": (
        lambda: flow(pods=[]), "selector", "error", "shop has no pods",
    ),
    "pods at their end": (
        lambda: flow(pods=[scene.pod(status={"phase": "Succeeded"})]),
        "selector", "warning", "matches no pod that lives; orders-1 has ended",
    ),
    "a pod that waits": (
        lambda: flow(pods=[scene.pod(status={"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}}]})]),
        "pods", "warning", "orders-1 waits: CrashLoopBackOff",
    ),
    "a pod that is not ready": (
        lambda: flow(pods=[scene.pod(status={"phase": "Running", "conditions": [{"type": "Ready", "status": "False", "message": "probe"}]})]),
        "pods", "warning", "orders-1 is not ready: probe",
    ),
    "a port's name": (
        lambda: flow(spec={"scrape": {"port": "metric"}}),
        "port", "error", "has a port named metric; the containers declare metrics (9090)",
    ),
    "no port at all": (
        lambda: flow(pods=[scene.pod(spec={"containers": [{"name": "o"}]})]),
        "port", "error", "no container declares any port",
    ),
    "a port's number": (
        lambda: flow(spec=NUMBER), "port", "warning", "It is scraped all the same",
    ),
    "a port's number, of a PodMonitor": (
        lambda: flow(spec={"scrape": {"mode": "PodMonitor", "port": 9999}}),
        "port", "error", "has a port 9999",
    ),
    "a port of a sidecar": (
        lambda: flow(pods=[scene.pod(spec={"containers": [{"name": "o"}], "initContainers": [{"restartPolicy": "Always", "ports": [{"name": "metrics", "containerPort": 9090}]}]})]),
        "port", "ok", "the pods declare metrics",
    ),
    "no Service": (lambda: flow(services=[]), "service", "error", "there is no Service orders-metrics"),
    "no endpoints": (lambda: flow(slices=[]), "service", "error", "has no endpoint with the port metrics"),
    "no monitor": (lambda: flow(monitors=[]), "monitor", "error", "there is no ServiceMonitor shop/flowgauge-shared"),
    "a policy": (
        lambda: flow(policies=[DENY]),
        "network-policy", "error", "NetworkPolicy deny in shop admits nothing from Prometheus monitoring/main to orders-1:9090",
    ),
    "a policy that keeps Prometheus in": (
        lambda: flow(policies=[{"metadata": {"name": "in", "namespace": "monitoring"}, "spec": {"podSelector": {}, "policyTypes": ["Egress"]}}]),
        "network-policy", "error", "NetworkPolicy in in monitoring does not let Prometheus monitoring/main out",
    ),
    "policies that may not be seen": (
        lambda: flow(policies=FORBIDDEN), "network-policy", "unknown", "could not be seen",
    ),
}  # fmt: skip


def asked(**answers):
    return snapshot(prometheus=scene.answered(**answers))


def observed(**changes):
    healthy = scene.workflow()
    return snapshot(
        dataclasses.replace(healthy, observation=scene.observation(healthy.rendered, **changes))
    )


def pushing(**answers):
    return snapshot(
        scene.workflow({"scrape": {"mode": "Push"}}), prometheus=scene.answered(**answers)
    )


FIRING = {"firing": {scene.OWNER: [("HighErrorRate", "")]}}


def alarmed(spec=None, **alert):
    known = {
        "labels": {"alertname": "HighErrorRate", "namespace": SPACE, "monitored_workflow": NAME},
        "status": {},
        "receivers": [{"name": "team"}],
    }
    healthy = scene.workflow(spec or {})
    told = dataclasses.replace(healthy, observation=scene.observation(healthy.rendered, **FIRING))
    alerts = [] if alert.get("none") else [known | alert]
    return snapshot(
        told,
        alertmanager=Server("at a", None, {"alerts": alerts}, "Alertmanager"),
        alertmanagers=[],
    )


SEEN = {
    "no target now": (
        lambda: dataclasses.replace(flow(spec=SOMETIMES, pods=[]), prometheus=scene.answered(targets=[])),
        "targets", "ok", "none now",
    ),
    "no target": (lambda: asked(targets=[]), "targets", "error", "is loaded and has no target"),
    "no job": (lambda: asked(targets=[], pools=[]), "targets", "error", "Prometheus has no scrape job"),
    "a target that is down": (
        lambda: asked(targets=[scene.target("dial tcp: connect: connection refused"), scene.target()]),
        "targets", "error", "1 of 2 down: nobody listens on that port",
    ),
    "a target that is new": (
        lambda: asked(targets=[scene.target() | {"health": "unknown"}]), "targets", "unknown", "1 of 1 not scraped yet",
    ),
    "targets of others": (
        lambda: asked(targets=[scene.target(namespace="other")]), "targets", "error", "has no target of this workflow",
    ),
    "a pod twice": (
        lambda: asked(up=[*scene.ANSWERS["up"], scene.series(instance="10.0.0.1:9090", job="mine")]),
        "scraped-once", "warning", "is also scraped by the job mine",
    ),
    "a pod of two workflows": (
        lambda: asked(up=[*scene.ANSWERS["up"], scene.series(instance="10.0.0.1:9090", job="j", monitored_workflow="b")]),
        "scraped-once", "warning", "the job j for the workflow b",
    ),
    "a label that clashes": (
        lambda: asked(clash=scene.named("runs_total")), "labels", "warning", "runs_total carry a label monitored_workflow",
    ),
    "a Pushgateway without honorLabels": (
        lambda: pushing(clash=scene.named("runs_total"), pushed=[]), "labels", "error", "without honorLabels",
    ),
    "nothing was pushed": (pushing, "pushed", "error", "no group with namespace=shop"),
    "an old push": (
        lambda: pushing(pushed=[scene.series(str(NOW.timestamp() - 7 * 86400))]), "pushed", "warning", "the last push was 168 h ago",
    ),
    "a push": (
        lambda: pushing(pushed=[scene.series(str(NOW.timestamp() - 60))]), "pushed", "ok", "60 s ago",
    ),
    "rules that are not loaded": (
        lambda: observed(groups={}), "rules", "error", "Prometheus lacks",
    ),
    "no rules to load": (
        lambda: changed(observed(groups={}), rules=[]), "rules", "error", "there is no PrometheusRule orders-rules",
    ),
    "rules of yesterday": (
        lambda: observed(revisions={}), "rules", "warning", "an earlier revision",
    ),
    "rules of another version": (
        lambda: dataclasses.replace(observed(revisions={}), version="0.2.0"), "rules", "unknown", "differ in version",
    ),
    "a rule that fails": (
        lambda: observed(groups=dict.fromkeys(scene.workflow().rendered.rule_groups, Group(1, "r: many-to-many"))),
        "rules", "error", "many-to-many",
    ),
    "another profile": (
        lambda: changed_names("contd_workflow_duration_seconds_count", "contd_workflows_completed_total"),
        "families", "error", "those of the profile contd",
    ),
    "another prefix": (
        lambda: changed_names("shop_runs_total"), "families", "error", "there is shop_runs_total: another prefix?",
    ),
    "no series at all": (
        lambda: changed_names("up", "scrape_duration_seconds"), "families", "error", "no series of its own at all",
    ),
    "short memory": (lambda: observed(retention=3600.0), "history", "warning", "keeps data for 1h"),
    "an alert": (alarmed, "firing", "warning", "HighErrorRate"),
    "an alert that did not arrive": (lambda: alarmed(none=True), "delivered", "error", "Alertmanager does not have them"),
    "an alert that is silenced": (
        lambda: alarmed(status={"silencedBy": ["s1"]}), "delivered", "ok", "is silenced (s1)",
    ),
    "an alert that is inhibited": (
        lambda: alarmed(status={"inhibitedBy": ["f"]}), "delivered", "ok", "is inhibited",
    ),
    "an alert that goes elsewhere": (
        lambda: alarmed(NOTIFY), "delivered", "error", "goes to team, not to the receivers of spec.notify",
    ),
    "an alert that is told": (
        lambda: alarmed(NOTIFY, receivers=[{"name": "shop/orders-notify/receiver"}]), "delivered", "ok", "goes to shop/orders-notify/receiver",
    ),
    "notifications that fail": (
        lambda: asked(notifications=[scene.series("3", integration="slack")]), "notifications", "warning", "slack (3 in an hour)",
    ),
    "an Alertmanager that nobody scrapes": (
        lambda: asked(notifications=[]), "notifications", "unknown", "does not scrape Alertmanager",
    ),
}  # fmt: skip


def changed_names(*known):
    return dataclasses.replace(
        observed(families={}), prometheus=scene.answered(names=scene.named(*known))
    )


PARTS = (CLUSTER, OPERATORS, MONITORING, BOARDS, WORKFLOWS, SEEN)
TABLE = {f"{case[1]}: {name}": case for part in PARTS for name, case in part.items()}


@pytest.mark.parametrize("name", TABLE)
def test_what_is_wrong_is_found(name):
    make, check, level, words = TABLE[name]

    seen = make()

    told = [f for f in found(seen, check, Level(level)) if words in f.seen]
    assert len(told) == 1, found(seen, check)
    assert told[0].remedy or level in ("ok", "unknown"), "what to do is missing"
    # Nothing else of the snapshot makes a check fail.
    assert not [f for f in diagnosis.examine(seen) if "the check itself failed" in f.seen]


def test_every_check_has_a_finding_that_is_not_fine():
    assert len(TABLE) == sum(map(len, PARTS))
    tried = {check for _, check, level, _ in TABLE.values() if level != "ok"}

    assert {check.name for check in catalogue.CHECKS} - tried == {"prometheus-limits"}


def test_where_prometheus_does_not_answer_its_reason_is_told_once():
    seen = snapshot(prometheus=DOWN)

    findings = [f for f in diagnosis.examine(seen) if f.level is Level.UNKNOWN]

    assert [f.check for f in findings if "no endpoints" in f.seen] == ["prometheus-answers"]
    assert {f.remedy for f in findings if f.check in ("targets", "labels")} == {
        "see the finding prometheus-answers"
    }


def test_the_policy_that_is_printed_opens_the_way():
    seen = flow(policies=[DENY])
    _, text, _ = the(seen, "network-policy", Level.ERROR).remedy.split("'")

    mended = changed(seen, policies=[DENY, json.loads(text)])

    assert the(mended, "network-policy", Level.OK)


def test_the_label_that_is_set_is_the_one_that_was_missing():
    key = {"matchLabels": {"monitoring.example.com/tier": "gold"}}
    seen = snapshot(prometheuses=[scene.prometheus(ruleSelector=key)])

    remedy = the(seen, "rule-selector", Level.ERROR).remedy

    assert r"--set 'ruleLabels.monitoring\.example\.com/tier=gold'" in remedy


def test_a_definition_is_upgraded_by_who_brought_it():
    (name, old), *_ = without("tls").items()
    notes = {"meta.helm.sh/release-name": "fg", "meta.helm.sh/release-namespace": "ops"}
    helms = old | {"metadata": old["metadata"] | {"annotations": notes}}

    by_hand = the(snapshot(crds=definitions(**{name: old})), "crd-fields", Level.ERROR)
    by_helm = the(snapshot(crds=definitions(**{name: helms})), "crd-fields", Level.ERROR)

    assert by_hand.remedy.startswith("kubectl apply --server-side -f crds/ ")
    assert by_helm.remedy.startswith("helm upgrade fg charts/flowgauge --namespace ops ")


def test_an_operator_that_discovers_nothing_needs_no_rights_on_pods():
    off = operators("--discovery=off", "--prometheus-url=http://p:1")
    rights = access.of_operator(off[0], WATCHED, Capabilities())

    assert not [right for right in rights if right.resource == "pods"]
    assert {r.verb for r in rights if r.resource == "monitoredworkflows"} == {"list", "watch", "patch"}  # fmt: skip


def test_a_check_that_fails_stops_no_other():
    def broken(_):
        raise ValueError("no")

    findings = diagnosis.examine(snapshot(), [("crds", broken), *diagnosis.CHECKS])

    assert [f.seen for f in findings if f.level is not Level.OK] == [
        "the check itself failed: ValueError: no"
    ]


@pytest.mark.parametrize("what", [FORBIDDEN, Unseen("no answer in time"), ABSENT])
def test_whatever_cannot_be_seen_breaks_no_check_and_is_not_fine(what):
    parts = (
        "pods",
        "services",
        "slices",
        "monitors",
        "rules",
        "dashboards",
        "notifications",
        "policies",
    )
    blind = dataclasses.replace(scene.workflow(), **dict.fromkeys(parts, what))
    bodies = (
        "server",
        "workloads",
        "namespaces",
        "prometheuses",
        "alertmanagers",
        "grafanas",
        "workflows",
        "prometheus_pods",
    )
    seen = snapshot(blind, crds=dict.fromkeys(snapshot().crds, what), **dict.fromkeys(bodies, what))
    seen = dataclasses.replace(
        seen, prometheus=Server(error=what), alertmanager=Server(error=what, name="Alertmanager")
    )

    findings = diagnosis.examine(seen)

    assert not [f for f in findings if "the check itself failed" in f.seen]
    fine = {f.check for f in findings if f.level is Level.OK}
    assert not fine & {"selector", "port", "service", "monitor", "targets", "network-policy", "rule-selector", "prometheus-answers"}  # fmt: skip


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ('Get "http://10.0.0.1:1/": dial tcp 10.0.0.1:1: connect: connection refused', "nobody listens"),
        ("server returned HTTP status 404 Not Found", "not at this path"),
        ("server returned HTTP status 401 Unauthorized", "credentials"),
        ("server returned HTTP status 403 Forbidden", "credentials"),
        ("server returned HTTP status 503 Service Unavailable", "fails while it answers"),
        ("context deadline exceeded", "does not answer in time"),
        ('Get "https://a": http: server gave HTTP response to HTTPS client', "speaks http"),
        ("server returned HTTP status 400 Bad Request", "wants https"),
        ('Get "http://a": net/http: HTTP/1.x transport connection broken: malformed HTTP response "\\x15\\x03"', "wants https"),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "certificate"),
        ("sample limit exceeded", "more than the limit"),
        ("label_limit exceeded (metric: x, number of labels: 99, limit: 64)", "more than the limit"),
        ("body size limit exceeded", "larger than enforcedBodySizeLimit"),
        ("dial tcp 10.0.0.1:9090: i/o timeout", "does not answer in time"),
        ("dial tcp 10.0.0.1:9090: connect: no route to host", "cannot be reached"),
        ('received unsupported Content-Type "text/html; charset=utf-8" and no fallback_scrape_protocol', "no page of metrics"),
        ('expected value after metric, got "<" ("INVALID")', "no page of metrics"),
        ('Get "http://a": EOF', "ends in the middle"),
        ("something new", "could not scrape"),
    ],
)  # fmt: skip
def test_what_a_scrape_failed_of_is_explained(error, words):
    assert words in causes.of(error).meaning
    assert causes.of(error).remedy


def test_flags_are_read_from_arguments_and_environment():
    container = {
        "command": ["/usr/bin/flowgauge-operator", "--leader-elect"],
        "args": ["--prometheus-url", "http://p:9090", "--listen-address=$(POD_IP):8080", "--namespaces=a,b", "--of-tomorrow=1"],
        "env": [
            {"name": "FLOWGAUGE_WORKERS", "value": "3"},
            {"name": "FLOWGAUGE_NAMESPACES", "value": "c"},
            {"name": "FLOWGAUGE_LOG_LEVEL", "valueFrom": {}},
        ],
    }  # fmt: skip

    settings, faults = flags.read(container)

    assert (settings.leader_elect, settings.prometheus_url) == (True, "http://p:9090")
    assert (settings.namespaces, settings.workers) == (("a", "b"), 3)
    assert faults == []


@pytest.mark.parametrize(
    ("url", "way"),
    [
        ("http://prometheus-operated.monitoring:9090", Way("monitoring", "prometheus-operated", "9090")),
        ("https://p.m.svc.cluster.local/prom", Way("m", "p", "443", "https", "/prom")),
        ("http://prometheus", Way("flowgauge-system", "prometheus", "80")),
        ("http://10.0.0.1:9090", None),
        ("http://[fd00::1]:9090", None),
        ("https://prometheus.example.com", None),
        ("https://prometheus.eu.example.com", None),
    ],
)  # fmt: skip
def test_a_url_of_the_cluster_is_a_way_through_the_api_server(url, way):
    found_way = places.by_url(url, "flowgauge-system")

    assert found_way == way


def test_a_password_in_a_url_is_shown_to_nobody():
    seen = snapshot(
        operators=operators(
            "--prometheus-url=https://me:secret@p.m:9090", "--grafana-url=x://me:secret@g"
        )
    )

    told = [f.seen for f in found(seen, "operator-flags")]

    assert "secret" not in " ".join(told)
    assert any("--grafana-url 'x://g'" in text for text in told)


class Stray:
    """What answers JSON to everything, and is neither a Prometheus nor an Alertmanager."""

    def __init__(self, answer):
        self._answer = answer

    def through(self, *_):
        return self._answer


@pytest.mark.parametrize(
    "answer", [[], {}, None, "x", 1, {"data": []}, {"status": "success", "data": {"result": 1}}]
)
def test_an_answer_of_something_else_is_no_answer_and_stops_nothing(answer):
    seen = snapshot(alertmanagers=[alertmanager()])

    server, observation = servers.prometheus(Stray(answer), Reach(), seen, "", "")
    seen = changed(dataclasses.replace(seen, prometheus=server), observation=observation)
    seen = dataclasses.replace(
        seen, alertmanager=servers.alertmanager(Stray(answer), Reach(), seen)
    )

    findings = diagnosis.examine(seen)
    assert not [f for f in findings if "the check itself failed" in f.seen]
    assert not [
        f for f in findings if f.check in ("targets", "rules", "families") and f.level is Level.OK
    ]


def test_ways_of_objects_follow_their_settings():
    body = scene.prometheus(routePrefix="/prom", portName="http", web={"tlsConfig": {"a": 1}})

    assert places.of_prometheus(body).path == (
        "/api/v1/namespaces/monitoring/services/https:prometheus-operated:http/proxy/prom"
    )


def test_the_text_keeps_commands_whole_and_terminals_safe():
    seen = snapshot(scene.workflow(faults=("spec.x: \x1b[31mred\x07" + "long " * 60,)))

    text = report.text(seen, diagnosis.examine(seen), width=80, quiet=True)

    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[31mred" in text
    assert "→ kubectl -n shop edit mwf orders" in text
    assert (
        max(
            len(line)
            for line in text.splitlines()
            if "→ kubectl" not in line and "  kubectl" not in line and "doctor 0.1.0" not in line
        )
        <= 80
    )
    assert "1 error, 0 warnings, 0 unknown" in text
    painted = report.text(seen, diagnosis.examine(seen), colour=True)
    assert "\x1b[1;31mERROR" in painted


def test_the_document_has_the_same_findings():
    seen = snapshot(prometheuses=[scene.prometheus(ruleSelector=KPS)])
    findings = diagnosis.examine(seen)

    document = json.loads(report.as_json(seen, findings))

    assert document["schema"] == 1
    assert document["workflow"] == "shop/orders"
    assert document["summary"] == {"ok": len(findings) - 1, "warning": 0, "error": 1, "unknown": 0}
    (told,) = [f for f in document["findings"] if f["level"] == "error"]
    assert set(told) == {"check", "group", "level", "about", "seen", "remedy"}
    assert (told["check"], told["group"]) == ("rule-selector", "Prometheus and Alertmanager")


@pytest.mark.parametrize(
    ("level", "plain", "strict"),
    [("ok", 0, 0), ("warning", 0, 1), ("unknown", 0, 1), ("error", 1, 1)],
)
def test_the_exit_code_follows_the_worst_finding(level, plain, strict):
    findings = [diagnosis.Finding("crds", Level(level), "x")]

    assert diagnosis.exit_code(findings, strict=False) == plain
    assert diagnosis.exit_code(findings, strict=True) == strict


def test_without_the_official_client_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    parser = arguments.argparse.ArgumentParser()
    arguments.register(parser.add_subparsers())

    parsed = parser.parse_args(["doctor"])

    assert parsed.run(parsed) == 2
    assert capsys.readouterr().err.splitlines() == [
        "kubernetes is not installed: flowgauge doctor needs the extra [cli]; pip install 'flowgauge[cli]'"
    ]


@pytest.mark.parametrize(
    "words",
    [["a/b/c"], ["/b"], ["a/"], ["a/b", "-n", "c"], ["--timeout=0"], ["--prometheus=p:9090"]],
)
def test_wrong_use_is_told_with_its_remedy(words, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["flowgauge", "doctor", *words])

    with pytest.raises(SystemExit) as end:
        command.flowgauge()

    assert end.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_rights_are_spelled_as_rbac_does():
    right = Access("", "patch", "flowgauge.dev", "monitoredworkflows", "shop", "", "status")

    assert right.spelled == "patch monitoredworkflows.flowgauge.dev/status"
