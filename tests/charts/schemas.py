"""What judges rendered objects: the API server in a dry run, and kubeconform by the schemas that the API server serves."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from rig.cluster import Cluster


def taken(cluster: Cluster, documents: Collection[str]) -> int:
    """How many objects, as JSON, the API server would take; the first that it would not raises."""
    said = cluster.kubectl(
        "apply",
        "--server-side",
        "--force-conflicts",
        "--dry-run=server",
        "--validate=strict",
        "--filename=-",
        stdin="\n---\n".join(documents),
    )
    return said.count("serverside-applied (server dry run)")


def judged(kubeconform: Path, folder: Path, documents: Collection[str]) -> dict[str, Any]:
    """What kubeconform says of objects, as JSON, by the schemas in a folder: those with a fault, and how many are what."""
    place = f"-schema-location={folder}/{{{{.Group}}}}/{{{{.ResourceKind}}}}_{{{{.ResourceAPIVersion}}}}.json"
    done = subprocess.run(
        [kubeconform, "-summary", "-output=json", place, "-"],
        input="\n---\n".join(documents),
        capture_output=True,
        text=True,
        check=False,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def all_valid(count: int) -> dict[str, Any]:
    """What it says where there is nothing to say against so many."""
    return {
        "resources": [],
        "summary": {"valid": count, "invalid": 0, "errors": 0, "skipped": 0},
    }


def write_schemas(
    cluster: Cluster,
    folder: Path,
    kinds: Iterable[tuple[str, str]],
    crds: Iterable[Mapping[str, Any]] = (),
) -> None:
    """Write GROUP/KIND_VERSION.json for each ``(apiVersion, kind)``, of ``/openapi/v3`` or of CRDs that are not installed.

    What a schema does not name is refused: a misspelt field is the mistake that one looks for.
    """
    wanted = set(kinds)
    served = json.loads(cluster.kubectl("get", "--raw=/openapi/v3"))["paths"]
    for version in {version for version, _ in wanted}:
        place = served.get(f"apis/{version}" if "/" in version else f"api/{version}")
        if place:
            text = cluster.kubectl("get", f"--raw={place['serverRelativeURL']}")
            _write_document(folder, json.loads(text)["components"]["schemas"], wanted)
    for crd in crds:
        spec = crd["spec"]
        for version in spec["versions"]:
            schema = _strict(version["schema"]["openAPIV3Schema"], is_top=True)
            _write(folder, spec["group"], version["name"], spec["names"]["kind"], schema)


def _write_document(folder: Path, schemas: Mapping[str, Any], wanted: set[tuple[str, str]]) -> None:
    strict = {name: _strict(schema) for name, schema in schemas.items()}
    for name, schema in schemas.items():
        for kind in schema.get("x-kubernetes-group-version-kind", ()):
            version = "/".join(filter(None, (kind["group"], kind["version"])))
            if (version, kind["kind"]) not in wanted:
                continue
            whole = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": strict}}
            _write(folder, kind["group"], kind["version"], kind["kind"], whole)


def _write(folder: Path, group: str, version: str, kind: str, schema: Mapping[str, Any]) -> None:
    # kubeconform calls the core group by its version.
    file = folder / (group or version) / f"{kind.lower()}_{version}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(schema))


def _strict(schema: Any, *, is_top: bool = False) -> Any:
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {
        key: {name: _strict(each) for name, each in value.items()}
        if key == "properties"
        else _strict(value)
        for key, value in schema.items()
        if key not in ("default", "example", "enum")
    } | {key: schema[key] for key in ("enum",) if key in schema}
    is_open = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if schema.get("properties") and not is_open:
        made["additionalProperties"] = False
        if is_top:
            made["properties"]["metadata"] = {"type": "object"}
    return made
