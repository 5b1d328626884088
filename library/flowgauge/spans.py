"""Spans: what one piece of work was, when it ran, and how it ended; and which span is the current one.

Tracers make spans, and whoever measures asks `exemplar_labels` for the trace it measures in. A span takes no lock:
CPython switches threads and runs signal handlers at calls, so what must not be torn is written in straight lines.
Nothing here raises while a program runs; what goes wrong is logged by `guard`.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from time import perf_counter_ns, time_ns
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, Self

from flowgauge import details, guard
from flowgauge.details import LARGEST, SHORT, Failure, Plain

Status = Literal["unset", "ok", "error", "cancelled"]
STATUSES: Final = frozenset({"unset", "ok", "error", "cancelled"})

EVENT_ATTRIBUTES: Final = 16
# Characters that one span keeps of long text; what comes then is cut to `SHORT`. Stacks are counted apart.
TEXT_ROOM: Final = 16384

_HEXADECIMAL: Final = frozenset("0123456789abcdef")

current: Final[ContextVar[Span | None]] = ContextVar("flowgauge_span", default=None)
_set_current, _reset_current = current.set, current.reset


class Event(NamedTuple):
    """A moment in a span: `timestamp` in Unix nanoseconds."""

    name: str
    timestamp: int
    attributes: Mapping[str, Any]


class Remote(NamedTuple):
    """A span of another process, known from a W3C `traceparent` header."""

    trace_number: int
    span_number: int
    sampled: bool


class Store:
    """Where ended spans of a tracer go: the newest ones, how many there were, and who wants to see them."""

    __slots__ = ("attribute_limit", "event_limit", "finished", "on_end", "retired", "spans", "value_limit")

    def __init__(
        self,
        limit: int,
        on_end: Callable[[Span], object] | None,
        *,
        attribute_limit: int,
        event_limit: int,
        value_limit: int,
    ) -> None:
        self.spans: deque[Span] = deque(maxlen=limit)
        self.finished = 0
        self.on_end = on_end
        self.attribute_limit = attribute_limit
        self.event_limit = event_limit
        self.value_limit = value_limit
        self.retired = False

    def successor(self) -> Store:
        """An empty store like this one, which from now on forgets what it is given: its spans are another process's."""
        limit = self.spans.maxlen or 0
        new = Store(
            limit,
            self.on_end,
            attribute_limit=self.attribute_limit,
            event_limit=self.event_limit,
            value_limit=self.value_limit,
        )
        self.retired, self.on_end, self.spans = True, None, deque(maxlen=0)
        return new

    def keep(self, span: Span) -> None:
        """Take an ended span, and show it to who wants to see it."""
        self.finished += 1
        self.spans.append(span)
        if self.on_end is not None:
            self._show(span, self.on_end)

    def found(self, trace_id: str | None) -> list[Span]:
        """The spans of the trace, or all of them, in the order of their start."""
        spans = self._copy()
        if trace_id is not None:
            number = _number(trace_id)
            spans = [span for span in spans if span.trace_number == number]
        # Of two that began in the same tick, the one that ended later is the outer one.
        return sorted(spans, key=lambda span: (span.start_time, -span.duration))

    def clear(self) -> None:
        """Forget all spans, and that there were any."""
        self.finished = 0
        self.spans.clear()

    @property
    def dropped(self) -> int:
        """How many spans were pushed out by newer ones."""
        return max(0, self.finished - len(self.spans))

    def _copy(self) -> list[Span]:
        for _ in range(100):
            try:
                return list(self.spans)
            except RuntimeError:  # without a global interpreter lock, another thread may append meanwhile
                continue
        return []

    def _show(self, span: Span, on_end: Callable[[Span], object]) -> None:
        # What the hook does is not traced: a hook that sends spans with a traced function would never come to an end.
        token = current.set(_SILENT)
        try:
            on_end(span)
        except Exception as error:
            guard.report("on_end", error)
        finally:
            current.reset(token)


