"""The one version: written in pyproject.toml, repeated by charts, definitions and images, and never typed there.

`make generate` writes it into the charts; the library and the operator read it from what is installed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

# What a chart says of itself, of its dependency on another chart of ours, and of our images in its annotations.
_OF_CHART = re.compile(r"^((?:appV|v)ersion: *).*$", re.MULTILINE)
_OF_DEPENDENCY = re.compile(
    # Possessive: where there is no version below, two ways to share out the spaces of each line never end.
    r"^( *- name: *flowgauge[\w-]*\n(?: ++(?!- )[^\n]*\n)*? +version: *)[^\n]*$",
    re.MULTILINE,
)
_OF_IMAGE = re.compile(
    r"((?:^|[/ \"'])flowgauge(?:-operator)?:)v?\d+\.\d+\.\d+[\w.-]*", re.MULTILINE
)


def current(root: Path) -> str:
    """Return the version of the project in `root`."""
    with (root / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def charts(root: Path) -> Iterator[tuple[Path, str]]:
    """Every Chart.yaml with the text that it should have."""
    for path in sorted((root / "charts").glob("*/Chart.yaml")):
        yield path, stamped(path.read_text(encoding="utf-8"), of_chart(current(root)))


def stamped(chart: str, version: str) -> str:
    """Return the text of a Chart.yaml with the version in all its places."""
    for pattern in (_OF_CHART, _OF_DEPENDENCY, _OF_IMAGE):
        chart = pattern.sub(rf"\g<1>{version}", chart)
    return chart


def of_chart(version: str) -> str:
    """Return a version as Helm reads it: `0.2.0rc1` of Python is `0.2.0-rc1` there."""
    match = re.fullmatch(r"(\d+\.\d+\.\d+)(?:\.?((?:a|b|rc|dev|post)\d+))?", version)
    if match is None:
        raise ValueError(
            f"project.version {version!r} in pyproject.toml: write MAJOR.MINOR.PATCH, or with a suffix as in 1.2.0rc1"
        )
    return "-".join(part for part in match.groups() if part)
