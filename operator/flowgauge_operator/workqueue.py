"""A queue of keys: each key once, never by two workers at a time, again later when it failed.

The engine of the operator: events add keys, workers bring the cluster in line with them. Any number of events about a
key collapse into one turn; what arrives during that turn gives one more. Knows nothing of Kubernetes.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import heapq
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from flowgauge_operator.backoff import Backoff

K = TypeVar("K", bound=Hashable)
# One turn in this many belongs to the slow lane, however long the fast one is.
SLOW_SHARE = 8


class Lane(enum.IntEnum):
    """Say how urgent a key is: a user waits for FAST, nobody for SLOW."""

    FAST = 0
    SLOW = 1


@dataclass
class Counts:
    """Count since the start, for the metrics."""

    adds: int = 0
    retries: int = 0
    turns: int = 0


@dataclass
class _Turn:
    """What is wanted of a key."""

    lane: Lane
    is_forced: bool
    since: float

    def merge(self, other: _Turn) -> None:
        self.lane = min(self.lane, other.lane)
        self.is_forced |= other.is_forced


Worker = Callable[[K, bool], Awaitable[float | None]]


class WorkQueue(Generic[K]):
    """Hold keys for the workers. All methods are to be called in the loop's thread.

    `clock` returns seconds and defaults to the running loop's; `on_wait(seconds, lane)` is told how
    long a key has waited for its turn, `on_failure(key, error, delay)` what went wrong and when it
    is tried again.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] | None = None,
        backoff: Backoff | None = None,
        on_wait: Callable[[float, Lane], None] = lambda _seconds, _lane: None,
        on_failure: Callable[[K, BaseException, float], None] = lambda _key, _error, _delay: None,
    ) -> None:
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._backoff = backoff or Backoff()
        self._on_wait = on_wait
        self._on_failure = on_failure
        self._lanes: dict[Lane, deque[K]] = {lane: deque() for lane in Lane}
        self._waiting: dict[K, _Turn] = {}
        self._active: set[K] = set()
        self._dirty: dict[K, _Turn] = {}
        self._later: dict[K, tuple[float, _Turn]] = {}
        self._timers: list[tuple[float, int, K]] = []
        self._failures: dict[K, int] = {}
        self._numbers = itertools.count()
        self._getters: deque[asyncio.Future[None]] = deque()
        self._changed = asyncio.Event()
        self._is_stopped = False
        self.counts = Counts()

    def add(self, key: K, lane: Lane = Lane.FAST, *, force: bool = False) -> None:
        """Give the key a turn, or one more if it has one just now."""
        self.counts.adds += 1
        self._add(key, _Turn(lane, force, self._clock()))

    def add_after(
        self, key: K, delay: float, lane: Lane = Lane.SLOW, *, force: bool = False
    ) -> None:
        """Give the key a turn after so many seconds; the earliest wish of a key counts."""
        due = self._clock() + delay
        turn = _Turn(lane, force, due)
        known = self._later.get(key)
        if known is not None:
            turn.merge(known[1])
            due = min(due, known[0])
        self._later[key] = (due, turn)
        heapq.heappush(self._timers, (due, next(self._numbers), key))
        self._changed.set()

    def stop(self) -> None:
        """Let `run` end after the turns that run now."""
        self._is_stopped = True
        self._changed.set()
        while self._getters:
            self._wake()

    @property
    def depth(self) -> dict[Lane, int]:
        """Return how many keys wait in each lane."""
        lanes = [turn.lane for turn in self._waiting.values()]
        return {lane: lanes.count(lane) for lane in Lane}

    @property
    def delayed(self) -> int:
        """Return how many keys wait for their time."""
        return len(self._later)

    @property
    def active(self) -> int:
        """Return how many keys have their turn now."""
        return len(self._active)

    def has_turn(self, key: K) -> bool:
        """Tell whether the key has its turn now."""
        return key in self._active

    def has(self, key: K) -> bool:
        """Tell whether the key waits for its turn or has it now; one that failed waits for its time, not its turn."""
        return key in self._waiting or key in self._active

    def failures(self, key: K) -> int:
        """Return how often the key has failed in a row."""
        return self._failures.get(key, 0)

    async def run(
        self, worker: Worker[K], count: int, *, limit: float = 120.0, grace: float = 10.0
    ) -> None:
        """Give turns to `count` workers until `stop` is called.

        `await worker(key, force)` may return seconds after which the key wants another turn. A turn
        that takes more than `limit` seconds fails. Turns that run at the stop have `grace` seconds.
        """
        workers = [
            asyncio.create_task(self._work(worker, limit), name=f"worker {number}")
            for number in range(count)
        ]
        try:
            await self._serve()
            await asyncio.wait(workers, timeout=grace)
        finally:
            for task in workers:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _serve(self) -> None:
        """Turn plans into turns when their time comes, until the stop."""
        while not self._is_stopped:
            self._changed.clear()
            pause = self._fire()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()

    def _fire(self) -> float | None:
        """Add what is due; return the seconds until the next plan, or None without one."""
        while self._timers:
            due, _, key = self._timers[0]
            left = due - self._clock()
            known = self._later.get(key)
            is_valid = known is not None and known[0] == due
            if is_valid and left > 0:
                return left
            heapq.heappop(self._timers)
            if known is not None and is_valid:
                del self._later[key]
                self._add(key, known[1])
        return None

    def _add(self, key: K, turn: _Turn) -> None:
        if key in self._active:
            self._merge(self._dirty, key, turn)
            return
        known = self._waiting.get(key)
        if known is None or turn.lane < known.lane:
            self._lanes[turn.lane].append(key)
        self._merge(self._waiting, key, turn)
        self._wake()

    @staticmethod
    def _merge(turns: dict[K, _Turn], key: K, turn: _Turn) -> None:
        known = turns.setdefault(key, turn)
        if known is not turn:
            known.merge(turn)

    async def _work(self, worker: Worker[K], limit: float) -> None:
        while (taken := await self._next()) is not None:
            await self._turn(worker, *taken, limit)

    async def _next(self) -> tuple[K, _Turn] | None:
        while not self._is_stopped:
            if (taken := self._pop()) is not None:
                return taken
            getter = asyncio.get_running_loop().create_future()
            self._getters.append(getter)
            await getter
        return None

    def _pop(self) -> tuple[K, _Turn] | None:
        is_slow = self.counts.turns % SLOW_SHARE == SLOW_SHARE - 1
        for lane in sorted(Lane, reverse=is_slow):
            keys = self._lanes[lane]
            while keys:
                key = keys.popleft()
                turn = self._waiting.get(key)
                # A key that was forgotten, or moved to the fast lane, leaves a stale place behind.
                if turn is not None and turn.lane is lane:
                    del self._waiting[key]
                    self._active.add(key)
                    return key, turn
        return None

    def _wake(self) -> None:
        while self._getters:
            getter = self._getters.popleft()
            if not getter.done():
                getter.set_result(None)
                return

    async def _turn(self, worker: Worker[K], key: K, turn: _Turn, limit: float) -> None:
        self.counts.turns += 1
        self._on_wait(max(0.0, self._clock() - turn.since), turn.lane)
        try:
            async with asyncio.timeout(limit):
                again = await worker(key, turn.is_forced)
        except Exception as error:
            self._failed(key, turn, error)
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            # Something inside the turn was cancelled, not this worker: the worker must live on.
            self._failed(key, turn, error)
        else:
            self._succeeded(key, again)
        finally:
            self._active.discard(key)
        if (dirty := self._dirty.pop(key, None)) is not None:
            self._add(key, dirty)

    def _failed(self, key: K, turn: _Turn, error: BaseException) -> None:
        self._failures[key] = self._failures.get(key, 0) + 1
        self.counts.retries += 1
        wanted = getattr(error, "retry_after", None) or 0.0
        delay = max(self._backoff.delay(self._failures[key]), float(wanted))
        dirty = self._dirty.get(key)
        if dirty is not None and dirty.lane is Lane.SLOW:
            # Events that our own half-done work caused must not undo the back-off.
            turn.merge(self._dirty.pop(key))
        self.add_after(key, delay, turn.lane, force=turn.is_forced)
        self._on_failure(key, error, delay)

    def _succeeded(self, key: K, again: float | None) -> None:
        if self._failures.pop(key, 0):
            self._later.pop(key, None)  # the retry
        if again is not None:
            self.add_after(key, again)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
