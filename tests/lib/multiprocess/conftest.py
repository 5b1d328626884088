"""Each test begins as a program does, with a folder for its numbers."""

import sys
from pathlib import Path

import pytest

from flowgauge import (
    slots,
)

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.delenv(slots.MULTIPROCESS, raising=False)
    # As in a program that begins: other tests may have decided for this process, which its forks inherit.
    monkeypatch.setattr(slots, "_storage", None)


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "numbers")
