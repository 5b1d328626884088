import io
from importlib import resources
from pathlib import Path

import pytest
import yaml

from flowgauge import profiles
from flowgauge_operator import cli

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/orders/workflow.yaml"
HEAD = "apiVersion: flowgauge.dev/v1alpha1\nkind: MonitoredWorkflow\n"


def workflow(name="orders", namespace="shop", spec="{selector: {matchLabels: {app: orders}}}"):
    return f"{HEAD}metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"


@pytest.fixture(name="file")
def _file(tmp_path):
    def write(text, name="w.yaml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def kinds(text):
    return [(body["kind"], body["metadata"]["name"]) for body in yaml.safe_load_all(text)]


def test_generate_prints_the_golden_to_the_byte(capsys):
    code = cli.main(["generate", "-f", str(EXAMPLE)])

    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert out == EXAMPLE.with_name("manifests.yaml").read_text(encoding="utf-8")


def test_generate_reads_standard_input(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(EXAMPLE.read_bytes())))

    assert cli.main(["generate", "-f", "-"]) == 0
    assert capsys.readouterr().out == EXAMPLE.with_name("manifests.yaml").read_text(
        encoding="utf-8"
    )


def test_several_files_share_the_monitor_of_their_namespace(file, capsys):
    first, second = file(workflow("a"), "a.yaml"), file(workflow("b"), "b.yaml")

    assert cli.main(["generate", "-f", first, "-f", second]) == 0
    assert kinds(capsys.readouterr().out) == [
        ("ConfigMap", "flowgauge-dashboards"),
        ("ServiceMonitor", "flowgauge-shared"),
        ("Service", "a-metrics"),
        ("PrometheusRule", "a-rules"),
        ("ConfigMap", "a-dashboard"),
        ("Service", "b-metrics"),
        ("PrometheusRule", "b-rules"),
        ("ConfigMap", "b-dashboard"),
    ]


def test_several_documents_are_the_same_as_several_files(file, capsys):
    both = file(f"{workflow('a')}---\n{workflow('b')}")
    cli.main(["generate", "-f", both])
    together = capsys.readouterr().out

    cli.main(["generate", "-f", file(workflow("a"), "a.yaml"), "-f", file(workflow("b"), "b.yaml")])

    assert capsys.readouterr().out == together


def test_objects_of_other_kinds_are_left_alone(file, capsys):
    text = f"kind: Pod\n---\n---\n- 1\n---\n{workflow()}"

    assert cli.main(["validate", "-f", file(text)]) == 0
    assert capsys.readouterr().out.endswith("w.yaml: shop/orders: valid\n")


def test_without_prometheus_operator_nothing_of_it_is_printed(file, capsys):
    cli.main(["generate", "-f", file(workflow()), "--without-prometheus-operator"])

    assert {kind for kind, _ in kinds(capsys.readouterr().out)} == {"Service", "ConfigMap"}


def test_alerts_link_where_the_options_say(file, capsys):
    urls = ["--runbook-base-url", "https://r.example/x", "--grafana-url", "https://g.example/"]

    cli.main(["generate", "-f", file(workflow()), *urls])

    out = capsys.readouterr().out
    assert "runbook_url: https://r.example/x/TargetDown" in out
    assert "dashboard_url: https://g.example/d/fg-25854a7eceb1fa1f2e726553" in out


@pytest.mark.parametrize(
    ("flag", "remedy"),
    [
        ("--runbook-base-url=runbooks", "write a whole URL, such as https://example.com/runbooks"),
        ("--runbook-base-url=https://r.example/{page}", "write {alert} in the place of a page's"),
        ("--grafana-url=grafana:3000", "write a whole URL"),
        ('--grafana-url=https://g.example/{{ query "up" }}', "without braces and spaces"),
        ("--grafana-url=https://g.example/a b", "without braces and spaces"),
    ],
)
def test_a_link_that_leads_nowhere_is_refused_with_flag_and_remedy(file, capsys, flag, remedy):
    with pytest.raises(SystemExit) as caught:
        cli.main(["generate", "-f", file(workflow()), flag])

    assert caught.value.code == 2
    error = capsys.readouterr().err
    assert flag.partition("=")[0] in error
    assert remedy in error


