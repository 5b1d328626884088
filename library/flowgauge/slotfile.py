"""One file of slots: its process writes numbers to it, other processes read them.

Words of eight bytes in the order of the machine, since nobody else reads them:

    header   name of the format (2 words); when others found the owner dead, on the clock of `perf_counter`, 0 while
             it lives; seconds of CPU that it had used when somebody last looked; which boot of the machine this is
             (4 words); in which namespace its number is its number
    record   its length in bytes; its state, which is the length of the description (31 bits), whether the record was
             released (1 bit) and the number of slots (32 bits); the description as JSON, padded; the slots

The length is written in the moment in which the place is taken, the state when all else is there. So a reader never
takes half a record, and one that is never finished, because its thread was interrupted, hides none behind it.

Room is reserved at the file system before it is used. A write to a map for which the disk has no room left does not
fail: it ends the process, by SIGBUS. For the same reason others read the file and do not map it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import mmap
import os
import stat
import struct
from _thread import RLock
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from flowgauge.slots import Description, Values

# The most bytes that one process may use; a map of this size exists from the start, and costs no memory.
SIZE: Final = 64 << 20
# What is reserved at first; then as much again each time, at most STEP.
FIRST: Final = 16 << 10
STEP: Final = 256 << 10
SUFFIX: Final = ".slots"
# A file that has this name is not locked yet, so readers must not look at it.
UNBORN: Final = ".slots.new"

_MAGIC: Final = b"flowgauge-slots2"
_DIED: Final = 16
_CPU: Final = 24
_BOOT: Final = 32
_NAMESPACE: Final = 64
_HEADER: Final = 72
_DOUBLE: Final = struct.Struct("=d")
_WORD: Final = struct.Struct("=Q")
_RELEASED: Final = 1 << 31


class FullError(OSError):
    """The file has its full size."""


class CorruptError(ValueError):
    """The file is none of ours, or was damaged."""


class Writer:
    """The file of this process, with a lock on it for as long as the process lives: the system gives it free.

    The lock is one of `fcntl`: it belongs to the process, and a forked child does not inherit it. It is lost when the
    process closes any descriptor of the file, so nobody may open the file of the own process a second time.

    Raises:
        OSError: the file cannot be made.

    """

    def __init__(self, folder: str) -> None:
        self.pid = os.getpid()
        self.name = f"{self.pid}-{os.urandom(8).hex()}{SUFFIX}"
        self._path = os.path.join(folder, self.name)
        self._growing = RLock()
        self._runs: dict[int, tuple[int, Values]] = {}
        self._released: dict[bytes, list[int]] = {}
        self._end = _HEADER
        self._reserved = 0
        # Locked under another name first: a reader would take a file without a lock for that of a dead process.
        unborn = self._path + ".new"
        self._fd = os.open(unborn, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(self._fd)
            self._identity = (found.st_dev, found.st_ino)
            # Python maps no more than the file has; the system maps what it will have.
            os.ftruncate(self._fd, SIZE)
            self._map = mmap.mmap(self._fd, SIZE)
            os.ftruncate(self._fd, 0)
            self._reserve(FIRST)
            self._map[_BOOT : _BOOT + len(boot())] = boot()
            self._map[: len(_MAGIC)] = _MAGIC
            self._words = memoryview(self._map).cast("Q")
            self._doubles = memoryview(self._map).cast("d")
            self._words[_NAMESPACE // 8] = namespace()
            os.rename(unborn, self._path)
        except BaseException:
            os.close(self._fd)
            with contextlib.suppress(OSError):
                os.unlink(unborn)
            raise

    def allocate(self, description: Description, size: int) -> Values:
        """A run of zeros that other processes can read.

        Raises:
            FullError: the file has its full size.
            OSError: the disk is full.

        """
        raw = json.dumps(description, separators=(",", ":")).encode()
        at = self._taken_again(raw, size)
        if at is None:
            at = self._take(16 + -(-len(raw) // 8) * 8 + 8 * size)
            self._map[8 * at + 16 : 8 * at + 16 + len(raw)] = raw
        end = at + self._words[at] // 8
        values = self._doubles[end - size : end]
        self._runs[id(values)] = (at, values)
        self._words[at + 1] = len(raw) | size << 32
        return values

    def release(self, values: Values) -> None:
        """Give up a run: readers do not see it any more. One of another file is left alone."""
        at, run = self._runs.pop(id(values), (0, values))
        if at:
            state = self._words[at + 1]
            self._words[at + 1] = state | _RELEASED
            for i in range(len(run)):
                run[i] = 0.0
            raw = self._map[8 * at + 16 : 8 * at + 16 + (state & ~_RELEASED & 0xFFFFFFFF)]
            self._released.setdefault(raw, []).append(at)

    def is_declared_dead(self) -> bool:
        """Whether others have taken this process for dead, and count what is in the file to the dead.

        It happens when the lock was lost, as by who closes all descriptors to become a daemon.
        """
        return bool(self._doubles[_DIED // 8])

    def note_cpu(self, seconds: float) -> float:
        """Write down how much CPU this process has used; returns the most that anybody has seen."""
        self._doubles[_CPU // 8] = seconds = max(seconds, self._doubles[_CPU // 8])
        return seconds

    def hold(self) -> bool:
        """Take the lock again, if it was lost and nobody has noticed; False where that cannot be done any more."""
        try:
            found = os.fstat(self._fd)
            if self._identity != (found.st_dev, found.st_ino):
                return False
            # If it cannot be had, another process is looking whether we live.
            with contextlib.suppress(BlockingIOError, PermissionError):
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return not self.is_declared_dead()

    def is_there(self) -> bool:
        """Whether the file is still in its folder, where others can read it."""
        try:
            found = os.stat(self._path)
        except OSError:
            return False
        return self._identity == (found.st_dev, found.st_ino)

    def let_go(self) -> None:
        """Close the file in a forked child, which does not hold the lock; running calls may still look at it."""
        with contextlib.suppress(OSError):
            os.close(self._fd)

    def remove(self) -> None:
        """Take the file away, when nothing is left in it."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    def _taken_again(self, raw: bytes, size: int) -> int | None:
        """The released record of the same label set, as numbers of it that come and go must not fill the file."""
        try:
            at = self._released[raw].pop()
        except (KeyError, IndexError):
            return None
        end = at + self._words[at] // 8
        for i in range(end - size, end):
            self._doubles[i] = 0.0
        return at

    def _take(self, need: int) -> int:
        """The first word of a new record of `need` bytes, its length written."""
        while True:
            start = self._end
            if start + need < self._reserved:
                # No call between here and the end, so that no other thread takes the same place (see `slots`).
                self._end = start + need
                self._words[start >> 3] = need
                return start >> 3
            self._grow(start + need)

    def _grow(self, end: int) -> None:
        with self._growing:
            if end >= SIZE:
                raise FullError(errno.EFBIG, f"it has reached {SIZE >> 20} MiB")
            while self._reserved <= end:
                self._reserve(min(self._reserved + min(self._reserved, STEP), SIZE))

    def _reserve(self, end: int) -> None:
        start, length = self._reserved, end - self._reserved
        try:
            os.posix_fallocate(self._fd, start, length)
        except (AttributeError, OSError) as error:
            # Not every system and file system can. Zeros have room of their own too.
            if isinstance(error, OSError) and error.errno not in _CANNOT:
                raise
            while start < end:
                start += os.pwrite(self._fd, bytes(end - start), start)
        self._reserved = end


