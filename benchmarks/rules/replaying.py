"""What each tool's rules record over a history, and how far that is from the truth."""

from __future__ import annotations

import json
import math
import subprocess
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rules import scraping, traffic
from benchmarks.rules.peers import BUDGET, Tool
from benchmarks.rules.truth import Ledger, error

from flowgauge_operator import duration
from rig import tools

KNOWN, HAPPENED = "budget, known", "budget, happened"
Recorded = dict[str, list[tuple[float, float]]]


@dataclass(frozen=True)
class Finding:
    """One recorded value beside the truth. `window` is in seconds, or one of the budget's, whose error is in shares of it."""

    tool: str
    window: int | str
    at: float
    recorded: float | None
    true: float | None
    error: float


@dataclass(frozen=True)
class History:
    """One story as a Prometheus saw it."""

    shape: str
    seen: scraping.Seen
    known: Ledger
    happened: Ledger
    runs: int

    @property
    def lost(self) -> float:
        """The share of runs of which no scrape told."""
        return self.seen.lost / self.runs


def history(shape: str, *, seed: int, begin: float, end: float, interval: int) -> History:
    """A story and its scrapes."""
    told = traffic.story(shape, seed=seed, begin=begin, end=end)
    seen = scraping.scrape(told, interval=interval, seed=seed)
    happened = Ledger([(run.at, run.bad) for run in told.runs])
    return History(shape, seen, Ledger(seen.known), happened, len(told.runs))


def record(
    history: History, made: Sequence[Tool], instants: Sequence[float], folder: Path
) -> dict[str, Recorded]:
    """Tool -> record -> (seconds, value) at the evaluations that were the newest at the instants."""
    scrapes, at = folder / "scrapes.txt", folder / "instants.txt"
    scrapes.write_text("\n".join(history.seen.lines()) + "\n", encoding="utf-8")
    at.write_text("\n".join(str(round(1000 * instant)) for instant in instants), encoding="utf-8")
    found: dict[str, Recorded] = {}
    owner = {group["name"]: tool.name for tool in made for group in tool.groups}
    found = {tool.name: defaultdict(list) for tool in made}
    command = [tools.path("replay"), "-scrapes", scrapes, "-at", at, "-storage", folder / "tsdb"]
    done = subprocess.run(
        [*map(str, command), *(str(tool.write(folder)) for tool in made)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    for line in done.stdout.splitlines():
        one = json.loads(line)
        found[owner[one["group"]]][one["record"]].append((one["at"] / 1000, float(one["value"])))
    return found


def judge(
    history: History, tool: Tool, recorded: Recorded, instants: Sequence[float]
) -> list[Finding]:
    """The findings of one tool: over all windows by what was known, over the period and the budget by what happened, too."""
    moment = _moments(tool, recorded)
    found = []
    for window, name in tool.ratios.items():
        for at, value in _newest(recorded.get(name, []), instants):
            true = history.known.window(moment(at), window).ratio
            off = error(value, true)
            if off is not None:
                found.append(Finding(tool.name, window, at, value, true, off))
    return (
        found
        + _budget(history.known, KNOWN, tool, recorded, instants, moment)
        + _budget(history.happened, HAPPENED, tool, recorded, instants, lambda at: at)
    )


def _moments(tool: Tool, recorded: Recorded) -> Callable[[float], float]:
    """Evaluation -> the moment up to which it reads."""
    if not tool.base:
        return lambda at: at - tool.behind
    # Groups are evaluated at different instants; what a slow one reads is as old as the newest of the fast one.
    every = next(
        duration.seconds(group["interval"])
        for group in tool.groups
        if any(rule.get("record") == tool.base for rule in group["rules"])
    )
    phase = recorded[tool.base][0][0] % every
    return lambda at: at - round((at - phase) % every, 3) % every - tool.behind


def _budget(
    ledger: Ledger,
    window: str,
    tool: Tool,
    recorded: Recorded,
    instants: Sequence[float],
    moment: Callable[[float], float],
) -> list[Finding]:
    name, convert = tool.remaining
    found = []
    for at, value in _newest(recorded.get(name, []), instants):
        true = ledger.window(moment(at), tool.period).ratio
        if true is not None:
            left = 1 - true / BUDGET
            told = None if value is None or math.isnan(value) else convert(value)
            off = 1 if told is None else abs(told - left)
            found.append(Finding(tool.name, window, at, told, left, off))
    return found


def _newest(
    recorded: list[tuple[float, float]], instants: Sequence[float]
) -> list[tuple[float, float | None]]:
    """At each instant, what was evaluated last before it, within the five minutes for which a series is shown."""
    found: list[tuple[float, float | None]] = []
    for instant in instants:
        fresh = [(at, value) for at, value in recorded if instant - 300 < at <= instant]
        found.append(max(fresh) if fresh else (instant, None))
    return found
