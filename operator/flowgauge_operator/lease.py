"""The Lease as a record, and the store that reads and writes it with compare-and-swap. Used by `leader`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flowgauge_operator import errors, kinds
from flowgauge_operator.cluster import Cluster
from flowgauge_operator.kinds import Ref


@dataclass(frozen=True)
class Lease:
    """Say who leads. `version` is the resourceVersion that was read, None before creation.

    Times are wall clock and for people only: nobody decides by them.
    """

    holder: str
    duration: int
    transitions: int = 0
    acquired: datetime | None = None
    renewed: datetime | None = None
    version: str | None = None


def parse(body: Mapping[str, Any]) -> Lease:
    """Read a Lease object; absent fields mean that nobody holds it."""
    spec = body.get("spec") or {}
    return Lease(
        holder=spec.get("holderIdentity") or "",
        duration=spec.get("leaseDurationSeconds") or 0,
        transitions=spec.get("leaseTransitions") or 0,
        acquired=_time(spec.get("acquireTime")),
        renewed=_time(spec.get("renewTime")),
        version=body["metadata"]["resourceVersion"],
    )


def manifest(lease: Lease, namespace: str, name: str) -> dict[str, Any]:
    """Write a Lease object; an empty holder is left out, which is how a lease is released."""
    meta = {"name": name, "namespace": namespace, "resourceVersion": lease.version}
    spec = {
        "holderIdentity": lease.holder or None,
        "leaseDurationSeconds": lease.duration,
        "leaseTransitions": lease.transitions,
        "acquireTime": _spelled(lease.acquired),
        "renewTime": _spelled(lease.renewed),
    }
    return {
        "apiVersion": kinds.LEASE.api_version,
        "kind": kinds.LEASE.kind,
        "metadata": {key: value for key, value in meta.items() if value is not None},
        "spec": {key: value for key, value in spec.items() if value is not None},
    }


class LeaseStore:
    """Keep one Lease in the cluster; its calls overtake all others."""

    def __init__(self, cluster: Cluster, namespace: str, name: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name

    async def read(self) -> Lease | None:
        """Return the lease, or None if there is none; raise `errors.ApiError`."""
        ref = Ref(kinds.LEASE, self._namespace, self._name)
        try:
            return parse(await self._cluster.get(ref, is_urgent=True))
        except errors.NotFound:
            return None

    async def write(self, lease: Lease) -> Lease:
        """Store the lease and return it with its new version.

        Raise `errors.Conflict` if it is no longer the version that was read.
        """
        body = manifest(lease, self._namespace, self._name)
        store = self._cluster.create if lease.version is None else self._cluster.replace
        return parse(await store(body, is_urgent=True))


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _spelled(time: datetime | None) -> str | None:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ") if time else None
