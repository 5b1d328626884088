"""Do one piece of work for all who ask for it at the same time. Used to render metrics once for concurrent scrapes.

Who asks while the work is under way does not get its result, which may be older than the question, but shares the next
one. So a result is never older than its request, and at most two pieces of work stand for any number of scrapes.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from flowgauge import forks, guard

T = TypeVar("T")


class LateError(Exception):
    """The work takes longer than was waited for."""


class Result(NamedTuple, Generic[T]):
    """What the work gave: a value, or the error that it raised."""

    value: T | None
    error: BaseException | None


Done = Callable[[Result[T]], None]


class Flights(Generic[T]):
    """Calls `work(key)` in one thread, which exists only while there is something to do.

    Work for different keys is done one after the other: it is computing, so that threads would not make it faster.
    """

    def __init__(self, work: Callable[[str], T], *, name: str) -> None:
        self._work = work
        self._name = name
        self._lock = threading.Lock()
        self._waiting: dict[str, list[Done[T]]] = {}
        self._flying = False
        _all.add(self)

    def join(self, key: str, done: Done[T]) -> None:
        """Call `done` with the result of work that begins after now. In its thread, where it must not block."""
        with self._lock:
            self._waiting.setdefault(key, []).append(done)
            if self._flying:
                return
            self._flying = True
        try:
            threading.Thread(target=self._fly, name=self._name, daemon=True).start()
        except RuntimeError as error:  # no more threads, or the interpreter ends
            with self._lock:
                self._flying = False
                waiting, self._waiting = self._waiting, {}
            for batch in waiting.values():
                _land(batch, Result(None, error))

    def wait(self, key: str, *, seconds: float) -> Result[T]:
        """The result of work that begins after now.

        Raises:
            LateError: it takes longer than `seconds`.

        """
        results: list[Result[T]] = []
        landed = threading.Event()

        def done(result: Result[T]) -> None:
            results.append(result)
            landed.set()

        self.join(key, done)
        if not landed.wait(seconds):
            raise LateError
        return results[0]

    def reset(self) -> None:
        """Forget all work, as a forked child must: the thread and who waits for it are the parent's."""
        self._lock = threading.Lock()
        self._waiting = {}
        self._flying = False

    def _fly(self) -> None:
        while True:
            with self._lock:
                key = next(iter(self._waiting), None)
                if key is None:
                    self._flying = False
                    return
                batch = self._waiting.pop(key)
            _land(batch, self._result(key))

    def _result(self, key: str) -> Result[T]:
        try:
            return Result(self._work(key), None)
        # Also what is no Exception, as SystemExit in a collector: without an answer all who wait would hang.
        except BaseException as error:
            return Result(None, error)


def _land(batch: list[Done[T]], result: Result[T]) -> None:
    for done in batch:
        try:
            done(result)
        except Exception as error:
            guard.report("scrape", error)


_all: weakref.WeakSet[Flights[Any]] = weakref.WeakSet()


def _reset() -> None:
    for flights in list(_all):
        with contextlib.suppress(Exception):
            flights.reset()


forks.on_fork(_reset)
