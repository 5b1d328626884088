"""Scrape configurations as Prometheus reads them from `scrape_config_files`. Pure.

They mean what the monitors of `render.scrape` mean: the same limits, and the owner's two labels on every target.
"""

from __future__ import annotations

from typing import Any

from flowgauge.profiles import Profile
from flowgauge_operator import names
from flowgauge_operator.model import SecretKey, Workflow
from flowgauge_operator.plain import secret
from flowgauge_operator.plain.targets import Targets
from flowgauge_operator.render import scrape

GATEWAY = "flowgauge/pushgateway"


def config(workflow: Workflow, profile: Profile, targets: Targets, secrets: str) -> dict[str, Any]:
    """The configuration of one workflow; `secrets` is the folder in which Prometheus finds Secrets as files."""
    given = workflow.spec.scrape
    samples, labels = scrape.limits(given)
    return {
        "job_name": f"flowgauge/{workflow.namespace}/{workflow.name}",
        "scrape_interval": given.interval,
        "scrape_timeout": scrape.timeout(given),
        "metrics_path": given.path or profile.scrape.path,
        "scheme": given.scheme,
        "honor_labels": False,
        "sample_limit": samples,
        "label_limit": labels,
        **({"scrape_native_histograms": True} if given.native_histograms else {}),
        **_access(workflow, secrets),
        **targets.discovery(),
        "relabel_configs": [
            {"target_label": label, "replacement": value}
            for label, value in (
                (names.NAMESPACE_LABEL, workflow.namespace),
                (names.WORKFLOW_LABEL, workflow.name),
            )
        ],
        **_dropped(workflow),
    }


def gateway(addresses: tuple[str, ...], interval: str) -> dict[str, Any]:
    """The configuration of a Pushgateway: what was pushed keeps its labels, which say whose it is."""
    return {
        "job_name": GATEWAY,
        "scrape_interval": interval,
        "honor_labels": True,
        "static_configs": [{"targets": list(addresses)}],
    }


def _access(workflow: Workflow, secrets: str) -> dict[str, Any]:
    tls, authorization = workflow.spec.scrape.tls, workflow.spec.scrape.authorization

    def file(key: SecretKey) -> str:
        return secret.path(secrets, workflow.namespace, key.name, key.key)

    made: dict[str, Any] = {}
    if tls:
        keys = {"ca_file": tls.ca, "cert_file": tls.cert, "key_file": tls.key_secret}
        made["tls_config"] = {
            **{field: file(key) for field, key in keys.items() if key},
            **({"server_name": tls.server_name} if tls.server_name else {}),
            "insecure_skip_verify": tls.insecure_skip_verify,
        }
    if authorization:
        credentials = file(authorization.credentials)
        made["authorization"] = {"type": authorization.type, "credentials_file": credentials}
    return made


def _dropped(workflow: Workflow) -> dict[str, Any]:
    dropped = [
        {"source_labels": ["__name__"], "regex": regex, "action": "drop"}
        for regex in workflow.spec.scrape.drop_metrics
        if not scrape.regex_error(regex)
    ]
    return {"metric_relabel_configs": dropped} if dropped else {}
