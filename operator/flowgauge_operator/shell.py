"""Keep watching: find the kinds that exist, run kopf on them, start it again when it ends or when the kinds change.

Everything behind it (lease, queue, cache, hashes) lives on meanwhile, so a restart costs one list of each kind. Called by
`__main__`; what kopf is told is in `watch`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

from flowgauge_operator import errors, watch
from flowgauge_operator.backoff import Backoff
from flowgauge_operator.bulkhead import Bridge, Bulkhead
from flowgauge_operator.credentials import Credentials
from flowgauge_operator.kinds import Kind, Watched
from flowgauge_operator.presence import Discovery, Reviewer, discover

logger = logging.getLogger(__name__)

# `sink(kind, event_type, body)`; the type is None for objects of the first list.
Sink = Callable[[Kind, str | None, dict[str, Any]], None]

LOOK_SECONDS = 60.0
# kopf gives a stream 5 s and a hung task 5 s to end; it kills itself after 25.
GRACE_SECONDS = 30.0
# A shell that lived this long was healthy: its end is a first failure again.
HEALTHY_SECONDS = 60.0
FAILURE_LIMIT = 5


class ShellFailed(Exception):  # noqa: N818 - reads as English where it is caught
    """Watching is impossible in this process; it should end and be started afresh."""


class Seen:
    """Remember the version of each object that was handed on, to drop what is told twice."""

    def __init__(self) -> None:
        self._versions: dict[tuple[Kind, str], str] = {}

    def is_news(self, kind: Kind, event_type: str | None, body: dict[str, Any]) -> bool:
        """Tell whether this event says something new, and remember it."""
        key = (kind, body["metadata"]["uid"])
        version = body["metadata"].get("resourceVersion", "")
        if event_type == "DELETED":
            self._versions.pop(key, None)
            return True
        if self._versions.get(key) == version:
            return False
        self._versions[key] = version
        return True

    def forget(self, kind: Kind, uid: str) -> None:
        """Let the next event about an object through, whatever its version."""
        self._versions.pop((kind, uid), None)


class Shell:
    """Keep watching the wanted kinds that exist and that we may read.

    Create it in the loop where `sink` is to be called: it is never called from another thread. Two
    events about namesakes (another uid) may change places. `on_change` is told each new set of kinds,
    `on_list` each list: of what was deleted since the last one nobody tells.
    """

    def __init__(
        self,
        wanted: Sequence[Watched],
        sink: Sink,
        credentials: Credentials,
        cluster: Reviewer,
        *,
        namespaces: Sequence[str] = (),
        look_seconds: float = LOOK_SECONDS,
        on_change: Callable[[Discovery], None] = lambda _found: None,
        on_restart: Callable[[BaseException], None] = lambda _error: None,
        on_list: Callable[[Kind], None] = lambda _kind: None,
    ) -> None:
        self._wanted = tuple(wanted)
        self._credentials = credentials
        self._cluster = cluster
        self._namespaces = tuple(namespaces)
        self._look_seconds = look_seconds
        self._on_change = on_change
        self._on_restart = on_restart
        self._bridge = Bridge(sink)
        self._lists = Bridge(on_list)
        self._bulkhead: Bulkhead | None = None
        self._backoff = Backoff(first=1.0, limit=30.0)
        self.seen = Seen()
        self.discovery: Discovery | None = None

    def watching(self, kind: Kind) -> bool:
        """Tell whether a watcher of the kind lives, in every namespace that we serve.

        While the shell starts again there is none for a moment.
        """
        if self._bulkhead is None:
            return False
        prefix = watch.task_prefix(kind)
        found = [name for name in self._bulkhead.task_names() if name.startswith(prefix)]
        return len(found) >= (len(self._namespaces) or 1 if kind.namespaced else 1)

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop` is set, starting the shell again whenever it ends or kinds change.

        Raise ShellFailed after several failures in a row, or when kopf cannot be stopped.
        """
        failures = 0
        while not stop.is_set():
            if not await self._look():
                await _pause(stop, min(5.0, self._look_seconds))
                continue
            started = _now()
            error = await self._watch(stop)
            if error is None:
                failures = 0
                continue
            failures = 1 if _now() - started > HEALTHY_SECONDS else failures + 1
            if failures >= FAILURE_LIMIT:
                raise ShellFailed(f"watching failed {failures} times in a row") from error
            delay = self._backoff.delay(failures)
            logger.warning("Watching ended (%r); starting again in %.0f s.", error, delay)
            self._on_restart(error)
            await _pause(stop, delay)

    async def _look(self) -> bool:
        """Look which kinds there are; return whether anything can be watched now."""
        try:
            found = await discover(self._cluster, self._wanted, self._namespaces)
        except errors.ApiError as error:
            logger.warning("Cannot ask which kinds exist: %s", error)
            return False  # an outage; to wait is better than to fail at it until the process ends
        if found != self.discovery:
            self._log(found)
            self.discovery = found
            self._on_change(found)
        return bool(found.present)

    def _log(self, found: Discovery) -> None:
        known = self.discovery or Discovery()
        for item in self._wanted:
            reason = found.reason(item.kind)
            if reason and reason != known.reason(item.kind):
                logger.warning("Not watching: %s.", reason)
            elif item.kind in found.present - known.present:
                logger.info("Watching %s.", item.kind.resource)

    async def _watch(self, stop: asyncio.Event) -> BaseException | None:
        """Run kopf until the stop, a change of kinds, or its own end; return the error of that."""
        bulkhead = self._bulkhead = Bulkhead("kopf", self._operate)
        bulkhead.start()
        asked = [
            asyncio.create_task(stop.wait(), name="stop of the shell"),
            asyncio.create_task(self._until_changed(), name="look for kinds"),
        ]
        try:
            ends: list[asyncio.Future[Any]] = [bulkhead.ended, *asked]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            was_asked = any(task.done() for task in asked)
        finally:
            for task in asked:
                task.cancel()
            bulkhead.stop()
            await asyncio.wait({bulkhead.ended}, timeout=GRACE_SECONDS)
            self._bulkhead = None
        if not bulkhead.ended.done():
            raise ShellFailed(f"kopf did not stop within {GRACE_SECONDS:g} s")
        error = bulkhead.ended.result()
        if was_asked:
            return None
        return error or RuntimeError("kopf ended without being asked to")

    async def _until_changed(self) -> None:
        before = self.discovery
        while self.discovery == before:
            await asyncio.sleep(self._look_seconds)
            await self._look()

    async def _operate(self, stop: asyncio.Event) -> None:
        present = self.discovery.present if self.discovery else frozenset()
        watched = [item for item in self._wanted if item.kind in present]
        await watch.operate(
            watched, self._handle, self._lists.put, self._credentials, self._namespaces, stop
        )

    async def _handle(self, kind: Kind, event_type: str | None, body: dict[str, Any]) -> None:
        if self.seen.is_news(kind, event_type, body):
            await self._bridge.put(kind, event_type, body)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


def _now() -> float:
    return asyncio.get_running_loop().time()
