"""Write what is generated: CRD, dashboards, schemas and version of charts, references, goldens of examples. `--check` only compares.

Run as `make generate`; the suite fails when a committed file differs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

import references
import runbooks
import values
import version
from flowgauge_operator import cli, crd, layout
from flowgauge_operator.render import Options, shared
from flowgauge_operator.render.dashboards import itself

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts/flowgauge"


class _Dumper(yaml.SafeDumper):
    """No anchors: what stands in two places is written twice."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - its signature
        return True


_NOTE = "# Generated from the models by `make generate`; do not edit.\n"


def files() -> Iterator[tuple[Path, str]]:
    """Every generated file with its content."""
    for name, definition in crd.definitions(version.of_chart(version.current(ROOT))).items():
        text = _NOTE + yaml.dump(
            definition, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True
        )
        yield ROOT / "crds" / name, text
        yield CHART / "files/crds" / name, text
    boards = shared.board_files(None, Options()) | {"operator.json": itself.render(Options())}
    for name, text in boards.items():
        yield CHART / "files/dashboards" / name, layout.readable(text)
    for chart in sorted((ROOT / "charts").glob("*/values.yaml")):
        yield from values.files(chart.parent)
    yield from version.charts(ROOT)
    yield ROOT / "docs/roles.md", references.roles()
    yield ROOT / "docs/alerts.md", references.alerts()
    yield ROOT / "docs/profiles.md", references.vocabularies()
    yield ROOT / "docs/doctor-checks.md", references.checks()
    yield from runbooks.files(ROOT / "docs/runbooks", CHART)
    for example in sorted((ROOT / "examples").glob("*/workflow.yaml")):
        yield (
            example.with_name("manifests.yaml"),
            cli.generated(example.read_text(encoding="utf-8"), example.name),
        )
    yield from _written(ROOT / "examples/compose")


def _written(example: Path) -> Iterator[tuple[Path, str]]:
    """What the example's own script writes."""
    with tempfile.TemporaryDirectory() as empty:
        script = [example / "generate.sh", "--out", empty]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(script, check=True, stdout=subprocess.PIPE, env={**os.environ, "PATH": path})
        for file in sorted(Path(empty).rglob("*")):
            if file.is_file():
                target = example / "monitoring" / file.relative_to(empty)
                yield target, file.read_text(encoding="utf-8")


def main() -> int:
    """Write or compare; exit code 1 where a file differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="compare only; exit with 1 where a file differs"
    )
    check = parser.parse_args().check
    stale = [
        (path, text)
        for path, text in files()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path, text in stale:
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        print(f"{'differs' if check else 'wrote'} {path.relative_to(ROOT)}")
    if check and stale:
        print("run `make generate` and commit the result", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
