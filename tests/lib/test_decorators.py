import asyncio
import contextlib
import functools
import inspect
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import flowgauge
from flowgauge import cells, guard
from flowgauge.bins import CANCELLED, FAILED, GOOD


def runs(name):
    return cells.run_cell(name, trigger="manual", kind="").snapshot()


def steps(name, step):
    return cells.step_cell(name, step).snapshot()


def ends(snapshot):
    return tuple(snapshot.finished(outcome) for outcome in (GOOD, FAILED, CANCELLED))


class OwnError(BaseException):
    pass


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        KeyboardInterrupt(),
        SystemExit(3),
        OwnError(),
        RecursionError(),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_of_any_kind_is_counted_and_goes_on_unchanged(name, error):
    @flowgauge.workflow(name=name)
    def fail():
        raise error

    with pytest.raises(BaseException) as caught:
        fail()

    assert caught.value is error
    assert error.__context__ is None
    assert ends(runs(name)) == (0, 1, 0)
    assert runs(name).errors == {type(error).__name__: 1}


def test_bare_and_called_decorators_name_things_after_the_function():
    @flowgauge.workflow
    def bare_workflow():
        return bare_step()

    @flowgauge.step
    def bare_step():
        return 7

    @flowgauge.step()
    def called_step():
        return 8

    assert bare_workflow() == 7
    assert called_step() == 8
    assert ends(runs("bare_workflow")) == (1, 0, 0)
    assert ends(steps("bare_workflow", "bare_step")) == (1, 0, 0)
    assert ends(steps("", "called_step")) == (1, 0, 0)


def test_the_run_in_progress_is_seen_during_the_call(name):
    seen = []

    @flowgauge.workflow(name=name)
    def look():
        seen.append(runs(name))

    look()

    assert (seen[0].active, seen[0].started, ends(seen[0])) == (1, 1, (0, 0, 0))
    assert runs(name).active == 0


def test_the_coroutine_in_progress_is_seen_during_the_call(name):
    async def main():
        entered, leave = asyncio.Event(), asyncio.Event()

        @flowgauge.workflow(name=name)
        async def wait():
            entered.set()
            await leave.wait()

        task = asyncio.create_task(wait())
        await entered.wait()
        during = runs(name)
        leave.set()
        await task
        return during

    assert asyncio.run(main()).active == 1
    assert (runs(name).active, ends(runs(name))) == (0, (1, 0, 0))


def test_a_cancelled_coroutine_is_cancelled_and_no_longer_in_progress(name):
    @flowgauge.workflow(name=name)
    async def wait():
        await asyncio.sleep(60)

    async def main():
        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())

    assert (runs(name).active, ends(runs(name))) == (0, (0, 0, 1))


def test_concurrent_runs_keep_their_steps_apart(name):
    @flowgauge.step
    async def shared():
        await asyncio.sleep(0.001)

    def run_of(workflow):
        @flowgauge.workflow(name=workflow)
        async def run():
            for _ in range(5):
                await shared()

        return run()

    async def main():
        await asyncio.gather(*(run_of(f"{name}-{i}") for i in range(4)))

    asyncio.run(main())

    for i in range(4):
        assert ends(steps(f"{name}-{i}", "shared")) == (5, 0, 0)


def test_a_generator_is_measured_to_its_end_and_keeps_its_protocol(name):
    @flowgauge.workflow(name=name)
    def echo():
        received = []
        try:
            received.append((yield 1))
            received.append((yield 2))
        except KeyError:
            received.append((yield 3))
        return received

    generator = echo()
    assert runs(name).started == 0
    assert next(generator) == 1
    assert runs(name).active == 1
    assert generator.send("a") == 2
    assert generator.throw(KeyError()) == 3
    with pytest.raises(StopIteration) as stop:
        generator.send("b")

    assert stop.value.value == ["a", "b"]
    assert (runs(name).active, ends(runs(name))) == (0, (1, 0, 0))


def test_the_consumer_of_a_workflow_generator_is_not_part_of_the_workflow(name):
    @flowgauge.step(name="inside")
    def inside():
        pass

    @flowgauge.step(name=f"outside-{name}")
    def outside():
        pass

    @flowgauge.workflow(name=name)
    def items():
        inside()
        yield 1
        inside()

    for _ in items():
        outside()

    assert ends(steps(name, "inside")) == (2, 0, 0)
    assert ends(steps("", f"outside-{name}")) == (1, 0, 0)


