"""The wheels of the operator's dependencies, by their hashes, in a folder that is kept: an image is built from it without a network."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

# From new to old: the glibc that a wheel needs. The base has to have the newest of them or a newer one.
_GLIBC = ("2_36", "2_28", "2_17")


class WheelsError(Exception):
    """The wheels cannot be had; the message says why."""


def cache() -> Path:
    """The folder for what is fetched once: that of the rig, which CI keeps."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "flowgauge/image"


def fetched(requirements: Path, python: str) -> Path:
    """Return the folder with the wheels for a version of Python, fetched if need be; raise WheelsError."""
    text = f"{requirements.read_text(encoding='utf-8')}\n{python} {platform.machine()} {_GLIBC}"
    folder = cache() / f"wheels-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    draft = folder.with_name(f"{folder.name}.{os.getpid()}")
    platforms = [f"--platform=manylinux_{glibc}_{platform.machine()}" for glibc in _GLIBC]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--require-hashes",
         "--no-deps", "--only-binary=:all:", f"--python-version={python}", *platforms, f"--dest={draft}",
         f"--requirement={requirements}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        shutil.rmtree(draft, ignore_errors=True)
        told = done.stderr.strip().splitlines()[-1:]
        raise WheelsError(
            f"cannot fetch the wheels of {requirements.name} for Python {python}: {' '.join(told)}\n"
            "Is the network there? PIP_INDEX_URL and PIP_FIND_LINKS name a mirror."
        )
    draft.rename(folder)
    return folder
