"""Whether NetworkPolicies let one pod reach a port of another, as their specification says. Pure.

Which policies a cluster's network really enforces, nobody can ask the API server; what they say, everybody can read.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowgauge_operator.doctor import selectors

Policy = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Party:
    """One side of a connection: a pod as policies see it. `ports` are its named container ports."""

    namespace: str
    labels: Mapping[str, str]
    namespace_labels: Mapping[str, str]
    addresses: Sequence[str] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    is_on_host: bool = False


@dataclass(frozen=True, slots=True)
class Port:
    """The port that is to be reached."""

    number: int
    protocol: str = "TCP"


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether a connection is admitted, and the policies that select the pod, without which everything is.

    None is for a peer whose addresses nobody knows, where a policy names some.
    """

    admitted: bool | None
    policies: tuple[str, ...] = ()


def ingress(policies: Iterable[Policy], target: Party, source: Party, port: Port) -> Ruling:
    """Whether `target`, a pod of the policies' namespace, may be reached by `source` on the port."""
    return _ruling(policies, "Ingress", target, source, target, port)


def egress(policies: Iterable[Policy], source: Party, target: Party, port: Port) -> Ruling:
    """Whether `source`, a pod of the policies' namespace, may reach `target` on the port."""
    return _ruling(policies, "Egress", source, target, target, port)


def _ruling(
    policies: Iterable[Policy],
    direction: str,
    pod: Party,
    peer: Party,
    target: Party,
    port: Port,
) -> Ruling:
    selecting = [policy for policy in policies if _selects(policy, direction, pod)]
    named = tuple(str(policy["metadata"]["name"]) for policy in selecting)
    rules = [rule for policy in selecting for rule in policy["spec"].get(direction.lower()) or []]
    admitted = not selecting or any(
        _admits(rule, direction, pod.namespace, peer, target, port) for rule in rules
    )
    if not admitted and not peer.addresses and any(_names_addresses(rule) for rule in rules):
        return Ruling(None, named)
    return Ruling(admitted, named)


def _names_addresses(rule: Mapping[str, Any]) -> bool:
    return any("ipBlock" in one for one in (*(rule.get("from") or ()), *(rule.get("to") or ())))


def _selects(policy: Policy, direction: str, pod: Party) -> bool:
    spec = policy["spec"]
    types = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    return (
        policy["metadata"]["namespace"] == pod.namespace
        and direction in types
        # Pods in the network of their node are beyond policies.
        and not pod.is_on_host
        and selectors.matches(spec.get("podSelector") or {}, pod.labels)
    )


def _admits(
    rule: Mapping[str, Any],
    direction: str,
    namespace: str,
    peer: Party,
    target: Party,
    port: Port,
) -> bool:
    peers = rule.get("from" if direction == "Ingress" else "to") or []
    ports = rule.get("ports") or []
    # An empty or absent list admits all.
    return (not peers or any(_is_peer(one, namespace, peer) for one in peers)) and (
        not ports or any(_is_port(one, target, port) for one in ports)
    )


def _is_peer(allowed: Mapping[str, Any], namespace: str, peer: Party) -> bool:
    if block := allowed.get("ipBlock"):
        return any(_is_in(block, address) for address in peer.addresses)
    if peer.is_on_host:
        return False
    spaces, pods = allowed.get("namespaceSelector"), allowed.get("podSelector")
    if spaces is None and pods is None:
        return False
    if spaces is None:
        is_there = peer.namespace == namespace
    else:
        is_there = selectors.matches(spaces, peer.namespace_labels)
    return is_there and selectors.matches(pods or {}, peer.labels)


def _is_in(block: Mapping[str, Any], address: str) -> bool:
    try:
        place = ipaddress.ip_address(address)
        return place in ipaddress.ip_network(block["cidr"], strict=False) and not any(
            place in ipaddress.ip_network(cidr, strict=False) for cidr in block.get("except") or []
        )
    except ValueError:
        return False


def _is_port(allowed: Mapping[str, Any], target: Party, port: Port) -> bool:
    if (allowed.get("protocol") or "TCP") != port.protocol:
        return False
    wanted = allowed.get("port")
    if wanted is None:
        return True
    if isinstance(wanted, str):
        # A name is that of a container port of whoever is reached.
        return target.ports.get(wanted) == port.number
    return bool(wanted <= port.number <= allowed.get("endPort", wanted))
