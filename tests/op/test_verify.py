"""Recorded answers of Prometheus' HTTP API, and what they say about a workflow."""

import json

import promql_parser
import pytest

from flowgauge_operator import verify
from flowgauge_operator.render import Rendered, SloView, shared
from flowgauge_operator.verify import Group, Observation, Owner

SHOP, OTHER = Owner("shop", "orders"), Owner("other", "orders")
POOL = "serviceMonitor/shop/flowgauge-shared/0"
INFO, ALERTS = "flowgauge/shop/orders/info", "flowgauge/shop/orders/alerts"

# POST /api/v1/query
TARGETS = json.loads("""
{"status":"success","data":{"resultType":"vector","result":[
 {"metric":{"monitored_workflow":"orders","namespace":"shop","up":"1"},"value":[1763736000.123,"2"]},
 {"metric":{"monitored_workflow":"orders","namespace":"shop","up":"0"},"value":[1763736000.123,"1"]},
 {"metric":{"monitored_workflow":"orders","namespace":"other","up":"1"},"value":[1763736000.123,"4"]}]}}
""")
FAMILIES = json.loads("""
{"status":"success","data":{"resultType":"vector","result":[
 {"metric":{"__name__":"workflow_runs_total","monitored_workflow":"orders","namespace":"shop"},"value":[1,"3"]},
 {"metric":{"__name__":"workflow_active_runs","monitored_workflow":"orders","namespace":"shop"},"value":[1,"1"]}]}}
""")
VALUES = json.loads("""
{"status":"success","data":{"resultType":"vector","result":[
 {"metric":{"__name__":"slo:error:ratio_period","monitored_workflow":"orders","namespace":"shop","slo":"success"},
  "value":[1763736000.123,"0.0025"]},
 {"metric":{"__name__":"slo:error_budget_remaining:ratio","monitored_workflow":"orders","namespace":"shop",
  "slo":"success"},"value":[1763736000.123,"0.5"]},
 {"metric":{"__name__":"slo:error:ratio_rate1h","monitored_workflow":"orders","namespace":"shop","slo":"success"},
  "value":[1763736000.123,"NaN"]}]}}
""")
FIRING = json.loads("""
{"status":"success","data":{"resultType":"vector","result":[
 {"metric":{"__name__":"ALERTS","alertname":"WorkflowErrorBudgetBurnFast","alertstate":"firing","burn_tier":"page",
  "monitored_workflow":"orders","namespace":"shop","severity":"critical","slo":"success"},"value":[1,"1"]},
 {"metric":{"__name__":"ALERTS","alertname":"WorkflowTargetsDown","alertstate":"firing",
  "monitored_workflow":"orders","namespace":"shop","severity":"warning"},"value":[1,"1"]}]}}
""")
# GET /api/v1/rules
RULES = json.loads("""
{"status":"success","data":{"groups":[
 {"name":"node.rules","file":"/etc/a.yaml","interval":30,"limit":0,"evaluationTime":0.001,
  "lastEvaluation":"2025-11-21T15:00:00Z","rules":[{"name":"x","query":"y","health":"ok","type":"recording"}]},
 {"name":"flowgauge/shop/orders/info","file":"/etc/b.yaml","interval":30,"limit":0,"evaluationTime":0.001,
  "lastEvaluation":"2025-11-21T15:00:00Z","rules":[
  {"name":"workflow:monitoring:info","query":"vector(1)","labels":{"monitored_workflow":"orders","namespace":"shop",
   "profile":"workflow","revision":"abc123"},"health":"ok","evaluationTime":0.0001,
   "lastEvaluation":"2025-11-21T15:00:00Z","type":"recording"}]},
 {"name":"flowgauge/shop/orders/alerts","file":"/etc/b.yaml","interval":30,"limit":0,"evaluationTime":0.001,
  "lastEvaluation":"2025-11-21T15:00:00Z","rules":[
  {"state":"inactive","name":"WorkflowTargetDown","query":"up == 0","duration":300,"keepFiringFor":0,
   "labels":{"severity":"critical"},"annotations":{},"alerts":[],"health":"ok","type":"alerting"},
  {"state":"inactive","name":"WorkflowSlowRuns","query":"z","duration":0,"keepFiringFor":0,"labels":{},
   "annotations":{},"alerts":[],"health":"err","lastError":"many-to-many matching not allowed","type":"alerting"}]}]}}
""")
# GET /api/v1/targets?state=active
DOWN = json.loads("""
{"status":"success","data":{"activeTargets":[
 {"discoveredLabels":{},"labels":{"instance":"10.0.0.1:9090","job":"orders-metrics","namespace":"shop",
  "monitored_workflow":"orders"},"scrapePool":"serviceMonitor/shop/flowgauge-shared/0",
  "scrapeUrl":"http://10.0.0.1:9090/metrics","lastError":"connection refused","health":"down"},
 {"discoveredLabels":{},"labels":{"instance":"10.0.0.2:9090","namespace":"shop","monitored_workflow":"orders"},
  "scrapePool":"p","scrapeUrl":"http://10.0.0.2:9090/metrics","lastError":"","health":"up"},
 {"discoveredLabels":{},"labels":{"instance":"10.0.0.3:9100","job":"node"},"scrapePool":"node",
  "scrapeUrl":"http://10.0.0.3:9100/metrics","lastError":"timeout","health":"down"}],"droppedTargets":[]}}
""")

