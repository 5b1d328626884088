import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgauge_operator import duration, model, promql, slo
from flowgauge_operator.slo import WindowError

DAY = 86400


def timing(window, interval="15s"):
    return slo.timing(duration.seconds(window), duration.seconds(interval))


def tiers(made):
    return [
        (duration.text(t.long), duration.text(t.short), f"{slo.threshold(t.factor, 0):f}")
        for t in (*made.page, *made.ticket)
    ]


def objective(percent=99.0, window="30d", *, interval="15s", min_bad=2):
    return slo.Objective(
        objective=percent,
        total="T",
        bad="B",
        timing=timing(window, interval),
        identity='slo="runs"',
        labels={"slo": "runs"},
        min_bad_events=min_bad,
    )


# The tables of the Google SRE Workbook (30d) and of Sloth (7d), and what follows from them.
@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ("30d", [("1h", "5m", "14.4"), ("6h", "30m", "6"), ("1d", "2h", "3"), ("3d", "6h", "1")]),
        (
            "28d",
            [
                ("1h", "5m", "13.44"),
                ("6h", "30m", "5.6"),
                ("1d", "2h", "2.8"),
                ("3d", "6h", "0.933333"),
            ],
        ),
        (
            "7d",
            [
                ("1h", "5m", "13.44"),
                ("6h", "30m", "3.5"),
                ("1d", "2h", "1.4"),
                ("3d", "6h", "0.98"),
            ],
        ),
        # Between the two catalogues in a straight line, above a month as for a month.
        (
            "10d",
            [
                ("1h", "5m", "13.44"),
                ("6h", "30m", "3.8"),
                ("1d", "2h", "1.6"),
                ("3d", "6h", "0.973333"),
            ],
        ),
        (
            "14d",
            [
                ("1h", "5m", "13.44"),
                ("6h", "30m", "4.2"),
                ("1d", "2h", "1.86667"),
                ("3d", "6h", "0.964444"),
            ],
        ),
        (
            "21d",
            [
                ("1h", "5m", "13.44"),
                ("6h", "30m", "4.9"),
                ("1d", "2h", "2.33333"),
                ("3d", "6h", "0.948889"),
            ],
        ),
        (
            "27d",
            [
                ("1h", "5m", "13.44"),
                ("6h", "30m", "5.5"),
                ("1d", "2h", "2.73333"),
                ("3d", "6h", "0.935556"),
            ],
        ),
        ("45d", [("1h", "5m", "14.4"), ("6h", "30m", "6"), ("1d", "2h", "3"), ("3d", "6h", "1")]),
        ("60d", [("1h", "5m", "14.4"), ("6h", "30m", "6"), ("1d", "2h", "3"), ("3d", "6h", "1")]),
        ("90d", [("1h", "5m", "14.4"), ("6h", "30m", "6"), ("1d", "2h", "3"), ("3d", "6h", "1")]),
    ],
)
def test_windows_and_factors_are_those_of_the_books(window, expected):
    made = timing(window)

    assert tiers(made) == expected
    assert (made.base, made.every, made.every_long) == (300, 30, 150)


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(7 * DAY, 90 * DAY))
def test_in_every_window_a_pace_that_lasts_is_silent_and_one_that_does_not_alerts(period):
    made = slo.timing(period, 15)
    factors = [tier.factor for tier in (*made.page, *made.ticket)]

    assert factors == sorted(factors, reverse=True)
    # The least one is about 1. Were it above, paces between the two would spend the budget and alert nobody.
    assert Decimal("0.93") < factors[3] <= 1
    assert 1 < factors[2] < factors[1] < 7
    assert Decimal("13.4") < factors[0] <= Decimal("14.4")


@pytest.mark.parametrize("window", ["7d", "10d", "14d", "21d", "28d", "30d", "45d", "60d", "90d"])
def test_factors_are_exact_to_the_last_digit_that_there_is(window):
    week = (Fraction("13.44"), Fraction("3.5"), Fraction("1.4"), Fraction("0.98"))
    month = (Fraction("13.44"), Fraction("5.6"), Fraction("2.8"), Fraction(14, 15))
    days = Fraction(duration.seconds(window)) / DAY
    way = min(Fraction(1), (days - 7) / 21)
    grown = max(Fraction(1), min(days, Fraction(30)) / 28)

    made = timing(window)

    for tier, low, high in zip((*made.page, *made.ticket), week, month, strict=True):
        exact = (low + (high - low) * way) * grown
        assert tier.factor == Decimal(exact.numerator) / Decimal(exact.denominator)


@pytest.mark.parametrize(
    ("window", "interval", "expected"),
    [
        (
            "1h",
            "1s",
            [
                ("22s", "4s", "13.0909"),
                ("2m8s", "10s", "3.51562"),
                ("8m34s", "42s", "1.40078"),
                ("25m42s", "2m8s", "0.980545"),
            ],
        ),
        (
            "1d",
            "15s",
            [
                ("8m30s", "1m", "13.5529"),
                ("51m30s", "4m30s", "3.49515"),
                ("3h25m30s", "17m", "1.40146"),
                ("10h17m", "51m30s", "0.980227"),
            ],
        ),
    ],
)
def test_below_a_week_the_windows_shrink_in_proportion(window, interval, expected):
    assert tiers(timing(window, interval)) == expected


