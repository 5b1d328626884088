"""How a workflow's pods are scraped: its Service, and the monitor that it shares or owns. Pure."""

from __future__ import annotations

from typing import Any

import re2

from flowgauge.profiles import Profile
from flowgauge_operator import duration, names
from flowgauge_operator.model import Scrape, SecretKey, Workflow
from flowgauge_operator.render.manifest import Manifest, child

MONITORING = "monitoring.coreos.com/v1"

# Label of a Service: whether the namespace's shared monitor scrapes it or one of its own.
SCRAPED_BY = f"{names.GROUP}/scraped-by"
# Limits of the shared monitor, so that one workflow's mistake cannot fill Prometheus.
SHARED_SAMPLES = 50_000
SHARED_LABELS = 64


# A regular expression of a user's is theirs to get wrong; without this, the engine writes to standard error itself.
_QUIET = re2.Options()
_QUIET.log_errors = False


def regex_error(regex: str) -> str:
    """Why Prometheus would not take a regular expression; empty if it does."""
    try:
        re2.compile(regex, options=_QUIET)
    except re2.error as error:
        detail = error.args[0] if error.args else error
        return detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)
    return ""


def needs_own_monitor(scrape: Scrape) -> bool:
    """Whether the workflow asks for something that cannot travel as an annotation on its Service."""
    return bool(
        scrape.scheme == "https"
        or scrape.authorization
        or scrape.limits
        or scrape.drop_metrics
        or scrape.native_histograms
    )


def timeout(scrape: Scrape) -> str:
    """The scrape timeout: the one given, otherwise 10 s or the interval if that is shorter."""
    return scrape.timeout or duration.text(min(10, duration.seconds(scrape.interval)))


def service(workflow: Workflow, profile: Profile, *, by: str) -> Manifest:
    """The headless Service that makes the pods discoverable; `by` is shared, own or annotations."""
    scrape = workflow.spec.scrape
    port = scrape.port if scrape.port is not None else profile.scrape.port
    path = scrape.path or profile.scrape.path
    annotations = {
        names.PATH: path,
        names.INTERVAL: scrape.interval,
        names.TIMEOUT: timeout(scrape),
    }
    if by == "annotations":
        annotations |= {
            "prometheus.io/scrape": "true",
            "prometheus.io/path": path,
            "prometheus.io/scheme": scrape.scheme,
        }
        if isinstance(port, int):
            annotations["prometheus.io/port"] = str(port)
    return child(
        workflow,
        "v1",
        "Service",
        names.child(workflow.name, "metrics"),
        labels={SCRAPED_BY: by},
        annotations=annotations,
        spec={
            "clusterIP": "None",
            # A pod that is not ready is exactly the one whose metrics are wanted.
            "publishNotReadyAddresses": True,
            "selector": dict(workflow.spec.selector.match_labels) if workflow.spec.selector else {},
            # The number of a headless Service's port is never used; a named target port has none of its own.
            "ports": [
                {
                    "name": names.PORT,
                    "port": port if isinstance(port, int) else 9090,
                    "targetPort": port,
                    "protocol": "TCP",
                }
            ],
        },
    )


def shared_monitor(namespace: str, labels: dict[str, str]) -> Manifest:
    """The ServiceMonitor of all workflows of a namespace that need nothing of their own. It has no owner."""
    return {
        "apiVersion": MONITORING,
        "kind": "ServiceMonitor",
        "metadata": {
            "name": names.SHARED_MONITOR,
            "namespace": namespace,
            "labels": {
                names.MANAGED_BY: names.MANAGER,
                names.NAME: "flowgauge",
                names.SHARED: "true",
                **labels,
            },
        },
        "spec": {
            "selector": {"matchLabels": {names.MANAGED_BY: names.MANAGER, SCRAPED_BY: "shared"}},
            "sampleLimit": SHARED_SAMPLES,
            "labelLimit": SHARED_LABELS,
            "endpoints": [
                {
                    "port": names.PORT,
                    "honorLabels": False,
                    "relabelings": [
                        _owner_relabeling(),
                        _from_annotation("path", "__metrics_path__"),
                        _from_annotation("interval", "__scrape_interval__"),
                        _from_annotation("timeout", "__scrape_timeout__"),
                    ],
                }
            ],
        },
    }


