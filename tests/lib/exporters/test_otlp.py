import gzip
import math
import os
import ssl
import threading
import time
from collections import Counter
from email.utils import formatdate
from pathlib import Path

import pytest
import receivers
from forked import in_child
from hypothesis import assume, given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    ExponentialHistogramDataPoint,
)
from receivers import counter, family, gauge, histogram, summary

from flowgauge.exporters import ExportError, OtlpExporter, otlp, otlp_messages
from flowgauge.metrics import Distribution, Exemplar, Exponential, MetricFamily

PROTOBUF = {"Content-Type": "application/x-protobuf"}
TAKEN = (200, PROTOBUF, ExportMetricsServiceResponse().SerializeToString())


@pytest.fixture
def exporter(http):
    http.default = TAKEN
    with OtlpExporter(f"{http.address}/v1/metrics", service_name="shop") as exporter:
        yield exporter


def message(request):
    return ExportMetricsServiceRequest.FromString(gzip.decompress(request.body))


def metrics_of(*requests):
    return [
        metric
        for request in requests
        for resource in message(request).resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    ]


def exported(http, exporter, *families):
    """The metrics that one export sends."""
    before = len(http.requests)
    exporter.export(families)
    return metrics_of(*http.requests[before:])


def attributes(pairs):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def test_a_counter_is_a_cumulative_monotonic_sum(http, exporter):
    values = {("GET", ""): 3.0, ("PÜT", "x"): 0.5}
    (metric,) = exported(http, exporter, counter("requests_total", values, labels=("m", "n")))
    first, second = metric.sum.data_points

    assert (metric.name, metric.description, metric.unit) == ("requests_total", "Help.", "")
    assert metric.sum.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    assert metric.sum.is_monotonic
    assert (first.as_double, attributes(first.attributes)) == (3.0, {"m": "GET"})
    assert (second.as_double, attributes(second.attributes)) == (0.5, {"m": "PÜT", "n": "x"})


def test_the_same_count_is_sent_each_time(http, exporter):
    for _ in range(2):
        (metric,) = exported(http, exporter, counter("a", 5.0))
        assert metric.sum.data_points[0].as_double == 5.0


def test_gauges_infos_and_unknowns_are_gauges(http, exporter):
    metrics = exported(
        http,
        exporter,
        gauge("depth", {("a",): -2.5, ("b",): math.nan}, labels=("q",)),
        family("info", "build_info", {("1",): 1.0}, labels=("version",)),
        family("unknown", "thing", 0.0),
    )

    assert [metric.WhichOneof("data") for metric in metrics] == ["gauge"] * 3
    assert metrics[0].gauge.data_points[0].as_double == -2.5
    assert math.isnan(metrics[0].gauge.data_points[1].as_double)
    assert metrics[2].gauge.data_points[0].WhichOneof("value") == "as_double"


def test_a_histogram_keeps_its_buckets(http, exporter):
    (metric,) = exported(
        http, exporter, histogram("seconds", (0.1, 1.0), [5, 3, 2], 12.5, unit="seconds")
    )
    (point,) = metric.histogram.data_points

    assert metric.unit == "s"
    assert metric.histogram.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    assert (point.count, point.sum) == (10, 12.5)
    assert list(point.explicit_bounds) == [0.1, 1.0]
    assert list(point.bucket_counts) == [5, 3, 2]


def native(counts, *, schema=0, zero_threshold=0.0, zero_count=0, exemplars=None):
    exponential = Exponential(schema, zero_threshold, zero_count, counts)
    number = sum(counts.values()) + zero_count
    value = Distribution((), [number], 20.0, exemplars or {}, exponential)
    return MetricFamily("n", "histogram", "Help.", ("l",), [("v",)], [value])


def test_an_exponential_histogram_numbers_its_buckets_one_lower(http, exporter):
    """Ours with index 1 is (1, 2] at schema 0, which is OTLP's bucket 0."""
    (metric,) = exported(
        http, exporter, native({1: 4, 3: 2, -2: 1}, zero_threshold=0.001, zero_count=6)
    )
    (point,) = metric.exponential_histogram.data_points

    assert (
        metric.exponential_histogram.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    )
    assert (point.scale, point.zero_count, point.zero_threshold) == (0, 6, 0.001)
    assert (point.count, point.sum) == (13, 20.0)
    assert point.positive.offset == -3
    assert list(point.positive.bucket_counts) == [1, 0, 0, 4, 0, 2]
    assert attributes(point.attributes) == {"l": "v"}


