"""Orchestrix' module: the programs of its users, then what the bus and the stores count."""

import asyncio
import functools
import os
import pickle
import signal
import threading
import time
import uuid
from dataclasses import FrozenInstanceError, dataclass
from datetime import UTC, datetime

import pytest
from programs import Page, free_port, page_of, printed, programs, run

from flowgauge import guard
from flowgauge.compat import orchestrix
from flowgauge.compat.orchestrix import (
    Command,
    ConcurrencyError,
    Event,
    HandlerError,
    InMemoryAsyncEventStore,
    InMemoryAsyncMessageBus,
    InMemoryEventStore,
    InMemoryMessageBus,
    Message,
    MetricsConfig,
    init_metrics,
    measured_store,
)
from flowgauge.compat.orchestrix.store import aggregate_type

PROGRAMS = programs("orchestrix")

# As the guide shows it.
EXPECTED = """\
# HELP orchestrix_messages_total Total messages published
# TYPE orchestrix_messages_total counter
orchestrix_messages_total{type="command",name="ProcessOrder"} 100
orchestrix_messages_total{type="event",name="OrderProcessed"} 100

# HELP orchestrix_messages_per_second Messages published per second
# TYPE orchestrix_messages_per_second gauge
orchestrix_messages_per_second 45.2

# HELP orchestrix_handler_duration_seconds Handler execution time
# TYPE orchestrix_handler_duration_seconds histogram
orchestrix_handler_duration_seconds_bucket{handler="handle_process_order",le="0.1"} 95
orchestrix_handler_duration_seconds_bucket{handler="handle_process_order",le="0.5"} 100
orchestrix_handler_duration_seconds_sum{handler="handle_process_order"} 10.234
orchestrix_handler_duration_seconds_count{handler="handle_process_order"} 100

# HELP orchestrix_store_operations_total Event store operations
# TYPE orchestrix_store_operations_total counter
orchestrix_store_operations_total{operation="save",store="postgres"} 1000
orchestrix_store_operations_total{operation="load",store="postgres"} 500

# HELP orchestrix_store_duration_seconds Event store operation duration
# TYPE orchestrix_store_duration_seconds histogram
orchestrix_store_duration_seconds_sum{operation="save"} 5.432
orchestrix_store_duration_seconds_count{operation="save"} 1000

# HELP orchestrix_errors_total Total errors
# TYPE orchestrix_errors_total counter
orchestrix_errors_total{type="handler_error",handler="handle_order"} 3
orchestrix_errors_total{type="concurrency_error",aggregate="order"} 2
"""
# What a program with a store of its own and with errors does besides.
MORE = """
from flowgauge.compat.orchestrix import ConcurrencyError, HandlerError, measured_store

class PostgresStore:
    def __init__(self):
        self.events = {}
    def save(self, aggregate_id, events, expected_version):
        known = self.events.setdefault(aggregate_id, [])
        if len(known) != expected_version:
            raise ConcurrencyError(aggregate_id, expected_version, len(known))
        known.extend(events)
    def load(self, aggregate_id):
        return list(self.events.get(aggregate_id, []))

store = measured_store(PostgresStore(), name="postgres")
for version in range(10):
    store.save("order-17", [OrderProcessed(order_id="17")], expected_version=version)
for _ in range(5):
    assert store.load("order-17")
for _ in range(2):
    try:
        store.save("order-17", [], expected_version=3)
    except ConcurrencyError:
        pass

@dataclass(frozen=True)
class Order(Command):
    order_id: str

def handle_order(cmd):
    raise LookupError(cmd.order_id)

import logging
logging.getLogger("flowgauge.orchestrix").disabled = True
bus.subscribe(Order, handle_order)
for i in range(3):
    try:
        bus.publish(Order(order_id=str(i)))
    except HandlerError as error:
        assert isinstance(error.original_error, LookupError)
"""


@dataclass(frozen=True)
class Placed(Event):
    order_id: str
    amount: int = 1


