import pytest

from flowgauge_operator.preview import window
from flowgauge_operator.preview.window import Window

SIX_HOURS = Window(1_700_000_000, 1_700_021_600)


@pytest.mark.parametrize(
    ("hours", "points", "step"),
    [(1, 600, 15), (6, 600, 30), (24, 600, 120), (24 * 7, 600, 900), (24 * 30, 600, 3600)],
)
def test_the_step_is_the_one_that_grafana_takes(hours, points, step):
    assert Window(0, hours * 3600).step(points) == step


def test_the_step_is_never_below_the_scrape_interval_nor_a_least_one_of_the_query():
    assert Window(0, 60).step(1000) == 15
    assert Window(0, 60).step(1000, least=60) == 60


def test_prometheus_never_refuses_the_number_of_points():
    assert len(Window(0, 86400 * 365, scrape=1).grid(Window(0, 86400 * 365).step(20_000))) <= 11_001


def test_the_rate_interval_holds_four_scrapes_and_more_than_a_step():
    assert SIX_HOURS.rate_interval(30) == 60
    assert SIX_HOURS.rate_interval(300) == 315


def test_instants_of_a_query_are_multiples_of_its_step():
    assert Window(1003, 1062).grid(15) == (990, 1005, 1020, 1035, 1050)


def test_ticks_are_round_times_that_have_room():
    labels = [label for _, label in SIX_HOURS.ticks(600)]

    assert labels == ["23:00", "00:00", "01:00", "02:00", "03:00", "04:00"]


def test_days_are_told_by_their_date():
    assert Window(0, 86400 * 7).ticks(600)[0][1] == "01-01"


@pytest.mark.parametrize(
    ("text", "seconds"), [("now-6h", 21600), ("30m", 1800), ("now-7d", 604800)]
)
def test_a_length_is_read_as_dashboards_and_users_write_it(text, seconds):
    assert window.since(text) == seconds


@pytest.mark.parametrize("text", ["now", "", "0s", "6 h", "yesterday", "now-1M"])
def test_what_is_no_length_is_refused(text):
    with pytest.raises(ValueError, match="write"):
        window.since(text)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("now", 1000.0),
        ("now-5m", 700.0),
        ("1700000000", 1_700_000_000.0),
        ("2023-11-14T22:13:20Z", 1_700_000_000.0),
        ("2023-11-14T22:13:20", 1_700_000_000.0),
    ],
)
def test_an_instant_without_a_zone_is_utc(text, instant):
    assert window.instant(text, now=1000) == instant


def test_what_is_no_instant_is_refused_with_how_to_write_one():
    with pytest.raises(ValueError, match="write now-1h"):
        window.instant("tomorrow", now=0)
