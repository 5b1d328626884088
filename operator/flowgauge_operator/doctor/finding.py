"""What a check has to say: how bad it is, what was seen, what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from flowgauge_operator.doctor.snapshot import Unseen


class Level(StrEnum):
    """How bad a finding is. What could not be seen is unknown, never ok."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer of one check; `check` is a name in `catalogue`, `about` the object it speaks of."""

    check: str
    level: Level
    seen: str
    remedy: str = ""
    about: str = ""


def ok(check: str, seen: str, *, about: str = "") -> Finding:
    """All is well."""
    return Finding(check, Level.OK, seen, "", about)


def warning(check: str, seen: str, remedy: str, *, about: str = "") -> Finding:
    """It works, but not as somebody may expect."""
    return Finding(check, Level.WARNING, seen, remedy, about)


def error(check: str, seen: str, remedy: str, *, about: str = "") -> Finding:
    """It does not work."""
    return Finding(check, Level.ERROR, seen, remedy, about)


def unknown(check: str, seen: str, remedy: str = "", *, about: str = "") -> Finding:
    """It could not be seen."""
    return Finding(check, Level.UNKNOWN, seen, remedy, about)


def unseen(check: str, what: str, value: Unseen, *, about: str = "") -> Finding:
    """The finding for something that could not be read."""
    return unknown(check, f"{what} could not be seen: {value.why}", value.remedy, about=about)


def listed(items: Iterable[str], limit: int = 5) -> str:
    """Names by commas, the first few of them."""
    known = list(dict.fromkeys(items))
    more = f" and {len(known) - limit} more" if len(known) > limit else ""
    return ", ".join(known[:limit]) + more
