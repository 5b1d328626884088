"""SLO mathematics: windows, burn factors and thresholds, and the rules of one objective. Pure.

Method: multi-window multi-burn-rate alerts as in the Google SRE Workbook, chapter "Alerting on SLOs". An alert fires
when a long and a short window both burn the budget faster than `budget share * period / long window` allows. Numbers
are decimal from the first to the last step, so that 14.4 * 0.001 is 0.0144 and not 0.014400000000000001.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from typing import Any

from flowgauge_operator import duration

# The long window of each tier, in seconds at seven days and more, and the share of the budget that it spends before it
# fires. Four weeks to a month: the workbook's recommended parameters. A week: Sloth's catalogue, because the month's
# shares would fire inside the budget there (factors below 1).
_LONG = (3600, 21600, 86400, 259200)
_MONTH = ("0.02", "0.05", "0.1", "0.1")
_WEEK = ("0.08", "0.125", "0.2", "0.42")
_WEEK_SECONDS = 7 * 86400
_FOUR_WEEKS_SECONDS = 28 * 86400
_MONTH_SECONDS = 30 * 86400
LONGEST_SECONDS = 90 * 86400
# How many times less often the slow groups are evaluated; with 30 s it stays within the look-back of five minutes.
SLOWER = 5

# Factors that do not end, such as 0.9333..., are cut to so many digits, always in the same way.
_DIGITS = Context(prec=6)


class WindowError(ValueError):
    """A window that cannot be judged; the message says what would help, `reason` which of the two it is."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Tier:
    """One pair of windows in seconds, and the burn factor above which both must be."""

    long: int
    short: int
    factor: Decimal


@dataclass(frozen=True, slots=True)
class Timing:
    """When an objective's rules look, and how far back. All in seconds.

    `base` is the shortest window, `every` the interval of the short group; the low-traffic guard multiplies by it, so
    the two must not part. `delay` is how old what a rule reads is at least, `reach` how far back it looks for it.
    """

    period: int
    base: int
    every: int
    every_long: int
    delay: int
    reach: int
    page: tuple[Tier, ...]
    ticket: tuple[Tier, ...]

    @property
    def short_windows(self) -> tuple[int, ...]:
        """Windows whose ratios are recorded often: the shortest, and the long ones of the page tiers."""
        return tuple(sorted({self.base, *(tier.long for tier in self.page)}))

    @property
    def long_windows(self) -> tuple[int, ...]:
        """Windows whose ratios are recorded rarely: the long ones of the ticket tiers."""
        return tuple(sorted({tier.long for tier in self.ticket} - set(self.short_windows)))


def evaluation_interval(scrape_interval: float) -> int:
    """Seconds between two evaluations: twice the scrape interval, at most the usual 30 s."""
    return int(min(30, max(1, 2 * scrape_interval)))


def shortest_rate_window(scrape_interval: float) -> int:
    """Seconds over which a rate has at least four samples, so that one lost scrape does not blind it."""
    return int(4 * scrape_interval)


def timing(period: float, scrape_interval: float) -> Timing:
    """Windows and factors for a period and a scrape interval, both in seconds.

    Below seven days the windows of seven days shrink in proportion.

    Raises:
        WindowError: the windows would shrink below what the scrape interval can resolve, or nobody keeps such data.
    """
    # A fraction, so that windows that are equal stay equal when they are rounded.
    shrink = min(Fraction(1), Fraction(int(period), _WEEK_SECONDS))
    every = evaluation_interval(scrape_interval)
    base = max(round(300 * shrink / every) * every, shortest_rate_window(scrape_interval))
    if base > 3600 * shrink:
        raise WindowError(
            "WindowTooShort",
            f"window {duration.text(period)} is too short for a scrape interval of"
            f" {duration.text(scrape_interval)}; {_remedy(base)}",
        )
    if period > LONGEST_SECONDS:
        raise WindowError(
            "WindowTooLong",
            f"window {duration.text(period)} is longer than {duration.text(LONGEST_SECONDS)}; shorten it",
        )
    tiers = tuple(
        _tier(spent, long * shrink, base, every)
        for spent, long in zip(_budgets(int(period)), _LONG, strict=True)
    )
    return Timing(
        period=int(period),
        base=base,
        every=every,
        every_long=SLOWER * every,
        # A scrape that is under way has the time of its start. Evaluated meanwhile, its samples would be missing now and
        # count as seen the next time; a scrape takes at most its interval.
        delay=math.ceil(scrape_interval),
        # Scrapes may be missing for so long and nothing is lost; the cost grows with it.
        reach=max(300, int(60 * scrape_interval)),
        page=tiers[:2],
        ticket=tiers[2:],
    )


