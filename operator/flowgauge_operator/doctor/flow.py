"""Gather what belongs to one workflow, and render it as the operator would. Asks by `asking`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from flowgauge import profiles
from flowgauge.profiles import Profile, ProfileError
from flowgauge_operator import kinds, model, names, vocabulary
from flowgauge_operator.doctor.asking import Api, together
from flowgauge_operator.doctor.snapshot import Bodies, Body, Snapshot, Unseen, Workflow
from flowgauge_operator.kinds import Kind
from flowgauge_operator.model import SpecError
from flowgauge_operator.promql import ExpressionError
from flowgauge_operator.render import Rendered, render

_SLICES = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"
_POLICIES = "/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies"


def workflow(api: Api, namespace: str, name: str, seen: Snapshot) -> Workflow:
    """The workflow and everything in its namespace that its monitoring goes through."""
    body = api.get(kinds.WORKFLOW.path(namespace, name))
    if isinstance(body, Unseen):
        return Workflow(namespace, name, body)
    asked: dict[str, Callable[[], Any]] = {
        "pods": lambda: api.listed(kinds.POD.path(namespace)),
        "services": lambda: _ours(api, kinds.SERVICE, namespace),
        "slices": lambda: _slices(api, namespace, name),
        "service_monitors": lambda: _ours(api, kinds.SERVICE_MONITOR, namespace),
        "pod_monitors": lambda: _ours(api, kinds.POD_MONITOR, namespace),
        "rules": lambda: _ours(api, kinds.PROMETHEUS_RULE, namespace),
        "dashboards": lambda: _ours(api, kinds.GRAFANA_DASHBOARD, namespace),
        "notifications": lambda: _ours(api, kinds.ALERTMANAGER_CONFIG, namespace),
        "policies": lambda: _policies(api, namespace, seen),
        "profiles": lambda: _profiles(api, (body.get("spec") or {}).get("profile", "workflow")),
    }
    found = together(asked)
    known: Mapping[str, Body | Unseen] = found["profiles"]
    made, faults = _rendered(body, known, seen)
    policies, hidden = _parted(found["policies"])
    return Workflow(
        namespace,
        name,
        body,
        profiles=known,
        rendered=made,
        faults=faults,
        pods=found["pods"],
        services=found["services"],
        slices=found["slices"],
        monitors=_joined(found["service_monitors"], found["pod_monitors"]),
        rules=found["rules"],
        dashboards=found["dashboards"],
        notifications=found["notifications"],
        policies=policies,
        policies_unseen=hidden,
    )


def _ours(api: Api, kind: Kind, namespace: str) -> Bodies:
    found = api.listed(kind.path(namespace), labelSelector=names.MANAGED_SELECTOR)
    # Where the kind is missing there are none of them.
    return () if isinstance(found, Unseen) and found.sort == "absent" else found


def _joined(one: Bodies, other: Bodies) -> Bodies:
    if isinstance(one, Unseen):
        return one
    return other if isinstance(other, Unseen) else [*one, *other]


def _slices(api: Api, namespace: str, name: str) -> Bodies:
    selector = f"kubernetes.io/service-name={names.child(name, 'metrics')}"
    return api.listed(_SLICES.format(quote(namespace)), labelSelector=selector)


def _parted(found: tuple[Bodies, Unseen | None] | Unseen) -> tuple[Bodies, Unseen | None]:
    return (found, None) if isinstance(found, Unseen) else found


def _policies(api: Api, namespace: str, seen: Snapshot) -> tuple[Bodies, Unseen | None]:
    """Those of the workflow's namespace, and those that may keep Prometheus in; why some of the latter are not known."""
    own = api.listed(_POLICIES.format(quote(namespace)))
    if isinstance(own, Unseen) or isinstance(seen.scrapers, Unseen):
        return own, None
    found, unseen = list(own), None
    for space in {body["metadata"]["namespace"] for body in seen.scrapers} - {namespace}:
        theirs = api.listed(_POLICIES.format(quote(space)))
        if isinstance(theirs, Unseen):
            unseen = theirs
        else:
            found += theirs
    return found, unseen


def _profiles(api: Api, wanted: str) -> dict[str, Body | Unseen]:
    """The cluster's own profiles; the one that is named also where they cannot be listed."""
    if wanted in profiles.names():
        return {}
    listed = api.listed(kinds.PROFILE.path())
    if isinstance(listed, Unseen):
        return {wanted: api.get(kinds.PROFILE.path(None, wanted))}
    found: dict[str, Body | Unseen] = {body["metadata"]["name"]: body for body in listed}
    return {wanted: Unseen("there is none", sort="absent"), **found}


def _rendered(
    body: dict[str, Any], known: Mapping[str, Body | Unseen], seen: Snapshot
) -> tuple[Rendered | None, tuple[str, ...]]:
    """What the operator would make of it, and what is wrong with the spec."""
    name = (body.get("spec") or {}).get("profile", "workflow")
    try:
        parsed = model.parse(body)
        profile = _profile(name, known)
        if profile is None:
            return None, ()
        made = render(parsed, profile, seen.capabilities, seen.options)
    except SpecError as error:
        return None, tuple(str(fault) for fault in error.faults)
    except (ProfileError, ExpressionError) as error:
        return None, (str(error),)
    return made, tuple(str(problem) for problem in made.problems)


def _profile(name: str, known: Mapping[str, Body | Unseen]) -> Profile | None:
    if name in profiles.names():
        return profiles.builtin(name)
    body = known.get(name)
    if body is None or isinstance(body, Unseen):
        return None
    return vocabulary.read(body, f"WorkflowProfile {name}")
