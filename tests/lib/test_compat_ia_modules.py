"""IA Modules' module: the programs of its users, then the exporter for Prometheus, which is made for them."""

import json
import os
import re
import socket
import textwrap
import threading
import urllib.request
import zlib
from pathlib import Path

import pytest
from programs import Page, free_port, get, programs, receiver, run, started

from flowgauge.compat import ia_modules
from flowgauge.compat.ia_modules import MetricsCollector, PrometheusExporter

PROGRAMS = programs("ia_modules")

COLLECTOR = "from flowgauge.compat.ia_modules import *\ncollector = MetricsCollector()\n"
TRACER = "from flowgauge.compat.ia_modules import *\ntracer = SimpleTracer()\n"
BAD_BUCKETS = """\
duration = collector.histogram(
    "request_duration_seconds",
    buckets=[0.001, 0.002, 0.003, ...]  # Too many buckets
)
"""

# What comes before an excerpt, and what must be so after it.
EXCERPTS = {
    "tracing": (
        "results = []\nasync def transform(item): return item\n",
        """
        from types import SimpleNamespace
        await process_data([SimpleNamespace(id=i) for i in range(2)])
        spans = tracer.get_spans()
        assert [s.name for s in spans] == ["process_data", "process_item", "process_item"]
        assert {s.trace_id for s in spans} == {spans[0].trace_id}
        assert [s.attributes.get("item_id") for s in spans] == [None, 0, 1]
        events = [(e.name, dict(e.attributes)) for e in spans[1].events]
        assert events == [("transformed", {"status": "ok"})]
        """,
    ),
    "counter": (COLLECTOR, "assert current == 1"),
    "gauge": (COLLECTOR, "assert connections.get() == 42"),
    "histogram": (
        COLLECTOR,
        """
        users = duration.get(endpoint="/api/users")
        assert users.bounds == (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
        assert users.counts == [0, 0, 0, 1, 0, 0, 0, 0] and users.sum == 0.125
        """,
    ),
    "summary": (
        COLLECTOR,
        """
        told = latency.get(service="api")
        assert told.count == 1
        assert [q for q, _ in told.quantiles] == [0.5, 0.9, 0.95, 0.99]
        assert all(abs(value - 0.075) < 0.001 for _, value in told.quantiles)
        """,
    ),
    "threads": (COLLECTOR, "assert counter.get() == 100"),
    "simple tracer": (
        "",
        """
        assert [s.name for s in spans] == ["fetch_user"]
        assert spans[0].attributes == {"user_id": 123} and spans[0].status == "ok"
        assert [e.name for e in spans[0].events] == ["database_query", "cache_update"]
        """,
    ),
    "opentelemetry": (
        "",
        """
        [ended] = tracer.get_spans()
        assert ended.name == "process_batch" and ended.attributes["batch_size"] == 1000
        """,
    ),
    "traced functions": (
        f"{TRACER}async def process(data): return data\ndef compute(): return 7\n",
        """
        assert await expensive_operation(5) == 5 and sync_operation() == 7
        names = [s.name for s in tracer.get_spans()]
        assert names == ["expensive_operation", "sync_operation"]
        """,
    ),
    "traced block": (
        f"{TRACER}from unittest.mock import Mock\ndb, record = Mock(), object()\n",
        """
        [ended] = tracer.get_spans()
        assert ended.status == "ok" and ended.duration >= 0
        assert [e.name for e in ended.events] == ["record_inserted", "committed"]
        """,
    ),
    "dashboard": (
        "",
        """
        pipeline_counter.inc(name="a", status="success")
        exporter.export(collector.collect_all())
        text = exporter.get_metrics_text()
        assert 'pipeline_executions{name="a",status="success"} 1.0' in text.splitlines()
        """,
    ),
    "types": (
        f"""{COLLECTOR}
errors, active_users = collector.counter("errors_total"), collector.gauge("active_users")
duration = collector.histogram("duration_seconds")
""",
        "assert (errors.get(), active_users.get(), duration.get().count) == (1, 42, 1)",
    ),
    "context": (
        f"{TRACER}items, size = [1, 2], 3\n",
        """
        [ended] = tracer.get_spans()
        assert ended.attributes == {"batch_size": 2, "source": "s3"}
        assert [dict(e.attributes) for e in ended.events] == [{"bytes": 3}, {}]
        """,
    ),
    "prefix": (
        COLLECTOR,
        """
        collector.counter("requests_total").inc()
        exporter.export(collector.collect_all())
        assert "myapp_requests_total 1.0" in exporter.get_metrics_text().splitlines()
        """,
    ),
    "regular export": (
        f'{COLLECTOR}exporter = PrometheusExporter()\ncollector.counter("requests_total").inc()\n',
        """
        until = time.monotonic() + 10
        while "requests_total 1.0" not in exporter.get_metrics_text():
            assert time.monotonic() < until
            time.sleep(0.01)
        """,
    ),
    "sampling": (
        f"{TRACER}from types import SimpleNamespace\n",
        """
        random.seed(1)
        for i in range(1000):
            process_item(SimpleNamespace(id=i))
        assert 2 <= len(tracer.get_spans()) <= 25
        """,
    ),
    "clean up": (
        f"{TRACER}statsd_exporter = StatsDExporter()\ntracer.end_span(tracer.start_span('a'))\n",
        "assert tracer.get_spans() == []",
    ),
}
OTHERS = {
    "buckets",
    "cardinality",
    "cloudwatch",
    "complete",
    "datadog",
    "export errors",
    "labels",
    "prometheus",
    "quick start",
    "statsd",
    "traced error",
}


