"""Several processes as one program: each writes its numbers to a file of its own, and whoever is scraped reads all.

A file is a header and records: how long it is, what its slots count, and the slots, which the engine writes to as
to a list. The length is written last, so that a reader never sees half a record. A process holds a lock on its file
for as long as it lives; who can take it knows that the owner is dead, even across containers. The numbers of dead
processes go into one file, under a lock of the directory, so a scrape costs what the living cost.

What was in progress when a process died will never end: it counts as failed, with the error `aborted`.

The directory must be on a local file system that is empty when the machine starts, such as an emptyDir volume; what
is there of an earlier start of the machine is deleted, because its clock was another one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from flowgauge import cells, guard, instruments, slots
from flowgauge.bins import FAILED
from flowgauge.cell import BEGUN, COUNTS, ERRORS, LAST, RESETS, STARTED, SUMS, Snapshot, read
from flowgauge.instruments import Found, merged

if TYPE_CHECKING:
    from flowgauge.slots import Description, Values

# Bytes that one process may use. The file is sparse: only what is written takes space.
SIZE: Final = 64 << 20
ABORTED: Final = "aborted"

_MAGIC: Final = b"flowgauge-slots1"
_HEADER: Final = 64
_RECORD: Final = struct.Struct("<QII")
_SUFFIX: Final = ".slots"
_ATTEMPTS: Final = 10


class File:
    """The file that this process writes to, with a lock on it as long as the process lives.

    Raises:
        OSError: the file cannot be made.

    """

    def __init__(self, folder: str) -> None:
        self.pid = os.getpid()
        self.name = f"{self.pid}-{os.urandom(8).hex()}{_SUFFIX}"
        path = os.path.join(folder, self.name)
        # Locked under another name first: a reader would take a file without a lock for that of a dead process.
        self._fd = os.open(path + ".new", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        os.ftruncate(self._fd, SIZE)
        self._map = mmap.mmap(self._fd, SIZE)
        self._map[: len(_MAGIC)] = _MAGIC
        self._map[32 : 32 + len(_boot())] = _boot()
        self._doubles = memoryview(self._map).cast("d")
        self._end = _HEADER
        os.rename(path + ".new", path)

    def allocate(self, description: Description, size: int) -> Values:
        """A run of zeros that other processes can read; in private memory when the file is full."""
        raw = json.dumps(description, separators=(",", ":")).encode()
        body = _RECORD.size + -(-len(raw) // 8) * 8
        need = body + 8 * size
        start = self._end
        self._end = start + need
        if start + need + _RECORD.size > SIZE:
            guard.warn(
                "multiprocess",
                f"the file of this process has reached {SIZE} bytes; what is new is counted for this process only."
                " Use fewer label sets",
            )
            return slots.private(description, size)
        self._map[start + _RECORD.size : start + _RECORD.size + len(raw)] = raw
        first = (start + body) // 8
        values = self._doubles[first : first + size]
        _RECORD.pack_into(self._map, start, need, len(raw), size)
        return values

    def let_go(self) -> None:
        """Close the file in a forked child, which does not hold the lock; running calls may still write to it."""
        with contextlib.suppress(OSError):
            os.close(self._fd)


class Directory:
    """The files of all processes of the program."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self._own: File | None = None
        self._found: list[Found] = []
        self.own()

    def own(self) -> File:
        """The file of this process; a forked child gets one of its own.

        Raises:
            OSError: the file cannot be made.

        """
        file = self._own
        if file is None or file.pid != os.getpid():
            if file is not None:
                file.let_go()
            file = self._own = File(self.folder)
        return file

    def allocate(self, description: Description, size: int) -> Values:
        """A run of zeros in the file of this process."""
        try:
            return self.own().allocate(description, size)
        except (OSError, ValueError) as error:
            guard.report(f"multi-process mode in {self.folder}", error)
            return slots.private(description, size)

    def refresh(self) -> None:
        """Read what the other processes have counted until now, and put the dead ones together."""
        for _ in range(_ATTEMPTS):
            try:
                self._found = list(self._read())
            except FileNotFoundError:
                # Its process died, and another reader moved its numbers to where we had looked already.
                continue
            except (OSError, ValueError) as error:
                guard.report(f"multi-process mode in {self.folder}", error)
            return

    def calls(self, scope: str) -> Iterator[tuple[cells.Key, Snapshot]]:
        """The cells of the other processes, as of the last `refresh`."""
        for found in self._found:
            kind, *fields = found.description
            if kind == "calls" and fields[0] == scope:
                *key, bounds = fields
                yield cells.Key(*key), read(found.values, bounds, dict(found.errors), {})

    def instruments(self, space: str) -> Iterator[Found]:
        """The label sets of instruments of the other processes, as of the last `refresh`."""
        return (
            found
            for found in self._found
            if found.description[0] != "calls" and found.description[1] == space
        )

    def _read(self) -> Iterator[Found]:
        own = self.own().name
        names = [n for n in os.listdir(self.folder) if n.endswith(_SUFFIX) and n != own]
        living, dead = [], []
        for name in names:
            (dead if _is_dead(os.path.join(self.folder, name)) else living).append(name)
        base = self._bury(dead) if dead else _Base.load(self.folder)
        yield from base.found()
        for name in living:
            if name not in base.buried:
                yield from _records(os.path.join(self.folder, name))

    def _bury(self, dead: list[str]) -> _Base:
        """Add the numbers of dead processes to those of all that died before."""
        lock = os.open(os.path.join(self.folder, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            base = _Base.load(self.folder)
            now = perf_counter()
            for name in dead:
                path = os.path.join(self.folder, name)
                # One that is in the list was added, by somebody who died before the file was gone.
                if name not in base.buried and os.path.exists(path):
                    base.add(_records(path), now)
                    base.buried.add(name)
            base.save(self.folder)
            for name in dead:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.folder, name))
            return base
        finally:
            os.close(lock)


