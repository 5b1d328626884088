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
OBJECTIVE_PANELS = ["Error budget left", "Objectives", "Error budget over time", "Burn rate"]


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


def rows(made):
    """The panels of each row, whether it is open or closed."""
    found, at = {}, ""
    for panel in made["panels"]:
        if panel["type"] == "row":
            at = panel["title"]
            found[at] = [*panel["panels"]]
        else:
            found[at].append(panel)
    return found


def panels(made):
    return [panel for members in rows(made).values() for panel in members]


def titled(made, title):
    return next(panel for panel in panels(made) if panel["title"] == title)


@pytest.mark.parametrize(
    ("profile", "bad", "good"),
    [
        ("workflow", "/^(?!(?:success|skipped)$)/", "success"),
        ("celery", "failed", "succeeded"),
        ("temporal", "failed", "completed"),
    ],
)
def test_bad_outcomes_are_red_and_dashed_and_good_ones_green(profile, bad, good):
    overrides = titled(BOARDS[profile], "Runs by outcome")["fieldConfig"]["overrides"]

    looks = {
        entry["matcher"]["options"]: {p["id"]: p["value"] for p in entry["properties"]}
        for entry in overrides
    }
    assert looks[bad]["color"] == {"mode": "fixed", "fixedColor": "red"}
    assert looks[bad]["custom.lineStyle"]["fill"] == "dash"
    assert looks[good] == {"color": {"mode": "fixed", "fixedColor": "green"}}


def test_firing_alerts_are_marked():
    annotation = BOARDS["workflow"]["annotations"]["list"][0]

    assert annotation["expr"] == (
        'ALERTS{namespace="shop",monitored_workflow="orders",alertstate="firing"}'
    )


@pytest.mark.parametrize("profile", BOARDS)
def test_the_panels_of_objectives_are_four_however_many_there_are(profile):
    found = rows(BOARDS[profile]).get("Objectives", [])

    # Kubernetes tells only whether a run is fresh.
    expected = [] if profile == "cronjob" else OBJECTIVE_PANELS
    # A guide may have others beside them.
    assert [p["title"] for p in found if p["title"] in OBJECTIVE_PANELS] == expected


def test_a_table_of_objectives_has_a_row_for_each():
    (panel,) = (
        panel for panel in rows(BOARDS["workflow"])["Objectives"] if panel["type"] == "table"
    )

    exprs = [target["expr"] for target in panel["targets"]]
    assert exprs[0] == (
        "max by (namespace, monitored_workflow, slo)"
        ' (slo:error_budget_remaining:ratio{namespace="shop",monitored_workflow="orders"})'
    )


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
def test_a_guides_panels_are_there(profile, titles):
    assert set(titles) <= {panel["title"] for panel in panels(BOARDS[profile])}


def test_a_legend_speaks_of_the_vocabularys_own_labels():
    panel = titled(BOARDS["contd"], "Step duration")

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
    assert not re.search(r"<script|javascript|<img", text)


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

    panel = titled(made, "Burn rate")

    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert {step["color"]: step["value"] for step in steps}.get("red") == red
    assert ("red line" in panel["description"]) == (red is not None)


def test_panels_of_a_workflow_with_native_histograms_read_no_buckets():
    made = json.loads(board(scrape={"nativeHistograms": True}))

    (heatmap,) = (panel for panel in panels(made) if panel["type"] == "heatmap")
    (target,) = heatmap["targets"]
    assert (target["expr"], target["format"]) == (
        (
            "sum by (namespace, monitored_workflow) (increase("
            'workflow_run_duration_seconds{namespace="shop",monitored_workflow="orders",job=~"$job",instance=~"$instance"}[$__rate_interval]))'
        ),
        "heatmap",
    )


# -- what a workflow changes ------------------------------------------------------------------------------------------

OWN = {
    "title": "Open orders",
    "description": "Orders that nobody has taken.",
    "row": "Shop",
    "queries": [{"expr": 'sum(open_orders{namespace="shop"})'}],
}


