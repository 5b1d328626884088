"""Scraping: whether monitor, job and targets are there, targets answer, and series keep their owner. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from flowgauge_operator import names
from flowgauge_operator.doctor import causes
from flowgauge_operator.doctor.checks import pods
from flowgauge_operator.doctor.finding import Finding, error, listed, ok, unknown, unseen, warning
from flowgauge_operator.doctor.snapshot import Snapshot, Unseen, Workflow

# A group that nobody has pushed to for so long is worth a look.
_OLD_PUSH_SECONDS = 86400.0


def monitor(seen: Snapshot) -> Iterator[Finding]:
    """Whether the monitor that scrapes the workflow is in place."""
    flow = seen.workflow
    if flow is None or flow.rendered is None or flow.rendered.pool is None:
        return
    kind, _, name, _ = flow.rendered.pool.split("/")
    kind = f"{kind[0].upper()}{kind[1:]}"
    if isinstance(flow.monitors, Unseen):
        yield unseen("monitor", f"the {kind} {name}", flow.monitors)
    elif any(b["metadata"]["name"] == name and b.get("kind") == kind for b in flow.monitors):
        yield ok("monitor", f"{kind} {flow.namespace}/{name} is in place")
    else:
        told = f"there is no {kind} {flow.namespace}/{name}, which the operator makes"
        yield error(
            "monitor",
            told,
            f"kubectl -n {flow.namespace} describe mwf {flow.name}\nsee the findings on the operator",
        )


def targets(seen: Snapshot) -> Iterator[Finding]:
    """Whether Prometheus has targets, and why they are down."""
    flow = seen.workflow
    if flow is None or flow.rendered is None or not flow.rendered.is_scraped:
        return
    active = seen.prometheus.answer("targets")
    if isinstance(active, Unseen):
        yield unseen("targets", "the targets", active)
        return
    ours = [t for t in active if _is_ours(flow, t["labels"])]
    if not ours and flow.rendered.is_intermittent and not pods.own(flow):
        yield ok("targets", "none now; the workflow has pods only while it runs")
        return
    if not ours:
        yield _no_target(seen, flow)
        return
    down = [t for t in ours if t.get("health") == "down"]
    waiting = [t for t in ours if t.get("health") not in ("up", "down")]
    for cause, some in _by_cause(down).items():
        first = some[0]
        text = f"{len(some)} of {len(ours)} down: {cause.meaning} ({first['scrapeUrl']}: {first['lastError']})"
        remedy = _mended(flow, cause.remedy)
        yield error("targets", text, f"{remedy}\n{_try(flow, first)}")
    if waiting:
        told = f"{len(waiting)} of {len(ours)} not scraped yet"
        yield unknown("targets", told, "wait for an interval, and look again")
    if not down and not waiting:
        yield ok("targets", f"{len(ours)} of {len(ours)} up")


def _mended(flow: Workflow, remedy: str) -> str:
    """The remedy, and where annotated pods say what a spec says otherwise."""
    if flow.mode != "AnnotatedPods" or "spec.scrape" not in remedy:
        return remedy
    return (
        f"{remedy}\nthese pods say port and path by the annotations {names.POD_PORT} and {names.PATH}; https, credentials and"
        " limits need a MonitoredWorkflow with spec.selector (docs/discovery.md#a-workflow-of-your-own)"
    )


def _is_ours(flow: Workflow, labels: Mapping[str, str]) -> bool:
    return (
        labels.get(names.NAMESPACE_LABEL) == flow.namespace
        and labels.get(names.WORKFLOW_LABEL) == flow.name
    )


def _by_cause(down: Sequence[Mapping[str, Any]]) -> dict[causes.Cause, list[Mapping[str, Any]]]:
    found: dict[causes.Cause, list[Mapping[str, Any]]] = {}
    for target in down:
        found.setdefault(causes.of(target.get("lastError", "")), []).append(target)
    return found


def _try(flow: Workflow, target: Mapping[str, Any]) -> str:
    url = urlsplit(target["scrapeUrl"])
    pod = target["labels"].get("pod")
    port = url.port or 80
    if not pod:
        return f"curl {target['scrapeUrl']}"
    return (
        f"kubectl -n {flow.namespace} port-forward pod/{pod} {port} &"
        f" curl -s {url.scheme}://127.0.0.1:{port}{url.path} | head"
    )


def _no_target(seen: Snapshot, flow: Workflow) -> Finding:
    loaded = seen.prometheus.answer("pools")
    pool = flow.rendered.pool if flow.rendered else None
    if pool and not isinstance(loaded, Unseen) and pool not in loaded:
        told = (
            f"Prometheus has no scrape job {pool}: the monitor is not selected, or not loaded yet"
        )
        return error(
            "targets", told, "see the findings monitor, monitor-selector and prometheus-object"
        )
    if flow.mode == "Annotations" or pool is None:
        told = "Prometheus has no target of this workflow; its own scrape configuration has to read the prometheus.io annotations and set the label monitored_workflow"
        return error("targets", told, "docs/workflow.md#without-prometheus-operator")
    known = (
        "may not be loaded: what answers does not say"
        if isinstance(loaded, Unseen)
        else "is loaded"
    )
    told = f"the scrape job {pool} {known}; it has no target of this workflow"
    return error("targets", told, "see the findings selector, port, service and prometheus-rights")


def once(seen: Snapshot) -> Iterator[Finding]:
    """Whether each pod is scraped by one job."""
    flow = seen.workflow
    if flow is None or flow.rendered is None or not flow.rendered.is_scraped or not pods.own(flow):
        return
    up = seen.prometheus.answer("up")
    if isinstance(up, Unseen):
        yield unseen("scraped-once", "what else scrapes the pods", up)
        return
    by_instance: dict[str, list[Mapping[str, str]]] = {}
    for series in up:
        by_instance.setdefault(series["metric"].get("instance", ""), []).append(series["metric"])
    twice = {
        i: m for i, m in by_instance.items() if len(m) > 1 and any(_is_ours(flow, one) for one in m)
    }
    if not twice:
        yield ok("scraped-once", "each pod is scraped by one job")
        return
    instance, metrics = next(iter(twice.items()))
    others = [_job(one) for one in metrics if not _is_ours(flow, one)] or [
        _job(one) for one in metrics
    ]
    told = f"{instance} is also scraped by {listed(others)}: queries without monitored_workflow count everything twice"
    remedy = f"kubectl get servicemonitors,podmonitors -n {flow.namespace}    # remove the other one, or its annotation"
    yield warning("scraped-once", told, remedy)


def _job(metric: Mapping[str, str]) -> str:
    owner = metric.get(names.WORKFLOW_LABEL)
    return f"the job {metric.get('job', '?')}{f' for the workflow {owner}' if owner else ''}"


def labels(seen: Snapshot) -> Iterator[Finding]:
    """Whether series keep their owner labels."""
    flow = seen.workflow
    if flow is None or flow.rendered is None:
        return
    clashing = seen.prometheus.answer("clash")
    if isinstance(clashing, Unseen):
        yield unseen("labels", "whether labels clash", clashing)
        return
    found = sorted({series["metric"].get("__name__", "") for series in clashing})
    if not found:
        yield ok("labels", "no label of the program clashes with the owner labels")
    elif flow.mode == "Push":
        told = f"{listed(found, 3)} arrive with exported_{names.NAMESPACE_LABEL}: the Pushgateway is scraped without honorLabels, so no rule finds them"
        yield error(
            "labels",
            told,
            "in the ServiceMonitor of the Pushgateway: endpoints: [{port: web, honorLabels: true}]; overrideHonorLabels of the"
            " Prometheus object must not be true",
        )
    else:
        told = f"{listed(found, 3)} carry a label {names.WORKFLOW_LABEL} of the program's own, which becomes exported_{names.WORKFLOW_LABEL}"
        yield warning("labels", told, "call that label otherwise in the program")


def pushed(seen: Snapshot) -> Iterator[Finding]:
    """Mode Push: whether a group of the workflow is there, and how old."""
    flow = seen.workflow
    if flow is None or isinstance(flow.body, Unseen) or flow.mode != "Push":
        return
    found = seen.prometheus.answer("pushed")
    if isinstance(found, Unseen):
        yield unseen("pushed", "what was pushed", found)
        return
    renamed = seen.prometheus.answer("clash")
    if not found and renamed and not isinstance(renamed, Unseen):
        told = "groups of the workflow are pushed, and none arrives with its labels"
        yield error("pushed", told, "see the finding labels")
        return
    if not found:
        told = f"no group with namespace={flow.namespace} and monitored_workflow={flow.name} was pushed, or the Pushgateway is not scraped"
        remedy = f'grouping_key={{"namespace": "{flow.namespace}", "monitored_workflow": "{flow.name}"}} (docs/push.md), and a ServiceMonitor for the Pushgateway with honorLabels: true'
        yield error("pushed", told, remedy)
        return
    age = max(seen.now.timestamp() - max(float(one["value"][1]) for one in found), 0.0)
    if age > _OLD_PUSH_SECONDS and not flow.spec.get("schedule"):
        told = f"the last push was {age / 3600:.0f} h ago"
        remedy = "if runs should be more frequent, set spec.schedule, and silence alerts"
        yield warning("pushed", told, remedy)
    else:
        yield ok("pushed", f"the last push was {age:.0f} s ago")
