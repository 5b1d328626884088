import promql_parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgauge import profiles
from flowgauge_operator import measure, promql
from flowgauge_operator.measure import MissingRoleError, Scope, Step, ThresholdError
from flowgauge_operator.promql import ExpressionError

# What the built-in vocabularies do not have: separate counters of outcomes, several families of one role, fixed
# matchers, two roles of one metric, summaries, large bucket bounds.
ODD = """
apiVersion: flowgauge.dev/v1alpha1
kind: WorkflowProfile
metadata: {name: odd}
spec:
  title: Odd
  description: A vocabulary that counts outcomes separately.
  extends: null
  families:
  - {name: jobs_ok_total, role: run.succeeded, type: counter, help: h, labels: {workflow: job_name}}
  - {name: jobs_bad_total, role: run.failed, type: counter, help: h, labels: {workflow: job_name}}
  - {name: task_ms, role: step.duration, type: summary, unit: milliseconds, help: h, labels: {step: task}}
  - {name: cpu_a_total, role: process.cpu, type: counter, help: h, where: {mode: user}}
  - {name: cpu_b_milliseconds_total, role: process.cpu, type: counter, unit: milliseconds, help: h, where: {mode: system}}
  - {name: backlog, role: queue.depth, type: gauge, help: h, labels: {queue: topic}, where: {tier: 'a"b'}}
  - {name: wait, role: queue.delay, type: histogram, unit: milliseconds, help: h, buckets: [30, 500, 1000000, 14400000]}
  - {name: steps_total, role: step.started, type: counter, help: h, labels: {step: task}, where: {state: begun}}
  - {name: steps_total, role: step.retried, type: counter, help: h, where: {state: again}}
  - {name: hold, role: lease.duration, type: histogram, help: h, buckets: [0.5, 30]}
"""
# A vocabulary with failures and durations: the failures alone must not pass for all runs.
FAILURES = """
apiVersion: flowgauge.dev/v1alpha1
kind: WorkflowProfile
metadata: {name: failures}
spec:
  title: Failures
  description: Failures and durations only.
  extends: null
  families:
  - {name: fails_total, role: run.failed, type: counter, help: h}
  - {name: store_fails_total, role: store.failed, type: counter, help: h}
  - {name: took_seconds, role: run.duration, type: histogram, help: h}
"""
PROFILES = {name: profiles.builtin(name) for name in profiles.names()} | {
    "odd": profiles.parse(ODD, source="odd.yaml"),
    "failures": profiles.parse(FAILURES, source="failures.yaml"),
}

