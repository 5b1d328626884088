"""What both charts stand: odd names, values that are taken away, a chart of a user's around them."""

from __future__ import annotations

import pytest
import yaml
from chartcases import CHART

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
