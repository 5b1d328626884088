"""Who is told of a workflow's alerts, and which alert silences which: an AlertmanagerConfig. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flowgauge_operator import kinds, names
from flowgauge_operator.model import Email, Notify, Opsgenie, Receiver, SecretKey, Slack, Workflow
from flowgauge_operator.render.manifest import Manifest, child

Matcher = tuple[str, str, str]
_OWNER = (names.NAMESPACE_LABEL, names.WORKFLOW_LABEL)
_EVERYBODY, _PAGER = "receiver", "page"


@dataclass(frozen=True, slots=True)
class Inhibition:
    """While a source fires, targets with equal labels are silent.

    No alert matches both sides: Alertmanager remembers one source for each set of equal labels, and where that one matches
    the target too, it silences nobody although another source fires.
    """

    source: tuple[Matcher, ...]
    target: tuple[Matcher, ...]
    equal: tuple[str, ...]


# What is silenced is never more severe than what silences it: somebody is always told.
INHIBITIONS = (
    Inhibition(
        source=((names.BURN_TIER_LABEL, "=", "page"), ("severity", "!=", "info")),
        target=((names.BURN_TIER_LABEL, "=", "ticket"), ("severity", "!=", "critical")),
        equal=(*_OWNER, "slo"),
    ),
    Inhibition(
        source=((names.OUTAGE_LABEL, "=", "cause"), ("severity", "=", "critical")),
        target=((names.OUTAGE_LABEL, "=~", "absence|effect"),),
        equal=_OWNER,
    ),
    Inhibition(
        source=((names.OUTAGE_LABEL, "=~", "cause|absence"), ("severity", "!=", "info")),
        target=((names.OUTAGE_LABEL, "=", "effect"), ("severity", "!=", "critical")),
        equal=_OWNER,
    ),
)

# The default text of Slack is empty; in the others, annotations are part of the default.
_SLACK_TEXT = """\
{{ range .Alerts }}*{{ .Annotations.summary }}*
{{ .Annotations.description }}{{ with .Annotations.runbook_url }}
<{{ . }}|Runbook>{{ end }}{{ with .Annotations.dashboard_url }}
<{{ . }}|Dashboard>{{ end }}
{{ end }}"""
# PagerDuty knows our severities by the same names; where a notification has several, CommonLabels has none.
_PAGERDUTY_SEVERITY = '{{ or .CommonLabels.severity "error" }}'
_OPSGENIE_PRIORITY = '{{ if eq .CommonLabels.severity "critical" }}P1{{ else }}P3{{ end }}'


def alertmanager_config(
    workflow: Workflow, notify: Notify, labels: Mapping[str, str] | None = None
) -> Manifest:
    """The AlertmanagerConfig of one workflow; `labels` are for the Alertmanager that selects it."""
    named = {_EVERYBODY: notify.receiver, _PAGER: notify.page}
    return child(
        workflow,
        kinds.ALERTMANAGER_CONFIG.api_version,
        kinds.ALERTMANAGER_CONFIG.kind,
        names.child(workflow.name, "notify"),
        labels=labels,
        spec={
            "route": _route(workflow, notify),
            "receivers": [
                {"name": name, **_receiver(receiver, notify.send_resolved)}
                for name, receiver in named.items()
                if receiver is not None
            ],
            "inhibitRules": [_inhibit_rule(workflow, rule) for rule in INHIBITIONS],
        },
    )


def _owner(workflow: Workflow) -> list[Matcher]:
    """Both labels: Prometheus Operator adds the namespace by default only, and not in every namespace."""
    return [
        (names.NAMESPACE_LABEL, "=", workflow.namespace),
        (names.WORKFLOW_LABEL, "=", workflow.name),
    ]


def _route(workflow: Workflow, notify: Notify) -> dict[str, Any]:
    pages = {"receiver": _PAGER, "matchers": _matchers([("severity", "=", "critical")])}
    return {
        "receiver": _EVERYBODY,
        "matchers": _matchers([*_owner(workflow), ("severity", "!=", "info")]),
        "groupBy": list(notify.group_by),
        "groupWait": notify.group_wait,
        "groupInterval": notify.group_interval,
        "repeatInterval": notify.repeat_interval,
        **({"routes": [pages]} if notify.page is not None else {}),
    }


def _inhibit_rule(workflow: Workflow, rule: Inhibition) -> dict[str, Any]:
    owner = _owner(workflow)
    return {
        "sourceMatch": _matchers([*owner, *rule.source]),
        "targetMatch": _matchers([*owner, *rule.target]),
        "equal": list(rule.equal),
    }


def _matchers(matchers: Iterable[Matcher]) -> list[dict[str, str]]:
    return [{"name": name, "matchType": sort, "value": value} for name, sort, value in matchers]


def _receiver(receiver: Receiver, send_resolved: bool) -> dict[str, Any]:
    made: dict[str, dict[str, Any]] = {}
    if receiver.slack:
        made["slackConfigs"] = _slack(receiver.slack)
    if receiver.msteams:
        made["msteamsv2Configs"] = {"webhookURL": _secret(receiver.msteams.webhook_url)}
    if receiver.pagerduty:
        made["pagerdutyConfigs"] = {
            "routingKey": _secret(receiver.pagerduty.routing_key),
            "severity": _PAGERDUTY_SEVERITY,
        }
    if receiver.opsgenie:
        made["opsgenieConfigs"] = _opsgenie(receiver.opsgenie)
    if receiver.email:
        made["emailConfigs"] = _email(receiver.email)
    if receiver.webhook:
        secret = receiver.webhook.url_secret
        made["webhookConfigs"] = (
            {"urlSecret": _secret(secret)} if secret else {"url": receiver.webhook.url}
        )
    return {kind: [{**config, "sendResolved": send_resolved}] for kind, config in made.items()}


def _slack(slack: Slack) -> dict[str, Any]:
    channel = {"channel": slack.channel} if slack.channel else {}
    return {"apiURL": _secret(slack.api_url), **channel, "text": _SLACK_TEXT}


def _opsgenie(opsgenie: Opsgenie) -> dict[str, Any]:
    url = {"apiURL": opsgenie.api_url} if opsgenie.api_url else {}
    return {"apiKey": _secret(opsgenie.api_key), **url, "priority": _OPSGENIE_PRIORITY}


def _email(email: Email) -> dict[str, Any]:
    login: dict[str, Any] = {}
    if email.auth_password:
        login = {
            "authUsername": email.auth_username,
            "authPassword": _secret(email.auth_password),
        }
    return {
        "to": email.to,
        "from": email.from_,
        "smarthost": email.smarthost,
        "requireTLS": email.require_tls,
        **login,
    }


def _secret(key: SecretKey) -> dict[str, str]:
    return {"name": key.name, "key": key.key}
