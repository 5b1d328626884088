"""What the chart renders: linted, taken by the API server, of the schemas that the API server has."""

from __future__ import annotations

import json

import pytest
import yaml
from chartcases import CASES, CHART, GRAFANA, MONITORING, SYSTEM, WITH_DEFINITIONS
from schemas import all_valid, judged, taken, write_schemas

from rig import chart, tools
from rig.helm import ChartError


@pytest.fixture(scope="session")
def rendered(helm, tmp_path_factory):
    """The objects of each case, the hooks of `helm test` among them."""
    found = {}
    for name, values in CASES.items():
        versions = [*MONITORING, *GRAFANA] if name == "grafana operator" else []
        # Half a megabyte in each case would be read for nothing.
        brief = {} if name in WITH_DEFINITIONS else {"crds": {"enabled": False}}
        text = helm.run(
            "template",
            "release",
            str(CHART),
            f"--namespace={SYSTEM}",
            *(f"--api-versions={version}" for version in versions),
            "--values=-",
            stdin=json.dumps({**values, **brief}),
        )
        found[name] = [item for item in yaml.load_all(text, yaml.CSafeLoader) if item]
    return found


def account(name):
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": SYSTEM},
    }


def of(rendered, case, kind):
    return [item for item in rendered[case] if item["kind"] == kind]


def the(rendered, case, kind):
    (found,) = of(rendered, case, kind)
    return found


@pytest.mark.parts
def test_helm_finds_nothing_to_say_against_it(helm):
    assert "0 chart(s) failed" in helm.run("lint", "--strict", str(CHART))


@pytest.mark.cluster
def test_the_api_server_takes_every_object_of_every_case(
    own_cluster, called, rendered, definitions
):
    for name in (SYSTEM, "shop", "billing"):
        called(name)
    unique = {
        json.dumps(item, sort_keys=True): item
        for objects in rendered.values()
        for item in objects
        if item["kind"] != "GrafanaDashboard"
    }
    assert len(unique) > 80
    # Admission looks for the accounts of pods also in a dry run.
    own_cluster.apply(item for item in unique.values() if item["kind"] == "ServiceAccount")
    own_cluster.apply([account("robot")])

    assert taken(own_cluster, unique) == len(unique)


@pytest.mark.cluster
def test_every_object_has_the_schema_that_the_api_server_tells(
    own_cluster, rendered, kubeconform, tmp_path, definitions
):
    own_cluster.apply(
        [item for item in rendered["default"] if item["kind"] == "CustomResourceDefinition"]
    )
    example = yaml.safe_load((CHART.parents[1] / "examples/orders/workflow.yaml").read_text())
    grafana = [
        yaml.safe_load(file.read_text()) for file in tools.crds("grafana-operator").glob("*.yaml")
    ]
    own_cluster.wait_for(lambda: own_cluster.get("mwf", "--all-namespaces"), 20, "our kinds")
    own_cluster.wait_for(
        lambda: "flowgauge" in own_cluster.kubectl("get", "--raw=/openapi/v3"), 20, "their schemas"
    )
    told = yaml.safe_load((CHART / "Chart.yaml").read_text())
    shown = yaml.safe_load(told["annotations"]["artifacthub.io/crdsExamples"])
    objects = [example, *shown, *(item for made in rendered.values() for item in made)]
    kinds = {(item["apiVersion"], item["kind"]) for item in objects}
    write_schemas(own_cluster, tmp_path / "schemas", kinds, grafana)

    def answer(*objects):
        return judged(kubeconform, tmp_path / "schemas", [*map(json.dumps, objects)])

    assert answer(*objects) == all_valid(len(objects))

    # The schemas are strict: what is misspelt is found, in a Deployment and in our own kind.
    deployment = json.loads(json.dumps(the(rendered, "default", "Deployment")))
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Never"
    assert "imagePullPolice" in str(answer(deployment))
    example["spec"]["selektor"] = {}
    assert "selektor" in str(answer(example))


@pytest.mark.parts
def test_what_is_switched_off_is_not_there(rendered):
    every = {item["kind"] for item in rendered["default"]}
    assert {"NetworkPolicy", "PodDisruptionBudget", "ServiceMonitor", "PrometheusRule"} <= every
    for case, kind in (
        ("no network policy", "NetworkPolicy"),
        ("without disruption budget", "PodDisruptionBudget"),
        ("one replica", "PodDisruptionBudget"),
        ("no monitors", "ServiceMonitor"),
        ("no monitors", "PrometheusRule"),
        ("no definitions", "CustomResourceDefinition"),
        ("an account of before", "ServiceAccount"),
        ("no dashboards", "ConfigMap"),
        ("a second release", "ConfigMap"),
        ("grafana operator unseen", "ConfigMap"),
        # An alert on a target that nobody scrapes would fire for ever.
        ("nobody scrapes", "PrometheusRule"),
        ("without rbac", "RoleBinding"),
        ("without rbac", "ClusterRole"),
    ):
        mine = [
            item
            for item in of(rendered, case, kind)
            if "helm.sh/hook" not in item["metadata"].get("annotations", {})
        ]
        assert mine == [], (case, kind)
    assert len(of(rendered, "grafana operator unseen", "GrafanaDashboard")) == 3
    assert of(rendered, "a scrape of ones own", "PrometheusRule")


