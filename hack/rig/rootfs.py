"""A root file system of a container, made of the machine's own: what is mounted is there, the rest can be read.

Where a path has to exist that does not, the folders on the way to it are laid out anew, with everything that was in them.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from rig import kernel

# What of the flags of a mount has to be repeated when it is mounted anew; the kernel refuses to drop them.
_LOCKED = os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME | os.ST_RELATIME


@dataclass(frozen=True)
class Mount:
    """Something of the machine at a path of the container; without source an empty folder in memory."""

    target: Path
    source: Path | None = None
    is_writable: bool = False


def enter(root: Path, mounts: Sequence[Mount], needed: Collection[Path]) -> None:
    """Make this process see `root`, an empty folder, as its root; `needed` stay visible below folders in memory.

    A namespace for mounts has to be its own already.
    """
    kernel.mount("tmpfs", str(root), "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV)
    wanted = [mount.target for mount in mounts]
    _mirror(Path("/"), root, wanted)
    for mount in sorted(mounts, key=lambda each: len(each.target.parts)):
        _add(root, mount)
        if mount.source is None:
            for path in needed:
                if path.is_relative_to(mount.target):
                    _add(root, Mount(path, path, is_writable=True))
    _remount(root)
    os.chroot(root)


def _mirror(real: Path, copy: Path, wanted: Sequence[Path]) -> None:
    """Show in an empty folder what is in another, but for what is wanted at a place of its own."""
    for entry in real.iterdir():
        if entry not in wanted:
            _show(entry, copy / entry.name, wanted)


def _show(entry: Path, place: Path, wanted: Sequence[Path]) -> None:
    if entry.is_symlink():
        place.symlink_to(entry.readlink())
    elif any(path.is_relative_to(entry) for path in wanted):
        place.mkdir()
        _mirror(entry, place, wanted)
    else:
        if entry.is_dir():
            place.mkdir()
        else:
            place.touch()
        _bind(entry, place)


def _add(root: Path, mount: Mount) -> None:
    place = root / mount.target.relative_to("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    if mount.source is None or mount.source.is_dir():
        place.mkdir(exist_ok=True)
    else:
        place.touch()
    if mount.source is None:
        kernel.mount("tmpfs", str(place), "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV)
        return
    _bind(mount.source, place)
    if not mount.is_writable:
        _remount(place)


def _bind(source: Path, place: Path) -> None:
    kernel.mount(str(source), str(place), None, kernel.MS_BIND | kernel.MS_REC)


def _remount(place: Path) -> None:
    kept = os.statvfs(place).f_flag & _LOCKED
    flags = kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | _as_mount_flags(kept)
    kernel.mount("none", str(place), None, flags)


def _as_mount_flags(kept: int) -> int:
    """The kernel counts two of the flags otherwise in `mount` than in `statvfs`."""
    same = kept & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC)
    others = ((os.ST_NOATIME, 0x400), (os.ST_RELATIME, 0x200000))
    return same | sum(flag for told, flag in others if kept & told)
