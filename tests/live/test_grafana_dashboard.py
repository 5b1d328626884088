"""Dashboards by the real grafana-operator, under its real CRDs.

No registry carries a Grafana. `Recorder` answers as its HTTP API does where grafana-operator asks, and keeps what it is
sent: that proves what arrives, not that a Grafana shows it.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
import yaml

from flowgauge_operator import cli
from rig.pytest_plugin import binary

pytestmark = pytest.mark.cluster

GRAFANA = "grafana.integreatly.org/v1beta1"
MODE = {"mode": "GrafanaDashboard"}
ADDRESS = "127.0.0.1"
NOWHERE = "http://127.0.0.1:1"


class Recorder(ThreadingHTTPServer):
    """Where grafana-operator believes a Grafana to be: folders and dashboards as they were sent."""

    daemon_threads = True

    def __init__(self):
        super().__init__((ADDRESS, 0), Recording)
        self.folders, self.dashboards, self.requests = {}, {}, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        """Where it answers."""
        return f"http://{ADDRESS}:{self.server_port}"

    def folder_of(self, uid):
        """The title of the folder that a dashboard was sent to."""
        return self.folders[self.dashboards[uid]["folderUid"]]


class Recording(BaseHTTPRequestHandler):
    """The few calls that grafana-operator makes for a dashboard."""

    server: Recorder

    def do_GET(self):
        """Search, folders, one dashboard."""
        path = urlsplit(self.path).path
        sent = self.server.dashboards
        uid = path.rpartition("/")[2]
        if path == "/api/folders":
            self._answer([{"uid": u, "title": t} for u, t in self.server.folders.items()])
        elif path == "/api/search":
            self._answer([{"uid": u, "title": d["dashboard"]["title"]} for u, d in sent.items()])
        elif path.startswith("/api/dashboards/uid/") and uid in sent:
            meta = {"folderUid": sent[uid]["folderUid"]}
            self._answer({"dashboard": sent[uid]["dashboard"], "meta": meta})
        else:
            self._answer({"message": "not found"}, 404)

    def do_POST(self):
        """A new folder, a new dashboard."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/api/folders":
            uid = f"folder-{len(self.server.folders)}"
            self.server.folders[uid] = body["title"]
            self._answer({"uid": uid, "title": body["title"]})
        else:
            uid = body["dashboard"]["uid"]
            self.server.dashboards[uid] = body
            told = {"id": 1, "uid": uid, "url": "/", "status": "success", "version": 1, "title": ""}
            self._answer(told)

    def do_DELETE(self):
        """The end of a dashboard or a folder."""
        uid = urlsplit(self.path).path.rpartition("/")[2]
        self.server.dashboards.pop(uid, None)
        self.server.folders.pop(uid, None)
        self._answer({"title": "", "message": "", "id": 1})

    def _answer(self, body, status=200):
        self.server.requests.append((self.command, self.path, status))
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """Nothing: the test says what is wrong."""


@pytest.fixture(scope="module")
def delivering(operator, in_place_of):
    """An operator in a cluster with the real grafana-operator and its CRDs, which looks often."""
    binary("grafana-operator")
    values = {"prometheus": {"verifyInterval": 1}, "extraArgs": ["--discovery-interval=2"]}
    with operator.cluster.grafana_kinds():
        process = operator.cluster.start_grafana_operator()
        try:
            with in_place_of(operator, "delivering", **values) as running:
                yield running
        finally:
            process.stop()


@pytest.fixture
def recorder():
    running = Recorder()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture
def grafana(delivering, namespace):
    """Make a Grafana object of this namespace that leads to a URL."""

    def make(url):
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "stringData": {"user": "a", "password": "b"},
        }
        secret["metadata"] = {"name": "login", "namespace": namespace}
        keys = {
            field: {"name": "login", "key": key}
            for field, key in [("adminUser", "user"), ("adminPassword", "password")]
        }
        body = {
            "apiVersion": GRAFANA,
            "kind": "Grafana",
            "spec": {"external": {"url": url, **keys}},
        }
        body["metadata"] = {"name": "main", "namespace": namespace}
        body["metadata"]["labels"] = {"dashboards": "grafana"}
        # Otherwise an instance that is not there is no instance, and nobody says what is wrong with it.
        body["metadata"]["annotations"] = {"grafana-operator/skip-readiness-check": "true"}
        delivering.cluster.apply([secret, body])

    yield make
    # Before the namespace: with its Grafana gone, no dashboard waits for a finalizer.
    delivering.cluster.kubectl(
        "delete", "grafana", "main", f"--namespace={namespace}", "--ignore-not-found"
    )


def board(operator, namespace, name="orders-dashboard"):
    return operator.get("grafanadashboard", name, namespace)


