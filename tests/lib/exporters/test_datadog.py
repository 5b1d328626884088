import json
import math
import os
import sys
import time
import zlib
from collections import defaultdict

import datadog as package
import pytest
import receivers
from forked import in_child
from hypothesis import given, settings
from hypothesis import strategies as st
from receivers import counter, family, gauge, histogram, summary

from flowgauge.exporters import DatadogExporter, ExportError
from flowgauge.exporters import datadog as module

ACCEPTED = (202, {"Content-Type": "application/json"}, b'{"status":"ok"}')
KEY = "0123456789abcdef0123456789abcdef"


class Datadog:
    """What Datadog stores: one value for a series and a second, the last that came."""

    def __init__(self):
        self.points = {}
        self.types = {}

    def take(self, request):
        assert request.path == "/api/v1/series"
        assert request.headers["DD-API-KEY"] == KEY
        for series in series_of(request):
            for second, value in series["points"]:
                key = series["metric"], tuple(series["tags"]), series["host"]
                self.points[*key, second] = value
                self.types[series["metric"]] = series["type"]
        return ACCEPTED

    def totals(self):
        sums = defaultdict(float)
        for (metric, tags, _, _), value in self.points.items():
            if self.types[metric] == "count":
                sums[" ".join((metric, *tags))] += value
        return dict(sums)


def series_of(request):
    assert request.headers["Content-Encoding"] == "deflate"
    return json.loads(zlib.decompress(request.body))["series"]


@pytest.fixture
def store(http):
    store = Datadog()
    http.default = store.take
    return store


@pytest.fixture
def exporter(http, store):
    with DatadogExporter(KEY, "app", "myapp", api_host=http.address, host="pod-1") as exporter:
        yield exporter


def test_counters_and_gauges_arrive_with_type_tags_host_and_interval(http, exporter):
    before = int(time.time())
    exporter.export(
        [
            counter(
                "requests_total",
                {("GET", "/Users?x", ""): 3.0},
                labels=("method", "path", "none"),
            ),
            gauge("depth", -2.5),
        ]
    )
    (request,) = http.requests
    count, level = series_of(request)

    assert before <= count["points"][0][0] <= time.time()
    del count["points"][0][0], level["points"][0][0]
    assert count == {
        "metric": "myapp.requests_total",
        "type": "count",
        "points": [[3.0]],
        "tags": ["method:get", "path:/users_x"],
        "host": "pod-1",
        "interval": 1,
    }
    assert level == {
        "metric": "myapp.depth",
        "type": "gauge",
        "points": [[-2.5]],
        "tags": [],
        "host": "pod-1",
    }
    assert request.headers["DD-APPLICATION-KEY"] == "app"


def test_a_request_is_like_one_of_the_package_itself(http, monkeypatch):
    """The same endpoint, headers and form as `datadog.api.Metric.send` gives."""
    http.default = ACCEPTED
    with DatadogExporter(KEY, "app", api_host=http.address, host="pod") as exporter:
        exporter.export([counter("a", 3.0)])
    for name, value in {
        "_api_key": KEY,
        "_application_key": "app",
        "_api_host": http.address,
    }.items():
        monkeypatch.setattr(package.api, name, value)
    (point,) = series_of(http.requests[0])
    package.api.Metric.send(metrics=[dict(point)], compress_payload=True)
    ours, theirs = http.requests
    package.api.http_client.RequestClient._session.close()
    monkeypatch.setattr(package.api.http_client.RequestClient, "_session", None)

    assert ours.path == theirs.path
    assert series_of(ours) == series_of(theirs)
    differing = {"Content-Length"}
    assert {k: v for k, v in ours.headers.items() if k not in differing} == {
        k: v for k, v in theirs.headers.items() if k not in differing
    }


def test_what_the_program_told_the_package_stays(http, exporter, monkeypatch):
    monkeypatch.setattr(package.api, "_api_key", "the-programs-own")
    monkeypatch.setattr(package.api, "_api_host", "https://its.own")
    before = dict(vars(package.api))
    shared = object()  # no session: whoever uses it fails
    monkeypatch.setattr(package.api.http_client.RequestClient, "_session", shared)
    exporter.export([counter("a", 1.0)])

    assert dict(vars(package.api)) == before
    assert package.api.http_client.RequestClient._session is shared
    assert http.requests[0].headers["DD-API-KEY"] == KEY


