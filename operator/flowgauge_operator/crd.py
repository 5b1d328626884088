"""The CustomResourceDefinition, generated from the models. Pure; `make generate` writes it to `crds/`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from flowgauge_operator import condition, model, names

# JSON Schema keywords that a structural schema does not know. A *property* of such a name survives.
_DROPPED = {"title", "$defs", "examples", "discriminator", "additionalProperties", "default"}


def monitored_workflow() -> dict[str, Any]:
    """The CRD of `MonitoredWorkflow`."""
    plural = "monitoredworkflows"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{names.GROUP}", "labels": {names.NAME: "flowgauge"}},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": plural,
                "singular": "monitoredworkflow",
                "shortNames": ["mwf"],
                "categories": ["all", "monitoring"],
            },
            "versions": [_version()],
        },
    }


def _version() -> dict[str, Any]:
    return {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": _columns(),
        "schema": {"openAPIV3Schema": _root()},
    }


def _columns() -> list[dict[str, Any]]:
    condition_path = ".status.conditions[?(@.type=='{}')].{}"
    return [
        {"name": "Ready", "type": "string", "jsonPath": condition_path.format("Ready", "status")},
        {"name": "Targets", "type": "string", "jsonPath": ".status.summary.targets"},
        {"name": "Budget", "type": "string", "jsonPath": ".status.summary.budget"},
        {"name": "Firing", "type": "integer", "jsonPath": ".status.summary.firing"},
        {"name": "Profile", "type": "string", "jsonPath": ".spec.profile"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {
            "name": "Reason",
            "type": "string",
            "jsonPath": condition_path.format("Ready", "reason"),
            "priority": 1,
        },
        {
            "name": "Message",
            "type": "string",
            "jsonPath": condition_path.format("Ready", "message"),
            "priority": 1,
        },
    ]


def _root() -> dict[str, Any]:
    return {
        "type": "object",
        "description": "A workflow and how it is monitored: scraping, alerts, objectives and a dashboard.",
        "required": ["spec"],
        "x-kubernetes-validations": [
            {
                "rule": "self.metadata.name.size() <= 63",
                "message": "metadata.name becomes a label value: use at most 63 characters",
            }
        ],
        "properties": {
            "apiVersion": {
                "type": "string",
                "description": "Version of the schema of this object.",
            },
            "kind": {"type": "string", "description": "Kind of this object: MonitoredWorkflow."},
            "metadata": {"type": "object"},
            "spec": structural(model.Spec),
            "status": structural(condition.Status),
        },
    }


def structural(kind: type[BaseModel]) -> dict[str, Any]:
    """The structural OpenAPI v3 schema of a model, with defaults.

    Raises:
        ValueError: the model uses a union or a recursion that a structural schema cannot express.
    """
    schema = kind.model_json_schema(by_alias=True)
    return _convert(schema, schema.get("$defs", {}), ())


def _convert(node: dict[str, Any], defs: dict[str, Any], trail: tuple[str, ...]) -> dict[str, Any]:
    if "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[-1]
        if name in trail:
            raise ValueError(f"{name} is recursive: a CRD cannot express that")
        beside = {key: value for key, value in node.items() if key != "$ref"}
        return _convert({**defs[name], **beside}, defs, (*trail, name))
    if "anyOf" in node and not node.get("x-kubernetes-int-or-string"):
        return _convert(_without_null(node), defs, trail)
    out = {key: value for key, value in node.items() if key not in _DROPPED}
    if (default := node.get("default")) is not None:
        out["default"] = default
    _convert_bounds(out)
    _convert_children(node, out, defs, trail)
    return out


def _without_null(node: dict[str, Any]) -> dict[str, Any]:
    members = [member for member in node["anyOf"] if member.get("type") != "null"]
    if len(members) != 1 or len(members) == len(node["anyOf"]):
        raise ValueError(f"a union of {len(members)} types is not structural: {node}")
    return {**members[0], **{key: value for key, value in node.items() if key != "anyOf"}}


def _convert_bounds(out: dict[str, Any]) -> None:
    # OpenAPI v3.0 has booleans where JSON Schema has numbers.
    for bound in ("Minimum", "Maximum"):
        if (limit := out.pop(f"exclusive{bound}", None)) is not None:
            out[bound.lower()] = limit
            out[f"exclusive{bound}"] = True
    if "const" in out:
        out["enum"] = [out.pop("const")]


def _convert_children(
    node: dict[str, Any], out: dict[str, Any], defs: dict[str, Any], trail: tuple[str, ...]
) -> None:
    if "properties" in node:
        out["properties"] = {
            name: _convert(child, defs, trail) for name, child in node["properties"].items()
        }
        # A field with a default is never missing, so nothing with one may be required.
        required = [
            name for name in node.get("required", []) if "default" not in out["properties"][name]
        ]
        out.pop("required", None)
        if required:
            out["required"] = required
    if isinstance(node.get("additionalProperties"), dict):
        out["additionalProperties"] = _convert(node["additionalProperties"], defs, trail)
    if "items" in node:
        out["items"] = _convert(node["items"], defs, trail)
