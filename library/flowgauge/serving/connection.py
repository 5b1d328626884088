"""One client of the server: what was received, what is to be sent, and what it waits for. Never blocks.

Every method does what can be done at once. Only the server's thread calls them.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections import deque
from enum import IntEnum
from typing import Final

from flowgauge.serving import request
from flowgauge.serving.request import Request

READ: Final = selectors.EVENT_READ
WRITE: Final = selectors.EVENT_WRITE

_RECEIVE_BYTES: Final = 16_384
_SEND_BYTES: Final = 262_144


class BlockedError(Exception):
    """Nothing more can be done before the socket can be read or written: `events` says which."""

    def __init__(self, events: int) -> None:
        super().__init__()
        self.events = events


class ClosedError(Exception):
    """The client has gone, or has had its last answer."""


class Phase(IntEnum):
    """What a connection does. In this order they are cut off when a new one needs a place."""

    IDLE = 0  # between two requests
    DRAINING = 1  # answered for the last time; the rest of what it sends is thrown away
    ASKING = 2  # handshake, or a request that is not complete
    SENDING = 3  # the client takes its answer
    WAITING = 4  # the answer is being made


class Transport:
    """A socket that never blocks. Methods raise `BlockedError`, or an `OSError` when the connection is broken."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def shake(self) -> None:
        """Do the next part of a handshake; returns when it is complete."""

    def receive(self, size: int) -> bytes:
        """What has come; nothing at the end."""
        try:
            return self.socket.recv(size)
        except BlockingIOError:
            raise BlockedError(READ) from None

    def send(self, data: memoryview) -> int:
        """Send the beginning of `data`; returns how many bytes."""
        try:
            return self.socket.send(data)
        except BlockingIOError:
            raise BlockedError(WRITE) from None

    def finish(self) -> None:
        """Tell the client that nothing more comes."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


class Connection:
    """The state of one client. `since` is when its phase began, on the monotonic clock."""

    __slots__ = (
        "_last",
        "_linger",
        "_received",
        "_shaken",
        "_unsent",
        "events",
        "page",
        "phase",
        "since",
        "transport",
    )

    def __init__(self, transport: Transport, now: float) -> None:
        self.transport = transport
        self.phase = Phase.ASKING
        self.since = now
        self.events = 0  # what the selector watches for
        self.page = b""  # the body that is being sent
        self._shaken = self._last = self._linger = False
        self._received = bytearray()
        self._unsent: deque[memoryview] = deque()

    def advance(self, now: float) -> Request:
        """Do what can be done, up to the next request.

        Raises:
            BlockedError: the client must do something first.
            ClosedError: the connection is to be closed.
            OSError: it is broken.
            BadRequestError: the client sent what is no request.

        """
        if not self._shaken:
            self.transport.shake()
            self._shaken = True
        if self.phase is Phase.SENDING:
            self._send()
            self._sent(now)
        if self.phase is Phase.DRAINING:
            self._drain()
        return self._read(now)

    def reply(self, head: bytes, body: bytes, now: float, *, last: bool, linger: bool) -> None:
        """Take an answer, to be sent by `advance`. After the `last` one the connection ends.

        With `linger` what the client still sends is read and thrown away for a while, since closing a socket with
        unread data destroys what the client has not read yet.
        """
        self.page = body
        parts = (head + body,) if len(body) < _RECEIVE_BYTES else (head, body)
        self._unsent.extend(memoryview(part) for part in parts)
        self._last, self._linger = last, linger
        self._enter(Phase.SENDING, now)

    def _enter(self, phase: Phase, now: float) -> None:
        self.phase, self.since = phase, now

    def _read(self, now: float) -> Request:
        while True:
            size = request.end(self._received)
            if size:
                head = bytes(self._received[:size])
                del self._received[:size]
                self._enter(Phase.WAITING, now)
                return request.parse(head)
            data = self.transport.receive(_RECEIVE_BYTES)
            if not data:
                raise ClosedError
            if self.phase is Phase.IDLE:
                self._enter(Phase.ASKING, now)
            self._received += data

    def _send(self) -> None:
        while self._unsent:
            part = self._unsent[0]
            sent = self.transport.send(part[:_SEND_BYTES])
            if sent < len(part):
                self._unsent[0] = part[sent:]
            else:
                self._unsent.popleft()

    def _sent(self, now: float) -> None:
        self.page = b""
        if not self._last:
            self._enter(Phase.IDLE, now)
            return
        self.transport.finish()
        if not self._linger:
            raise ClosedError
        self._received.clear()
        self._enter(Phase.DRAINING, now)

    def _drain(self) -> None:
        if not self.transport.receive(_RECEIVE_BYTES):
            raise ClosedError
        # One piece at a time: who sends without end must not keep the thread.
        raise BlockedError(READ)
