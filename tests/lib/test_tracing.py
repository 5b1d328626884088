import asyncio
import contextlib
import contextvars
import enum
import functools
import gc
import inspect
import itertools
import numbers
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import PurePosixPath

import pytest
from forked import in_child

from flowgauge import guard
from flowgauge.tracing import (
    SimpleTracer,
    Span,
    current_span,
    current_trace_id,
    default_tracer,
    details,
    exemplar_labels,
    recorded,
    set_default_tracer,
    trace_context,
    traced,
    tracers,
)
from flowgauge.tracing.recorded import RecordedSpan


class OwnError(BaseException):
    pass


@pytest.fixture
def tracer():
    return SimpleTracer()


@pytest.fixture
def logged(monkeypatch, caplog):
    """What the library logs, without the limit of one line a minute."""
    monkeypatch.setattr(guard, "QUIET_SECONDS", 0.0)
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture(autouse=True)
def outside():
    """No test leaves a current span behind."""
    yield
    assert current_span() is None


def only(tracer):
    [span] = tracer.get_spans()
    return span


def names(tracer):
    return [span.name for span in tracer.get_spans()]


# -- the guide --------------------------------------------------------------------------------------------------------


def test_a_span_is_started_described_and_ended_by_hand(tracer):
    span = tracer.start_span("fetch_user")
    span.set_attribute("user_id", 123)
    span.add_event("database_query", {"query": "SELECT * FROM users"})
    span.add_event("cache_update", {"hit": False})
    span.set_status("ok")
    assert tracer.get_spans() == []
    tracer.end_span(span)

    [found] = tracer.get_spans(span.trace_id)
    assert found is span
    assert found.name == "fetch_user"
    assert found.attributes == {"user_id": 123}
    assert [(event.name, event.attributes) for event in found.events] == [
        ("database_query", {"query": "SELECT * FROM users"}),
        ("cache_update", {"hit": False}),
    ]
    assert found.status == "ok"


def test_the_complete_example_of_the_guide(tracer):
    def check(item):
        if item == "bad":
            raise ValueError("bad item")

    @traced(tracer, "run_pipeline")
    async def run_pipeline(pipeline_name, items):
        with trace_context(tracer, "pipeline_execution") as span:
            span.set_attribute("pipeline.name", pipeline_name)
            span.set_attribute("items.count", len(items))
            try:
                for item in items:
                    with trace_context(tracer, "process_item") as item_span:
                        item_span.set_attribute("item.id", item)
                        await asyncio.sleep(0)
                        check(item)
                span.set_status("ok")
            except Exception as e:
                span.set_status("error", str(e))
                raise

    asyncio.run(run_pipeline("data_processor", ["a", "b"]))
    lines = [f"{span.name}: {span.duration:.3f}s - {span.status}" for span in tracer.get_spans()]
    assert [line.split(":")[0] for line in lines] == [
        "run_pipeline",
        "pipeline_execution",
        "process_item",
        "process_item",
    ]
    assert all(line.endswith("s - ok") for line in lines)

    tracer.clear()
    with pytest.raises(ValueError, match="bad item"):
        asyncio.run(run_pipeline("data_processor", ["bad"]))
    run, execution, item = tracer.get_spans()
    assert [(span.status, span.status_message) for span in (run, execution, item)] == [
        ("error", "ValueError: bad item"),
        ("error", "bad item"),
        ("error", "ValueError: bad item"),
    ]


# -- ids and parents --------------------------------------------------------------------------------------------------


def test_ids_have_the_form_of_the_standard_and_children_their_parents(tracer):
    with trace_context(tracer, "outer") as outer, trace_context(tracer, "inner") as inner:
        pass

    assert [len(outer.trace_id), len(outer.span_id)] == [32, 16]
    int(outer.trace_id, 16)
    int(outer.span_id, 16)
    assert outer.parent_id is None
    assert (inner.trace_id, inner.parent_id) == (outer.trace_id, outer.span_id)
    assert inner.span_id != outer.span_id
    assert inner.traceparent == f"00-{outer.trace_id}-{inner.span_id}-01"


def test_a_span_that_is_started_by_hand_is_a_child_but_not_current(tracer):
    with trace_context(tracer, "outer") as outer:
        by_hand = tracer.start_span("by hand")
        assert current_span() is outer
        assert current_trace_id() == outer.trace_id
    assert by_hand.parent_id == outer.span_id
    assert (current_span(), current_trace_id()) == (None, None)


def test_a_span_that_is_started_by_hand_may_be_a_block(tracer):
    with tracer.start_span("by hand") as span:
        assert current_span() is span
    assert only(tracer).status == "ok"


def test_tasks_inherit_the_span_they_are_started_in_and_keep_apart(tracer):
    @traced(tracer)
    async def child(number):
        await asyncio.sleep(0.001 * (3 - number))
        with trace_context(tracer, "grandchild", {"number": number}):
            await asyncio.sleep(0)

    async def parent(number):
        async with trace_context(tracer, "parent", {"number": number}) as span:
            await asyncio.gather(child(number), child(number))
            assert current_span() is span

    async def main():
        await asyncio.gather(*map(parent, range(3)))

    asyncio.run(main())

    spans = tracer.get_spans()
    by_id = {span.span_id: span for span in spans}
    assert len(spans) == 3 * (1 + 2 + 2)
    for span in spans:
        if span.name == "grandchild":
            above = by_id[by_id[span.parent_id].parent_id]
            assert above.attributes == span.attributes
            assert above.trace_id == span.trace_id
    assert len({span.trace_id for span in spans}) == 3


def test_threads_are_told_their_parent(tracer):
    with trace_context(tracer, "outer") as outer, ThreadPoolExecutor(1) as pool:

        def work(parent):
            with trace_context(tracer, "work", parent=parent) as span:
                return span.parent_id, current_span() is span

        assert pool.submit(work, None).result() == (None, True)
        assert pool.submit(work, outer).result() == (outer.span_id, True)
        assert pool.submit(contextvars.copy_context().run, work, None).result() == (
            outer.span_id,
            True,
        )


