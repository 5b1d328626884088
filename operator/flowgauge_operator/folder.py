"""Write generated files into a folder: what is unchanged stays untouched, what is no longer wanted goes if it is ours.

A record in the folder names what we wrote. Nothing else is ever overwritten or removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath

RECORD = ".flowgauge.json"


class FolderError(Exception):
    """The folder cannot be written to; the message says why and what to do."""


def write(folder: Path, files: Mapping[PurePosixPath, str]) -> list[str]:
    """Bring the folder in line and return what changed, a line each.

    Raises:
        FolderError: it is no folder, may not be written, or holds somebody else's file where ours should be.
    """
    try:
        return _write(folder, files)
    except OSError as error:
        # Of a draft that cannot take its place, the place is what people know.
        where = error.filename2 or error.filename or folder
        reason = error.strerror or str(error)
        raise FolderError(f"{where}: {reason}; choose a folder that you may write") from error


def _write(folder: Path, files: Mapping[PurePosixPath, str]) -> list[str]:
    _make(folder)
    before = _recorded(folder)
    wanted = {str(path) for path in files}
    changed = {path: text for path, text in files.items() if not _is_same(folder, path, text)}
    for path in changed:
        _check(folder, path, before)
    # Whoever is killed on the way still finds in the record whatever is ours.
    _record(folder, before | wanted)
    told = []
    for path, text in changed.items():
        _replace(folder / path, text)
        told.append(f"wrote {path}")
    gone = [name for name in sorted(before - wanted) if _remove(folder, PurePosixPath(name))]
    told += [f"removed {name}" for name in gone]
    _record(folder, wanted)
    return told


def _is_same(folder: Path, path: PurePosixPath, text: str) -> bool:
    target = folder / path
    return target.is_file() and target.read_bytes() == text.encode()


def _check(folder: Path, path: PurePosixPath, ours: Collection[str]) -> None:
    _check_inside(folder, path)
    if os.path.lexists(folder / path) and str(path) not in ours:
        raise FolderError(
            f"{folder / path} exists and was not written by us; move it, or choose another folder"
        )


def _check_inside(folder: Path, path: PurePosixPath) -> None:
    # Resolved, since a link in the folder could lead anywhere.
    if not (folder / path).parent.resolve().is_relative_to(folder.resolve()):
        raise FolderError(
            f"{folder / path} is not inside of {folder}; remove the link that leads there"
        )


def _recorded(folder: Path) -> set[str]:
    try:
        told = json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"]
        return {str(name) for name in told}
    except FileNotFoundError:
        return set()
    except (ValueError, KeyError, TypeError) as error:
        raise FolderError(
            f"{folder / RECORD} cannot be read; it should name what we wrote: remove it together with those files"
        ) from error


def _record(folder: Path, names: Collection[str]) -> None:
    text = json.dumps({"files": sorted(names)}, indent=1, ensure_ascii=False) + "\n"
    if not _is_same(folder, PurePosixPath(RECORD), text):
        _replace(folder / RECORD, text)


def _replace(target: Path, text: str) -> None:
    """Write a file so that whoever reads it sees the old one or the new one."""
    _make(target.parent)
    # Hidden and without our suffix, so that nobody who watches the folder reads a half-written one.
    handle, draft = tempfile.mkstemp(dir=target.parent, prefix=".flowgauge-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
        # Those who read it, Grafana for one, are other users; a draft is for its owner only.
        Path(draft).chmod(0o644)
        Path(draft).replace(target)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _make(folder: Path) -> None:
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        # As with files: who reads them has another user, and a umask may lock that one out.
        folder.chmod(0o755)


def _remove(folder: Path, path: PurePosixPath) -> bool:
    """Remove a file of ours, and the folders that are empty then; tell whether there was one."""
    _check_inside(folder, path)
    target = folder / path
    if not target.is_file() and not target.is_symlink():
        return False
    target.unlink()
    with contextlib.suppress(OSError):
        for parent in path.parents[:-1]:
            (folder / parent).rmdir()
    return True
