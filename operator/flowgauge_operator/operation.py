"""Run the operator: fill the cache, feed the queue, look at Prometheus, list again now and then. Called by `__main__`."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from flowgauge_operator import cache, duration, errors, kinds, names, podwatch, verify
from flowgauge_operator.cache import Cache, Key
from flowgauge_operator.cluster import Cluster
from flowgauge_operator.credentials import Credentials
from flowgauge_operator.discoverer import Discoverer
from flowgauge_operator.discoverer import Policy as DiscoveryPolicy
from flowgauge_operator.discovery import Keep
from flowgauge_operator.kinds import READ, WRITE, Kind, Watched
from flowgauge_operator.mark import Mark
from flowgauge_operator.pods import Place, Pods
from flowgauge_operator.podwatch import PodWatch
from flowgauge_operator.presence import Discovery, discover
from flowgauge_operator.prometheus import Prometheus
from flowgauge_operator.reconcile import Reconciler, judged
from flowgauge_operator.render import Capabilities, Options
from flowgauge_operator.settings import Settings
from flowgauge_operator.shell import Shell
from flowgauge_operator.status import Policy
from flowgauge_operator.telemetry import Telemetry
from flowgauge_operator.unscraped import Unscraped
from flowgauge_operator.verify import Observation, Owner
from flowgauge_operator.workqueue import Lane, WorkQueue

logger = logging.getLogger(__name__)

CHILDREN = (
    kinds.SERVICE,
    kinds.CONFIG_MAP,
    kinds.SERVICE_MONITOR,
    kinds.POD_MONITOR,
    kinds.PROMETHEUS_RULE,
    kinds.ALERTMANAGER_CONFIG,
    kinds.GRAFANA_DASHBOARD,
)
WATCHED = (
    Watched(kinds.WORKFLOW),
    Watched(kinds.PROFILE),
    *(Watched(kind, names.MANAGED_SELECTOR, READ + WRITE, metadata_only=True) for kind in CHILDREN),
)
_OPTIONAL = {
    kinds.SERVICE_MONITOR,
    kinds.POD_MONITOR,
    kinds.PROMETHEUS_RULE,
    kinds.ALERTMANAGER_CONFIG,
    kinds.GRAFANA_DASHBOARD,
}
# After a change somebody waits for the workflow to be Ready. One that does not get there must not cost this for ever.
_IMPATIENT_SECONDS = 5.0
_HURRY_SECONDS = 120.0
# Between two workflows that get a new version of their profile.
_ROLLOUT_SECONDS = 0.1
# Workflows come in bursts, and how many use a profile is news for nobody.
_COUNT_SECONDS = 2.0
# kopf lists its kinds one after the other; one look at all of them is enough.
_SETTLE_SECONDS = 1.0
# Pods come in bursts, and what they ask for is the same.
_PODS_SECONDS = 0.5
# So many looks a pod may run without being scraped: with the default these are two minutes, and a new scrape job reaches
# Prometheus within one.
_UNSCRAPED_LOOKS = 4


def options(settings: Settings) -> Options:
    """The settings that show in manifests."""
    return Options(
        runbook_url=settings.runbook_base_url,
        grafana_url=settings.grafana_url.rstrip("/"),
        logs_url=settings.logs_url,
        traces_url=settings.traces_url,
        dashboard_labels=dict([settings.dashboard_label]),
        folder_annotation=settings.folder_annotation,
        monitor_labels=dict(settings.monitor_labels),
        rule_labels=dict(settings.rule_labels),
        alertmanager_config_labels=dict(settings.alertmanager_config_labels),
        dashboard_mode=settings.dashboard_mode,
        dashboard_folder=settings.dashboard_folder,
        dashboard_instances=dict(settings.dashboard_instances),
        dashboard_cross_namespace=settings.dashboard_cross_namespace,
        dashboard_resync=settings.dashboard_resync,
        namespace_dashboards=settings.namespace_dashboards and settings.dashboard_mode != "None",
    )


class Operation:
    """Everything that works while this replica leads."""

    def __init__(
        self,
        settings: Settings,
        credentials: Credentials,
        cluster: Cluster,
        telemetry: Telemetry,
        instance: str,
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._telemetry = telemetry
        self._options = options(settings)
        self._cache = Cache()
        self._queue: WorkQueue[Key] = WorkQueue(
            on_failure=self._failed,
            on_wait=lambda seconds, lane: telemetry.queue_wait.labels(lane.name.lower()).observe(
                seconds
            ),
        )
        self._listed: set[Kind] = set()
        self._outdated: dict[Key, None] = {}
        self._hurry_until = 0.0
        self._pods = Pods()
        self._podwatch: PodWatch | None = None
        if settings.discovery != "off":
            self._podwatch = PodWatch(
                cluster,
                self._pods,
                self._on_pods,
                namespaces=settings.namespaces,
                selector=podwatch.selector(settings.discovery),
                look_seconds=settings.discovery_interval,
            )
        self._discoverer = Discoverer(
            cluster,
            self._cache,
            self._pods,
            DiscoveryPolicy(
                Keep(settings.discovery_keep, settings.discovery_keep_intermittent),
                settings.discovery_limit,
            ),
            now=lambda: datetime.now(UTC),
            is_known=lambda namespace: bool(self._podwatch and self._podwatch.is_known(namespace)),
            again=self._queue.add,
            instance=instance,
        )
        self._unscraped = Unscraped(
            cluster,
            self._pods,
            now=lambda: datetime.now(UTC),
            patience=timedelta(seconds=_UNSCRAPED_LOOKS * settings.verify_interval),
        )
        self._reconciler = Reconciler(
            cluster,
            self._cache,
            self._options,
            Policy(bool(settings.prometheus_url), settings.require_prometheus),
            now=lambda: datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            again=self._queue.add,
            instance=instance,
            on_drift=lambda kind: telemetry.drifts.labels(kind).inc(),
            remarks=self._discoverer.remarks,
        )
        self._shell = Shell(
            WATCHED,
            self._on_event,
            credentials,
            cluster,
            namespaces=settings.namespaces,
            look_seconds=settings.discovery_interval,
            on_change=self._on_discovery,
            on_restart=lambda _error: telemetry.restarts.inc(),
            on_list=self._listed.add,
        )
        telemetry.follow(
            "workflows", "MonitoredWorkflows that are known.", lambda: len(self._cache.workflows)
        )
        telemetry.follow(
            "workflows_ready",
            "MonitoredWorkflows whose condition Ready is True.",
            lambda: sum(map(_is_ready, self._cache.workflows.values())),
        )
        telemetry.follow("queue_active", "Keys that have their turn.", lambda: self._queue.active)
        telemetry.follow(
            "annotated_pods", "Annotated pods that are known.", lambda: len(self._pods)
        )
        telemetry.follow(
            "discovery_refused",
            "Names on pods for which no workflow is made.",
            lambda: self._discoverer.refused,
        )
        telemetry.follow(
            "pod_events",
            "Events of pods since the start, ours or not.",
            lambda: self._podwatch.counts.events if self._podwatch else 0,
        )
        telemetry.follow(
            "queue_depth", "Keys that wait for their turn.", lambda: sum(self._queue.depth.values())
        )

    def problem(self) -> str | None:
        """Why the operator does not live, or None."""
        known = self._shell.discovery
        if known and kinds.WORKFLOW in known.present and not self._shell.watching(kinds.WORKFLOW):
            return "no watcher of MonitoredWorkflows"
        return None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set. Raise what makes going on impossible."""
        await self._begin(stop)
        # Not `stop` itself: whoever gave it would take our end for a wish of its own.
        ending = asyncio.Event()
        tasks = [
            asyncio.create_task(self._queue.run(self._turn, self._settings.workers), name="queue"),
            asyncio.create_task(self._shell.run(ending), name="shell"),
            asyncio.create_task(self._resync(ending), name="resync"),
            asyncio.create_task(self._follow_lists(ending), name="lists"),
            asyncio.create_task(self._follow_profiles(ending), name="profiles"),
            asyncio.create_task(self._verify(ending), name="verify"),
        ]
        if self._podwatch is not None:
            tasks.append(asyncio.create_task(self._podwatch.run(ending), name="pods"))
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()
        finally:
            ending.set()
            self._queue.stop()
            stopping.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)

    async def _begin(self, stop: asyncio.Event) -> None:
        """Know what is there before the first decision: a restart with nothing changed must write nothing."""
        while not stop.is_set():
            try:
                found = await discover(self._cluster, WATCHED, self._settings.namespaces)
                self._set_capabilities(found)
                await self._list_all(found)
                if self._podwatch is not None:
                    await self._podwatch.begin()
                    self._discover_all()
                self._check_shared()
            except errors.ApiError as error:
                logger.warning("Cannot list at start: %s; trying again.", error)
                await _pause(stop, 3)
            else:
                return

    def _discover_all(self) -> None:
        """Plan a turn for all that pods ask for, and for what was made for pods that are gone."""
        self._discoverer.recall()
        marked = [
            Place(key.namespace, key.name)
            for key, entry in self._cache.workflows.items()
            if entry.mark is not None
        ]
        self._on_pods((*marked, *self._pods.places()))

    def _on_pods(self, places: Iterable[Place]) -> None:
        """Plan a turn for each place of which a pod brings news."""
        for place in places:
            self._queue.add_after(Key("pods", place.namespace, place.workflow), _PODS_SECONDS)

    def _discover(self, key: Key, mark: Mark | None) -> None:
        """Plan a turn of discovery for a workflow that has changed, if it is any of its business."""
        place = Place(key.namespace, key.name)
        is_concerned = mark or self._cache.mark_of(key) or self._pods.at(place)
        if self._podwatch is not None and is_concerned:
            self._queue.add(Key("pods", *place))

    def _check_shared(self) -> None:
        """Look whether what namespaces share is still needed: its last workflow may have gone while we were down."""
        for child in self._cache.children.values():
            if not child.workflow:
                self._queue.add(self._cache.owner_of(child), Lane.SLOW)

    async def _list_all(self, found: Discovery) -> None:
        for kind in (*CHILDREN, kinds.PROFILE, kinds.WORKFLOW):
            if kind in found.present:
                await self._list(kind)

    async def _list(self, kind: Kind) -> None:
        if kind == kinds.PROFILE:
            await self._list_profiles()
        elif kind == kinds.WORKFLOW:
            await self._list_workflows()
        else:
            await self._list_children(kind)

    def _scopes(self) -> tuple[str | None, ...]:
        return self._settings.namespaces or (None,)

    async def _list_children(self, kind: Kind) -> None:
        before = {
            i: child.version for i, child in self._cache.children.items() if child.kind == kind
        }
        listed = set()
        for namespace in self._scopes():
            async for child in self._children(kind, namespace, whole=not before):
                listed.add(child.identity)
                known = self._cache.children.get(child.identity)
                if (known.version if known else None) != before.get(child.identity):
                    continue  # an event was faster, and knows better
                if known is None or known.version != child.version:
                    self._cache.put_child(child)
                    if before:
                        self._queue.add(self._cache.owner_of(child), Lane.SLOW)
        for identity in before.keys() - listed:
            known = self._cache.children.get(identity)
            if known is not None and known.version == before[identity]:
                self._purge(known)

    async def _children(
        self, kind: Kind, namespace: str | None, *, whole: bool
    ) -> AsyncIterator[cache.Child]:
        """List children: `whole` ones at the start, when each would have to be looked at anyway."""
        # A whole object may have 30 kB, its metadata one.
        chunk = 100 if whole else 500
        listed = self._cluster.list(
            kind, namespace, names.MANAGED_SELECTOR, metadata_only=not whole, chunk=chunk
        )
        async for body in listed:
            yield self._reconciler.child_of(kind, body) if whole else cache.child_of(kind, body)

    def _purge(self, child: cache.Child) -> None:
        self._telemetry.ghosts.inc()
        self._shell.seen.forget(child.kind, child.uid)
        self._cache.drop_child(child.identity)
        self._queue.add(self._cache.owner_of(child), Lane.SLOW, force=True)

    async def _list_workflows(self) -> None:
        before = {key: entry.version for key, entry in self._cache.workflows.items()}
        listed = set()
        for namespace in self._scopes():
            async for body in self._cluster.list(kinds.WORKFLOW, namespace, metadata_only=False):
                listed.add(key := cache.key_of(body))
                known = self._cache.workflows.get(key)
                if (known.version if known else None) != before.get(key):
                    continue  # an event was faster, and knows better
                self._put_workflow(key, body, Lane.FAST if before else Lane.SLOW)
        for key in before.keys() - listed:
            if (entry := self._cache.workflows.get(key)) and entry.version == before[key]:
                self._telemetry.ghosts.inc()
                self._shell.seen.forget(kinds.WORKFLOW, entry.uid)
                self._forget(key)

    async def _list_profiles(self) -> None:
        before = {name: entry.version for name, entry in self._cache.profiles.items()}
        listed = set()
        async for body in self._cluster.list(kinds.PROFILE, None, metadata_only=False):
            listed.add(name := body["metadata"]["name"])
            known = self._cache.profiles.get(name)
            if (known.version if known else None) == before.get(name):
                self._put_profile(body)
        for name in before.keys() - listed:
            known = self._cache.profiles.get(name)
            if known is not None and known.version == before[name]:
                self._telemetry.ghosts.inc()
                self._shell.seen.forget(kinds.PROFILE, known.uid)
                self._drop_profile(name)

    def _on_discovery(self, found: Discovery) -> None:
        for item in WATCHED:
            is_forbidden = item.kind in found.forbidden
            self._telemetry.forbidden.labels(item.kind.kind).set(is_forbidden)
        if kinds.WORKFLOW not in found.present:
            # Their kind is gone, and they are gone with it; nobody tells us of each.
            for key in tuple(self._cache.workflows):
                self._forget(key)
        if kinds.PROFILE not in found.present:
            for name in tuple(self._cache.profiles):
                self._drop_profile(name)
        if self._set_capabilities(found):
            for key in self._cache.workflows:
                self._queue.add(key, Lane.SLOW)
            for namespace in {key.namespace for key in self._cache.workflows}:
                self._queue.add(Key("namespace", namespace), Lane.SLOW)

    def _set_capabilities(self, found: Discovery) -> bool:
        usable = frozenset(kind.kind for kind in found.present & _OPTIONAL)
        changed = usable != self._reconciler.capabilities.kinds
        self._reconciler.capabilities = Capabilities(usable)
        self._cache.no_profiles = found.reason(kinds.PROFILE) or ""
        return changed

    def _on_event(self, kind: Kind, event_type: str | None, body: dict[str, Any]) -> None:
        self._telemetry.events.labels(kind.kind, event_type or "LISTED").inc()
        if kind == kinds.WORKFLOW:
            self._on_workflow(event_type, body)
        elif kind == kinds.PROFILE:
            self._on_profile(event_type, body)
        else:
            self._on_child(kind, event_type, body)

    def _on_workflow(self, event_type: str | None, body: Mapping[str, Any]) -> None:
        key = cache.key_of(body)
        if event_type == "DELETED":
            known = self._cache.workflows.get(key)
            if known is not None and known.uid == body["metadata"]["uid"]:
                self._forget(key)
        else:
            self._put_workflow(key, body, Lane.FAST)

    def _put_workflow(self, key: Key, body: Mapping[str, Any], lane: Lane) -> None:
        before = self._cache.profile_of(key)
        mark = self._cache.mark_of(key)
        is_news = self._cache.put_workflow(body)
        if is_news or mark != self._cache.mark_of(key):
            self._discover(key, mark)
        if is_news:
            self._hurry()
            self._queue.add(key, lane)
            self._count(before, self._cache.profile_of(key))

    def _hurry(self) -> None:
        self._hurry_until = time.monotonic() + _HURRY_SECONDS

    def _forget(self, key: Key) -> None:
        before = self._cache.profile_of(key)
        self._cache.drop_workflow(key)
        self._queue.add(key)
        self._discover(key, None)
        for waiting in self._discoverer.waiting(key.namespace):
            self._queue.add_after(waiting, _PODS_SECONDS)
        self._count(before, "")

    def _count(self, before: str, after: str) -> None:
        for name in {before, after} & self._cache.profiles.keys() if before != after else ():
            self._queue.add_after(Key("profile", "", name), _COUNT_SECONDS)

    def _on_profile(self, event_type: str | None, body: Mapping[str, Any]) -> None:
        name, uid = body["metadata"]["name"], body["metadata"]["uid"]
        if event_type != "DELETED":
            self._put_profile(body)
        elif (known := self._cache.profiles.get(name)) and known.uid == uid:
            self._drop_profile(name)

    def _put_profile(self, body: Mapping[str, Any]) -> None:
        metadata = body["metadata"]
        name, uid, generation = metadata["name"], metadata["uid"], metadata.get("generation") or 0
        known = self._cache.profiles.get(name)
        if known is not None and (known.uid, known.generation) == (uid, generation):
            known.version, known.status = metadata["resourceVersion"], body.get("status") or {}
            return
        self._cache.profiles[name] = judged(body)
        self._queue.add(Key("profile", "", name))
        self._roll_out(name)

    def _drop_profile(self, name: str) -> None:
        del self._cache.profiles[name]
        self._roll_out(name)

    def _roll_out(self, profile: str) -> None:
        """Plan a turn for each workflow that uses a profile."""
        self._hurry()
        self._outdated |= dict.fromkeys(self._cache.users(profile))

    async def _follow_profiles(self, stop: asyncio.Event) -> None:
        """Give workflows whose profile has changed their turns, one after the other: a thousand at once are a storm."""
        previous: Key | None = None
        while not await _pause(stop, _ROLLOUT_SECONDS):
            if self._outdated and not (previous and self._queue.has(previous)):
                previous = next(iter(self._outdated))
                del self._outdated[previous]
                self._queue.add(previous, Lane.SLOW)

    def _on_child(self, kind: Kind, event_type: str | None, body: Mapping[str, Any]) -> None:
        child = cache.child_of(kind, body)
        known = self._cache.children.get(child.identity)
        if event_type == "DELETED":
            # What we deleted ourselves is no longer in the cache; anything else is drift.
            if known is not None and known.uid == child.uid:
                self._cache.drop_child(child.identity)
                self._queue.add(self._cache.owner_of(known), force=True)
            return
        if known is not None and known.is_verified and known.version == child.version:
            return  # the echo of our own write
        if known is not None and known.look == child.look != 0:
            self._on_child_status(known, child)
            return
        self._cache.put_child(child)
        for owner in {self._cache.owner_of(known or child), self._cache.owner_of(child)}:
            # The news of our own write may come before its answer: the end of the turn tells which it was.
            if not self._queue.has_turn(owner):
                self._queue.add(owner)

    def _on_child_status(self, known: cache.Child, child: cache.Child) -> None:
        """Remember that only the status of a child is new; grafana-operator writes it every ten seconds at worst."""
        if not child.workflow:
            self._cache.put_child(dataclasses.replace(known, version=child.version))
            return
        self._cache.put_child(dataclasses.replace(child, synchronized=known.synchronized))
        self._queue.add_after(self._cache.owner_of(child), self._settings.verify_interval)

    async def _turn(self, key: Key, force: bool) -> float | None:
        started = time.perf_counter()
        try:
            if key.sort == "pods":
                again = await self._discoverer.turn(key)
            else:
                again = await self._reconciler.reconcile(key, force)
        except BaseException:
            self._telemetry.reconciles.labels("error").inc()
            raise
        self._telemetry.reconciles.labels("success").inc()
        self._telemetry.reconcile_seconds.observe(time.perf_counter() - started)
        self._telemetry.last_success.set_to_current_time()
        return again

    def _failed(self, key: Key, error: BaseException, delay: float) -> None:
        what = {
            "workflow": f"{key.namespace}/{key.name}",
            "namespace": f"what {key.namespace} shares",
            "profile": f"the status of the profile {key.name}",
            "pods": f"what pods in {key.namespace} ask for as {key.name[:80]!r}",
        }[key.sort]
        if isinstance(error, errors.ApiError):
            logger.warning("Could not bring %s in line: %s; again in %.0f s.", what, error, delay)
        else:
            logger.error(
                "Could not bring %s in line; again in %.0f s.", what, delay, exc_info=error
            )

    async def _resync(self, stop: asyncio.Event) -> None:
        while not await _pause(stop, self._settings.resync):
            if self._shell.discovery is None:
                continue
            try:
                await self._list_all(self._shell.discovery)
            except errors.ApiError as error:
                logger.warning("Cannot list again: %s", error)

    async def _follow_lists(self, stop: asyncio.Event) -> None:
        """List what kopf has listed: of what was deleted while nobody watched there is no event."""
        while not await _pause(stop, _SETTLE_SECONDS):
            for kind in tuple(self._listed):
                self._listed.discard(kind)
                try:
                    await self._list(kind)
                except errors.Unavailable as error:
                    logger.warning("Cannot list %s: %s", kind.resource, error)
                    self._listed.add(kind)
                except errors.ApiError as error:
                    logger.warning("Cannot list %s: %s", kind.resource, error)

    async def _verify(self, stop: asyncio.Event) -> None:
        if not self._settings.prometheus_url:
            await stop.wait()
            return
        prometheus = Prometheus(
            self._settings.prometheus_url,
            token_file=self._settings.prometheus_bearer_token_file,
            ca_file=self._settings.prometheus_ca_file,
        )
        # Short steps, so that a change in the middle of a long pause is not kept waiting.
        step, looked = min(1.0, self._settings.verify_interval / 2), time.monotonic()
        async with prometheus:
            while not await _pause(stop, step):
                if time.monotonic() - looked >= self._patience():
                    await self._look(prometheus)
                    looked = time.monotonic()

    def _patience(self) -> float:
        """Seconds until the next look: short while a workflow that was just changed is on its way."""
        interval = self._settings.verify_interval
        if time.monotonic() > self._hurry_until or all(
            _is_ready(entry) for entry in self._cache.workflows.values()
        ):
            return interval
        return min(interval, _IMPATIENT_SECONDS)

    async def _look(self, prometheus: Prometheus) -> None:
        expected = [expectation.rendered for expectation in self._cache.expected.values()]
        if not expected:
            return
        self._reconciler.looks += 1
        number = self._reconciler.looks
        seen = await prometheus.observe(expected)
        seen.number = number
        seen.unscraped = await self._unscraped.find(self._idle(seen))
        self._telemetry.looks.labels("error" if seen.error else "success").inc()
        self._reconciler.seen = seen
        for number, key in enumerate(list(self._cache.workflows)):
            if self._reconciler.is_stale(key):
                self._queue.add(key, Lane.SLOW)
            if number % 100 == 99:
                await asyncio.sleep(0)

    def _idle(self, seen: Observation) -> dict[Owner, timedelta]:
        """The workflows of annotated pods without a target, with how often they are scraped."""
        found = {}
        for key, expectation in self._cache.expected.items():
            owner, rendered = Owner(key.namespace, key.name), expectation.rendered
            if verify.is_idle(rendered, owner, seen):
                every = [pods.interval for share in rendered.shares for pods in share.pods]
                found[owner] = timedelta(seconds=max(map(duration.seconds, every), default=0.0))
        return found


def _is_ready(entry: cache.Entry) -> bool:
    conditions = entry.status.get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


async def _pause(stop: asyncio.Event, seconds: float) -> bool:
    """Wait so many seconds; tell whether to stop."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return False
    return True
