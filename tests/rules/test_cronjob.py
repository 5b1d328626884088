"""Schedules of CronJobs on the real engine, as kube-state-metrics tells of them: a plan for each full hour.

Minutes count from the start of promtool's time, 1970. The workflow's own series are those of a job that pushes.
"""

from dataclasses import dataclass, field

import pytest
from test_rules import groups, only, run, series, write

from flowgauge import profiles

MISSED, OVERDUE, UNKNOWN = "ScheduleMissed", "RunOverdue", "ScheduleUnknown"
ALERTS = (MISSED, OVERDUE, UNKNOWN)
SCHEDULE = {"cronJob": "nightly", "deadline": "10m"}
FAMILIES = {
    "next": "kube_cronjob_next_schedule_time",
    "last": "kube_cronjob_status_last_schedule_time",
    "successful": "kube_cronjob_status_last_successful_time",
    "active": "kube_cronjob_status_active",
    "suspend": "kube_cronjob_spec_suspend",
}
EVERY_RUN = {
    "next": "3600x59 7200x59 10800x100",
    "last": "0x59 3600x59 7200x100",
    "successful": "0x61 3720x59 7320x100",
    "active": "0x59 1x1 0x57 1x1 0x100",
}
# In minute 60 nobody starts anything; somebody does in minute 80.
LATE = {
    "next": "3600x79 7200x200",
    "last": "0x79 3600x200",
    "successful": "0x81 4920x200",
    "active": "0x79 1x1 0x200",
}
# A Job that begins in time and ends in minute 90.
SLOW = {
    "next": "3600x59 7200x59",
    "last": "0x59 3600x59",
    "successful": "0x89 5400x29",
    "active": "0x59 1x29 0x29",
}


def kube(namespace="shop", **values):
    """Series of a CronJob; those of one that nobody suspends have a 0 for that."""
    values = {"suspend": "0x300", "active": "0x300"} | values
    where = f'{{namespace="{namespace}",cronjob="nightly",instance="a",job="kube-state-metrics"}}'
    return [{"series": FAMILIES[k] + where, "values": v} for k, v in values.items() if v]


def pushed(started="5x300", good="5x300", bad="0x300", last=""):
    """The workflow's own series, as a Pushgateway keeps them."""
    entries = [
        ("run.started", {}, started),
        ("run.finished", {"outcome": "good"}, good),
        ("run.finished", {"outcome": "bad"}, bad),
    ]
    return series("workflow", "shop", entries + ([("run.last_success", {}, last)] if last else []))


@dataclass
class Case:
    """Series, and which alerts fire in which minute."""

    given: list
    fires: dict
    spec: dict = field(default_factory=dict)


