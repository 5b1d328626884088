"""Where numbers are kept: runs of floating-point slots, in the memory of the process or in a file that others read.

What counts takes a run of slots once and writes to it with plain statements such as `values[i] += 1.0`. It takes
no lock: CPython switches threads, runs signal handlers and finalizers at calls, at the start of functions and at
jumps backwards, so a straight line of loads, sums and stores is never interrupted. Hence the rule for all code that
writes to slots: compute first, then write in one straight line without a call. There is no lock to be copied locked
into a forked child, and none for a signal handler to wait for. Interpreters without a global lock are warned about.
"""

from __future__ import annotations

import os
import sys

from flowgauge import guard

# `typing` alone costs more than all that this library loads in a program that only decorates functions.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, Protocol

    class Values(Protocol):
        """A run of slots: a list of floats, or a memoryview of doubles."""

        def __getitem__(self, index: int, /) -> float: ...
        def __setitem__(self, index: int, value: float, /) -> None: ...
        def __len__(self) -> int: ...

    # What a run counts, so that a reader in another process can tell; made of strings, numbers and tuples of them.
    Description = tuple[Any, ...]
    Allocator = Callable[[Description, int], Values]


def private(_description: Description, size: int) -> Values:
    """A run of `size` zeros in the memory of this process."""
    return [0.0] * size


# Names the directory in which the processes of one program keep their numbers; empty for each by itself.
MULTIPROCESS: Final = "FLOWGAUGE_MULTIPROCESS_DIR"


def settle() -> None:
    """Decide on the storage now: who only reads the numbers of other processes takes no run of its own."""
    if _allocator is _first:
        _first((), 0)


def allocate(description: Description, size: int) -> Values:
    """A run of `size` zeros, in whatever is used for storage now."""
    return _allocator(description, size)


def _first(description: Description, size: int) -> Values:
    """Decide on the storage when the first run is taken, which is before anything is set up."""
    use(private)
    if os.environ.get(MULTIPROCESS):
        try:
            from flowgauge import multiprocess  # noqa: PLC0415 - few programs are several processes

            multiprocess.share(os.environ[MULTIPROCESS])
        except Exception as error:
            guard.report(f"{MULTIPROCESS}={os.environ[MULTIPROCESS]}", error)
    return allocate(description, size)


_allocator: Allocator = _first


def use(allocator: Allocator) -> None:
    """Take runs from `allocator` from now on. What has runs already must be moved by its owner."""
    global _allocator  # noqa: PLW0603 - a process has one storage
    _allocator = allocator


if not getattr(sys, "_is_gil_enabled", lambda: True)():
    guard.warn(
        "interpreter",
        "this Python runs without a global interpreter lock, where increments of two threads may collide:"
        " counts can be too low. Use a build with the lock (PYTHON_GIL=1)",
    )
