import gzip
import json
import math
import sys
import threading
import time
from collections import defaultdict
from urllib.parse import urlencode

import boto3
import pytest
import receivers
from botocore.config import Config
from botocore.serialize import QuerySerializer
from botocore.stub import ANY, Stubber
from forked import in_child
from hypothesis import given, settings
from hypothesis import strategies as st
from receivers import counter, family, gauge, histogram, summary

from flowgauge.exporters import CloudWatchExporter, ExportError
from flowgauge.exporters import cloudwatch as module
from flowgauge.metrics import Distribution, Exponential, MetricFamily

JSON = {"Content-Type": "application/x-amz-json-1.0"}
TAKEN = (200, JSON, b"{}")


def failed(code, status=400):
    """An error of the service."""
    text = {"__type": f"com.amazonaws.cloudwatch#{code}", "message": "signed by AKIDEXAMPLE"}
    return status, JSON, json.dumps(text).encode()


def sent(request):
    """What a request puts: namespace and metrics."""
    body = request.body
    if request.headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    assert request.headers["X-Amz-Target"].endswith(".PutMetricData")
    decoded = json.loads(body)
    return decoded["Namespace"], decoded["MetricData"]


class CloudWatch:
    """What CloudWatch adds up: the number and sum of samples of each metric and its dimensions."""

    def __init__(self):
        self.count = defaultdict(float)
        self.sum = defaultdict(float)

    def take(self, request):
        _, metrics = sent(request)
        for metric in metrics:
            tags = [f"{each['Name']}={each['Value']}" for each in metric.get("Dimensions", ())]
            name = " ".join([metric["MetricName"], *tags])
            values = metric.get("Values", [metric.get("Value")])
            counts = metric.get("Counts", [1.0])
            self.count[name] += sum(counts)
            self.sum[name] += sum(v * c for v, c in zip(values, counts, strict=True))
        return TAKEN


