"""The command of podman that runs a pod's first container out of its image, as its manifest says. Pure.

Called by ``rig.kubelet``. The process is in the pod's network and has its files already, so podman shares the one and
mounts the others. Limits and seccomp profiles are left to real clusters: they need cgroups and a node.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rig import containers
from rig.containers import Files


def command(pod: Mapping[str, Any], env: Mapping[str, str], folders: Sequence[Files]) -> list[str]:
    """Return the words to execute."""
    container = containers.first(pod)
    args = [containers.expand(word, env) for word in container.get("args", ())]
    start = [containers.expand(word, env) for word in container.get("command", ())]
    return [
        "podman",
        "run",
        "--rm",
        "--pull=never",
        "--network=host",
        *_security(pod["spec"].get("securityContext", {}) | container.get("securityContext", {})),
        *(f"--env={name}={value}" for name, value in env.items()),
        *(_mount(folder) for folder in folders),
        *([f"--entrypoint={json.dumps(start)}"] if start else []),
        container["image"],
        *args,
    ]


def _security(context: Mapping[str, Any]) -> Iterator[str]:
    if "runAsUser" in context:
        yield f"--user={context['runAsUser']}:{context.get('runAsGroup', context['runAsUser'])}"
    if context.get("readOnlyRootFilesystem"):
        # Else podman lays writable folders over /tmp and others.
        yield from ("--read-only", "--read-only-tmpfs=false")
    yield from (f"--cap-drop={name}" for name in context.get("capabilities", {}).get("drop", ()))
    if context.get("allowPrivilegeEscalation") is False:
        yield "--security-opt=no-new-privileges"


def _mount(folder: Files) -> str:
    return (
        f"--volume={folder.path}:{folder.path}:ro"
        if folder.files
        else f"--tmpfs={folder.path}:mode=1777"
    )