NOTHING = dict.fromkeys((50, 75, 100, 115, 135, 150), ())
CASES = {
    "every run": Case(kube(**EVERY_RUN), NOTHING),
    "nobody starts it": Case(
        kube(next="3600x300", last="0x300"), {65: (), 75: (MISSED,), 200: (MISSED,)}
    ),
    "it never ran before": Case(kube(next="3600x300"), {65: (), 75: (MISSED,)}),
    "it starts late": Case(kube(**LATE), {65: (), 75: (MISSED,), 90: (), 115: ()}),
    "it ends late": Case(kube(**SLOW), {65: (), 75: (OVERDUE,), 95: (), 115: ()}),
    "it fails": Case(
        kube(**SLOW | {"successful": "0x300", "active": "0x59 1x5 0x200"}),
        {65: (), 75: (OVERDUE,), 115: (OVERDUE,)},
    ),
    "it may not start beside the last one": Case(
        kube(next="3600x59 7200x300", last="0x59 3600x300", active="0x59 1x300"),
        {75: (OVERDUE,), 125: (OVERDUE,), 140: (MISSED,)},
    ),
    "somebody runs it by hand": Case(
        kube(next="3600x300", last="0x300", successful="0x89 5400x200"),
        {75: (MISSED,), 95: (), 140: ()},
    ),
    "suspended": Case(kube(suspend="1x300", last="0x300"), NOTHING),
    "suspended after it was missed": Case(
        kube(next="3600x79 _x200", suspend="0x79 1x200", last="0x300"),
        {75: (MISSED,), 85: (), 150: ()},
    ),
    # Past its startingDeadlineSeconds, Kubernetes starts nothing until the next plan, and next stays what it was.
    "resumed when it is too late to start": Case(
        kube(next="_x99 3600x300", suspend="1x99 0x300", last="0x300"), {90: (), 115: (), 150: ()}
    ),
    "suspended while it runs": Case(
        kube(**SLOW | {"suspend": "0x64 1x300", "next": "3600x59 7200x4 _x200"}),
        {75: (), 95: (), 115: ()},
    ),
    "recreated": Case(
        kube(
            next="3600x59 7200x29 _x2 7200x26 10800x200",
            last="0x59 3600x29 _x29 7200x200",
            successful="0x61 3720x27 _x31 7300x200",
        ),
        NOTHING,
    ),
    "recreated, and not started again": Case(
        kube(next="3600x59 7200x29 _x2 7200x200", last="0x59 3600x29 _x200", successful="3700x88"),
        {75: (), 115: (), 125: (), 140: (MISSED,)},
    ),
    "kube-state-metrics is away for a while": Case(
        kube(next="3600x49 _x29 3600x200", last="0x49 _x29 0x200", active="0x49 _x29 0x200")
        + kube(suspend="", active=""),
        {55: (), 65: (), 75: (UNKNOWN,), 90: (MISSED,)},
    ),
    "kube-state-metrics is away": Case([], {10: (), 20: (UNKNOWN,), 200: (UNKNOWN,)}),
    "its labels were not honored": Case(
        [
            {
                "series": 'kube_cronjob_next_schedule_time{namespace="monitoring",exported_namespace="shop",cronjob="nightly"}',
                "values": "3600x300",
            }
        ],
        {10: (), 20: (UNKNOWN,), 200: (UNKNOWN,)},
    ),
    "two of kube-state-metrics": Case(
        kube(next="3600x300", last="0x300")
        + [
            {**one, "series": one["series"].replace('"a"', '"b"')}
            for one in kube(next="3600x300", last="0x300")
        ],
        {65: (), 75: (MISSED,)},
    ),
    "another of its name": Case(
        kube(**EVERY_RUN) + kube("other", next="3600x300", last="0x300"), NOTHING
    ),
    "the workflow is suspended": Case(kube(next="3600x300"), NOTHING, {"suspend": True}),
    "pushed in time": Case(
        kube(**EVERY_RUN) + pushed("5x60 6x58 7x100", "5x60 6x58 7x100"), NOTHING
    ),
    "a Job that ends well and ran nothing": Case(
        kube(**EVERY_RUN | {"active": "0x300"}) + pushed(), {65: (), 75: (MISSED,)}
    ),
    "a Job that ends well although its run failed": Case(
        kube(**EVERY_RUN) + pushed("5x60 6x300", "5x300", "0x60 1x300"), {65: (), 75: (OVERDUE,)}
    ),
    "a run that failed in a Job too short to be seen": Case(
        kube(**EVERY_RUN | {"active": "0x300"}) + pushed("5x60 6x300", "5x300", "0x60 1x300"),
        {65: (), 75: (OVERDUE,)},
    ),
    "a run that is pushed late": Case(
        kube(**SLOW) + pushed("5x90 6x300", "5x90 6x300"), {65: (), 75: (OVERDUE,), 95: (), 115: ()}
    ),
    "counters that are pushed once by each run": Case(
        kube(**EVERY_RUN) + pushed("1x300", "1x300", last="0x61 3720x59 7320x100"), NOTHING
    ),
    "planned in a maintenance window, and caught up": Case(
        kube(**LATE),
        {75: (), 79: (), 95: (), 115: ()},
        {
            "maintenance": [
                {"name": "a", "start": "1970-01-01T00:55:00Z", "end": "1970-01-01T01:20:00Z"}
            ]
        },
    ),
    "planned in a maintenance window, and still owed": Case(
        kube(next="3600x300", last="0x300"),
        {75: (), 85: (), 95: (MISSED,)},
        {
            "maintenance": [
                {"name": "a", "start": "1970-01-01T00:55:00Z", "end": "1970-01-01T01:20:00Z"}
            ]
        },
    ),
    "begun in a maintenance window": Case(
        kube(**SLOW | {"successful": "0x300"}),
        {75: (), 85: (), 115: ()},
        {
            "maintenance": [
                {"name": "a", "start": "1970-01-01T00:55:00Z", "end": "1970-01-01T01:05:00Z"}
            ]
        },
    ),
}


