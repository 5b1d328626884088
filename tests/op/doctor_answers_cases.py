"""What may be wrong by the answers of Prometheus and Alertmanager, and the finding that says so."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import doctor_scene as scene
from doctor_monitoring_cases import NOTIFY
from doctor_scene import NAME, NOW, SPACE, changed, snapshot
from doctor_workflow_cases import SOMETIMES, flow

from flowgauge_operator.doctor.snapshot import Server
from flowgauge_operator.verify import Group


def asked(**answers):
    return snapshot(prometheus=scene.answered(**answers))


def observed(**changes):
    healthy = scene.workflow()
    return snapshot(
        dataclasses.replace(healthy, observation=scene.observation(healthy.rendered, **changes))
    )


def remembering(seconds, days):
    """Rules that have run for some seconds, of a workflow that was made some days ago."""
    healthy = scene.workflow()
    made = {"creationTimestamp": (NOW - timedelta(days=days)).isoformat()}
    body = healthy.body | {"metadata": healthy.body["metadata"] | made}
    return snapshot(
        dataclasses.replace(healthy, body=body),
        prometheus=scene.answered(oldest=[scene.series(seconds)]),
    )


def pushing(**answers):
    return snapshot(
        scene.workflow({"scrape": {"mode": "Push"}}), prometheus=scene.answered(**answers)
    )


FIRING = {"firing": {scene.OWNER: [("HighErrorRate", "")]}}


def alarmed(spec=None, **alert):
    known = {
        "labels": {"alertname": "HighErrorRate", "namespace": SPACE, "monitored_workflow": NAME},
        "status": {},
        "receivers": [{"name": "team"}],
    }
    healthy = scene.workflow(spec or {})
    told = dataclasses.replace(healthy, observation=scene.observation(healthy.rendered, **FIRING))
    alerts = [] if alert.get("none") else [known | alert]
    return snapshot(
        told,
        alertmanager=Server("at a", None, {"alerts": alerts}, "Alertmanager"),
        alertmanagers=[],
    )


SEEN = {
    "no target now": (
        lambda: dataclasses.replace(flow(spec=SOMETIMES, pods=[]), prometheus=scene.answered(targets=[])),
        "targets", "ok", "none now",
    ),
    "no target": (lambda: asked(targets=[]), "targets", "error", "is loaded; it has no target"),
    "no target, and a layer that knows no jobs": (
        lambda: asked(targets=[], pools=scene.ABSENT), "targets", "error", "what answers does not say",
    ),
    "rules behind a layer that knows no jobs": (
        lambda: observed(pools=None, targets={}), "rules", "ok", "of this revision",
    ),
    "no job": (lambda: asked(targets=[], pools=[]), "targets", "error", "Prometheus has no scrape job"),
    "a target that is down": (
        lambda: asked(targets=[scene.target("dial tcp: connect: connection refused"), scene.target()]),
        "targets", "error", "1 of 2 down: nobody listens on that port",
    ),
    "a target that is new": (
        lambda: asked(targets=[scene.target() | {"health": "unknown"}]), "targets", "unknown", "1 of 1 not scraped yet",
    ),
    "targets of others": (
        lambda: asked(targets=[scene.target(namespace="other")]), "targets", "error", "has no target of this workflow",
    ),
    "a pod twice": (
        lambda: asked(up=[*scene.ANSWERS["up"], scene.series(instance="10.0.0.1:9090", job="mine")]),
        "scraped-once", "warning", "is also scraped by the job mine",
    ),
    "a pod of two workflows": (
        lambda: asked(up=[*scene.ANSWERS["up"], scene.series(instance="10.0.0.1:9090", job="j", monitored_workflow="b")]),
        "scraped-once", "warning", "the job j for the workflow b",
    ),
    "a label that clashes": (
        lambda: asked(clash=scene.named("runs_total")), "labels", "warning", "runs_total carry a label monitored_workflow",
    ),
    "a Pushgateway without honorLabels": (
        lambda: pushing(clash=scene.named("runs_total"), pushed=[]), "labels", "error", "without honorLabels",
    ),
    "a push that arrives with other labels": (
        lambda: pushing(clash=scene.named("runs_total"), pushed=[]), "pushed", "error", "none arrives with its labels",
    ),
    "nothing was pushed": (pushing, "pushed", "error", "no group with namespace=shop"),
    "an old push": (
        lambda: pushing(pushed=[scene.series(str(NOW.timestamp() - 7 * 86400))]), "pushed", "warning", "the last push was 168 h ago",
    ),
    "a push": (
        lambda: pushing(pushed=[scene.series(str(NOW.timestamp() - 60))]), "pushed", "ok", "60 s ago",
    ),
    "rules that are not loaded": (
        lambda: observed(groups={}), "rules", "error", "Prometheus lacks",
    ),
    "no rules to load": (
        lambda: changed(observed(groups={}), rules=[]), "rules", "error", "there is no PrometheusRule orders-rules",
    ),
    "rules of yesterday": (
        lambda: observed(revisions={}), "rules", "warning", "an earlier revision",
    ),
    "rules of another version": (
        lambda: dataclasses.replace(observed(revisions={}), version="0.2.0"), "rules", "unknown", "differ in version",
    ),
    "a rule that fails": (
        lambda: observed(groups=dict.fromkeys(scene.workflow().rendered.rule_groups, Group(1, "r: many-to-many"))),
        "rules", "error", "many-to-many",
    ),
    "another profile": (
        lambda: changed_names("contd_workflow_duration_seconds_count", "contd_workflows_completed_total"),
        "families", "error", "those of the profile contd",
    ),
    "another prefix": (
        lambda: changed_names("shop_runs_total"), "families", "error", "there is shop_runs_total: another prefix?",
    ),
    "no series at all": (
        lambda: changed_names("up", "scrape_duration_seconds"), "families", "error", "no series of its own at all",
    ),
    "young data of a young workflow": (
        lambda: remembering("90000", days=1), "history", "ok", "have run for 25 h: success, fast speak of no more than that; that fills up",
    ),
    "young data of an old workflow": (
        lambda: remembering("90000", days=90), "history", "warning", "although it was made 90 d ago",
    ),
    "short memory": (lambda: observed(retention=3600.0), "history", "warning", "keeps data for 1h"),
    "an alert": (alarmed, "firing", "warning", "HighErrorRate"),
    "an alert that did not arrive": (lambda: alarmed(none=True), "delivered", "error", "Alertmanager does not have them"),
    "an alert that is silenced": (
        lambda: alarmed(status={"silencedBy": ["s1"]}), "delivered", "ok", "is silenced (s1)",
    ),
    "an alert that is inhibited": (
        lambda: alarmed(status={"inhibitedBy": ["f"]}), "delivered", "ok", "is inhibited",
    ),
    "an alert that goes elsewhere": (
        lambda: alarmed(NOTIFY), "delivered", "error", "goes to team, not to the receivers of spec.notify",
    ),
    "an alert that is told": (
        lambda: alarmed(NOTIFY, receivers=[{"name": "shop/orders-notify/receiver"}]), "delivered", "ok", "goes to shop/orders-notify/receiver",
    ),
    "notifications that fail": (
        lambda: asked(notifications=[scene.series("3", integration="slack")]), "notifications", "warning", "slack (3 in an hour)",
    ),
    "an Alertmanager that nobody scrapes": (
        lambda: asked(notifications=[]), "notifications", "unknown", "does not scrape Alertmanager",
    ),
}  # fmt: skip


def changed_names(*known):
    return dataclasses.replace(
        observed(families={}), prometheus=scene.answered(names=scene.named(*known))
    )
