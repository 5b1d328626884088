"""Which rights are needed: of the operator, of Prometheus, and of whoever runs the doctor. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flowgauge_operator import kinds
from flowgauge_operator.doctor.snapshot import Access, Body, Installed, account
from flowgauge_operator.kinds import READ, WRITE, Kind, Watched
from flowgauge_operator.render import Capabilities

# Kinds of others, which may be missing; ours is read without.
_OPTIONAL = frozenset(
    {
        kinds.SERVICE_MONITOR,
        kinds.POD_MONITOR,
        kinds.PROMETHEUS_RULE,
        kinds.ALERTMANAGER_CONFIG,
        kinds.GRAFANA_DASHBOARD,
    }
)
# What the chart can leave out, with the value that does; `rbac.alertmanagerConfigs` for example.
BY_CHOICE = {
    kinds.ALERTMANAGER_CONFIG.plural: "rbac.alertmanagerConfigs",
    kinds.GRAFANA_DASHBOARD.plural: "rbac.grafanaDashboards",
    kinds.PROFILE.plural: "rbac.profiles",
}


def of_operator(
    operator: Installed, watched: Sequence[Watched], capabilities: Capabilities
) -> list[Access]:
    """What the operator asks of the API server, in each namespace that it serves."""
    user, found = operator.account, []
    for namespace in operator.settings.namespaces or ("",):
        for item in watched:
            if item.kind in _OPTIONAL and not capabilities.has(item.kind.kind):
                continue
            # It looks at a child before it takes a name.
            verbs = (
                item.verbs if item.kind in (kinds.WORKFLOW, kinds.PROFILE) else ("get", *item.verbs)
            )
            found += [_right(user, verb, item.kind, namespace) for verb in verbs]
        if operator.settings.discovery != "off":
            found += [_right(user, verb, kinds.POD, namespace) for verb in READ]
            found += [_right(user, verb, kinds.WORKFLOW, namespace) for verb in WRITE]
        found.append(_right(user, "patch", kinds.WORKFLOW, namespace, "status"))
        found.append(_right(user, "create", kinds.EVENT, namespace))
    found.append(_right(user, "patch", kinds.PROFILE, "", "status"))
    if operator.settings.leader_elect:
        space = operator.settings.leader_election_namespace or operator.namespace
        lease = operator.settings.leader_election_id
        found.append(_right(user, "create", kinds.LEASE, space))
        found += [
            Access(user, verb, kinds.LEASE.group, kinds.LEASE.plural, space, lease)
            for verb in ("get", "update")
        ]
    return list(dict.fromkeys(found))


def _right(user: str, verb: str, kind: Kind, namespace: str, sub: str = "") -> Access:
    space = namespace if kind.namespaced else ""
    return Access(user, verb, kind.group, kind.plural, space, "", sub)


def of_prometheus(body: Body, namespaces: Iterable[str]) -> list[Access]:
    """What the ServiceAccount of a Prometheus needs to find targets in some namespaces."""
    spec = body["spec"]
    user = account(body["metadata"]["namespace"], spec.get("serviceAccountName") or "default")
    slices = spec.get("serviceDiscoveryRole") == "EndpointSlice"
    found = ("discovery.k8s.io", "endpointslices") if slices else ("", "endpoints")
    resources = (("", "pods"), ("", "services"), found)
    return [
        Access(user, verb, group, resource, namespace)
        for namespace in namespaces
        for group, resource in resources
        for verb in ("list", "watch")
    ]


_READ = (
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("", "namespaces"),
    ("apps", "deployments"),
    ("coordination.k8s.io", "leases"),
    (kinds.MONITORING, "prometheuses"),
    (kinds.MONITORING, "alertmanagers"),
    (kinds.FLOWGAUGE, kinds.WORKFLOW.plural),
)
_READ_OF_WORKFLOW = (
    (kinds.FLOWGAUGE, kinds.WORKFLOW.plural),
    ("", "pods"),
    ("", "services"),
    ("discovery.k8s.io", "endpointslices"),
    (kinds.MONITORING, "servicemonitors"),
    (kinds.MONITORING, "prometheusrules"),
    ("networking.k8s.io", "networkpolicies"),
)


def of_reader(namespace: str) -> list[Access]:
    """What whoever runs the doctor needs to see everything; with a namespace, also of a workflow in it."""
    found = [Access("", "list", group, resource) for group, resource in _READ]
    if namespace:
        found += [
            Access("", "list", group, resource, namespace) for group, resource in _READ_OF_WORKFLOW
        ]
    return found
