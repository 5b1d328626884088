"""Call functions again and again from one thread of our own, such as one that asks a queue for its depth."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

from flowgauge import forks, guard

Sampler = Callable[[], object]


class Background:
    """Calls each function every so many seconds; what it raises is logged, and it is called again."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._samplers: dict[Sampler, tuple[float, float]] = {}
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def every(self, seconds: float, sampler: Sampler) -> None:
        """Call `sampler` every `seconds`, the first time at once; again with other seconds changes them.

        Raises:
            ValueError: `seconds` is not above 0.

        """
        if not seconds > 0:
            raise ValueError(f"seconds is {seconds!r}, must be above 0")
        self._samplers[sampler] = (seconds, monotonic())
        self._changed.set()
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="flowgauge-samplers", daemon=True
            )
            self._thread.start()

    def forget(self, sampler: Sampler) -> None:
        """Do not call it again."""
        self._samplers.pop(sampler, None)

    def stop(self) -> None:
        """End the thread; a function that is running is waited for, for a second at most."""
        self._stopped = True
        self._changed.set()
        if self._thread is not None:
            self._thread.join(1.0)
        self._clear()

    def restart(self) -> None:
        """Go on in a forked child, where the thread does not exist."""
        samplers = self._samplers
        self._clear()
        for sampler, (seconds, _) in samplers.items():
            self.every(seconds, sampler)

    def _run(self) -> None:
        changed = self._changed
        while not self._stopped:
            changed.clear()
            now = monotonic()
            due = now + 3600.0
            for sampler, (seconds, at) in list(self._samplers.items()):
                following = at
                if at <= now:
                    _call(sampler)
                    # From the end, so that a slow one never runs all the time.
                    following = monotonic() + seconds
                    if sampler in self._samplers:
                        self._samplers[sampler] = (seconds, following)
                due = min(due, following)
            changed.wait(max(due - monotonic(), 0.0))


def _call(sampler: Sampler) -> None:
    try:
        sampler()
    except Exception as error:
        guard.report(f"sampler {getattr(sampler, '__name__', sampler)}", error)


background = Background()
forks.on_fork(background.restart)
