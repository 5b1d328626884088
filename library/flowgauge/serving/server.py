"""Serve metrics over HTTP, so that no client can stop the workflow, a scrape, or another client.

One thread does all that concerns sockets, and never waits for a single one: clients that are silent, slow or in the
middle of a TLS handshake cost a place among `CONNECTIONS`, and no thread. Rendering has another thread, which exists
only while there is something to render. So there are at most three threads, whatever comes: the third asks whether the
program is ready. Without clients nothing is woken.

When all places are taken, a new client gets the place of the one that is least busy: first those that are between two
requests, the oldest first, then those that are slow to ask, then those that are slow to read.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

from flowgauge import guard
from flowgauge.serving import answers
from flowgauge.serving.answers import Answer, Metrics
from flowgauge.serving.connection import BlockedError, ClosedError, Connection, Phase, Transport
from flowgauge.serving.pages import Render
from flowgauge.serving.request import BadRequestError, Request
from flowgauge.serving.site import Site

if TYPE_CHECKING:
    from flowgauge.serving.auth import Auth
    from flowgauge.serving.tls import Tls

CONNECTIONS: Final = 64
# Answers that clients have not taken yet are memory of the workflow: at most so many different ones are kept.
UNREAD_PAGES: Final = 8
# How long a connection may be in a phase. IDLE is longer than a scrape interval of a minute.
SECONDS: Final = {
    Phase.IDLE: 75.0,
    Phase.DRAINING: 2.0,
    Phase.ASKING: 5.0,
    Phase.SENDING: 30.0,
    Phase.WAITING: answers.RENDER_SECONDS,
}
STOP_SECONDS: Final = 2.0

_BACKLOG: Final = 128
# Connections accepted in a row, before what they sent is looked at.
_ROUND: Final = 16
# How long not to accept when the process has no file descriptor left.
_PAUSE_SECONDS: Final = 0.5


class Server:
    """Listens on one address and answers `path`, `/healthz` and `/readyz`.

    `host` empty means all addresses, `port` 0 one that is free. `ready` tells whether the program can do its work;
    it may block, and is called in a thread of its own. Health and readiness need no credentials, since they tell no
    numbers and Kubernetes' probes have none; with a `client_ca` they need the certificate like everything else.
    With `share` other processes of the same user may listen on the port too, and the system chooses one of them for
    each connection.

    Raises:
        OSError: the address cannot be listened on.
        ValueError: the path cannot be served, or a file of `tls` or `auth` cannot be used.

    """

    def __init__(
        self,
        host: str,
        port: int,
        render: Render,
        *,
        path: str = "/metrics",
        tls: Tls | None = None,
        auth: Auth | None = None,
        ready: Callable[[], bool] | None = None,
        share: bool = False,
    ) -> None:
        self._site = Site(Metrics(render, auth), path, ready)
        self._transport = tls.transports() if tls else Transport
        self._listener = _listener(host, port, share=share)
        self._listener.setblocking(False)
        self._resume = 0.0  # when to accept again, after the process had no file descriptor left
        self._connections: dict[Connection, None] = {}  # a set that keeps the order
        self._replies: deque[tuple[Connection, Request, Answer]] = deque()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._stopping = False
        self._until = 0.0  # once it stops: when to give up on those that take their answer slowly
        self._thread = threading.Thread(target=self._serve, name="flowgauge-metrics", daemon=True)
        self.port: Final = int(self._listener.getsockname()[1])

    def start(self) -> None:
        """Answer requests from now on.

        Raises:
            OSError: there can be no more threads.

        """
        try:
            self._thread.start()
        except RuntimeError as error:
            self.let_go()
            raise OSError(errno.EAGAIN, str(error)) from error

    def stop(self) -> None:
        """Stop listening; requests that have come are still answered, for `STOP_SECONDS` at most."""
        self._stopping = True
        self._wake()
        if self._thread.is_alive():
            self._thread.join(2 * STOP_SECONDS)
        self.let_go()

    def let_go(self) -> None:
        """Close the sockets. Enough in a forked child, where the threads do not exist; the parent's stay open."""
        # Not unregistered: the child shares the parent's epoll object.
        for connection in list(self._connections):
            connection.transport.close()
        for end in (self._selector, self._listener, self._woken, self._waker):
            end.close()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full, so that it is awake, or closed
            self._waker.send(b"x")

    def _serve(self) -> None:
        while not self._stopping:
            self._safely(self._turn)
        self._until = monotonic() + STOP_SECONDS
        self._safely(self._wind_up)
        while self._connections and monotonic() < self._until:
            self._safely(self._turn)

    def _safely(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            # Nothing of this is expected. The endpoint goes on, and a fault that stays does not take a whole core.
            guard.report("serve", error)
            sleep(0.1)

    def _turn(self) -> None:
        ready = self._selector.select(self._timeout())
        acceptable = False
        for key, _ in ready:
            if key.fileobj is self._listener:
                acceptable = True
            elif key.fileobj is self._woken:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4096)
            elif key.data in self._connections:
                self._advance(key.data)
        self._deliver()
        # After those that are here already: a new client may take the place of one of them.
        if acceptable:
            self._accept()
        self._cut_late()

    def _timeout(self) -> float | None:
        if self._replies:
            return 0.0
        ends = [c.since + SECONDS[c.phase] for c in self._connections]
        ends += [end for end in (self._resume, self._until) if end]
        return max(0.0, min(ends) - monotonic()) if ends else None

    def _accept(self) -> None:
        for _ in range(_ROUND):
            try:
                sock, _address = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(error)
                return
            self._welcome(sock)

    def _pause(self, error: OSError) -> None:
        guard.warn(
            "accept", f"cannot accept connections for metrics ({error.strerror}); trying again"
        )
        self._cut_least_busy()
        self._selector.unregister(self._listener)
        self._resume = monotonic() + _PAUSE_SECONDS

    def _welcome(self, sock: socket.socket) -> None:
        if len(self._connections) >= CONNECTIONS:
            self._cut_least_busy()
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(self._transport(sock), monotonic())
        except OSError:  # it has gone already
            sock.close()
            return
        self._connections[connection] = None
        self._advance(connection)

    def _advance(self, connection: Connection) -> None:
        now = monotonic()
        try:
            request = connection.advance(now)
        except BlockedError as blocked:
            self._watch(connection, blocked.events)
        except BadRequestError as bad:
            answer = answers.plain(bad.status, bad.text)
            connection.reply(
                answers.head(answer, close=True), answer.body, now, last=True, linger=True
            )
            self._advance(connection)
        except (ClosedError, OSError):
            self._close(connection)
        except Exception as error:
            guard.report("connection", error)
            self._close(connection)
        else:
            self._watch(connection, 0)
            self._site.answer(request, partial(self._reply, connection, request))

    def _reply(self, connection: Connection, request: Request, answer: Answer) -> None:
        self._replies.append((connection, request, answer))
        if threading.get_ident() != self._thread.ident:
            self._wake()

    def _deliver(self) -> None:
        # Those that are here now: a client that sends request after request must not keep the thread.
        for _ in range(len(self._replies)):
            connection, request, answer = self._replies.popleft()
            # It may have been cut off meanwhile, or told that it takes too long.
            if connection in self._connections:
                # A body is not read, and what is left of it must not be taken for the next request.
                last = self._stopping or request.has_body or not request.keep_alive
                body = b"" if request.method == "HEAD" else answer.body
                connection.reply(
                    answers.head(answer, close=last),
                    body,
                    monotonic(),
                    last=last,
                    linger=request.has_body,
                )
                self._advance(connection)
                self._limit_unread()

    def _limit_unread(self) -> None:
        slow = sorted((c for c in self._connections if c.page), key=lambda c: c.since)
        pages = list({id(c.page): None for c in slow})
        for dropped in pages[:-UNREAD_PAGES]:
            for connection in [c for c in slow if id(c.page) == dropped]:
                self._close(connection)

    def _watch(self, connection: Connection, events: int) -> None:
        if events == connection.events:
            return
        sock: Any = connection.transport.socket
        if not connection.events:
            self._selector.register(sock, events, connection)
        elif events:
            self._selector.modify(sock, events, connection)
        else:
            self._selector.unregister(sock)
        connection.events = events

    def _close(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        try:
            self._watch(connection, 0)
        finally:
            connection.transport.close()

    def _cut_least_busy(self) -> None:
        found = min(self._connections, key=lambda c: (c.phase, c.since), default=None)
        if found is not None:
            self._close(found)

    def _cut_late(self) -> None:
        now = monotonic()
        if self._resume and now >= self._resume:
            self._resume = 0.0
            self._selector.register(self._listener, selectors.EVENT_READ)
        for connection in [c for c in self._connections if now - c.since >= SECONDS[c.phase]]:
            if connection.phase is Phase.WAITING:
                answer = answers.too_slow()
                connection.reply(
                    answers.head(answer, close=True), answer.body, now, last=True, linger=False
                )
                self._advance(connection)
            # Also if it did not take that: the late answer must find nobody.
            if connection in self._connections:
                self._close(connection)

    def _wind_up(self) -> None:
        if not self._resume:
            self._selector.unregister(self._listener)
        self._resume = 0.0
        self._listener.close()
        for connection in list(self._connections):
            if connection.phase not in (Phase.WAITING, Phase.SENDING):
                self._close(connection)


def _listener(host: str, port: int, *, share: bool) -> socket.socket:
    create = partial(socket.create_server, backlog=_BACKLOG, reuse_port=share)
    if host:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return create((host, port), family=family)
    if socket.has_dualstack_ipv6() and _has_ipv6():
        return create(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return create(("", port))


def _has_ipv6() -> bool:
    # The kernel may know the protocol while the machine has no address of it.
    with contextlib.suppress(OSError), socket.create_server(("::", 0), family=socket.AF_INET6):
        return True
    return False
