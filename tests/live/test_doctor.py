"""`flowgauge doctor` on a real cluster: the usual mistakes are made on purpose, and it finds each.

It runs as a user does: with a kubeconfig whose credentials come from a plugin, and through the API server to Prometheus.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import subprocess
import sys
import urllib.request
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
import yaml
from doctor_cluster import ROOT, SPACE, Doctor, Scene, of, removed, the, wait_finding

from flowgauge_operator.doctor import asking, gather
from rig import controlplane, placement, tools
from rig.kubelet import Kubelet

pytestmark = pytest.mark.e2e

NOBODY = f"system:serviceaccount:{SPACE}:nobody"
READER = f"system:serviceaccount:{SPACE}:reader"
PLUGIN = """\
#!/bin/sh
echo '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "%s"}}'
"""

# Whatever comes to port 9090 of an address is led to another.
DOOR = """
import asyncio, sys
here, host, port = sys.argv[1:]
async def pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def lead(reader, writer):
    inner, outer = await asyncio.open_connection(host, int(port))
    await asyncio.gather(pump(reader, outer), pump(inner, writer), return_exceptions=True)
async def main():
    await (await asyncio.start_server(lead, here, 9090)).serve_forever()
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def examined(operator, stack, in_place_of):
    """An operator with a real Prometheus to ask, which looks often which kinds there are."""
    values = {
        "prometheus": {"url": stack.prometheus_url, "verifyInterval": 1},
        "extraArgs": ["--discovery-interval=2"],
    }
    with in_place_of(operator, "examined", **values) as running:
        yield running


@pytest.fixture(scope="module")
def alone(examined):
    """No Deployments of operators but one: those of other tests, whose processes rest, would fight on paper."""
    cluster, ours = examined.cluster, examined.release.containers[0].pod["metadata"]["labels"]
    selector = "--selector=app.kubernetes.io/name=flowgauge-operator"
    found = cluster.get("deployments", "--all-namespaces", selector)["items"]
    key = "app.kubernetes.io/instance"
    others = [d for d in found if d["metadata"]["labels"][key] != ours[key]]
    with removed(cluster, *others):
        yield examined


@pytest.fixture(scope="module")
def door(alone, stack):
    """Prometheus answers at the address of the pod of its object, so that the Service of prometheus-operator leads to it."""
    (pod,) = stack.wait_pods("monitoring", "operator.prometheus.io/name=main", timeout=60)
    words = [sys.executable, "-c", DOOR, pod["status"]["podIP"], *_split(stack.prometheus_url)]
    with subprocess.Popen(words) as process:
        yield
        process.terminate()


def _split(url):
    parts = urlsplit(url)
    return parts.hostname, str(parts.port)


def _kubeconfig(cluster, folder, name, user):
    path = folder / name
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {
                        "name": "c",
                        "cluster": {
                            "server": cluster.server,
                            "certificate-authority": str(cluster.ca_file),
                        },
                    }
                ],
                "users": [{"name": "u", "user": user}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    return path


def _token(cluster, name):
    return cluster.kubectl("create", "token", name, f"--namespace={SPACE}").strip()


@pytest.fixture(scope="module")
def kubeconfigs(stack, tmp_path_factory):
    """Of a user who may see everything, by a plugin, and of one who may see nothing."""
    folder = tmp_path_factory.mktemp("kubeconfigs")
    stack.create_namespace(SPACE)
    for name in ("reader", "nobody"):
        stack.kubectl("create", "serviceaccount", name, f"--namespace={SPACE}")
    # As the documentation says, and no more.
    _, _, role = (ROOT / "docs/doctor.md").read_text().partition("```yaml\napiVersion: rbac")
    role = yaml.safe_load(f"apiVersion: rbac{role.partition('```')[0]}")
    stack.apply([role])
    roles = ("view", role["metadata"]["name"])
    for name in roles:
        stack.kubectl(
            "create", "clusterrolebinding", f"doctor-{name}", f"--clusterrole={name}",
            f"--serviceaccount={SPACE}:reader",
        )  # fmt: skip
    plugin = folder / "plugin"
    plugin.write_text(PLUGIN % _token(stack, "reader"))
    plugin.chmod(0o700)
    by_plugin = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(plugin),
            "interactiveMode": "Never",
        }
    }
    yield {
        "reader": _kubeconfig(stack, folder, "reader", by_plugin),
        "nobody": _kubeconfig(stack, folder, "nobody", {"token": _token(stack, "nobody")}),
        "stranger": _kubeconfig(stack, folder, "stranger", {"token": "wrong"}),
        "admin": _kubeconfig(stack, folder, "admin", {"token": stack.admin_token}),
        "admin as nobody": _kubeconfig(
            stack, folder, "other", {"token": stack.admin_token, "as": NOBODY}
        ),
    }
    stack.kubectl("delete", "clusterrolebinding", *(f"doctor-{name}" for name in roles))
    stack.kubectl("delete", "clusterrole", role["metadata"]["name"])
    stack.delete_namespace(SPACE)


