"""Let the tests of this folder import the helper beside it, whatever the import mode."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]
