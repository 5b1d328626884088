"""Maintenance windows on the real engine: nothing alerts, nothing is spent, and afterwards everything is as before."""

import pytest
from test_rules import groups, run, series, write

RUNS = [
    ("run.finished", {"outcome": "good"}, "0+6x600"),
    ("run.finished", {"outcome": "bad"}, "0+4x600"),
]
OWNER = {"namespace": "shop", "monitored_workflow": "orders"}
HOURLY = {"name": "backup", "cron": "0 * * * *", "duration": "20m"}
ONCE = {"name": "move", "start": "1970-01-01T02:00:00Z", "end": "1970-01-01T03:00:00Z"}
EXTRA = {"name": "Own", "expr": "vector(1)", "summary": "Own.", "severity": "info"}


def check(promtool, tmp_path, content, *tests):
    rules = write(tmp_path / "rules.yaml", {"groups": content})
    order = [group["name"] for group in content]
    whole = {
        "rule_files": [rules],
        "evaluation_interval": "30s",
        "group_eval_order": order,
        "tests": [*tests],
    }
    done = run(promtool, "test", "rules", write(tmp_path / "test.yaml", whole), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def firing(*moments):
    """Whether each of two alerts fires, as the expression of a test."""
    return [
        {
            "expr": f'count(ALERTS{{alertname="{name}",alertstate="firing"}})',
            "eval_time": at,
            "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
        }
        for at, fires in moments
        for name in ("WorkflowHighErrorRate", "Own", "WorkflowErrorBudgetBurnFast")
    ]


@pytest.mark.parametrize(
    ("windows", "moments"),
    [
        ([HOURLY], [("50m", True), ("61m", False), ("79m", False), ("90m", True), ("130m", False)]),
        ([ONCE], [("61m", True), ("119m", True), ("121m", False), ("179m", False), ("195m", True)]),
        (
            [HOURLY, ONCE],
            [("50m", True), ("70m", False), ("100m", True), ("150m", False), ("215m", True)],
        ),
        ([], [("50m", True), ("70m", True), ("150m", True)]),
    ],
)
def test_nothing_alerts_while_a_window_is_open(promtool, tmp_path, windows, moments):
    slos = {"success": {"objective": 99, "success": {}}}
    content = groups("workflow", slos=slos, maintenance=windows, alerts={"extra": [EXTRA]})

    check(
        promtool,
        tmp_path,
        content,
        {
            "interval": "1m",
            "input_series": series("workflow", "shop", RUNS),
            "promql_expr_test": firing(*moments),
        },
    )


def test_what_happens_in_a_window_spends_no_budget(promtool, tmp_path):
    """Only the window has failures: before and after it, every run is good."""
    slos = {
        "success": {"objective": 99, "success": {}},
        "calm": {"objective": 99, "gauge": {"role": "queue.depth", "max": 10}},
    }
    given = [
        ("run.finished", {"outcome": "good"}, "0+10x300"),
        ("run.finished", {"outcome": "bad"}, "0x122 1+10x54 541x124"),
        ("queue.depth", {"queue": "in"}, "0x122 99x54 0x124"),
    ]

    def spent(windows):
        ratio = "slo:error:ratio_period"
        return {
            "interval": "1m",
            "input_series": series("workflow", "shop", given),
            "promql_expr_test": [
                {
                    "expr": f'{ratio}{{slo="{slo}"}} > bool 0.01',
                    "eval_time": "290m",
                    "exp_samples": [
                        {
                            "labels": f'{{namespace="shop",monitored_workflow="orders",slo="{slo}"}}',
                            "value": value,
                        }
                    ],
                }
                for slo, value in zip(("success", "calm"), windows, strict=True)
            ],
        }

    check(promtool, tmp_path, groups("workflow", slos=slos, maintenance=[ONCE]), spent((0, 0)))
    check(promtool, tmp_path, groups("workflow", slos=slos), spent((1, 1)))


def test_a_run_that_was_planned_within_a_window_is_not_missed(promtool, tmp_path):
    def missed(**spec):
        content = groups("workflow", schedule={"cron": "30 2 * * *", "deadline": "10m"}, **spec)
        return [
            group
            | {
                "rules": [
                    rule
                    for rule in group["rules"]
                    if "record" in rule or rule["alert"] == "WorkflowScheduleMissed"
                ]
            }
            for group in content
        ]

    def test(value):
        return {
            "interval": "1m",
            "promql_expr_test": [
                {
                    "expr": 'count(ALERTS{alertname="WorkflowScheduleMissed"})',
                    "eval_time": "200m",
                    "exp_samples": [{"labels": "{}", "value": 1}] * value,
                }
            ],
        }

    check(promtool, tmp_path, missed(maintenance=[ONCE]), test(0))
    check(promtool, tmp_path, missed(), test(1))
