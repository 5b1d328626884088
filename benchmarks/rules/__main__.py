"""`python -m benchmarks.rules`: prints the tables; a missed aim is told and is no error."""

from __future__ import annotations

import argparse
import os
import platform
import random
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rules import cost, peers, replaying, table, traffic

from rig import parts, scratch

PAGE = Path(__file__).resolve().parents[2] / "docs/benchmarks.md"
DAY = 86400
END = 1_700_000_000 - 1_700_000_000 % DAY + DAY // 2
INTERVAL = 15
JUDGED = 2 * DAY
SEED = 1


@dataclass(frozen=True)
class Judged:
    """What one shape of traffic gave."""

    shape: str
    runs: int
    lost: float
    findings: list[replaying.Finding]


def main() -> None:
    chosen = _arguments()
    began = time.monotonic()
    days, instants, rounds = (8, 20, 2) if chosen.quick else (30, 60, 7)
    with scratch.folder() as folder:
        found = [] if chosen.only == "cost" else _judge_all(folder, chosen.shape, days, instants)
        measured = (
            []
            if chosen.only == "truth"
            else cost.costs(_made(folder, cost.INTERVAL), folder, rounds=rounds)
        )
    _say(f"{time.monotonic() - began:.0f} s")
    findings = {one.shape: one.findings for one in found}
    pieces = [_conditions(found, days, instants)]
    if findings:
        pieces += ["### Error", table.errors(findings, {one.shape: one.lost for one in found})]
    if measured:
        pieces += ["### Evaluation", table.costs(measured)]
    print("\n\n".join(pieces))
    print(f"\n{table.summary(findings, measured)}")
    if chosen.write:
        table.write(PAGE, "\n\n".join(pieces))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="eight days of history, few rounds")
    parser.add_argument("--only", choices=("truth", "cost"), help="one of the two tables")
    parser.add_argument(
        "--shape",
        action="append",
        choices=list(traffic.SHAPES),
        help="this traffic; may be given again",
    )
    parser.add_argument("--write", action="store_true", help=f"also into docs/{PAGE.name}")
    chosen = parser.parse_args()
    if chosen.write and (chosen.only or chosen.shape or chosen.quick):
        parser.error("--write needs everything; leave out --quick, --only and --shape")
    return chosen


def _judge_all(
    folder: Path, shapes: Sequence[str] | None, days: int, instants: int
) -> list[Judged]:
    names = shapes or list(traffic.SHAPES)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(judge, folder / name, name, days, instants) for name in names]
        return [job.result() for job in jobs]


def judge(folder: Path, shape: str, days: int, instants: int) -> Judged:
    """All tools over one shape of traffic."""
    folder.mkdir()
    made = _made(folder, INTERVAL)
    begin = END - days * DAY
    history = replaying.history(shape, seed=SEED, begin=begin, end=END, interval=INTERVAL)
    dice = random.Random(SEED)  # noqa: S311
    moments = sorted(END - 60 - dice.random() * JUDGED for _ in range(instants))
    recorded = replaying.record(history, made, moments, folder)
    findings = [
        finding
        for tool in made
        for finding in replaying.judge(history, tool, recorded[tool.name], moments)
    ]
    _say(f"{shape}: {history.runs} runs, {len(history.seen.samples)} samples")
    return Judged(shape, history.runs, history.lost, findings)


def _made(folder: Path, interval: int) -> list[peers.Tool]:
    return [peers.ours(interval=interval), peers.sloth(folder), peers.pyrra(folder)]


def _conditions(found: Sequence[Judged], days: int, instants: int) -> str:
    versions = ", ".join(
        f"{name} {parts.find(name).version}" for name in ("prometheus", "sloth", "pyrra")
    )
    lines = [
        f"{versions}; {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs.",
    ]
    if found:
        runs = ", ".join(f"{one.shape} {one.runs:,}" for one in found)
        lines.append(
            f"{days} days of traffic, scraped every {INTERVAL} s; {instants} instants of the last two days. Runs: {runs}."
        )
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
