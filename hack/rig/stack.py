"""prometheus-operator with its config-reloader, Prometheus, Alertmanager; on request Pushgateway and kube-state-metrics.

The real operator writes the real configuration and a real Prometheus runs it; only the StatefulSet stays at 0/1, since
nobody runs its containers. Section by section this is what the pods would do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rig import controlplane, fetch, namespace, parts, placement, reloading, tools, waiting
from rig.access import Access
from rig.kubectl import Kubectl
from rig.mirror import Mirror
from rig.process import Process

BINARIES = (
    *controlplane.BINARIES,
    "prometheus-operator",
    "prometheus-config-reloader",
    "prometheus",
    "alertmanager",
)
NAMESPACE = "monitoring"
PROMETHEUS_ADDRESS = f"{namespace.API_ADDRESS}:9090"
# Ports that no pod uses by habit, in case a pod shares this network.
_OPERATOR_ADDRESS = "127.0.0.1:10801"
_RELOADER_ADDRESS = "127.0.0.1:10802"
_ALERTMANAGER_RELOADER_ADDRESS = "127.0.0.1:10803"
_HERE = Path(__file__).parent
_START_SECONDS = 90


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the stack is set up."""

    scrape_interval: str = "1s"
    evaluation_interval: str = "1s"
    prometheus_flags: tuple[str, ...] = ()


