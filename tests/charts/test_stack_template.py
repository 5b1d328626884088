"""What the stack's chart renders: its wiring, its switches, its alerts, its images. No cluster."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import charts
from flowgauge_operator.render import notify
from rig import chart, parts, pytest_plugin
from rig.helm import ChartError, Helm

NAME, NAMESPACE = "flowgauge-stack", "monitoring"
VALUES = yaml.safe_load((charts.STACK / "values.yaml").read_text())
RULES = "PrometheusRule", f"{NAME}-alerts"


class Rendered:
    """The objects of the chart with some values."""

    def __init__(self, manifests: list[dict[str, Any]]) -> None:
        self.all = [m for m in manifests if m["kind"] != "CustomResourceDefinition"]

    def get(self, kind: str, name: str) -> dict[str, Any]:
        (found,) = [m for m in self.all if (m["kind"], m["metadata"]["name"]) == (kind, name)]
        return found

    def names(self, kind: str) -> set[str]:
        return {m["metadata"]["name"] for m in self.all if m["kind"] == kind}

    def pods(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for manifest in self.all:
            if manifest["kind"] in {"Deployment", "Job"}:
                yield manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]

    @property
    def prometheus(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.get("Prometheus", NAME)["spec"]
        return spec

    @property
    def alertmanager_config(self) -> dict[str, Any]:
        secret = self.get("Secret", f"{NAME}-alertmanager-config")
        config: dict[str, Any] = yaml.safe_load(secret["stringData"]["alertmanager.yaml"])
        return config

    @property
    def alerts(self) -> list[dict[str, Any]]:
        (group,) = self.get(*RULES)["spec"]["groups"]
        found: list[dict[str, Any]] = group["rules"]
        return found


@pytest.fixture(scope="module")
def render(completed: Path):
    """A chart of this size takes helm a second, so the same values are rendered once; `again` does it once more."""
    known: dict[str, Rendered] = {}

    def rendered(*, again: bool = False, **values: Any) -> Rendered:
        key = json.dumps(values, sort_keys=True)
        if again or key not in known:
            known[key] = Rendered(
                chart.render(completed, release=NAME, namespace=NAMESPACE, overrides=values)
            )
        return known[key]

    return rendered


def test_images_have_the_versions_that_the_tests_run(completed):
    images = VALUES["images"]
    built = {
        "prometheusOperator": "prometheus-operator",
        "configReloader": "prometheus-operator",
        "prometheus": "prometheus",
        "alertmanager": "alertmanager",
        "pushgateway": "pushgateway",
        "kubeStateMetrics": "kube-state-metrics",
        "kubectl": "kubectl",
    }

    assert {key: images[key]["tag"] for key in built} == {
        key: f"v{parts.find(tool).version}" for key, tool in built.items()
    }
    definitions = yaml.safe_load((charts.STACK / "charts/crds/Chart.yaml").read_text())
    assert (
        definitions["version"]
        == definitions["appVersion"]
        == parts.find("prometheus-operator").version
    )


def test_no_image_is_named_outside_of_values():
    for template in (charts.STACK / "templates").iterdir():
        for image in re.findall(r"image: *(.*)", template.read_text()):
            assert image.startswith('{{ include "stack.image"'), template


def test_artifact_hub_is_told_of_the_images_that_the_defaults_deploy(render):
    annotations = yaml.safe_load((charts.STACK / "Chart.yaml").read_text())["annotations"]
    told = {item["image"] for item in yaml.safe_load(annotations["artifacthub.io/images"])}
    ours = {
        f"{image['repository']}:{image['tag']}"
        for name, image in VALUES["images"].items()
        if name not in {"pullPolicy", "thanos"}
    }
    (operator,) = render().get("Deployment", NAME)["spec"]["template"]["spec"]["containers"]

    assert told == ours | {operator["image"]}


def test_a_digest_wins_over_the_tag(render):
    digest = f"sha256:{'a' * 64}"
    images = {"prometheus": {"digest": digest}, "grafana": {"digest": digest}}

    rendered = render(images=images)

    assert rendered.prometheus["image"] == f"quay.io/prometheus/prometheus@{digest}"
    assert rendered.prometheus["version"] == VALUES["images"]["prometheus"]["tag"]
    grafana = rendered.get("Deployment", f"{NAME}-grafana")["spec"]["template"]["spec"]
    assert grafana["containers"][0]["image"] == f"docker.io/grafana/grafana@{digest}"


def test_versions_of_charts_are_one():
    stack = yaml.safe_load((charts.STACK / "Chart.yaml").read_text())
    operator = yaml.safe_load((charts.OPERATOR / "Chart.yaml").read_text())

    needed = {item["name"]: item["version"] for item in stack["dependencies"]}
    assert stack["version"] == stack["appVersion"] == operator["version"] == needed["flowgauge"]
    definitions = yaml.safe_load((charts.STACK / "charts/crds/Chart.yaml").read_text())
    assert needed["crds"] == definitions["version"]


def test_prometheus_takes_everything_of_all_namespaces(render):
    spec = render().prometheus

    for kind in ("serviceMonitor", "podMonitor", "probe", "scrapeConfig", "rule"):
        assert spec[f"{kind}Selector"] == {}
        assert spec[f"{kind}NamespaceSelector"] == {}


def test_prometheus_has_what_the_values_say(render):
    spec = render(
        prometheus={
            "replicas": 2,
            "retention": "30d",
            "retentionSize": "40GiB",
            "externalLabels": {"cluster": "blue"},
            "remoteWrite": [{"url": "https://metrics.example.com/write"}],
            "persistence": {"size": "50Gi", "storageClass": "fast"},
            "thanos": {"enabled": True, "objectStorageSecret": {"name": "store", "key": "s3.yml"}},
            "ingress": {
                "enabled": True,
                "hosts": ["prom.example.com"],
                "tls": [{"secretName": "x"}],
            },
            "resources": {"limits": {"memory": "8Gi"}},
            "extraSpec": {"enforcedSampleLimit": 7, "retention": "31d"},
        }
    ).prometheus

    claim = spec["storage"]["volumeClaimTemplate"]["spec"]
    assert (claim["storageClassName"], claim["resources"]["requests"]["storage"]) == (
        "fast",
        "50Gi",
    )
    assert spec["externalLabels"] == {"cluster": "blue"}
    assert spec["remoteWrite"] == [{"url": "https://metrics.example.com/write"}]
    assert spec["thanos"]["objectStorageConfig"] == {"name": "store", "key": "s3.yml"}
    assert spec["thanos"]["image"].startswith("quay.io/thanos/thanos:")
    assert spec["externalUrl"] == "https://prom.example.com"
    assert spec["resources"]["limits"]["memory"] == "8Gi"
    assert (spec["replicas"], spec["retentionSize"]) == (2, "40GiB")
    assert (spec["enforcedSampleLimit"], spec["retention"]) == (7, "31d")


@pytest.mark.parametrize(
    ("values", "gone"),
    [
        ({"prometheusOperator": {"enabled": False}}, ("Deployment", f"{NAME}-prometheus-operator")),
        ({"alertmanager": {"enabled": False}}, ("Alertmanager", NAME)),
        ({"grafana": {"enabled": False}}, ("Deployment", f"{NAME}-grafana")),
        ({"pushgateway": {"enabled": False}}, ("Deployment", f"{NAME}-pushgateway")),
        ({"kubeStateMetrics": {"enabled": False}}, ("Deployment", f"{NAME}-kube-state-metrics")),
        ({"flowgauge": {"enabled": False}}, ("Deployment", NAME)),
        ({"annotatedPods": {"enabled": False}}, ("PodMonitor", f"{NAME}-annotated")),
        ({"alerts": {"enabled": False}}, RULES),
        ({"crds": {"enabled": False}}, ("Job", f"{NAME}-crds-upgrade")),
        (
            {
                "prometheus": {"enabled": False},
                "grafana": {"prometheusUrl": "http://mine:9090"},
                "flowgauge": {"prometheus": {"url": "http://mine:9090"}},
            },
            ("Prometheus", NAME),
        ),
    ],
)
def test_each_part_can_be_switched_off(render, values, gone):
    kind, name = gone
    rendered = render(**values)

    assert name not in rendered.names(kind)
    text = json.dumps(rendered.all)
    # Nobody asks or alerts on what is not there.
    if kind == "Deployment" and name != NAME:
        part = name.removeprefix(f"{NAME}-")
        assert name not in rendered.names("ServiceMonitor")
        assert part not in {alert["labels"].get("part") for alert in rendered.alerts}
    if kind == "Alertmanager":
        assert "alerting" not in rendered.prometheus
        assert f"{NAME}-alertmanager" not in text


def test_everything_of_ones_own_leaves_the_operator_wired_to_it(render):
    # Prometheus may select by any label, also by one that we have otherwise.
    labels = {"release": "kps", "app.kubernetes.io/instance": "kps"}
    own = {
        "crds": {"enabled": False},
        "prometheusOperator": {"enabled": False},
        "prometheus": {"enabled": False},
        "alertmanager": {"enabled": False},
        "grafana": {"enabled": False},
        "pushgateway": {"enabled": False},
        "kubeStateMetrics": {"enabled": False},
        "annotatedPods": {"enabled": False},
        "monitorLabels": labels,
        "flowgauge": {"prometheus": {"url": "http://mine:9090"}, "monitorLabels": labels},
    }
    rendered = render(**own)

    assert rendered.names("Deployment") == {NAME}
    for monitor in (rendered.get(*RULES), rendered.get("ServiceMonitor", NAME)):
        assert labels.items() <= monitor["metadata"]["labels"].items()
    assert [alert["alert"] for alert in rendered.alerts] == ["Watchdog"]
    (container,) = rendered.get("Deployment", NAME)["spec"]["template"]["spec"]["containers"]
    assert "--prometheus-url=http://mine:9090" in container["args"]
    # A group without alerts is no group.
    assert render(**own, alerts={"disabled": ["Watchdog"]}).names(RULES[0]) == {NAME}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prometheus": {"enabled": False}}, "set grafana.prometheusUrl"),
        (
            {"prometheus": {"enabled": False}, "grafana": {"enabled": False}},
            "set flowgauge.prometheus.url",
        ),
        (
            {"alertmanager": {"route": {"receiver": "team"}}},
            '"team" is none of alertmanager.receivers',
        ),
        ({"alertmanager": {"receivers": [{"name": "nobody"}]}}, 'the name "nobody" is taken'),
        (
            {"alertmanager": {"route": {"extraRoutes": [{"receiver": "dta"}]}}},
            'alertmanager.route.extraRoutes: "dta" is none',
        ),
        ({"grafana": {"ingress": {"enabled": True}}}, "grafana.ingress.hosts"),
        (
            {"grafana": {"env": {"GF_SECURITY_ADMIN_PASSWORD": "admin"}}},
            "GF_SECURITY_ADMIN_PASSWORD comes from a Secret",
        ),
        # Grafana would find no dashboard.
        ({"grafana": {"dashboards": {"label": "mine"}}}, "looks for the label mine=1"),
        ({"flowgauge": {"grafana": {"dashboardLabel": "grafana_dashboard=2"}}}, "set both alike"),
        ({"grafana": {"dashboards": {"folderAnnotation": "f"}}}, "folderAnnotation is f, and"),
        # Prometheus Operator could not tell what it may ask of it.
        ({"images": {"prometheus": {"tag": "latest"}}}, "/images/prometheus/tag"),
        ({"alerts": {"disabled": ["Wachdog"]}}, 'no alert called "Wachdog"'),
        ({"prometheus": {"retension": "1d"}}, "additional properties 'retension' not allowed"),
        ({"prometheus": {"retention": "soon"}}, "retention"),
        ({"prometheus": {"retention": "1h30d"}}, "/prometheus/retention"),
        ({"prometheus": {"retention": ""}}, "/prometheus/retention"),
        (
            {"prometheus": {"thanos": {"objectStorageSecret": {"name": "store"}}}},
            "/prometheus/thanos/objectStorageSecret': properties 'key' required",
        ),
        (
            {"prometheus": {"alertmanagers": [{"name": "mine"}]}},
            "/prometheus/alertmanagers/0': missing property 'port'",
        ),
        # The API server takes no days there.
        ({"alertmanager": {"retention": "5d"}}, "/alertmanager/retention"),
        ({"images": {"grafana": {"digest": "latest"}}}, "digest"),
        ({"promtheus": {}}, "additional properties 'promtheus' not allowed"),
    ],
)
def test_wrong_values_are_refused_with_their_name(render, values, message):
    with pytest.raises(ChartError, match=re.escape(message)):
        render(**values)


def test_missing_definitions_are_told_with_the_remedy(completed, tmp_path):
    copy = shutil.copytree(completed, tmp_path / "chart")
    shutil.rmtree(copy / "charts/crds/crds")

    with pytest.raises(ChartError, match="run `make charts`"):
        chart.render(copy, release=NAME, namespace=NAMESPACE)


def test_inhibition_is_what_the_operator_writes_into_alertmanagerconfigs(render):
    def texts(matchers):
        return [f'{name} {sort} "{value}"' for name, sort, value in matchers]

    rules = render().alertmanager_config["inhibit_rules"]

    assert rules[: len(notify.INHIBITIONS)] == [
        {
            "source_matchers": texts(rule.source),
            "target_matchers": texts(rule.target),
            "equal": list(rule.equal),
        }
        for rule in notify.INHIBITIONS
    ]
    assert rules[len(notify.INHIBITIONS) :] == [
        {
            "source_matchers": ['monitored_workflow != ""', 'severity = "critical"'],
            "target_matchers": ['monitored_workflow != ""', 'severity = "warning"'],
            "equal": ["namespace", "monitored_workflow"],
        }
    ]


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("severity=critical monitored_workflow=orders", "pager"),
        ("severity=warning monitored_workflow=orders", "team"),
        ("severity=info monitored_workflow=orders", "nobody"),
        ("severity=none alertname=Watchdog", "dead-man"),
        ("severity=warning team=data", "data"),
    ],
)
def test_alerts_go_to_whom_the_values_say(render, tmp_path, labels, receiver):
    hook = {"webhook_configs": [{"url": "http://127.0.0.1:9/"}]}
    config = render(
        alertmanager={
            "receivers": [{"name": name, **hook} for name in ("team", "pager", "dead-man", "data")],
            "route": {
                "receiver": "team",
                "criticalReceiver": "pager",
                "watchdogReceiver": "dead-man",
                "extraRoutes": [{"receiver": "data", "matchers": ["team = data"]}],
            },
        }
    ).alertmanager_config
    file = tmp_path / "alertmanager.yaml"
    file.write_text(yaml.safe_dump(config))

    done = subprocess.run(
        [
            pytest_plugin.binary("amtool"),
            "config",
            "routes",
            "test",
            f"--config.file={file}",
            *labels.split(),
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == receiver


def test_by_default_nobody_is_told_and_amtool_accepts_it(render, tmp_path):
    file = tmp_path / "alertmanager.yaml"
    file.write_text(yaml.safe_dump(render().alertmanager_config))

    done = subprocess.run(
        [pytest_plugin.binary("amtool"), "check-config", file],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "1 receivers" in done.stdout


def test_grafana_gets_data_sources_that_dashboards_find(render):
    config = render().get("ConfigMap", f"{NAME}-grafana-datasources")
    found = yaml.safe_load(config["data"]["flowgauge-stack.yaml"])["datasources"]

    assert [(source["uid"], source["type"], source["url"]) for source in found] == [
        ("prometheus", "prometheus", f"http://{NAME}-prometheus.{NAMESPACE}:9090"),
        ("alertmanager", "alertmanager", f"http://{NAME}-alertmanager.{NAMESPACE}:9093"),
    ]
    # Dashboards have a variable of this type, whose first choice is the default.
    assert [source.get("isDefault", False) for source in found] == [True, False]
    assert found[0]["jsonData"]["alertmanagerUid"] == "alertmanager"


def test_the_sidecar_looks_for_what_the_operator_writes(render):
    rendered = render()
    deployment = rendered.get("Deployment", f"{NAME}-grafana")["spec"]["template"]["spec"]
    (sidecar,) = [item for item in deployment["containers"] if item["name"] == "dashboards"]
    env = {item["name"]: item.get("value") for item in sidecar["env"]}
    (operator,) = rendered.get("Deployment", NAME)["spec"]["template"]["spec"]["containers"]

    assert f"--dashboard-label={env['LABEL']}={env['LABEL_VALUE']}" in operator["args"]
    assert f"--folder-annotation={env['FOLDER_ANNOTATION']}" in operator["args"]
    assert (env["NAMESPACE"], env["RESOURCE"], env["METHOD"]) == ("ALL", "configmap", "WATCH")
    ours = [m for m in rendered.all if m["metadata"].get("labels", {}).get(env["LABEL"])]
    assert {m["metadata"]["labels"][env["LABEL"]] for m in ours} == {env["LABEL_VALUE"]}
    provider = rendered.get("ConfigMap", f"{NAME}-grafana-providers")["data"]
    (options,) = yaml.safe_load(provider["flowgauge-stack.yaml"])["providers"]
    assert options["options"] == {"path": env["FOLDER"], "foldersFromFilesStructure": True}
    mounts = {
        mount["name"]: mount["mountPath"] for mount in deployment["containers"][0]["volumeMounts"]
    }
    assert mounts["dashboards"] == env["FOLDER"]


def test_grafana_has_a_random_password_and_no_way_around_it(render):
    def password(rendered):
        data = rendered.get("Secret", f"{NAME}-grafana-admin")["data"]["admin-password"]
        return base64.b64decode(data).decode()

    first, second = render(), render(again=True)

    assert password(first) != password(second)
    assert re.fullmatch("[A-Za-z0-9]{32}", password(first))
    pod = first.get("Deployment", f"{NAME}-grafana")["spec"]["template"]["spec"]
    env = {item["name"]: item for item in pod["containers"][0]["env"]}
    assert env["GF_AUTH_ANONYMOUS_ENABLED"]["value"] == "false"
    assert (
        env["GF_SECURITY_ADMIN_PASSWORD"]["valueFrom"]["secretKeyRef"]["name"]
        == f"{NAME}-grafana-admin"
    )


def test_settings_of_grafana_are_there_once_and_those_of_the_values_win(render):
    # Twice in a list is refused by server-side apply.
    rendered = render(grafana={"env": {"GF_LOG_MODE": "file", "GF_SMTP_ENABLED": "true"}})
    pod = rendered.get("Deployment", f"{NAME}-grafana")["spec"]["template"]["spec"]
    env = [(item["name"], item.get("value")) for item in pod["containers"][0]["env"]]

    assert ("GF_LOG_MODE", "file") in env
    assert ("GF_SMTP_ENABLED", "true") in env
    assert len(env) == len(dict(env)) > 10


@pytest.mark.parametrize(("given", "asked"), [("", None), ("-", ""), ("fast", "fast")])
def test_a_volume_is_of_the_default_class_of_none_or_of_a_given_one(render, given, asked):
    rendered = render(pushgateway={"persistence": {"storageClass": given}})

    claim = rendered.get("PersistentVolumeClaim", f"{NAME}-pushgateway")["spec"]
    assert claim.get("storageClassName") == asked


@pytest.mark.parametrize(
    ("size", "kept"),
    [("20Gi", "17400MiB"), ("1.5Ti", "1305GiB"), ("100G", "79000MiB"), ("1024", None)],
)
def test_prometheus_keeps_no_more_than_its_volume_holds(render, size, kept):
    assert (
        render(prometheus={"persistence": {"size": size}}).prometheus.get("retentionSize") == kept
    )


def test_monitors_of_the_operator_are_there_although_nobody_has_seen_their_kinds(render):
    # As GitOps renders it for an empty cluster.
    assert NAME in render().names("ServiceMonitor")
    assert NAME in render().names("PrometheusRule")


def test_a_given_secret_is_used_and_none_is_made(render):
    rendered = render(grafana={"admin": {"existingSecret": "mine"}})

    assert f"{NAME}-grafana-admin" not in rendered.names("Secret")
    pod = rendered.get("Deployment", f"{NAME}-grafana")["spec"]["template"]["spec"]
    referred = re.findall(
        r'"secretKeyRef": {"key": "[a-z-]+", "name": "([^"]+)"}', json.dumps(pod, sort_keys=True)
    )
    assert set(referred) == {"mine"}


def test_pods_are_hardened_beyond_restricted(render):
    for name, pod in render().pods():
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in [*pod["containers"], *pod.get("initContainers", ())]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"], (name, container["name"])
            assert not security["allowPrivilegeEscalation"], (name, container["name"])
            assert security["capabilities"] == {"drop": ["ALL"]}, (name, container["name"])
            assert container["resources"]["requests"], (name, container["name"])


def test_policies_let_in_who_needs_to(render):
    assert render().names("NetworkPolicy") <= {NAME}
    rendered = render(
        networkPolicy={"enabled": True, "from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}
    )

    grafana = rendered.get("NetworkPolicy", f"{NAME}-grafana")["spec"]
    assert grafana["ingress"][0]["from"][1] == {"ipBlock": {"cidr": "10.0.0.0/8"}}
    metrics = rendered.get("NetworkPolicy", f"{NAME}-kube-state-metrics")["spec"]["ingress"][0][
        "from"
    ]
    assert metrics == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}}]
    assert len(rendered.names("NetworkPolicy")) >= 6


def test_alerts_pass_promtool_and_tell_what_to_do(render, tmp_path):
    rendered = render(
        prometheus={"remoteWrite": [{"url": "http://x"}]}, alertmanager={"replicas": 3}
    )
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(rendered.get(*RULES)["spec"]))

    done = subprocess.run(
        [pytest_plugin.binary("promtool"), "check", "rules", "--lint=all", "--lint-fatal", rules],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    for alert in rendered.alerts:
        assert alert["labels"]["severity"] in {"none", "warning", "critical"}
        assert alert["annotations"]["summary"].endswith(".")
        assert alert["annotations"]["description"]


JOB = f'namespace="{NAMESPACE}",job="{NAME}-prometheus",pod="p-0"'
CASES: list[tuple[str, dict[str, str], bool]] = [
    ("StackPartDown", {f'up{{namespace="{NAMESPACE}",job="{NAME}-alertmanager"}}': "0x40"}, True),
    ("StackPartDown", {}, True),
    (
        "StackPartDown",
        {
            f'up{{namespace="{NAMESPACE}",job="{NAME}-{part}"}}': "1x40"
            for part in [
                "prometheus",
                "alertmanager",
                "grafana",
                "pushgateway",
                "kube-state-metrics",
                "prometheus-operator",
            ]
        },
        False,
    ),
    (
        "PrometheusConfigReloadFailed",
        {f"prometheus_config_last_reload_successful{{{JOB}}}": "0x40"},
        True,
    ),
    (
        "PrometheusConfigReloadFailed",
        {f"prometheus_config_last_reload_successful{{{JOB}}}": "1x40"},
        False,
    ),
    (
        "PrometheusRuleFailures",
        {f'prometheus_rule_evaluation_failures_total{{{JOB},rule_group="g"}}': "0+1x40"},
        True,
    ),
    (
        "PrometheusRuleFailures",
        {f'prometheus_rule_evaluation_failures_total{{{JOB},rule_group="g"}}': "5x40"},
        False,
    ),
    (
        "PrometheusNotificationsFailing",
        {
            f"prometheus_notifications_errors_total{{{JOB}}}": "0+1x40",
            f"prometheus_notifications_sent_total{{{JOB}}}": "0+10x40",
        },
        True,
    ),
    (
        "PrometheusNotificationsFailing",
        {
            f"prometheus_notifications_errors_total{{{JOB}}}": "0x40",
            f"prometheus_notifications_sent_total{{{JOB}}}": "0+10x40",
        },
        False,
    ),
    (
        "PrometheusWithoutAlertmanager",
        {f"prometheus_notifications_alertmanagers_discovered{{{JOB}}}": "0x40"},
        True,
    ),
    (
        "PrometheusStorageFailing",
        {
            f"prometheus_tsdb_compactions_failed_total{{{JOB}}}": "0x40",
            f"prometheus_tsdb_wal_writes_failed_total{{{JOB}}}": "0+1x40",
            f"prometheus_tsdb_wal_truncations_failed_total{{{JOB}}}": "0x40",
            f"prometheus_tsdb_reloads_failures_total{{{JOB}}}": "0x40",
        },
        True,
    ),
    (
        "PrometheusStorageFull",
        {
            f"prometheus_tsdb_storage_blocks_bytes{{{JOB}}}": "99x120",
            f"prometheus_tsdb_retention_limit_bytes{{{JOB}}}": "100x120",
            f"prometheus_tsdb_retention_limit_seconds{{{JOB}}}": "1296000x120",
            f"prometheus_tsdb_lowest_timestamp_seconds{{{JOB}}}": "0x120",
        },
        True,
    ),
    (
        "PrometheusStorageFull",
        {
            # No limit of size.
            f"prometheus_tsdb_storage_blocks_bytes{{{JOB}}}": "99x120",
            f"prometheus_tsdb_retention_limit_bytes{{{JOB}}}": "0x120",
            f"prometheus_tsdb_retention_limit_seconds{{{JOB}}}": "1296000x120",
            f"prometheus_tsdb_lowest_timestamp_seconds{{{JOB}}}": "0x120",
        },
        False,
    ),
]


@pytest.mark.parametrize(("alert", "series", "fires"), CASES)
def test_alerts_fire_and_stay_silent(render, tmp_path, alert, series, fires):
    rules = [rule for rule in render().alerts if rule["alert"] == alert]
    minutes = 119 if alert == "PrometheusStorageFull" else 39
    query = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) > bool 0 or vector(0)'
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": text} for name, text in series.items()],
                "promql_expr_test": [
                    {
                        "expr": query,
                        "eval_time": f"{minutes}m",
                        "exp_samples": [{"labels": "{}", "value": int(fires)}],
                    }
                ],
            }
        ],
    }
    (tmp_path / "rules.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]})
    )
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))

    done = subprocess.run(
        [pytest_plugin.binary("promtool"), "test", "rules", tmp_path / "test.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert rules
    assert done.returncode == 0, done.stdout + done.stderr


def test_packages_are_the_same_bytes_and_complete(completed, tmp_path):
    # Helm's own order of dependencies is one of two, by chance.
    first, *more = (charts.package(completed, tmp_path / str(number)) for number in range(6))

    assert {package.read_bytes() for package in more} == {first.read_bytes()}
    shown = Helm(tmp_path / "home").run("show", "crds", str(first))
    assert "prometheuses" in shown
    assert Helm(tmp_path / "home").run("lint", str(first), "--strict")


def test_definitions_keep_texts_where_people_need_them(tmp_path):
    text = "The words."
    spec = {
        "description": text,
        "properties": {"description": {"type": "string", "description": text}},
    }
    (tmp_path / "a_small.yaml").write_text(json.dumps({"spec": spec}))
    (tmp_path / "b_large.yaml").write_text(json.dumps({"spec": spec, "pad": "x" * 100_000}))

    small, large = (yaml.safe_load(content) for _, content in charts.definitions(tmp_path))

    assert small["spec"] == spec
    assert large["spec"] == {"properties": {"description": {"type": "string"}}}
