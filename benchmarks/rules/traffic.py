"""What happened: pods that live, restart and die, and the runs that ended in them. Pure; a seed decides everything.

Times are seconds since the epoch.
"""

from __future__ import annotations

import bisect
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

DAY, HOUR, MINUTE = 86400, 3600, 60
# A program that has started serves its metrics at zero for so long before its first run ends, so that it is scraped.
STARTS = 40


@dataclass(frozen=True)
class Pod:
    """One set of labels. `starts` are those of its processes: each counts from zero."""

    name: str
    version: str
    born: float
    died: float
    starts: tuple[float, ...] = ()


@dataclass(frozen=True)
class Run:
    """A run that ended."""

    at: float
    pod: int
    bad: bool


@dataclass(frozen=True)
class Story:
    """All that happened from `begin` to `end`. `unseen` are spans in which no scrape succeeds; `missing` is the share of others that fail."""

    begin: float
    end: float
    pods: tuple[Pod, ...]
    runs: tuple[Run, ...]
    unseen: tuple[tuple[float, float], ...] = ()
    missing: float = 0


@dataclass
class _Making:
    """What all shapes are made of."""

    begin: float
    end: float
    random: random.Random
    incidents: list[tuple[float, float, float]] = field(default_factory=list)

    def share(self, at: float) -> float:
        """How likely a run is to fail."""
        found = [bad for begin, end, bad in self.incidents if begin <= at < end]
        return max([0.004, *found])

    def incident(self, at: float, seconds: float, bad: float) -> None:
        self.incidents.append((at, at + seconds, bad))

    def sometimes(self, every: float) -> list[float]:
        """Instants at random, this far from each other on average."""
        found, at = [], self.begin
        while (at := at + self.random.expovariate(1 / every)) < self.end:
            found.append(at)
        return found

    def happenings(self, rate: Callable[[float], float], most: float) -> list[float]:
        """Instants of events that come at `rate` a second, which is never above `most`."""
        return [at for at in self.sometimes(1 / most) if self.random.random() * most < rate(at)]

    def story(self, pods: Sequence[Pod], ended: Sequence[float], **more: object) -> Story:
        """The runs, each in a pod that works then; none end where no pod works."""
        runs = []
        lives = [_Life(pod) for pod in pods]
        for at in ended:
            working = [i for i, life in enumerate(lives) if life.works(at)]
            if working:
                bad = self.random.random() < self.share(at)
                runs.append(Run(at, self.random.choice(working), bad))
        return Story(self.begin, self.end, tuple(pods), tuple(runs), **more)  # type: ignore[arg-type]


@dataclass
class _Life:
    pod: Pod

    def works(self, at: float) -> bool:
        starts = (self.pod.born, *self.pod.starts)
        begun = bisect.bisect_right(starts, at)
        # A process that restarts in its pod works at once: its series are known already.
        wait = STARTS if begun == 1 else 2
        return begun > 0 and at < self.pod.died and at - starts[begun - 1] >= wait


def _day(at: float) -> float:
    """From 0 at four in the morning to 1 at four in the afternoon; weekends have a third."""
    of_day = (1 - math.cos((at % DAY - 4 * HOUR) / DAY * 2 * math.pi)) / 2
    return of_day * (1 / 3 if int(at // DAY) % 7 in (2, 3) else 1)


def _steady(making: _Making, count: int) -> list[Pod]:
    return [Pod(f"orders-{i}", "v1", making.begin, making.end) for i in range(count)]


def _busy(at: float) -> float:
    return 0.003 + 0.12 * _day(at)


_BUSIEST = 0.123


def _troubles(making: _Making) -> None:
    for at in making.sometimes(2 * DAY):
        making.incident(
            at, making.random.uniform(5 * MINUTE, HOUR), making.random.uniform(0.1, 0.6)
        )
    # Few runs, most of them bad: a mean of ratios gives this night the weight of a day.
    night = making.end - making.end % DAY - DAY + 2 * HOUR
    making.incident(night, 3 * HOUR, 0.7)


def uneven(making: _Making) -> Story:
    """Day and night, weekends, incidents, and one bad night."""
    _troubles(making)
    return making.story(_steady(making, 2), making.happenings(_busy, _BUSIEST))


def bursty(making: _Making) -> Story:
    """Nothing, then hundreds of runs within minutes; some of these go wrong as a whole."""
    ended: list[float] = []
    for at in making.sometimes(3 * HOUR):
        length = making.random.uniform(MINUTE, 6 * MINUTE)
        if making.random.random() < 0.2:
            making.incident(at, length, making.random.uniform(0.05, 0.5))
        ended += (
            at + making.random.random() * length for _ in range(making.random.randint(50, 1000))
        )
    return making.story(_steady(making, 2), sorted(at for at in ended if at < making.end))


def sparse(making: _Making) -> Story:
    """Six runs a day, and now and then a failure."""
    for at in making.sometimes(3 * DAY):
        making.incident(at, 6 * HOUR, 0.7)
    # The last days, which are judged, have one for certain.
    making.incident(making.end - 1.8 * DAY, 12 * HOUR, 0.8)
    return making.story(_steady(making, 1), making.happenings(lambda _: 6 / DAY, 6 / DAY))


def gaps(making: _Making) -> Story:
    """Uneven traffic, of which one scrape in fifty fails, and all of them for some minutes twice a day."""
    _troubles(making)
    unseen = []
    for at in making.sometimes(DAY / 2):
        length = making.random.uniform(MINUTE, 12 * MINUTE)
        unseen.append((at, at + length))
        if making.random.random() < 0.3:
            # What breaks the network breaks runs.
            making.incident(at, length, 0.5)
    return making.story(
        _steady(making, 2), making.happenings(_busy, _BUSIEST), unseen=tuple(unseen), missing=0.02
    )


def resets(making: _Making) -> Story:
    """Uneven traffic, in pods whose process restarts every two hours."""
    _troubles(making)
    pods = [
        Pod(pod.name, pod.version, pod.born, pod.died, tuple(making.sometimes(2 * HOUR)))
        for pod in _steady(making, 2)
    ]
    return making.story(pods, making.happenings(_busy, _BUSIEST))


def deploys(making: _Making) -> Story:
    """Uneven traffic and three roll-outs a day, each with pods of new labels; one in ten is bad and is rolled back."""
    _troubles(making)
    pods: list[Pod] = []
    at, version = making.begin, 1
    while at < making.end:
        bad = making.random.random() < 0.1
        lasts = (
            making.random.uniform(10 * MINUTE, 30 * MINUTE)
            if bad
            else making.random.uniform(4 * HOUR, 12 * HOUR)
        )
        if bad:
            making.incident(at + 2 * MINUTE, lasts, 0.8)
        for i in range(2):
            # One after the other; the old one ends when the new one works.
            born, died = at + i * 70 * (version > 1), at + lasts + i * 70 + STARTS + 15
            pods.append(Pod(f"orders-v{version}-{i}", f"v{version}", born, min(died, making.end)))
        at, version = at + lasts, version + 1
    return making.story(pods, making.happenings(_busy, _BUSIEST))


SHAPES: dict[str, Callable[[_Making], Story]] = {
    made.__name__: made for made in (uneven, bursty, sparse, gaps, resets, deploys)
}


def story(shape: str, *, seed: int, begin: float, end: float) -> Story:
    """What happened between two instants."""
    return SHAPES[shape](_Making(begin, end, random.Random(f"{shape}{seed}")))  # noqa: S311