@pytest.fixture(scope="module")
def home(stack):
    """One namespace for all tests: what each changes, it changes back."""
    stack.create_namespace("orchard")
    yield "orchard"
    stack.delete_namespace("orchard")


@pytest.fixture(scope="module")
def whole(alone, door, home, kubeconfigs, start_orders, tmp_path_factory):
    """A workflow that is Ready."""
    orders = start_orders(alone, home, tmp_path_factory.mktemp("orders"))
    orders.monitor()
    alone.wait_condition("Ready", "True", home, timeout=60)
    return Scene(orders, Doctor(kubeconfigs["reader"]))


@pytest.fixture
def scene(whole):
    """The same, as it was before each test, also for Prometheus."""
    whole.settle()
    with whole.kept(whole.where):
        yield whole


@pytest.fixture
def examine(monkeypatch, capsys, whole):
    """Run the doctor on the workflow, or with other arguments."""

    def run(*arguments):
        return whole.doctor.findings(monkeypatch, capsys, *(arguments or (whole.title,)))

    return run


@pytest.fixture
def find(examine):
    """The only finding of a check with a level, once what was changed has reached Prometheus."""

    def wait(check, level, words="", *arguments):
        return wait_finding(lambda: examine(*arguments), check, level, words)

    return wait


def test_a_healthy_workflow_yields_no_error_and_no_warning(scene):
    done = scene.doctor.run(scene.title, "-o", "json")

    document = json.loads(done.stdout)
    assert [f for f in document["findings"] if f["level"] in ("error", "warning")] == []
    assert done.returncode == 0, done.stderr
    assert document["prometheus"] == (
        "through the API server, Service monitoring/prometheus-operated:web"
    )
    # A window of an hour, which nothing here is old enough for.
    told = the(document["findings"], "history", "ok")["seen"]
    assert re.search(r"have run for \d+ (s|min): success, fast speak of no more than that", told)
    # What the rig has not, nobody can see; everything else is fine.
    unknown = {f["check"] for f in document["findings"] if f["level"] == "unknown"}
    assert unknown == {"prometheus-rights", "dashboard-sidecar", "notifications"}
    fine = {f["check"] for f in document["findings"] if f["level"] == "ok"}
    assert fine >= {"targets", "rules", "families", "network-policy", "operator-rights", "port"}


def test_the_cluster_alone_is_examined_too(scene):
    # A terminal of another age.
    done = scene.doctor.run("--no-color", env={"PYTHONIOENCODING": "ascii", "COLUMNS": "10"})

    assert done.returncode == 0, done.stdout + done.stderr
    assert "the cluster as a whole" in done.stdout
    assert "\x1b" not in done.stdout


def test_lists_that_come_page_by_page_are_whole(scene, examine, monkeypatch):
    def told():
        return [(f["check"], f["level"], f["about"]) for f in examine()]

    whole = told()
    monkeypatch.setattr(asking, "_PAGE", 1)

    assert told() == whole
    assert len(whole) > 35


def test_what_cannot_be_seen_fails_when_somebody_is_strict(whole, monkeypatch, capsys):
    assert whole.doctor.call(monkeypatch, capsys)[0] == 0
    assert whole.doctor.call(monkeypatch, capsys, "--strict")[0] == 1


