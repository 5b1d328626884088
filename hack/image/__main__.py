"""`python -m image build|base|fetch`: the operator's image, a base for it, and what both need from the network.

`make image` and `make image-base` call it; `make fetch` before tests, which have no network.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import version
from image import debian, engine, wheels
from image.debian import DebianError
from image.engine import Engine, EngineError
from image.wheels import WheelsError

ROOT = Path(__file__).resolve().parents[2]
BASE = "gcr.io/distroless/python3-debian12:nonroot"
BASE_PYTHON = "3.11"
OWN_BASE = "localhost/flowgauge-base"
SBOM = "/opt/flowgauge/share/sbom.cdx.json"


def build(chosen: Engine, name: str, base: str, python: str) -> None:
    """Build the image under a name with its tag; raise EngineError or WheelsError."""
    chosen.fetch(base)
    _prepare(ROOT / "build/image", python)
    release, epoch = version.current(ROOT), os.environ.get("SOURCE_DATE_EPOCH", "0")
    arguments = {
        "BASE": base,
        "VERSION": release,
        "REVISION": _revision(),
        "CREATED": datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "SOURCE_DATE_EPOCH": epoch,
    }
    flags = [f"--build-arg={key}={value}" for key, value in arguments.items()]
    chosen.run(
        "build",
        "--network=none",
        f"--file={ROOT / 'Containerfile'}",
        *flags,
        f"--tag={name}",
        str(ROOT),
    )


def python_of(base: str, given: str) -> str:
    """Return the version of Python for which wheels are fetched: that of our own choice of a base is known."""
    return given or (_here() if base else BASE_PYTHON)


def _here() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _untagged(name: str) -> str:
    if {":", "@"} & set(name.rpartition("/")[2]):
        raise argparse.ArgumentTypeError(f"{name}: give the tag by TAG= (--tag)")
    return name


def make_base(chosen: Engine, name: str) -> None:
    """Import a base from Debian's packages; raise DebianError or EngineError."""
    chosen.run("import", str(base_archive()), name)


def base_archive() -> Path:
    """Return the archive of the base, made once: whoever deletes it gets newer packages; raise DebianError."""
    path = wheels.cache() / "base.tar"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"base.{os.getpid()}")
        try:
            debian.archive(draft)
            draft.rename(path)
        finally:
            draft.unlink(missing_ok=True)
    return path


def _prepare(folder: Path, python: str) -> None:
    """Lay out what Containerfile copies."""
    shutil.rmtree(folder, ignore_errors=True)
    requirements = ROOT / "requirements/operator.txt"
    shutil.copytree(wheels.fetched(requirements, python), folder / "wheels")
    shutil.copy(requirements, folder / "requirements.txt")
    for source in (
        Path(__file__).with_name("sbom.py"),
        ROOT / "LICENSE",
        Path(sys.executable).with_name("uv"),
    ):
        shutil.copy(source, folder)
    _uv("build", "--quiet", "--wheel", "--offline", "--no-build-isolation", f"--python={sys.executable}",
        f"--out-dir={folder}", str(ROOT))  # fmt: skip


def _uv(*arguments: str) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("uv"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise WheelsError(f"uv {arguments[0]} failed: {done.stderr.strip()}")


def _revision() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.strip() or "unknown"


def _build(options: argparse.Namespace) -> None:
    chosen = engine.find(options.engine)
    name = f"{options.image}:{options.tag or version.of_chart(version.current(ROOT))}"
    build(chosen, name, options.base or BASE, python_of(options.base, options.python))
    listed = ROOT / "dist" / f"flowgauge-{version.of_chart(version.current(ROOT))}.cdx.json"
    listed.parent.mkdir(exist_ok=True)
    chosen.take_out(name, SBOM, listed)
    size = int(chosen.run("image", "inspect", "--format={{.Size}}", name)) / 1e6
    print(f"{name}: {size:.1f} MB, on {options.base or BASE}; SBOM in {listed.relative_to(ROOT)}")


def _base(options: argparse.Namespace) -> None:
    make_base(engine.find(options.engine), options.image)
    print(f"{options.image}: build on it with `make image BASE={options.image}`")


def _fetch(options: argparse.Namespace) -> None:
    wheels.fetched(ROOT / "requirements/operator.txt", options.python or _here())
    base_archive()


def main() -> int:
    """Parse the command line and act; 1 with the remedy where something is missing."""
    parser = argparse.ArgumentParser(prog="python -m image", description=__doc__)
    verbs = parser.add_subparsers(required=True)
    for verb, act, image in (
        ("build", _build, "flowgauge"),
        ("base", _base, OWN_BASE),
        ("fetch", _fetch, ""),
    ):
        one = verbs.add_parser(verb)
        one.set_defaults(act=act)
        one.add_argument(
            "--engine", default="", help="podman or docker; default: the one that works"
        )
        one.add_argument(
            "--image",
            default=image,
            type=_untagged if verb == "build" else str,
            help="name of what is made (default: %(default)s)",
        )
        one.add_argument(
            "--python",
            default="",
            help=f"version of Python in the base (default: {BASE_PYTHON} of the default base, else {_here()}, as here)",
        )
        if verb == "build":
            one.add_argument(
                "--base", default="", help=f"image with Python 3.11 or newer (default: {BASE})"
            )
            one.add_argument("--tag", default="", help="default: the version of the project")
    options = parser.parse_args()
    try:
        options.act(options)
    except (DebianError, EngineError, WheelsError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
