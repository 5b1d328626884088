"""What matplotlib writes, as a small SVG to stand within HTML: no ids that clash, no styles that leak. Pure."""

from __future__ import annotations

import html
import io
import re
import warnings
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.text import Text

_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_FONT = re.compile(r"font: (\S+ )*?([\d.]+)px [^;]*")
_REFERENCE = re.compile(r"#([A-Za-z][\w-]*)")
# Put into titles so that Grafana finds no variable there; for a reader it is nothing.
_JOINER = "\u2060"
_UNPRINTABLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]"
)
_DROPPED = {f"{_SVG}metadata", f"{_SVG}style"}
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],
    # A text of a user's is never a formula.
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "path.simplify_threshold": 0.4,
}


def printable(text: str) -> str:
    """The text without what no document may hold, and without what turns the direction of writing."""
    return _UNPRINTABLE.sub("\ufffd", text.replace(_JOINER, ""))


def figure(width: float, height: float) -> Figure:
    """An empty figure of so many pixels."""
    return Figure(figsize=(width / 72, height / 72), dpi=72, frameon=False)


def text(drawn: Figure, *, key: str, label: str) -> str:
    """The figure as an `<svg>` element; `key` keeps its ids apart from those of others."""
    target = io.StringIO()
    for written in drawn.findobj(Text):
        # Those that are made while drawing follow the settings, those that are there already do not.
        written.set_parse_math(False)
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": key}), warnings.catch_warnings():
        # The reader's browser has letters that the font here lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        drawn.savefig(target, format="svg", metadata={"Date": None}, transparent=True)
    root = ET.fromstring(target.getvalue())  # noqa: S314 - written two lines above
    used = set(_references(root))
    view = root.get("viewBox", "")
    inner = "".join(_written(child, key, used) for child in root if child.tag not in _DROPPED)
    return (
        f'<svg viewBox="{html.escape(view)}" role="img" aria-label="{html.escape(printable(label))}"'
        f' preserveAspectRatio="xMinYMin meet">{inner}</svg>'
    )


def _references(root: ET.Element) -> Iterator[str]:
    for element in root.iter():
        for name, value in element.attrib.items():
            if name == _LINK or "url(" in value:
                yield from _REFERENCE.findall(value)


def _written(element: ET.Element, key: str, used: set[str]) -> str:
    if element.tag in _DROPPED:
        return ""
    name = element.tag.removeprefix(_SVG)
    attributes = "".join(_attribute(raw, value, key, used) for raw, value in element.attrib.items())
    inner = html.escape(element.text.strip()) if element.text else ""
    inner += "".join(_written(child, key, used) for child in element)
    if name == "g" and not attributes:
        return inner
    return (
        f"<{name}{attributes}>{inner}</{name}>"
        if inner
        else f"<{name}{attributes}/>"
        if name != "defs"
        else ""
    )


def _attribute(raw: str, value: str, key: str, used: set[str]) -> str:
    name = "href" if raw == _LINK else raw
    written = _value(name, value, key, used)
    return f' {name}="{html.escape(written)}"' if written else ""


def _value(attribute: str, value: str, key: str, used: set[str]) -> str:
    if attribute == "id":
        return f"{key}-{value}" if value in used else ""
    if attribute in {"d", "x", "y", "points"}:
        # A tenth of a pixel; what scales a picture is left alone, since it is multiplied.
        rounded = _NUMBER.sub(lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), value)
        return " ".join(rounded.split())
    if attribute == "style":
        return _FONT.sub(lambda found: f"font-size: {found[2]}px", value)
    if "#" in value and (attribute == "href" or "url(" in value) and not value.startswith("data:"):
        return _REFERENCE.sub(lambda found: f"#{key}-{found[1]}", value)
    return value