class Span:
    """A piece of work in a trace. As a context manager it is the current span of its block, and ends with it.

    This class is also the span of a trace that is not sampled: it has ids, hands them on, and records nothing.

    Attributes:
        sampled: whether the span is recorded.
        trace_number, span_number, parent_number: the ids as integers; the parent's is 0 for the first of a trace.

    """

    __slots__ = ("_inner", "_labels", "_token", "parent_number", "span_number", "trace_number")

    sampled: bool = False

    def __init__(self, trace_number: int, span_number: int, parent_number: int = 0) -> None:
        self.trace_number = trace_number
        self.span_number = span_number
        self.parent_number = parent_number
        self._token: Any = None
        self._labels: tuple[tuple[str, str], ...] = ()
        self._inner: Span | None = None

    @property
    def inner(self) -> Span:
        """The span of all that is done within a span that is not sampled."""
        if self._inner is None:
            self._inner = _Inner(self.trace_number, self.span_number, self.parent_number)
        return self._inner

    @property
    def name(self) -> str:
        """What was done; empty without recording."""
        return ""

    @property
    def trace_id(self) -> str:
        """The trace: 32 hexadecimal digits."""
        return f"{self.trace_number:032x}"

    @property
    def span_id(self) -> str:
        """The span: 16 hexadecimal digits."""
        return f"{self.span_number:016x}"

    @property
    def parent_id(self) -> str | None:
        """The span that this one is part of; none for the first of a trace."""
        return f"{self.parent_number:016x}" if self.parent_number else None

    @property
    def traceparent(self) -> str:
        """The W3C `traceparent` header that makes what another process does a part of this span."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    @property
    def labels(self) -> tuple[tuple[str, str], ...]:
        """The labels of an exemplar that leads here."""
        if not self._labels:
            self._labels = (("trace_id", self.trace_id), ("span_id", self.span_id))
        return self._labels

    @property
    def start_time(self) -> int:
        """When it began, in Unix nanoseconds; 0 without recording."""
        return 0

    @property
    def end_time(self) -> int | None:
        """When it ended, in Unix nanoseconds; none while it runs."""
        return None

    @property
    def duration(self) -> float:
        """Seconds from start to end, or until now; never negative."""
        return 0.0

    @property
    def status(self) -> Status:
        """How it ended: `ok`, `error` or `cancelled`; `unset` if nobody said so."""
        return "unset"

    @property
    def status_message(self) -> str:
        """What is said of the status."""
        return ""

    @property
    def attributes(self) -> dict[str, Plain]:
        """A copy of what was set."""
        return {}

    @property
    def events(self) -> list[Event]:
        """What happened meanwhile, in order."""
        return []

    @property
    def dropped_attributes(self) -> int:
        """How many attributes were beyond the limit."""
        return 0

    @property
    def dropped_events(self) -> int:
        """How many events were beyond the limit."""
        return 0

    def set_attribute(self, key: str, value: Any) -> None:
        """Describe the work: a number, text, or a sequence of one of these; anything else is kept as its text."""

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None) -> None:
        """Tell of a moment."""

    def record_exception(self, error: BaseException) -> None:
        """Tell of an error, with its type, message and stack, as an event named `exception`."""

    def set_status(self, status: Status, message: str | None = "") -> None:
        """Say how the work went: `ok`, `error` or `cancelled`."""

    def end(self) -> None:
        """End the span; what comes later is ignored."""

    def attach(self) -> Any:
        """Make this the current span; the result is for `detach`."""
        return current.set(self)

    def detach(self, token: Any) -> None:
        """Undo `attach`; in another context, where a finalizer may run, there is nothing to undo."""
        _reset(token)

    def finish(self, error: BaseException | None) -> None:
        """End the span with the status that follows from what its block raised."""

    def __enter__(self) -> Self:
        if self._token is None:
            self._token = self.attach()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        token = self._token
        if token is not None:
            self._token = None
            self.detach(token)
        self.finish(error)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.trace_id}/{self.span_id} {self.status} {self.duration:.6f}s>"


class _Inner(Span):
    """A span within a span that is not sampled: one for all of them, since the current span need not change."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return


