"""`python -m benchmarks.render`: prints the tables; a missed aim is told and is no error."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.library import peers

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/benchmarks.md"
BEGIN, END = "<!-- bench-render: begin -->", "<!-- bench-render: end -->"
PEERS = {"sdk": "grafana_foundation_sdk", "lib": "grafanalib"}
AIM = 0.001
LARGEST = 100_000
# What is told of ours, and what it is.
OURS = {
    "known": "all manifests, of a spec that was seen before under another name",
    "many": "all manifests, mean of 1,000 workflows of all profiles, from the start of the process on",
    "new": "all manifests, of a spec that is new",
    "first": "all manifests, the first of a process",
}
DASHBOARDS = {
    "bound dashboard": "Flowgauge, of a spec that was seen before",
    "new dashboard": "Flowgauge, of a spec that is new: roles become PromQL",
    "sdk": "Foundation SDK, from finished PromQL",
    "lib": "grafanalib, from finished PromQL",
}


def main() -> None:
    chosen = _arguments()
    environments = {side: peers.prepare(name) for side, name in PEERS.items()}
    seconds: dict[str, list[float]] = {}
    digests, ours = set(), {}
    for turn in range(3 if chosen.quick else 9):
        ours = _run([sys.executable, "-m", "benchmarks.render.ours"], seed=turn)
        digests.add(ours["digest"])
        for name, found in ours["seconds"].items():
            seconds.setdefault(name, []).append(found)
        _beside(environments, ours["board"], seconds)
    if len(digests) != 1:
        raise SystemExit("the bytes differ from process to process")
    text = "\n\n".join([_conditions(environments), _costs(seconds), _built(seconds), _sizes(ours)])
    print(text)
    print(f"\n{_summary(seconds, ours['sizes'])}")
    if chosen.write:
        _write(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three rounds instead of nine")
    parser.add_argument("--write", action="store_true", help=f"also into docs/{PAGE.name}")
    return parser.parse_args()


def _beside(
    environments: dict[str, peers.Environment], board: str, seconds: dict[str, list[float]]
) -> None:
    """The peers over the dashboard that ours made, in random order."""
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        file.write(board)
        file.flush()
        for side in random.sample(sorted(environments), len(environments)):
            python = environments[side].python
            if python is not None:
                made = _run([str(python), "-m", "benchmarks.render.worker", side, file.name])
                seconds.setdefault(side, []).append(made["seconds"])


def _run(command: Sequence[str], seed: int = 0) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONHASHSEED": str(seed + 1)}
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment
    )
    return dict(json.loads(done.stdout))


def _conditions(environments: dict[str, peers.Environment]) -> str:
    versions = ", ".join(
        f"{name} {environments[side].versions.get(name, 'not installed')}"
        for side, name in PEERS.items()
    )
    interpreter = f"{platform.python_implementation()} {platform.python_version()}"
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    return f"{interpreter}, {machine}; {versions}."


def _costs(seconds: dict[str, list[float]]) -> str:
    lines = [f"| {what} | {_spread(seconds[name])} |" for name, what in OURS.items()]
    return "\n".join(["### One workflow", "", "| case | CPU |", "| --- | ---: |", *lines])


def _built(seconds: dict[str, list[float]]) -> str:
    known = {name: what for name, what in DASHBOARDS.items() if name in seconds}
    lines = [
        f"| {what} | {_spread(seconds[name])} | {_ratio(seconds, name)} |"
        for name, what in known.items()
    ]
    head = ["| dashboard | CPU | a spec seen before = 1 |", "| --- | ---: | ---: |"]
    return "\n".join(["### An equal dashboard", "", *head, *lines])


def _ratio(seconds: dict[str, list[float]], name: str) -> str:
    pairs = zip(seconds[name], seconds["bound dashboard"], strict=True)
    return f"{statistics.median(one / other for one, other in pairs):.3g}"


def _sizes(ours: dict[str, Any]) -> str:
    found: dict[str, int] = ours["sizes"]
    lines = [
        f"| {_largest(found, what)} |"
        for what in ("two objectives", "sixteen objectives", "fleet of", "objectives of")
    ]
    return "\n".join(["### Size", "", "| largest dashboard | kB |", "| --- | ---: |", *lines])


def _largest(found: dict[str, int], what: str) -> str:
    name, size = max(
        ((name, size) for name, size in found.items() if what in name), key=lambda one: one[1]
    )
    return f"{name} | {size / 1000:.1f}"


def _summary(seconds: dict[str, list[float]], sizes: dict[str, int]) -> str:
    lines = [
        f"at most 1 ms, {what}: {'met' if statistics.median(seconds[name]) <= AIM else 'missed'}"
        for name, what in OURS.items()
        if name in ("known", "many")
    ]
    verdict = "met" if max(sizes.values()) < LARGEST else "missed"
    return "\n".join([*lines, f"below 100 kB: {verdict}", "the same bytes in every process"])


def _spread(values: Sequence[float]) -> str:
    least, median, most = min(values), statistics.median(values), max(values)
    return f"{median * 1000:.3g} ms ({least * 1000:.3g} to {most * 1000:.3g})"


def _write(text: str) -> None:
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE} has no lines {BEGIN} and {END} to write between")
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
