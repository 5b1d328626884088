"""Where things are in a cluster: our operators and Grafana's sidecars among its workloads, and the ways to a server. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from flowgauge_operator import names
from flowgauge_operator.doctor.snapshot import Bodies, Body, Unseen

PROGRAM = "flowgauge-operator"


def container_of(workload: Body) -> Mapping[str, Any] | None:
    """The container that runs our operator, or None."""
    labels = workload["metadata"].get("labels") or {}
    for container in workload["spec"]["template"]["spec"].get("containers") or []:
        words = [*(container.get("command") or []), *(container.get("args") or [])]
        if any(str(word).rpartition("/")[2] == PROGRAM for word in words):
            return container  # type: ignore[no-any-return]
    if labels.get(names.NAME) == PROGRAM:
        found = workload["spec"]["template"]["spec"].get("containers") or [None]
        return found[0]  # type: ignore[no-any-return]
    return None


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A sidecar of Grafana that takes in ConfigMaps with a label; `namespaces` is empty where it looks everywhere."""

    workload: Body
    label: str
    value: str
    namespaces: tuple[str, ...]
    folder_annotation: str

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Whether it takes in a ConfigMap with these labels."""
        return self.label in labels and self.value in ("", labels[self.label])

    def watches(self, namespace: str) -> bool:
        """Whether it looks into a namespace."""
        return not self.namespaces or namespace in self.namespaces


def sidecars(workloads: Iterable[Body]) -> Iterator[Sidecar]:
    """The sidecars that take in dashboards, by what k8s-sidecar reads from its environment."""
    for workload in workloads:
        spec = workload["spec"]["template"]["spec"]
        for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
            env = {
                item["name"]: str(item.get("value") or "") for item in container.get("env") or []
            }
            if not env.get("LABEL") or not _is_for_dashboards(container, env):
                continue
            listed = [part.strip() for part in env.get("NAMESPACE", "").split(",") if part.strip()]
            own = workload["metadata"]["namespace"]
            yield Sidecar(
                workload,
                env["LABEL"],
                env.get("LABEL_VALUE", ""),
                () if "ALL" in listed else tuple(listed or [own]),
                env.get("FOLDER_ANNOTATION", ""),
            )


def _is_for_dashboards(container: Mapping[str, Any], env: Mapping[str, str]) -> bool:
    is_sidecar = "k8s-sidecar" in str(container.get("image", "")) or "RESOURCE" in env
    told = " ".join((str(container.get("name", "")), env["LABEL"], env.get("FOLDER", ""))).lower()
    return is_sidecar and "dashboard" in told


@dataclass(frozen=True, slots=True)
class Way:
    """A port of a Service, reached through the API server."""

    namespace: str
    service: str
    port: str
    scheme: str = "http"
    prefix: str = ""

    @property
    def path(self) -> str:
        """The path of the proxy to it."""
        scheme = "https:" if self.scheme == "https" else ""
        proxied = (
            f"/api/v1/namespaces/{self.namespace}/services/{scheme}{self.service}:{self.port}/proxy"
        )
        return proxied + self.prefix.rstrip("/")

    def __str__(self) -> str:
        return f"through the API server, Service {self.namespace}/{self.service}:{self.port}"


def shown(url: str) -> str:
    """A URL as it may be shown: user and password in it are nobody's business."""
    scheme, separator, rest = url.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def by_url(url: str, home: str) -> Way | None:
    """The way to what a URL inside of the cluster names; None for a URL that leads elsewhere. `home` is whose URL it is."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return None
    service, *rest = host.split(".")
    if len(rest) > 1 and rest[1] != "svc":
        return None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Way(rest[0] if rest else home, service, str(port), parts.scheme, parts.path)


def of_prometheus(body: Body) -> Way:
    """The way to a Prometheus by its object: the Service that prometheus-operator makes, or the one that it names."""
    return _governing(body, body["spec"].get("serviceName") or "prometheus-operated")


def of_alertmanager(body: Body) -> Way:
    """The same for an Alertmanager."""
    return _governing(body, body["spec"].get("serviceName") or "alertmanager-operated")


def _governing(body: Body, service: str) -> Way:
    spec = body["spec"]
    scheme = "https" if (spec.get("web") or {}).get("tlsConfig") else "http"
    prefix = (spec.get("routePrefix") or "").rstrip("/")
    return Way(
        body["metadata"]["namespace"], service, spec.get("portName") or "web", scheme, prefix
    )


def alertmanagers_of(prometheuses: Bodies) -> list[Way]:
    """The ways to the Alertmanagers that Prometheus objects send to."""
    if isinstance(prometheuses, Unseen):
        return []
    return [
        Way(
            target.get("namespace") or body["metadata"]["namespace"],
            target["name"],
            str(target["port"]),
            target.get("scheme") or "http",
            target.get("pathPrefix") or "",
        )
        for body in prometheuses
        for target in (body["spec"].get("alerting") or {}).get("alertmanagers") or []
    ]


def once(ways: Iterable[Way | None]) -> Sequence[Way]:
    """Each way once, in this order."""
    return list(dict.fromkeys(way for way in ways if way is not None))
