"""How annotated pods are scraped: one PodMonitor for all of a namespace that reads their annotations. Pure.

A monitor selects pods by label, and annotations are none. So it takes all pods of the namespace and keeps those whose
annotation names a workflow that is scraped so. Each container port of a pod is a target to begin with; one is left.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from flowgauge.profiles import Profile
from flowgauge_operator import duration, names
from flowgauge_operator.model import Workflow
from flowgauge_operator.render import scrape
from flowgauge_operator.render.manifest import Manifest
from flowgauge_operator.render.options import Problem

FALLBACK = (
    "PodMonitor is not available: only a Prometheus that follows the pods' own prometheus.io annotations scrapes them; it"
    f" has to make the label {names.WORKFLOW_LABEL} of the annotation {names.WORKFLOW}"
)
# Numbers from 1 to 65535, and names of container ports, as the CRD has them: at most 15 characters, one of them a letter. RE2
# cannot look ahead, so there is an alternative for each place of the first letter.
PORT = "|".join(
    (
        "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]",
        *(f"[0-9-]{{{before}}}[a-z][a-z0-9-]{{0,{14 - before}}}" for before in range(15)),
    )
)
PATH = "/[A-Za-z0-9_./~%+-]*"
# The later wins.
PREFIXES = ("prometheus.io", names.GROUP)

# All annotations of an object may have 256 KiB.
_LARGEST = 200_000

_PORT = "__tmp_flowgauge_port"
_NAME = "__tmp_flowgauge_port_name"
_ANNOTATION = "__meta_kubernetes_pod_annotation_"
_WORKFLOW = f"{_ANNOTATION}flowgauge_dev_workflow"


class Pods(NamedTuple):
    """What the shared PodMonitor has to know of a workflow.

    `port` and `path` are for pods whose annotations name none; those that are fixed hold for all its pods, and are empty
    where the spec leaves it to the pods.
    """

    workflow: str
    port: str
    path: str
    interval: str
    timeout: str
    fixed_port: str = ""
    fixed_path: str = ""


def pods(workflow: Workflow, profile: Profile) -> Pods:
    """The record of one workflow."""
    given = workflow.spec.scrape
    return Pods(
        workflow.name,
        str(profile.scrape.port),
        profile.scrape.path,
        given.interval,
        scrape.timeout(given),
        "" if given.port is None else str(given.port),
        given.path or "",
    )


def problems(workflow: Workflow) -> list[Problem]:
    """What of a spec cannot be had by a monitor that workflows share."""
    given = workflow.spec.scrape
    if given.mode != "AnnotatedPods" or not scrape.needs_own_monitor(given):
        return []
    message = (
        "https, authorization, limits, dropMetrics and nativeHistograms need a monitor of the workflow's own; remove them"
        " here, or choose mode PodMonitor with spec.selector"
    )
    return [Problem("spec.scrape", "NotForAnnotatedPods", message)]


def unused(workflow: Workflow) -> tuple[Problem, ...]:
    """What of a spec has no effect."""
    if workflow.spec.scrape.mode != "AnnotatedPods" or workflow.spec.selector is None:
        return ()
    message = (
        f"is not used in mode AnnotatedPods: pods are those with the annotation {names.WORKFLOW}: {workflow.name}; remove"
        " it, or choose mode ServiceMonitor or PodMonitor"
    )
    return (Problem("spec.selector", "SelectorNotUsed", message),)


def monitor(namespace: str, found: Sequence[Pods], labels: dict[str, str]) -> Manifest:
    """The PodMonitor of all annotated pods of a namespace. It has no owner."""
    interval, timeout = _usual(found, lambda p: (p.interval, p.timeout))
    return {
        "apiVersion": scrape.MONITORING,
        "kind": "PodMonitor",
        "metadata": {
            "name": names.SHARED_PODS,
            "namespace": namespace,
            "labels": {
                names.MANAGED_BY: names.MANAGER,
                names.NAME: "flowgauge",
                names.SHARED: "true",
                **labels,
            },
            "annotations": _record(found),
        },
        "spec": {
            "selector": {},
            "sampleLimit": scrape.SHARED_SAMPLES,
            "labelLimit": scrape.SHARED_LABELS,
            "podMetricsEndpoints": [
                {
                    "interval": interval,
                    "scrapeTimeout": timeout,
                    "scheme": "http",
                    "honorLabels": False,
                    "relabelings": _relabelings(found, (interval, timeout)),
                }
            ],
        },
    }


def recorded(monitor: Mapping[str, Any]) -> dict[str, Pods]:
    """What each workflow asked for when a PodMonitor was made, by name; what makes no sense is left out."""
    annotations = (monitor.get("metadata") or {}).get("annotations") or {}
    try:
        found = [Pods(*entry) for entry in json.loads(annotations.get(names.PODS, "[]"))]
    except (ValueError, TypeError, RecursionError):
        return {}
    return {one.workflow: one for one in found if _is_sound(one)}


def _is_sound(pods: Pods) -> bool:
    try:
        duration.seconds(pods.interval)
        duration.seconds(pods.timeout)
    except (ValueError, TypeError):
        return False
    return all(isinstance(field, str) for field in pods)


def _record(found: Sequence[Pods]) -> dict[str, str]:
    """The annotation that outlives profiles; none where there are too many workflows for it."""
    entries = [
        [*one[:5], *(one[5:] if one.fixed_port or one.fixed_path else ())] for one in sorted(found)
    ]
    text = json.dumps(entries, separators=(",", ":"))
    return {names.PODS: text} if len(text) <= _LARGEST else {}


def _relabelings(found: Sequence[Pods], timing: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        _keep(_WORKFLOW, _any(p.workflow for p in found)),
        _keep("__meta_kubernetes_pod_phase", "Running"),
        # A port of an init container is served while the pod is pending, if ever.
        {
            "action": "drop",
            "sourceLabels": ["__meta_kubernetes_pod_container_init"],
            "regex": "true",
        },
        _copy(_WORKFLOW, "(.+)", names.WORKFLOW_LABEL),
        *_said(found, lambda p: p.port, lambda p: p.fixed_port, _PORT, "port", PORT),
        *_said(found, lambda p: p.path, lambda p: p.fixed_path, "__metrics_path__", "path", PATH),
        *_exceptions(found, lambda p: p.interval, timing[0], "__scrape_interval__"),
        *_exceptions(found, lambda p: p.timeout, timing[1], "__scrape_timeout__"),
        *_addressed(),
        # Each container and port of a pod has become the same target; these would still tell them apart.
        *({"action": "replace", "targetLabel": label, "replacement": ""} for label in _APART),
    ]


_APART = ("container", _PORT, _NAME)


def _said(
    found: Sequence[Pods],
    default: Callable[[Pods], str],
    fixed: Callable[[Pods], str],
    target: str,
    annotation: str,
    valid: str,
) -> list[dict[str, Any]]:
    """A workflow's default, over it what the pod says, over that what the spec says."""
    usual = _usual(found, default)
    own = [
        _copy(f"{_ANNOTATION}{re.sub('[^a-z]', '_', prefix)}_{annotation}", f"({valid})", target)
        for prefix in PREFIXES
    ]
    return [
        {"action": "replace", "targetLabel": target, "replacement": usual},
        *_exceptions(found, default, usual, target),
        *own,
        *_exceptions(found, fixed, "", target),
    ]


