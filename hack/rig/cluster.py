"""The cluster that tests, benchmarks and the demo work on: our own, or the one that KUBECONFIG names.

with Cluster(stack=True) as cluster:
    cluster.deploy(manifests)
    cluster.wait_for(lambda: cluster.prometheus_query("up == 1"), 20, "a target")
"""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from rig import audit as audits
from rig import controlplane, fetch, given, namespace, scratch, tools
from rig.access import Access
from rig.claims import Claims
from rig.client import Client, RigError
from rig.controlplane import ControlPlane
from rig.forward import Forwards
from rig.kubectl import Kubectl, write_kubeconfig
from rig.logs import Logs
from rig.process import Process
from rig.scheduler import Scheduler
from rig.stack import Options, Stack

_GRAFANA_OPERATOR = "127.0.0.1"


class Cluster(Client):
    """A running cluster. Everything that talks to it is stopped before it is."""

    run_folder: Path
    logs: Path

    def __init__(
        self,
        *,
        stack: bool = False,
        options: Options | None = None,
        audit: bool = False,
        crds: bool = True,
        logs: Path | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        """Prepare a cluster; it starts with the ``with`` statement.

        ``crds=False`` leaves out those of prometheus-operator, ``say`` gets a line for each part that is ready.
        """
        self.is_given = given.is_given()
        if not self.is_given and not namespace.is_inside():
            raise RigError("the rig needs a network of its own: python -m rig exec -- COMMAND")
        self.prometheus_url = given.url(given.PROMETHEUS) if self.is_given else None
        self.alertmanager_url = given.url(given.ALERTMANAGER) if self.is_given else None
        self.pushgateway_url: str | None = None
        self._state_metrics_url: str | None = None
        self._wants_stack = stack
        self._options = options or Options()
        self._with_audit = audit
        self._with_crds = crds
        self._wanted_logs = logs
        self._say = say or (lambda _: None)
        self._forwards = Forwards.inherited()
        self._exit = ExitStack()
        self._tenants: dict[str, list[Callable[[], object]]] = {}
        self._has_failed = False
        self._found: Access | None = None
        self._client: Kubectl | None = None
        self._stack: Stack | None = None
        self._plane: ControlPlane | None = None
        self._scheduler: Scheduler | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException as error:
            self._has_failed = not isinstance(error, KeyboardInterrupt)
            self._exit.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Ctrl-C is the user's wish and no failure: nobody needs the logs.
        has_raised = kind is not None and not issubclass(kind, KeyboardInterrupt)
        self._has_failed = self._has_failed or has_raised
        self._exit.close()

    def _start(self) -> None:
        logs = Logs(self._wanted_logs)
        self._exit.callback(lambda: logs.close(keep=self._has_failed))
        self.logs = logs.folder
        self.run_folder = self._exit.enter_context(scratch.folder())
        self._found = given.access() if self.is_given else self._start_control_plane()
        # A rig's address is always the same: kubectl's cache of kinds must not be.
        self._client = Kubectl(self._found.kubeconfig, cache=self.run_folder / "kube-cache")
        if self.is_given:
            self._say(f"using the cluster of KUBECONFIG, {self.server}; nothing is started")
        elif self._wants_stack:
            self.start_stack(self._options)

    def _start_control_plane(self) -> Access:
        plane = ControlPlane(
            self.run_folder,
            self.logs,
            with_audit=self._with_audit,
            with_crds=self._with_crds,
            say=self._say,
        )
        self._exit.callback(plane.stop)
        self._plane = plane
        found = plane.start()
        self.forward("apiserver", "127.0.0.1", controlplane.PORT)
        return found

    def start_stack(self, options: Options | None = None) -> None:
        """Start the monitoring stack on top, once; a given cluster is expected to have its own."""
        if self.is_given or self._stack is not None:
            return
        self._stack = Stack(
            self._access,
            self._kubectl,
            self.run_folder,
            self.logs,
            options=options or self._options,
            say=self._say,
        )
        self._exit.callback(self._stack.stop)
        self._stack.start()
        self.prometheus_url = self._stack.prometheus_url
        self.alertmanager_url = self._stack.alertmanager_url
        self._forward_url("prometheus", self.prometheus_url)
        self._forward_url("alertmanager", self.alertmanager_url)

    def start_scheduler(self) -> None:
        """Give pods that name no node the rig's, and call claims of volumes bound, from now on; what ``deploy`` applies names it already."""
        if self.is_given or self._scheduler is not None:
            return
        self._scheduler = Scheduler(self._access)
        self._scheduler.start()
        self.before_stop(self._scheduler.stop)
        claims = Claims(self._access)
        claims.start()
        self.before_stop(claims.stop)

    def start_pushgateway(self) -> str:
        """Start a Pushgateway that Prometheus scrapes, once, and return its URL.

        That it is scraped is said anew: a ServiceMonitor goes with its definition, when a test removes that.
        """
        if self._stack is None:
            raise RigError("a Pushgateway needs the stack: Cluster(stack=True)")
        if self.pushgateway_url is None:
            self.pushgateway_url = self._stack.pushgateway()
            self._forward_url("pushgateway", self.pushgateway_url)
        else:
            self._stack.scrape_pushgateway()
        return self.pushgateway_url

    def start_kube_state_metrics(self) -> str:
        """Start kube-state-metrics for CronJobs and Jobs, once, and return its URL."""
        if self._stack is None:
            raise RigError("kube-state-metrics needs the stack: Cluster(stack=True)")
        if self._state_metrics_url is None:
            self._state_metrics_url = self._stack.kube_state_metrics()
        return self._state_metrics_url

    def install_grafana_operator(self) -> None:
        """Install the CRDs of grafana-operator, as its chart does before it starts anything."""
        folder = tools.crds("grafana-operator")
        self.kubectl("apply", "--server-side", f"--filename={folder}")
        kinds = (file.stem.partition("_")[2] for file in sorted(folder.iterdir()))
        self.wait_established(*(f"crd/{kind}.grafana.integreatly.org" for kind in kinds))

    @contextmanager
    def grafana_kinds(self) -> Iterator[None]:
        """With the CRDs of grafana-operator, and without them again afterwards."""
        try:
            self.install_grafana_operator()
            yield
        finally:
            folder = tools.crds("grafana-operator")
            self.kubectl("delete", f"--filename={folder}", "--ignore-not-found", "--wait=true")

    def start_grafana_operator(self) -> Process:
        """Start grafana-operator, which needs its CRDs, and return its process; there is no Grafana here."""
        process = Process(
            "grafana-operator",
            [
                tools.path("grafana-operator"),
                f"--metrics-bind-address={_GRAFANA_OPERATOR}:8092",
                f"--health-probe-bind-address={_GRAFANA_OPERATOR}:8093",
                "--pprof-addr=",
            ],
            log=self.logs / "grafana-operator.log",
            env=dict(os.environ) | {"KUBECONFIG": str(self.kubeconfig)},
            cwd=self.run_folder,
        )
        process.start()
        self.before_stop(process.stop)
        process.wait_ready(lambda: fetch.is_ok(f"http://{_GRAFANA_OPERATOR}:8093/readyz"), 60)
        return process

    def before_stop(self, callback: Callable[[], object], *, namespace: str = "") -> None:
        """Call this before any part stops: an API server waits for the clients it still has.

        What lives in a namespace is also called before that namespace goes; twice does no harm.
        """
        self._exit.callback(callback)
        self._tenants.setdefault(namespace, []).append(callback)

    def delete_namespace(self, name: str, *, wait: bool = False) -> None:
        """Delete a namespace, its processes first: kwok gives their addresses to the next pod."""
        for callback in self._tenants.pop(name, []):
            callback()
        super().delete_namespace(name, wait=wait)

    def outage(self) -> AbstractContextManager[None]:
        """Be without an API server for a while."""
        if self._plane is None:
            raise RigError("an outage needs a cluster of our own, and one that is started")
        return self._plane.outage()

    def keep_logs(self) -> None:
        """Keep the logs although nothing was raised here: a test failed."""
        self._has_failed = True

    @property
    def _access(self) -> Access:
        if self._found is None:
            raise RigError("the cluster is not started: use it in a with statement")
        return self._found

    @property
    def _kubectl(self) -> Kubectl:
        if self._client is None:
            raise RigError("the cluster is not started: use it in a with statement")
        return self._client

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig of an administrator, for processes inside the namespace."""
        return self._access.kubeconfig

    @property
    def access(self) -> Access:
        """How to reach the API server, for clients of our own."""
        return self._access

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return self._access.server

    @property
    def ca_file(self) -> Path | None:
        """The CA of the API server; None for a given cluster, whose kubeconfig has it."""
        return self._access.ca_file

    @property
    def admin_token(self) -> str | None:
        """A token of the administrator; None for a given cluster."""
        return self._access.admin_token

    def audit(self, user_prefix: str = "", *, since: int = 0) -> list[audits.Request]:
        """Return the requests of some users; needs ``Cluster(audit=True)``."""
        return audits.read(self._audit_log, user_prefix=user_prefix, since=since)

    def audit_mark(self) -> int:
        """Return the place in the audit log that ``audit(since=...)`` may begin at."""
        return audits.end(self._audit_log)

    @property
    def _audit_log(self) -> Path:
        if self.is_given or not self._with_audit:
            raise RigError("there is no audit log: Cluster(audit=True), and not with KUBECONFIG")
        return self.logs / audits.FILE

    def forward(self, name: str, host: str, port: int) -> str | None:
        """Lead a door of the host to an inner address; return HOST:PORT out there, if there is one."""
        return self._forwards.lead(name, host, port)

    def outside_url(self, name: str) -> str | None:
        """Return the URL of a forwarded part as the user's own browser sees it."""
        address = self._forwards.outside(name)
        scheme = "https" if name == "apiserver" else "http"
        return f"{scheme}://{address}" if address else None

    def write_outside_kubeconfig(self, path: Path) -> Path | None:
        """Write a kubeconfig that works in the user's own shell, if the API server is forwarded."""
        server, ca, token = self.outside_url("apiserver"), self.ca_file, self.admin_token
        if server is None or ca is None or token is None:
            return None
        return write_kubeconfig(path, server=server, ca=ca, token=token, embed=True)

    def _forward_url(self, name: str, url: str) -> None:
        split = urllib.parse.urlsplit(url)
        self.forward(name, split.hostname or "", split.port or 80)


__all__ = ["Cluster", "Options", "RigError"]
