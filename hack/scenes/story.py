"""What happens in a scenario: pods and the runs that they do. Pure; a seed decides everything. Times are Unix seconds."""

from __future__ import annotations

import random
import zoneinfo
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from scenes.scenario import Scenario

STEPS = ("load", "reserve", "charge", "ship")
# The step that a workflow in trouble fails at, and with what.
CULPRIT, CAUSE = "charge", "ConnectionError"
ERRORS = ("TimeoutError", "ValueError")
TRIGGERS = ("api", "manual", "event")
QUEUES = ("orders", "mail")
# A pod that is new serves its metrics at zero for so long before it works.
_STARTS = 20


@dataclass(frozen=True)
class Pod:
    """One target, from its first scrape to its last."""

    name: str
    address: str
    born: float
    died: float


@dataclass(frozen=True)
class Step:
    """One step of a run; `retries` are its attempts after the first."""

    name: str
    start: float
    end: float
    error: str = ""
    retries: int = 0


@dataclass(frozen=True)
class Run:
    """One run. `due` is when it was put into its queue, `error` what its last step failed with."""

    name: str
    pod: int
    trigger: str
    queue: str
    due: float
    start: float
    steps: tuple[Step, ...]
    dice: float
    end: float
    error: str


@dataclass(frozen=True)
class Cast:
    """Who plays: names of workflows, how many pods, how long a run usually takes, when runs are planned."""

    names: tuple[str, ...]
    pods: int
    seconds: float
    cron: str = ""
    zone: str = "UTC"
    only_planned: bool = False

    @property
    def rate(self) -> float:
        """Runs a second at full load: a few are in progress at a time."""
        return min(0.06, 6 / self.seconds)


@dataclass(frozen=True)
class Story:
    """All that happened, by the time of start."""

    cast: Cast
    scenario: Scenario
    begin: float
    end: float
    last: float
    pods: tuple[Pod, ...]
    runs: tuple[Run, ...]


def story(cast: Cast, scenario: Scenario, *, end: float, beyond: float, seed: str) -> Story:
    """What happens until `end`, and goes on as it is for some seconds beyond, for those who look a little later."""
    dice = random.Random(f"{seed} {scenario.name}")  # noqa: S311 - nobody's secret
    begin, last = end - scenario.seconds, end + beyond
    pods = tuple(_pods(cast, scenario, begin, end, last))
    starts = sorted(
        (*_arrivals(cast, scenario, begin, end, last, dice), *_plans(cast, begin, last))
    )
    runs = (_run(at, planned, cast, scenario, end, pods, dice) for at, planned in starts)
    return Story(cast, scenario, begin, end, last, pods, tuple(run for run in runs if run))


def _pods(cast: Cast, scenario: Scenario, begin: float, end: float, last: float) -> Iterator[Pod]:
    births = [begin, *sorted(end - ago for ago in scenario.deployments)]
    for generation, born in enumerate(births):
        until = births[generation + 1] if generation + 1 < len(births) else last + 1
        for i in range(cast.pods):
            # One after the other; the old one ends when the new one works.
            late, tag = (
                45 * i,
                f"{0x5D4F + 4099 * generation:x}-{('x7k2p', 'b9qdz', 'm4wtn')[i % 3]}",
            )
            yield Pod(
                f"{cast.names[0]}-{tag}",
                f"10.244.{generation + 1}.{i + 7}",
                born + late * (generation > 0),
                until + late + 2 * _STARTS,
            )


def _arrivals(
    cast: Cast, scenario: Scenario, begin: float, end: float, last: float, dice: random.Random
) -> Iterator[tuple[float, bool]]:
    if cast.only_planned:
        return
    # Bursts are thrice the load.
    most, at = 3 * cast.rate, begin + _STARTS
    while (at := at + dice.expovariate(most)) < last:
        if dice.random() * 3 < scenario.load(max(0, end - at)):
            yield at, False


def _plans(cast: Cast, begin: float, last: float) -> Iterator[tuple[float, bool]]:
    """The instants that a cron expression of minutes and hours names."""
    if not cast.cron:
        return
    minute, hour = cast.cron.split()[:2]
    zone = zoneinfo.ZoneInfo(cast.zone)
    for at in range(int(begin // 60 + 1) * 60, int(last), 60):
        clock = datetime.fromtimestamp(at, zone)
        if _names(minute, clock.minute) and _names(hour, clock.hour):
            yield at, True


def _names(field: str, number: int) -> bool:
    """Whether a field of a cron expression names a number; names of days and the like are not of interest here."""
    for part in field.split(","):
        span, _, step = part.partition("/")
        low, _, high = span.partition("-")
        if span == "*":
            first, until = 0, 59
        else:
            first, until = int(low), int(high or (59 if step else low))
        if first <= number <= until and (number - first) % int(step or 1) == 0:
            return True
    return False


def _run(
    at: float,
    planned: bool,
    cast: Cast,
    scenario: Scenario,
    end: float,
    pods: Sequence[Pod],
    dice: random.Random,
) -> Run | None:
    ago = max(0, end - at)
    # What waits in trouble waits long, as pods are busy with what is slow.
    waited = dice.lognormvariate(-1, 0.7) * (1 + 60 * scenario.trouble(ago) ** 2)
    start = at + waited
    works = [i for i, pod in enumerate(pods) if pod.born + _STARTS <= start < pod.died - _STARTS]
    if not works:
        return None
    steps = tuple(_steps(start, cast.seconds / len(STEPS), scenario, ago, dice))
    return Run(
        name=dice.choices(cast.names, weights=(6, 3, 1)[: len(cast.names)])[0],
        pod=dice.choice(works),
        trigger="schedule" if planned else dice.choices(TRIGGERS, weights=(7, 1, 2))[0],
        queue=dice.choices(QUEUES, weights=(4, 1))[0],
        due=at,
        start=start,
        steps=steps,
        dice=dice.random(),
        end=steps[-1].end,
        error=steps[-1].error,
    )


def _steps(
    at: float, usual: float, scenario: Scenario, ago: float, dice: random.Random
) -> Iterator[Step]:
    fails = dice.random() < scenario.failures(ago)
    blamed = CULPRIT if scenario.trouble(ago) and dice.random() < 0.95 else dice.choice(STEPS)
    for i, name in enumerate(STEPS):
        slow = scenario.pace(ago) if name == CULPRIT else 1
        # Each step has its own usual time, and now and then one takes very long.
        tail = 6 if dice.random() < 0.01 else 1
        took = usual * (0.4 + 0.4 * i) * slow * tail * dice.lognormvariate(0, 0.35)
        retries = sum(dice.random() < scenario.retries(ago) for _ in range(2)) if i else 0
        error = ""
        if fails and name == blamed:
            error = CAUSE if scenario.trouble(ago) else dice.choice(ERRORS)
        yield Step(name, at, at + took, error, retries)
        if error:
            return
        at += took
