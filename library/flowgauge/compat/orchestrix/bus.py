"""Message buses in memory. What they publish and how handlers do is counted for everybody who uses them.

Handlers get messages of exactly the class that they subscribed to, in the order of their subscriptions. A handler that
raises is logged, and the others go on. Where all of them raise, there is nobody left who handled the message, and the
publisher gets a `HandlerError`. What is no `Exception`, such as `KeyboardInterrupt` or a cancelled task, ends the
publishing at once. So does Orchestrix.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from flowgauge import records, wrapping
from flowgauge.compat.orchestrix.calls import Call
from flowgauge.compat.orchestrix.messages import Command, Event
from flowgauge.instruments import Counter, Gauge, Histogram
from flowgauge.instruments.children import CounterChild

if TYPE_CHECKING:
    import asyncio

Handler = Callable[[Any], object]

# Classes of messages whose series is kept at hand.
KNOWN: Final = 1000

_log = logging.getLogger("flowgauge.orchestrix")
_published: dict[type, CounterChild] = {}


class HandlerError(Exception):
    """All handlers of a message raised. `original_error` is what the handler raised, or a group of all errors."""

    def __init__(self, message_type: str, handler_name: str, original_error: Exception) -> None:
        super().__init__(
            f"no handler could handle {message_type}: {handler_name} raised {original_error!r}"
        )
        self.message_type = message_type
        self.handler_name = handler_name
        self.original_error = original_error

    def __reduce__(self) -> tuple[type[HandlerError], tuple[str, str, Exception]]:
        return type(self), (self.message_type, self.handler_name, self.original_error)


class _Subscription:
    """A handler of one class of messages, with its series."""

    __slots__ = ("_active", "_duration", "_failed", "_handler", "is_async", "name")

    def __init__(self, message_type: type, handler: Handler) -> None:
        if not callable(handler):
            raise TypeError(f"a handler is a function, and not {handler!r}")
        self.name = _name(handler)
        self.is_async = wrapping.sort(handler) == "coroutine"
        self._handler: Callable[[Any], Any] = handler
        message = message_type.__name__
        self._duration = records.child(
            "handler.duration", Histogram, handler=self.name, message=message
        )
        self._active = records.child("handler.active", Gauge, handler=self.name)
        self._failed = records.child(
            "handler.failed", Counter, handler=self.name, error="handler_error"
        )

    def attempt(self, message: object) -> Exception | None:
        """Call the handler; what it raised."""
        try:
            with self._call():
                self._handler(message)
        except Exception as error:
            return self._logged(message, error)
        return None

    async def attempt_async(self, message: object) -> Exception | None:
        """Await the handler; what it raised."""
        try:
            with self._call():
                await self._handler(message)
        except Exception as error:
            return self._logged(message, error)
        return None

    def _call(self) -> Call:
        return Call(self._duration, self._ended, self._active)

    def _ended(self, error: BaseException | None) -> None:
        if error is not None:
            self._failed.inc()

    def _logged(self, message: object, error: Exception) -> Exception:
        _log.error("handler %s failed for %s", self.name, type(message).__name__, exc_info=error)
        return error


class _Bus:
    def __init__(self) -> None:
        self._subscriptions: dict[type, list[_Subscription]] = {}

    def subscribe(self, message_type: type, handler: Handler) -> None:
        """Let the handler, a function or a coroutine function, have the messages of this class.

        Raises:
            TypeError: the one is no class, or the other no function.

        """
        if not isinstance(message_type, type):
            raise TypeError(f"message_type is {message_type!r}, must be a class of messages")
        subscription = _Subscription(message_type, handler)
        self._subscriptions.setdefault(message_type, []).append(subscription)

    def _published(self, message: object) -> list[_Subscription]:
        """Count the message; who wants it."""
        kind = type(message)
        records.published(_published.get(kind) or _series(kind))
        # A copy: a handler may subscribe another one.
        return list(self._subscriptions.get(kind, ()))

    async def _delivered(self, message: object) -> None:
        subscriptions = self._published(message)
        errors = [s.attempt(message) for s in subscriptions if not s.is_async]
        errors += await _gathered(s.attempt_async(message) for s in subscriptions if s.is_async)
        _conclude(message, subscriptions, errors)


class InMemoryMessageBus(_Bus):
    """Delivers a message before `publish` returns. Handlers may publish themselves."""

    def __init__(self) -> None:
        super().__init__()
        # The event loop keeps no strong references to tasks.
        self._tasks: set[asyncio.Task[Exception | None]] = set()

    def publish(self, message: object) -> None:
        """Call the handlers of the message.

        Coroutine functions among them run to their end before it returns; where an event loop is running, which
        must not be blocked, they become tasks instead, and what they raise is logged. `publish_async` awaits them.

        Raises:
            HandlerError: all handlers raised.

        """
        subscriptions = self._published(message)
        errors = [s.attempt(message) for s in subscriptions if not s.is_async]
        waiting = [s for s in subscriptions if s.is_async]
        if waiting:
            errors += self._run(waiting, message)
        _conclude(message, subscriptions, errors)

    async def publish_async(self, message: object) -> None:
        """Call the handlers of the message, and await the coroutine functions among them, all at a time.

        Raises:
            HandlerError: all handlers raised.

        """
        await self._delivered(message)

    def _run(self, waiting: list[_Subscription], message: object) -> list[Exception | None]:
        import asyncio  # noqa: PLC0415 - who has coroutine functions has imported it

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(_gathered(s.attempt_async(message) for s in waiting))
        for subscription in waiting:
            task = loop.create_task(subscription.attempt_async(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return []


class InMemoryAsyncMessageBus(_Bus):
    """Delivers a message while `publish` is awaited."""

    async def publish(self, message: object) -> None:
        """Call the handlers of the message, and await the coroutine functions among them, all at a time.

        Raises:
            HandlerError: all handlers raised.

        """
        await self._delivered(message)


async def _gathered(attempts: Iterable[Awaitable[Exception | None]]) -> list[Exception | None]:
    started = list(attempts)
    if len(started) < 2:
        return [await attempt for attempt in started]
    import asyncio  # noqa: PLC0415 - somebody runs this coroutine

    return list(await asyncio.gather(*started))


def _conclude(
    message: object, subscriptions: list[_Subscription], errors: list[Exception | None]
) -> None:
    raised = [error for error in errors if error is not None]
    if not raised or len(raised) < len(subscriptions):
        return
    name = type(message).__name__
    if len(raised) == 1:
        raise HandlerError(name, subscriptions[0].name, raised[0]) from raised[0]
    group = ExceptionGroup(f"{len(raised)} handlers failed", raised)
    raise HandlerError(name, "all_handlers", group) from group


def _series(kind: type) -> CounterChild:
    made = records.child("message.published", Counter, kind=_sort(kind), message=kind.__name__)
    if len(_published) < KNOWN:
        _published[kind] = made
    return made


def _sort(kind: type) -> str:
    if issubclass(kind, Command):
        return "command"
    return "event" if issubclass(kind, Event) else "message"


def _name(handler: Any) -> str:
    while isinstance(handler, functools.partial):
        handler = handler.func
    return str(getattr(handler, "__name__", None) or type(handler).__name__)
