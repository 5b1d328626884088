"""The pods: whether the selector finds them, they run, and the port that is scraped is theirs. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flowgauge_operator import names
from flowgauge_operator.doctor import selectors
from flowgauge_operator.doctor.finding import Finding, error, listed, ok, unseen, warning
from flowgauge_operator.doctor.snapshot import Body, Snapshot, Unseen, Workflow
from flowgauge_operator.render import annotated

_SCRAPED = ("ServiceMonitor", "PodMonitor", "AnnotatedPods", "Annotations")
_ENDED = ("Succeeded", "Failed")


def own(flow: Workflow) -> Sequence[Body]:
    """The pods of the workflow that are not at their end."""
    if isinstance(flow.pods, Unseen):
        return ()
    return [
        pod
        for pod in flow.pods
        if _is_own(flow, pod)
        and (pod.get("status") or {}).get("phase") not in _ENDED
        and "deletionTimestamp" not in pod["metadata"]
    ]


def _is_own(flow: Workflow, pod: Body) -> bool:
    meta = pod["metadata"]
    if flow.mode == "AnnotatedPods":
        return bool((meta.get("annotations") or {}).get(names.WORKFLOW) == flow.name)
    labels = _labels(flow)
    return bool(labels) and selectors.matches({"matchLabels": labels}, meta.get("labels") or {})


def _labels(flow: Workflow) -> Mapping[str, str]:
    found: Mapping[str, str] = (flow.spec.get("selector") or {}).get("matchLabels") or {}
    return found


def declared(pod: Body) -> list[Mapping[str, Any]]:
    """The ports that the containers of a pod declare; sidecars among the init containers count."""
    spec = pod["spec"]
    lasting = [c for c in spec.get("initContainers") or [] if c.get("restartPolicy") == "Always"]
    return [
        port for c in (*(spec.get("containers") or ()), *lasting) for port in c.get("ports") or []
    ]


def wanted_port(flow: Workflow, pod: Body | None = None) -> int | str | None:
    """The port that is scraped, as the operator renders it; annotated pods may name their own."""
    if flow.rendered is None:
        return flow.scrape.get("port")
    if flow.mode == "AnnotatedPods":
        return _annotated_port(flow, pod)
    for child in flow.rendered.children:
        if child["kind"] == "Service":
            port: int | str = child["spec"]["ports"][0]["targetPort"]
            return port
        if child["kind"] == "PodMonitor":
            endpoint = child["spec"]["podMetricsEndpoints"][0]
            return endpoint.get("portNumber", endpoint.get("port"))  # type: ignore[no-any-return]
    return None


def _annotated_port(flow: Workflow, pod: Body | None) -> int | str | None:
    """As the shared PodMonitor decides: the spec, else the pod, else the profile."""
    given = flow.scrape.get("port")
    notes = ((pod or {}).get("metadata") or {}).get("annotations") or {}
    for prefix in annotated.PREFIXES if flow.scrape.get("port") is None else ():
        given = notes.get(f"{prefix}/port", given)
    shares = flow.rendered.shares if flow.rendered else ()
    usual = next((one.port for share in shares for one in share.pods), None)
    port = str(given if given is not None else usual)
    return int(port) if port.isdigit() else port


def number_of(pod: Body, port: int | str | None) -> int | None:
    """The number of a port that is given by name or number; None where the pod does not name it."""
    if isinstance(port, int) or port is None:
        return port
    return next((p["containerPort"] for p in declared(pod) if p.get("name") == port), None)


def selected(seen: Snapshot) -> Iterator[Finding]:
    """Whether the selector matches pods."""
    flow = _scraped(seen)
    if flow is None:
        return
    if isinstance(flow.pods, Unseen):
        yield unseen("selector", f"the pods in {flow.namespace}", flow.pods)
        return
    wanted = ",".join(f"{key}={value}" for key, value in _labels(flow).items())
    if flow.mode == "AnnotatedPods":
        wanted = f"the annotation {names.WORKFLOW}: {flow.name}"
    found = own(flow)
    if found:
        yield ok(
            "selector",
            f"{wanted} matches {len(found)} pod{'s' if len(found) > 1 else ''}: {listed(_names(found), 3)}",
        )
        return
    if flow.scrape.get("intermittent"):
        yield ok(
            "selector", f"{wanted} matches no pod now; the workflow has pods only while it runs"
        )
    elif ended := [pod["metadata"]["name"] for pod in flow.pods if _is_own(flow, pod)]:
        told = f"{wanted} matches no pod that lives; {listed(ended, 3)} has ended"
        remedy = (
            "if it only runs now and then: spec.scrape.intermittent: true, or let it push (spec.scrape.mode: Push,"
            " docs/push.md)"
        )
        if flow.is_discovered:
            remedy = f'if they only run now and then, the annotation {names.GROUP}/intermittent: "true" on their template'
        yield warning("selector", told, remedy)
    else:
        yield _unmatched(flow, wanted, flow.pods)


def _unmatched(flow: Workflow, wanted: str, known: Sequence[Body]) -> Finding:
    look = f"kubectl -n {flow.namespace} get pods --show-labels\nkubectl -n {flow.namespace} edit mwf {flow.name}"
    if flow.mode == "AnnotatedPods":
        notes = [(pod["metadata"].get("annotations") or {}).get(names.WORKFLOW) for pod in known]
        others = sorted({note for note in notes if note})
        hint = f"; the pods there are annotated for {listed(others)}" if others else ""
        return error("selector", f"no pod in {flow.namespace} has {wanted}{hint}", look)
    everything = [(pod["metadata"]["name"], pod["metadata"].get("labels") or {}) for pod in known]
    near = selectors.nearest(_labels(flow), everything) or everything
    hints = list(dict.fromkeys(_shown(has) for _, has in near))
    hint = f"did you mean {' or '.join(hints[:2])}?" if hints else f"{flow.namespace} has no pods"
    return error(
        "selector", f"spec.selector {wanted} matches no pod in {flow.namespace}; {hint}", look
    )


# Labels that are another for each revision, run or pod.
_PASSING = frozenset(
    {
        "pod-template-hash",
        "pod-template-generation",
        "controller-revision-hash",
        "controller-uid",
        "job-name",
        "batch.kubernetes.io/controller-uid",
        "batch.kubernetes.io/job-name",
        "batch.kubernetes.io/job-completion-index",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
        "workflows.argoproj.io/workflow",
        "workflows.argoproj.io/completed",
    }
)


def lasting_labels(flow: Workflow, pod: Body) -> Mapping[str, str]:
    """The labels that select the pods of the workflow: those of its selector, else those of a pod that its next has too."""
    if flow.mode != "AnnotatedPods":
        return _labels(flow)
    return _lasting(pod["metadata"].get("labels") or {})


def _lasting(labels: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in labels.items() if key not in _PASSING}


def _shown(labels: Mapping[str, str]) -> str:
    own_labels = _lasting(labels)
    return ",".join(f"{k}={v}" for k, v in own_labels.items()) or "(a pod without labels)"


def _names(pods: Sequence[Body]) -> list[str]:
    return [pod["metadata"]["name"] for pod in pods]


def _scraped(seen: Snapshot) -> Workflow | None:
    flow = seen.workflow
    if flow is None or isinstance(flow.body, Unseen) or flow.mode not in _SCRAPED:
        return None
    return flow


def running(seen: Snapshot) -> Iterator[Finding]:
    """Whether the pods run and are ready."""
    flow = _scraped(seen)
    found = own(flow) if flow else ()
    if flow is None or not found:
        return
    bad = [(pod, why) for pod in found if (why := _trouble(pod))]
    for pod, why in bad[:5]:
        name = pod["metadata"]["name"]
        look = f"kubectl -n {flow.namespace} describe pod {name}\nkubectl -n {flow.namespace} logs {name} --all-containers --tail=30"
        yield warning("pods", f"{name} {why}", look)
    if not bad:
        yield ok("pods", f"all {len(found)} run and are ready")


def _trouble(pod: Body) -> str:
    status = pod.get("status") or {}
    for container in status.get("containerStatuses") or []:
        waiting = (container.get("state") or {}).get("waiting")
        if waiting:
            return f"waits: {waiting.get('reason', '')} {waiting.get('message', '')}".strip()
    if status.get("phase") != "Running":
        return f"is {status.get('phase', 'unknown')}"
    ready: dict[str, Any] = next(
        (c for c in status.get("conditions") or [] if c["type"] == "Ready"), {}
    )
    if ready.get("status") == "True":
        return ""
    return f"is not ready: {ready.get('message') or ready.get('reason') or 'its probe fails'}"


def port(seen: Snapshot) -> Iterator[Finding]:
    """Whether a container declares the port that is scraped."""
    flow = _scraped(seen)
    found = own(flow) if flow else ()
    if flow is None or not found:
        return
    # Annotated pods may each name a port of their own.
    wanted = {wanted_port(flow, pod): None for pod in found}
    lacking = {
        port: [p for p in found if wanted_port(flow, p) == port and not _declares(p, port)]
        for port in wanted
        if port is not None
    }
    for port, pods in lacking.items():
        yield _undeclared(flow, port, pods) if pods else ok("port", f"the pods declare {port}")


def _undeclared(flow: Workflow, wanted: int | str, lacking: Sequence[Body]) -> Finding:
    known = {
        f"{p.get('name', '(no name)')} ({p['containerPort']})"
        for pod in lacking
        for p in declared(pod)
    }
    have = (
        f"the containers declare {listed(sorted(known))}"
        if known
        else "no container declares any port"
    )
    of = listed(_names(lacking), 2)
    if isinstance(wanted, int) and flow.mode != "PodMonitor":
        told = f"no container of {of} declares {wanted}; {have}. It is scraped all the same, if the program listens there"
        remedy = f"name it in the pod: ports: [{{name: metrics, containerPort: {wanted}}}]"
        return warning("port", told, remedy)
    told = f"no container of {of} has a port {'named ' if isinstance(wanted, str) else ''}{wanted}; {have}"
    ports = [p for pod in lacking for p in declared(pod)]
    return error("port", told, _port_remedy(flow, wanted, ports))


def _port_remedy(flow: Workflow, wanted: int | str, known: Sequence[Mapping[str, Any]]) -> str:
    named = [str(p["name"]) for p in known if p.get("name")]
    near = difflib.get_close_matches(str(wanted), named, 1, 0.4) or named[:1]
    pick = near[0] if near else (known[0]["containerPort"] if known else 9090)
    if flow.mode == "AnnotatedPods" and flow.scrape.get("port") is None:
        # A discovered workflow that is patched follows the annotations no more.
        return f'give the template of the pods the annotation {names.POD_PORT}: "{pick}", or name the port of its container {wanted}'
    value = f'"{pick}"' if isinstance(pick, str) else pick
    patch = f'{{"spec":{{"scrape":{{"port":{value}}}}}}}'
    return f"kubectl -n {flow.namespace} patch mwf {flow.name} --type=merge -p '{patch}'"


def _declares(pod: Body, wanted: int | str) -> bool:
    key = "containerPort" if isinstance(wanted, int) else "name"
    return any(p.get(key) == wanted for p in declared(pod))


def service(seen: Snapshot) -> Iterator[Finding]:
    """Whether the Service has the pods as its endpoints."""
    flow = _scraped(seen)
    if flow is None or flow.mode in ("PodMonitor", "AnnotatedPods"):
        return
    name = names.child(flow.name, "metrics")
    if isinstance(flow.services, Unseen):
        yield unseen("service", f"the Service {name}", flow.services)
        return
    if not any(body["metadata"]["name"] == name for body in flow.services):
        told = f"there is no Service {name}, which the operator makes"
        yield error("service", told, f"kubectl -n {flow.namespace} describe mwf {flow.name}")
        return
    if isinstance(flow.slices, Unseen):
        yield unseen("service", f"the endpoints of {name}", flow.slices)
        return
    ours = [
        s
        for s in flow.slices
        if (s["metadata"].get("labels") or {}).get("kubernetes.io/service-name") == name
    ]
    addresses = [
        a
        for s in ours
        if s.get("ports")
        for e in s.get("endpoints") or []
        for a in e.get("addresses") or []
    ]
    if addresses:
        yield ok(
            "service", f"{name} has {len(addresses)} endpoint{'s' if len(addresses) > 1 else ''}"
        )
    elif own(flow):
        told = f"the Service {name} has no endpoint with the port {wanted_port(flow)}, although pods match"
        yield error("service", told, "see the finding port")
    elif flow.scrape.get("intermittent"):
        yield ok(
            "service", f"{name} has no endpoints now; the workflow has pods only while it runs"
        )
    else:
        yield error("service", f"the Service {name} has no endpoints", "see the finding selector")
