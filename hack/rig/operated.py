"""Run the Prometheus and the Alertmanager that a prometheus-operator made of two objects of one name: a chart's, say.

Their pods are those of the StatefulSets, with the flags, the account and the address that the operator and the object
give them. The files that a kubelet would keep in step come through `rig.mirror`, and a real config-reloader beside the
pod does what the second container would.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rig import fetch, reloading, tools, waiting
from rig.cluster import Cluster
from rig.kubelet import Container, Kubelet
from rig.mirror import Mirror
from rig.process import Process

_SECONDS = 60


class Operated:
    """One Prometheus and one Alertmanager, each the first pod of its StatefulSet."""

    prometheus: Container
    alertmanager: Container

    def __init__(self, cluster: Cluster, *, namespace: str, name: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._folder = cluster.run_folder / f"operated-{namespace}-{name}"
        self._folder.mkdir()
        self._mirror = Mirror(
            cluster.access, self._folder / "mirror", namespace=namespace, name=name
        )
        programs = {part: [str(tools.path(part))] for part in ("prometheus", "alertmanager")}
        self._kubelet = Kubelet(cluster, programs=programs)

    def start(self) -> None:
        """Start both; when it returns, both are ready and follow what the operator writes."""
        self._mirror.start()
        self._cluster.before_stop(self._mirror.stop)
        self.alertmanager = self._run(
            "alertmanager", self._mirror.alertmanager, port=9093, reloader=10804, env={}
        )
        self.prometheus = self._run(
            "prometheus", self._mirror.prometheus, port=9090, reloader=10805, env={"SHARD": "0"}
        )

    def _run(
        self, part: str, given: Path, *, port: int, reloader: int, env: Mapping[str, str]
    ) -> Container:
        (pod,) = self._cluster.wait_pods(
            self._namespace, f"apps.kubernetes.io/pod-index=0,{part}={self._name}", timeout=60
        )
        waiting.wait_for(given.exists, _SECONDS, f"the configuration of {part} {self._name}")
        folder = self._folder / part
        folder.mkdir()
        filled = folder / f"{part}.env.yaml"
        flags = reloading.flags(
            given,
            filled,
            url=f"http://{pod['status']['podIP']}:{port}",
            address=f"127.0.0.1:{reloader}",
            watched=self._mirror.rule_folders if part == "prometheus" else (),
        )
        process = Process(
            f"{self._name}-{part}-config-reloader",
            [tools.path("prometheus-config-reloader"), *flags],
            log=self._cluster.logs / f"{self._name}-{part}-config-reloader.log",
            env=dict(os.environ) | {"POD_NAME": pod["metadata"]["name"], **env},
        )
        process.start()
        self._cluster.before_stop(process.stop, namespace=self._namespace)
        process.wait_ready(filled.exists, _SECONDS)
        container = self._kubelet.run(pod, binds={f"/etc/{part}/config_out": folder})
        waiting.wait_for(
            lambda: fetch.is_ok(f"http://{container.address}:{port}/-/ready"),
            _SECONDS,
            f"{part}: {container.log}",
        )
        return container
