"""contd's decorators: those of this library, which may also time a lease and count hits of an idempotency cache."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Hashable, MutableMapping
from time import perf_counter
from types import TracebackType
from typing import Any, Final, TypeVar, overload

from flowgauge import decorators, probes, records, wrapping

F = TypeVar("F", bound="Callable[..., Any] | classmethod[Any, Any, Any]")

_Function = Callable[..., Any]


@overload
def workflow(function: F, /) -> F: ...
@overload
def workflow(
    *, name: str | None = None, trigger: str = "manual", lease: Callable[[], Any] | None = None
) -> Callable[[F], F]: ...
def workflow(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    trigger: str = "manual",
    lease: Callable[[], Any] | None = None,
) -> Any:
    """Measure each call of the function as a run; `name` and `trigger` are those of `flowgauge.workflow`.

    `lease` makes a context manager for each run, such as `lambda: redis.lock("nightly")`. Entering it acquires the
    lease: the time that takes is observed, and what it raises fails the run and counts as a failed acquisition. The
    lease is held to the end of the run. Without `lease` nothing is acquired, and the metric is there without
    observations.

    Raises:
        TypeError: what is decorated is no function, or a generator is to hold a lease.

    """

    def apply(target: Any) -> Any:
        own = name or _name(target)
        records.touch("lease.duration", workflow=own)
        if lease is not None:
            target = _within(target, functools.partial(_leased, lease=lease, workflow=own))
        return decorators.workflow(name=own, trigger=trigger)(target)

    return apply if function is None else apply(function)


@overload
def step(function: F, /) -> F: ...
@overload
def step(
    *,
    name: str | None = None,
    workflow: str = "",
    cache: MutableMapping[Any, Any] | None = None,
    key: Callable[..., Hashable] | None = None,
    retries: int = 0,
    backoff: float = 0.0,
    retry_on: tuple[type[Exception], ...] = (Exception,),
) -> Callable[[F], F]: ...
def step(
    function: Any = None,
    /,
    *,
    name: str | None = None,
    workflow: str = "",
    cache: MutableMapping[Any, Any] | None = None,
    key: Callable[..., Hashable] | None = None,
    **retrying: Any,
) -> Any:
    """Measure each call of the function as a step, which is a managed step too.

    `cache` keeps results: a call whose key is in it is answered from there, is a step all the same, and counts as a
    hit of the idempotency cache. `key` gets the arguments of the call and gives its key; else the arguments
    themselves are the key. How long a result counts is the mapping's affair. The other arguments are those of
    `flowgauge.step`.

    Raises:
        TypeError: what is decorated is no function, or a generator is to be cached or retried.
        ValueError: `key` without `cache`.

    """
    if key is not None and cache is None:
        raise ValueError("key is given without cache; give cache= a mapping that keeps the results")

    def apply(target: Any) -> Any:
        own = name or _name(target)
        if cache is not None:
            hit = functools.partial(_count_hit, own, workflow)
            target = _within(
                target, functools.partial(_cached, cache=cache, key=key or _arguments, hit=hit)
            )
        return decorators.step(name=own, workflow=workflow, **retrying)(target)

    return apply if function is None else apply(function)


class _Acquisition:
    """Times a block that acquires a lease, and counts it as a failure if it raises."""

    __slots__ = ("_begun", "_workflow")

    def __init__(self, workflow: str) -> None:
        self._workflow = workflow
        self._begun = 0.0

    def __enter__(self) -> None:
        self._begun = perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        records.observe("lease.duration", perf_counter() - self._begun, workflow=self._workflow)
        records.count("lease.failed", 0.0 if error is None else 1.0, workflow=self._workflow)


def _leased(function: _Function, *, lease: Callable[[], Any], workflow: str) -> _Function:
    def plain(*args: Any, **kwargs: Any) -> Any:
        with contextlib.ExitStack() as held:
            with _Acquisition(workflow):
                held.enter_context(lease())
            return function(*args, **kwargs)

    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        async with contextlib.AsyncExitStack() as held:
            with _Acquisition(workflow):
                made = lease()
                if hasattr(type(made), "__aenter__"):
                    await held.enter_async_context(made)
                else:
                    held.enter_context(made)
            return await function(*args, **kwargs)

    return _chosen(function, plain, coroutine, "hold a lease")


def _cached(
    function: _Function,
    *,
    cache: MutableMapping[Any, Any],
    key: Callable[..., Hashable],
    hit: Callable[[float], None],
) -> _Function:
    def plain(*args: Any, **kwargs: Any) -> Any:
        found, value = _look(cache, own := key(*args, **kwargs), hit)
        if not found:
            value = cache[own] = function(*args, **kwargs)
        return value

    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        found, value = _look(cache, own := key(*args, **kwargs), hit)
        if not found:
            value = cache[own] = await function(*args, **kwargs)
        return value

    return _chosen(function, plain, coroutine, "be cached")


def _look(
    cache: MutableMapping[Any, Any], key: Hashable, hit: Callable[[float], None]
) -> tuple[bool, Any]:
    """Whether the cache has the key, and its value. One look-up, so that an entry may expire at any time."""
    try:
        value = cache[key]
    except KeyError:
        hit(0.0)  # the series exists before the first hit, so that that one is an increase
        return False, None
    hit(1.0)
    return True, value


def _count_hit(step: str, workflow: str, amount: float) -> None:
    current = probes.current.get() or workflow
    records.count("idempotency.hit", amount, workflow=current, step=step)


def _arguments(*args: Any, **kwargs: Any) -> Hashable:
    return (args, tuple(sorted(kwargs.items())))


def _chosen(function: _Function, plain: _Function, coroutine: _Function, what: str) -> _Function:
    sort: Final = wrapping.sort(function)
    if sort not in ("plain", "coroutine"):
        raise TypeError(f"{function!r} is a {sort}, which cannot {what}")
    return functools.update_wrapper(coroutine if sort == "coroutine" else plain, function)


def _within(target: Any, wrap: Callable[[_Function], _Function]) -> Any:
    """`wrap` around the function that a `staticmethod` or `classmethod` holds, or around the function itself."""
    if isinstance(target, staticmethod | classmethod):
        return type(target)(_within(target.__func__, wrap))
    # What is no function is refused by the decorator that comes next, in its words.
    return wrap(target) if callable(target) and not isinstance(target, type) else target


def _name(target: Any) -> str:
    target = getattr(target, "__func__", target)
    while isinstance(target, functools.partial):
        target = target.func
    return str(getattr(target, "__name__", None) or type(target).__name__)
