"""Render a registry for a scrape. The seam between what is measured and how it is served."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder


@dataclass(frozen=True, slots=True)
class Page:
    """The body of a response and its content type."""

    body: bytes
    content_type: str


class Exposition:
    """Renders everything that a registry collects, in the format that the scraper asks for."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def render(self, accept: str) -> Page:
        """The page for a request with this `Accept` header; empty means the plain text format."""
        encode, content_type = choose_encoder(accept)
        return Page(encode(self._registry), content_type)
