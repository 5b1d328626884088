"""One suite in a process of its own, in the environment of its peer: `python -m benchmarks.library.worker SUITE`.

Prints the samples as JSON. Only the standard library and what the suite itself imports.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os

from benchmarks.library import timing
from benchmarks.library.suites import references


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", help="module.function of benchmarks.library.suites")
    parser.add_argument("arguments", nargs="*", help="of the function, as JSON")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cpu", type=int, help="stay on this CPU")
    chosen = parser.parse_args()
    if chosen.cpu is not None:
        os.sched_setaffinity(0, {chosen.cpu})
    module, _, function = chosen.suite.rpartition(".")
    suite = getattr(importlib.import_module(f"benchmarks.library.suites.{module}"), function)
    effort = timing.QUICK if chosen.quick else timing.FULL
    # Before the suite, which may trace memory or leave threads; one that times calls has it among its own cases.
    reference = timing.per_call([references.clocked()], effort)
    results = suite(effort, *map(json.loads, chosen.arguments))
    print(json.dumps({**reference, **results}))


if __name__ == "__main__":
    main()
