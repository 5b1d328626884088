"""An Event as a manifest: a sentence about an object that `kubectl describe` shows. Pure; sent by `cluster`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flowgauge_operator import kinds, names
from flowgauge_operator.kinds import Ref

CONTROLLER = "flowgauge.dev/operator"
# Limits of events.k8s.io/v1, in bytes.
NOTE_LIMIT = 1024
INSTANCE_LIMIT = 128


@dataclass(frozen=True)
class Event:
    """What the pod `instance` says of an object; with `once` it gets a name made of what it says, so it is there once."""

    ref: Ref
    reason: str
    note: str
    action: str
    is_warning: bool
    instance: str
    once: bool = False

    def manifest(self, time: datetime) -> dict[str, Any]:
        """Return the Event; its name is that of client-go, `<object>.<nanoseconds in hex>`, unless it is there once."""
        stamp = f"{int(time.timestamp() * 1e6) * 1000:x}"
        if self.once:
            stamp = names.digest(f"{self.ref.uid} {self.reason} {self.note}", 16)
        return {
            "apiVersion": kinds.EVENT.api_version,
            "kind": kinds.EVENT.kind,
            "metadata": {
                "name": f"{self.ref.name[:230]}.{stamp}",
                "namespace": self.ref.namespace or "default",
            },
            "eventTime": time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": CONTROLLER,
            "reportingInstance": self.instance[:INSTANCE_LIMIT],
            "action": self.action,
            "reason": self.reason,
            "note": _clipped(self.note),
            "type": "Warning" if self.is_warning else "Normal",
            "regarding": _regarding(self.ref),
        }


def _clipped(note: str) -> str:
    data = note.encode()
    if len(data) <= NOTE_LIMIT:
        return note
    return data[: NOTE_LIMIT - 3].decode(errors="ignore") + "…"


def _regarding(ref: Ref) -> dict[str, str]:
    fields = {
        "apiVersion": ref.kind.api_version,
        "kind": ref.kind.kind,
        "name": ref.name,
        "namespace": ref.namespace,
        "uid": ref.uid,
    }
    return {key: value for key, value in fields.items() if value}
