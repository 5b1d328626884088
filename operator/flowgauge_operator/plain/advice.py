"""What somebody has to do by hand because there is no Kubernetes that does it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from flowgauge_operator.model import SecretKey, Workflow
from flowgauge_operator.plain import secret
from flowgauge_operator.render import Problem


def advice(workflow: Workflow, secrets: str, *, gateway: bool) -> Iterator[Problem]:
    """What is to do for one workflow; `gateway` is whether a Pushgateway is scraped."""
    spec = workflow.spec
    if spec.scrape.mode == "Push" and not gateway:
        message = (
            "nothing scrapes the Pushgateway that it pushes to; give --pushgateway HOST:PORT, or scrape it yourself with"
            " honor_labels: true"
        )
        yield Problem("spec.scrape.mode", "NoPushgateway", message)
    if spec.schedule and spec.schedule.cron_job:
        message = (
            "the plan of a CronJob comes from kube-state-metrics, which Prometheus has to scrape with honor_labels: true;"
            " without Kubernetes, write the plan as spec.schedule.cron"
        )
        yield Problem("spec.schedule.cronJob", "NoCronJob", message)
    for reader, keys in (
        ("Prometheus", secret.scraped(workflow)),
        ("Alertmanager", secret.notified(workflow)),
    ):
        for field, key in keys:
            yield Problem(field, "SecretAsFile", _file(reader, workflow, key, secrets))


def _file(reader: str, workflow: Workflow, key: SecretKey, secrets: str) -> str:
    path = secret.path(secrets, workflow.namespace, key.name, key.key)
    return f"there are no Secrets without Kubernetes; put the value where {reader} reads it, {path}"