def test_prometheus_may_be_named(whole, stack, examine):
    found = examine(whole.title, f"--prometheus={stack.prometheus_url}")
    assert stack.prometheus_url in the(found, "prometheus-answers", "ok")["seen"]

    found = examine(whole.title, "--prometheus=http://127.0.0.1:1")
    told = the(found, "prometheus-answers", "unknown")
    assert "refused" in told["seen"]


MISTAKES = [
    pytest.param(
        {"scrape": {"port": "metric"}},
        ("port", "error", "no container of .* has a port named metric; the containers declare metrics"),
        id="wrong port name",
    ),
    pytest.param(
        {"selector": {"matchLabels": {"app": "order"}}},
        ("selector", "error", "matches no pod in orchard; did you mean app=orders"),
        id="selector matches nothing",
    ),
    pytest.param(
        {"profile": "contd"},
        ("families", "error", "those of the profile workflow"),
        id="wrong profile",
    ),
    pytest.param(
        {"profile": "workflows"},
        ("profile", "error", "there is no profile workflows; did you mean workflow"),
        id="profile missing",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "expected"), MISTAKES)
def test_a_mistake_in_the_spec_is_found(scene, find, spec, expected):
    scene.patch(spec)

    assert find(*expected)["remedy"]


@pytest.mark.parametrize(
    ("scrape", "words"),
    [({"port": 9999}, "nobody listens on that port"), ({"path": "/nope"}, "not at this path")],
    ids=["wrong port", "wrong path"],
)
def test_a_target_that_is_down_is_explained(scene, examine, find, scrape, words):
    scene.patch({"scrape": scrape})

    assert find("targets", "error", f"2 of 2 down: .*{words}")["remedy"]
    assert len(of(examine(), "port", "warning")) == ("port" in scrape)


def test_the_remedy_for_a_port_name_is_a_command_that_mends_it(scene, examine):
    scene.patch({"scrape": {"port": "metric"}})
    remedy = the(examine(), "port", "error")["remedy"]
    assert remedy.startswith("kubectl ")

    scene.cluster.kubectl(*_words(remedy)[1:])

    assert the(examine(), "port", "ok")


def _words(line):
    return shlex.split(line)


def test_selectors_that_leave_our_objects_out_are_found(scene, examine):
    spec = {
        "ruleSelector": {"matchLabels": {"release": "kps"}},
        "serviceMonitorSelector": {"matchLabels": {"release": "kps"}},
        "serviceMonitorNamespaceSelector": {"matchLabels": {"team": "fruit"}},
    }
    with scene.patched("prometheus", "main", "monitoring", spec):
        found = examine()

    rules, monitors = the(found, "rule-selector", "error"), the(found, "monitor-selector", "error")
    assert "ruleSelector: label release=kps is missing" in rules["seen"]
    assert "--set ruleLabels.release=kps" in rules["remedy"]
    assert "of the namespace orchard, label team=fruit is missing" in monitors["seen"]
    assert "kubectl label namespace orchard team=fruit" in monitors["remedy"]


def test_no_selector_at_all_is_not_everything(scene, examine):
    with scene.patched("prometheus", "main", "monitoring", {"ruleSelector": None}):
        found = the(examine(), "rule-selector", "error")

    assert "ruleSelector is not set, so nothing is selected" in found["seen"]
    assert """-p '{"spec":{"ruleSelector":{}}}'""" in found["remedy"]


def test_a_prometheus_that_may_not_look_for_targets_is_found(scene, find):
    second = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "Prometheus",
        "metadata": {"name": "second", "namespace": SPACE},
        "spec": {
            "serviceAccountName": "nobody",
            "replicas": 0,
            **{
                f"{w}{p}": {}
                for w in ("serviceMonitor", "podMonitor", "rule")
                for p in ("Selector", "NamespaceSelector")
            },
        },
    }
    with scene.applied(second):
        words = "may not list pods, watch pods, list services"
        for line in find("prometheus-rights", "error", words)["remedy"].splitlines():
            scene.cluster.kubectl(*_words(line)[1:])
        # The API server follows its own roles after a while.
        find("prometheus-rights", "ok")
    for kind in ("clusterrole", "clusterrolebinding"):
        scene.cluster.kubectl("delete", kind, "nobody-discovery")


