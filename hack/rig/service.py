"""``python -m rig.service SPEC``: become a container of a compose project, then execute its command.

Its own network with its address, its root file system, its names. Started by ``rig.compose``.
"""

from __future__ import annotations

import json
import os
import sys
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from rig import kernel, rootfs, sandbox


def main(spec_file: str) -> None:
    """Read the specification, set up what it asks for, and execute its command."""
    spec: dict[str, Any] = json.loads(Path(spec_file).read_text())
    sandbox.join_network(IPv4Address(spec["address"]))
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    mounts = [
        rootfs.Mount(
            Path(each["target"]),
            Path(each["source"]) if each["source"] else None,
            is_writable=each["writable"],
        )
        for each in spec["mounts"]
    ]
    rootfs.enter(Path(spec["root"]), mounts, [Path(path) for path in spec["needed"]])
    os.chdir(spec["cwd"])
    try:
        os.execvpe(spec["command"][0], spec["command"], spec["env"])  # noqa: S606 - its purpose
    except OSError as error:
        sys.exit(f"{spec['command'][0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1])
