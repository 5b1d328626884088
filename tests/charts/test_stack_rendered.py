"""The stack's chart with its switches turned: taken by the API server, of the schemas that the API server has."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
import yaml
from schemas import all_valid, judged, taken, write_schemas

import charts
from rig import tools

NAMESPACE = "fg-stack"
_INGRESS = {
    "enabled": True,
    "className": "nginx",
    "annotations": {"a": "b"},
    "hosts": ["x.example.com"],
    "tls": [{"secretName": "x", "hosts": ["x.example.com"]}],
}
_NO_VOLUME = {"persistence": {"enabled": False}}
CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "everything": {
        "fullnameOverride": "gauges",
        "monitorLabels": {"release": "kps"},
        "imagePullSecrets": ["registry"],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "system-cluster-critical",
        "prometheusOperator": {"extraArgs": ["--log-level=debug"]},
        "prometheus": {
            "replicas": 2,
            "externalLabels": {"cluster": "blue"},
            "namespaceSelector": {"matchLabels": {"team": "a"}},
            "alertmanagers": [{"namespace": "other", "name": "am", "port": "web"}],
            "remoteWrite": [
                {
                    "url": "https://m.example.com/write",
                    "basicAuth": {"username": {"name": "w", "key": "u"}},
                }
            ],
            "thanos": {"enabled": True, "objectStorageSecret": {"name": "s", "key": "k"}},
            "ingress": _INGRESS,
            "extraSpec": {"enforcedSampleLimit": 5, "query": {"maxConcurrency": 5}},
        },
        "annotatedPods": {
            "exclude": [{"namespace": "shop", "matchLabels": {"app.kubernetes.io/name": "o"}}]
        },
        "alertmanager": {
            "replicas": 3,
            "secrets": ["slack"],
            "receivers": [{"name": "team"}],
            "route": {"receiver": "team"},
            "ingress": _INGRESS,
            "extraSpec": {"logLevel": "debug"},
        },
        "grafana": {
            "datasources": {"resource": "both"},
            "env": {"GF_SMTP_ENABLED": "true"},
            "envFromSecrets": ["sso"],
            "ingress": _INGRESS,
        },
        "alerts": {"labels": {"team": "a"}, "disabled": ["Watchdog"]},
        "networkPolicy": {"enabled": True, "from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},
    },
    "no volumes": dict.fromkeys(
        ("prometheus", "alertmanager", "grafana", "pushgateway"), _NO_VOLUME
    ),
    "own configuration and password": {
        "alertmanager": {"existingConfigSecret": "mine"},
        "grafana": {"admin": {"existingSecret": "mine"}},
    },
    "beside kube-prometheus-stack": {
        "crds": {"enabled": False},
        "prometheusOperator": {"enabled": False},
        "prometheus": {"enabled": False},
        "alertmanager": {"enabled": False},
        "grafana": {"enabled": False},
        "kubeStateMetrics": {"enabled": False},
        "monitorLabels": {"release": "kps"},
        "flowgauge": {"prometheus": {"url": "http://prometheus-operated.monitoring:9090"}},
    },
    "without the operator": {"flowgauge": {"enabled": False}},
    "policies without a prometheus": {
        "prometheus": {"enabled": False},
        "networkPolicy": {"enabled": True},
        "grafana": {"prometheusUrl": "http://mine:9090"},
        "flowgauge": {"enabled": False},
    },
}


@pytest.fixture(scope="module")
def rendered(helm, tmp_path_factory):
    """The objects of each case with their hooks; definitions are left out, they are the rig's own."""
    copy = shutil.copytree(charts.STACK, tmp_path_factory.mktemp("charts") / "flowgauge-stack")
    charts.complete(copy, tools.crds(), charts.OPERATOR)
    found = {}
    for name, values in CASES.items():
        text = helm.run(
            "template",
            "stack",
            str(copy),
            f"--namespace={NAMESPACE}",
            "--skip-crds",
            "--values=-",
            stdin=json.dumps(values),
        )
        found[name] = [item for item in yaml.load_all(text, yaml.CSafeLoader) if item]
    return found


@pytest.mark.cluster
def test_the_api_server_takes_every_object_of_every_case(
    own_cluster, called, rendered, kubeconform, tmp_path
):
    called(NAMESPACE, {"pod-security.kubernetes.io/enforce": "restricted"})
    # Definitions of our own kinds have tests of their own.
    unique = {
        json.dumps(item, sort_keys=True): item
        for objects in rendered.values()
        for item in objects
        if item["kind"] not in {"CustomResourceDefinition", "MonitoredWorkflow"}
    }
    assert len(unique) > 120
    own_cluster.apply(item for item in unique.values() if item["kind"] == "ServiceAccount")

    assert taken(own_cluster, unique) == len(unique)
    write_schemas(
        own_cluster,
        tmp_path / "schemas",
        {(item["apiVersion"], item["kind"]) for item in unique.values()},
    )
    assert judged(kubeconform, tmp_path / "schemas", unique) == all_valid(len(unique))
