"""The kinds of object that the operator touches, and how to point at one. Pure; imported by core and shell alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote


@dataclass(frozen=True)
class Kind:
    """Name one kind in one version of its API group; the group is empty for the core API."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """Return what a manifest writes as `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """Return the name as `kubectl` and RBAC messages spell it: `plural.group`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str | None = None, sub: str = "") -> str:
        """Return the URL path of a collection, an object or a subresource."""
        parts = [group_path(self.api_version)]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        parts += [quote(part, safe="") for part in (name, sub) if part]
        return "/".join(parts)


@dataclass(frozen=True)
class Ref:
    """Point at one object; with a uid, at this very one and not at a later namesake."""

    kind: Kind
    namespace: str | None
    name: str
    uid: str | None = None

    def path(self, sub: str = "") -> str:
        """Return the URL path of the object or of one of its subresources."""
        return self.kind.path(self.namespace, self.name, sub)

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind.kind} {where}{self.name}"


READ = ("list", "watch")
WRITE = ("create", "patch", "delete")


@dataclass(frozen=True)
class Watched:
    """Name a kind to watch, the label selector that narrows it, and the verbs that we need.

    Of objects of a kind that is `metadata_only` nothing else is sent: a tenth of the bytes for both sides.
    """

    kind: Kind
    selector: str | None = None
    verbs: tuple[str, ...] = READ
    metadata_only: bool = False


FLOWGAUGE = "flowgauge.dev"
MONITORING = "monitoring.coreos.com"

WORKFLOW = Kind(FLOWGAUGE, "v1alpha1", "MonitoredWorkflow", "monitoredworkflows")
PROFILE = Kind(FLOWGAUGE, "v1alpha1", "WorkflowProfile", "workflowprofiles", namespaced=False)
SERVICE = Kind("", "v1", "Service", "services")
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps")
POD = Kind("", "v1", "Pod", "pods")
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases")
EVENT = Kind("events.k8s.io", "v1", "Event", "events")
SERVICE_MONITOR = Kind(MONITORING, "v1", "ServiceMonitor", "servicemonitors")
POD_MONITOR = Kind(MONITORING, "v1", "PodMonitor", "podmonitors")
PROMETHEUS_RULE = Kind(MONITORING, "v1", "PrometheusRule", "prometheusrules")
ALERTMANAGER_CONFIG = Kind(MONITORING, "v1alpha1", "AlertmanagerConfig", "alertmanagerconfigs")
GRAFANA_DASHBOARD = Kind(
    "grafana.integreatly.org", "v1beta1", "GrafanaDashboard", "grafanadashboards"
)

KINDS = (
    WORKFLOW,
    PROFILE,
    SERVICE,
    CONFIG_MAP,
    POD,
    LEASE,
    EVENT,
    SERVICE_MONITOR,
    POD_MONITOR,
    PROMETHEUS_RULE,
    ALERTMANAGER_CONFIG,
    GRAFANA_DASHBOARD,
)
_BY_TYPE = {(kind.api_version, kind.kind): kind for kind in KINDS}


def group_path(api_version: str) -> str:
    """Return the URL path of a group and version: `/api/v1` or `/apis/group/version`."""
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def kind_of(manifest: Mapping[str, Any]) -> Kind:
    """Return the kind of a manifest; raise ValueError for one that is not in `KINDS`."""
    wanted = (manifest.get("apiVersion", ""), manifest.get("kind", ""))
    try:
        return _BY_TYPE[wanted]
    except KeyError:
        raise ValueError(f"not a kind of ours: {wanted[1]} in {wanted[0]}") from None


def ref_of(manifest: Mapping[str, Any]) -> Ref:
    """Point at the object that a manifest or a body describes; raise ValueError as `kind_of`."""
    meta = manifest["metadata"]
    return Ref(kind_of(manifest), meta.get("namespace"), meta["name"], meta.get("uid"))
