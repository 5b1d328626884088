"""Export regularly, from a thread of its own, so that a slow or absent back end is nobody's problem but the thread's."""

from __future__ import annotations

import atexit
import os
import random
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

from flowgauge import guard
from flowgauge.metrics import MetricFamily, Receiver

# How long the end of a program waits for its last export.
EXIT_SECONDS: Final = 5.0


class Flusher:
    """Hands what `collect` returns to `exporter`, every `interval` seconds, from `start` to `stop`.

    Errors are logged, at most once a minute, and the next export is tried all the same. An export that takes longer
    than the interval lets beats pass; two never run at once. Beats of different processes are spread over the
    interval. The last numbers are sent at `stop`, at the end of the program and of a process of `multiprocessing`.
    A forked child exports its own numbers when its parent did. The exporter stays open: closing it is its owner's.

    Raises:
        ValueError: the interval is not above 0.

    """

    def __init__(
        self,
        exporter: Receiver,
        collect: Callable[[], Iterable[MetricFamily]],
        interval: float = 10.0,
    ) -> None:
        if not 0 < interval <= threading.TIMEOUT_MAX:
            raise ValueError(f"interval is {interval!r}, must be a number of seconds above 0")
        self._exporter = exporter
        self._collect = collect
        self._interval = float(interval)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        _all.add(self)

    @property
    def running(self) -> bool:
        """Whether it exports."""
        thread = self._thread
        return thread is not None and thread.is_alive() and not self._stopping.is_set()

    def start(self) -> Self:
        """Export from now on. Does nothing when it does already."""
        with self._starting:
            if not self.running:
                try:
                    self._launch()
                except RuntimeError as error:  # there can be no more threads
                    guard.report("the start of a flusher", error)
                else:
                    atexit.register(self._end)
        return self

    def stop(self, timeout: float = EXIT_SECONDS) -> bool:
        """Export once more and end. Returns whether both were done after `timeout` seconds; if not, it goes on behind."""
        atexit.unregister(self._end)
        return self._end(timeout)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _launch(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(self._stopping,), name="flowgauge-flusher", daemon=True
        )
        self._thread.start()

    def _end(self, timeout: float | None = None) -> bool:
        timeout = EXIT_SECONDS if timeout is None else timeout
        thread = self._thread
        self._stopping.set()
        if thread is None or thread is threading.current_thread():
            return thread is None
        thread.join(max(0.0, timeout))
        return not thread.is_alive()

    def _run(self, stopping: threading.Event) -> None:
        # The first export comes early for programs that are short, and at another moment in each process.
        due = monotonic() + random.uniform(0.1, 1.0) * self._interval  # noqa: S311 - no secret
        while not stopping.wait(max(0.0, due - monotonic())):
            self._flush()
            # The beats that passed meanwhile are left out.
            missed = max(0.0, monotonic() - due) // self._interval
            due += (missed + 1) * self._interval
        self._flush()

    def _flush(self) -> None:
        try:
            self._exporter.export(self._collect())
        except Exception as error:
            guard.report(f"export by {self._exporter!r}", error)

    def _forked(self) -> None:
        ran = self._thread is not None and not self._stopping.is_set()
        self._thread = None
        self._starting = threading.Lock()
        self._stopping = threading.Event()
        if ran:
            self._launch()
            self._end_with_process()

    def _end_with_process(self) -> None:
        """Export once more when a child of `multiprocessing` ends: it leaves without what `atexit` holds."""
        util: Any = sys.modules.get("multiprocessing.util")
        if util is not None:
            # The child first drops the finalizers that it inherited, then calls what is registered here.
            util.register_after_fork(self, _finalize)


def _finalize(flusher: Flusher) -> None:
    util: Any = sys.modules["multiprocessing.util"]
    util.Finalize(None, flusher._end, exitpriority=0)  # noqa: SLF001 - the same module


_all: weakref.WeakSet[Flusher] = weakref.WeakSet()


def _forked() -> None:
    for flusher in list(_all):
        try:
            flusher._forked()  # noqa: SLF001 - the hook is this module's
        except Exception:  # noqa: S112 - logging could wait for a lock that died with its thread
            continue


# Not through `flowgauge.forks`: hooks run in the order of their registration, and a thread can start only after the
# hook that `threading` registered when it was imported. Ours, registered here, is after it for certain. The thread
# first sleeps, so it touches nothing before all hooks have run.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
