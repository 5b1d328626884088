"""Install a chart with helm and run its workloads as processes: what users install, without an image.

    release = chart.install(cluster, Path("charts/flowgauge"), path=[BIN], overrides={"replicas": 2})
    release.wait_ready()
    release.upgrade(overrides={"replicas": 1})
    release.test()
    release.uninstall()

helm talks to the real API server, kwok makes the pods Running, and their processes are started from the pods as the API
server gives them back. A pod of a hook (``helm test``) is run as well, and its exit status decides its phase.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rig import containers, fetch, placement
from rig.cluster import Cluster, RigError
from rig.helm import ChartError, Helm
from rig.kubelet import Container, Kubelet

_WORKLOADS = ("Deployment", "StatefulSet")
_TIMEOUT = "--timeout=90s"


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
    done = Helm(helm_home).run(
        "template",
        release,
        str(chart),
        f"--namespace={namespace}",
        "--include-crds",
        "--no-hooks",
        "--skip-tests",
        *(f"--api-versions={version}" for version in api_versions),
        *([f"--kube-version={kube_version}"] if kube_version else []),
        *_value_flags(values),
        stdin=json.dumps(overrides or {}),
    )
    found = list(placement.documents(done))
    return sorted(found, key=lambda manifest: manifest["kind"] != "CustomResourceDefinition")


@dataclass
class Release:
    """An installed chart and the processes of its pods."""

    name: str
    namespace: str
    containers: tuple[Container, ...]
    manifests: tuple[Mapping[str, Any], ...]
    notes: str
    _cluster: Cluster
    _helm: Helm
    _kubelet: Kubelet
    _chart: Path
    _run: Collection[str] | None

    def wait_ready(self, timeout: float = 30) -> None:
        """Wait until every pod's readiness probe succeeds."""
        for container in self.containers:
            container.wait_ready(timeout)

    def stop(self) -> None:
        """Stop every process; the objects stay."""
        for container in self.containers:
            container.stop()

    def upgrade(
        self,
        chart: Path | None = None,
        *,
        values: Sequence[Path] = (),
        overrides: Mapping[str, Any] | None = None,
        flags: Sequence[str] = (),
    ) -> None:
        """``helm upgrade --install --wait`` to these values, and to another chart if one is named.

        Values of before are not kept. Afterwards every pod of the release has its process: those of pods that went
        have ended, those of pods that stayed go on.
        """
        self._chart = chart or self._chart
        self._call(
            "upgrade",
            self.name,
            str(self._chart),
            "--install",
            "--wait",
            "--reset-values",
            _TIMEOUT,
            *_value_flags(values),
            *flags,
            stdin=json.dumps(overrides or {}),
        )
        self.follow()

    def follow(self) -> None:
        """Start and keep the processes of what the release is now, whoever told helm so."""
        self.notes = self._call("get", "notes", self.name)
        self.manifests = tuple(placement.documents(self._call("get", "manifest", self.name)))
        started: list[Container] = []
        try:
            started.extend(self._processes())
        finally:
            # Also those before one that could not be started: they want to be stopped.
            self.containers = tuple(started)

    def test(self, *flags: str) -> str:
        """``helm test``: run the pods of its hooks, and return what helm printed.

        Raises ChartError where one fails, with what the processes said.
        """
        hooks = _Hooks(self._cluster, self._kubelet, self.namespace)
        try:
            return self._helm.run(
                "test",
                self.name,
                f"--namespace={self.namespace}",
                _TIMEOUT,
                *flags,
                meanwhile=hooks.turn,
            )
        except ChartError as error:
            raise ChartError(f"{error}\n{hooks.said()}") from error

    def uninstall(self, *flags: str) -> str:
        """``helm uninstall --wait``; the processes are stopped first, so that they see nothing go."""
        self.stop()
        return self._call("uninstall", self.name, "--wait", _TIMEOUT, *flags)

    def _call(self, *arguments: str, stdin: str = "") -> str:
        hooks = _Hooks(self._cluster, self._kubelet, self.namespace)
        return self._helm.run(
            *arguments, f"--namespace={self.namespace}", stdin=stdin, meanwhile=hooks.turn
        )

    def _processes(self) -> Iterator[Container]:
        running = {item.pod["metadata"]["uid"]: item for item in self.containers if item.is_running}
        for manifest in self.manifests:
            if manifest["kind"] in _WORKLOADS and self._is_wanted(manifest):
                for pod in _pods(self._cluster, manifest, self.namespace):
                    yield running.get(pod["metadata"]["uid"]) or self._kubelet.run(pod)

    def _is_wanted(self, manifest: Mapping[str, Any]) -> bool:
        return self._run is None or manifest["metadata"]["name"] in self._run


