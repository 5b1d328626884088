"""Make, follow and remove `MonitoredWorkflow`s for annotated pods, one place at a time. Called by `operation`.

What is wanted is decided in `discovery`. Here it is brought about, and never against somebody's word: an object that was
made or changed by hand is left alone.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from flowgauge_operator import discovery, duration, errors, names
from flowgauge_operator.cache import Cache, Entry, Key
from flowgauge_operator.discovery import Desired, Keep
from flowgauge_operator.event import Event
from flowgauge_operator.kinds import POD, WORKFLOW, Ref
from flowgauge_operator.pods import Place, Pods, Said, Saying
from flowgauge_operator.render import Problem

logger = logging.getLogger(__name__)

_MANAGER = names.DISCOVERY_FIELD_MANAGER
# The news of a write of somebody else's is on its way.
_SOON = 2.0
# A quota or a policy that stands against a workflow is changed by people.
_LATER = 60.0
# So many refusals of a namespace are told one by one; the metric counts them all.
_TOLD = 10


class Cluster(Protocol):
    """What is needed of the cluster."""

    async def apply(
        self,
        manifest: Mapping[str, Any],
        *,
        only_new: bool = False,
        manager: str = ...,
        force: bool = True,
    ) -> Any:
        """Create or change an object by server-side apply."""
        ...

    async def merge(self, ref: Ref, patch: Mapping[str, Any], *, manager: str = ...) -> Any:
        """Change what a merge patch names."""
        ...

    async def delete(self, ref: Ref, *, uid: str | None = None, version: str | None = None) -> bool:
        """Delete an object, if it still is this one, as it was seen."""
        ...

    async def post(self, event: Event) -> None:
        """Post an Event about an object."""
        ...


@dataclass(frozen=True)
class Policy:
    """How long workflows stay without a pod, and how many a namespace may have discovered."""

    keep: Keep
    limit: int


class Discoverer:
    """Brings what was discovered in line with the pods that are known.

    `is_known(namespace)` tells whether one that is not known is gone. `again(key)` asks for a turn of another key.
    """

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        pods: Pods,
        policy: Policy,
        *,
        now: Callable[[], datetime],
        is_known: Callable[[str], bool],
        again: Callable[[Key], None],
        instance: str,
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._pods = pods
        self._policy = policy
        self._now = now
        self._is_known = is_known
        self._again = again
        self._instance = instance
        self._remarks: dict[Key, tuple[Problem, ...]] = {}
        self._making: dict[str, set[str]] = {}
        # By namespace and name the uid of the pod that it was told on; empty where it was not told.
        self._refused: dict[str, dict[str, str]] = {}

    def remarks(self, key: Key) -> Sequence[Problem]:
        """What is to be said of a workflow because of its pods."""
        return self._remarks.get(key, ())

    @property
    def refused(self) -> int:
        """How many names are annotated for which no workflow is made."""
        return sum(map(len, self._refused.values()))

    def waiting(self, namespace: str) -> Iterator[Key]:
        """Some names that were refused and may have their turn now; what is no name never may."""
        known = (
            name for name in self._refused.get(namespace, ()) if not discovery.name_fault(name)
        )
        for name in itertools.islice(list(known), _TOLD):
            yield Key("pods", namespace, name)

    def recall(self) -> None:
        """Know what is to be said of workflows before any of them has its turn: it was said before we were started again."""
        for key, entry in self._cache.workflows.items():
            if said := self._pods.at(Place(key.namespace, key.name)):
                problems = self._problems(entry, said)
                self._remarks |= {key: problems} if problems else {}

    def _problems(self, entry: Entry, said: Mapping[Saying, Said]) -> tuple[Problem, ...]:
        if entry.mark is None or entry.mark.is_taken:
            return discovery.unused(said, entry.body["spec"])
        return discovery.desired(said, self._policy.keep).problems

    async def turn(self, key: Key) -> float | None:
        """Bring one name in line; return seconds after which it wants another turn.

        Raises:
            errors.ApiError: the API server could not be reached; the name wants another turn later.
        """
        place, flow = Place(key.namespace, key.name), Key("workflow", key.namespace, key.name)
        said, entry = self._pods.at(place), self._cache.workflows.get(flow)
        is_seen = self._pods.take_seen(place)
        if not said:
            self._accept(place)
        try:
            if entry is not None and not said and is_seen:
                await self._begin_to_age(flow, entry)
                return _SOON
            return await self._turn(place, flow, said, entry)
        except errors.ApiError as error:
            if isinstance(error, errors.Forbidden) and error.is_terminating:
                return None  # it all goes with the namespace
            if is_seen:
                self._pods.see(place)
            raise

    async def _turn(
        self, place: Place, flow: Key, said: Mapping[Saying, Said], entry: Entry | None
    ) -> float | None:
        if entry is None:
            self._remarks.pop(flow, None)
            return await self._make(place, flow, said) if said else None
        if entry.is_deleting:
            return None  # its end brings the next turn
        self._accept(place)
        if entry.mark is None or entry.mark.is_taken:
            if entry.mark is not None and entry.mark.is_ours:
                await self._release(place, flow, entry)
            await self._remark(flow, entry.uid, self._problems(entry, said))
            return None
        if not said:
            if self._is_known(flow.namespace):
                await self._remark(flow, entry.uid, ())
            return await self._age(flow, entry)
        wanted = discovery.desired(said, self._policy.keep)
        return await self._follow(place, flow, entry, wanted)

    # -- with pods

    async def _make(self, place: Place, flow: Key, said: Mapping[Saying, Said]) -> float | None:
        if why := discovery.name_fault(place.workflow) or self._over_limit(place):
            await self._refuse(place, why)
            return None
        wanted = discovery.desired(said, self._policy.keep)
        making = self._making.setdefault(place.namespace, set())
        making.add(place.workflow)
        # The workflow's first turn is soon, and its first status is to say this.
        self._remarks[flow] = wanted.problems
        try:
            made = await self._cluster.apply(
                wanted.manifest(place), only_new=True, manager=_MANAGER
            )
        except errors.Conflict:
            return _SOON  # it is there, and who made it the news will tell
        except (errors.Forbidden, errors.Invalid) as error:
            if isinstance(error, errors.Forbidden) and error.is_terminating:
                raise
            await self._refuse(place, f"the API server refuses a workflow: {error.message}")
            return _LATER
        finally:
            making.discard(place.workflow)
        self._accept(place)
        ref = Ref(WORKFLOW, place.namespace, place.workflow, made.uid)
        note = f"made for pods with the annotation {names.WORKFLOW}: {place.workflow}, such as {wanted.pod}"
        await self._tell(ref, "Discovered", note)
        for problem in wanted.problems:
            await self._tell(ref, problem.reason, str(problem), is_warning=True)
        return None

    def _over_limit(self, place: Place) -> str:
        """Why the namespace has no room for one more; empty if it has."""
        known = {
            key.name
            for key in self._cache.in_namespace(place.namespace)
            if self._cache.workflows[key].mark is not None
        } | self._making.get(place.namespace, set())
        if len(known) < self._policy.limit:
            return ""
        return (
            f"the namespace has {len(known)} discovered workflows, and {self._policy.limit} are allowed; is"
            f" {names.WORKFLOW} set to something that is new in each run? Otherwise raise --discovery-limit, or make a"
            " MonitoredWorkflow by hand"
        )

    async def _follow(self, place: Place, flow: Key, entry: Entry, wanted: Desired) -> float | None:
        mark = entry.mark
        if mark is None:
            return None
        ref = Ref(WORKFLOW, place.namespace, place.workflow, entry.uid)
        if mark.gone_since:
            await self._patch(ref, {"annotations": {names.PODS_GONE: None}})
        manifest = wanted.manifest(place)
        refused: tuple[Problem, ...] = ()
        if manifest["metadata"]["annotations"][names.HASH] != mark.hash:
            refused = await self._change(ref, manifest, wanted.pod)
        await self._remark(flow, entry.uid, (*refused, *wanted.problems))
        return _LATER if refused else None

    async def _change(self, ref: Ref, manifest: Mapping[str, Any], pod: str) -> tuple[Problem, ...]:
        """Apply what pods ask for now; return what stands against it."""
        try:
            await self._cluster.apply(manifest, manager=_MANAGER, force=False)
        except errors.Conflict as error:
            # Somebody has taken a field over, and the news of it will say so.
            logger.info("Not changing %s: %s", ref, error)
        except (errors.Forbidden, errors.Invalid) as error:
            if isinstance(error, errors.Forbidden) and error.is_terminating:
                raise
            return (discovery.refused(pod, error.message),)
        return ()

    # -- without

    async def _begin_to_age(self, flow: Key, entry: Entry) -> None:
        """Let the time without a pod begin anew: one has come and gone between two turns."""
        if entry.mark is None or entry.mark.is_taken or not entry.mark.gone_since:
            return
        stamp = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        ref = Ref(WORKFLOW, flow.namespace, flow.name, entry.uid)
        await self._patch(ref, {"annotations": {names.PODS_GONE: stamp}})

    async def _age(self, flow: Key, entry: Entry) -> float | None:
        """Remove what had no pod for long enough. Since when is written on it, since we may be started again."""
        mark = entry.mark
        if mark is None or not self._is_known(flow.namespace):
            return None
        now = self._now()
        ref = Ref(WORKFLOW, flow.namespace, flow.name, entry.uid)
        usual = duration.text(self._policy.keep.steady)
        left = discovery.left(mark.gone_since, mark.keep, usual, now)
        if left is None:
            stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
            await self._patch(ref, {"annotations": {names.PODS_GONE: stamp}})
            return discovery.left(stamp, mark.keep, usual, now)
        if left > 0:
            return left
        try:
            # Only as it was seen: who has taken it over a moment ago keeps it.
            await self._cluster.delete(ref, uid=entry.uid, version=entry.version)
        except errors.Conflict:
            return _SOON
        logger.info("Removed %s: it has had no pod since %s.", ref, mark.gone_since)
        return None

    # -- by hand

    async def _release(self, place: Place, flow: Key, entry: Entry) -> None:
        """Let go of a workflow that somebody has taken over."""
        mark = entry.mark
        if mark is None:
            return
        ref = Ref(WORKFLOW, place.namespace, place.workflow, entry.uid)
        ours = {names.PODS_GONE: None, names.KEEP: None, names.HASH: None}
        unmarked = {"labels": {names.DISCOVERED: None}, "annotations": ours}
        if mark.declared is not None:
            try:
                # What is declared as a whole is all that is wanted: what only pods asked for goes.
                released = discovery.released(place, mark.declared)
                await self._cluster.apply(released, manager=_MANAGER, force=False)
            except (errors.Conflict, errors.Invalid, errors.SchemaOutdated) as error:
                logger.info("%s keeps what pods asked for: %s", ref, error)
        await self._patch(ref, unmarked)
        by = ", ".join(mark.writers) or "kubectl apply"
        await self._tell(
            ref, "TakenOver", f"changed by {by}: it no longer follows the annotations of pods"
        )
        self._again(flow)

    # -- telling

    async def _patch(self, ref: Ref, metadata: Mapping[str, Any]) -> None:
        # With the uid in it, a namesake that was made meanwhile is refused.
        patch = {"metadata": {**metadata, "uid": ref.uid}}
        try:
            await self._cluster.merge(ref, patch, manager=_MANAGER)
        except (errors.NotFound, errors.Conflict) as error:
            logger.info("Not changing %s: %s", ref, error)

    async def _remark(self, flow: Key, uid: str, problems: tuple[Problem, ...]) -> None:
        before = self._remarks.get(flow, ())
        if problems:
            self._remarks[flow] = problems
        else:
            self._remarks.pop(flow, None)
        if problems == before:
            return
        self._again(flow)
        entry = self._cache.workflows.get(flow)
        said = _said_of(entry) if entry else ""
        for problem in problems:
            # After a restart, what the status says was told before.
            if problem not in before and str(problem) not in said:
                ref = Ref(WORKFLOW, flow.namespace, flow.name, uid)
                await self._tell(ref, problem.reason, str(problem), is_warning=True)

    def _accept(self, place: Place) -> None:
        refused = self._refused.get(place.namespace)
        if refused is not None and refused.pop(place.workflow, None) is not None and not refused:
            del self._refused[place.namespace]

    async def _refuse(self, place: Place, why: str) -> None:
        refused = self._refused.setdefault(place.namespace, {})
        told = refused.get(place.workflow)
        # Who looks at the pods of today does not find what was told on one that is gone.
        if told is not None and (not told or told in self._pods):
            return
        if told is None and len(refused) >= _TOLD:
            refused[place.workflow] = ""
            return
        (name, uid), *_ = self._pods.youngest(place)
        refused[place.workflow] = uid
        more = "; further names of this namespace are not told" if len(refused) == _TOLD else ""
        note = f"annotation {names.WORKFLOW} of pod {name}: {why}"
        logger.warning("No workflow for pods in %s: %s%s", place.namespace, note, more)
        ref = Ref(POD, place.namespace, name, uid)
        await self._tell(ref, "NotMonitored", note, is_warning=True)

    async def _tell(self, ref: Ref, reason: str, note: str, *, is_warning: bool = False) -> None:
        event = Event(
            ref,
            reason=reason,
            note=note,
            action="Discover",
            is_warning=is_warning,
            instance=self._instance,
            once=True,
        )
        try:
            await self._cluster.post(event)
        except errors.ApiError as error:
            if not (isinstance(error, errors.Forbidden) and error.is_terminating):
                logger.warning("Cannot post an Event about %s: %s", ref, error)


def _said_of(entry: Entry) -> str:
    conditions = entry.status.get("conditions") or []
    return next((str(c.get("message")) for c in conditions if c.get("type") == "Accepted"), "")
