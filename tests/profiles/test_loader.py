import pytest

from flowgauge import profiles
from flowgauge.profiles import ProfileError

HEAD = """apiVersion: flowgauge.dev/v1alpha1
kind: WorkflowProfile
metadata: {name: mine}
spec:
  title: Mine
  description: A test.
"""
RUNS = "- {name: runs_total, role: run.finished, type: counter, help: h}"


def family(text):
    return f"{HEAD}  families:\n  - {{name: a_total, role: run.started, type: counter, help: h, {text}}}\n"


def typed(text):
    return f"{HEAD}  families:\n  - {{name: a, help: h, {text}}}\n"


def alert(text):
    return f"{HEAD}  alerts:\n  - {{severity: info, summary: S., description: D., {text}}}\n"


def panel(text):
    return panels(f"type: stat, queries: [{{expr: a}}], {text}")


def panels(text):
    return f"{HEAD}  panels:\n  - {{description: D., {text}}}\n"


def table(text):
    return panels(f"title: T, type: table, queries: [{{expr: a, legend: A}}, {text}]")


TWO_PARTS = typed("role: run.started, type: counter") + (
    "  - {name: a, role: run.retried, type: counter, help: h2}\n"
)

BROKEN = {
    "a: [": "mine.yaml: is not valid YAML: ",
    "a: 1\na: 2": "the key 'a' stands twice",
    "? [a]\n: b": "a key must be text",
    "!!python/object:os.system {}": "could not determine a constructor",
    "&a {b: *a}": "mine.yaml: is not valid YAML: ",
    "": "mine.yaml: must be a mapping with apiVersion, kind, metadata and spec",
    "[]": "mine.yaml: must be a mapping with apiVersion, kind, metadata and spec",
    "kind: X": "mine.yaml: apiVersion: is None, must be 'flowgauge.dev/v1alpha1'",
    HEAD.replace("WorkflowProfile", "Profile"): "kind: is 'Profile', must be 'WorkflowProfile'",
    HEAD.replace("{name: mine}", "{}"): "metadata.name: is missing; give the profile a name",
    HEAD.replace("{name: mine}", "{name: 5}"): "metadata.name: is missing",
    HEAD.replace("  title: Mine\n", ""): "mine.yaml: spec.title: is missing; add it",
    HEAD.replace("Mine", "yes"): "spec.title: is the boolean true, must be text; put it in quotes",
    HEAD.replace("Mine", "1.5"): "spec.title: is a number, must be text; put it in quotes",
    HEAD.replace("Mine", "null"): "spec.title: is empty, must be text",
    HEAD.replace("Mine", "1e3"): "spec.title: is a number, must be text; put it in quotes",
    f"{HEAD}  famlies: []\n": "spec.famlies: is not a field; did you mean families?",
    f"{HEAD}  qqq: []\n": "spec.qqq: is not a field; known are title, description, extends",
    f"{HEAD}  families: {{}}\n": "spec.families: is a mapping, must be a list",
    f"{HEAD}  families: [x]\n": "spec.families[0]: is text, must be a mapping",
    f"{HEAD}  extends: other\n": "spec.extends: is 'other', must be 'base' or null",
    f"{HEAD}  scrape: {{port: true}}\n": "spec.scrape.port: is the boolean true, must be a whole number",
    f"{HEAD}  alertPrefix: my\n": "spec.alertPrefix: must be letters and digits that begin with a capital",
    f"{HEAD}  recordings:\n  - {{record: runs, expr: a}}\n": (
        "spec.recordings[0].record: is 'runs', must look like level:metric:operation"
    ),
    f"{HEAD}  families:\n  {RUNS}\n  {RUNS}\n": (
        "spec.families[1]: repeats runs_total run.finished; remove one of the two"
    ),
    family(
        "labels: {yes: a}"
    ): "spec.families[0].labels: has the key True, which is the boolean true; put it in quotes",
    family(
        "labels: {stage: a}"
    ): "spec.families[0].labels: has 'stage', must be one of workflow, step",
    family(
        "labels: {step: le}"
    ): "spec.families[0].labels.step: is 'le', which is reserved or no label name",
    family("labels: {step: __a}"): "spec.families[0].labels.step: is '__a'",
    family("labels: {step: namespace}"): "spec.families[0].labels.step: is 'namespace'",
    family(
        "labels: {outcome: status}"
    ): "spec.families[0].outcomes: and labels.outcome belong together",
    family(
        "outcomes: {good: [ok]}"
    ): "spec.families[0].outcomes: and labels.outcome belong together",
    family(
        "outcomes: {good: ok}, labels: {outcome: s}"
    ): "spec.families[0].outcomes.good: is text, must be a list",
    family(
        "values: {step: [a]}"
    ): "spec.families[0].values.step: has values for a label that the family does not have",
    family("where: {a-b: c}"): "spec.families[0].where: has 'a-b', which is no label name",
    family("buckets: [1]"): "spec.families[0].buckets: is for histograms, but a_total is a counter",
    family("unit: seconds"): "spec.families[0].unit: is seconds, but run.started takes no unit",
    family(
        "unit: parsecs"
    ): "spec.families[0].unit: is 'parsecs', must be one of seconds, milliseconds",
    family("required: 1"): "spec.families[0].required: is a number, must be true or false",
    typed(
        "role: run.ended, type: counter"
    ): "spec.families[0].role: is 'run.ended', which is no role",
    typed(
        "role: run.active, type: counter"
    ): "spec.families[0].type: is counter, but run.active is a gauge",
    typed(
        "role: run.active, type: meter"
    ): "spec.families[0].type: is 'meter', must be one of counter, gauge",
    typed(
        "role: run.started, type: gauge"
    ): "spec.families[0].cumulative: must be true for a gauge",
    typed(
        "role: run.duration, type: histogram, buckets: [2, 1]"
    ): "spec.families[0].buckets: must rise",
    typed("role: run.duration, type: histogram, buckets: [.inf]"): (
        "spec.families[0].buckets[0]: is inf, must be a finite number"
    ),
    typed("role: run.duration, type: histogram, unit: bytes"): (
        "spec.families[0].unit: is bytes, but run.duration takes seconds, milliseconds, microseconds, minutes, hours"
    ),
    typed("role: run.active, type: gauge").replace("name: a,", "name: a-b,"): (
        "spec.families[0].name: is 'a-b', which is no metric name"
    ),
    alert("name: slow, expr: a"): "spec.alerts[0].name: is 'slow', must be letters and digits",
    alert(
        "name: A, expr: a, for: 5"
    ): "spec.alerts[0].for: is a number, must be text; put it in quotes",
    alert(
        "name: A, expr: a, for: 1h30m"
    ): "spec.alerts[0].for: is '1h30m', must be a duration such as 5m",
    alert(
        "name: A, expr: a > $threshold"
    ): "spec.alerts[0].threshold: and $threshold in expr belong together",
    alert(
        "name: A, expr: a, threshold: 1"
    ): "spec.alerts[0].threshold: and $threshold in expr belong together",
    alert("name: A, expr: a, severity: page").replace("severity: info, ", ""): (
        "spec.alerts[0].severity: is 'page', must be one of critical, warning, info"
    ),
    alert("name: A, expr: a") + alert("name: A, expr: a").split("alerts:\n")[1]: (
        "spec.alerts[1]: repeats A; remove one of the two"
    ),
    panel("title: T") + panel("title: T").split("panels:\n")[1]: "spec.panels[1]: repeats T",
    panel("title: T, replaces: Nothing"): (
        "spec.panels[0].replaces: is 'Nothing', which is not inherited; inherited are State, Success ratio"
    ),
    alert("name: A, expr: a, replaces: SlowRun"): (
        "spec.alerts[0].replaces: is 'SlowRun', which is not inherited; inherited are TargetDown, "
    ),
    alert("name: A, expr: a, replaces: SlowRuns").replace(
        "  alerts", "  extends: null\n  alerts"
    ): ("spec.alerts[0].replaces: is 'SlowRuns', which is not inherited; inherited are none"),
    alert("name: A, expr: a, replaces: SlowRuns")
    + alert("name: B, expr: a, replaces: SlowRuns").split("alerts:\n")[1]: (
        "spec.alerts[1]: takes a place that is taken; remove one of the two"
    ),
    alert("name: SlowRuns, expr: a")
    + alert("name: B, expr: a, replaces: SlowRuns").split("alerts:\n")[1]: (
        "spec.alerts[1]: takes a place that is taken; remove one of the two"
    ),
    TWO_PARTS: (
        "spec.families[1].help: is 'h2', but a has 'h' in spec.families[0]; make them equal"
    ),
    TWO_PARTS.replace("run.retried, type: counter, help: h2", "run.active, type: gauge, help: h"): (
        "spec.families[1].type: is 'gauge', but a has 'counter' in spec.families[0]; make them equal"
    ),
    panel("title: T, unit: milliseconds"): (
        "spec.panels[0].unit: is 'milliseconds', must be one of ratio, seconds, bytes, per_second, cost"
    ),
    panel("title: T, steps: [{value: 1}]"): "spec.panels[0].steps[0].color: is missing; add it",
    panel("title: T, steps: [{value: 2, color: red}, {value: 1, color: green}]"): (
        "spec.panels[0].steps: must rise, each value once"
    ),
    panel("title: T, steps: [{value: 1, color: redd}]"): (
        "spec.panels[0].steps[0].color: is 'redd', must be one of green, red, orange, yellow, blue, purple, text, "
    ),
    panel("title: T, color: '#12345'"): "spec.panels[0].color: is '#12345', must be one of green, ",
    panel("title: T, color: dark-text"): "spec.panels[0].color: is 'dark-text', must be one of",
    panel("title: T, width: 25"): "spec.panels[0].width: is 25, must be 1 to 24 columns",
    panel("title: T, width: 0"): "spec.panels[0].width: is 0, must be 1 to 24 columns",
    panel("title: T, height: 0"): "spec.panels[0].height: is 0, must be 1 to 40",
    panel("title: T, minimum: 1, maximum: 1"): (
        "spec.panels[0].maximum: is 1, must be above the minimum, 1"
    ),
    panel("title: ' '"): "spec.panels[0].title: is empty; say what one sees",
    panel("title: T, row: ''"): "spec.panels[0].row: is empty; say what one sees",
    panel("title: T").replace(
        "D.", "''"
    ): "spec.panels[0].description: is empty; say what one sees",
    panels("title: T, type: stat, queries: []"): (
        "spec.panels[0].queries: is empty; a panel needs something to show"
    ),
    panels("title: T, type: stat, queries: [{expr: a, legend: A}, {expr: b}]"): (
        "spec.panels[0].queries[1].legend: is missing; it tells the values of a stat apart"
    ),
    panels("title: T, type: heatmap, queries: [{expr: a}, {expr: b}]"): (
        "spec.panels[0].queries: are several, but a heatmap shows one; remove the others"
    ),
    panels("title: T, type: stat, queries: [{expr: a, unit: seconds}]"): (
        "spec.panels[0].queries[0].unit: is for columns of a table, not for a stat; move it to the panel"
    ),
    table(
        "{expr: b}"
    ): "spec.panels[0].queries[1].legend: is missing; it is the heading of the column",
    table("{expr: b, legend: A}"): (
        "spec.panels[0].queries: have a heading twice; give each column a legend of its own"
    ),
    table("{expr: b, legend: B, unit: hours}"): (
        "spec.panels[0].queries[1].unit: is 'hours', must be one of ratio, seconds, bytes, per_second, cost"
    ),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.items())
