"""What the server has at which path: metrics, health, readiness, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from flowgauge import guard
from flowgauge.serving import answers
from flowgauge.serving.answers import Answer, Asked, Metrics
from flowgauge.serving.flights import Flights, Result
from flowgauge.serving.request import Request

_RESERVED: Final = ("/healthz", "/readyz")


class Site:
    """Answers requests by their path.

    Raises:
        ValueError: the path of the metrics cannot be one, or is taken.

    """

    def __init__(self, metrics: Metrics, path: str, ready: Callable[[], bool] | None) -> None:
        if answers.checked_path(path) in _RESERVED:
            raise ValueError(f"path is {path!r}, which is taken; choose another, such as /metrics")
        self._metrics = metrics
        self._path = path
        self._ready = Flights(lambda _: ready(), name="flowgauge-ready") if ready else None

    def answer(self, request: Request, reply: Callable[[Answer], None]) -> None:
        """Call `reply` with the answer, now or later and then in another thread; it must not block or raise."""
        header = request.headers.get
        if request.path == self._path:
            asked = Asked(
                method=request.method,
                accept=header("accept", ""),
                accept_encoding=header("accept-encoding", ""),
                authorization=header("authorization", ""),
            )
            self._metrics.answer(asked, reply)
        elif request.path not in _RESERVED:
            reply(answers.plain(404, f"not found; see {self._path}, /healthz and /readyz"))
        elif request.method not in ("GET", "HEAD"):
            reply(answers.not_allowed())
        elif request.path == "/healthz" or self._ready is None:
            reply(answers.plain(200, "ok"))
        else:
            self._ready.join("", lambda result: reply(_readiness(result)))


def _readiness(result: Result[bool]) -> Answer:
    if result.error is not None:
        guard.report("ready", answers.exception(result.error))
        return answers.plain(503, "not ready: the check failed; see the log")
    return answers.plain(200, "ok") if result.value else answers.plain(503, "not ready")
