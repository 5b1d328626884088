"""A compose project as processes: each service that has a program here runs with its own command line, files and names.

What a container runtime does beside that (users, limits, health checks in a loop, restarts) is not done here. Anything of
a service that nobody here knows is an error, never silently left out.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Self

import yaml

from rig import fetch, namespace, tools, waiting
from rig.dns import Names
from rig.process import Process
from rig.rootfs import Mount

_HACK = Path(__file__).resolve().parent.parent
_FIRST = IPv4Address("10.244.200.1")
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?:(?P<sort>:[-?])(?P<rest>[^}]*))?\})")
# What of a service is done here, and what only a container runtime can do.
_DONE = {"image", "build", "command", "environment", "volumes", "tmpfs"}
_RUNTIME = {"restart", "read_only", "cap_drop", "security_opt", "logging", "user", "ports", "healthcheck",
            "depends_on", "profiles"}  # fmt: skip
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Containers reach each other through the rig's network, which answers for those that it leads to.
_FORWARDING = ("ip_forward", "conf/all/proxy_arp")


class ComposeError(Exception):
    """A project that cannot be started; the message says why."""


@dataclass(frozen=True)
class Image:
    """What an image has: the program that it starts, where, and its own files."""

    entrypoint: tuple[str, ...]
    workdir: str
    mounts: tuple[Mount, ...] = ()


def read(file: Path, env: Mapping[str, str]) -> dict[str, Any]:
    """The project with its variables filled in.

    Raises:
        ComposeError: a variable that must be given is not.
    """

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        given = env.get(found["name"], "")
        if given or not found["sort"]:
            return given
        if found["sort"] == ":?":
            raise ComposeError(f"{found['name']}: {found['rest']}")
        return found["rest"]

    def filled(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: filled(each) for key, each in node.items()}
        if isinstance(node, list):
            return [filled(each) for each in node]
        return _VARIABLE.sub(value, node) if isinstance(node, str) else node

    project: dict[str, Any] = filled(yaml.safe_load(file.read_text(encoding="utf-8")))
    return project


class Project:
    """A running compose project."""

    def __init__(
        self, file: Path, run: Path, env: Mapping[str, str], *, context: Path | None = None
    ) -> None:
        """`run` is an empty folder for what it writes; `context` takes the place of the contexts of builds."""
        self.file, self._run, self._context = file, run, context
        self.services: dict[str, dict[str, Any]] = read(file, env)["services"]
        self._addresses: dict[str, list[IPv4Address]] = {}
        self._processes: dict[str, list[Process]] = {}
        self._count = 0
        self._names = Names(namespace.API_ADDRESS, self._find)
        self._resolver = run / "resolv.conf"
        self._resolver.write_text(f"nameserver {namespace.API_ADDRESS}\noptions ndots:0\n")

    def __enter__(self) -> Self:
        """Answer for names, and let containers reach each other."""
        for switch in _FORWARDING:
            Path("/proc/sys/net/ipv4", switch).write_text("1")
        self._names.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        for service in [*self._processes]:
            self.stop(service)
        self._names.__exit__()

    def start(self, service: str, **more: str) -> Process:
        """Start one container of a service; `more` is added to its environment."""
        self._count += 1
        address = _FIRST + self._count
        spec = self._run / f"{service}-{self._count}.json"
        spec.write_text(json.dumps(self._spec(service, address, more)))
        process = Process(
            service,
            [sys.executable, "-m", "rig.service", spec],
            log=self._run / f"{service}-{self._count}.log",
            env={"PYTHONPATH": str(_HACK), "PATH": _PATH},
        )
        process.start()
        self._addresses.setdefault(service, []).append(address)
        self._processes.setdefault(service, []).append(process)
        return process

    def wait_healthy(self, service: str, seconds: float = 30) -> None:
        """Wait until what the health check asks answers, in all containers of the service."""
        url = re.search(r"http://127\.0\.0\.1:(\d+)(/[^'\"\s]*)", str(self._check(service)))
        if url is None:
            raise ComposeError(f"{service}: its health check asks no URL of 127.0.0.1")
        for address, process in zip(
            self._addresses[service], self._processes[service], strict=True
        ):
            asked = f"http://{address}:{url[1]}{url[2]}"
            process.wait_ready(lambda asked=asked: fetch.is_ok(asked), seconds)  # type: ignore[misc]

    def run(self, service: str, seconds: float = 30, **more: str) -> int | None:
        """Run a service that ends, and return its exit status; None if it takes longer and is stopped."""
        process = self.start(service, **more)
        with contextlib.suppress(TimeoutError):
            waiting.wait_for(lambda: not process.is_running, seconds, f"the end of {service}")
        status = process.exit_status
        self.stop(service)
        return status

    def know(self, name: str, address: IPv4Address) -> None:
        """Let containers find somebody who is none of them."""
        self._addresses[name] = [address]

    def address(self, service: str) -> str:
        """The address of the first container of a service."""
        return str(self._addresses[service][0])

    def signal(self, service: str, number: int) -> None:
        """Send a signal to all containers of a service."""
        for process in self._processes[service]:
            if process.pid is not None:
                os.kill(process.pid, number)

    def stop(self, service: str) -> None:
        """Stop all containers of a service; its name is known no more."""
        for process in self._processes.pop(service, ()):
            process.stop()
        self._addresses.pop(service, None)

    def _find(self, name: str) -> Sequence[IPv4Address] | None:
        return self._addresses.get(name.rstrip("."))

    def _check(self, service: str) -> list[str]:
        test: list[str] = self.services[service]["healthcheck"]["test"]
        return test

    def _spec(self, service: str, address: IPv4Address, more: Mapping[str, str]) -> dict[str, Any]:
        given = self.services[service]
        if unknown := given.keys() - _DONE - _RUNTIME:
            raise ComposeError(f"{service}: {', '.join(sorted(unknown))} is not known here")
        image = self._image(service)
        root = self._run / f"root-{self._count}"
        root.mkdir()
        command = [*image.entrypoint, *given.get("command", ())]
        return {
            "address": str(address),
            "root": str(root),
            "cwd": image.workdir,
            "env": {"PATH": _PATH, "HOME": "/", **given.get("environment", {}), **more},
            "command": [sys.executable, *command[1:]] if command[0] == "python" else command,
            "mounts": [
                {
                    "target": str(mount.target),
                    "source": str(mount.source) if mount.source else "",
                    "writable": mount.is_writable,
                }
                for mount in self._mounts(service, image)
            ],
            "needed": [sys.prefix, sys.base_prefix, str(_HACK.parent)],
        }

    def _mounts(self, service: str, image: Image) -> list[Mount]:
        given = self.services[service]
        mounts = [Mount(Path("/etc/resolv.conf"), self._resolver), *image.mounts]
        for text in given.get("volumes", ()):
            source, target, *flags = text.split(":")
            is_folder = source.startswith((".", "/"))
            path = (self.file.parent / source).resolve() if is_folder else self._volume(source)
            if not path.exists():
                raise ComposeError(f"{service}: there is no {source}")
            mounts.append(Mount(Path(target), path, is_writable=flags != ["ro"]))
        return [*mounts, *(Mount(Path(path)) for path in given.get("tmpfs", ()))]

    def _volume(self, name: str) -> Path:
        folder = self._run / f"volume-{name}"
        folder.mkdir(exist_ok=True)
        return folder

    def _image(self, service: str) -> Image:
        given = self.services[service]
        if "build" in given:
            context = self._context or (self.file.parent / given["build"]["context"]).resolve()
            return built(context / given["build"]["dockerfile"], context)
        name = given["image"].partition(":")[0].rpartition("/")[2]
        if name not in ("prometheus", "alertmanager", "pushgateway"):
            raise ComposeError(f"{service}: there is no program of the image {given['image']} here")
        return Image((str(tools.path(name)),), f"/{name}")


def built(file: Path, context: Path) -> Image:
    """What a Dockerfile leaves in its last stage: what is copied from the context, and where it starts."""
    mounts: list[Mount] = []
    workdir = "/"
    for line in file.read_text(encoding="utf-8").splitlines():
        word, _, rest = line.partition(" ")
        if word == "FROM":
            mounts, workdir = [], "/"
        elif word == "COPY" and not rest.startswith("--"):
            source, target = rest.split()
            mounts.append(Mount(Path(target), (context / source).resolve()))
        elif word == "WORKDIR":
            workdir = rest.strip()
    return Image((), workdir, tuple(mounts))
