"""A gate between operators and the API server that sees every write of each pod, and can act before or after the n-th.

It answers with the API server's own certificate, so the operator is the one that users run, with nothing of a test in it.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

PORT = 7443
_METHODS = {"POST", "PUT", "PATCH", "DELETE"}


@dataclass(frozen=True)
class Write:
    """One write of a pod: when it came, and what the API server answered; 0 if nothing did."""

    address: str
    at: float
    method: str
    path: str
    status: int

    @property
    def is_lease(self) -> bool:
        return "/leases" in self.path


@dataclass
class Trap:
    """Act at one of the writes of a pod that concern a namespace: before it arrives, or before its answer does."""

    address: str
    part: str
    number: int
    is_before: bool
    act: Callable[[], None]
    is_sprung: bool = False


class Turnstile:
    """The gate; a context manager."""

    def __init__(self, certificates: Path, upstream: tuple[str, int]) -> None:
        self._server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server.load_cert_chain(certificates / "tls.crt", certificates / "tls.key")
        self._client = ssl.create_default_context(cafile=certificates / "ca.crt")
        self._upstream = upstream
        self._lock = threading.Lock()
        self._traps: list[Trap] = []
        self._blocked: set[str] = set()
        self.writes: list[Write] = []

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("0.0.0.0", PORT), backlog=256)  # noqa: S104 - pods come by the service's address
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # A close alone does not wake who waits in accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def set(self, trap: Trap) -> Trap:
        """Set a trap."""
        with self._lock:
            self._traps.append(trap)
        return trap

    def block(self, address: str) -> None:
        """Let nothing of a pod through any more, also of what is open: it waits for answers that do not come."""
        with self._lock:
            self._blocked.add(address)

    def unblock(self, address: str) -> None:
        """Undo `block`; what waited is cut."""
        with self._lock:
            self._blocked.discard(address)

    def of(self, address: str, since: float = 0.0) -> list[Write]:
        """The writes of a pod."""
        with self._lock:
            return [
                write for write in self.writes if write.address == address and write.at >= since
            ]

    def _accept(self) -> None:
        while True:
            try:
                raw, (address, _) = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(raw, address), daemon=True).start()

    def _serve(self, raw: socket.socket, address: str) -> None:
        outer = http.client.HTTPSConnection(*self._upstream, context=self._client)
        try:
            with self._server.wrap_socket(raw, server_side=True) as inner:
                while self._pass(inner, outer, address):
                    pass
        except (OSError, ValueError, http.client.HTTPException):
            raw.close()
        finally:
            outer.close()

    def _pass(self, inner: ssl.SSLSocket, outer: http.client.HTTPSConnection, address: str) -> bool:
        """Hand one request on and its answer back; return whether another may follow."""
        method, path, headers, body = _request(inner)
        self._wait_while_blocked(address)
        is_write = method in _METHODS and "accessreviews" not in path
        trap = self._trap(address, f"{path} {body.decode()}") if is_write else None
        if trap and trap.is_before:
            self._note(address, method, path, 0)
            trap.act()
            return False
        outer.request(method, path, body or None, headers)
        answer = outer.getresponse()
        if is_write:
            self._note(address, method, path, answer.status)
        if trap:
            trap.act()
        if "watch=true" in path:
            inner.sendall(_head(answer, "Connection: close"))
            while data := answer.read1(65536):
                self._wait_while_blocked(address)
                inner.sendall(data)
            return False
        data = answer.read()
        self._wait_while_blocked(address)
        inner.sendall(_head(answer, f"Content-Length: {len(data)}") + data)
        return True

    def _wait_while_blocked(self, address: str) -> None:
        was = False
        while address in self._blocked:
            was = True
            time.sleep(0.05)
        if was:
            raise OSError("cut")

    def _trap(self, address: str, text: str) -> Trap | None:
        with self._lock:
            for trap in self._traps:
                if trap.address == address and trap.part in text and not trap.is_sprung:
                    trap.number -= 1
                    if trap.number == 0:
                        trap.is_sprung = True
                        return trap
        return None

    def _note(self, address: str, method: str, path: str, status: int) -> None:
        with self._lock:
            self.writes.append(Write(address, time.monotonic(), method, path, status))


_OURS = {"connection", "content-length", "transfer-encoding", "keep-alive"}


def _request(inner: ssl.SSLSocket) -> tuple[str, str, dict[str, str], bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = inner.recv(65536)
        if not more:
            raise ValueError("closed")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    length = next(
        (int(value) for name, value in headers.items() if name.lower() == "content-length"), 0
    )
    while len(body) < length:
        body += inner.recv(65536)
    return (
        method,
        path,
        {name: value for name, value in headers.items() if name.lower() not in _OURS},
        body,
    )


def _head(answer: http.client.HTTPResponse, length: str) -> bytes:
    kept = [f"{name}: {value}" for name, value in answer.getheaders() if name.lower() not in _OURS]
    return "\r\n".join(
        [f"HTTP/1.1 {answer.status} {answer.reason}", *kept, length, "", ""]
    ).encode()
