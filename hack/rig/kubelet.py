"""A kubelet of processes: run one container of a real Pod object as a local process.

kwok made the pod Running and gave it an address; here a process answers at that address, with the token of its own
service account where every client looks for it. RBAC, leader election and scraping then work as in a cluster.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rig import containers, controlplane, fetch, imaged, namespace
from rig.cluster import Cluster, RigError
from rig.controlplane import NODE
from rig.kubectl import KubectlError
from rig.process import Process
from rig.watching import Watch

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ACCOUNT_DURATION = "24h"  # nobody renews it here
_ORPHAN_SECONDS = 5
_API = {
    "KUBERNETES_SERVICE_HOST": str(namespace.API_ADDRESS),
    "KUBERNETES_SERVICE_PORT": str(controlplane.PORT),
}
_HACK = Path(__file__).resolve().parent.parent


class Container:
    """The process of one pod."""

    def __init__(self, pod: Mapping[str, Any], process: Process) -> None:
        self.pod = pod
        self._process = process

    @property
    def name(self) -> str:
        """The name of the pod."""
        return str(self.pod["metadata"]["name"])

    @property
    def address(self) -> str:
        """The address of the pod."""
        return str(self.pod["status"]["podIP"])

    @property
    def log(self) -> Path:
        """The file that its output goes to; a restart appends."""
        return self._process.log

    @property
    def pid(self) -> int | None:
        """The process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Tell whether the process lives."""
        return self._process.is_running

    @property
    def exit_status(self) -> int | None:
        """The status it ended with; None while it runs."""
        return self._process.exit_status

    def url(self, port: str, path: str = "") -> str:
        """Return the URL of a named port."""
        return f"http://{self.address}:{containers.port(self.pod, port)}{path}"

    def wait_ready(self, timeout: float = 30) -> None:
        """Wait until the pod's own readiness probe answers with success."""
        port, path = containers.readiness(self.pod)
        url = f"http://{self.address}:{port}{path}"
        self._process.wait_ready(lambda: fetch.is_ok(url), timeout)

    def stop(self, grace: float = 30) -> None:
        """Ask it to end, as a kubelet does, and kill it after the grace period."""
        self._process.stop(grace)

    def kill(self) -> None:
        """Kill it, as a node that fails."""
        self._process.kill()

    def restart(self) -> None:
        """Stop it if it runs, and start it again in the same pod."""
        self.stop()
        self._process.start()

    def tail(self, lines: int = 30) -> str:
        """Return the end of its log."""
        return self._process.tail(lines)


