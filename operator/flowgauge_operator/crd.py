"""The CustomResourceDefinitions, generated from the models. Pure; `make generate` writes them to `crds/`."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from flowgauge_operator import condition, kinds, model, names, profile_schema
from flowgauge_operator.kinds import Kind

# JSON Schema keywords that a structural schema does not know. A *property* of such a name survives.
_DROPPED = {"title", "$defs", "examples", "discriminator", "additionalProperties", "default"}


def definitions(version: str) -> dict[str, dict[str, Any]]:
    """Every CRD, by the name of its file, labelled with the version of Flowgauge that it comes with."""
    made = (monitored_workflow(), workflow_profile())
    for crd in made:
        crd["metadata"]["labels"][names.RELEASE] = version
    return {f"{names.GROUP}_{crd['spec']['names']['plural']}.yaml": crd for crd in made}


def monitored_workflow() -> dict[str, Any]:
    """The CRD of `MonitoredWorkflow`."""
    root = {
        "description": "A workflow and how it is monitored: scraping, alerts, objectives and a dashboard.",
        "x-kubernetes-validations": [
            {
                "rule": "self.metadata.name.size() <= 63",
                "message": "metadata.name becomes a label value: use at most 63 characters",
            }
        ],
    }
    parts = (structural(model.Spec), structural(condition.Status))
    return _definition(kinds.WORKFLOW, "mwf", _workflow_columns(), _root(root, *parts))


def workflow_profile() -> dict[str, Any]:
    """The CRD of `WorkflowProfile`."""
    root = {
        "description": "A vocabulary of metrics: families by role, and rules, objectives and panels over roles.",
        "x-kubernetes-validations": [
            {
                "rule": f"self.metadata.name.matches('{model.NAME}')",
                "message": "metadata.name must be at most 63 lower-case letters, digits and dashes: spec.profile names it",
            }
        ],
    }
    parts = (profile_schema.spec(), structural(condition.ProfileStatus))
    return _definition(kinds.PROFILE, "wfp", _profile_columns(), _root(root, *parts))


def _definition(
    kind: Kind, short: str, columns: list[dict[str, Any]], schema: dict[str, Any]
) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.resource, "labels": {names.NAME: "flowgauge"}},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [short],
                # `kubectl get all` is for what is in a namespace.
                "categories": ["all", "monitoring"] if kind.namespaced else ["monitoring"],
            },
            "versions": [
                {
                    "name": kind.version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


_CONDITION = ".status.conditions[?(@.type=='{}')].{}"
_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def _told(kind: str) -> list[dict[str, Any]]:
    """Columns of a wide listing that say why a condition is as it is."""
    return [
        {
            "name": field.capitalize(),
            "type": "string",
            "jsonPath": _CONDITION.format(kind, field),
            "priority": 1,
        }
        for field in ("reason", "message")
    ]


def _state(kind: str) -> dict[str, Any]:
    return {"name": kind, "type": "string", "jsonPath": _CONDITION.format(kind, "status")}


def _workflow_columns() -> list[dict[str, Any]]:
    return [
        _state("Ready"),
        {"name": "Targets", "type": "string", "jsonPath": ".status.summary.targets"},
        {"name": "Budget", "type": "string", "jsonPath": ".status.summary.budget"},
        {"name": "Firing", "type": "integer", "jsonPath": ".status.summary.firing"},
        {"name": "Profile", "type": "string", "jsonPath": ".spec.profile"},
        _AGE,
        *_told("Ready"),
    ]


def _profile_columns() -> list[dict[str, Any]]:
    return [
        _state("Accepted"),
        {"name": "Workflows", "type": "integer", "jsonPath": ".status.workflows"},
        {"name": "Title", "type": "string", "jsonPath": ".spec.title"},
        _AGE,
        *_told("Accepted"),
    ]


def _root(root: dict[str, Any], spec: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        **root,
        "required": ["spec"],
        "properties": {
            "apiVersion": {
                "type": "string",
                "description": "Version of the schema of this object.",
            },
            "kind": {"type": "string", "description": "Kind of this object."},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
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