_CANNOT: Final = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}


class Contents(NamedTuple):
    """What a file says: descriptions with their slots. `fault` tells why it could not be read to its end."""

    runs: list[tuple[Description, list[float]]]
    fault: str


class Reader:
    """Reads the file of another process again and again. It remembers descriptions, which never change.

    `known` has the descriptions of all files, which are mostly the same.
    """

    __slots__ = ("_end", "_known", "_runs", "_unfinished")

    def __init__(self, known: dict[bytes, Description]) -> None:
        self._known = known
        # Of each record: where it begins, where its slots are, in words, and what they count.
        self._runs: list[tuple[int, int, int, Description]] = []
        self._unfinished: list[int] = []
        self._end = _HEADER // 8

    def read(self, fd: int) -> Contents:
        """What the file says now.

        Raises:
            OSError: it cannot be read.

        """
        data = _content(fd)
        view = memoryview(data)[: len(data) & ~7]
        words = view.cast("Q")
        doubles: Any = view.cast("d")
        fault = self._look_for_more(data, words)
        runs = [
            (description, doubles[first:last].tolist())
            for at, first, last, description in self._runs
            if last <= len(doubles) and not words[at + 1] & _RELEASED
        ]
        if len(runs) < len(self._runs) and self._runs[-1][2] > len(doubles):
            fault = "it has become shorter"
        return Contents(runs, fault)

    def _look_for_more(self, data: bytes, words: memoryview[int]) -> str:
        unfinished, self._unfinished = self._unfinished, []
        try:
            for at in unfinished:
                self._add(data, words, at)
            while self._end + 1 < len(words) and words[self._end]:
                at, need = self._end, words[self._end]
                if need % 8 or need < 16 or at + need // 8 > len(words):
                    return f"the length of a record is {need}"
                self._add(data, words, at)
                self._end = at + need // 8
        except (ValueError, IndexError, TypeError) as error:
            return str(error)
        return ""

    def _add(self, data: bytes, words: memoryview[int], at: int) -> None:
        state = words[at + 1]
        if not state:
            self._unfinished.append(at)
            return
        raw = data[8 * at + 16 : 8 * at + 16 + (state & ~_RELEASED & 0xFFFFFFFF)]
        description = self._known.get(raw)
        if description is None:
            description = self._known[raw] = tuples(json.loads(raw))
        if not isinstance(description, tuple) or not description:
            raise ValueError(f"a record says that it counts {description!r}")
        end = at + words[at] // 8
        size = state >> 32
        if end - size < at + 2:
            raise ValueError(f"a record has {size} slots, for which it is too short")
        self._runs.append((at, end - size, end, description))