def test_a_generator_that_is_closed_early_has_ended_well_and_cleans_up(name):
    cleaned = []

    @flowgauge.workflow(name=name)
    def items():
        try:
            yield 1
            yield 2
        finally:
            cleaned.append(True)

    generator = items()
    next(generator)
    generator.close()

    assert cleaned == [True]
    assert (runs(name).active, ends(runs(name))) == (0, (1, 0, 0))


def test_a_generator_that_raises_has_failed(name):
    @flowgauge.step(name="items", workflow=name)
    def items():
        yield 1
        raise ValueError

    with pytest.raises(ValueError):
        list(items())

    assert ends(steps(name, "items")) == (0, 1, 0)


def test_an_async_generator_keeps_its_protocol(name):
    @flowgauge.workflow(name=name)
    async def echo():
        received = yield 1
        try:
            yield received
        except KeyError:
            yield "caught"

    async def main():
        generator = echo()
        got = [
            await anext(generator),
            await generator.asend("a"),
            await generator.athrow(KeyError()),
        ]
        assert runs(name).active == 1
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
        return got

    assert asyncio.run(main()) == [1, "a", "caught"]
    assert (runs(name).active, ends(runs(name))) == (0, (1, 0, 0))


def test_an_async_generator_that_is_left_early_has_ended_well_and_cleans_up(name):
    cleaned = []

    @flowgauge.workflow(name=name)
    async def items():
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    async def main():
        async with contextlib.aclosing(items()) as generator:
            async for _ in generator:
                break

    asyncio.run(main())

    assert cleaned == [True]
    assert (runs(name).active, ends(runs(name))) == (0, (1, 0, 0))


def test_an_async_generator_that_is_abandoned_is_finished_by_the_loop(name):
    @flowgauge.workflow(name=name)
    async def items():
        yield 1
        yield 2

    async def main():
        async for _ in items():
            break

    asyncio.run(main())

    assert (runs(name).active, ends(runs(name))) == (0, (0, 0, 1))


def plain(a, b=2):
    """Doc."""


async def coroutine(a, b=2):
    """Doc."""


def generator(a, b=2):
    """Doc."""
    yield


async def async_generator(a, b=2):
    """Doc."""
    yield


@pytest.mark.parametrize("function", [plain, coroutine, generator, async_generator])
@pytest.mark.parametrize("decorator", [flowgauge.workflow, flowgauge.step])
def test_a_decorated_function_is_still_what_it_was(function, decorator):
    decorated = decorator(function)

    assert decorated.__name__ == function.__name__
    assert decorated.__doc__ == "Doc."
    assert inspect.signature(decorated) == inspect.signature(function)
    for is_sort in (
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
    ):
        assert is_sort(decorated) == is_sort(function)


@flowgauge.step
def picklable():
    return 5


def test_a_decorated_function_can_be_pickled():
    assert pickle.loads(pickle.dumps(picklable))() == 5  # noqa: S301


def test_methods_static_methods_and_class_methods_are_measured_in_either_order(name):
    class Service:
        factor = 3

        @flowgauge.step(name="method", workflow=name)
        def method(self, x):
            return self.factor * x

        @flowgauge.step(name="above", workflow=name)
        @staticmethod
        def above(x):
            return x

        @staticmethod
        @flowgauge.step(name="below", workflow=name)
        def below(x):
            return x

        @flowgauge.step(name="outer", workflow=name)
        @classmethod
        def outer(cls, x):
            return cls.factor * x

        @classmethod
        @flowgauge.step(name="inner", workflow=name)
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
    for step in ("method", "above", "below", "outer", "inner"):
        assert ends(steps(name, step)) == (1, 0, 0)


def test_partials_and_callable_objects_are_measured_as_what_they_call(name):
    class Job:
        async def __call__(self):
            await asyncio.sleep(0)
            raise ValueError

    with pytest.raises(ValueError):
        asyncio.run(flowgauge.workflow(name=name)(Job())())
    flowgauge.workflow(name=name)(functools.partial(plain, 1))()
    asyncio.run(flowgauge.workflow(name=name)(functools.partial(coroutine, 1))())

    assert ends(runs(name)) == (2, 1, 0)


