"""pint over everything that is rendered: each profile with every feature, and every example.

`pint.hcl` beside this file says what is checked besides its own rules, and what is not and why. One run over all profiles
also finds two workflows that would write the same series.
"""

import subprocess
from pathlib import Path

import pytest
import yaml
from test_checklist import EVERYTHING
from test_rules import EXAMPLES, ONLY_DEFAULT, PROFILES, SLOS, write

from flowgauge import profiles
from flowgauge_operator import model
from flowgauge_operator.render import Capabilities, Options, render
from rig.pytest_plugin import binary

CONFIGURATION = Path(__file__).with_name("pint.hcl")
SPEC = {
    **EVERYTHING,
    "selector": {"matchLabels": {"app": "orders"}},
    "slos": [{"name": name, **objective} for name, objective in (SLOS | ONLY_DEFAULT).items()],
}


def everything(profile):
    """The rule groups of a workflow with every feature that the profile can express."""
    metadata = {"name": "orders", "namespace": profile}
    workflow = model.parse({"metadata": metadata, "spec": {"profile": profile, **SPEC}})
    made = render(workflow, profiles.builtin(profile), Capabilities(), Options())
    assert {problem.reason for problem in made.problems} <= {"RoleNotInProfile"}
    return next(c for c in made.children if c["kind"] == "PrometheusRule")["spec"]["groups"]


@pytest.fixture(scope="module")
def pint():
    """The path of pint; where it is not built, a skip with the command, and a failure in CI."""
    return binary("pint")


def lint(pint, folder, *files):
    command = [pint, "--no-color", "--offline", f"--config={CONFIGURATION}"]
    lint = ["lint", "--min-severity=info", "--fail-on=info", *files]
    return subprocess.run(
        [*command, *lint], cwd=folder, capture_output=True, text=True, check=False, timeout=280
    )


def test_pint_finds_nothing_to_mend_in_what_is_rendered(pint, tmp_path):
    files = [
        write(tmp_path / f"{profile}.yaml", {"groups": everything(profile)}) for profile in PROFILES
    ]

    done = lint(pint, tmp_path, *files)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.parent.name)
def test_pint_finds_nothing_to_mend_in_an_example(pint, tmp_path, example):
    manifests = yaml.safe_load_all(example.read_text(encoding="utf-8"))
    rules = next(m for m in manifests if m["kind"] == "PrometheusRule")

    done = lint(pint, tmp_path, write(tmp_path / "rules.yaml", rules["spec"]))

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ({"alert": "A", "expr": 'up{namespace="a"}'}, "alerts/comparison"),
        ({"alert": "A", "expr": "sum(up) > 0"}, "promql/aggregate"),
        ({"alert": "A", "expr": "topk(1, up) > 0"}, "promql/fragile"),
        (
            {"alert": "A", "expr": "up == 0", "annotations": {"summary": "lower."}},
            "alerts/annotation",
        ),
        ({"record": "own", "expr": "up"}, "rule/name"),
        ({"record": "a:b:c", "expr": 'up{job=~"a"}'}, "promql/regexp"),
    ],
)
def test_pint_finds_what_is_wrong(pint, tmp_path, rule, found):
    """So that an empty answer means something."""
    file = write(tmp_path / "rules.yaml", {"groups": [{"name": "a", "rules": [rule]}]})

    done = lint(pint, tmp_path, file)

    assert done.returncode != 0
    assert f"({found})" in done.stdout + done.stderr
