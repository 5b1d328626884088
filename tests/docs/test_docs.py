"""The documentation says what is so: links lead somewhere, snippets run, tables list what the code has."""

import ast
import math
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

import values
from flowgauge import profiles
from flowgauge_operator import cli, duration, measure, promql, settings, slo
from flowgauge_operator.cli import plain
from flowgauge_operator.measure import Scope
from flowgauge_operator.plain import targets

ROOT = Path(__file__).resolve().parents[2]
OPERATOR = ROOT / "operator/flowgauge_operator"
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "charts/*/README.md", "examples/**/*.md", "hack/*.md")
    for path in ROOT.glob(pattern)
)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
TEXTS = {name: page.read_text(encoding="utf-8") for name, page in zip(NAMES, PAGES, strict=True)}
BUILTIN = [profiles.builtin(name) for name in profiles.names()]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def prose(text):
    return _FENCE.sub("", text)


def snippets(name, language):
    return [code for kind, code in _FENCE.findall(TEXTS[name]) if kind == language]


def anchors(text):
    """The anchors that GitHub gives to the headings of a page."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = next(i for i in range(1000) if (f"{slug}-{i}" if i else slug) not in found)
        found.add(f"{slug}-{number}" if number else slug)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_relative_link_leads_to_a_file_and_a_heading(name):
    broken = []
    for link in _LINK.findall(re.sub(r"`[^`\n]*`", "", prose(TEXTS[name]))):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        found = target.exists()
        if found and anchor:
            found = anchor in anchors(target.read_text(encoding="utf-8"))
        if not found:
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("name", NAMES)
def test_every_make_target_that_is_mentioned_exists(name):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))

    mentioned = set(re.findall(r"(?:`|^\s*)make ([a-z][a-z-]*)", TEXTS[name], re.MULTILINE))

    assert mentioned - known == set()


PYTHON = [
    (name, number)
    for name in NAMES
    for number in range(len(snippets(name, "python")))
    if not name.startswith("hack/")  # those are excerpts that need a cluster
]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """What every Python snippet ended with. Each runs in a process and a folder of its own, on any free port."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("FLOWGAUGE_")},
        "FLOWGAUGE_PORT": "0",
        "FLOWGAUGE_HOST": "127.0.0.1",
        "FLOWGAUGE_PUSHGATEWAY": "off",
    }

    # Before the threads: the factory's counting is not made for them.
    folders = {case: tmp_path_factory.mktemp("snippet") for case in PYTHON}

    def run(case):
        name, number = case
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", snippets(name, "python")[number]],
            cwd=folders[case],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    with ThreadPoolExecutor(4) as pool:
        return dict(zip(PYTHON, pool.map(run, PYTHON), strict=True))


@pytest.mark.parametrize("case", PYTHON, ids=lambda case: f"{case[0]}-{case[1]}")
def test_every_python_snippet_runs(ran, case):
    assert ran[case].returncode == 0, ran[case].stderr


WORKFLOWS = [
    (name, body)
    for name in NAMES
    for text in snippets(name, "yaml")
    for body in yaml.safe_load_all(text)
    if isinstance(body, dict) and body.get("kind") == "MonitoredWorkflow"
]
PROFILES = [
    (name, body)
    for name in NAMES
    for text in snippets(name, "yaml")
    for body in yaml.safe_load_all(text)
    if isinstance(body, dict) and body.get("kind") == "WorkflowProfile"
]


@pytest.mark.parametrize(("name", "body"), WORKFLOWS)
def test_every_workflow_snippet_is_valid(name, body):
    # One that says where its targets are is for a Prometheus without pods.
    is_plain = targets.ANNOTATION in body["metadata"].get("annotations", {})
    assert cli.problems(plain.without_pods(body) if is_plain else body) == []


@pytest.mark.parametrize(("name", "body"), PROFILES)
def test_every_profile_snippet_is_a_profile_whose_alerts_can_be_rendered(name, body):
    profile = profiles.from_object(body, source=name)

    scope = Scope(profile, "shop", "orders").with_values(threshold="1")
    own = [alert["name"] for alert in body["spec"].get("alerts", [])]
    for alert in (alert for alert in profile.alerts if alert.name in own):
        promql.check(measure.expand(alert.expr, scope), "shop")


def texts(node):
    """The text constants in a piece of code that look like a reason."""
    return {
        constant.value
        for constant in ast.walk(node)
        if isinstance(constant, ast.Constant)
        and isinstance(constant.value, str)
        and re.fullmatch(r"[A-Z][A-Za-z]+", constant.value)
    }


