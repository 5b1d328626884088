"""What rendering takes beside the workflow and the profile, and what it says beside the manifests. Pure records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Options:
    """The operator's settings that show in manifests."""

    runbook_url: str = ""
    grafana_url: str = ""
    # URLs with {{namespace}}, {{workflow}}, {{from}} and {{to}} in the places of names and times.
    logs_url: str = ""
    traces_url: str = ""
    # Whether the dashboards of a whole namespace exist, so that others may link to them.
    namespace_dashboards: bool = True
    dashboard_labels: Mapping[str, str] = field(default_factory=lambda: {"grafana_dashboard": "1"})
    folder_annotation: str = "grafana_folder"
    monitor_labels: Mapping[str, str] = field(default_factory=dict)
    rule_labels: Mapping[str, str] = field(default_factory=dict)
    alertmanager_config_labels: Mapping[str, str] = field(default_factory=dict)
    dashboard_mode: str = "ConfigMap"
    dashboard_folder: str = ""
    dashboard_instances: Mapping[str, str] = field(
        default_factory=lambda: {"dashboards": "grafana"}
    )
    dashboard_cross_namespace: bool = True
    dashboard_resync: str = "10m"

    def folder(self, namespace: str) -> str:
        """The folder of the dashboards of a namespace that names none itself."""
        return self.dashboard_folder.replace("{namespace}", namespace) or namespace

    def runbook(self, page: str) -> str:
        """The URL of a page of the runbooks; empty where nobody has said where they are."""
        if "{alert}" in self.runbook_url:
            return self.runbook_url.replace("{alert}", page)
        return self.runbook_url and f"{self.runbook_url.rstrip('/')}/{page}"

    @property
    def runbooks(self) -> str:
        """The URL of the index of the runbooks; empty where nobody has said where they are."""
        if "{alert}" in self.runbook_url:
            return self.runbook("README")
        return self.runbook_url

    @property
    def keys(self) -> frozenset[str]:
        """Label and annotation keys that count as ours because the settings name them."""
        return frozenset(
            (
                *self.dashboard_labels,
                *self.monitor_labels,
                *self.rule_labels,
                *self.alertmanager_config_labels,
                self.folder_annotation,
                RULES_LABEL,
            )
        )


# Label of the ConfigMaps that carry rules where Prometheus Operator is missing; the packaged stack's sidecar reads it.
RULES_LABEL = "flowgauge.dev/rules"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Which optional kinds the cluster has and the operator may use."""

    kinds: frozenset[str] = frozenset(
        {
            "ServiceMonitor",
            "PodMonitor",
            "PrometheusRule",
            "AlertmanagerConfig",
            "GrafanaDashboard",
        }
    )

    def has(self, kind: str) -> bool:
        """Whether objects of this kind can be made."""
        return kind in self.kinds


@dataclass(frozen=True, slots=True)
class Problem:
    """A part of the spec that could not be rendered; the rest was."""

    path: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@dataclass(frozen=True, slots=True)
class SloView:
    """What verification and the dashboard have to know of an objective.

    `kind` is which of the five it is, `threshold` that of a latency in seconds. `burn_record` is the ratio that the burn rate is read from; `paged_above` is the burn rate above which its page fires,
    None where it cannot.
    """

    name: str
    objective: float
    window: str
    burn_record: str
    paged_above: float | None = None
    kind: str = ""
    threshold: float | None = None