def wait_reason(operator, reason, namespace, timeout=40):
    def ask():
        found = operator.condition("Provisioned", namespace)
        return found.get("reason") == reason and found

    return operator.wait(
        ask,
        lambda: (
            f"Provisioned to say {reason}; it says {operator.condition('Provisioned', namespace)}"
        ),
        timeout,
    )


def generated(operator, namespace, **dashboard):
    """The dashboard that the command line prints for the same workflow."""
    text = yaml.safe_dump(operator.workflow(namespace, dashboard=MODE | dashboard))
    manifests = list(yaml.safe_load_all(cli.generated(text, "w.yaml")))
    return next(m for m in manifests if m["kind"] == "GrafanaDashboard")


def test_the_real_kind_takes_it_and_without_a_grafana_the_status_says_so(delivering, namespace):
    delivering.cluster.apply([delivering.workflow(namespace, dashboard=MODE)])

    told = wait_reason(delivering, "DashboardNotSynchronized", namespace)
    assert told["status"] == "True"
    assert "None of the available Grafana instances matched the selector" in told["message"]
    made, printed = board(delivering, namespace), generated(delivering, namespace)
    assert made["spec"] == printed["spec"]
    assert made["spec"]["folder"] == namespace
    assert made["metadata"]["ownerReferences"][0]["kind"] == "MonitoredWorkflow"
    assert delivering.get("configmap", "orders-dashboard", namespace) is None
    ready = delivering.condition("Ready", namespace)
    assert ready["status"] == "True"


def test_a_grafana_that_does_not_answer_is_told(delivering, grafana, namespace):
    grafana(NOWHERE)
    delivering.cluster.apply([delivering.workflow(namespace, dashboard=MODE)])

    told = wait_reason(delivering, "DashboardNotSynchronized", namespace)
    assert "DashboardSynchronized: Dashboard failed to be applied for 1 out of 1" in told["message"]
    assert "connection refused" in told["message"]


def test_what_arrives_over_http_is_what_the_command_line_prints(
    delivering, grafana, recorder, namespace
):
    delivering.cluster.apply(
        [delivering.workflow(namespace, dashboard=MODE | {"folder": "Shop/Orders"})]
    )
    wait_reason(delivering, "DashboardNotSynchronized", namespace)
    grafana(recorder.url)

    told = wait_reason(delivering, "Applied", namespace)
    assert "grafana-operator: Dashboard was successfully applied to 1 instances" in told["message"]
    printed = generated(delivering, namespace)
    wanted = json.loads(printed["spec"]["json"])
    # grafana-operator adds an empty number, by which Grafana knows that it is to be found by its uid.
    assert recorder.dashboards[wanted["uid"]]["dashboard"] == wanted | {"id": None}
    assert recorder.folder_of(wanted["uid"]) == "Shop/Orders"

    delivering.cluster.kubectl("delete", "mwf", "orders", f"--namespace={namespace}")

    delivering.wait(lambda: board(delivering, namespace) is None, "the object to go", 40)
    assert wanted["uid"] not in recorder.dashboards


def test_a_workflow_moves_from_mode_to_mode_and_leaves_nothing(delivering, namespace):
    def there():
        return (
            delivering.get("configmap", "orders-dashboard", namespace) is not None,
            board(delivering, namespace) is not None,
        )

    for mode, expected in [
        (None, (True, False)),
        ("GrafanaDashboard", (False, True)),
        ("ConfigMap", (True, False)),
        ("None", (False, False)),
        ("GrafanaDashboard", (False, True)),
    ]:
        dashboard = {"mode": mode} if mode else {}
        delivering.cluster.apply([delivering.workflow(namespace, dashboard=dashboard)])
        delivering.wait(lambda e=expected: there() == e, f"the mode {mode}", 30)


def test_drift_is_repaired(delivering, namespace):
    delivering.cluster.apply([delivering.workflow(namespace, dashboard=MODE)])
    wait_reason(delivering, "DashboardNotSynchronized", namespace)
    wanted = board(delivering, namespace)["spec"]
    edits = [
        {"spec": {"json": "{}"}},
        {"spec": {"folder": "theirs", "plugins": [{"name": "a", "version": "1"}]}},
        {"metadata": {"labels": {"app.kubernetes.io/managed-by": "theirs"}}},
    ]
    for edit in edits:
        delivering.cluster.kubectl(
            "patch",
            "grafanadashboard",
            "orders-dashboard",
            f"--namespace={namespace}",
            "--type=merge",
            f"--patch={json.dumps(edit)}",
        )

        def repaired():
            found = board(delivering, namespace)
            label = found["metadata"]["labels"]["app.kubernetes.io/managed-by"]
            return found["spec"] == wanted and label == "flowgauge"

        delivering.wait(repaired, f"{edit} to be undone", 30)
    delivering.cluster.kubectl(
        "delete", "grafanadashboard", "orders-dashboard", f"--namespace={namespace}"
    )
    delivering.wait(lambda: board(delivering, namespace), "the dashboard to come back", 30)


