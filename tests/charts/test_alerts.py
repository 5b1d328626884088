"""Every alert on the operator: it fires where it is meant to, and is silent beside that; promtool decides."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml
from chartcases import CHART, FORCED

from rig import chart
from rig.pytest_plugin import binary

pytestmark = pytest.mark.parts

OWN = {"job": "flowgauge", "namespace": "ops"}
POD = {**OWN, "instance": "10.0.0.1:8080"}


@pytest.fixture(scope="module")
def rules():
    binary("helm")
    made = chart.render(CHART, release="flowgauge", namespace="ops", overrides=FORCED)
    (rule,) = (item for item in made if item["kind"] == "PrometheusRule")
    return rule["spec"]


def series(name, values, **labels):
    inner = ",".join(f'{key}="{value}"' for key, value in {**POD, **labels}.items())
    return {"series": f"{name}{{{inner}}}", "values": values}


def counted(name, step, minutes=70, **labels):
    return series(name, f"0+{step}x{minutes}", **labels)


UP = series("up", "1x70")
OTHER_DOWN = series("up", "0x70", job="other")
LEADS, WAITS = series("flowgauge_leader", "1x70"), series("flowgauge_leader", "0x70", instance="b")
# Prometheus' time in these tests begins with zero, when nothing had ever ended well.
LATE = "flowgauge_last_successful_reconcile_timestamp_seconds"

# alert -> what makes it fire, with the labels that it has; and what is beside that and must not.
CASES = {
    "FlowgaugeOperatorDown": (
        ([series("up", "0x70")], OWN),
        [[UP], [UP, series("up", "0x70", instance="b")], [UP, OTHER_DOWN]],
    ),
    "FlowgaugeNoLeader": (
        ([UP, series("flowgauge_leader", "0x70"), WAITS], OWN),
        [[UP, LEADS, WAITS], [], [series("flowgauge_leader", "0x70", job="other")]],
    ),
    "FlowgaugeReconcileStuck": (
        (
            [
                LEADS,
                series("flowgauge_queue_depth", "3x70"),
                series("flowgauge_queue_active", "0x70"),
                series(LATE, "0x70"),
            ],
            POD,
        ),
        [
            # Nothing to do.
            [
                LEADS,
                series("flowgauge_queue_depth", "0x70"),
                series("flowgauge_queue_active", "0x70"),
                series(LATE, "0x70"),
            ],
            # Much to do, and it is done.
            [
                LEADS,
                series("flowgauge_queue_depth", "3x70"),
                series("flowgauge_queue_active", "1x70"),
                series(LATE, "0+60x70"),
            ],
            # A replica that waits.
            [
                series("flowgauge_leader", "0x70"),
                series("flowgauge_queue_depth", "3x70"),
                series("flowgauge_queue_active", "0x70"),
                series(LATE, "0x70"),
            ],
        ],
    ),
    "FlowgaugeReconcileErrors": (
        (
            [
                counted("flowgauge_reconcile_total", 5, result="error"),
                counted("flowgauge_reconcile_total", 5, result="success"),
            ],
            OWN,
        ),
        [
            [
                counted("flowgauge_reconcile_total", 1, result="error"),
                counted("flowgauge_reconcile_total", 20, result="success"),
            ],
            # No turns at all.
            [
                series("flowgauge_reconcile_total", "5x70", result="error"),
                series("flowgauge_reconcile_total", "5x70", result="success"),
            ],
        ],
    ),
    "FlowgaugeQueueGrowing": (
        ([counted("flowgauge_queue_depth", 5)], POD),
        [
            [series("flowgauge_queue_depth", "100x70")],
            [series("flowgauge_queue_depth", "700-10x70")],
            [series("flowgauge_queue_depth", "0 500 " + "0x70")],
        ],
    ),
    "FlowgaugeWatchRestarting": (
        ([counted("flowgauge_watch_restarts_total", 0.2)], POD),
        [
            [series("flowgauge_watch_restarts_total", "0x30 1x40")],
            # The process began anew.
            [series("flowgauge_watch_restarts_total", "2x30 0x40")],
        ],
    ),
    "FlowgaugePrometheusUnreachable": (
        ([counted("flowgauge_verifications_total", 2, result="error")], OWN),
        [
            [
                counted("flowgauge_verifications_total", 1, result="error"),
                counted("flowgauge_verifications_total", 1, result="success"),
            ],
            [counted("flowgauge_verifications_total", 1, result="success")],
            [],
        ],
    ),
    "FlowgaugeKindForbidden": (
        (
            [series("flowgauge_kind_forbidden", "1x70", kind="ServiceMonitor")],
            {**OWN, "kind": "ServiceMonitor"},
        ),
        [
            [series("flowgauge_kind_forbidden", "0x70", kind="ServiceMonitor")],
            [series("flowgauge_kind_forbidden", "0x40 1x5 0x20", kind="ServiceMonitor")],
        ],
    ),
    "FlowgaugeApiServerErrors": (
        (
            [
                counted(
                    "flowgauge_api_requests_total", 2, verb="apply", kind="Service", code="503"
                ),
                counted(
                    "flowgauge_api_requests_total", 1, verb="get", kind="Lease", code="timeout"
                ),
                counted("flowgauge_api_requests_total", 9, verb="get", kind="Lease", code="200"),
            ],
            OWN,
        ),
        [
            [
                counted("flowgauge_api_requests_total", 5, verb="get", kind="Lease", code="409"),
                counted("flowgauge_api_requests_total", 5, verb="get", kind="Lease", code="200"),
            ],
            [
                counted("flowgauge_api_requests_total", 1, verb="get", kind="Lease", code="500"),
                counted("flowgauge_api_requests_total", 20, verb="get", kind="Lease", code="200"),
            ],
        ],
    ),
}


def judged(rules, folder, alert, given, expected):
    """Whether promtool finds that the alert is as expected after an hour."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    test = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": given,
                "alert_rule_test": [
                    {"eval_time": "60m", "alertname": alert, "exp_alerts": expected}
                ],
            }
        ],
    }
    (folder / "test.yaml").write_text(json.dumps(test))
    command = [str(binary("promtool")), "test", "rules", str(folder / "test.yaml")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_each_alert_has_its_cases(rules):
    (group,) = rules["groups"]

    assert {rule["alert"] for rule in group["rules"]} == set(CASES)
    # Critical is what means that nothing is created or repaired.
    assert {
        rule["alert"] for rule in group["rules"] if rule["labels"]["severity"] == "critical"
    } == {"FlowgaugeOperatorDown", "FlowgaugeNoLeader", "FlowgaugeReconcileStuck"}


@pytest.mark.parametrize("alert", CASES)
def test_it_fires(rules, tmp_path, alert):
    given, labels = CASES[alert][0]
    (rule,) = (each for each in rules["groups"][0]["rules"] if each["alert"] == alert)

    done = judged(rules, tmp_path, alert, given, [])
    assert done.returncode == 1
    said = done.stdout + done.stderr
    for key, value in {**labels, **rule["labels"]}.items():
        assert f'{key}="{value}"' in said
    # The words are filled in: no template is left, and none failed.
    assert "{{" not in said
    assert "error" not in said.partition("got:")[2].lower().replace("errors", "")


def test_an_operator_that_prometheus_does_not_know_is_down(rules, tmp_path):
    done = judged(rules, tmp_path, "FlowgaugeOperatorDown", [OTHER_DOWN], [])

    assert done.returncode == 1
    assert 'job="flowgauge"' in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("alert", "given"), [(alert, given) for alert, (_, silent) in CASES.items() for given in silent]
)
def test_it_is_silent(rules, tmp_path, alert, given):
    done = judged(rules, tmp_path, alert, given, [])

    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_finds_nothing_to_say(rules, tmp_path):
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))

    done = subprocess.run(
        [
            str(binary("promtool")),
            "check",
            "rules",
            "--lint=all",
            "--lint-fatal",
            str(tmp_path / "rules.yaml"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "9 rules found" in done.stdout
