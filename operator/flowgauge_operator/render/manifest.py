"""What every rendered object has in common: identity, labels, owner, and the digest that tells drift. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

import orjson

from flowgauge_operator import names
from flowgauge_operator.model import Workflow

Manifest = dict[str, Any]

# What of an object's spec is ours. The API server fills in the rest, and filling in is no drift.
_SERVICE_FIELDS = ("clusterIP", "selector", "publishNotReadyAddresses")
_PORT_FIELDS = ("name", "port", "targetPort", "protocol")
_OURS = (f"{names.GROUP}/", "app.kubernetes.io/", "prometheus.io/")


def child(
    workflow: Workflow,
    api_version: str,
    kind: str,
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    **content: Any,
) -> Manifest:
    """An object in the workflow's namespace, labelled as ours; `own` adds the owner reference."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": workflow.namespace,
        "labels": {
            names.MANAGED_BY: names.MANAGER,
            names.NAME: "flowgauge",
            names.WORKFLOW: workflow.name,
            **(labels or {}),
        },
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **content}


def owned(manifest: Manifest, workflow: Workflow) -> Manifest:
    """The same object, owned by the workflow, so that the garbage collector removes it with its owner."""
    # No blockOwnerDeletion: some clusters then ask for `update` on the owner's finalizers.
    reference = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": workflow.name,
        "uid": workflow.uid,
        "controller": True,
    }
    return {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": [reference]}}


def hashed(manifest: Manifest, extra_labels: Collection[str] = ()) -> Manifest:
    """The same object with the digest of its content as an annotation."""
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), names.HASH: digest(manifest, extra_labels)}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def digest(
    body: Mapping[str, Any], extra_labels: Collection[str] = (), kind: str | None = None
) -> str:
    """A digest of what is ours in an object, equal for what we send and for what the API server makes of it.

    `extra_labels` are label and annotation keys from the settings that count as ours too. `kind` is for bodies out of a
    list, which do not name it. The owner is not part of it: whoever plans compares uids.
    """
    metadata = body.get("metadata") or {}
    spec = body.get("spec")
    content = {
        "labels": _ours(metadata.get("labels"), extra_labels),
        "annotations": _ours(metadata.get("annotations"), extra_labels),
        "spec": _service(spec or {}) if (kind or body.get("kind")) == "Service" else spec,
        "data": body.get("data"),
    }
    text = orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(text, digest_size=10).hexdigest()


def _ours(values: Mapping[str, str] | None, extra: Collection[str]) -> dict[str, str]:
    return {
        key: value
        for key, value in (values or {}).items()
        if key != names.HASH and (key.startswith(_OURS) or key in extra)
    }


def _service(spec: Mapping[str, Any]) -> dict[str, Any]:
    own = {field: spec.get(field) for field in _SERVICE_FIELDS}
    own["ports"] = [
        {field: port.get(field) for field in _PORT_FIELDS} for port in spec.get("ports") or []
    ]
    return own