def test_the_explicit_parent_beats_the_header_and_the_header_the_current_span(tracer):
    header = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    other = tracer.start_span("other")
    with trace_context(tracer, "current") as span:
        assert tracer.start_span("x", parent=other, traceparent=header).parent_id == other.span_id
        assert tracer.start_span("x", traceparent=header).parent_id == "b" * 16
        assert tracer.start_span("x", traceparent=header).trace_id == "a" * 32
        assert tracer.start_span("x").parent_id == span.span_id
        assert tracer.start_span("x", traceparent="").parent_id is None


@pytest.mark.parametrize(
    "header",
    [
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        " 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\t",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03",
        "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-brings",
    ],
)
def test_a_good_header_is_the_parent(tracer, header):
    span = tracer.start_span("x", traceparent=header)

    assert span.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert span.parent_id == "b7ad6b7169203331"
    assert span.sampled


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        "00",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c8031_9-b7ad6b7169203331-01",
        "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0x",
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        5,
    ],
)
def test_a_malformed_header_begins_a_new_trace(tracer, header):
    with trace_context(tracer, "current") as current:
        span = tracer.start_span("x", traceparent=header)

    assert span.parent_id is None
    assert span.trace_id not in (current.trace_id, "0af7651916cd43dd8448eb211c80319c")


def test_a_header_goes_round(tracer):
    with trace_context(tracer, "here") as here:
        there = SimpleTracer().start_span("there", traceparent=here.traceparent)

    assert (there.trace_id, there.parent_id) == (here.trace_id, here.span_id)


def test_what_is_no_parent_is_left_out_and_told(tracer, logged):
    assert tracer.start_span("x", parent="that one").parent_id is None
    assert logged() == ["the parent of a span is a span, not str; it is left out"]


# -- time -------------------------------------------------------------------------------------------------------------


def test_times_are_unix_nanoseconds_and_the_duration_seconds(tracer):
    before = time.time_ns()
    with trace_context(tracer, "x") as span:
        time.sleep(0.02)
        span.add_event("middle")
        running = span.duration
        assert span.end_time is None
    after = time.time_ns()

    assert before <= span.start_time <= span.events[0].timestamp <= span.end_time <= after + 10**6
    assert 0.02 <= running <= span.duration < 5
    assert span.duration == pytest.approx((span.end_time - span.start_time) / 1e9, abs=1e-9)


def test_the_duration_does_not_follow_a_clock_that_is_set_back(tracer, monkeypatch):
    monkeypatch.setattr(tracers, "time_ns", lambda: 5)
    with trace_context(tracer, "x") as span:
        span.add_event("e")

    assert (span.start_time, span.duration >= 0) == (5, True)
    assert 5 <= span.events[0].timestamp <= span.end_time


def test_a_span_ends_once(tracer):
    with trace_context(tracer, "x") as span:
        tracer.end_span(span)
        ended = span.end_time
        span.set_attribute("late", 1)
        span.add_event("late")
        span.set_status("error", "late")
        span.record_exception(ValueError("late"))
    tracer.end_span(span)

    assert only(tracer) is span
    assert (span.end_time, span.attributes, span.events, span.status) == (ended, {}, [], "unset")


def test_what_is_no_span_cannot_be_ended_and_that_is_told(tracer, logged):
    tracer.end_span(None)

    assert logged() == ["a span is to be ended, but this is NoneType"]


