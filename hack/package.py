"""Say whether dist/ holds everything of a release, in one version, and write the checksums. Called by `make package`."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import version

ROOT = Path(__file__).resolve().parents[1]
CHECKSUMS = "SHA256SUMS"


class PackageError(Exception):
    """Something is missing or of another version; the message names it."""


def expected(release: str) -> dict[str, str]:
    """The files of a release, each with the target of make that writes it."""
    chart = version.of_chart(release)
    return {
        f"flowgauge-{release}-py3-none-any.whl": "package",
        f"flowgauge-{release}.tar.gz": "package",
        f"flowgauge-{chart}.tgz": "charts",
        f"flowgauge-stack-{chart}.tgz": "charts",
        "install.yaml": "manifests",
    }


def checksums(folder: Path, release: str) -> str:
    """Return the lines for `sha256sum --check`; raise PackageError unless the folder holds a whole release and no other.

    What else `make` puts there, an SBOM for example, gets its line as well.
    """
    there = {
        path.name: path
        for path in folder.iterdir()
        if path.name[0] != "." and path.name != CHECKSUMS
    }
    missing = [
        f"{name} (make {target})" for name, target in expected(release).items() if name not in there
    ]
    if missing:
        raise PackageError(f"not in {folder}: {', '.join(missing)}")
    old = [
        name
        for name in there
        if name.startswith("flowgauge-")
        and name not in expected(release)
        and not _is_of(name, release)
    ]
    if old:
        raise PackageError(
            f"of another version than {release}: {', '.join(sorted(old))}; make clean"
        )
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n"
        for name, path in sorted(there.items())
    )


def _is_of(name: str, release: str) -> bool:
    return f"-{release}." in name or f"-{version.of_chart(release)}." in name


def main() -> int:
    """Write dist/SHA256SUMS and list it."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"
    try:
        text = checksums(folder, version.current(ROOT))
    except PackageError as error:
        print(error, file=sys.stderr)
        return 1
    (folder / CHECKSUMS).write_text(text, encoding="utf-8")
    print(text, end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