@pytest.fixture(autouse=True)
def unheard(monkeypatch):
    """Each test hears the warnings that another has had."""
    monkeypatch.setattr(guard, "_reported", {})


@pytest.fixture
def page(observe):
    def shown():
        with observe(profile="orchestrix") as handle:
            return Page(handle.render().body.decode())

    return shown


@pytest.fixture
def message(name):
    """A class of messages of the test's own: series live as long as the process."""
    return dataclass(frozen=True)(type(f"Do{name.title().replace('-', '')}", (Command,), {}))


def pickled(value):
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own


def named(name, function):
    function.__name__ = name
    return function


def test_the_tests_are_about_all_programs():
    assert sorted(PROGRAMS) == ["configuration", "orders"]


def test_the_program_of_the_guide_is_measured_without_a_line_of_its_own():
    port = free_port()

    out = run(
        PROGRAMS["orders"],
        changes=[("8000", str(port)), ("sleep(0.1)", "sleep(0.01)")],
        after=page_of(port),
    )
    page = printed(out)

    assert out.splitlines()[:100] == [f"Order processed: ORD-{i:03d}" for i in range(100)]
    assert 'orchestrix_messages_total{name="ProcessOrder",type="command"} 100.0' in page.lines
    assert 'orchestrix_messages_total{name="OrderProcessed",type="event"} 100.0' in page.lines
    assert 0 < page.value("orchestrix_messages_per_second") <= 200
    handler = {"handler": "handle_process_order"}
    assert page.value("orchestrix_handler_duration_seconds_count", **handler) == 100
    assert page.value("orchestrix_handler_duration_seconds_bucket", le="0.01", **handler) == 0
    assert 1 <= page.value("orchestrix_handler_duration_seconds_sum", **handler) < 30
    assert page.value("orchestrix_active_handlers", **handler) == 0
    error = {"type": "handler_error", **handler}
    assert page.value("orchestrix_errors_total", **error) == 0
    # The metrics of Python.
    assert "# TYPE python_info gauge" in page.lines
    assert page.value("process_resident_memory_bytes") > 1e6


def test_all_that_the_guide_shows_is_shown():
    port = free_port()

    out = run(
        PROGRAMS["orders"],
        changes=[("8000", str(port)), ("sleep(0.1)", "sleep(0)")],
        after=f"{MORE}\n{page_of(port)}",
    )
    page = printed(out)

    assert page.lacks(EXPECTED) == []
    of = {"store": "postgres"}
    assert page.value("orchestrix_store_operations_total", operation="save", **of) == 12
    assert page.value("orchestrix_store_operations_total", operation="load", **of) == 5
    assert page.value("orchestrix_store_duration_seconds_count", operation="save") == 12
    errors = "orchestrix_errors_total"
    assert page.value(errors, type="handler_error", handler="handle_order") == 3
    assert page.value(errors, type="concurrency_error", aggregate="order") == 2
    bounds = ["0.01", "0.05", "0.1", "0.5", "1.0", "5.0", "+Inf"]
    assert page.bounds("orchestrix_handler_duration_seconds", handler="handle_order") == bounds
    assert page.bounds("orchestrix_store_duration_seconds", operation="save") == bounds


def test_the_configuration_of_the_guide_is_one():
    run(
        f"config = {PROGRAMS['configuration']}",
        before="from flowgauge.compat.orchestrix import MetricsConfig",
        after="assert config == MetricsConfig(histogram_buckets=(0.01, 0.05, 0.1, 0.5, 1, 5))",
    )


