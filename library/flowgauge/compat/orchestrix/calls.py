"""Measure one call of a handler or of an event store. Nothing here raises an error of its own."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from types import TracebackType

from flowgauge import forks
from flowgauge.instruments.children import GaugeChild, HistogramChild

# Counts the end of a call, which raised an error or nothing.
Ended = Callable[[BaseException | None], None]

# How often this process came out of a fork.
_forked = [0]


class Call:
    """A block that is measured: how long it takes, that it is in progress, and how it ends. One for each `with`."""

    __slots__ = ("_active", "_begun", "_duration", "_ended", "_process")

    def __init__(
        self, duration: HistogramChild, ended: Ended, active: GaugeChild | None = None
    ) -> None:
        self._duration = duration
        self._ended = ended
        self._active = active
        self._process = 0
        self._begun = 0.0

    def __enter__(self) -> None:
        self._process = _forked[0]
        if self._active is not None:
            self._active.inc()
        self._begun = perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        elapsed = perf_counter() - self._begun
        if self._process != _forked[0]:
            return  # the call is the parent's
        self._duration.observe(elapsed)
        if self._active is not None:
            self._active.dec()
        self._ended(error)


def _count() -> None:
    _forked[0] += 1


forks.on_fork(_count)
