"""Fill a snapshot: what is asked, in which order. Asks by `asking`, decides nothing that a check should.

What depends on nothing else is asked at once. Every answer that could not be had stays in its place as `Unseen`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from flowgauge_operator import kinds, operation
from flowgauge_operator import lease as leases
from flowgauge_operator.doctor import access, flags, places
from flowgauge_operator.doctor.asking import Api, together
from flowgauge_operator.doctor.flow import workflow
from flowgauge_operator.doctor.servers import Reach, alertmanager, prometheus
from flowgauge_operator.doctor.snapshot import (
    Access,
    Bodies,
    Body,
    Held,
    Installed,
    Snapshot,
    Unseen,
    Workflow,
)
from flowgauge_operator.render import Capabilities, Options

_CRDS = (
    kinds.WORKFLOW.resource,
    kinds.PROFILE.resource,
    kinds.SERVICE_MONITOR.resource,
    kinds.POD_MONITOR.resource,
    kinds.PROMETHEUS_RULE.resource,
    kinds.ALERTMANAGER_CONFIG.resource,
    kinds.GRAFANA_DASHBOARD.resource,
)
_SERVED = {kind.resource: kind for kind in kinds.KINDS}
_MONITORING = f"/apis/{kinds.MONITORING}/v1"
_PROMETHEUS = "app.kubernetes.io/name in (prometheus,prometheus-agent)"
_WORKFLOWS = kinds.WORKFLOW.path()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody asks the doctor: of the cluster, of what is in a namespace of it, or of one workflow there."""

    version: str
    namespace: str = ""
    name: str = ""
    operator_namespace: str = "flowgauge-system"
    reach: Reach = dataclasses.field(default_factory=Reach)


def snapshot(api: Api, request: Request) -> Snapshot:
    """Everything that the checks read."""
    seen = _cluster(api, request)
    seen = dataclasses.replace(seen, operators=_operators(api, request, seen.workloads))
    serving = _serving(seen.operators, request.namespace)
    seen = dataclasses.replace(
        seen,
        options=operation.options(serving.settings) if serving else Options(),
        capabilities=_capabilities(seen.crds),
    )
    flow = _flow(api, request, seen)
    seen = dataclasses.replace(seen, workflow=flow, reviews=_reviews(api, seen, flow))
    url = serving.settings.prometheus_url if serving else ""
    home = serving.namespace if serving else ""
    server, observation = prometheus(api, request.reach, seen, url, home)
    if flow is not None:
        flow = dataclasses.replace(flow, observation=observation)
    seen = dataclasses.replace(seen, workflow=flow, prometheus=server)
    return dataclasses.replace(seen, alertmanager=alertmanager(api, request.reach, seen))


def _cluster(api: Api, request: Request) -> Snapshot:
    server = api.get("/version")
    now, there = datetime.now(UTC), api.date
    asked: dict[str, Callable[[], Any]] = {
        "namespaces": lambda: _namespaces(api, request.namespace),
        "deployments": lambda: api.listed("/apis/apps/v1/deployments"),
        "statefulsets": lambda: api.listed("/apis/apps/v1/statefulsets"),
        "prometheuses": lambda: api.listed(f"{_MONITORING}/prometheuses"),
        "agents": lambda: api.listed(f"/apis/{kinds.MONITORING}/v1alpha1/prometheusagents"),
        "rulers": lambda: api.listed(f"{_MONITORING}/thanosrulers"),
        "alertmanagers": lambda: api.listed(f"{_MONITORING}/alertmanagers"),
        "grafanas": lambda: api.listed("/apis/grafana.integreatly.org/v1beta1/grafanas"),
        "workflows": lambda: _workflows(api, request),
        "user": lambda: _user(api),
    }
    asked |= {name: functools.partial(_definition, api, name) for name in _CRDS}
    found = together(asked)
    seen = Snapshot(
        version=request.version,
        namespace=request.namespace,
        now=now,
        address=api.address,
        user=found["user"],
        asking_as=api.impersonation.flags(),
        server=server,
        server_time=there,
        crds={name: found[name] for name in _CRDS},
        workloads=_both(found["deployments"], found["statefulsets"]),
        namespaces=found["namespaces"],
        prometheuses=found["prometheuses"],
        agents=found["agents"],
        rulers=found["rulers"],
        alertmanagers=found["alertmanagers"],
        grafanas=found["grafanas"],
        workflows=found["workflows"],
    )
    return dataclasses.replace(seen, prometheus_pods=_prometheus_pods(api, seen.scrapers))


def _both(one: Bodies, other: Bodies) -> Bodies:
    if isinstance(one, Unseen):
        return one
    return [*one, *(() if isinstance(other, Unseen) else other)]


def _namespaces(api: Api, namespace: str) -> Bodies:
    found = api.listed("/api/v1/namespaces")
    if not isinstance(found, Unseen) or not namespace:
        return found
    one = api.get(f"/api/v1/namespaces/{quote(namespace)}")
    return found if isinstance(one, Unseen) else [one]


def _workflows(api: Api, request: Request) -> Bodies:
    """All of them, unless only those of a namespace are asked for, or may be seen."""
    own = kinds.WORKFLOW.path(request.namespace) if request.namespace else _WORKFLOWS
    found = api.listed(_WORKFLOWS if request.name else own)
    return api.listed(own) if isinstance(found, Unseen) and request.name else found