def _remedy(base: int) -> str:
    if base > 3600:
        return "no window is long enough for it; scrape at least every 15m"
    least = base * _WEEK_SECONDS / 3600
    # One whole number and one unit, because that is what the field takes: minutes where they are needed.
    minutes = math.ceil(least / 60)
    exact = ((1440, "d"), (60, "h"), (1, "m"))
    window = next(f"{minutes // size}{unit}" for size, unit in exact if minutes % size == 0)
    if minutes > 9999:
        window = f"{math.ceil(minutes / 60)}h"
    return f"use a window of at least {window} or scrape more often"


def _budgets(period: int) -> tuple[Fraction, ...]:
    """What each tier may burn before it fires, in seconds of the period; divided by the long window, this is its factor.

    Between a week and four weeks the factors go in a straight line from one catalogue to the other. Above a month they
    stay: with the same shares all would rise, and a pace that spends the budget of 90 days in 31 would alert nobody.
    """
    week = tuple(Fraction(share) * min(period, _WEEK_SECONDS) for share in _WEEK)
    if period <= _WEEK_SECONDS:
        return week
    month = tuple(
        Fraction(share) * min(max(period, _FOUR_WEEKS_SECONDS), _MONTH_SECONDS) for share in _MONTH
    )
    way = Fraction(period - _WEEK_SECONDS, _FOUR_WEEKS_SECONDS - _WEEK_SECONDS)
    return tuple(a + (b - a) * min(way, Fraction(1)) for a, b in zip(week, month, strict=True))


def _tier(spent: Fraction, long: Fraction, base: int, every: int) -> Tier:
    rounded = max(round(long / every) * every, every)
    # From the window as it is before rounding: then the tiers share windows, and a record serves two of them.
    short = max(round(long / 12 / every) * every, base)
    factor = spent / rounded
    return Tier(long=rounded, short=short, factor=Decimal(factor.numerator) / factor.denominator)


def threshold(factor: Decimal, objective: float) -> Decimal:
    """The error ratio above which a tier fires: factor * (1 - objective), objective in percent."""
    budget = (Decimal(100) - Decimal(str(objective))) / 100
    return _DIGITS.plus(factor * budget).normalize()


def budget(objective: float) -> Decimal:
    """The share of events that may be bad, for an objective in percent."""
    return ((Decimal(100) - Decimal(str(objective))) / 100).normalize()


@dataclass(frozen=True, slots=True)
class Objective:
    """One objective, ready to be written as rules.

    `total` and `bad` are PromQL for events a second since the evaluation before; `identity` is the inside of the braces
    that select its recorded series; `labels` are the static labels of every rule. `min_bad_events` is None where bad
    time is counted, not events. `outside` takes the value from an expression where nothing counts.
    """

    objective: float
    total: str
    bad: str
    timing: Timing
    identity: str
    labels: Mapping[str, str]
    min_bad_events: int | None
    outside: Callable[[str], str] = str


def ratio_record(window: int) -> str:
    """The name of the recorded error ratio over a fixed evaluation window of so many seconds."""
    return f"slo:error:ratio_rate{duration.text(window)}"


TOTAL = "slo:events_total:rate"
BAD = "slo:events_bad:rate"
# The same over the interval of the long group: its windows read a fifth of the samples.
TOTAL_LONG = "slo:events_total:rate_long"
BAD_LONG = "slo:events_bad:rate_long"
PERIOD = "slo:error:ratio_period"
REMAINING = "slo:error_budget_remaining:ratio"
OBJECTIVE = "slo:objective:ratio"