def test_the_package_is_loaded_when_something_is_sent_and_not_before():
    code = (
        "import sys\n"
        "from flowgauge.exporters import DatadogExporter\n"
        "DatadogExporter('key')\n"
        "print({'datadog', 'requests'} & set(sys.modules))\n"
    )
    assert receivers.in_python(code) == "set()"


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datadog", None)

    with pytest.raises(ModuleNotFoundError, match=r"pip install 'flowgauge\[datadog\]'"):
        DatadogExporter(KEY)


def test_a_histogram_arrives_as_count_sum_and_percentiles(store, exporter):
    exporter.export([histogram("seconds", (1.0, 2.0), [10, 10, 0], 20.0)])

    assert store.totals() == {"myapp.seconds.count": 20, "myapp.seconds.sum": 20}
    levels = {metric: v for (metric, *_), v in store.points.items() if ".p" in metric}
    assert levels == pytest.approx(
        {"myapp.seconds.p50": 1.0, "myapp.seconds.p95": 1.9, "myapp.seconds.p99": 1.98}
    )


def test_a_summary_arrives_as_count_sum_and_quantiles(store, exporter):
    exporter.export([summary("latency", 4, 2.0, ((0.5, 0.4), (0.9, math.nan)))])

    assert store.totals() == {"myapp.latency.count": 4, "myapp.latency.sum": 2}
    assert {m: v for (m, *_), v in store.points.items() if ".p" in m} == {"myapp.latency.p50": 0.4}


def test_numbers_that_are_none_are_left_out(http, exporter):
    exporter.export(
        [gauge("g", {("a",): math.nan, ("b",): math.inf}, labels=("x",)), gauge("h", 1)]
    )

    assert [point["metric"] for point in series_of(http.requests[0])] == ["myapp.h"]


def test_series_that_datadog_takes_for_one_are_added_up(store, exporter):
    exporter.export([counter("a", {("X Y",): 1.0, ("x_y",): 2.0}, labels=("l",))])
    exporter.export([counter("a", {("X Y",): 2.0, ("x_y",): 5.0}, labels=("l",))])

    assert store.totals() == {"myapp.a l:x_y": 7.0}


def test_exports_within_one_second_do_not_replace_each_other(store, exporter):
    for value in range(1, 11):
        exporter.export([counter("a", float(value))])

    assert store.totals() == {"myapp.a": 10}


def test_an_export_for_which_there_is_no_second_waits_and_is_sent_at_the_end(
    http, store, monkeypatch
):
    monkeypatch.setattr(module, "AHEAD_SECONDS", 2)
    with DatadogExporter(KEY, api_host=http.address) as exporter:
        for value in range(1, 11):
            exporter.export([counter("a", float(value))])
        assert len(http.requests) <= 4

    assert store.totals() == {"a": 10}
    assert max(second for *_, second in store.points) <= time.time() + 5


def test_a_clock_that_is_set_back_does_not_end_the_exports(http, store, exporter, monkeypatch):
    monkeypatch.setattr(module, "time", lambda: 2_000_000_000.0)
    exporter.export([counter("a", 1.0)])
    monkeypatch.setattr(module, "time", lambda: 1_900_000_000.0)
    exporter.export([counter("a", 3.0)])

    assert [second for *_, second in store.points] == [2_000_000_000, 1_900_000_000]
    assert store.totals() == {"myapp.a": 3}


def test_large_exports_go_in_several_requests(http, store, monkeypatch):
    monkeypatch.setattr(module, "BATCH_BYTES", 10_000)
    values = {(f"endpoint-{n}",): float(n) for n in range(1000)}
    with DatadogExporter(KEY, api_host=http.address) as exporter:
        exporter.export([counter("a", values, labels=("x",))])

    sizes = [len(zlib.decompress(request.body)) for request in http.requests]
    assert len(sizes) > 5
    assert max(sizes) <= 10_000 + 20
    assert sum(store.totals().values()) == sum(values.values())


