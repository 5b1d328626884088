"""The operator is watched as the chart has it: scraped, its alerts loaded, every panel of its dashboard answered."""

from __future__ import annotations

import json
import re
import secrets
import urllib.parse

import pytest
import yaml
from chartcases import CHART, ROOT
from linter import panels

from rig import chart, fetch

pytestmark = pytest.mark.e2e

BIN = ROOT / ".venv-operator/bin"
EXAMPLE = ROOT / "examples/orders/workflow.yaml"
BOARD = json.loads((CHART / "files/dashboards/operator.json").read_text())


@pytest.fixture
def release(own_cluster, stack, namespace, definitions):
    """Two replicas that Prometheus scrapes often, and that ask it often."""
    made = chart.install(
        own_cluster,
        CHART,
        path=[BIN],
        namespace=namespace,
        overrides={
            "log": {"format": "text"},
            "prometheus": {"url": stack.prometheus_url, "verifyInterval": 1},
            "serviceMonitor": {"interval": "1s"},
        },
    )
    try:
        made.wait_ready()
        yield made
    finally:
        made.uninstall()


@pytest.fixture
def shop(stack):
    """A namespace of users."""
    name = f"shop-{secrets.token_hex(3)}"
    stack.create_namespace(name)
    yield name
    stack.delete_namespace(name)


def test_prometheus_sees_the_operator_and_its_dashboard_has_answers(
    release, stack, namespace, shop
):
    body = yaml.safe_load(EXAMPLE.read_text())
    body["metadata"] = {"name": "orders", "namespace": shop}
    stack.apply([body])
    of = f'job="flowgauge",namespace="{namespace}"'

    stack.wait_for(
        lambda: len(stack.prometheus_query(f"up{{{of}}} == 1")) == 2, 60, "two targets that are up"
    )
    stack.wait_for(
        lambda: stack.prometheus_query(
            f'rate(flowgauge_verifications_total{{{of},result="success"}}[10s]) > 0'
        ),
        60,
        "a look at Prometheus",
    )
    # It is well, and nothing says otherwise.
    stack.wait_for(
        lambda: (
            [(rule["health"], rule["state"]) for rule in own_rules(stack, namespace)]
            == [("ok", "inactive")] * 9
        ),
        90,
        lambda: f"its nine alerts to be inactive; they are {own_rules(stack, namespace)}",
    )
    (leaders,) = stack.prometheus_query(f"sum(flowgauge_leader{{{of}}})")
    assert leaders["value"][1] == "1"

    def unanswered():
        return [
            f"{panel['title']}: {target['expr']}"
            for panel in panels(BOARD)
            for target in panel["targets"]
            if not answered(stack, namespace, target["expr"])
            and panel["fieldConfig"]["defaults"].get("noValue") != "None refused"
            and "drifts" not in target["expr"]
        ]

    stack.wait_for(lambda: not unanswered(), 60, "answers to every panel")
    # Those that have nothing to show until something happens are at least queries.
    for panel in panels(BOARD):
        for target in panel["targets"]:
            answered(stack, namespace, target["expr"])


def own_rules(stack, namespace):
    groups = stack.prometheus_get("rules", type="alert")["groups"]
    return [
        rule
        for group in groups
        if group["name"] == "flowgauge-operator"
        for rule in group["rules"]
        if namespace in rule["query"]
    ]


def answered(stack, namespace, expr):
    """Whether Prometheus has series for a query of the dashboard, with All chosen, and one namespace."""
    values = {"__rate_interval": "10s", "namespace": namespace, "job": ".+", "instance": ".+"}
    asked = re.sub(r"\$(\w+)", lambda found: values[found[1]], expr)
    query = urllib.parse.urlencode({"query": asked})
    found = fetch.json_of(f"{stack.prometheus_url}/api/v1/query?{query}")
    assert found["status"] == "success", (expr, found)
    return bool(found["data"]["result"])