@pytest.fixture(autouse=True)
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(http, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", http.address)
    store = CloudWatch()
    http.default = store.take
    return store


@pytest.fixture
def exporter(store):
    with CloudWatchExporter(namespace="MyApplication", region="us-east-1") as exporter:
        yield exporter


def test_the_guides_example_arrives(http, exporter):
    exporter.export(
        [
            counter("requests_total", {("GET", ""): 3.0}, labels=("method", "none")),
            gauge("depth", -2.5),
        ]
    )
    (request,) = http.requests
    namespace, (count, level) = sent(request)

    assert namespace == "MyApplication"
    assert abs(count.pop("Timestamp") - time.time()) < 5
    assert level.pop("Timestamp")
    assert count == {
        "MetricName": "requests_total",
        "Dimensions": [{"Name": "method", "Value": "GET"}],
        "Value": 3.0,
        "Unit": "Count",
        "StorageResolution": 60,
    }
    assert level == {
        "MetricName": "depth",
        "Value": -2.5,
        "Unit": "None",
        "StorageResolution": 60,
    }


def test_counters_arrive_as_what_is_new(store, exporter):
    for value in (0.0, 5.0, 5.0, 9.0, 2.0):
        exporter.export([counter("a", value)])

    assert store.sum == {"a": 11.0}
    assert store.count == {"a": 4.0}


def test_a_histogram_arrives_with_exact_count_and_sum_and_values_in_their_buckets(
    http, store, exporter
):
    exporter.export([histogram("seconds", (0.1, 1.0, 10.0), [50, 40, 9, 1], 70.0, unit="seconds")])
    _, (metric,) = sent(http.requests[0])

    assert metric["Unit"] == "Seconds"
    assert metric["Counts"] == [50, 40, 9, 1]
    low, middle, high, above = metric["Values"]
    assert 0 <= low <= 0.1 <= middle <= 1.0 <= high <= 10.0 <= above
    assert store.sum["seconds"] == pytest.approx(70.0)


def test_a_histogram_without_observations_is_not_sent(http, exporter):
    exporter.export([histogram("seconds", (0.1,), [0, 0], 0.0)])

    assert http.requests == []


def test_a_native_histogram_has_at_most_the_values_that_a_metric_may_have(http, store, exporter):
    counts = dict.fromkeys(range(-300, 300), 1)
    exponential = Exponential(5, 1e-9, 2, counts)
    value = Distribution((), [602], 900.0, {}, exponential)
    exporter.export([MetricFamily("n", "histogram", "", (), [()], [value])])
    _, (metric,) = sent(http.requests[0])

    assert len(metric["Values"]) <= 150
    assert (store.count["n"], store.sum["n"]) == (602, pytest.approx(900.0))


def test_a_summary_arrives_as_count_sum_and_quantiles(http, exporter):
    exporter.export([summary("latency", 4, 2.0, ((0.5, 0.4), (0.999, 0.9)), unit="seconds")])
    _, metrics = sent(http.requests[0])

    assert [(m["MetricName"], m["Value"], m["Unit"]) for m in metrics] == [
        ("latency.count", 4.0, "Count"),
        ("latency.sum", 2.0, "Seconds"),
        ("latency.p50", 0.4, "Seconds"),
        ("latency.p99_9", 0.9, "Seconds"),
    ]


@pytest.mark.parametrize(
    ("name", "kind", "unit", "expected"),
    [
        ("a", "gauge", "seconds", "Seconds"),
        ("a", "gauge", "milliseconds", "Milliseconds"),
        ("a", "gauge", "bytes", "Bytes"),
        ("a", "gauge", "percent", "Percent"),
        ("a", "gauge", "ratio", "None"),
        ("a", "gauge", "", "None"),
        ("a_seconds", "gauge", "", "Seconds"),
        ("a_bytes_total", "counter", "", "Bytes"),
        ("a_total", "counter", "", "Count"),
    ],
)
def test_units_are_those_of_cloudwatch(http, exporter, name, kind, unit, expected):
    exporter.export([family(kind, name, 1.0, unit=unit)])

    assert sent(http.requests[0])[1][0]["Unit"] == expected


def test_what_cloudwatch_would_refuse_is_made_fit_or_left_out(http, exporter):
    """Real boto3 checks lengths and emptiness too, before it sends."""
    labels = tuple(f"l{n}" for n in range(40))
    exporter.export(
        [
            gauge("g", {("a",): math.nan, ("b",): math.inf, ("c",): -math.inf}, labels=("x",)),
            gauge("big", 2.0**361),
            gauge("small", 1e-200),
            gauge("edge", -(2.0**360)),
            gauge("many", {tuple("v" for _ in labels): 1.0}, labels=labels),
            gauge("odd", {("ü\n", "   ", "y" * 2000): 1.0}, labels=("a", "b", "c")),
            gauge("n" * 300, 1.0),
            counter("c", math.nan),
        ]
    )
    _, metrics = sent(http.requests[0])
    by_name = {metric["MetricName"]: metric for metric in metrics}

    assert by_name.keys() == {"small", "edge", "many", "odd", "n" * 255}
    assert by_name["small"]["Value"] == 0.0
    assert len(by_name["many"]["Dimensions"]) == 30
    assert [each["Value"] for each in by_name["odd"]["Dimensions"]] == ["??", "?", "y" * 1024]


def test_a_call_has_at_most_a_thousand_metrics(http, store, exporter):
    values = {(str(n),): float(n) for n in range(2500)}
    exporter.export([counter("a", values, labels=("x",))])

    assert [len(sent(request)[1]) for request in http.requests] == [1000, 1000, 500]
    assert sum(store.sum.values()) == sum(values.values())


def test_a_call_has_at_most_a_megabyte_also_in_the_older_protocol(http, store):
    """As a form each value has its whole path before it; JSON packs the same in a fifth."""
    bounds = tuple(float(n + 1) for n in range(149))
    by_key = {("é" * 900 + str(n),): Distribution(bounds, [1] * 150, 9000.0) for n in range(200)}
    families = [family("histogram", "h", by_key, labels=("x",))]
    sizes = []
    client = boto3.session.Session(region_name="us-east-1").client(
        "cloudwatch", endpoint_url=http.address, config=Config(disable_request_compression=True)
    )
    with CloudWatchExporter("N", client=client) as exporter:
        exporter.export(families)
    for request in http.requests:
        _, metrics = sent(request)
        sizes.append(_as_a_form(client, metrics))
        assert len(request.body) < 1_000_000

    assert len(sizes) > 3
    assert max(sizes) < 1_000_000
    assert min(sizes[:-1]) > 500_000
    assert sum(store.count.values()) == 200 * 150


def _as_a_form(client, metrics):
    shape = client.meta.service_model.operation_model("PutMetricData")
    parameters = {"Namespace": "N", "MetricData": metrics}
    body = QuerySerializer().serialize_to_request(parameters, shape)["body"]
    return len(urlencode(body))


def test_a_client_of_ones_own_is_used_and_not_closed():
    client = boto3.session.Session(region_name="eu-west-1").client("cloudwatch")
    closed = []
    client.close = lambda: closed.append(1)
    stubber = Stubber(client)
    expected = {
        "Namespace": "N",
        "MetricData": [
            {
                "MetricName": "a",
                "Timestamp": ANY,
                "Unit": "Count",
                "StorageResolution": 1,
                "Value": 2.0,
            }
        ],
    }
    stubber.add_response("put_metric_data", {}, expected)
    with stubber:
        with CloudWatchExporter("N", client=client, high_resolution=True) as exporter:
            exporter.export([counter("a", 2.0)])
        stubber.assert_no_pending_responses()
    assert not closed


def test_boto3_is_loaded_when_something_is_sent_and_not_before():
    code = (
        "import sys\n"
        "from flowgauge.exporters import CloudWatchExporter\n"
        "CloudWatchExporter('N', 'us-east-1')\n"
        "print({'boto3', 'botocore'} & set(sys.modules))\n"
    )
    assert receivers.in_python(code) == "set()"


def test_without_boto3_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)

    with pytest.raises(ModuleNotFoundError, match=r"pip install 'flowgauge\[cloudwatch\]'"):
        CloudWatchExporter("N", "us-east-1")


