"""What all exporters share: one export at a time, within its time, with errors that say where to look.

An exporter of its own kind says how to send (`_send`), what is left to send (`_send_rest`), what to let go of
(`_let_go`) and what a forked child must not share with its parent (`_start_anew`).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from importlib import import_module
from importlib.util import find_spec
from time import monotonic
from types import TracebackType
from typing import Any, Self

from flowgauge import forks, guard
from flowgauge.metrics import MetricFamily


class ExportError(RuntimeError):
    """Metrics could not be sent. `exporter`, `destination` and `reason` say which, where to and why."""

    def __init__(self, exporter: str, destination: str, reason: str) -> None:
        super().__init__(f"{exporter} cannot send to {destination}: {reason}")
        self.exporter = exporter
        self.destination = destination
        self.reason = reason

    def __reduce__(self) -> tuple[type[ExportError], tuple[str, str, str]]:
        return type(self), (self.exporter, self.destination, self.reason)


class RefusalError(Exception):
    """The back end finds fault with a batch itself; other batches may still go."""


class Exporter:
    """Sends families to `destination`, each export within about `timeout` seconds. Safe to call from threads."""

    def __init__(self, destination: str, timeout: float, secrets: Iterable[str] = ()) -> None:
        if not 0 < timeout < float("inf"):
            raise ValueError(f"timeout is {timeout!r}, must be a number of seconds above 0")
        self._destination = destination
        self._timeout = float(timeout)
        self._secrets = [secret for secret in secrets if secret]
        self._closed = False
        self._turn = threading.Lock()
        _all.add(self)

    def export(self, families: Iterable[MetricFamily]) -> None:
        """Send the families.

        Raises:
            ExportError: they could not be sent. What was counted goes with the next export.

        """
        if self._closed:
            raise self._error("it is closed")
        until = monotonic() + self._timeout
        if not self._turn.acquire(timeout=self._timeout):
            raise self._error("an export that began before is still running")
        try:
            self._send(list(families), until)
        except ExportError:
            raise
        except Exception as error:
            # No cause: the text of a foreign error may hold a credential, and a traceback would print it.
            raise self._error(_described(error)) from None
        finally:
            self._turn.release()

    def close(self) -> None:
        """Try once more to send what a failed export left, then let go of connections. Never raises."""
        if self._closed:
            return
        self._closed = True
        if not self._turn.acquire(timeout=self._timeout):
            guard.warn(
                f"exporters.{type(self).__name__}.close", f"{self} is busy; closed without it"
            )
            return
        try:
            self._send_rest(monotonic() + self._timeout)
        except Exception as error:
            reason = error.reason if isinstance(error, ExportError) else _described(error)
            guard.warn(f"exporters.{type(self).__name__}.close", str(self._error(reason)))
        finally:
            self._let_go_quietly()
            self._turn.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} to {self._destination}>"

    def _send(self, families: list[MetricFamily], until: float) -> None:
        raise NotImplementedError

    def _send_rest(self, until: float) -> None:
        """Send what a failed export left over."""

    def _let_go(self) -> None:
        """Close connections."""

    def _start_anew(self) -> None:
        """Forget, in a forked child, what is the parent's. No lock may be waited for here."""

    def _error(self, reason: str) -> ExportError:
        for secret in self._secrets:
            reason = reason.replace(secret, "***")
        return ExportError(type(self).__name__, self._destination, reason)

    def _let_go_quietly(self) -> None:
        try:
            self._let_go()
        except Exception as error:
            guard.report(f"exporters.{type(self).__name__}.close", error)

    def _forked(self) -> None:
        self._turn = threading.Lock()
        self._start_anew()


def remaining(until: float) -> float:
    """Seconds left.

    Raises:
        TimeoutError: there are none.

    """
    left = until - monotonic()
    if left <= 0:
        raise TimeoutError("out of time")
    return left


def require(package: str, extra: str) -> None:
    """Refuse to go on without an optional package, without importing it.

    Raises:
        ModuleNotFoundError: it is not installed.

    """
    if find_spec(package) is None:
        raise ModuleNotFoundError(
            f"the package {package!r} is needed: pip install 'flowgauge[{extra}]'", name=package
        )


def load(module: str) -> Any:
    """A module of an optional package, imported now."""
    return import_module(module)


def _described(error: Exception) -> str:
    text = " ".join(str(error).split())
    if type(error) in {OSError, RefusalError} and text:  # ours, and said in full
        return text[:500]
    return f"{type(error).__name__}: {text[:500]}" if text else type(error).__name__


_all: weakref.WeakSet[Exporter] = weakref.WeakSet()


def _forked() -> None:
    for exporter in list(_all):
        try:
            exporter._forked()  # noqa: SLF001 - the hook is this module's
        except Exception:  # noqa: S112 - logging could wait for a lock that died with its thread
            continue


forks.on_fork(_forked)
