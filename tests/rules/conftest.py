"""promtool for the tests of rules, and the helpers beside them for import."""

import sys
from pathlib import Path

import pytest

from rig.pytest_plugin import binary

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]


@pytest.fixture(scope="session")
def promtool():
    """The path of promtool; where it is not built, a skip with the command, and a failure in CI."""
    return binary("promtool")