PLANNED = {"workflow_active_runs", "workflow_runs_total", "workflow:schedule:known"}


def rendered(**more):
    content = {
        "children": (),
        "shares": (shared.MONITOR,),
        "revision": "abc123",
        "rule_groups": (INFO, ALERTS),
        "pool": POOL,
        "is_scraped": True,
        "required": ("workflow_active_runs", "workflow_runs_total"),
        "slos": (SloView("success", 99.5, "30d", "slo:error:ratio_rate1h"),),
    }
    return Rendered(**(content | more))


def seen(**more):
    content = {
        "targets": {SHOP: (2, 2)},
        "families": {SHOP: {"workflow_active_runs", "workflow_runs_total"}},
        "groups": {INFO: Group(1), ALERTS: Group(2)},
        "revisions": {SHOP: "abc123"},
        "pools": {POOL},
    }
    return Observation(**(content | more))


def read(reader, answer, key="result"):
    observation = Observation()
    reader(answer["data"][key], observation)
    return observation


def test_targets_are_counted_for_each_workflow():
    assert read(verify.read_targets, TARGETS).targets == {SHOP: (2, 3), OTHER: (4, 4)}


def test_families_are_those_with_series():
    found = read(verify.read_families, FAMILIES).families

    assert found == {SHOP: {"workflow_runs_total", "workflow_active_runs"}}


def test_values_are_read_for_each_objective():
    values = read(verify.read_values, VALUES).values[SHOP, "success"]

    assert values["slo:error:ratio_period"] == 0.0025
    assert values["slo:error_budget_remaining:ratio"] == 0.5
    assert str(values["slo:error:ratio_rate1h"]) == "nan"


def test_firing_alerts_keep_their_objective():
    assert read(verify.read_firing, FIRING).firing == {
        SHOP: [("WorkflowErrorBudgetBurnFast", "success"), ("WorkflowTargetsDown", "")]
    }


# GET /api/v1/status/runtimeinfo; `0s` and a size alone keep for ever, as far as time goes.
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15d", 15 * 86400),
        ("30d or 50GiB", 30 * 86400),
        ("1y", 365 * 86400),
        ("2w or 1TiB", 14 * 86400),
        ("1d12h", 129600),
        ("50GiB", None),
        ("0s", None),
        ("0s or 50GiB", None),
        ("", None),
        (None, None),
    ],
)
def test_how_long_data_is_kept_is_read_of_the_runtime_information(text, seconds):
    observation = Observation()

    verify.read_retention({} if text is None else {"storageRetention": text}, observation)

    assert observation.retention == seconds