@pytest.mark.parametrize("name", ['{{ query "up" }}', "a\nkind: Secret", '"} or vector(1) #', "$x"])
def test_the_name_of_a_file_is_no_part_of_what_is_generated(tmp_path, capsys, name):
    plain, hostile = tmp_path / "plain.yaml", tmp_path / f"{name}.yaml"
    for path in (plain, hostile):
        path.write_text(workflow(), encoding="utf-8")

    assert cli.main(["generate", "-f", str(plain)]) == 0
    expected = capsys.readouterr().out
    assert cli.main(["generate", "-f", str(hostile)]) == 0

    assert capsys.readouterr().out == expected


BAD = {
    "a: [": "is not valid YAML: ",
    "!!python/object:os.system {}": "is not valid YAML: ",
    "": "holds no MonitoredWorkflow; each needs apiVersion: flowgauge.dev/v1alpha1",
    "kind: Pod": "holds no MonitoredWorkflow",
    workflow().replace(
        "v1alpha1", "v9"
    ): "apiVersion is 'flowgauge.dev/v9', must be flowgauge.dev/v1alpha1",
    workflow(name="5"): "metadata.name: must be a valid object name",
    workflow(name="Orders"): "shop/Orders: metadata.name: must be a valid object name",
    workflow(namespace="5"): "metadata.namespace: must be the name of a namespace",
    f"{HEAD}metadata: orders\nspec: {{}}\n": "default/?: metadata: must be a mapping",
    workflow(spec="x"): "shop/orders: spec: input should be",
    workflow(spec="[]"): "shop/orders: spec: input should be",
    "[" * 3000: "is nested too deeply",
    workflow(
        spec="{}"
    ): "spec: spec.selector is needed unless scrape.mode is AnnotatedPods, Push or None",
    workflow(spec="{scrape: {mode: Push}, profile: nothing}"): (
        "shop/orders: spec.profile: profile 'nothing' does not exist; built in are airflow, argo-workflows, celery, contd, cronjob, ia-modules, orchestrix, prefect, temporal, tta-dev, workflow"
    ),
    workflow(
        spec="{scrape: {mode: Push}, slos: [{name: a, objective: 99, latency: {threshold: 7s}}]}"
    ): (
        "spec.slos[0]: 7s is no bucket bound of workflow_run_duration_seconds; the nearest are 5s below and 10s above."
    ),
    workflow(
        spec="{scrape: {mode: Push}, alerts: {overrides: {SlowRuns: {threshold: .nan}}}}"
    ): "finite number",
}


@pytest.mark.parametrize("command", ["generate", "validate"])
@pytest.mark.parametrize(("text", "message"), BAD.items())
def test_bad_input_is_exit_code_one_and_names_file_and_fault(command, text, message, file, capsys):
    path = file(text)

    assert cli.main([command, "-f", path]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert path in err
    assert message in err


ROUNDED = workflow(
    spec="{scrape: {mode: Push}, slos: [{name: a, objective: 80, latency: {threshold: 7s, rounding: Up}}]}"
)


@pytest.mark.parametrize("command", ["generate", "validate"])
def test_what_is_done_otherwise_than_written_is_a_warning_and_no_error(command, file, capsys):
    path = file(ROUNDED)

    assert cli.main([command, "-f", path]) == 0
    out, err = capsys.readouterr()
    begin = f"{path}: shop/orders: warning: spec.slos[0]."
    assert [line.removeprefix(begin).split(":")[0] for line in err.splitlines()] == [
        "latency.threshold",
        "objective",
    ]
    assert "rounded up, 10s is what counts" in err
    assert "rounded" not in out


def test_a_file_that_is_not_there_is_bad_input(capsys):
    assert cli.main(["validate", "-f", "/nowhere/w.yaml"]) == 1
    assert capsys.readouterr().err == (
        "error: /nowhere/w.yaml cannot be read: No such file or directory\n"
    )


def test_validate_tells_of_every_object_and_every_problem(file, capsys):
    bad = workflow("bad", spec="{scrape: {mode: Push}, alerts: {disabled: [A, B]}}")

    assert cli.main(["validate", "-f", file(f"{bad}---\n{workflow('good')}")]) == 1
    out, err = capsys.readouterr()
    assert len(err.splitlines()) == 2
    assert out.endswith("shop/good: valid\n")


def test_generate_prints_nothing_unless_all_is_well(file, capsys):
    bad = workflow("bad", spec="{}")

    assert cli.main(["generate", "-f", file(f"{workflow('good')}---\n{bad}")]) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nothing"],
        ["generate"],
        ["validate"],
        ["generate", "-f"],
        ["validate", "-f", "x", "--y"],
    ],
)
def test_wrong_use_is_exit_code_two(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)

    assert caught.value.code == 2
    assert "usage: flowgauge" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["generate", "--help"]])
