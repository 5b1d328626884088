import json
import re

import pytest

from flowgauge import profiles
from flowgauge_operator import cli, model
from flowgauge_operator.render import Capabilities, Options, render

SLOS = [
    {"name": "success", "objective": 99.5, "success": {}},
    {"name": "fast", "objective": 95, "latency": {"threshold": "5s"}},
]
OBJECTIVE_PANELS = ("Error budget left", "Good events", "Burn rate")


def board(profile="workflow", name="orders", **spec):
    body = {
        "profile": profile,
        "selector": {"matchLabels": {"app": "orders"}},
        "slos": SLOS,
        **spec,
    }
    workflow = model.parse({"metadata": {"name": name, "namespace": "shop"}, "spec": body})
    rendered = render(workflow, profiles.builtin(profile), Capabilities(), Options())
    found = next(c for c in rendered.children if c["metadata"]["name"].endswith("-dashboard"))
    (text,) = found["data"].values()
    return text


BOARDS = {name: json.loads(board(name)) for name in profiles.names()}


def test_firing_alerts_are_marked():
    (annotation,) = BOARDS["workflow"]["annotations"]["list"]

    assert annotation["expr"] == (
        'ALERTS{namespace="shop",monitored_workflow="orders",alertstate="firing"}'
    )


@pytest.mark.parametrize("profile", BOARDS)
def test_every_objective_has_its_panels(profile):
    titles = [panel["title"] for panel in BOARDS[profile]["panels"]]

    # Prefect's exporter has no durations, and Kubernetes tells only whether a run is fresh.
    slos = {"prefect": SLOS[:1], "cronjob": []}.get(profile, SLOS)
    assert [t for t in titles if "·" in t] == [
        f"{what} · {slo['name']}" for slo in slos for what in OBJECTIVE_PANELS
    ]


@pytest.mark.parametrize("profile", BOARDS)
def test_rows_come_in_the_order_of_triage(profile):
    rows = [panel["title"] for panel in BOARDS[profile]["panels"] if panel["type"] == "row"]

    work = "Messages" if profile == "orchestrix" else "Runs"
    # Of a CronJob, none of these objectives can be had.
    expected = ["Overview", work] if profile == "cronjob" else ["Overview", "Objectives", work]
    assert rows[: len(expected)] == expected
    # Not every engine tells of its process.
    assert "Process" not in rows[:3]


def test_a_vocabulary_without_runs_has_its_own_panels_before_those_of_the_process():
    titles = [panel["title"] for panel in BOARDS["orchestrix"]["panels"] if panel["type"] != "row"]

    assert titles == [
        "Handler success ratio",
        "Messages a second",
        "Targets up",
        *(f"{what} · {slo['name']}" for slo in SLOS for what in OBJECTIVE_PANELS),
        "Message throughput",
        "Handler latency",
        "Error rates by type",
        "Active handlers",
        "Event store performance",
        "Event store operations",
        "Resident memory",
        "CPU time",
    ]


@pytest.mark.parametrize(
    ("profile", "titles"),
    [
        (
            "contd",
            (
                "Restore Latency P95",
                "Workflow Success Rate",
                "Managed Steps",
                "Idempotency Hit Rate",
            ),
        ),
        (
            "ia-modules",
            (
                "Pipeline execution rate",
                "Success rate",
                "Active pipelines",
                "Duration (P95)",
                "Step duration by name",
                "Error rate by type",
                "API calls per pipeline",
                "Cost per hour",
                "Throughput (items/sec)",
                "Memory usage",
                "CPU usage",
            ),
        ),
    ],
)
def test_a_guides_panels_are_there_and_nothing_is_shown_twice(profile, titles):
    panels = [panel for panel in BOARDS[profile]["panels"] if panel["type"] != "row"]
    shown = [tuple(target["expr"] for target in panel["targets"]) for panel in panels]

    assert set(titles) <= {panel["title"] for panel in panels}
    assert len(shown) == len(set(shown))


def test_a_legend_speaks_of_the_vocabularys_own_labels():
    panel = next(p for p in BOARDS["contd"]["panels"] if p["title"] == "Step duration")

    assert [target["legendFormat"] for target in panel["targets"]] == ["{{step_name}}"]


def test_a_users_text_reaches_no_dashboard():
    alert = {
        "name": "Own",
        "expr": "vector(1)",
        "summary": "<script>",
        "description": "[x](javascript:a)",
    }

    text = board(alerts={"extra": [alert], "labels": {"team": "<img onerror>"}})

    assert text == board()
    assert not re.search(r"<|javascript|\$\{(?!datasource\})", text)


def test_the_golden_dashboard_is_what_the_command_line_prints():
    source = "apiVersion: flowgauge.dev/v1alpha1\nkind: MonitoredWorkflow\n"
    source += "metadata: {name: orders, namespace: shop}\nspec: {selector: {matchLabels: {app: orders}}}\n"

    assert board(slos=[]) in cli.generated(source, "x")


@pytest.mark.parametrize(
    ("objective", "red"),
    [
        ({}, 14.4),
        ({"window": "7d"}, 13.44),
        ({"alerts": {"page": {"enabled": False}}}, None),
        ({"alerts": {"ticket": {"enabled": False}}}, 14.4),
        # Over six hours it can still page, which this burn rate over one hour does not show.
        ({"objective": 93}, None),
    ],
)
def test_the_red_line_of_a_burn_rate_is_where_its_page_fires(objective, red):
    made = json.loads(board(slos=[SLOS[0] | objective]))

    panel = next(p for p in made["panels"] if p["title"].startswith("Burn rate"))

    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert {step["color"]: step["value"] for step in steps}.get("red") == red
    assert ("red line" in panel["description"]) == (red is not None)


def test_panels_of_a_workflow_with_native_histograms_read_no_buckets():
    made = json.loads(board(scrape={"nativeHistograms": True}))

    (heatmap,) = (p for p in made["panels"] if p["type"] == "heatmap")
    (target,) = heatmap["targets"]
    assert (target["expr"], target["format"]) == (
        (
            "sum by (namespace, monitored_workflow) (increase("
            'workflow_run_duration_seconds{namespace="shop",monitored_workflow="orders"}[$__rate_interval]))'
        ),
        "heatmap",
    )