WEEK = SloView("week", 99, "7d", "slo:error:ratio_rate1h")
QUARTER = SloView("quarter", 99, "90d", "slo:error:ratio_rate1h")


@pytest.mark.parametrize(
    ("retention", "slos", "reason"),
    [
        (None, (QUARTER,), "Loaded"),
        (90 * 86400, (QUARTER, WEEK), "Loaded"),
        (90 * 86400 - 1, (QUARTER, WEEK), "RetentionTooShort"),
        (7 * 86400, (WEEK,), "Loaded"),
        (1, (), "Loaded"),
    ],
)
def test_a_window_that_is_longer_than_the_memory_of_prometheus_is_a_remark(retention, slos, reason):
    verdict = verify.loaded(rendered(slos=slos), SHOP, seen(retention=retention))

    assert (verdict.state, verdict.reason) == (True, reason)


def test_the_remark_names_objectives_windows_retention_and_remedy():
    verdict = verify.loaded(rendered(slos=(WEEK, QUARTER)), SHOP, seen(retention=86400))

    assert verdict.message == (
        "Prometheus has the scrape job and the rules, but keeps data for 1d only, and these objectives look back further:"
        " week (7d), quarter (90d). Their budgets speak of the last 1d; set the retention of Prometheus to 90d or more, or"
        " shorten the window"
    )


def test_only_our_rule_groups_are_remembered():
    observation = read(verify.read_rules, RULES, "groups")

    assert observation.groups == {
        INFO: Group(1),
        ALERTS: Group(2, "WorkflowSlowRuns: many-to-many matching not allowed"),
    }
    assert observation.revisions == {SHOP: "abc123"}


def test_a_target_that_is_down_says_why():
    observation = read(verify.read_down, DOWN, "activeTargets")

    assert observation.down == {SHOP: "http://10.0.0.1:9090/metrics: connection refused"}


@pytest.mark.parametrize(
    "expected", [[], [rendered()], [rendered(), rendered(required=("a",), slos=())]]
)
def test_the_questions_are_promql_however_many_workflows_there_are(expected):
    asked = verify.questions(expected)

    for text in (asked.targets, asked.families, asked.values, asked.firing):
        assert promql_parser.parse(text)


def test_the_questions_are_these():
    asked = verify.questions(
        [rendered(), rendered(required=("contd_x_total",)), rendered(cronjob="nightly")]
    )

    assert asked.targets == (
        'count_values by (namespace, monitored_workflow) ("up", up{monitored_workflow!=""})'
    )
    assert asked.families == (
        "count by (namespace, monitored_workflow, __name__)"
        ' ({__name__=~"contd_x_total|workflow:schedule:known|workflow_active_runs|workflow_runs_total",monitored_workflow!=""})'
    )
    assert asked.values == (
        '{__name__=~"slo:error:ratio_period|slo:error:ratio_rate1h|slo:error_budget_remaining:ratio",'
        'monitored_workflow!=""}'
    )
    assert asked.firing == 'ALERTS{alertstate="firing",monitored_workflow!=""}'