EXPANSIONS = [
    (
        "workflow",
        "$rate(run.finished[5m])",
        'sum by (namespace, monitored_workflow) (rate(workflow_runs_total{namespace="shop",monitored_workflow="orders"}[5m]))',
    ),
    (
        "workflow",
        '$rate(run.finished{outcome="good"}[5m])',
        'sum by (namespace, monitored_workflow) (rate(workflow_runs_total{namespace="shop",monitored_workflow="orders",status="success"}[5m]))',
    ),
    (
        "workflow",
        '$rate(run.finished{outcome="bad"}[5m])',
        'sum by (namespace, monitored_workflow) (rate(workflow_runs_total{namespace="shop",monitored_workflow="orders",status!~"success|skipped"}[5m]))',
    ),
    (
        "workflow",
        '$rate(run.finished{outcome="counted"}[5m])',
        'sum by (namespace, monitored_workflow) (rate(workflow_runs_total{namespace="shop",monitored_workflow="orders",status!="skipped"}[5m]))',
    ),
    (
        "workflow",
        '$increase(step.finished{outcome="bad"}[10m], step)',
        'sum by (namespace, monitored_workflow, step) (increase(workflow_steps_total{namespace="shop",monitored_workflow="orders",status!~"success|skipped"}[10m]))',
    ),
    (
        "workflow",
        "$rate(run.finished[1h] offset 1d)",
        'sum by (namespace, monitored_workflow) (rate(workflow_runs_total{namespace="shop",monitored_workflow="orders"}[1h] offset 1d))',
    ),
    (
        "workflow",
        "$max(run.oldest_age)",
        'max by (namespace, monitored_workflow) (workflow_oldest_active_run_age_seconds{namespace="shop",monitored_workflow="orders"})',
    ),
    (
        "workflow",
        "$sum(queue.depth, queue)",
        'sum by (namespace, monitored_workflow, queue) (workflow_queue_depth{namespace="shop",monitored_workflow="orders"})',
    ),
    (
        "workflow",
        "$min(queue.oldest_age)",
        'min by (namespace, monitored_workflow) (workflow_queue_oldest_item_age_seconds{namespace="shop",monitored_workflow="orders"})',
    ),
    (
        "workflow",
        "$avg(run.active)",
        'avg by (namespace, monitored_workflow) (workflow_active_runs{namespace="shop",monitored_workflow="orders"})',
    ),
    (
        "workflow",
        "$count(target.up)",
        'count by (namespace, monitored_workflow) (up{namespace="shop",monitored_workflow="orders"})',
    ),
    (
        "workflow",
        "$absent(run.finished)",
        'absent(workflow_runs_total{namespace="shop",monitored_workflow="orders"})',
    ),
    (
        "workflow",
        "$absent(run.duration)",
        'absent(workflow_run_duration_seconds_count{namespace="shop",monitored_workflow="orders"})',
    ),
    (
        "workflow",
        "$latest(run.last_success[6h])",
        'max by (namespace, monitored_workflow) (max_over_time(workflow_last_success_timestamp_seconds{namespace="shop",monitored_workflow="orders"}[6h]))',
    ),
    (
        "workflow",
        "$quantile(0.95, run.duration[5m])",
        'histogram_quantile(0.95, sum by (le, namespace, monitored_workflow) (rate(workflow_run_duration_seconds_bucket{namespace="shop",monitored_workflow="orders"}[5m])))',
    ),
    (
        "workflow",
        "$quantile(0.5, step.duration[5m], step)",
        'histogram_quantile(0.5, sum by (le, namespace, monitored_workflow, step) (rate(workflow_step_duration_seconds_bucket{namespace="shop",monitored_workflow="orders"}[5m])))',
    ),
    (
        "workflow",
        "$mean(run.duration[5m])",
        '(sum by (namespace, monitored_workflow) (rate(workflow_run_duration_seconds_sum{namespace="shop",monitored_workflow="orders"}[5m])) / (sum by (namespace, monitored_workflow) (rate(workflow_run_duration_seconds_count{namespace="shop",monitored_workflow="orders"}[5m])) > 0))',
    ),
    (
        "workflow",
        "$buckets(run.duration[5m])",
        'sum by (le, namespace, monitored_workflow) (increase(workflow_run_duration_seconds_bucket{namespace="shop",monitored_workflow="orders"}[5m]))',
    ),
    (
        "workflow",
        "$within(run.duration[5m])",
        'sum by (namespace, monitored_workflow) (rate(workflow_run_duration_seconds_bucket{namespace="shop",monitored_workflow="orders",le=~"0\\\\.5"}[5m]))',
    ),
    (
        "workflow",
        "$recorded(workflow:runs:rate5m)",
        'workflow:runs:rate5m{namespace="shop",monitored_workflow="orders"}',
    ),
    ("workflow", "x{$owner}", 'x{namespace="shop",monitored_workflow="orders"}'),
    (
        "contd",
        '$rate(run.finished{outcome="bad"}[5m])',
        'sum by (namespace, monitored_workflow) (rate(contd_workflows_completed_total{namespace="shop",monitored_workflow="orders",status!~"completed|success"}[5m]))',
    ),
    (
        "contd",
        '$rate(run.finished{outcome="counted"}[5m])',
        'sum by (namespace, monitored_workflow) (rate(contd_workflows_completed_total{namespace="shop",monitored_workflow="orders"}[5m]))',
    ),
    (
        "contd",
        "$quantile(0.95, restore.duration[10m])",
        '(0.001 * histogram_quantile(0.95, sum by (le, namespace, monitored_workflow) (rate(contd_restore_duration_milliseconds_bucket{namespace="shop",monitored_workflow="orders"}[10m]))))',
    ),
    (
        "contd",
        "$mean(restore.duration[10m])",
        '(0.001 * (sum by (namespace, monitored_workflow) (rate(contd_restore_duration_milliseconds_sum{namespace="shop",monitored_workflow="orders"}[10m])) / (sum by (namespace, monitored_workflow) (rate(contd_restore_duration_milliseconds_count{namespace="shop",monitored_workflow="orders"}[10m])) > 0)))',
    ),
    (
        "contd",
        "$rate(restore.duration[10m])",
        'sum by (namespace, monitored_workflow) (rate(contd_restore_duration_milliseconds_count{namespace="shop",monitored_workflow="orders"}[10m]))',
    ),
    # A series that is new counts from zero; `unless` makes sure that none is counted twice.
    (
        "workflow",
        "$events(checksum.failed[15m])",
        'sum by (namespace, monitored_workflow) (((max_over_time(workflow_checksum_mismatches_total{namespace="shop",monitored_workflow="orders"}[15m]) unless last_over_time(workflow_checksum_mismatches_total{namespace="shop",monitored_workflow="orders"}[1h] offset 15m)) or increase(workflow_checksum_mismatches_total{namespace="shop",monitored_workflow="orders"}[15m])))',
    ),
    (
        "workflow",
        "$events(run.duration[2h])",
        'sum by (namespace, monitored_workflow) (((max_over_time(workflow_run_duration_seconds_count{namespace="shop",monitored_workflow="orders"}[2h]) unless last_over_time(workflow_run_duration_seconds_count{namespace="shop",monitored_workflow="orders"}[2h] offset 2h)) or increase(workflow_run_duration_seconds_count{namespace="shop",monitored_workflow="orders"}[2h])))',
    ),
    (
        "contd",
        "$min(run.success_ratio)",
        'min by (namespace, monitored_workflow) (contd_workflow_success_rate{namespace="shop",monitored_workflow="orders"})',
    ),
    (
        "contd",
        "$within(restore.duration[5m])",
        'sum by (namespace, monitored_workflow) (rate(contd_restore_duration_milliseconds_bucket{namespace="shop",monitored_workflow="orders",le=~"500|500\\\\.0"}[5m]))',
    ),
    (
        "tta-dev",
        '$rate(run.finished{outcome="bad"}[5m], kind)',
        'sum by (namespace, monitored_workflow, primitive_type) (rate(primitive_requests_total{namespace="shop",monitored_workflow="orders",status!="success"}[5m]))',
    ),
    (
        "tta-dev",
        "$rate(cost.saved[5m])",
        'sum by (namespace, monitored_workflow) (rate(primitive_cost_savings{namespace="shop",monitored_workflow="orders"}[5m]))',
    ),
    (
        "tta-dev",
        "$quantile(0.99, run.duration[5m], workflow)",
        'histogram_quantile(0.99, sum by (le, namespace, monitored_workflow, primitive_name) (rate(primitive_duration_seconds_bucket{namespace="shop",monitored_workflow="orders"}[5m])))',
    ),
    # One metric, two roles: each reads only what carries the label that it alone has.
    (
        "orchestrix",
        "$rate(handler.failed[5m], error)",
        'sum by (namespace, monitored_workflow, type) (rate(orchestrix_errors_total{namespace="shop",monitored_workflow="orders",handler!=""}[5m]))',
    ),
    (
        "orchestrix",
        "$rate(store.failed[5m], aggregate)",
        'sum by (namespace, monitored_workflow, aggregate) (rate(orchestrix_errors_total{namespace="shop",monitored_workflow="orders",aggregate!=""}[5m]))',
    ),
    (
        "orchestrix",
        "$absent(message.rate)",
        'absent(orchestrix_messages_per_second{namespace="shop",monitored_workflow="orders"})',
    ),
    # A role of failures alone stands in for the bad ones.
    (
        "failures",
        '$rate(store.finished{outcome="bad"}[5m])',
        'sum by (namespace, monitored_workflow) (rate(store_fails_total{namespace="shop",monitored_workflow="orders"}[5m]))',
    ),
    # Fixed matchers tell two parts apart already; labels that only one has are not asked for then.
    (
        "odd",
        "$rate(step.started[5m])",
        'sum by (namespace, monitored_workflow) (rate(steps_total{namespace="shop",monitored_workflow="orders",state="begun"}[5m]))',
    ),
    (
        "odd",
        "$rate(run.finished[5m])",
        'sum by (namespace, monitored_workflow) (label_replace(rate(jobs_ok_total{namespace="shop",monitored_workflow="orders"}[5m]), "flowgauge_source", "0", "", "") or label_replace(rate(jobs_bad_total{namespace="shop",monitored_workflow="orders"}[5m]), "flowgauge_source", "1", "", ""))',
    ),
    (
        "odd",
        '$rate(run.finished{outcome="bad"}[5m])',
        'sum by (namespace, monitored_workflow) (rate(jobs_bad_total{namespace="shop",monitored_workflow="orders"}[5m]))',
    ),
    (
        "odd",
        '$rate(run.finished{outcome="good"}[5m])',
        'sum by (namespace, monitored_workflow) (rate(jobs_ok_total{namespace="shop",monitored_workflow="orders"}[5m]))',
    ),
    (
        "odd",
        '$rate(run.finished{outcome="counted"}[5m])',
        'sum by (namespace, monitored_workflow) (label_replace(rate(jobs_ok_total{namespace="shop",monitored_workflow="orders"}[5m]), "flowgauge_source", "0", "", "") or label_replace(rate(jobs_bad_total{namespace="shop",monitored_workflow="orders"}[5m]), "flowgauge_source", "1", "", ""))',
    ),
    (
        "odd",
        "$rate(process.cpu[5m])",
        'sum by (namespace, monitored_workflow) (label_replace(rate(cpu_a_total{namespace="shop",monitored_workflow="orders",mode="user"}[5m]), "flowgauge_source", "0", "", "") or label_replace((0.001 * rate(cpu_b_milliseconds_total{namespace="shop",monitored_workflow="orders",mode="system"}[5m])), "flowgauge_source", "1", "", ""))',
    ),
    (
        "odd",
        "$max(queue.depth, queue)",
        'max by (namespace, monitored_workflow, topic) (backlog{namespace="shop",monitored_workflow="orders",tier="a\\"b"})',
    ),
    (
        "odd",
        "$quantile(0.9, step.duration[5m], step)",
        '(0.001 * max by (namespace, monitored_workflow, task) (task_ms{namespace="shop",monitored_workflow="orders",quantile="0.9"}))',
    ),
    (
        "odd",
        "$mean(step.duration[5m])",
        '(0.001 * (sum by (namespace, monitored_workflow) (rate(task_ms_sum{namespace="shop",monitored_workflow="orders"}[5m])) / (sum by (namespace, monitored_workflow) (rate(task_ms_count{namespace="shop",monitored_workflow="orders"}[5m])) > 0)))',
    ),
    (
        "odd",
        "$rate(step.finished[5m])",
        'sum by (namespace, monitored_workflow) (rate(task_ms_count{namespace="shop",monitored_workflow="orders"}[5m]))',
    ),
    (
        "failures",
        '$rate(run.finished{outcome="counted"}[5m])',
        'sum by (namespace, monitored_workflow) (rate(took_seconds_count{namespace="shop",monitored_workflow="orders"}[5m]))',
    ),
    (
        "failures",
        '$rate(run.finished{outcome="bad"}[5m])',
        'sum by (namespace, monitored_workflow) (rate(fails_total{namespace="shop",monitored_workflow="orders"}[5m]))',
    ),
]


