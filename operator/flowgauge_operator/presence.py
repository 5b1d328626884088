"""Find out which kinds exist in the cluster and which of them we may use. Called by `watch` at start and every minute.

One forbidden or missing kind would end kopf as a whole, so it must be known before anything is watched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from flowgauge_operator.kinds import Kind

READ = ("list", "watch")
WRITE = ("create", "patch", "delete")


class Reviewer(Protocol):
    """What we need of the cluster."""

    async def resources(self, group_version: str) -> dict[str, frozenset[str]]:
        """Return the verbs of each resource of a group and version."""
        ...

    async def may(self, verb: str, group: str, resource: str, namespace: str | None = None) -> bool:
        """Tell whether we may do this."""
        ...


@dataclass(frozen=True)
class Watched:
    """Name a kind to watch, the label selector that narrows it, and the verbs that we need.

    Of objects of a kind that is `metadata_only` nothing else is sent: a tenth of the bytes for both sides.
    """

    kind: Kind
    selector: str | None = None
    verbs: tuple[str, ...] = READ
    metadata_only: bool = False


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
    versions = dict.fromkeys(item.kind.api_version for item in wanted)
    served = {version: await cluster.resources(version) for version in versions}
    present, forbidden, absent = set(), {}, {}
    for item in wanted:
        kind = item.kind
        if not {"list", "watch"} <= served[kind.api_version].get(kind.plural, frozenset()):
            absent[kind] = f"{kind.kind} ({kind.api_version}) is not installed in this cluster"
        elif denied := await _denied(cluster, item, namespaces):
            forbidden[kind] = denied
        else:
            present.add(kind)
    return Discovery(frozenset(present), forbidden, absent)


async def _denied(cluster: Reviewer, item: Watched, namespaces: Sequence[str]) -> str | None:
    kind = item.kind
    for namespace in namespaces if kind.namespaced and namespaces else (None,):
        for verb in item.verbs:
            if not await cluster.may(verb, kind.group, kind.plural, namespace):
                where = f" in namespace {namespace}" if namespace else ""
                return f"the operator may not {verb} {kind.resource}{where} (RBAC)"
    return None
