import asyncio
import contextlib
import contextvars
import http.server
import os
import random
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from forked import in_child
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode

from flowgauge import guard
from flowgauge.tracing import (
    SimpleTracer,
    Span,
    current_span,
    exemplar_labels,
    otel,
    trace_context,
    traced,
)
from flowgauge.tracing.otel import OpenTelemetryTracer


@pytest.fixture(autouse=True)
def quiet(monkeypatch, caplog):
    """No test leaves a current span behind, and OpenTelemetry has nothing to complain about."""
    for variable in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(variable)
    yield
    assert current_span() is None
    assert not trace.get_current_span().get_span_context().is_valid
    complaints = [r for r in caplog.get_records("call") if r.name.startswith("opentelemetry")]
    assert complaints == []


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter):
    tracer = OpenTelemetryTracer("orders", exporter=exporter)
    yield tracer
    tracer.close()


@pytest.fixture
def sent(tracer, exporter):
    """What the exporter has got, by name."""

    def spans():
        assert tracer.flush()
        return {span.name: span for span in exporter.get_finished_spans()}

    return spans


@pytest.fixture
def logged(monkeypatch, caplog):
    monkeypatch.setattr(guard, "QUIET_SECONDS", 0.0)
    return lambda: [r.getMessage() for r in caplog.records if r.name == "flowgauge"]