def scope(profile="workflow", **more):
    return Scope(PROFILES[profile], "shop", "orders", **more)


STEP = Step(every=30, delay=30, reach=1800, single=True, window=300)
X = 'workflow_step_retries_total{namespace="shop",monitored_workflow="orders"}'


def test_a_rate_over_a_step_is_what_the_counter_gained_in_it():
    assert measure.expand("$rate(step.retried[$window])", scope(step=STEP)) == (
        "sum by (namespace, monitored_workflow) ("
        f"(((last_over_time({X}[30s] offset 30s) - (last_over_time({X}[30m] offset 1m)"
        f" or last_over_time({X}[30s] offset 30s))) >= 0)"
        f" or last_over_time({X}[30s] offset 30s)) / 30)"
    )


def test_between_two_scrapes_of_a_step_a_counter_may_grow_before_it_falls():
    step = Step(every=30, delay=15, reach=900, single=False, window=300)

    assert measure.expand("$rate(step.retried[$window])", scope(step=step)) == (
        "sum by (namespace, monitored_workflow) ("
        f"(((last_over_time({X}[30s] offset 15s) - (last_over_time({X}[15m] offset 45s)"
        f" or min_over_time({X}[30s] offset 15s))) >= 0)"
        f" or (last_over_time({X}[30s] offset 15s)"
        f" + ((max_over_time({X}[30s] offset 15s) - last_over_time({X}[15m] offset 45s)) >= 0))"
        f" or last_over_time({X}[30s] offset 15s)) / 30)"
    )


