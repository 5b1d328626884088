"""What grafana-operator says of a GrafanaDashboard in its status: whether Grafana has it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SYNCHRONIZED = "DashboardSynchronized"
_LONGEST = 400
# One side of a connection that broke has another port each time, and a status would be written for it.
_OWN_PORT = re.compile(r"\S+:\d+->")


@dataclass(frozen=True, slots=True)
class Synchronized:
    """Whether the dashboard is in Grafana (None: nobody has said so yet), with a sentence for a condition."""

    state: bool | None
    message: str


NOT_YET = Synchronized(
    None,
    "grafana-operator has not said yet whether Grafana has the dashboard; if that stays so, see whether it runs",
)


def of(body: Mapping[str, Any]) -> Synchronized:
    """What the status of an object says of its present spec; what it says of an earlier one counts for nothing."""
    generation = body["metadata"].get("generation")
    conditions = (body.get("status") or {}).get("conditions") or []
    current = {c["type"]: c for c in conditions if c.get("observedGeneration") == generation}
    told = current.pop(_SYNCHRONIZED, None)
    if told is not None and told["status"] == "True":
        return Synchronized(True, f"grafana-operator: {_text(told)}")
    # The other conditions are problems: NoMatchingInstance, InvalidSpec, NoMatchingFolder.
    problems = [told] if told else [c for c in current.values() if c["status"] == "True"]
    if not problems:
        return NOT_YET
    said = "; ".join(f"{c['type']}: {_text(c)}" for c in problems)
    return Synchronized(False, f"the dashboard is not in Grafana; grafana-operator says {said}")


def _text(condition: Mapping[str, Any]) -> str:
    """The message on one line; it names instances in no particular order."""
    first, *instances = str(condition.get("message", "")).split("\n- ")
    text = " ".join(" ".join([first, *sorted(instances)]).split())
    text = _OWN_PORT.sub("", text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