def firing(minute, fires, prefix="Workflow"):
    """Exactly these of the three alerts fire, each once."""
    return [
        {
            "expr": f'count(ALERTS{{alertname="{prefix}{alert}",alertstate="firing"}})',
            "eval_time": f"{minute}m",
            "exp_samples": [{"labels": "{}", "value": 1}] if alert in fires else [],
        }
        for alert in ALERTS
    ]


def check(promtool, folder, content, *tests):
    rules = write(folder / "rules.yaml", {"groups": content})
    whole = {
        "rule_files": [rules],
        "evaluation_interval": "30s",
        "group_eval_order": [group["name"] for group in content],
        "tests": [*tests],
    }
    done = run(promtool, "test", "rules", write(folder / "test.yaml", whole), cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def of_schedules(profile, prefix="Workflow", **spec):
    """The groups, without what has nothing to do with schedules."""
    content = groups(profile, **{"schedule": SCHEDULE} | spec)
    wanted = {f"{prefix}{alert}" for alert in ALERTS}
    kept = [
        {**g, "rules": [r for r in g["rules"] if "record" in r or r["alert"] in wanted]}
        for g in content
    ]
    return [group for group in kept if group["rules"]]


@pytest.mark.parametrize("name", CASES)
def test_a_plan_of_a_cronjob(promtool, tmp_path, name):
    case = CASES[name]
    checks = [one for minute, fires in case.fires.items() for one in firing(minute, fires)]
    check(
        promtool,
        tmp_path,
        of_schedules("workflow", **case.spec),
        {"interval": "1m", "input_series": case.given, "promql_expr_test": checks},
    )


@pytest.mark.parametrize(("began", "fires"), [(3720, ()), (3480, (OVERDUE,))])
def test_what_was_planned_before_a_workflow_was_monitored_is_not_known(
    promtool, tmp_path, began, fires
):
    """The Job of one o'clock has not ended well: rules that were there at the time tell of it."""
    check(
        promtool,
        tmp_path,
        of_schedules("workflow"),
        {
            "interval": "1m",
            "start_timestamp": began,
            "input_series": kube(next="7200x60", last="3600x60"),
            "promql_expr_test": firing(10, ()) + firing(40, fires),
        },
    )


def test_by_cron_a_run_that_ended_well_has_begun_however_it_is_told(promtool, tmp_path):
    """As by counters that are pushed once by each run, and so never increase."""
    given = pushed("1x300", "1x300", last="0x61 3720x59 7320x300")
    silent = [one for minute in (50, 75, 115, 135) for one in firing(minute, ())]
    check(
        promtool,
        tmp_path,
        of_schedules("workflow", schedule={"cron": "0 * * * *", "deadline": "10m"}),
        {
            "interval": "1m",
            "input_series": given,
            "promql_expr_test": silent + firing(200, (MISSED,)),
        },
    )


@pytest.mark.parametrize(
    "schedule", [{"cron": "0 * * * *"}, {"cronJob": "nightly"}], ids=lambda given: next(iter(given))
)
@pytest.mark.parametrize(("suspend", "since"), [(True, 3000), (False, 0)])
def test_what_is_planned_while_a_workflow_is_suspended_does_not_count(
    promtool, tmp_path, schedule, suspend, since
):
    """Recordings go on, and what was due by then is forgiven when alerts come back."""
    paused = "workflow:schedule:paused_timestamp_seconds"
    labels = f'{paused}{{namespace="shop",monitored_workflow="orders"}}'
    samples = [{"labels": labels, "value": since}]
    check(
        promtool,
        tmp_path,
        of_schedules("workflow", schedule=schedule, suspend=suspend),
        {
            "interval": "1m",
            "input_series": kube(next="3600x300"),
            "promql_expr_test": [{"expr": paused, "eval_time": "50m", "exp_samples": samples}],
        },
    )


@pytest.mark.parametrize("profile", profiles.names())
def test_every_vocabulary_can_follow_a_cronjob(promtool, tmp_path, profile):
    """Also those that count neither starts nor ends: Kubernetes does."""
    prefix = "Workflow" if profile == "workflow" else ""
    given = {
        MISSED: (kube(next="3600x300", last="0x300"), 75),
        OVERDUE: (kube(**SLOW), 75),
        UNKNOWN: ([], 30),
    }
    tests = [
        {
            "interval": "1m",
            "input_series": entries,
            "promql_expr_test": firing(minute, (alert,), prefix) + firing(5, (), prefix),
        }
        for alert, (entries, minute) in given.items()
    ]
    check(promtool, tmp_path, of_schedules(profile, prefix), *tests)


@pytest.mark.parametrize(
    ("alert", "severity", "description", "given", "minute"),
    [
        (
            MISSED,
            "critical",
            "A run of shop/orders was planned for 1970-01-01 01:00:00 +0000 UTC; none has begun since, and its deadline is over.",
            kube(next="3600x300"),
            75,
        ),
        (
            OVERDUE,
            "warning",
            "The run of shop/orders that was planned for 1970-01-01 01:00:00 +0000 UTC has not ended well, and its deadline is over.",
            kube(**SLOW),
            75,
        ),
        (
            UNKNOWN,
            "warning",
            "Prometheus has no plan of the CronJob of shop/orders, so a run that does not begin would not be noticed.",
            [],
            30,
        ),
    ],
)
def test_an_alert_on_a_cronjob_says_what_it_saw(
    promtool, tmp_path, alert, severity, description, given, minute
):
    name = f"Workflow{alert}"
    content = only(name, groups("workflow", schedule=SCHEDULE))
    rule = next(r for g in content for r in g["rules"] if r.get("alert") == name)
    fired = {
        "exp_labels": {
            "severity": severity,
            "namespace": "shop",
            "monitored_workflow": "orders",
        },
        "exp_annotations": {
            "summary": rule["annotations"]["summary"],
            "description": description,
        },
    }
    checks = [{"eval_time": f"{minute}m", "alertname": name, "exp_alerts": [fired]}]
    info = next(g for g in groups("workflow", schedule=SCHEDULE) if g["name"].endswith("/info"))
    content = [info, *(g for g in content if g["name"] != info["name"])]
    check(
        promtool,
        tmp_path,
        content,
        {"interval": "1m", "input_series": given, "alert_rule_test": checks},
    )


def test_freshness_of_jobs_is_bad_from_the_age_after_the_last_good_one(promtool, tmp_path):
    slos = {"fresh": {"objective": 99, "freshness": {"maxAge": "2h"}}}
    content = groups("cronjob", schedule=SCHEDULE, slos=slos, scrape={"mode": "None"})

    def bad(at, value):
        labels = 'slo:events_bad:rate{namespace="shop",monitored_workflow="orders",slo="fresh"}'
        return {
            "expr": "slo:events_bad:rate",
            "eval_time": at,
            "exp_samples": [{"labels": labels, "value": value}],
        }

    once = kube(next="3600x500", last="0x500", successful="0x29 1800x500")
    resting = kube(next="_x99 18000x500", successful="1800x500", suspend="0x99 1x100 0x500")
    tests = [
        (once, [bad("10m", 0), bad("2h20m", 0), bad("2h40m", 1), bad("6h", 1)]),
        (resting, [bad("2h40m", 0), bad("3h30m", 0), bad("5h10m", 0), bad("5h30m", 1)]),
        ([], [bad("2h10m", 1)]),
    ]
    check(
        promtool,
        tmp_path,
        content,
        *(
            {"interval": "1m", "input_series": given, "promql_expr_test": checks}
            for given, checks in tests
        ),
    )
