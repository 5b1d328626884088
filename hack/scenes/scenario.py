"""How a workflow fares that is well, failing, idle or new: its load, failures and pace, as functions of time. Pure.

Times are seconds before the end, so that a picture looks the same whenever it is made.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MINUTE, HOUR, DAY = 60, 3600, 86400
# Bursts: three times the load, for so long and so often.
_BURST, _EVERY = 8 * MINUTE, 5 * HOUR


@dataclass(frozen=True)
class Scenario:
    """How long a story is, when its pods were replaced, and since when it is what it is called."""

    name: str
    seconds: int
    deployments: tuple[int, ...] = ()
    fails_since: int = 0
    rests_since: int = 0
    breadth: float = 1

    def load(self, ago: float) -> float:
        """The share of the greatest load, bursts aside, that there is."""
        if ago < self.rests_since:
            return 0
        if self.seconds < HOUR:
            return self.breadth
        # Least ten hours before the end, as if that were in the afternoon.
        daily = 0.2 + 0.8 * (1 + math.cos((ago - 2 * HOUR) / DAY * 2 * math.pi)) / 2
        return self.breadth * daily * (3 if (ago + HOUR) % _EVERY < _BURST else 1)

    def trouble(self, ago: float) -> float:
        """From 0, when all is well, to 1."""
        if ago >= self.fails_since:
            return 0
        # Within three quarters of an hour it is as bad as it gets.
        return min(1, (self.fails_since - ago) / (45 * MINUTE))

    def failures(self, ago: float) -> float:
        """How likely a run is to fail."""
        return 0.0015 + 0.3 * self.trouble(ago)

    def retries(self, ago: float) -> float:
        """How likely a step is to be tried again."""
        return 0.01 + 0.25 * self.trouble(ago)

    def pace(self, ago: float) -> float:
        """How many times longer the step that is in trouble takes."""
        return 1 + 3 * self.trouble(ago)


SCENARIOS = {
    one.name: one
    for one in (
        Scenario("healthy", 2 * DAY, deployments=(20 * HOUR,)),
        Scenario(
            "failing",
            2 * DAY,
            deployments=(26 * HOUR, 3 * HOUR + 4 * MINUTE),
            fails_since=3 * HOUR,
        ),
        Scenario("idle", 2 * DAY, deployments=(30 * HOUR,), rests_since=20 * HOUR, breadth=0.4),
        Scenario("new", 10 * MINUTE),
    )
}