# -- status and errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", ["unset", "ok", "error", "cancelled"])
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, {"unset": "ok"}),
        (GeneratorExit(), {"unset": "ok"}),
        (asyncio.CancelledError(), {"unset": "cancelled", "ok": "cancelled"}),
        (ValueError("x"), {"unset": "error", "ok": "error"}),
        (KeyboardInterrupt(), {"unset": "error", "ok": "error"}),
        (SystemExit(0), {"unset": "error", "ok": "error"}),
        (OwnError(), {"unset": "error", "ok": "error"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_status_follows_from_the_end_unless_the_program_says_otherwise(
    tracer, told, error, expected
):
    with contextlib.suppress(BaseException), trace_context(tracer, "x") as span:
        span.set_status(told)
        if error is not None:
            raise error

    assert only(tracer).status == expected.get(told, told)


def test_a_span_that_is_ended_by_hand_has_the_status_it_was_given(tracer):
    tracer.end_span(tracer.start_span("x"))

    assert (only(tracer).status, only(tracer).status_message) == ("unset", "")


def test_a_status_that_does_not_exist_is_left_out_and_told(tracer, logged):
    span = tracer.start_span("x")
    span.set_status("fine")

    assert span.status == "unset"
    assert logged() == ["'fine' is no status of a span; use one of unset, ok, error, cancelled"]


@pytest.mark.parametrize(
    "error",
    [ValueError("x"), KeyboardInterrupt(), SystemExit(3), OwnError(), asyncio.CancelledError()],
    ids=lambda error: type(error).__name__,
)
def test_errors_go_on_unchanged(tracer, error):
    @traced(tracer)
    def fail():
        raise error

    @traced(tracer)
    async def fail_later():
        raise error

    for call in (fail, lambda: fail_later().send(None)):
        with pytest.raises(BaseException) as caught:
            call()
        assert caught.value is error
        assert (error.__context__, error.__cause__) == (None, None)


def test_an_error_is_told_by_an_event_with_type_message_and_stack(tracer):
    def deeper():
        raise OSError(2, "no such thing")

    @traced(tracer)
    def work():
        deeper()

    with pytest.raises(OSError):
        work()

    span = only(tracer)
    [event] = span.events
    assert event.name == "exception"
    assert event.attributes["exception.type"] == "FileNotFoundError"
    assert event.attributes["exception.message"] == "[Errno 2] no such thing"
    stack = event.attributes["exception.stacktrace"].splitlines()
    assert stack[0] == "Traceback (most recent call last):"
    assert [line.rpartition(" in ")[2] for line in stack if line.startswith("  File")] == [
        "work",
        "deeper",
    ]
    assert f'"{__file__}"' in stack[1]
    assert stack[-2:] == [
        '    raise OSError(2, "no such thing")',
        "FileNotFoundError: [Errno 2] no such thing",
    ]
    assert span.status_message == "FileNotFoundError: [Errno 2] no such thing"


def test_errors_of_the_program_have_their_module_and_their_causes(tracer):
    def load():
        try:
            {}["first"]
        except KeyError as error:
            raise OwnError("second") from error

    with contextlib.suppress(OwnError), trace_context(tracer, "x"):
        load()

    told = only(tracer).events[0].attributes
    assert told["exception.type"] == f"{__name__}.OwnError"
    assert "OwnError: second\n\ncaused by:\n\nTraceback" in told["exception.stacktrace"]
    assert told["exception.stacktrace"].endswith("KeyError: 'first'")


def test_the_context_of_an_error_is_told_unless_it_is_suppressed(tracer):
    def stack(suppressed):
        with contextlib.suppress(ValueError), trace_context(tracer, "x") as span:
            try:
                {}["first"]
            except KeyError:
                if suppressed:
                    raise ValueError from None
                raise ValueError  # noqa: B904
        return span.events[0].attributes["exception.stacktrace"]

    assert "while handling" in stack(suppressed=False)
    assert "KeyError" not in stack(suppressed=True).replace("except KeyError", "")


def test_the_members_of_a_group_are_told(tracer):
    with contextlib.suppress(BaseException), trace_context(tracer, "x"):
        raise ExceptionGroup("both", [ValueError("one"), TypeError("two")])

    stack = only(tracer).events[0].attributes["exception.stacktrace"]
    assert "ExceptionGroup: both (2 sub-exceptions)" in stack
    assert stack.count("one of the group") == 2
    assert "ValueError: one" in stack
    assert "TypeError: two" in stack


def test_errors_that_cause_each_other_in_a_circle_are_told_once(tracer):
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    with contextlib.suppress(ValueError), trace_context(tracer, "x"):
        raise first

    stack = only(tracer).events[0].attributes["exception.stacktrace"]
    assert (stack.count("ValueError: first"), stack.count("ValueError: second")) == (1, 1)


def test_a_recursion_without_end_is_told_in_short_and_ends_all_spans(tracer):
    @traced(tracer)
    def deeper(n):
        return deeper(n + 1)

    with pytest.raises(RecursionError):
        deeper(0)

    spans = tracer.get_spans()
    assert {span.status for span in spans} == {"error"}
    assert all(span.end_time for span in spans)
    for above, below in itertools.pairwise(spans):
        assert below.parent_id == above.span_id
    stack = spans[0].events[0].attributes["exception.stacktrace"]
    assert " more ...\n" in stack
    assert stack.count("  File") == details.FIRST_FRAMES + details.LAST_FRAMES


@pytest.mark.parametrize("sample", [0, 1])
def test_where_the_stack_is_used_up_the_error_and_the_result_are_still_the_functions(sample):
    tracer = SimpleTracer(sample=sample)
    error = ValueError()
    ran = raising = False

    @traced(tracer)
    def leaf():
        nonlocal ran
        ran = True
        if raising:
            raise error
        return 5

    def dig(n):
        return dig(n - 1) if n else leaf()

    def depth_left():
        frame, depth = sys._getframe(), 0
        while frame := frame.f_back:
            depth += 1
        return sys.getrecursionlimit() - depth

    def call(n):
        try:
            return dig(n)
        except BaseException as caught:
            return caught

    endings = set()
    for raising in (False, True):
        for n in range(depth_left() - 40, depth_left() + 10):
            ran = False
            got = call(n)
            endings.add((raising, ran, type(got)))
            assert got is (error if raising else 5) or not ran

    assert endings == {
        (False, True, int),
        (False, False, RecursionError),
        (True, True, ValueError),
        (True, False, RecursionError),
    }


def test_a_long_chain_of_errors_is_told_in_short(tracer):
    def deep(n):
        return deep(n - 1) if n else 1 / 0

    def chained(n):
        try:
            deep(100)
        except ZeroDivisionError as error:
            if n:
                chained(n - 1)
            raise KeyError(n) from error

    with contextlib.suppress(KeyError), trace_context(tracer, "deep"):
        chained(20)
    error = None
    for n in range(20):
        above = ValueError(n)
        above.__cause__, error = error, above
    with contextlib.suppress(ValueError), trace_context(tracer, "long"):
        raise error

    deep_one, long_one = tracer.get_spans()
    assert len(deep_one.events[0].attributes["exception.stacktrace"]) == details.STACK_LENGTH
    assert long_one.events[0].attributes["exception.stacktrace"].count("ValueError: ") == 4


def test_an_error_that_cannot_be_printed_is_told_by_its_type(tracer):
    class UnprintableError(Exception):
        def __str__(self):
            raise RuntimeError

    with contextlib.suppress(UnprintableError), trace_context(tracer, "x"):
        raise UnprintableError

    assert only(tracer).events[0].attributes["exception.message"] == "<UnprintableError>"


def test_the_objects_of_an_error_are_not_kept(tracer):
    class Large:
        pass

    def fail():
        large = Large()
        raise ValueError(large)

    with contextlib.suppress(ValueError), trace_context(tracer, "x"):
        fail()

    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing) is Large]


