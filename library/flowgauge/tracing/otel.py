"""The tracer for OpenTelemetry: the interface of `SimpleTracer`, with spans that an OpenTelemetry exporter sends.

Its spans are OpenTelemetry's current ones too, so those of instrumented libraries become their children. Importing
this module loads nothing of OpenTelemetry; making a tracer does. What fails in OpenTelemetry is logged and no more.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Mapping
from time import monotonic, perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any, Final

from flowgauge import guard
from flowgauge.tracing import details
from flowgauge.tracing.details import Plain
from flowgauge.tracing.recorded import EVENT_ATTRIBUTES, SILENT, Store, TimedSpan, conclude, show
from flowgauge.tracing.spans import SPAN_MASK, Event, Span, current, is_reset
from flowgauge.tracing.tracers import (
    Keeper,
    checked_sample,
    checked_store,
    describe,
    no_parent,
    random_bits,
    remote,
)

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

TIMEOUT: Final = 5.0  # seconds of one request to a collector, and of waiting for the last ones

_MISSING: Final = (
    "OpenTelemetryTracer needs packages that are not installed: pip install 'flowgauge[otel]'"
)


class OpenTelemetryTracer(Keeper):
    """A tracer whose spans are OpenTelemetry's, of a provider of its own with `service.name` as its resource.

    Spans go in batches to `exporter`, or by OTLP over HTTP to the collector at `endpoint`, an address such as
    `http://collector:4318`; with neither they are only kept here. `sample` is the share of traces that are recorded,
    as in `SimpleTracer`. The newest `limit` ended spans can be read back with `get_spans`; `on_end` is called with
    each. To have the spans of instrumented libraries sent the same way, give `provider` to
    `opentelemetry.trace.set_tracer_provider`.

    OpenTelemetry takes locks, so do not use these spans in signal handlers.

    Raises:
        ImportError: OpenTelemetry is not installed; the message names the command.
        TypeError: an argument is of a wrong type.
        ValueError: `service_name` is empty, `endpoint` no address, both `exporter` and `endpoint` are given, `sample`
            is not between 0 and 1, or `limit` is negative.

    """

    __slots__ = ("_batches", "_context", "_provider", "_trace", "_tracer")

    def __init__(
        self,
        service_name: str,
        *,
        exporter: SpanExporter | None = None,
        endpoint: str | None = None,
        sample: float = 1.0,
        limit: int = 1000,
        on_end: Callable[[Span], object] | None = None,
    ) -> None:
        if not isinstance(service_name, str) or not service_name:
            raise ValueError(
                f"service_name is the name of the program in its traces, not {service_name!r}"
            )
        if exporter is not None and endpoint is not None:
            raise ValueError("give exporter or endpoint, not both")
        checked_sample(sample)
        store = checked_store(limit, on_end)
        if exporter is not None and not hasattr(exporter, "export"):
            raise TypeError(f"exporter is an OpenTelemetry SpanExporter, not {exporter!r}")
        try:
            from opentelemetry import context, trace  # noqa: PLC0415 - optional, and slow to load

            self._provider = _provider(service_name, sample)
            if endpoint is not None:
                exporter = _collector(endpoint)
        except ImportError as error:
            raise ImportError(_MISSING) from error
        super().__init__(store)
        self._context: Any = context
        self._trace: Any = trace
        self._tracer = self._provider.get_tracer("flowgauge")
        self._batches = None if exporter is None else _Batches(exporter)
        if self._batches is not None:
            _send(self._provider, self._batches)
            atexit.register(self.close)

    @property
    def provider(self) -> TracerProvider:
        """OpenTelemetry's side of this tracer."""
        return self._provider

    def start_span(
        self,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        parent: Any = None,
        traceparent: str | None = None,
    ) -> Span:
        """A span that runs until `end_span`, or to the end of a `with` block, in which it is the current one.

        It is part of `parent`, which may be a span of OpenTelemetry's too, else of the span of another process that
        the W3C header `traceparent` tells, else of the current one.
        """
        if current.get() is SILENT:
            return SILENT.inner
        try:
            begun, start = perf_counter_ns(), time_ns()
            name = details.text(name, self._store.limits.value)
            native = self._tracer.start_span(
                name, context=self._above(parent, traceparent), start_time=start
            )
            span = OpenTelemetrySpan(
                name, native, self._trace, self._context, self._store, begun, start
            )
        except Exception as error:
            guard.report("start_span", error)
            return SILENT.inner
        if attributes:
            describe(span, attributes)
        return span

    def flush(self) -> bool:
        """Send what has ended, and wait for it; False if that failed."""
        try:
            return bool(self._provider.force_flush())
        except Exception as error:
            guard.report("flush", error)
            return False

    def close(self, timeout: float = TIMEOUT) -> None:
        """Send what has ended, beginning no request later than in `timeout` seconds. May be called twice.

        It is also called at the end of the program.
        """
        atexit.unregister(self.close)
        if self._batches is None or self._batches.deadline is not None:
            return
        self._batches.deadline = monotonic() + timeout
        try:
            self._provider.shutdown()
        except Exception as error:
            guard.report("close", error)

    def _above(self, parent: Any, traceparent: str | None) -> Context | None:
        """The context with the span above a new one; None for the current one."""
        if parent is None and traceparent is not None:
            parent = remote(traceparent)
            if parent is None:
                return self._trace.set_span_in_context(self._trace.INVALID_SPAN)  # type: ignore[no-any-return]
        if parent is None:
            parent = current.get()
            if parent is None or self._trace.get_current_span().get_span_context().is_valid:
                return None
        if isinstance(parent, OpenTelemetrySpan):
            parent = parent.native
        elif isinstance(parent, Span):
            parent = self._elsewhere(parent)
        elif not hasattr(parent, "get_span_context"):
            no_parent(parent)
            return None
        return self._trace.set_span_in_context(parent)  # type: ignore[no-any-return]

    def _elsewhere(self, span: Span) -> Any:
        """A span of another tracer or process, as OpenTelemetry wants it."""
        flags = self._trace.TraceFlags(int(span.sampled))
        ids = self._trace.SpanContext(
            span.ids >> 64, span.ids & SPAN_MASK, is_remote=True, trace_flags=flags
        )
        return self._trace.NonRecordingSpan(ids)


