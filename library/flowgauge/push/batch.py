"""`with batch(...)` and `@batch(...)`: a run of a program that ends, whose metrics are pushed at its end."""

from __future__ import annotations

import functools
import os
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar, Token
from time import monotonic
from types import TracebackType
from typing import Any, Final, Literal, ParamSpec, TypedDict, TypeVar, Unpack, cast

from flowgauge import blocks, guard
from flowgauge.push import Deadline, Pusher, PushError, aside, check_interval, termination
from flowgauge.push.gateway import Auth

P = ParamSpec("P")
R = TypeVar("R")

# Seconds for the last push when a signal has come and the grace is used up already.
LEAST_SECONDS: Final = 1.0

# Flags of a code object, as documented by `inspect`, which is too heavy to import for them.
_GENERATORS, _COROUTINES = 0x20 | 0x200, 0x80 | 0x100

# The process whose batch is around the current code; 0 for none. A child that it forks is in no batch.
_around: ContextVar[int] = ContextVar("flowgauge_batch", default=0)


class Options(TypedDict, total=False):
    """The arguments of `Pusher` that `batch` hands on."""

    method: Literal["PUT", "POST"]
    cumulative: bool
    timeout: float
    backoff: float
    auth: Auth | None
    ca_file: str | os.PathLike[str] | None
    client_cert: str | tuple[str, str] | None
    gzip: bool


class Batch:
    """A run of the workflow `name` whose metrics are pushed when it ends, however it ends.

    A context manager (`with`, `async with`; one at a time) and a decorator of functions and coroutine functions.

    The page is that of the whole process, so a batch within a batch pushes nothing: the outer one does. `job` is
    `name` if it is not given; give the batches of one program the same. `grouping`, `deadline` and `options` are those
    of `Pusher`. `every` pushes at the start too, and then every so many seconds. `render` is for a page of one's own.

    SIGTERM ends the body with `SystemExit` (143), a coroutine by cancelling it, and the run counts as cancelled; where
    the program has a handler of its own, that is called instead, and decides. That holds in the main thread. From the
    signal on, body and push together have `grace` seconds; the push has one second at least.

    A failed push is logged. With `strict` it raises `PushError`, if the body ended well.

    Raises:
        ValueError: an argument or `FLOWGAUGE_PUSHGATEWAY` cannot be used; the message names it.

    """

    def __init__(
        self,
        name: str,
        *,
        gateway_url: str | None = None,
        job: str = "",
        grouping: Mapping[str, str | int] | None = None,
        trigger: str = "schedule",
        deadline: float = 30.0,
        grace: float = 25.0,
        every: float | None = None,
        strict: bool = False,
        render: Callable[[], bytes] | None = None,
        **options: Unpack[Options],
    ) -> None:
        if not (isinstance(name, str) and name):
            raise ValueError(f"name is {name!r}, must be the name of a workflow, such as 'nightly'")
        if not 0 < grace < float("inf"):
            raise ValueError(f"grace is {grace!r}, must be a number of seconds above 0")
        if every is not None:
            check_interval(every)
        self.name = name
        self.trigger = trigger
        self.grace = grace
        self.every = every
        self.strict = strict
        self.pusher = Pusher(
            gateway_url,
            job or name,
            render=render,
            grouping=grouping,
            deadline=deadline,
            **options,
        )
        self._runs: list[_Run] = []

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """The function, as a batch of its own at each call.

        Raises:
            TypeError: it is a generator, which ends when its consumer likes.

        """
        flags = _flags(function)
        if flags & _GENERATORS:
            raise TypeError("a generator is no batch; decorate the function that consumes it")
        wrapper = self._coroutine(function) if flags & _COROUTINES else self._plain(function)
        return functools.update_wrapper(wrapper, function)

    def _plain(self, function: Callable[P, R]) -> Callable[P, R]:
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            with _Run(self):
                return function(*args, **kwargs)

        return wrapper

    def _coroutine(self, function: Callable[P, R]) -> Callable[P, R]:
        async def wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
            async with _Run(self):
                return await cast("Awaitable[Any]", function(*args, **kwargs))

        return cast("Callable[P, R]", wrapper)

    def __enter__(self) -> Pusher:
        # Before it begins: after that, nothing may be called.
        self._runs.append(run := _Run(self))
        try:
            return run.__enter__()
        except BaseException:
            self._runs.remove(run)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._runs.pop().__exit__(kind, error, traceback)

    async def __aenter__(self) -> Pusher:
        self._runs.append(run := _Run(self))
        try:
            return await run.__aenter__()
        except BaseException:
            self._runs.remove(run)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._runs.pop().__aexit__(kind, error, traceback)


