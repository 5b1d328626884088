"""The bases of commands and events, with the attributes of CloudEvents (https://github.com/cloudevents/spec)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4


@dataclass(frozen=True, kw_only=True)
class Message:
    """What a bus delivers. Subclasses are dataclasses too; their own fields come first and may be positional."""

    id: str = field(default_factory=lambda: str(uuid4()))
    type: str = ""
    source: str = "orchestrix"
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))
    subject: str | None = None
    data: Any = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None

    def __post_init__(self) -> None:
        """Name the type after the class."""
        if not self.type:
            object.__setattr__(self, "type", type(self).__name__)


@dataclass(frozen=True)
class Command(Message):
    """Something that shall be done."""


@dataclass(frozen=True)
class Event(Message):
    """Something that has happened."""