def test_boto3_repeats_a_busy_answer_by_itself(http, store, exporter):
    http.answers = [failed("InternalServiceFault", 500)]
    exporter.export([counter("a", 3.0)])

    assert len(http.requests) == 2
    assert store.sum == {"a": 3.0}


def test_what_failed_goes_with_the_next(http, store, exporter):
    http.answers = [failed("InternalServiceFault", 500)] * 2
    with pytest.raises(ExportError, match=r"answered with InternalServiceFault \(500\)") as caught:
        exporter.export([counter("a", 3.0)])
    exporter.export([counter("a", 5.0)])

    assert "AKID" not in str(caught.value)

    assert store.sum == {"a": 5.0}


def test_a_failure_between_two_calls_loses_and_repeats_nothing(http, store, exporter):
    values = {(str(n),): 1.0 for n in range(2500)}
    http.answers = [store.take, failed("AccessDenied", 403)]
    with pytest.raises(ExportError, match="AccessDenied"):
        exporter.export([counter("a", values, labels=("x",))])
    assert len(http.requests) == 2
    exporter.export([counter("a", values, labels=("x",))])

    assert set(store.sum.values()) == {1.0}
    assert len(store.sum) == 2500


def test_a_call_that_cloudwatch_finds_fault_with_does_not_keep_the_others(http, store, exporter):
    values = {(str(n),): 1.0 for n in range(2500)}
    http.answers = [failed("InvalidParameterValueException")]
    with pytest.raises(ExportError, match="InvalidParameterValue"):
        exporter.export([counter("a", values, labels=("x",))])

    assert len(store.sum) == 1500


