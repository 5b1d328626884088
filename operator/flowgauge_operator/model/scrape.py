"""How a workflow's metrics reach Prometheus: `spec.selector` and `spec.scrape`. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flowgauge_operator import duration
from flowgauge_operator.constraint import Model, Obeys, Rule, like, matches
from flowgauge_operator.model.fields import (
    LABEL_KEY,
    LABEL_VALUE,
    LINE,
    OBJECT_NAME,
    SET,
    Duration,
)


class Selector(Model):
    """Which pods belong to the workflow."""

    match_labels: Annotated[
        dict[str, Annotated[str, Field(max_length=63, pattern=LABEL_VALUE)]],
        Field(min_length=1, max_length=16),
        Obeys(
            (
                Rule(
                    f"self.all(k, k.size() <= 316 && k.matches('{LABEL_KEY}'))",
                    "label keys must be valid Kubernetes label keys, such as app or app.kubernetes.io/name",
                    lambda labels: all(
                        len(key) <= 316 and matches(LABEL_KEY, key) for key in labels
                    ),
                ),
            )
        ),
    ] = Field(description="Labels that a pod must carry, all of them. At least one.")


class SecretKey(Model):
    """A key of a Secret in the workflow's own namespace. The operator passes the name on and never reads the Secret."""

    name: Annotated[str, Field(min_length=1, max_length=253, pattern=OBJECT_NAME)] = Field(
        description="Name of the Secret, in the namespace of the MonitoredWorkflow."
    )
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")] = Field(
        description="Key within the Secret."
    )


class Tls(Model):
    """How Prometheus checks and identifies itself to an https target."""

    ca: SecretKey | None = Field(
        None, description="Certificate authority that signed the target's certificate."
    )
    cert: SecretKey | None = Field(None, description="Client certificate that Prometheus presents.")
    key_secret: SecretKey | None = Field(None, description="Private key of the client certificate.")
    server_name: Annotated[str, Field(max_length=253, pattern=LINE)] | None = Field(
        None,
        description="Host name that the certificate must be for, where it is not the pod's address.",
    )
    insecure_skip_verify: bool = Field(False, description="Accept any certificate. Only for tests.")


class Authorization(Model):
    """The Authorization header of a scrape."""

    type: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9-]*$")] = (
        Field("Bearer", description="Authentication scheme; Basic is not supported here.")
    )
    credentials: SecretKey = Field(description="Secret key that holds the token.")


class Limits(Model):
    """What one target may expose before Prometheus drops its scrape, so that a mistake stays small."""

    samples: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        None, description="Samples in one scrape of one target."
    )
    labels: Annotated[int, Field(ge=1, le=500)] | None = Field(
        None, description="Labels on one series."
    )


_PORT_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
Port = Annotated[
    int | str,
    Field(
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": 15,
        }
    ),
    Obeys(
        (
            Rule(
                "type(self) == int ? self >= 1 && self <= 65535 :"
                f" string(self).matches('{_PORT_NAME}') && string(self).matches('[a-z]')",
                "scrape.port must be a number from 1 to 65535 or the name of a container port",
                lambda port: (
                    1 <= port <= 65535
                    if isinstance(port, int)
                    else len(port) <= 15 and matches(_PORT_NAME, port) and matches("[a-z]", port)
                ),
            ),
        )
    ),
]


class Scrape(Model):
    """How the workflow's metrics reach Prometheus."""

    RULES = (
        Rule(
            "!has(self.timeout) || duration(self.timeout.matches('[dw]$') ? '8760h' : self.timeout)"
            " <= duration(self.interval.matches('[dw]$') ? '8760h' : self.interval)",
            "scrape.interval must not be below scrape.timeout; raise interval or lower timeout",
            lambda s: (
                s.timeout is None or duration.seconds(s.timeout) <= duration.seconds(s.interval)
            ),
        ),
        Rule(
            "!has(self.tls) || self.scheme == 'https'",
            "scrape.tls needs scrape.scheme: https; set the scheme or remove tls",
            lambda s: s.tls is None or s.scheme == "https",
        ),
    )

    mode: Literal[
        "ServiceMonitor", "PodMonitor", "AnnotatedPods", "Annotations", "Push", "None"
    ] = Field(
        "ServiceMonitor",
        description=(
            "ServiceMonitor: the operator makes a headless Service, scraped through the namespace's shared"
            " ServiceMonitor. PodMonitor: pods are scraped without a Service. AnnotatedPods: pods with the"
            " annotation flowgauge.dev/workflow are scraped through the namespace's shared PodMonitor. Annotations: prometheus.io annotations on"
            " the Service, for a Prometheus without Prometheus Operator. Push: the workflow pushes to a Pushgateway."
            " None: something else scrapes."
        ),
    )
    port: Port | None = Field(
        None,
        description="Container port that serves the metrics, by name or number. Default: the profile's.",
    )
    path: (
        Annotated[
            str,
            Field(max_length=512),
            like(
                r"^/[A-Za-z0-9_./~%+-]*$",
                "must be a path that begins with a slash, such as /metrics",
            ),
        ]
        | None
    ) = Field(
        None, description="HTTP path of the metrics. Default: the profile's, usually /metrics."
    )
    interval: Duration = Field("15s", description="Time between two scrapes.")
    timeout: Duration | None = Field(
        None,
        description="Time after which a scrape is given up. Default: 10s, or the interval if that is shorter.",
    )
    scheme: Literal["http", "https"] = Field(
        "http", description="Protocol of the metrics endpoint."
    )
    tls: Tls | None = Field(
        None, description="TLS settings for scheme https. Gives the workflow a monitor of its own."
    )
    authorization: Authorization | None = Field(
        None,
        description="Credentials by a Secret reference. Gives the workflow a monitor of its own.",
    )
    limits: Limits | None = Field(
        None, description="Limits of one scrape. Gives the workflow a monitor of its own."
    )
    native_histograms: bool = Field(
        False,
        description=(
            "Histograms arrive as native ones, of which Prometheus keeps no classic buckets; the program must expose them"
            " so. Needs Prometheus 3.8. Gives the workflow a monitor of its own."
        ),
    )
    intermittent: bool = Field(
        False,
        description=(
            "The workflow has pods only while it runs, as that of a CronJob: having no target is no fault, and alerts on"
            " absence are not made."
        ),
    )
    drop_metrics: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=256, pattern=LINE)]],
        Field(max_length=32, json_schema_extra=SET),
    ] = Field(
        default_factory=list,
        description=(
            "Regular expressions (RE2, anchored) of metric names that Prometheus drops. Gives the workflow a monitor of"
            " its own."
        ),
    )
