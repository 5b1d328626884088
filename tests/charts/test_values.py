"""What is made of values.yaml: a strict schema and a table, for any chart; what says too little of itself is refused."""

from __future__ import annotations

import json
import re

import pytest
from chartcases import ROOT

import values
from flowgauge_operator import values as operator

CHARTS = sorted(path.parent for path in (ROOT / "charts").glob("*/values.yaml"))
TEXT = """
# Number of pods.
# @schema {minimum: 1}
replicas: 2
image:
  # Where it is | and which.
  repository: app
  # When to pull.
  # @schema {enum: [Always, Never]}
  pull: Never
# Labels of pods.
# @schema labels
labels: {a: b}
# Share of a core.
share: 0.5
"""


def test_a_schema_allows_what_the_file_has_and_no_more():
    made = json.loads(values.schema(values.read(TEXT)))

    assert made["additionalProperties"] is False
    properties = made["properties"]
    assert properties["replicas"] == {
        "description": "Number of pods.",
        "type": "integer",
        "minimum": 1,
    }
    assert properties["image"]["additionalProperties"] is False
    assert properties["image"]["properties"]["pull"]["enum"] == ["Always", "Never"]
    (label,) = properties["labels"]["patternProperties"].values()
    assert label["type"] == "string"
    assert properties["share"]["type"] == "number"
    # A chart around it may hand these in.
    assert {"global", "enabled"} <= set(properties)


def test_the_table_has_a_row_for_each_value_that_can_be_set():
    assert values.table(values.read(TEXT)).splitlines()[2:] == [
        "| `replicas` | `2` | Number of pods |",
        '| `image.repository` | `"app"` | Where it is \\| and which |',
        '| `image.pull` | `"Never"` | When to pull; one of `Always`, `Never` |',
        '| `labels` | `{"a": "b"}` | Labels of pods |',
        "| `share` | `0.5` | Share of a core |",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("replicas: 2", "replicas has no comment"),
        ("a:\n  b: 1", "a.b has no comment"),
        ("# Some.\nlist: []", "list: its default does not tell"),
        ("# Some.\nmap: {}", "map: its default does not tell"),
        ("# Some.\n# @schema nosuch\na: x", "a: @schema 'nosuch' is neither"),
        ("[]", "must be a map"),
    ],
)
def test_a_value_that_says_too_little_is_refused_by_name(text, said):
    with pytest.raises(values.ValuesError, match=re.escape(said)):
        values.read(text)


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.name)
def test_every_value_of_a_chart_is_described(chart):
    known = [*values.leaves(values.read((chart / "values.yaml").read_text()))]

    assert len(known) > 30
    assert [value.name for value in known if len(value.text.split()) < 2] == []


def test_every_map_of_the_operators_chart_takes_its_own_keys_only():
    def open_maps(node, path):
        if isinstance(node, dict):
            if "properties" in node and node.get("additionalProperties") is not False:
                yield path
            for name, child in node.items():
                yield from open_maps(child, f"{path}.{name}")

    schema = json.loads((ROOT / "charts/flowgauge/values.schema.json").read_text())
    assert [*open_maps(schema, "")] == []


@pytest.mark.parametrize(
    ("kind", "read", "texts"),
    [
        (
            "link",
            operator.link,
            ["https://g.example/x?y=1#z", "https://g.example/{x}", "g.example"],
        ),
        (
            "runbooks",
            operator.runbook_url,
            [
                "https://r.example/{alert}.md",
                "https://r.example/{alarm}",
                "https://r.example/{{alert}}",
            ],
        ),
        (
            "template",
            operator.template,
            [
                "https://l.example/?q={{namespace}}/{{workflow}}&from={{from}}&to={{to}}",
                'https://l.example/?left={"q":"{app="{{workflow}}"}","x":{},"y":{"z":1}',
                "https://l.example/{{{workflow}}}",
                "https://l.example/{a}",
                "https://l.example/{{name}}",
                "https://l.example/{a{b:1}}",
                "https://l.example/ {{workflow}}",
            ],
        ),
        ("age", operator.duration_, ["1d", "1w2d", "90s", "0s", "1y", "d", "1.5h"]),
        ("labelKey", operator.label_key, ["team", "a.example/team", "/team", "a b", "A.example/x"]),
        (
            "pairs",
            operator.labels,
            ["a=b", "a=", "x.example/a=b,c=d", "a", "a=b=c", "a=b c", "a=ü"],
        ),
        (
            "folder",
            operator.folder,
            ["{namespace}", "A/ü b", "a//b", "/a", ".a", "a/.b", "a" * 129],
        ),
    ],
)
def test_the_charts_refuse_what_the_operator_would_refuse_when_it_starts(kind, read, texts):
    def is_read(text):
        try:
            read(text)
        except ValueError:
            return False
        return True

    allowed = values.TYPES[kind]

    judged = {
        text: bool(re.search(allowed["pattern"], text))
        and len(text) <= allowed.get("maxLength", len(text))
        for text in texts
    }
    assert {text: is_read(text) for text in texts} == judged
    assert {True, False} == set(judged.values())


def test_a_readme_without_a_place_for_the_table_is_told(tmp_path):
    (tmp_path / "values.yaml").write_text(TEXT)
    (tmp_path / "README.md").write_text("# Chart")

    with pytest.raises(values.ValuesError, match="no place for the table"):
        list(values.files(tmp_path))
