"""Whether what is recorded of an objective is true, on traffic whose outcome is known, by Prometheus' own evaluation."""

import random

import pytest
from benchmarks.rules import peers, replaying, scraping, traffic, truth

from rig.pytest_plugin import binary

HOUR, DAY = 3600, 86400
NOON = 1_700_000_000 - 1_700_000_000 % DAY + DAY // 2
# A day without a failure would say little.
DAYS = {"sparse": 2}


@pytest.fixture(scope="session")
def replay():
    return binary("replay")


def findings(shape, folder, *, interval=15):
    begin = NOON - DAYS.get(shape, 1) * DAY
    history = replaying.history(shape, seed=1, begin=begin, end=NOON, interval=interval)
    ours = peers.ours(interval=interval, window="7d")
    dice = random.Random(1)
    instants = sorted(NOON - 60 - dice.random() * 12 * HOUR for _ in range(40))
    recorded = replaying.record(history, [ours], instants, folder)
    return replaying.judge(history, ours, recorded[ours.name], instants)


@pytest.mark.parts
@pytest.mark.parametrize("shape", traffic.SHAPES)
def test_ratios_and_budget_are_within_one_percent_of_the_truth(replay, tmp_path, shape):
    found = [one for one in findings(shape, tmp_path) if one.window != replaying.HAPPENED]

    assert {one.window for one in found} >= {HOUR, 6 * HOUR, DAY, 7 * DAY, replaying.KNOWN}
    assert any(one.true for one in found if one.window == DAY)
    assert [one for one in found if one.error > 0.01] == []


@pytest.mark.parts
def test_where_a_step_has_one_scrape_it_is_as_true(replay, tmp_path):
    found = [
        one
        for one in findings("deploys", tmp_path, interval=30)
        if one.window != replaying.HAPPENED
    ]

    assert [one for one in found if one.error > 0.01] == []


def story(runs, **more):
    pods = more.pop("pods", (traffic.Pod("a", "v1", 0, 100),))
    return traffic.Story(0, 100, pods, tuple(traffic.Run(at, 0, bad) for at, bad in runs), **more)


def test_a_run_is_known_from_the_scrape_that_tells_of_it():
    seen = scraping.scrape(story([(41, True), (58, False)]), interval=10)

    (first, bad), (second, good) = seen.known
    assert (bad, good, seen.lost) == (True, False, 0)
    assert 41 <= first < 51.1
    assert 58 <= second < 68.1


def test_what_a_process_counted_after_its_last_scrape_is_lost():
    pods = (traffic.Pod("a", "v1", 0, 100, starts=(60,)),)

    runs = [(41, True), (59, False), (99.99, False)]
    seen = scraping.scrape(story(runs, pods=pods, unseen=((55, 62),)), interval=10)

    assert [bad for _, bad in seen.known] == [True]
    assert seen.lost == 2


def test_a_counter_of_a_new_process_begins_at_zero():
    pods = (traffic.Pod("a", "v1", 0, 100, starts=(60,)),)

    seen = scraping.scrape(story([(10, False), (12, False), (75, False)], pods=pods), interval=10)

    good = [one.value for one in seen.samples if one.series == 0]
    assert [
        value for value, before in zip(good, [None, *good], strict=False) if value != before
    ] == ([0, 2, 0, 1] if good[0] == 0 else [2, 0, 1])


@pytest.mark.parametrize(
    ("recorded", "true", "off"),
    [
        (0.11, 0.1, 0.1),
        (None, 0.1, 1),
        (float("nan"), 0.1, 1),
        (0, 0, 0),
        (None, 0, 0),
        (0.001, 0, 1),
        (0.5, None, None),
    ],
)
def test_an_error_is_a_share_of_the_truth(recorded, true, off):
    assert truth.error(recorded, true) == (off if off is None else pytest.approx(off))


def test_a_window_leaves_out_its_beginning_and_has_its_end():
    ledger = truth.Ledger([(10, True), (20, False), (30, True)])

    assert ledger.window(30, 20) == truth.Counts(bad=1, total=2)
    assert ledger.window(9, 100).ratio is None
