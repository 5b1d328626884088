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

from flowgauge import forks, guard

# `typing` alone costs more than all that this library loads in a program that only decorates functions.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Final, Protocol

    class Values(Protocol):
        """A run of slots: a list of floats, or a memoryview of doubles."""

        def __getitem__(self, index: int, /) -> float: ...
        def __setitem__(self, index: int, value: float, /) -> None: ...
        def __iter__(self) -> Iterator[float]: ...
        def __len__(self) -> int: ...

    # What a run counts, so that a reader in another process can tell; made of strings, numbers and tuples of them.
    Description = tuple[Any, ...]

    class Storage(Protocol):
        """Gives runs of slots. Never raises."""

        def allocate(self, description: Description, size: int, /) -> Values:
            """A run of zeros."""

        def release(self, values: Values, /) -> None:
            """Give up a run."""

        def forked(self) -> None:
            """Begin anew in a forked child."""


# Names the directory in which the processes of one program keep their numbers; empty for each by itself.
MULTIPROCESS: Final = "FLOWGAUGE_MULTIPROCESS_DIR"


class _Private:
    """The memory of this process."""

    def allocate(self, description: Description, size: int) -> Values:
        return private(description, size)

    def release(self, values: Values) -> None:
        """The garbage collector does it."""

    def forked(self) -> None:
        """What was counted is forgotten by its owners."""


def private(_description: Description, size: int) -> Values:
    """A run of `size` zeros in the memory of this process."""
    return [0.0] * size


def is_private(values: Values) -> bool:
    """Whether no other process reads the run, so that numbers may be moved out of it."""
    return isinstance(values, list)


def allocate(description: Description, size: int) -> Values:
    """A run of `size` zeros, in whatever is used for storage now."""
    return (_storage or _settled()).allocate(description, size)


def release(values: Values) -> None:
    """Give up a run: other processes do not see it any more. It may be given to the same label set again."""
    if _storage is not None:
        _storage.release(values)


def settle() -> None:
    """Decide on the storage now: who only reads the numbers of other processes takes no run of its own."""
    if _storage is None:
        _settled()


def choose() -> None:
    """Decide once more, at a set-up: a program may have named the directory after its first number was made."""
    if not is_shared():
        _settled()


def is_shared() -> bool:
    """Whether other processes read what this one counts."""
    return _storage is not None and _storage is not _private


def use(storage: Storage) -> None:
    """Take runs from `storage` from now on. What has runs already must be moved by its owner."""
    global _storage  # noqa: PLW0603 - a process has one storage
    _storage = storage


def on_move(move: Callable[[], None]) -> None:
    """Call `move` when other processes begin to read what this one counts: it takes a new run and fills it."""
    _moves.append(move)


def moved() -> None:
    """Have everybody move who wanted to be called."""
    for move in _moves:
        move()


def _settled() -> Storage:
    """Decide on the storage when the first run is taken, which is before anything is set up."""
    folder = os.environ.get(MULTIPROCESS)
    if folder and not is_shared():
        try:
            from flowgauge import multiprocess  # noqa: PLC0415 - few programs are several processes

            # Threads wait there for the one that came first: a run that was taken meanwhile would never be moved.
            multiprocess.share(folder)
        except OSError as error:
            guard.warn(
                MULTIPROCESS,
                f"{MULTIPROCESS} is {folder!r}, and what this process counts is seen by no other: {error}",
            )
        except Exception as error:
            guard.report(f"{MULTIPROCESS}={folder}", error)
    if _storage is None:
        use(_private)
    return _storage or _private


_moves: list[Callable[[], None]] = []
_private: Final = _Private()
_storage: Storage | None = None


def _reset() -> None:
    if _storage is not None:
        _storage.forked()


# The first of all hooks that concern numbers, since who counts imports this module: they take runs in theirs.
forks.on_fork(_reset)

if not getattr(sys, "_is_gil_enabled", lambda: True)():
    guard.warn(
        "interpreter",
        "this Python runs without a global interpreter lock, where increments of two threads may collide:"
        " counts can be too low. Use a build with the lock (PYTHON_GIL=1)",
    )
