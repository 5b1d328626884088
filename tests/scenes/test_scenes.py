import json
from dataclasses import replace

import pytest

from flowgauge import profiles
from flowgauge_operator import model
from rig import lone
from rig.pytest_plugin import binary
from scenes import history, scrape, story, telling
from scenes.page import Page
from scenes.scenario import HOUR, MINUTE, SCENARIOS, Scenario

NAMES = profiles.names()
NOON = 1_800_014_400
SHORT = Scenario("failing", 50 * MINUTE, deployments=(31 * MINUTE,), fails_since=30 * MINUTE)


def workflow(profile, **spec):
    schedule = {"cronJob": "nightly"} if profile == "cronjob" else {"cron": "*/10 * * * *"}
    spec = {"profile": profile, "scrape": {"mode": "None"}, "schedule": schedule, **spec}
    return model.parse({"metadata": {"name": "orders", "namespace": "shop"}, "spec": spec})


def told(profile, scenario=SHORT, beyond=0):
    given = workflow(profile)
    return history.told(given, profiles.builtin(profile), scenario, end=NOON, beyond=beyond)


def series(watched, interval=30):
    """Labels -> samples in their order; None for the end of a series."""
    labels, samples = {}, {}
    for line in scrape.lines([watched], interval):
        first, second, *rest = line.split(" ", 2)
        if first == "series":
            labels[second] = tuple(sorted(json.loads(rest[0]).items()))
        elif first != "until":
            value = None if rest[0] == "stale" else float(rest[0])
            samples.setdefault(labels[second], []).append((int(first) // 1000, value))
    return samples


@pytest.mark.parametrize("name", NAMES)
def test_every_family_of_a_vocabulary_has_series(name):
    watched = told(name, replace(SHORT, seconds=4 * HOUR, fails_since=3 * HOUR))
    seen = {dict(labels)["__name__"] for labels in series(watched, 300)}
    # What no story tells of, and an engine shows with its first event only.
    rare = {"schedule.missed", *telling.NEVER}
    families = [family for family in watched.profile.families if family.role not in rare]

    assert [family.name for family in families if family.probe not in seen] == []
    assert name != "cronjob" or "kube_cronjob_next_schedule_time" in seen


@pytest.mark.parametrize("name", NAMES)
def test_counters_never_fall_and_buckets_hold_each_other(name):
    watched = told(name)
    counters = {f.probe for f in watched.profile.families if f.type in ("counter", "histogram")}
    found = series(watched)

    for labels, samples in found.items():
        if dict(labels)["__name__"] in counters:
            values = [value for _, value in samples if value is not None]
            assert values == sorted(values)
    for labels, samples in found.items():
        if dict(labels)["__name__"].endswith("_bucket") and ("le", "+Inf") in labels:
            count = {
                **dict(labels),
                "__name__": dict(labels)["__name__"].replace("_bucket", "_count"),
            }
            del count["le"]
            assert samples == found[tuple(sorted(count.items()))]


def test_the_same_workflow_has_the_same_story():
    assert list(scrape.lines([told("workflow")], 60)) == list(scrape.lines([told("workflow")], 60))


def test_a_workflow_that_fails_does_so_in_one_step_with_one_error_since_its_deployment():
    runs = told("workflow", SCENARIOS["failing"]).story.runs
    late = [run for run in runs if run.start > NOON - 2 * HOUR]
    early = [run for run in runs if run.start < NOON - 4 * HOUR]
    bad = [run for run in late if run.error]

    assert sum(bool(run.error) for run in early) < 0.01 * len(early)
    assert 0.2 * len(late) < len(bad) < 0.45 * len(late)
    blamed = [run for run in bad if (run.steps[-1].name, run.error) == (story.CULPRIT, story.CAUSE)]
    assert len(blamed) > 0.9 * len(bad)


def test_an_idle_workflow_is_there_and_does_nothing():
    rests = replace(SCENARIOS["idle"], seconds=2 * HOUR)
    found = series(told("ia-modules", rests))
    runs = {
        labels: s
        for labels, s in found.items()
        if ("__name__", "pipeline_executions_total") in labels
    }

    # What is planned runs all the same.
    assert {run.trigger for run in told("ia-modules", rests).story.runs} == {"schedule"}
    assert len(runs) == 4


def test_the_series_of_a_pod_that_is_replaced_end():
    up = {
        labels: samples
        for labels, samples in series(told("workflow")).items()
        if ("__name__", "up") in labels
    }

    ends = [samples[-1][1] for samples in up.values()]
    assert ends == [None, None, 1, 1]


def test_a_unit_of_a_vocabulary_is_kept():
    page = Page(profiles.builtin("contd"), {})
    labels = ("orders", "load")

    page.take(telling.Happening(0, 0, "step.duration", labels, 0.4))

    own = (("step_name", "load"), ("workflow_name", "orders"))
    assert page.values["contd_step_duration_milliseconds_sum", own] == 400


@pytest.mark.parametrize(
    ("field", "numbers"),
    [
        ("*", range(60)),
        ("*/20", (0, 20, 40)),
        ("5", (5,)),
        ("10-12", (10, 11, 12)),
        ("1,3", (1, 3)),
    ],
)
def test_a_field_of_a_cron_expression_names_numbers(field, numbers):
    assert [number for number in range(60) if story._names(field, number)] == list(numbers)


@pytest.mark.parts
def test_prometheus_has_what_was_scraped_recorded_and_alerted(tmp_path):
    binary("replay")
    watched = told("workflow")
    slos = [{"name": "success", "objective": 99, "success": {}}]
    rules = history.groups(workflow("workflow", slos=slos), watched.profile, 30)

    history.write(tmp_path, [watched], rules, 30)

    with lone.served("global: {}\n", tmp_path, keeps="10y") as prometheus:

        def at_the_end(query):
            found = prometheus.ask("query", query=query, time=NOON - 30)["result"]
            return [float(one["value"][1]) for one in found]

        assert at_the_end('sum(up{namespace="shop",monitored_workflow="orders"})') == [2]
        (left,) = at_the_end("slo:error_budget_remaining:ratio")
        assert left < 0
        assert at_the_end('ALERTS{alertname="WorkflowHighErrorRate",alertstate="firing"}') == [1]
        assert at_the_end("workflow:monitoring:info") == [1]
