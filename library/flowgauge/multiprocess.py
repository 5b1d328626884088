"""Several processes as one program: each writes its numbers to a file of its own, and whoever is scraped reads all.

A process holds a lock on its file for as long as it lives; who can take it knows that the owner is dead, even across
containers. Then the numbers go into one file of the dead, `dead.json`, so a scrape costs what the living cost. That
file says which others are in it: it is replaced in one move, and only then they are removed. So nothing is counted
twice or lost, whenever who does it dies.

Nobody waits for anybody: where another process is at it, the dead are read where they are, and put together at
another time. Counts never go down, since files only grow, and all readers say the same about the dead.

The directory must be on a local file system that is empty when the machine starts, such as an emptyDir volume; what
is there of an earlier start of the machine is deleted, because its clock was another one.
"""

from __future__ import annotations

import contextlib
import os
import re
from _thread import RLock
from collections.abc import Callable, Collection, Iterator
from math import fsum
from time import perf_counter, time
from typing import TYPE_CHECKING, Final, NamedTuple

from flowgauge import cells, forks, guard, instruments, slotfile, slots
from flowgauge.cell import Snapshot, read
from flowgauge.dead import Dead, Sum, left, named
from flowgauge.instruments.children import Found
from flowgauge.slotfile import Reader, Writer

if TYPE_CHECKING:
    from flowgauge.dead import Family, Key
    from flowgauge.slots import Description, Values

_NAME: Final = re.compile(r"\d+-[0-9a-f]{16}\.slots(\.new)?")
_CPU: Final = ("number", "cpu")
_DEAD: Final = "dead.json"
_LOCK: Final = "lock"
# How often to begin anew when another process puts the dead together while we read.
_ATTEMPTS: Final = 20
# A process that begins puts the dead together if it finds so many files: somebody must, where nobody scrapes.
_CROWD: Final = 64
# Seconds after which a file that was never finished is left over; making one takes milliseconds.
_UNFINISHED: Final = 60.0
# A name may belong to anything: a pipe would wait for a writer, a link lead out of the directory.
_FLAGS: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
_ALONE: Final = "What is new is counted for this process only"
# Descriptions to keep, so that those that are the same in many files are read once.
_DESCRIPTIONS: Final = 50_000


