"""Wrap a callable so that a probe measures it: plain, coroutine, generator, asynchronous generator.

The wrapper is of the same sort as what it wraps, has its name and signature, and raises what it
raises. A generator is measured from its first item to its end, without what its consumer does.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any

from flowgauge.probes import Probe

Function = Callable[..., Any]

# Flags of a code object, as documented by `inspect`, which is too heavy to import for them.
_GENERATOR, _COROUTINE, _ITERABLE_COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x100, 0x200


def measured(function: Function, probe: Probe) -> Function:
    """The function, measured by `probe`."""
    wrap = {"generator": _generator, "async generator": _async_generator, "coroutine": _coroutine}
    wrapper = wrap.get(sort(function), _plain)(function, probe)
    return functools.update_wrapper(wrapper, function)


def sort(function: Function) -> str:
    """What calling the function gives: a generator, async generator, coroutine or plain value."""
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


def _plain(function: Function, probe: Probe) -> Function:
    enter, leave = probe.enter, probe.leave

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        mark = enter()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            leave(mark, error)
            raise
        leave(mark)
        return result

    return wrapper


def _coroutine(function: Function, probe: Probe) -> Function:
    enter, leave = probe.enter, probe.leave

    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        mark = enter()
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            leave(mark, error)
            raise
        leave(mark)
        return result

    return wrapper


def _generator(function: Function, probe: Probe) -> Function:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        mark = probe.begin()
        try:
            result = yield from _resumed(function(*args, **kwargs), probe)
        except BaseException as error:
            probe.leave(mark, error)
            raise
        probe.leave(mark)
        return result

    return wrapper


def _resumed(inner: Generator[Any, Any, Any], probe: Probe) -> Generator[Any, Any, Any]:
    """`yield from inner`, with the workflow current only while `inner` itself runs."""

    def within(advance: Callable[..., Any], *args: Any) -> Any:
        var = probe.resume()
        try:
            return advance(*args)
        finally:
            probe.suspend(var)

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
