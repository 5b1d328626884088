"""Run the suites: each in a process of its own, several rounds, in random order.

A ratio of two cases is taken round by round, so that what the machine does besides hits both sides alike.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.library.peers import Environment

ROOT = Path(__file__).resolve().parents[2]
OURS = "prometheus_client"  # its environment has what ours needs


@dataclass(frozen=True)
class Suite:
    """One side of a comparison: a function of `suites`, its arguments, and the peer whose environment it needs."""

    function: str
    peer: str
    arguments: tuple[str | int, ...] = ()
    rounds: int = 7
    pinned: bool = True

    def __str__(self) -> str:
        return " ".join((self.function, *map(str, self.arguments)))

    def __truediv__(self, name: str) -> Case:
        """One number that the suite finds."""
        return Case(self, name)


@dataclass(frozen=True)
class Case:
    """One number of a suite."""

    suite: Suite
    name: str


@dataclass(frozen=True)
class Spread:
    """A median with the least and the most."""

    least: float
    median: float
    most: float


def spread(values: Sequence[float]) -> Spread:
    """Of a list that is not empty."""
    return Spread(min(values), statistics.median(values), max(values))


@dataclass(frozen=True)
class Problem:
    """Why a suite found nothing: in short for a page, and what the installer or the suite said."""

    short: str
    reason: str


class Findings:
    """What all suites found: samples by case and round, and the reasons why a suite found nothing."""

    def __init__(self) -> None:
        self._samples: dict[Case, dict[int, list[float]]] = {}
        self.problems: dict[Suite, Problem] = {}

    def add(self, suite: Suite, turn: int, results: dict[str, list[float]]) -> None:
        """The samples of one process."""
        for name, samples in results.items():
            self._samples.setdefault(Case(suite, name), {})[turn] = samples

    def spread(self, case: Case) -> Spread | None:
        """Of all samples; None if there are none."""
        samples = [value for found in self._samples.get(case, {}).values() for value in found]
        return spread(samples) if samples else None

    def ratio(self, upper: Case, lower: Case) -> Spread | None:
        """Of the medians of each round that has both."""
        above, below = self._samples.get(upper, {}), self._samples.get(lower, {})
        ratios = [
            statistics.median(above[turn]) / bottom
            for turn in sorted(above.keys() & below.keys())
            if (bottom := statistics.median(below[turn]))
        ]
        return spread(ratios) if ratios else None

    def everywhere(self, name: str) -> Spread | None:
        """The medians that processes found for the same reference case."""
        medians = [
            statistics.median(samples)
            for case, turns in self._samples.items()
            if case.name == name
            for samples in turns.values()
        ]
        return spread(medians) if medians else None


def run(
    suites: Sequence[Suite],
    environments: dict[str, Environment],
    *,
    quick: bool,
    say: Callable[[str], None],
) -> Findings:
    """All suites in as many rounds as they want, or in one or two that are quick."""
    findings = Findings()
    for suite in suites:
        if problem := environments[suite.peer].problem:
            findings.problems[suite] = Problem(f"{suite.peer} is not installed", problem)
    wanted = {suite: (suite.rounds > 3) + 1 if quick else suite.rounds for suite in suites}
    last = max(wanted.values(), default=0)
    for turn in range(last):
        say(f"round {turn + 1} of {last}")
        due = [suite for suite in suites if wanted[suite] > turn]
        random.shuffle(due)
        for suite in due:
            python = environments[suite.peer].python
            if python is None or suite in findings.problems:
                continue
            try:
                findings.add(suite, turn, _results(suite, python, quick=quick))
            except (subprocess.SubprocessError, ValueError, IndexError) as error:
                findings.problems[suite] = Problem("failed", _reason(error))
                say(f"{suite}: {findings.problems[suite].reason}")
    return findings


def _results(suite: Suite, python: Path, *, quick: bool) -> dict[str, list[float]]:
    module = "benchmarks.library.worker"
    command = [str(python), "-m", module, suite.function, *map(json.dumps, suite.arguments)]
    if quick:
        command.append("--quick")
    if suite.pinned and hasattr(os, "sched_getaffinity"):
        command.append(f"--cpu={max(os.sched_getaffinity(0))}")
    path = os.pathsep.join((str(ROOT), str(ROOT / "library")))
    # Nothing of the user's own settings, which may well be for flowgauge, prometheus_client or OpenTelemetry.
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
    environment = {key: os.environ[key] for key in kept if key in os.environ}
    done = subprocess.run(
        command,
        cwd="/",
        env={**environment, "PYTHONPATH": path},
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = str(error.stderr).strip().splitlines()
        return lines[-1] if lines else f"ended with {error.returncode}"
    return str(error)