class OpenTelemetrySpan(TimedSpan):
    """A span that OpenTelemetry records; `native` is OpenTelemetry's.

    The status is handed over at the end, since OpenTelemetry takes `ok` for the last word. It knows no `cancelled`:
    such a span has the attribute `cancelled` instead.
    """

    __slots__ = ("_context", "_trace", "native", "sampled")

    def __init__(
        self, name: str, native: Any, trace: Any, context: Any, store: Store, begun: int, start: int
    ) -> None:
        ids, above = native.get_span_context(), getattr(native, "parent", None)
        self._ids = ids.trace_id << 64 | ids.span_id
        self._parent_ids = 0 if above is None else above.trace_id << 64 | above.span_id
        self._token = None
        self.native = native
        self.sampled = native.is_recording() and ids.trace_flags.sampled
        self._name = name
        self._trace = trace
        self._context = context
        self._store = store
        self._status = None
        self._begun = begun
        self._start = start
        self._ended = 0

    @property
    def name(self) -> str:
        """What is done; empty without recording."""
        return self._name if self.sampled else ""

    @property
    def attributes(self) -> dict[str, Plain]:
        """A copy of what was set."""
        return dict(getattr(self.native, "attributes", None) or {})

    @property
    def events(self) -> list[Event]:
        """What happened meanwhile, in order."""
        found = getattr(self.native, "events", None) or ()
        return [Event(event.name, event.timestamp, dict(event.attributes or {})) for event in found]

    @property
    def dropped_attributes(self) -> int:
        """How many attributes were beyond OpenTelemetry's limit."""
        return getattr(self.native, "dropped_attributes", 0)

    @property
    def dropped_events(self) -> int:
        """How many events were beyond OpenTelemetry's limit."""
        return getattr(self.native, "dropped_events", 0)

    def set_attribute(self, key: str, value: Any) -> None:
        """Describe the work by a number, a text, or a sequence of either; anything else is kept as its text."""
        if self._ended or not self.sampled:
            return
        try:
            self.native.set_attributes(self._plain({key: value}))
        except Exception as error:
            guard.report("set_attribute", error)

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None) -> None:
        """Tell of a moment."""
        if self._ended or not self.sampled:
            return
        try:
            told = (
                self._plain(dict(details.pairs(attributes, EVENT_ATTRIBUTES))) if attributes else {}
            )
            self._add(details.text(name, self._store.limits.value), told)
        except Exception as error:
            guard.report("add_event", error)

    def record_exception(self, error: BaseException) -> None:
        """Tell of an error, with its type, message and stack, as an event named `exception`."""
        if self._ended or not self.sampled:
            return
        try:
            told = details.failures(error, self._store.limits.value)
            self._add("exception", details.exception(told))
        except Exception as fault:
            guard.report("record_exception", fault)

    def end(self) -> None:
        """End the span and hand it to the exporter. What comes later is ignored."""
        now = perf_counter_ns()
        if self._ended:
            return
        store = self._store
        self._ended = now
        # A span that began before a fork is the parent's, which sends it too.
        if store.retired or not self.sampled:
            return
        try:
            self._hand_over(self._start + now - self._begun)
        except Exception as error:
            guard.report("end_span", error)
        store.finished += 1
        store.spans.append(self)
        if store.on_end is not None:
            show(self, store.on_end)

    def finish(self, error: BaseException | None) -> None:
        """End the span of a block that raised `error`, with the status that follows from it."""
        try:
            conclude(self, error)
        except Exception as fault:
            guard.report("finish", fault)
            self.end()

    def attach(self) -> Any:
        """Make this the current span, here and in OpenTelemetry."""
        token = self._context.attach(self._trace.set_span_in_context(self.native))
        return current.set(self), token

    def detach(self, token: Any) -> bool:
        """Undo `attach`; False in another context, where a finalizer may run and nothing is to be undone."""
        own, native = token
        # OpenTelemetry logs an error where there is nothing to undo, so ours is asked first.
        if not is_reset(own):
            return False
        self._context.detach(native)
        return True

    def _plain(self, attributes: Mapping[str, Any]) -> dict[str, Plain]:
        # OpenTelemetry refuses None.
        limit = self._store.limits.value
        kept = {key: details.plain(value, limit) for key, value in attributes.items()}
        return details.readable(
            {key: "None" if value is None else value for key, value in kept.items()}
        )

    def _add(self, name: str, attributes: dict[str, Plain]) -> None:
        moment = self._start + perf_counter_ns() - self._begun
        self.native.add_event(name, attributes, timestamp=moment)

    def _hand_over(self, end_time: int) -> None:
        code = self._trace.StatusCode
        if self._status == "cancelled":
            self.native.set_attribute("cancelled", True)
        elif self._status == "error":
            self.native.set_status(code.ERROR, self.status_message or None)
        elif self._status == "ok":
            self.native.set_status(code.OK)
        self.native.end(end_time=end_time)