def own_monitor(workflow: Workflow, profile: Profile, labels: dict[str, str]) -> Manifest:
    """A ServiceMonitor for this workflow alone."""
    endpoint = {
        "port": names.PORT,
        "relabelings": [_owner_relabeling()],
        **_endpoint(workflow, profile),
    }
    return child(
        workflow,
        MONITORING,
        "ServiceMonitor",
        names.child(workflow.name, "flowgauge"),
        labels=labels,
        spec={
            "selector": {
                "matchLabels": {
                    names.MANAGED_BY: names.MANAGER,
                    names.WORKFLOW: workflow.name,
                    SCRAPED_BY: "own",
                }
            },
            **_job(workflow),
            "endpoints": [endpoint],
        },
    )


def pod_monitor(workflow: Workflow, profile: Profile, labels: dict[str, str]) -> Manifest:
    """A PodMonitor: the pods are scraped without a Service."""
    port = (
        workflow.spec.scrape.port if workflow.spec.scrape.port is not None else profile.scrape.port
    )
    relabeling = {
        "action": "replace",
        "targetLabel": names.WORKFLOW_LABEL,
        "replacement": workflow.name,
    }
    endpoint = {
        **({"portNumber": port} if isinstance(port, int) else {"port": port}),
        "relabelings": [relabeling],
        **_endpoint(workflow, profile),
    }
    return child(
        workflow,
        MONITORING,
        "PodMonitor",
        names.child(workflow.name, "flowgauge"),
        labels=labels,
        spec={
            "selector": {
                "matchLabels": dict(workflow.spec.selector.match_labels)
                if workflow.spec.selector
                else {}
            },
            **_job(workflow),
            "podMetricsEndpoints": [endpoint],
        },
    )


def _owner_relabeling() -> dict[str, Any]:
    return {
        "action": "replace",
        "sourceLabels": ["__meta_kubernetes_service_label_flowgauge_dev_workflow"],
        "targetLabel": names.WORKFLOW_LABEL,
    }


def _from_annotation(name: str, target: str) -> dict[str, Any]:
    return {
        "action": "replace",
        "sourceLabels": [f"__meta_kubernetes_service_annotation_flowgauge_dev_{name}"],
        "regex": "(.+)",
        "targetLabel": target,
    }


def limits(scrape: Scrape) -> tuple[int, int]:
    """The samples of one scrape and the labels of one series beyond which Prometheus drops the scrape."""
    given = scrape.limits
    samples = given.samples if given and given.samples else SHARED_SAMPLES
    return samples, given.labels if given and given.labels else SHARED_LABELS


def _job(workflow: Workflow) -> dict[str, int | bool]:
    """What a monitor says of the whole job."""
    samples, labels = limits(workflow.spec.scrape)
    native = {"scrapeNativeHistograms": True} if workflow.spec.scrape.native_histograms else {}
    return {"sampleLimit": samples, "labelLimit": labels, **native}


def _endpoint(workflow: Workflow, profile: Profile) -> dict[str, Any]:
    scrape = workflow.spec.scrape
    endpoint: dict[str, Any] = {
        "path": scrape.path or profile.scrape.path,
        "interval": scrape.interval,
        "scrapeTimeout": timeout(scrape),
        "scheme": scrape.scheme,
        "honorLabels": False,
    }
    if scrape.tls:
        endpoint["tlsConfig"] = _tls(scrape)
    if scrape.authorization:
        endpoint["authorization"] = {
            "type": scrape.authorization.type,
            "credentials": _secret(scrape.authorization.credentials),
        }
    if scrape.drop_metrics:
        endpoint["metricRelabelings"] = [
            {"action": "drop", "sourceLabels": ["__name__"], "regex": regex}
            for regex in scrape.drop_metrics
            if not regex_error(regex)
        ]
    return endpoint


def _tls(scrape: Scrape) -> dict[str, Any]:
    tls = scrape.tls
    if tls is None:
        return {}
    config: dict[str, Any] = {"insecureSkipVerify": tls.insecure_skip_verify}
    if tls.ca:
        config["ca"] = {"secret": _secret(tls.ca)}
    if tls.cert:
        config["cert"] = {"secret": _secret(tls.cert)}
    if tls.key_secret:
        config["keySecret"] = _secret(tls.key_secret)
    if tls.server_name:
        config["serverName"] = tls.server_name
    return config


def _secret(key: SecretKey) -> dict[str, str]:
    return {"name": key.name, "key": key.key}
