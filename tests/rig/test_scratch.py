"""Folders of a run: gone afterwards, also when the run was killed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rig import scratch

HACK = Path(scratch.__file__).parent.parent


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_gone_afterwards(temporary):
    with scratch.folder() as folder:
        (folder / "data").write_text("x")
        assert folder.parent == temporary

    assert list(temporary.iterdir()) == []


def test_one_in_use_is_left_alone(temporary):
    with scratch.folder() as first, scratch.folder() as second:
        assert first.is_dir()
        assert first != second


def test_what_a_killed_run_left_is_removed_by_the_next(temporary):
    code = (
        "import os, signal\n"
        "from rig import scratch\n"
        "with scratch.folder() as folder:\n"
        "    (folder / 'data').write_text('x')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    env = {"PYTHONPATH": str(HACK), "TMPDIR": str(temporary)}
    subprocess.run([sys.executable, "-c", code], env=env, check=False)
    (left,) = temporary.iterdir()

    with scratch.folder():
        assert not left.exists()