@pytest.mark.parametrize(
    ("interval", "base", "every", "every_long"),
    [
        ("1s", 300, 2, 10),
        ("5s", 300, 10, 50),
        ("15s", 300, 30, 150),
        ("1m", 300, 30, 150),
        ("2m", 480, 30, 150),
    ],
)
def test_rules_look_as_often_as_the_scrapes_allow(interval, base, every, every_long):
    made = timing("30d", interval)

    assert (made.base, made.every, made.every_long) == (base, every, every_long)


@pytest.mark.parametrize(
    ("interval", "delay", "reach"),
    [("1s", 1, 300), ("15s", 15, 900), ("1500ms", 2, 300), ("1m", 60, 3600)],
)
def test_what_is_counted_was_scraped_an_interval_ago_and_may_have_gaps_of_sixty(
    interval, delay, reach
):
    made = timing("30d", interval)

    assert (made.delay, made.reach) == (delay, reach)


@pytest.mark.parametrize(
    ("window", "interval", "least"),
    [
        ("5m", "5m", "56h"),
        ("1h", "15s", "168m"),
        ("10m", "1s", "12m"),
        ("1h", "1m", "672m"),
        ("6d", "895s", "168h"),
    ],
)
def test_a_window_that_is_too_short_names_the_least_one(window, interval, least):
    with pytest.raises(WindowError) as caught:
        timing(window, interval)

    assert f"use a window of at least {least} or scrape more often" in str(caught.value)
    assert timing(least, interval).base > 0


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(60, 7 * DAY), st.integers(1, 900))
def test_the_window_that_the_message_names_is_accepted(period, interval):
    try:
        slo.timing(period, interval)
    except WindowError as error:
        least = re.search(r"at least (\S+)", str(error))[1]
        body = {"metadata": {"name": "w"}, "spec": {"selector": {"matchLabels": {"a": "b"}}}}
        body["spec"]["slos"] = [{"name": "s", "objective": 99, "window": least, "success": {}}]
        assert model.parse(body).spec.slos[0].window == least
        slo.timing(duration.seconds(least), interval)


def test_a_scrape_interval_that_no_window_fits_is_told_so():
    with pytest.raises(
        WindowError, match="no window is long enough for it; scrape at least every 15m"
    ):
        timing("30d", "16m")


def test_nobody_keeps_more_than_ninety_days():
    with pytest.raises(WindowError, match="window 91d is longer than 90d; shorten it"):
        timing("91d")


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers(600, 90 * DAY), st.integers(1, 900))
def test_an_objective_is_at_most_fourteen_rules_and_twelve_series(period, interval):
    try:
        made = objective(99.9, f"{period}s", interval=f"{interval}s")
    except WindowError:
        return
    records = [*slo.records_often(made), *slo.records_rarely(made)]
    assert len({rule["record"] for rule in records}) == len(records) <= 12
    assert len([t for t in (made.timing.page, made.timing.ticket) if slo.burn(made, t)]) == 2


@pytest.mark.parametrize(
    ("percent", "factor", "expected"),
    [
        (99.9, "14.4", "0.0144"),
        (99.9, "6", "0.006"),
        (99, "14.4", "0.144"),
        (99.5, "3", "0.015"),
        (99.99, "43.2", "0.00432"),
        (99.9999, "1", "0.000001"),
        (99, "0.9333333333333333333333", "0.00933333"),
        (50, "1", "0.5"),
    ],
)
def test_thresholds_are_decimal_arithmetic(percent, factor, expected):
    assert f"{slo.threshold(Decimal(factor), percent):f}" == expected


@pytest.mark.parametrize(
    ("percent", "expected"),
    [
        (99.9, "0.001"),
        (99.9999, "0.000001"),
        (99.5, "0.005"),
        (66.6, "0.334"),
        (0.1, "0.999"),
        (90, "0.1"),
    ],
)
def test_the_budget_has_no_noise(percent, expected):
    assert f"{slo.budget(percent):f}" == expected


def test_the_fast_alert_is_written_like_this():
    assert slo.burn(objective(99.9), timing("30d").page) == (
        '((slo:error:ratio_rate1h{slo="runs"} > 0.0144 and slo:error:ratio_rate5m{slo="runs"} > 0.0144)'
        ' or (slo:error:ratio_rate6h{slo="runs"} > 0.006 and'
        ' sum_over_time(slo:events_bad:rate{slo="runs"}[30m])'
        ' / (sum_over_time(slo:events_total:rate{slo="runs"}[30m]) > 0) > 0.006))'
        ' and (sum_over_time(slo:events_bad:rate{slo="runs"}[6h]) * 30 > 1.5)'
    )


