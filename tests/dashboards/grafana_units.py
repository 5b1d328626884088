"""The ids of Grafana's units, out of the Foundation SDK."""

from __future__ import annotations

from grafana_foundation_sdk.models import units

UNITS = frozenset(
    value
    for name, value in vars(units).items()
    if isinstance(value, str) and not name.startswith("_")
)
