"""Stories of workflows as a Prometheus would have them: its own code evaluates the rules over what it would have scraped."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from flowgauge.profiles import Profile
from flowgauge_operator import duration
from flowgauge_operator.model import Workflow
from flowgauge_operator.render import Capabilities, Options, render
from rig import tools
from scenes import scrape
from scenes.scenario import Scenario
from scenes.story import Cast, Story, story

# Beside the workflow's own name, where a vocabulary has many workflows and no steps, or is that of an engine.
_OTHERS = ("refunds", "invoices")
_HOURLY = "0 * * * *"
_CLOSE = 7 * 3600


def cast(workflow: Workflow, profile: Profile) -> Cast:
    """Who plays in the story of a workflow."""
    engine = not profile.by_role("library.info")
    alone = profile.by_role("step.duration") and not engine
    plan = workflow.spec.schedule
    cron = "" if plan is None else plan.cron or _HOURLY
    return Cast(
        names=(workflow.name,) if alone else (workflow.name, *_OTHERS),
        pods=1 if engine else 2,
        seconds=_usual(workflow, profile),
        cron=cron,
        zone=(plan and plan.time_zone) or "UTC",
        only_planned=not profile.families or workflow.spec.scrape.mode == "Push",
    )


def _usual(workflow: Workflow, profile: Profile) -> float:
    """How long runs usually take: in the middle of the buckets, and well within what an objective allows."""
    of_handlers = not profile.by_role("run.duration")
    families = profile.by_role("handler.duration" if of_handlers else "run.duration")
    if not families or not families[0].buckets:
        return 120
    buckets = [float(bound) * float(families[0].factor) for bound in families[0].buckets]
    allowed = [
        duration.seconds(wanted.latency.threshold) / 3
        for wanted in workflow.spec.slos
        if wanted.latency
    ]
    # A handler is one step of four.
    return min(buckets[len(buckets) // 2], *allowed, buckets[-1]) * (4 if of_handlers else 1)


def told(
    workflow: Workflow, profile: Profile, scenario: Scenario, *, end: float, beyond: float
) -> scrape.Watched:
    """A workflow with its story; the same names give the same story."""
    seed = f"{workflow.namespace}/{workflow.name}/{profile.name}"
    made: Story = story(cast(workflow, profile), scenario, end=end, beyond=beyond, seed=seed)
    plan = workflow.spec.schedule
    cronjob = (plan and plan.cron_job) or ""
    return scrape.Watched(workflow.namespace, workflow.name, profile, made, cronjob)


def groups(workflow: Workflow, profile: Profile, interval: int) -> list[dict[str, Any]]:
    """The rules of a workflow that is scraped so often."""
    spec = workflow.spec
    often = spec.scrape.model_copy(update={"interval": f"{interval}s", "timeout": None})
    rescraped = workflow.model_copy(update={"spec": spec.model_copy(update={"scrape": often})})
    made = render(rescraped, profile, Capabilities(), Options())
    rules = next(child for child in made.children if child["kind"] == "PrometheusRule")
    found: list[dict[str, Any]] = rules["spec"]["groups"]
    return found


def write(
    folder: Path, watched: Sequence[scrape.Watched], rules: Iterable[dict[str, Any]], interval: int
) -> None:
    """Fill the folder's `tsdb`: what was scraped, what was recorded, and the alerts."""
    feed, file = folder / "scrapes.txt", folder / "rules.json"
    with feed.open("w", encoding="utf-8") as out:
        out.writelines(f"{line}\n" for line in scrape.lines(watched, interval))
    file.write_text(json.dumps({"groups": list(rules)}), encoding="utf-8")
    # What is long ago is looked at from afar.
    fine = int(1000 * (max(one.story.end for one in watched) - _CLOSE))
    command = [tools.path("replay"), "-scrapes", feed, "-storage", folder / "tsdb", "-fine", fine]
    done = subprocess.run(
        [*map(str, command), "-blocks", "-all", str(file)],
        capture_output=True,
        text=True,
        check=False,
        # Memory for speed: it lives for a minute.
        env={**os.environ, "GOGC": "400"},
    )
    if done.returncode:
        raise RuntimeError(f"the rules cannot be evaluated: {done.stderr}")
    feed.unlink()
