"""Tracers: what starts and ends spans.

`SimpleTracer` keeps them in memory; the one for OpenTelemetry is in `otel`. Programs use both through `tracing`.
"""
# A tracer fills the slots of its spans itself: a constructor would make each span a tenth dearer.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from time import perf_counter_ns, time_ns
from typing import Any, Final, Protocol
from weakref import WeakSet

from flowgauge import forks, guard
from flowgauge.tracing import details
from flowgauge.tracing.details import SHORT
from flowgauge.tracing.recorded import Limits, RecordedSpan, Store
from flowgauge.tracing.spans import SPAN_MASK, RemoteSpan, Span, UnsampledSpan, current

_HEXADECIMAL: Final = frozenset("0123456789abcdef")

# Not the shared generator: programs seed that one to repeat themselves, and would repeat their ids in each worker.
_random = Random()  # noqa: S311 - ids are no secrets
random_bits = _random.getrandbits
_get_current = current.get


class Tracer(Protocol):
    """What starts and ends spans. Anything with these four methods does."""

    def start_span(
        self,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        parent: Span | None = None,
        traceparent: str | None = None,
    ) -> Span:
        """A span that runs."""
        ...

    def end_span(self, span: Span) -> None:
        """End a span."""
        ...

    def get_spans(self, trace_id: str | None = None) -> list[Span]:
        """Spans that have ended, in the order of their start."""
        ...

    def clear(self) -> None:
        """Forget the spans that have ended."""
        ...


class Keeper:
    """What all tracers of the library have in common: they keep the spans that have ended.

    A weak set knows them, so that a forked child can leave what they keep to its parent.
    """

    __slots__ = ("__weakref__", "_store")

    def __init__(self, store: Store) -> None:
        self._store = store
        _keepers.add(self)

    def end_span(self, span: Span) -> None:
        """End a span, with the status it has. A second time, nothing happens."""
        end_span(span)

    def get_spans(self, trace_id: str | None = None) -> list[Span]:
        """The newest spans that have ended, or those of one trace, in the order of their start."""
        return self._store.found(trace_id)

    def clear(self) -> None:
        """Forget the spans that have ended."""
        self._store.clear()

    @property
    def dropped(self) -> int:
        """How many spans were pushed out by newer ones since the start or the last `clear`."""
        return self._store.dropped

    def leave_to_parent(self) -> None:
        """Keep nothing of the spans so far, neither ended nor running: another process has them."""
        self._store = self._store.successor()


class SimpleTracer(Keeper):
    """A tracer that keeps the newest spans in memory.

    `sample` is the share of traces that are recorded, 0 to 1. It is decided when a trace begins and holds for all
    of it, also for what other processes do in it; a trace that comes from another process brings its decision. A
    trace that is not sampled costs next to nothing, and is not recorded when it fails either.

    `limit` is how many ended spans are kept; the oldest ones go first. `on_end` is called with each span that has
    ended, in the thread that ended it; its errors are logged, and what it does is not traced. A span keeps at most
    `attribute_limit` attributes, `event_limit` events, and `value_limit` characters of a value.

    Raises:
        TypeError: `on_end` cannot be called, or a limit is no whole number.
        ValueError: `sample` is not between 0 and 1, or a limit is negative.

    """

    __slots__ = ("_bound",)

    def __init__(
        self,
        *,
        sample: float = 1.0,
        limit: int = 10_000,
        on_end: Callable[[Span], object] | None = None,
        attribute_limit: int = 64,
        event_limit: int = 64,
        value_limit: int = 1024,
    ) -> None:
        checked_sample(sample)
        super().__init__(checked_store(limit, on_end, attribute_limit, event_limit, value_limit))
        self._bound = None if sample == 1 else int(sample * 2**64)

    def start_span(
        self,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        parent: Span | None = None,
        traceparent: str | None = None,
    ) -> Span:
        """A span that runs until `end_span`, or to the end of a `with` block, in which it is the current one.

        It is part of `parent`, else of the span of another process that the W3C header `traceparent` tells, else
        of the current one. A header that is empty or malformed begins a new trace.
        """
        # The hot path: all arguments can be given by position, and nothing is called that need not be.
        if parent is None:
            parent = _get_current() if traceparent is None else remote(traceparent)
        if parent is None:
            parent_ids, ids = 0, random_bits(192)
            # The lower half of the trace's id decides, as in OpenTelemetry, so that two processes decide the same.
            if self._bound is not None and (ids >> 64) & SPAN_MASK >= self._bound:
                return UnsampledSpan(ids)
        elif isinstance(parent, Span):
            parent_ids = parent._ids
            if not parent.sampled:
                return _unsampled(parent)
            ids = parent_ids ^ random_bits(64)
        else:
            no_parent(parent)  # type: ignore[unreachable] # types are hints
            return self.start_span(name, attributes)
        if type(name) is not str or len(name) > SHORT:
            name = details.text(name, self._store.limits.value)
        span = RecordedSpan()
        span._ids = ids
        span._parent_ids = parent_ids
        span._name = name
        span._store = self._store
        span._token = span._status = span._attributes = span._notes = None
        span._ended = 0
        if attributes:
            describe(span, attributes)
        span._start = time_ns()
        span._begun = perf_counter_ns()
        return span


