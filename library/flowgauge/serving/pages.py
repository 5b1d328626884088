"""The answer to a scrape: bytes and their content type. The seam between rendering and serving."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Page(NamedTuple):
    """The body of a response and its content type."""

    body: bytes
    content_type: str


# Takes the `Accept` header of the request; empty means the plain text format.
Render = Callable[[str], Page]
