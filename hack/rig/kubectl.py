"""kubectl with one kubeconfig: what the rig drives a cluster with."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from rig import tools, waiting

Manifest = Mapping[str, Any]


class KubectlError(Exception):
    """kubectl refused; the message is what it said."""


class Kubectl:
    """Runs kubectl against one cluster."""

    def __init__(self, kubeconfig: Path, *, cache: Path | None = None) -> None:
        self._kubeconfig = kubeconfig
        # Every rig has the same address: kubectl's cache of kinds under $HOME would mix them.
        self._env = dict(os.environ) | ({"KUBECACHEDIR": str(cache)} if cache else {})

    def run(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Run kubectl and return what it printed."""
        command = [str(tools.path("kubectl")), f"--kubeconfig={self._kubeconfig}", *arguments]
        done = subprocess.run(
            command,
            input=stdin,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def get(self, *arguments: str) -> Any:
        """Return what ``kubectl get`` finds, decoded."""
        return json.loads(self.run("get", *arguments, "--output=json"))

    def wait_established(self, *definitions: str, timeout: float = 60) -> None:
        """Wait until the API server serves the kinds of some CRDs (`crd/NAME`); without a name, of all."""

        def are_established() -> bool:
            self.run("wait", "--for=condition=Established", *(definitions or ("crd", "--all")))
            return True

        # One that was made just now has no conditions yet, and kubectl fails at it instead of waiting.
        waiting.wait_for(are_established, timeout, "the kinds to be served")

    def get_config(self) -> Any:
        """Return the current context of the kubeconfig, with its cluster and user."""
        return json.loads(self.run("config", "view", "--minify", "--output=json"))

    def apply(
        self,
        manifests: str | Iterable[Manifest],
        *,
        server_side: bool = True,
        namespace: str | None = None,
    ) -> str:
        """Apply YAML, or objects."""
        text = manifests if isinstance(manifests, str) else yaml.safe_dump_all(map(dict, manifests))
        flags = ["--server-side", "--force-conflicts", "--field-manager=rig"] if server_side else []
        if namespace:
            flags.append(f"--namespace={namespace}")
        return self.run("apply", *flags, "--filename=-", stdin=text)


def write_kubeconfig(path: Path, *, server: str, ca: Path, token: str, embed: bool = False) -> Path:
    """Write a kubeconfig; with ``embed`` it does not depend on other files."""
    cluster: dict[str, str] = {"server": server}
    if embed:
        cluster["certificate-authority-data"] = base64.b64encode(ca.read_bytes()).decode()
    else:
        cluster["certificate-authority"] = str(ca)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "flowgauge-rig", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [
            {"name": "flowgauge-rig", "context": {"cluster": "flowgauge-rig", "user": "admin"}}
        ],
        "current-context": "flowgauge-rig",
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path