@given(st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=30), st.integers(-2, 8))
def test_every_observation_lies_in_its_bucket_of_the_message(values, schema):
    counts = Counter(math.ceil(math.log2(value) * 2.0**schema) for value in values)
    family = native(counts, schema=schema)
    times = otlp_messages.Times(1, 2)
    data = otlp_messages._exponential(("v",), family, family.values[0], times)
    point = ExponentialHistogramDataPoint.FromString(data)
    # In logarithms; a float has room for one, not for 2**(2**-8) to the power of 250,000.
    width = 2.0**-point.scale
    places = [math.log2(value) / width for value in values]
    assume(all(abs(place - round(place)) > 1e-6 for place in places))

    expected = Counter(math.floor(place) - point.positive.offset for place in places)
    found = Counter(dict(enumerate(point.positive.bucket_counts)))

    assert +found == expected
    assert len(point.positive.bucket_counts) <= otlp_messages.DENSE_BUCKETS
    assert point.count == len(values)


def test_an_exponential_histogram_without_observations_is_sent(http, exporter):
    (metric,) = exported(http, exporter, native({}))
    (point,) = metric.exponential_histogram.data_points

    assert (point.count, list(point.positive.bucket_counts)) == (0, [])


def test_observations_that_are_far_apart_make_no_endless_list(http, exporter):
    (metric,) = exported(http, exporter, native({-200_000: 1, 200_000: 2}, schema=8))
    (point,) = metric.exponential_histogram.data_points

    assert len(point.positive.bucket_counts) <= 320
    assert point.scale < 0
    assert sum(point.positive.bucket_counts) == 3
    assert point.positive.bucket_counts[0] == 1
    assert point.positive.bucket_counts[-1] == 2


def test_a_summary_keeps_its_quantiles(http, exporter):
    quantiles = ((0.5, 0.4), (0.9, math.nan), (0.99, 0.0))
    (metric,) = exported(http, exporter, summary("latency", 4, 2.0, quantiles, unit="seconds"))
    (point,) = metric.summary.data_points

    assert (point.count, point.sum) == (4, 2.0)
    assert [(q.quantile, q.value) for q in point.quantile_values] == [(0.5, 0.4), (0.99, 0.0)]


def test_exemplars_carry_their_trace(http, exporter):
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    labels = (("trace_id", trace), ("span_id", span), ("user", "7"))
    exemplars = {
        0: Exemplar(labels, 0.05, 1700000000.5),
        1: Exemplar((("trace_id", "zz"),), 2.0, 1.0),
    }
    value = Distribution((1.0,), [1, 1], 2.05, exemplars)
    metrics = exported(
        http,
        exporter,
        MetricFamily("h", "histogram", "", (), [()], [value]),
        native({1: 1}, exemplars={1: exemplars[0]}),
    )
    first, second = metrics[0].histogram.data_points[0].exemplars

    assert first.trace_id.hex() == trace
    assert first.span_id.hex() == span
    assert (first.as_double, first.time_unix_nano) == (0.05, 1700000000500000000)
    assert attributes(first.filtered_attributes) == {"user": "7"}
    assert second.trace_id == b""
    assert attributes(second.filtered_attributes) == {"trace_id": "zz"}
    assert metrics[1].exponential_histogram.data_points[0].exemplars[0].trace_id.hex() == trace


def test_native_and_classic_histograms_of_one_name_are_two_metrics(http, exporter):
    values = [native({1: 1}).values[0], Distribution((1.0,), [1, 0], 0.5)]
    mixed = MetricFamily("h", "histogram", "", ("l",), [("a",), ("b",)], values)
    metrics = exported(http, exporter, mixed)

    assert sorted(metric.WhichOneof("data") for metric in metrics) == [
        "exponential_histogram",
        "histogram",
    ]