def test_the_tests_are_about_all_programs():
    assert {*EXCERPTS, *OTHERS} == {*PROGRAMS}
    source = Path(__file__).read_text(encoding="utf-8")
    assert [program for program in OTHERS if f'PROGRAMS["{program}"]' not in source] == []


@pytest.mark.parametrize("program", EXCERPTS)
def test_an_excerpt_does_what_it_says(program):
    before, after = EXCERPTS[program]
    run(PROGRAMS[program], before=before, after=after)


def test_the_quick_start_prints_metrics_with_their_prefix():
    out = Page(run(PROGRAMS["quick start"]))

    assert out.lines[:3] == [
        "# HELP myapp_pipeline_executions_total Total pipeline executions",
        "# TYPE myapp_pipeline_executions_total counter",
        'myapp_pipeline_executions_total{pipeline_name="data_processor",status="success"} 1.0',
    ]
    assert "# HELP myapp_pipeline_duration_seconds Pipeline execution duration" in out.lines
    assert "# TYPE myapp_pipeline_duration_seconds histogram" in out.lines
    labels = {"pipeline_name": "data_processor"}
    assert out.value("myapp_pipeline_duration_seconds_sum", **labels) == 1.25
    assert out.value("myapp_pipeline_duration_seconds_bucket", le="2.5", **labels) == 1
    assert out.value("myapp_pipeline_duration_seconds_bucket", le="1.0", **labels) == 0


def test_the_complete_example_prints_metrics_and_spans():
    out = run(
        PROGRAMS["complete"],
        before="""
            import time
            from types import SimpleNamespace
            items = [SimpleNamespace(id=i) for i in range(3)]
            async def process_item(item): await asyncio.sleep(0.01)
        """,
    )
    text, spans = re.fullmatch(r"(#.*?\n)(\w+: .*)", out, re.DOTALL).groups()
    page = Page(text)

    labels = {"pipeline": "data_processor"}
    assert page.value("pipeline_executions_total", status="success", **labels) == 1
    assert page.value("pipeline_items_total", **labels) == 3
    assert page.value("pipeline_duration_seconds_count", **labels) == 1
    assert re.sub(r"\d\.\d{3}s", "0s", spans).splitlines() == [
        "run_pipeline: 0s - ok",
        "pipeline_execution: 0s - ok",
        *["process_item: 0s - ok"] * 3,
    ]


def test_an_error_in_a_traced_block_goes_on_and_is_told():
    before = f"""{TRACER}
class Api:
    async def call(self): raise ConnectionError("refused")
api = Api()
async def program():
"""
    after = """
try:
    await program()
except ConnectionError as error:
    print(error)
[ended] = tracer.get_spans()
print(ended.status, [e.name for e in ended.events])
"""

    out = run(textwrap.indent(PROGRAMS["traced error"], "    "), before=before, after=after)

    assert out.splitlines() == ["refused", "error ['exception']"]


