"""What starting an interpreter costs with a library: CPU milliseconds and resident MiB of the whole process."""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from benchmarks.library.timing import Effort, Results

LIBRARY = Path(__file__).parents[3] / "library"
STARTS = {
    "bare": "",
    "flowgauge": "import flowgauge",
    "decorators": "from flowgauge import workflow, step",
    "prometheus_client": "import prometheus_client",
}
# The kernel's peak would be that of the process before it became an interpreter.
RESIDENT = "\nprint(open('/proc/self/statm').read().split()[1])"


def all_of_them(effort: Effort) -> Results:
    """All in one suite, taking turns, since they are processes of their own anyway."""
    results: Results = {}
    turns = list(STARTS) * (5 if effort.quick else 15)
    for code in STARTS.values():
        _start(code)  # writes the byte code
    random.shuffle(turns)
    for name in turns:
        cpu, resident = _start(STARTS[name])
        results.setdefault(f"{name}, CPU", []).append(cpu)
        results.setdefault(f"{name}, memory", []).append(resident)
    return results


def _start(code: str) -> tuple[float, float]:
    reading, writing = os.pipe()
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY)}
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", code + RESIDENT],
        environment,
        file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_CLOSE, reading)],
    )
    os.close(writing)
    with os.fdopen(reading) as output:
        pages = output.read()
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"{code!r} failed")
    return (usage.ru_utime + usage.ru_stime) * 1e3, int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20