def test_the_process_is_described(http):
    http.default = TAKEN
    extra = {"zone": "a", "replica": 3, "canary": True, "weight": 0.5}
    with OtlpExporter(http.address, service_name="shop", attributes=extra) as exporter:
        exporter.export([gauge("a", 1.0)])
    (resource,) = message(http.requests[0]).resource_metrics
    found = attributes(resource.resource.attributes)

    assert len(found.pop("service.instance.id")) == 36
    assert found.pop("telemetry.sdk.version")
    assert found == {
        "service.name": "shop",
        "telemetry.sdk.name": "flowgauge",
        "telemetry.sdk.language": "python",
        "zone": "a",
        "replica": 3,
        "canary": True,
        "weight": 0.5,
    }
    assert resource.scope_metrics[0].scope.name == "flowgauge"


def identity(request):
    (resource,) = message(request).resource_metrics
    (metric,) = resource.scope_metrics[0].metrics
    point = metric.sum.data_points[0]
    return attributes(resource.resource.attributes)[
        "service.instance.id"
    ], point.start_time_unix_nano


def test_start_and_identity_stay_and_are_new_in_a_forked_child(http, exporter):
    exporter.export([counter("a", 1.0)])
    exporter.export([counter("a", 2.0)])
    forked = time.time_ns()

    def child():
        exporter.export([counter("a", 1.0)])
        return os.getpid()

    in_child(child)
    with OtlpExporter(http.address) as other:
        other.export([counter("a", 2.0)])
    first, second, of_child, of_other = map(identity, http.requests)

    assert first == second == of_other
    assert of_child[0] != first[0]
    # The kernel counts in hundredths of a second.
    assert first[1] < forked - 20_000_000 <= of_child[1] <= time.time_ns()


def test_a_process_began_when_the_kernel_says_and_before_its_first_point(http, exporter):
    (metric,) = exported(http, exporter, counter("a", 1.0))
    point = metric.sum.data_points[0]
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    uptime = time.clock_gettime(time.CLOCK_BOOTTIME)
    age = uptime - ticks / os.sysconf("SC_CLK_TCK")

    assert point.start_time_unix_nano / 1e9 == pytest.approx(time.time() - age, abs=0.1)
    assert point.start_time_unix_nano < point.time_unix_nano <= time.time_ns()


def test_the_request_is_one_of_otlp_over_http(http):
    http.default = TAKEN
    with OtlpExporter(http.address, headers={"Authorization": "Bearer t0ken"}) as exporter:
        exporter.export([gauge("a", 1.0)])
    (request,) = http.requests

    assert request.path == "/v1/metrics"
    assert request.headers["Content-Type"] == "application/x-protobuf"
    assert request.headers["Content-Encoding"] == "gzip"
    assert request.headers["Authorization"] == "Bearer t0ken"
    assert request.headers["User-Agent"].startswith("flowgauge/")


@pytest.mark.parametrize(
    ("given_", "used"),
    [
        ("", "/v1/metrics"),
        ("/", "/v1/metrics"),
        ("/otlp/v1/metrics?tenant=7", "/otlp/v1/metrics?tenant=7"),
    ],
)
def test_a_path_is_taken_as_it_is_and_else_that_of_a_collector(http, given_, used):
    http.default = TAKEN
    with OtlpExporter(http.address + given_) as exporter:
        exporter.export([gauge("a", 1.0)])
        assert "tenant" not in repr(exporter)

    assert http.requests[0].path == used


def test_large_exports_go_in_several_requests(http, exporter, monkeypatch):
    monkeypatch.setattr(otlp_messages, "REQUEST_BYTES", 20_000)
    values = {(f"value-{n}",): float(n) for n in range(2000)}
    families = [counter("big", values, labels=("x",)), *(gauge(f"g{n}", 1.0) for n in range(500))]
    metrics = exported(http, exporter, *families)

    assert len(http.requests) > 5
    assert max(len(gzip.decompress(request.body)) for request in http.requests) < 45_000
    points = [p for metric in metrics if metric.name == "big" for p in metric.sum.data_points]
    assert sorted(point.as_double for point in points) == sorted(values.values())
    assert len({metric.name for metric in metrics}) == 501


