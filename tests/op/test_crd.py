import dataclasses
from pathlib import Path

import pytest
import re2
import yaml
from pydantic import BaseModel

import version
from flowgauge.profiles import (
    Alert,
    Family,
    Outcomes,
    Panel,
    ProfileSpec,
    Query,
    Recording,
    Scrape,
    Sli,
    Step,
    decode,
)
from flowgauge_operator import condition, crd, model, profile_schema

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("crds", "charts/flowgauge/files/crds")
CRDS = crd.definitions(version.of_chart(version.current(ROOT)))
SCHEMAS = {
    made["spec"]["names"]["kind"]: made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for made in CRDS.values()
}
SCHEMA = SCHEMAS["MonitoredWorkflow"]
# The API server fills these in by its own rules.
ITS_OWN = (".apiVersion", ".kind", ".metadata")


def nodes(node, path=""):
    """Every schema within a schema, with its path; `{}` are values of a map, `[]` items of a list."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "additionalProperties" in node:
        yield from nodes(node["additionalProperties"], f"{path}{{}}")
    if "items" in node:
        yield from nodes(node["items"], f"{path}[]")


NODES = {
    kind + path: node
    for kind, schema in SCHEMAS.items()
    for path, node in nodes(schema)
    if path not in ITS_OWN
}
# A vocabulary may be large; a workflow names one and is small.
LIMITS = {"WorkflowProfile": 512, "MonitoredWorkflow": 64}


def limit(path):
    return LIMITS[path.partition(".")[0]]


STRINGS = [p for p, n in NODES.items() if n.get("type") == "string" and "enum" not in n]
LISTS = [path for path, node in NODES.items() if node.get("type") == "array"]
MAPS = [path for path, node in NODES.items() if "additionalProperties" in node]
PATTERNS = [path for path, node in NODES.items() if "pattern" in node]
FIELDS = [path for path in NODES if not path.endswith(("[]", "{}"))]


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("file", CRDS)
def test_the_committed_crd_is_what_the_models_say(folder, file):
    assert yaml.safe_load((ROOT / folder / file).read_text()) == CRDS[file]


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_else_is_in_the_folder(folder):
    assert {file.name for file in (ROOT / folder).iterdir()} == set(CRDS)


@pytest.mark.parametrize("file", CRDS)
def test_both_committed_copies_are_the_same_bytes(file):
    assert len({(ROOT / folder / file).read_bytes() for folder in FOLDERS}) == 1


def test_every_string_has_an_upper_bound():
    assert [path for path in STRINGS if not NODES[path].get("maxLength", 10**9) <= 4096] == []


def test_every_list_has_an_upper_bound():
    assert [path for path in LISTS if not NODES[path].get("maxItems", 10**9) <= limit(path)] == []


def test_every_map_has_an_upper_bound():
    assert [path for path in MAPS if not NODES[path].get("maxProperties", 10**9) <= 64] == []


def test_every_field_is_described_in_a_sentence():
    assert [p for p in FIELDS if not NODES[p].get("description", "").endswith(".")] == []


def test_every_pattern_is_one_that_the_api_server_compiles():
    assert PATTERNS
    for path in PATTERNS:
        re2.compile(NODES[path]["pattern"])


def test_a_port_is_a_bounded_number_or_name():
    port = NODES["MonitoredWorkflow.spec.scrape.port"]

    assert port["x-kubernetes-int-or-string"] is True
    assert port["maxLength"] == 15


def test_a_field_keeps_the_rules_of_its_type_beside_its_own():
    email = NODES["MonitoredWorkflow.spec.notify.receiver.email.from"]

    messages = [rule["message"] for rule in email["x-kubernetes-validations"]]
    assert [message[:22] for message in messages] == [
        "must not contain {{, s",
        "must be an e-mail addr",
    ]


def test_nothing_is_preserved_that_the_schema_does_not_know():
    assert "x-kubernetes-preserve-unknown-fields" not in yaml.safe_dump(CRDS)
    assert not {"$ref", "$defs", "title", "const"} & {
        key for node in NODES.values() for key in node
    }


def test_no_field_is_both_required_and_defaulted():
    both = [
        f"{path}.{name}"
        for path, node in NODES.items()
        for name in node.get("required", ())
        if "default" in node["properties"][name]
    ]

    assert both == []


def test_every_rule_has_one_line_and_a_message():
    rules = [r for node in NODES.values() for r in node.get("x-kubernetes-validations", ())]

    assert rules
    assert [r for r in rules if "\n" in r["rule"] + r["message"] or not r["message"]] == []


@pytest.mark.parametrize(("path", "key"), [("spec.slos", "name"), ("spec.alerts.extra", "name")])
def test_names_within_a_list_are_unique_by_schema(path, key):
    assert NODES[f"MonitoredWorkflow.{path}"]["x-kubernetes-list-type"] == "map"
    assert NODES[f"MonitoredWorkflow.{path}"]["x-kubernetes-list-map-keys"] == [key]


@pytest.mark.parametrize("kind", SCHEMAS)
def test_conditions_merge_by_type(kind):
    assert NODES[f"{kind}.status.conditions"]["x-kubernetes-list-map-keys"] == ["type"]


def test_every_model_field_is_in_the_schema():
    assert set(SCHEMA["properties"]["spec"]["properties"]) == {
        field.alias for field in model.Spec.model_fields.values()
    }
    assert set(SCHEMA["properties"]["status"]["properties"]) == {
        field.alias for field in condition.Status.model_fields.values()
    }


def test_kubectl_prints_these_columns():
    columns = crd.monitored_workflow()["spec"]["versions"][0]["additionalPrinterColumns"]

    assert [c["name"] for c in columns if not c.get("priority")] == [
        "Ready",
        "Targets",
        "Budget",
        "Firing",
        "Profile",
        "Age",
    ]


def test_every_field_of_a_profile_is_in_the_schema_and_nothing_else_is_described():
    records = {ProfileSpec, Scrape, Family, Outcomes, Recording, Alert, Sli, Panel, Query, Step}
    fields = {f"{r.__name__}.{field.name}" for r in records for field in dataclasses.fields(r)}
    spec = SCHEMAS["WorkflowProfile"]["properties"]["spec"]

    assert set(profile_schema.FIELDS) == fields
    assert set(spec["properties"]) == {
        decode.key_of(field.name) for field in dataclasses.fields(ProfileSpec)
    }
    assert spec["required"] == ["title", "description"]


class Tree(BaseModel):
    child: "Tree | None" = None


class Either(BaseModel):
    value: int | list[int]


@pytest.mark.parametrize(
    ("kind", "message"), [(Tree, "is recursive"), (Either, "is not structural")]
)
def test_what_no_crd_can_express_is_an_error(kind, message):
    with pytest.raises(ValueError, match=message):
        crd.structural(kind)
