"""Whose a `MonitoredWorkflow` is: made for annotated pods, or by hand. Pure; `cache` keeps it, `discoverer` goes by it.

The mark is a label. Whoever wrote any field of the spec beside the operator has taken the object over, mark or not; the
API server's record of writers tells. What `kubectl apply` sets to the value that it has already is in no record: its own
annotation tells of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from flowgauge_operator import names

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class Mark:
    """What a discovered workflow says of itself.

    `hash` is the digest of what was applied, `keep` how long it stays without a pod (a duration), `gone_since` since when
    it has none (RFC 3339, empty while it has). `writers` are others who wrote the spec. `declared` is the spec in the words
    of one who declares the whole object and not a field of it; it is empty where he owns his fields, as with server-side
    apply, and None where nobody declares it. `is_ours` says that the operator still owns fields as discovery.
    """

    hash: str = ""
    keep: str = ""
    gone_since: str = ""
    writers: tuple[str, ...] = ()
    declared: Mapping[str, Any] | None = None
    is_ours: bool = True

    @property
    def is_taken(self) -> bool:
        """Whether somebody else wrote the spec."""
        return bool(self.writers) or self.declared is not None


def of(body: Mapping[str, Any]) -> Mark | None:
    """The mark of an object; None for one that was made by hand."""
    metadata = body["metadata"]
    if (metadata.get("labels") or {}).get(names.DISCOVERED) != "true":
        return None
    annotations = metadata.get("annotations") or {}
    applied = _applied(annotations)
    written = [entry for entry in metadata.get("managedFields") or [] if _is_of_spec(entry)]
    others = [entry for entry in written if entry["manager"] != names.DISCOVERY_FIELD_MANAGER]
    return Mark(
        hash=annotations.get(names.HASH, ""),
        keep=annotations.get(names.KEEP, ""),
        gone_since=annotations.get(names.PODS_GONE, ""),
        writers=tuple(sorted({entry["manager"] for entry in others})),
        declared={} if any(e.get("operation") == "Apply" for e in others) else applied.get("spec"),
        # A mark that is declared stays, and there is nothing to let go of.
        is_ours=len(others) < len(written) and not _is_marked(applied),
    )


def _applied(annotations: Mapping[str, str]) -> Mapping[str, Any]:
    """What `kubectl apply` was given last; empty where that is not known."""
    try:
        found = orjson.loads(annotations.get(_LAST_APPLIED, ""))
    except orjson.JSONDecodeError:
        return {}
    is_object = isinstance(found, dict) and isinstance(found.get("spec"), dict)
    return found if is_object else {}


def _is_marked(applied: Mapping[str, Any]) -> bool:
    metadata = applied.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    return isinstance(labels, dict) and names.DISCOVERED in labels


def _is_of_spec(entry: Mapping[str, Any]) -> bool:
    return "f:spec" in (entry.get("fieldsV1") or {})