@pytest.mark.parts
def test_a_chosen_few_namespaces_can_do_without_any_role_of_the_cluster(rendered):
    case = "namespaces and nothing of the cluster"

    kinds = {item["kind"] for item in rendered[case]}

    assert kinds & {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"} == set()
    assert {
        item["metadata"]["namespace"]
        for item in of(rendered, "namespaces", "Role")
        if item["metadata"]["name"] == "release-flowgauge"
    } == {"shop", "billing"}


@pytest.mark.parts
def test_no_role_reads_secrets_or_takes_all_verbs(rendered):
    rules = [
        rule
        for objects in rendered.values()
        for item in objects
        if item["kind"] in ("Role", "ClusterRole")
        for rule in item["rules"]
    ]

    assert len(rules) > 100
    for rule in rules:
        words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        assert words & {"*", "secrets", "escalate", "bind", "impersonate", "finalizers"} == set()


@pytest.mark.parts
def test_the_pod_of_helm_test_is_nobody_elses(rendered):
    pod = the(rendered, "default", "Pod")["metadata"]["labels"]
    for kind in ("Service", "NetworkPolicy", "PodDisruptionBudget", "Deployment"):
        spec = the(rendered, "default", kind)["spec"]
        chosen = spec.get("podSelector") or spec["selector"]
        assert not (chosen.get("matchLabels") or chosen).items() <= pod.items(), kind


@pytest.mark.parts
def test_the_network_policy_lets_out_what_the_operator_asks(rendered):
    def ports(case):
        spec = the(rendered, case, "NetworkPolicy")["spec"]
        return [{port["port"] for port in rule.get("ports", ())} for rule in spec["egress"]]

    dns = {53, 5353}
    assert ports("default") == [dns, {443, 6443}]
    assert ports("prometheus") == [dns, {443, 6443}, {9090, 8443}]
    assert ports("prometheus with the scheme's port") == [dns, {443, 6443}, {9090, 80}]
    assert ports("token and ca")[2] == {9090, 443}
    assert ports("network") == [dns, {8443}, {9091}, set()]


@pytest.mark.parts
def test_alerts_are_about_the_targets_of_this_release(rendered):
    def rules(case):
        (group,) = the(rendered, case, "PrometheusRule")["spec"]["groups"]
        return {rule["alert"]: rule for rule in group["rules"]}

    own = rules("default")
    assert len(own) == 9
    service = the(rendered, "default", "Service")["metadata"]["name"]
    for rule in own.values():
        assert f'job="{service}",namespace="{SYSTEM}"' in rule["expr"]
        assert "$operator" not in rule["expr"]
        assert "runbook_url" not in rule["annotations"]
    assert 'kind!~"none"' in own["FlowgaugeKindForbidden"]["expr"]
    assert (
        'kind!~"none|AlertmanagerConfig|GrafanaDashboard|WorkflowProfile"'
        in rules("less rbac")["FlowgaugeKindForbidden"]["expr"]
    )
    assert (
        rules("runbooks")["FlowgaugeNoLeader"]["annotations"]["runbook_url"]
        == "https://r.example/FlowgaugeNoLeader.md"
    )
    other = rules("monitors")
    assert set(own) - set(other) == {"FlowgaugeQueueGrowing"}
    assert all(
        rule["labels"]["team"] == "a" and 'job="own"' in rule["expr"] for rule in other.values()
    )


@pytest.mark.parts
@pytest.mark.parametrize(
    ("release", "values", "name"),
    [
        ("flowgauge", {}, "flowgauge"),
        ("my-flowgauge", {}, "my-flowgauge"),
        ("fg", {}, "fg-flowgauge"),
        ("fg", {"fullnameOverride": "gauge"}, "gauge"),
        ("r" * 53, {}, f"{'r' * 40}-flowgauge"),
        # Releases may have dots and begin with a digit, Services not.
        ("2nd", {}, "r2nd-flowgauge"),
        ("my.flow", {}, "my-flow-flowgauge"),
        ("fg", {"fullnameOverride": "g" * 63}, "g" * 50),
    ],
)
def test_objects_are_called_after_the_release(helm, release, values, name):
    made = chart.render(CHART, release=release, namespace="n", overrides=values)

    (deployment,) = (item for item in made if item["kind"] == "Deployment")
    assert deployment["metadata"]["name"] == name
    assert all(len(item["metadata"]["name"]) <= 63 for item in made if item["kind"] == "Service")


@pytest.mark.parts
@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"nameOverride": "n" * 64}, "/nameOverride"),
        ({"fullnameOverride": "a.b"}, "/fullnameOverride"),
        ({"fullnameOverride": "2nd"}, "/fullnameOverride"),
        ({"replica": 2}, "replica"),
        ({"replicas": "two"}, "/replicas"),
        ({"replicas": -1}, "/replicas"),
        ({"replicas": 1.5}, "/replicas"),
        ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
        ({"image": {"tag": "a b"}}, "/image/tag"),
        ({"image": {"digest": "sha256:12"}}, "/image/digest"),
        ({"image": {"repository": ""}}, "/image/repository"),
        ({"image": {"repository": "registry:5000/x:1.0"}}, "/image/repository"),
        ({"image": {"registry": "x"}}, "registry"),
        ({"imagePullSecrets": ["registry"]}, "/imagePullSecrets/0"),
        ({"namespaces": "shop"}, "/namespaces"),
        ({"namespaces": ["Shop"]}, "/namespaces/0"),
        ({"namespaces": ["a", "a"]}, "/namespaces"),
        ({"crds": {"keep": "yes"}}, "/crds/keep"),
        ({"prometheus": {"url": "prometheus:9090"}}, "/prometheus/url"),
        ({"prometheus": {"verifyInterval": 0}}, "/prometheus/verifyInterval"),
        ({"prometheus": {"token": "x"}}, "token"),
        ({"grafana": {"mode": "Sidecar"}}, "/grafana/mode"),
        ({"grafana": {"dashboardLabel": "nolabel"}}, "/grafana/dashboardLabel"),
        ({"grafana": {"resyncPeriod": "10"}}, "/grafana/resyncPeriod"),
        ({"monitorLabels": ["a=b"]}, "/monitorLabels"),
        ({"monitorLabels": {"a": 1}}, "/monitorLabels/a"),
        ({"monitorLabels": {"a": "b c"}}, "/monitorLabels/a"),
        ({"monitorLabels": {"a b": "c"}}, "/monitorLabels"),
        ({"serviceMonitor": {"interval": "often"}}, "/serviceMonitor/interval"),
        ({"prometheusRule": {"disabled": ["TargetDown"]}}, "/prometheusRule/disabled/0"),
        ({"prometheusRule": {"disabled": ["FlowgaugeNope"]}}, 'no alert called "FlowgaugeNope"'),
        ({"log": {"level": "loud"}}, "/log/level"),
        ({"extraArgs": ["workers=16"]}, "/extraArgs/0"),
        ({"networkPolicy": {"apiServerPorts": [70000]}}, "/networkPolicy/apiServerPorts/0"),
        # A rule without ports lets everything out.
        ({"networkPolicy": {"apiServerPorts": []}}, "/networkPolicy/apiServerPorts"),
        ({"resources": {"limits": {"memory": "lots"}}}, "/resources/limits/memory"),
        ({"resources": {"limit": {}}}, "limit"),
        ({"tolerations": {"key": "a"}}, "/tolerations"),
        ({"serviceAccount": {"name": "A b"}}, "/serviceAccount/name"),
        ({"prometheus": {"ca": {"secret": "a", "configMap": "b"}}}, "prometheus.ca"),
        ([], "JSON"),
    ],
    ids=str,
)
def test_a_wrong_value_is_refused_by_its_name(helm, values, field):
    with pytest.raises(ChartError) as refused:
        helm.run("template", "fg", str(CHART), "--values=-", stdin=json.dumps(values))

    said = str(refused.value)
    where = field.removeprefix("/").replace("/", ".")
    assert field in said or f"'{where}'" in said or where in said, said


@pytest.mark.parts
@pytest.mark.parametrize(
    ("values", "told", "untold"),
    [
        ({}, ["set prometheus.url", "no Prometheus Operator"], ["monitorLabels"]),
        (
            {"prometheus": {"url": "http://p"}, "crds": {"enabled": False}},
            ["crds.enabled is false"],
            ["TO DO"],
        ),
        ({"crds": {"keep": False}}, ["removes ALL"], ["leaves the"]),
        (
            {"namespaces": ["shop", "b"]},
            ["the namespaces shop, b", "namespace: shop"],
            ["serves all"],
        ),
        ({"rbac": {"create": False}}, ["get, create and update on the Lease fg-flowgauge"], []),
    ],
    ids=str,
)
def test_the_notes_say_what_to_do_next(helm, values, told, untold):
    said = helm.run(
        "install", "fg", str(CHART), "--dry-run=client", "--values=-", stdin=json.dumps(values)
    ).partition("NOTES:")[2]

    assert [words for words in told if words not in said] == []
    assert [words for words in untold if words in said] == []
