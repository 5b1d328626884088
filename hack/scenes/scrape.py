"""What a Prometheus would have scraped of stories: series with samples by time, as `replay` reads them. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from flowgauge.profiles import Profile
from scenes import telling
from scenes.page import Key, Page
from scenes.story import Pod, Story

_KUBE = {"job": "kube-state-metrics", "instance": "10.244.0.9:8080"}


@dataclass
class Target:
    """One pod of a workflow, as it is scraped."""

    labels: Mapping[str, str]
    pod: Pod
    page: Page
    gauges: telling.Gauges
    coming: list[telling.Happening]
    numbers: dict[Key, int] = field(default_factory=dict)
    _next: int = 0

    def read(self, now: float) -> dict[Key, float]:
        """What it exposes, and what Prometheus says of the scrape."""
        while self._next < len(self.coming) and self.coming[self._next].at <= now:
            self.page.take(self.coming[self._next])
            self._next += 1
        self.page.show(self.gauges.at(now))
        count = float(len(self.page.values))
        told = {
            "up": 1.0,
            "scrape_duration_seconds": 0.004 + count / 200_000,
            "scrape_samples_scraped": count,
            "scrape_samples_post_metric_relabeling": count,
            "scrape_series_added": 0.0,
        }
        return self.page.values | {(name, ()): value for name, value in told.items()}


@dataclass(frozen=True)
class Watched:
    """A workflow and what happens in it; `cronjob` is the CronJob that kube-state-metrics tells of."""

    namespace: str
    name: str
    profile: Profile
    story: Story
    cronjob: str = ""


def targets(watched: Watched) -> list[Target]:
    """The pods of a workflow; none for one that nobody scrapes."""
    if not watched.profile.families:
        return []
    coming: list[list[telling.Happening]] = [[] for _ in watched.story.pods]
    roles = {family.role for family in watched.profile.families}
    for one in telling.happenings(watched.story, roles):
        coming[one.pod].append(one)
    domain = telling.domain(watched.story)
    return [
        Target(
            _labels(watched, pod),
            pod,
            Page(watched.profile, domain),
            telling.Gauges(watched.story, i),
            coming[i],
        )
        for i, pod in enumerate(watched.story.pods)
    ]


def _labels(watched: Watched, pod: Pod) -> dict[str, str]:
    port = watched.profile.scrape.port
    return {
        "namespace": watched.namespace,
        "monitored_workflow": watched.name,
        "job": f"{watched.name}-metrics",
        "instance": f"{pod.address}:{port if isinstance(port, int) else 9464}",
        "pod": pod.name,
        "service": f"{watched.name}-metrics",
        "endpoint": "metrics",
        "container": "main",
    }


def lines(all_watched: Sequence[Watched], interval: int) -> Iterator[str]:
    """The samples of all workflows by time; each series is told of before its first sample."""
    begin = min(one.story.begin for one in all_watched)
    last = max(one.story.last for one in all_watched)
    scraped = [target for one in all_watched for target in targets(one)]
    feed = _Feed()
    found: list[str] = []
    for now in range(int(begin), int(last), interval):
        for target in scraped:
            found += feed.scrape(target, now, interval)
        for one in all_watched:
            if one.cronjob and one.story.begin <= now:
                found += feed.told(_kube(one, now), now)
    # The file wants all series first.
    yield from feed.series
    yield f"until {int(last) * 1000}"
    yield from found


@dataclass
class _Feed:
    """Numbers for series, in the order in which they come."""

    series: list[str] = field(default_factory=list)
    kube: dict[str, int] = field(default_factory=dict)

    def scrape(self, target: Target, now: float, interval: int) -> Iterator[str]:
        at = int(now) * 1000
        if target.pod.born <= now < target.pod.died:
            for key, value in target.read(now).items():
                if key not in target.numbers:
                    target.numbers[key] = self._number(
                        {**target.labels, **dict(key[1]), "__name__": key[0]}
                    )
                yield f"{at} {target.numbers[key]} {value:.12g}"
        elif target.pod.died <= now < target.pod.died + interval:
            # The target is gone, and its series end.
            yield from (f"{at} {number} stale" for number in target.numbers.values())

    def told(self, samples: Sequence[tuple[dict[str, str], float]], now: float) -> Iterator[str]:
        for labels, value in samples:
            text = json.dumps(labels)
            if text not in self.kube:
                self.kube[text] = self._number(labels)
            yield f"{int(now) * 1000} {self.kube[text]} {value:.12g}"

    def _number(self, labels: Mapping[str, str]) -> int:
        number = len(self.series)
        self.series.append(f"series {number} {json.dumps(labels)}")
        return number


def _kube(watched: Watched, now: float) -> list[tuple[dict[str, str], float]]:
    """What kube-state-metrics tells of the CronJob."""
    planned = [run for run in watched.story.runs if run.trigger == "schedule"]
    begun = [run for run in planned if run.start <= now]
    good = [run.end for run in begun if run.end <= now and not run.error]
    coming = next((run.due for run in planned if run.start > now), watched.story.last)
    values = {
        "kube_cronjob_next_schedule_time": coming,
        "kube_cronjob_status_last_schedule_time": begun[-1].due if begun else None,
        "kube_cronjob_status_last_successful_time": good[-1] if good else None,
        "kube_cronjob_status_active": sum(run.end > now for run in begun),
        "kube_cronjob_spec_suspend": 0,
    }
    of = {"namespace": watched.namespace, "cronjob": watched.cronjob, **_KUBE}
    return [({**of, "__name__": k}, float(v)) for k, v in values.items() if v is not None]
