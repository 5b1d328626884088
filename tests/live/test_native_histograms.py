"""A real Prometheus scrapes our protobuf: native histograms, classic ones beside them, and everything else."""

from __future__ import annotations

import math
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flowgauge import exponentials, protobuf
from flowgauge.metrics import Distribution, Exemplar, Exponential, MetricFamily, Quantiles
from flowgauge.sketch import Sketch
from rig import fetch, lone, waiting

ODD = 'a "quote", a \\ backslash,\na line; ü 漢字 🙂'
QUANTILES = (0.5, 0.9, 0.99)
BOUNDS = (0.01, 0.1, 1.0)
REFUSALS = (
    "exceeded_native_histogram_bucket_limit",
    "exemplar_out_of_order",
    "sample_duplicate_timestamp",
    "sample_out_of_order",
)
pytestmark = pytest.mark.parts

JOB = "scrape_native_histograms: true\nalways_scrape_classic_histograms: true"


class Endpoint:
    """Serves the families that a test sets, in protobuf to who asks for it first."""

    def __init__(self):
        self.families = []
        self.scrapes = 0
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                first = self.headers.get("Accept", "").split(",")[0].replace(" ", "")
                if first.split(";q=")[0] != protobuf.CONTENT_TYPE.replace(" ", ""):
                    self.send_error(406, f"expected protobuf first, got {first}")
                    return
                body = protobuf.render(endpoint.families)
                self.send_response(200)
                self.send_header("Content-Type", protobuf.CONTENT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                endpoint.scrapes += 1

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def serve(self, *families):
        """Serve these from now on, and wait until they were scraped."""
        self.families = families
        before = self.scrapes
        # The first one may have begun before.
        waiting.wait_for(lambda: self.scrapes >= before + 2, 15, "two scrapes")


class Prometheus(lone.Prometheus):
    """Questions to a running Prometheus that scrapes the endpoint."""

    def __init__(self, url, endpoint):
        super().__init__(url)
        self.endpoint = endpoint

    def value(self, query):
        """The value of the one series; None where there is none yet."""
        found = self.series(query)
        assert len(found) <= 1, f"{query} gives {found}"
        return found[0][1] if found else None

    def wait_value(self, query, expected):
        """Wait for a value of the one series."""
        what = lambda: f"{query} to be {expected}; it is {self.series(query)}"  # noqa: E731
        waiting.wait_for(lambda: self.value(query) == expected, 30, what)


@pytest.fixture(scope="module")
def prometheus():
    endpoint = Endpoint()
    try:
        with lone.prometheus(endpoint.port, job=JOB) as running:
            yield Prometheus(running.url, endpoint)
    finally:
        endpoint.close()


@pytest.fixture(autouse=True)
def healthy(prometheus):
    """Every test ends with a target that Prometheus could read to the end, without a sample refused."""
    yield
    prometheus.wait_healthy()
    page = fetch.text(f"{prometheus.url}/metrics")
    refused = dict(_samples(page, "prometheus_target_scrapes_"))
    assert {f"prometheus_target_scrapes_{why}_total" for why in REFUSALS} <= refused.keys()
    assert not any(refused.values()), refused


def _samples(page, prefix):
    for line in page.splitlines():
        if line.startswith(prefix):
            name, _, value = line.rpartition(" ")
            yield name, float(value)


def observed(values, bounds=BOUNDS, marks=None, schema=5):
    """A histogram of `values`, classic and native."""
    store = Sketch(schema=schema)
    counts = [0] * (len(bounds) + 1)
    for value in values:
        store.observe(value)
        counts[next((i for i, b in enumerate(bounds) if value <= b), len(bounds))] += 1
    total = store.total()
    return Distribution(bounds, counts, total.sum, marks or {}, total.exponential)


def family(kind, *values, name, labels=(), keys=((),)):
    return MetricFamily(name, kind, f"{kind} of the test.", labels, list(keys), list(values))


@pytest.mark.parametrize("schema", [0, 3, 5, 8])
def test_quantiles_of_a_native_histogram_are_within_the_error_of_its_schema(prometheus, schema):
    rng = random.Random(schema)
    values = sorted(rng.lognormvariate(-3, 1.2) for _ in range(20_000))
    values[:3] = [0.0, 0.0, 0.0]
    name = f"exact_{schema}_seconds"
    whole = observed(values, schema=schema)

    prometheus.endpoint.serve(family("histogram", whole, name=name))

    prometheus.wait_value(f"histogram_count({name})", 20_000)
    assert prometheus.value(f"histogram_sum({name})") == whole.sum
    for q in QUANTILES:
        exact = values[int(q * (len(values) - 1))]
        # A bucket is as wide as its bounds are apart, and the value may stand at any point of it.
        found = prometheus.value(f"histogram_quantile({q}, {name})")
        assert found == pytest.approx(exact, rel=2 ** (1 / 2**schema) - 1), q


def test_every_bucket_arrives_where_it_belongs(prometheus):
    exponential = Exponential(1, 2.0**-40, 2, {-9: 1, -8: 300, -5: 4, 0: 1, 1: 7, 40: 2})
    name = "buckets_seconds"

    prometheus.endpoint.serve(
        family("histogram", Distribution((), [317], 1.0, exponential=exponential), name=name)
    )

    prometheus.wait_value(f"histogram_count({name})", 317)
    _, histogram = prometheus.ask("query", query=name)["result"][0]["histogram"]
    found = [(float(low), float(high), int(n)) for _, low, high, n in histogram["buckets"]]
    expected = [
        (exponentials.bound(i - 1, 1), exponentials.bound(i, 1), n)
        for i, n in exponential.counts.items()
    ]
    assert found[0] == (-(2.0**-40), 2.0**-40, 2)
    assert [(pytest.approx(low), pytest.approx(high), n) for low, high, n in expected] == found[1:]


def test_classic_buckets_stand_beside_the_native_ones(prometheus):
    name = "classic_seconds"
    whole = observed([0.005, 0.05, 0.05, 0.5, 5.0])

    prometheus.endpoint.serve(family("histogram", whole, name=name))

    prometheus.wait_value(f"{name}_count", 5)
    assert prometheus.value(f"{name}_sum") == whole.sum
    found = {labels["le"]: value for labels, value in prometheus.series(f"{name}_bucket")}
    assert found == {"0.01": 1, "0.1": 3, "1.0": 4, "+Inf": 5}
    assert prometheus.value(f"histogram_count({name})") == 5


def test_a_classic_histogram_stays_classic(prometheus):
    name = "only_classic_seconds"

    prometheus.endpoint.serve(
        family("histogram", Distribution((1.0, 2.0), [3, 4, 5], 21.0), name=name)
    )

    prometheus.wait_value(f"{name}_count", 12)
    assert prometheus.series(name) == []
    assert prometheus.value(f'{name}_bucket{{le="2.0"}}') == 7


def test_a_native_histogram_without_observations_is_one(prometheus):
    name = "empty_seconds"
    nothing = Distribution((), [0], 0.0, exponential=Exponential(5, 0.0, 0, {}))

    prometheus.endpoint.serve(family("histogram", nothing, name=name))

    prometheus.wait_value(f"histogram_count({name})", 0)
    assert math.isnan(prometheus.value(f"histogram_quantile(0.5, {name})"))


def test_a_native_histogram_that_began_anew_is_a_reset(prometheus):
    name = "reset_seconds"
    prometheus.endpoint.serve(family("histogram", observed([0.1] * 100), name=name))
    prometheus.wait_value(f"histogram_count({name})", 100)

    prometheus.endpoint.serve(family("histogram", observed([0.1] * 5), name=name))

    prometheus.wait_value(f"histogram_count({name})", 5)
    assert prometheus.value(f"resets({name}[5m])") == 1
    # 5 after the reset; extrapolation may make a little more of it, but never the 95 that went.
    assert 5 <= prometheus.value(f"histogram_count(increase({name}[5m]))") < 50


def test_histograms_of_several_schemas_add_up(prometheus):
    name = "mixed_seconds"
    fine, coarse = observed([0.1, 0.2, 0.4]), observed([0.8, 1.6], schema=2)

    prometheus.endpoint.serve(
        family("histogram", fine, coarse, name=name, labels=("pod",), keys=[("a",), ("b",)])
    )

    prometheus.wait_value(f"histogram_count(sum({name}))", 5)
    assert prometheus.value(f"histogram_sum(sum({name}))") == pytest.approx(3.1)


def test_labels_arrive_as_they_are(prometheus):
    prometheus.endpoint.serve(
        family(
            "histogram",
            observed([1.0]),
            name="odd_seconds",
            labels=("workflow", "empty"),
            keys=[(ODD, "")],
        )
    )

    prometheus.wait_value("histogram_count(odd_seconds)", 1)
    for query in ("odd_seconds_count", "histogram_count(odd_seconds)"):
        ((labels, _),) = prometheus.series(query)
        assert labels["workflow"] == ODD
        assert "empty" not in labels


def test_every_other_kind_arrives(prometheus):
    prometheus.endpoint.serve(
        family("counter", 1e15, name="things_total"),
        family("gauge", -2.5, name="level"),
        family("unknown", 7.0, name="whatever"),
        family("info", 1.0, name="build_info", labels=("version",), keys=[("1.2",)]),
        family("summary", Quantiles(3, 4.5, ((0.5, 1.5), (0.99, math.nan))), name="wait_seconds"),
        family("gauge", 1.0, name="shared", labels=("a",), keys=[("x",)]),
        family("gauge", 2.0, name="shared", labels=("b",), keys=[("y",)]),
        # Once more; Prometheus would count a duplicate, which every test looks at.
        family("gauge", 9.0, name="shared", labels=("a",), keys=[("x",)]),
    )

    prometheus.wait_value("things_total", 1e15)
    assert prometheus.value("level") == -2.5
    assert prometheus.value("whatever") == 7.0
    assert prometheus.value('build_info{version="1.2"}') == 1.0
    assert (prometheus.value("wait_seconds_count"), prometheus.value("wait_seconds_sum")) == (
        3,
        4.5,
    )
    assert prometheus.value('wait_seconds{quantile="0.5"}') == 1.5
    assert math.isnan(prometheus.value('wait_seconds{quantile="0.99"}'))
    assert (prometheus.value('shared{a="x"}'), prometheus.value('shared{b="y"}')) == (1.0, 2.0)
    kinds = {name: entry[0]["type"] for name, entry in prometheus.ask("metadata").items()}
    names = ("things_total", "level", "whatever", "build_info", "wait_seconds")
    assert [kinds[n] for n in names] == ["counter", "gauge", "unknown", "gauge", "summary"]


@pytest.mark.parametrize("is_native", [True, False])
def test_exemplars_lead_to_their_traces(prometheus, is_native):
    now = time.time()
    name = f"traced_{'native' if is_native else 'classic'}_seconds"
    marks = {
        1: Exemplar((("trace_id", "0123456789abcdef0123456789abcdef"),), 0.05, now - 2),
        3: Exemplar((("trace_id", ODD),), 7.0, now - 1),
    }
    whole = observed([0.05, 7.0], marks=marks)
    if not is_native:
        whole = whole._replace(exponential=None)

    prometheus.endpoint.serve(family("histogram", whole, name=name))

    def ask():
        found = prometheus.ask(
            "query_exemplars",
            query=f"{name}_bucket" if not is_native else name,
            start=now - 60,
            end=now + 60,
        )
        return [exemplar for series in found for exemplar in series["exemplars"]]

    found = waiting.wait_for(lambda: len(ask()) >= 2 and ask(), 10, "two exemplars")
    got = sorted((float(e["value"]), e["labels"]["trace_id"], e["timestamp"]) for e in found)
    assert got == [
        (0.05, marks[1].labels[0][1], pytest.approx(now - 2, abs=0.002)),
        (7.0, ODD, pytest.approx(now - 1, abs=0.002)),
    ]