def _user(api: Api) -> str:
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    found = api.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", review)
    if isinstance(found, Unseen):
        return ""
    return str(((found.get("status") or {}).get("userInfo") or {}).get("username") or "")


def _definition(api: Api, name: str) -> Body | Unseen:
    """A CRD; who may not read it still sees whether its kind is served."""
    found = api.get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
    if not isinstance(found, Unseen) or found.sort != "forbidden":
        return found  # type: ignore[no-any-return]
    kind = _SERVED[name]
    served = api.get(kinds.group_path(kind.api_version))
    if isinstance(served, Unseen):
        return served if served.sort == "absent" else found
    known = {item["name"] for item in served.get("resources") or []}
    if kind.plural not in known:
        return Unseen(f"{name} is not served", sort="absent")
    return Unseen(
        f"it is served, but you may not read the CRD ({found.why})", found.remedy, "forbidden"
    )


def _prometheus_pods(api: Api, scrapers: Bodies) -> Bodies:
    if isinstance(scrapers, Unseen):
        return scrapers
    spaces = sorted({body["metadata"]["namespace"] for body in scrapers})
    lists = together({space: functools.partial(_pods, api, space, _PROMETHEUS) for space in spaces})
    return [pod for pods in lists.values() if not isinstance(pods, Unseen) for pod in pods]


def _pods(api: Api, namespace: str, selector: str) -> Bodies:
    return api.listed(kinds.POD.path(namespace), labelSelector=selector)


def _operators(api: Api, request: Request, workloads: Bodies) -> Sequence[Installed]:
    known = workloads
    if isinstance(known, Unseen):
        known = api.listed(
            f"/apis/apps/v1/namespaces/{quote(request.operator_namespace)}/deployments"
        )
    if isinstance(known, Unseen):
        return ()
    found = [body for body in known if places.container_of(body) is not None]
    return list(
        together(
            {i: functools.partial(_operator, api, body) for i, body in enumerate(found)}
        ).values()
    )


def _operator(api: Api, body: Body) -> Installed:
    settings, faults = flags.read(places.container_of(body) or {})
    space = body["metadata"]["namespace"]
    labels = (body["spec"].get("selector") or {}).get("matchLabels") or {}
    pods = _pods(api, space, ",".join(f"{key}={value}" for key, value in labels.items()))
    lease: Held | Unseen | None = None
    if settings.leader_elect:
        where = settings.leader_election_namespace or space
        found = api.get(kinds.LEASE.path(where, settings.leader_election_id))
        lease = found if isinstance(found, Unseen) else _held(found)
    return Installed(body, settings, tuple(faults), pods, lease)


def _held(body: Body) -> Held:
    lease = leases.parse(body)
    return Held(lease.holder, lease.renewed)


def _serving(operators: Iterable[Installed], namespace: str) -> Installed | None:
    """The operator that serves a namespace, else the first."""
    known = list(operators)
    for operator in known:
        served = operator.settings.namespaces
        if not namespace or not served or namespace in served:
            return operator
    return known[0] if known else None


def _capabilities(crds: Mapping[str, Body | Unseen]) -> Capabilities:
    """The kinds that there are; what is hidden is taken to be there."""
    absent = {
        name for name, found in crds.items() if isinstance(found, Unseen) and found.sort == "absent"
    }
    known = (
        kinds.SERVICE_MONITOR,
        kinds.POD_MONITOR,
        kinds.PROMETHEUS_RULE,
        kinds.ALERTMANAGER_CONFIG,
        kinds.GRAFANA_DASHBOARD,
    )
    return Capabilities(frozenset(kind.kind for kind in known if kind.resource not in absent))


def _flow(api: Api, request: Request, seen: Snapshot) -> Workflow | None:
    if not request.name:
        return None
    return workflow(api, request.namespace, request.name, seen)


def _reviews(api: Api, seen: Snapshot, flow: Workflow | None) -> dict[Access, bool | Unseen]:
    wanted = access.of_reader(flow.namespace if flow else "")
    for operator in seen.operators:
        wanted += access.of_operator(operator, operation.WATCHED, seen.capabilities)
    if not isinstance(seen.scrapers, Unseen):
        spaces = [flow.namespace] if flow else _spaces(seen.workflows)[:1]
        for body in seen.scrapers:
            wanted += access.of_prometheus(body, spaces)
    return together({right: functools.partial(_may, api, right) for right in dict.fromkeys(wanted)})


def _spaces(workflows: Bodies) -> list[str]:
    if isinstance(workflows, Unseen):
        return []
    return sorted({body["metadata"]["namespace"] for body in workflows})


def _may(api: Api, right: Access) -> bool | Unseen:
    attributes = {
        "verb": right.verb,
        "group": right.group,
        "resource": right.resource,
        "subresource": right.subresource,
        "namespace": right.namespace,
        "name": right.name,
    }
    spec: dict[str, Any] = {"resourceAttributes": attributes}
    kind = "SelfSubjectAccessReview"
    if right.user:
        kind = "SubjectAccessReview"
        # RBAC gives rights to groups of ServiceAccounts as well.
        space = right.user.split(":")[2]
        groups = [
            "system:serviceaccounts",
            f"system:serviceaccounts:{space}",
            "system:authenticated",
        ]
        spec |= {"user": right.user, "groups": groups}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
    found = api.create(f"/apis/authorization.k8s.io/v1/{kind.lower()}s", body)
    if isinstance(found, Unseen):
        return found
    return bool((found.get("status") or {}).get("allowed"))
