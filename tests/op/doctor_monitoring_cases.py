"""What may be wrong with Prometheus, Alertmanager and Grafana objects, and the finding that says so."""

from __future__ import annotations

import dataclasses

import doctor_scene as scene
from doctor_cluster_cases import definitions
from doctor_scene import FORBIDDEN, snapshot

from flowgauge_operator import kinds
from flowgauge_operator.doctor import places
from flowgauge_operator.doctor.snapshot import Server, Unseen
from flowgauge_operator.render import Options

DOWN = Server(error=Unseen("no endpoints"))
KPS = {"matchLabels": {"release": "kps"}}
NOT_OURS = {"matchExpressions": [{"key": "app.kubernetes.io/managed-by", "operator": "NotIn", "values": ["flowgauge"]}]}  # fmt: skip
NO_TEAM = {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}
NOTIFY = {"notify": {"receiver": {"webhook": {"url": "http://h/"}}}}


def alertmanager(**spec):
    meta = {"name": "main", "namespace": "monitoring"}
    return {"kind": "Alertmanager", "metadata": meta, "spec": spec}


# It takes other objects than ours, and may see nothing of us.
STRANGER = scene.prometheus(serviceMonitorSelector=KPS, serviceAccountName="system")
STRANGER["metadata"] = STRANGER["metadata"] | {"name": "system"}


def agent(**spec):
    return scene.prometheus(**spec) | {"kind": "PrometheusAgent"}


def proxied():
    return dataclasses.replace(scene.answered(), way=str(places.of_prometheus(scene.prometheus())))


MONITORING = {
    "no Prometheus": (
        lambda: snapshot(prometheuses=[]), "prometheus-object", "error", "there is no Prometheus object",
    ),
    "an agent that selects nothing of ours": (
        lambda: snapshot(prometheuses=[], agents=[agent(serviceMonitorSelector=KPS)]),
        "monitor-selector", "error", "PrometheusAgent monitoring/main: serviceMonitorSelector: label release=kps is missing",
    ),
    "an agent that scrapes, beside a Prometheus that does not": (
        lambda: snapshot(prometheuses=[scene.prometheus(serviceMonitorSelector=None)], agents=[agent()]),
        "monitor-selector", "ok", "selected by PrometheusAgent monitoring/main",
    ),
    "an agent, and nobody for the rules": (
        lambda: snapshot(prometheuses=[], agents=[agent()]),
        "rule-selector", "unknown", "no Prometheus or ThanosRuler object evaluates PrometheusRule shop/orders-rules",
    ),
    "an agent that finds nothing": (
        lambda: snapshot(prometheuses=[], agents=[agent(serviceAccountName="nobody")]),
        "prometheus-rights", "unknown", "monitoring:nobody may do could not be seen",
    ),
    "an agent alone": (
        lambda: snapshot(prometheuses=[], agents=[agent()]), "prometheus-object", "ok", "there",
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
    "a label that must not be there": (
        lambda: snapshot(prometheuses=[scene.prometheus(ruleSelector=NOT_OURS)]),
        "rule-selector", "error", "must not be one of flowgauge",
    ),
    "a label of the namespace that must not be there": (
        lambda: snapshot(prometheuses=[scene.prometheus(ruleNamespaceSelector=NO_TEAM)]),
        "rule-selector", "error", "label team must not be there",
    ),
    "an Alertmanager that looks for a label of the namespace": (
        lambda: snapshot(scene.workflow(NOTIFY), alertmanagers=[alertmanager(alertmanagerConfigSelector={}, alertmanagerConfigNamespaceSelector=KPS)]),
        "alertmanager-object", "error", "of the namespace shop, label release=kps is missing",
    ),
    "an Alertmanager that looks for a label of a namespace that cannot be seen": (
        lambda: snapshot(scene.workflow(NOTIFY), namespaces=FORBIDDEN, alertmanagers=[alertmanager(alertmanagerConfigSelector={}, alertmanagerConfigNamespaceSelector=KPS)]),
        "alertmanager-object", "unknown", "the labels of namespaces could not be seen",
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
    "a ThanosRuler that takes the rules": (
        lambda: snapshot(prometheuses=[scene.prometheus(ruleSelector=None)], rulers=[scene.prometheus() | {"kind": "ThanosRuler"}]),
        "rule-selector", "ok", "is selected by ThanosRuler monitoring/main",
    ),
    "shards": (
        lambda: snapshot(prometheuses=[scene.prometheus(shards=2)], prometheus=proxied()),
        "prometheus-answers", "warning", "are several: Prometheus monitoring/main (2 shards); each request may reach another",
    ),
    "two behind one Service": (
        lambda: snapshot(prometheuses=[scene.prometheus(), STRANGER], prometheus=proxied()),
        "prometheus-answers", "warning", "Prometheus monitoring/main (1 shards), Prometheus monitoring/system (1 shards)",
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
