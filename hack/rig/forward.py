"""Ports of the host's 127.0.0.1 that lead to addresses inside the namespace.

A listening socket stays in the network where it was made. So the driver listens *before* it enters the namespace and
passes the sockets on; whoever knows the address inside calls ``Forwards.lead`` and pumps bytes from there on.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass

VARIABLE = "FLOWGAUGE_RIG_FORWARDS"
# What `python -m rig exec --forward-all` offers; the usual ports where they are free.
USUAL: Mapping[str, int] = {
    "apiserver": 6443,
    "prometheus": 9090,
    "alertmanager": 9093,
    "pushgateway": 9091,
    "operator": 8080,
}


@dataclass(frozen=True)
class Door:
    """A listening socket of the host."""

    fd: int
    port: int


def listen(wanted: Mapping[str, int]) -> dict[str, Door]:
    """Listen on the host's loopback: on the port that is wanted, or on a free one."""
    return {name: _listen(port) for name, port in wanted.items()}


def variable(doors: Mapping[str, Door]) -> dict[str, str]:
    """Return the environment that tells the inner process about its doors."""
    return {VARIABLE: json.dumps({name: [door.fd, door.port] for name, door in doors.items()})}


def _listen(port: int) -> Door:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    found = int(listener.getsockname()[1])
    return Door(listener.detach(), found)


class Forwards:
    """The doors that this process inherited, by name."""

    def __init__(self, doors: Mapping[str, Door]) -> None:
        self._doors = dict(doors)
        self._targets: dict[str, tuple[str, int]] = {}

    @classmethod
    def inherited(cls) -> Forwards:
        """Read what the driver left in the environment; without a driver there are none."""
        said = json.loads(os.environ.get(VARIABLE, "{}"))
        return cls({name: Door(fd, port) for name, (fd, port) in said.items()})

    def lead(self, name: str, host: str, port: int) -> str | None:
        """Lead a door to an inner address; return HOST:PORT as the host sees it, if there is one.

        A second call moves the door: an operator that was restarted has a new address.
        """
        door = self._doors.get(name)
        if door is None:
            return None
        is_new = name not in self._targets
        self._targets[name] = (host, port)
        if is_new:
            listener = socket.socket(fileno=os.dup(door.fd))
            threading.Thread(target=self._accept, args=(name, listener), daemon=True).start()
        return self.outside(name)

    def outside(self, name: str) -> str | None:
        """Return HOST:PORT of a door that leads somewhere."""
        return f"127.0.0.1:{self._doors[name].port}" if name in self._targets else None

    def _accept(self, name: str, listener: socket.socket) -> None:
        while True:
            outside, _ = listener.accept()
            try:
                inside = socket.create_connection(self._targets[name], timeout=10)
            except OSError:
                outside.close()
                continue
            inside.settimeout(None)
            for source, sink in ((outside, inside), (inside, outside)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    # Half-close, so that the other direction may still finish; the sockets go with their last reference.
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