def reasons_in(tree):
    """The condition reasons that a module can set."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="Verdict" | "Problem"), args=[_, reason, *_]):
                found |= texts(reason)
            case ast.Call(func=ast.Name(id="SpecError"), args=[_, _, reason]):
                found |= texts(reason)
            case ast.Call(
                func=ast.Name(id="WindowError" | "UnusableProfileError"), args=[reason, _]
            ):
                found |= texts(reason)
            case ast.Assign(targets=[ast.Name(id="reason" | "_DELIVERED")], value=value):
                found |= texts(value)
            case ast.Assign(
                targets=[ast.Subscript(value=ast.Name(id="failed"))], value=ast.Tuple(elts=[one, _])
            ):
                found |= texts(one)
            case ast.FunctionDef(name="_reason"):
                for statement in ast.walk(node):
                    found |= texts(statement) if isinstance(statement, ast.Return) else set()
            case ast.arguments(args=[*_, ast.arg(arg="reason")], defaults=[*_, default]):
                found |= texts(default)
    return found


def test_every_condition_reason_is_in_the_table_with_a_remedy():
    modules = [
        *(
            OPERATOR / f"{name}.py"
            for name in ("status", "verify", "reconcile", "slo", "discovery")
        ),
        *OPERATOR.glob("model/*.py"),
        *OPERATOR.glob("render/**/*.py"),
    ]
    trees = [ast.parse(module.read_text(encoding="utf-8")) for module in modules]
    reasons = set().union(*map(reasons_in, trees))

    row = re.compile(r"^\| [A-Z][A-Za-z, ]+ \| `(\w+)` \| (?:True|False|Unknown) \|", re.MULTILINE)
    pages = ("docs/workflow.md", "docs/writing-profiles.md")
    listed = {reason for page in pages for reason in row.findall(TEXTS[page])}

    # Some that are known, so that a search that finds nothing does not pass.
    assert {
        "Valid",
        "InvalidSpec",
        "WindowTooLong",
        "Conflict",
        "Forbidden",
        "Monitored",
    } <= reasons
    assert listed == reasons


def test_every_field_of_the_spec_is_described():
    crd = yaml.safe_load((ROOT / "crds/flowgauge.dev_monitoredworkflows.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]

    def fields(node):
        for name, child in node.get("properties", {}).items():
            yield name
            yield from fields(child)
        if "items" in node:
            yield from fields(node["items"])

    words = set(re.findall(r"\w+", TEXTS["docs/workflow.md"]))
    assert set(fields(schema)) - words == set()


def test_every_built_in_profile_is_named():
    for name in profiles.names():
        for page in ("README.md", "docs/workflow.md", "docs/writing-profiles.md"):
            assert f"`{name}`" in TEXTS[page] or f"[{name}.yaml]" in TEXTS[page], (name, page)


def test_every_flag_is_in_the_table_with_its_default():
    table = dict(
        re.findall(r"^\| `--([a-z-]+)` \| ([^|]+) \|", TEXTS["docs/operator.md"], re.MULTILINE)
    )

    assert set(table) == {flag.name for flag in settings.FLAGS}
    for flag in settings.FLAGS:
        if flag.default:
            assert table[flag.name] == f"`{flag.default}`"


def test_every_metric_of_the_operator_is_in_the_table():
    listed = set(re.findall(r"^\| `(flowgauge_\w+)", TEXTS["docs/operator.md"], re.MULTILINE))
    telemetry = (OPERATOR / "telemetry.py").read_text(encoding="utf-8")
    operation = (OPERATOR / "operation.py").read_text(encoding="utf-8")

    counters = re.findall(r'_counter\(\s*"(\w+)"', telemetry)
    gauges = re.findall(r'_gauge\(\s*"(\w+)"', telemetry) + re.findall(
        r'(?:follow|_labelled)\(\s*"(\w+)"', operation + telemetry
    )
    histograms = re.findall(r'Histogram\(\s*"(\w+)"', telemetry)

    assert counters
    assert listed == {
        *(f"flowgauge_{name}_total" for name in counters),
        *(f"flowgauge_{name}" for name in gauges),
        *histograms,
    }


def test_every_verb_of_the_role_is_explained():
    page = TEXTS["docs/operator.md"]
    rbac = page[page.index("## RBAC") : page.index("## Health")]
    templates = ROOT / "charts/flowgauge/templates"
    chart = "".join((templates / n).read_text() for n in ("rbac.yaml", "_helpers.tpl"))

    for listed in re.findall(r"(?:resources|verbs): \[([^\]]+)\]", chart):
        for word in listed.split(", "):
            assert word in rbac, word


@pytest.mark.parametrize(
    "chart", sorted(path.parent for path in (ROOT / "charts").glob("*/values.yaml"))
)
def test_every_value_of_a_chart_is_in_its_table(chart):
    known = values.read((chart / "values.yaml").read_text(encoding="utf-8"))
    page = TEXTS[f"charts/{chart.name}/README.md"]

    table = page[page.index("<!-- values") : page.index("<!-- end of values")]
    listed = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)

    assert len(listed) > 10
    assert listed == [value.name for value in values.leaves(known)]


def expansions():
    for block in snippets("docs/writing-profiles.md", "promql"):
        for part in block.strip().split("\n\n"):
            comment, expansion = part.split("\n")
            profile, _, macro = comment.removeprefix("# ").partition(": ")
            yield profile, macro, expansion


@pytest.mark.parametrize(("profile", "macro", "expansion"), list(expansions()))
def test_every_macro_expands_to_what_the_page_shows(profile, macro, expansion):
    scope = Scope(profiles.builtin(profile), "shop", "orders", shortest=60)

    assert measure.expand(macro, scope) == expansion


def test_every_macro_is_described():
    page = TEXTS["docs/writing-profiles.md"]

    assert [name for name in (*measure._MACROS, "recorded") if f"`${name}" not in page] == []


def test_every_field_of_a_profile_is_described():
    page = TEXTS["docs/writing-profiles.md"]
    keys = set()
    for file in (ROOT / "library/flowgauge/profiles/builtin").glob("*.yaml"):
        spec = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]
        keys |= {*spec, *(key for value in spec.values() if isinstance(value, list) for item in value for key in item)}  # fmt: skip

    words = set(re.findall(r"\w+", page))
    assert keys - words == set()


def windows():
    tier = r"(\S+) / (\S+), (\S+)"
    row = re.compile(rf"^\| (\d+[hd]) \| {tier} \| {tier} \| {tier} \| {tier} \|$", re.MULTILINE)
    return row.findall(TEXTS["docs/slos.md"])


@pytest.mark.parametrize("row", windows(), ids=lambda row: row[0])
def test_every_row_of_windows_and_factors_is_what_the_code_computes(row):
    timing = slo.timing(duration.seconds(row[0]), 15)

    computed = [
        text
        for tier in (*timing.page, *timing.ticket)
        for text in (
            duration.text(tier.long),
            duration.text(tier.short),
            f"{float(tier.factor):.4g}",
        )
    ]
    assert list(row[1:]) == computed


def reachable():
    """Windows and the objectives from which on each tier but the last can fire."""
    row = re.compile(r"^\| (\d+d)(?: and longer)? \| ((?:[\d.]+ % \| ){3})any \|$", re.MULTILINE)
    return row.findall(TEXTS["docs/slos.md"])


@pytest.mark.parametrize("row", reachable(), ids=lambda row: row[0])
def test_every_objective_from_which_a_tier_can_fire_is_what_the_code_computes(row):
    timing = slo.timing(duration.seconds(row[0]), 15)

    computed = [str(slo.reachable_from(t)) for t in (*timing.page, timing.ticket[0])]

    assert re.findall(r"[\d.]+", row[1]) == computed
    assert slo.reachable_tiers(0.0001, (timing.ticket[1],))


def detections():
    """Objectives, minutes until each tier notices a total outage, and runs among which one failure would fire it."""
    row = re.compile(r"^\| ([\d.]+) % \| ([^|]+) \| ([\d /]+) \|$", re.MULTILINE)
    return row.findall(TEXTS["docs/slos.md"])


@pytest.mark.parametrize("row", detections(), ids=lambda row: row[0])
def test_every_time_of_detection_is_what_the_formula_gives(row):
    timing = slo.timing(duration.seconds("30d"), 15)
    ratios = [
        (slo.threshold(t.factor, float(row[0])), t.long) for t in (*timing.page, *timing.ticket)
    ]

    for text, (ratio, long) in zip(row[1].split(" / "), ratios, strict=True):
        minutes = float(ratio) * long / 60
        assert text == "never" if ratio >= 1 else abs(float(text) - minutes) <= 0.5
    # The largest number whose one failure is above the threshold.
    largest = [math.ceil(1 / ratio) - 1 for ratio, _ in ratios]
    assert [int(text) for text in row[2].split(" / ")] == largest


def test_the_tables_were_found():
    assert len(windows()) == 11
    assert len(reachable()) == 5
    assert len(detections()) == 4
    assert len(list(expansions())) >= 8
    assert len(WORKFLOWS) >= 4
    assert len(PYTHON) >= 8


@pytest.mark.parametrize("name", NAMES)
def test_no_page_names_a_machine(name):
    assert re.findall(r"/root/|/home/\w+", TEXTS[name]) == []
