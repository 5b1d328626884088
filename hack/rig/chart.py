"""Install a chart and run its Deployments as processes: the operator as users install it, without an image."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rig import placement, tools
from rig.cluster import Cluster, RigError
from rig.kubelet import Container, Kubelet


class ChartError(Exception):
    """helm refused the chart; the message is what it said."""


@dataclass(frozen=True)
class Release:
    """An installed chart and the processes of its pods."""

    namespace: str
    manifests: tuple[Mapping[str, Any], ...]
    containers: tuple[Container, ...]

    def wait_ready(self, timeout: float = 30) -> None:
        """Wait until every pod's readiness probe succeeds."""
        for container in self.containers:
            container.wait_ready(timeout)

    def stop(self) -> None:
        """Stop every process; the objects stay."""
        for container in self.containers:
            container.stop()


def render(
    chart: Path,
    *,
    release: str,
    namespace: str,
    values: Sequence[Path] = (),
    overrides: Mapping[str, Any] | None = None,
    api_versions: Sequence[str] = (),
    kube_version: str | None = None,
    helm_home: Path | None = None,
) -> list[dict[str, Any]]:
    """Return what ``helm template`` makes of a chart, CRDs first, hooks left out."""
    command = [str(tools.path("helm")), "template", release, str(chart), f"--namespace={namespace}"]
    command += ["--include-crds", "--no-hooks", "--skip-tests"]
    command += [f"--values={file}" for file in values]
    command += [f"--api-versions={version}" for version in api_versions]
    command += [f"--kube-version={kube_version}"] if kube_version else []
    if overrides:
        # JSON is YAML, and a file on stdin needs none of the quoting of --set.
        command.append("--values=-")
    env = dict(os.environ)
    if helm_home:
        env |= {f"HELM_{kind}_HOME": str(helm_home) for kind in ("CACHE", "CONFIG", "DATA")}
    done = subprocess.run(
        command,
        input=json.dumps(overrides or {}),
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ChartError(f"helm template {chart}: {done.stderr.strip()}")
    found = list(placement.documents(done.stdout))
    return sorted(found, key=lambda manifest: manifest["kind"] != "CustomResourceDefinition")


def install(
    cluster: Cluster,
    chart: Path,
    *,
    path: Sequence[Path],
    entrypoint: Sequence[str] = (),
    release: str = "flowgauge",
    namespace: str = "flowgauge-system",
    values: Sequence[Path] = (),
    overrides: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    engine: Mapping[str, str] | None = None,
) -> Release:
    """Apply a chart and start its pods; use ``Release.wait_ready`` to wait for their probes.

    ``path`` comes first on the PATH of the processes (``.venv-operator/bin``), ``entrypoint`` is what the image would
    start, ``overrides`` are values that win over the files of ``values``. With ``engine``, an environment for podman,
    the pods run out of their images.
    """
    if cluster.is_given:
        raise RigError(
            "install the chart with helm on a cluster of KUBECONFIG: its nodes need an image"
        )
    manifests = render(
        chart,
        release=release,
        namespace=namespace,
        values=values,
        overrides=overrides,
        api_versions=cluster.kubectl("api-versions").split(),
        kube_version=json.loads(cluster.kubectl("get", "--raw=/version"))["gitVersion"],
        helm_home=cluster.run_folder / "helm",
    )
    cluster.create_namespace(namespace)
    _apply(cluster, manifests, namespace)
    kubelet = Kubelet(cluster, path=path, entrypoint=entrypoint, cwd=cwd, env=env, engine=engine)
    containers = [
        kubelet.run(pod)
        for manifest in manifests
        if manifest["kind"] == "Deployment"
        for pod in _pods(cluster, manifest, namespace)
    ]
    return Release(namespace, tuple(manifests), tuple(containers))


def _apply(cluster: Cluster, manifests: Sequence[Mapping[str, Any]], namespace: str) -> None:
    crds = [item for item in manifests if item["kind"] == "CustomResourceDefinition"]
    if crds:
        cluster.apply(crds)
        names = [f"crd/{item['metadata']['name']}" for item in crds]
        cluster.kubectl("wait", "--for=condition=Established", *names, "--timeout=30s")
    rest = [item for item in manifests if item not in crds]
    # kubectl refuses objects of other namespaces beside the flag, which those without one need.
    placed = [item for item in rest if "namespace" in item["metadata"]]
    unplaced = [item for item in rest if "namespace" not in item["metadata"]]
    for items, flag in ((placed, None), (unplaced, namespace)):
        if items:
            cluster.deploy(items, namespace=flag)


def _pods(cluster: Cluster, deployment: Mapping[str, Any], namespace: str) -> list[dict[str, Any]]:
    labels = deployment["spec"]["selector"]["matchLabels"]
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    space = deployment["metadata"].get("namespace", namespace)
    return cluster.wait_pods(space, selector, count=deployment["spec"].get("replicas", 1))
