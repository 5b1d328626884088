"""A configuration of Alertmanager: who is told by `spec.notify`, and what silences what, for all workflows. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from flowgauge_operator import names
from flowgauge_operator.model import Workflow
from flowgauge_operator.plain import secret
from flowgauge_operator.render import notify

_NOBODY = "nobody"


def config(workflows: Iterable[Workflow], secrets: str) -> dict[str, Any]:
    """The whole configuration; `secrets` is the folder in which Alertmanager finds Secrets as files.

    Who is told is what the AlertmanagerConfig of each workflow says. Without one, an alert is shown and nobody is told.
    """
    routes, receivers = [], [{"name": _NOBODY}]
    for workflow in workflows:
        if workflow.spec.notify is None:
            continue
        spec = notify.alertmanager_config(workflow, workflow.spec.notify)["spec"]
        routes.append(_route(spec["route"], workflow))
        receivers += [_receiver(receiver, workflow, secrets) for receiver in spec["receivers"]]
    group_by = [names.NAMESPACE_LABEL, names.WORKFLOW_LABEL, "alertname", "slo"]
    return {
        "route": {"receiver": _NOBODY, "group_by": group_by, "routes": routes},
        "receivers": receivers,
        "inhibit_rules": [
            {
                "source_matchers": [_matcher(*matcher) for matcher in rule.source],
                "target_matchers": [_matcher(*matcher) for matcher in rule.target],
                "equal": list(rule.equal),
            }
            for rule in notify.INHIBITIONS
        ],
    }


def _route(route: dict[str, Any], workflow: Workflow) -> dict[str, Any]:
    made = {_snake(key): value for key, value in route.items()}
    made["receiver"] = _name(route["receiver"], workflow)
    made["matchers"] = [
        _matcher(matcher["name"], matcher["matchType"], matcher["value"])
        for matcher in route["matchers"]
    ]
    if "routes" in route:
        made["routes"] = [_route(below, workflow) for below in route["routes"]]
    return made


def _receiver(receiver: dict[str, Any], workflow: Workflow, secrets: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": _name(receiver["name"], workflow)}
    for sort, configs in receiver.items():
        if sort != "name":
            made[_snake(sort)] = [_settings(each, workflow, secrets) for each in configs]
    return made


def _settings(given: dict[str, Any], workflow: Workflow, secrets: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in given.items():
        if isinstance(value, dict):
            field = _snake(key.removesuffix("Secret"))
            made[f"{field}_file"] = secret.path(
                secrets, workflow.namespace, value["name"], value["key"]
            )
        else:
            made[_snake(key)] = value
    return made


def _name(receiver: str, workflow: Workflow) -> str:
    return f"{workflow.namespace}/{workflow.name}/{receiver}"


def _matcher(name: str, sort: str, value: str) -> str:
    # Names of objects, and constants of ours: none needs an escape.
    return f'{name}{sort}"{value}"'


def _snake(key: str) -> str:
    """`apiURL` as `api_url`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()