def test_buckets_and_default_metrics_may_be_chosen():
    port = free_port()

    out = run(
        "",
        before=f"""
            from flowgauge.compat.orchestrix import *
            def config():
                return MetricsConfig(
                    port={port}, path="/numbers", enable_default_metrics=False, histogram_buckets=[0.2, 0.002]
                )
            try:
                config()
            except ValueError as error:
                assert "histogram_buckets is [0.2, 0.002], must be finite numbers" in str(error)
            def config():
                return MetricsConfig(
                    port={port}, path="/numbers", enable_default_metrics=False, histogram_buckets=[0.002, 0.2]
                )
            assert init_metrics(config()) is init_metrics(config())
            bus = InMemoryMessageBus()
            def handle(event): pass
            bus.subscribe(Event, handle)
            bus.publish(Event())
            InMemoryEventStore().load("a")
        """,
        after=page_of(port).replace("/metrics", "/numbers"),
    )
    page = printed(out)

    bounds = ["0.002", "0.2", "+Inf"]
    assert page.bounds("orchestrix_handler_duration_seconds", handler="handle") == bounds
    assert page.bounds("orchestrix_store_duration_seconds", operation="load") == bounds
    assert "python_info" not in page.text
    assert "process_resident_memory_bytes" not in page.text


@pytest.mark.parametrize("buckets", [[], [1, 1], [2, 1], [float("nan")], [float("inf")]])
def test_buckets_that_are_none_are_refused(buckets):
    with pytest.raises(ValueError, match=r"histogram_buckets is .*, must be finite numbers"):
        MetricsConfig(histogram_buckets=buckets)


def test_infinity_may_be_among_the_buckets():
    assert MetricsConfig(histogram_buckets=[1, float("inf")]).histogram_buckets == (1.0,)


def test_a_path_that_is_none_is_refused():
    with pytest.raises(ValueError, match="path is 'metrics', must be the path of a URL"):
        init_metrics(MetricsConfig(path="metrics", port=0))


# Messages


def test_messages_are_frozen_dataclasses_with_metadata():
    before = datetime.now(UTC)
    placed = Placed("17", 3, correlation_id="c")

    assert (placed.order_id, placed.amount, placed.correlation_id) == ("17", 3, "c")
    assert placed.type == "Placed"
    assert placed.source == "orchestrix"
    assert uuid.UUID(placed.id).version == 4
    assert before <= placed.timestamp <= datetime.now(UTC)
    assert Placed("17").id != Placed("17").id
    assert isinstance(placed, Event)
    assert isinstance(placed, Message)
    with pytest.raises(FrozenInstanceError):
        placed.amount = 4
    assert pickled(placed) == placed


# The bus


def test_messages_count_by_sort_and_class_also_without_handlers(name, page):
    @dataclass(frozen=True)
    class Plain(Message):
        pass

    Plain.__name__ = name
    bus = InMemoryMessageBus()
    bus.publish(Plain())
    bus.publish(Placed("1"))
    found = page()

    assert found.value("orchestrix_messages_total", type="message", name=name) == 1
    assert found.value("orchestrix_messages_total", type="event", name="Placed") >= 1


def test_handlers_get_messages_of_their_class_in_order():
    seen = []
    bus = InMemoryMessageBus()
    bus.subscribe(Placed, lambda event: seen.append(("first", event.order_id)))
    bus.subscribe(Placed, lambda event: seen.append(("second", event.order_id)))
    bus.subscribe(Event, lambda _: seen.append("base"))

    bus.publish(Placed("1"))
    InMemoryMessageBus().publish(Placed("2"))

    assert seen == [("first", "1"), ("second", "1")]


def test_a_handler_may_publish_and_subscribe(message):
    seen = []
    bus = InMemoryMessageBus()

    def handle(_):
        bus.subscribe(message, lambda _: seen.append("late"))
        bus.publish(Placed("1"))
        seen.append("handled")

    bus.subscribe(Placed, lambda _: seen.append("placed"))
    bus.subscribe(message, handle)
    bus.publish(message())

    assert seen == ["placed", "handled"]


def test_handlers_are_known_by_their_names(name, page):
    class Handler:
        def __call__(self, event):
            pass

        def method(self, event):
            pass

    Handler.__name__ = f"{name}-class"
    Handler.method.__name__ = f"{name}-method"
    bus = InMemoryMessageBus()
    bus.subscribe(Placed, Handler())
    bus.subscribe(Placed, Handler().method)
    bus.subscribe(Placed, functools.partial(named(f"{name}-partial", lambda _, **__: None), n=1))
    bus.publish(Placed("1"))
    found = page()

    for handler in ("class", "method", "partial"):
        labels = {"handler": f"{name}-{handler}"}
        assert found.value("orchestrix_handler_duration_seconds_count", **labels) == 1


