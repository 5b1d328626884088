"""A token bucket: how fast we write. Pure arithmetic on a clock that is handed in; `transport` does the sleeping."""

from __future__ import annotations

from collections.abc import Callable


class Bucket:
    """Give out `rate` tokens a second and up to `burst` at once; a rate of 0 means no limit.

    A caller may take a token before it exists and waits that long, so the order of callers is the
    order of their turns.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = max(burst, 1.0)
        self._clock = clock
        self._tokens = self._burst
        self._seen = clock()

    def take(self) -> float:
        """Take a token and return the seconds to wait before it may be used."""
        if self._rate <= 0:
            return 0.0
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._seen) * self._rate)
        self._seen = now
        self._tokens -= 1.0
        return max(0.0, -self._tokens / self._rate)