class Directory:
    """The files of all processes of the program.

    Raises:
        OSError: the directory or a file in it cannot be made.

    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._own: Writer | None = None
        self._forking = False
        self._complaints: list[str] = []
        self._known: dict[bytes, Description] = {}
        self._readers: dict[str, Reader] = {}
        self._raw = b""
        self._dead = Dead()
        self._begin()
        os.makedirs(folder, exist_ok=True)
        self._make()

    def _begin(self) -> None:
        # Threads of this process read one after the other: the system's locks do not hold between them.
        self._reading = RLock()
        self._is_refreshing = False
        self._burying = False
        self._found: list[Found] = []
        self._usage = Usage((), 0.0)

    # -- what this process counts --------------------------------------------------------------------------------------

    def allocate(self, description: Description, size: int) -> Values:
        """A run of zeros in the file of this process; in private memory where that cannot be had."""
        try:
            return (self._own or self._make()).allocate(description, size)
        except slotfile.FullError as error:
            self._complain(f"{error.strerror}; use fewer label sets. {_ALONE}")
        except OSError as error:
            self._complain(f"{error.strerror}. {_ALONE}")
        except Exception as error:
            self._complain(f"{description[:3]} cannot be written down: {error}. {_ALONE}")
        return slots.private(description, size)

    def release(self, values: Values) -> None:
        """Give up a run of this process."""
        if self._own is not None:
            self._own.release(values)

    def forked(self) -> None:
        """Begin anew in a forked child, before all else does."""
        if self._own is not None:
            self._own.let_go()
        self._own = None
        # A logger's lock may have been held by a thread that is not here.
        self._forking = True
        self._begin()

    def fork_is_over(self) -> None:
        """Everything in the child has begun anew."""
        self._forking = False

    def leave(self) -> None:
        """Take the file of this process away, after its numbers have been moved."""
        if self._own is not None:
            self._own.remove()

    def _make(self) -> Writer:
        own = self._own = Writer(self.folder)
        if self._is_crowded():
            self.refresh()
        return own

    def _is_crowded(self) -> bool:
        try:
            names = self._names()
            # To look at the locks is cheap, to read everything is not.
            return len(names) > _CROWD and sum(map(self._is_dead, names)) > _CROWD // 2
        except OSError:
            return False

    def _is_dead(self, name: str) -> bool:
        try:
            fd = os.open(os.path.join(self.folder, name), _FLAGS)
        except OSError:
            return False
        try:
            return not slotfile.is_locked(fd)
        finally:
            os.close(fd)

    def _complain(self, text: str) -> None:
        if self._forking:
            self._complaints = [text]
            return
        place = f"multi-process mode in {self.folder}"
        guard.warn(place, f"{place}: {text}")

    def _tend(self) -> None:
        """See that others can read what this process counts."""
        while self._complaints:
            self._complain(self._complaints.pop())
        own = self._own
        if own is None:
            self._own = Writer(self.folder)
            _move()  # what was counted in private memory
        elif own.is_declared_dead() or (own.is_there() and not own.hold()):
            # The numbers so far are those of a dead process, and this is a new one.
            self._own = Writer(self.folder)
            cells.reset()
            instruments.reset()
        elif not own.is_there() and os.path.isdir(self.folder):
            # Somebody has emptied the directory. If it is gone altogether, it is not wanted any more.
            self._own = Writer(self.folder)
            _move()

    # -- what others counted -------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Read what the other processes have counted until now, and put the dead ones together. Never raises."""
        with self._reading:
            if self._is_refreshing:
                return  # a signal handler came in between
            self._is_refreshing = True
            is_whole = False
            try:
                self._safely(self._tend)
                self._safely(self._attempt)
                is_whole = True
            finally:
                if (
                    not is_whole
                ):  # Ctrl-C came, or SIGTERM: a reader may have taken a record and not gone on
                    self._readers = {}
                self._is_refreshing = False

    def _safely(self, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as error:
            self._complain(f"{error.strerror}: {error.filename}")
        except Exception as error:
            self._report(error)

    def calls(self, scope: cells.Scope) -> Iterator[tuple[cells.Key, Snapshot]]:
        """The calls that other processes counted, as of the last `refresh`."""
        for found in self._found:
            kind, *fields = found.description
            if kind == "calls" and fields[0] == scope:
                *key, bounds = fields
                yield cells.Key(*key), read(found.values, bounds, dict(found.errors), {})

    def instruments(self, space: str) -> Iterator[Found]:
        """The label sets of instruments of other processes, as of the last `refresh`."""
        for found in self._found:
            if (
                len(found.description) > 7
                and found.description[1] == space
                and found.description[0] != "calls"
            ):
                yield found

    def runs(self, description: Description) -> list[list[float]]:
        """What other processes counted under a description without labels, as of the last `refresh`."""
        return [found.values for found in self._found if found.description == description]

    def usage(self) -> Usage:
        """What all processes of the program use, as of the last `refresh`."""
        return self._usage

    def admitted(self, family: Family, keys: Collection[Key], limit: int) -> Collection[Key]:
        """Which label sets have a series of their own, of a metric that has more than `limit` for all processes.

        Whichever they are, they stay: the others are one series, whose counts must not go down because a process
        died, or because another one is asked.
        """
        found = self._dead.admitted.get(family)
        if found is None:
            found = frozenset(list(dict.fromkeys(keys))[:limit])
            with self._reading:
                try:
                    with self._locked() as is_mine:
                        if is_mine:
                            dead = self._load(fresh=True)
                            found = dead.admitted.setdefault(family, found)
                            self._save(dead)
                except OSError as error:
                    self._complain(f"{error.strerror}: {error.filename}")
        return found

    def _attempt(self) -> None:
        if not os.path.isdir(self.folder):
            self._found = []
            return
        for _ in range(_ATTEMPTS):
            try:
                ended = self._read()
            except FileNotFoundError:
                # Its process died, and another reader moved its numbers to where we had looked already.
                continue
            if ended:
                self._bury(ended)
            return

    def _read(self) -> list[str]:
        """Read all files; returns those that can be removed.

        Raises:
            FileNotFoundError: one is gone.

        """
        # The order matters: what is removed after it was listed is either found or missed.
        names = self._names()
        dead = self._load()
        whole = Sum()
        used = [self._own_usage()]
        for found in dead.found():
            whole.add(Found(found.description, [*found.values], {**found.errors}))
        ended = []
        for name in names:
            if name.endswith(slotfile.UNBORN):
                if self._is_left_over(name):
                    ended.append(name)
            elif name in dead.buried:
                ended.append(name)
            else:
                part = self._part(name)
                if part.is_over:
                    ended.append(name)
                used.append(part.usage)
                self._sum(whole, part.found, name)
        self._found = whole.found()
        cpu = fsum([*(run[0] for run in self.runs(_CPU)), *(usage.cpu for usage in used)])
        pids = tuple(pid for usage in used for pid in usage.pids)
        self._usage = Usage(pids, cpu)
        for name in self._readers.keys() - set(names):
            del self._readers[name]
        return ended

    def _names(self) -> list[str]:
        own = self._own.name if self._own else ""
        return sorted(n for n in os.listdir(self.folder) if n != own and _NAME.fullmatch(n))

    def _part(self, name: str) -> _Part:
        """What one process counted; nothing for a file that is not ours or cannot be read.

        Raises:
            FileNotFoundError: it is gone.

        """
        try:
            fd = os.open(os.path.join(self.folder, name), _FLAGS)
        except FileNotFoundError:
            raise
        except PermissionError:
            self._skip(
                name, "it is of another user; run all processes of a program as the same one"
            )
            return _NOTHING
        except OSError as error:
            self._skip(name, str(error.strerror))
            return _NOTHING
        try:
            header = slotfile.header(fd)
            if not header.is_of_this_boot:
                return _Part([], is_over=not slotfile.is_locked(fd))
            # Once it is written down it stays so, though another process that looks may hold the lock just now.
            if not header.died and not slotfile.is_locked(fd):
                header = slotfile.declare_dead(fd, perf_counter())
            reader = self._readers.get(name)
            if reader is None:
                reader = self._readers[name] = Reader(self._descriptions())
            runs, fault = reader.read(fd)
            if fault:
                self._skip(name, f"it was damaged: {fault}; what is behind that is not counted")
            found = named(runs)
            if header.died:
                found = [part for each in found if (part := left(each, header.died)) is not None]
                return _Part([*found, Found(_CPU, [header.cpu], {})], is_over=True)
            return _Part(found, is_over=False, usage=_usage(name, fd, header))
        except (OSError, ValueError, TypeError, LookupError) as error:
            self._skip(name, str(error))
            return _NOTHING
        finally:
            os.close(fd)

    def _own_usage(self) -> Usage:
        seconds = _cpu(os.getpid())
        if self._own is not None:
            seconds = self._own.note_cpu(seconds)
        return Usage((os.getpid(),), seconds)

    def _descriptions(self) -> dict[bytes, Description]:
        if len(self._known) > _DESCRIPTIONS:
            self._known = {}
        return self._known

    def _sum(self, whole: Sum, found: list[Found], name: str) -> None:
        for each in found:
            try:
                whole.add(each)
            except (ValueError, TypeError, LookupError) as error:
                self._skip(name, f"it was damaged: {error}")

    def _skip(self, name: str, reason: str) -> None:
        if not self._forking:
            path = os.path.join(self.folder, name)
            guard.warn(path, f"multi-process mode does not count {path}: {reason}")

    def _report(self, error: Exception) -> None:
        if not self._forking:
            guard.report(f"multi-process mode in {self.folder}", error)

    # -- the dead ------------------------------------------------------------------------------------------------------

    def _bury(self, names: list[str]) -> None:
        """Add the numbers of dead processes to those of all that died before, and remove their files."""
        with self._locked() as is_mine:
            if not is_mine:
                return
            dead = self._load(fresh=True)
            present = set(os.listdir(self.folder))
            dead.buried &= present
            added = []
            for name in names:
                if (
                    name in present
                    and name not in dead.buried
                    and not name.endswith(slotfile.UNBORN)
                ):
                    with contextlib.suppress(FileNotFoundError):
                        part = self._part(name)
                        if part.is_over:
                            self._sum(dead, part.found, name)
                            added.append(name)
            if added:
                dead.buried.update(added)
                self._save(dead)
            for name in names:
                if name in dead.buried or name.endswith(slotfile.UNBORN):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(os.path.join(self.folder, name))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[bool]:
        """Hold the lock of the directory, or be told that another process does."""
        if self._burying:  # a signal handler came in between; it must not open the file of the lock
            yield False
            return
        self._burying = True
        try:
            fd = os.open(
                os.path.join(self.folder, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
            try:
                yield not slotfile.is_locked(fd)
            finally:
                os.close(fd)
        finally:
            self._burying = False

    def _load(self, *, fresh: bool = False) -> Dead:
        """The numbers of the dead; `fresh` ones may be changed."""
        try:
            with open(os.path.join(self.folder, _DEAD), "rb") as file:
                raw = file.read()
        except FileNotFoundError:
            raw = b""
        if fresh or raw != self._raw:
            dead = Dead()
            try:
                if raw:
                    dead = Dead.parse(raw, slotfile.boot().decode())
            except ValueError as error:
                self._skip(_DEAD, f"it was damaged: {error}")
            if fresh:
                return dead
            self._raw, self._dead = raw, dead
        return self._dead

    def _save(self, dead: Dead) -> None:
        path = os.path.join(self.folder, _DEAD)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            with open(os.open(path + ".new", flags, 0o600), "w", encoding="utf-8") as file:
                file.write(dead.dump(slotfile.boot().decode()))
            os.replace(path + ".new", path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(path + ".new")
            raise

    def _is_left_over(self, name: str) -> bool:
        try:
            age = time() - os.stat(os.path.join(self.folder, name), follow_symlinks=False).st_mtime
        except OSError:
            return False
        return age > _UNFINISHED


class Usage(NamedTuple):
    """The processes whose numbers are those of this container's, and the seconds of CPU that all have used."""

    pids: tuple[int, ...]
    cpu: float


class _Part(NamedTuple):
    """What one process counted, and whether that was all."""

    found: list[Found]
    is_over: bool
    usage: Usage = Usage((), 0.0)


_NOTHING: Final = _Part([], is_over=False)

_sharing = RLock()
_directory: Directory | None = None


def share(folder: str) -> str:
    """Keep all numbers of this process in files of `folder` from now on, and count those of others in.

    Returns the whole path, for children that start in another directory.

    Raises:
        OSError: the folder cannot be made or written to; the message names it and the remedy.

    """
    global _directory  # noqa: PLW0603 - a process has one storage
    folder = os.path.realpath(folder)
    with _sharing:
        before = _directory
        if before is not None and before.folder == folder:
            return folder
        try:
            made = Directory(folder)
        except OSError as error:
            text = (
                f"{error.strerror}; multi-process mode needs a directory that this user may write to, on a local"
                " file system, such as an emptyDir volume"
            )
            raise OSError(error.errno, text, folder) from error
        # First, so that a child that is forked from here on has it begin anew.
        slots.use(made)
        _directory = made
        _move()
        if before is not None:
            before.leave()
    return folder


def refresh() -> None:
    """Read what the other processes have counted until now; nothing happens if there are none."""
    if _directory is not None:
        _directory.refresh()


def runs(description: Description) -> list[list[float]]:
    """What other processes counted under a description without labels, as of the last `refresh`."""
    return _directory.runs(description) if _directory is not None else []


def usage() -> Usage:
    """What all processes of the program use, as of the last `refresh`."""
    return (
        _directory.usage() if _directory is not None else Usage((os.getpid(),), _cpu(os.getpid()))
    )


def _usage(name: str, fd: int, header: slotfile.Header) -> Usage:
    """What a living process uses; unknown if its number is none here. What was said once is never taken back."""
    pid = int(name.partition("-")[0])
    if header.namespace != slotfile.namespace():
        return Usage((), header.cpu)
    seconds = max(_cpu(pid), header.cpu)
    if seconds > header.cpu:
        slotfile.note_cpu(fd, seconds)
    return Usage((pid,), seconds)


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used; 0 where that cannot be told."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name of the program, in parentheses, may contain anything; fields 14 and 15 count from behind it.
            user, system = file.read().rpartition(b")")[2].split()[11:13]
    except (OSError, ValueError):
        return 0.0
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _move() -> None:
    if _directory is not None:
        slots.moved()
        cells.share(_directory)
        instruments.share(_directory)


def _reset() -> None:
    global _sharing  # noqa: PLW0603 - a process has one storage
    _sharing = RLock()
    if _directory is not None:
        _directory.fork_is_over()


# After the modules that take slots have begun anew, since this one imports them.
forks.on_fork(_reset)