class RecordedSpan(Span):
    """A span that keeps what it is told in memory. `name` may be at most as long as a value."""

    __slots__ = (
        "_attributes",
        "_begun",
        "_ended",
        "_events",
        "_lost_attributes",
        "_lost_events",
        "_message",
        "_name",
        "_room",
        "_start",
        "_status",
        "_store",
    )

    sampled = True

    def __init__(
        self,
        name: str,
        trace_number: int,
        span_number: int,
        parent_number: int,
        store: Store,
    ) -> None:
        # Not by way of `Span.__init__`: a call more for each span.
        self.trace_number = trace_number
        self.span_number = span_number
        self.parent_number = parent_number
        self._token = None
        self._labels = ()
        self._name = name if len(name) <= SHORT else name[: store.value_limit]
        self._store = store
        self._attributes: dict[str, Plain] = {}
        self._events: list[_Told] = []
        self._status: Status = "unset"
        self._message = ""
        self._lost_attributes = self._lost_events = self._ended = 0
        self._room = TEXT_ROOM
        self._start = time_ns()
        self._begun = perf_counter_ns()

    @property
    def name(self) -> str:
        """What was done."""
        return self._name

    @property
    def start_time(self) -> int:
        """When it began, in Unix nanoseconds."""
        return self._start

    @property
    def end_time(self) -> int | None:
        """When it ended, in Unix nanoseconds; none while it runs."""
        return self._start + self._ended - self._begun if self._ended else None

    @property
    def duration(self) -> float:
        """Seconds from start to end, or until now; never negative."""
        return ((self._ended or perf_counter_ns()) - self._begun) / 1e9

    @property
    def status(self) -> Status:
        """How it ended: `ok`, `error` or `cancelled`; `unset` if nobody said so."""
        return self._status

    @property
    def status_message(self) -> str:
        """What is said of the status."""
        return self._message

    @property
    def attributes(self) -> dict[str, Plain]:
        """A copy of what was set."""
        return {**self._attributes}

    @property
    def events(self) -> list[Event]:
        """What happened meanwhile, in order."""
        return [self._event(told) for told in self._events[:]]

    @property
    def dropped_attributes(self) -> int:
        """How many attributes were beyond the limit."""
        return self._lost_attributes

    @property
    def dropped_events(self) -> int:
        """How many events were beyond the limit."""
        return self._lost_events

    def set_attribute(self, key: str, value: Any) -> None:
        """Describe the work: a number, text, or a sequence of one of these; anything else is kept as its text."""
        if self._ended:
            return
        try:
            kind = type(value)
            if kind is str:
                if len(value) > SHORT:
                    value = self._fitting(value)
            elif kind is not int or not -LARGEST <= value <= LARGEST:
                value = self._fitting(value)
            attributes = self._attributes
            if len(attributes) < self._store.attribute_limit or key in attributes:
                attributes[key] = value
            else:
                self._lost_attributes += 1
        except Exception as error:
            guard.report("set_attribute", error)

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None) -> None:
        """Tell of a moment."""
        now = perf_counter_ns()
        if self._ended:
            return
        try:
            events = self._events
            if len(events) >= self._store.event_limit:
                self._lost_events += 1
            else:
                events.append((name, now, self._kept(attributes) if attributes else None))
        except Exception as error:
            guard.report("add_event", error)

    def record_exception(self, error: BaseException) -> None:
        """Tell of an error, with its type, message and stack, as an event named `exception`."""
        now = perf_counter_ns()
        if not self._ended:
            self._events.append(("exception", now, details.failures(error, self._store.value_limit)))

    def set_status(self, status: Status, message: str | None = "") -> None:
        """Say how the work went: `ok`, `error` or `cancelled`."""
        if status not in STATUSES:
            guard.warn("set_status", f"{status!r} is no status of a span; use one of {sorted(STATUSES)}")
        elif not self._ended:
            self._message = details.text(message, self._store.value_limit) if message else ""
            self._status = status

    def end(self) -> None:
        """End the span; what comes later is ignored."""
        now = perf_counter_ns()
        if not self._ended:
            self._ended = now
            self._store.keep(self)

    def finish(self, error: BaseException | None) -> None:
        """End the span with the status that follows from what its block raised."""
        try:
            if error is not None:
                self._explain(error)
            elif self._status == "unset":
                self._status = "ok"
            self.end()
        except RecursionError:
            return
        except Exception as fault:
            guard.report("finish", fault)

    def __enter__(self) -> Self:
        if self._token is None:
            self._token = _set_current(self)
        return self

    def __exit__(self, kind, error, traceback) -> None:
        now = perf_counter_ns()
        token = self._token
        if token is not None:
            self._token = None
            try:
                _reset_current(token)
            except ValueError:
                pass
        store = self._store
        if error is None and store.on_end is None and not self._ended:
            if self._status == "unset":
                self._status = "ok"
            self._ended = now
            store.finished += 1
            store.spans.append(self)
        else:
            self.finish(error)

    def _explain(self, error: BaseException) -> None:
        if isinstance(error, GeneratorExit):
            if self._status == "unset": self._status = "ok"
        elif details.is_cancellation(error):
            if self._status in ("unset", "ok"): self._status = "cancelled"
        else:
            self.record_exception(error)
            if self._status in ("unset","ok"): 
                self._status="error"

    def _fitting(self, value: Any) -> Plain:
        kept = details.plain(value, min(self._store.value_limit, max(SHORT, self._room)))
        self._room -= details.size(kept)
        return kept

    def _kept(self, attributes):
        kept={}
        for key, value in details.pairs(attributes, EVENT_ATTRIBUTES):
            kept[key]=self._fitting(value)
        return kept

    def _event(self, told): 
        name, moment, attributes = told
        return Event(name, self._start+moment-self._begun, attributes)

_SILENT: Final = Span(0, 0)
_Told = tuple

def _reset(token: Any) -> None:
    try:
        current.reset(token)
    except ValueError:
        return
