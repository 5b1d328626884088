"""How a dashboard reaches Grafana: a ConfigMap for its sidecar, or a GrafanaDashboard for grafana-operator. Pure."""

from __future__ import annotations

from typing import Any

from flowgauge_operator.model import Workflow
from flowgauge_operator.render.options import Capabilities, Options

CONFIG_MAP = "ConfigMap"
DASHBOARD = "GrafanaDashboard"
NONE = "None"
_API = "grafana.integreatly.org/v1beta1"


def resolved(workflow: Workflow, options: Options) -> Workflow:
    """The workflow with the administrator's mode where it names none itself, so that nobody else has to ask."""
    board = workflow.spec.dashboard
    if board.mode is not None:
        return workflow
    chosen = board.model_copy(update={"mode": options.dashboard_mode})
    return workflow.model_copy(
        update={"spec": workflow.spec.model_copy(update={"dashboard": chosen})}
    )


def possible(mode: str, capabilities: Capabilities) -> str:
    """The mode that the cluster allows for the one that is asked for."""
    return CONFIG_MAP if mode == DASHBOARD and not capabilities.has(DASHBOARD) else mode


def file_name(namespace: str, name: str) -> str:
    """The name of a dashboard's file, in ConfigMaps and folders.

    A sidecar puts those of all namespaces into one folder. No name has an underscore, so no two of them meet.
    """
    return f"{namespace}_{name}.json"


def spec(text: str, folder: str, options: Options) -> dict[str, Any]:
    """The spec of a GrafanaDashboard that carries one dashboard.

    What the API server would fill in is written out, so that it is no drift. The JSON is not compressed: gzip's bytes differ
    between versions of zlib, and the command line and the operator must give the same ones; besides, people read them.
    """
    return {
        "allowCrossNamespaceImport": options.dashboard_cross_namespace,
        "folder": folder,
        "instanceSelector": {"matchLabels": dict(options.dashboard_instances)},
        "json": text,
        "resyncPeriod": options.dashboard_resync,
    }


def content(kind: str, files: dict[str, str], folder: str, options: Options) -> dict[str, Any]:
    """What a manifest of the kind has beside its identity: annotations and data, or spec; `files` by their names."""
    if kind == DASHBOARD:
        (text,) = files.values()
        return {"spec": spec(text, folder, options)}
    return {"annotations": {options.folder_annotation: folder}, "data": files}


def api_version(kind: str) -> str:
    """The API version of a kind that carries dashboards."""
    return _API if kind == DASHBOARD else "v1"


def labels(kind: str, options: Options) -> dict[str, str]:
    """The labels by which whoever delivers finds an object; grafana-operator needs none."""
    return {} if kind == DASHBOARD else dict(options.dashboard_labels)
