"""The time that is looked at: its ends, the step of its queries and the ticks of its axis, as Grafana chooses them. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from flowgauge_operator import duration

# Grafana's rangeutil.roundInterval, in milliseconds: below the first number the second is taken.
_ROUND = (
    (15, 10), (35, 20), (75, 50), (150, 100), (350, 200), (750, 500), (1_500, 1_000), (3_500, 2_000),
    (7_500, 5_000), (12_500, 10_000), (17_500, 15_000), (25_000, 20_000), (45_000, 30_000),
    (90_000, 60_000), (210_000, 120_000), (450_000, 300_000), (750_000, 600_000),
    (1_050_000, 900_000), (1_500_000, 1_200_000), (2_700_000, 1_800_000), (5_400_000, 3_600_000),
    (9_000_000, 7_200_000), (16_200_000, 10_800_000), (32_400_000, 21_600_000),
    (86_400_000, 43_200_000), (604_800_000, 86_400_000), (1_814_400_000, 604_800_000),
    (3_628_800_000, 2_592_000_000),
)  # fmt: skip
_YEAR = 31_536_000_000
_TICKS = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400,
    2 * 86400, 7 * 86400, 30 * 86400, 365 * 86400,
)  # fmt: skip
# A Prometheus refuses more points for a series than this.
_MOST_POINTS = 11_000
_RELATIVE = re.compile(r"now(?:-([0-9a-z]+))?")


@dataclass(frozen=True, slots=True)
class Window:
    """A time from `start` to `end` in Unix seconds; `scrape` is the interval that the data source assumes."""

    start: float
    end: float
    scrape: float = 15

    @property
    def length(self) -> float:
        """Seconds between the ends."""
        return self.end - self.start

    def step(self, points: int, least: float = 0) -> float:
        """Seconds between two points where about so many fit."""
        wanted = 1000 * self.length / max(points, 1)
        rounded = next((value for below, value in _ROUND if wanted < below), _YEAR) / 1000
        bound = math.ceil(self.length / _MOST_POINTS)
        return max(rounded, least or self.scrape, bound if rounded < bound else 0)

    def rate_interval(self, step: float) -> float:
        """What `$__rate_interval` stands for."""
        return max(step + self.scrape, 4 * self.scrape)

    def grid(self, step: float) -> tuple[float, ...]:
        """The instants of a range query, on multiples of its step, so that a reload does not shift them."""
        first = math.floor(self.start / step)
        return tuple(step * k for k in range(first, math.floor(self.end / step) + 1))

    def ticks(self, width: float) -> Sequence[tuple[float, str]]:
        """Instants with their labels for an axis of so many pixels."""
        apart = 95 if self.length > 86400 else 62
        wanted = self.length * apart / max(width, apart)
        step = next((tick for tick in _TICKS if tick >= wanted), _TICKS[-1])
        form = "%Y-%m-%d" if step >= 30 * 86400 else "%m-%d" if step >= 86400 else "%m-%d %H:%M"
        if self.length <= 86400:
            form = "%H:%M:%S" if step < 60 else "%H:%M"
        first = math.ceil(self.start / step)
        return [(step * k, clock(step * k, form)) for k in range(first, int(self.end // step) + 1)]


def clock(instant: float, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """An instant as text, in UTC: a file has no time zone of its reader."""
    return datetime.fromtimestamp(instant, UTC).strftime(form)


def since(text: str) -> float:
    """The length that a dashboard's `now-6h` asks for, or that a user writes as `6h`.

    Raises:
        ValueError: the text is neither.
    """
    found = _RELATIVE.fullmatch(text)
    seconds = duration.seconds(found[1] if found and found[1] else text)
    if seconds <= 0:
        raise ValueError(f"{text!r} is no time; write for example 30m, 6h or 7d")
    return seconds


def instant(text: str, now: float) -> float:
    """An instant that a user writes: `now`, `now-1h`, Unix seconds, or a date with or without a time.

    Raises:
        ValueError: the text is none of them.
    """
    if found := _RELATIVE.fullmatch(text):
        return now - (duration.seconds(found[1]) if found[1] else 0)
    try:
        return float(text) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) else _parsed(text)
    except (ValueError, OverflowError):
        message = f"{text!r} is no instant; write now-1h, 2026-03-01T12:00:00Z or Unix seconds"
        raise ValueError(message) from None


def _parsed(text: str) -> float:
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
