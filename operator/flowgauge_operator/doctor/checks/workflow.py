"""The workflow itself: there, accepted, its profile known, and what the operator says of it. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from flowgauge import profiles
from flowgauge_operator import condition, kinds
from flowgauge_operator.doctor.finding import Finding, error, listed, ok, unknown, unseen, warning
from flowgauge_operator.doctor.snapshot import Snapshot, Unseen, Workflow

# What a reason means, where its message alone does not lead on.
_MEANING = {
    "InvalidSpec": "the field that is named cannot be used as it is",
    "UnknownProfile": "there is no profile of that name",
    "Conflict": "somebody else's object has the name of one of ours, and is never overwritten: rename one of the two",
    "RulesNotLoaded": "see the findings rule-selector and rules",
    "RulesOutdated": "Prometheus reloads within a minute as a rule; see the finding rules if it stays so",
    "RuleFailing": "a rule is loaded and cannot be evaluated; see the finding rules",
    "ScrapeJobNotLoaded": "see the finding monitor-selector",
    "ScrapeJobUnknown": "as soon as there is a target, the scrape job is known to be there",
    "NoTargets": "see the findings selector, port and service",
    "TargetsDown": "see the finding targets",
    "MissingFamilies": "see the finding families",
    "ScheduleUnknown": "kube-state-metrics has to be scraped with honorLabels: true",
    "PrometheusNotConfigured": "the operator has no --prometheus-url; see the finding operator-flags",
    "PrometheusUnreachable": "the operator cannot ask its Prometheus: URL, network or credentials",
    "NotSeenYet": "the operator has not looked since the spec changed; it does so every --verify-interval",
    "NotAccepted": "mend the spec first",
}
# Said once more, in full, by checks of their own; the condition is then told as a warning.
_EXPECTED = (
    "Valid",
    "Applied",
    "Loaded",
    "Measured",
    "Idle",
    "Monitored",
    "ReadyWithoutPrometheus",
)


def others(seen: Snapshot) -> Iterator[Finding]:
    """Which workflows are not Ready, where none was named."""
    if seen.workflow is not None:
        return
    if isinstance(seen.workflows, Unseen):
        if seen.workflows.sort != "absent":
            yield unseen("workflows", "the MonitoredWorkflows", seen.workflows)
        return
    if seen.namespace and _is_missing(seen, seen.namespace):
        told = f"there is no namespace {seen.namespace}"
        yield error("workflows", told, "kubectl get namespaces")
        return
    failing = [body for body in seen.workflows if _ready(body) != "True"]
    for body in failing[:20]:
        name = f"{body['metadata']['namespace']}/{body['metadata']['name']}"
        ready = _condition(body, "Ready")
        text = f"{name} is not Ready: {ready.get('message') or 'no status yet'}"
        finding = unknown if ready.get("status") == "Unknown" else warning
        yield finding("workflows", text, f"flowgauge doctor {name}", about=name)
    count = len(seen.workflows)
    if len(failing) > 20:
        yield warning("workflows", f"{len(failing) - 20} more are not Ready", "kubectl get mwf -A")
    if not failing:
        told = (
            f"{count} workflow{'s are' if count != 1 else ' is'} Ready"
            if count
            else "there are none yet"
        )
        yield ok("workflows", told)


def _is_missing(seen: Snapshot, namespace: str) -> bool:
    return seen.labels_of(namespace) is None and not isinstance(seen.namespaces, Unseen)


def _condition(body: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    found = (body.get("status") or {}).get("conditions") or []
    return next((c for c in found if c["type"] == kind), {})


def _ready(body: Mapping[str, Any]) -> str:
    return str(_condition(body, "Ready").get("status", ""))


def accepted(seen: Snapshot) -> Iterator[Finding]:
    """Whether the workflow is there, its spec makes sense, and the operator has seen this generation."""
    flow = seen.workflow
    if flow is None:
        return
    if isinstance(flow.body, Unseen):
        yield _not_there(seen, flow, flow.body)
        return
    generation = flow.body["metadata"].get("generation", 0)
    observed = (flow.body.get("status") or {}).get("observedGeneration", 0)
    for fault in flow.faults:
        yield error(
            "workflow",
            f"the spec cannot be used: {fault}",
            f"kubectl -n {flow.namespace} edit mwf {flow.name}",
        )
    if not flow.body.get("status"):
        told = "the operator has not written a status: nothing was made of it yet"
        yield error(
            "workflow",
            told,
            "see the findings on the operator: whether it runs, and serves this namespace",
        )
    elif observed != generation:
        told = f"the status speaks of generation {observed}, the spec is at {generation}: the operator has not caught up"
        yield warning("workflow", told, "see the findings on the operator")
    elif not flow.faults:
        yield ok("workflow", f"there, at generation {generation}, and the operator has seen it")
    if flow.spec.get("suspend"):
        yield warning(
            "workflow",
            "it is suspended: nothing alerts",
            f'kubectl -n {flow.namespace} patch mwf {flow.name} --type=merge -p \'{{"spec":{{"suspend":false}}}}\'',
        )


def _not_there(seen: Snapshot, flow: Workflow, why: Unseen) -> Finding:
    if why.sort != "absent":
        return unseen("workflow", flow.title, why)
    if isinstance(absent := seen.crds.get(kinds.WORKFLOW.resource), Unseen) and absent.sort == "absent":  # fmt: skip
        told = f"there is no MonitoredWorkflow {flow.title}: the kind is not installed"
        return error("workflow", told, "see the finding crds")
    known = () if isinstance(seen.workflows, Unseen) else seen.workflows
    titles = [f"{b['metadata']['namespace']}/{b['metadata']['name']}" for b in known]
    near = [t for t in titles if t.endswith(f"/{flow.name}")]
    near += difflib.get_close_matches(flow.title, titles, 3)
    hint = "; there is no such namespace" if _is_missing(seen, flow.namespace) else ""
    hint += f"; did you mean {listed(near, 3)}?" if near else ""
    return error(
        "workflow",
        f"there is no MonitoredWorkflow {flow.title}{hint}",
        "kubectl get mwf --all-namespaces",
    )


def profile(seen: Snapshot) -> Iterator[Finding]:
    """Whether its profile is known and can be used."""
    flow = seen.workflow
    if flow is None or isinstance(flow.body, Unseen):
        return
    name = flow.spec.get("profile", "workflow")
    if name in profiles.names():
        yield ok("profile", f"{name}, which is built in")
        return
    found = flow.profiles.get(name, Unseen("it was not asked for"))
    if isinstance(found, Unseen) and found.sort == "absent":
        known = [*profiles.names(), *flow.profiles]
        near = difflib.get_close_matches(name, [n for n in known if n != name], 2, 0.5)
        hint = f"; did you mean {listed(near)}?" if near else ""
        told = f"there is no profile {name}{hint} Built in are {listed(profiles.names(), 20)}"
        yield error(
            "profile",
            told,
            f"correct spec.profile, or kubectl apply a WorkflowProfile called {name}",
        )
    elif isinstance(found, Unseen):
        yield unseen("profile", f"the WorkflowProfile {name}", found)
    else:
        judged = _condition(found, "Accepted")
        if judged.get("status") == "False":
            yield error(
                "profile",
                f"the WorkflowProfile {name} cannot be used: {judged.get('message')}",
                "flowgauge profile lint FILE",
            )
        else:
            yield ok("profile", f"the WorkflowProfile {name}, accepted")


def conditions(seen: Snapshot) -> Iterator[Finding]:
    """What the operator says, with what each reason means."""
    flow = seen.workflow
    if flow is None or isinstance(flow.body, Unseen) or not flow.body.get("status"):
        return
    look = f"kubectl -n {flow.namespace} describe mwf {flow.name}"
    told = [_condition(flow.body, kind) for kind in condition.types() if kind != "Ready"]
    for one in filter(None, told):
        reason, text = one.get("reason", ""), str(one.get("message", ""))
        meaning = _MEANING.get(reason, "")
        remedy = f"{meaning}\n{look}".strip() if meaning else look
        if one["status"] == "False":
            yield error("conditions", text, remedy, about=f"{one['type']} ({reason})")
        elif one["status"] != "True":
            yield unknown("conditions", text, remedy, about=f"{one['type']} ({reason})")
        elif reason not in _EXPECTED:
            yield warning("conditions", text, remedy, about=f"{one['type']} ({reason})")
        else:
            yield ok("conditions", text, about=f"{one['type']} ({reason})")
