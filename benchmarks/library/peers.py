"""Virtual environments of the peers, one each, so that one that cannot be installed stops only its own rows.

The requirements are pinned with hashes in `requirements/`; `--lock` makes them anew. The environments are kept outside
of the work tree and are never those of the development, whose versions of the peers may be others.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "requirements"

# What each environment holds. The first package is the peer, the others are what it is measured with.
WANTED = {
    # Ours runs beside what it depends on, and so does its first peer.
    "prometheus_client": ("prometheus-client==0.26.0", "PyYAML"),
    "aioprometheus": ("aioprometheus==23.12.0",),
    "autometrics": ("autometrics==1.0.0",),  # wants prometheus-client < 0.18
    "ddsketch": ("ddsketch==3.0.1",),
    # Without the pin, pip takes 1769699998!10.1.0, the types of Grafana 10.1.
    "grafana_foundation_sdk": ("grafana-foundation-sdk==0.0.21",),
    "grafanalib": ("grafanalib==0.7.1",),
    "opentelemetry": ("opentelemetry-sdk==1.45.2", "opentelemetry-exporter-prometheus==0.66b2"),
}


@dataclass(frozen=True)
class Environment:
    """An interpreter with a peer, or the reason why there is none."""

    python: Path | None
    versions: dict[str, str]
    problem: str = ""


def prepare(name: str) -> Environment:
    """The environment of a peer, made if it is not there yet."""
    requirements = FOLDER / f"{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:16]
    home = _cache() / f"{name}-{digest}"
    python = home / "bin/python"
    if not (home / ".done").exists():
        print(f"installing {name} into {home}", file=sys.stderr, flush=True)
        problem = _install(home, python, requirements)
        if problem:
            return Environment(None, {}, problem)
        (home / ".done").touch()
    return Environment(python, _versions(python))


def lock(only: str = "") -> None:
    """Pin the requirements anew, with hashes; of one peer, or of all."""
    for name, packages in WANTED.items():
        if only not in ("", name):
            continue
        subprocess.run(
            [_uv(), "pip", "compile", "-", "--generate-hashes", "--no-header", "--quiet", "--universal",
             "--python-version", "3.11", "--output-file", str(FOLDER / f"{name}.txt")],
            input="\n".join(packages), text=True, check=True,
        )  # fmt: skip


def _install(home: Path, python: Path, requirements: Path) -> str:
    """What went wrong, or nothing."""
    shutil.rmtree(home, ignore_errors=True)
    commands = (
        [_uv(), "venv", "--quiet", "--python", sys.executable, str(home)],
        [_uv(), "pip", "sync", "--quiet", "--python", str(python), "--require-hashes", str(requirements)],
    )  # fmt: skip
    try:
        for command in commands:
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                return _last_line(done.stderr)
        # Else the first round would pay for it, and only where the folder can be written.
        subprocess.run(
            [python, "-m", "compileall", "-q", str(home / "lib")], check=False, capture_output=True
        )
    except OSError as error:
        return str(error)
    return ""


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["the installer gave no reason"])[-1].strip()


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else "uv"


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "flowgauge" / "peers"


def _versions(python: Path) -> dict[str, str]:
    """Every distribution of the environment."""
    code = (
        "import json; from importlib.metadata import distributions as found;"
        "print(json.dumps({d.name: d.version for d in found()}))"
    )
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def notable(name: str, versions: dict[str, str]) -> list[tuple[str, str]]:
    """The packages of an environment that a reader wants to know: the peer, and the client that it is on."""
    wanted = {_normal(package.partition("==")[0]) for package in WANTED[name]} | {
        "prometheus-client"
    }
    return sorted(
        (found, version) for found, version in versions.items() if _normal(found) in wanted
    )


def _normal(name: str) -> str:
    """The name of a distribution as an index compares it."""
    return name.lower().replace("_", "-")
