"""Say in PromQL when a cron expression planned something. Pure.

Prometheus knows UTC and no schedules. So a cron expression becomes a condition over the fields of an instant, and a time
zone becomes the sum of its changes: `3600 + 3600 * (time() >= bool 1774746000) - ...`. The rules of the fields are those
of Kubernetes' CronJob (robfig/cron, standard parser): a day counts if it fits the day of the month and the weekday; where
both are restricted, if it fits one of them.
"""

from __future__ import annotations

import datetime as dt
import functools
import zoneinfo
from dataclasses import dataclass

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

# Changes of a zone's offset are written out for these years; behind the last, its offset stays.
_FROM, _TO = 2026, 2036


class CronError(ValueError):
    """An expression that is none; the message says which field and why."""


@dataclass(frozen=True, slots=True)
class Field:
    """The values that one field takes. `is_any` says that it began with a star, which the rule of days asks."""

    name: str
    function: str
    low: int
    high: int
    values: tuple[int, ...]
    is_any: bool

    @property
    def is_full(self) -> bool:
        """Whether every value is taken."""
        return len(self.values) == self.high - self.low + 1

    def condition(self, instant: str) -> str:
        """A comparison of this field of `instant`, an instant vector of Unix seconds."""
        field = f"{self.function}({instant})"
        step = self._step()
        if step:
            start = self.values[0]
            shifted = field if start == 0 else f"({field} - {start})"
            tests = [f"{shifted} % {step} == 0"]
            if start > self.low and start >= step:
                tests.append(f"{field} >= {start}")
            return _all(tests)
        return _any([_within(field, run) for run in _runs(self.values)])

    def _step(self) -> int:
        """The distance of the values, if they go on to the end of the range; 0 otherwise."""
        if len(self.values) < 3:
            return 0
        step = self.values[1] - self.values[0]
        goes_on = self.values == tuple(range(self.values[0], self.high + 1, step))
        return step if goes_on and step > 1 else 0


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression, field by field."""

    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field

    @property
    def either_day(self) -> bool:
        """Whether a day counts that fits one of the two fields of days. A star with a step is a star, as in Kubernetes."""
        return not (
            self.day.is_full or self.weekday.is_full or self.day.is_any or self.weekday.is_any
        )


def parse(text: str) -> Cron:
    """Read five fields, or one of `@hourly` and its like.

    Raises:
        CronError: which field is wrong.
    """
    fields = _MACROS.get(text.strip().lower(), text).split()
    if len(fields) != 5:
        raise CronError(
            f"{text!r} has {len(fields)} fields, must have five: minute hour day month weekday"
        )
    minute, hour, day, month, weekday = fields
    cron = Cron(
        _field("minute", "minute", minute, 0, 59),
        _field("hour", "hour", hour, 0, 23),
        _field("day of the month", "day_of_month", day, 1, 31),
        _field("month", "month", month, 1, 12, _MONTHS, base=1),
        _field("weekday", "day_of_week", weekday, 0, 6, _DAYS),
    )
    # A schedule that never comes would be a silence that nobody notices.
    shortest = min(cron.day.values)
    if not cron.either_day and all(_LENGTHS[month - 1] < shortest for month in cron.month.values):
        raise CronError(f"{text!r} never comes: no month that it names has a day {shortest}")
    return cron


def planned(text: str, zone: str) -> str:
    """An instant vector with the time, Unix seconds, where a run is planned in this minute; else nothing.

    Evaluated once in each minute, as in a subquery with a step of `1m`, whose steps are whole minutes.

    Raises:
        CronError: the expression is none.
        KeyError: there is no such zone (`zoneinfo.ZoneInfoNotFoundError`).
    """
    cron = parse(text)
    local = f"vector({_local(zone)})"
    first, changes = _changes(zone)
    whole_hours = not any(seconds % 3600 for seconds in (first, *(change for _, change in changes)))
    tests = (
        []
        if cron.minute.is_full
        else [cron.minute.condition("vector(time())" if whole_hours else local)]
    )
    tests += [field.condition(local) for field in (cron.hour, cron.month) if not field.is_full]
    days = [field for field in (cron.day, cron.weekday) if not field.is_full]
    conditions = [field.condition(local) for field in days]
    tests += [_any(conditions)] if cron.either_day else conditions
    return " and ".join(["vector(time())", *tests])


def _field(
    name: str,
    function: str,
    text: str,
    low: int,
    high: int,
    names: tuple[str, ...] = (),
    base: int = 0,
) -> Field:
    values: set[int] = set()
    for part in text.lower().split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        if span in ("*", "?"):
            start, end = low, high
        else:
            start = _number(name, first, names, base)
            end = _number(name, last, names, base) if dash else (high if step else start)
        stride = int(step) if step.isdecimal() else (0 if step else 1)
        # Sunday has two numbers.
        top = 7 if function == "day_of_week" else high
        if not (low <= start <= end <= top and stride > 0):
            raise CronError(f"the {name} {part!r} is not within {low} to {high}")
        values |= set(range(start, end + 1, stride))
    if function == "day_of_week" and 7 in values:
        values = values - {7} | {0}
    return Field(name, function, low, high, tuple(sorted(values)), text[0] in "*?")


def _number(name: str, text: str, names: tuple[str, ...], base: int) -> int:
    if text in names:
        return names.index(text) + base
    if not text.isdecimal():
        raise CronError(
            f"the {name} {text!r} is no number"
            + (f" and none of {', '.join(names)}" if names else "")
        )
    return int(text)


def _runs(values: tuple[int, ...]) -> list[tuple[int, int]]:
    """Neighbours as first and last."""
    runs: list[tuple[int, int]] = []
    for value in values:
        if runs and runs[-1][1] == value - 1:
            runs[-1] = (runs[-1][0], value)
        else:
            runs.append((value, value))
    return runs


def _within(field: str, run: tuple[int, int]) -> str:
    first, last = run
    return f"{field} == {first}" if first == last else f"({field} >= {first} <= {last})"


def _any(tests: list[str]) -> str:
    return tests[0] if len(tests) == 1 else f"({' or '.join(tests)})"


def _all(tests: list[str]) -> str:
    return tests[0] if len(tests) == 1 else f"({' and '.join(tests)})"


def _local(zone: str) -> str:
    """The local time of a zone in Unix seconds, as a scalar expression."""
    first, changes = _changes(zone)
    terms = [
        f"{'+' if change > 0 else '-'} {abs(change)} * (time() >= bool {moment})"
        for moment, change in changes
    ]
    start = [] if first == 0 else [f"{'+' if first > 0 else '-'} {abs(first)}"]
    return " ".join(["time()", *start, *terms])


@functools.cache
def _changes(zone: str) -> tuple[int, tuple[tuple[int, int], ...]]:
    """The offset at the start in seconds, and when (Unix seconds) it changes by how much."""
    info = zoneinfo.ZoneInfo(zone)

    def offset(moment: int) -> int:
        at = dt.datetime.fromtimestamp(moment, info)
        return int((at.utcoffset() or dt.timedelta()).total_seconds())

    start, end = (int(dt.datetime(year, 1, 1, tzinfo=dt.UTC).timestamp()) for year in (_FROM, _TO))
    first = before = offset(start)
    changes = []
    day = 86400
    for moment in range(start, end, day):
        if (after := offset(moment + day)) != before:
            low, high = moment, moment + day
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(middle) == before else (low, middle)
            changes.append((high, after - before))
            before = after
    return first, tuple(changes)
