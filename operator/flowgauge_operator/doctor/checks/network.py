"""Whether NetworkPolicies keep Prometheus from the pods of the workflow. Pure."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping, Sequence

from flowgauge_operator.doctor import networkpolicy
from flowgauge_operator.doctor.checks import pods, prometheus
from flowgauge_operator.doctor.finding import (
    Finding,
    error,
    listed,
    ok,
    unknown,
    unseen,
    warning,
)
from flowgauge_operator.doctor.networkpolicy import Party, Port, Ruling
from flowgauge_operator.doctor.snapshot import Body, Snapshot, Unseen, Workflow, title

_NAMESPACE_NAME = "kubernetes.io/metadata.name"


def admitted(seen: Snapshot) -> Iterator[Finding]:
    """Whether the policies admit what Prometheus wants of the pods, at both ends."""
    flow = seen.workflow
    if flow is None or isinstance(flow.body, Unseen):
        return
    found = pods.own(flow)
    if not found:
        return
    if isinstance(flow.policies, Unseen):
        yield unseen("network-policy", "the NetworkPolicies", flow.policies)
        return
    if isinstance(seen.prometheuses, Unseen):
        if flow.policies and seen.prometheuses.sort != "absent":
            told = "which pods NetworkPolicies have to admit: the Prometheus objects"
            yield unseen("network-policy", told, seen.prometheuses)
        return
    for body in prometheus.scraping(seen):
        yield from _of_one(seen, flow, body, found)


def _of_one(seen: Snapshot, flow: Workflow, body: Body, found: Sequence[Body]) -> Iterator[Finding]:
    policies = () if isinstance(flow.policies, Unseen) else flow.policies
    sources = scrapers(seen, body)
    numbers = [
        (pod, pods.number_of(pod, pods.wanted_port(flow, pod)) or _any_port(pod)) for pod in found
    ]
    doubts = []
    if policies and all(number is None for _, number in numbers):
        doubts.append(("no port of the pods is known", "see the finding port"))
    for pod, number in numbers:
        if number is None:
            continue
        target = party(seen, pod)
        for source in sources:
            inward = networkpolicy.ingress(policies, target, source, Port(number))
            outward = networkpolicy.egress(policies, source, target, Port(number))
            if inward.admitted is False:
                yield _refused(seen, flow, body, pod, source, number, inward)
                return
            if outward.admitted is False:
                yield _kept_in(flow, body, pod, number, outward)
                return
            if None in (inward.admitted, outward.admitted):
                doubts.append(("a policy names addresses, and those of Prometheus or the pods are not known", ""))  # fmt: skip
    if doubts:
        why, remedy = doubts[0]
        told = f"whether policies admit {title(body)} to the pods cannot be told: {why}"
        yield unknown("network-policy", told, remedy)
        return
    if flow.policies_unseen is not None and body["metadata"]["namespace"] != flow.namespace:
        told = f"whether NetworkPolicies let {title(body)} out of its namespace"
        yield unseen("network-policy", told, flow.policies_unseen)
        return
    told = "no policy selects the pods" if not policies else "policies admit it"
    yield ok("network-policy", f"{title(body)} may reach the pods: {told}")


def _any_port(pod: Body) -> int | None:
    """Where the port has a wrong name, policies are looked at all the same, for the first port that there is."""
    return next((p["containerPort"] for p in pods.declared(pod)), None)


def scrapers(seen: Snapshot, body: Body) -> list[Party]:
    """The pods of a Prometheus as policies see them; where none are seen, as prometheus-operator would label them."""
    meta = body["metadata"]
    program = "prometheus-agent" if body.get("kind") == "PrometheusAgent" else "prometheus"
    labels = {
        "app.kubernetes.io/name": program,
        "app.kubernetes.io/instance": meta["name"],
        "app.kubernetes.io/managed-by": "prometheus-operator",
        "operator.prometheus.io/name": meta["name"],
        "prometheus": meta["name"],
        **((body["spec"].get("podMetadata") or {}).get("labels") or {}),
    }
    known = () if isinstance(seen.prometheus_pods, Unseen) else seen.prometheus_pods
    own = [
        party(seen, pod)
        for pod in known
        if pod["metadata"]["namespace"] == meta["namespace"]
        and (pod["metadata"].get("labels") or {}).get("operator.prometheus.io/name") == meta["name"]
    ]
    host = bool(body["spec"].get("hostNetwork"))
    space = meta["namespace"]
    return own or [Party(space, labels, _labels(seen, space), is_on_host=host)]


def party(seen: Snapshot, pod: Body) -> Party:
    """A pod as policies see it."""
    space = pod["metadata"]["namespace"]
    status = pod.get("status") or {}
    addresses = [str(item["ip"]) for item in status.get("podIPs") or []]
    return Party(
        space,
        pod["metadata"].get("labels") or {},
        _labels(seen, space),
        addresses or ([str(status["podIP"])] if status.get("podIP") else []),
        {p["name"]: p["containerPort"] for p in pods.declared(pod) if p.get("name")},
        bool(pod["spec"].get("hostNetwork")),
    )


def _labels(seen: Snapshot, namespace: str) -> Mapping[str, str]:
    # The API server gives every namespace this label, also where we may not look.
    return {_NAMESPACE_NAME: namespace, **(seen.labels_of(namespace) or {})}


def _refused(
    seen: Snapshot,
    flow: Workflow,
    body: Body,
    pod: Body,
    source: Party,
    number: int,
    ruling: Ruling,
) -> Finding:
    told = (
        f"NetworkPolicy {listed(ruling.policies)} in {flow.namespace} admits nothing from {title(body)} to"
        f" {pod['metadata']['name']}:{number}"
    )
    remedy = _opening(flow, body, pod, source, number)
    # Several Prometheus objects: only one of them has to get through.
    several = len(prometheus.scraping(seen)) > 1
    return (warning if several else error)("network-policy", told, remedy)


def _opening(flow: Workflow, body: Body, pod: Body, source: Party, number: int) -> str:
    """The command that opens the way; in words where no policy can be made of what is known."""
    labels = pods.lasting_labels(flow, pod)
    peers = _peers(body, source)
    if not labels:
        # A selector without labels would close all other pods of the namespace.
        return f"give the pods a label, and admit {source.namespace} to their port {number} by a NetworkPolicy that selects it"
    if not peers:
        return f"Prometheus is in the network of its node (hostNetwork): admit the addresses of the nodes by ipBlock to port {number}"
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"{flow.name}-metrics", "namespace": flow.namespace},
        "spec": {
            "podSelector": {"matchLabels": labels},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": peers, "ports": [{"protocol": "TCP", "port": number}]}],
        },
    }
    # On one line: what is indented in a terminal cannot be copied as a here-document.
    return f"echo '{json.dumps(policy)}' | kubectl apply -f -"


def _peers(body: Body, source: Party) -> list[dict[str, object]]:
    """Prometheus as a policy names it: by labels, or by its addresses where it has those of its node."""
    if source.is_on_host:
        width = {4: 32, 6: 128}
        return [
            {"ipBlock": {"cidr": f"{ip}/{width[ipaddress.ip_address(ip).version]}"}}
            for ip in source.addresses
        ]
    name = {"operator.prometheus.io/name": body["metadata"]["name"]}
    space = {_NAMESPACE_NAME: source.namespace}
    return [{"namespaceSelector": {"matchLabels": space}, "podSelector": {"matchLabels": name}}]


def _kept_in(flow: Workflow, body: Body, pod: Body, number: int, ruling: Ruling) -> Finding:
    space = body["metadata"]["namespace"]
    told = f"NetworkPolicy {listed(ruling.policies)} in {space} does not let {title(body)} out to {pod['metadata']['name']}:{number}"
    remedy = f"allow egress from Prometheus to the namespace {flow.namespace}, port {number}, there"
    return error("network-policy", told, remedy)
