"""Bring one key in line: gather from the cache, decide by pure functions, act through the cluster, report once.

This is the seam between core and shell: it declares the cluster that it needs and imports no framework. One idempotent
turn handles everything: a new workflow, an edit, a drifted child, a restart.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from flowgauge import profiles
from flowgauge.profiles import Profile, ProfileError
from flowgauge_operator import errors, model, names, plan, status, vocabulary
from flowgauge_operator.cache import Cache, Child, Entry, Expectation, Key, ProfileEntry, child_of
from flowgauge_operator.condition import Resource
from flowgauge_operator.event import Event
from flowgauge_operator.kinds import (
    CONFIG_MAP,
    GRAFANA_DASHBOARD,
    POD_MONITOR,
    PROFILE,
    WORKFLOW,
    Kind,
    Ref,
)
from flowgauge_operator.model import SpecError, Workflow
from flowgauge_operator.promql import ExpressionError
from flowgauge_operator.render import Capabilities, Options, Problem, Rendered, render, shared
from flowgauge_operator.render.manifest import Manifest, digest, hashed, owned
from flowgauge_operator.status import Outcome, Policy
from flowgauge_operator.verify import Observation, Owner, Verdict

logger = logging.getLogger(__name__)

_CONFLICT_SECONDS = 15.0


class Applied(Protocol):
    """What an apply tells."""

    uid: str
    resource_version: str


class Cluster(Protocol):
    """What a turn needs of the cluster."""

    async def apply(self, manifest: Mapping[str, Any], *, only_new: bool = False) -> Any:
        """Create or change an object by server-side apply; with `only_new` raise Conflict where it exists."""
        ...

    async def restore(self, manifest: Mapping[str, Any]) -> None:
        """Put spec or data of an existing object back to exactly what the manifest says."""
        ...

    async def apply_status(self, ref: Ref, status: Mapping[str, Any]) -> Any:
        """Write the status of an object."""
        ...

    async def delete(self, ref: Ref, *, uid: str | None = None) -> bool:
        """Delete an object, if it still is this one."""
        ...

    async def get(self, ref: Ref, *, metadata_only: bool = False) -> dict[str, Any]:
        """Return an object."""
        ...

    async def post(self, event: Event) -> None:
        """Post an Event about an object."""
        ...


class ConflictError(Exception):
    """An object of that name belongs to somebody else."""


class UnusableProfileError(Exception):
    """There is no profile of that name, or it has an error; `reason` says which of the two."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Reconciler:
    """Turns keys into calls. One instance lives as long as the process.

    `now` returns the time as RFC 3339; `again(key)` asks for a turn of another key; `on_drift(kind)` is told when
    somebody's change is undone; `remarks(key)` is what else is to be said of a workflow.
    """

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        options: Options,
        policy: Policy,
        *,
        now: Callable[[], str],
        again: Callable[[Key], None],
        instance: str,
        on_drift: Callable[[str], None] = lambda _kind: None,
        remarks: Callable[[Key], Sequence[Problem]] = lambda _key: (),
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._options = options
        self._policy = policy
        self._now = now
        self._again = again
        self._instance = instance
        self._on_drift = on_drift
        self._remarks = remarks
        self.capabilities = Capabilities(frozenset())
        self.seen: Observation | None = None
        self.looks = 0
        self._outcomes: dict[Key, Outcome] = {}

    async def reconcile(self, key: Key, force: bool = False) -> float | None:
        """One turn of a key; `force` says that a child was changed or deleted by somebody.

        Raises:
            errors.ApiError: the API server could not be reached; the key wants another turn later.
        """
        if key.sort == "namespace":
            await self._inspect(key)
            return await self._reconcile_shared(key)
        if key.sort == "profile":
            await self._report_profile(key)
            return None
        entry = self._cache.workflows.get(key)
        # Children are deleted with their owner, and the news of theirs may come before the news of its own: without
        # looking, they would be made again for an owner that is gone.
        if force and entry is not None and not await self._exists(key, entry):
            self._cache.drop_workflow(key)
            entry = None
        if entry is None or entry.is_deleting:
            self._outcomes.pop(key, None)
            self._again(Key("namespace", key.namespace))
            return None
        return await self._reconcile_workflow(key, entry)

    async def _reconcile_workflow(self, key: Key, entry: Entry) -> float | None:
        await self._inspect(key)
        outcome, failure = await self._provision(key, entry)
        self._outcomes[key] = outcome
        await self.report(key)
        if key not in self._cache.workflows or (failure and _is_terminating(failure)):
            return None  # it is gone, or goes with its namespace: there is nothing to try again for
        if failure is not None:
            raise failure
        # Nobody tells us when somebody else's object goes away.
        return _CONFLICT_SECONDS if outcome.failed else None

    async def _inspect(self, key: Key) -> None:
        """Look at the children that somebody else wrote: only their metadata came with the news."""
        for child in self._cache.unverified(key):
            try:
                body = await self._cluster.get(child.ref)
            except (errors.NotFound, errors.Forbidden):
                # What may not be read counts as unknown: the apply that follows fails, and the status tells why.
                self._cache.drop_child(child.identity)
            else:
                self._cache.put_child(self.child_of(child.kind, body))

    def child_of(self, kind: Kind, body: Mapping[str, Any]) -> Child:
        """The record of a whole object: with its content it shows whether it has drifted."""
        return child_of(kind, body, digest(body, self._options.keys, kind.kind))

    async def _exists(self, key: Key, entry: Entry) -> bool:
        try:
            found = await self._cluster.get(
                Ref(WORKFLOW, key.namespace, key.name), metadata_only=True
            )
        except errors.NotFound:
            return False
        metadata = found["metadata"]
        return metadata["uid"] == entry.uid and not metadata.get("deletionTimestamp")

    async def _provision(self, key: Key, entry: Entry) -> tuple[Outcome, errors.ApiError | None]:
        generation = entry.body["metadata"].get("generation") or 0
        try:
            workflow = model.parse(dict(entry.body))
            profile = self._profile(workflow.spec.profile)
            rendered = render(workflow, profile, self.capabilities, self._options)
        except SpecError as error:
            problems = [Problem(fault.path, fault.reason, fault.message) for fault in error.faults]
        except UnusableProfileError as error:
            problems = [Problem("spec.profile", error.reason, str(error))]
        except ExpressionError as error:
            problems = [Problem("spec.profile", "InvalidExpression", str(error))]
        else:
            return await self._perform(key, workflow, rendered, generation)
        # Nothing was rendered: the last good children stay.
        if key not in self._cache.refused:
            self._cache.refused.add(key)
            self._again(Key("namespace", key.namespace))
        profile_name = str((entry.body.get("spec") or {}).get("profile", ""))
        return Outcome(generation, profile_name, None, problems), None

    def _profile(self, name: str) -> Profile:
        if name in profiles.names():
            return profiles.builtin(name)
        entry = self._cache.profiles.get(name)
        if entry is None:
            built_in = ", ".join(profiles.names())
            why = self._cache.no_profiles or f"create a WorkflowProfile {name}"
            raise UnusableProfileError(
                "UnknownProfile", f"{name} does not exist; built in are {built_in}; {why}"
            )
        if entry.profile is None:
            raise UnusableProfileError(
                "ProfileNotAccepted", f"WorkflowProfile {name} is not accepted: {entry.fault}"
            )
        return entry.profile

    async def _perform(
        self, key: Key, workflow: Workflow, rendered: Rendered, generation: int
    ) -> tuple[Outcome, errors.ApiError | None]:
        desired = [
            hashed(owned(child, workflow), self._options.keys) for child in rendered.children
        ]
        # From here on nobody needs the objects themselves, and a thousand workflows of them are 70 MB.
        rendered = dataclasses.replace(rendered, children=())
        self._cache.refused.discard(key)
        self._cache.kept.pop(key, None)
        before = self._cache.expected.get(key)
        expected = Expectation(generation, rendered, before.since if before else self.looks)
        self._cache.expected[key] = expected
        if before is None or before.rendered.shares != rendered.shares:
            self._again(Key("namespace", key.namespace))
        failed, failure = await self._act(key, desired, workflow.uid)
        if before is not None and before.generation != generation:
            expected.since = self.looks
        errors_ = self._cache.shared_errors.get(key.namespace) or {}
        failed |= {
            str(share): errors_[str(share)] for share in rendered.shares if str(share) in errors_
        }
        resources = [
            _resource(child["kind"], child["metadata"]["name"], failed) for child in desired
        ]
        resources += [_resource(share.kind, share.name, failed) for share in rendered.shares]
        outcome = Outcome(
            generation, workflow.spec.profile, rendered, rendered.problems, resources, failed
        )
        return outcome, failure

    async def _act(
        self, key: Key, desired: Sequence[Manifest], owner: str, *, prune: bool = True
    ) -> tuple[dict[str, tuple[str, str]], errors.ApiError | None]:
        """Take every step to `desired`; one that fails stops none of the others."""
        failed: dict[str, tuple[str, str]] = {}
        failure: errors.ApiError | None = None
        for step in plan.plan(desired, self._cache.children_of(key), owner, prune=prune):
            name = f"{step.ref.kind.kind} {step.ref.name}"
            try:
                await self._take(step)
            except ConflictError as error:
                failed[name] = ("Conflict", str(error))
            except errors.ApiError as error:
                failed[name] = (_reason(error), str(error)[:512])
                failure = error
        if self._cache.unverified(key):
            self._again(key)  # somebody else wrote meanwhile
        return failed, failure

    async def _take(self, step: plan.Step) -> None:
        if isinstance(step, plan.Delete):
            await self._cluster.delete(step.ref, uid=step.ref.uid)
            self._cache.drop_child(_identity(step))
            return
        before = self._cache.children.get(child_id := _identity(step))
        if step.is_drifted:
            self._on_drift(step.ref.kind.kind)
        try:
            if step.is_drifted:
                await self._restore(step.manifest)
            applied = _child(step, await self._apply(step))
        except errors.Invalid as error:
            if before is not None and _is_fixed(step, error):
                # Its deletion brings the next turn, also where a finalizer holds it for a while.
                await self._cluster.delete(step.ref, uid=before.uid)
            raise
        news = self._cache.children.get(child_id)
        if news is not before and news is not None and news.version != applied.version:
            # Somebody wrote it meanwhile, and nobody can tell who came last.
            applied = dataclasses.replace(applied, is_verified=False)
        self._cache.put_child(applied)

    async def _apply(self, step: plan.Apply) -> Any:
        if not step.is_new:
            return await self._cluster.apply(step.manifest)
        try:
            return await self._cluster.apply(step.manifest, only_new=True)
        except errors.Conflict:
            await self._check_ours(step)
        return await self._cluster.apply(step.manifest)

    async def _check_ours(self, step: plan.Apply) -> None:
        ref = step.ref
        try:
            metadata = (await self._cluster.get(ref, metadata_only=True))["metadata"]
        except errors.NotFound:
            return
        # Our label may have been taken off, or an answer lost; owner reference or digest then still tell that it is ours.
        wanted = {owner["uid"] for owner in step.manifest["metadata"].get("ownerReferences", [])}
        owners = {owner["uid"] for owner in metadata.get("ownerReferences") or []}
        is_ours = (metadata.get("labels") or {}).get(names.MANAGED_BY) == names.MANAGER
        if not (is_ours or wanted & owners or names.HASH in (metadata.get("annotations") or {})):
            raise ConflictError(
                f"{ref.kind.kind} {ref.name} exists and is not ours; rename or delete it, or rename the workflow"
            )

    async def _restore(self, manifest: Manifest) -> None:
        try:
            await self._cluster.restore(manifest)
        except errors.NotFound:
            return

    async def report(self, key: Key) -> None:
        """Write the status of a workflow if it says something new.

        Raises:
            errors.ApiError: it could not be written.
        """
        entry, outcome = self._cache.workflows.get(key), self._outcomes.get(key)
        if entry is None or outcome is None or entry.is_deleting:
            return
        body = self.status_of(key, entry, outcome)
        before = entry.status
        if status.is_same(before, body):
            return
        ref = Ref(WORKFLOW, key.namespace, key.name, entry.uid)
        try:
            await self._cluster.apply_status(ref, body)
        except errors.NotFound:
            self._cache.drop_workflow(key)
            return
        entry.body = {**entry.body, "status": body}
        await self._tell(ref, status.transitions(before, body))

    async def _report_profile(self, key: Key) -> None:
        """Write what was judged of a profile, and how many use it."""
        entry = self._cache.profiles.get(key.name)
        if entry is None:
            return
        before = entry.status
        body = status.of_profile(
            _verdict(entry), entry.generation, len(self._cache.users(key.name)), before, self._now()
        )
        if status.is_same(before, body):
            return
        ref = Ref(PROFILE, None, key.name, entry.uid)
        try:
            await self._cluster.apply_status(ref, body)
        except errors.NotFound:
            return  # the news of its end is on its way
        entry.status = body
        await self._tell(ref, status.transitions(before, body))

    def status_of(self, key: Key, entry: Entry, outcome: Outcome) -> dict[str, Any]:
        """The status that the workflow should have now."""
        owner = Owner(key.namespace, key.name)
        expected = self._cache.expected.get(key)
        is_news = self.seen and expected and self.seen.number > expected.since
        seen = self.seen if is_news else None
        if outcome.rendered is not None and outcome.rendered.delivery == GRAFANA_DASHBOARD.kind:
            outcome = dataclasses.replace(outcome, synchronized=self._cache.synchronized(key))
        if remarks := self._remarks(key):
            outcome = dataclasses.replace(outcome, remarks=remarks)
        return status.build(outcome, owner, seen, self._policy, entry.status, self._now())

    def is_stale(self, key: Key) -> bool:
        """Whether the stored status no longer says what was last seen."""
        entry, outcome = self._cache.workflows.get(key), self._outcomes.get(key)
        if entry is None or outcome is None or entry.is_deleting:
            return False
        return not status.is_same(entry.status, self.status_of(key, entry, outcome))

    async def _tell(self, ref: Ref, flipped: Sequence[tuple[str, str, str, str]]) -> None:
        for kind, state, reason, message in flipped:
            event = Event(
                ref,
                reason=reason,
                note=f"{kind} is {state}: {message}",
                action="Verify" if kind in ("Loaded", "Healthy", "Ready") else "Reconcile",
                is_warning=state == "False",
                instance=self._instance,
            )
            try:
                await self._cluster.post(event)
            except errors.ApiError as error:
                # An Event is for people; the status already says it. In a namespace that goes away nobody reads either.
                if not _is_terminating(error):
                    logger.warning("Cannot post an Event about %s: %s", ref, error)

    async def _recall(self, namespace: str) -> None:
        """Look up what was shared by workflows that cannot be rendered since we are there: nobody else knows it."""
        forgotten = self._cache.forgotten(namespace)
        if not forgotten or not self.capabilities.has(POD_MONITOR.kind):
            return
        try:
            found = await self._cluster.get(Ref(POD_MONITOR, namespace, names.SHARED_PODS))
        except errors.NotFound:
            found = {}
        except errors.Forbidden:
            return  # the apply that follows is refused as well, and the status tells why
        kept = shared.kept(found)
        self._cache.kept |= {key: kept.get(key.name) for key in forgotten}

    async def _reconcile_shared(self, key: Key) -> float | None:
        """What the workflows of a namespace share, as long as one of them needs it."""
        await self._recall(key.namespace)
        known = self._cache.shares(key.namespace)
        if not known.is_judged and any(share.pods for share in known.needed):
            return None  # it names workflows: as long as some are missing, their pods would not be scraped
        desired = [
            hashed(shared.manifest(share, key.namespace, self._options), self._options.keys)
            for share in sorted(known.needed)
            if share.kind == CONFIG_MAP.kind or self.capabilities.has(share.kind)
        ]
        # While not all workflows are known, one of those may need what these do not.
        failed, failure = await self._act(key, desired, "", prune=known.is_known)
        if failed != self._cache.shared_errors.pop(key.namespace, {}):
            for other in self._cache.in_namespace(key.namespace):
                self._again(other)
        if failed:
            self._cache.shared_errors[key.namespace] = failed
        if failure is not None and not _is_terminating(failure):
            raise failure
        # As with a workflow's own: nobody tells us when a stranger's object goes away.
        return _CONFLICT_SECONDS if failed and failure is None else None


