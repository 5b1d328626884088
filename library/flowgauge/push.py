"""Push metrics to a Pushgateway: for jobs that end before anybody scrapes them.

A push replaces what its group had before, so it can be repeated until it arrives. What is pushed comes from `render`.
This module knows time and retries; `gateway` knows addresses and answers, `delivery` the network.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
import zlib
from collections.abc import Callable, Mapping
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self

from flowgauge import forks, gateway, guard

if TYPE_CHECKING:
    from flowgauge import delivery

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
# Seconds: the longest pause between two attempts, and what is too little for one more.
LONGEST_PAUSE: Final = 5.0
SHORTEST_ATTEMPT: Final = 0.1


class PushError(RuntimeError):
    """Metrics did not arrive; the message names the URL, what happened and the remedy."""


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


class Pusher:
    """Pushes the page that `render` gives to the group of `job` and `grouping` in a Pushgateway.

    `gateway_url` is an address (`localhost:9091`, `http://host:9091`, `https://host/prefix`), else
    `FLOWGAUGE_PUSHGATEWAY`; `off` sends nothing. `job` and `grouping` are labels of all that is pushed. Each
    combination of their values is a group that stays until it is deleted: never the name of a pod, or a run.
    `render` gives the page in the text format; else it is that of this process, as it is set up. `method` is
    PUT, which replaces the whole group, or POST, which replaces the metrics of the same names only.

    An attempt may take `timeout` seconds, all attempts together `deadline` seconds. After connection errors, timeouts,
    5xx and 429 it is tried again, after a random pause below `backoff` seconds, then below twice that and so on, at
    most five seconds. `auth` is a pair of user and password, or a bearer token; else that of the URL is used, and
    shown nowhere. `ca_file` and `client_cert` (a file, or a pair of certificate and key) are for https, and read anew
    for each attempt. `gzip=False` is for gateways before 1.5.

    Threads may push at the same time; one goes after the other. A forked child has no thread of `every`.

    Raises:
        ValueError: an argument or the environment variable cannot be used; the message names it.

    """

    def __init__(
        self,
        gateway_url: str | None,
        job: str,
        *,
        render: Callable[[], bytes] | None = None,
        grouping: Mapping[str, str | int] | None = None,
        method: Literal["PUT", "POST"] = "PUT",
        timeout: float = 5.0,
        deadline: float = 30.0,
        backoff: float = 0.5,
        auth: gateway.Auth | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        client_cert: str | tuple[str, str] | None = None,
        gzip: bool = True,
    ) -> None:
        if method not in ("PUT", "POST"):
            raise ValueError(f"method is {method!r}, must be 'PUT' or 'POST'")
        for name, value in (("timeout", timeout), ("deadline", deadline), ("backoff", backoff)):
            if not 0 < value < float("inf"):
                raise ValueError(f"{name} is {value!r}, must be a number of seconds above 0")
        self._gateway = gateway.find(
            gateway_url, auth=auth, ca_file=ca_file, client_cert=client_cert
        )
        group = gateway.path(job, grouping or {})
        self.url = f"{self._gateway.url}{group}" if self._gateway else ""
        self.deadline = deadline
        self._method = method
        self._timeout = timeout
        self._backoff = backoff
        self._render = render or current_page
        self._gzip = gzip
        self._begin()
        _pushers.add(self)

    def _begin(self) -> None:
        """What a forked child begins anew with: no lock that is held, no thread."""
        self._lock = threading.Lock()
        self._last: delivery.Attempt | None = None
        self._regular: _Regular | None = None

    def push(self, *, until: Deadline | None = None) -> None:
        """Push now, and return when it has arrived: after `deadline` seconds at the latest, or `until` then.

        Raises:
            PushError: it did not arrive in time, or the gateway refused it.
            Exception: what `render` raised.

        """
        self._alone(lambda: (self._method, self._render()), until or Deadline(self.deadline))

    def push_safely(self, *, until: Deadline | None = None) -> bool:
        """Push as `push` does, and log what goes wrong instead of raising it. Whether it has arrived."""
        return self._safely("push", until)

    def delete(self) -> None:
        """Delete the group in the gateway; one that is not there counts as deleted.

        Raises:
            PushError: the gateway could not be asked in time, or refused.

        """
        self._alone(lambda: ("DELETE", b""), Deadline(self.deadline))

    def every(self, seconds: float) -> Self:
        """Push at once and then every so many seconds, from a thread, until `stop`. Errors are logged.

        A pusher is a context manager too, which stops at its end.

        Raises:
            ValueError: `seconds` is below 1.

        """
        check_interval(seconds)
        self.halt()
        if self._gateway is not None:
            self._regular = _Regular(self, seconds)
            self._regular.start()
        return self

    def stop(self) -> bool:
        """End the thread of `every` and push a last time; without such a thread, do nothing. Whether all is well."""
        return self._safely("last push", None) if self.halt() else True

    def halt(self) -> bool:
        """End the thread of `every` without a last push, within `timeout` seconds. Whether there was one."""
        regular, self._regular = self._regular, None
        if regular is None:
            return False
        regular.stop(self._timeout)
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _safely(self, place: str, until: Deadline | None) -> bool:
        try:
            self.push(until=until)
        except PushError as error:
            guard.warn(f"{place} to {self.url}", f"{error}; the workflow goes on")
            return False
        except Exception as error:
            guard.report(f"{place} to {self.url}", error)
            return False
        return True

    def _alone(self, what: Callable[[], tuple[str, bytes]], until: Deadline) -> None:
        """Send what `what` gives, after all others: an older page must not arrive after a newer one."""
        if self._gateway is None:
            return
        if not self._lock.acquire(timeout=max(until.remaining(), 0.0)):
            raise PushError(
                f"cannot push to {self.url}: another push took all the time; raise deadline"
            )
        try:
            self._deliver(*what(), self._gateway, until)
        finally:
            self._lock.release()

    def _deliver(self, method: str, page: bytes, to: gateway.Gateway, until: Deadline) -> None:
        from flowgauge import delivery  # noqa: PLC0415 - loads HTTP and TLS, which only a push needs

        headers, body = self._packed(page) if page else ({}, b"")
        if to.authorization:
            headers["Authorization"] = to.authorization
        request = delivery.Request(method, self.url, headers, body)
        began, attempts = monotonic(), 0
        while (failure := self._attempt(request, delivery.Trust(*to.files), until)) is not None:
            attempts += 1
            if not self._go_on(failure, attempts, until):
                tried = f"{attempts} attempt{'s' * (attempts > 1)} in {monotonic() - began:.1f} s"
                raise PushError(
                    f"cannot push to {self.url}: {failure.reason} ({tried}); {failure.remedy}"
                )

    def _go_on(self, failure: gateway.Failure, attempts: int, until: Deadline) -> bool:
        """Whether to try again; the pause before it is over then."""
        left = until.remaining()
        if failure.again and failure.pause < left:
            # The last pauses are shorter, so that the deadline does not fall into one.
            until.pause(max(failure.pause, min(_pause(self._backoff, attempts), left / 2)))
            return until.patient and until.remaining() > SHORTEST_ATTEMPT
        return False

    def _attempt(
        self, request: delivery.Request, trust: delivery.Trust, until: Deadline
    ) -> gateway.Failure | None:
        from flowgauge import delivery  # noqa: PLC0415 - loaded already

        seconds = max(min(self._timeout, until.remaining()), SHORTEST_ATTEMPT)
        # The look-up of a name cannot be given up: at most one thread may be stuck in it.
        if self._last is not None and not self._last.is_over(seconds):
            return gateway.unanswered(TimeoutError("the attempt before it is still under way"))
        self._last = delivery.Attempt(request, trust, seconds)
        try:
            return gateway.refused(self._last.send(lambda: until.end))
        except Exception as error:
            return gateway.unanswered(error)

    def _packed(self, page: bytes) -> tuple[dict[str, str], bytes]:
        headers = {"Content-Type": CONTENT_TYPE}
        if not self._gzip:
            return headers, page
        # 31 is a gzip header around the largest window; level 1 packs repeated labels well, and cheaply.
        return headers | {"Content-Encoding": "gzip"}, zlib.compress(page, level=1, wbits=31)


class _Regular:
    """The thread of `Pusher.every`."""

    def __init__(self, pusher: Pusher, seconds: float) -> None:
        self._pusher = pusher
        self._seconds = seconds
        self._stopping = threading.Event()
        self._until = Deadline(0.0)
        self._thread = threading.Thread(target=self._push, name="flowgauge-pusher", daemon=True)

    def start(self) -> None:
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads
            guard.report("regular push", error)

    def stop(self, seconds: float) -> None:
        """End it; an attempt under way has so many seconds, and is then given up."""
        self._stopping.set()
        self._until.patient = False
        if self._thread.ident is not None:
            self._thread.join(seconds)
            self._until.shorten(0.0)
            self._thread.join(1.0)

    def _push(self) -> None:
        seconds = min(self._seconds, self._pusher.deadline)
        while not self._stopping.is_set():
            self._until = until = Deadline(seconds)
            # `stop` may have spoken to the deadline before this one.
            if self._stopping.is_set():
                return
            self._pusher.push_safely(until=until)
            self._stopping.wait(self._seconds)


def current_page() -> bytes:
    """The page of this process, as it is set up, in the text format."""
    from flowgauge import observability  # noqa: PLC0415 - loads what serving needs

    return observability.render_current("").body


def check_interval(seconds: float) -> None:
    """Refuse what is no interval of pushes.

    Raises:
        ValueError: it is below a second.

    """
    if not seconds >= 1:
        raise ValueError(f"every is {seconds!r}, must be a number of seconds, 1 or more")


def _pause(first: float, attempt: int) -> float:
    """Seconds: exponential with full jitter, so that the pods of one schedule do not come back together.

    Not from `random`: its generator costs an import, and a fork may copy its state.
    """
    share = int.from_bytes(os.urandom(4), "big") / 2**32
    return share * min(first * 2.0 ** min(attempt - 1, 32), LONGEST_PAUSE)


_pushers: weakref.WeakSet[Pusher] = weakref.WeakSet()


def _begin_anew() -> None:
    for pusher in list(_pushers):
        pusher._begin()  # noqa: SLF001


forks.on_fork(_begin_anew)
