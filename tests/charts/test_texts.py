"""Texts that Go takes for numbers or truths are texts for kubectl, in what `make manifests` and `flowgauge generate` write."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml
from chartcases import ROOT

from flowgauge_operator.cli import product
from rig import tools
from rig.pytest_plugin import binary

pytestmark = pytest.mark.parts

# PyYAML writes all of these as they are: a short commit, an octal, a truth.
ODD = {
    "commit": "12345e6",
    "octal": "0o7",
    "hex": "0X1F",
    "critical": "y",
    "y": "N",
    "part": "1_0e3",
}


def read(document):
    """What kubectl makes of a document."""
    done = subprocess.run(
        [tools.path("kubectl"), "label", "--local", "--filename=-", "--output=json", "read=yes"],
        input=document,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_make_manifests(helm, tmp_path):
    given, written = tmp_path / "values.yaml", tmp_path / "install.yaml"
    given.write_text(json.dumps({"podAnnotations": ODD}))
    command = [sys.executable, ROOT / "hack/manifests.py", "--values", given, "--output", written]
    subprocess.run(command, check=True, capture_output=True)
    (deployment,) = (
        text for text in written.read_text().split("\n---\n") if "\nkind: Deployment\n" in text
    )

    assert read(deployment)["spec"]["template"]["metadata"]["annotations"] == ODD


def test_flowgauge_generate():
    binary("kubectl")
    body = yaml.safe_load((ROOT / "examples/orders/workflow.yaml").read_text())
    body["spec"]["alerts"] = {"labels": ODD}
    made = product.generated(json.dumps(body), "workflow.yaml")
    (rules,) = (text for text in made.split("\n---\n") if "\nkind: PrometheusRule\n" in text)

    labels = [
        rule["labels"]
        for group in read(rules)["spec"]["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert [each for each in labels if not ODD.items() <= each.items()] == []
    assert len(labels) > 5
