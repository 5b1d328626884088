"""The operator's flags: what can be set, its defaults, and what is a mistake. Pure: arguments and environment are handed in.

Every flag `--foo-bar` is also the variable `FLOWGAUGE_FOO_BAR`; the command line wins.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, NoReturn

from flowgauge_operator import values
from flowgauge_operator.values import Labels

PREFIX = "FLOWGAUGE_"


@dataclass(frozen=True)
class Settings:
    """Hold the operator's configuration. Times are in seconds, rates in requests a second."""

    prometheus_url: str = ""
    prometheus_bearer_token_file: str = ""
    prometheus_ca_file: str = ""
    require_prometheus: bool = False
    verify_interval: float = 30.0
    kube_api_qps: float = 400.0
    kube_api_burst: int = 800
    workers: int = 10
    resync: float = 900.0
    discovery_interval: float = 60.0
    namespaces: tuple[str, ...] = ()
    leader_elect: bool = False
    leader_election_namespace: str = ""
    leader_election_id: str = "flowgauge-operator"
    lease_duration: float = 10.0
    listen_host: str = "0.0.0.0"  # noqa: S104 - probes and Prometheus come from other hosts
    listen_port: int = 8080
    log_level: str = "info"
    log_format: str = "text"
    dashboard_label: tuple[str, str] = ("grafana_dashboard", "1")
    folder_annotation: str = "grafana_folder"
    runbook_base_url: str = ""
    grafana_url: str = ""
    logs_url: str = ""
    traces_url: str = ""
    monitor_labels: Labels = ()
    rule_labels: Labels = ()
    alertmanager_config_labels: Labels = ()
    dashboard_mode: str = "ConfigMap"
    dashboard_folder: str = "{namespace}"
    dashboard_instances: Labels = (("dashboards", "grafana"),)
    dashboard_cross_namespace: bool = True
    dashboard_resync: str = "10m"
    namespace_dashboards: bool = True
    discovery: str = "annotation"
    discovery_keep: float = 86400.0
    discovery_keep_intermittent: float = 691200.0
    discovery_limit: int = 200


