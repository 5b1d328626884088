"""One version, written once, and a folder of a release that is whole."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml

import flowgauge
import package
import version
from flowgauge_operator import settings

ROOT = Path(__file__).resolve().parents[2]
NOW = version.current(ROOT)


def test_the_library_and_the_operator_say_the_version_of_the_project(capsys):
    with pytest.raises(SystemExit):
        settings.parse(["--version"], {})

    assert flowgauge.__version__ == metadata.version("flowgauge") == NOW
    assert capsys.readouterr().out == f"flowgauge-operator {NOW}\n"


@pytest.mark.parametrize(
    "chart", sorted((ROOT / "charts").glob("*/Chart.yaml")), ids=lambda path: path.parent.name
)
def test_a_chart_and_its_application_have_the_version(chart):
    found = yaml.safe_load(chart.read_text())

    assert (found["version"], found["appVersion"]) == (version.of_chart(NOW), version.of_chart(NOW))


@pytest.mark.parametrize("file", sorted((ROOT / "crds").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_definition_says_which_version_brought_it(file):
    labels = yaml.safe_load(file.read_text())["metadata"]["labels"]

    assert labels["app.kubernetes.io/version"] == version.of_chart(NOW)


def test_no_source_repeats_the_version():
    """Besides what `make generate` writes and a change log tells."""
    repeating = re.compile(rf"(?<![\d.]){re.escape(NOW)}(?![\d.])")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    written = {
        name
        for name in listed
        if name.endswith((".py", ".toml", ".yaml", ".tpl", "Makefile", "Containerfile"))
        and not name.startswith(("tests/", "examples/", "hack/tools/", "hack/expositions/"))
        and (ROOT / name).is_file()
        and repeating.search((ROOT / name).read_text(encoding="utf-8"))
    }
    charts = {str(path.relative_to(ROOT)) for path in (ROOT / "charts").glob("*/Chart.yaml")}
    definitions = {name for name in written if "/crds/" in f"/{name}"}

    assert written - definitions == {"pyproject.toml"} | charts


def test_a_new_version_reaches_every_place_of_a_chart():
    chart = """\
name: flowgauge-stack
version: 0.1.0
appVersion: "0.1.0"
kubeVersion: ">=1.29.0-0"
dependencies:
- name: flowgauge
  repository: file://../flowgauge
  version: 0.1.0
- name: other
  version: 9.9.9
annotations:
  artifacthub.io/images: |
    - image: ghcr.io/flowgauge/flowgauge:0.1.0
    - image: quay.io/prometheus/prometheus:v3.14.0
"""
    stamped = yaml.safe_load(version.stamped(chart, "1.2.3"))

    assert (stamped["version"], stamped["appVersion"], stamped["kubeVersion"]) == (
        "1.2.3",
        "1.2.3",
        ">=1.29.0-0",
    )
    assert [item["version"] for item in stamped["dependencies"]] == ["1.2.3", "9.9.9"]
    assert stamped["annotations"]["artifacthub.io/images"].split() == [
        "-", "image:", "ghcr.io/flowgauge/flowgauge:1.2.3", "-", "image:", "quay.io/prometheus/prometheus:v3.14.0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("python", "chart"),
    [("0.1.0", "0.1.0"), ("1.2.3rc1", "1.2.3-rc1"), ("1.2.3.dev4", "1.2.3-dev4")],
)
def test_helm_reads_the_version_in_its_own_way(python, chart):
    assert version.of_chart(python) == chart


@pytest.mark.parametrize("wrong", ["1.2", "1.2.3+local", "v1.2.3", ""])
def test_a_version_that_helm_could_not_read_is_refused(wrong):
    with pytest.raises(ValueError, match=r"MAJOR\.MINOR\.PATCH"):
        version.of_chart(wrong)


def whole(folder: Path) -> Path:
    for name in package.expected("1.2.3rc1"):
        (folder / name).write_text(name)
    return folder


def test_a_release_that_is_whole_gets_its_checksums(tmp_path):
    (whole(tmp_path) / "flowgauge-1.2.3-rc1.cdx.json").write_text("{}")
    (tmp_path / package.CHECKSUMS).write_text(package.checksums(tmp_path, "1.2.3rc1"))

    checked = subprocess.run(
        ["sha256sum", "--check", package.CHECKSUMS], cwd=tmp_path, capture_output=True, text=True
    )

    assert checked.returncode == 0, checked.stderr
    assert len(checked.stdout.splitlines()) == 6
    assert hashlib.sha256(b"install.yaml").hexdigest() in (tmp_path / package.CHECKSUMS).read_text()


@pytest.mark.parametrize("name", sorted(package.expected("1.2.3rc1")))
def test_a_release_that_lacks_something_is_refused_by_its_name(tmp_path, name):
    (whole(tmp_path) / name).unlink()

    with pytest.raises(package.PackageError, match=re.escape(name)):
        package.checksums(tmp_path, "1.2.3rc1")


def test_a_release_with_something_of_another_is_refused(tmp_path):
    (whole(tmp_path) / "flowgauge-1.2.2.tgz").write_text("old")

    with pytest.raises(
        package.PackageError, match=r"another version than 1\.2\.3rc1: flowgauge-1\.2\.2\.tgz"
    ):
        package.checksums(tmp_path, "1.2.3rc1")


def test_the_command_fails_where_nothing_was_made(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "hack/package.py", tmp_path], capture_output=True, text=True
    )

    assert done.returncode == 1
    assert "install.yaml (make manifests)" in done.stderr
