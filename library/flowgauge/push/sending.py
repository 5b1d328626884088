"""Send one request to a gateway until it arrives, it is refused, or the time is over.

Called by `push`. What an answer means is known by `gateway`, the network by `delivery`.
"""

from __future__ import annotations

import os
import time
import zlib
from time import monotonic
from typing import TYPE_CHECKING, Final

from flowgauge import forks
from flowgauge.push import gateway

if TYPE_CHECKING:
    from flowgauge.push import delivery

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
# Seconds: the longest pause between two attempts, and what is too little for one more.
LONGEST_PAUSE: Final = 5.0
SHORTEST_ATTEMPT: Final = 0.1


class PushError(RuntimeError):
    """Metrics did not arrive; the message names the URL, what happened and the remedy.

    `refused` says that the gateway does not want them, so that they would not arrive later either.
    """

    refused = False


class Deadline:
    """An instant that may come nearer, also by a signal handler or another thread."""

    __slots__ = ("end", "patient")

    def __init__(self, seconds: float) -> None:
        self.end = monotonic() + seconds
        # Whether to try again after a failure. An attempt under way goes on in any case.
        self.patient = True

    def shorten(self, seconds: float) -> None:
        """Not later than `seconds` from now."""
        self.end = min(self.end, monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds until then; negative afterwards."""
        return self.end - monotonic()

    def pause(self, seconds: float) -> None:
        """Wait, in small pieces, since nobody may want it any more meanwhile."""
        until = monotonic() + seconds
        while self.patient and (left := min(until, self.end) - monotonic()) > 0:
            time.sleep(min(left, 0.1))


class Sender:
    """Sends to one gateway, for one thread at a time. An attempt may take `timeout` seconds."""

    def __init__(
        self, to: gateway.Gateway, *, timeout: float, backoff: float, gzip: bool = True
    ) -> None:
        self._to = to
        self._timeout = timeout
        self._backoff = backoff
        self._gzip = gzip
        self._last: delivery.Attempt | None = None

    def send(
        self, method: str, path: str, until: Deadline, *, page: bytes = b"", most: int = 0
    ) -> bytes:
        """Send, and give the first `most` bytes of the answer.

        Raises:
            PushError: it was refused, or did not arrive in time.

        """
        with forks.loading:
            from flowgauge.push import delivery  # noqa: PLC0415 - loads HTTP and TLS, which only a push needs

        headers, body = self._packed(page) if page else ({}, b"")
        if self._to.authorization:
            headers["Authorization"] = self._to.authorization
        request = delivery.Request(method, self._to.url + path, headers, body, most)
        began, attempts = monotonic(), 0
        while isinstance(answer := self._attempt(request, until), gateway.Failure):
            attempts += 1
            if not self._has_to_go_on(answer, attempts, until):
                tried = f"{attempts} attempt{'s' * (attempts > 1)} in {monotonic() - began:.1f} s"
                error = PushError(
                    f"cannot push to {request.url}: {answer.reason} ({tried}); {answer.remedy}"
                )
                error.refused = not answer.again
                raise error
        return answer.body

    def _has_to_go_on(self, failure: gateway.Failure, attempts: int, until: Deadline) -> bool:
        """Whether to try again; the pause before it is over then."""
        left = until.remaining()
        if failure.again and failure.pause < left:
            # The last pauses are shorter, so that the deadline does not fall into one.
            until.pause(max(failure.pause, min(_pause(self._backoff, attempts), left / 2)))
            return until.patient and until.remaining() > SHORTEST_ATTEMPT
        return False

    def _attempt(
        self, request: delivery.Request, until: Deadline
    ) -> delivery.Answer | gateway.Failure:
        from flowgauge.push import delivery  # noqa: PLC0415 - loaded already

        seconds = max(min(self._timeout, until.remaining()), SHORTEST_ATTEMPT)
        # The look-up of a name cannot be given up: at most one thread may be stuck in it.
        if self._last is not None and not self._last.is_over(seconds):
            return gateway.unanswered(TimeoutError("the attempt before it is still under way"))
        self._last = delivery.Attempt(request, delivery.Trust(*self._to.files), seconds)
        try:
            answer = self._last.send(lambda: until.end)
        except Exception as error:
            return gateway.unanswered(error)
        return gateway.refused(answer) or answer

    def _packed(self, page: bytes) -> tuple[dict[str, str], bytes]:
        headers = {"Content-Type": CONTENT_TYPE}
        if not self._gzip:
            return headers, page
        # 31 is a gzip header around the largest window; level 1 packs repeated labels well, and cheaply.
        return headers | {"Content-Encoding": "gzip"}, zlib.compress(page, level=1, wbits=31)


def _pause(first: float, attempt: int) -> float:
    """Seconds: exponential with full jitter, so that the pods of one schedule do not come back together.

    Not from `random`: its generator costs an import, and a fork may copy its state.
    """
    share = int.from_bytes(os.urandom(4), "big") / 2**32
    return share * min(first * 2.0 ** min(attempt - 1, 32), LONGEST_PAUSE)
