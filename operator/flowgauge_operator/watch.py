"""Tell kopf what to watch and nothing else. The only module that imports kopf; called by `shell`, behind a bulkhead.

kopf logs in and keeps watch streams alive. It gets `on.event` handlers only: no state, no finalizer, no write.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import kopf
import orjson

from flowgauge_operator.cluster import META, META_LIST
from flowgauge_operator.credentials import Bearer, Credentials
from flowgauge_operator.kinds import FLOWGAUGE, Kind, Watched
from flowgauge_operator.transport import JSON

# `await handle(kind, event_type, body)`; the type is None for objects of the first list.
Handle = Callable[[Kind, str | None, dict[str, Any]], Awaitable[None]]
# `await listed(kind)`: kopf begins to watch, or begins anew. It does not tell what was deleted meanwhile.
Listed = Callable[[Kind], Awaitable[None]]

# kopf drops its streams and leaves; a TLS connection is closed only some turns of the loop later.
TLS_CLOSE_SECONDS = 0.25
REAP_SECONDS = 0.5


async def operate(
    watched: Sequence[Watched],
    handle: Handle,
    listed: Listed,
    credentials: Credentials,
    namespaces: Sequence[str],
    stop: asyncio.Event,
) -> None:
    """Watch until `stop` is set. Raise whatever ends kopf: a kind that is gone (404) or forbidden (403), ..."""
    quieten()
    # Before kopf starts: what is created later, it would wait for.
    reaping = asyncio.create_task(_reap(stop), name="reaper")
    try:
        await kopf.operator(
            registry=registry(watched, handle, listed, credentials, stop),
            settings=settings(watched),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
            stop_flag=stop,
        )
    finally:
        reaping.cancel()
        if credentials.server.startswith("https"):
            await asyncio.sleep(TLS_CLOSE_SECONDS)


async def _reap(stop: asyncio.Event) -> None:
    """Cancel watchers that outlive the stop, again and again.

    A watcher that is just opening its stream can swallow its cancellation (seen when a CRD was
    removed); kopf cancels once, waits for ever, and has the process killed after 25 s.
    """
    await stop.wait()
    while True:
        await asyncio.sleep(REAP_SECONDS)
        for task in asyncio.all_tasks():
            if task.get_name().startswith("watcher for "):
                task.cancel()


def registry(
    watched: Sequence[Watched],
    handle: Handle,
    listed: Listed,
    credentials: Credentials,
    stop: asyncio.Event,
) -> kopf.OperatorRegistry:
    """Return a registry with one `on.event` handler for each kind, the login and the end."""
    made = kopf.OperatorRegistry()
    _add_login(made, credentials, watched, listed)
    _add_cleanup(made, stop)
    for item in watched:
        _add_event(made, item.kind, handle)
    return made


def _add_event(made: kopf.OperatorRegistry, kind: Kind, handle: Handle) -> None:
    # Asynchronous, since kopf runs plain functions in a pool of threads.
    async def on_event(event: kopf.RawEvent, **_: Any) -> None:
        await handle(kind, event["type"], dict(event["object"]))

    kopf.on.event(
        group=kind.group, version=kind.version, plural=kind.plural, id=kind.plural, registry=made
    )(on_event)


def _add_login(
    made: kopf.OperatorRegistry,
    credentials: Credentials,
    watched: Sequence[Watched],
    listed: Listed,
) -> None:
    bearer = Bearer(credentials)

    async def login(**_: Any) -> kopf.AiohttpSession:
        # Also called after a 401, so a token is never taken from memory.
        return await connection(credentials, await bearer.token(fresh=True), watched, listed)

    kopf.on.login(id="login", registry=made, errors=kopf.ErrorsMode.PERMANENT)(login)


def _add_cleanup(made: kopf.OperatorRegistry, stop: asyncio.Event) -> None:
    # When kopf fails, it waits 5 s for tasks that only a stop ends: that of our flag, the watchers.
    async def cleanup(**_: Any) -> None:
        stop.set()

    kopf.on.cleanup(id="cleanup", registry=made)(cleanup)


async def connection(
    credentials: Credentials, token: str | None, watched: Sequence[Watched], listed: Listed
) -> kopf.AiohttpSession:
    """Return a session of kopf's own with our credentials, which asks for no more than is wanted and tells of lists."""
    secure = credentials.server.startswith("https")
    tls = await asyncio.to_thread(credentials.tls) if secure else True
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=tls),
        headers={"Authorization": f"Bearer {token}"} if token else {},
        proxy=credentials.proxy,
        middlewares=[_between(watched, listed)],
    )
    return kopf.AiohttpSession(
        server=credentials.server,
        default_namespace=credentials.namespace,
        aiohttp_session=session,
    )