def _addressed() -> list[dict[str, Any]]:
    """The address: of a numbered port, whether it is declared or not; of a named one, that of the container port."""
    number, ip = "([0-9]+)", "__meta_kubernetes_pod_ip"
    return [
        _copy("__meta_kubernetes_pod_container_port_name", "(.*)", _NAME),
        _copy(_PORT, number, _NAME),
        {"action": "keepequal", "sourceLabels": [_PORT], "targetLabel": _NAME},
        {
            "action": "replace",
            "sourceLabels": [ip, _PORT],
            "separator": ";",
            "regex": f"([0-9.]+);{number}",
            "targetLabel": "__address__",
            "replacement": "$1:$2",
        },
        {
            "action": "replace",
            "sourceLabels": [ip, _PORT],
            "separator": ";",
            "regex": f"([0-9a-fA-F:.]*:[0-9a-fA-F:.]*);{number}",
            "targetLabel": "__address__",
            "replacement": "[$1]:$2",
        },
    ]


def _exceptions(
    found: Sequence[Pods], value: Callable[[Pods], str], usual: str, target: str
) -> list[dict[str, Any]]:
    """One relabeling for each value that is not the usual one, naming the workflows that have it."""
    by_value: dict[str, list[str]] = {}
    for one in found:
        if value(one) != usual:
            by_value.setdefault(value(one), []).append(one.workflow)
    return [
        {
            "action": "replace",
            "sourceLabels": [_WORKFLOW],
            "regex": _any(workflows),
            "targetLabel": target,
            "replacement": told,
        }
        for told, workflows in sorted(by_value.items())
    ]


def _usual(found: Sequence[Pods], value: Callable[[Pods], Any]) -> Any:
    """The most common value; of several, the smallest, so that every render gives the same."""
    counts = Counter(value(one) for one in found)
    return min(counts, key=lambda told: (-counts[told], told))


def _any(workflows: Any) -> str:
    return "|".join(re.escape(name).replace(r"\-", "-") for name in sorted(workflows))


def _keep(source: str, regex: str) -> dict[str, Any]:
    return {"action": "keep", "sourceLabels": [source], "regex": regex}


def _copy(source: str, regex: str, target: str) -> dict[str, Any]:
    return {"action": "replace", "sourceLabels": [source], "regex": regex, "targetLabel": target}
