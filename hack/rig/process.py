"""One process of the rig: its log, its readiness, its end.

Children get a session of their own, so that Ctrl-C reaches only the driver, which then stops them in order. None can
outlive the driver: the namespace ends with it.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rig import waiting

_TAIL = 30


class PartFailed(waiting.Stop):
    """A part did not start, was not ready in time, or died; the message shows the end of its log."""


class Process:
    """A part of the rig that runs as a process."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.command = [str(word) for word in command]
        self.log = log
        self._env = dict(env) if env is not None else None
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; its output is appended to the log."""
        with self.log.open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=self._env,
                    cwd=self._cwd,
                    start_new_session=True,
                )
            except OSError as error:
                raise PartFailed(f"{self.name} cannot be started: {error}") from error

    @property
    def pid(self) -> int | None:
        """The process id, as the namespace sees it."""
        return self._process.pid if self._process else None

    @property
    def is_running(self) -> bool:
        """Tell whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """The status it ended with, negative for a signal; None while it runs."""
        return self._process.poll() if self._process else None

    def wait_ready(self, is_ready: Callable[[], object], timeout: float) -> None:
        """Ask until it is ready; a part that died does not make us wait for the timeout."""

        def ask() -> object:
            if not self.is_running:
                raise PartFailed(self._report(f"ended with status {self.exit_status}"))
            return is_ready()

        try:
            waiting.wait_for(ask, timeout, f"{self.name} to be ready", every=0.05)
        except TimeoutError as error:
            raise PartFailed(self._report(str(error))) from error

    def stop(self, grace: float = 10) -> None:
        """Ask it to end, wait, and kill it if it does not."""
        if not self.is_running or self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once, with everything in its session."""
        if self._process is None or not self.is_running:
            return
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(5)

    def tail(self, lines: int = _TAIL) -> str:
        """Return the end of the log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _report(self, what: str) -> str:
        command = shlex.join(self.command)
        return f"{self.name}: {what}\ncommand: {command}\nlog: {self.log}\n{self.tail()}"
