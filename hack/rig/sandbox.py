"""``python -m rig.sandbox SPEC``: become the process of a pod, with a network and mounts of its own, then execute.

What a container runtime would do and nothing more: the pod's address, the account's token and the volumes under their
paths, the environment. Started by ``rig.kubelet``; the process keeps its pid, so signals reach it directly.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from rig import kernel, namespace

_PRIVATE = Path("/run")  # a tmpfs of each pod: /var/run leads there, too
_ROOT = _PRIVATE / ".root"
_writable: list[Path] = []  # what has a layer of ours; the kernel stacks no more than two


def main(spec_file: str) -> None:
    """Read the specification, set up what it asks for, and execute its command."""
    spec: dict[str, Any] = json.loads(Path(spec_file).read_text())
    join_network(IPv4Address(spec["address"]))
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", str(_PRIVATE), "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV)
    paths = [Path(folder["path"]) for folder in spec["folders"]]
    _make_root([path for path in paths if path.parent == Path("/") and not path.is_dir()])
    for number, folder in enumerate(spec["folders"]):
        _mount(paths[number], folder["files"], Path("/run") / f".overlay-{number}")
    for path, source in spec["binds"].items():
        kernel.mount(source, path, None, kernel.MS_BIND)
    _name_hosts(spec["hosts"])
    os.chdir(spec["cwd"])
    try:
        os.execvpe(spec["command"][0], spec["command"], spec["env"])  # noqa: S606 - its purpose
    except OSError as error:
        sys.exit(f"{spec['command'][0]}: {error.strerror}")


def join_network(address: IPv4Address) -> None:
    """Move into a network of our own that has the pod's address, so that two pods may use one port."""
    outside = kernel.Routes()
    here, there = f"rig{os.getpid()}", f"eth{os.getpid()}"
    try:
        outside.pair(here, there)
    except OSError as error:
        # A kernel without veth: the pods' addresses lead to the shared network then, which is enough for one pod.
        print(f"the pod shares the rig's network: {error}", file=sys.stderr, flush=True)
        return
    near, far = outside.index(here), outside.index(there)
    kernel.unshare(kernel.CLONE_NEWNET)
    outside.move(far, os.getpid())
    outside.up(near)
    outside.to_pod(address, near, namespace.API_ADDRESS)
    outside.close()
    inside = kernel.Routes()
    kernel.link_up("lo")
    device = inside.index(there)
    inside.address(address, device)
    inside.up(device)
    inside.default(device)
    inside.close()


def _make_root(missing: list[Path]) -> None:
    """Where a volume is mounted at a folder in / that is not there: another root that has it, and all else as it is."""
    if not missing:
        return
    _ROOT.mkdir()
    for entry in Path("/").iterdir():
        there = _ROOT / entry.name
        if entry.is_symlink():
            there.symlink_to(entry.readlink())
        elif entry.is_dir():
            there.mkdir()
            kernel.mount(str(entry), str(there), None, kernel.MS_BIND | kernel.MS_REC)
    for path in missing:
        (_ROOT / path.name).mkdir()
    os.chroot(_ROOT)


def _name_hosts(hosts: dict[str, str]) -> None:
    """What DNS would say, in a file of this process only."""
    if hosts:
        file = _PRIVATE / ".hosts"
        lines = (f"{address} {name}\n" for name, address in hosts.items())
        file.write_text(f"127.0.0.1 localhost\n{''.join(lines)}")
        kernel.mount(str(file), "/etc/hosts", None, kernel.MS_BIND)


def _mount(path: Path, files: dict[str, str], scratch: Path) -> None:
    if not files and _hides_what_we_need(path):
        # An emptyDir over /tmp, say, while the virtual environment lies below it: use the folder as it is.
        return
    if not path.is_dir():
        _make_writable(path, scratch)
        path.mkdir(parents=True)
    if not path.resolve().is_relative_to(_PRIVATE):
        kernel.mount("tmpfs", str(path), "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV)
    for name, content in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(base64.b64decode(content))


def _hides_what_we_need(path: Path) -> bool:
    needed = [*os.environ["RIG_NEEDS"].split(":")]
    return any(Path(need).is_relative_to(path) for need in needed if need)


def _make_writable(path: Path, scratch: Path) -> None:
    """Lay a writable layer over the nearest folder that exists, for this process only."""
    base = next(parent for parent in path.parents if parent.is_dir())
    if base.resolve().is_relative_to(_PRIVATE) or any(map(base.is_relative_to, _writable)):
        return
    if base == Path("/"):
        sys.exit(
            f"a volume at {path}: the rig cannot make folders in /, mount it below a folder that exists"
        )
    for layer in ("upper", "work"):
        (scratch / layer).mkdir(parents=True)
    layers = f"lowerdir={base},upperdir={scratch / 'upper'},workdir={scratch / 'work'}"
    kernel.mount("overlay", str(base), "overlay", 0, layers)
    _writable.append(base)


if __name__ == "__main__":
    main(sys.argv[1])
