"""Spans that are kept in memory, and the store that they are kept in.

Nothing here takes a lock: CPython switches threads and runs signal handlers at calls, so what must not be torn is
written in straight lines. Nothing here raises while a program runs; what goes wrong is logged by `guard`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from time import perf_counter_ns
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from flowgauge import guard
from flowgauge.tracing import details
from flowgauge.tracing.details import KEY_LENGTH, SHORT, Failure, Plain
from flowgauge.tracing.spans import STATUSES, Event, Span, Status, UnsampledSpan, current, is_reset

EVENT_ATTRIBUTES: Final = 16
# Characters of long text that one span keeps; when they are used up, text is cut to `SHORT`. Stacks count apart.
TEXT_ROOM: Final = 16384
EXCEPTIONS: Final = 8  # that are told with their stacks in one span

# What a hook does is not traced: one that sends spans with the help of a traced function would never come to an end.
SILENT: Final = UnsampledSpan(0)

# Types that need no look at the value, beside `int`: one beyond 64 bits is told as text when it is read.
_FREE: Final = (bool, float)

_set_current, _reset_current = current.set, current.reset

# An event as a span keeps it: name, moment (`perf_counter_ns`), and attributes or an error.
_Note = tuple[str, int, dict[str, Plain] | tuple[Failure, ...] | None]


class Limits(NamedTuple):
    """What a tracer keeps at most: ended spans, and of each span attributes, events, and characters of a value."""

    spans: int
    attributes: int
    events: int
    value: int


class Store:
    """Where the ended spans of a tracer go: the newest ones, how many there were, and who wants to see them."""

    __slots__ = ("finished", "limits", "on_end", "retired", "spans")

    def __init__(self, limits: Limits, on_end: Callable[[Span], object] | None) -> None:
        self.limits = limits
        self.on_end = on_end
        self.spans: deque[Span] = deque(maxlen=limits.spans)
        self.finished = 0
        self.retired = False

    def successor(self) -> Store:
        """An empty store like this one, which from now on takes nothing: its spans belong to another process."""
        new = Store(self.limits, self.on_end)
        self.retired, self.on_end, self.spans = True, None, deque(maxlen=0)
        return new

    def found(self, trace_id: str | None) -> list[Span]:
        """The spans of the trace, or all of them, in the order of their start."""
        spans = self._copy()
        if trace_id is not None:
            spans = [span for span in spans if span.trace_id == trace_id]
        return sorted(spans, key=lambda span: span.order)

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
            except (
                RuntimeError
            ):  # without a global interpreter lock, another thread may append meanwhile
                continue
        return []


class TimedSpan(Span):
    """What the spans have in common that are recorded: a name, times, a status, and a store to go to."""

    __slots__ = ("_begun", "_ended", "_message", "_name", "_start", "_status", "_store")

    _name: str
    _store: Store
    _start: int  # Unix nanoseconds
    _begun: int  # `perf_counter_ns`, as `_ended`, which is 0 while it runs
    _ended: int
    _status: Status | None
    _message: str  # empty slot without one

    @property
    def name(self) -> str:
        """What is done."""
        return self._name

    @property
    def order(self) -> tuple[int, int]:
        """Sorts spans by their start. Of two that began in one tick, the one that ended later is the outer one."""
        return (self._begun, -self._ended)

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
        """Seconds from its start to its end, or until now; never negative."""
        return max(0, (self._ended or perf_counter_ns()) - self._begun) / 1e9

    @property
    def status(self) -> Status:
        """How it ended: `ok`, `error` or `cancelled`; `unset` as long as nobody has said so."""
        return self._status or "unset"

    @property
    def status_message(self) -> str:
        """What is said about the status."""
        return getattr(self, "_message", "")

    def set_status(self, status: Status, message: str | None = "") -> None:
        """Say how the work went: `ok`, `error` or `cancelled`."""
        if status not in STATUSES:
            guard.warn(
                "set_status", f"{status!r} is no status of a span; use one of {', '.join(STATUSES)}"
            )
        elif not self._ended:
            self._message = details.text(message, self._store.limits.value) if message else ""
            self._status = None if status == "unset" else status


class RecordedSpan(TimedSpan):
    """A span that is kept in memory. Its tracer fills in the slots; those for rare things are empty until used."""

    __slots__ = (
        "_attributes",
        "_exceptions",
        "_lost_attributes",
        "_lost_events",
        "_notes",
        "_room",
    )

    sampled = True

    _attributes: dict[str, Plain] | None
    _notes: list[_Note] | None
    _exceptions: int
    _lost_attributes: int
    _lost_events: int
    _room: int

    @property
    def attributes(self) -> dict[str, Plain]:
        """A copy of what was set."""
        kept = self._attributes
        return details.readable({**kept}) if kept else {}

    @property
    def events(self) -> list[Event]:
        """What happened meanwhile, in order."""
        notes = self._notes
        return [self._event(*note) for note in notes] if notes else []

    @property
    def dropped_attributes(self) -> int:
        """How many attributes were beyond the limit."""
        return getattr(self, "_lost_attributes", 0)

    @property
    def dropped_events(self) -> int:
        """How many events were beyond the limit."""
        return getattr(self, "_lost_events", 0)

    def set_attribute(self, key: str, value: Any) -> None:
        """Describe the work by a number, a text, or a sequence of either; anything else is kept as its text."""
        if self._ended:
            return
        try:
            kind = type(value)
            if kind is str:
                if len(value) > SHORT:
                    value = self._fitting(value)
            elif kind is not int and kind not in _FREE:
                value = self._fitting(value)
            if len(key) > SHORT:
                key = details.text(key, KEY_LENGTH)
            kept = self._attributes
            if kept is None:
                self._attributes = {key: value}
            elif len(kept) < self._store.limits.attributes or key in kept:
                kept[key] = value
            else:
                self._lost_attributes = self.dropped_attributes + 1
        except Exception as error:
            guard.report("set_attribute", error)

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None) -> None:
        """Tell of a moment."""
        now = perf_counter_ns()
        if self._ended:
            return
        try:
            if len(name) > SHORT:
                name = details.text(name, self._store.limits.value)
            notes = self._notes
            if notes is not None and len(notes) >= self._store.limits.events:
                self._lost_events = self.dropped_events + 1
                return
            note = (name, now, self._noted(attributes) if attributes else None)
            # Looked at again without a call in between: another thread may have told the first event meanwhile.
            if self._notes is None:
                self._notes = [note]
            else:
                self._notes.append(note)
        except Exception as error:
            guard.report("add_event", error)

    def record_exception(self, error: BaseException) -> None:
        """Tell of an error, with its type, message and stack, as an event named `exception`."""
        now = perf_counter_ns()
        recorded = getattr(self, "_exceptions", 0)
        if self._ended:
            return
        if recorded >= EXCEPTIONS:
            self._lost_events = self.dropped_events + 1
            return
        try:
            # Not by the limit of events: what went wrong is worth more than what went before.
            self._exceptions = recorded + 1
            note = ("exception", now, details.failures(error, self._store.limits.value))
            if self._notes is None:
                self._notes = [note]
            else:
                self._notes.append(note)
        except Exception as fault:
            guard.report("record_exception", fault)

    def end(self) -> None:
        """End the span. What comes later is ignored."""
        now = perf_counter_ns()
        if self._ended:
            return
        store = self._store
        self._ended = now
        store.finished += 1
        store.spans.append(self)
        if store.on_end is not None:
            show(self, store.on_end)

    def finish(self, error: BaseException | None) -> None:
        """End the span of a block that raised `error`, with the status that follows from it."""
        self.__exit__(None, error, None)

    def __enter__(self) -> Self:
        if self._token is None:
            self._token = _set_current(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The lines of `detach`, `end` and `conclude` for a good end: the calls would make a span a third dearer. What
        # is called here is not deeper in the stack than what `start_span` called, so there is room for it.
        now = perf_counter_ns()
        token = self._token
        if token is not None:
            # A token holds the span that was current before; kept, it would keep all spans there ever were.
            self._token = None
            try:  # noqa: SIM105 - `suppress` costs as much as half a span
                _reset_current(token)
            except ValueError:  # in another context, where a finalizer may run
                pass
        store = self._store
        if error is None and store.on_end is None:
            if not self._ended:
                if self._status is None:
                    self._status = "ok"
                self._ended = now
                store.finished += 1
                store.spans.append(self)
            return
        try:
            conclude(self, error)
        except RecursionError:
            # The program has used up the stack; its error goes on, told by its status only.
            if not self._ended:
                self._status = "error"
                self._ended = now
                store.finished += 1
                store.spans.append(self)
        except Exception as fault:
            guard.report("finish", fault)

    def _fitting(self, value: Any) -> Plain:
        room = getattr(self, "_room", TEXT_ROOM)
        kept = details.plain(value, min(self._store.limits.value, max(SHORT, room)))
        self._room = room - details.size(kept)
        return kept

    def _noted(self, attributes: Mapping[str, Any]) -> dict[str, Plain]:
        return {
            key: self._fitting(value) for key, value in details.pairs(attributes, EVENT_ATTRIBUTES)
        }

    def _event(
        self, name: str, moment: int, told: dict[str, Plain] | tuple[Failure, ...] | None
    ) -> Event:
        attributes = (
            details.exception(told) if isinstance(told, tuple) else details.readable(told or {})
        )
        return Event(name, self._start + moment - self._begun, attributes)


def conclude(span: Span, error: BaseException | None) -> None:
    """End the span of a block that raised `error`."""
    status, message = outcome(error, span.status)
    if error is not None and status == "error":
        span.record_exception(error)
    if status != span.status or (message and not span.status_message):
        span.set_status(status, message)
    span.end()


def outcome(error: BaseException | None, status: Status) -> tuple[Status, str]:
    """How a block ended that raised `error` after `status` was set, and what is to be said about it.

    What the program has said stays, except that who raises an error has not ended well. A consumer that has had
    enough closes its generator: nothing went wrong. A task that is told to stop is no error either.
    """
    if error is None or isinstance(error, GeneratorExit):
        return ("ok" if status == "unset" else status), ""
    if details.is_cancellation(error):
        return ("cancelled" if status in ("unset", "ok") else status), ""
    if status == "cancelled":
        return status, ""
    message = details.text(error, 256)
    return "error", f"{type(error).__name__}: {message}" if message else type(error).__name__


def show(span: Span, on_end: Callable[[Span], object]) -> None:
    """Call a hook of the user's, whatever it does."""
    token = _set_current(SILENT)
    try:
        on_end(span)
    except Exception as error:
        guard.report("on_end", error)
    finally:
        is_reset(token)
