"""A small base image out of Debian's own packages, for where no registry can be reached: Python and what it links to.

Made like the "distroless" images: packages are unpacked, not installed, so there is no shell, no package manager and no
root file system of a whole distribution. Needs a Debian or a relative with `apt-get` and `dpkg-deb`, and no root.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

USER = 65532
_ROOTS = (
    "base-files",
    "ca-certificates",
    "libpython3-stdlib",
    "libstdc++6",
    "netbase",
    "python3-minimal",
    "tzdata",
)
# What packages ask for while they are installed, or for programs of theirs that nothing here starts.
_LEFT_OUT = re.compile(
    r"(dpkg|tar|awk|mawk|gawk|original-awk|debconf.*|libdebian-installer.*|libnewt.*|libslang2|libtextwrap1|libgmp10|libmpfr6|libsigsegv2|cdebconf.*|perl.*|libperl.*|install-info|mailcap|mime-support"
    r"|libgdbm.*|libacl1|libmd0|libpcre2-.*|libselinux1|libzstd1|readline-common|openssl|sed|libc-bin|gcc-.*-base)"
)
# The licences stay: `usr/share/doc/NAME/copyright`.
_UNUSED = (
    "usr/share/zoneinfo/right", "usr/share/zoneinfo/posix", "usr/lib/*/gconv", "usr/lib/python3*/test",
    "usr/share/man", "usr/share/locale", "usr/share/lintian", "usr/share/info", "usr/share/bug", "usr/share/perl5",
)  # fmt: skip
_CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"


class DebianError(Exception):
    """The base cannot be made; the message says what to do."""


def archive(path: Path) -> list[str]:
    """Write the root file system as a tar archive and return the packages in it; raise DebianError."""
    for program in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(program) is None:
            raise DebianError(
                f"{program} is not here: the base is made on Debian or Ubuntu; elsewhere give an image with"
                " Python 3.11 or newer as BASE="
            )
    names = packages(_run("apt-cache", *_DEPENDS, *_ROOTS))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        _lay_out(root)
        for file in _downloaded(names, Path(folder)):
            _unpack(file, root)
        _finish(root)
        # Sorted and without times, so that the same packages are the same layer.
        _run("tar", "--create", f"--file={path}", f"--directory={root}", "--sort=name", "--mtime=@0",
             "--numeric-owner", "--owner=0", "--group=0", ".")  # fmt: skip
    return names


_DEPENDS = (
    "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces",
    "--no-enhances",
)  # fmt: skip


def packages(depends: str) -> list[str]:
    """Return the packages to unpack, out of what `apt-cache depends --recurse` printed."""
    lines = (
        line.strip() for line in depends.splitlines() if line and not line.startswith((" ", "<"))
    )
    # A foreign architecture is written behind a colon.
    return sorted({line for line in lines if ":" not in line and not _LEFT_OUT.fullmatch(line)})


def _downloaded(names: Iterable[str], folder: Path) -> list[Path]:
    target = folder / "packages"
    target.mkdir()
    # As root, apt would change to a user who may not write here.
    _run("apt-get", "--quiet=2", "--option=APT::Sandbox::User=root", "download", *names, cwd=target)
    return sorted(target.glob("*.deb"))


def _lay_out(root: Path) -> None:
    for name in ("bin", "lib", "lib64", "sbin"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    (root / "var/lib/dpkg/status.d").mkdir(parents=True)


def _unpack(file: Path, root: Path) -> None:
    _run("dpkg-deb", "--extract", str(file), str(root))
    name = _run("dpkg-deb", "--field", str(file), "Package").strip()
    # Where scanners look for the packages of an image without a package manager.
    (root / "var/lib/dpkg/status.d" / name).write_text(_run("dpkg-deb", "--field", str(file)))


def _finish(root: Path) -> None:
    certificates = sorted((root / "usr/share/ca-certificates").rglob("*.crt"))
    (root / _CERTIFICATES).parent.mkdir(parents=True, exist_ok=True)
    (root / _CERTIFICATES).write_bytes(b"".join(file.read_bytes() for file in certificates))
    for pattern in _UNUSED:
        for folder in root.glob(pattern):
            shutil.rmtree(folder)
    for file in (root / "usr/share/doc").rglob("*"):
        if file.is_file() and file.name != "copyright":
            file.unlink()
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/sbin/nologin\n"
        f"nonroot:x:{USER}:{USER}:nonroot:/home/nonroot:/sbin/nologin\n"
    )
    (root / "etc/group").write_text(f"root:x:0:\nnonroot:x:{USER}:\n")
    (root / "home/nonroot").mkdir(parents=True, exist_ok=True)
    (root / "tmp").mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)


def _run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DebianError(
            f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}\nIs the network there, and are the"
            " lists of packages? `apt-get update` fetches them."
        )
    return done.stdout
