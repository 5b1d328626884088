"""Objectives on a real Prometheus that scrapes a real program: native histograms, and how long data is kept."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from flowgauge import profiles
from flowgauge_operator import model, verify
from flowgauge_operator.prometheus import Prometheus
from flowgauge_operator.render import Capabilities, Options, render
from flowgauge_operator.verify import Owner
from rig import fetch, lone, waiting

# Of a hundred runs, all of one size: what lies beyond three seconds is clear of the bucket that holds them.
DURATIONS = [
    *(0.5 + 1.9 * i / 69 for i in range(70)),
    *(2.55 + 0.2 * i / 9 for i in range(10)),
    *(3.5 + 5.5 * i / 19 for i in range(20)),
]
BEYOND_3, BEYOND_2_5 = 0.2, 0.3
PROGRAM = """
import json, sys, threading, time

import flowgauge
from flowgauge import records

durations = json.load(sys.stdin)
flowgauge.setup_observability(
    host="127.0.0.1", port=int(sys.argv[1]), native_histograms=True, strict=True
)
while True:
    for seconds in durations:
        records.run_started("orders")
        records.run_finished("orders", seconds)
    time.sleep(0.1)
"""
# What the operator's monitor does, for a Prometheus that nobody manages.
OWNED = """\
relabel_configs:
- {target_label: namespace, replacement: shop}
- {target_label: monitored_workflow, replacement: orders}
"""
SHOP = Owner("shop", "orders")
SLOS = {
    "native": [
        {"name": "fast", "objective": 50, "window": "10d", "latency": {"threshold": "3s"}},
        {"name": "success", "objective": 99, "window": "30d", "success": {}},
    ],
    "classic": [
        {
            "name": "fast",
            "objective": 50,
            "window": "10d",
            "latency": {"threshold": "3s", "rounding": "Down"},
        },
        {"name": "success", "objective": 99, "window": "30d", "success": {}},
    ],
}


def rendered(form):
    spec = {
        "selector": {"matchLabels": {"app": "orders"}},
        "scrape": {"interval": "1s", "nativeHistograms": form == "native"},
        "slos": SLOS[form],
    }
    body = {"metadata": {"name": "orders", "namespace": "shop"}, "spec": spec}
    made = render(model.parse(body), profiles.builtin("workflow"), Capabilities(), Options())
    assert made.problems == ()
    return made


def child(made, kind):
    return next(c for c in made.children if c["kind"] == kind)


@pytest.fixture(scope="module", params=["native", "classic"])
def form(request):
    return request.param


@pytest.fixture(scope="module")
def program():
    """The port of a program that ends runs all the time, all of known durations."""
    port = lone.free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(port)], stdin=subprocess.PIPE, text=True
    )
    process.stdin.write(json.dumps(DURATIONS))
    process.stdin.close()
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def prometheus(form, program):
    job = OWNED + ("scrape_native_histograms: true\n" if form == "native" else "")
    rules = yaml.safe_dump(child(rendered(form), "PrometheusRule")["spec"])
    with lone.prometheus(program, job=job, rules=rules) as running:
        running.wait_series("slo:error:ratio_period", 60)
        yield running


def settles(prometheus, query, expected):
    """Wait until the one series has about this value: at first it is made of few runs, or of half a batch of them."""

    def found():
        ((_, value),) = prometheus.series(query)
        return value

    waiting.wait_for(
        lambda: found() == expected, 60, lambda: f"{query} to be {expected}; it is {found()}"
    )


@pytest.mark.parts
def test_the_share_of_slow_runs_is_true(prometheus, form):
    beyond = {"native": BEYOND_3, "classic": BEYOND_2_5}[form]

    for record in ("slo:error:ratio_rate5m", "slo:error:ratio_rate1h", "slo:error:ratio_period"):
        settles(prometheus, f'{record}{{slo="fast"}}', pytest.approx(beyond, abs=0.005))
    remaining = pytest.approx(1 - beyond / 0.5, abs=0.01)
    settles(prometheus, 'slo:error_budget_remaining:ratio{slo="fast"}', remaining)


@pytest.mark.parts
def test_the_percentile_is_true_to_the_width_of_a_bucket(prometheus, form):
    exact = sorted(DURATIONS)[94]

    # Eight buckets to a power of two, against one from five to ten seconds.
    widest = {"native": 2 ** (1 / 8) - 1, "classic": 1.0}[form]
    expected = pytest.approx(exact, rel=widest)
    settles(prometheus, "workflow:run_duration_seconds:p95_rate5m", expected)


@pytest.mark.parts
def test_only_the_form_that_was_asked_for_is_there(prometheus, form):
    classic = prometheus.series("workflow_run_duration_seconds_bucket")
    native = prometheus.ask("query", query="workflow_run_duration_seconds")["result"]

    assert (bool(classic), bool(native)) == (form == "classic", form == "native")
    assert all("histogram" in series for series in native)


@pytest.mark.parts
def test_every_panel_is_answered_without_a_word_of_warning(prometheus, form):
    (text,) = child(rendered(form), "ConfigMap")["data"].values()
    rows = json.loads(text)["panels"]
    panels = [panel for row in rows for panel in (row, *row.get("panels", ()))]
    targets = {t["expr"] for panel in panels for t in panel.get("targets", ())}
    # The usual most of the mean wants days.
    durations = [e for e in targets if "run_duration_seconds" in e and "14d" not in e]
    assert len(durations) >= 4

    for expr in targets:
        query = expr.replace("$__rate_interval", "1m").replace("$__range", "5m")
        query = query.replace("$job", ".+").replace("$instance", ".+")
        parameters = urllib.parse.urlencode({"query": query})
        url = f"{prometheus.url}/api/v1/query?{parameters}"
        if expr in durations:
            # Each group of rules begins at an offset of its own within its interval.
            waiting.wait_for(lambda url=url: fetch.json_of(url)["data"]["result"], 90, query)
        answer = fetch.json_of(url)
        assert answer["status"] == "success"
        assert answer.get("warnings", []) == [], query


def observed(url, made):
    async def look():
        async with Prometheus(url) as asking:
            return await asking.observe([made])

    return asyncio.run(look())


@pytest.mark.parts
def test_a_window_beyond_the_default_retention_is_a_remark_of_loaded(prometheus, form):
    made = rendered(form)

    seen = waiting.wait_for(
        lambda: (s := observed(prometheus.url, made)).revisions and s, 30, "the revision"
    )

    assert (seen.error, seen.retention) == ("", 15 * 86400)
    verdict = verify.loaded(made, SHOP, seen)
    assert (verdict.state, verdict.reason) == (True, "RetentionTooShort")
    assert "keeps data for 15d only" in verdict.message
    assert "success (30d)" in verdict.message
    assert "fast" not in verdict.message


@contextmanager
def layer_above(url):
    """What passes queries on to a Prometheus and does not know how long it keeps data."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._pass_on(None)

        def do_POST(self):
            self._pass_on(self.rfile.read(int(self.headers["Content-Length"])))

        def _pass_on(self, body):
            if "/status/" in self.path:
                self.send_error(404)
                return
            with urllib.request.urlopen(url + self.path, body, timeout=10) as answer:
                content = answer.read()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.mark.parts