def _between(watched: Sequence[Watched], listed: Listed) -> aiohttp.ClientMiddlewareType:
    """Stand between kopf and the API server, for what kopf has no setting and no handler."""

    async def ask(
        request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        item = next((item for item in watched if _is_collection(request.url.path, item.kind)), None)
        if item is None:
            return await send(request)
        is_watch = "watch" in request.url.query
        if item.metadata_only:
            request.headers["Accept"] = META if is_watch else META_LIST
        answer = await send(request)
        if is_watch or answer.status != 200:
            return answer
        if "continue" not in request.url.query:
            await listed(item.kind)
        if item.metadata_only and orjson.loads(await answer.read()).get("items") is None:
            # Of nothing, the API server makes `items: null` here, over which kopf stumbles. Whole, nothing is as small.
            request.headers["Accept"] = JSON
            return await send(request)
        return answer

    return ask


def _is_collection(path: str, kind: Kind) -> bool:
    return path.startswith(kind.path().rpartition("/")[0]) and path.endswith(f"/{kind.plural}")


def settings(watched: Sequence[Watched]) -> kopf.OperatorSettings:
    """Return the settings of kopf under which it only watches."""
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.peering.standalone = True
    made.scanning.disabled = True
    # These two belong together: with the default idle time-out of 5 s, a finished worker keeps its
    # place for as long, and 50 places are 10 objects a second.
    made.queueing.worker_limit = 50
    made.queueing.idle_timeout = 0.01
    made.queueing.exit_timeout = 5
    made.watching.chunk_size = 500
    made.watching.server_timeout = 290
    made.watching.connect_timeout = 10
    made.watching.inactivity_timeout = 70
    # Streaming the first list loses objects when the stream is cut in the middle.
    made.watching.initial_streaming = False
    made.networking.request_timeout = 30
    made.networking.error_backoffs = (1, 2, 4, 8, 15)
    made.networking.enforce_retry_after = True
    made.process.ultimate_exiting_timeout = 25
    made.persistence.diffbase_storage = NoDiffBase()
    made.persistence.progress_storage = NoProgress()
    made.persistence.finalizer = f"{FLOWGAUGE}/never-used"
    for item in watched:
        if item.selector:
            key = (item.kind.group, item.kind.version, item.kind.plural)
            made.watching.label_selectors[key] = item.selector
    return made


class NoDiffBase(kopf.DiffBaseStorage):
    """Store nothing, and spare the deep copy of every body; right with `on.event` only."""

    def build(self, **_: Any) -> Any:
        """Return an empty essence."""
        return {}

    def fetch(self, **_: Any) -> None:
        """Know nothing."""

    def store(self, **_: Any) -> None:
        """Write nothing."""


class NoProgress(kopf.ProgressStorage):
    """Store nothing; right with `on.event` only."""

    def fetch(self, **_: Any) -> None:
        """Know nothing."""

    def store(self, **_: Any) -> None:
        """Write nothing."""

    def purge(self, **_: Any) -> None:
        """Write nothing."""

    def touch(self, **_: Any) -> None:
        """Write nothing."""

    def clear(self, *, essence: Any) -> Any:
        """Return the essence as it is."""
        return essence


def quieten() -> None:
    """Set kopf's loggers: without it each event is one line, and each start a false warning."""
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").addFilter(_is_not_about_signals)


def _is_not_about_signals(record: logging.LogRecord) -> bool:
    return "OS signals are ignored" not in record.getMessage()


def task_prefix(kind: Kind) -> str:
    """Return how kopf begins the name of a kind's watcher task; a test holds it."""
    return f"watcher for {kind.plural}.{kind.version}.{kind.group}".rstrip(".") + "@"