def test_help_and_version_are_fine(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)

    assert caught.value.code == 0
    assert "flowgauge" in capsys.readouterr().out


class Closed(io.StringIO):
    def write(self, _text):
        raise BrokenPipeError


def test_a_reader_that_has_seen_enough_is_no_error(file, monkeypatch):
    monkeypatch.setattr("sys.stdout", Closed())
    monkeypatch.setattr("sys.stderr", io.StringIO())

    assert cli.main(["generate", "-f", file(workflow())]) == 0


# -- times and profiles ------------------------------------------------------------------------------------------------


def test_a_time_without_quotes_is_taken_as_it_is_written(file, capsys):
    window = "{name: move, start: 2026-12-01T22:00:00Z, end: 2026-12-02T02:00:00Z}"
    spec = f"{{selector: {{matchLabels: {{app: a}}}}, maintenance: [{window}]}}"

    assert cli.main(["generate", "-f", file(workflow(spec=spec))]) == 0
    assert "vector(time()) >= 1796162400 < 1796176800" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (
            "{name: a, cron: 0 2 * * *, duration: 25h}",
            "spec.maintenance[0].duration: 25h is longer than 24h",
        ),
        (
            "{name: a, cron: 0 2 * * *, duration: 1h, timeZone: Mars/X}",
            "spec.maintenance[0].timeZone: 'Mars/X' is no time zone",
        ),
        (
            "{name: a, start: 2026-02-30T22:00:00Z, end: 2026-12-02T02:00:00Z}",
            "spec.maintenance[0].start: 2026-02-30T22:00:00Z is no day of the calendar",
        ),
        (
            "{name: a, start: 2026-12-01T22:00:00Z, end: 2027-02-29T22:00:00Z}",
            "spec.maintenance[0].end: 2027-02-29T22:00:00Z is no day of the calendar",
        ),
        (
            "{name: a, cron: 9-1 2 * * *, duration: 1h}",
            "spec.maintenance[0].cron: the minute '9-1' is not within 0 to 59",
        ),
    ],
)
def test_a_window_that_cannot_be_used_is_told_with_the_remedy(file, capsys, window, message):
    spec = f"{{selector: {{matchLabels: {{app: a}}}}, maintenance: [{window}]}}"

    assert cli.main(["validate", "-f", file(workflow(spec=spec))]) == 1
    assert message in capsys.readouterr().err


NIGHTLY = """
apiVersion: flowgauge.dev/v1alpha1
kind: WorkflowProfile
metadata: {name: nightly}
spec:
  title: Nightly
  description: Jobs of the night.
  alertPrefix: Nightly
  families:
  - {name: nightly_jobs_total, role: run.finished, type: counter, help: Jobs., labels: {workflow: task, outcome: result},
     outcomes: {good: [ok], ignored: [skipped]}, values: {outcome: [ok, broken]}}
"""
OWN = """
  alerts:
  - {name: A, severity: warning, summary: S., description: d., expr: "$rate(step.finished[5m]) > 1"}
  - {name: B, severity: warning, summary: S., description: d., expr: "$rate(run.finished[5m] > 1"}
  - {name: C, severity: warning, summary: S., description: d., expr: "sum(up) > 1"}
"""


def test_a_profile_in_a_file_serves_workflows(file, capsys):
    ours = file(workflow(spec="{profile: nightly, selector: {matchLabels: {app: a}}}"))
    profile = file(NIGHTLY, "nightly.yaml")

    assert cli.main(["validate", "-f", ours]) == 1
    told = capsys.readouterr().err
    assert "profile 'nightly' does not exist" in told
    assert "has to be given with it, by -f or --profile" in told
    assert cli.main(["validate", "-f", ours, "--profile", profile]) == 0
    assert cli.main(["generate", "-f", ours, "--profile", profile]) == 0
    out = capsys.readouterr().out
    assert "alert: NightlyHighErrorRate" in out
    assert 'result!~"ok|skipped"' in out or 'result!~"ok|skipped"' in out


def test_a_profile_and_its_workflow_may_stand_in_one_file(file, capsys):
    ours = workflow(spec="{profile: nightly, selector: {matchLabels: {app: a}}}")
    both = file(f"{NIGHTLY}---\n{ours}")

    assert cli.main(["validate", "-f", both]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{both}: WorkflowProfile nightly: valid",
        f"{both}: shop/orders: valid",
    ]
    assert cli.main(["generate", "-f", both]) == 0
    assert "alert: NightlyHighErrorRate" in capsys.readouterr().out
    assert cli.main(["profile", "lint", both]) == 0
    assert capsys.readouterr().out == f"{both}: nightly: valid\n"