def test_errors_that_are_handled_may_be_told_too(tracer):
    with trace_context(tracer, "x") as span:
        for number in range(20):
            try:
                int(f"x{number}")
            except ValueError as error:
                span.record_exception(error)

    assert span.status == "ok"
    assert len(span.events) == recorded.EXCEPTIONS
    assert span.dropped_events == 20 - recorded.EXCEPTIONS


# -- values and limits ------------------------------------------------------------------------------------------------


class Colour(str, enum.Enum):  # noqa: UP042 - the old way is what programs have
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Broken:
    def __str__(self):
        raise RuntimeError


@numbers.Integral.register
class BrokenNumber:
    def __int__(self):
        raise RuntimeError

    def __str__(self):
        return "no number"


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("text", "text"),
        (5, 5),
        (1.5, 1.5),
        (True, True),
        (None, None),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (Fraction(1, 4), 0.25),
        (["a", "b"], ("a", "b")),
        ((1, 2), (1, 2)),
        ([True, False], (True, False)),
        ([1, "a"], "[1, 'a']"),
        ([], "[]"),
        ({"a": [1]}, "{'a': [1]}"),
        (b"bytes", "b'bytes'"),
        (PurePosixPath("/a/b"), "/a/b"),
        (Broken(), "<Broken>"),
        (BrokenNumber(), "no number"),
        (2**63 - 1, 2**63 - 1),
        (2**63, str(2**63)),
        (-(2**70), str(-(2**70))),
        (10**5000, "<int>"),
        ([2**70], f"[{2**70}]"),
        ("x" * 5000, "x" * 1024),
        (list(range(1000)), tuple(range(32))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_are_kept_plain_and_short(tracer, value, kept):
    span = tracer.start_span("x", {"start": value})
    span.set_attribute("later", value)
    span.add_event("e", {"event": value})

    assert span.attributes == {"start": kept, "later": kept}
    assert span.events[0].attributes == {"event": kept}
    assert type(span.attributes["later"]) is type(kept)


def test_a_large_container_is_not_walked_through(tracer):
    class Counted:
        shown = 0

        def __repr__(self):
            Counted.shown += 1
            return "x"

    class Bytes(bytes):
        def __repr__(self):
            raise AssertionError

    many = [Counted() for _ in range(10_000)]
    span = tracer.start_span("x", {"list": [many, many], "dict": {1: dict.fromkeys(many, many)}})
    span.set_attribute("bytes", Bytes(10_000))

    assert Counted.shown < 3000
    assert {len(value) <= 1024 for value in span.attributes.values()} == {True}
    assert span.attributes["bytes"].startswith(r"b'\x00\x00")


def test_keys_and_names_are_kept_short_too(tracer):
    span = tracer.start_span("n" * 5000)
    span.set_attribute("k" * 5000, 1)
    span.add_event("e" * 5000, {"k" * 5000: 1})

    assert len(span.name) == 1024
    assert [len(key) for key in span.attributes] == [len(key) for key in span._attributes] == [256]
    assert len(span.events[0].name) == 1024
    assert [len(key) for key in span.events[0].attributes] == [256]


def test_names_and_keys_that_are_no_text_become_text(tracer):
    span = tracer.start_span(5, {("a", "b"): 1})
    span.add_event("e", {7: 1})

    assert (span.name, span.attributes, span.events[0].attributes) == (
        "5",
        {"('a', 'b')": 1},
        {"7": 1},
    )


def test_attributes_and_events_beyond_the_limit_are_counted(tracer):
    tracer = SimpleTracer(attribute_limit=3, event_limit=2, value_limit=5)
    span = tracer.start_span("x")
    for number in range(5):
        span.set_attribute(f"k{number}", "a long text " * 10)
        span.add_event("e")
    span.set_attribute("k0", "new")
    span.add_event("e", dict.fromkeys(map(str, range(100)), 1))

    assert span.attributes == {"k0": "new", "k1": "a lon", "k2": "a lon"}
    assert (span.dropped_attributes, len(span.events), span.dropped_events) == (2, 2, 4)


def test_an_event_has_its_first_attributes(tracer):
    span = tracer.start_span("x")
    span.add_event("e", dict.fromkeys(map(str, range(100)), 1))

    assert list(span.events[0].attributes) == [str(number) for number in range(16)]


def test_the_error_is_told_even_when_the_events_are_too_many():
    tracer = SimpleTracer(event_limit=1)
    with contextlib.suppress(ValueError), trace_context(tracer, "x") as span:
        span.add_event("e")
        raise ValueError

    assert [event.name for event in only(tracer).events] == ["e", "exception"]


def test_all_texts_of_a_span_have_a_limit_together(tracer):
    span = tracer.start_span("x")
    for number in range(64):
        span.set_attribute(f"k{number}", "x" * 5000)
        span.add_event("e", {"text": "x" * 5000, "list": ["y" * 5000] * 3})

    kept = sum(details.size(value) for value in span.attributes.values())
    kept += sum(details.size(v) for event in span.events for v in event.attributes.values())
    assert kept <= recorded.TEXT_ROOM + 3 * 64 * details.SHORT


def test_attributes_are_a_copy(tracer):
    span = tracer.start_span("x", {"a": 1})
    span.attributes["b"] = 2
    values = [1]
    span.set_attribute("list", values)
    values.append(2)

    assert span.attributes == {"a": 1, "list": (1,)}


def test_attributes_that_are_no_mapping_are_left_out_and_told(tracer, logged):
    span = tracer.start_span("x", ["a"])
    span.add_event("e", ["a"])
    span.set_attribute([], 1)

    assert (span.attributes, span.events) == ({}, [])
    assert [line.split(";")[0] for line in logged()] == [
        "measuring failed at start_span",
        "measuring failed at add_event",
        "measuring failed at set_attribute",
    ]


# -- what is kept -----------------------------------------------------------------------------------------------------


def test_the_newest_spans_are_kept_and_the_others_counted():
    tracer = SimpleTracer(limit=3)
    for number in range(5):
        with trace_context(tracer, str(number)):
            pass

    assert (names(tracer), tracer.dropped) == (["2", "3", "4"], 2)
    tracer.clear()
    assert (names(tracer), tracer.dropped) == ([], 0)


def test_spans_come_in_the_order_of_their_start(tracer):
    first, second = tracer.start_span("first"), tracer.start_span("second")
    with trace_context(tracer, "third"), trace_context(tracer, "fourth"):
        pass
    tracer.end_span(second)
    tracer.end_span(first)

    assert names(tracer) == ["first", "second", "third", "fourth"]


def test_of_spans_that_begin_in_one_tick_the_outer_one_comes_first(tracer, monkeypatch):
    ticks = iter([7, 7, 8, 9])
    monkeypatch.setattr(tracers, "perf_counter_ns", lambda: next(ticks))
    monkeypatch.setattr(recorded, "perf_counter_ns", lambda: next(ticks))
    with trace_context(tracer, "outer"), trace_context(tracer, "inner"):
        pass

    assert names(tracer) == ["outer", "inner"]


def test_one_trace_is_asked_for_by_its_id(tracer):
    with trace_context(tracer, "a") as a, trace_context(tracer, "b"):
        pass
    with trace_context(tracer, "c"):
        pass

    assert [span.name for span in tracer.get_spans(a.trace_id)] == ["a", "b"]
    assert tracer.get_spans("no such trace") == []


def test_a_chain_of_tasks_keeps_no_spans_but_the_newest():
    tracer = SimpleTracer(limit=5)

    async def link(left):
        with trace_context(tracer, "link"):
            if left:
                chain.append(asyncio.create_task(link(left - 1)))

    async def main():
        chain.append(asyncio.create_task(link(500)))
        while chain:
            await chain.pop()

    chain = []
    asyncio.run(main())
    gc.collect()

    assert tracer.dropped == 496
    spans = [thing for thing in gc.get_objects() if type(thing) is RecordedSpan]
    assert len([span for span in spans if span.name == "link"]) < 15


def test_a_hook_sees_each_span_when_it_has_ended():
    seen = []
    tracer = SimpleTracer(
        limit=0,
        on_end=lambda span: seen.append((span.name, span.status, span.end_time is not None)),
    )
    with trace_context(tracer, "a"):
        tracer.end_span(tracer.start_span("b"))
    with contextlib.suppress(ValueError), trace_context(tracer, "c"):
        raise ValueError

    assert seen == [("b", "unset", True), ("a", "ok", True), ("c", "error", True)]
    assert tracer.get_spans() == []


def test_a_hook_that_fails_is_told_and_harms_nothing(logged):
    def broken(span):
        raise OSError("collector is down")

    tracer = SimpleTracer(on_end=broken)
    with trace_context(tracer, "a") as span:
        pass

    assert (only(tracer), span.status) == (span, "ok")
    assert logged() == ["measuring failed at on_end; the workflow goes on without it"]


def test_what_a_hook_does_is_not_traced():
    seen = []

    def send(span):
        seen.append(span.name)
        if len(seen) < 20:
            post()

    tracer = SimpleTracer(on_end=send)

    @traced(tracer)
    def post():
        with trace_context(tracer, "socket"):
            return tracer.end_span(tracer.start_span("by hand"))

    with trace_context(tracer, "a") as outer:
        with trace_context(tracer, "b"):
            pass
        assert current_span() is outer

    assert seen == ["b", "a"]
    assert names(tracer) == ["a", "b"]


# -- sampling ---------------------------------------------------------------------------------------------------------


def test_a_trace_that_is_not_sampled_leaves_nothing_but_its_ids():
    tracer = SimpleTracer(sample=0)
    with trace_context(tracer, "outer", {"a": 1}) as outer:
        assert current_span() is outer
        with trace_context(tracer, "inner") as inner:
            inner.set_attribute("a", 1)
            inner.add_event("e", {"b": 2})
            inner.set_status("error", "x")
            inner.record_exception(ValueError())
            assert current_span() is outer
        by_hand = tracer.start_span("by hand")
        tracer.end_span(by_hand)

    assert (tracer.get_spans(), tracer.dropped) == ([], 0)
    for span in (outer, inner, by_hand):
        assert isinstance(span, Span)
        assert not span.sampled
        assert span.trace_id == outer.trace_id != "0" * 32
        assert span.traceparent == f"00-{outer.trace_id}-{span.span_id}-00"
        assert (span.name, span.attributes, span.events, span.status) == ("", {}, [], "unset")
        assert (span.duration, span.start_time, span.end_time) == (0.0, 0, None)
        assert (span.status_message, span.dropped_attributes, span.dropped_events) == ("", 0, 0)
        assert outer.trace_id in repr(span)


def test_the_decision_holds_for_the_whole_trace():
    tracer = SimpleTracer(sample=0.3)
    for _ in range(300):
        with trace_context(tracer, "outer"):
            for _ in range(3):
                with trace_context(tracer, "inner"):
                    pass

    traces = {}
    for span in tracer.get_spans():
        traces.setdefault(span.trace_id, []).append(span.name)
    assert 40 < len(traces) < 150
    assert {tuple(trace) for trace in traces.values()} == {("outer", "inner", "inner", "inner")}


def test_the_decision_is_handed_to_tasks_threads_and_other_processes():
    silent, loud = SimpleTracer(sample=0), SimpleTracer()

    def parents(parent):
        with trace_context(loud, "there", parent=parent) as span:
            with trace_context(loud, "deeper") as deeper:
                pass
            return span.sampled, deeper.sampled, deeper.trace_id == parent.trace_id

    with trace_context(silent, "outer") as outer:
        assert not loud.start_span("x").sampled
        assert not loud.start_span("x", traceparent=outer.traceparent).sampled
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(parents, outer).result() == (False, False, True)
    with trace_context(loud, "outer") as outer:
        assert silent.start_span("x").sampled
        assert silent.start_span("x", traceparent=outer.traceparent).sampled
        with trace_context(silent, "y") as inner:
            pass
    assert inner in silent.get_spans()


def test_a_share_of_one_samples_all_and_of_nothing_none():
    assert all(SimpleTracer(sample=1).start_span("x").sampled for _ in range(100))
    assert not any(SimpleTracer(sample=0.0).start_span("x").sampled for _ in range(100))


def test_errors_of_traces_that_are_not_sampled_go_on():
    tracer = SimpleTracer(sample=0)

    @traced(tracer)
    def fail():
        raise KeyError

    with pytest.raises(KeyError):
        fail()
    with pytest.raises(KeyError), trace_context(tracer, "outer"):
        fail()


# -- the decorator ----------------------------------------------------------------------------------------------------


def plain(a, b=2):
    """Doc."""
    return a + b


async def coroutine(a, b=2):
    """Doc."""
    return a + b


def generator(a, b=2):
    """Doc."""
    yield a + b


async def async_generator(a, b=2):
    """Doc."""
    yield a + b


@pytest.mark.parametrize("function", [plain, coroutine, generator, async_generator])
def test_a_decorated_function_is_still_what_it_was(tracer, function):
    decorated = traced(tracer, "x")(function)

    assert decorated.__name__ == function.__name__
    assert decorated.__doc__ == "Doc."
    assert inspect.signature(decorated) == inspect.signature(function)
    for is_sort in (
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
    ):
        assert is_sort(decorated) == is_sort(function)


def test_all_sorts_of_functions_give_one_span_each_call(tracer):
    async def main():
        return [
            await traced(tracer, "coroutine")(coroutine)(1),
            [item async for item in traced(tracer, "async generator")(async_generator)(1)],
        ]

    assert traced(tracer, "plain")(plain)(1, b=4) == 5
    assert list(traced(tracer, "generator")(generator)(1)) == [3]
    assert asyncio.run(main()) == [3, [3]]
    assert names(tracer) == ["plain", "generator", "coroutine", "async generator"]
    assert {span.status for span in tracer.get_spans()} == {"ok"}


def test_the_name_is_the_functions_unless_given(tracer):
    traced(tracer)(plain)(1)
    traced(tracer, "given")(plain)(1)
    traced(tracer, name="named")(plain)(1)
    traced(tracer=tracer, name="keywords")(plain)(1)
    traced(tracer)(functools.partial(functools.partial(plain, 1), 2))()

    assert names(tracer) == ["plain", "given", "named", "keywords", "plain"]


def test_without_a_tracer_it_is_the_default_of_the_moment_of_the_call(tracer):
    @traced
    def bare():
        return 1

    @traced()
    async def called():
        return 2

    @traced(name="named")
    def named():
        return 3

    @traced
    @staticmethod
    def static():
        return 4

    usual = default_tracer()
    assert default_tracer() is usual
    set_default_tracer(tracer)
    try:
        assert (bare(), asyncio.run(called()), named(), static()) == (1, 2, 3, 4)
    finally:
        set_default_tracer(usual)

    assert names(tracer) == ["bare", "called", "named", "static"]
    usual.clear()
    bare()
    assert names(usual) == ["bare"]


@traced
def picklable():
    return 5


def test_a_decorated_function_can_be_pickled():
    assert pickle.loads(pickle.dumps(picklable))() == 5  # noqa: S301


def test_methods_static_methods_and_class_methods_are_traced_in_either_order(tracer):
    class Service:
        factor = 3

        @traced(tracer, "method")
        def method(self, x):
            return self.factor * x

        @traced(tracer, "above")
        @staticmethod
        def above(x):
            return x

        @staticmethod
        @traced(tracer, "below")
        def below(x):
            return x

        @traced(tracer, "outer")
        @classmethod
        def outer(cls, x):
            return cls.factor * x

        @classmethod
        @traced(tracer, "inner")
        def inner(cls, x):
            return cls.factor * x

    service = Service()
    assert [
        service.method(1),
        service.above(1),
        Service.below(1),
        Service.outer(1),
        service.inner(1),
    ] == [3, 1, 1, 3, 3]
    assert names(tracer) == ["method", "above", "below", "outer", "inner"]


def test_partials_bound_methods_and_callable_objects_are_traced_as_what_they_call(tracer):
    class Job:
        async def __call__(self):
            return current_span().name

        def method(self):
            return current_span().name

    assert asyncio.run(traced(tracer, "object")(Job())()) == "object"
    assert asyncio.run(traced(tracer)(Job())()) == "Job"
    assert traced(tracer)(Job().method)() == "method"
    assert asyncio.run(traced(tracer, "partial")(functools.partial(coroutine, 1))()) == 3
    assert traced(tracer)(len)([]) == 0


@pytest.mark.parametrize(
    "decorate",
    [
        lambda: traced("load"),
        lambda: traced(5, "load"),
        lambda: traced(plain, "load"),
        lambda: set_default_tracer("load"),
    ],
)
def test_what_is_no_tracer_is_refused_with_the_remedy(decorate):
    with pytest.raises(TypeError, match="a tracer is needed, such as SimpleTracer"):
        decorate()


@pytest.mark.parametrize("target", [type("Nope", (), {}), 5, "load", property(plain)])
def test_what_is_no_function_is_refused_with_the_remedy(tracer, target):
    with pytest.raises(TypeError, match="goes on a function"):
        traced(tracer)(target)


# -- generators -------------------------------------------------------------------------------------------------------


def test_the_span_of_a_generator_is_current_only_while_the_generator_runs(tracer):
    @traced(tracer, "items")
    def items():
        yield current_span().name
        with trace_context(tracer, "inside"):
            pass
        yield current_span().name

    with trace_context(tracer, "consumer") as consumer:
        for name in items():
            assert name == "items"
            assert current_span() is consumer
            with trace_context(tracer, "outside"):
                pass

    parents = {span.span_id: span.name for span in tracer.get_spans()}
    assert {(span.name, parents.get(span.parent_id)) for span in tracer.get_spans()} == {
        ("consumer", None),
        ("items", "consumer"),
        ("inside", "items"),
        ("outside", "consumer"),
    }


def test_a_generator_is_traced_from_its_first_item_to_its_end_and_keeps_its_protocol(tracer):
    @traced(tracer)
    def echo():
        received = []
        try:
            received.append((yield 1))
            received.append((yield 2))
        except KeyError:
            received.append((yield 3))
        return received

    started = echo()
    assert current_span() is None
    assert next(started) == 1
    assert started.send("a") == 2
    assert started.throw(KeyError()) == 3
    assert tracer.get_spans() == []
    with pytest.raises(StopIteration) as stop:
        started.send("b")

    assert stop.value.value == ["a", "b"]
    assert only(tracer).status == "ok"


def test_a_generator_that_is_closed_early_has_ended_well_and_cleans_up(tracer):
    cleaned = []

    @traced(tracer)
    def items():
        try:
            yield 1
        finally:
            cleaned.append(current_span().name)

    started = items()
    next(started)
    started.close()

    assert cleaned == ["items"]
    assert (only(tracer).status, only(tracer).events) == ("ok", [])


def test_a_generator_that_raises_has_failed(tracer):
    error = ValueError("x")

    @traced(tracer)
    def items():
        yield 1
        raise error

    with pytest.raises(ValueError) as caught:
        list(items())

    assert caught.value is error
    assert only(tracer).status == "error"
    stack = only(tracer).events[0].attributes["exception.stacktrace"]
    assert stack.count("  File") == 1  # that of the generator, and none of what wraps it


def test_an_async_generator_keeps_its_protocol_and_its_span_to_itself(tracer):
    @traced(tracer)
    async def echo():
        received = yield current_span().name
        try:
            yield received
        except KeyError:
            await asyncio.sleep(0)
            yield current_span().name

    async def main():
        started = echo()
        got = []
        for step in (anext(started), started.asend("a"), started.athrow(KeyError())):
            got.append(await step)
            assert current_span() is None
        with pytest.raises(StopAsyncIteration):
            await anext(started)
        return got

    assert asyncio.run(main()) == ["echo", "a", "echo"]
    assert only(tracer).status == "ok"


def test_an_async_generator_that_is_left_early_has_ended_well_and_cleans_up(tracer):
    cleaned = []

    @traced(tracer)
    async def items():
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            cleaned.append(current_span().name)

    async def main():
        async with contextlib.aclosing(items()) as started:
            async for _ in started:
                break

    asyncio.run(main())

    assert cleaned == ["items"]
    assert only(tracer).status == "ok"


def test_an_async_generator_that_is_abandoned_or_raises_ends_all_the_same(tracer):
    @traced(tracer, "abandoned")
    async def abandoned():
        yield 1
        yield 2

    @traced(tracer, "failing")
    async def failing():
        yield 1
        raise KeyError

    async def main():
        async for _ in abandoned():
            break
        with pytest.raises(KeyError):
            async for _ in failing():
                pass

    asyncio.run(main())

    assert {span.name: span.status for span in tracer.get_spans()}["failing"] == "error"
    assert len(tracer.get_spans()) == 2


def test_an_async_generator_may_be_driven_by_several_tasks(tracer):
    @traced(tracer)
    async def items():
        for _ in range(4):
            await asyncio.sleep(0)
            yield current_span().name

    async def main():
        started = items()
        return [await asyncio.create_task(anext(started)) for _ in range(4)], await anext(
            started, "end"
        )

    assert asyncio.run(main()) == (["items"] * 4, "end")
    assert only(tracer).status == "ok"


def test_a_block_that_is_finished_in_another_context_ends_without_a_fault(tracer, logged):
    span = tracer.start_span("x")
    contextvars.copy_context().run(span.__enter__)
    span.__exit__(None, None, None)

    assert only(tracer).status == "ok"
    assert logged() == []


def test_a_cancelled_coroutine_is_cancelled_and_not_an_error(tracer):
    @traced(tracer)
    async def wait():
        await asyncio.sleep(60)

    async def main():
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())

    assert (only(tracer).status, only(tracer).events) == ("cancelled", [])


