"""Where generated files go below a folder, and which manifests are in them as plain files. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from flowgauge_operator import kinds, names
from flowgauge_operator.render import grafana, shared
from flowgauge_operator.render.manifest import Manifest
from flowgauge_operator.render.options import Options

MANIFESTS = PurePosixPath("manifests")
DASHBOARDS = PurePosixPath("dashboards")
PROVISIONING = PurePosixPath("provisioning/dashboards/flowgauge.yaml")
RULES = PurePosixPath("rules")
SCRAPE = PurePosixPath("scrape")
PUSHGATEWAY = SCRAPE / "pushgateway.yml"
ALERTMANAGER = PurePosixPath("alertmanager/alertmanager.yml")
# Grafana folder of what is about all namespaces. Its files have names without underscore, so they meet no other.
_EVERYWHERE = "Flowgauge"

_PROVIDER = """\
# How Grafana reads these dashboards: put this file into provisioning/dashboards of its configuration, and the folder
# `dashboards` where `path` says.
apiVersion: 1
providers:
- name: flowgauge
  type: file
  disableDeletion: false
  allowUiUpdates: false
  updateIntervalSeconds: 30
  options:
    path: {path}
    foldersFromFilesStructure: true
"""


def manifests(
    objects: Iterable[Manifest], dump: Callable[[Manifest], str]
) -> dict[PurePosixPath, str]:
    """One file for each object: `manifests/<namespace>/<kind>-<name>.yaml`."""
    return {_place(manifest): dump(manifest) for manifest in objects}


def rules(
    objects: Iterable[Manifest], dump: Callable[[Mapping[str, Any]], str]
) -> dict[PurePosixPath, str]:
    """The rule file of each workflow, as Prometheus reads it: `rules/<namespace>_<name>.yml`."""
    found = {}
    for manifest in objects:
        if manifest["kind"] == kinds.PROMETHEUS_RULE.kind:
            metadata = manifest["metadata"]
            file = of_workflow(metadata["namespace"], metadata["labels"][names.WORKFLOW])
            found[RULES / file] = dump({"groups": manifest["spec"]["groups"]})
    return found


def of_workflow(namespace: str, name: str) -> str:
    """The name of a workflow's file. No name has an underscore, so no two of them meet."""
    return f"{namespace}_{name}.yml"


def dashboards(objects: Iterable[Manifest], options: Options) -> dict[PurePosixPath, str]:
    """The dashboards in the manifests as plain JSON: `dashboards/<folder>/<namespace>_<name>.json`."""
    found: dict[PurePosixPath, str] = {}
    for manifest in objects:
        if carried := _carried(manifest, options):
            folder, files = carried
            found |= {DASHBOARDS / folder / name: readable(text) for name, text in files.items()}
    return found


def everywhere(options: Options) -> dict[PurePosixPath, str]:
    """The dashboards over all namespaces."""
    files = shared.board_files(None, options)
    return {DASHBOARDS / _EVERYWHERE / name: readable(text) for name, text in files.items()}


def provisioning(path: str) -> dict[PurePosixPath, str]:
    """What tells Grafana to read the dashboards that lie under `path` there."""
    # JSON's form of a text is one of YAML's.
    return {PROVISIONING: _PROVIDER.format(path=json.dumps(path, ensure_ascii=False))}


def readable(text: str) -> str:
    """A dashboard with a line for each value, so that people see what changed."""
    return json.dumps(json.loads(text), sort_keys=True, ensure_ascii=False, indent=1) + "\n"


def _place(manifest: Manifest) -> PurePosixPath:
    metadata = manifest["metadata"]
    file = f"{manifest['kind'].lower()}-{metadata['name']}.yaml"
    return MANIFESTS.joinpath(metadata["namespace"], file)


def _carried(manifest: Manifest, options: Options) -> tuple[str, Mapping[str, str]] | None:
    """Folder and files of the dashboards in a manifest, if it is one that carries some."""
    if manifest["kind"] == kinds.GRAFANA_DASHBOARD.kind:
        spec = manifest["spec"]
        return spec["folder"], {_file_of(manifest): spec["json"]}
    annotations = manifest["metadata"].get("annotations") or {}
    if manifest["kind"] == grafana.CONFIG_MAP and options.folder_annotation in annotations:
        return annotations[options.folder_annotation], manifest["data"]
    return None


def _file_of(manifest: Manifest) -> str:
    metadata = manifest["metadata"]
    workflow = metadata["labels"].get(names.WORKFLOW)
    if workflow is None:
        return shared.board_file(metadata["name"], metadata["namespace"])
    return grafana.file_name(metadata["namespace"], workflow)
