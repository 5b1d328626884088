"""Call functions again and again from one thread of our own, such as one that asks a queue for its depth."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Final

from flowgauge import forks, guard

Sampler = Callable[[], object]
# Seconds that are waited for a function that runs when everything ends.
STOP_SECONDS: Final = 1.0
# Seconds until the thread looks again when there is nothing to do.
_REST: Final = 3600.0


class Background:
    """Calls each function every so many seconds; what it raises is logged, and it is called again."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        # Each function with its seconds and when it is due.
        self._samplers: dict[Sampler, tuple[float, float]] = {}
        # Wakes the thread, which ends when there is another one of these.
        self._changed = threading.Event()
        self._threads: dict[None, threading.Thread] = {}

    def every(self, seconds: float, sampler: Sampler) -> None:
        """Call `sampler` every `seconds`, the first time at once; again with other seconds changes them.

        Raises:
            ValueError: `seconds` is not above 0.

        """
        if not seconds > 0:
            raise ValueError(f"seconds is {seconds!r}, must be above 0")
        samplers, changed = self._samplers, self._changed
        samplers[sampler] = (seconds, monotonic())
        changed.set()
        if not self._threads:
            made = threading.Thread(
                target=self._run, args=(samplers, changed), name="flowgauge-samplers", daemon=True
            )
            # Atomic: of two that begin at the same time, one starts its thread.
            if self._threads.setdefault(None, made) is made:
                made.start()

    def forget(self, sampler: Sampler) -> None:
        """Do not call it again."""
        self._samplers.pop(sampler, None)

    def stop(self) -> None:
        """End the thread; a function that is running is waited for, for a second at most."""
        changed, threads = self._changed, self._threads
        self._clear()
        changed.set()
        for thread in list(threads.values()):
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(STOP_SECONDS)

    def restart(self) -> None:
        """Go on in a forked child, where the thread does not exist."""
        samplers = self._samplers
        self._clear()
        for sampler, (seconds, _) in samplers.items():
            self.every(seconds, sampler)

    def _run(self, samplers: dict[Sampler, tuple[float, float]], changed: threading.Event) -> None:
        while self._changed is changed:
            changed.clear()
            now = monotonic()
            due = now + _REST
            for sampler, planned in {**samplers}.items():
                seconds, at = planned
                if at <= now and self._changed is changed:
                    _call(sampler)
                    # From the end, so that a slow one never runs all the time.
                    at = monotonic() + seconds
                    _plan(samplers, sampler, planned, (seconds, at))
                due = min(due, at)
            changed.wait(max(due - monotonic(), 0.0))


def _plan(
    samplers: dict[Sampler, tuple[float, float]],
    sampler: Sampler,
    before: tuple[float, float],
    planned: tuple[float, float],
) -> None:
    """Plan the next call, unless the function was forgotten or got other seconds meanwhile."""
    try:
        if samplers[sampler] is before:  # no call from here to the next line
            samplers[sampler] = planned
    except KeyError:
        return


def _call(sampler: Sampler) -> None:
    try:
        sampler()
    # Also what is no Exception: `sys.exit` in one function must not end the others.
    except BaseException as error:
        guard.report(f"sampler {getattr(sampler, '__name__', type(sampler).__name__)}", error)


background = Background()
forks.on_fork(background.restart)
