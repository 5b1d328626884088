"""Texts of users on their way into a dashboard: shown as they were written, never read as something else. Pure.

Grafana fills in `$name`, `${name}` and `[[name]]` in titles, descriptions, legends and links, knows no way to escape them,
and reads descriptions as Markdown with HTML in it.
"""

from __future__ import annotations

import re
import unicodedata

# Invisible, and no part of a variable's name, so that what stands behind it is none.
_JOINER = "\u2060"
_VARIABLE = re.compile(r"\$|\[(?=\[)")
# Control characters, those that turn or hide what stands around them, and those that mean something to us only.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
# Markdown makes no structure of what is an entity, and variables are filled in before there is Markdown.
_MARKUP = str.maketrans({character: f"&#{ord(character)};" for character in "&<>[]`*_\\$~|@!#"})
# What becomes a link or a list without any markup.
_LINK = re.compile(r":(?=//)|(?<=\bwww)\.", re.IGNORECASE)
_LIST = re.compile(r"^(\d{0,9})([-+=.)])")


def line(text: str) -> str:
    """A title, a legend or a word: one line without variables. `{{label}}` stays what it is in a legend."""
    return _VARIABLE.sub(lambda match: match[0] + _JOINER, _clean(text))


def markdown(text: str) -> str:
    """A description: the text itself, whatever Markdown or HTML would make of it. `html.unescape` gives it back."""
    marked = _clean(text).translate(_MARKUP)
    marked = _LINK.sub(lambda match: f"&#{ord(match[0])};", marked)
    return _LIST.sub(lambda match: f"{match[1]}&#{ord(match[2])};", marked)


def _clean(text: str) -> str:
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    spaced = " ".join(text.split())
    return "".join(c for c in spaced if unicodedata.category(c) not in _UNSEEN)
