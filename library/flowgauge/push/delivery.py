"""One HTTP request that is over in time, whatever the other side does: refuse, hang, drip, or not be found.

Called by `push`, and loaded only when something is sent. Knows nothing of metrics and does not try again.
"""

from __future__ import annotations

import contextlib
import http.client
import queue
import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

# Bytes of an answer that are kept: enough for a sentence that says why.
ANSWER_BYTES: Final = 2_000
# Seconds after which the end of an attempt is looked up anew: it may have moved.
LOOK_SECONDS: Final = 0.2


class Trust(NamedTuple):
    """Files in PEM format: whom to trust, and who we are. Empty: the system's certificates, and nobody."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    def context(self) -> ssl.SSLContext:
        """Read the files, each time anew: certificates are replaced while a program runs.

        Raises:
            OSError: a file cannot be read, or holds no certificate or key; `ssl.SSLError` is one too.

        """
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if self.cert_file:
            context.load_cert_chain(self.cert_file, self.key_file or None)
        return context


class Request(NamedTuple):
    """What to send. `url` is absolute and encoded, without credentials; these are in `headers`.

    `most` is how many bytes of a good answer's body are read; by default nobody is interested in it.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    most: int = 0


class Answer(NamedTuple):
    """What came back: `body` of a success, as much as was asked for, and `text` is the beginning of another one."""

    status: int
    reason: str
    text: str = ""
    location: str = ""
    retry_after: str = ""
    body: bytes = b""


class Attempt:
    """One sending of a request, in a thread of its own.

    A thread, because looking up a name has no timeout, a server that drips resets that of a socket with
    each byte, and a signal must reach the thread that waits.
    """

    def __init__(self, request: Request, trust: Trust, seconds: float) -> None:
        self._request = request
        self._trust = trust
        self._seconds = seconds
        self._abandoned = False
        self._connection: http.client.HTTPConnection | None = None
        # A queue that a signal handler cannot lock for ever, unlike an event or a condition.
        self._outcome: queue.SimpleQueue[Answer | Exception] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="flowgauge-push", daemon=True)

    def send(self, until: Callable[[], float]) -> Answer:
        """Send, and wait until `until()` on the monotonic clock, which may move meanwhile.

        Raises:
            OSError: nobody answered in time (`TimeoutError`), or the connection failed.
            http.client.HTTPException: the answer is no HTTP.

        """
        end = monotonic() + self._seconds
        try:
            self._thread.start()
        except RuntimeError:
            # No more threads, or the interpreter is about to end. Only silence ends this one in time.
            return _answer_of(self._exchanged())
        while (left := min(end, until()) - monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                return _answer_of(self._outcome.get(timeout=min(left, LOOK_SECONDS)))
        self._abandon()
        raise TimeoutError(f"no answer within {self._seconds:.3g} s")

    def is_over(self, seconds: float) -> bool:
        """Whether nothing of it is left, after waiting for at most so long."""
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _abandon(self) -> None:
        self._abandoned = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            # Not the method of a TLS socket, which would say goodbye first and wait for an answer.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    def _run(self) -> None:
        self._outcome.put(self._exchanged())

    def _exchanged(self) -> Answer | Exception:
        try:
            return self._exchange()
        except Exception as error:
            return error

    def _exchange(self) -> Answer:
        connection, target, headers = self._route()
        with contextlib.closing(connection):
            self._connection = connection
            connection.connect()
            # What was given up must not arrive after what was sent later.
            if self._abandoned:
                raise TimeoutError
            connection.sock.settimeout(self._seconds)
            try:
                connection.request(
                    self._request.method, target, self._request.body or None, dict(headers)
                )
            except (BrokenPipeError, ConnectionResetError):
                # A server may refuse before it has read all; then it has said why.
                with contextlib.suppress(OSError, http.client.HTTPException):
                    return _answer(connection.getresponse(), self._request.most)
                raise
            return _answer(connection.getresponse(), self._request.most)

    def _route(self) -> tuple[http.client.HTTPConnection, str, Mapping[str, str]]:
        """The connection, the target of the request line, the headers; by the environment's proxies, as urllib does."""
        url = urlsplit(self._request.url)
        path = url._replace(scheme="", netloc="").geturl() or "/"
        headers = {"User-Agent": "flowgauge", "Connection": "close", **self._request.headers}
        proxy = _proxy(url)
        if proxy is None:
            return self._connected_to(url), path, headers
        permit = {}
        if proxy.username:
            pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
            permit = {"Proxy-Authorization": basic(pair)}
        if url.scheme == "http":
            return self._connected_to(proxy), self._request.url, headers | permit
        tunnel = self._connected_to(url, through=proxy)
        tunnel.set_tunnel(url.hostname or "", url.port or 443, permit)
        return tunnel, path, headers

    def _connected_to(
        self, url: SplitResult, *, through: SplitResult | None = None
    ) -> http.client.HTTPConnection:
        first = through or url
        host, port = first.hostname or "", first.port or (443 if first.scheme == "https" else 80)
        # Half of the time for connecting to each address, so that the second one of a host has its turn.
        half = self._seconds / 2
        if url.scheme == "https":
            return http.client.HTTPSConnection(
                host, port, timeout=half, context=self._trust.context()
            )
        return http.client.HTTPConnection(host, port, timeout=half)


def basic(pair: str) -> str:
    """The header value for `user:password`."""
    import base64  # noqa: PLC0415 - few need it

    return "Basic " + base64.b64encode(pair.encode()).decode()


def _proxy(url: SplitResult) -> SplitResult | None:
    """The environment's proxy for a URL; None where there is none, or `no_proxy` names the host."""
    address = urllib.request.getproxies().get(url.scheme)
    if not address or urllib.request.proxy_bypass(url.netloc):
        return None
    return urlsplit(address if "://" in address else f"http://{address}")


def _answer(response: http.client.HTTPResponse, most: int) -> Answer:
    body = text = b""
    with response:
        if 200 <= response.status < 300:
            body = response.read(most) if most else b""
        else:
            with contextlib.suppress(OSError, http.client.HTTPException):
                text = response.read(ANSWER_BYTES)
    return Answer(
        response.status,
        response.reason,
        " ".join(text.decode(errors="replace").split()),
        location=response.headers.get("Location", ""),
        retry_after=response.headers.get("Retry-After", ""),
        body=body,
    )


def _answer_of(outcome: Answer | Exception) -> Answer:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
