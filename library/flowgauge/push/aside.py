"""Blocking work beside an event loop, which goes on meanwhile. Imports no asyncio: who runs a loop has."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

R = TypeVar("R")


async def run(work: Callable[[], R], *, uncancelled: bool) -> R:
    """What `work` gives, from a thread of its own. A cancellation waits for it, and is raised then.

    `uncancelled` forgets the cancellation, for a caller who has an error to go on with.
    """
    asyncio = sys.modules.get("asyncio")
    try:
        loop = asyncio.get_running_loop() if asyncio else None
    except RuntimeError:
        loop = None
    if asyncio is None or loop is None:  # another framework
        return work()
    done: Any = loop.create_future()
    # Not the loop's own pool, in which the program's calls may have taken all places. No daemon: the loop may be
    # stopped by another task's exit, and the process still waits for the work, which has to know when to end.
    thread = threading.Thread(target=_resolve, args=(work, loop, done), name="flowgauge-aside")
    try:
        thread.start()
    except RuntimeError:  # no more threads
        return work()
    cancelled = None
    while not done.done():
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError as cancellation:
            cancelled = cancellation
    if cancelled is not None and not uncancelled:
        raise cancelled
    return cast("R", done.result())


def _resolve(work: Callable[[], object], loop: Any, done: Any) -> None:
    try:
        result, fault = work(), None
    except BaseException as raised:
        result, fault = None, raised

    def settle() -> None:
        if fault is None:
            done.set_result(result)
        else:
            done.set_exception(fault)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:  # the loop is closed, and nobody waits
        return
