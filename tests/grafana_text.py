"""What Grafana makes of the texts of a dashboard, as far as a text can do harm by it.

Variables are filled in by one expression in every place (`VARIABLE_REGEX` of grafana/scenes; the same in the older
templateSrv), and nothing escapes one (grafana#11359, #40603): where a text must stay as it is, none of its parts may look
like one. Titles, headings and legends are plain text otherwise. A description is Markdown of GitHub's flavour, after
variables were filled in; what is sanitised then still has links and images (grafana#90050, grafana-data/src/text), so it
has to be plain before. A Markdown parser of the same flavour judges that here.
"""

from __future__ import annotations

import re
import unicodedata

from markdown_it import MarkdownIt

VARIABLE = re.compile(
    r"\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?:\.([^:^\}]+))?(?::([^\}]+))?\}", re.ASCII
)
_MARKDOWN = MarkdownIt("gfm-like")
# Control characters, those that turn or hide text, halves of pairs, and what belongs to nobody.
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
# It ends what would be the name of a variable, and is the only one that does it unseen.
JOINER = "\u2060"


def variables(text: str) -> list[str]:
    """What Grafana may fill in."""
    return [found[0] for found in VARIABLE.finditer(text)]


def unseen(text: str) -> list[str]:
    """Characters that nobody sees, or that change how others are seen."""
    return [each for each in text if unicodedata.category(each) in _UNSEEN and each != JOINER]


def marked_up(description: str) -> list[str]:
    """What a description has beside one paragraph of text."""
    blocks = _MARKDOWN.parse(description)
    around = [block.type for block in blocks if block.type != "inline"]
    inline = [
        child.type for block in blocks for child in block.children or () if child.type != "text"
    ]
    return inline + ([] if around in (["paragraph_open", "paragraph_close"], []) else around)


def read(description: str) -> str:
    """The text of a description as it is read."""
    blocks = _MARKDOWN.parse(description)
    return "".join(child.content for block in blocks for child in block.children or ())
