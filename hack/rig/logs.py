"""Where the logs of a run go, and when they stay."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

VARIABLE = "FLOWGAUGE_RIG_LOGS"


class Logs:
    """A folder of logs: one that somebody chose, or a temporary one that only a failure keeps."""

    def __init__(self, chosen: Path | None) -> None:
        named = os.environ.get(VARIABLE)
        wanted = chosen or (Path(named) if named else None)
        self._is_temporary = wanted is None
        self.folder = wanted or Path(tempfile.mkdtemp(prefix="flowgauge-rig-logs-"))
        self.folder = self.folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)

    def close(self, *, keep: bool) -> None:
        """Remove a temporary folder, or say where it is."""
        if not self._is_temporary:
            return
        if keep:
            print(f"logs of the rig: {self.folder}", flush=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