_keepers: WeakSet[Keeper] = WeakSet()
_default: Tracer | None = None


def default_tracer() -> Tracer:
    """The tracer of functions that were decorated without one: a `SimpleTracer` unless another one was set."""
    global _default  # noqa: PLW0603 - a program has one
    if _default is None:
        new = SimpleTracer()
        _default = _default or new  # another thread may have been here meanwhile
    return _default


def set_default_tracer(tracer: Tracer) -> None:
    """Use `tracer` for functions that were or will be decorated without one.

    Raises:
        TypeError: it is no tracer.

    """
    global _default  # noqa: PLW0603 - a program has one
    _default = checked_tracer(tracer)


def end_span(span: Any) -> None:
    """End a span of any tracer."""
    if isinstance(span, Span):
        span.end()
    else:
        guard.warn("end_span", f"a span is to be ended, but this is {type(span).__name__}")


def describe(span: Span, attributes: Mapping[str, Any]) -> None:
    """Give a span its first attributes."""
    try:
        for key, value in attributes.items():
            span.set_attribute(key, value)
    except Exception as error:
        guard.report("start_span", error)


def no_parent(given: Any) -> None:
    """Tell that a span was given a parent that is none."""
    guard.warn(
        "start_span", f"the parent of a span is a span, not {type(given).__name__}; it is left out"
    )


def remote(traceparent: Any) -> UnsampledSpan | None:
    """The span that a `traceparent` header tells of; none if it is malformed (W3C Trace Context, section 3.2)."""
    if not isinstance(traceparent, str):
        return None
    parts = traceparent.strip(" \t").split("-")
    known = parts[:4]
    if [len(part) for part in known] != [2, 32, 16, 2] or not _HEXADECIMAL.issuperset(
        "".join(known)
    ):
        return None
    version, trace, span, flags = known
    # A version to come may add fields behind these four, which keep their meaning.
    if version == "ff" or (version == "00" and len(parts) > len(known)):
        return None
    if not int(trace, 16) or not int(span, 16):
        return None
    kind = RemoteSpan if int(flags, 16) & 1 else UnsampledSpan
    return kind(int(trace + span, 16))


def checked_tracer(tracer: Any) -> Tracer:
    """The tracer, if it is one."""
    if not hasattr(tracer, "start_span"):
        raise TypeError(
            f"a tracer is needed, such as SimpleTracer(), not {tracer!r}; a name is given as name=..."
        )
    found: Tracer = tracer
    return found


def checked_sample(sample: Any) -> None:
    """Refuse a share that is none."""
    if isinstance(sample, bool) or not isinstance(sample, int | float) or not 0 <= sample <= 1:
        raise ValueError(f"sample is the share of traces to record, from 0 to 1, not {sample!r}")


def checked_store(
    limit: Any,
    on_end: Any,
    attribute_limit: Any = 64,
    event_limit: Any = 64,
    value_limit: Any = 1024,
) -> Store:
    """A store, if it makes sense."""
    limits = Limits(limit, attribute_limit, event_limit, value_limit)
    names = ("limit", "attribute_limit", "event_limit", "value_limit")
    for name, value in zip(names, limits, strict=True):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} is a whole number, not {value!r}")
        if value < 0:
            raise ValueError(f"{name} is 0 or more, not {value}")
    if on_end is not None and not callable(on_end):
        raise TypeError(f"on_end is a function that takes a span, not {on_end!r}")
    return Store(limits, on_end)


def _unsampled(parent: Span) -> Span:
    # What is within the current span need not become the current one itself.
    if isinstance(parent, UnsampledSpan) and parent is _get_current():
        return parent.inner
    return UnsampledSpan(parent._ids ^ random_bits(64), parent._ids)


def _after_fork() -> None:
    _random.seed()
    for keeper in list(_keepers):
        keeper.leave_to_parent()


forks.on_fork(_after_fork)