@pytest.mark.parametrize(
    "text", ["$within(run.duration[$window])", '$rate(run.finished{outcome="bad"}[$window])']
)
def test_what_objectives_read_of_counters_is_counted_in_steps(text):
    expr = measure.expand(text, scope(step=STEP, threshold=5))

    assert "rate(" not in expr
    assert "[30m] offset 1m" in expr
    promql.check(expr, "shop")


def test_other_windows_stay_rates_beside_a_step():
    assert "rate(" in measure.expand("$rate(step.retried[5m])", scope(step=STEP))
    assert measure.expand("rate(x[$window])", scope(step=STEP)) == "rate(x[5m])"


def test_a_step_has_no_other_time():
    with pytest.raises(ExpressionError, match=r"a rate over \$window takes no offset; remove it"):
        measure.expand("$rate(step.retried[$window] offset 1d)", scope(step=STEP))


@pytest.mark.parametrize(("profile", "text", "expected"), EXPANSIONS)
def test_a_macro_becomes_exactly_this_promql(profile, text, expected):
    assert measure.expand(text, scope(profile, threshold=0.5)) == expected


@pytest.mark.parametrize(("profile", "text", "expected"), EXPANSIONS)
def test_what_a_macro_becomes_is_valid_and_bound_to_the_namespace(profile, text, expected):
    promql.check(expected, "shop")