def test_a_name_in_place_of_the_function_is_refused_with_the_remedy():
    with pytest.raises(TypeError, match="a name is given as name="):
        flowgauge.workflow("orders")

    with pytest.raises(TypeError, match="goes on a function"):

        @flowgauge.step
        class Nope:
            pass


def test_steps_in_threads_of_a_pool_belong_to_the_workflow_they_name(name):
    @flowgauge.step(name="work", workflow=name)
    def work(_):
        pass

    @flowgauge.workflow(name=f"{name}-caller")
    def run():
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(work, range(10)))
        work(0)

    run()

    assert ends(steps(name, "work")) == (10, 0, 0)
    assert ends(steps(f"{name}-caller", "work")) == (1, 0, 0)


def test_a_block_can_say_that_it_was_skipped(name):
    with flowgauge.setup_observability(serve=False) as handle:
        with flowgauge.run(name) as run, flowgauge.stepping("s") as step:
            run.skip()
            step.skip()
        with contextlib.suppress(ValueError), flowgauge.run(name) as run:
            run.skip()
            raise ValueError

        def ended(status):
            return handle.value("workflow_runs_total", workflow=name, status=status)

        assert [ended(s) for s in ("success", "skipped", "failed", "cancelled")] == [0, 1, 1, 0]
        steps = {"workflow": name, "step": "s", "status": "skipped"}
        assert handle.value("workflow_steps_total", **steps) == 1


def test_blocks_are_measured_like_functions(name):
    with contextlib.suppress(ValueError), flowgauge.run(name, trigger="manual"):
        with flowgauge.stepping("first"):
            pass
        with flowgauge.stepping("second"):
            raise ValueError
        pytest.fail("the error did not go on")

    assert ends(runs(name)) == (0, 1, 0)
    assert ends(steps(name, "first")) == (1, 0, 0)
    assert ends(steps(name, "second")) == (0, 1, 0)


def test_a_run_within_a_run_gives_the_outer_one_back_its_steps(name):
    with flowgauge.run(name):
        with flowgauge.run(f"{name}-inner"), flowgauge.stepping("s"):
            pass
        with flowgauge.stepping("s"):
            pass

    assert ends(steps(name, "s")) == (1, 0, 0)
    assert ends(steps(f"{name}-inner", "s")) == (1, 0, 0)


def test_a_fault_of_the_measuring_never_reaches_the_caller_and_is_logged_once(
    name, monkeypatch, caplog
):
    def work():
        with flowgauge.run(name):
            return 5

    @flowgauge.workflow(name=name)
    def fails():
        raise ValueError(name)

    def broken(*_):
        raise RuntimeError("broken cell")

    monkeypatch.setattr(guard, "_reported", {})
    monkeypatch.setattr("flowgauge.cell.Cell.start", broken)
    assert [work() for _ in range(3)] == [5, 5, 5]
    monkeypatch.undo()
    monkeypatch.setattr(guard, "_reported", {})
    monkeypatch.setattr("flowgauge.cell.Cell.finish", broken)
    assert [work() for _ in range(3)] == [5, 5, 5]
    for _ in range(3):
        with pytest.raises(ValueError, match=name):
            fails()

    assert [r.getMessage().split(";")[0] for r in caplog.records] == [
        "measuring failed at begin",
        "measuring failed at finish",
    ]
    monkeypatch.undo()
    cells.snapshots("run")
    assert ends(runs(name)) == (3, 3, 0)  # counted late, and only once


def test_a_recursion_without_end_leaves_no_step_in_progress(name):
    @flowgauge.step(name="s", workflow=name)
    def deeper(n):
        return deeper(n + 1)

    with pytest.raises(RecursionError):
        deeper(0)

    [snapshot] = [s for key, s in cells.snapshots("step") if key.workflow == name]
    assert snapshot.active == 0
    assert ends(snapshot) == (0, snapshot.started, 0)


def test_totals_are_exact_when_threads_run_decorated_functions(name):
    @flowgauge.step(name="s")
    def work(i):
        if i % 10 == 0:
            raise ValueError

    @flowgauge.workflow(name=name)
    def run(i):
        with contextlib.suppress(ValueError):
            work(i)

    threads = [threading.Thread(target=lambda: [run(i) for i in range(2000)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ends(runs(name)) == (16000, 0, 0)
    assert ends(steps(name, "s")) == (14400, 1600, 0)