class Header(NamedTuple):
    """What the first bytes of a file tell."""

    is_of_this_boot: bool
    died: float
    cpu: float
    namespace: int


def header(fd: int) -> Header:
    """Look at the header.

    Raises:
        CorruptError: the file has none of ours.
        OSError: it cannot be read.

    """
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        raise CorruptError("it is no file")
    data = os.pread(fd, _HEADER, 0)
    if len(data) < _HEADER or data[: len(_MAGIC)] != _MAGIC:
        raise CorruptError("it does not begin as a file of this version of the library")
    return Header(
        data[_BOOT : _BOOT + len(boot())] == boot(),
        _DOUBLE.unpack_from(data, _DIED)[0],
        _DOUBLE.unpack_from(data, _CPU)[0],
        _WORD.unpack_from(data, _NAMESPACE)[0],
    )


def is_locked(fd: int) -> bool:
    """Whether another process holds the lock; else this one has it until the file is closed."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def declare_dead(fd: int, moment: float) -> Header:
    """Write down when the owner was found dead, so that all readers say the same of how long its calls took.

    To be called with the lock. What another process has written before stays.
    """
    if not header(fd).died:
        os.pwrite(fd, _DOUBLE.pack(moment), _DIED)
    return header(fd)


def note_cpu(fd: int, seconds: float) -> None:
    """Write down how much CPU the owner has used: when it is dead, nobody can tell any more."""
    os.pwrite(fd, _DOUBLE.pack(seconds), _CPU)


def tuples(value: Any) -> Any:
    """What JSON made lists of."""
    return tuple(tuples(item) for item in value) if isinstance(value, list) else value


@cache
def boot() -> bytes:
    """What tells one start of the machine from another, at most 32 bytes."""
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return file.read().strip().replace(b"-", b"")[:32]
    except OSError:
        return b"unknown"


def namespace() -> int:
    """What tells one numbering of processes from another: containers have their own. 0 where that is not known."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def _content(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    data = os.pread(fd, size, 0)
    while len(data) < size:
        more = os.pread(fd, size - len(data), len(data))
        if not more:
            break
        data += more
    return data
