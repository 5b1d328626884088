"""etcd, kube-apiserver, kube-controller-manager and kwok, in this order, each asked whether it is ready."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rig import audit, certificates, fetch, namespace, tools
from rig.access import Access
from rig.kubectl import Kubectl, KubectlError, write_kubeconfig
from rig.process import PartFailed, Process

BINARIES = ("etcd", "kube-apiserver", "kube-controller-manager", "kwok", "kubectl")
NODE = "rig-node"
PORT = 6443
_SERVER = f"https://127.0.0.1:{PORT}"
_STAGES = Path(__file__).with_name("stages.yaml")
# A laptop that runs a browser beside us needs its time; these bounds only end a wait that is lost.
_START_SECONDS = 90

# They manage real machines, disks and clouds, of which there are none.
_WITHOUT_CONTROLLERS = (
    "node-lifecycle-controller",
    "node-ipam-controller",
    "node-route-controller",
    "service-lb-controller",
    "cloud-node-lifecycle-controller",
    "ttl-controller",
    "persistentvolume-binder-controller",
    "persistentvolume-attach-detach-controller",
    "persistentvolume-expander-controller",
    "certificatesigningrequest-signing-controller",
)


class ControlPlane:
    """A control plane of our own. It stops in the reverse order: clients, API server, etcd."""

    def __init__(
        self,
        run: Path,
        logs: Path,
        *,
        with_audit: bool,
        with_crds: bool,
        say: Callable[[str], None],
    ) -> None:
        self._run = run
        self._logs = logs
        self._with_audit = with_audit
        self._with_crds = with_crds
        self._say = say
        self._parts = ExitStack()
        self._api: Process | None = None
        self._is_up: Callable[[], bool] = lambda: False

    def start(self) -> Access:
        """Start everything; when it returns, Deployments get pods with addresses."""
        try:
            return self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything, each part before what it talks to."""
        self._parts.close()

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Kill the API server, and start it again afterwards."""
        if self._api is None:
            raise PartFailed("the API server does not run")
        self._api.kill()
        try:
            yield
        finally:
            self._api.start()
            self._api.wait_ready(self._is_up, _START_SECONDS)

    def _start(self) -> Access:
        self._etcd()
        access = self._apiserver()
        client = Kubectl(access.kubeconfig, cache=self._run / "kube-cache")
        manager = self._controller_manager(access)
        kwok = self._kwok(access)
        # While those two start, the API server takes in the CRDs.
        client.apply([{"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}])
        if self._with_crds:
            self._crds(client)
        manager.wait_ready(lambda: has_default_account(client, "default"), _START_SECONDS)
        kwok.wait_ready(lambda: _is_node_ready(client), _START_SECONDS)
        self._say("kube-controller-manager and kwok are ready")
        return access

    def _launch(
        self, name: str, *arguments: str | Path, env: dict[str, str] | None = None
    ) -> Process:
        command = [tools.path(name), *arguments]
        process = Process(name, command, log=self._logs / f"{name}.log", env=env, cwd=self._run)
        process.start()
        self._parts.callback(process.stop)
        return process

    def _etcd(self) -> None:
        # Nothing here outlives the run, so nothing needs to reach the disk.
        etcd = self._launch("etcd", f"--data-dir={self._run / 'etcd'}", "--unsafe-no-fsync")
        etcd.wait_ready(lambda: fetch.is_ok("http://127.0.0.1:2379/health"), _START_SECONDS)
        self._say("etcd is ready")

    def _apiserver(self) -> Access:
        keys = certificates.write(self._run / "certs")
        token = secrets.token_urlsafe(24)
        tokens = self._run / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f"{token},admin,admin,system:masters\n")
        server = self._launch(
            "kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            f"--secure-port={PORT}",
            # Pods reach it at its service address, the driver on loopback.
            "--bind-address=0.0.0.0",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={keys.certificate}",
            f"--tls-private-key-file={keys.key}",
            f"--token-auth-file={tokens}",
            "--authorization-mode=RBAC",
            f"--service-cluster-ip-range={namespace.SERVICES}",
            "--allow-privileged=true",
            "--shutdown-delay-duration=0s",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={keys.tokens_public}",
            f"--service-account-signing-key-file={keys.tokens_key}",
            *(
                audit.flags(self._run / "audit-policy.yaml", self._logs / audit.FILE)
                if self._with_audit
                else ()
            ),
        )
        self._api = server
        self._is_up = lambda: fetch.is_ok(f"{_SERVER}/readyz", ca=keys.ca, token=token)
        server.wait_ready(self._is_up, _START_SECONDS)
        self._say("kube-apiserver is ready")
        kubeconfig = write_kubeconfig(
            self._run / "kubeconfig", server=_SERVER, ca=keys.ca, token=token
        )
        return Access(kubeconfig, _SERVER, keys.ca, token)

    def _controller_manager(self, access: Access) -> Process:
        controllers = ",".join(["*", *(f"-{name}" for name in _WITHOUT_CONTROLLERS)])
        return self._launch(
            "kube-controller-manager",
            f"--kubeconfig={access.kubeconfig}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--service-account-private-key-file={self._run / 'certs' / 'sa.key'}",
            f"--root-ca-file={access.ca_file}",
            f"--controllers={controllers}",
            # The default of 20 requests a second makes a thousand objects slow for no reason.
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        )

    def _kwok(self, access: Access) -> Process:
        return self._launch(
            "kwok",
            f"--config={_STAGES}",
            f"--kubeconfig={access.kubeconfig}",
            "--manage-all-nodes",
            f"--cidr={next(namespace.PODS.hosts())}/{namespace.PODS.prefixlen}",
        )

    def _crds(self, client: Kubectl) -> None:
        client.run("apply", "--server-side", f"--filename={tools.crds()}")
        # prometheus-operator looks once, when it starts, and leaves out what is not there yet.
        client.wait_established()
        self._say("the CRDs of prometheus-operator are established")


def has_default_account(client: Kubectl, name: str) -> bool:
    """Tell whether pods may be made in a namespace: the controller manager made its account."""
    try:
        client.run("get", "serviceaccount", "default", f"--namespace={name}", "--output=name")
    except KubectlError:
        return False
    return True


def _is_node_ready(client: Kubectl) -> bool:
    conditions = client.get("node", NODE)["status"].get("conditions", [])
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)
