"""The promise that measuring never breaks what is measured: its errors are logged, rarely, and go no further."""

from __future__ import annotations

from time import monotonic

from flowgauge.forks import loading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Seconds between two reports of the same place; a fault in a hot loop must not fill the disk.
QUIET_SECONDS: Final = 60.0

_reported: dict[str, float] = {}


def report(place: str, error: BaseException) -> None:
    """Log the error of a measurement, unless `place` had one in the last minute. Never raises."""
    _log(place, f"measuring failed at {place}; the workflow goes on without it", error)


def warn(place: str, text: str) -> None:
    """Log what the user should mend, at most once a minute for each place. Never raises."""
    _log(place, text, None)


def _log(place: str, text: str, error: BaseException | None) -> None:
    try:
        now = monotonic()
        if now - _reported.get(place, -QUIET_SECONDS) < QUIET_SECONDS:
            return
        _reported[place] = now
        with loading:
            import logging  # noqa: PLC0415 - only a fault pays for it

        log = logging.getLogger("flowgauge")
        if error is None:
            log.warning(text)
        else:
            log.error(text, exc_info=error)
    except Exception:
        return