def test_a_layer_above_that_does_not_know_the_retention_is_no_reason_for_a_remark(prometheus, form):
    made = rendered(form)

    with layer_above(prometheus.url) as url:
        seen = waiting.wait_for(lambda: (s := observed(url, made)).revisions and s, 30, "a look")

    assert (seen.error, seen.retention) == ("", None)
    assert verify.loaded(made, SHOP, seen).reason == "Loaded"


@pytest.mark.e2e
def test_the_operator_has_native_histograms_scraped_and_says_what_there_is_to_know(native_orders):
    operator, namespace = native_orders.operator, native_orders.namespace
    latency = {"threshold": "3s", "rounding": "None"}
    native_orders.monitor(
        scrape={"interval": "1s", "nativeHistograms": True},
        slos=[{"name": "fast", "objective": 80, "window": "30d", "latency": latency}],
    )

    ready = operator.wait_condition("Ready", "True", namespace, timeout=60)

    owner = f'namespace="{namespace}",monitored_workflow="orders"'
    (series, *_) = operator.cluster.prometheus_query(f"workflow_run_duration_seconds{{{owner}}}")
    assert "histogram" in series
    assert (
        operator.cluster.prometheus_query(f"workflow_run_duration_seconds_bucket{{{owner}}}") == []
    )
    accepted, loaded = (operator.condition(kind, namespace) for kind in ("Accepted", "Loaded"))
    assert accepted["reason"] == "AlertUnreachable"
    assert accepted["message"].startswith(
        "spec.slos[0].objective: at 80 % the page alert can never"
    )
    # What Prometheus Operator sets where nobody says otherwise is one day.
    assert (loaded["status"], loaded["reason"]) == ("True", "RetentionTooShort")
    assert "keeps data for 1d only" in loaded["message"]
    assert ready["message"].endswith("Accepted, Loaded have more to say")
    current = operator.wait(
        lambda: operator.status(namespace)["slos"][0].get("current"), "a figure", 60
    )
    assert current == 100
