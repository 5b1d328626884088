"""`python -m benchmarks.library`: prints tables of ratios; a missed aim is told and is no error."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

from benchmarks.library import peers, rounds, table
from benchmarks.library.rows import SECTIONS

PAGE = Path(__file__).resolve().parents[2] / "docs/benchmarks.md"


def main() -> None:
    chosen = _arguments()
    if chosen.lock:
        peers.lock()
        return
    sections = [section for section in SECTIONS if section.key in (chosen.only or _keys())]
    suites = list(dict.fromkeys(suite for section in sections for suite in section.suites))
    began = time.monotonic()
    environments = {name: peers.prepare(name) for name in sorted({suite.peer for suite in suites})}
    findings = rounds.run(suites, environments, quick=chosen.quick, say=_say)
    _say(f"{time.monotonic() - began:.0f} s")
    text = "\n\n".join(
        [
            _conditions(environments, quick=chosen.quick),
            table.tables(sections, findings),
            table.references(findings),
        ]
    )
    print(text)
    print(f"\n{table.summary(sections, findings)}")
    if chosen.write:
        table.write(PAGE, text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke check of about two minutes")
    parser.add_argument(
        "--only", action="append", choices=_keys(), help="this table; may be given again"
    )
    parser.add_argument("--write", action="store_true", help=f"also into docs/{PAGE.name}")
    parser.add_argument("--lock", action="store_true", help="only pin the peers' packages anew")
    chosen = parser.parse_args()
    if chosen.write and chosen.only:
        parser.error("--write needs all tables; leave out --only")
    return chosen


def _keys() -> list[str]:
    return [section.key for section in SECTIONS]


def _conditions(environments: dict[str, peers.Environment], *, quick: bool) -> str:
    versions = [
        ", ".join(
            f"{package} {version}" for package, version in peers.notable(name, environment.versions)
        )
        for name, environment in environments.items()
        if not environment.problem
    ]
    interpreter = f"{platform.python_implementation()} {platform.python_version()}"
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    lines = [
        f"{interpreter}, {machine}{'; a quick run, whose figures are rough' if quick else ''}.",
        f"Peers, each environment on its own: {'; '.join(versions)}.",
    ]
    lines += [
        f"Not installed: {name}."
        for name, environment in environments.items()
        if environment.problem
    ]
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
