"""The few calls to the kernel that Python 3.11 does not wrap: unshare, mount, prctl, and a little netlink.

No ``ip``, no ``unshare``, no ``mount`` program is needed, so the rig runs where only Python is.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import struct
from ipaddress import IPv4Address, IPv4Network

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Give the calling process namespaces of its own."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Mount a file system."""
    arguments = [text.encode() if text is not None else None for text in (source, target, kind)]
    _check(
        _libc.mount(*arguments, ctypes.c_ulong(flags), data.encode() if data else None),
        f"mount {target}",
    )


def die_with_parent() -> None:
    """Ask for SIGKILL when the parent ends, however it ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def link_up(name: str) -> None:
    """Switch a network interface on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH22x", name.encode(), 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(control, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name.encode(), flags | _IFF_UP))


# linux/rtnetlink.h and linux/if_link.h
_RTM_NEWLINK, _RTM_NEWADDR, _RTM_NEWROUTE = 16, 20, 24
_REQUEST, _ACK, _REPLACE, _CREATE = 0x1, 0x4, 0x100, 0x400
_TABLE_MAIN, _TABLE_LOCAL = 254, 255
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_HOST = 0, 253, 254
_UNICAST, _LOCAL = 1, 2
_PROTO_BOOT = 3


class Routes:
    """A netlink socket of one network namespace; it stays there when the process moves on."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.bind((0, 0))

    def local(self, network: IPv4Network) -> None:
        """Make every address of a network ours, as ``ip route add local NETWORK dev lo`` does."""
        self._route(network, socket.if_nametoindex("lo"), kind=_LOCAL, scope=_SCOPE_HOST)

    def to_pod(self, address: IPv4Address, device: int, source: IPv4Address) -> None:
        """Send packets for one address through a device.

        The route goes to the table ``local``, which is asked first: in ``main`` the wide local
        route of the pods' network would win.
        """
        network = IPv4Network(address)
        self._route(
            network, device, kind=_UNICAST, scope=_SCOPE_LINK, table=_TABLE_LOCAL, source=source
        )

    def default(self, device: int) -> None:
        """Send everything through a device."""
        self._route(
            IPv4Network("0.0.0.0/0"), device, kind=_UNICAST, scope=_SCOPE_LINK, table=_TABLE_MAIN
        )

    def address(self, address: IPv4Address, device: int) -> None:
        """Give a device an address."""
        body = struct.pack("BBBBi", socket.AF_INET, 32, 0, _SCOPE_UNIVERSE, device)
        packed = address.packed
        self._ask(_RTM_NEWADDR, body + _attribute(1, packed) + _attribute(2, packed))

    def pair(self, name: str, peer: str) -> None:
        """Make two connected devices."""
        body = struct.pack("BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)
        other = _attribute(1, _attribute(1, body + _attribute(3, peer.encode() + b"\0")))
        kind = _attribute(1, b"veth") + _attribute(2, other[4:])
        self._ask(_RTM_NEWLINK, body + _attribute(3, name.encode() + b"\0") + _attribute(18, kind))

    def move(self, device: int, pid: int) -> None:
        """Move a device to the network of a process."""
        body = struct.pack("BxHiII", socket.AF_UNSPEC, 0, device, 0, 0)
        self._ask(_RTM_NEWLINK, body + _attribute(19, struct.pack("I", pid)), create=0)

    def up(self, device: int) -> None:
        """Switch a device on, by its index."""
        self._ask(_RTM_NEWLINK, struct.pack("BxHiII", socket.AF_UNSPEC, 0, device, 1, 1), create=0)

    def index(self, name: str) -> int:
        """Return the index of a device in this socket's namespace."""
        request = struct.pack("16si20x", name.encode(), 0)
        return int(struct.unpack_from("i", fcntl.ioctl(self._socket, 0x8933, request), 16)[0])

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _route(
        self,
        network: IPv4Network,
        device: int,
        *,
        kind: int,
        scope: int,
        table: int = _TABLE_LOCAL,
        source: IPv4Address | None = None,
    ) -> None:
        body = struct.pack(
            "BBBBBBBBI", socket.AF_INET, network.prefixlen, 0, 0, table, _PROTO_BOOT, scope, kind, 0
        )
        if network.prefixlen:
            body += _attribute(1, network.network_address.packed)
        body += _attribute(4, struct.pack("i", device))
        if source is not None:
            body += _attribute(7, source.packed)
        # Replace: the route of a process that just ended may still be there.
        self._ask(_RTM_NEWROUTE, body, create=_CREATE | _REPLACE)

    def _ask(self, kind: int, body: bytes, *, create: int = _CREATE) -> None:
        self._socket.send(
            struct.pack("IHHII", 16 + len(body), kind, _REQUEST | _ACK | create, 1, 0) + body
        )
        answer = self._socket.recv(4096)
        (code,) = struct.unpack_from("i", answer, 16)
        if code != 0:
            raise OSError(-code, f"netlink request {kind}: {os.strerror(-code)}")


def _attribute(kind: int, value: bytes) -> bytes:
    padding = b"\0" * (-len(value) % 4)
    return struct.pack("HH", 4 + len(value), kind) + value + padding
