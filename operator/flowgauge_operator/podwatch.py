"""Watch the pods of the cluster for those with an annotation of ours. Called by `operation`.

The API server filters by label only, so every change of every pod arrives. kopf would decode each, hand it from thread to
thread and make a task for it; here a line without our annotation is dropped before it is decoded. Pods can also be
forbidden without an end to anything else.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from flowgauge_operator import errors, names
from flowgauge_operator.backoff import Backoff
from flowgauge_operator.cluster import Cluster
from flowgauge_operator.kinds import POD, WORKFLOW, Kind
from flowgauge_operator.pods import Place, Pods

logger = logging.getLogger(__name__)

# In the bytes of an event; it also stands in what the API server records of writers, which does no harm.
_ANNOTATION = f'"{names.WORKFLOW}"'.encode()
# The first uid of an object is its own: the API server writes fields in one order, and only names come before.
_UID = re.compile(rb'"uid":"([^"]+)"')
_NEEDED: Sequence[tuple[Kind, tuple[str, ...]]] = (
    (POD, ("list", "watch")),
    (WORKFLOW, ("create", "patch", "delete")),
)
# After so many pods of a list, others have their turn.
_BREATH = 500


@dataclass
class Counts:
    """Count what was watched, for the metrics."""

    events: int = 0
    decoded: int = 0


@dataclass
class _Scope:
    """A namespace that is watched, or all of them (None). `version` is where its watch goes on."""

    namespace: str | None
    version: str = ""
    is_known: bool = False
    denied: str = ""
    backoff: Backoff = field(default_factory=lambda: Backoff(first=1.0, limit=30.0))


class PodWatch:
    """Keep `pods` in line with the cluster; `on_news` is told the places for which a change is news.

    `selector` narrows the watch to pods with a label. `look_seconds` pass before a permission that is missing is asked for
    again.
    """

    def __init__(
        self,
        cluster: Cluster,
        pods: Pods,
        on_news: Callable[[Iterable[Place]], None],
        *,
        namespaces: Sequence[str] = (),
        selector: str | None = None,
        look_seconds: float = 60.0,
    ) -> None:
        self._cluster = cluster
        self._pods = pods
        self._on_news = on_news
        self._selector = selector
        self._look_seconds = look_seconds
        self._scopes = [_Scope(namespace) for namespace in namespaces or (None,)]
        self.counts = Counts()

    def is_known(self, namespace: str) -> bool:
        """Whether the pods of a namespace are known, so that one that is not there is gone."""
        return any(s.is_known for s in self._scopes if s.namespace in (None, namespace))

    async def begin(self) -> None:
        """List once, so that nothing is decided without knowing the pods. What goes wrong is told and tried again later."""
        for scope in self._scopes:
            await self._try(scope, self._list)

    async def run(self, stop: asyncio.Event) -> None:
        """Watch until `stop` is set."""
        tasks = [asyncio.create_task(self._follow(scope), name="pods") for scope in self._scopes]
        try:
            await stop.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, scope: _Scope) -> None:
        failures = 0
        while True:
            step = self._stream if scope.version else self._list
            if await self._try(scope, step):
                failures = 0
            elif scope.denied:
                await asyncio.sleep(self._look_seconds)
            else:
                failures += 1
                await asyncio.sleep(scope.backoff.delay(failures))

    async def _try(self, scope: _Scope, step: Any) -> bool:
        try:
            await step(scope)
        except errors.Expired:
            scope.version = ""  # what changed meanwhile, a list tells
        except errors.Forbidden as error:
            self._deny(scope, str(error))
        except errors.ApiError as error:
            logger.warning("Cannot watch pods: %s", error)
            scope.version = ""
            return False
        except Exception:
            logger.exception("Cannot watch pods; listing them again.")
            scope.version = ""
            return False
        return not scope.denied

    async def _list(self, scope: _Scope) -> None:
        if denied := await self._denied(scope.namespace):
            self._deny(scope, denied)
            return
        listed, version = set[str](), ""
        async for page in self._cluster.pages(POD, scope.namespace, self._selector):
            version = version or page["metadata"]["resourceVersion"]
            for body in page.get("items") or ():
                if names.WORKFLOW in (body["metadata"].get("annotations") or {}):
                    listed.add(body["metadata"]["uid"])
                    self._put(body)
            await asyncio.sleep(0)
        gone = self._pods.keep_only(listed, scope.namespace)
        if scope.denied:
            logger.info("Watching pods again.")
        first, scope.is_known, scope.denied = not scope.is_known, True, ""
        scope.version = version
        self._on_news(gone)
        if first:
            # Of a workflow that has lost its last pod while nobody watched there is no news.
            self._on_news(self._pods.places())

    async def _denied(self, namespace: str | None) -> str:
        for kind, verbs in _NEEDED:
            for verb in verbs:
                if not await self._cluster.may(verb, kind.group, kind.plural, namespace):
                    where = f" in namespace {namespace}" if namespace else ""
                    return f"the operator may not {verb} {kind.resource}{where} (RBAC)"
        return ""

    def _deny(self, scope: _Scope, why: str) -> None:
        if why != scope.denied:
            logger.warning(
                "Annotated pods are not watched: %s; grant it, or set --discovery=off. Workflows that were discovered stay.",
                why,
            )
        scope.denied, scope.is_known, scope.version = why, False, ""

    async def _stream(self, scope: _Scope) -> None:
        async for lines in self._cluster.watch(POD, scope.namespace, self._selector, scope.version):
            for number, line in enumerate(lines):
                self._event(scope, line)
                if number % _BREATH == _BREATH - 1:
                    await asyncio.sleep(0)

    def _event(self, scope: _Scope, line: bytes) -> None:
        self.counts.events += 1
        if _ANNOTATION not in line and not self._concerns(line):
            return
        self.counts.decoded += 1
        event = orjson.loads(line)
        kind, body = event["type"], event["object"]
        if kind == "ERROR":
            raise errors.Expired(int(body.get("code") or 0), "Expired", str(body.get("message")))
        scope.version = body["metadata"]["resourceVersion"]
        if kind == "DELETED":
            self._on_news(self._pods.drop(body["metadata"]["uid"]))
        elif kind != "BOOKMARK":
            self._put(body)

    def _concerns(self, line: bytes) -> bool:
        """Whether an event without our annotation is about a pod that had it, or about none."""
        found = _UID.search(line)
        return found is None or found[1].decode() in self._pods

    def _put(self, body: Mapping[str, Any]) -> None:
        self._on_news(self._pods.put(body))


def selector(mode: str) -> str | None:
    """The label selector of a mode of discovery."""
    return f"{names.MONITOR}=true" if mode == "label" else None
