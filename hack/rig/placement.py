"""Put pods on the rig's node: there is no scheduler, so what makes pods must name it."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

# Python takes seconds for definitions of half a megabyte.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Where each kind keeps its pod's spec.
_POD_SPECS: Mapping[str, tuple[str, ...]] = {
    "Pod": ("spec",),
    "Deployment": ("spec", "template", "spec"),
    "ReplicaSet": ("spec", "template", "spec"),
    "StatefulSet": ("spec", "template", "spec"),
    "Job": ("spec", "template", "spec"),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
}


def documents(manifests: str | Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Return the objects of YAML or of a list, empty documents left out."""
    found = yaml.load_all(manifests, _LOADER) if isinstance(manifests, str) else manifests
    return (copy.deepcopy(dict(item)) for item in found if item)


def placed(manifests: str | Iterable[Mapping[str, Any]], node: str) -> list[dict[str, Any]]:
    """Return the same objects, their pods on a node; a node that is already named stays."""
    found = list(documents(manifests))
    for manifest in found:
        spec: Any = manifest
        for key in _POD_SPECS.get(manifest.get("kind", ""), ()):
            spec = spec[key]
        if spec is not manifest:
            spec.setdefault("nodeName", node)
    return found
