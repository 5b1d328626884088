"""A thread with an event loop of its own, and the one-way bridge out of it. Used by `watch` to keep kopf apart.

kopf treats the loop it runs in as its own: when it ends it waits for and then cancels every task that was created
meanwhile, it replaces the signal handlers of the main thread, and it may plan to kill the process. All of this ends at
the edge of its loop. The price is one hop for each event, and many events share one hop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

logger = logging.getLogger(__name__)

# Events that may wait for our loop before the other one is slowed down, and how many are taken at a time: together
# they bound memory and the lag of our loop.
BACKLOG = 1000
BATCH = 50


class Bulkhead:
    """Run one coroutine in a thread and loop of its own. Create it in the loop that waits for it.

    `job(stop)` should end soon after the event `stop` is set.
    """

    def __init__(self, name: str, job: Callable[[asyncio.Event], Awaitable[None]]) -> None:
        self._job = job
        self._home = asyncio.get_running_loop()
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_say)
        self._stop = asyncio.Event()
        self.ended: asyncio.Future[BaseException | None] = self._home.create_future()
        # A daemon, so that a job that hangs cannot hold up the end of the process.
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    def start(self) -> None:
        """Start the job; `ended` tells how it ended."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the job to end."""
        with contextlib.suppress(RuntimeError):  # its loop is closed: it has ended
            self._loop.call_soon_threadsafe(self._stop.set)

    def task_names(self) -> list[str]:
        """Return the names of the tasks that live in the job's loop."""
        return [task.get_name() for task in asyncio.all_tasks(self._loop)]

    def _main(self) -> None:
        error: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._run())
        except BaseException as caught:
            error = caught
        with contextlib.suppress(RuntimeError):  # our own loop is closed: nobody waits any more
            self._home.call_soon_threadsafe(self._report, error)

    async def _run(self) -> None:
        await self._job(self._stop)

    def _report(self, error: BaseException | None) -> None:
        if not self.ended.done():
            self.ended.set_result(error)


def _say(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # One line instead of a page: kopf leaves an error of each watcher behind when it fails, and `ended` tells the one
    # that counts. These come from the garbage collector at any moment, where formatting a traceback is not safe
    # (in Python 3.11 it parses source, which breaks a parse that is under way).
    logger.debug("Left over: %s (%r)", context.get("message"), context.get("exception"))


class Bridge:
    """Carry calls from another thread's loop into ours, in order. Create it in our loop.

    A call that fails is logged and the next ones go on.
    """

    def __init__(self, sink: Callable[..., None]) -> None:
        self._sink = sink
        self._home = asyncio.get_running_loop()
        self._calls: deque[tuple[Any, ...]] = deque()
        self._is_due = False

    async def put(self, *call: Any) -> None:
        """Hand over one call (in the other loop); wait while ours is far behind."""
        self._calls.append(call)
        if not self._is_due:
            self._is_due = True
            self._home.call_soon_threadsafe(self._drain)
        while len(self._calls) > BACKLOG:  # noqa: ASYNC110 - asyncio has no event across loops
            await asyncio.sleep(0.01)

    def _drain(self) -> None:
        # First the flag: what is appended from here on is either seen below or asks for another turn.
        self._is_due = False
        for _ in range(min(BATCH, len(self._calls))):
            call = self._calls.popleft()
            try:
                self._sink(*call)
            except Exception:
                logger.exception("An event could not be taken in.")
        if self._calls and not self._is_due:
            self._is_due = True
            self._home.call_soon(self._drain)