@pytest.fixture
def brisk(monkeypatch):
    monkeypatch.setattr(otlp, "FIRST_PAUSE", 0.05)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_be_repeated_is_repeated(http, exporter, brisk, status):
    http.answers = [(status, {}, b""), (status, {}, b"")]
    exporter.export([counter("a", 1.0)])

    assert len(http.requests) == 3
    assert len({request.body for request in http.requests}) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 500, 501])
def test_what_must_not_be_repeated_is_not(http, exporter, brisk, status):
    http.answers = [(status, {}, b"")]
    with pytest.raises(
        ExportError,
        match=f"OtlpExporter cannot send to {http.address}/v1/metrics: answered with {status}",
    ):
        exporter.export([counter("a", 1.0)])

    assert len(http.requests) == 1


def test_a_broken_connection_is_repeated(http, exporter, brisk):
    http.answers = [None, None]
    exporter.export([counter("a", 1.0)])

    assert len(http.requests) == 3


@pytest.mark.parametrize("header", [lambda: "1", lambda: formatdate(time.time() + 2, usegmt=True)])
def test_a_server_that_asks_for_a_pause_gets_it(http, exporter, brisk, header):
    http.answers = [(503, {"Retry-After": header()}, b"")]
    began = time.monotonic()
    exporter.export([counter("a", 1.0)])

    assert 0.9 < time.monotonic() - began < 8


def test_a_pause_that_is_longer_than_the_time_that_is_left_is_a_failure_at_once(http, exporter):
    http.answers = [(429, {"Retry-After": "60"}, b"")]
    began = time.monotonic()
    with pytest.raises(ExportError, match="answered with 429"):
        exporter.export([counter("a", 1.0)])

    assert time.monotonic() - began < 6
    assert len(http.requests) == 1


def test_a_pause_that_cannot_be_read_is_one_of_ours(http, exporter, brisk):
    http.answers = [(503, {"Retry-After": "soon"}, b"")]
    exporter.export([counter("a", 1.0)])

    assert len(http.requests) == 2


def test_repeating_ends_with_the_time(http, brisk):
    http.default = (503, {}, b"")
    exporter = OtlpExporter(http.address, timeout=0.5)
    began = time.monotonic()
    with pytest.raises(ExportError, match="answered with 503"):
        exporter.export([counter("a", 1.0)])

    assert time.monotonic() - began < 6
    assert len(http.requests) >= 3


def test_a_slow_back_end_costs_the_time_that_was_given(http):
    done = threading.Event()
    http.default = lambda _: (done.wait(10), TAKEN)[1]
    exporter = OtlpExporter(http.address, timeout=0.4)
    began = time.monotonic()
    with pytest.raises(ExportError, match="timed out"):
        exporter.export([counter("a", 1.0)])
    took = time.monotonic() - began
    done.set()

    assert took < 6


def test_an_absent_back_end_is_named():
    port = receivers.free_port()
    exporter = OtlpExporter(f"http://127.0.0.1:{port}", timeout=0.3)
    with pytest.raises(ExportError, match=rf"127.0.0.1:{port}/v1/metrics: .*refused"):
        exporter.export([counter("a", 1.0)])


def test_a_redirect_is_a_failure_and_does_not_take_the_headers_along(http):
    with receivers.Http() as other:
        http.default = (302, {"Location": other.address}, b"")
        exporter = OtlpExporter(http.address, headers={"Authorization": "t0ken"})
        with pytest.raises(ExportError, match="answered with 302"):
            exporter.export([counter("a", 1.0)])

        assert other.requests == []


def test_no_header_stands_in_an_error():
    exporter = OtlpExporter("http://127.0.0.1:1", headers={"api-key": "s3cret"}, timeout=0.2)
    with pytest.raises(ExportError) as caught:
        exporter.export([counter("a", 1.0)])

    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert "s3cret" not in repr(exporter)


def test_points_that_are_rejected_are_told_and_not_sent_again(http, exporter, caplog):
    partial = ExportMetricsPartialSuccess(rejected_data_points=3, error_message="out of order")
    answer = ExportMetricsServiceResponse(partial_success=partial).SerializeToString()
    http.answers = [(200, PROTOBUF, answer)]
    exporter.export([counter("a", 1.0)])

    assert "rejected 3 data points: out of order" in caplog.text
    assert len(http.requests) == 1