def test_a_handler_is_active_while_it_runs(name, page):
    pages = []
    bus = InMemoryMessageBus()
    bus.subscribe(Placed, named(name, lambda _: pages.append(page())))
    bus.publish(Placed("1"))

    assert pages[0].value("orchestrix_active_handlers", handler=name) == 1
    assert page().value("orchestrix_active_handlers", handler=name) == 0


def test_a_handler_that_raises_is_logged_and_the_others_go_on(name, page, caplog):
    seen = []
    bus = InMemoryMessageBus()

    def fail(_):
        raise LookupError("no stock")

    bus.subscribe(Placed, named(name, fail))
    bus.subscribe(Placed, seen.append)
    bus.publish(Placed("1"))
    found = page()

    assert [event.order_id for event in seen] == ["1"]
    assert f"handler {name} failed for Placed" in caplog.text
    assert "LookupError: no stock" in caplog.text
    assert found.value("orchestrix_errors_total", type="handler_error", handler=name) == 1
    assert found.value("orchestrix_handler_duration_seconds_count", handler=name) == 1
    assert found.value("orchestrix_active_handlers", handler=name) == 0


def test_where_all_handlers_raise_the_publisher_is_told():
    def fail(_):
        raise LookupError("no stock")

    bus = InMemoryMessageBus()
    bus.subscribe(Placed, fail)
    with pytest.raises(HandlerError, match="no handler could handle Placed: fail raised") as one:
        bus.publish(Placed("1"))
    bus.subscribe(Placed, fail)
    with pytest.raises(HandlerError) as two:
        bus.publish(Placed("1"))

    assert (one.value.message_type, one.value.handler_name) == ("Placed", "fail")
    assert isinstance(one.value.__cause__, LookupError)
    assert isinstance(two.value.original_error, ExceptionGroup)
    assert len(two.value.original_error.exceptions) == 2
    assert str(pickled(one.value)) == str(one.value)


def test_what_is_no_exception_ends_the_publishing(name, page):
    seen = []
    bus = InMemoryMessageBus()

    def stop(_):
        raise KeyboardInterrupt

    bus.subscribe(Placed, named(name, stop))
    bus.subscribe(Placed, seen.append)
    with pytest.raises(KeyboardInterrupt):
        bus.publish(Placed("1"))

    assert seen == []
    assert page().value("orchestrix_active_handlers", handler=name) == 0


def test_coroutine_functions_run_to_their_end_where_no_loop_runs(name, page):
    seen = []

    async def handle(event):
        await asyncio.sleep(0.02)
        seen.append(event.order_id)

    bus = InMemoryMessageBus()
    bus.subscribe(Placed, named(name, handle))
    bus.publish(Placed("1"))
    found = page()

    assert seen == ["1"]
    took = found.value("orchestrix_handler_duration_seconds_sum", handler=name)
    assert 0.02 <= took < 5


def test_coroutine_functions_become_tasks_where_a_loop_runs(name, page, caplog):
    async def main():
        seen = []
        bus = InMemoryMessageBus()

        async def handle(event):
            await asyncio.sleep(0)
            seen.append(event.order_id)

        async def fail(_):
            raise LookupError

        bus.subscribe(Placed, handle)
        bus.subscribe(Placed, named(name, fail))
        bus.publish(Placed("1"))
        before = list(seen)
        await asyncio.gather(*bus._tasks)
        await asyncio.sleep(0)
        assert bus._tasks == set()
        return before, seen

    assert asyncio.run(main()) == ([], ["1"])
    assert f"handler {name} failed" in caplog.text
    assert page().value("orchestrix_errors_total", type="handler_error", handler=name) == 1


