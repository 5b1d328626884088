"""Alerts: what fires now, and whether it reaches a receiver. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flowgauge_operator import names
from flowgauge_operator.doctor.finding import Finding, error, listed, ok, unknown, unseen, warning
from flowgauge_operator.doctor.snapshot import Snapshot, Unseen, Workflow


def firing(seen: Snapshot) -> Iterator[Finding]:
    """Which alerts of the workflow fire."""
    flow = seen.workflow
    if flow is None or flow.rendered is None or flow.observation is None or flow.observation.error:
        return
    found = flow.observation.firing.get(flow.owner, [])
    if not found:
        yield ok("firing", "no alert of the workflow fires")
        return
    told = listed(f"{alert}{f' ({slo})' if slo else ''}" for alert, slo in sorted(set(found)))
    yield warning("firing", f"firing now: {told}", "docs/runbooks has a page for each")


def delivered(seen: Snapshot) -> Iterator[Finding]:
    """Whether what fires is in Alertmanager, told, silenced or inhibited."""
    flow = seen.workflow
    if flow is None or flow.observation is None or not flow.observation.firing.get(flow.owner):
        return
    found = seen.alertmanager.answer("alerts")
    if isinstance(found, Unseen):
        yield unseen("delivered", "what Alertmanager has", found)
        return
    fire = {alert for alert, _ in flow.observation.firing[flow.owner]}
    # What fires no more stays there for some minutes.
    ours = [
        a for a in found if _is_ours(flow, a["labels"]) and a["labels"].get("alertname") in fire
    ]
    lacking = sorted(fire - {a["labels"]["alertname"] for a in ours})
    if lacking:
        told = f"{listed(lacking)} fire in Prometheus, and Alertmanager does not have them"
        remedy = "does this Prometheus send to this Alertmanager (spec.alerting)? See the finding alertmanager-answers"
        yield error("delivered", told, remedy)
    for alert in ours:
        yield _told(flow, alert)


def _is_ours(flow: Workflow, labels: Mapping[str, str]) -> bool:
    return (
        labels.get(names.NAMESPACE_LABEL) == flow.namespace
        and labels.get(names.WORKFLOW_LABEL) == flow.name
    )


def _told(flow: Workflow, alert: Mapping[str, Any]) -> Finding:
    name = alert["labels"].get("alertname", "")
    status = alert.get("status") or {}
    receivers = [r["name"] for r in alert.get("receivers") or []]
    if status.get("silencedBy"):
        return ok("delivered", f"{name} is silenced ({listed(status['silencedBy'], 1)})")
    if status.get("inhibitedBy"):
        return ok("delivered", f"{name} is inhibited: another alert tells the same outage")
    own = f"{flow.namespace}/{names.child(flow.name, 'notify')}/"
    is_paging = alert["labels"].get("severity") != "info"
    if flow.spec.get("notify") and is_paging and not any(r.startswith(own) for r in receivers):
        told = f"{name} goes to {listed(receivers)}, not to the receivers of spec.notify"
        return error(
            "delivered",
            told,
            "see the finding alertmanager-object, and the log of prometheus-operator for the AlertmanagerConfig",
        )
    return ok("delivered", f"{name} goes to {listed(receivers) or 'no receiver'}")


def notifications(seen: Snapshot) -> Iterator[Finding]:
    """Whether notifications fail, where Prometheus scrapes Alertmanager."""
    if seen.prometheus.error is not None:
        return
    found: Sequence[Mapping[str, Any]] | Unseen = seen.prometheus.answer("notifications")
    if isinstance(found, Unseen):
        return
    if not found:
        told = "Prometheus does not scrape Alertmanager, so nobody sees whether notifications fail"
        yield unknown(
            "notifications",
            told,
            "a ServiceMonitor for Alertmanager (kube-prometheus-stack has one)",
        )
        return
    failing = [s for s in found if float(s["value"][1]) > 0]
    if failing:
        told = listed(
            f"{s['metric'].get('integration', '?')} ({float(s['value'][1]):.0f} in an hour)"
            for s in failing
        )
        yield warning(
            "notifications",
            f"notifications fail: {told}",
            "the log of Alertmanager says what the receiver answered",
        )
    else:
        yield ok("notifications", "no notification failed in the last hour")