def test_a_right_that_the_operator_lacks_is_found(scene, find):
    name = "flowgauge-system:examined"
    role = scene.cluster.get("clusterrole", name)
    rules = json.loads(json.dumps(role["rules"]))
    for rule in rules:
        if "prometheusrules" in rule["resources"]:
            rule["verbs"].remove("patch")
    try:
        _put(scene.cluster, name, rules)
        found = find("operator-rights", "error", r"may not patch servicemonitors\.monitoring")
    finally:
        _put(scene.cluster, name, role["rules"])
    find("operator-rights", "ok", "has all")

    assert "--as=system:serviceaccount:flowgauge-system:examined" in found["remedy"]


def _put(cluster, name, rules):
    cluster.kubectl(
        "patch", "clusterrole", name, "--type=merge", f"--patch={json.dumps({'rules': rules})}"
    )


def test_an_old_definition_is_found(scene, examine):
    crd = "monitoredworkflows.flowgauge.dev"
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/scrape/properties"
    body = scene.cluster.get("crd", crd)
    field = _at(body, f"{path}/nativeHistograms")
    _patch_crd(scene.cluster, crd, {"op": "remove", "path": f"{path}/nativeHistograms"})
    try:
        found = the(examine(), "crd-fields", "error")
    finally:
        _patch_crd(
            scene.cluster, crd, {"op": "add", "path": f"{path}/nativeHistograms", "value": field}
        )

    assert "it lacks spec.scrape.nativeHistograms" in found["seen"]
    assert found["remedy"].startswith("helm upgrade ")


def _patch_crd(cluster, name, *operations):
    cluster.kubectl("patch", "crd", name, "--type=json", f"--patch={json.dumps(operations)}")


def _at(body, path):
    for part in path.strip("/").split("/"):
        body = body[int(part)] if isinstance(body, list) else body[part]
    return body


def test_a_second_operator_that_is_down_old_and_without_a_prometheus_is_found(scene, examine):
    labels = {"app.kubernetes.io/name": "flowgauge-operator", "app.kubernetes.io/instance": "old"}
    container = {
        "name": "o",
        "image": "r.example/flowgauge:0.0.9",
        "command": ["flowgauge-operator"],
    }
    other = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "old", "namespace": SPACE, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            # Without its account, no pod of it comes to be.
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "serviceAccountName": "gone"},
            },
        },
    }
    with scene.applied(other):
        scene.cluster.kubectl(
            "wait", "deployment/old", f"--namespace={SPACE}", "--for=condition=ReplicaFailure"
        )
        found = examine()

    assert "error looking up service account doctor/gone" in the(found, "operator", "error")["seen"]
    assert "none of its 1 replicas is ready" in the(found, "operator", "error")["seen"]
    assert "0.0.9" in the(found, "operator-version", "warning")["seen"]
    assert "no --prometheus-url" in the(found, "operator-flags", "warning")["seen"]
    assert "each undoes what the other writes" in the(found, "operator-single", "error")["seen"]
    assert "may not list monitoredworkflows" in the(found, "operator-rights", "error")["seen"]


