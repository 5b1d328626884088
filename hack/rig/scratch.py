"""A temporary folder for one run. What a killed run could not remove, the next one does."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "flowgauge-run-"


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Make a folder that is gone afterwards; the lock on it ends with the process, however that ends."""
    parent = Path(tempfile.gettempdir())
    _remove_abandoned(parent)
    made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    try:
        with _locked(made):
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    for old in parent.glob(f"{_PREFIX}*"):
        # One that is locked is in use; one that belongs to somebody else is not ours to remove.
        with contextlib.suppress(OSError), _locked(old):
            shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a folder; raise BlockingIOError where another process does."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
