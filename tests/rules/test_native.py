"""Rules over native histograms: the numbers of the classic ones, any threshold, and no NaN where nothing runs."""

import math

import pytest
from test_rules import groups, run, sample, write

NAME = "workflow_run_duration_seconds"
OWNER = 'namespace="shop",monitored_workflow="orders"'
FAST = {"fast": {"objective": 95, "latency": {"threshold": "5s"}}}
ODD = {"odd": {"objective": 95, "latency": {"threshold": "3s"}}}
PAGE = "WorkflowErrorBudgetBurnFast"
# In each minute three runs of about a second and one of eight, in the bounds of a classic histogram.
CLASSIC = {
    f'{NAME}_bucket{{{OWNER},le="1"}}': "0+3x90",
    f'{NAME}_bucket{{{OWNER},le="5"}}': "0+3x90",
    f'{NAME}_bucket{{{OWNER},le="10"}}': "0+4x90",
    f'{NAME}_bucket{{{OWNER},le="+Inf"}}': "0+4x90",
    f"{NAME}_count{{{OWNER}}}": "0+4x90",
    f"{NAME}_sum{{{OWNER}}}": "0+11x90",
}


def custom(step, *, start=(0, 0, 0, 0), times=90):
    """A native histogram with the bounds 1, 5 and 10, growing by these counts a minute."""

    def one(counts, total):
        buckets = " ".join(map(str, counts))
        return f"{{{{schema:-53 sum:{total} count:{sum(counts)} custom_values:[1 5 10] buckets:[{buckets}]}}}}"

    def total(counts):
        return counts[0] * 1 + counts[1] * 3 + counts[2] * 8 + counts[3] * 20

    return f"{one(start, total(start))}+{one(step, total(step))}x{times}"


def exponential(counts, *, zero=0, times=90):
    """A native histogram of schema 0, whose buckets end at 1, 2, 4 and so on, growing by these counts a minute."""
    wide = f" z_bucket:{zero} z_bucket_w:0.001" if zero else ""
    buckets = f" buckets:[{' '.join(map(str, counts))}]" if counts else ""
    step = f"{{{{schema:0 sum:{sum(counts)} count:{sum(counts) + zero}{wide}{buckets}}}}}"
    empty = buckets and f" buckets:[{' '.join('0' for _ in counts)}]"
    return (
        f"{{{{schema:0 sum:0 count:0{' z_bucket_w:0.001' if zero else ''}{empty}}}}}+{step}x{times}"
    )


NATIVE = {f"{NAME}{{{OWNER}}}": custom((3, 0, 1, 0))}


def content(slos, native=True):
    return groups("workflow", slos=slos, scrape={"nativeHistograms": native})