# -- the rest of the process ------------------------------------------------------------------------------------------


def test_exemplars_lead_to_the_current_sampled_span(tracer):
    assert exemplar_labels() == ()
    with trace_context(tracer, "x") as span:
        expected = (("trace_id", span.trace_id), ("span_id", span.span_id))
        assert exemplar_labels() == expected
        assert exemplar_labels() is exemplar_labels()
    with trace_context(SimpleTracer(sample=0), "x"):
        assert exemplar_labels() == ()
    assert exemplar_labels() == ()


def test_totals_are_exact_under_threads_while_others_read():
    tracer = SimpleTracer(limit=100)
    finished = []

    def work():
        for _ in range(3000):
            with trace_context(tracer, "outer") as outer, trace_context(tracer, "inner") as inner:
                assert inner.parent_id == outer.span_id
        finished.append(True)

    def read():
        while len(finished) < 6:
            assert len(tracer.get_spans()) <= 100

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=target) for target in (*[work] * 6, read)]
    try:
        for thread in threads:
            thread.start()
    finally:
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)

    assert len(finished) == 6
    assert len(tracer.get_spans()) + tracer.dropped == 6 * 3000 * 2


def test_a_span_may_be_read_while_another_thread_describes_it():
    tracer = SimpleTracer(attribute_limit=2000, event_limit=2000)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            span = tracer.start_span("x", {"first": 1})

            def describe(span=span):
                for number in range(500):
                    span.set_attribute(f"k{number}", number)
                    span.add_event("e", {"number": number})

            thread = threading.Thread(target=describe)
            thread.start()
            while thread.is_alive():
                assert len(span.attributes) >= 1
                assert len(span.events) >= 0
            thread.join()
            assert (len(span.attributes), len(span.events)) == (501, 500)
    finally:
        sys.setswitchinterval(interval)


