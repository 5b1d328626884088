"""What the operating system and the interpreter say about this process, in the names that prometheus_client uses.

Read from /proc; where there is none, only the families that do without it are told.
"""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from flowgauge.metrics import Kind, MetricFamily

_NONE: Final = [()]
_TICKS: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PAGE: Final = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def families(
    pids: Sequence[int | str] = ("self",), cpu: float | None = None
) -> Iterator[MetricFamily]:
    """CPU, memory, start and open files of this process, or of several as one; `cpu` is what those have used."""
    if cpu is None:
        times = os.times()
        cpu = times.user + times.system
    memory = [sum(sizes) for sizes in zip(*filter(None, map(_memory, pids)), strict=True)]
    if memory:
        yield _one(
            "process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", memory[0]
        )
        yield _one(
            "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", memory[1]
        )
    started = min(filter(None, map(_started, pids)), default=0.0)
    if started:
        text = "Start time of the process since unix epoch in seconds."
        yield _one("process_start_time_seconds", "gauge", text, started)
    text = "Total user and system CPU time spent in seconds."
    yield _one("process_cpu_seconds_total", "counter", text, cpu)
    files = [count for count in map(_files, pids) if count]
    if files:
        yield _one("process_open_fds", "gauge", "Number of open file descriptors.", sum(files))
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415 - not on every system

        most = float(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        yield _one("process_max_fds", "gauge", "Maximum number of open file descriptors.", most)


def interpreter(*, of_several: bool = False) -> Iterator[MetricFamily]:
    """Which Python this is, and the garbage collector's work; that of several processes is not known."""
    if not of_several:
        yield from _collections()
    major, minor, patch = platform.python_version_tuple()
    labels = ("version", "implementation", "major", "minor", "patchlevel")
    key = (platform.python_version(), platform.python_implementation(), major, minor, patch)
    yield MetricFamily("python_info", "gauge", "Python platform information", labels, [key], [1.0])


def _collections() -> Iterator[MetricFamily]:
    generations = [(str(i),) for i in range(len(gc.get_stats()))]
    for name, field, text in (
        ("python_gc_objects_collected_total", "collected", "Objects collected during gc"),
        (
            "python_gc_objects_uncollectable_total",
            "uncollectable",
            "Uncollectable objects found during GC",
        ),
        (
            "python_gc_collections_total",
            "collections",
            "Number of times this generation was collected",
        ),
    ):
        values = [float(stats[field]) for stats in gc.get_stats()]
        yield MetricFamily(name, "counter", text, ("generation",), generations, values)


def _one(name: str, kind: Kind, text: str, value: float) -> MetricFamily:
    return MetricFamily(name, kind, text, (), _NONE, [value])


def _files(pid: int | str) -> float:
    """How many files a process has open; 0 where that cannot be told."""
    try:
        return float(len(list(Path(f"/proc/{pid}/fd").iterdir())))
    except OSError:
        return 0.0


def _memory(pid: int | str) -> tuple[float, float] | None:
    """Virtual and resident size in bytes."""
    try:
        virtual, resident = Path(f"/proc/{pid}/statm").read_bytes().split()[:2]
    except (OSError, ValueError):  # it may have ended
        return None
    return float(virtual) * _PAGE, float(resident) * _PAGE


def _started(pid: int | str) -> float:
    """When a process started, in Unix seconds; 0 where that cannot be told."""
    try:
        # The name of the program, in parentheses, may contain anything; field 22 counts from behind it.
        ticks = float(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19])
        lines = Path("/proc/stat").read_bytes().splitlines()
        booted = next(float(line.split()[1]) for line in lines if line.startswith(b"btime "))
    except (OSError, ValueError, IndexError, StopIteration):
        return 0.0
    return min(booted + ticks / _TICKS, time.time())