def test_every_macro_is_in_the_table():
    used = {match[1] for _, text, _ in EXPANSIONS for match in measure._MACRO.finditer(text)}

    assert used == {*measure._MACROS, "recorded"}


@pytest.mark.parametrize(
    ("shortest", "window", "expected"),
    [
        (60, "5m", "5m"),
        (60, "30s", "1m"),
        (300, "5m", "5m"),
        (1200, "5m", "20m"),
        (90, "1m", "1m30s"),
        (0.5, "5m", "5m"),
    ],
)
def test_a_window_is_widened_to_the_shortest_that_holds_a_rate(shortest, window, expected):
    text = measure.expand(f"$rate(run.finished[{window}])", scope(shortest=shortest))

    assert text.endswith(f"[{expected}]))")


def test_a_window_that_grafana_fills_in_is_left_alone():
    text = measure.expand("$rate(run.finished[$__rate_interval])", scope(shortest=1200))

    assert "[$__rate_interval]" in text


@pytest.mark.parametrize(
    ("profile", "role", "threshold", "le"),
    [
        ("odd", "lease.duration", 30, r"30|30\.0"),
        ("odd", "lease.duration", 0.5, r"0\.5"),
        ("odd", "queue.delay", 0.03, r"30|30\.0"),
        ("odd", "queue.delay", 0.5, r"500|500\.0"),
        ("odd", "queue.delay", 1000, r"1000000|1000000\.0|1e\+06"),
        ("odd", "queue.delay", 14400, r"14400000|14400000\.0|1.44e\+07".replace("1.44", r"1\.44")),
        ("workflow", "run.duration", 14400, r"14400|14400\.0"),
    ],
)
def test_a_bucket_bound_is_found_in_every_spelling(profile, role, threshold, le):
    text = measure.expand(f"$within({role}[5m])", scope(profile, threshold=threshold))

    matchers = next(iter(promql.selectors(text))).matchers.matchers
    assert [(m.op, m.value) for m in matchers if m.name == "le"] == [(promql_parser.MatchOp.Re, le)]


