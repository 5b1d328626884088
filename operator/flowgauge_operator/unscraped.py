"""Look for annotated pods that run although Prometheus has no target of them. Called by `operation` after each look.

Whether a pod runs is not in its metadata, and more of pods is not asked for. But the API server can select by it, so a list
of one name, metadata only, tells. Few pods are asked for: only those of workflows that would otherwise count as idle, and
none again that has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from flowgauge_operator import errors
from flowgauge_operator.kinds import POD, Ref
from flowgauge_operator.pods import Place, Pods
from flowgauge_operator.verify import Owner

logger = logging.getLogger(__name__)

# So many pods of a workflow are asked for in one look, the youngest first.
_ASKED = 3
_LIVES = "status.phase!=Succeeded,status.phase!=Failed"
_RUNS = "status.phase=Running"


class Cluster(Protocol):
    """What is needed of the cluster."""

    async def select(self, ref: Ref, fields: str) -> dict[str, Any] | None:
        """Return an object's metadata if its fields are so, else None."""
        ...


class Unscraped:
    """Remembers which pods have ended.

    `patience` is how long a pod may run, and be scraped never, before that is a fault.
    """

    def __init__(
        self, cluster: Cluster, pods: Pods, *, now: Callable[[], datetime], patience: timedelta
    ) -> None:
        self._cluster = cluster
        self._pods = pods
        self._now = now
        self._patience = patience
        self._ended: set[str] = set()
        self._found: dict[Owner, str] = {}

    async def find(self, idle: Mapping[Owner, timedelta]) -> Mapping[Owner, str]:
        """The name of a pod that runs, for those of these workflows that have one; each with its scrape interval.

        What cannot be asked stays as it was.
        """
        self._ended = {uid for uid in self._ended if uid in self._pods}
        self._found = {owner: pod for owner, pod in self._found.items() if owner in idle}
        for owner, interval in sorted(idle.items()):
            before = self._now() - self._patience - interval
            try:
                pod = await self._running(owner, self._pods.youngest(Place(*owner)), before)
            except errors.ApiError as error:
                logger.info("Cannot see whether pods of %s/%s run: %s", *owner, error)
                continue
            self._found.pop(owner, None)
            self._found |= {owner: pod} if pod else {}
        return dict(self._found)

    async def _running(
        self, owner: Owner, pods: Sequence[tuple[str, str]], before: datetime
    ) -> str:
        alive = [(name, uid) for name, uid in pods if uid not in self._ended]
        for name, uid in alive[:_ASKED]:
            ref = Ref(POD, owner.namespace, name)
            found = await self._cluster.select(ref, _LIVES)
            if found is None or found["metadata"]["uid"] != uid:
                self._ended.add(uid)
            elif (running := await self._cluster.select(ref, _RUNS)) and _since(running) <= before:
                return name
        return ""


def _since(pod: Mapping[str, Any]) -> datetime:
    """Since when a pod is as it is: its status was written last when it began to run, or later."""
    metadata = pod["metadata"]
    told = [
        entry["time"]
        for entry in metadata.get("managedFields") or []
        if entry.get("subresource") == "status" and entry.get("time")
    ]
    told += [metadata["deletionTimestamp"]] if metadata.get("deletionTimestamp") else []
    return datetime.fromisoformat(max(told, default=metadata["creationTimestamp"]))