@pytest.fixture
def elected(scene):
    """A second operator that leads by a Lease of its own: its pod's uid, and the process."""
    labels = {
        "app.kubernetes.io/name": "flowgauge-operator",
        "app.kubernetes.io/instance": "elected",
    }
    pod = scene.orders.operator.release.containers[0].pod
    (container,) = pod["spec"]["containers"]
    mine = {
        key: container[key]
        for key in ("name", "image", "command", "env", "ports", "readinessProbe")
    }
    flags = [
        "--leader-elect",
        "--leader-election-id=elected",
        "--namespaces=doctor",
        "--discovery=off",
    ]
    mine["args"] = ["--listen-address=$(POD_IP):8080", *flags]
    meta = {"name": "elected", "namespace": SPACE}
    spec = {
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [mine], "serviceAccountName": "leader"},
        },
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta | {"labels": labels},
        "spec": spec,
    }
    cluster, bind = scene.cluster, ("create", "clusterrolebinding")
    cluster.kubectl("create", "serviceaccount", "leader", f"--namespace={SPACE}")
    # As its administrator: what it may is not what is looked at here.
    cluster.kubectl(
        *bind, "doctor-leader", "--clusterrole=cluster-admin", f"--serviceaccount={SPACE}:leader"
    )
    try:
        with scene.applied(*placement.placed([deployment], controlplane.NODE)):
            (made,) = cluster.wait_pods(SPACE, "app.kubernetes.io/instance=elected")
            process = Kubelet(cluster, path=[ROOT / ".venv-operator/bin"]).run(made)
            process.wait_ready()
            yield made["metadata"]["uid"], process
            process.stop()
    finally:
        cluster.kubectl("delete", "clusterrolebinding", "doctor-leader")
        cluster.kubectl("delete", "lease", "elected", f"--namespace={SPACE}", "--ignore-not-found")


def test_a_leader_that_died_and_one_that_is_no_replica_are_found(scene, find, elected):
    uid, process = elected
    find("operator-lease", "ok", f"held by {uid}, renewed")

    process.kill()
    # Two minutes pass.
    lease(scene, renewTime=datetime.now(UTC) - timedelta(minutes=2))
    find(
        "operator-lease", "error", f"{uid} holds the Lease, but has not renewed it for 1[23][0-9] s"
    )

    lease(scene, renewTime=datetime.now(UTC), holderIdentity="stranger")
    find("operator-lease", "error", "stranger holds the Lease, which is no pod of this Deployment")

    scene.cluster.kubectl("scale", "deployment", "elected", "--replicas=0", f"--namespace={SPACE}")
    found = find("operator", "error", "scaled to 0 replicas")
    assert found["remedy"] == "kubectl -n doctor scale deployment elected --replicas=1"


def lease(scene, **spec):
    """Change the Lease of the second operator."""
    told = {
        k: v.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if isinstance(v, datetime) else v
        for k, v in spec.items()
    }
    patch = f"--patch={json.dumps({'spec': told})}"
    scene.cluster.kubectl(
        "patch", "lease", "elected", f"--namespace={SPACE}", "--type=merge", patch
    )


def test_no_operator_at_all_is_found(scene, examine, find):
    pod = scene.orders.operator.release.containers[0].pod
    with removed(
        scene.cluster,
        scene.cluster.get("deployment", "examined", f"--namespace={pod['metadata']['namespace']}"),
    ):
        found = the(examine(), "operator", "error")

    assert "no Deployment runs flowgauge-operator" in found["seen"]
    assert found["remedy"].startswith("helm upgrade --install flowgauge")
    find("operator", "ok", "1 of 1 replicas are ready")


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"LABEL": "dashboards", "LABEL_VALUE": "yes", "NAMESPACE": "ALL"}, "looks for the label dashboards=yes"),
        ({"LABEL": "grafana_dashboard"}, "looks into doctor only, not into orchard"),
    ],
    ids=["label", "namespace"],
)  # fmt: skip
def test_a_sidecar_that_passes_our_dashboards_by_is_found(scene, examine, env, words):
    container = {
        "name": "grafana-sc-dashboard",
        "image": "quay.io/kiwigrid/k8s-sidecar:1.30.0",
        "env": [{"name": key, "value": value} for key, value in env.items()],
    }
    labels = {"app.kubernetes.io/name": "grafana"}
    grafana = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "grafana", "namespace": SPACE},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    with scene.applied(grafana):
        found = the(examine(), "dashboard-sidecar", "error")

    assert words in found["seen"]


