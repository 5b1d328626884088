"""One side in a process of its own: `python -m benchmarks.render.worker SIDE FILE`; prints seconds of CPU as JSON.

Only the standard library and what the side itself imports.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from time import process_time
from typing import Any

from benchmarks.render import described

BUILDS = 20


def main() -> None:
    side, file = sys.argv[1:]
    board = json.loads(Path(file).read_text(encoding="utf-8"))
    given = described.described(board)
    build = importlib.import_module(f"benchmarks.render.{side}").build
    # Also the warm-up, and the proof that both sides make the same.
    made = build(given)
    if described.shown(json.loads(made)) != described.shown(board):
        raise SystemExit(f"{side} makes another dashboard")
    print(json.dumps({"seconds": _seconds(build, given), "size": len(made.encode())}))


def _seconds(build: Any, given: Any) -> float:
    began = process_time()
    for _ in range(BUILDS):
        build(given)
    return (process_time() - began) / BUILDS


if __name__ == "__main__":
    main()
