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
    return f"{HEAD}  panels:\n  - {{description: D., type: stat, queries: [], {text}}}\n"


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
    HEAD.replace("Mine", "2024-01-01"): "spec.title: is a date, must be text; put it in quotes",
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
        "spec.panels[0].replaces: is 'Nothing', which is not inherited; inherited are Success ratio, Runs in progress"
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
}


@pytest.mark.parametrize(("text", "message"), BROKEN.items())
def test_a_broken_profile_names_file_path_and_remedy(text, message):
    with pytest.raises(ProfileError) as caught:
        profiles.parse(text, source="mine.yaml")

    assert str(caught.value).startswith("mine.yaml: ")
    assert message in str(caught.value)


def test_a_profile_inherits_from_base_and_replaces_by_name():
    mine = profiles.parse(alert("name: SlowRuns, expr: a"), source="mine.yaml")
    base = profiles.builtin("base")

    assert [a.name for a in mine.alerts] == [a.name for a in base.alerts]
    assert next(a for a in mine.alerts if a.name == "SlowRuns").expr == "a"
    assert (mine.recordings, mine.slis, mine.panels) == (base.recordings, base.slis, base.panels)


def test_an_entry_under_another_name_stands_where_that_stood_which_it_replaces():
    text = alert("name: Late, expr: a, replaces: SlowRuns")
    text += "  panels:\n  - {title: Load, replaces: Runs in progress, description: D., type: stat, queries: []}\n"
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
