"""Names of a compose project, as its containers ask for them: a small server of DNS for addresses of services."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from typing import Self

_HEADER = struct.Struct("!HHHHHH")
_ANSWER, _NO_SUCH_NAME = 0x8180, 0x8183
_A, _IN = 1, 1
_TTL = 1  # seconds: containers come and go


class Names:
    """Answers for names that `addresses_of` knows; None is a name that does not exist."""

    def __init__(
        self,
        address: IPv4Address,
        addresses_of: Callable[[str], Sequence[IPv4Address] | None],
        *,
        port: int = 53,
    ) -> None:
        self._addresses_of = addresses_of
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((str(address), port))
        # Closing a socket does not wake who waits for it.
        self._socket.settimeout(0.2)
        self._is_over = False
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._socket.getsockname()
        return host, port

    def __enter__(self) -> Self:
        """Answer from now on."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Answer no more."""
        self._is_over = True
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._is_over:
            # What is no question has no answer.
            with contextlib.suppress(OSError, struct.error, IndexError):
                question, asker = self._socket.recvfrom(512)
                self._socket.sendto(self._answer(question), asker)

    def _answer(self, question: bytes) -> bytes:
        number, *_ = _HEADER.unpack_from(question)
        name, end = _name(question, _HEADER.size)
        sort, _ = struct.unpack_from("!HH", question, end)
        found = self._addresses_of(name)
        listed = list(found or ()) if sort == _A else []
        flags = _NO_SUCH_NAME if found is None else _ANSWER
        head = _HEADER.pack(number, flags, 1, len(listed), 0, 0)
        # 0xc00c points at the name in the question.
        records = b"".join(
            struct.pack("!HHHIH", 0xC00C, _A, _IN, _TTL, 4) + each.packed for each in listed
        )
        return head + question[_HEADER.size : end + 4] + records


def _name(message: bytes, at: int) -> tuple[str, int]:
    """The name that begins there, and where what follows it begins."""
    labels = []
    while length := message[at]:
        labels.append(message[at + 1 : at + 1 + length].decode("ascii", "replace"))
        at += 1 + length
    return ".".join(labels).lower(), at + 1
