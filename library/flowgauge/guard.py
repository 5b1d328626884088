"""The promise that measuring never breaks what is measured: its errors are logged, rarely, and go no further."""

from __future__ import annotations

from time import monotonic
from typing import Final

# Seconds between two reports of the same place; a fault in a hot loop must not fill the disk.
QUIET_SECONDS: Final = 60.0

_reported: dict[str, float] = {}


def report(place: str, error: Exception) -> None:
    """Log the error of a measurement, unless `place` had one in the last minute. Never raises."""
    try:
        now = monotonic()
        if now - _reported.get(place, -QUIET_SECONDS) < QUIET_SECONDS:
            return
        _reported[place] = now
        import logging  # noqa: PLC0415 - only a fault pays for it

        logging.getLogger("flowgauge").error(
            "measuring failed at %s; the workflow goes on without it", place, exc_info=error
        )
    except Exception:
        return
