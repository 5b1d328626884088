"""What is in every process, so that processes can be compared: a call, and the least that a decorator can do."""

from __future__ import annotations

import functools
from collections.abc import Callable
from time import perf_counter
from typing import Any

from benchmarks.library.timing import Case

Function = Callable[..., Any]


def work() -> None:
    """What all decorators go on."""


async def work_async() -> None:
    """The same as a coroutine function."""


def work_raising() -> None:
    """The same, failing."""
    raise ValueError


CALL, AWAIT = "call()", "await call()"
RAISING = "try: call()\nexcept ValueError: pass"


def cases() -> list[Case]:
    """The reference cases."""
    return [
        Case("plain call", CALL, {"call": work}),
        Case("raise and catch", RAISING, {"call": work_raising}),
        Case("empty decorator", CALL, {"call": empty(work)}),
        clocked(),
        Case("two clocks, async", AWAIT, {"call": clocks_async(work_async)}),
    ]


def clocked() -> Case:
    """The one that every process has."""
    return Case("two clocks", CALL, {"call": clocks(work)})


def empty(function: Function) -> Function:
    """Measures nothing."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def clocks(function: Function) -> Function:
    """Reads the clock before and after, and does nothing with it: the floor of every measuring decorator."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        began = perf_counter()
        result = function(*args, **kwargs)
        _elapsed = perf_counter() - began
        return result

    return wrapper


def clocks_async(function: Function) -> Function:
    """The same for coroutine functions."""

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        began = perf_counter()
        result = await function(*args, **kwargs)
        _elapsed = perf_counter() - began
        return result

    return wrapper
