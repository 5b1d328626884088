"""What the operator remembers of the cluster: slim records, never bodies of children. No I/O.

Events and lists fill it, `reconcile` decides by it. A workflow is found by its key, a child by its identity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from flowgauge.profiles import Profile
from flowgauge_operator import mark, names, synchronized
from flowgauge_operator.kinds import GRAFANA_DASHBOARD, Kind, Ref
from flowgauge_operator.mark import Mark
from flowgauge_operator.render import Rendered, Share, shared
from flowgauge_operator.synchronized import Synchronized


class Shares(NamedTuple):
    """What the known workflows of a namespace share.

    There may be more while not all are known. All are judged when those that are not known cannot be rendered.
    """

    needed: frozenset[Share]
    is_known: bool
    is_judged: bool = True


class Key(NamedTuple):
    """What one turn of the queue is about.

    A workflow, what the workflows of a namespace share, a profile, or what annotated pods ask for.
    """

    sort: Literal["workflow", "namespace", "profile", "pods"]
    namespace: str
    name: str = ""


@dataclass(slots=True)
class Entry:
    """A `MonitoredWorkflow` as last seen; `mark` is there if it was made for annotated pods."""

    uid: str
    version: str
    body: Mapping[str, Any]
    is_deleting: bool = False
    mark: Mark | None = None

    @property
    def status(self) -> Mapping[str, Any]:
        """The status as last seen."""
        status: Mapping[str, Any] = self.body.get("status") or {}
        return status


@dataclass(slots=True)
class ProfileEntry:
    """A `WorkflowProfile` as last seen. It is judged once: `profile` is None where `fault` says why."""

    uid: str
    version: str
    generation: int
    status: Mapping[str, Any]
    profile: Profile | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Child:
    """An object that carries our label: whose it is, what we applied, and whether it still stands so.

    `is_verified` says that the content of this version is known: we wrote it, or looked at it. `look` changes with
    everything but the status, 0 where that is not known. `synchronized` is what grafana-operator says of it, None where
    that is not known or the object is none of its.
    """

    kind: Kind
    namespace: str
    name: str
    uid: str
    version: str
    owner: str
    workflow: str
    hash: str
    is_drifted: bool = False
    is_verified: bool = False
    look: int = 0
    synchronized: Synchronized | None = None

    @property
    def identity(self) -> tuple[str, str, str]:
        """Kind, namespace and name."""
        return (self.kind.kind, self.namespace, self.name)

    @property
    def ref(self) -> Ref:
        """The object, and no namesake."""
        return Ref(self.kind, self.namespace, self.name, self.uid)


@dataclass(slots=True)
class Expectation:
    """What the last render of a workflow asked for: all that verification has to know.

    `since` is the number of the newest look at Prometheus that had begun when this was first provisioned; only later
    ones speak of it.
    """

    generation: int
    rendered: Rendered
    since: int = 0


@dataclass(slots=True)
class Cache:
    """Workflows, their children, and what was last rendered for them.

    `shared_errors` has, by namespace and object, reason and message of why what is shared does not stand. `refused`
    are workflows of which nothing could be rendered; `kept` is what those need of the shared PodMonitor that have been
    refused since we are there, None where nothing was found. `profiles` has the objects by name; `no_profiles` is why they cannot be read at all, if that is so.
    """

    workflows: dict[Key, Entry] = field(default_factory=dict)
    children: dict[tuple[str, str, str], Child] = field(default_factory=dict)
    expected: dict[Key, Expectation] = field(default_factory=dict)
    shared_errors: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    refused: set[Key] = field(default_factory=set)
    kept: dict[Key, Share | None] = field(default_factory=dict)
    profiles: dict[str, ProfileEntry] = field(default_factory=dict)
    no_profiles: str = ""
    _by_owner: dict[Key, set[tuple[str, str, str]]] = field(default_factory=dict)
    _by_namespace: dict[str, set[Key]] = field(default_factory=dict)

    def put_workflow(self, body: Mapping[str, Any]) -> bool:
        """Remember a workflow; tell whether its spec, identity or deletion is news."""
        metadata, key = body["metadata"], key_of(body)
        known = self.workflows.get(key)
        entry = Entry(
            metadata["uid"],
            metadata["resourceVersion"],
            _slim(body),
            bool(metadata.get("deletionTimestamp")),
            mark.of(body),
        )
        self.workflows[key] = entry
        self._by_namespace.setdefault(key.namespace, set()).add(key)
        if known is None or known.uid != entry.uid or known.is_deleting != entry.is_deleting:
            return True
        return bool(known.body["metadata"].get("generation") != metadata.get("generation"))

    def drop_workflow(self, key: Key) -> None:
        """Forget a workflow; its children go when the garbage collector reports them."""
        if self.workflows.pop(key, None) is not None:
            _discard(self._by_namespace, key.namespace, key)
        self.expected.pop(key, None)
        self.refused.discard(key)
        self.kept.pop(key, None)

    def put_child(self, child: Child) -> None:
        """Remember a child under its workflow."""
        self.drop_child(child.identity)
        self.children[child.identity] = child
        self._by_owner.setdefault(self.owner_of(child), set()).add(child.identity)

    def drop_child(self, identity: tuple[str, str, str]) -> Child | None:
        """Forget a child and return it."""
        child = self.children.pop(identity, None)
        if child is not None:
            _discard(self._by_owner, self.owner_of(child), identity)
        return child

    @staticmethod
    def owner_of(child: Child) -> Key:
        """The key whose turn brings this child in line."""
        if child.workflow:
            return Key("workflow", child.namespace, child.workflow)
        return Key("namespace", child.namespace)

    def unverified(self, key: Key) -> list[Child]:
        """The children of a key that somebody else wrote, or that changed while we were not there."""
        return [child for child in self.children_of(key) if not child.is_verified]

    def children_of(self, key: Key) -> Iterator[Child]:
        """The children that are remembered for a key."""
        for identity in tuple(self._by_owner.get(key, ())):
            yield self.children[identity]

    def profile_of(self, key: Key) -> str:
        """The name of the profile that a workflow asks for; empty where it asks for none or is not known."""
        entry = self.workflows.get(key)
        return str(entry.body["spec"].get("profile") or "") if entry else ""

    def mark_of(self, key: Key) -> Mark | None:
        """The mark of a workflow; None for one that was made by hand or is not known."""
        entry = self.workflows.get(key)
        return entry.mark if entry else None

    def users(self, profile: str) -> list[Key]:
        """The workflows that ask for a profile, by namespace and name."""
        return sorted(key for key in self.workflows if self.profile_of(key) == profile)

    def in_namespace(self, namespace: str) -> Iterator[Key]:
        """The workflows of a namespace that are not being deleted."""
        return (
            key
            for key in self._by_namespace.get(namespace, ())
            if not self.workflows[key].is_deleting
        )

    def shares(self, namespace: str) -> Shares:
        """What the workflows of a namespace need of what it has once."""
        needed, is_known, is_judged = set[Share](), True, True
        for key in self.in_namespace(namespace):
            expected = self.expected.get(key)
            kept = self.kept.get(key)
            needed.update(expected.rendered.shares if expected else [kept] if kept else ())
            is_known &= expected is not None
            is_judged &= expected is not None or key in self.refused
        return Shares(frozenset(shared.united(needed)), is_known, is_judged)

    def forgotten(self, namespace: str) -> list[Key]:
        """The workflows of a namespace that cannot be rendered, and of which nobody knows what they shared before."""
        return [
            key
            for key in self.in_namespace(namespace)
            if key in self.refused and key not in self.expected and key not in self.kept
        ]

    def synchronized(self, key: Key) -> Synchronized:
        """What grafana-operator says of the dashboard of a workflow."""
        boards = (child for child in self.children_of(key) if child.kind == GRAFANA_DASHBOARD)
        told = next((board.synchronized for board in boards if board.synchronized), None)
        return told or synchronized.NOT_YET


def _discard(index: dict[Any, set[Any]], key: Any, member: Any) -> None:
    members = index[key]
    members.discard(member)
    # Names come and go for as long as we live; an empty set for each would be a leak.
    if not members:
        del index[key]


def key_of(body: Mapping[str, Any]) -> Key:
    """The key of a workflow."""
    metadata = body["metadata"]
    return Key("workflow", metadata["namespace"], metadata["name"])


def child_of(kind: Kind, body: Mapping[str, Any], digest: str | None = None) -> Child:
    """The record of an object; `digest` is that of its content, None where only its metadata was read."""
    metadata = body["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    owner = next(
        (o["uid"] for o in metadata.get("ownerReferences") or [] if o.get("controller")), ""
    )
    applied = annotations.get(names.HASH, "")
    return Child(
        kind=kind,
        namespace=metadata.get("namespace") or "",
        name=metadata["name"],
        uid=metadata["uid"],
        version=metadata.get("resourceVersion", ""),
        owner=owner,
        workflow=labels.get(names.WORKFLOW, ""),
        hash=applied,
        is_drifted=digest is not None and digest != applied,
        is_verified=digest is not None,
        look=_look(metadata),
        synchronized=_synchronized(kind, body) if digest is not None else None,
    )


def _look(metadata: Mapping[str, Any]) -> int:
    """A number that changes with everything in an object but its status; 0 where the API server does not count changes."""
    if not (generation := metadata.get("generation")):
        return 0
    maps = (metadata.get(key) or {} for key in ("labels", "annotations"))
    owners = [owner["uid"] for owner in metadata.get("ownerReferences") or []]
    facts = (generation, metadata["uid"], *(frozenset(m.items()) for m in maps), *owners)
    return hash((*facts, metadata.get("deletionTimestamp")))


def _synchronized(kind: Kind, body: Mapping[str, Any]) -> Synchronized | None:
    return synchronized.of(body) if kind == GRAFANA_DASHBOARD else None


def _slim(body: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = body["metadata"]
    return {
        "metadata": {key: metadata.get(key) for key in ("name", "namespace", "uid", "generation")},
        "spec": body.get("spec") or {},
        "status": body.get("status") or {},
    }