@pytest.mark.parametrize(
    ("wanted", "observed", "state", "reason", "part"),
    [
        ({}, {}, True, "Loaded", "has the scrape job and the rules"),
        ({}, {"error": "refused"}, None, "PrometheusUnreachable", "refused"),
        ({}, {"groups": {INFO: Group(1)}}, False, "RulesNotLoaded", ALERTS),
        ({}, {"groups": {}, "revisions": {}}, False, "RulesNotLoaded", INFO),
        ({}, {"revisions": {SHOP: "old"}}, False, "RulesOutdated", "earlier revision"),
        ({}, {"revisions": {OTHER: "abc123"}}, False, "RulesOutdated", "earlier revision"),
        (
            {},
            {"groups": {INFO: Group(1), ALERTS: Group(2, "A: boom")}},
            False,
            "RuleFailing",
            "A: boom",
        ),
        ({}, {"pools": set(), "targets": {}}, False, "ScrapeJobNotLoaded", POOL),
        ({}, {"pools": set()}, True, "Loaded", ""),
        ({}, {"pools": None}, True, "Loaded", ""),
        ({}, {"pools": None, "targets": {}}, None, "ScrapeJobUnknown", POOL),
        ({"pool": None}, {"pools": set(), "targets": {}}, True, "Loaded", ""),
    ],
)
def test_loaded_means_these_rules_and_this_job(wanted, observed, state, reason, part):
    verdict = verify.loaded(rendered(**wanted), SHOP, seen(**observed))

    assert (verdict.state, verdict.reason) == (state, reason)
    assert part in verdict.message


@pytest.mark.parametrize(
    ("wanted", "observed", "state", "reason", "part"),
    [
        ({}, {}, True, "Measured", "2 of 2 targets answer"),
        ({}, {"error": "refused"}, None, "PrometheusUnreachable", "refused"),
        ({}, {"targets": {}}, False, "NoTargets", "does spec.selector match running pods?"),
        ({}, {"targets": {OTHER: (1, 1)}}, False, "NoTargets", ""),
        (
            {"is_intermittent": True},
            {"targets": {}},
            True,
            "Idle",
            "no pod of the workflow runs now",
        ),
        (
            {"is_intermittent": True, "is_annotated": True},
            {"targets": {}},
            True,
            "Idle",
            "no pod of the workflow that has the port which its annotations name runs now",
        ),
        (
            {"is_intermittent": True, "is_annotated": True},
            {"targets": {}, "unscraped": {SHOP: "orders-x"}},
            False,
            "NoTargets",
            "pod orders-x runs, and Prometheus has no target",
        ),
        (
            {},
            {"targets": {SHOP: (1, 3)}},
            False,
            "TargetsDown",
            "2 of 3 targets do not answer; see",
        ),
        (
            {},
            {"targets": {SHOP: (0, 1)}, "down": {SHOP: "u: refused"}},
            False,
            "TargetsDown",
            "u: refused",
        ),
        (
            {},
            {"families": {}},
            False,
            "MissingFamilies",
            "workflow_active_runs, workflow_runs_total",
        ),
        (
            {"native": True},
            {"families": {}},
            False,
            "MissingFamilies",
            "do the program and Prometheus use this profile and native histograms?",
        ),
        ({"is_scraped": False}, {"targets": {}}, True, "Measured", "0 of 0"),
        (
            {"cronjob": "nightly"},
            {},
            False,
            "ScheduleUnknown",
            "does not see the plan of the CronJob nightly; is it in this namespace",
        ),
        ({"cronjob": "nightly"}, {"families": {SHOP: PLANNED}}, True, "Measured", ""),
        (
            {"cronjob": "nightly"},
            {"families": {SHOP: PLANNED - {"workflow_runs_total"}}},
            False,
            "MissingFamilies",
            "no series of workflow_runs_total;",
        ),
        ({"is_scraped": False}, {"targets": {}, "families": {}}, False, "MissingFamilies", ""),
    ],
)
def test_healthy_means_targets_and_families(wanted, observed, state, reason, part):
    verdict = verify.healthy(rendered(**wanted), SHOP, seen(**observed))

    assert (verdict.state, verdict.reason) == (state, reason)
    assert part in verdict.message


def test_missing_families_are_those_without_series():
    observation = seen(families={SHOP: {"workflow_runs_total"}, OTHER: {"workflow_active_runs"}})

    assert verify.missing_families(rendered(), SHOP, observation) == ["workflow_active_runs"]
