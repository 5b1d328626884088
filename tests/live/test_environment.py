"""The environment in which the operator is tried is that of its pod: the wheel and its dependencies, nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.cluster

PYTHON = Path(__file__).resolve().parents[2] / ".venv-operator/bin/python"


def found(module):
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([PYTHON, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("module", ["kubernetes", "pytest", "rig"])
def test_it_lacks_what_a_pod_lacks(module):
    # kopf imports the official client whenever it is installed, for 20 MB of memory.
    assert not found(module)


@pytest.mark.parametrize("module", ["flowgauge", "flowgauge_operator", "kopf"])
def test_it_has_what_the_operator_needs(module):
    assert found(module)
