"""promtool for the tests of rules, and the helpers beside them for import."""

import os
import sys
from pathlib import Path

import pytest

from rig import tools

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def promtool():
    """The path of promtool; where it is not built, a skip with the command, and a failure in CI."""
    try:
        return tools.path("promtool")
    except tools.MissingTool as missing:
        if os.environ.get("FLOWGAUGE_REQUIRE_CLUSTER") == "1":
            pytest.fail(f"{missing}", pytrace=False)
        pytest.skip(f"{missing}")