def test_what_grafana_operator_writes_costs_no_write_of_ours(delivering, namespace):
    delivering.cluster.apply([delivering.workflow(namespace, dashboard=MODE)])
    wait_reason(delivering, "DashboardNotSynchronized", namespace)
    delivering.wait_quiet()
    version, mark = board(delivering, namespace)["metadata"]["resourceVersion"], None
    mark = delivering.cluster.audit_mark()

    # Without a Grafana it looks again, and writes that it did, every ten seconds.
    delivering.wait(
        lambda: board(delivering, namespace)["metadata"]["resourceVersion"] != version,
        "grafana-operator to write",
        30,
    )
    delivering.wait_quiet()

    assert delivering.writes_since(mark, namespace) == []


def test_a_restart_writes_nothing(delivering, namespace):
    delivering.cluster.apply(
        [delivering.workflow(namespace, f"w{i}", dashboard=MODE) for i in range(5)]
    )
    for i in range(5):
        delivering.wait(
            lambda i=i: (
                delivering.condition("Provisioned", namespace, f"w{i}").get("reason")
                == "DashboardNotSynchronized"
            ),
            "all to be told of",
            40,
        )
    delivering.wait_quiet()
    with delivering.resting():
        mark = delivering.cluster.audit_mark()

    delivering.wait(
        lambda: delivering.metric("flowgauge_reconcile_total") > 5, "all to have had a turn", 60
    )
    delivering.wait_quiet()

    assert delivering.writes_since(mark, namespace) == []


def test_a_change_that_only_a_new_object_can_take_makes_one(delivering, in_place_of, namespace):
    delivering.cluster.apply([delivering.workflow(namespace, dashboard=MODE)])
    before = delivering.wait(lambda: board(delivering, namespace), "the dashboard")

    with in_place_of(
        delivering, "elsewhere", grafana={"instances": "team=shop", "crossNamespace": False}
    ) as other:

        def is_new():
            found = board(other, namespace)
            return found and found["spec"]["instanceSelector"] == {"matchLabels": {"team": "shop"}}

        other.wait(is_new, "the selector of the new setting", 60)
        assert board(other, namespace)["metadata"]["uid"] != before["metadata"]["uid"]
        other.wait_condition("Provisioned", "True", namespace, timeout=60)
    delivering.wait(
        lambda: (board(delivering, namespace) or before)["spec"] == before["spec"],
        "the old selector to be back",
        60,
    )


def test_namespaces_get_theirs_as_the_administrator_says(delivering, in_place_of, namespace):
    delivering.cluster.apply([delivering.workflow(namespace)])
    delivering.wait(
        lambda: delivering.get("configmap", "flowgauge-dashboards", namespace), "the ConfigMap"
    )

    with in_place_of(delivering, "by-operator", grafana={"mode": "GrafanaDashboard"}) as other:
        for name in ("flowgauge-fleet", "flowgauge-objectives", "orders-dashboard"):
            other.wait(lambda n=name: board(other, namespace, n), name, 40)
        for name in ("flowgauge-dashboards", "orders-dashboard"):
            other.wait(lambda n=name: other.get("configmap", n, namespace) is None, name, 40)
        other.wait(
            lambda: "ConfigMap" not in {r["kind"] for r in other.status(namespace)["resources"]},
            "the status to forget the ConfigMap",
        )
        everywhere = other.cluster.get("grafanadashboards", "--namespace=flowgauge-system")
        names = {item["metadata"]["name"] for item in everywhere["items"]}
        ours = ("fleet", "objectives", "operator")
        assert names == {f"by-operator-all-{name}" for name in ours}


def test_without_its_kinds_it_falls_back_says_so_and_moves_over(delivering, namespace):
    delivering.cluster.apply([delivering.workflow(namespace, dashboard=MODE)])
    delivering.wait(lambda: board(delivering, namespace), "the dashboard")
    delivering.cluster.kubectl("delete", "crd", "grafanadashboards.grafana.integreatly.org")

    told = wait_reason(delivering, "AppliedWithFallback", namespace, 60)
    assert "GrafanaDashboard is not available: the dashboard is in a ConfigMap" in told["message"]
    assert delivering.get("configmap", "orders-dashboard", namespace)

    delivering.cluster.install_grafana_operator()

    delivering.wait(lambda: board(delivering, namespace), "the GrafanaDashboard", 60)
    delivering.wait(
        lambda: delivering.get("configmap", "orders-dashboard", namespace) is None,
        "the ConfigMap to go",
        30,
    )
