"""Prometheus and Alertmanager as they answer, and Alertmanager objects: whether notifications would be taken in. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flowgauge_operator import kinds, names
from flowgauge_operator.doctor import places
from flowgauge_operator.doctor.checks.operator import change
from flowgauge_operator.doctor.checks.prometheus import Thing, real, refusals, selecting
from flowgauge_operator.doctor.finding import Finding, error, listed, ok, unknown, unseen, warning
from flowgauge_operator.doctor.snapshot import Body, Snapshot, Unseen, title


def answers(seen: Snapshot) -> Iterator[Finding]:
    """Whether Prometheus and Alertmanager answer the doctor, and know each other."""
    if seen.prometheus.error is not None:
        yield unseen("prometheus-answers", "Prometheus", seen.prometheus.error)
    else:
        built = seen.prometheus.answer("build")
        version = "" if isinstance(built, Unseen) else f" {built.get('version', '')}"
        yield ok("prometheus-answers", f"Prometheus{version} answers, {seen.prometheus.way}")
        yield from _several(seen)
        yield from _known(seen)
    if seen.alertmanager.error is not None:
        yield unseen("alertmanager-answers", "Alertmanager", seen.alertmanager.error)
    else:
        yield ok("alertmanager-answers", f"Alertmanager answers, {seen.alertmanager.way}")


def _several(seen: Snapshot) -> Iterator[Finding]:
    """Whether each request may reach another Prometheus: shards, or objects behind one Service."""
    known = () if isinstance(seen.prometheuses, Unseen) else seen.prometheuses
    ways = [(places.of_prometheus(body), body) for body in known]
    asked = [
        (way, body)
        for way, body in ways
        if f"Service {way.namespace}/{way.service}:" in seen.prometheus.way
    ]
    shards = [f"{title(body)} ({body['spec'].get('shards') or 1} shards)" for _, body in asked]
    if sum(body["spec"].get("shards") or 1 for _, body in asked) < 2:
        return
    way, _ = asked[0]
    told = (
        f"behind the Service {way.namespace}/{way.service} are several: {listed(shards)}; each request may reach another,"
        " so that targets, rules and metrics may seem to be missing"
    )
    remedy = (
        "give the URL of one, or of what queries all of them, such as Thanos: --prometheus URL; for the operator\n"
        + change(seen, "prometheus.url=URL")
    )
    yield warning("prometheus-answers", told, remedy)


def _known(seen: Snapshot) -> Iterator[Finding]:
    known = seen.prometheus.answer("alertmanagers")
    if isinstance(known, Unseen):
        yield unseen("alertmanager-answers", "which Alertmanagers Prometheus knows", known)
    elif not known.get("activeAlertmanagers"):
        told = "Prometheus knows no Alertmanager: alerts fire and nobody is told"
        remedy = (
            "in the Prometheus object:\nspec:\n  alerting:\n    alertmanagers:"
            " [{namespace: monitoring, name: alertmanager-operated, port: web}]"
        )
        yield warning("alertmanager-answers", told, remedy)


def objects(seen: Snapshot) -> Iterator[Finding]:
    """Whether an Alertmanager object selects the AlertmanagerConfig of a workflow that notifies."""
    if seen.workflow is None or not seen.workflow.spec.get("notify"):
        return
    found = seen.alertmanagers
    if isinstance(found, Unseen):
        yield unseen("alertmanager-object", "the Alertmanager objects", found)
        return
    if not seen.capabilities.has(kinds.ALERTMANAGER_CONFIG.kind):
        yield error(
            "alertmanager-object",
            "spec.notify needs AlertmanagerConfigs, a kind that is not installed",
            "install Prometheus Operator",
        )
        return
    if not found:
        told = "spec.notify makes an AlertmanagerConfig, but there is no Alertmanager object that could take it in"
        yield error(
            "alertmanager-object", told, "make an Alertmanager object (docs/notifications.md)"
        )
        return
    yield from _notifying(seen, found)


def _notifying(seen: Snapshot, found: Sequence[Body]) -> Iterator[Finding]:
    if seen.workflow is None:
        return
    labels = {names.MANAGED_BY: names.MANAGER, **seen.options.alertmanager_config_labels}
    existing = real(seen.workflow.notifications, kinds.ALERTMANAGER_CONFIG.kind)
    wanted = names.child(seen.workflow.name, "notify")
    body = next((b for b in existing if b["metadata"]["name"] == wanted), None)
    if body is not None:
        labels = body["metadata"].get("labels") or {}
    thing = Thing(
        f"AlertmanagerConfig {seen.workflow.namespace}/{wanted}", seen.workflow.namespace, labels
    )
    field = "alertmanagerConfig"
    reasons = {title(one): refusals(seen, one, field, thing) for one in found}
    if taking := [name for name, refused in reasons.items() if refused == []]:
        strategies = {
            (one["spec"].get("alertmanagerConfigMatcherStrategy") or {}).get("type", "OnNamespace")
            for one in found
        }
        yield ok(
            "alertmanager-object",
            f"{thing.title} is selected by {listed(taking)}; matcher strategy {listed(strategies)}",
        )
        return
    if any(refused is None for refused in reasons.values()):
        told = (
            f"{thing.title}: the labels of namespaces could not be seen, which a selector goes by"
        )
        yield unknown("alertmanager-object", told, "kubectl auth can-i list namespaces")
        return
    told = "; ".join(f"{name}: {', '.join(r or [])}" for name, r in reasons.items())
    yield error(
        "alertmanager-object",
        f"no Alertmanager selects {thing.title}: {told}",
        selecting(seen, found[0], field, "alertmanagerConfigLabels", thing, [thing.namespace]),
    )
