"""Wrap a callable so that a probe measures it: plain, coroutine, generator, asynchronous generator.

The wrapper is of the same sort as what it wraps, has its name and signature, and raises what it
raises. A generator is measured from its first item to its end, without what its consumer does.
"""

from __future__ import annotations

from bisect import bisect_left
from time import perf_counter

from flowgauge import probes
from flowgauge.bins import CANCELLED, FAILED
from flowgauge.cell import COUNTS, LAST, STARTED, SUMS
from flowgauge.cells import LATE, late
from flowgauge.probes import RunProbe, StepProbe, finish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
    from typing import Any, TypeVar

    from flowgauge.probes import Probe

    Function = Callable[..., Any]
    T = TypeVar("T")

# Flags of a code object, as documented by `inspect`, which is too heavy to import for them.
_GENERATOR, _COROUTINE, _ITERABLE_COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x100, 0x200


def measured(function: Function, probe: Probe) -> Function:
    """The function, measured by `probe`."""
    wrap = _BY_SORT[sort(function)]
    return named(wrap(function, probe), function)


def named(wrapper: Function, function: Function) -> Function:
    """The wrapper with the name, signature and place of the function."""
    import functools  # noqa: PLC0415 - importing this library costs nothing that it does not use

    return functools.update_wrapper(wrapper, function)


def sort(function: Function) -> str:
    """What calling the function gives: a generator, async generator, coroutine or plain value."""
    import functools  # noqa: PLC0415 - see `named`

    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(function, "__code__", None)
    if code is None:  # an object that is called
        code = getattr(type(function).__call__, "__code__", None)
    flags = getattr(code, "co_flags", 0)
    if flags & (_COROUTINE | _ITERABLE_COROUTINE):
        return "coroutine"
    if flags & _ASYNC_GENERATOR:
        return "async generator"
    return "generator" if flags & _GENERATOR else "plain"


# The four wrappers below contain the lines of `Cell.start` and `Cell.finish`: two calls would cost as much as all of
# it. What follows `if values is cell.fast` is a straight line that nothing interrupts (see `slots`); whatever is out
# of the ordinary goes through `finish`: a fork, other bounds, traces, errors.


def _plain(function: Function, probe: Probe) -> Function:
    if isinstance(probe, RunProbe):
        return _plain_run(function, probe)
    if isinstance(probe, StepProbe):
        return _plain_step(function, probe)
    raise TypeError(f"{probe!r} is no probe")


def _coroutine(function: Function, probe: Probe) -> Function:
    if isinstance(probe, RunProbe):
        return _coroutine_run(function, probe)
    if isinstance(probe, StepProbe):
        return _coroutine_step(function, probe)
    raise TypeError(f"{probe!r} is no probe")


def _plain_run(function: Function, probe: RunProbe) -> Function:
    cell, workflow, tick = probe.cell(), probe.workflow, probe.cell().tick
    enter, leave, collecting = probes.current.set, probes.current.reset, probes.collecting

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        slot = tick()
        begun = perf_counter()
        values = cell.values
        values[STARTED] += 1.0
        if not values[slot]:
            values[slot] = begun
        token = probe.resume() if collecting else enter(workflow)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            if token is not None:
                leave(token)
            try:
                finish(cell, (values, slot, begun), error)
            except RecursionError:
                # Where the stack is full, nothing that is called here may go deeper than the function did.
                if len(late) < LATE:
                    late.append(
                        (cell, (values, slot, begun), perf_counter(), FAILED, type(error).__name__)
                    )
            raise
        now = perf_counter()
        if token is not None:
            leave(token)
        elapsed = now - begun
        i = COUNTS + bisect_left(cell.bounds, elapsed)
        if values is cell.fast:
            values[i] += 1.0
            values[SUMS] += elapsed
            values[LAST] = now
            if values[slot] == begun:
                values[slot] = 0.0
        else:
            finish(cell, (values, slot, begun), None)
        return result

    return wrapper


def _plain_step(function: Function, probe: StepProbe) -> Function:
    known, bind, workflow = probe.known.get, probe.cell, probes.current.get

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        cell = known(workflow()) or bind()
        slot = cell.tick()
        begun = perf_counter()
        values = cell.values
        values[STARTED] += 1.0
        if not values[slot]:
            values[slot] = begun
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            try:
                finish(cell, (values, slot, begun), error)
            except RecursionError:
                # Where the stack is full, nothing that is called here may go deeper than the function did.
                if len(late) < LATE:
                    late.append(
                        (cell, (values, slot, begun), perf_counter(), FAILED, type(error).__name__)
                    )
            raise
        now = perf_counter()
        elapsed = now - begun
        i = COUNTS + bisect_left(cell.bounds, elapsed)
        if values is cell.fast:
            values[i] += 1.0
            values[SUMS] += elapsed
            values[LAST] = now
            if values[slot] == begun:
                values[slot] = 0.0
        else:
            finish(cell, (values, slot, begun), None)
        return result

    return wrapper