@dataclass(frozen=True)
class Flag:
    """Describe one flag: how its text is read, its default as text, and its help."""

    name: str
    read: Callable[[str], Any]
    default: str
    help: str
    metavar: str

    @property
    def field(self) -> str:
        """Return the name in `Settings` and, behind the dashes, on the command line."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """Return the name of the environment variable."""
        return PREFIX + self.field.upper()

    @property
    def is_switch(self) -> bool:
        """Tell whether the flag can be given without a value."""
        return self.read is values.boolean


FLAGS = (
    Flag(
        "prometheus-url",
        values.url,
        "",
        "Prometheus to ask whether scrape jobs and rules are loaded; empty: do not ask",
        "URL",
    ),
    Flag(
        "prometheus-bearer-token-file",
        str,
        "",
        "file with the bearer token for Prometheus, read again when it changes",
        "PATH",
    ),
    Flag("prometheus-ca-file", str, "", "file with the CA of Prometheus' certificate", "PATH"),
    Flag(
        "require-prometheus",
        values.boolean,
        "false",
        "do not call a workflow Ready while no Prometheus URL is set",
        "BOOL",
    ),
    Flag("verify-interval", values.seconds, "30", "seconds between looks at Prometheus", "SECONDS"),
    Flag(
        "kube-api-qps",
        values.rate,
        "400",
        "writes to the API server a second; 0: no limit",
        "RATE",
    ),
    Flag("kube-api-burst", values.count, "800", "writes that may be made at once", "COUNT"),
    Flag("workers", values.count, "10", "workflows that are reconciled at a time", "COUNT"),
    Flag(
        "resync",
        values.seconds,
        "900",
        "seconds between full lists of the cluster, which find what no event has told",
        "SECONDS",
    ),
    Flag(
        "discovery-interval",
        values.seconds,
        "60",
        "seconds between looks at which kinds the cluster has, Prometheus Operator's for example",
        "SECONDS",
    ),
    Flag(
        "discovery",
        values.discovery,
        "annotation",
        "how pods with the annotation flowgauge.dev/workflow are found: annotation, by watching all pods; label, by watching"
        " those with the label flowgauge.dev/monitor=true; or off",
        "MODE",
    ),
    Flag(
        "discovery-keep",
        values.duration_,
        "1d",
        "how long a discovered workflow stays after its last pod",
        "DURATION",
    ),
    Flag(
        "discovery-keep-intermittent",
        values.duration_,
        "8d",
        "the same for one that has pods only while it runs, as that of a CronJob",
        "DURATION",
    ),
    Flag(
        "discovery-limit",
        values.count,
        "200",
        "workflows that may be discovered in one namespace",
        "COUNT",
    ),
    Flag("namespaces", values.names, "", "namespaces to serve, by commas; empty: all", "NAMES"),
    Flag(
        "leader-elect",
        values.boolean,
        "false",
        "let one of several replicas lead and the others wait; needed for more than one replica",
        "BOOL",
    ),
    Flag(
        "leader-election-namespace",
        values.name,
        "",
        "namespace of the Lease; empty: the operator's own",
        "NAME",
    ),
    Flag("leader-election-id", values.name, "flowgauge-operator", "name of the Lease", "NAME"),
    Flag(
        "lease-duration",
        values.lease,
        "10",
        "whole seconds after which another replica takes over from one that is gone",
        "SECONDS",
    ),
    Flag(
        "listen-address",
        values.address,
        "0.0.0.0:8080",
        "where /metrics, /healthz and /readyz are served",
        "HOST:PORT",
    ),
    Flag("log-level", values.level, "info", "debug, info, warning or error", "LEVEL"),
    Flag("log-format", values.log_format, "text", "text or json", "FORMAT"),
    Flag(
        "dashboard-label",
        values.label,
        "grafana_dashboard=1",
        "label by which Grafana's sidecar finds dashboards",
        "KEY=VALUE",
    ),
    Flag(
        "folder-annotation",
        values.label_key,
        "grafana_folder",
        "annotation in which Grafana's sidecar reads the folder of a dashboard",
        "KEY",
    ),
    Flag(
        "dashboard-mode",
        values.dashboard_mode,
        "ConfigMap",
        "how dashboards reach Grafana where a workflow does not say it: ConfigMap for a sidecar, GrafanaDashboard for"
        " grafana-operator, or None",
        "MODE",
    ),
    Flag(
        "dashboard-folder",
        values.folder,
        "{namespace}",
        "folder of dashboards where a workflow names none; {namespace} stands for its namespace",
        "FOLDER",
    ),
    Flag(
        "dashboard-instances",
        values.labels,
        "dashboards=grafana",
        "labels of the Grafana objects that GrafanaDashboards are for; whoever changes them has all made anew",
        "KEY=VALUE,...",
    ),
    Flag(
        "dashboard-cross-namespace",
        values.boolean,
        "true",
        "let GrafanaDashboards reach Grafana objects in other namespaces",
        "BOOL",
    ),
    Flag(
        "dashboard-resync",
        values.go_duration,
        "10m",
        "how often grafana-operator looks whether Grafana still has a dashboard",
        "DURATION",
    ),
    Flag(
        "namespace-dashboards",
        values.boolean,
        "true",
        "make the dashboards of a namespace as a whole: its fleet and its objectives",
        "BOOL",
    ),
    Flag(
        "runbook-base-url",
        values.runbook_url,
        "",
        "folder of the runbooks that alerts link to, or a URL with {alert} in the place of a page's name; empty: alerts"
        " have no runbook_url",
        "URL",
    ),
    Flag(
        "grafana-url",
        values.link,
        "",
        "Grafana that alerts link to; empty: alerts have no dashboard_url",
        "URL",
    ),
    Flag(
        "logs-url",
        values.template,
        "",
        "where dashboards link to for logs, with {{namespace}}, {{workflow}}, {{from}} and {{to}} (Unix milliseconds) in"
        " the places of names and times; empty: no link",
        "URL",
    ),
    Flag(
        "traces-url",
        values.template,
        "",
        "the same for traces",
        "URL",
    ),
    Flag(
        "monitor-labels",
        values.labels,
        "",
        "labels for ServiceMonitors and PodMonitors, so that your Prometheus selects them",
        "KEY=VALUE,...",
    ),
    Flag(
        "rule-labels",
        values.labels,
        "",
        "labels for PrometheusRules, so that your Prometheus selects them",
        "KEY=VALUE,...",
    ),
    Flag(
        "alertmanager-config-labels",
        values.labels,
        "",
        "labels for AlertmanagerConfigs, so that your Alertmanager selects them",
        "KEY=VALUE,...",
    ),
)


class _Version(argparse.Action):
    """Print the version; it is looked up only when someone asks."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> NoReturn:
        print(f"flowgauge-operator {metadata.version('flowgauge')}")  # noqa: T201
        parser.exit()


def parse(argv: Sequence[str], env: Mapping[str, str]) -> Settings:
    """Read the flags. A mistake is printed with flag and remedy, and ends the program with 2."""
    parser = _parser()
    given = vars(parser.parse_args(argv))
    found = {flag.field: _value(parser, flag, given[flag.field], env) for flag in FLAGS}
    found["listen_host"], found["listen_port"] = found.pop("listen_address")
    if found["kube_api_burst"] < found["kube_api_qps"]:
        parser.error(
            f"--kube-api-burst {found['kube_api_burst']} is below --kube-api-qps"
            f" {found['kube_api_qps']:g}, which could never be reached; raise the burst"
        )
    return Settings(**found)


def _value(
    parser: argparse.ArgumentParser, flag: Flag, given: str | None, env: Mapping[str, str]
) -> Any:
    name, text = f"--{flag.name}", given
    if given is None:
        name, text = flag.variable, env.get(flag.variable)
    try:
        # Empty means default: a chart writes empty variables for what nobody has set.
        return flag.read((text or "").strip() or flag.default)
    except ValueError as error:
        parser.error(f"{name} {text!r}: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowgauge-operator",
        description="Watch MonitoredWorkflows and keep their monitoring in place.",
        epilog=f"Every flag is also an environment variable, --log-level for example"
        f" {PREFIX}LOG_LEVEL; the flag wins.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    for flag in FLAGS:
        default = f" (default: {flag.default})" if flag.default else ""
        options: dict[str, Any] = {"nargs": "?", "const": "true"} if flag.is_switch else {}
        parser.add_argument(
            f"--{flag.name}", help=flag.help + default, metavar=flag.metavar, **options
        )
    return parser
