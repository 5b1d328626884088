"""Find out which kinds exist in the cluster and which of them we may use. Called by `watch` at start and every minute.

One forbidden or missing kind would end kopf as a whole, so it must be known before anything is watched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from flowgauge_operator.kinds import Kind, Watched


class Reviewer(Protocol):
    """What we need of the cluster."""

    async def resources(self, group_version: str) -> dict[str, frozenset[str]]:
        """Return the verbs of each resource of a group and version."""
        ...

    async def may(self, verb: str, group: str, resource: str, namespace: str | None = None) -> bool:
        """Tell whether we may do this."""
        ...


@dataclass(frozen=True)
class Discovery:
    """Hold which kinds can be used, and why the others cannot: a sentence for a condition."""

    present: frozenset[Kind] = frozenset()
    forbidden: Mapping[Kind, str] = field(default_factory=dict)
    absent: Mapping[Kind, str] = field(default_factory=dict)

    def reason(self, kind: Kind) -> str | None:
        """Return why a kind is not used, or None if it is."""
        return self.forbidden.get(kind) or self.absent.get(kind)


async def discover(
    cluster: Reviewer, wanted: Sequence[Watched], namespaces: Sequence[str] = ()
) -> Discovery:
    """Look at each kind; with namespaces, a kind must be allowed in all of them.

    Raise `errors.ApiError` when the cluster cannot be asked.
    """
    versions = list(dict.fromkeys(item.kind.api_version for item in wanted))
    found = await asyncio.gather(*(cluster.resources(version) for version in versions))
    served = dict(zip(versions, found, strict=True))
    there = [item for item in wanted if _is_served(item.kind, served)]
    # At once: whoever takes over has a few seconds, and in a list of namespaces these are hundreds of questions.
    answers = await asyncio.gather(*(_denied(cluster, item, namespaces) for item in there))
    denied = {
        item.kind: reason for item, reason in zip(there, answers, strict=True) if reason is not None
    }
    kinds = [item.kind for item in there]
    return Discovery(
        frozenset(kind for kind in kinds if kind not in denied),
        denied,
        {
            item.kind: f"{item.kind.kind} ({item.kind.api_version}) is not installed in this cluster"
            for item in wanted
            if item.kind not in kinds
        },
    )


def _is_served(kind: Kind, served: Mapping[str, Mapping[str, frozenset[str]]]) -> bool:
    return {"list", "watch"} <= served[kind.api_version].get(kind.plural, frozenset())


async def _denied(cluster: Reviewer, item: Watched, namespaces: Sequence[str]) -> str | None:
    kind = item.kind
    asked = [
        (namespace, verb)
        for namespace in (namespaces if kind.namespaced and namespaces else (None,))
        for verb in item.verbs
    ]
    answers = await asyncio.gather(
        *(cluster.may(verb, kind.group, kind.plural, namespace) for namespace, verb in asked)
    )
    for (namespace, verb), is_allowed in zip(asked, answers, strict=True):
        if not is_allowed:
            where = f" in namespace {namespace}" if namespace else ""
            return f"the operator may not {verb} {kind.resource}{where} (RBAC)"
    return None