@pytest.mark.parametrize(
    ("profile", "role", "threshold", "rounding", "message"),
    [
        (
            "workflow",
            "run.duration",
            7,
            "None",
            (
                "7s is no bucket bound of workflow_run_duration_seconds; the nearest are 5s below and 10s above."
                " Set latency.threshold to 5s or 10s, or latency.rounding to Down (5s) or Up (10s)"
            ),
        ),
        # In the unit of the user, whatever the metric counts in.
        (
            "contd",
            "restore.duration",
            0.3,
            "None",
            (
                "300ms is no bucket bound of contd_restore_duration_milliseconds; the nearest are 250ms below and 500ms"
                " above. Set latency.threshold to 250ms or 500ms, or latency.rounding to Down (250ms) or Up (500ms)"
            ),
        ),
        (
            "odd",
            "lease.duration",
            0.4,
            "Down",
            (
                "400ms is no bucket bound of hold; the nearest is 500ms above."
                " Set latency.threshold to 500ms, or latency.rounding to Up (500ms)"
            ),
        ),
        (
            "odd",
            "lease.duration",
            60,
            "Up",
            (
                "1m is no bucket bound of hold; the nearest is 30s below."
                " Set latency.threshold to 30s, or latency.rounding to Down (30s)"
            ),
        ),
        (
            "failures",
            "run.duration",
            1,
            "Up",
            "the profile lists no buckets of took_seconds, so no run can be counted against a threshold",
        ),
    ],
)
def test_a_threshold_that_is_no_bucket_names_the_nearest_and_the_remedies(
    profile, role, threshold, rounding, message
):
    with pytest.raises(ThresholdError) as caught:
        measure.expand(
            f"$within({role}[5m])", scope(profile, threshold=threshold, rounding=rounding)
        )

    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("profile", "role", "threshold", "rounding", "le"),
    [
        ("workflow", "run.duration", 7, "Down", r"5|5\.0"),
        ("workflow", "run.duration", 7, "Up", r"10|10\.0"),
        ("workflow", "run.duration", 5, "Down", r"5|5\.0"),
        ("workflow", "run.duration", 5, "Up", r"5|5\.0"),
        ("contd", "restore.duration", 0.3, "Down", r"250|250\.0"),
        ("contd", "restore.duration", 0.3, "Up", r"500|500\.0"),
    ],
)
def test_a_threshold_is_rounded_to_the_bound_of_that_side(profile, role, threshold, rounding, le):
    chosen = scope(profile, threshold=threshold, rounding=rounding)

    text = measure.expand(f"$within({role}[5m])", chosen)

    matchers = next(iter(promql.selectors(text))).matchers.matchers
    assert [m.value for m in matchers if m.name == "le"] == [le]