class Collector:
    """A real HTTP server that takes OTLP."""

    def __init__(self):
        self.requests = []
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.requests.append((self.path, ExportTraceServiceRequest.FromString(body)))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def spans(self):
        return [
            (path, resource.resource.attributes, span)
            for path, request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.close()


# -- what is sent -----------------------------------------------------------------------------------------------------


def test_a_span_of_the_guide_is_sent_with_the_name_of_the_service(tracer, sent):
    span = tracer.start_span("process_batch")
    span.set_attribute("batch_size", 1000)
    span.add_event("download_complete", {"bytes": 5})
    tracer.end_span(span)

    found = sent()["process_batch"]
    assert found.resource.attributes["service.name"] == "orders"
    assert dict(found.attributes) == {"batch_size": 1000}
    assert [(event.name, dict(event.attributes)) for event in found.events] == [
        ("download_complete", {"bytes": 5})
    ]
    assert found.status.status_code is StatusCode.UNSET
    assert f"{found.context.trace_id:032x}" == span.trace_id
    assert f"{found.context.span_id:016x}" == span.span_id
    assert (found.start_time, found.end_time) == (span.start_time, span.end_time)
    assert trace.get_tracer_provider() is not tracer.provider


def test_spans_are_parts_of_each_other_also_across_libraries(tracer, sent):
    native = tracer.provider.get_tracer("an instrumented library")
    with trace_context(tracer, "outer", {"a": 1}) as outer:
        assert current_span() is outer
        with native.start_as_current_span("library"), trace_context(tracer, "inner") as inner:
            assert current_span() is inner
        by_hand = tracer.start_span("by hand")
        tracer.end_span(by_hand)

    found = sent()
    assert found["outer"].parent is None
    assert found["library"].parent.span_id == found["outer"].context.span_id
    assert found["inner"].parent.span_id == found["library"].context.span_id
    assert found["by hand"].parent.span_id == found["outer"].context.span_id
    assert len({span.context.trace_id for span in found.values()}) == 1
    assert (outer.parent_id, by_hand.parent_id) == (None, outer.span_id)
    assert dict(found["outer"].attributes) == {"a": 1}


def test_tasks_inherit_the_span_and_threads_are_told_it(tracer, sent):
    @traced(tracer)
    async def child():
        await asyncio.sleep(0)

    def work(parent):
        with trace_context(tracer, "work", parent=parent):
            pass

    async def main():
        async with trace_context(tracer, "outer") as outer:
            await asyncio.gather(child(), child())
            with ThreadPoolExecutor(1) as pool:
                pool.submit(work, outer).result()

    asyncio.run(main())

    found = sent()
    for name in ("child", "work"):
        assert found[name].parent.span_id == found["outer"].context.span_id


def test_the_parent_may_be_a_header_or_a_span_of_another_kind(tracer, sent):
    simple = SimpleTracer()
    header = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    native = tracer.provider.get_tracer("native").start_span("native")
    by_hand = simple.start_span("simple")
    with trace_context(tracer, "current"):
        tracer.end_span(tracer.start_span("header", traceparent=header))
        tracer.end_span(tracer.start_span("malformed", traceparent="x"))
        tracer.end_span(tracer.start_span("native child", parent=native))
        tracer.end_span(tracer.start_span("simple child", parent=by_hand))
    with trace_context(simple, "around"), trace_context(tracer, "within"):
        pass
    with trace_context(tracer, "around"), trace_context(simple, "simple within") as within:
        pass

    found = sent()
    assert f"{found['header'].context.trace_id:032x}" == "a" * 32
    assert f"{found['header'].parent.span_id:016x}" == "b" * 16
    assert found["malformed"].parent is None
    assert found["native child"].parent.span_id == native.get_span_context().span_id
    assert f"{found['simple child'].parent.span_id:016x}" == by_hand.span_id
    around = next(span for span in simple.get_spans() if span.name == "around")
    assert f"{found['within'].parent.span_id:016x}" == around.span_id
    assert within.parent_id == f"{found['around'].context.span_id:016x}"


def test_what_is_no_parent_is_left_out_and_told(tracer, logged):
    assert tracer.start_span("x", parent="that one").parent_id is None
    assert logged() == ["the parent of a span is a span, not str; it is left out"]


@pytest.mark.parametrize(
    ("error", "status", "code", "message"),
    [
        (None, "ok", StatusCode.OK, None),
        (GeneratorExit(), "ok", StatusCode.OK, None),
        (asyncio.CancelledError(), "cancelled", StatusCode.UNSET, None),
        (ValueError("x"), "error", StatusCode.ERROR, "ValueError: x"),
        (KeyboardInterrupt(), "error", StatusCode.ERROR, "KeyboardInterrupt"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_end_decides_the_status_and_errors_go_on(tracer, sent, error, status, code, message):
    with contextlib.suppress(BaseException), trace_context(tracer, "x") as span:
        if error is not None:
            raise error

    found = sent()["x"]
    assert (span.status, found.status.status_code) == (status, code)
    assert found.status.description == message
    assert found.attributes.get("cancelled", False) is (status == "cancelled")
    assert [event.name for event in found.events] == ["exception"] * (status == "error")
    assert error is None or error.__context__ is None


def test_an_error_after_a_good_status_is_an_error(tracer, sent):
    with contextlib.suppress(ValueError), trace_context(tracer, "x") as span:
        span.set_status("ok")
        raise ValueError("late")

    assert sent()["x"].status.status_code is StatusCode.ERROR


def test_what_the_program_says_of_the_status_stays(tracer, sent, logged):
    with trace_context(tracer, "told") as span:
        span.set_status("error", "too slow")
        span.set_status("fine")

    assert sent()["told"].status.description == "too slow"
    assert (span.status, span.status_message) == ("error", "too slow")
    assert logged() == ["'fine' is no status of a span; use one of unset, ok, error, cancelled"]


def test_the_error_is_told_by_an_event_with_its_stack(tracer, sent):
    @traced(tracer)
    def work():
        raise KeyError("x")

    with pytest.raises(KeyError):
        work()

    [event] = sent()["work"].events
    assert event.attributes["exception.type"] == "KeyError"
    assert event.attributes["exception.message"] == "'x'"
    assert event.attributes["exception.stacktrace"].endswith(
        "in work\n    raise KeyError(\"x\")\nKeyError: 'x'"
    )
    assert tracer.get_spans()[0].events[0].attributes == dict(event.attributes)


def test_values_are_made_what_opentelemetry_takes(tracer, sent):
    with trace_context(tracer, "x", {"none": None, 5: 2**70, "mixed": [1, "a"]}) as span:
        span.set_attribute("dict", {"a": 1})
        span.set_attribute("list", [1, 2])
        span.set_attribute("long", "x" * 5000)
        span.add_event("e", {"set": {1}, "none": None})

    expected = {
        "none": "None",
        "5": str(2**70),
        "mixed": "[1, 'a']",
        "dict": "{'a': 1}",
        "list": (1, 2),
        "long": "x" * 1024,
    }
    assert dict(sent()["x"].attributes) == expected
    assert span.attributes == expected
    assert span.events[0].attributes == {"set": "{1}", "none": "None"}


def test_durations_do_not_follow_a_clock_that_is_set_back(tracer, sent, monkeypatch):
    times = iter([10**18, 5, 5, 5])
    monkeypatch.setattr(otel, "time_ns", lambda: next(times))
    with trace_context(tracer, "x") as span:
        span.add_event("e")
        assert span.end_time is None
        assert span.duration > 0
        time.sleep(0.01)

    found = sent()["x"]
    assert 0.01 <= (found.end_time - found.start_time) / 1e9 < 5
    assert span.duration == pytest.approx((found.end_time - found.start_time) / 1e9, abs=1e-9)
    assert found.start_time <= found.events[0].timestamp <= found.end_time


def test_a_span_ends_once(tracer, exporter):
    with trace_context(tracer, "x") as span:
        tracer.end_span(span)
        span.set_attribute("late", 1)
        span.add_event("late")
        span.set_status("error")
        span.record_exception(ValueError())
    tracer.end_span(span)
    tracer.flush()

    assert len(exporter.get_finished_spans()) == len(tracer.get_spans()) == 1
    assert (span.attributes, span.events, span.status) == ({}, [], "unset")


# -- decorators -------------------------------------------------------------------------------------------------------


def test_generators_are_current_only_while_they_run(tracer, sent):
    @traced(tracer)
    def items():
        yield trace.get_current_span().name
        raise ValueError

    @traced(tracer)
    async def async_items():
        yield trace.get_current_span().name

    async def main():
        async for name in async_items():
            assert name == "async_items"
            assert not trace.get_current_span().is_recording()

    started = items()
    assert next(started) == "items"
    assert not trace.get_current_span().is_recording()
    with pytest.raises(ValueError):
        next(started)
    asyncio.run(main())

    assert sent()["items"].status.status_code is StatusCode.ERROR
    assert sent()["async_items"].status.status_code is StatusCode.OK


def test_a_block_that_is_finished_in_another_context_ends_without_a_complaint(tracer, sent):
    span = tracer.start_span("x")
    contextvars.copy_context().run(span.__enter__)
    span.__exit__(None, None, None)

    assert sent()["x"].status.status_code is StatusCode.OK


# -- sampling, keeping, hooks -----------------------------------------------------------------------------------------


def test_a_trace_that_is_not_sampled_is_not_sent_nor_are_its_parts(exporter):
    tracer = OpenTelemetryTracer("orders", exporter=exporter, sample=0, on_end=lambda _: 1 / 0)
    native = tracer.provider.get_tracer("native")
    with trace_context(tracer, "outer", {"a": 1}) as outer:
        outer.set_attribute("a", 1)
        outer.add_event("e")
        outer.record_exception(ValueError())
        with native.start_as_current_span("library"), trace_context(tracer, "inner") as inner:
            assert inner.trace_id == outer.trace_id
        assert exemplar_labels() == ()
    tracer.close()

    assert exporter.get_finished_spans() == ()
    assert tracer.get_spans() == []
    assert outer.traceparent == f"00-{outer.trace_id}-{outer.span_id}-00"
    assert isinstance(outer, Span)
    assert (outer.name, outer.attributes, outer.events, outer.sampled) == ("", {}, [], False)
    assert (outer.dropped_attributes, outer.dropped_events, outer.parent_id) == (0, 0, None)


def test_a_share_is_sampled_and_a_header_decides_for_its_trace(exporter):
    tracer = OpenTelemetryTracer("orders", exporter=exporter, sample=0.3)
    sampled = sum(tracer.start_span("x").sampled for _ in range(300))

    assert 40 < sampled < 150
    header = "00-" + "f" * 32 + "-" + "b" * 16
    assert tracer.start_span("x", traceparent=f"{header}-01").sampled
    assert not tracer.start_span("x", traceparent=f"{header}-00").sampled
    tracer.close()


def test_the_newest_spans_can_be_read_back_in_the_order_of_their_start(exporter):
    tracer = OpenTelemetryTracer("orders", exporter=exporter, limit=2)
    for name in "abc":
        with trace_context(tracer, name) as span:
            pass
    with trace_context(tracer, "d", parent=span):
        pass
    tracer.close()

    assert [span.name for span in tracer.get_spans()] == ["c", "d"]
    assert [span.name for span in tracer.get_spans(span.trace_id)] == ["c", "d"]
    assert tracer.dropped == 2
    tracer.clear()
    assert (tracer.get_spans(), tracer.dropped) == ([], 0)
    assert len(exporter.get_finished_spans()) == 4


def test_what_a_hook_does_is_not_traced_and_its_errors_are_told(exporter, logged):
    def send(span):
        seen.append(span.name)
        if len(seen) < 20:
            post()
        raise OSError

    seen = []
    tracer = OpenTelemetryTracer("orders", exporter=exporter, on_end=send)

    @traced(tracer)
    def post():
        pass

    with trace_context(tracer, "a"):
        pass
    tracer.close()

    assert seen == ["a"]
    assert len(exporter.get_finished_spans()) == 1
    assert logged() == ["measuring failed at on_end; the workflow goes on without it"]


# -- exemplars --------------------------------------------------------------------------------------------------------


def labels(span):
    context = span.get_span_context()
    return (("trace_id", f"{context.trace_id:032x}"), ("span_id", f"{context.span_id:016x}"))


def test_exemplars_lead_to_opentelemetrys_current_span_where_ours_is_not_sampled():
    native = TracerProvider().get_tracer("native")
    with native.start_as_current_span("x") as span:
        assert exemplar_labels() == labels(span)
        with trace_context(SimpleTracer(), "ours") as ours:
            assert exemplar_labels() == (("trace_id", ours.trace_id), ("span_id", ours.span_id))
        with trace_context(SimpleTracer(sample=0), "ours"):
            assert exemplar_labels() == labels(span)
    silent = TracerProvider(sampler=ALWAYS_OFF).get_tracer("native")
    with silent.start_as_current_span("x"):
        assert exemplar_labels() == ()
    assert exemplar_labels() == ()


def test_exemplars_lead_to_the_current_span_of_this_tracer(tracer):
    with trace_context(tracer, "x") as span:
        assert exemplar_labels() == labels(span.native)


def test_exemplars_do_without_an_opentelemetry_that_is_half_imported_or_broken(monkeypatch, logged):
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", object())
    assert exemplar_labels() == ()
    assert logged() == []

    class Broken:
        def get_current_span(self):
            raise RuntimeError

    monkeypatch.setitem(sys.modules, "opentelemetry.trace", Broken())
    assert exemplar_labels() == ()
    assert logged() == ["measuring failed at exemplar_labels; the workflow goes on without it"]


# -- sending ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/", "/v1/traces", "/custom"])
def test_a_collector_gets_the_spans(collector, path):
    tracer = OpenTelemetryTracer("orders", endpoint=collector.address + path)
    with contextlib.suppress(ValueError), trace_context(tracer, "x", {"rows": 5}) as span:
        raise ValueError("bad")
    tracer.close()
    tracer.close()

    [(address, resource, found)] = collector.spans()
    assert address == (path if path == "/custom" else "/v1/traces")
    assert {item.key: item.value.string_value for item in resource}["service.name"] == "orders"
    assert (found.name, found.trace_id.hex(), found.span_id.hex()) == (
        "x",
        span.trace_id,
        span.span_id,
    )
    assert found.end_time_unix_nano == span.end_time
    assert found.status.message == "ValueError: bad"


def test_the_last_spans_are_sent_at_the_end_of_the_program(collector):
    program = f"""
        from flowgauge.tracing.otel import OpenTelemetryTracer
        from flowgauge.tracing import trace_context
        tracer = OpenTelemetryTracer("orders", endpoint={collector.address!r})
        with trace_context(tracer, "last"):
            pass
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], timeout=60, check=True)

    assert [span.name for _, _, span in collector.spans()] == ["last"]


class Slow(SpanExporter):
    """Takes a while for each batch of spans."""

    def __init__(self):
        self.batches = 0

    def export(self, spans):
        self.batches += 1
        time.sleep(0.2)
        return SpanExportResult.SUCCESS


def test_the_end_does_not_wait_for_all_batches(logged):
    exporter = Slow()
    tracer = OpenTelemetryTracer("orders", exporter=exporter)
    for _ in range(2000):
        tracer.end_span(tracer.start_span("x"))
    begun = time.monotonic()
    tracer.close(timeout=0.1)

    assert time.monotonic() - begun < 1
    assert exporter.batches <= 3
    assert set(logged()) == {"the last spans were not sent: the time to do so was over"}


def test_a_collector_that_is_away_is_given_up(monkeypatch, caplog):
    monkeypatch.setattr(otel, "TIMEOUT", 0.3)
    tracer = OpenTelemetryTracer("orders", endpoint="http://127.0.0.1:9")
    with trace_context(tracer, "x"):
        pass
    begun = time.monotonic()
    tracer.close()

    assert time.monotonic() - begun < 5
    assert any(record.name.startswith("opentelemetry") for record in caplog.records)
    caplog.clear()


def test_without_a_collector_spans_are_kept_only():
    tracer = OpenTelemetryTracer("orders")
    with trace_context(tracer, "x"):
        pass
    assert tracer.flush()
    tracer.close()

    assert [span.name for span in tracer.get_spans()] == ["x"]


def test_faults_of_opentelemetry_reach_nobody_and_are_told(tracer, logged, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("broken")

    error = KeyError()

    @traced(tracer)
    def work():
        span = current_span()
        for method in ("set_attributes", "add_event", "end"):
            monkeypatch.setattr(span.native, method, broken)
        span.set_attribute("a", 1)
        span.add_event("e")
        raise error

    with pytest.raises(KeyError) as caught:
        work()
    assert caught.value is error
    monkeypatch.setattr(tracer.provider, "force_flush", broken)
    assert not tracer.flush()
    monkeypatch.setattr(otel.OpenTelemetryTracer, "_above", broken)
    with trace_context(tracer, "y") as span:
        span.set_attribute("a", 1)

    assert [line.split(";")[0].rpartition(" ")[2] for line in logged()] == [
        "set_attribute",
        "add_event",
        "record_exception",
        "end_span",
        "flush",
        "start_span",
    ]


def test_where_the_stack_is_used_up_the_error_is_still_the_functions(tracer, caplog):
    error = ValueError()
    ran = False

    @traced(tracer)
    def leaf():
        nonlocal ran
        ran = True
        raise error

    def dig(n):
        return dig(n - 1) if n else leaf()

    def depth_left():
        frame, depth = sys._getframe(), 0
        while frame := frame.f_back:
            depth += 1
        return sys.getrecursionlimit() - depth

    endings = set()
    for n in range(depth_left() - 60, depth_left() + 10):
        ran = False
        try:
            dig(n)
        except BaseException as caught:
            endings.add((ran, type(caught)))

    assert {kind for ran, kind in endings if ran} == {ValueError}
    assert (False, RecursionError) in endings
    caplog.clear()


# -- set-up -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"service_name": ""}, ValueError, "service_name is the name"),
        ({"service_name": None}, ValueError, "service_name is the name"),
        ({"exporter": object()}, TypeError, "exporter is an OpenTelemetry SpanExporter"),
        (
            {"exporter": Slow(), "endpoint": "http://x"},
            ValueError,
            "exporter or endpoint, not both",
        ),
        ({"endpoint": "collector:4318"}, ValueError, "endpoint is an address such as http"),
        ({"endpoint": "http://"}, ValueError, "endpoint is an address such as http"),
        ({"endpoint": 4318}, ValueError, "endpoint is an address such as http"),
        ({"sample": 2}, ValueError, "sample is the share"),
        ({"limit": -1}, ValueError, "limit is 0 or more"),
        ({"on_end": 5}, TypeError, "on_end is a function"),
    ],
)
def test_senseless_settings_are_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        OpenTelemetryTracer(**{"service_name": "orders"} | arguments)


@pytest.mark.parametrize(
    ("missing", "arguments"),
    [
        ("opentelemetry", {}),
        ("opentelemetry.sdk", {}),
        ("opentelemetry.exporter.otlp", {"endpoint": "http://x"}),
    ],
)
def test_a_missing_package_is_named_with_the_command(missing, arguments):
    program = f"""
        import sys
        sys.modules[{missing!r}] = None
        from flowgauge.tracing.otel import OpenTelemetryTracer
        try:
            OpenTelemetryTracer("orders", **{arguments!r})
        except ImportError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.strip().endswith("pip install 'flowgauge[otel]'")


# -- forks ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_span_that_began_before_a_fork_is_sent_by_the_parent_only(tracer, exporter):
    with trace_context(tracer, "parent") as parent:

        def child():
            with trace_context(tracer, "child") as span:
                pass
            parent.__exit__(None, None, None)
            tracer.flush()
            found = [span.name for span in exporter.get_finished_spans()]
            kept = [span.name for span in tracer.get_spans()]
            return found, kept, span.parent_id == parent.span_id

        assert in_child(child) == str((["child"], ["child"], True))
    tracer.flush()

    assert [span.name for span in exporter.get_finished_spans()] == ["parent"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_ids_differ_also_when_the_program_seeds_its_generator(tracer):
    def child():
        random.seed(42)
        return tracer.start_span("x").traceparent

    random.seed(42)
    assert len({in_child(child), in_child(child), tracer.start_span("x").traceparent}) == 3