@pytest.mark.parametrize(("min_bad", "limit"), [(1, "0.5"), (2, "1.5"), (1000, "999.5")])
def test_the_guard_asks_for_half_an_event_less(min_bad, limit):
    text = slo.burn(objective(min_bad=min_bad), timing("30d").ticket)

    assert text.endswith(f"[3d]) * 30 > {limit})")


@pytest.mark.parametrize(("interval", "every"), [("1s", 2), ("5s", 10), ("15s", 30), ("1m", 30)])
def test_the_guard_multiplies_by_the_interval_of_the_short_group(interval, every):
    made = objective(interval=interval)

    assert f"* {every} >" in slo.burn(made, made.timing.page)


def test_bad_time_needs_no_guard():
    guarded, plain = (slo.burn(objective(min_bad=n), timing("30d").page) for n in (2, None))

    assert plain == guarded.partition(" and (sum_over_time(")[0].removeprefix("(").removesuffix(")")


@pytest.mark.parametrize(
    ("percent", "page", "ticket"),
    [
        (93.1, ["1h", "6h"], ["1d", "3d"]),
        (93, ["6h"], ["1d", "3d"]),
        (83.3, [], ["1d", "3d"]),
        (66.6, [], ["3d"]),
        (0.1, [], ["3d"]),
    ],
)
def test_tiers_that_no_ratio_can_reach_are_dropped(percent, page, ticket):
    made = timing("30d")

    kept = [slo.reachable_tiers(percent, tier) for tier in (made.page, made.ticket)]

    assert [[duration.text(t.long) for t in tier] for tier in kept] == [page, ticket]


@pytest.mark.parametrize("window", ["7d", "14d", "30d", "90d"])
def test_a_tier_can_be_reached_from_the_objective_that_is_told(window):
    made = timing(window)
    for tier in (*made.page, *made.ticket):
        least = slo.reachable_from(tier)
        if least > 0:
            assert slo.reachable_tiers(float(least), (tier,)) == (tier,)
            assert slo.reachable_tiers(float(least - Decimal("0.01")), (tier,)) == ()


def test_the_objectives_from_which_a_month_can_page_are_these():
    assert [str(slo.reachable_from(tier)) for tier in timing("30d").page] == ["93.06", "83.34"]


def test_an_alert_that_cannot_fire_is_not_made():
    assert slo.burn(objective(80), timing("30d").page) is None


def test_the_guard_looks_as_far_back_as_the_reachable_tiers():
    assert "[6h]) * 30" in slo.burn(objective(93), timing("30d").page)


def test_the_records_of_the_short_group_read_each_other_in_order():
    rules = slo.records_often(objective())

    assert [(rule["record"], rule["expr"]) for rule in rules[:4]] == [
        ("slo:events_total:rate", "T"),
        ("slo:events_bad:rate", '(B) or on () 0 * slo:events_total:rate{slo="runs"}'),
        (
            "slo:error:ratio_rate5m",
            (
                'sum_over_time(slo:events_bad:rate{slo="runs"}[5m])'
                ' / (sum_over_time(slo:events_total:rate{slo="runs"}[5m]) > 0)'
            ),
        ),
        (
            "slo:error:ratio_rate1h",
            (
                'sum_over_time(slo:events_bad:rate{slo="runs"}[1h])'
                ' / (sum_over_time(slo:events_total:rate{slo="runs"}[1h]) > 0)'
            ),
        ),
    ]


def test_the_records_of_the_long_group_end_with_budget_and_objective():
    rules = slo.records_rarely(objective(99.9))

    assert [rule["record"] for rule in rules] == [
        "slo:events_total:rate_long",
        "slo:events_bad:rate_long",
        "slo:error:ratio_rate1d",
        "slo:error:ratio_rate3d",
        "slo:error:ratio_period",
        "slo:error_budget_remaining:ratio",
        "slo:objective:ratio",
    ]
    assert rules[1]["expr"] == 'sum_over_time(slo:events_bad:rate{slo="runs"}[2m30s]) / 5'
    assert rules[4]["expr"] == (
        'sum_over_time(slo:events_bad:rate_long{slo="runs"}[30d])'
        ' / (sum_over_time(slo:events_total:rate_long{slo="runs"}[30d]) > 0)'
    )
    assert rules[5]["expr"] == '1 - slo:error:ratio_period{slo="runs"} / 0.001'
    assert rules[6]["expr"] == "vector(0.999)"


@settings(deadline=None)  # a busy machine is no failure
@given(st.decimals("0.0001", "99.9999", places=4), st.integers(7 * DAY, 90 * DAY))
def test_every_record_and_alert_parses(percent, period):
    made = objective(float(percent), f"{period}s")

    texts = [rule["expr"] for rule in (*slo.records_often(made)[1:], *slo.records_rarely(made))]
    texts += [text for t in (made.timing.page, made.timing.ticket) if (text := slo.burn(made, t))]

    assert all(list(promql.selectors(text)) or "vector(" in text for text in texts)


@pytest.mark.parametrize(("interval", "window"), [(1, 4), (15, 60), (60, 240), (300, 1200)])
def test_a_rate_needs_four_scrapes(interval, window):
    assert slo.shortest_rate_window(interval) == window