def test_a_broken_profile_names_file_path_and_remedy(text, message):
    with pytest.raises(ProfileError) as caught:
        profiles.parse(text, source="mine.yaml")

    assert str(caught.value).startswith("mine.yaml: ")
    assert message in str(caught.value)


def test_a_table_has_columns_with_headings_and_units_of_their_own():
    mine = profiles.parse(table("{expr: b, legend: B, unit: seconds}"), source="mine.yaml")

    columns = [(query.legend, query.unit) for query in mine.panels[-1].queries]
    assert columns == [("A", None), ("B", "seconds")]


@pytest.mark.parametrize("color", ["green", "semi-dark-red", "super-light-blue", "text", "#aAbB01"])
def test_a_colour_is_one_that_grafana_knows(color):
    mine = profiles.parse(panel(f"title: T, color: '{color}'"), source="mine.yaml")

    assert mine.panels[-1].color == color


def test_a_profile_inherits_from_base_and_replaces_by_name():
    mine = profiles.parse(alert("name: SlowRuns, expr: a"), source="mine.yaml")
    base = profiles.builtin("base")

    assert [a.name for a in mine.alerts] == [a.name for a in base.alerts]
    assert next(a for a in mine.alerts if a.name == "SlowRuns").expr == "a"
    assert (mine.recordings, mine.slis, mine.panels) == (base.recordings, base.slis, base.panels)


