"""Elect one leader among the replicas by a Lease, and let the others wait. Called by `__main__`.

Every deadline is taken on the loop's own clock: a jump of the wall clock changes nothing. A lease counts as expired
when *we* have not seen it change for its duration, so clocks of two machines are never compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from flowgauge_operator import errors
from flowgauge_operator.lease import Lease

logger = logging.getLogger(__name__)


class Lost(Exception):  # noqa: N818 - reads as English where it is caught
    """Leadership is gone; another replica may work already, so this process should end."""


class Store(Protocol):
    """What we need of the cluster: `lease.LeaseStore`."""

    async def read(self) -> Lease | None:
        """Return the lease or None."""
        ...

    async def write(self, lease: Lease) -> Lease:
        """Store with compare-and-swap; raise `errors.Conflict`."""
        ...


@dataclass(frozen=True)
class Timing:
    """Hold the seconds of an election; `of` makes them out of one.

    A leader gives up after `deadline` without a renewal, and others take over after `duration`; the difference is the
    time in which what it has already sent arrives. Others see a renewal at most 1.5 `look` after it was made, so they
    lead `duration` + 1.5 `look` after a leader was killed, which is 11.5 s by default: the rest of 15 s is for the lists
    that come before the first write.
    """

    duration: float = 10.0
    deadline: float = 8.0
    retry: float = 1.5
    call: float = 1.5  # so that after two hanging calls a third one comes before the deadline
    look: float = 1.0

    @classmethod
    def of(cls, duration: float) -> Timing:
        """Return the timing in which the lease lasts `duration` seconds, all else in proportion."""
        scale = duration / cls.duration
        return cls(
            duration, cls.deadline * scale, cls.retry * scale, cls.call * scale, cls.look * scale
        )


class Elector:
    """Take part in one election under an identity that no other process has (the pod's uid)."""

    def __init__(self, store: Store, identity: str, timing: Timing | None = None) -> None:
        self._store = store
        self._identity = identity
        self._timing = timing or Timing()
        self._held: Lease | None = None
        self._seen: Lease | None = None
        self._seen_at = 0.0
        self._renewed_at = 0.0

    @property
    def is_leader(self) -> bool:
        """Tell whether we hold the lease, as far as we know."""
        return self._held is not None

    def may_write(self) -> bool:
        """Tell whether the lease is surely ours now; a process that was stopped for a while may not know it yet."""
        return self._held is not None and self._left() > 0

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Wait for leadership, run `work` under it, and release it when the work is over.

        Raise Lost, after cancelling the work, when the lease could not be renewed in time.
        """
        await self._acquire()
        working = asyncio.ensure_future(work())
        renewing = asyncio.create_task(self._renew(), name="lease renewal")
        try:
            await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
            is_lost = not working.done()
        finally:
            # Still renewing: nobody may take over before the work has stopped.
            await self._stop(working)
            renewing.cancel()
            await asyncio.wait({renewing})
            if working.done():
                await self._release()
        if is_lost:
            raise Lost("the lease could not be renewed; another replica may lead now")
        await working

    async def _acquire(self) -> None:
        while not await self._try_acquire():
            # Jitter, so that replicas do not ask in step.
            usual = self._timing.look * random.uniform(1.0, 1.5)  # noqa: S311
            await asyncio.sleep(min(usual, self._until_free() or usual))

    def _until_free(self) -> float:
        """Return the seconds until the lease that we have seen expires; 0 if it has, or we have seen none."""
        if self._seen is None:
            return 0.0
        # A little more, since it is free only after its duration.
        return max(0.0, self._seen_at + self._seen.duration - _now() + 0.01)

    async def _try_acquire(self) -> bool:
        started = _now()
        try:
            async with asyncio.timeout(self._timing.call):
                current = await self._store.read()
                if not self._is_free(current):
                    return False
                self._held = await self._store.write(self._taken(current))
        except errors.Conflict:
            return False  # someone was faster
        except (errors.ApiError, TimeoutError) as error:
            logger.warning("Cannot ask for the lease: %s", str(error) or "no answer in time")
            return False
        self._renewed_at = started
        logger.info("Leading as %s.", self._identity)
        return True

    def _is_free(self, lease: Lease | None) -> bool:
        if lease is None or not lease.holder or lease.holder == self._identity:
            return True
        if self._seen is None or lease.version != self._seen.version:
            self._seen, self._seen_at = lease, _now()
        return _now() - self._seen_at > lease.duration

    def _taken(self, current: Lease | None) -> Lease:
        now = datetime.now(UTC)
        moved = current is not None and current.holder != self._identity
        return Lease(
            holder=self._identity,
            duration=max(1, round(self._timing.duration)),
            transitions=(current.transitions if current else 0) + moved,
            acquired=now,
            renewed=now,
            version=current.version if current else None,
        )

    async def _renew(self) -> None:
        """Keep the lease; return once it is lost."""
        while (left := self._left()) > 0:
            await asyncio.sleep(min(self._timing.retry, left))
            if not await self._try_renew():
                logger.error("Lost the lease: someone else holds it.")
                break
        else:
            logger.error("Lost the lease: not renewed for %g s.", self._timing.deadline)
        self._held = None

    async def _try_renew(self) -> bool:
        """Renew once; return False only if the lease is known to be someone else's."""
        left, started = self._left(), _now()
        if left <= 0:
            return True  # the caller sees that time is up
        try:
            async with asyncio.timeout(min(left, self._timing.call)):
                is_ours = await self._renew_once()
        except (errors.ApiError, TimeoutError) as error:
            logger.warning("Cannot renew the lease: %s", str(error) or "no answer in time")
            return True
        self._renewed_at = started
        return is_ours

    def _left(self) -> float:
        """Return the seconds until we must stop working."""
        return self._renewed_at + self._timing.deadline - _now()

    async def _renew_once(self) -> bool:
        held = self._held
        if held is None:
            return False
        try:
            self._held = await self._store.write(replace(held, renewed=datetime.now(UTC)))
        except (errors.Conflict, errors.NotFound):
            # An earlier try of ours may have arrived although its answer did not; or the lease was
            # deleted, and whoever creates it first leads.
            current = await self._store.read()
            if current is not None and current.holder != self._identity:
                return False
            self._held = await self._store.write(self._taken(current))
        return True

    async def _stop(self, working: asyncio.Future[None]) -> None:
        """Cancel the work; wait at most until another replica may take over."""
        if not working.done():
            working.cancel()
            await asyncio.wait({working}, timeout=self._timing.duration - self._timing.deadline)

    async def _release(self) -> None:
        """Give the lease back, so that the next leader need not wait for it to expire."""
        held, self._held = self._held, None
        if held is None:
            return
        with contextlib.suppress(errors.ApiError, TimeoutError):
            async with asyncio.timeout(self._timing.call):
                await self._store.write(replace(held, holder="", duration=1))
        logger.info("Released the lease.")


def _now() -> float:
    return asyncio.get_running_loop().time()