def records_often(slo: Objective) -> list[dict[str, Any]]:
    """The recording rules of the short group, in the order in which they read each other."""
    return [
        _record(TOTAL, slo.total, slo),
        # Without bad events there is no series for them. `on ()` compares no labels: what was recorded has the labels of
        # the rule, and `bad` may have none; a second series beside it would fail the rule.
        _record(BAD, slo.outside(f"({slo.bad}) or on () 0 * {TOTAL}{{{slo.identity}}}"), slo),
        *(_ratio(w, ratio_record(w), BAD, TOTAL, slo) for w in slo.timing.short_windows),
    ]


def records_rarely(slo: Objective) -> list[dict[str, Any]]:
    """The recording rules of the long group, in the order in which they read each other."""
    every = duration.text(slo.timing.every_long)
    # A sum over what there is, not a mean of it: where an evaluation is missing, nothing was counted.
    coarse = [
        _record(name, f"sum_over_time({fine}{{{slo.identity}}}[{every}]) / {SLOWER}", slo)
        for name, fine in ((TOTAL_LONG, TOTAL), (BAD_LONG, BAD))
    ]
    windows = {w: ratio_record(w) for w in slo.timing.long_windows} | {slo.timing.period: PERIOD}
    allowed = budget(slo.objective)
    return [
        *coarse,
        *(_ratio(w, name, BAD_LONG, TOTAL_LONG, slo) for w, name in windows.items()),
        _record(REMAINING, f"1 - {PERIOD}{{{slo.identity}}} / {allowed:f}", slo),
        _record(OBJECTIVE, f"vector({1 - allowed:f})", slo),
    ]


def _record(name: str, expr: str, slo: Objective) -> dict[str, Any]:
    return {"record": name, "expr": expr, "labels": dict(slo.labels)}


def _ratio(window: int, name: str, bad: str, total: str, slo: Objective) -> dict[str, Any]:
    return _record(name, _error(window, bad, total, slo), slo)


def _error(window: int, bad: str, total: str, slo: Objective) -> str:
    # A ratio of sums, never a mean of ratios: a quiet hour must not weigh as much as a busy one.
    above, below = (_summed(series, window, slo) for series in (bad, total))
    return f"{above} / ({below} > 0)"


def _summed(series: str, window: int, slo: Objective) -> str:
    return f"sum_over_time({series}{{{slo.identity}}}[{duration.text(window)}])"


def reachable_tiers(objective: float, tiers: tuple[Tier, ...]) -> tuple[Tier, ...]:
    """The tiers whose threshold an error ratio can exceed at all."""
    return tuple(tier for tier in tiers if threshold(tier.factor, objective) < 1)


def reachable_from(tier: Tier) -> Decimal:
    """The objective in percent from which on an error ratio can exceed the tier's threshold, rounded up to 0.01."""
    exact = 100 * (1 - 1 / tier.factor)
    # At the bound itself the threshold is 1, which a ratio reaches and does not exceed.
    return exact.quantize(Decimal("0.01"), rounding=ROUND_FLOOR) + Decimal("0.01")


def burn(slo: Objective, tiers: tuple[Tier, ...]) -> str | None:
    """The expression of one burn alert; None where no error ratio can reach any of its thresholds."""
    reachable = reachable_tiers(slo.objective, tiers)
    if not reachable:
        return None
    pairs = " or ".join(
        f"({_above(tier.long, tier, slo)} and {_above(tier.short, tier, slo)})"
        for tier in reachable
    )
    if slo.min_bad_events is None:
        return pairs
    # A rate times the evaluation interval, summed, is a number of events. Half an event absorbs what an expression of a
    # user's extrapolates.
    longest = max(tier.long for tier in reachable)
    counted = f"{_summed(BAD, longest, slo)} * {slo.timing.every}"
    return f"({pairs}) and ({counted} > {Decimal(slo.min_bad_events) - Decimal('0.5'):f})"


def _above(window: int, tier: Tier, slo: Objective) -> str:
    # A window that nothing but this alert looks at is no series of its own.
    is_recorded = window in (*slo.timing.short_windows, *slo.timing.long_windows)
    ratio = (
        f"{ratio_record(window)}{{{slo.identity}}}"
        if is_recorded
        else _error(window, BAD, TOTAL, slo)
    )
    return f"{ratio} > {threshold(tier.factor, slo.objective):f}"
