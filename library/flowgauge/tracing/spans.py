"""Spans: what one piece of work was, when it ran and how it ended, and which span is the current one.

Tracers make spans; whoever measures asks `exemplar_labels` for the trace that it measures in. Nothing here raises
while a program runs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Final, Literal, NamedTuple, Self

from flowgauge import guard
from flowgauge.tracing.details import Plain

Status = Literal["unset", "ok", "error", "cancelled"]
STATUSES: Final = ("unset", "ok", "error", "cancelled")

SPAN_MASK: Final = 2**64 - 1

current: Final[ContextVar[Span | None]] = ContextVar("flowgauge_span", default=None)
_get_current = current.get


class Event(NamedTuple):
    """A moment in a span: `timestamp` in Unix nanoseconds."""

    name: str
    timestamp: int
    attributes: Mapping[str, Plain]


class Span:
    """A piece of work in a trace. As a context manager it is the current span of its block, and ends with it."""

    __slots__ = ("_ids", "_labels", "_parent_ids", "_token")

    # Whether the span is recorded.
    sampled: bool = False

    # Both ids in one number, trace times 2**64 plus span, which saves a random number for each span.
    _ids: int
    _parent_ids: int
    _labels: tuple[tuple[str, str], ...]
    _token: Any

    @property
    def name(self) -> str:
        """What is done; empty without recording."""
        return ""

    @property
    def trace_id(self) -> str:
        """The trace, in 32 hexadecimal digits."""
        return f"{self._ids >> 64:032x}"

    @property
    def span_id(self) -> str:
        """The span, in 16 hexadecimal digits."""
        return f"{self._ids & SPAN_MASK:016x}"

    @property
    def parent_id(self) -> str | None:
        """The span that this one is part of; none for the first of a trace."""
        return f"{self._parent_ids & SPAN_MASK:016x}" if self._parent_ids else None

    @property
    def ids(self) -> int:
        """The trace's id times 2**64 plus the span's, for who makes a child."""
        return self._ids

    @property
    def traceparent(self) -> str:
        """The W3C `traceparent` header that makes what another process does a part of this span."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    @property
    def labels(self) -> tuple[tuple[str, str], ...]:
        """The labels of an exemplar that leads here."""
        try:
            return self._labels
        except AttributeError:
            self._labels = (("trace_id", self.trace_id), ("span_id", self.span_id))
            return self._labels

    @property
    def order(self) -> tuple[int, int]:
        """Sorts spans by their start. Of two that began in one tick, the one that ended later is the outer one."""
        return (0, 0)

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
        """Seconds from its start to its end, or until now; never negative."""
        return 0.0

    @property
    def status(self) -> Status:
        """How it ended: `ok`, `error` or `cancelled`; `unset` as long as nobody has said so."""
        return "unset"

    @property
    def status_message(self) -> str:
        """What is said about the status."""
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
        """Describe the work by a number, a text, or a sequence of either; anything else is kept as its text."""

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None) -> None:
        """Tell of a moment."""

    def record_exception(self, error: BaseException) -> None:
        """Tell of an error, with its type, message and stack, as an event named `exception`."""

    def set_status(self, status: Status, message: str | None = "") -> None:
        """Say how the work went: `ok`, `error` or `cancelled`."""

    def end(self) -> None:
        """End the span. What comes later is ignored."""

    def finish(self, error: BaseException | None) -> None:
        """End the span of a block that raised `error`, with the status that follows from it."""

    def attach(self) -> Any:
        """Make this the current span. The result is for `detach`."""
        return current.set(self)

    def detach(self, token: Any) -> bool:
        """Undo `attach`; False in another context, where a finalizer may run and nothing is to be undone."""
        return is_reset(token)

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
        token, self._token = self._token, None
        if token is not None:
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
        return f"<{type(self).__name__} {self.name!r} {self.trace_id}-{self.span_id} {self.status} {self.duration:.6f}s>"


class UnsampledSpan(Span):
    """A span that nobody will see: it has ids, hands them on, and keeps nothing."""

    __slots__ = ("_inner",)

    _inner: Span

    def __init__(self, ids: int, parent_ids: int = 0) -> None:
        self._ids = ids
        self._parent_ids = parent_ids
        self._token = None

    @property
    def inner(self) -> Span:
        """The span of whatever is done within: one for all, since the current span need not change for it."""
        try:
            return self._inner
        except AttributeError:
            self._inner = _InnerSpan(self._ids, self._parent_ids)
            return self._inner

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        token, self._token = self._token, None
        if token is not None:
            try:  # noqa: SIM105 - `suppress` costs more than all of this
                current.reset(token)
            except ValueError:  # in another context, where a finalizer may run
                pass


class RemoteSpan(UnsampledSpan):
    """A sampled span of another process. Only its ids are known here."""

    __slots__ = ()

    sampled = True


class _InnerSpan(UnsampledSpan):
    __slots__ = ()

    @property
    def inner(self) -> Span:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return


def current_span() -> Span | None:
    """The span that this task or thread is in; none outside of all."""
    return _get_current()


def current_trace_id() -> str | None:
    """The trace that this task or thread is in; none outside of all."""
    span = _get_current()
    return None if span is None else span.trace_id


def exemplar_labels() -> tuple[tuple[str, str], ...]:
    """The labels `trace_id` and `span_id` of the current sampled span; empty without one. Never raises.

    Where none of ours is current, this is OpenTelemetry's current span, if that has been imported by somebody.
    """
    span = _get_current()
    if span is not None and span.sampled:
        return span.labels
    trace = sys.modules.get("opentelemetry.trace")
    return () if trace is None else _foreign_labels(trace)


def _foreign_labels(trace: Any) -> tuple[tuple[str, str], ...]:
    try:
        span = trace.get_current_span()
        context = span.get_span_context()
        if span.is_recording() and context.trace_flags.sampled:
            return (
                ("trace_id", f"{context.trace_id:032x}"),
                ("span_id", f"{context.span_id:016x}"),
            )
    except AttributeError:
        pass  # another thread is just importing it
    except Exception as error:
        guard.report("exemplar_labels", error)
    return ()


def is_reset(token: Token[Span | None]) -> bool:
    """Undo a `current.set`; False in another context, where there is nothing to undo."""
    try:
        current.reset(token)
    except ValueError:
        return False
    return True
