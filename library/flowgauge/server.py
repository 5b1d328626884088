"""Serve metrics over HTTP from threads of its own, so that no client can stop the workflow or a scrape.

At most `CONNECTIONS` clients at a time, one thread each. A client that is slow to ask is cut off after
`REQUEST_SECONDS`, and earlier when a new one needs its place; the one that waited longest goes first.
"""

from __future__ import annotations

import contextlib
import gzip
import logging
import selectors
import socket
import socketserver
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from time import monotonic
from typing import Any, Final

from flowgauge.exposition import Page

CONNECTIONS: Final = 32
REQUEST_SECONDS: Final = 5.0
RESPONSE_SECONDS: Final = 10.0

_log = logging.getLogger("flowgauge")

Render = Callable[[str], Page]


class Server(socketserver.TCPServer):
    """Listens on one address and hands each connection to a thread, `CONNECTIONS` at most.

    Raises:
        OSError: the address cannot be listened on.

    """

    request_queue_size = 128
    timeout = 0  # `handle_request` is called when there is one

    def __init__(self, host: str, port: int, render: Render) -> None:
        listener = _listener(host, port, backlog=self.request_queue_size)
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.render = render
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        # Connections whose request has not come yet, the oldest first, and since when.
        self.asking: dict[socket.socket, float] = {}
        self._woken, self._wake = socket.socketpair()
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name="flowgauge-metrics", daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Answer requests from now on, in threads of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening; requests that have come are still answered."""
        self._stopping = True
        self._wake.send(b"x")
        self._thread.join()
        self.let_go()

    def let_go(self) -> None:
        """Close the sockets. Enough in a forked child, where the threads do not exist."""
        for end in (self.socket, self._woken, self._wake):
            end.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self.socket, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while not self._stopping:
                # Without clients there is nothing to look after, and an idle pod is not woken.
                ready = selector.select(0.5 if self.asking else None)
                if any(key.fileobj is self.socket for key, _ in ready):
                    self.handle_request()
                self.service_actions()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection; without a free one, cut off the client that has been asking for longest."""
        if not self._free.acquire(blocking=False):
            for oldest in list(self.asking)[:1]:
                _cut_off(oldest)
            if not self._free.acquire(timeout=1.0):
                self.shutdown_request(request)
                return
        self.asking[request] = monotonic()
        thread = threading.Thread(target=self._answer, args=(request, client_address), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads
            self._done(request)

    def service_actions(self) -> None:
        """Cut off clients that are too slow; called twice a second while there are any."""
        now = monotonic()
        for client, since in list(self.asking.items()):
            if now - since > REQUEST_SECONDS:
                _cut_off(client)

    def _answer(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass  # the client went away
        except Exception:
            _log.exception("a request for metrics failed")
        finally:
            self._done(request)

    def _done(self, request: Any) -> None:
        self.asking.pop(request, None)
        self.shutdown_request(request)
        self._free.release()


class _Handler(BaseHTTPRequestHandler):
    """Answers one request: /metrics, /healthz, or that there is nothing."""

    server: Server
    server_version = "flowgauge"
    sys_version = ""
    protocol_version = "HTTP/1.1"
    timeout = REQUEST_SECONDS

    def do_GET(self) -> None:
        """Answer with the body."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer without the body."""
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        self.server.asking.pop(self.connection, None)
        self.connection.settimeout(RESPONSE_SECONDS)
        # One request for each connection: an idle one would keep a thread.
        self.close_connection = True
        status, page = self._page()
        body, packed = page.body, _accepts_gzip(self.headers.get("Accept-Encoding", ""))
        if packed:
            body = gzip.compress(
                body, compresslevel=1
            )  # level 9 costs ten times the time for a sixth of the bytes
        self.send_response(status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _page(self) -> tuple[HTTPStatus, Page]:
        path = self.path.partition("?")[0]
        if path == "/healthz":
            return HTTPStatus.OK, _plain("ok\n")
        if path != "/metrics":
            return HTTPStatus.NOT_FOUND, _plain("not found; see /metrics and /healthz\n")
        try:
            return HTTPStatus.OK, self.server.render(self.headers.get("Accept", ""))
        except Exception:
            _log.exception("metrics could not be rendered")
            return HTTPStatus.INTERNAL_SERVER_ERROR, _plain(
                "metrics could not be rendered; see the log\n"
            )

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Log requests for those who debug, instead of printing them."""
        _log.debug(format, *args)


def _plain(text: str) -> Page:
    return Page(text.encode(), "text/plain; charset=utf-8")


def _cut_off(client: socket.socket) -> None:
    # The thread that waits for this client sees the end of the connection, and ends.
    with contextlib.suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)


def _listener(host: str, port: int, *, backlog: int) -> socket.socket:
    if host:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=backlog)
    if socket.has_dualstack_ipv6() and _has_ipv6():
        return socket.create_server(
            ("", port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True
        )
    return socket.create_server(("", port), backlog=backlog)


def _has_ipv6() -> bool:
    # The kernel may know the protocol while the machine has no address of it.
    with contextlib.suppress(OSError), socket.create_server(("::", 0), family=socket.AF_INET6):
        return True
    return False


def _accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding header allows gzip; `gzip;q=0` does not."""
    for item in header.lower().split(","):
        coding, *parameters = (part.strip() for part in item.split(";"))
        if coding in ("gzip", "*"):
            weights = [p.removeprefix("q=") for p in parameters if p.startswith("q=")]
            return not weights or _weight(weights[0]) > 0
    return False


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