def test_the_first_events_of_two_threads_are_both_kept(tracer):
    span = tracer.start_span("x")

    class Late(dict):
        """While its items are read, another thread tells the first event."""

        def items(self):
            thread = threading.Thread(target=span.add_event, args=("other",))
            thread.start()
            thread.join()
            return super().items()

    span.add_event("mine", Late(a=1))

    assert sorted(event.name for event in span.events) == ["mine", "other"]


def test_a_span_that_two_threads_end_is_kept_once():
    tracer = SimpleTracer(limit=10_000)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(300):
            span = tracer.start_span("x")
            threads = [threading.Thread(target=tracer.end_span, args=(span,)) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(interval)

    assert len(tracer.get_spans()) == 300


def test_a_signal_handler_may_trace_while_the_main_thread_traces_or_reads():
    tracer = SimpleTracer(limit=1_000_000)
    handled = []

    def handler(*_):
        with trace_context(tracer, "handler") as span:
            span.add_event("signal")
            handled.append(1)

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    outer = 0
    try:
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            with trace_context(tracer, "main") as span:
                span.set_attribute("a", 1)
                outer += 1
            if outer % 100 == 0:
                tracer.get_spans()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)

    assert len(handled) > 50
    assert len(tracer.get_spans()) == outer + len(handled)


