"""Call a step again when it fails: how often, after which errors, and after which pause."""

from __future__ import annotations

import time

from flowgauge import wrapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

# Seconds; a pause that doubles for ever soon waits for ever.
LONGEST_PAUSE: Final = 60.0


class Policy:
    """At most `retries` attempts after the first, each after a pause that doubles from `backoff` seconds.

    Raises:
        TypeError: `retry_on` holds something that is no `Exception`; cancellation is never retried.
        ValueError: `retries` or `backoff` is negative.

    """

    __slots__ = ("backoff", "retries", "retry_on")

    def __init__(
        self,
        retries: int,
        backoff: float = 0.0,
        retry_on: tuple[type[Exception], ...] = (Exception,),
    ) -> None:
        if retries < 0 or backoff < 0:
            raise ValueError("retries and backoff must not be negative")
        for kind in retry_on:
            if not (isinstance(kind, type) and issubclass(kind, Exception)):
                raise TypeError(f"retry_on holds {kind!r}, must hold subclasses of Exception")
        self.retries = retries
        self.backoff = backoff
        self.retry_on = retry_on

    def pause(self, attempt: int) -> float:
        """Seconds to wait after this attempt failed; the first is 1."""
        return min(self.backoff * 2.0 ** min(attempt - 1, 64), LONGEST_PAUSE)


def retrying(
    function: wrapping.Function, policy: Policy, on_retry: Callable[[], None]
) -> wrapping.Function:
    """The function, called again as `policy` says; `on_retry` is told before each further attempt.

    Raises:
        TypeError: the function is a generator, whose items cannot be taken back.

    """
    sort = wrapping.sort(function)
    if "generator" in sort:
        raise TypeError(
            "a generator cannot be retried; retry the function that it calls for each item"
        )
    make = _coroutine if sort == "coroutine" else _plain
    return wrapping.named(make(function, policy, on_retry), function)


# The pause comes after the except clause, so that the next error does not carry this one as its context.


def _plain(
    function: wrapping.Function, policy: Policy, on_retry: Callable[[], None]
) -> wrapping.Function:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        attempt = 0
        while True:
            attempt += 1
            try:
                return function(*args, **kwargs)
            except policy.retry_on:
                if attempt > policy.retries:
                    raise
            on_retry()
            time.sleep(policy.pause(attempt))

    return wrapper


def _coroutine(
    function: wrapping.Function, policy: Policy, on_retry: Callable[[], None]
) -> wrapping.Function:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        import asyncio  # noqa: PLC0415 - heavy, and loaded already where coroutines run

        attempt = 0
        while True:
            attempt += 1
            try:
                return await function(*args, **kwargs)
            except policy.retry_on:
                if attempt > policy.retries:
                    raise
            on_retry()
            await asyncio.sleep(policy.pause(attempt))

    return wrapper
