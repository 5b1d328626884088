"""Render a view for a scrape, in the format that the scraper likes best, with what others put beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from flowgauge import forks, guard, text
from flowgauge.metrics import MetricFamily
from flowgauge.serving.negotiation import media_type
from flowgauge.serving.pages import Page

# As `protobuf` has it, which is imported when somebody asks for it.
PROTOBUF: Final = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)
# The plain format first: it is what a client without a preference gets.
OFFERS: Final = (text.PLAIN, text.OPENMETRICS, PROTOBUF)

Collect = Callable[[], Iterable[MetricFamily]]
# Renders foreign metrics in one of the text formats, with `# EOF` at the end of OpenMetrics.
Foreign = Callable[[bool], bytes]


class Exposition:
    """Renders what `collect` gives and, in the text formats, what `foreign` adds."""

    def __init__(self, collect: Collect, foreign: Foreign | None = None) -> None:
        self._collect = collect
        self._foreign = foreign
        # Each page needs a renderer of its own; one that was used knows the lines already.
        self._renderers: list[text.Renderer] = []

    def render(self, accept: str = "") -> Page:
        """The page for a request with this `Accept` header; empty means the plain text format."""
        # Who serves foreign metrics serves text: they have no other form.
        offers = OFFERS if self._foreign is None else OFFERS[:2]
        chosen = media_type(accept, offers)
        if chosen == PROTOBUF:
            with forks.loading:
                from flowgauge import protobuf  # noqa: PLC0415 - few scrapers ask for it

            return Page(protobuf.render(self._collect()), PROTOBUF)
        return Page(self._text(openmetrics=chosen == text.OPENMETRICS), chosen)

    def _text(self, *, openmetrics: bool) -> bytes:
        try:
            renderer = self._renderers.pop()
        except IndexError:
            renderer = text.Renderer()
        body = renderer.render(self._collect(), openmetrics=openmetrics)
        self._renderers.append(renderer)
        if self._foreign is None:
            return body
        try:
            more = self._foreign(openmetrics)
        except Exception as error:
            guard.report("metrics of other libraries", error)
            return body
        return body.removesuffix(b"# EOF\n") + more