def changed(**panels):
    return json.loads(board(dashboard={"panels": panels}))


def problems(**panels):
    body = {"selector": {"matchLabels": {"a": "b"}}, "dashboard": {"panels": panels}}
    workflow = model.parse({"metadata": {"name": "orders", "namespace": "shop"}, "spec": body})
    made = render(workflow, profiles.builtin("workflow"), Capabilities(), Options())
    return [(each.path, each.reason) for each in (*made.problems, *made.warnings)]


def test_a_hidden_panel_is_left_out_and_the_line_closes_up():
    whole, made = (
        rows(BOARDS["workflow"])["Overview"],
        rows(changed(hide=["Targets up"]))["Overview"],
    )

    assert [p["title"] for p in made] == [p["title"] for p in whole if p["title"] != "Targets up"]
    first = [panel["gridPos"] for panel in made if panel["gridPos"]["y"] == 1]
    assert sum(place["w"] for place in first) == 24


def test_rows_and_panels_come_in_the_order_that_is_wanted():
    made = rows(changed(order=["Duration", "Targets up"]))

    assert next(iter(made)) == "Duration"
    assert made["Overview"][0]["title"] == "Targets up"


def test_a_panel_of_ones_own_stands_in_its_row_and_reads_what_it_says():
    (panel,) = rows(changed(add=[OWN]))["Shop"]

    assert (panel["title"], panel["description"]) == (OWN["title"], OWN["description"])
    assert panel["targets"][0]["expr"] == 'sum(open_orders{namespace="shop"})'


def test_a_panel_of_ones_own_may_name_roles():
    query = {"expr": "$rate(run.finished[$__rate_interval], outcome)", "legend": "{{outcome}}"}

    (panel,) = rows(changed(add=[OWN | {"queries": [query]}]))["Shop"]

    assert panel["targets"][0]["legendFormat"] == "{{status}}"


@pytest.mark.parametrize(
    ("panels", "told"),
    [
        ({"hide": ["Nothing"]}, ("spec.dashboard.panels.hide[0]", "UnknownPanel")),
        ({"order": ["Runs", "Nothing"]}, ("spec.dashboard.panels.order[1]", "UnknownPanel")),
        *(
            (
                {"add": [OWN | {"queries": [{"expr": expr}]}]},
                ("spec.dashboard.panels.add[0].queries[0].expr", reason),
            )
            for expr, reason in [
                ("sum(", "InvalidExpression"),
                ("up", "InvalidExpression"),
                ('up{namespace="other"}', "InvalidExpression"),
                ('up{namespace="shop",a="${__user.email}"}', "InvalidExpression"),
                ('up{namespace="shop",a="[[job:raw]]"}', "InvalidExpression"),
                ("$sum(worker.nothing)", "InvalidExpression"),
            ]
        ),
    ],
)
def test_what_cannot_be_drawn_is_told_by_path(panels, told):
    assert told in problems(**panels)


def test_what_cannot_be_drawn_takes_nothing_else_along():
    made = changed(add=[OWN | {"title": "Bad", "queries": [{"expr": "up"}]}, OWN])

    assert [panel["title"] for panel in rows(made)["Shop"]] == ["Open orders"]


def test_own_panels_that_make_the_dashboard_too_large_are_left_out():
    # A long expression is legal, and many of them are more than a ConfigMap should hold.
    expr = f'sum(open_orders{{namespace="shop",a="{"x" * 1900}"}})'
    many = [
        OWN | {"title": f"Own {i}", "queries": [{"expr": expr} for _ in range(8)]}
        for i in range(24)
    ]

    assert ("spec.dashboard.panels.add", "DashboardTooLarge") in problems(add=many)
    assert len(board(dashboard={"panels": {"add": many}}).encode()) < 100_000


def test_workflows_of_one_spec_do_not_get_each_others_panels():
    given = {"dashboard": {"panels": {"add": [OWN]}}}

    assert "Open orders" in board(**given)
    assert "Open orders" not in board()