def test_a_batch_that_arrived_without_an_answer_is_not_counted_twice(http, store, exporter):
    http.answers = [lambda request: (store.take(request), None)[1]]
    with pytest.raises(ExportError):
        exporter.export([counter("a", 5.0)])
    exporter.export([counter("a", 7.0)])

    assert store.totals() == {"myapp.a": 7}
    assert series_of(http.requests[0]) == series_of(http.requests[1])


def test_a_batch_that_is_as_old_as_datadog_takes_is_made_anew(http, store, exporter, monkeypatch):
    http.answers = [None]
    with pytest.raises(ExportError):
        exporter.export([counter("a", 5.0)])
    monkeypatch.setattr(module, "STALE_SECONDS", -1.0)
    exporter.export([counter("a", 7.0)])

    assert store.totals() == {"myapp.a": 7}
    assert len(http.requests) == 2


OUTCOMES = ("taken", "taken", "taken, answer lost", "lost", "busy", "too many", "unreadable")


@given(
    st.lists(
        st.tuples(
            st.integers(0, 9), st.booleans(), st.lists(st.sampled_from(OUTCOMES), max_size=4)
        ),
        min_size=1,
        max_size=7,
    )
)
@settings(max_examples=60, deadline=None)
def test_whatever_happens_to_requests_datadog_ends_up_with_the_exact_totals(steps):
    store = Datadog()
    script, taken = [], set()

    def answer(request):
        outcome = script.pop(0) if script else "taken"
        if outcome == "unreadable" and request.body in taken:
            outcome = "taken"  # what was readable once is readable again
        if outcome.startswith("taken"):
            store.take(request)
            taken.add(request.body)
        return {
            "taken": ACCEPTED,
            "taken, answer lost": None,
            "lost": None,
            "busy": (503, {}, b""),
            "too many": (429, {}, b'{"errors":["Too many requests"]}'),
            "unreadable": (400, {}, b'{"errors":["Payload is not in the expected format"]}'),
        }[outcome]

    with receivers.Http() as http, pytest.MonkeyPatch.context() as patch:
        http.default = answer
        patch.setattr(module, "BATCH_BYTES", 150)  # each series travels alone
        with DatadogExporter(KEY, api_host=http.address, host="h") as exporter:
            expected = dict.fromkeys(("a", "b", "seconds.count", "seconds.sum"), 0.0)
            lives = {"a": 0.0, "b": 0.0}
            for gain, reset, outcomes in [*steps, (0, False, [])]:
                if reset and lives["b"] > 1:
                    lives["b"] = 1.0
                    expected["b"] += 1.0
                else:
                    lives["b"] += gain
                    expected["b"] += gain
                lives["a"] += gain
                expected["a"] += gain
                expected["seconds.count"] += gain
                expected["seconds.sum"] += gain * 0.5
                script[:] = outcomes
                count = int(lives["a"])
                _tried(
                    exporter,
                    [
                        counter("a", lives["a"]),
                        counter("b", lives["b"]),
                        histogram("seconds", (1.0,), [count, 0], count * 0.5),
                    ],
                )

    assert store.totals() == expected


def _tried(exporter, families):
    try:
        exporter.export(families)
    except ExportError:
        return


def test_an_unreadable_batch_does_not_keep_the_others(http, store, monkeypatch):
    monkeypatch.setattr(module, "BATCH_BYTES", 10)
    http.answers = [store.take, (400, {}, b'{"errors":["no"]}')]
    with DatadogExporter(KEY, api_host=http.address) as exporter:
        with pytest.raises(ExportError, match=r"answered with 400: .*no"):
            exporter.export([counter("a", 1.0), counter("b", 2.0), counter("c", 3.0)])
        assert store.totals() == {"a": 1, "c": 3}

    assert store.totals() == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_datadog_cannot_read_is_not_sent_again_as_it_was(http, store, exporter, status):
    http.answers = [(status, {}, b'{"errors":["Bad"]}')]
    with pytest.raises(ExportError, match=f"answered with {status}"):
        exporter.export([counter("a", 1.0)])
    exporter.export([counter("a", 3.0)])

    assert [series_of(each)[0]["points"][0][1] for each in http.requests] == [1.0, 3.0]
    assert store.totals() == {"myapp.a": 3}


