"""Dashboards: whether a sidecar or grafana-operator would bring them to Grafana. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from flowgauge_operator import kinds, names, synchronized
from flowgauge_operator.doctor import places, selectors
from flowgauge_operator.doctor.checks.operator import change
from flowgauge_operator.doctor.finding import Finding, error, listed, ok, unknown, unseen, warning
from flowgauge_operator.doctor.places import Sidecar
from flowgauge_operator.doctor.snapshot import Snapshot, Unseen, title


def _mode(seen: Snapshot) -> str:
    if seen.workflow is not None and seen.workflow.rendered is not None:
        return seen.workflow.rendered.delivery
    return seen.options.dashboard_mode


def sidecar(seen: Snapshot) -> Iterator[Finding]:
    """Whether a sidecar looks for our label, and where the workflow is."""
    if _mode(seen) != "ConfigMap":
        return
    if isinstance(seen.workloads, Unseen):
        yield unseen("dashboard-sidecar", "Grafana's sidecars", seen.workloads)
        return
    labels = seen.options.dashboard_labels
    found = list(places.sidecars(seen.workloads))
    fitting = [one for one in found if one.takes(labels)]
    if not found:
        told = "no Grafana with a sidecar for dashboards is in this cluster, as far as Deployments and StatefulSets tell"
        remedy = f"let whatever brings dashboards to Grafana read ConfigMaps with the label {_pairs(labels)}"
        yield unknown("dashboard-sidecar", told, remedy)
    elif not fitting:
        yield _other_label(seen, found[0], labels)
    else:
        yield from _places(seen, fitting)


def _pairs(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())


def _other_label(seen: Snapshot, one: Sidecar, labels: Mapping[str, str]) -> Finding:
    value = one.value or next(iter(labels.values()))
    told = (
        f"the sidecar looks for the label {one.label}{f'={one.value}' if one.value else ''}, our ConfigMaps carry"
        f" {_pairs(labels)}: no dashboard reaches Grafana"
    )
    setting = f"grafana.dashboardLabel={one.label}={value}"
    remedy = change(seen, setting)
    return error("dashboard-sidecar", told, remedy, about=title(one.workload))


def _places(seen: Snapshot, fitting: Sequence[Sidecar]) -> Iterator[Finding]:
    spaces = [seen.workflow.namespace] if seen.workflow else _spaces(seen)
    blind = [space for space in spaces if not any(one.watches(space) for one in fitting)]
    one = fitting[0]
    if blind:
        told = f"the sidecar looks into {listed(one.namespaces)} only, not into {listed(blind)}"
        remedy = (
            "let it watch all namespaces: env NAMESPACE=ALL; in the chart of Grafana"
            " --set sidecar.dashboards.searchNamespace=ALL"
        )
        yield error("dashboard-sidecar", told, remedy, about=title(one.workload))
        return
    wanted = seen.options.folder_annotation
    if one.folder_annotation and one.folder_annotation != wanted:
        told = f"the sidecar reads the folder in the annotation {one.folder_annotation}, ours is {wanted}: dashboards come into its default folder"
        setting = f"grafana.folderAnnotation={one.folder_annotation}"
        remedy = change(seen, setting)
        yield warning("dashboard-sidecar", told, remedy, about=title(one.workload))
        return
    labels = _pairs(seen.options.dashboard_labels)
    yield ok(
        "dashboard-sidecar", f"it takes in ConfigMaps with {labels}", about=title(one.workload)
    )


def _spaces(seen: Snapshot) -> list[str]:
    if isinstance(seen.workflows, Unseen):
        return []
    return sorted({body["metadata"]["namespace"] for body in seen.workflows})


def instances(seen: Snapshot) -> Iterator[Finding]:
    """Whether GrafanaDashboards select a Grafana object, and whether it has the workflow's."""
    if _mode(seen) != kinds.GRAFANA_DASHBOARD.kind:
        return
    found = seen.grafanas
    if isinstance(found, Unseen):
        yield unseen("grafana-instances", "the Grafana objects", found)
        return
    wanted = seen.options.dashboard_instances
    selector = {"matchLabels": dict(wanted)}
    fitting = [b for b in found if selectors.matches(selector, b["metadata"].get("labels") or {})]
    if not fitting:
        yield _no_instance(seen, wanted)
    else:
        yield from _reachable(
            seen, [title(b) for b in fitting], {b["metadata"]["namespace"] for b in fitting}
        )
    yield from _delivered(seen)


def _no_instance(seen: Snapshot, wanted: Mapping[str, str]) -> Finding:
    found = () if isinstance(seen.grafanas, Unseen) else seen.grafanas
    if not found:
        told = f"there is no Grafana object that GrafanaDashboards ({_pairs(wanted)}) could be for"
        return error(
            "grafana-instances", told, "make a Grafana object, or --set grafana.mode=ConfigMap"
        )
    body = found[0]
    has = body["metadata"].get("labels") or {}
    told = f"GrafanaDashboards are for Grafana objects with {_pairs(wanted)}; {title(body)} has {_pairs(has) or 'no labels'}"
    meta = body["metadata"]
    label = f"kubectl -n {meta['namespace']} label grafana.grafana.integreatly.org {meta['name']} {' '.join(f'{k}={v}' for k, v in wanted.items())}"
    remedy = [label]
    if has:
        key, value = next(iter(has.items()))
        remedy.append(f"or: {change(seen, f'grafana.instances={key}={value}')}")
    return error("grafana-instances", told, "\n".join(remedy))


def _reachable(seen: Snapshot, fitting: list[str], spaces: set[str]) -> Iterator[Finding]:
    own = seen.workflow.namespace if seen.workflow else None
    if own and own not in spaces and not seen.options.dashboard_cross_namespace:
        told = (
            f"{listed(fitting)} is in another namespace, and --dashboard-cross-namespace is false"
        )
        remedy = change(seen, "grafana.crossNamespace=true")
        yield error("grafana-instances", told, remedy)
    else:
        yield ok("grafana-instances", f"GrafanaDashboards are for {listed(fitting)}")


def _delivered(seen: Snapshot) -> Iterator[Finding]:
    if seen.workflow is None:
        return
    boards = seen.workflow.dashboards
    if isinstance(boards, Unseen):
        yield unseen("dashboard-delivered", "the GrafanaDashboard", boards)
        return
    own = names.child(seen.workflow.name, "dashboard")
    body = next((b for b in boards if b["metadata"]["name"] == own), None)
    if body is None:
        told = f"there is no GrafanaDashboard {own}"
        yield error(
            "dashboard-delivered",
            told,
            f"kubectl -n {seen.workflow.namespace} describe mwf {seen.workflow.name}",
        )
        return
    said = synchronized.of(body)
    look = f"kubectl -n {seen.workflow.namespace} describe grafanadashboard {own}"
    if said.state:
        yield ok("dashboard-delivered", said.message)
    elif said.state is None:
        yield unknown("dashboard-delivered", said.message, look)
    else:
        yield warning("dashboard-delivered", said.message, look)