def judged(body: Mapping[str, Any]) -> ProfileEntry:
    """The record of a `WorkflowProfile`: read once, however many workflows use it."""
    metadata = body["metadata"]
    profile, fault = None, ""
    try:
        profile = vocabulary.read(body, "")
    except ProfileError as error:
        fault = f"{error.path}: {error.message}" if error.path else error.message
    return ProfileEntry(
        uid=metadata["uid"],
        version=metadata["resourceVersion"],
        generation=metadata.get("generation") or 0,
        status=body.get("status") or {},
        profile=profile,
        fault=fault,
    )


def _verdict(entry: ProfileEntry) -> Verdict:
    if entry.profile is None:
        return Verdict(False, "InvalidProfile", entry.fault)
    return Verdict(True, "Valid", vocabulary.expresses(entry.profile))


def _is_fixed(step: plan.Step, error: errors.ApiError) -> bool:
    """Whether a change was refused because it can only be made to a new object: of whom a GrafanaDashboard is for."""
    said = str(error)
    return step.ref.kind == GRAFANA_DASHBOARD and ("immutable" in said or "recreate" in said)


def _identity(step: plan.Step) -> tuple[str, str, str]:
    return (step.ref.kind.kind, step.ref.namespace or "", step.ref.name)


def _child(step: plan.Apply, applied: Any) -> Child:
    metadata = step.manifest["metadata"]
    owner = next((o["uid"] for o in metadata.get("ownerReferences") or []), "")
    return Child(
        kind=step.ref.kind,
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=applied.uid,
        version=applied.resource_version,
        owner=owner,
        workflow=metadata["labels"].get(names.WORKFLOW, ""),
        hash=metadata["annotations"][names.HASH],
        is_verified=True,
    )


def _resource(kind: str, name: str, failed: Mapping[str, Any]) -> Resource:
    return Resource(kind=kind, name=name, applied=f"{kind} {name}" not in failed)


def _is_terminating(error: errors.ApiError) -> bool:
    return isinstance(error, errors.Forbidden) and error.is_terminating


def _reason(error: errors.ApiError) -> str:
    if isinstance(error, errors.Forbidden):
        return "NamespaceTerminating" if error.is_terminating else "Forbidden"
    if isinstance(error, errors.Invalid):
        return "Refused"
    return "SchemaOutdated" if isinstance(error, errors.SchemaOutdated) else "ApplyFailed"