@pytest.mark.parametrize("status", [401, 403, 408, 429, 500, 503])
def test_what_may_pass_is_sent_again_as_it_was(http, store, exporter, status):
    """An earlier attempt may have arrived, even when this one is forbidden."""
    http.answers = [lambda request: (store.take(request), None)[1], (status, {}, b"{}")]
    for value in (1.0, 2.0):
        with pytest.raises(ExportError):
            exporter.export([counter("a", value)])
    exporter.export([counter("a", 3.0)])

    assert [series_of(each)[0]["points"][0][1] for each in http.requests] == [1.0, 1.0, 1.0, 2.0]
    assert store.totals() == {"myapp.a": 3}


def test_no_key_stands_in_an_error(http):
    secret = "s3cret" * 5
    http.default = (403, {}, f'{{"errors":["API key {secret} is wrong"]}}'.encode())
    exporter = DatadogExporter(secret, secret[:20], api_host=http.address)
    with pytest.raises(ExportError) as caught:
        exporter.export([counter("a", 1.0)])

    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(exporter)
    assert "API key ***" in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    exporter.close()


def test_an_error_names_exporter_destination_and_reason():
    port = receivers.free_port()
    exporter = DatadogExporter(KEY, api_host=f"http://127.0.0.1:{port}")
    with pytest.raises(
        ExportError, match=f"DatadogExporter cannot send to http://127.0.0.1:{port}: "
    ) as caught:
        exporter.export([counter("a", 1.0)])

    assert isinstance(caught.value, RuntimeError)
    assert caught.value.exporter == "DatadogExporter"
    assert "refused" in caught.value.reason


def test_a_slow_back_end_costs_the_time_that_was_given(http):
    http.default = lambda _: (time.sleep(3), ACCEPTED)[1]
    exporter = DatadogExporter(KEY, api_host=http.address, timeout=0.3)
    began = time.monotonic()
    with pytest.raises(ExportError, match="timed out"):
        exporter.export([counter("a", 1.0)])

    assert time.monotonic() - began < 6.5


def test_a_forked_child_sends_its_own_counts_under_its_own_tag(http, store, exporter):
    http.answers = [(503, {}, b"")]
    with pytest.raises(ExportError):
        exporter.export([counter("a", 10.0)])

    def child():
        exporter.export([counter("a", 2.0)])
        return os.getpid()

    pid = in_child(child)
    exporter.export([counter("a", 11.0)])

    assert store.totals() == {f"myapp.a pid:{pid}": 2, "myapp.a": 11}


def test_tags_of_the_program_are_on_every_series(http, store):
    with DatadogExporter(KEY, api_host=http.address, tags=["Team:Data", "worker:1"]) as exporter:
        exporter.export([family("info", "build_info", {("1.0",): 1.0}, labels=("version",))])
    ((metric, tags, *_),) = store.points

    assert metric == "build_info"
    assert tags == ("version:1.0", "team:data", "worker:1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"api_key": ""}, "api_key must"),
        ({"api_key": "two words"}, "api_key must"),
        ({"api_key": "line\nbreak"}, "api_key must"),
        ({"app_key": "a b"}, "app_key must"),
        ({"prefix": "1app"}, "prefix is '1app'"),
        ({"prefix": "my-app"}, "prefix is 'my-app'"),
        ({"api_host": "api.datadoghq.eu"}, "api_host must"),
        ({"api_host": "https://key@host"}, "api_host must"),
        ({"tags": "a:b"}, "tags is 'a:b'"),
        ({"timeout": -1}, "timeout is -1"),
    ],
)
def test_what_cannot_be_right_is_said_at_once_without_the_key(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        DatadogExporter(**{"api_key": KEY} | arguments)

    assert KEY not in str(caught.value)
    assert "words" not in str(caught.value)