def test_faults_of_the_tracing_reach_nobody_and_are_told(tracer, logged, monkeypatch):
    def broken(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr(details, "failures", broken)
    with pytest.raises(KeyError), trace_context(tracer, "x"):
        raise KeyError
    monkeypatch.setattr(recorded, "conclude", broken)
    with pytest.raises(KeyError), trace_context(tracer, "x"):
        raise KeyError

    assert [line.split(";")[0] for line in logged()] == [
        "measuring failed at record_exception",
        "measuring failed at finish",
    ]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"sample": 1.1}, ValueError, "sample is the share"),
        ({"sample": -0.1}, ValueError, "sample is the share"),
        ({"sample": float("nan")}, ValueError, "sample is the share"),
        ({"sample": True}, ValueError, "sample is the share"),
        ({"sample": "half"}, ValueError, "sample is the share"),
        ({"limit": -1}, ValueError, "limit is 0 or more"),
        ({"limit": 1.5}, TypeError, "limit is a whole number"),
        ({"attribute_limit": "x"}, TypeError, "attribute_limit is a whole number"),
        ({"event_limit": -1}, ValueError, "event_limit is 0 or more"),
        ({"value_limit": None}, TypeError, "value_limit is a whole number"),
        ({"on_end": 5}, TypeError, "on_end is a function"),
    ],
)
def test_senseless_settings_are_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        SimpleTracer(**arguments)