class _Run:
    """One run of a batch."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._watch = termination.Watch()
        self._block = blocks.run(batch.name, trigger=batch.trigger)
        self._token: Token[int] | None = None
        self._pid = os.getpid()
        self._is_outermost = _around.get() != self._pid

    def __enter__(self) -> Pusher:
        try:
            self._begin(in_task=False)
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self._batch.pusher

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._watch.in_body = False
        try:
            self._count(error)
            failure = self._push(error)
        finally:
            self._watch.end()
        # Nothing may be called from here on: a signal that came now would be kept, and nobody would look.
        if failure is not None:
            raise failure

    async def __aenter__(self) -> Pusher:
        try:
            self._begin(in_task=True)
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self._batch.pusher

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._watch.in_body = False
        try:
            self._count(error)
            failure = await aside.run(lambda: self._push(error), uncancelled=error is not None)
            ended = self._watch.take_back(error)
        finally:
            self._watch.end()
        if ended is not None:
            raise ended from None
        if failure is not None:
            raise failure

    def _begin(self, *, in_task: bool) -> None:
        self._watch.prepare(in_task=in_task)
        self._block.__enter__()
        self._token = _around.set(self._pid)
        if self._batch.every is not None and self._is_outermost:
            self._batch.pusher.every(self._batch.every)
        self._watch.begin()

    def _count(self, error: BaseException | None) -> None:
        counted = error
        if self._watch.asked is not None and not isinstance(error, Exception | None):
            # However the body ended for the signal, it was cancelled and did not fail.
            from asyncio import CancelledError  # noqa: PLC0415 - heavy, and rarely needed

            counted = CancelledError()
        try:
            self._block.__exit__(type(counted) if counted else None, counted, None)
            if self._token is not None:
                _around.reset(self._token)
        except ValueError:  # another context, which has nothing to undo
            return
        except Exception as fault:
            guard.report("batch", fault)

    def _push(self, error: BaseException | None) -> PushError | None:
        """The last push; its failure, if that is the caller's business."""
        # The numbers of a forked child are not the batch's.
        if not self._is_outermost or os.getpid() != self._pid:
            return None
        batch, until = self._batch, Deadline(self._batch.pusher.deadline)
        self._watch.on_signal = lambda: until.shorten(batch.grace)
        if self._watch.asked is not None:
            until.shorten(max(self._watch.asked + batch.grace - monotonic(), LEAST_SECONDS))
        try:
            batch.pusher.halt()
            batch.pusher.push(until=until)
        except Exception as fault:
            if not (batch.strict and _ended_well(error)):
                _log(batch.name, fault)
            elif isinstance(fault, PushError):
                return fault
            else:
                return PushError(f"cannot push to {batch.pusher.url}: {fault!r}")
        return None


batch = Batch

# A signal that comes when the body has ended, but these have not begun, must not end them.
for _function in (Batch.__exit__, Batch.__aexit__, _Run.__exit__, _Run.__aexit__):
    termination.closing(_function)


def _log(name: str, fault: Exception) -> None:
    place = f"last push of {name}"
    if isinstance(fault, PushError):
        guard.warn(place, f"{fault}; the batch {name} ends as it would have without")
    else:
        guard.report(place, fault)


def _flags(function: Callable[..., object]) -> int:
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return int(getattr(code, "co_flags", 0))


def _ended_well(error: BaseException | None) -> bool:
    return error is None or (isinstance(error, SystemExit) and error.code in (None, 0))
