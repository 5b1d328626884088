"""Event stores in memory, and a wrapper that measures an event store of the program's own.

An error counts by its class, in the way of the guide: `ConcurrencyError` as `concurrency_error`. Its aggregate is a
label, and a label must not be an identifier: `order-4711` counts as `order`, by `aggregate_type`; who has other
identifiers gives a function of his own.
"""

from __future__ import annotations

import functools
import re
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar, cast

from flowgauge import forks, guard, records, wrapping
from flowgauge.compat.orchestrix.calls import Call
from flowgauge.instruments import Counter, Histogram
from flowgauge.instruments.children import CounterChild

Aggregate = Callable[[str], str]
S = TypeVar("S")

UNKNOWN: Final = "unknown"
# The operations of a store by the names of its methods.
OPERATIONS: Final = {"save": "save", "load": "load", "save_async": "save", "load_async": "load"}

_TYPE: Final = re.compile(r"([A-Za-z][A-Za-z_]*)[-:/#.|]")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class ConcurrencyError(Exception):
    """Somebody else has saved events of the aggregate meanwhile."""

    def __init__(self, aggregate_id: str, expected_version: int, version: int) -> None:
        super().__init__(
            f"{aggregate_id} has version {version}, expected was {expected_version}; load it again"
        )
        self.aggregate_id = aggregate_id
        self.expected_version = expected_version
        self.version = version

    def __reduce__(self) -> tuple[type[ConcurrencyError], tuple[str, int, int]]:
        return type(self), (self.aggregate_id, self.expected_version, self.version)


def aggregate_type(aggregate_id: str) -> str:
    """The letters before the first separator, one of `- : / # . |`; `unknown` where there are none, as in a UUID."""
    found = _TYPE.match(aggregate_id)
    return found[1] if found and not _UUID.fullmatch(aggregate_id) else UNKNOWN


class _Operation:
    """One operation of one store, with its series."""

    __slots__ = ("_duration", "_failed", "_good")

    def __init__(self, operation: str, store: str) -> None:
        labels = {"operation": operation, "store": store}
        self._duration = records.child("store.duration", Histogram, **labels)
        self._good = records.child("store.finished", Counter, outcome="good", **labels)
        self._failed = records.child("store.finished", Counter, outcome="failed", **labels)

    def call(self, aggregate: Aggregate, aggregate_id: object) -> Call:
        """A block that does the operation."""

        def ended(error: BaseException | None) -> None:
            counted: CounterChild = self._good if error is None else self._failed
            counted.inc()
            if error is not None:
                label = _label(aggregate, aggregate_id)
                records.count("store.failed", error=_word(error), aggregate=label)

        return Call(self._duration, ended)


class _Operations:
    """The operations of one store."""

    def __init__(self, store: str, aggregate: Aggregate) -> None:
        self._aggregate = aggregate
        self._by_name = {name: _Operation(name, store) for name in ("save", "load")}

    def call(self, operation: str, aggregate_id: object) -> Call:
        return self._by_name[operation].call(self._aggregate, aggregate_id)


class _Streams:
    """The events of each aggregate."""

    def __init__(self) -> None:
        self._events: dict[str, list[Any]] = {}
        self._lock = threading.Lock()
        _all.add(self)

    def save(self, aggregate_id: str, events: Iterable[Any], expected_version: int | None) -> None:
        more = list(events)
        with self._lock:
            stream = self._events.setdefault(aggregate_id, [])
            if expected_version is not None and expected_version != len(stream):
                raise ConcurrencyError(aggregate_id, expected_version, len(stream))
            stream.extend(more)

    def load(self, aggregate_id: str, from_version: int) -> list[Any]:
        return self._events.get(aggregate_id, [])[from_version:]

    def unlock(self) -> None:
        self._lock = threading.Lock()


class InMemoryEventStore:
    """Keeps events in memory; `name` is the store's label."""

    def __init__(self, name: str = "memory", *, aggregate: Aggregate = aggregate_type) -> None:
        self._streams = _Streams()
        self._operations = _Operations(name, aggregate)

    def save(
        self, aggregate_id: str, events: Iterable[Any], expected_version: int | None = None
    ) -> None:
        """Append events; `expected_version` is how many the aggregate must have so far.

        Raises:
            ConcurrencyError: it has another number of them.

        """
        with self._operations.call("save", aggregate_id):
            self._streams.save(aggregate_id, events, expected_version)

    def load(self, aggregate_id: str, from_version: int = 0) -> list[Any]:
        """The events of the aggregate without the first `from_version`; none of an aggregate that does not exist."""
        with self._operations.call("load", aggregate_id):
            return self._streams.load(aggregate_id, from_version)


class InMemoryAsyncEventStore:
    """The same for coroutines."""

    def __init__(self, name: str = "memory", *, aggregate: Aggregate = aggregate_type) -> None:
        self._store = InMemoryEventStore(name, aggregate=aggregate)

    async def save(
        self, aggregate_id: str, events: Iterable[Any], expected_version: int | None = None
    ) -> None:
        """Append events, as `InMemoryEventStore.save`.

        Raises:
            ConcurrencyError: the aggregate has another number of events than `expected_version`.

        """
        self._store.save(aggregate_id, events, expected_version)

    async def load(self, aggregate_id: str, from_version: int = 0) -> list[Any]:
        """The events of the aggregate, as `InMemoryEventStore.load`."""
        return self._store.load(aggregate_id, from_version)


def measured_store(store: S, name: str, *, aggregate: Aggregate = aggregate_type) -> S:
    """The store, with `save` and `load` measured, whether they are functions or coroutine functions.

    `name` is the label of the store, such as `postgres`. The first argument of both is the identifier of the
    aggregate, by position or as `aggregate_id`; `aggregate` makes a label of it. All else of the store is as it was.
    """
    return cast("S", _MeasuredStore(store, _Operations(name, aggregate)))


class _MeasuredStore:
    def __init__(self, store: object, operations: _Operations) -> None:
        self.__dict__.update(_store=store, _operations=operations)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.__dict__["_store"], name)
        operation = OPERATIONS.get(name)
        if operation is None or not callable(found):
            return found
        made = _measured(found, functools.partial(self._operations.call, operation))
        self.__dict__[name] = made
        return made

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._store, name, value)

    def __repr__(self) -> str:
        return f"<measured {self._store!r}>"


def _measured(method: Callable[..., Any], call: Callable[[object], Call]) -> Callable[..., Any]:
    def plain(*args: Any, **kwargs: Any) -> Any:
        with call(_first(args, kwargs)):
            return method(*args, **kwargs)

    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        with call(_first(args, kwargs)):
            return await method(*args, **kwargs)

    chosen = coroutine if wrapping.sort(method) == "coroutine" else plain
    return functools.update_wrapper(chosen, method)


def _first(args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
    return args[0] if args else kwargs.get("aggregate_id", "")


def _label(aggregate: Aggregate, aggregate_id: object) -> str:
    try:
        return str(aggregate(str(aggregate_id))) or UNKNOWN
    except Exception as error:
        guard.report("aggregate", error)
        return UNKNOWN


def _word(error: BaseException) -> str:
    return _WORD.sub("_", type(error).__name__).lower()


_all: weakref.WeakSet[_Streams] = weakref.WeakSet()


def _forked() -> None:
    # Another thread may have held a lock, and does not exist here.
    for streams in list(_all):
        streams.unlock()


forks.on_fork(_forked)