def test_importing_loads_nothing_heavy():
    heavy = (
        "asyncio dataclasses inspect logging linecache traceback opentelemetry prometheus_client"
        " ssl urllib.request http.client threading numbers"
    )
    code = (
        "import sys; before = set(sys.modules); import flowgauge.tracing, flowgauge.tracing.otel;"
        f"print(sorted((set({heavy.split()!r}) & set(sys.modules)) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.strip() == "[]"


def test_the_name_of_a_tracer_that_is_gone_is_gone_too():
    tracer = SimpleTracer()
    own = weakref.ref(tracer)
    assert any(keeper is tracer for keeper in tracers._keepers)
    del tracer
    gc.collect()
    assert own() is None


# -- forks ------------------------------------------------------------------------------------------------------------


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@forks
def test_a_forked_child_begins_with_no_spans_and_goes_on_with_the_trace(tracer):
    with trace_context(tracer, "before"):
        pass
    with trace_context(tracer, "parent") as parent:

        def child():
            empty = tracer.get_spans() == [] and tracer.dropped == 0
            with trace_context(tracer, "child") as span:
                pass
            parent.__exit__(None, None, None)
            return empty, names(tracer), span.parent_id == parent.span_id, current_span()

        assert in_child(child) == str((True, ["child"], True, None))

    assert names(tracer) == ["before", "parent"]


@forks
def test_a_hook_is_called_in_the_child_for_the_childs_spans_only():
    seen = []
    tracer = SimpleTracer(on_end=lambda span: seen.append(span.name))
    outer = tracer.start_span("parent's")

    def child():
        with trace_context(tracer, "child's"):
            pass
        tracer.end_span(outer)
        return seen

    assert in_child(child) == '["child\'s"]'
    tracer.end_span(outer)
    assert seen == ["parent's"]


@forks
def test_ids_differ_between_forked_children_also_when_the_program_seeds_its_generator(tracer):
    def child():
        random.seed(42)
        return tracer.start_span("x").traceparent

    random.seed(42)
    ids = {in_child(child) for _ in range(4)} | {tracer.start_span("x").traceparent}

    assert len(ids) == 5


@forks
def test_children_that_are_forked_under_load_do_not_hang(tracer):
    running = True

    def work():
        while running:
            with contextlib.suppress(ValueError), trace_context(tracer, "x") as span:
                span.set_attribute("a", "b")
                tracer.get_spans("x")
                raise ValueError

    def child():
        with trace_context(tracer, "child") as span:
            span.add_event("e")
        return names(tracer)

    threads = [threading.Thread(target=work) for _ in range(3)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        answers = {in_child(child) for _ in range(30)}
    finally:
        running = False
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()

    assert answers == {"['child']"}