OWNER = 'namespace="shop",monitored_workflow="orders"'
NATIVE = [
    (
        "workflow",
        "$rate(run.duration[5m])",
        f"sum by (namespace, monitored_workflow) (histogram_count(rate(workflow_run_duration_seconds{{{OWNER}}}[5m])))",
    ),
    (
        "workflow",
        "$increase(run.duration[5m] offset 1d, workflow)",
        f"sum by (namespace, monitored_workflow, workflow) (histogram_count(increase(workflow_run_duration_seconds{{{OWNER}}}[5m] offset 1d)))",
    ),
    (
        "workflow",
        "$quantile(0.95, step.duration[5m], step)",
        f"histogram_quantile(0.95, sum by (namespace, monitored_workflow, step) (rate(workflow_step_duration_seconds{{{OWNER}}}[5m])))",
    ),
    (
        "workflow",
        "$buckets(run.duration[5m])",
        f"sum by (namespace, monitored_workflow) (increase(workflow_run_duration_seconds{{{OWNER}}}[5m]))",
    ),
    (
        "contd",
        "$mean(restore.duration[5m])",
        f"(0.001 * (histogram_sum(sum by (namespace, monitored_workflow) (rate(contd_restore_duration_milliseconds{{{OWNER}}}[5m]))) / (histogram_count(sum by (namespace, monitored_workflow) (rate(contd_restore_duration_milliseconds{{{OWNER}}}[5m]))) > 0)))",
    ),
    (
        "contd",
        "$within(restore.duration[5m])",
        f"((histogram_count(sum by (namespace, monitored_workflow) (rate(contd_restore_duration_milliseconds{{{OWNER}}}[5m]))) * histogram_fraction(-Inf, 333, sum by (namespace, monitored_workflow) (rate(contd_restore_duration_milliseconds{{{OWNER}}}[5m])))) >= 0)",
    ),
    (
        "workflow",
        "$absent(run.duration)",
        f"absent(workflow_run_duration_seconds{{{OWNER}}})",
    ),
    (
        "workflow",
        "$count(run.duration)",
        f"count by (namespace, monitored_workflow) (workflow_run_duration_seconds{{{OWNER}}})",
    ),
    # A summary is none, and a counter neither.
    (
        "odd",
        "$rate(step.duration[5m])",
        f"sum by (namespace, monitored_workflow) (rate(task_ms_count{{{OWNER}}}[5m]))",
    ),
    (
        "odd",
        "$mean(step.duration[5m])",
        f"(0.001 * (sum by (namespace, monitored_workflow) (rate(task_ms_sum{{{OWNER}}}[5m])) / (sum by (namespace, monitored_workflow) (rate(task_ms_count{{{OWNER}}}[5m])) > 0)))",
    ),
]


@pytest.mark.parametrize(("profile", "text", "expected"), NATIVE)
def test_a_macro_over_native_histograms_becomes_exactly_this_promql(profile, text, expected):
    made = measure.expand(text, scope(profile, threshold=0.333, native=True))

    assert made == expected
    promql.check(made, "shop")


@pytest.mark.parametrize("threshold", [0.0001, 7, 123456])
def test_native_histograms_take_any_threshold(threshold):
    text = measure.expand("$within(run.duration[5m])", scope(threshold=threshold, native=True))

    assert f"histogram_fraction(-Inf, {threshold}, " in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$rat(run.finished[5m])", "$rat is no macro"),
        ("$rate()", "'' is not of the form role"),
        ("$rate(run.finished[5m]", "a parenthesis is not closed in"),
        ("$rate(run.ended[5m])", "'run.ended' is no role"),
        ("$rate(run.finished)", "$rate needs a window, as in run.finished[5m]"),
        ("$increase(run.finished)", "$increase needs a window"),
        ("$latest(run.last_success)", "$latest needs a window"),
        ("$max(run.duration)", "$max makes no sense of run.duration, which is a histogram"),
        ("$sum(run.finished)", "$sum makes no sense of run.finished, which is a counter"),
        ("$rate(queue.depth[5m])", "which is a gauge; use $max, $min or $sum"),
        ("$latest(run.finished[5m])", "which is a counter; use $rate or $increase"),
        ("$quantile(0.9, run.duration)", "$quantile needs a window"),
        ("$buckets(run.duration)", "$buckets needs a window"),
        ("$mean(run.duration)", "$mean needs a window"),
        ("$within(run.duration)", "$within needs a window"),
        ("$max(queue.depth[5m])", "$max takes no window; remove [5m]"),
        ("$absent(run.finished[5m])", "$absent takes no window"),
        ("$within(run.duration[5m])", "$within is for latency SLOs"),
        ("$quantile(0.9, run.finished[5m])", "run.finished is no histogram"),
        ("$rate(run.finished[5 m])", "'5 m' is no duration"),
        ("$events(run.finished)", "$events needs a window"),
        ("$events(run.finished[5m] offset 1d)", "$events takes no offset; use $increase"),
        ("$rate(run.finished[5m], stage)", "'stage' is no semantic label"),
        ('$rate(run.finished{status="x"}[5m])', "are no matchers over semantic labels"),
        ("$rate(run.finished{outcome='x'}[5m])", "are no matchers over semantic labels"),
        ('$rate(run.finished{outcome="\\q"}[5m])', "is no string"),
        ('$rate(run.finished{outcome!="good"}[5m])', "a class of outcomes takes ="),
        ('$rate(run.finished{outcome=~"bad"}[5m])', "a class of outcomes takes ="),
    ],
)
def test_a_wrong_macro_is_refused_with_what_is_wrong(text, message):
    with pytest.raises(ExpressionError) as caught:
        measure.expand(text, scope())

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("profile", "text"),
    [
        ("contd", "$max(queue.depth)"),
        ("orchestrix", "$rate(run.finished[5m])"),
        ("orchestrix", '$rate(store.finished{outcome="good"}[5m])'),
        ("failures", "$rate(store.finished[5m])"),
        ("failures", '$rate(store.finished{outcome="counted"}[5m])'),
        ("tta-dev", "$rate(step.finished[5m])"),
        ("odd", "$buckets(step.duration[5m])"),
        ("odd", '$rate(run.finished{outcome="failed"}[5m])'),
        ("failures", '$rate(run.finished{outcome="good"}[5m])'),
        ("workflow", '$rate(run.finished{error="x"}[5m])'),
    ],
)
def test_what_a_profile_does_not_have_is_a_missing_role(profile, text):
    with pytest.raises(MissingRoleError):
        measure.expand(text, scope(profile))