@pytest.mark.parametrize(
    "publish",
    [
        lambda bus: bus[0].publish_async,
        lambda bus: bus[1].publish,
    ],
    ids=["sync", "async"],
)
def test_publishing_may_be_awaited_and_handlers_run_at_a_time(publish, name, page):
    async def main():
        buses = InMemoryMessageBus(), InMemoryAsyncMessageBus()
        here, there = asyncio.Event(), asyncio.Event()

        async def first(_):
            here.set()
            await there.wait()

        async def second(_):
            there.set()
            await here.wait()
            raise LookupError

        for bus in buses:
            bus.subscribe(Placed, first)
            bus.subscribe(Placed, named(name, second))
            bus.subscribe(Command, second)
        await asyncio.wait_for(publish(buses)(Placed("1")), 5)
        with pytest.raises(HandlerError):
            await asyncio.wait_for(publish(buses)(Command()), 5)

    asyncio.run(main())

    assert page().value("orchestrix_errors_total", type="handler_error", handler=name) == 2


def test_a_cancelled_publisher_cancels_its_handlers(name, page):
    async def main():
        bus, begun = InMemoryAsyncMessageBus(), asyncio.Event()

        async def handle(_):
            begun.set()
            await asyncio.sleep(60)

        bus.subscribe(Placed, named(name, handle))
        bus.subscribe(Placed, handle)
        task = asyncio.create_task(bus.publish(Placed("1")))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert page().value("orchestrix_active_handlers", handler=name) == 0


def test_what_is_no_subscription_is_refused_at_once():
    with pytest.raises(TypeError, match="message_type is 'Placed', must be a class"):
        InMemoryMessageBus().subscribe("Placed", print)
    with pytest.raises(TypeError, match="a handler is a function, and not None"):
        InMemoryMessageBus().subscribe(Placed, None)


def test_a_call_that_began_before_a_fork_is_the_parents(name, page):
    bus = InMemoryMessageBus()
    children = []

    def handle(_):
        children.append(os.fork())

    bus.subscribe(Placed, named(name, handle))
    bus.publish(Placed("1"))
    found = page()
    active = found.value("orchestrix_active_handlers", handler=name)
    count = found.value("orchestrix_handler_duration_seconds_count", handler=name)
    if children[0] == 0:
        os._exit(0 if (active, count) == (0, 0) else 1)

    assert os.waitpid(children[0], 0)[1] == 0
    assert (active, count) == (0, 1)


# Stores


def test_a_store_keeps_events_and_counts_operations(name, page):
    store = InMemoryEventStore(name)
    store.save("order-1", [Placed("1"), Placed("2")])
    store.save("order-1", iter([Placed("3")]), expected_version=2)
    ids = [event.order_id for event in store.load("order-1")]
    later = [event.order_id for event in store.load("order-1", from_version=2)]

    assert (ids, later, store.load("order-2")) == (["1", "2", "3"], ["3"], [])
    found = page()
    assert found.value("orchestrix_store_operations_total", operation="save", store=name) == 2
    assert found.value("orchestrix_store_operations_total", operation="load", store=name) == 3


def test_operations_exist_at_zero_from_the_start(name, page):
    InMemoryEventStore(name)
    found = page()

    assert found.value("orchestrix_store_operations_total", operation="save", store=name) == 0
    assert found.value("orchestrix_store_operations_total", operation="load", store=name) == 0


def test_a_version_that_is_not_expected_is_an_error_by_aggregate(name, page):
    store = InMemoryEventStore(name)
    store.save(f"{name}-1", [Placed("1")], expected_version=0)
    with pytest.raises(ConcurrencyError, match="has version 1, expected was 0") as caught:
        store.save(f"{name}-1", [Placed("2")], expected_version=0)
    found = page()

    assert caught.value.version == 1
    assert len(store.load(f"{name}-1")) == 1
    assert repr(pickled(caught.value)) == repr(caught.value)
    kind = name.partition("-")[0]
    assert found.value("orchestrix_errors_total", type="concurrency_error", aggregate=kind) >= 1
    assert found.value("orchestrix_store_operations_total", operation="save", store=name) == 2


