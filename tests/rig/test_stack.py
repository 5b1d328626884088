"""The whole chain, real parts only: monitor to target, rule to alert, push to query."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rig import fetch

pytestmark = pytest.mark.e2e


class Metrics(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(b"toy_value 42\n")

    def log_message(self, *_):
        pass


@pytest.fixture
def target(own_cluster, stack, namespace):
    """A pod whose address this process answers for, with a monitor; the namespace it is in."""
    container = {
        "name": "web",
        "image": "rig/web",
        "ports": [{"name": "http", "containerPort": 8000}],
    }
    objects = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {"containers": [container]},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {
                "clusterIP": "None",
                "selector": {"app": "web"},
                "ports": [{"name": "http", "port": 8000}],
            },
        },
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "ServiceMonitor",
            "metadata": {"name": "web"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "endpoints": [{"port": "http"}]},
        },
    ]
    stack.deploy(objects, namespace=namespace)
    (pod,) = stack.wait_pods(namespace, "app=web")
    server = ThreadingHTTPServer((pod["status"]["podIP"], 8000), Metrics)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield namespace
    server.shutdown()
    server.server_close()


def test_a_service_monitor_becomes_a_target(stack, target):
    expression = f'toy_value{{namespace="{target}"}}'

    (sample,) = stack.wait_for(
        lambda: stack.prometheus_query(expression), 20, "the target's metric"
    )

    assert sample["value"][1] == "42"
    assert sample["metric"]["pod"] == "web"
    assert sample["metric"]["endpoint"] == "http"


def test_a_rule_becomes_an_alert(stack, target):
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "toy"},
        "spec": {
            "groups": [{"name": "toy", "rules": [{"alert": "Toy", "expr": "toy_value == 42"}]}]
        },
    }
    stack.apply([rule], namespace=target)

    def alerts():
        return [item for item in stack.alerts() if item["labels"].get("namespace") == target]

    (alert,) = stack.wait_for(alerts, 20, "the alert in Alertmanager")

    assert alert["labels"]["alertname"] == "Toy"


def test_a_removed_rule_is_gone_from_prometheus(stack, namespace):
    rules = [{"record": "toy:gone", "expr": "vector(1)"}]
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "gone"},
        "spec": {"groups": [{"name": f"gone-{namespace}", "rules": rules}]},
    }
    stack.apply([rule], namespace=namespace)

    def loaded():
        groups = stack.prometheus_get("rules")["groups"]
        return [group for group in groups if group["name"] == f"gone-{namespace}"]

    stack.wait_for(loaded, 20, "the rule in Prometheus")
    stack.kubectl("delete", "prometheusrule", "gone", f"--namespace={namespace}")

    stack.wait_for(lambda: not loaded(), 20, "the rule to go")


def test_an_alertmanager_config_becomes_a_route_and_goes_with_it(stack, namespace):
    if stack.is_given:
        pytest.skip("the Alertmanager of a given cluster selects what it wants")
    config = {
        "apiVersion": "monitoring.coreos.com/v1alpha1",
        "kind": "AlertmanagerConfig",
        "metadata": {"name": "toy"},
        "spec": {
            "route": {"receiver": "hook"},
            "receivers": [{"name": "hook", "webhookConfigs": [{"url": "http://127.0.0.1:1/"}]}],
        },
    }
    stack.apply([config], namespace=namespace)

    def is_routed():
        status = fetch.json_of(f"{stack.alertmanager_url}/api/v2/status")
        return f"{namespace}/toy/hook" in status["config"]["original"]

    stack.wait_for(is_routed, 30, "the route in Alertmanager")
    stack.kubectl("delete", "alertmanagerconfig", "toy", f"--namespace={namespace}")

    stack.wait_for(lambda: not is_routed(), 30, "the route to go")


def test_what_is_pushed_can_be_asked_for(stack):
    if stack.is_given:
        pytest.skip("a given cluster has a Pushgateway of its own, or none")
    url = stack.start_pushgateway()
    fetch.send(f"{url}/metrics/job/batch", b"pushed_value 7\n", form="text/plain")

    (sample,) = stack.wait_for(
        lambda: stack.prometheus_query('pushed_value{job="batch"}'), 20, "the pushed metric"
    )

    assert sample["value"][1] == "7"
