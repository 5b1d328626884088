"""Whose a `MonitoredWorkflow` is: made for annotated pods, or by hand. Pure; `cache` keeps it, `discoverer` goes by it.

The mark is a label. Whoever wrote any field of the spec beside the operator has taken the object over, mark or not; the
API server's record of writers tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowgauge_operator import names

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class Mark:
    """What a discovered workflow says of itself.

    `hash` is the digest of what was applied, `keep` how long it stays without a pod (a duration), `gone_since` since when
    it has none (RFC 3339, empty while it has). `writers` are others who wrote the spec; `is_declared` says that one of them
    declares the whole object, as `kubectl apply` does, and not a field of it. `is_ours` says that the operator still owns
    fields as discovery.
    """

    hash: str = ""
    keep: str = ""
    gone_since: str = ""
    writers: tuple[str, ...] = ()
    is_declared: bool = False
    is_ours: bool = True

    @property
    def is_taken(self) -> bool:
        """Whether somebody else wrote the spec."""
        return bool(self.writers)


def of(body: Mapping[str, Any]) -> Mark | None:
    """The mark of an object; None for one that was made by hand."""
    metadata = body["metadata"]
    if (metadata.get("labels") or {}).get(names.DISCOVERED) != "true":
        return None
    annotations = metadata.get("annotations") or {}
    written = [entry for entry in metadata.get("managedFields") or [] if _is_of_spec(entry)]
    others = [entry for entry in written if entry["manager"] != names.DISCOVERY_FIELD_MANAGER]
    return Mark(
        hash=annotations.get(names.HASH, ""),
        keep=annotations.get(names.KEEP, ""),
        gone_since=annotations.get(names.PODS_GONE, ""),
        writers=tuple(sorted({entry["manager"] for entry in others})),
        is_declared=_LAST_APPLIED in annotations
        or any(entry.get("operation") == "Apply" for entry in others),
        is_ours=len(others) < len(written),
    )


def _is_of_spec(entry: Mapping[str, Any]) -> bool:
    return "f:spec" in (entry.get("fieldsV1") or {})
