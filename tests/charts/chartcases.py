"""The chart with each of its switches turned, each choice taken, and lists filled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/flowgauge"
SYSTEM = "fg-charts"
# Values of an operator that a test runs.
QUICK = {"log": {"format": "text"}, "test": {"timeoutSeconds": 5}}
MONITORING = tuple(
    f"monitoring.coreos.com/v1/{kind}"
    for kind in ("ServiceMonitor", "PodMonitor", "PrometheusRule")
)
GRAFANA = ("grafana.integreatly.org/v1beta1",)
FORCED = {"serviceMonitor": {"force": True}, "prometheusRule": {"force": True}}
# What is rendered with the definitions of our kinds; everywhere they would be the same.
WITH_DEFINITIONS = ("default", "definitions go", "labels")
_PEERS = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]

CASES: dict[str, dict[str, Any]] = {
    "default": FORCED,
    "no replica": {"replicas": 0},
    "one replica": {"replicas": 1},
    "three replicas": {"replicas": 3, "podDisruptionBudget": {"maxUnavailable": "50%"}},
    "without disruption budget": {"podDisruptionBudget": {"enabled": False}},
    "namespaces": {"namespaces": ["shop", "billing"]},
    "namespaces and nothing of the cluster": {
        "namespaces": ["shop"],
        "crds": {"enabled": False},
        "rbac": {"profiles": False, "aggregate": False},
    },
    "without rbac": {"rbac": {"create": False}},
    "less rbac": {
        **FORCED,
        "rbac": {"alertmanagerConfigs": False, "grafanaDashboards": False, "profiles": False},
    },
    "not aggregated": {"rbac": {"aggregate": False}},
    "an account of before": {"serviceAccount": {"create": False, "name": "robot"}},
    "the default account": {"serviceAccount": {"create": False}},
    "an annotated account": {"serviceAccount": {"annotations": {"example.com/role": "1"}}},
    "definitions go": {"crds": {"keep": False}},
    "no definitions": {"crds": {"enabled": False}},
    "prometheus": {
        "prometheus": {"url": "https://p.example:8443/x", "required": True, "verifyInterval": 0.5}
    },
    "prometheus with the scheme's port": {"prometheus": {"url": "http://prometheus.example"}},
    "token and ca": {
        "prometheus": {
            "url": "https://p.example",
            "bearerToken": {"secret": "token"},
            "ca": {"configMap": "ca"},
        },
        "extraVolumes": [{"name": "more", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/var/run/more"}],
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}],
    },
    "ca of a secret": {"prometheus": {"ca": {"secret": "ca", "key": "tls.crt"}}},
    "grafana": {
        "grafana": {
            "url": "https://g.example",
            "logsUrl": "https://l.example/?q={{namespace}}",
            "tracesUrl": "https://t.example/{{workflow}}",
            "folder": "All",
            "namespaceDashboards": False,
        }
    },
    "labelled pods": {"discovery": {"mode": "label", "keep": "2h", "limit": 5}},
    "no pods": {"discovery": {"mode": "off"}},
    "grafana operator": {"grafana": {"mode": "GrafanaDashboard", "instances": "a=b,c=d"}},
    "grafana operator unseen": {"grafana": {"mode": "GrafanaDashboard", "force": True}},
    "a second release": {"crds": {"enabled": False}, "grafana": {"globalDashboards": False}},
    "no dashboards": {"grafana": {"mode": "None"}},
    "runbooks": {**FORCED, "runbookBaseUrl": "https://r.example/{alert}.md"},
    "labels": {
        **FORCED,
        "monitorLabels": {"release": "kps"},
        "ruleLabels": {"release": "kps"},
        "alertmanagerConfigLabels": {"team": "a"},
        "commonLabels": {"team": "a"},
        "commonAnnotations": {"example.com/owner": "a"},
        "podLabels": {"p": "1"},
        "podAnnotations": {"q": "true"},
        "service": {"annotations": {"r": "1"}},
    },
    "monitors": {
        "serviceMonitor": {
            "force": True,
            "labels": {"a": "b"},
            "interval": "1m30s",
            "relabelings": [{"targetLabel": "cluster", "replacement": "one"}],
            "metricRelabelings": [{"action": "labeldrop", "regex": "pod"}],
        },
        "prometheusRule": {
            "force": True,
            "labels": {"a": "b"},
            "disabled": ["FlowgaugeQueueGrowing"],
            "alertLabels": {"team": "a"},
            "job": "own",
        },
    },
    "nobody scrapes": {"serviceMonitor": {"enabled": False}, "prometheusRule": {"force": True}},
    "a scrape of ones own": {
        "serviceMonitor": {"enabled": False},
        "prometheusRule": {"force": True, "job": "own"},
    },
    "no monitors": {"serviceMonitor": {"enabled": False}, "prometheusRule": {"enabled": False}},
    "network": {
        "prometheus": {"url": "http://p.example:9091"},
        "networkPolicy": {
            "from": _PEERS,
            "apiServer": [{"ipBlock": {"cidr": "10.0.0.1/32"}}],
            "apiServerPorts": [8443],
            "prometheus": _PEERS,
            "prometheusPorts": [],
            "extraEgress": [{"to": _PEERS}],
        },
    },
    "no network policy": {"networkPolicy": {"enabled": False}},
    "image": {
        "image": {"digest": f"sha256:{'0a' * 32}", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
    },
    "never pulled": {"image": {"tag": "dev", "pullPolicy": "Never"}},
    "log": {"log": {"level": "debug", "format": "text"}, "extraArgs": ["--workers=16"]},
    "quiet": {"log": {"level": "warning"}},
    "errors only": {"log": {"level": "error"}},
    "placed": {
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "topologySpreadConstraints": [
            {
                "maxSkew": 2,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/part-of": "flowgauge"}},
            }
        ],
        "resources": {"limits": {"cpu": 1, "memory": "1Gi"}},
        "livenessProbe": {"initialDelaySeconds": 0},
        "readinessProbe": {"failureThreshold": 9},
    },
    "users of openshift": {"podSecurityContext": {"runAsUser": None, "runAsGroup": None}},
    "named": {"fullnameOverride": "gauge", "nameOverride": "gauge"},
    "below another chart": {"global": {"any": 1}, "enabled": True},
}
