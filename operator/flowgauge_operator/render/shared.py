"""What the workflows of a namespace share: objects without owner that live as long as one of them needs them. Pure."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flowgauge_operator import names
from flowgauge_operator.render import annotated, grafana, scrape
from flowgauge_operator.render.annotated import Pods
from flowgauge_operator.render.dashboards import fleet, objectives
from flowgauge_operator.render.manifest import Manifest
from flowgauge_operator.render.options import Capabilities, Options


@dataclass(frozen=True, order=True, slots=True)
class Share:
    """Name one object that a namespace has once; `pods` is what a workflow adds to one that names its workflows."""

    kind: str
    name: str
    pods: tuple[Pods, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


MONITOR = Share("ServiceMonitor", names.SHARED_MONITOR)
_POD_MONITOR = "PodMonitor"
_CONFIG_MAP = Share(grafana.CONFIG_MAP, names.SHARED_DASHBOARDS)
_FLEET = Share(grafana.DASHBOARD, names.SHARED_FLEET)
_OBJECTIVES = Share(grafana.DASHBOARD, names.SHARED_OBJECTIVES)
_BY_MODE: dict[str, tuple[Share, ...]] = {
    grafana.CONFIG_MAP: (_CONFIG_MAP,),
    grafana.DASHBOARD: (_FLEET, _OBJECTIVES),
    grafana.NONE: (),
}


def pod_monitor(pods: Pods) -> Share:
    """The PodMonitor that scrapes annotated pods, with those of one workflow."""
    return Share(_POD_MONITOR, names.SHARED_PODS, (pods,))


def kept(monitor: Mapping[str, Any]) -> dict[str, Share]:
    """What each workflow needs of the PodMonitor, by name, as an existing one says it."""
    return {name: pod_monitor(pods) for name, pods in annotated.recorded(monitor).items()}


def united(shares: Iterable[Share]) -> list[Share]:
    """One share for each object, with what all of its workflows add."""
    found: dict[tuple[str, str], set[Pods]] = {}
    for share in shares:
        found.setdefault((share.kind, share.name), set()).update(share.pods)
    return [Share(*of, tuple(sorted(pods))) for of, pods in sorted(found.items())]


def dashboards(capabilities: Capabilities, options: Options) -> tuple[Share, ...]:
    """The objects with the dashboards of a namespace; the administrator says how they are delivered."""
    if not options.namespace_dashboards:
        return ()
    return _BY_MODE[grafana.possible(options.dashboard_mode, capabilities)]


def manifest(share: Share, namespace: str, options: Options) -> Manifest:
    """The object itself."""
    if share == MONITOR:
        return scrape.shared_monitor(namespace, dict(options.monitor_labels))
    if share.kind == _POD_MONITOR:
        return annotated.monitor(namespace, share.pods, dict(options.monitor_labels))
    files = board_files(namespace, options)
    if share.kind == grafana.DASHBOARD:
        file = board_file(share.name, namespace)
        files = {file: files[file]}
    content = grafana.content(share.kind, files, options.folder(namespace), options)
    metadata = {
        "name": share.name,
        "namespace": namespace,
        "labels": {
            names.MANAGED_BY: names.MANAGER,
            names.NAME: "flowgauge",
            names.SHARED: "true",
            **grafana.labels(share.kind, options),
        },
    }
    if annotations := content.pop("annotations", None):
        metadata["annotations"] = annotations
    return {
        "apiVersion": grafana.api_version(share.kind),
        "kind": share.kind,
        "metadata": metadata,
        **content,
    }


def board_files(namespace: str | None, options: Options) -> dict[str, str]:
    """The dashboards of a namespace, or those over all of them, by the names of their files."""
    urls = (options.runbook_url, options.grafana_url, options.logs_url, options.traces_url)
    boards = _rendered(namespace, urls)
    return {board_file(share.name, namespace): text for share, text in boards}


# Each workflow that comes to a namespace asks for a look at them.
@functools.lru_cache(maxsize=64)
def _rendered(
    namespace: str | None, urls: tuple[str, str, str, str]
) -> tuple[tuple[Share, str], ...]:
    runbook_url, grafana_url, logs_url, traces_url = urls
    options = Options(
        runbook_url=runbook_url,
        grafana_url=grafana_url,
        logs_url=logs_url,
        traces_url=traces_url,
    )
    return (
        (_FLEET, fleet.render(namespace, options)),
        (_OBJECTIVES, objectives.render(namespace, options)),
    )


def board_file(share: str, namespace: str | None) -> str:
    """The name of the file of a dashboard that is shared under this name."""
    name = {_FLEET.name: "fleet", _OBJECTIVES.name: "objectives"}[share]
    # A leading underscore: no workflow is called so.
    return f"{name}.json" if namespace is None else grafana.file_name(namespace, f"_{name}")
