"""What a Prometheus sees of a story: series with their samples, and when each run became known. Pure."""

from __future__ import annotations

import bisect
import itertools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.rules.traffic import Pod, Run, Story

STATUSES = ("success", "failed")
METRIC = "workflow_runs_total"
OWNER = {"namespace": "shop", "monitored_workflow": "orders"}


@dataclass(frozen=True)
class Sample:
    """One line of the history; `value` is None where the series is marked as ended."""

    at: int  # milliseconds
    series: int
    value: int | None


@dataclass(frozen=True)
class Seen:
    """Samples by time. `known` has (seconds, bad) for each run, as of the first scrape that told of it; `lost` counts those of which none did."""

    labels: list[dict[str, str]]
    samples: list[Sample]
    known: list[tuple[float, bool]]
    lost: int
    end: float

    def lines(self) -> Iterator[str]:
        """The file that `replay` reads."""
        for number, labels in enumerate(self.labels):
            yield f"series {number} {json.dumps(labels)}"
        yield f"until {round(1000 * self.end)}"
        for one in self.samples:
            yield f"{one.at} {one.series} {'stale' if one.value is None else one.value}"


def scrape(story: Story, *, interval: int, seed: int = 0) -> Seen:
    """Scrape every pod, each at a part of the interval of its own, with some milliseconds more or less."""
    dice = random.Random(f"scrape{seed}")  # noqa: S311
    by_pod: list[list[Run]] = [[] for _ in story.pods]
    for run in story.runs:
        by_pod[run.pod].append(run)
    seen = Seen([], [], [], 0, story.end)
    for pod, runs in zip(story.pods, by_pod, strict=True):
        known = _one(pod, runs, story, interval, dice, seen)
        seen.known.extend(known)
    lost = len(story.runs) - len(seen.known)
    seen.samples.sort(key=lambda one: one.at)
    seen.known.sort()
    return Seen(seen.labels, seen.samples, seen.known, lost, seen.end)


def _one(
    pod: Pod, runs: list[Run], story: Story, interval: int, dice: random.Random, seen: Seen
) -> list[tuple[float, bool]]:
    first = len(seen.labels)
    for status in STATUSES:
        seen.labels.append(
            {"__name__": METRIC, **OWNER, "workflow": "orders", "status": status}
            | {"pod": pod.name, "version": pod.version}
        )
    ended = [run.at for run in runs]
    bad_before = [0, *itertools.accumulate(run.bad for run in runs)]
    starts = (pod.born, *pod.starts, pod.died)
    known, at, told, up = [], pod.born + dice.random() * interval, 0, False
    while at < pod.died:
        now = at + dice.gauss(0, 0.002)
        process = starts[max(0, bisect.bisect_right(starts, now) - 1)]
        if _fails(story, now, dice):
            if up:
                seen.samples.extend(Sample(round(1000 * now), first + i, None) for i in (0, 1))
            up = False
        else:
            begun, until = bisect.bisect_left(ended, process), bisect.bisect_right(ended, now)
            bad = bad_before[until] - bad_before[begun]
            values = (until - begun - bad, bad)
            seen.samples.extend(
                Sample(round(1000 * now), first + i, value) for i, value in enumerate(values)
            )
            # What an earlier process counted after its last scrape, nobody learns.
            known.extend((now, run.bad) for run in runs[max(told, begun) : until])
            told, up = until, True
        at += interval
    if up:
        # The target is gone, and its series end.
        seen.samples.extend(
            Sample(round(1000 * at), first + i, None) for i in (0, 1) if at < story.end
        )
    return known


def _fails(story: Story, at: float, dice: random.Random) -> bool:
    if any(begin <= at < end for begin, end in story.unseen):
        return True
    return story.missing > 0 and dice.random() < story.missing
