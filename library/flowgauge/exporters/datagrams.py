"""Send UDP datagrams to a host whose address may change, and notice when nobody listens.

UDP confirms nothing. But the machine itself answers for its own ports, at once: a datagram to a closed port of the
loopback is known to be lost right after it was sent. That covers an agent beside the program, the usual case. For
another machine the answer comes too late, and what a dead server does not hear is lost.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import socket
import threading
from time import monotonic
from typing import Any, Final

# A name may move to another address while we send; agents are restarted on other nodes.
LOOKUP_SECONDS: Final = 60.0

_Address = tuple[socket.AddressFamily, Any]


class Datagrams:
    """Datagrams to `port` of `host`. Opens nothing until it sends."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._addresses: list[_Address] = []
        self._looked_up = -math.inf
        self._lookup: _Lookup | None = None
        self._socket: socket.socket | None = None

    def send(self, data: bytes, seconds: float) -> None:
        """Send one datagram, to the first address of the host where somebody seems to listen.

        Raises:
            OSError: it was not sent, or nobody listens, as far as can be known.

        """
        self._find(seconds)
        failure: OSError | None = None
        for _ in range(len(self._addresses)):
            try:
                return self._try(data, seconds)
            except OSError as error:
                failure = error
                self.close()
                # `localhost` is often two addresses, of which the agent listens on one.
                self._addresses.append(self._addresses.pop(0))
        self._looked_up = -math.inf  # perhaps it has moved
        raise failure or OSError(f"{self._host} has no address")

    def close(self) -> None:
        """Close the socket; the next datagram opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __del__(self) -> None:
        # Who drops an exporter without closing it has nothing to lose: a datagram is sent or it is not.
        self.close()

    def _try(self, data: bytes, seconds: float) -> None:
        if self._socket is None:
            family, address = self._addresses[0]
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
            self._socket.connect(address)
        self._socket.settimeout(seconds)
        # An answer that came after the last datagram is about that one; it must not fail this one.
        self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self._socket.send(data)
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))

    def _find(self, seconds: float) -> None:
        """Look the host up, when it was not or is due. Known addresses stay when the name server is down."""
        if monotonic() - self._looked_up < LOOKUP_SECONDS:
            return
        try:
            found = self._look_up(seconds)
        except OSError:
            if not self._addresses:
                raise
            found = self._addresses
        self._looked_up = monotonic()
        if self._addresses[:1] and self._addresses[0] in found:
            # Stay with the address that works.
            found = [self._addresses[0], *(each for each in found if each != self._addresses[0])]
        else:
            self.close()
        self._addresses = found

    def _look_up(self, seconds: float) -> list[_Address]:
        with contextlib.suppress(socket.gaierror):
            return _addresses(self._host, self._port, socket.AI_NUMERICHOST)
        # A name server that is silent keeps `getaddrinfo` for half a minute, and nothing can cut it short; so
        # a thread asks, one at a time, and we wait as long as we have.
        if self._lookup is None:
            self._lookup = _Lookup(self._host, self._port)
        answer = self._lookup.wait(seconds)
        self._lookup = None
        return answer


class _Lookup:
    """One question to the name server."""

    def __init__(self, host: str, port: int) -> None:
        self._question = (host, port)
        self._answer: list[_Address] | OSError = OSError(errno.ETIMEDOUT, "no answer")
        self._thread = threading.Thread(target=self._ask, name="flowgauge-lookup", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is ending, or there are no more threads
            self._ask()

    def _ask(self) -> None:
        try:
            self._answer = _addresses(*self._question)
        except (
            OSError,
            UnicodeError,
        ) as error:  # a label longer than 63 characters is a UnicodeError
            self._answer = error if isinstance(error, OSError) else OSError(str(error))

    def wait(self, seconds: float) -> list[_Address]:
        if self._thread.ident is not None:
            self._thread.join(seconds)
        if self._thread.is_alive():
            raise TimeoutError(f"looking up {self._question[0]} takes longer than {seconds:.1f} s")
        if isinstance(self._answer, OSError):
            raise self._answer
        return self._answer


def _addresses(host: str, port: int, flags: int = 0) -> list[_Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]