@pytest.fixture
def grafana_operator(scene):
    """The real grafana-operator and its kinds, and a Grafana object that leads nowhere."""
    scene.cluster.install_grafana_operator()
    process = scene.cluster.start_grafana_operator()
    keys = {f"admin{key}": {"name": "login", "key": key} for key in ("User", "Password")}
    login = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "login", "namespace": SPACE},
        "stringData": {"User": "a", "Password": "b"},
    }
    grafana = {
        "apiVersion": "grafana.integreatly.org/v1beta1",
        "kind": "Grafana",
        "metadata": {
            "name": "main",
            "namespace": SPACE,
            "labels": {"team": "fruit"},
            # Otherwise an instance that is not there is no instance.
            "annotations": {"grafana-operator/skip-readiness-check": "true"},
        },
        "spec": {"external": {"url": "http://127.0.0.1:1", **keys}},
    }
    board = ("grafanadashboard", "orders-dashboard", scene.space)
    try:
        with scene.applied(login, grafana):
            yield grafana
        # While its operator runs, so that nothing waits for a finalizer.
        scene.patch({"dashboard": {"mode": "ConfigMap"}})
        scene.orders.operator.wait(
            lambda: scene.orders.operator.get(*board) is None, "the dashboard to go"
        )
    finally:
        process.stop()
        folder = tools.crds("grafana-operator")
        scene.cluster.kubectl("delete", "--wait=false", f"--filename={folder}")


def test_dashboards_for_no_grafana_and_those_that_it_does_not_get_are_found(
    scene, examine, find, grafana_operator
):
    scene.patch({"dashboard": {"mode": "GrafanaDashboard"}})

    found = the(examine(), "grafana-instances", "error")
    assert "are for Grafana objects with dashboards=grafana" in found["seen"]
    assert "Grafana doctor/main has team=fruit" in found["seen"]
    assert "grafana.instances=team=fruit" in found["remedy"]
    find("dashboard-delivered", "warning", "grafana-operator says NoMatchingInstance")

    scene.cluster.kubectl(*_words(found["remedy"].splitlines()[0])[1:])

    find("grafana-instances", "ok", "are for Grafana doctor/main")
    assert find("dashboard-delivered", "warning", "connection refused")["remedy"]


def test_an_alertmanager_that_does_not_take_our_configuration_is_found(scene, examine):
    scene.patch({"notify": {"receiver": {"webhook": {"url": "http://127.0.0.1:1/"}}}})
    spec = {"alertmanagerConfigSelector": {"matchLabels": {"team": "fruit"}}}
    with scene.patched("alertmanager", "main", "monitoring", spec):
        found = the(examine(), "alertmanager-object", "error")

    assert "alertmanagerConfigSelector: label team=fruit is missing" in found["seen"]
    assert "alertmanagerConfigLabels.team=fruit" in found["remedy"]
    assert the(examine(), "alertmanager-object", "ok")


def test_a_network_policy_in_the_way_is_found_and_its_remedy_opens_the_way(scene, examine):
    deny = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "deny", "namespace": scene.space},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    }
    with scene.applied(deny):
        found = the(examine(), "network-policy", "error")
        _, text, _ = found["remedy"].split("'")
        with scene.applied(json.loads(text)):
            mended = examine()

    assert "NetworkPolicy deny in orchard admits nothing from Prometheus monitoring/main" in found["seen"]  # fmt: skip
    assert the(mended, "network-policy", "ok")


def test_pods_that_are_scraped_twice_are_found(scene, find):
    monitor = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": {"name": "mine", "namespace": scene.space},
        "spec": {
            "selector": {"matchLabels": {"app": "orders"}},
            "podMetricsEndpoints": [{"port": "metrics"}],
        },
    }
    with scene.applied(monitor):
        assert find("scraped-once", "warning", "also scraped by the job orchard/mine")["remedy"]


def test_what_fires_is_followed_to_its_receiver_and_to_a_silence(scene, examine, find):
    scene.patch({"alerts": {"extra": [{"name": "Try", "expr": "vector(1)"}]}})

    assert find("delivered", "ok", "Try goes to nobody")
    assert "Try" in the(examine(), "firing", "warning")["seen"]
    with silence(scene):
        assert find("delivered", "ok", "Try is silenced")