def install(
    cluster: Cluster,
    chart: Path,
    *,
    path: Sequence[Path] = (),
    entrypoint: Sequence[str] = (),
    programs: Mapping[str, Sequence[str]] | None = None,
    run: Collection[str] | None = None,
    release: str = "flowgauge",
    namespace: str = "flowgauge-system",
    labels: Mapping[str, str] | None = None,
    values: Sequence[Path] = (),
    overrides: Mapping[str, Any] | None = None,
    flags: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    engine: Mapping[str, str] | None = None,
) -> Release:
    """Install a chart, or upgrade the release of that name, and start its pods' processes.

    ``path`` comes first on the PATH of the processes (``.venv-operator/bin``), ``entrypoint`` is what the image would
    start, ``programs`` does the same by the name of the image (``containers.chosen``). ``run`` names the Deployments and
    StatefulSets whose pods are run, by default all. ``labels`` are those of the namespace. ``overrides`` are values that win over the files of ``values``,
    ``flags`` are further ones of helm.
    With ``engine``, an environment for podman, the pods run out of their images.
    """
    if cluster.is_given:
        raise RigError(
            "install the chart with helm on a cluster of KUBECONFIG: its nodes need an image"
        )
    cluster.create_namespace(namespace, labels)
    cluster.start_scheduler()
    made = Release(
        name=release,
        namespace=namespace,
        containers=(),
        manifests=(),
        notes="",
        _cluster=cluster,
        _helm=Helm(cluster.run_folder / "helm", kubeconfig=cluster.kubeconfig),
        _kubelet=Kubelet(
            cluster,
            path=path,
            entrypoint=entrypoint,
            programs=programs,
            cwd=cwd,
            env=env,
            engine=engine,
        ),
        _chart=chart,
        _run=run,
    )
    try:
        made.upgrade(values=values, overrides=overrides, flags=flags)
    except BaseException:
        made.stop()
        raise
    return made


class _Hooks:
    """Runs the pods of hooks while helm waits for them, and tells the API server how they ended."""

    def __init__(self, cluster: Cluster, kubelet: Kubelet, namespace: str) -> None:
        self._cluster = cluster
        self._kubelet = kubelet
        self._namespace = namespace
        self._started: dict[str, Container] = {}
        self._is_told: set[str] = set()

    def turn(self) -> None:
        """Start what waits, report what ended."""
        for pod in self._pods():
            uid = pod["metadata"]["uid"]
            if uid not in self._started:
                self._started[uid] = self._kubelet.run(pod)
        for uid, container in self._started.items():
            if uid not in self._is_told and not container.is_running:
                self._is_told.add(uid)
                self._tell(container)

    def said(self) -> str:
        """Return what the processes wrote."""
        return "\n".join(f"{item.name}: {item.tail()}" for item in self._started.values())

    def _pods(self) -> list[dict[str, Any]]:
        found = fetch.json_of(
            f"{self._cluster.server}/api/v1/namespaces/{self._namespace}/pods",
            ca=self._cluster.ca_file,
            token=self._cluster.admin_token,
        )
        return [
            pod
            for pod in found["items"]
            if _is_of_hook(pod)
            and pod["status"].get("podIP")
            and pod["status"]["phase"] == "Running"
            and "deletionTimestamp" not in pod["metadata"]
        ]

    def _tell(self, container: Container) -> None:
        code = container.exit_status or 0
        name = containers.first(container.pod)["name"]
        status = {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [
                {
                    "name": name,
                    "image": containers.first(container.pod)["image"],
                    "imageID": "",
                    "ready": False,
                    "restartCount": 0,
                    "state": {"terminated": {"exitCode": code}},
                }
            ],
        }
        self._cluster.kubectl(
            "patch",
            "pod",
            container.name,
            f"--namespace={self._namespace}",
            "--subresource=status",
            "--type=merge",
            f"--patch={json.dumps({'status': status})}",
        )


def _is_of_hook(pod: Mapping[str, Any]) -> bool:
    """Whether helm may wait for it: a hook itself, or of a Job, which does not tell its pods."""
    owners = pod["metadata"].get("ownerReferences", ())
    return "helm.sh/hook" in pod["metadata"].get("annotations", {}) or any(
        owner["kind"] == "Job" for owner in owners
    )


def _value_flags(values: Sequence[Path]) -> list[str]:
    # JSON is YAML, and a file on stdin needs none of the quoting of --set.
    return [*(f"--values={file}" for file in values), "--values=-"]


def _pods(cluster: Cluster, workload: Mapping[str, Any], namespace: str) -> list[dict[str, Any]]:
    labels = workload["spec"]["selector"]["matchLabels"]
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    space = workload["metadata"].get("namespace", namespace)
    return cluster.wait_pods(space, selector, count=workload["spec"].get("replicas", 1))