def test_good_buckets_are_taken():
    run(
        PROGRAMS["buckets"],
        changes=[(BAD_BUCKETS, "")],
        before=COLLECTOR,
        after="assert duration.buckets == (0.01, 0.05, 0.1, 0.5, 1.0, 5.0)",
    )


def test_bad_labels_are_logged_and_good_ones_counted():
    before = f'{COLLECTOR}requests = collector.counter("r_total", labels={{}})\n'

    run(
        PROGRAMS["labels"],
        before=before.replace("{}", '["method", "endpoint", "status"]'),
        after='assert requests.get(method="GET", endpoint="/users", status="200") == 1',
        logged=r"r_total has the labels \['method', 'endpoint', 'status'\], and was used with .*",
    )
    run(
        PROGRAMS["cardinality"],
        before=before.replace("{}", '["status"]'),
        after='assert requests.get(status="200") == 1',
        logged=r"r_total has the labels \['status'\], and was used with \['user_id'\].*",
    )


def test_the_programs_own_server_may_have_the_port_of_the_exporter():
    port = free_port()
    before = f'{COLLECTOR}collector.counter("requests_total").inc()\n'

    with started(PROGRAMS["prometheus"], changes=[("9090", str(port))], before=before):
        page = get(f"http://127.0.0.1:{port}/metrics")

    assert page == (
        "# HELP myapp_requests_total \n# TYPE myapp_requests_total counter\nmyapp_requests_total 1.0\n"
    )


def test_statsd_gets_datagrams():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)
        port = server.getsockname()[1]
        run(
            PROGRAMS["statsd"],
            changes=[("8125", str(port)), ("localhost", "127.0.0.1")],
            before=f'{COLLECTOR}collector.counter("requests_total").inc(3)\n',
        )
        assert server.recv(2000) == b"myapp.requests_total:3|c"


def test_datadog_gets_a_series():
    with receiver() as (port, bodies):
        run(
            PROGRAMS["datadog"],
            changes=[('prefix="myapp"', f'prefix="myapp", api_host="http://127.0.0.1:{port}"')],
            before=f'{COLLECTOR}collector.counter("requests_total").inc(3)\n',
        )

    [(path, body)] = bodies
    [series] = json.loads(zlib.decompress(body))["series"]
    assert path.startswith("/api/v1/series")
    assert series["metric"] == "myapp.requests_total"
    assert [value for _, value in series["points"]] == [3]


def test_cloudwatch_gets_a_metric():
    with receiver() as (port, bodies):
        run(
            PROGRAMS["cloudwatch"],
            before=f'{COLLECTOR}collector.counter("requests_total").inc(3)\n',
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}",
            AWS_ACCESS_KEY_ID="key",
            AWS_SECRET_ACCESS_KEY="secret",
            PYTHONWARNINGS="ignore",
        )

    text = b"".join(body for _, body in bodies)
    if text[:2] == b"\x1f\x8b":
        text = zlib.decompress(text, wbits=31)
    assert b"MyApplication" in text
    assert b"requests_total" in text


def test_an_export_that_fails_is_an_exception_that_says_where():
    out = run(
        PROGRAMS["export errors"],
        before=f"""{COLLECTOR}
from types import SimpleNamespace
logger = SimpleNamespace(error=print)
exporter = StatsDExporter(host="256.256.256.256")
collector.counter("requests_total").inc()
""",
    )

    assert re.match(
        r"Failed to export metrics: StatsDExporter cannot send to 256\.256\.256\.256:8125", out
    )


def test_every_name_of_the_module_is_there():
    assert [name for name in ia_modules.__all__ if not callable(getattr(ia_modules, name))] == []
    assert set(ia_modules.__all__) <= set(dir(ia_modules))
    with pytest.raises(AttributeError, match="has no attribute 'PipelineTelemetry'"):
        _ = ia_modules.PipelineTelemetry


# The exporter


@pytest.fixture
def collector():
    made = MetricsCollector()
    made.counter("requests_total", "Requests.", labels=["path"]).inc(path="/a")
    return made


def read(exporter, accept="text/plain"):
    request = urllib.request.Request(
        f"http://127.0.0.1:{exporter.port}/metrics", headers={"Accept": accept}
    )
    with urllib.request.urlopen(request, timeout=5) as response:
        return response.read().decode()