@pytest.mark.parametrize("text", ["", "---\n", workflow()])
def test_a_file_without_a_profile_passes_for_none(file, capsys, text):
    empty = file(text, "p.yaml")

    assert cli.main(["profile", "lint", empty]) == 1
    assert f"{empty} holds no WorkflowProfile" in capsys.readouterr().err
    assert cli.main(["validate", "-f", file(workflow()), "--profile", empty]) == 1
    assert f"{empty} holds no WorkflowProfile" in capsys.readouterr().err


def test_a_fault_in_a_profile_does_not_hide_what_is_wrong_elsewhere(file, capsys):
    other = workflow(name="other", spec="{scrape: {mode: Push, interval: soon}}")
    ours = workflow(spec="{profile: nightly, selector: {matchLabels: {app: a}}}")
    everything = file(f"{NIGHTLY}{OWN}---\n{ours}---\n{other}")

    assert cli.main(["validate", "-f", everything]) == 1
    told = capsys.readouterr().err
    assert f"{everything}: spec.alerts.A.expr: the profile nightly has no step.finished" in told
    assert "; spec.alerts.B.expr: " in told
    assert "shop/orders: spec.profile: profile 'nightly' does not exist" in told
    assert "shop/other: spec.scrape.interval: must be a whole number" in told


@pytest.mark.parametrize("name", ["workflow", "nightly"])
def test_a_profile_whose_name_is_taken_is_refused(file, capsys, name):
    one, two = (
        file(NIGHTLY.replace("name: nightly}", f"name: {name}}}"), f) for f in ("a.yaml", "b.yaml")
    )

    assert cli.main(["validate", "-f", file(workflow()), "--profile", one, "--profile", two]) == 1
    assert "; choose another name" in (told := capsys.readouterr().err)
    assert f"metadata.name: {name} is taken" in told or f"is {name!r}, which is built in" in told


def test_lint_names_every_fault_with_its_path(file, capsys):
    good, bad = file(NIGHTLY, "good.yaml"), file(NIGHTLY + OWN, "bad.yaml")
    broken = file(NIGHTLY.replace("role: run.finished", "role: run.finnished"), "broken.yaml")

    assert cli.main(["profile", "lint", good]) == 0
    assert capsys.readouterr().out == f"{good}: nightly: valid\n"
    assert cli.main(["profile", "lint", bad, broken, "nowhere.yaml", good]) == 1
    out, err = capsys.readouterr()
    assert out == f"{good}: nightly: valid\n"
    lines = err.splitlines()
    assert len(lines) == 5
    assert (
        f"{bad}: spec.alerts.A.expr: the profile nightly has no step.finished; add a family"
        in lines[0]
    )
    assert f"{bad}: spec.alerts.B.expr: a parenthesis is not closed" in lines[1]
    assert f"{bad}: spec.alerts.C.expr: the selector up does not match namespace" in lines[2]
    assert f"{broken}: spec.families[0].role" in lines[3]
    assert "nowhere.yaml cannot be read" in lines[4]


def test_show_says_what_a_profile_can_and_cannot_express(file, capsys):
    assert cli.main(["profile", "show", file(NIGHTLY)]) == 0
    out = capsys.readouterr().out
    have, _, lack = out.partition("alerts that it has no role for")
    assert "run.finished  nightly_jobs_total" in have
    assert "NightlyHighErrorRate" in have
    assert "success  Runs that ended badly" in have
    assert "latency" not in have
    assert "run.duration" in lack


@pytest.mark.parametrize("name", profiles.names())
def test_every_built_in_profile_can_be_shown_and_has_no_fault(capsys, name):
    file = resources.files("flowgauge.profiles") / "builtin" / f"{name}.yaml"

    assert cli.main(["profile", "show", name]) == 0
    assert cli.main(["profile", "lint", str(file)]) == 0
    assert cli.main(["profile", "list"]) == 0
    assert f"\n{name} " in "\n" + capsys.readouterr().out


def test_a_profile_that_does_not_exist_is_told(capsys):
    assert cli.main(["profile", "show", "nightly"]) == 1
    assert (
        "nightly is neither a file nor a built-in profile; built in are" in capsys.readouterr().err
    )