def check(promtool, folder, made, *tests):
    """Run promtool over tests of these groups, each as (name, series, what to check)."""
    rules = write(folder / "rules.yaml", {"groups": made})
    file = {
        "rule_files": [rules],
        "evaluation_interval": "30s",
        "group_eval_order": [group["name"] for group in made],
        "tests": [
            {
                "name": name,
                "interval": "1m",
                "input_series": [{"series": s, "values": v} for s, v in given.items()],
                **checks,
            }
            for name, given, checks in tests
        ],
    }
    done = run(promtool, "test", "rules", write(folder / "test.yaml", file), cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def values(at, slo="", **expected):
    """What records must say, to nine digits; None is no series."""
    label = {"slo": slo} if slo else {}
    return [
        {
            "expr": f"round({record} * 1e9)",
            "eval_time": at,
            "exp_samples": [] if value is None else [sample("", round(value * 1e9), **label)],
        }
        for record, value in expected.items()
    ]


RECORDS = {
    "workflow:run_duration_seconds:p95_rate5m": 9,
    "workflow:run_duration_seconds:mean1h": 2.75,
}
RATIOS = {
    "slo:error:ratio_rate5m": 0.25,
    "slo:error:ratio_rate1h": 0.25,
    "slo:error:ratio_period": 0.25,
    "slo:error_budget_remaining:ratio": -4,
    # The burn rate over any of the windows: a fourth of all is five times what may be.
    "slo:error:ratio_rate1h / (1 - slo:objective:ratio)": 5,
}


@pytest.mark.parametrize(("native", "given"), [(False, CLASSIC), (True, NATIVE)])
def test_both_forms_give_the_same_numbers(promtool, tmp_path, native, given):
    checks = values("1h", **RECORDS) + values("1h", "fast", **RATIOS)

    check(
        promtool,
        tmp_path,
        content(FAST, native),
        ("numbers", given, {"promql_expr_test": checks}),
    )


def test_rules_of_one_form_do_not_read_the_other(promtool, tmp_path):
    nothing = dict.fromkeys(("slo:events_total:rate", "slo:error:ratio_rate5m"))

    check(
        promtool,
        tmp_path,
        content(FAST, native=True),
        ("classic only", CLASSIC, {"promql_expr_test": values("1h", "fast", **nothing)}),
        ("both", CLASSIC | NATIVE, {"promql_expr_test": values("1h", "fast", **RATIOS)}),
    )


def test_a_threshold_within_a_bucket_counts_the_share_of_it_that_is_beyond(promtool, tmp_path):
    # Ten runs a minute between two and four seconds; how they lie is taken to be even in the logarithm.
    given = {f"{NAME}{{{OWNER}}}": exponential((0, 0, 10))}
    beyond = 1 - math.log2(3 / 2)

    checks = values("1h", "odd", **{"slo:error:ratio_rate5m": beyond})

    check(promtool, tmp_path, content(ODD), ("share", given, {"promql_expr_test": checks}))


def test_runs_that_take_no_time_are_within_every_threshold(promtool, tmp_path):
    given = {f"{NAME}{{{OWNER}}}": exponential((), zero=4)}

    checks = values("1h", "odd", **{"slo:error:ratio_rate5m": 0, "slo:events_bad:rate": 0})

    check(promtool, tmp_path, content(ODD), ("none", given, {"promql_expr_test": checks}))


def test_a_quiet_time_spoils_no_longer_window(promtool, tmp_path):
    # Half an hour of runs, an hour of none, and runs again.
    runs = custom((3, 0, 1, 0), times=29)
    again = custom((3, 0, 1, 0), start=(90, 0, 30, 0), times=60)
    quiet = f"{runs} {idle_at((87, 0, 29, 0))}x59 {again}"
    during = {"slo:error:ratio_rate5m": None, "slo:events_bad:rate": 0}
    after = dict.fromkeys(
        ("slo:error:ratio_rate5m", "slo:error:ratio_rate6h", "slo:error:ratio_period"), 0.25
    )

    check(
        promtool,
        tmp_path,
        content(FAST),
        (
            "quiet",
            {f"{NAME}{{{OWNER}}}": quiet},
            {
                "promql_expr_test": values("1h10m", "fast", **during)
                + values("2h20m", "fast", **after)
            },
        ),
    )


def idle_at(counts):
    return custom((0, 0, 0, 0), start=counts, times=0).split("+")[0]


def page(at, *, fires, ratio="25%"):
    """Whether the page of the objective fires."""
    summary = "The error budget burns fast."
    description = (
        f"SLO fast of shop/orders (95 % over 30d): the share of bad events is {ratio}, which burns the error budget more"
        " than 14.4 times over 1h or 6 times over 6h as fast as it may."
    )
    labels = {"severity": "critical", "burn_tier": "page", "slo": "fast"}
    fired = {
        "exp_labels": labels | {"namespace": "shop", "monitored_workflow": "orders"},
        "exp_annotations": {"summary": summary, "description": description},
    }
    return {"eval_time": at, "alertname": PAGE, "exp_alerts": [fired] if fires else []}


SLOW, GOOD = (0, 0, 4, 0), (3, 1, 0, 0)


def test_the_page_of_a_latency_objective_does_what_it_is_for(promtool, tmp_path):
    series = f"{NAME}{{{OWNER}}}"
    recovered = f"{custom(SLOW, times=29)} {custom((400, 0, 0, 0), start=(0, 0, 120, 0), times=60)}"
    restarted = f"{custom(GOOD, start=(0, 0, 900, 0), times=20)} {custom(GOOD, times=60)}"

    def case(name, given, *checks):
        return name, given, {"alert_rule_test": list(checks)}

    check(
        promtool,
        tmp_path,
        content(FAST),
        case("fires", {series: custom(SLOW)}, page("30m", fires=True, ratio="100%")),
        case("stays silent", {series: custom(GOOD)}, page("30m", fires=False)),
        case(
            "resolves",
            {series: recovered},
            page("29m", fires=True, ratio="100%"),
            page("50m", fires=False),
        ),
        case("no data", {}, page("30m", fires=False)),
        case("idle", {series: f"{idle_at((9, 0, 9, 0))}x90"}, page("30m", fires=False)),
        case("counter reset", {series: restarted}, page("40m", fires=False)),
        case(
            "one slow run of a quiet workflow",
            {series: f"{idle_at((0, 0, 0, 0))}x15 {idle_at((0, 0, 1, 0))}x75"},
            page("30m", fires=False),
        ),
    )
