"""Podman or docker, whichever is there: run a command of it, and say what to do when it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_INSTALL = (
    "install podman (Debian: apt-get install podman) or docker, or name another engine with ENGINE="
)


class EngineError(Exception):
    """No image can be built or run; the message says what to do."""


@dataclass(frozen=True)
class Engine:
    """A container engine with podman's command line."""

    program: str

    def run(self, *arguments: str) -> str:
        """Run a command and return what it printed; raise EngineError with the end of what it complained."""
        done = subprocess.run(
            [self.program, *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            told = (done.stderr.strip() or done.stdout.strip()).splitlines()[-8:]
            raise EngineError(f"{self.program} {arguments[0]} failed:\n  " + "\n  ".join(told))
        return done.stdout

    def has(self, image: str) -> bool:
        """Tell whether the image is in the local store."""
        try:
            self.run("image", "inspect", image)
        except EngineError:
            return False
        return True

    def fetch(self, image: str) -> None:
        """Pull an image unless it is there; raise EngineError."""
        if self.has(image):
            return
        try:
            self.run("pull", "--quiet", image)
        except EngineError as error:
            raise EngineError(
                f"the base image {image} is not here and cannot be pulled: {_last(error)}\n"
                "Give one that you have by BASE=, any with Python 3.11 or newer for glibc; or make one from Debian's"
                " packages:\n  make image-base\n  make image BASE=localhost/flowgauge-base"
            ) from error

    def take_out(self, image: str, path: str, target: Path) -> None:
        """Copy a file out of an image."""
        made = self.run("create", image).strip().splitlines()[-1]
        try:
            self.run("cp", f"{made}:{path}", str(target))
        finally:
            self.run("rm", made)


def find(wanted: str = "") -> Engine:
    """Return the engine that works here: the wanted one, else podman, else docker; raise EngineError."""
    reasons = []
    for program in [wanted] if wanted else ["podman", "docker"]:
        if shutil.which(program) is None:
            reasons.append(f"{program} is not installed")
            continue
        try:
            # Of docker, only this asks its daemon.
            Engine(program).run("info")
        except EngineError as error:
            reasons.append(f"{program} does not work: {_last(error)}")
            continue
        return Engine(program)
    raise EngineError(f"{'; '.join(reasons)}. {_INSTALL}")


def storage(folder: Path) -> dict[str, str]:
    """An environment with which podman keeps everything in one folder, and needs no cgroup of its own.

    For tests: nothing of the user's images is touched, and it works as root within a namespace of the rig.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
    )
    runtime = "runc" if shutil.which("runc", path=_path()) else "crun"
    (folder / "containers.conf").write_text(
        f'[engine]\nruntime = "{runtime}"\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n'
        f'tmp_dir = "{folder / "tmp"}"\n'
        # Under a low hard limit of the machine, the runtime may not set its own higher default.
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
    )
    return {
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        "CONTAINERS_CONF": str(folder / "containers.conf"),
    }


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _last(error: EngineError) -> str:
    return str(error).splitlines()[-1].strip()
