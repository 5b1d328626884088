"""A snapshot of a healthy cluster and workflow, of which a test changes one thing."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import yaml

from flowgauge import profiles
from flowgauge_operator import crd, kinds, model, names
from flowgauge_operator.doctor import access, diagnosis, flags, places
from flowgauge_operator.doctor.snapshot import Installed, Server, Snapshot, Unseen, Workflow
from flowgauge_operator.operation import WATCHED
from flowgauge_operator.render import Capabilities, Options, render, shared
from flowgauge_operator.verify import Group, Observation, Owner

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPACE, NAME = "shop", "orders"
OWNER = Owner(SPACE, NAME)
ABSENT = Unseen("not found", sort="absent")
FORBIDDEN = Unseen("forbidden: no", "kubectl auth can-i list things", "forbidden")
POOL = "serviceMonitor/shop/flowgauge-shared/0"


def body(**spec):
    """The workflow of the example, with parts of its spec replaced."""
    found = yaml.safe_load((ROOT / "examples/orders/workflow.yaml").read_text())
    found["metadata"] |= {"namespace": SPACE, "generation": 1}
    found["spec"] |= spec
    found["status"] = {
        "observedGeneration": 1,
        "conditions": [
            condition("Accepted", "True", "Valid"),
            condition("Provisioned", "True", "Applied"),
            condition("Loaded", "True", "Loaded"),
            condition("Healthy", "True", "Measured"),
            condition("Ready", "True", "Monitored"),
        ],
    }
    return found


def condition(kind, status, reason, message="as it should be"):
    return {"type": kind, "status": status, "reason": reason, "message": message}


def pod(name="orders-1", **changes):
    """A pod of the workflow."""
    port = {"name": "metrics", "containerPort": 9090}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": SPACE, "labels": {"app": "orders"}},
        "spec": {"containers": [{"name": "orders", "ports": [port]}]},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    } | changes


def prometheus(**spec):
    """A Prometheus object that selects everything."""
    fields = ("serviceMonitor", "podMonitor", "rule")
    all_of_them = {f"{f}{s}": {} for f in fields for s in ("Selector", "NamespaceSelector")}
    return {
        "kind": "Prometheus",
        "metadata": {"name": "main", "namespace": "monitoring"},
        "spec": all_of_them | {"serviceAccountName": "prometheus"} | spec,
    }


def deployment(
    *args, name="flowgauge", namespace="flowgauge-system", replicas=1, image="r/f:0.1.0"
):
    """A Deployment of the operator."""
    container = {
        "name": "operator",
        "image": image,
        "command": ["flowgauge-operator"],
        "args": list(args or ["--prometheus-url=http://prometheus-operated.monitoring:9090"]),
    }
    labels = {"app.kubernetes.io/instance": name, "app.kubernetes.io/version": "0.1.0"}
    return {
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": replicas,
            "template": {"spec": {"containers": [container], "serviceAccountName": name}},
        },
        "status": {"readyReplicas": replicas},
    }


def installed(manifest, **changes):
    """An operator as `gather` reads it."""
    settings, faults = flags.read(places.container_of(manifest))
    return Installed(manifest, settings, tuple(faults), **changes)


def grafana(env, namespace="monitoring"):
    """A Grafana with a sidecar."""
    container = {
        "name": "grafana-sc-dashboard",
        "image": "quay.io/kiwigrid/k8s-sidecar:1.30.0",
        "env": [{"name": key, "value": value} for key, value in env.items()],
    }
    return {
        "kind": "Deployment",
        "metadata": {"name": "grafana", "namespace": namespace},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


SIDECAR = grafana({"LABEL": "grafana_dashboard", "LABEL_VALUE": "1", "NAMESPACE": "ALL"})


def target(error="", instance="10.0.0.1:9090", **labels):
    """An active target of the workflow."""
    return {
        "health": "down" if error else "up",
        "lastError": error,
        "scrapeUrl": f"http://{instance}/metrics",
        "labels": {"namespace": SPACE, names.WORKFLOW_LABEL: NAME, "pod": "orders-1"} | labels,
    }


def series(value="1", **labels):
    """One series of an instant query."""
    return {"metric": labels, "value": [0, value]}


def named(*known):
    """The answer that names series."""
    return [series(__name__=name) for name in known]


def workflow(spec=None, *, options=None, **changes):
    """The workflow and what belongs to it."""
    found = body(**(spec or {}))
    parsed = model.parse(found)
    known = profiles.names()
    made = None
    if parsed.spec.profile in known:
        profile = profiles.builtin(parsed.spec.profile)
        made = render(parsed, profile, Capabilities(), options or Options())
    of_kind = {}
    for child in made.children if made else ():
        of_kind.setdefault(child["kind"], []).append(child)
    endpoints = {
        "metadata": {"labels": {"kubernetes.io/service-name": "orders-metrics"}},
        "ports": [{"name": "metrics", "port": 9090}],
        "endpoints": [{"addresses": ["10.0.0.1"]}],
    }
    common = [shared.manifest(shared.MONITOR, SPACE, options or Options())]
    fields = {
        "rendered": made,
        "pods": [pod()],
        "services": of_kind.get("Service", []),
        "slices": [endpoints],
        "monitors": [*common, *of_kind.get("ServiceMonitor", []), *of_kind.get("PodMonitor", [])],
        "rules": of_kind.get("PrometheusRule", []),
        "dashboards": of_kind.get("GrafanaDashboard", []),
        "notifications": of_kind.get("AlertmanagerConfig", []),
        "observation": observation(made) if made else None,
    }
    return Workflow(SPACE, NAME, found, **(fields | changes))


def observation(rendered, **changes):
    """What Prometheus shows of a healthy workflow."""
    fields = {
        "targets": {OWNER: (1, 1)},
        "families": {OWNER: set(rendered.required)},
        "groups": dict.fromkeys(rendered.rule_groups, Group(1)),
        "revisions": {OWNER: rendered.revision},
        "pools": {POOL},
    }
    return Observation(**(fields | changes))


ANSWERS = {
    "build": {"version": "3.14.0"},
    "time": str(NOW.timestamp()),
    "alertmanagers": {"activeAlertmanagers": [{"url": "http://a"}]},
    "notifications": named("x") and [series("0", integration="slack")],
    "targets": [target()],
    "pools": [POOL],
    "up": [series(instance="10.0.0.1:9090", namespace=SPACE, monitored_workflow=NAME, job="j")],
    "names": named("up", "workflow_runs_total"),
    "clash": [],
    "pushed": [],
}


def answered(**answers):
    """A Prometheus that answers as always but for these."""
    return Server("at http://p", None, ANSWERS | answers)


def snapshot(flow="healthy", **changes):
    """A healthy cluster with the workflow; None as `flow` for the cluster alone."""
    known = workflow() if flow == "healthy" else flow
    operators = changes.pop("operators", [installed(deployment())])
    defined = dict(DEFINED)
    others = (
        kinds.SERVICE_MONITOR,
        kinds.POD_MONITOR,
        kinds.PROMETHEUS_RULE,
        kinds.ALERTMANAGER_CONFIG,
    )
    defined |= {k.resource: {"metadata": {}} for k in others} | {
        kinds.GRAFANA_DASHBOARD.resource: ABSENT
    }
    main = prometheus()
    rights = [right for o in operators for right in access.of_operator(o, WATCHED, Capabilities())]
    rights += [
        *access.of_prometheus(main, [SPACE]),
        *access.of_reader(SPACE),
        *access.of_reader(""),
    ]
    fields = {
        "version": "0.1.0",
        "now": NOW,
        "address": "https://c",
        "user": "anna",
        "server": {"gitVersion": "v1.36.2"},
        "server_time": NOW,
        "crds": defined,
        "workloads": [*(o.deployment for o in operators), SIDECAR],
        "operators": operators,
        "namespaces": [{"metadata": {"name": SPACE, "labels": {"team": "fruit"}}}],
        "prometheuses": [main],
        "reviews": dict.fromkeys(rights, True),
        "workflows": [body()],
        "prometheus": answered(),
        "alertmanager": Server("at http://a", None, {"alerts": []}, "Alertmanager"),
        "workflow": known,
    }
    return Snapshot(**(fields | changes))


def established(definition):
    """A CRD as the API server shows it."""
    return definition | {"status": {"conditions": [{"type": "Established", "status": "True"}]}}


DEFINED = {d["metadata"]["name"]: established(d) for d in crd.definitions("0.1.0").values()}


def changed(seen, **fields):
    """The same snapshot but for fields of its workflow."""
    return dataclasses.replace(seen, workflow=dataclasses.replace(seen.workflow, **fields))


def found(seen, check, level=None):
    """The findings of a check, of one level or of all."""
    findings = diagnosis.examine(seen)
    return [f for f in findings if f.check == check and level in (None, f.level)]


def the(seen, check, level):
    """The only finding of a check with a level."""
    findings = found(seen, check)
    matching = [f for f in findings if f.level == level]
    assert len(matching) == 1, findings
    return matching[0]