class _Base:
    """The numbers of the dead."""

    def __init__(self) -> None:
        self.buried: set[str] = set()
        self._known: dict[Description, Found] = {}

    @classmethod
    def load(cls, folder: str) -> _Base:
        base = cls()
        try:
            with open(os.path.join(folder, "dead.json"), encoding="utf-8") as file:
                data = json.load(file)
        except (OSError, ValueError):
            return base
        if data["boot"] == _boot().decode():
            present = set(os.listdir(folder))
            base.buried = {name for name in data["buried"] if name in present}
            for description, values, errors in data["found"]:
                found = Found(_tuples(description), values, errors)
                base._known[found.description] = found
        return base

    def save(self, folder: str) -> None:
        path = os.path.join(folder, "dead.json")
        data = {"boot": _boot().decode(), "buried": sorted(self.buried), "found": self.found()}
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(data, file)
        os.replace(path + ".new", path)

    def found(self) -> list[Found]:
        return list(self._known.values())

    def add(self, records: Iterable[Found], now: float) -> None:
        for found in records:
            kind = found.description[0]
            if kind == "gauge" and found.description[-1] == "sum":
                continue  # a dead process has no part in a level
            if kind == "calls":
                _abort(found, now)
            known = self._known.get(found.description)
            if known is None:
                self._known[found.description] = found
            elif kind == "calls":
                _add_calls(known, found)
            elif kind == "gauge":
                known.values[:] = merged(found.description[-1], [known.values, found.values])
            else:
                known.values[:] = [a + b for a, b in zip(known.values, found.values, strict=True)]


def _abort(found: Found, now: float) -> None:
    """Count what was in progress as failed."""
    values, bounds = found.values, found.description[-1]
    width = len(bounds) + 1
    cut_off = int(values[STARTED] - sum(values[COUNTS:]))
    begun = [moment for moment in values[BEGUN:ERRORS] if moment]
    for i in range(max(cut_off, 0)):
        # How long it ran is not known; until now is the most that it can be.
        elapsed = now - begun[i] if i < len(begun) else float("inf")
        values[COUNTS + FAILED * width + bisect_left(bounds, elapsed)] += 1.0
        values[SUMS + FAILED] += elapsed if i < len(begun) else 0.0
        values[_slot(found, ABORTED)] += 1.0
    values[BEGUN:ERRORS] = [0.0] * (ERRORS - BEGUN)


def _add_calls(known: Found, found: Found) -> None:
    values, more = known.values, found.values
    for i in range(len(values)):
        if LAST <= i < SUMS:
            values[i] = max(values[i], more[i])
        elif not ERRORS <= i < COUNTS and i != RESETS:
            values[i] += more[i]
    names = {slot: name for name, slot in found.errors.items()}
    for slot in range(ERRORS, COUNTS):
        if more[slot]:
            values[_slot(known, names.get(slot, cells.OTHER))] += more[slot]


def _slot(found: Found, error: str) -> int:
    """The slot of a type of error; the last one for those that are too many."""
    slot = found.errors.get(error)
    if slot is None:
        taken = set(found.errors.values())
        free = [i for i in range(ERRORS, COUNTS - 1) if i not in taken]
        if error == cells.OTHER or not free:
            return COUNTS - 1
        slot = found.errors[error] = free[0]
    return slot


_directory: Directory | None = None


def share(folder: str) -> None:
    """Keep all numbers of this process in files of `folder` from now on, and count those of others in.

    Raises:
        OSError: the folder cannot be made or written to.

    """
    global _directory  # noqa: PLW0603 - a process has one storage
    if _directory is not None and _directory.folder == os.path.abspath(folder):
        return
    _directory = Directory(os.path.abspath(folder))
    slots.use(_directory.allocate)
    cells.share(_directory.calls)
    instruments.share(_directory.instruments)


def refresh() -> None:
    """Read what the other processes have counted until now; nothing happens if there are none."""
    if _directory is not None:
        _directory.refresh()


def _records(path: str) -> list[Found]:
    """What a file says.

    Raises:
        FileNotFoundError: it is gone.

    """
    with open(path, "rb") as file:
        try:
            view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # an empty file
            return []
    with view:
        if view[: len(_MAGIC)] != _MAGIC or view[32 : 32 + len(_boot())] != _boot():
            return []
        found: dict[Description, Found] = {}
        errors: list[Description] = []
        at = _HEADER
        while at + _RECORD.size <= len(view):
            need, length, size = _RECORD.unpack_from(view, at)
            if not need:
                break
            raw = view[at + _RECORD.size : at + _RECORD.size + length]
            values = struct.unpack_from(f"<{size}d", view, at + need - 8 * size)
            description = _tuples(json.loads(raw))
            if description[0] == "error":
                errors.append(description)
            else:
                _put(found, description, list(values))
            at += need
    for _, *key, error, slot in errors:
        for description, each in found.items():
            if description[0] == "calls" and list(description[1:-1]) == key:
                each.errors[error] = slot
    return list(found.values())


def _put(found: dict[Description, Found], description: Description, values: list[float]) -> None:
    # A run that was moved left an empty one behind, and may have come back to the same bounds.
    known = found.get(description)
    if known is None:
        found[description] = Found(description, values, {})
    elif any(values):
        known.values[:] = [a + b for a, b in zip(known.values, values, strict=True)]


def _is_dead(path: str) -> bool:
    fd = os.open(path, os.O_RDWR)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _boot() -> bytes:
    """What tells one start of the machine from another, at most 32 bytes."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return file.read().strip().replace(b"-", b"")[:32]
    except OSError:
        return b"unknown"
