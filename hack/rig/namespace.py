"""A network, a user and a table of processes of our own, without any privilege.

``run`` puts a command into fresh user, network, pid and mount namespaces. Root needs no user namespace to make the
others, and keeps all its users without: container engines run inside only so. Inside, every address of the pods' network
is ours, ports never collide with the host's, and nothing survives the driver: the driver's child is pid 1 of the new
namespace, it dies with the driver, and the kernel ends everything else with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from rig import kernel

MARK = "FLOWGAUGE_RIG"
# Not loopback: Endpoints and EndpointSlices refuse 127.0.0.0/8.
PODS = IPv4Network("10.244.0.0/16")
SERVICES = IPv4Network("10.96.0.0/16")
# Where pods find the API server, as in a real cluster: the first address of SERVICES. Whatever else runs outside of
# pods, such as Prometheus, is found there too, since a pod has a loopback of its own.
API_ADDRESS = IPv4Address("10.96.0.1")

_NAMESPACES = kernel.CLONE_NEWNET | kernel.CLONE_NEWPID | kernel.CLONE_NEWNS
_FORWARDED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_SI_KERNEL = 0x80
_REMEDY = """\
This machine does not let the rig make a namespace of its own: {error}.
Allow unprivileged user namespaces, one of:
  sudo sysctl -w kernel.unprivileged_userns_clone=1                # Debian, older kernels
  sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0    # Ubuntu 23.10 and newer
  sudo sysctl -w user.max_user_namespaces=15000                    # RHEL and relatives
In a container, allow them in its seccomp profile. Or point KUBECONFIG at a cluster that you may use for tests.
The unit tests need none of this: `make test-unit`."""


class NamespaceError(Exception):
    """The kernel refuses namespaces; the message says what allows them."""


def is_inside() -> bool:
    """Tell whether this process was started by ``run``."""
    return os.environ.get(MARK) == "1"


def run(command: Sequence[str], *, env: Mapping[str, str], keep_fds: Sequence[int] = ()) -> int:
    """Run a command in namespaces of its own and return its exit status."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED | {signal.SIGCHLD})
    try:
        _enter()
    except OSError as error:
        raise NamespaceError(_REMEDY.format(error=error)) from error
    child = os.fork()
    if child == 0:
        # os._exit: nothing of the driver's clean-up may run twice.
        os._exit(_init(command, dict(env), keep_fds))
    for fd in keep_fds:
        os.close(fd)
    return _wait_for(child)


def _enter() -> None:
    uid, gid = os.getuid(), os.getgid()
    try:
        kernel.unshare(_NAMESPACES)
    except PermissionError:
        kernel.unshare(_NAMESPACES | kernel.CLONE_NEWUSER)
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)


def _wait_for(child: int) -> int:
    """Wait for a child and pass signals on; return its status as a shell would."""
    while True:
        received = signal.sigwaitinfo(_FORWARDED | {signal.SIGCHLD})
        number = signal.Signals(received.si_signo)
        if number is not signal.SIGCHLD:
            # Ctrl-C reaches the whole foreground group by itself: pass on only what somebody sent to us. (The
            # sender's pid says nothing here, it is 0 for whoever is outside.)
            if received.si_code != _SI_KERNEL:
                os.kill(child, number)
            continue
        # One SIGCHLD may stand for several children, since pid 1 also gets the orphans.
        with contextlib.suppress(ChildProcessError):
            while True:
                ended, status = os.waitpid(-1, os.WNOHANG)
                if ended == child:
                    code = os.waitstatus_to_exitcode(status)
                    return code if code >= 0 else 128 - code
                if ended == 0:
                    break


def _init(command: Sequence[str], env: dict[str, str], keep_fds: Sequence[int]) -> int:
    """Be pid 1: set the network up, start the command, hand it signals, collect orphans."""
    try:
        kernel.die_with_parent()
        # A container may forbid a fresh /proc; then only the pids that programs see are the host's.
        with contextlib.suppress(OSError):
            kernel.mount(
                "proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
            )
        _network()
    except OSError as error:
        print(_REMEDY.format(error=error), file=sys.stderr)
        return 1
    child = os.fork()
    if child == 0:
        os._exit(_exec(command, env | {MARK: "1"}, keep_fds))
    for fd in keep_fds:
        os.close(fd)
    return _wait_for(child)


def _network() -> None:
    kernel.link_up("lo")
    routes = kernel.Routes()
    routes.local(PODS)
    routes.local(IPv4Network(API_ADDRESS))
    routes.close()
    # Pods with a network of their own reach each other through us. Where a container keeps /proc/sys from being written,
    # they reach only what runs here, the API server first of all.
    with contextlib.suppress(OSError):
        for setting in ("ip_forward", "conf/all/proxy_arp"):
            (Path("/proc/sys/net/ipv4") / setting).write_text("1")


def _exec(command: Sequence[str], env: dict[str, str], keep_fds: Sequence[int]) -> int:
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    for fd in keep_fds:
        os.set_inheritable(fd, True)
    try:
        os.execvpe(command[0], list(command), env)  # noqa: S606 - running it is the point
    except OSError as error:
        print(f"error: {command[0]}: {error.strerror}", file=sys.stderr)
    return 127