# Prometheus refuses carriage returns and the like in a string literal only unescaped; surrogates are no text.
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(deadline=None)  # a busy machine is no failure
@given(VALUES)
def test_a_value_stays_one_matcher_whatever_it_holds(value):
    text = f"$rate(run.failed{{error={promql.quote(value)}}}[5m], error) > 0"

    selectors = list(promql.selectors(measure.expand(text, scope())))

    assert [[(m.name, m.value) for m in s.matchers.matchers] for s in selectors] == [
        [("namespace", "shop"), ("monitored_workflow", "orders"), ("type", value)]
    ]


@pytest.mark.parametrize(
    "value",
    [
        'x"}[5m])) or (vector(1)) or sum(rate(y{a="',
        "ends with a backslash\\",
        "two  spaces, a comma",
        "line\nbreak\ttab",
        "{[()]}",
        "# no comment",
        "$rate(run.finished[5m])",
        "\u202e\u200b",
    ],
)
def test_a_value_made_to_break_out_stays_a_value(value):
    text = measure.expand(f"$rate(run.failed{{error={promql.quote(value)}}}[5m], error)", scope())

    selectors = list(promql.selectors(text))

    assert len(selectors) == 1
    assert selectors[0].matchers.matchers[2].value == value


def test_a_comment_ends_with_its_line():
    text = measure.expand('a{x="#1"} # the "limit\n  > 5', scope())

    assert text == 'a{x="#1"} > 5'


@pytest.mark.parametrize("quoted", ['"a  b"', "'a  \"b'", "`a  \\ b`"])
def test_space_within_quotes_is_kept(quoted):
    assert measure.expand(f"a{{x={quoted}}}  >  5", scope()) == f"a{{x={quoted}}} > 5"


def test_values_fill_their_places_and_no_longer_names():
    text = measure.expand(
        "a[$window] > $threshold or b > $thresholds",
        scope().with_values(window="5m", threshold="1"),
    )

    assert text == "a[5m] > 1 or b > $thresholds"


def test_a_legend_speaks_of_the_vocabularys_own_labels():
    query = "$rate(step.failed[5m], step, error)"

    assert measure.legend("{{step}} {{error}} {{le}}", query, scope()) == "{{step}} {{type}} {{le}}"
    assert (
        measure.legend("{{workflow}}", "$min(slo.compliance)", scope("tta-dev"))
        == "{{primitive_name}}"
    )


def test_the_families_that_a_text_reads_are_told_once():
    text = "$quantile(0.9, run.duration[5m]) > $rate(run.finished[5m]) + $rate(run.finished[1h]) + $recorded(a)"

    found = measure.families(text, scope())

    assert [f.name for f in found] == ["workflow_run_duration_seconds", "workflow_runs_total"]