class Stack:
    """The monitoring half of the rig, on top of a control plane."""

    def __init__(
        self,
        access: Access,
        client: Kubectl,
        run: Path,
        logs: Path,
        *,
        options: Options,
        say: Callable[[str], None],
    ) -> None:
        self._access = access
        self._client = client
        self._run = run
        self._logs = logs
        self._options = options
        self._say = say
        self._parts = ExitStack()
        self.prometheus_url = f"http://{PROMETHEUS_ADDRESS}"
        self.alertmanager_url = ""

    def start(self) -> None:
        """Start everything; when it returns, targets and rules of the cluster reach Prometheus."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything in the reverse order."""
        self._parts.close()

    def scrape_pushgateway(self) -> None:
        """Apply the objects by which Prometheus finds the Pushgateway."""
        manifest = (_HERE / "pushgateway.yaml").read_text()
        self._client.apply(placement.placed(manifest, controlplane.NODE))

    def pushgateway(self) -> str:
        """Start a Pushgateway that Prometheus scrapes, and return its URL."""
        self.scrape_pushgateway()
        address = f"{pod_address(self._client, NAMESPACE, 'pushgateway')}:9091"
        gateway = self._launch("pushgateway", f"--web.listen-address={address}")
        gateway.wait_ready(lambda: fetch.is_ok(f"http://{address}/-/ready"), _START_SECONDS)
        self._say("Pushgateway is ready")
        return f"http://{address}"

    def kube_state_metrics(self) -> str:
        """Start kube-state-metrics for CronJobs and Jobs, which Prometheus scrapes, and return its URL."""
        manifest = (_HERE / "kube-state-metrics.yaml").read_text()
        self._client.apply(placement.placed(manifest, controlplane.NODE))
        address = pod_address(self._client, NAMESPACE, "kube-state-metrics")
        url = f"http://{address}:8080"
        metrics = self._launch(
            "kube-state-metrics",
            f"--kubeconfig={self._access.kubeconfig}",
            "--resources=cronjobs,jobs",
            f"--host={address}",
            f"--telemetry-host={address}",
        )
        metrics.wait_ready(lambda: fetch.is_ok(f"{url}/healthz"), _START_SECONDS)
        self._say("kube-state-metrics is ready")
        return url

    def _start(self) -> None:
        objects = placement.documents((_HERE / "monitoring.yaml").read_text())
        self._client.apply(placement.placed(map(self._configured, objects), controlplane.NODE))
        address = f"{pod_address(self._client, NAMESPACE, 'alertmanager')}:9093"
        self.alertmanager_url = f"http://{address}"
        operator = self._operator()
        mirror = Mirror(self._access, self._run, namespace=NAMESPACE, name="main")
        self._parts.callback(mirror.stop)
        mirror.start()
        operator.wait_ready(
            lambda: mirror.prometheus.exists() and mirror.alertmanager.exists(), _START_SECONDS
        )
        self._say("prometheus-operator is ready")
        self._alertmanager(self._alertmanager_reloader(mirror), address)
        self._prometheus(self._prometheus_reloader(mirror))
        self._say("Prometheus and Alertmanager are ready")

    def _configured(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        if manifest["kind"] == "Alertmanager":
            version = f"v{parts.find('alertmanager').version}"
            return dict(manifest) | {"spec": dict(manifest["spec"]) | {"version": version}}
        if manifest["kind"] != "Prometheus":
            return dict(manifest)
        token = self._run / "admin-token"
        token.touch(mode=0o600)
        token.write_text(self._access.admin_token or "")
        spec = dict(manifest["spec"]) | {
            "version": f"v{parts.find('prometheus').version}",
            "scrapeInterval": self._options.scrape_interval,
            "evaluationInterval": self._options.evaluation_interval,
            # The operator copies this into every discovery block. credentialsFile, not credentials: a Secret is
            # looked up in the namespace of each monitor, and where it is missing discovery is anonymous.
            "apiserverConfig": {
                "host": self._access.server,
                "authorization": {"credentialsFile": str(token)},
                "tlsConfig": {"caFile": str(self._access.ca_file)},
            },
        }
        return dict(manifest) | {"spec": spec}

    def _launch(
        self,
        name: str,
        *arguments: str | Path,
        env: Mapping[str, str] | None = None,
        log: str | None = None,
    ) -> Process:
        command = [tools.path(name), *arguments]
        full = dict(os.environ) | dict(env or {})
        file = self._logs / f"{log or name}.log"
        process = Process(log or name, command, log=file, env=full, cwd=self._run)
        process.start()
        self._parts.callback(process.stop)
        return process

    def _operator(self) -> Process:
        return self._launch(
            "prometheus-operator",
            f"--web.listen-address={_OPERATOR_ADDRESS}",
            env={"KUBECONFIG": str(self._access.kubeconfig)},
        )

    def _prometheus_reloader(self, mirror: Mirror) -> Path:
        filled = self._run / "prometheus.yaml"
        flags = reloading.flags(
            mirror.prometheus,
            filled,
            url=self.prometheus_url,
            address=_RELOADER_ADDRESS,
            watched=mirror.rule_folders,
        )
        runtime = f"--runtimeinfo-url={self.prometheus_url}/api/v1/status/runtimeinfo"
        env = {"POD_NAME": "prometheus-main-0", "SHARD": "0"}
        return self._reloader(filled, *flags, runtime, env=env)

    def _alertmanager_reloader(self, mirror: Mirror) -> Path:
        filled = self._run / "alertmanager.yaml"
        flags = reloading.flags(
            mirror.alertmanager,
            filled,
            url=self.alertmanager_url,
            address=_ALERTMANAGER_RELOADER_ADDRESS,
        )
        return self._reloader(filled, *flags, env={"POD_NAME": "alertmanager-main-0"})

    def _reloader(self, filled: Path, *flags: str, env: Mapping[str, str]) -> Path:
        """Start what fills in placeholders and asks for a reload; return the file it writes."""
        reloader = self._launch(
            "prometheus-config-reloader",
            *flags,
            log=f"{filled.stem}-config-reloader",
            env=env,
        )
        reloader.wait_ready(filled.exists, _START_SECONDS)
        return filled

    def _prometheus(self, configuration: Path) -> None:
        prometheus = self._launch(
            "prometheus",
            f"--config.file={configuration}",
            f"--storage.tsdb.path={self._run / 'tsdb'}",
            f"--web.listen-address={PROMETHEUS_ADDRESS}",
            "--web.enable-lifecycle",
            # New targets after 1 s instead of 5 s. A hidden flag of 3.x.
            "--scrape.discovery-reload-interval=1s",
            *self._options.prometheus_flags,
        )
        prometheus.wait_ready(lambda: fetch.is_ok(f"{self.prometheus_url}/-/ready"), _START_SECONDS)

    def _alertmanager(self, configuration: Path, address: str) -> None:
        alertmanager = self._launch(
            "alertmanager",
            f"--config.file={configuration}",
            f"--storage.path={self._run / 'alertmanager'}",
            # No cluster of Alertmanagers, so no gossip.
            "--cluster.listen-address=",
            f"--web.listen-address={address}",
        )
        alertmanager.wait_ready(
            lambda: fetch.is_ok(f"{self.alertmanager_url}/-/ready"), _START_SECONDS
        )


def pod_address(client: Kubectl, namespace: str, name: str) -> str:
    """Wait until a pod has an address, and return it."""

    def ask() -> str:
        status = client.get("pod", name, f"--namespace={namespace}")["status"]
        return str(status.get("podIP", ""))

    return waiting.wait_for(ask, 30, f"the address of pod {namespace}/{name}")
