"""The example for compose runs: its own command lines, files and names, in the real programs, as its README tells it.

Grafana alone has no program here: its files are checked, and every query of its dashboards is asked.
"""

import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.parse
from ipaddress import IPv4Address
from pathlib import Path

import grafana_text
import pytest
import yaml

from rig import compose, fetch, namespace, scratch, waiting
from rig.pytest_plugin import binary, need_network

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
LOOK = {"__rate_interval": "10s", "__range": "1m", "__interval": "5s", "__range_s": "60"}
# What is chosen where a dashboard shows one of several.
LOOK |= {"namespace": "shop", "workflow": "orders", "slo": "success"}
OWNER = {"namespace": "shop", "monitored_workflow": "orders"}


class Hooks(http.server.BaseHTTPRequestHandler):
    """A receiver of notifications."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.told.append(json.loads(body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="module")
def hooks():
    need_network()
    server = http.server.ThreadingHTTPServer((str(namespace.API_ADDRESS), 0), Hooks)
    server.told = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Example:
    """The running example, in a copy of its folder."""

    def __init__(self, project, folder):
        self.project, self.folder = project, folder
        self.prometheus = f"http://{project.address('prometheus')}:9090/api/v1"

    def ask(self, path, **parameters):
        found = fetch.json_of(f"{self.prometheus}/{path}?{urllib.parse.urlencode(parameters)}")
        assert found["status"] == "success"
        return found["data"]

    def query(self, text):
        return [
            (each["metric"], float(each["value"][1]))
            for each in self.ask("query", query=text)["result"]
        ]

    def wait(self, text, seconds=30):
        return waiting.wait_for(lambda: self.query(text), seconds, f"an answer to {text}")

    def rules(self):
        """Name and health of each rule that Prometheus has."""
        groups = self.ask("rules")["groups"]
        return [(rule["name"], rule["health"]) for group in groups for rule in group["rules"]]

    def alerts(self):
        return fetch.json_of(f"http://{self.project.address('alertmanager')}:9093/api/v2/alerts")

    def change(self, hooks):
        """What its README tells: write other things into the workflows, generate, send a signal."""
        file = self.folder / "workflows.yaml"
        orders, nightly = yaml.safe_load_all(file.read_text())
        orders["spec"]["scrape"] = {"interval": "1s"}
        orders["spec"]["alerts"] = {"extra": [{"name": "Try", "expr": "vector(1)"}]}
        url = f"http://hooks:{hooks.server_address[1]}/alerts"
        orders["spec"]["notify"] = {"receiver": {"webhook": {"url": url}}, "groupWait": "1s"}
        nightly["spec"]["scrape"]["interval"] = "1s"
        file.write_text(yaml.safe_dump_all([orders, nightly]))
        self.generate()
        for service in ("prometheus", "alertmanager"):
            self.project.signal(service, signal.SIGHUP)

    def generate(self):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = {**os.environ, "PATH": path}
        subprocess.run([self.folder / "generate.sh"], check=True, env=env, capture_output=True)


@pytest.fixture(scope="module")
def example(hooks):
    for name in ("prometheus", "alertmanager", "pushgateway"):
        binary(name)
    with scratch.folder() as run:
        folder = run / "compose"
        shutil.copytree(ROOT / "examples/compose", folder)
        (run / "state").mkdir()
        env = {"GRAFANA_PASSWORD": "secret"}
        project = compose.Project(folder / "compose.yaml", run / "state", env, context=ROOT)
        with project:
            project.know("hooks", IPv4Address(namespace.API_ADDRESS))
            for service in ("alertmanager", "pushgateway", "orders", "orders", "prometheus"):
                project.start(service)
            for service in ("alertmanager", "pushgateway", "orders", "prometheus"):
                project.wait_healthy(service)
            yield Example(project, folder)


@pytest.fixture(scope="module")
def as_committed(example):
    """What Prometheus has of the committed files, before anything is changed."""
    groups = example.ask("rules")["groups"]
    return {(Path(group["file"]).name, group["name"].rpartition("/")[2]) for group in groups}


@pytest.fixture(scope="module")
def changed(example, as_committed, hooks):
    """The example after a change of its workflows, which is looked at more often."""
    assert as_committed
    example.change(hooks)
    # What the configuration of before has none of.
    waiting.wait_for(lambda: "Try" in dict(example.rules()), 30, "the changed rules in Prometheus")
    example.wait('up{monitored_workflow="orders"} == 1')
    return example


def test_the_committed_rules_of_both_workflows_are_loaded(as_committed):
    assert {file for file, _ in as_committed} == {"shop_orders.yml", "shop_nightly.yml"}
    assert ("shop_orders.yml", "alerts") in as_committed
    assert ("shop_nightly.yml", "info") in as_committed


def test_every_container_of_the_service_is_a_target_with_its_owner(changed):
    found = changed.wait('count(up{namespace="shop",monitored_workflow="orders"} == 1) == 2')
    assert found[0][1] == 2

    targets = changed.ask("targets")["activeTargets"]
    by_job = {}
    for target in targets:
        by_job.setdefault(target["labels"]["job"], []).append(target)
    assert len(by_job["flowgauge/shop/orders"]) == 2
    for target in by_job["flowgauge/shop/orders"]:
        assert target["labels"].items() >= OWNER.items()
    waiting.wait_for(
        lambda: all(t["health"] == "up" for t in changed.ask("targets")["activeTargets"]),
        30,
        "all targets to be up",
    )
    assert set(by_job) == {
        "alertmanager",
        "flowgauge/pushgateway",
        "flowgauge/shop/orders",
        "prometheus",
    }


def test_what_is_measured_becomes_rules_objectives_and_no_rule_fails(changed):
    changed.wait('workflow:runs:rate5m{namespace="shop",monitored_workflow="orders"} > 0', 45)
    (info,) = changed.wait('workflow:monitoring:info{monitored_workflow="orders"}')
    assert info[0]["profile"] == "workflow"

    rules = changed.rules()
    assert [name for name, health in rules if health == "err"] == []
    assert dict(rules).keys() >= {"WorkflowTargetDown", "WorkflowErrorBudgetBurnFast"}


def test_an_alert_reaches_alertmanager_and_the_one_whom_the_workflow_names(changed, hooks):
    def routed():
        (alert,) = (alert for alert in changed.alerts() if alert["labels"]["alertname"] == "Try")
        # Alertmanager may have the alert before it has its routes.
        return alert["receivers"] == [{"name": "shop/orders/receiver"}] and alert

    alert = waiting.wait_for(routed, 45, "the alert in Alertmanager, routed")
    assert alert["labels"].items() >= OWNER.items()

    waiting.wait_for(lambda: hooks.told, 30, "the notification")
    assert hooks.told[0]["receiver"] == "shop/orders/receiver"
    assert hooks.told[0]["groupLabels"]["alertname"] == "Try"


def test_a_batch_is_monitored_with_the_labels_that_it_pushed(changed):
    assert changed.project.run("nightly") == 0

    runs = 'workflow_runs_total{namespace="shop",monitored_workflow="nightly",status="success"}'
    ((labels, value),) = changed.wait(f"{runs} == 1")
    assert labels["job"] == "nightly"
    assert value == 1
    assert changed.project.run("nightly") == 0
    changed.wait(f"{runs} == 2")
    changed.wait('workflow:monitoring:info{monitored_workflow="nightly"}')


def test_a_batch_that_fails_is_seen_to_fail(changed):
    assert changed.project.run("nightly", NIGHTLY_INPUT="/nowhere") == 1

    changed.wait('workflow_runs_total{monitored_workflow="nightly",status="failed"} == 1')


def exprs(dashboard):
    for panel in dashboard["panels"]:
        for each in (panel, *panel.get("panels", ())):
            yield from ((each["title"], target["expr"]) for target in each.get("targets", ()))


def filled(text, variables):
    """A query as Grafana sends it, with all of what may be chosen; what is no variable stays."""

    def value(found):
        name = found[1] or found[2] or found[4]
        return LOOK.get(name) or (".+" if name in variables else found[0])

    return grafana_text.VARIABLE.sub(value, text)


# Of a workflow that runs all the time and has just begun.
SHOWN = {
    "Success ratio",
    "Targets up",
    "Error budget left",
    "Runs by outcome",
    "Run duration",
    "Steps ended",
}
SHOWN |= {"Step duration", "Resident memory", "Scrape duration", "Targets"}


def answered(example, file):
    """How many series each panel of a dashboard gets; an error is raised."""
    dashboard, found = json.loads(file.read_text()), {}
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    for title, expr in exprs(dashboard):
        series = example.ask("query", query=filled(expr, variables))["result"]
        found[title] = found.get(title, 0) + len(series)
    return found


def test_every_query_of_every_dashboard_is_answered(changed):
    files = sorted((changed.folder / "monitoring/dashboards").rglob("*.json"))
    assert len(files) == 6
    for file in files:
        assert any(answered(changed, file).values()), file

    (orders,) = (file for file in files if file.name == "shop_orders.json")

    def empty():
        found = answered(changed, orders)
        return {title for title in SHOWN if not found[title]}

    waiting.wait_for(lambda: not empty(), 45, "numbers", every=2)


def test_a_container_that_goes_takes_its_target_along(changed):
    changed.project.stop("orders")
    changed.project.start("orders")

    changed.wait('count(up{monitored_workflow="orders"} == 1) == 1', 60)


def test_configurations_cannot_be_written_and_volumes_can(changed):
    state = changed.folder.parent / "state"

    assert any((state / "volume-prometheus").iterdir())
    process = changed.project.start("orders", ORDERS_REPORT="/etc/report.csv", ORDERS_INTERVAL="9")
    waiting.wait_for(lambda: "Read-only file system" in process.tail(60), 20, "the refusal")


def test_grafana_is_the_only_service_without_a_program_here(changed):
    with pytest.raises(compose.ComposeError, match="there is no program of the image .*grafana"):
        changed.project.start("grafana")


def test_the_remembered_push_is_there_after_a_restart(changed):
    changed.project.stop("pushgateway")
    changed.project.start("pushgateway")
    changed.project.wait_healthy("pushgateway")

    page = fetch.text(f"http://{changed.project.address('pushgateway')}:9091/metrics")
    assert 'workflow_runs_total{instance="",job="nightly"' in page
