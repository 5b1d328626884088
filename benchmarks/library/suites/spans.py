"""A span with one attribute and one event."""

# ruff: noqa: PLC0415 - each suite runs where only its own library is installed

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.library.suites import references
from benchmarks.library.timing import Case, Effort, Results, per_call

BODY = """
 span.set_attribute("item", 7)
 span.add_event("transformed", {"status": "ok"})"""


def ours(effort: Effort) -> Results:
    from flowgauge.tracing import SimpleTracer, trace_context

    statement = 'with trace_context(tracer, "work") as span:' + BODY
    names = {"tracer": SimpleTracer(), "trace_context": trace_context}
    return per_call([*references.cases(), Case("span", statement, names)], effort)


def opentelemetry(effort: Effort) -> Results:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        """Costs nothing, so that only the SDK is measured."""

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002
            return SpanExportResult.SUCCESS

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    statement = 'with tracer.start_as_current_span("work") as span:' + BODY
    names: dict[str, Any] = {"tracer": provider.get_tracer("bench")}
    results = per_call([*references.cases(), Case("span", statement, names)], effort)
    provider.shutdown()
    return results
