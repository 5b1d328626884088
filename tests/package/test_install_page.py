"""What docs/install.md tells to type can be typed; what needs a cluster is typed by the tests of the charts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import values
from flowgauge_operator import cli

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/install.md").read_text(encoding="utf-8")


def known(chart):
    return {
        value.name
        for value in values.leaves(values.read((ROOT / chart / "values.yaml").read_text()))
    }


@pytest.mark.parametrize("command", re.findall(r"^flowgauge generate .*$", PAGE, re.MULTILINE))
def test_what_is_generated_is_there(command, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    *words, folder = command.split()[1:]
    assert words[-1] == "--out"

    assert cli.main([*words, str(tmp_path / folder)]) == 0

    made = {path.parent.name for path in (tmp_path / folder).rglob("*") if path.is_file()}
    assert {"rules", "scrape", "alertmanager"} <= made


def test_the_page_was_read():
    assert "flowgauge generate" in PAGE


def test_values_that_are_set_exist():
    operator = known("charts/flowgauge")
    stack = known("charts/flowgauge-stack") | {f"flowgauge.{name}" for name in operator}
    said = set(re.findall(r"--set[= ]([\w.]+)=", PAGE)) | {
        name
        for cell in re.findall(r"\| (`[^|]*`) \|$", PAGE, re.MULTILINE)
        for name in re.findall(r"`(\w+(?:\.\w+)*)(?::[^`]*)?`", cell)
    }

    assert len(said) > 8
    unknown = {
        name
        for name in said
        if not any(name == each or name.startswith(f"{each}.") for each in operator | stack)
    }
    assert unknown == set()
