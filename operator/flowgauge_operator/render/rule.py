"""Parts of a rule file that all rules of a workflow are made of. Pure."""

from __future__ import annotations

from typing import Any

from flowgauge_operator import names
from flowgauge_operator.model import Workflow
from flowgauge_operator.render.options import Options


def identity(workflow: Workflow) -> dict[str, str]:
    """The static labels that say whose a rule is."""
    return {names.NAMESPACE_LABEL: workflow.namespace, names.WORKFLOW_LABEL: workflow.name}


def outage(part: str) -> dict[str, str]:
    """The label that says what part an alert has in an outage; none for no part."""
    return {names.OUTAGE_LABEL: part} if part else {}


def group(
    workflow: Workflow, part: str, interval: str, rules: list[dict[str, Any]]
) -> dict[str, Any]:
    """A group of rules that are evaluated together, one after the other."""
    return {
        "name": names.group(workflow.namespace, workflow.name, part),
        "interval": interval,
        "rules": rules,
    }


def alert(
    name: str, expr: str, for_: str, labels: dict[str, str], annotations: dict[str, str]
) -> dict[str, Any]:
    """An alerting rule; `labels` may hold text of users."""
    held = {} if for_ == "0s" else {"for": for_}
    safe = {key: literal(value) for key, value in labels.items()}
    return {"alert": name, "expr": expr, **held, "labels": safe, "annotations": annotations}


def annotated(
    workflow: Workflow, summary: str, description: str, options: Options, page: str = ""
) -> dict[str, str]:
    """The annotations of an alert; `page` is its runbook, which a user's own alert does not have."""
    made = {"summary": summary, "description": description}
    if page and options.runbook_url:
        made["runbook_url"] = options.runbook(page)
    if options.grafana_url and workflow.spec.dashboard.mode != "None":
        uid = names.dashboard_uid(workflow.namespace, workflow.name)
        made["dashboard_url"] = f"{options.grafana_url}/d/{uid}"
    return made


def literal(text: str) -> str:
    """A user's text with every template opening made harmless: Prometheus would run queries in it otherwise."""
    return text.replace("{{", '{{ "{{" }}')
