"""Tracing: where the time of a run went, span by span.

    tracer = SimpleTracer()

    @traced(tracer, "load")
    def load(): ...

    with trace_context(tracer, "transform") as span:
        span.set_attribute("rows", 1000)

A span belongs to the span in which it begins, which a context variable tells: tasks inherit it, threads of a pool
do not and are given `parent=`. Errors of the program go on unchanged, and tracing adds none of its own.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from typing import Any, Final, TypeVar, cast, overload

from flowgauge import wrapping
from flowgauge.tracing.spans import Event, Span, current_span, current_trace_id, exemplar_labels
from flowgauge.tracing.tracers import (
    SimpleTracer,
    Tracer,
    checked_tracer,
    default_tracer,
    set_default_tracer,
)

__all__ = [
    "Event",
    "SimpleTracer",
    "Span",
    "Tracer",
    "current_span",
    "current_trace_id",
    "default_tracer",
    "exemplar_labels",
    "set_default_tracer",
    "trace_context",
    "traced",
]

F = TypeVar("F", bound="Callable[..., Any] | classmethod[Any, Any, Any]")

_Function = Callable[..., Any]
_Start = Callable[[str], Span]


def trace_context(
    tracer: Tracer,
    name: str,
    attributes: Mapping[str, Any] | None = None,
    parent: Span | None = None,
    traceparent: str | None = None,
) -> Span:
    """A span for one `with` or `async with` block, in which it is the current one.

    It begins here, so make it where the block begins, one for each. At the end its status is `ok` unless the block
    has set another one. If the block raises, it is `error`, and an event `exception` tells of the error; if its
    task is cancelled, it is `cancelled`; if it is in a generator that is closed early, it is `ok`.
    """
    return tracer.start_span(name, attributes, parent, traceparent)


@overload
def traced(tracer: F, /) -> F: ...
@overload
def traced(tracer: Tracer | None = None, name: str | None = None) -> Callable[[F], F]: ...
def traced(tracer: Any = None, name: str | None = None) -> Any:
    """Make a span of each call of the function, named after it unless `name` is given.

    Without a tracer, also as a bare `@traced`, that is the `default_tracer` of the moment of the call. It goes on
    plain functions, coroutine functions, generators, asynchronous generators, methods, and above or below
    `@staticmethod` and `@classmethod`. A generator's span lasts from its first item to its end and is the current
    one while the generator itself runs. The status is that of `trace_context`.

    Raises:
        TypeError: what is decorated is no function, or what should trace it is no tracer.

    """
    if tracer is not None and not hasattr(tracer, "start_span"):
        if name is not None or not (
            callable(tracer) or isinstance(tracer, staticmethod | classmethod)
        ):
            checked_tracer(tracer)
        return _applied(tracer, _start_default, None)
    start = _start_default if tracer is None else tracer.start_span

    def decorate(function: F) -> F:
        return cast("F", _applied(function, start, name))

    return decorate


def _start_default(name: str) -> Span:
    return default_tracer().start_span(name)


def _applied(target: Any, start: _Start, name: str | None) -> Any:
    if isinstance(target, staticmethod | classmethod):
        return type(target)(_applied(target.__func__, start, name))
    if not callable(target) or isinstance(target, type):
        raise TypeError(
            f"@traced goes on a function, not on {target!r}; a name is given as name=..."
        )
    wrap = _BY_SORT[wrapping.sort(target)]
    return functools.update_wrapper(wrap(target, start, name or _name(target)), target)


def _name(target: Any) -> str:
    while isinstance(target, functools.partial):
        target = target.func
    return str(getattr(target, "__name__", None) or type(target).__name__)


def _plain(function: _Function, start: _Start, name: str) -> _Function:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with start(name):
            return function(*args, **kwargs)

    return wrapper


def _coroutine(function: _Function, start: _Start, name: str) -> _Function:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        with start(name):
            return await function(*args, **kwargs)

    return wrapper


def _generator(function: _Function, start: _Start, name: str) -> _Function:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        span = start(name)
        try:
            result = yield from wrapping.resumed(
                function(*args, **kwargs), span.attach, span.detach
            )
        except BaseException as error:
            span.finish(error)
            raise
        span.finish(None)
        return result

    return wrapper


def _async_generator(function: _Function, start: _Start, name: str) -> _Function:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        span = start(name)
        try:
            inner = function(*args, **kwargs)
            item = await _within(span, inner.__anext__())
            while True:
                try:
                    sent = yield item
                except GeneratorExit:
                    await _within(span, inner.aclose())
                    raise
                except BaseException as error:
                    item = await _within(span, inner.athrow(error))
                else:
                    item = await _within(span, inner.asend(sent))
        except StopAsyncIteration:
            span.finish(None)
        except BaseException as error:
            span.finish(error)
            raise

    return wrapper


async def _within(span: Span, advance: Awaitable[Any]) -> Any:
    token = span.attach()
    try:
        return await advance
    finally:
        span.detach(token)


_BY_SORT: Final[dict[str, Callable[[_Function, _Start, str], _Function]]] = {
    "plain": _plain,
    "coroutine": _coroutine,
    "generator": _generator,
    "async generator": _async_generator,
}
