"""Texts and links of others within HTML: every text is shown as it is written, every link leads to a web page. Pure."""

from __future__ import annotations

import html
from urllib.parse import urlsplit

from flowgauge_operator.preview.svg import printable

_LONGEST = 2000


def text(given: object, most: int = _LONGEST) -> str:
    """A text for the content or an attribute of an element."""
    found = printable(str(given))
    return html.escape(found if len(found) <= most else f"{found[: most - 1]}…")


def prose(given: str) -> str:
    """A description: Markdown in which entities keep texts from being markup, shown as the text that it is."""
    return text(html.unescape(given))


def href(url: str, base: str = "") -> str:
    """Where a link leads, empty where it leads nowhere: only to the web, and within Grafana where that is known."""
    found = "".join(printable(url).split())
    if found.startswith("/") and not found.startswith("//"):
        found = f"{base.rstrip('/')}{found}" if base else ""
    try:
        parts = urlsplit(found)
    except ValueError:
        return ""
    return found if parts.scheme in {"http", "https"} and parts.netloc else ""


def link(title: str, url: str, base: str = "", tooltip: str = "") -> str:
    """A link, or its title where it would lead nowhere."""
    found = href(url, base)
    if not found:
        return f'<span title="{text(tooltip or url)}">{text(title)}</span>'
    hint = f' title="{text(tooltip)}"' if tooltip else ""
    return f'<a href="{text(found)}" rel="noreferrer noopener"{hint}>{text(title)}</a>'
