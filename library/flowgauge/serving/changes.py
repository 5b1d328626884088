"""Make something of files, and make it anew when they change: certificates and secrets that are rotated."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Final, Generic, TypeVar

from flowgauge import guard

# How often the files are looked at, at most.
LOOK_SECONDS: Final = 1.0

T = TypeVar("T")

Fingerprint = tuple[tuple[int, int, int], ...]


class Watched(Generic[T]):
    """What `load()` makes of some files. Files that cannot be used leave the last good value in use, with a warning.

    Raises:
        Exception: what `load` raises the first time.

    """

    def __init__(self, name: str, files: Sequence[str], load: Callable[[], T]) -> None:
        self._name = name
        self._files = files
        self._load = load
        # Before loading: a change in between is then seen at the next look.
        try:
            self._seen = _fingerprint(files)
        except OSError:
            self._seen = ()  # `load` knows better what to say
        self._value = load()
        self._next = monotonic() + LOOK_SECONDS

    def value(self) -> T:
        """The value for the files as they are, or were a second ago."""
        now = monotonic()
        if now >= self._next:
            self._next = now + LOOK_SECONDS
            self._look()
        return self._value

    def _look(self) -> None:
        try:
            found = _fingerprint(self._files)
            if found != self._seen:
                self._value = self._load()
                # Only now: two files that change one after the other are tried again until they fit.
                self._seen = found
        except Exception as error:
            guard.warn(self._name, f"{self._name}: {error}. What was there before stays in use")


def _fingerprint(files: Sequence[str]) -> Fingerprint:
    stats = [os.stat(file) for file in files]  # noqa: PTH116 - a path object would be made for each connection
    return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in stats)
