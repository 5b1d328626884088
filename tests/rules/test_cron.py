"""Cron expressions as PromQL, on the real engine: planned exactly where the field's rules say, also where clocks change."""

import datetime as dt
import random
import subprocess
import zoneinfo

import pytest
import yaml

from flowgauge_operator import cron, promql

MINUTE, DAY = 60, 86400


def last(t):
    return (t + dt.timedelta(days=1)).month != t.month


# What each means, said without the parser: of the local time.
PLANS = {
    ("0 2 * * *", "UTC"): lambda t: (t.hour, t.minute) == (2, 0),
    ("30 2 * * *", "Europe/Zurich"): lambda t: (t.hour, t.minute) == (2, 30),
    ("*/15 9-17 * * MON-FRI", "America/New_York"): lambda t: (
        t.minute % 15 == 0 and 9 <= t.hour <= 17 and t.weekday() < 5
    ),
    ("5/10 * * * *", "Asia/Kolkata"): lambda t: t.minute % 10 == 5,
    ("0 6-23/4 * * *", "Australia/Lord_Howe"): lambda t: (
        t.minute == 0 and t.hour in (6, 10, 14, 18, 22)
    ),
    ("0 0 1,15 * 5", "UTC"): lambda t: (
        (t.hour, t.minute) == (0, 0) and (t.day in (1, 15) or t.weekday() == 4)
    ),
    ("0 0 */2 * 1", "UTC"): lambda t: (
        (t.hour, t.minute) == (0, 0) and t.day % 2 == 1 and t.weekday() == 0
    ),
    ("0 0 31 JAN,mar *", "Pacific/Auckland"): lambda t: (
        (t.hour, t.minute, t.day) == (0, 0, 31) and t.month in (1, 3)
    ),
    ("0 12 * * 7", "UTC"): lambda t: (t.hour, t.minute) == (12, 0) and t.weekday() == 6,
    ("0 12 * * 5-7", "UTC"): lambda t: (t.hour, t.minute) == (12, 0) and t.weekday() >= 4,
    ("1,2,3,40 3 * * *", "UTC"): lambda t: t.hour == 3 and t.minute in (1, 2, 3, 40),
    ("@monthly", "America/Sao_Paulo"): lambda t: (t.day, t.hour, t.minute) == (1, 0, 0),
    ("@weekly", "UTC"): lambda t: (t.hour, t.minute) == (0, 0) and t.weekday() == 6,
    ("* * * * *", "Europe/London"): lambda t: t.second == 0,
}


def instants(zone, plan):
    """Whole minutes to look at: around changes of the clocks, at planned ones and anywhere."""
    rng, start = random.Random(zone.key), int(dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp())
    days = range(start, start + 800 * DAY, DAY)
    offsets = [dt.datetime.fromtimestamp(day, zone).utcoffset() for day in days]
    changes = [day for day, a, b in zip(days, offsets, offsets[1:], strict=False) if a != b]
    found = {day + 30 * MINUTE * i for day in changes[:3] for i in range(48)}
    found |= {rng.randrange(start, start + 800 * DAY, MINUTE) for _ in range(40)}
    hits = (
        m
        for m in range(start, start + 70 * DAY, MINUTE)
        if plan(dt.datetime.fromtimestamp(m, zone))
    )
    for _, hit in zip(range(8), hits, strict=False):
        found |= {hit - MINUTE, hit, hit + MINUTE}
    return sorted(found)


@pytest.mark.parametrize(("text", "zone"), PLANS)
def test_a_run_is_planned_where_the_fields_say_so(promtool, tmp_path, text, zone):
    expr, plan, where = cron.planned(text, zone), PLANS[text, zone], zoneinfo.ZoneInfo(zone)
    promql.check(expr, "shop")
    moments = instants(where, plan)
    tests = [
        {
            "expr": expr,
            "eval_time": f"{moment - moments[0]}s",
            "exp_samples": [{"labels": "{}", "value": moment}]
            if plan(dt.datetime.fromtimestamp(moment, where))
            else [],
        }
        for moment in moments
    ]
    assert sum(bool(test["exp_samples"]) for test in tests) > 0
    content = {
        "evaluation_interval": "30d",
        "tests": [{"start_timestamp": moments[0], "interval": "1m", "promql_expr_test": tests}],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.dump(content, Dumper=yaml.CSafeDumper), encoding="utf-8")

    done = subprocess.run(
        [promtool, "test", "rules", file], capture_output=True, text=True, check=False, timeout=120
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 2 * *", "has 4 fields, must have five"),
        ("60 * * * *", "the minute '60' is not within 0 to 59"),
        ("0 24 * * *", "the hour '24' is not within 0 to 23"),
        ("0 0 0 * *", "the day of the month '0' is not within 1 to 31"),
        ("0 0 * 13 *", "the month '13' is not within 1 to 12"),
        ("0 0 * * 8", "the weekday '8' is not within 0 to 6"),
        ("0 0 * * MOO", "the weekday 'moo' is no number and none of sun, mon"),
        ("5-1 * * * *", "the minute '5-1' is not within 0 to 59"),
        ("0 2 30 FEB *", "never comes: no month that it names has a day 30"),
        ("0 2 31 4,6,9,11 *", "never comes: no month that it names has a day 31"),
        ("*/0 * * * *", "is not within 0 to 59"),
        ("*/x * * * *", "is not within 0 to 59"),
        ("1,,2 * * * *", "the minute '' is no number"),
    ],
)
def test_what_is_no_cron_expression_is_told_by_field(text, message):
    with pytest.raises(cron.CronError, match=message):
        cron.parse(text)


def test_a_day_that_comes_in_leap_years_or_by_the_weekday_is_no_mistake():
    for text in ("0 2 29 2 *", "0 2 31 4 MON", "0 2 30-31 1,2 *"):
        cron.parse(text)


def test_a_zone_that_does_not_exist_is_an_error():
    with pytest.raises(KeyError):
        cron.planned("0 2 * * *", "Mars/Olympus")
