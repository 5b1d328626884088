"""What docs/migrate.md shows side by side measures the same: theirs and ours over the same series, by Prometheus' own engine."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from flowgauge_operator import cli
from rig.pytest_plugin import binary

pytestmark = pytest.mark.parts

PAGE = Path(__file__).parents[2] / "docs/migrate.md"
_FENCE = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# Every minute: some hundred events of which some are bad, as what the examples read.
ORDERS = 'namespace="shop",monitored_workflow="orders",workflow="orders"'
API = 'namespace="shop",job="api"'
SERIES = {
    f'workflow_runs_total{{{ORDERS},status="success"}}': "0+94x130",
    f'workflow_runs_total{{{ORDERS},status="failed"}}': "0+4x130",
    f'workflow_runs_total{{{ORDERS},status="cancelled"}}': "0+2x130",
    f'workflow_runs_total{{{ORDERS},status="skipped"}}': "0+50x130",
    f'http_requests_total{{{API},code="200"}}': "0+970x130",
    f'http_requests_total{{{API},code="503"}}': "0+30x130",
    'http_requests_total{namespace="bank",job="api",code="503"}': "0+999x130",
    'stock_outdated_ratio{namespace="shop"}': "0.25x130",
    f'http_request_duration_seconds_bucket{{{API},le="0.5"}}': "0+90x130",
    f"http_request_duration_seconds_count{{{API}}}": "0+100x130",
    'probe_success{namespace="shop",job="probe",instance="a"}': "1x130",
    'probe_success{namespace="shop",job="probe",instance="b"}': "0x130",
}
RATIOS = {
    "success": 0.06,
    "requests": 0.03,
    "stock": 0.25,
    "answers": 0.1,
    "reachable": 0.5,
}


def documents(heading):
    """The YAML documents of a section of the page."""
    text = PAGE.read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)
    return [body for code in _FENCE.findall(section) for body in yaml.safe_load_all(code)]


def of_sloth(body):
    """The error ratio over an hour, by objective, as Sloth asks for it."""
    for slo in body["slos"]:
        sli = slo["sli"]
        if "raw" in sli:
            query = sli["raw"]["error_ratio_query"]
        else:
            query = f"({sli['events']['error_query']}) / ({sli['events']['total_query']})"
        yield slo["name"], query.replace("{{.window}}", "1h")


def of_pyrra(body):
    """The same as Pyrra makes it of selectors."""
    ((sort, given),) = body["spec"]["indicator"].items()
    if sort == "bool_gauge":
        metric = given["metric"]
        query = f"1 - sum(sum_over_time({metric}[1h])) / sum(count_over_time({metric}[1h]))"
    else:
        part = f"sum(rate({given['errors' if sort == 'ratio' else 'success']['metric']}[1h]))"
        share = f"{part} / sum(rate({given['total']['metric']}[1h]))"
        query = share if sort == "ratio" else f"1 - {share}"
    yield body["metadata"]["name"], query


def theirs(bodies):
    found = {}
    for body in bodies:
        if body.get("version") == "prometheus/v1":
            found |= dict(of_sloth(body))
        elif body.get("kind") == "ServiceLevelObjective":
            found |= dict(of_pyrra(body))
    return found


def groups(body):
    made = yaml.safe_load_all(cli.generated(yaml.safe_dump(body), "migrate.md"))
    return next(m for m in made if m["kind"] == "PrometheusRule")["spec"]["groups"]


def is_true(tmp_path, rules, exprs):
    """Whether promtool finds each expression to be 1 after two hours of the series."""
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": rules}))
    test = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "30s",
        "group_eval_order": [group["name"] for group in rules],
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {"series": name, "values": values} for name, values in SERIES.items()
                ],
                "promql_expr_test": [
                    {"expr": expr, "eval_time": "2h", "exp_samples": [{"labels": "{}", "value": 1}]}
                    for expr in exprs
                ],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test))
    told = subprocess.run(
        [binary("promtool"), "test", "rules", tmp_path / "test.yml"],
        check=False,
        capture_output=True,
        text=True,
    )
    return told.returncode == 0, told.stderr + told.stdout


@pytest.mark.parametrize("system", ["Sloth", "Pyrra"])
def test_an_objective_means_the_same_in_both(tmp_path, system):
    bodies = documents(system)
    (ours,) = (body for body in bodies if body.get("kind") == "MonitoredWorkflow")
    asked = theirs(bodies)
    assert asked.keys() == {slo["name"] for slo in ours["spec"]["slos"]}
    record = 'sum(slo:error:ratio_rate1h{{namespace="shop",monitored_workflow="orders",slo="{}"}})'
    exprs = []
    for name, query in asked.items():
        exprs.append(f"abs(sum({query}) - {RATIOS[name]}) < bool 0.0001")
        exprs.append(f"abs({record.format(name)} - {RATIOS[name]}) < bool 0.0001")

    objectives = [group for group in groups(ours) if "/slo-" in group["name"]]
    fine, told = is_true(tmp_path, objectives, exprs)

    assert fine, told


def test_the_objectives_are_as_strict_as_theirs():
    for system in ("Sloth", "Pyrra"):
        bodies = documents(system)
        (ours,) = (body for body in bodies if body.get("kind") == "MonitoredWorkflow")
        wanted = {
            slo["name"]: float(slo["objective"]) for body in bodies for slo in body.get("slos", ())
        } | {
            body["metadata"]["name"]: float(body["spec"]["target"])
            for body in bodies
            if body.get("kind") == "ServiceLevelObjective"
        }
        assert {slo["name"]: slo["objective"] for slo in ours["spec"]["slos"]} == wanted


def test_a_ticket_that_sloth_is_told_to_leave_out_is_left_out_and_labels_stay():
    (ours,) = (body for body in documents("Sloth") if body.get("kind") == "MonitoredWorkflow")

    alerts = [rule for group in groups(ours) for rule in group["rules"] if "alert" in rule]

    burns = [rule for rule in alerts if rule["labels"].get("slo") == "success"]
    assert [rule["labels"]["burn_tier"] for rule in burns] == ["page"]
    assert burns[0]["labels"].items() >= {"channel": "night", "team": "fulfilment"}.items()


def test_alerts_of_plain_rules_are_found_again(tmp_path):
    old, ours = documents("Plain rules")

    alerts = {
        rule["alert"]: rule for group in groups(ours) for rule in group["rules"] if "alert" in rule
    }

    fails, waits = old["groups"][0]["rules"]
    found = alerts["WorkflowHighErrorRate"]
    assert (found["for"], found["labels"]["severity"]) == (fails["for"], "critical")
    assert " > 0.1" in found["expr"]
    assert found["labels"]["team"] == fails["labels"]["team"]
    own = alerts["PaymentsWait"]
    assert own["expr"].replace(" ", "") == waits["expr"].replace(" ", "")
    assert (own["for"], own["labels"]["severity"]) == (waits["for"], "warning")
    assert own["annotations"]["summary"] == waits["annotations"]["summary"]


def test_records_that_the_tables_name_are_recorded():
    text = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"`(slo:(?:error|events|objective)[a-z_]*:[a-z0-9_]+)`", text))
    bodies = [b for b in documents("Sloth") if b.get("kind") == "MonitoredWorkflow"]
    recorded = {
        rule["record"] for group in groups(bodies[0]) for rule in group["rules"] if "record" in rule
    }

    # Sloth's own, which has no record here.
    assert named - recorded == {"slo:error_budget:ratio"}
    assert len(named & recorded) >= 5
