"""A real Prometheus scrapes a real program: what odd names and label values become, exemplars, and the overflow.

In each format that Prometheus may ask for, over the library's own endpoint.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import time

import pytest

from rig import fetch, lone, waiting

pytestmark = pytest.mark.parts

# What is recorded, and what Prometheus must know it as. What is no text becomes a question mark.
VALUES = {
    "plain": "plain",
    'say "hi"': 'say "hi"',
    "it's": "it's",
    "`tick`": "`tick`",
    "back\\slash": "back\\slash",
    "ends with \\": "ends with \\",
    '\\"': '\\"',
    "line\nbreak\n": "line\nbreak\n",
    "no line\\nbreak": "no line\\nbreak",
    "tab\t, return\r\n": "tab\t, return\r\n",
    "100 % of %s and %d": "100 % of %s and %d",
    '{a="b",c="d"} 5': '{a="b",c="d"} 5',
    "# TYPE x counter": "# TYPE x counter",
    "# EOF": "# EOF",
    "  spaces  ": "  spaces  ",
    "\x7f\x1b[31m\x01": "\x7f\x1b[31m\x01",
    "a\x00b": "a\x00b",
    "\u2028\x85": "\u2028\x85",
    "ünïcödé 漢字 🙂 \U0010ffff": "ünïcödé 漢字 🙂 \U0010ffff",
    "caf\udce9 \udcff\udc80": "caf? ??",
    "\ud83d alone": "? alone",
    "x" * 5000: "x" * 5000,
    "": None,
}

PROGRAM = """
import json, sys, time
import flowgauge
from flowgauge import records

values = json.load(sys.stdin)
help_text = 'Of "things", back\\\\slash,\\nnew line, 100 %s'
counter = flowgauge.counter("odd_total", help_text, labels=["text"])
gauge = flowgauge.gauge("odd_level", help_text, labels=["text"])
histogram = flowgauge.histogram("odd_seconds", help_text, labels=["text"], buckets=[0.5, 2.5e6])
summary = flowgauge.summary("odd_size", help_text, labels=["text"], quantiles=[0.5])
numbers = flowgauge.gauge("numbers", labels=["n"])
many = flowgauge.counter("many_total", labels=["id"])
handle = flowgauge.setup_observability(host="127.0.0.1", port=0, exemplars=True)
tracer = flowgauge.SimpleTracer()

with flowgauge.trace_context(tracer, "traced") as span:
    with flowgauge.run("traced"):
        pass
for i, value in enumerate(values):
    counter.inc(i + 1, text=value)
    gauge.set(-i, text=value)
    histogram.observe(i, text=value)
    summary.observe(i, text=value)
    with flowgauge.run(value or "no name"), flowgauge.stepping(value):
        pass
    records.run_finished("told", 0.1, "failed", error=value or "Error", started=False)
for i, number in enumerate((float("nan"), float("inf"), float("-inf"), 1e16, 1.5e20, 1e6, 5e-324, -0.0, 123456789.5)):
    numbers.set(number, n=i)
for i in range(1500):
    many.inc(id=i)
for i in range(700):
    with flowgauge.run(f"made-of-data-{i}"):
        pass
