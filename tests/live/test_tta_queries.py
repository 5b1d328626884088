"""Every query of the TTA.dev guide answers on a real Prometheus that scrapes the guide's own sort of program.

The guide's burn rate divides by a time and means nothing; what is asked here is what it means: the share of failures
in units of what the objective allows. docs/migrate.md says so.
"""

import math
import subprocess
import sys

import pytest

from rig import lone

pytestmark = pytest.mark.parts

QUERIES = [
    'primitive_duration_seconds_bucket{primitive_name="api_process"}',
    'primitive_requests_total{primitive_name="api_process"}',
    'primitive_slo_compliance{primitive_name="api_process"}',
    "histogram_quantile(0.95, sum(rate(primitive_duration_seconds_bucket[5m])) by (le, primitive_name))",
    "histogram_quantile(0.99, sum(rate(primitive_duration_seconds_bucket[5m])) by (le, primitive_type))",
    "rate(primitive_requests_total[5m])",
    'sum(rate(primitive_requests_total{status="success"}[5m])) / sum(rate(primitive_requests_total[5m]))',
    'sum(rate(primitive_requests_total{status="failure"}[5m])) / sum(rate(primitive_requests_total[5m]))',
    'primitive_slo_compliance{primitive_name="critical_workflow"}',
    'primitive_error_budget_remaining{primitive_name="critical_workflow"}',
    """
    sum(rate(primitive_requests_total{primitive_name="critical_workflow",status="failure"}[1h]))
    / sum(rate(primitive_requests_total{primitive_name="critical_workflow"}[1h])) / (1 - 0.99)
    """,
    "rate(primitive_cost_total[1h]) * 3600",
    "rate(primitive_cost_savings[5m]) / (rate(primitive_cost_total[5m]) + rate(primitive_cost_savings[5m]))",
    "sum(rate(primitive_cost_total[5m])) by (category)",
    "primitive_active_requests",
    "max_over_time(primitive_active_requests[1h])",
]
# An hour ago there was nothing, so it can be parsed and evaluated only.
EMPTY = ["rate(primitive_requests_total[5m]) - rate(primitive_requests_total[5m] offset 1h)"]
RULES = """\
groups:
- name: tta_dev_metrics
  interval: 250ms
  rules:
  - record: primitive:latency:p95
    expr: histogram_quantile(0.95, sum(rate(primitive_duration_seconds_bucket[5m])) by (le, primitive_name))
  - record: primitive:error_rate:5m
    expr: |
      sum(rate(primitive_requests_total{status="failure"}[5m])) by (primitive_name)
      / sum(rate(primitive_requests_total[5m])) by (primitive_name)
"""


# The guide's program, with a little traffic at each scrape, so that every rate has something to tell.
PROGRAM = """
import sys

from flask import Flask, Response
from prometheus_client import REGISTRY, generate_latest

from flowgauge.compat.tta_dev import get_prometheus_exporter

app = Flask(__name__)
exporter = get_prometheus_exporter()
calls = iter(range(10**9))


@app.route("/metrics")
def metrics():
    number = next(calls)
    for name, kind in (("api_process", "api"), ("critical_workflow", "workflow")):
        exporter.record_execution(
            primitive_name=name,
            primitive_type=kind,
            duration_seconds=0.05,
            success=number % 10 != 0,
            cost=0.02,
            savings=0.01,
            category="llm",
        )
    exporter.export_metrics(primitive_type="app")
    return Response(generate_latest(REGISTRY), mimetype="text/plain")


app.run(host="127.0.0.1", port=int(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def prometheus():
    port = lone.free_port()
    # In a process of its own: other tests use up the names that a process tells apart.
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with lone.prometheus(port, rules=RULES) as running:
            yield running
    finally:
        program.terminate()
        program.wait(10)


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_of_the_guide_answers(prometheus, query):
    found = prometheus.wait_series(query)

    assert not any(math.isnan(value) for _, value in found), found


@pytest.mark.parametrize("query", EMPTY)
def test_a_query_about_an_hour_ago_is_understood(prometheus, query):
    assert prometheus.series(query) == []


@pytest.mark.parametrize("record", ["primitive:latency:p95", "primitive:error_rate:5m"])
def test_the_recording_rules_of_the_guide_record(prometheus, record):
    names = {labels["primitive_name"] for labels, _ in prometheus.wait_series(record)}

    assert {"api_process", "critical_workflow"} <= names