class Kubelet:
    """Starts processes for pods of one cluster; they end before the cluster does."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        path: Sequence[Path] = (),
        entrypoint: Sequence[str] = (),
        programs: Mapping[str, Sequence[str]] | None = None,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        engine: Mapping[str, str] | None = None,
    ) -> None:
        """``path`` comes first on PATH, ``entrypoint`` is what the image would start, ``cwd`` where.

        ``programs`` says which container of a pod runs and what stands for its image, see ``containers.chosen``.
        With ``engine``, an environment for podman, pods run out of the images that they name, and none of that is needed.
        """
        if cluster.is_given:
            raise RigError("a cluster of KUBECONFIG runs its own containers")
        self._cluster = cluster
        self._path = os.pathsep.join([*map(str, path), _SYSTEM_PATH])
        self._entrypoint = list(entrypoint)
        self._programs = dict(programs or {})
        self._cwd = cwd or Path("/")
        self._env = dict(env or {})
        self._engine = engine
        self._running: dict[str, Process] = {}
        self._seen: set[str] = set()
        self._watch = Watch(
            cluster.access, "/api/v1/pods", self._end_orphans, fieldSelector=f"spec.nodeName={NODE}"
        )
        self._watch.start()
        cluster.before_stop(self._watch.stop)

    def run(
        self,
        pod: Mapping[str, Any],
        *,
        binds: Mapping[str, Path] | None = None,
        hosts: Mapping[str, str] | None = None,
    ) -> Container:
        """Start the process of a pod that has an address.

        ``binds`` are folders of ours that it sees under paths of its volumes, as they change; ``hosts`` are names that
        a cluster's DNS would know, with their addresses.
        """
        pod = containers.chosen(pod, self._programs)
        name, space = pod["metadata"]["name"], pod["metadata"]["namespace"]
        spec = self._cluster.run_folder / f"pod-{space}-{name}.json"
        spec.touch(mode=0o600)
        spec.write_text(json.dumps(self._spec(pod, binds or {}, hosts or {})))
        process = Process(
            f"{space}/{name}",
            [sys.executable, "-m", "rig.sandbox", spec],
            log=self._cluster.logs / f"{space}-{name}.log",
            env={"PYTHONPATH": str(_HACK), "PATH": self._path, "RIG_NEEDS": self._needs()},
            cwd=self._cwd,
        )
        process.start()
        self._running[pod["metadata"]["uid"]] = process
        self._cluster.before_stop(process.stop, namespace=space)
        return Container(pod, process)

    def _end_orphans(self, pods: Mapping[str, Mapping[str, Any]]) -> None:
        """End the processes of pods that are gone, as a rollout expects."""
        self._seen |= pods.keys()
        for uid in list(self._running):
            # The watch may be a moment behind: a pod that it does not know yet is not gone.
            if uid in self._seen and uid not in pods:
                self._running.pop(uid).stop(_ORPHAN_SECONDS)

    def _needs(self) -> str:
        mine = (sys.prefix, sys.base_prefix, str(_HACK), str(self._cwd))
        return os.pathsep.join([self._path, *mine])

    def _spec(
        self, pod: Mapping[str, Any], binds: Mapping[str, Path], hosts: Mapping[str, str]
    ) -> dict[str, Any]:
        env = _API | containers.environment(pod, self._lookup(pod)) | self._env
        folders = [*containers.volumes(pod, self._lookup(pod))]
        if containers.has_token(pod):
            folders.append(containers.Files(containers.ACCOUNT_FOLDER, self._account(pod)))
        if self._engine is not None:
            command = imaged.command(pod, env, folders)
            env, folders = dict(self._engine), [folder for folder in folders if folder.files]
        else:
            # Nothing of the driver's own environment: what a pod needs has to be in its manifest.
            env = {"PATH": self._path, "HOME": "/"} | env
            command = containers.command(pod, env, self._entrypoint)
        return {
            "address": pod["status"]["podIP"],
            "env": env,
            "command": command,
            "cwd": str(self._cwd),
            "binds": {path: str(source) for path, source in binds.items()},
            "hosts": dict(hosts),
            "folders": [
                {
                    "path": folder.path,
                    "files": {
                        name: base64.b64encode(content).decode()
                        for name, content in folder.files.items()
                    },
                }
                for folder in folders
            ],
        }

    def _lookup(self, pod: Mapping[str, Any]) -> containers.Lookup:
        space = pod["metadata"]["namespace"]

        def look_up(kind: str, name: str) -> Mapping[str, Any]:
            try:
                found: Mapping[str, Any] = self._cluster.get(kind, name, f"--namespace={space}")
            except KubectlError as error:
                if "(NotFound)" in str(error):
                    raise containers.NoSuchObject(f"{kind} {space}/{name}") from error
                raise
            return found

        return look_up

    def _account(self, pod: Mapping[str, Any]) -> dict[str, bytes]:
        metadata = pod["metadata"]
        token = self._cluster.kubectl(
            "create",
            "token",
            pod["spec"]["serviceAccountName"],
            f"--namespace={metadata['namespace']}",
            f"--duration={_ACCOUNT_DURATION}",
            # Bound, as a kubelet's are: it ends with its pod.
            "--bound-object-kind=Pod",
            f"--bound-object-name={metadata['name']}",
            f"--bound-object-uid={metadata['uid']}",
        )
        ca = self._cluster.ca_file
        return {
            "token": token.strip().encode(),
            "ca.crt": ca.read_bytes() if ca else b"",
            "namespace": metadata["namespace"].encode(),
        }