def _coroutine_run(function: Function, probe: RunProbe) -> Function:  # noqa: C901 - calls cost more
    cell, workflow, tick = probe.cell(), probe.workflow, probe.cell().tick
    enter, leave, collecting = probes.current.set, probes.current.reset, probes.collecting

    async def wrapper(*args: Any, **kwargs: Any) -> Any:  # noqa: C901 - calls cost more
        slot = tick()
        begun = perf_counter()
        values = cell.values
        values[STARTED] += 1.0
        if not values[slot]:
            values[slot] = begun
        token = probe.resume() if collecting else enter(workflow)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            try:
                if token is not None:
                    leave(token)
            except ValueError:  # it goes on in another context, which has nothing to undo
                pass
            try:
                finish(cell, (values, slot, begun), error, CANCELLED)
            except RecursionError:
                # Where the stack is full, nothing that is called here may go deeper than the function did.
                if len(late) < LATE:
                    late.append(
                        (cell, (values, slot, begun), perf_counter(), FAILED, type(error).__name__)
                    )
            raise
        now = perf_counter()
        try:
            if token is not None:
                leave(token)
        except ValueError:
            pass
        elapsed = now - begun
        i = COUNTS + bisect_left(cell.bounds, elapsed)
        if values is cell.fast:
            values[i] += 1.0
            values[SUMS] += elapsed
            values[LAST] = now
            if values[slot] == begun:
                values[slot] = 0.0
        else:
            finish(cell, (values, slot, begun), None)
        return result

    return wrapper


def _coroutine_step(function: Function, probe: StepProbe) -> Function:
    known, bind, workflow = probe.known.get, probe.cell, probes.current.get

    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        cell = known(workflow()) or bind()
        slot = cell.tick()
        begun = perf_counter()
        values = cell.values
        values[STARTED] += 1.0
        if not values[slot]:
            values[slot] = begun
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            try:
                finish(cell, (values, slot, begun), error, CANCELLED)
            except RecursionError:
                # Where the stack is full, nothing that is called here may go deeper than the function did.
                if len(late) < LATE:
                    late.append(
                        (cell, (values, slot, begun), perf_counter(), FAILED, type(error).__name__)
                    )
            raise
        now = perf_counter()
        elapsed = now - begun
        i = COUNTS + bisect_left(cell.bounds, elapsed)
        if values is cell.fast:
            values[i] += 1.0
            values[SUMS] += elapsed
            values[LAST] = now
            if values[slot] == begun:
                values[slot] = 0.0
        else:
            finish(cell, (values, slot, begun), None)
        return result

    return wrapper


def _generator(function: Function, probe: Probe) -> Function:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        mark = probe.begin()
        try:
            result = yield from resumed(function(*args, **kwargs), probe.resume, probe.suspend)
        except BaseException as error:
            try:
                probe.leave(mark, error)
            except RecursionError:
                if mark is not None and len(late) < LATE:
                    late.append((mark[0], mark[1], perf_counter(), FAILED, type(error).__name__))
            raise
        probe.leave(mark)
        return result

    return wrapper


def resumed(
    inner: Generator[Any, Any, Any], enter: Callable[[], T], leave: Callable[[T], object]
) -> Generator[Any, Any, Any]:
    """`yield from inner`, between `enter` and `leave` only while `inner` itself runs."""

    def within(advance: Callable[..., Any], *args: Any) -> Any:
        entered = enter()
        try:
            return advance(*args)
        finally:
            leave(entered)

    try:
        item = within(next, inner)
        while True:
            try:
                sent = yield item
            except GeneratorExit:
                within(inner.close)
                raise
            except BaseException as error:
                item = within(inner.throw, error)
            else:
                item = within(inner.send, sent)
    except StopIteration as stop:
        return stop.value


def _async_generator(function: Function, probe: Probe) -> Function:
    async def within(advance: Awaitable[Any]) -> Any:
        var = probe.resume()
        try:
            return await advance
        finally:
            probe.suspend(var)

    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        mark = probe.begin()
        try:
            inner = function(*args, **kwargs)
            item = await within(inner.__anext__())
            while True:
                try:
                    sent = yield item
                except GeneratorExit:
                    await within(inner.aclose())
                    raise
                except BaseException as error:
                    item = await within(inner.athrow(error))
                else:
                    item = await within(inner.asend(sent))
        except StopAsyncIteration:
            probe.leave(mark)
        except BaseException as error:
            probe.leave(mark, error)
            raise

    return wrapper


_BY_SORT: dict[str, Callable[[Function, Probe], Function]] = {
    "plain": _plain,
    "coroutine": _coroutine,
    "generator": _generator,
    "async generator": _async_generator,
}