def test_an_entry_under_another_name_stands_where_that_stood_which_it_replaces():
    text = alert("name: Late, expr: a, replaces: SlowRuns")
    text += "  panels:\n  - {title: Load, replaces: Runs in progress, description: D., type: stat, queries: [{expr: a}]}\n"
    mine, base = profiles.parse(text, source="mine.yaml"), profiles.builtin("base")

    instead = {"SlowRuns": "Late", "Runs in progress": "Load"}
    assert [a.name for a in mine.alerts] == [instead.get(a.name, a.name) for a in base.alerts]
    assert [p.title for p in mine.panels] == [instead.get(p.title, p.title) for p in base.panels]


def test_an_entry_may_replace_two_one_by_place_and_one_by_name():
    text = alert("name: SlowRuns, expr: a, replaces: RunStuck")
    mine, base = profiles.parse(text, source="mine.yaml"), profiles.builtin("base")

    names = [a.name for a in base.alerts if a.name != "SlowRuns"]
    assert [a.name for a in mine.alerts] == [n if n != "RunStuck" else "SlowRuns" for n in names]


def test_a_profile_that_extends_nothing_has_its_own_entries_only():
    mine = profiles.parse(f"{HEAD}  extends: null\n", source="mine.yaml")

    assert (mine.alerts, mine.panels, mine.slis, mine.recordings) == ((), (), (), ())


def test_one_metric_may_play_two_parts_by_its_labels():
    both = "\n".join(
        f"  - {{name: cpu_total, role: process.cpu, type: counter, help: h, where: {{mode: {mode}}}}}"
        for mode in ("user", "system")
    )

    mine = profiles.parse(f"{HEAD}  families:\n{both}\n", source="mine.yaml")

    assert [f.where["mode"] for f in mine.by_role("process.cpu")] == ["user", "system"]


@pytest.mark.parametrize(
    ("unit", "factor"), [("seconds", 1), ("milliseconds", 0.001), ("minutes", 60), ("hours", 3600)]
)
def test_a_unit_is_a_factor_of_the_base_unit(unit, factor):
    text = typed(f"role: run.duration, type: histogram, unit: {unit}")

    assert float(profiles.parse(text, source="mine.yaml").families[0].factor) == factor