@given(st.binary(max_size=100))
def test_no_answer_can_fail_an_export_that_was_taken(answer):
    rejected, why = otlp._partial_success(answer)

    assert isinstance(rejected, int)
    assert isinstance(why, str)


def test_closing_sends_what_a_failed_export_left(http, exporter):
    http.answers = [(500, {}, b"")]
    with pytest.raises(ExportError):
        exporter.export([counter("a", 4.0)])
    exporter.close()
    exporter.close()

    assert [metric.sum.data_points[0].as_double for metric in metrics_of(http.requests[1])] == [4.0]
    assert len(http.requests) == 2


def test_closing_ends_the_pause_of_an_export(http):
    http.default = (503, {"Retry-After": "8"}, b"")
    exporter = OtlpExporter(http.address, timeout=10)
    failure = []

    def export():
        try:
            exporter.export([counter("a", 1.0)])
        except ExportError as error:
            failure.append(error)

    thread = threading.Thread(target=export)
    thread.start()
    receivers.until(lambda: http.requests)
    began = time.monotonic()
    exporter.close()
    thread.join()

    assert time.monotonic() - began < 7
    assert failure


def test_tls_of_ones_own_is_used(tmp_path):
    """A server that nobody vouches for is refused, and taken when its certificate is given."""
    certificate, key = receivers.certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with receivers.Http(tls=context) as http:
        http.default = TAKEN
        stranger = OtlpExporter(http.address.replace("127.0.0.1", "localhost"), timeout=2)
        began = time.monotonic()
        with pytest.raises(ExportError, match=r"TLS: .*CERTIFICATE_VERIFY_FAILED"):
            stranger.export([counter("a", 1.0)])
        assert time.monotonic() - began < 6  # it is not tried again
        trusting = ssl.create_default_context(cafile=certificate)
        with OtlpExporter(http.address.replace("127.0.0.1", "localhost"), tls=trusting) as exporter:
            exporter.export([counter("a", 1.0)])

        assert len(http.requests) == 1


def test_nothing_is_loaded_that_is_not_needed():
    code = (
        "import sys\n"
        "from flowgauge.exporters import OtlpExporter\n"
        "OtlpExporter()\n"
        "print({'opentelemetry', 'google', 'requests', 'prometheus_client'} & set(sys.modules))\n"
    )
    assert receivers.in_python(code) == "set()"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"endpoint": "localhost:4318"}, "endpoint must"),
        ({"endpoint": "grpc://localhost:4317"}, "endpoint must"),
        ({"endpoint": "http://"}, "endpoint must"),
        ({"endpoint": "http://host:port/"}, "endpoint must"),
        ({"endpoint": "http://ho st/"}, "endpoint must"),
        ({"endpoint": "http://user:pass@host/"}, "endpoint holds a user"),
        ({"protocol": "grpc"}, "protocol is 'grpc'"),
        ({"headers": {"bad name": "x"}}, "headers holds 'bad name'"),
        ({"headers": {"a": "two\r\nlines"}}, "headers holds 'a'"),
        ({"headers": {"a": 3}}, "headers holds 'a'"),
        ({"service_name": " "}, "service_name is empty"),
        ({"timeout": 0}, "timeout is 0"),
    ],
)
def test_what_cannot_be_right_is_said_at_once(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        OtlpExporter(**arguments)

    assert "pass@" not in str(caught.value)


def test_the_messages_are_those_of_the_official_types():
    """The official types know every field, with the type that we gave it, and lose none on the way."""
    families = [
        counter("c", {("x",): 1.0}, labels=("l",)),
        gauge("g", 2.0),
        histogram("h", (1.0,), [1, 2], 3.0),
        native({2: 2, 5: 3}, schema=1, zero_count=1, zero_threshold=0.1),
        summary("s", 1, 2.0, ((0.5, 1.0),)),
    ]
    times = otlp_messages.Times(1, 2)
    (data,) = otlp_messages.requests(families, {"a": "b", "n": 1}, "1.0", times)
    decoded = ExportMetricsServiceRequest.FromString(data)

    decoded.DiscardUnknownFields()
    assert len(decoded.SerializeToString()) == len(data)
