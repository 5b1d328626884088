"""SIGTERM while batches run: their bodies end as by an error, so that the last push still happens.

One handler for the process, installed while a batch runs in the main thread, where alone Python calls handlers. It does
what the program asked for: a handler of the program's own is called and decides; where there is none, the bodies
are ended, by `SystemExit` (143) or by cancelling their task. While the main thread is in our own code, such as the last
push, the signal is kept until that is over.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from time import monotonic
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Final

from flowgauge import forks

if TYPE_CHECKING:
    import asyncio

# What a shell says of a process that SIGTERM ended.
EXIT_STATUS: Final = 128 + signal.SIGTERM
# Seconds that a program has to end by itself, after a signal that came when its work was done.
COURTESY_SECONDS: Final = 1.0
# Seconds until a destructor is over, most likely.
AGAIN_SECONDS: Final = 0.001

Handler = Callable[[int, FrameType | None], object] | int | None

# All of this belongs to the main thread.
_watches: list[Watch] = []
_previous: Handler = None
_kept = False
_chained = False
_busy = False
_is_ending = False
_unraisablehook: Callable[[sys.UnraisableHookArgs], object] = sys.unraisablehook
# Functions that end a body: a signal in their own frames must not end them instead.
_closing: set[CodeType] = set()


class Terminated(SystemExit):
    """Ends a body for the signal."""


class Watch:
    """What SIGTERM does to one batch.

    `asked` is when it came, on the monotonic clock; None before. `on_signal` is called by the handler. `unwound` says
    whether the body was ended for it, and not by a handler of the program's own.
    """

    __slots__ = ("asked", "in_body", "loop", "on_signal", "task", "unwound")

    def __init__(self) -> None:
        self.asked: float | None = None
        self.on_signal: Callable[[], None] | None = None
        self.unwound = False
        self.in_body = False
        self.task: asyncio.Task[object] | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    def prepare(self, *, in_task: bool = False) -> None:
        """Watch from now on, and keep the signal until `begin`. `in_task` is for a body in a task: it is cancelled.

        Outside of the main thread, and where SIGTERM is ignored, nothing is watched.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        if in_task:
            self._find_task()
        if _watches or _install():
            _watches.append(self)

    def begin(self) -> None:
        """The body begins: act on the signal from now on. The last call before it.

        Raises:
            BaseException: the signal has come already, and this is how the body ends.

        """
        if self in _watches:
            self.in_body = True
            _settle()

    def end(self) -> None:
        """Watch no longer, and act on a signal that was kept; the last call after the body.

        Raises:
            BaseException: what an outer batch, or the program's own handler, ends with.

        """
        self.in_body = False
        if self in _watches:
            _watches.remove(self)
            if not _watches:
                _restore()
            _settle()

    def take_back(self, error: BaseException | None) -> SystemExit | None:
        """What a task has to raise in place of the cancellation that ended its body for us: the program ends.

        Only the first of several tasks: the loop then waits for the others, and a second exit would end that.
        """
        global _is_ending  # noqa: PLW0603 - a process has one handler
        asyncio = sys.modules.get("asyncio")
        if asyncio is None or self.task is None or not self.unwound or _is_ending:
            return None
        if not isinstance(error, asyncio.CancelledError):
            return None
        _is_ending = True
        self.task.uncancel()
        return Terminated(EXIT_STATUS)

    @property
    def blocks(self) -> bool:
        """Whether the main thread is in our own code for this batch."""
        return not self.in_body and self.task is None

    def interrupt(self) -> bool:
        """End the body; whether the caller has to raise an error for that."""
        if not self.in_body or self.unwound:
            return False
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self._cancel)
            return False
        self.unwound = True
        return True

    def _cancel(self) -> None:
        global _kept  # noqa: PLW0603 - a process has one handler
        if self.in_body and self.task is not None:
            self.unwound = True
            self.task.cancel()
        else:  # the body ended in between
            _kept = True
            _settle()

    def _find_task(self) -> None:
        # A body in a task has imported it. Under another framework there is no such task.
        asyncio = sys.modules.get("asyncio")
        if asyncio is not None:
            with contextlib.suppress(RuntimeError):
                self.task = asyncio.current_task()
                self.loop = asyncio.get_running_loop()


