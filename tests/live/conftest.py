"""The operator as users run it: installed from its chart, as a process of its own, under exactly the RBAC that we ship."""

from __future__ import annotations

import copy
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from rig import audit, chart, fetch, waiting
from rig.chart import Release
from rig.cluster import Cluster
from rig.kubectl import KubectlError
from rig.kubelet import Kubelet

ROOT = Path(__file__).resolve().parents[2]
# For the helpers that the tests of several folders share.
sys.path.append(str(ROOT / "tests"))
CHART = ROOT / "charts/flowgauge"
BIN = ROOT / ".venv-operator/bin"
EXAMPLE = ROOT / "examples/orders/workflow.yaml"
FIRST = "flowgauge"
ACCOUNT = "system:serviceaccount:flowgauge-system:"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run these tests last: an operator that serves all namespaces would answer in those of other tests.

    The outage comes at the very end: after it, every part of the cluster backs off for a while.
    """
    here = Path(__file__).parent
    items.sort(key=lambda item: (here in item.path.parents, item.path.name == "test_outage.py"))


@dataclass
class Operator:
    """A running operator and what a test asks of it."""

    cluster: Cluster
    release: Release

    def workflow(self, namespace: str, name: str = "orders", **spec: Any) -> dict[str, Any]:
        """The example's MonitoredWorkflow in another namespace, with parts of its spec replaced."""
        body = copy.deepcopy(yaml.safe_load(EXAMPLE.read_text()))
        body["metadata"] = {"name": name, "namespace": namespace}
        body["spec"] |= spec
        return body

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        """An object, or None."""
        try:
            found: dict[str, Any] = self.cluster.get(kind, name, f"--namespace={namespace}")
        except KubectlError as error:
            if "NotFound" in str(error):
                return None
            raise
        return found

    def wait_get(self, kind: str, name: str, namespace: str) -> dict[str, Any]:
        """Wait until there is such an object, and return it: what a namespace shares comes after a workflow's own."""
        found: dict[str, Any] = self.wait(
            lambda: self.get(kind, name, namespace), f"{kind} {namespace}/{name}"
        )
        return found

    def status(self, namespace: str, name: str = "orders") -> dict[str, Any]:
        """The status of a workflow; empty before the first one."""
        found = self.get("mwf", name, namespace) or {}
        status: dict[str, Any] = found.get("status") or {}
        return status

    def condition(self, kind: str, namespace: str, name: str = "orders") -> dict[str, Any]:
        """One condition of a workflow; empty before the first status of this generation."""
        found = self.get("mwf", name, namespace) or {}
        status = found.get("status") or {}
        if status.get("observedGeneration") != found.get("metadata", {}).get("generation"):
            return {}
        return next((c for c in status.get("conditions", []) if c["type"] == kind), {})

    def wait_condition(
        self, kind: str, state: str, namespace: str, name: str = "orders", timeout: float = 30
    ) -> dict[str, Any]:
        """Wait until a condition has a status and return it."""

        def ask() -> dict[str, Any] | None:
            found = self.condition(kind, namespace, name)
            return found if found.get("status") == state else None

        def what() -> str:
            found = self.condition(kind, namespace, name)
            return f"{kind} of {namespace}/{name} to be {state}; it is {found}"

        return self.cluster.wait_for(ask, timeout, what)

    def wait(self, ask: Callable[[], Any], what: waiting.What, timeout: float = 20) -> Any:
        """Wait until `ask` returns something true, and return it."""
        return self.cluster.wait_for(ask, timeout, what)

    def writes_since(self, mark: int, namespace: str) -> list[audit.Request]:
        """What the operator wrote in a namespace since a mark of `cluster.audit_mark()`, Events aside.

        Namespaces of earlier tests may still be on their way out: what happens there is not this test's.
        """
        return [
            request
            for request in self.cluster.audit(ACCOUNT, since=mark)
            if request.is_write and request.namespace == namespace and request.resource != "events"
        ]

    def wait_quiet(self, timeout: float = 60) -> None:
        """Wait until no key waits or has its turn, nor had one for a moment: what is to be written has been written."""

        def work() -> tuple[float, float]:
            waiting = self.metric("flowgauge_queue_depth") + self.metric("flowgauge_queue_active")
            return waiting, self.metric("flowgauge_reconcile_total")

        def is_quiet() -> bool:
            before = work()
            # News of what a test just did may be on its way yet.
            time.sleep(0.5)
            return before[0] == 0 and work() == before

        self.wait(is_quiet, "the queue to be empty", timeout)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Without it; afterwards it is there again, whatever happened meanwhile."""
        self.release.stop()
        try:
            yield
        finally:
            for container in self.release.containers:
                container.restart()
                container.wait_ready()

    def metric(self, name: str) -> float:
        """The sum of one of the operator's own metrics over its label sets."""
        text = fetch.text(self.release.containers[0].url("http", "/metrics"))
        lines = (line.rpartition(" ") for line in text.splitlines() if line.startswith(name))
        return sum(float(value) for _, _, value in lines)