OUTCOMES = ("taken", "busy", "throttled", "faulty", "denied")


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.lists(st.sampled_from(OUTCOMES), max_size=5)),
        min_size=1,
        max_size=6,
    )
)
@settings(max_examples=25, deadline=None)
def test_whatever_cloudwatch_answers_it_ends_up_with_the_exact_totals(steps):
    store, script = CloudWatch(), []

    def answer(request):
        outcome = script.pop(0) if script else "taken"
        return {
            "taken": lambda: store.take(request),
            "busy": lambda: failed("InternalServiceFault", 503),
            "throttled": lambda: failed("Throttling", 400),
            "faulty": lambda: failed("InvalidParameterValueException", 400),
            "denied": lambda: failed("AccessDenied", 403),
        }[outcome]()

    with receivers.Http() as http, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "METRICS_PER_CALL", 1)
        http.default = answer
        client = boto3.session.Session(region_name="us-east-1").client(
            "cloudwatch",
            endpoint_url=http.address,
            config=Config(retries={"total_max_attempts": 1}),
        )
        with CloudWatchExporter("N", client=client) as exporter:
            total = 0
            for gain, outcomes in [*steps, (0, [])]:
                total += gain
                script[:] = outcomes
                _tried(
                    exporter,
                    [
                        counter("a", float(total)),
                        histogram("h", (1.0, 2.0), [total, 0, total], total * 3.0),
                        counter("b", 2.0 * total),
                    ],
                )
        client.close()

    assert (store.sum["a"], store.sum["b"]) == (total, 2 * total)
    assert (store.count["h"], store.sum["h"]) == (2 * total, pytest.approx(3.0 * total))


def _tried(exporter, families):
    try:
        exporter.export(families)
    except ExportError:
        return


def test_a_slow_back_end_costs_about_the_time_that_was_given(http, store):
    done = threading.Event()
    http.default = lambda _: (done.wait(10), TAKEN)[1]
    exporter = CloudWatchExporter("N", "us-east-1", timeout=1.0)
    exporter._client = exporter._made()  # boto3 itself takes a while to load
    began = time.monotonic()
    with pytest.raises(ExportError, match="timeout"):
        exporter.export([counter("a", 1.0)])
    took = time.monotonic() - began
    done.set()
    exporter.close()

    assert took < 7.5


def test_an_absent_back_end_is_named_and_no_secret_is(monkeypatch):
    port = receivers.free_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", f"http://127.0.0.1:{port}")
    exporter = CloudWatchExporter("My", "us-east-1", timeout=1.0)
    with pytest.raises(
        ExportError, match="CloudWatchExporter cannot send to CloudWatch, namespace My"
    ) as caught:
        exporter.export([counter("a", 1.0)])

    assert str(port) in caught.value.reason
    assert "AKID" not in str(caught.value)
    assert "wJalr" not in str(caught.value)


def test_without_credentials_it_says_so(store, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    exporter = CloudWatchExporter("N", "us-east-1")

    with pytest.raises(ExportError, match="NoCredentialsError: Unable to locate credentials"):
        exporter.export([counter("a", 1.0)])


def test_a_forked_child_has_a_client_and_counts_of_its_own(http, store, exporter):
    exporter.export([counter("a", 10.0)])

    def child():
        assert exporter._client is None
        exporter.export([counter("a", 2.0)])
        return "sent"

    assert in_child(child) == "sent"
    exporter.export([counter("a", 11.0)])

    assert store.sum == {"a": 13.0}


@pytest.mark.parametrize(
    ("namespace", "region", "message"),
    [
        ("", "us-east-1", "namespace is ''"),
        ("  ", "us-east-1", "namespace is '  '"),
        ("AWS/EC2", "us-east-1", "namespace is 'AWS/EC2'"),
        (":x", "us-east-1", "namespace is ':x'"),
        ("a\nb", "us-east-1", "namespace is"),
        ("é", "us-east-1", "namespace is"),
        ("n" * 256, "us-east-1", "namespace is"),
        ("N", "", "region is ''"),
        ("N", "Virginia", "region is 'Virginia'"),
    ],
)
def test_what_cannot_be_right_is_said_at_once(namespace, region, message):
    with pytest.raises(ValueError, match=message):
        CloudWatchExporter(namespace, region)
