"""What both charts stand: odd names, values that are taken away, a chart of a user's around them."""

from __future__ import annotations

import pytest
import yaml
from chartcases import CHART

import values
from rig import chart
from rig.helm import ChartError

pytestmark = pytest.mark.parts


@pytest.fixture(params=["flowgauge", "flowgauge-stack"])
def folder(request, completed):
    """Each chart, ready to render."""
    return CHART if request.param == "flowgauge" else completed


def other_than_text(node, path=""):
    """Names, namespaces and labels that YAML takes for something else."""
    if isinstance(node, list):
        for item in node:
            yield from other_than_text(item, path)
    if not isinstance(node, dict):
        return
    for key, child in node.items():
        is_text = key in ("name", "namespace", "secretName") or path.endswith("abels")
        if is_text and not isinstance(child, (str, dict)):
            yield f"{path}.{key}: {child!r}"
        yield from other_than_text(child, f"{path}.{key}")


def test_names_that_look_like_numbers_stay_names(helm, folder):
    text = helm.run("template", "123", str(folder), "--namespace=456", "--skip-crds")

    made = [item for item in yaml.load_all(text, yaml.CSafeLoader) if item]
    # A definition has properties of these names.
    assert [*other_than_text([m for m in made if m["kind"] != "CustomResourceDefinition"])] == []
    assert len(made) > 10


def test_null_is_the_same_as_nothing_where_nothing_is_the_default(folder):
    # Many write a key and leave what it has for later.
    emptied = {}
    for value in values.leaves(values.read((folder / "values.yaml").read_text())):
        if value.default in ("", [], {}):
            place = emptied
            for key in value.path[:-1]:
                place = place.setdefault(key, {})
            place[value.path[-1]] = None
    assert len(emptied) > 10

    def rendered(**overrides):
        made = chart.render(folder, release="r", namespace="n", overrides=overrides)
        return [item for item in made if not item["metadata"]["name"].endswith("grafana-admin")]

    # With everything on that is off by default and takes such a value.
    more = {"networkPolicy": {"enabled": True}}
    emptied["networkPolicy"] |= more["networkPolicy"]
    assert rendered(**emptied) == rendered(**more)


@pytest.mark.parametrize("path", ["networkPolicy", "networkPolicy.enabled"])
def test_a_value_that_is_needed_is_missed_by_its_name(helm, folder, path):
    # So is one that an older release does not know, after `helm upgrade --reuse-values`.
    above, _, key = path.rpartition(".")

    with pytest.raises(ChartError) as refused:
        helm.run("template", "r", str(folder), f"--set={path}=null")

    assert f"at '{'/' * bool(above)}{above}': missing property '{key}'" in str(refused.value)