def _install(cluster: Cluster, release: str = FIRST, **values: Any) -> Operator:
    overrides = {
        "fullnameOverride": release,
        "replicas": 1,
        "log": {"format": "text", "level": "info"},
        # Of several releases in a cluster one brings what is of all of it.
        "crds": {"enabled": release == FIRST},
        # What a test sees of Prometheus is about its workflows alone.
        "serviceMonitor": {"enabled": False},
        "prometheusRule": {"enabled": False},
        **values,
    }
    installed = chart.install(
        cluster,
        CHART,
        path=[BIN],
        release=release,
        overrides=overrides,
        # Tests without an operator may have left the definitions of `crds/`.
        flags=["--take-ownership", "--force-conflicts"],
    )
    try:
        installed.wait_ready()
    except BaseException:
        installed.stop()
        raise
    return Operator(cluster, installed)


@pytest.fixture(scope="session")
def operator(own_cluster: Cluster) -> Iterator[Operator]:
    """One operator for all tests of the control plane; nobody told it of a Prometheus."""
    running = _install(own_cluster)
    yield running
    running.release.stop()


@contextmanager
def _in_place_of(operator: Operator, release: str, **values: Any) -> Iterator[Operator]:
    """Another operator, while the usual one rests: two would fight over every status."""
    with operator.resting():
        running = _install(operator.cluster, release, **values)
        try:
            yield running
        finally:
            running.release.stop()


@pytest.fixture(scope="session")
def in_place_of() -> Callable[..., AbstractContextManager[Operator]]:
    """For tests that need an operator of their own."""
    return _in_place_of


@pytest.fixture(scope="module")
def verifying(operator: Operator, stack: Cluster) -> Iterator[Operator]:
    """An operator with a real Prometheus to ask."""
    prometheus = {"url": stack.prometheus_url, "verifyInterval": 1}
    with _in_place_of(operator, "verifying", prometheus=prometheus) as running:
        yield running


@pytest.fixture(scope="module")
def blind(operator: Operator) -> Iterator[Operator]:
    """An operator with a Prometheus that nobody answers for."""
    prometheus = {"url": "http://127.0.0.1:1", "verifyInterval": 1}
    with _in_place_of(operator, "blind", prometheus=prometheus) as running:
        yield running


@pytest.fixture(scope="module")
def looking(operator: Operator) -> Iterator[Operator]:
    """An operator that looks often which kinds there are."""
    with _in_place_of(operator, "looking", extraArgs=["--discovery-interval=2"]) as running:
        yield running


@pytest.fixture(scope="module")
def replicas(operator: Operator) -> Iterator[Operator]:
    """Two replicas of one operator."""
    with _in_place_of(operator, "pair", replicas=2) as running:
        yield running


@pytest.fixture
def orders(verifying: Operator, namespace: str, tmp_path: Path) -> Orders:
    """The example's program in the pods of its Deployment, in a namespace of the test's own."""
    return Orders(verifying, namespace, tmp_path)


@pytest.fixture
def native_orders(verifying: Operator, namespace: str, tmp_path: Path) -> Orders:
    """The same, with native histograms."""
    return Orders(verifying, namespace, tmp_path, FLOWGAUGE_NATIVE_HISTOGRAMS="1")


@pytest.fixture(scope="session")
def start_orders() -> Callable[..., Orders]:
    """Start the example's program in a namespace that several tests share."""
    return Orders


class Orders:
    """The example, running: its pods, its files, its MonitoredWorkflow."""

    def __init__(
        self, operator: Operator, namespace: str, folder: Path, **environment: str
    ) -> None:
        self.operator = operator
        self.namespace = namespace
        shutil.copytree(EXAMPLE.parent, folder, dirs_exist_ok=True)
        self.file = folder / "orders.csv"
        self._good = self.file.read_bytes()
        cluster = operator.cluster
        manifest = yaml.safe_load((EXAMPLE.parent / "deployment.yaml").read_text())
        manifest["metadata"]["namespace"] = namespace
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        container["env"] += [{"name": name, "value": value} for name, value in environment.items()]
        cluster.deploy([manifest])
        kubelet = Kubelet(cluster, path=[BIN], cwd=folder)
        self.pods = [
            kubelet.run(pod) for pod in cluster.wait_pods(namespace, "app=orders", count=2)
        ]
        for pod in self.pods:
            pod.wait_ready()

    def monitor(self, **spec: Any) -> None:
        """Apply the demo's MonitoredWorkflow, with parts of its spec replaced."""
        body = yaml.safe_load((EXAMPLE.parent / "workflow-demo.yaml").read_text())
        body["metadata"]["namespace"] = self.namespace
        body["spec"] |= spec
        self.operator.cluster.apply([body])

    def break_input(self) -> None:
        """Every run fails from now on."""
        self._replace(b"<html>502 Bad Gateway</html>\n")

    def mend_input(self) -> None:
        """Runs succeed again."""
        self._replace(self._good)

    def _replace(self, content: bytes) -> None:
        draft = self.file.with_suffix(".new")
        draft.write_bytes(content)
        draft.replace(self.file)

    def alerts(self, name: str) -> list[dict[str, Any]]:
        """Alerts of this namespace in the real Alertmanager."""
        return [
            alert
            for alert in self.operator.cluster.alerts()
            if alert["labels"].get("namespace") == self.namespace
            and alert["labels"]["alertname"] == name
        ]
