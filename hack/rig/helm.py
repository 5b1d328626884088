"""helm against one cluster, with a home of its own: nothing of the user's repositories, plugins and caches is seen."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from rig import tools

_TURN_SECONDS = 0.2


class ChartError(Exception):
    """helm refused; the message is what it said."""


class Helm:
    """Runs helm; without a kubeconfig only what needs no cluster."""

    def __init__(self, home: Path | None = None, *, kubeconfig: Path | None = None) -> None:
        self._kubeconfig = kubeconfig
        self._env = dict(os.environ)
        if home:
            self._env |= {f"HELM_{kind}_HOME": str(home) for kind in ("CACHE", "CONFIG", "DATA")}

    def run(
        self,
        *arguments: str,
        stdin: str = "",
        meanwhile: Callable[[], object] = lambda: None,
        timeout: float = 300,
    ) -> str:
        """Run helm and return what it printed; ``meanwhile`` is called again and again until it ends.

        Raises ChartError with all that helm said where it fails.
        """
        command = [str(tools.path("helm")), *arguments]
        command += [f"--kubeconfig={self._kubeconfig}"] if self._kubeconfig else []
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._env,
            text=True,
        ) as helm:
            try:
                out, err = _wait(helm, stdin, meanwhile, timeout)
            finally:
                helm.kill()
        if helm.returncode != 0:
            said = "\n".join(filter(None, (err.strip(), out.strip())))
            raise ChartError(f"helm {' '.join(arguments)}: {said}")
        return out


def _wait(
    helm: subprocess.Popen[str], stdin: str, meanwhile: Callable[[], object], timeout: float
) -> tuple[str, str]:
    deadline = time.monotonic() + timeout
    text: str | None = stdin
    while True:
        meanwhile()
        try:
            return helm.communicate(text, timeout=_TURN_SECONDS)
        except subprocess.TimeoutExpired:
            # What was read and written so far is kept; stdin must be given once only.
            text = None
            if time.monotonic() > deadline:
                raise
