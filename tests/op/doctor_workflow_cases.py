"""What may be wrong with a workflow and its pods, and the finding that says so."""

from __future__ import annotations

import dataclasses

import doctor_scene as scene
from doctor_scene import ABSENT, FORBIDDEN, NAME, SPACE, snapshot


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
BLOCK = DENY | {"spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}}  # fmt: skip
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
    "a port that one pod of two names in vain": (
        lambda: flow(spec=ANNOTATED, pods=[noted(**{"flowgauge.dev/port": "9090"}), noted(**{"flowgauge.dev/port": "web"})]),
        "port", "error", "has a port named web",
    ),
    "no endpoints of what only runs sometimes": (
        lambda: flow(spec=SOMETIMES, pods=[], slices=[]), "service", "ok", "no endpoints now",
    ),
    "policies, and no port that is known": (
        lambda: flow(policies=[DENY], pods=[scene.pod(spec={"containers": [{"name": "o"}]})]),
        "network-policy", "unknown", "to the pods cannot be told: no port of the pods is known",
    ),
    "a policy for addresses, and pods of Prometheus that were not seen": (
        lambda: flow(policies=[BLOCK]), "network-policy", "unknown", "a policy names addresses",
    ),
    "policies of Prometheus that may not be seen": (
        lambda: flow(policies_unseen=FORBIDDEN), "network-policy", "unknown", "let Prometheus monitoring/main out",
    ),
    "policies, and Prometheus objects that may not be seen": (
        lambda: snapshot(scene.workflow(policies=[DENY]), prometheuses=FORBIDDEN),
        "network-policy", "unknown", "which pods NetworkPolicies have to admit",
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
    "a namespace that is not there": (
        lambda: snapshot(None, namespace="shp", workflows=[]), "workflows", "error", "there is no namespace shp",
    ),
    "one that is not there": (
        lambda: snapshot(dataclasses.replace(scene.workflow(), name="order", body=ABSENT)),
        "workflow", "error", "there is no MonitoredWorkflow shop/order; did you mean shop/orders?",
    ),
    "one in a namespace that is not there": (
        lambda: snapshot(dataclasses.replace(scene.workflow(), namespace="shp", body=ABSENT)),
        "workflow", "error", "there is no MonitoredWorkflow shp/orders; there is no such namespace; did you mean shop/orders?",
    ),
    "one of a kind that is not installed": (
        lambda: snapshot(dataclasses.replace(scene.workflow(), body=ABSENT), crds=dict.fromkeys(snapshot().crds, ABSENT)),
        "workflow", "error", "there is no MonitoredWorkflow shop/orders: the kind is not installed",
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