@contextlib.contextmanager
def silence(scene):
    """A silence in Alertmanager for all alerts of the workflow."""
    now = datetime.now(UTC)
    matcher = {"name": "namespace", "value": scene.space, "isRegex": False, "isEqual": True}
    body = {
        "matchers": [matcher],
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(hours=1)).isoformat(),
        "createdBy": "test",
        "comment": "test",
    }
    url = f"{scene.cluster.alertmanager_url}/api/v2/silence"
    made = json.loads(send("POST", f"{url}s", json.dumps(body), "application/json"))
    try:
        yield
    finally:
        send("DELETE", f"{url}/{made['silenceID']}")


def send(method, url, body="", sort="text/plain"):
    """A request; what was answered."""
    request = urllib.request.Request(
        url, data=body.encode() or None, method=method, headers={"Content-Type": sort}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def test_an_alert_that_another_one_silences_is_told(scene, find):
    scene.patch(
        {
            "scrape": {"port": 9999},
            "notify": {"receiver": {"webhook": {"url": "http://127.0.0.1:1/"}}},
            "alerts": {"overrides": {"TargetDown": {"for": "1s"}, "MetricsAbsent": {"for": "1s"}}},
        }
    )

    find("delivered", "ok", "TargetDown goes to orchard/orders-notify/receiver")
    find("delivered", "ok", "MetricsAbsent is inhibited: another alert tells the same outage")


def workflow(name, mode):
    """A workflow without a selector."""
    return {
        "apiVersion": "flowgauge.dev/v1alpha1",
        "kind": "MonitoredWorkflow",
        "metadata": {"name": name, "namespace": "orchard"},
        "spec": {"scrape": {"mode": mode}},
    }


def test_what_is_pushed_is_followed_through_the_pushgateway(scene, find, monkeypatch):
    gateway = scene.cluster.start_pushgateway()
    group = f"{gateway}/metrics/job/nightly/namespace/orchard/monitored_workflow/nightly"
    title = "orchard/nightly"
    with scene.applied(workflow("nightly", "Push")):
        found = find("pushed", "error", "no group with namespace=orchard", title)
        assert 'grouping_key={"namespace": "orchard"' in found["remedy"]

        send("PUT", group, "workflow_runs_total 1\n")
        find("pushed", "ok", r"the last push was \d+ s ago", title)
        with monkeypatch.context() as later:
            later.setattr(gather, "datetime", InTwoDays)
            find("pushed", "warning", "the last push was 48 h ago", title)

        careless = {"endpoints": [{"port": "web"}]}
        with scene.patched("servicemonitor", "pushgateway", "monitoring", careless):
            found = find("labels", "error", "scraped without honorLabels", title)
            # Prometheus calls the series of before stale after some scrapes.
            find("pushed", "error", "none arrives with its labels", title)
        assert "honorLabels: true" in found["remedy"]
        send("DELETE", group)


class InTwoDays(datetime):
    """A clock that nobody wants to wait for."""

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(days=2)


@contextlib.contextmanager
def annotated(scene, **notes):
    """A pod of the workflow with annotations of ours, for a while."""
    pod = scene.orders.pods[0].name
    words = ("annotate", "pod", pod, f"--namespace={scene.space}")
    scene.is_settled = False
    scene.cluster.kubectl(*words, *(f"flowgauge.dev/{k}={v}" for k, v in notes.items()))
    try:
        yield pod
    finally:
        scene.cluster.kubectl(*words, *(f"flowgauge.dev/{key}-" for key in notes))
        made = ("mwf", "--selector=flowgauge.dev/discovered=true", f"--namespace={scene.space}")
        scene.cluster.kubectl("delete", *made)


def test_pods_without_the_annotation_or_with_another_name_are_told(scene, find):
    with scene.applied(workflow("batch", "AnnotatedPods")):
        words = "no pod in orchard has the annotation flowgauge.dev/workflow: batch"
        find("selector", "error", f"{words}$", "orchard/batch")
        with annotated(scene, workflow="batsh"):
            find("selector", "error", f"{words}; .* annotated for batsh", "orchard/batch")
        with annotated(scene, workflow="batch") as pod:
            find("selector", "ok", f"batch matches 1 pod: {pod}", "orchard/batch")
            find("targets", "ok", "1 of 1 up", "orchard/batch")


def test_wrong_annotations_of_a_discovered_workflow_are_told(scene, find):
    with annotated(scene, workflow="fruit", port="web", **{"slo-success": "soon"}):
        find("conditions", "warning", "slo-success .* is not used", "orchard/fruit")
        find(
            "port", "error", "has a port named web; the containers declare metrics", "orchard/fruit"
        )


def test_a_name_that_does_not_exist_is_told_with_those_that_are_near(scene, examine):
    found = the(examine("orchard/order"), "workflow", "error")

    assert found["seen"] == (
        "there is no MonitoredWorkflow orchard/order; did you mean orchard/orders?"
    )


def test_who_may_see_nothing_is_told_so_and_nothing_passes_for_fine(whole, kubeconfigs):
    done = Doctor(kubeconfigs["nobody"]).run(whole.title, "-o", "json")

    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)["findings"]
    assert {f["check"] for f in found if f["level"] == "ok"} <= {
        "api-server", "clock", "grafana-operator", "crds",
    }  # fmt: skip
    told = the(found, "own-rights", "unknown")
    assert f"you ({NOBODY}) may not list" in told["seen"]
    assert "kubectl auth can-i list" in told["remedy"]
    assert "forbidden" in the(found, "workflow", "unknown")["seen"]


