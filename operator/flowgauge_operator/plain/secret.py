"""Keys of Secrets as files: where Prometheus and Alertmanager read them, and which somebody has to put there. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from flowgauge_operator.model import Receiver, SecretKey, Workflow


def path(folder: str, namespace: str, name: str, key: str) -> str:
    """The file that holds a key. The namespace is part of it, since a Secret is read by those of its own only."""
    return str(PurePosixPath(folder) / namespace / name / key)


def scraped(workflow: Workflow) -> Iterator[tuple[str, SecretKey]]:
    """The keys that a scrape needs, each with its field."""
    tls, authorization = workflow.spec.scrape.tls, workflow.spec.scrape.authorization
    if tls:
        for field, key in (("ca", tls.ca), ("cert", tls.cert), ("keySecret", tls.key_secret)):
            if key:
                yield f"spec.scrape.tls.{field}", key
    if authorization:
        yield "spec.scrape.authorization.credentials", authorization.credentials


def notified(workflow: Workflow) -> Iterator[tuple[str, SecretKey]]:
    """The keys that notifications need, each with its field."""
    notify = workflow.spec.notify
    if notify is None:
        return
    for part, receiver in (("receiver", notify.receiver), ("page", notify.page)):
        if receiver:
            for field, key in _of(receiver):
                yield f"spec.notify.{part}.{field}", key


def _of(receiver: Receiver) -> Iterator[tuple[str, SecretKey]]:
    found = (
        ("slack.apiURL", receiver.slack and receiver.slack.api_url),
        ("msteams.webhookURL", receiver.msteams and receiver.msteams.webhook_url),
        ("pagerduty.routingKey", receiver.pagerduty and receiver.pagerduty.routing_key),
        ("opsgenie.apiKey", receiver.opsgenie and receiver.opsgenie.api_key),
        ("email.authPassword", receiver.email and receiver.email.auth_password),
        ("webhook.urlSecret", receiver.webhook and receiver.webhook.url_secret),
    )
    yield from ((field, key) for field, key in found if key)
