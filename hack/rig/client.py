"""What tests ask of a running cluster: its objects, its metrics, its alerts. The base of ``rig.cluster.Cluster``."""

from __future__ import annotations

import urllib.parse
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from rig import controlplane, fetch, placement, waiting
from rig.kubectl import Kubectl, Manifest

T = TypeVar("T")


class RigError(Exception):
    """The rig cannot be used like this; the message says how it can."""


class Client(ABC):
    """Requests to one cluster, as its administrator."""

    is_given: bool
    prometheus_url: str | None
    alertmanager_url: str | None

    @property
    @abstractmethod
    def _kubectl(self) -> Kubectl:
        """How to drive this cluster."""

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl as the administrator and return what it printed."""
        return self._kubectl.run(*arguments, stdin=stdin)

    def get(self, *arguments: str) -> Any:
        """Return what ``kubectl get`` finds, decoded."""
        return self._kubectl.get(*arguments)

    def apply(
        self,
        manifests: str | Iterable[Manifest],
        *,
        server_side: bool = True,
        namespace: str | None = None,
    ) -> str:
        """Apply YAML, or objects."""
        return self._kubectl.apply(manifests, server_side=server_side, namespace=namespace)

    def deploy(
        self, manifests: str | Iterable[Mapping[str, Any]], *, namespace: str | None = None
    ) -> str:
        """Apply workloads whose pods run here: they get the rig's node, since nothing schedules."""
        if self.is_given:
            return self.apply(placement.documents(manifests), namespace=namespace)
        return self.apply(placement.placed(manifests, controlplane.NODE), namespace=namespace)

    def wait_established(self, *definitions: str) -> None:
        """Wait until the kinds of some CRDs (`crd/NAME`) are served; without a name, of all."""
        self._kubectl.wait_established(*definitions)

    def create_namespace(self, name: str, labels: Mapping[str, str] | None = None) -> None:
        """Make a namespace in which pods may be made at once."""
        metadata = {"name": name, "labels": dict(labels or {})}
        self.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])
        self.wait_for(
            lambda: controlplane.has_default_account(self._kubectl, name),
            60,  # after an outage the controllers wait for longer and longer between their tries
            f"the default account of namespace {name}",
        )

    def delete_namespace(self, name: str, *, wait: bool = False) -> None:
        """Delete a namespace; by default without waiting for everything in it to go."""
        flag = f"--wait={str(wait).lower()}"
        self.kubectl("delete", "namespace", name, "--ignore-not-found", flag)

    def pods(self, namespace: str, selector: str = "") -> list[dict[str, Any]]:
        """Return the pods that are not on their way out."""
        found = self.get("pods", f"--namespace={namespace}", f"--selector={selector}")["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def wait_pods(
        self, namespace: str, selector: str = "", *, count: int = 1, timeout: float = 30
    ) -> list[dict[str, Any]]:
        """Wait until there are exactly so many pods and each has an address; return them."""

        def ask() -> list[dict[str, Any]]:
            pods = self.pods(namespace, selector)
            ready = [pod for pod in pods if pod.get("status", {}).get("podIP")]
            return ready if len(ready) == len(pods) == count else []

        return self.wait_for(ask, timeout, f"{count} running pods {selector!r} in {namespace}")

    def prometheus_query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of an instant query, as Prometheus' API gives it."""
        return list(self.prometheus_get("query", query=expression)["result"])

    def prometheus_get(self, path: str, **parameters: str) -> Any:
        """Return ``data`` of a request to ``/api/v1/PATH``."""
        if self.prometheus_url is None:
            raise RigError(
                "there is no Prometheus: start the stack, or set FLOWGAUGE_PROMETHEUS_URL"
            )
        query = urllib.parse.urlencode(parameters)
        return fetch.json_of(f"{self.prometheus_url}/api/v1/{path}?{query}", timeout=30)["data"]

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that Alertmanager has."""
        if self.alertmanager_url is None:
            raise RigError(
                "there is no Alertmanager: start the stack, or set FLOWGAUGE_ALERTMANAGER_URL"
            )
        return list(fetch.json_of(f"{self.alertmanager_url}/api/v2/alerts"))

    def wait_for(
        self, predicate: Callable[[], T], timeout: float, what: waiting.What, *, every: float = 0.1
    ) -> T:
        """Return the first true answer, or raise TimeoutError with what was waited for."""
        return waiting.wait_for(predicate, timeout, what, every=every)