@pytest.mark.parametrize(
    ("user", "flags"), [("admin", [f"--as={NOBODY}"]), ("admin as nobody", [])]
)
def test_whoever_asks_as_another_sees_what_that_one_sees(
    whole, kubeconfigs, monkeypatch, capsys, user, flags
):
    found = Doctor(kubeconfigs[user]).findings(monkeypatch, capsys, whole.title, *flags)

    told = the(found, "own-rights", "unknown")
    assert f"you ({NOBODY}) may not list" in told["seen"]
    assert f"--as={NOBODY}" in told["remedy"]
    assert "forbidden" in the(found, "workflow", "unknown")["seen"]


def test_groups_count_and_who_may_not_ask_as_another_is_told(whole, kubeconfigs, monkeypatch, capsys):  # fmt: skip
    masters = ["--as=anna", "--as-group=a", "--as-group=system:masters", "--as-uid=1"]
    found = Doctor(kubeconfigs["admin"]).findings(monkeypatch, capsys, *masters)
    assert "you (anna) may see everything" in the(found, "own-rights", "ok")["seen"]

    code, _, told = whole.doctor.call(monkeypatch, capsys, "--as=anna")
    assert code == 2
    assert "cannot impersonate" in told
    assert "leave out `as` and --as" in told


def test_a_cluster_that_cannot_be_asked_is_another_exit_code(kubeconfigs, tmp_path, monkeypatch, capsys):  # fmt: skip
    code, _, told = Doctor(kubeconfigs["stranger"]).call(monkeypatch, capsys)
    assert code == 2
    assert "not accepted (401)" in told

    nowhere = tmp_path / "nowhere"
    nowhere.write_text(kubeconfigs["nobody"].read_text().replace(":6443", ":1"))
    code, _, told = Doctor(nowhere).call(monkeypatch, capsys, "--timeout=2")
    assert code == 2
    assert "cannot be asked: Failed to establish a new connection" in told

    code, _, told = Doctor(tmp_path / "none").call(monkeypatch, capsys)
    assert code == 2
    assert "name a kubeconfig by --kubeconfig" in told


def test_a_plugin_that_fails_is_told(whole, tmp_path, monkeypatch, capsys):
    broken = tmp_path / "broken"
    broken.write_text(whole.doctor.kubeconfig.read_text().replace("/plugin", "/no-such-plugin"))

    code, _, told = Doctor(broken).call(monkeypatch, capsys)

    assert code == 2
    assert "no-such-plugin" in told


def test_it_writes_nothing_but_reviews_and_reads_no_secret(whole):
    requests = list(whole.cluster.audit(READER))

    assert requests
    assert {r.resource for r in requests if r.is_write} <= {
        "selfsubjectaccessreviews", "subjectaccessreviews", "selfsubjectreviews",
    }  # fmt: skip
    assert not [r for r in requests if r.resource == "secrets"]