class _Ids:
    """Ids from our own generator: programs seed the shared one, and would repeat their ids in each worker."""

    def generate_trace_id(self) -> int:
        return random_bits(128)

    def generate_span_id(self) -> int:
        return random_bits(64)

    def is_trace_id_random(self) -> bool:
        return True


class _Batches:
    """An exporter that begins no request after its deadline: the end of the program does not wait for all of them."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.deadline: float | None = None
        self._exporter = exporter

    def export(self, spans: Any) -> Any:
        if self.deadline is not None and monotonic() > self.deadline:
            guard.warn("close", "the last spans were not sent: the time to do so was over")
            return None
        return self._exporter.export(spans)

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _provider(service_name: str, sample: float) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - optional
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415

    ids: Any = _Ids()
    return TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(sample)),
        resource=Resource.create({"service.name": service_name}),
        id_generator=ids,
        shutdown_on_exit=False,  # it would wait for up to half a minute
    )


def _collector(endpoint: str) -> SpanExporter:
    from urllib.parse import urlsplit  # noqa: PLC0415 - what most programs never need

    parts = urlsplit(endpoint) if isinstance(endpoint, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError(f"endpoint is an address such as http://collector:4318, not {endpoint!r}")
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - optional

    address = endpoint if parts.path.strip("/") else endpoint.rstrip("/") + "/v1/traces"
    return OTLPSpanExporter(endpoint=address, timeout=TIMEOUT)


def _send(provider: TracerProvider, batches: Any) -> None:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - optional

    provider.add_span_processor(BatchSpanProcessor(batches))