def test_the_text_is_that_of_the_last_export(collector):
    exporter = PrometheusExporter()
    assert exporter.get_metrics_text() == ""

    exporter.export(collector.collect_all())
    collector.counter("requests_total", "Requests.", labels=["path"]).inc(path="/a")

    assert exporter.get_metrics_text().splitlines()[-1] == 'requests_total{path="/a"} 1.0'
    exporter.export(collector.collect_all())
    assert exporter.get_metrics_text().splitlines()[-1] == 'requests_total{path="/a"} 2.0'


def test_families_that_share_a_name_become_one(collector):
    other = MetricsCollector()
    other.counter("requests_total", "Requests.", labels=["path", "code"]).inc(path="/b", code=200)
    exporter = PrometheusExporter("myapp_")

    exporter.export([*collector.collect_all(), *other.collect_all()])

    assert exporter.get_metrics_text().splitlines() == [
        "# HELP myapp_requests_total Requests.",
        "# TYPE myapp_requests_total counter",
        'myapp_requests_total{path="/a"} 1.0',
        'myapp_requests_total{code="200",path="/b"} 1.0',
    ]


def test_it_serves_the_last_export_or_a_collector_as_it_is_now(collector):
    requests = collector.counter("requests_total", "Requests.", labels=["path"])
    with PrometheusExporter(port=0, host="127.0.0.1").start() as exporter:
        exporter.export(collector.collect_all())
        requests.inc(path="/a")
        assert 'requests_total{path="/a"} 1.0' in read(exporter)
        assert read(exporter, "application/openmetrics-text").endswith("# EOF\n")
        with pytest.raises(RuntimeError, match=f"serves port {exporter.port} already"):
            exporter.start()
    with PrometheusExporter(port=0, host="127.0.0.1").start(collector) as exporter:
        assert 'requests_total{path="/a"} 2.0' in read(exporter)
        requests.inc(path="/a")
        assert 'requests_total{path="/a"} 3.0' in read(exporter)
    exporter.close()
    with pytest.raises(OSError):
        read(exporter)


def test_an_address_that_is_taken_is_an_error_and_may_be_tried_again():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        exporter = PrometheusExporter(port=other.getsockname()[1], host="127.0.0.1")
        with pytest.raises(OSError):
            exporter.start()
    exporter.start().close()


@pytest.mark.parametrize("prefix", ["my-app", "9lives", "caf\u00e9", "a b"])
def test_a_prefix_that_makes_no_names_is_refused(prefix):
    with pytest.raises(ValueError, match=r"prefix is .*, must be letters, digits and _"):
        PrometheusExporter(prefix=prefix)


@pytest.mark.parametrize("port", [-1, 65536, "9090"])
def test_a_port_that_is_none_is_refused(port):
    with pytest.raises(ValueError, match=r"port is .*, must be a number from 0 to 65535"):
        PrometheusExporter(port=port)


def test_threads_may_export_and_read_at_the_same_time(collector):
    requests = collector.counter("requests_total", "Requests.", labels=["path"])
    exporter = PrometheusExporter()
    exporter.export(collector.collect_all())
    pages = []

    def work(number):
        for _ in range(100):
            requests.inc(path=f"/{number}")
            exporter.export(collector.collect_all())
            pages.append(exporter.get_metrics_text())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    exporter.export(collector.collect_all())
    last = Page(exporter.get_metrics_text())
    assert [last.value("requests_total", path=f"/{number}") for number in range(4)] == [100] * 4
    assert len(pages) == 400
    assert all(Page(page).value("requests_total", path="/a") == 1 for page in pages[::50])


def test_a_forked_child_leaves_the_endpoint_to_its_parent(collector):
    with PrometheusExporter(port=0, host="127.0.0.1").start(collector) as exporter:
        child = os.fork()
        if not child:
            try:
                exporter.start(collector)
                assert 'requests_total{path="/a"} 0.0' in read(exporter)
                exporter.close()
                exporter.export(collector.collect_all())
                # What the parent counted is the parent's.
                os._exit(0 if 'requests_total{path="/a"} 0.0' in exporter.get_metrics_text() else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        assert 'requests_total{path="/a"} 1.0' in read(exporter)