histogram.labels("large").observe(3e6)
print(json.dumps({"address": handle.address, "trace_id": span.trace_id, "span_id": span.span_id}), flush=True)
time.sleep(600)
"""


class Scraped:
    """A program and the Prometheus that scrapes it."""

    def __init__(self, prometheus, told, protocol):
        self.prometheus = prometheus
        self.told = told
        self.protocol = protocol

    def by(self, query, label):
        """The values of the series of a query by one of their labels."""
        found = self.prometheus.series(query)
        made = {labels.get(label): value for labels, value in found}
        assert len(made) == len(found), f"{label} does not tell the series of {query} apart"
        return made


@pytest.fixture(
    scope="module", params=["PrometheusText0.0.4", "OpenMetricsText1.0.0", "PrometheusProto"]
)
def scraped(request):
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        program.stdin.write(json.dumps([*VALUES]))
        program.stdin.close()
        told = json.loads(program.stdout.readline())
        port = int(re.search(r":(\d+)/", told["address"])[1])
        job = f"scrape_protocols: [{request.param}]"
        with lone.prometheus(port, job=job, interval="2s") as prometheus:
            prometheus.wait_series("flowgauge_library_info")
            yield Scraped(prometheus, told, request.param)
    finally:
        program.kill()
        program.wait(10)
        program.stdout.close()


def test_the_scrape_is_whole_and_in_the_format_that_was_asked_for(scraped):
    scraped.prometheus.wait_healthy()

    refused = re.findall(
        r"^prometheus_target_scrapes_(?:sample|exceeded|exemplar)\w+ ([1-9]\d*)$",
        fetch.text(f"{scraped.prometheus.url}/metrics"),
        re.MULTILINE,
    )
    assert refused == []


@pytest.mark.parametrize(
    "metric", ["odd_total", "odd_level", "odd_seconds_count", "odd_size_count"]
)
def test_every_label_value_is_read_back_as_it_was(scraped, metric):
    found = scraped.by(f"{metric}", "text")

    expected = {
        "odd_total": lambda i: float(i + 1),
        "odd_level": lambda i: float(-i),
        "odd_seconds_count": lambda _: 1.0,
        "odd_size_count": lambda _: 1.0,
    }[metric]
    for i, read in enumerate(VALUES.values()):
        assert found[read] == expected(i), f"value {i}, {read!r}"


def test_every_label_value_can_be_asked_for(scraped):
    for i, read in enumerate(VALUES.values()):
        if read is not None:
            # As Go reads it, each byte by itself.
            quoted = "".join(f"\\x{byte:02x}" for byte in read.encode())
            ((_, value),) = scraped.prometheus.series(f'odd_total{{text="{quoted}"}}')
            assert value == i + 1


def test_every_name_of_a_workflow_a_step_and_an_error_is_read_back_as_it_was(scraped):
    workflows = scraped.by('workflow_runs_total{status="success"}', "workflow")
    steps = scraped.by('workflow_steps_total{status="success"}', "step")
    errors = scraped.by('workflow_run_errors_total{workflow="told"}', "type")

    for read in VALUES.values():
        assert workflows["no name" if read is None else read] == 1.0
        assert errors["Error" if read is None else read] == 1.0
        assert steps[read] == 1.0


def test_every_number_is_read_back_as_it_was(scraped):
    found = scraped.by("numbers", "n")

    assert math.isnan(found.pop("0"))
    expected = (math.inf, -math.inf, 1e16, 1.5e20, 1e6, 5e-324, -0.0, 123456789.5)
    assert [repr(found[f"{i + 1}"]) for i in range(len(expected))] == [repr(v) for v in expected]


def test_buckets_are_where_they_belong(scraped):
    found = scraped.by('odd_seconds_bucket{text="large"}', "le")
    assert {float(bound): value for bound, value in found.items()} == {
        0.5: 0.0,
        2.5e6: 0.0,
        math.inf: 1.0,
    }


def test_what_is_too_many_is_in_one_series_and_told(scraped):
    many = scraped.by("many_total", "id")
    assert (len(many), many["other"], sum(many.values())) == (1001, 500.0, 1500.0)

    runs = scraped.by('workflow_runs_total{status="success"}', "workflow")
    assert len(runs) <= 501
    assert sum(runs.values()) == len(VALUES) + 700 + 1
    ((_, dropped),) = scraped.prometheus.series("flowgauge_series_dropped_total")
    assert dropped > 500 + 150


def test_help_and_type_are_told(scraped):
    metadata = scraped.prometheus.ask("metadata")

    kinds = {"odd_level": "gauge", "odd_seconds": "histogram", "odd_size": "summary"}
    for name, kind in kinds.items():
        (told,) = metadata[name]
        assert (told["type"], told["help"]) == (
            kind,
            'Of "things", back\\slash,\nnew line, 100 %s',
        )


def test_an_exemplar_leads_to_its_trace(scraped):
    def ask():
        now = time.time()
        found = scraped.prometheus.ask(
            "query_exemplars",
            query='workflow_run_duration_seconds_bucket{workflow="traced"}',
            start=now - 600,
            end=now + 60,
        )
        return [exemplar for series in found for exemplar in series["exemplars"]]

    if scraped.protocol == "PrometheusText0.0.4":
        assert ask() == []  # the plain format has none
        return
    (exemplar,) = waiting.wait_for(ask, 15, "an exemplar")
    assert exemplar["labels"] == {
        "trace_id": scraped.told["trace_id"],
        "span_id": scraped.told["span_id"],
    }
    assert 0 <= float(exemplar["value"]) < 60
    assert exemplar["timestamp"] == pytest.approx(time.time(), abs=120)
