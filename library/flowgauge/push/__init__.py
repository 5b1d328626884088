"""Push metrics to a Pushgateway: for jobs that end before anybody scrapes them.

A push replaces what its group had before, so it can be repeated until it arrives. What is pushed comes from `render`;
`gateway` knows addresses and groups, `sending` time and retries, `history` the runs before this one.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Literal, Self

from flowgauge import forks, guard
from flowgauge.push import gateway, history
from flowgauge.push.sending import Deadline, PushError, Sender

__all__ = ["Deadline", "PushError", "Pusher"]

# What each group had before this process pushed to it, by its URL: one for all pushers, as their page is one.
_histories: Final[dict[str, history.History]] = {}


class Pusher:
    """Pushes the page that `render` gives to the group of `job` and `grouping` in a Pushgateway.

    `gateway_url` is an address (`localhost:9091`, `http://host:9091`, `https://host/prefix`), else
    `FLOWGAUGE_PUSHGATEWAY`; `off` sends nothing. `job` and `grouping` are labels of all that is pushed. Each
    combination of their values is a group that stays until it is deleted: never the name of a pod, or a run.
    `render` gives the page in the text format; else it is that of this process, as it is set up. `method` is
    PUT, which replaces the whole group, or POST, which replaces the metrics of the same names only. With `cumulative`,
    counters go on from what the group had when this process first pushed to it, so that they add up over all
    runs of the job; nobody else may push to the group meanwhile.

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
        cumulative: bool = False,
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
        found = gateway.find(gateway_url, auth=auth, ca_file=ca_file, client_cert=client_cert)
        self._path = gateway.path(job, grouping or {})
        self._group = {"job": job, **{name: str(text) for name, text in (grouping or {}).items()}}
        self.url = f"{found.url}{self._path}" if found else ""
        self.deadline = deadline
        self._timeout = timeout
        self._method = method
        self._cumulative = cumulative
        self._render = render or current_page
        self._new_sender = found and functools.partial(
            Sender, found, timeout=timeout, backoff=backoff, gzip=gzip
        )
        self._begin()
        _pushers.add(self)

    def _begin(self) -> None:
        """What a forked child begins anew with: no lock that is held, no thread."""
        self._lock = threading.Lock()
        self._sender = self._new_sender() if self._new_sender else None
        self._regular: _Regular | None = None

    def push(self, *, until: Deadline | None = None) -> None:
        """Push now, and return when it has arrived: after `deadline` seconds at the latest, or `until` then.

        Raises:
            PushError: it did not arrive in time, or the gateway refused it.
            Exception: what `render` raised.

        """
        self._alone(self._push, until)

    def push_safely(self, *, until: Deadline | None = None) -> bool:
        """Push as `push` does, and log what goes wrong instead of raising it. Whether it has arrived."""
        return self._safely("push", until)

    def delete(self) -> None:
        """Delete the group in the gateway; one that is not there counts as deleted.

        Raises:
            PushError: the gateway could not be asked in time, or refused.

        """
        self._alone(self._delete, None)

    def every(self, seconds: float) -> Self:
        """Push at once and then every so many seconds, from a thread, until `stop`. Errors are logged.

        A pusher is a context manager too, which stops at its end.

        Raises:
            ValueError: `seconds` is below 1.

        """
        check_interval(seconds)
        self.halt()
        if self._sender is not None:
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

    def _alone(self, act: Callable[[Sender, Deadline], None], until: Deadline | None) -> None:
        """One after the other: an older page must not arrive after a newer one."""
        if self._sender is None:
            return
        until = until or Deadline(self.deadline)
        if not self._lock.acquire(timeout=max(until.remaining(), 0.0)):
            raise PushError(
                f"cannot push to {self.url}: another push took all the time; raise deadline"
            )
        try:
            act(self._sender, until)
        finally:
            self._lock.release()

    def _push(self, sender: Sender, until: Deadline) -> None:
        # What is earlier, first: after our own page has arrived, it could not be told any more.
        earlier = self._earlier(sender, until) if self._cumulative else history.NONE
        page = history.added(self._render(), earlier, self._group)
        sender.send(self._method, self._path, until, page=page)

    def _delete(self, sender: Sender, until: Deadline) -> None:
        sender.send("DELETE", self._path, until)
        _histories[self.url] = history.NONE

    def _earlier(self, sender: Sender, until: Deadline) -> history.History:
        if self.url not in _histories:
            found = history.NONE
            try:
                answer = sender.send("GET", history.ADDRESS, until, most=history.LARGEST_ANSWER + 1)
                found = history.parse(answer, self._group)
            except (PushError, ValueError) as error:
                if isinstance(error, PushError) and not error.refused:
                    raise
                guard.warn(
                    f"history of {self.url}",
                    f"counters begin anew, since the gateway does not tell what it has: {error}",
                )
            # Another thread may have asked before, and pushed since.
            _histories.setdefault(self.url, found)
        return _histories[self.url]


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


_pushers: weakref.WeakSet[Pusher] = weakref.WeakSet()


def _begin_anew() -> None:
    # The parent goes on pushing to its groups, and what it has pushed is earlier for a child.
    _histories.clear()
    for pusher in list(_pushers):
        pusher._begin()  # noqa: SLF001


forks.on_fork(_begin_anew)
