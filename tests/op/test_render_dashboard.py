import json
import re

import pytest

from flowgauge import profiles
from flowgauge_operator import cli, model, promql
from flowgauge_operator.render import Capabilities, Options, render

SLOS = [
    {"name": "success", "objective": 99.5, "success": {}},
    {"name": "fast", "objective": 95, "latency": {"threshold": "5s"}},
]
GRAFANA = {"$__rate_interval": "5m", "$__range": "1h"}
OBJECTIVE_PANELS = ("Error budget left", "Good events", "Burn rate")
UNITS = {"percentunit", "s", "bytes", "cps", "short"}


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
PANELS = [(n, p) for n, b in BOARDS.items() for p in b["panels"] if p["type"] != "row"]
each_board = pytest.mark.parametrize("made", BOARDS.values(), ids=BOARDS)


def each_panel(test):
    """Run a test of one panel for every panel of a profile's dashboard."""

    @pytest.mark.parametrize("profile", BOARDS)
    def for_every_panel(profile):
        for panel in (panel for name, panel in PANELS if name == profile):
            test(panel)

    return for_every_panel


@each_board
def test_panel_ids_are_unique(made):
    ids = [panel["id"] for panel in made["panels"]]

    assert ids == list(range(1, len(ids) + 1))


@each_board
def test_uid_and_schema_fit_grafana(made):
    assert re.fullmatch(r"[a-z0-9-]{1,40}", made["uid"])
    assert made["schemaVersion"] >= 39


@each_board
def test_no_two_panels_overlap_and_none_leaves_the_grid(made):
    cells = set()
    for panel in made["panels"]:
        place = panel["gridPos"]
        own = {
            (place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])
        }
        assert not own & cells
        assert place["x"] + place["w"] <= 24
        cells |= own


@each_panel
def test_every_unit_is_one_of_grafanas(panel):
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS


@each_panel
def test_thresholds_rise_from_null(panel):
    values = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]

    assert values[0] is None
    assert values[1:] == sorted(set(values[1:]))


@each_panel
def test_every_panel_has_title_description_and_target(panel):
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["targets"]


@each_panel
def test_the_data_source_is_the_variable(panel):
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]

    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)


@each_board
def test_the_variable_of_the_data_source_is_there(made):
    (variable,) = made["templating"]["list"]

    assert (variable["name"], variable["label"], variable["type"]) == (
        "datasource",
        "Data source",
        "datasource",
    )


@each_board
def test_a_dashboard_is_read_only_and_knows_its_time(made):
    assert (made["editable"], made["timezone"], made["refresh"]) == (False, "browser", "30s")


@each_panel
def test_every_expression_parses_and_has_both_owner_matchers(panel):
    for target in panel["targets"]:
        text = target["expr"]
        for variable, value in GRAFANA.items():
            text = text.replace(variable, value)
        promql.check(text, "shop")
        for selector in promql.selectors(text):
            pairs = {(m.name, m.value) for m in selector.matchers.matchers}
            assert pairs >= {("namespace", "shop"), ("monitored_workflow", "orders")}


@each_panel
def test_every_metric_is_in_the_profile_or_recorded(panel):
    known = {"up"}
    for profile in map(profiles.builtin, profiles.names()):
        for family in profile.families:
            known |= {family.name + suffix for suffix in ("", "_bucket", "_count", "_sum")}
        known |= {recording.record for recording in profile.recordings}
    for target in panel["targets"]:
        text = target["expr"].replace("$__rate_interval", "5m").replace("$__range", "1h")
        names = {s.name for s in promql.selectors(text)}
        assert {name for name in names if not name.startswith("slo:")} <= known


@each_panel
def test_rates_over_time_use_the_interval_of_the_panel(panel):
    if panel["type"] != "stat":
        assert all(
            set(re.findall(r"\[(.*?)\]", target["expr"])) <= {"$__rate_interval"}
            for target in panel["targets"]
        )


@pytest.mark.parametrize("profile", profiles.names())
def test_a_dashboard_is_far_below_what_a_config_map_holds(profile):
    many = [{"name": f"s{i}", "objective": 99, "success": {}} for i in range(16)]

    assert len(board(profile, slos=many).encode()) < 100_000


@pytest.mark.parametrize("profile", profiles.names())
def test_a_second_render_is_the_same_to_the_byte(profile):
    assert board(profile) == board(profile)


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