def closing(function: Callable[..., object]) -> None:
    """Tell that this function ends bodies. Python may call a handler when it is entered, before its first line."""
    _closing.add(function.__code__)


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _kept  # noqa: PLW0603 - a process has one handler
    _ask()
    blocked = _busy or any(watch.blocks for watch in _watches)
    if blocked or (frame is not None and frame.f_code in _closing):
        _kept = True
    else:
        _act(number, frame)


def _ask() -> None:
    now = monotonic()
    for watch in _watches:
        watch.asked = watch.asked or now
        if watch.on_signal is not None:
            watch.on_signal()


def _act(number: int, frame: FrameType | None) -> None:
    global _kept, _chained  # noqa: PLW0603 - a process has one handler
    _kept = False
    # A handler that calls the one before it may come back to us; then we are the one at the end.
    if callable(_previous) and not _chained:
        _chained = True
        try:
            _previous(number, frame)
        finally:
            _chained = False
        return
    idle = not any(watch.in_body or watch.unwound for watch in _watches)
    interrupted = [watch.interrupt() for watch in _watches]
    # Without a batch, we are called by a handler that outlived one.
    left_over = not _watches and signal.getsignal(signal.SIGTERM) is not _on_signal
    if any(interrupted) or left_over:
        _look_after_destructors()
        raise Terminated(EXIT_STATUS)
    _kept = idle


def _settle() -> None:
    """Act on a signal that was kept, unless it has to be kept on."""
    if not _kept or (_watches and not all(watch.in_body for watch in _watches)):
        return
    if _watches or callable(_previous):
        _ask()
        _act(signal.SIGTERM, None)
    else:
        # Still kept: a batch that begins meanwhile ends at once.
        _send_again_soon()


def _install() -> bool:
    global _previous, _is_ending
    previous = signal.getsignal(signal.SIGTERM)
    # None was set by C code, and could not be put back.
    if previous is None or previous == signal.SIG_IGN:
        return False
    _previous, _is_ending = previous, False
    try:
        signal.signal(signal.SIGTERM, _on_signal)
    except ValueError:  # a sub-interpreter
        return False
    return True


def _restore() -> None:
    # A handler that the body installed stays.
    with contextlib.suppress(ValueError):
        if signal.getsignal(signal.SIGTERM) is _on_signal:
            signal.signal(signal.SIGTERM, _previous)
    if sys.unraisablehook is _on_unraisable:
        sys.unraisablehook = _unraisablehook


def _look_after_destructors() -> None:
    """Hear of it when our error is lost, since the signal came within a destructor or the like."""
    global _unraisablehook
    if sys.unraisablehook is not _on_unraisable:
        _unraisablehook, sys.unraisablehook = sys.unraisablehook, _on_unraisable


def _on_unraisable(lost: sys.UnraisableHookArgs, /) -> None:
    global _kept, _busy  # noqa: PLW0603 - a process has one handler
    if not isinstance(lost.exc_value, Terminated):
        _unraisablehook(lost)
        return
    # An error of the hook itself would be lost for good.
    _busy = True
    for watch in _watches:
        watch.unwound = False
    _kept = True
    _send_in(AGAIN_SECONDS)
    _busy = False


def _send_again_soon() -> None:
    """The work was done when the signal came: who ends now ends as without it; who goes on gets it after all."""
    _send_in(COURTESY_SECONDS)


def _send_in(seconds: float) -> None:
    """Send the signal again and again, while it is kept and the program has not ended."""

    def send() -> None:
        pause = seconds
        while True:
            time.sleep(pause)
            if not (_kept and threading.main_thread().is_alive()):
                return
            os.kill(os.getpid(), signal.SIGTERM)
            pause = min(pause * 2, COURTESY_SECONDS)

    try:
        # Not by `threading`, whose lock the main thread may hold: this may be called at any point of it.
        _thread.start_new_thread(send, ())
    except RuntimeError:  # no more threads
        os.kill(os.getpid(), signal.SIGTERM)


def _forget() -> None:
    """A forked child is nobody's batch: SIGTERM does there what it would do without us."""
    global _kept  # noqa: PLW0603 - a process has one handler
    if _watches:
        _restore()
        _watches.clear()
    _kept = False


forks.on_fork(_forget)