def test_two_threads_cannot_save_the_same_version():
    class Slow(int):
        def __ne__(self, other):
            time.sleep(0.05)
            return int(self) != other

        __hash__ = int.__hash__

    store, failed = InMemoryEventStore(), []

    def save():
        try:
            store.save("order-1", ["event"], expected_version=Slow(0))
        except ConcurrencyError:
            failed.append(1)

    threads = [threading.Thread(target=save) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert store.load("order-1") == ["event"]
    assert len(failed) == 3


@pytest.mark.parametrize(
    ("aggregate_id", "expected"),
    [
        ("order-4711", "order"),
        ("Order/4711", "Order"),
        ("bank_account:7", "bank_account"),
        ("deadbeef-dead-beef-dead-beefdeadbeef", "unknown"),
        ("3f2a-1", "unknown"),
        ("4711", "unknown"),
        ("order", "unknown"),
        ("", "unknown"),
    ],
)
def test_an_aggregate_is_known_by_its_sort_and_never_by_its_identifier(aggregate_id, expected):
    assert aggregate_type(aggregate_id) == expected


class Own:
    """A store as a program has one."""

    def __init__(self):
        self.closed = False

    def save(self, aggregate_id, events):
        raise TimeoutError(aggregate_id)

    def load(self, aggregate_id):
        return [aggregate_id]

    async def save_async(self, aggregate_id, events):
        await asyncio.sleep(0)
        raise OSError(aggregate_id)

    async def load_async(self, aggregate_id):
        await asyncio.sleep(0)
        return [aggregate_id]

    def close(self):
        self.closed = True


def test_a_store_of_the_programs_own_is_measured_and_else_the_same(name, page):
    own = Own()
    store = measured_store(own, name, aggregate=lambda _: name)

    assert store.load("7") == ["7"]
    assert store.load(aggregate_id="8") == ["8"]
    assert asyncio.run(store.load_async("9")) == ["9"]
    with pytest.raises(TimeoutError, match="7"):
        store.save("7", [])
    with pytest.raises(OSError, match="8"):
        asyncio.run(store.save_async("8", []))
    store.close()
    assert own.closed is True
    store.closed = "again"
    assert own.closed == "again"
    assert store.load.__name__ == "load"
    assert "Own object" in repr(store)
    found = page()

    assert found.value("orchestrix_store_operations_total", operation="load", store=name) == 3
    assert found.value("orchestrix_store_operations_total", operation="save", store=name) == 2
    assert found.value("orchestrix_errors_total", type="timeout_error", aggregate=name) == 1
    assert found.value("orchestrix_errors_total", type="os_error", aggregate=name) == 1


def test_an_aggregate_that_cannot_be_told_does_not_hide_the_error(name, page, caplog):
    store = measured_store(Own(), name, aggregate=lambda identifier: {}[identifier])

    with pytest.raises(TimeoutError):
        store.save("7", [])

    assert "measuring failed at aggregate" in caplog.text
    labels = {"type": "timeout_error", "aggregate": "unknown"}
    assert page().value("orchestrix_errors_total", **labels) >= 1


def test_stores_for_coroutines_count_the_same(name, page):
    async def main():
        store = InMemoryAsyncEventStore(name)
        await store.save("order-1", [Placed("1")])
        with pytest.raises(ConcurrencyError):
            await store.save("order-1", [], expected_version=5)
        return await store.load("order-1")

    assert [event.order_id for event in asyncio.run(main())] == ["1"]
    found = page()
    assert found.value("orchestrix_store_operations_total", operation="save", store=name) == 2
    assert found.value("orchestrix_store_operations_total", operation="load", store=name) == 1


def test_a_forked_child_finds_the_store_unlocked():
    store = InMemoryEventStore()
    with store._streams._lock:
        child = os.fork()
        if not child:
            signal.alarm(20)  # a lock that is held for ever must not hold the test
            store.save("order-1", [Placed("1")])
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_all_names_are_there():
    assert [name for name in orchestrix.__all__ if not hasattr(orchestrix, name)] == []
