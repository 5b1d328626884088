"""Annotated pods as the operator remembers them: who names which workflow, and what else they say. Pure.

Of a thousand pods of one template one record is kept, since they all say the same. A pod that is changed in anything but
what is read here is no news.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flowgauge_operator import names

# What is read of a pod begins so.
_READ = (f"{names.GROUP}/", "prometheus.io/")
# More than any value that makes sense, and little enough to be remembered and shown.
_LONGEST = 512
# More than there are; a pod with 256 kB of others costs no more to remember.
_MOST = 64
# Who makes pods that run on; all others, and pods that nobody owns, come and go with their work.
_STEADY = frozenset(
    {"ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController", "Node", "CloneSet"}
)


class Place(NamedTuple):
    """A namespace and what the annotation names, be it a name or not."""

    namespace: str
    workflow: str


@dataclass(frozen=True, slots=True)
class Saying:
    """What pods say: their annotations that are read, and whether they come and go with their work."""

    annotations: tuple[tuple[str, str], ...]
    is_intermittent: bool


@dataclass(slots=True)
class Said:
    """Pods that say the same: uid, and when each was made with its name.

    `born` is when each of their templates was first seen at work, as RFC 3339.
    """

    pods: dict[str, tuple[str, str]] = field(default_factory=dict)
    born: dict[str, str] = field(default_factory=dict)
    per_template: dict[str, int] = field(default_factory=dict)

    @property
    def pod(self) -> str:
        """The name of the oldest pod, which is the same after a restart."""
        return min(self.pods.values())[1]

    @property
    def newest(self) -> str:
        """When the newest template was first seen at work."""
        return max(self.born.values(), default="")


@dataclass(frozen=True, slots=True)
class _Pod:
    place: Place
    saying: Saying
    template: str
    name: str
    created: str


class Pods:
    """All annotated pods that are known."""

    def __init__(self) -> None:
        self._pods: dict[str, _Pod] = {}
        self._said: dict[Place, dict[Saying, Said]] = {}
        self._by_namespace: dict[str, set[str]] = {}
        self._seen: set[Place] = set()

    def __len__(self) -> int:
        return len(self._pods)

    def __contains__(self, uid: object) -> bool:
        return uid in self._pods

    def put(self, body: Mapping[str, Any]) -> set[Place]:
        """Remember a pod by its metadata; return the places for which this is news."""
        metadata = body["metadata"]
        uid, annotations = metadata["uid"], metadata.get("annotations") or {}
        if names.WORKFLOW not in annotations:
            return self.drop(uid)
        pod = _pod(metadata, annotations)
        known = self._pods.get(uid)
        if known == pod:
            return set()
        changed = self.drop(uid)
        self._pods[uid] = pod
        self._seen.add(pod.place)
        self._by_namespace.setdefault(pod.place.namespace, set()).add(uid)
        said = self._said.setdefault(pod.place, {}).setdefault(pod.saying, Said())
        said.pods[uid] = pod.created, pod.name
        said.per_template[pod.template] = said.per_template.get(pod.template, 0) + 1
        said.born[pod.template] = min(said.born.get(pod.template, pod.created), pod.created)
        return changed | {pod.place}

    def drop(self, uid: str) -> set[Place]:
        """Forget a pod; return the places for which this is news."""
        pod = self._pods.pop(uid, None)
        if pod is None:
            return set()
        uids = self._by_namespace[pod.place.namespace]
        uids.discard(uid)
        if not uids:
            del self._by_namespace[pod.place.namespace]
        said = self._said[pod.place][pod.saying]
        del said.pods[uid]
        said.per_template[pod.template] -= 1
        if not said.per_template[pod.template]:
            del said.per_template[pod.template], said.born[pod.template]
        if not said.pods:
            del self._said[pod.place][pod.saying]
        if not self._said[pod.place]:
            del self._said[pod.place]
        return {pod.place}

    def keep_only(self, uids: Iterable[str], namespace: str | None) -> set[Place]:
        """Forget all pods of a namespace (None: of all) but these; return the places for which this is news."""
        known = self._pods if namespace is None else self._by_namespace.get(namespace, ())
        changed = set[Place]()
        for uid in set(known) - set(uids):
            changed |= self.drop(uid)
        return changed

    def at(self, place: Place) -> dict[Saying, Said]:
        """What the pods of a place say."""
        return dict(self._said.get(place, {}))

    def youngest(self, place: Place) -> list[tuple[str, str]]:
        """Name and uid of the pods of a place, the youngest first."""
        found = [
            (*pod, uid)
            for said in self._said.get(place, {}).values()
            for uid, pod in said.pods.items()
        ]
        return [(name, uid) for _, name, uid in sorted(found, reverse=True)]

    def take_seen(self, place: Place) -> bool:
        """Whether a pod of the place has come since this was last asked, be it gone again or not."""
        is_seen = place in self._seen
        self._seen.discard(place)
        return is_seen

    def see(self, place: Place) -> None:
        """Take back a `take_seen` of which nothing came."""
        self._seen.add(place)

    def places(self) -> list[Place]:
        """All places, in order."""
        return sorted(self._said)


def _pod(metadata: Mapping[str, Any], annotations: Mapping[str, str]) -> _Pod:
    owner = next((o for o in metadata.get("ownerReferences") or [] if o.get("controller")), None)
    revision = (metadata.get("labels") or {}).get("controller-revision-hash", "")
    read = sorted(
        (key[:_LONGEST], value[:_LONGEST])
        for key, value in annotations.items()
        if key.startswith(_READ)
    )
    return _Pod(
        Place(metadata["namespace"], annotations[names.WORKFLOW][:_LONGEST]),
        Saying(tuple(read[:_MOST]), owner is None or owner["kind"] not in _STEADY),
        # A StatefulSet's revisions are templates of one owner.
        f"{owner['uid']}/{revision}" if owner else metadata["uid"],
        metadata["name"],
        metadata.get("creationTimestamp") or "",
    )
