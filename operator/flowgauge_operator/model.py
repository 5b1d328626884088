"""The `MonitoredWorkflow` resource as typed models: the source of the CRD and of every parse. Pure.

Constraints that a schema or CEL can state stand here, so that the API server and the command line refuse bad input with
the same words. What needs a profile, PromQL or Prometheus is checked in `render`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from flowgauge.profiles import Panel, PanelType, Query, Step
from flowgauge_operator import duration
from flowgauge_operator.constraint import Model, Obeys, Rule, like, matches

_DURATION = r"[1-9][0-9]{0,3}(s|m|h|d|w)"
# No control characters, and none that turn or hide text; nor that of the tokens of `render.template`.
_HIDDEN = r"\x7f\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{2069}\x{e000}\x{feff}"
_LINE = rf"^[^\x00-\x1f{_HIDDEN}]*$"
_TEXT = rf"^[^\x00-\x08\x0b-\x1f{_HIDDEN}]*$"
_FOLDER = rf"[^\x00-\x1f{_HIDDEN}/.][^\x00-\x1f{_HIDDEN}/]*"
_LABEL_VALUE = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
_NAMESPACE = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
NAME = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_ALERT_NAME = r"^[A-Z][A-Za-z0-9]{0,99}$"
_OBJECT_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"


def _cron_field(value: str, names: str = "") -> str:
    one = f"({value}{'|' + names if names else ''})"
    step = rf"(\*|{one}(-{one})?)(/[1-9][0-9]?)?"
    return f"{step}(,{step})*"


_CRON = (
    r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|"
    + r"\s+".join(
        (
            _cron_field("[0-5]?[0-9]"),
            _cron_field("[01]?[0-9]|2[0-3]"),
            _cron_field("0?[1-9]|[12][0-9]|3[01]"),
            _cron_field("0?[1-9]|1[0-2]", "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"),
            _cron_field("[0-7]", "SUN|MON|TUE|WED|THU|FRI|SAT"),
        )
    )
    + ")$"
)

Duration = Annotated[
    str,
    Field(max_length=6),
    like(
        f"^{_DURATION}$", "must be a whole number with a unit of s, m, h, d or w, such as 15s or 5m"
    ),
]
Hold = Annotated[
    str,
    Field(max_length=6),
    like(
        f"^(0s|{_DURATION})$",
        "must be 0s or a whole number with a unit of s, m, h, d or w, such as 5m",
    ),
]
Cron = Annotated[
    str,
    Field(max_length=120),
    like(
        _CRON,
        "must be five cron fields (minute hour day month weekday), such as 0 2 * * *, or @hourly, @daily, @weekly,"
        " @monthly or @yearly",
    ),
]
TimeZone = Annotated[
    str,
    Field(max_length=64),
    like(
        r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}$",
        "must be a time zone of the IANA database, such as Europe/Zurich",
    ),
]
# Kubernetes adds eleven characters to it to name a Job.
CronJobName = Annotated[
    str,
    Field(max_length=52),
    like(
        _OBJECT_NAME,
        "must be the name of a CronJob: lower-case letters, digits, dashes and dots, such as nightly",
    ),
]
# UTC, and all of one length, so that later is greater.
Instant = Annotated[
    str,
    Field(max_length=40),
    like(
        r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$",
        "must be a time in UTC, in quotes, such as '2026-12-01T22:00:00Z'",
    ),
]
Line = Annotated[str, Field(max_length=256, pattern=_LINE)]
Text = Annotated[str, Field(max_length=1024, pattern=_TEXT)]
PromQL = Annotated[str, Field(min_length=1, max_length=2048, pattern=_TEXT)]
Severity = Literal["critical", "warning", "info"]
PanelUnit = Literal["", "ratio", "seconds", "bytes", "per_second", "cost"]
Colour = Annotated[
    str,
    Field(max_length=32),
    like(
        r"^((super-light-|light-|semi-dark-|dark-)?(red|orange|yellow|green|blue|purple)|text|transparent|#[0-9a-fA-F]{6})$",
        "must be red, orange, yellow, green, blue or purple, also with light- or dark- before it, or such as #56a64b",
    ),
]
Name = Annotated[
    str,
    Field(min_length=1, max_length=63),
    like(
        NAME,
        "must be lower-case letters, digits and dashes, such as success-rate",
    ),
]
AlertName = Annotated[
    str,
    Field(max_length=100),
    like(
        _ALERT_NAME,
        "must be letters and digits that begin with a capital, such as HighErrorRate",
    ),
]

# Labels that say whose an alert is and what silences it. A user's value there would send it to the wrong people, or to
# nobody.
RESERVED_LABELS = (
    "alertname",
    "severity",
    "namespace",
    "monitored_workflow",
    "slo",
    "burn_tier",
    "outage",
)
_LABEL_NAME = r"^[a-zA-Z_][a-zA-Z0-9_]{0,62}$"
AlertLabels = Annotated[
    dict[str, Annotated[str, Field(max_length=256, pattern=_LINE)]],
    Field(max_length=16),
    Obeys(
        (
            Rule(
                f"self.all(k, k.matches('{_LABEL_NAME}') && !k.startsWith('__') && !(k in ["
                + ", ".join(f"'{label}'" for label in RESERVED_LABELS)
                + "]))",
                "label names are letters, digits and underscores, do not begin with __ and are none of "
                + ", ".join(RESERVED_LABELS)
                + "; rename the label",
                lambda labels: all(
                    matches(_LABEL_NAME, key)
                    and not key.startswith("__")
                    and key not in RESERVED_LABELS
                    for key in labels
                ),
            ),
        )
    ),
]
_LABEL_KEY = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
_BY_NAME = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
_SET = {"x-kubernetes-list-type": "set"}
_EMPTY: dict[str, Any] = {"default": {}}


def _named_once(items: list[Any]) -> list[Any]:
    names = [item.name for item in items]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the name {name} stands twice; rename one of the two")
    return items


class Selector(Model):
    """Which pods belong to the workflow."""

    match_labels: Annotated[
        dict[str, Annotated[str, Field(max_length=63, pattern=_LABEL_VALUE)]],
        Field(min_length=1, max_length=16),
        Obeys(
            (
                Rule(
                    f"self.all(k, k.size() <= 316 && k.matches('{_LABEL_KEY}'))",
                    "label keys must be valid Kubernetes label keys, such as app or app.kubernetes.io/name",
                    lambda labels: all(
                        len(key) <= 316 and matches(_LABEL_KEY, key) for key in labels
                    ),
                ),
            )
        ),
    ] = Field(description="Labels that a pod must carry, all of them. At least one.")


class SecretKey(Model):
    """A key of a Secret in the workflow's own namespace. The operator passes the name on and never reads the Secret."""

    name: Annotated[str, Field(min_length=1, max_length=253, pattern=_OBJECT_NAME)] = Field(
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
    server_name: Annotated[str, Field(max_length=253, pattern=_LINE)] | None = Field(
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

    mode: Literal["ServiceMonitor", "PodMonitor", "Annotations", "Push", "None"] = Field(
        "ServiceMonitor",
        description=(
            "ServiceMonitor: the operator makes a headless Service, scraped through the namespace's shared"
            " ServiceMonitor. PodMonitor: pods are scraped without a Service. Annotations: prometheus.io annotations on"
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
    drop_metrics: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=256, pattern=_LINE)]],
        Field(max_length=32, json_schema_extra=_SET),
    ] = Field(
        default_factory=list,
        description=(
            "Regular expressions (RE2, anchored) of metric names that Prometheus drops. Gives the workflow a monitor of"
            " its own."
        ),
    )


class Schedule(Model):
    """When runs are expected, so that silence is not taken for success."""

    RULES = (
        Rule(
            "has(self.cron) != has(self.cronJob)",
            "schedule needs either cron or cronJob; give one of the two",
            lambda schedule: (schedule.cron is None) != (schedule.cron_job is None),
        ),
        Rule(
            "!has(self.timeZone) || has(self.cron)",
            "timeZone belongs to cron, and a CronJob has a time zone of its own; remove timeZone",
            lambda schedule: schedule.time_zone is None or schedule.cron is not None,
        ),
    )

    cron: Cron | None = Field(
        None,
        description="Cron expression of five fields, or @hourly, @daily, @weekly, @monthly, @yearly.",
    )
    time_zone: TimeZone | None = Field(
        None,
        description=(
            "Time zone of the cron expression, as in the IANA database: Europe/Zurich. Default: UTC."
        ),
    )
    cron_job: CronJobName | None = Field(
        None,
        description=(
            "Name of a CronJob in the same namespace, whose own plan counts. Needs kube-state-metrics in Prometheus."
        ),
    )
    deadline: Duration = Field(
        "10m", description="Time after a planned start in which a good run must have ended."
    )


class Maintenance(Model):
    """A time in which nothing alerts and no budget is spent: again and again by cron, or once."""

    RULES = (
        Rule(
            "has(self.cron) != has(self.start)",
            "maintenance needs either cron with duration, or start with end; give one of the two",
            lambda window: (window.cron is None) != (window.start is None),
        ),
        Rule(
            "has(self.cron) == has(self.duration)",
            "cron needs duration, and only cron has it; give for example duration: 2h",
            lambda window: (window.cron is None) == (window.duration is None),
        ),
        Rule(
            "has(self.start) == has(self.end) && (!has(self.start) || self.start < self.end)",
            "start needs end, which is later; correct the two",
            lambda window: (
                (window.start is None) == (window.end is None)
                and (window.start is None or window.start < window.end)
            ),
        ),
    )

    name: Name = Field(description="Name of the window, unique within the workflow.")
    cron: Cron | None = Field(None, description="When it begins, again and again.")
    time_zone: TimeZone = Field(
        "UTC",
        description="Time zone of the cron expression, as in the IANA database: Europe/Zurich.",
    )
    duration: Duration | None = Field(
        None, description="How long each lasts that begins by cron; at most 24h."
    )
    start: Instant | None = Field(None, description="When it begins, once: 2026-12-01T22:00:00Z.")
    end: Instant | None = Field(None, description="When it ends, once: 2026-12-02T02:00:00Z.")


class Success(Model):
    """Share of runs that end well."""


class Latency(Model):
    """Share of runs that end within a threshold."""

    threshold: Annotated[
        str,
        Field(max_length=9),
        like(
            r"^[1-9][0-9]{0,5}(ms|s|m|h)$",
            "must be a whole number with a unit of ms, s, m or h, such as 500ms or 5s",
        ),
    ] = Field(
        description=(
            "Duration within which a run must end. Must be a bucket bound of the profile's run.duration, unless rounding"
            " says otherwise or histograms are native."
        )
    )
    rounding: Literal["None", "Down", "Up"] = Field(
        "None",
        description=(
            "What to do with a threshold between two bucket bounds. None: refuse it. Down: take the bound below, so that"
            " some runs within the threshold count as bad. Up: take the bound above, so that some beyond it count as good."
        ),
    )


class Freshness(Model):
    """Share of time in which the newest good run is young enough."""

    max_age: Duration = Field(description="Age that the newest good run may reach.")


class Gauge(Model):
    """Share of time in which a gauge stays within a bound."""

    RULES = (
        Rule(
            "has(self.max) != has(self.min)",
            "gauge needs exactly one of max and min; give one of the two",
            lambda gauge: (gauge.max is None) != (gauge.min is None),
        ),
    )

    role: Annotated[
        str,
        Field(max_length=64),
        like(r"^[a-z]+\.[a-z_]+$", "must be a role, such as queue.depth"),
    ] = Field(description="Role of the gauge, for example queue.depth.")
    max: float | None = Field(None, description="Largest good value, in the role's base unit.")
    min: float | None = Field(None, description="Smallest good value, in the role's base unit.")


class Custom(Model):
    """Any ratio of bad events to all events, as PromQL over roles."""

    total: PromQL = Field(description="Rate of all events that count; $window is the rate window.")
    bad: PromQL = Field(description="Rate of bad events; $window is the rate window.")


class BurnAlert(Model):
    """One of the two burn-rate alerts of an SLO."""

    enabled: bool = Field(True, description="Whether the alert is made.")
    severity: Severity | None = Field(
        None,
        description="Severity of the alert. Default: critical for the page, warning for the ticket.",
    )
    labels: AlertLabels = Field(
        default_factory=dict,
        description="Further labels of this alert; they win over spec.alerts.labels.",
    )


class BurnAlerts(Model):
    """The burn-rate alerts of an SLO."""

    page: BurnAlert = Field(
        default_factory=BurnAlert,
        description="WorkflowErrorBudgetBurnFast: the budget burns so fast that somebody should be woken.",
    )
    ticket: BurnAlert = Field(
        default_factory=BurnAlert,
        description="WorkflowErrorBudgetBurnSlow: the budget burns too fast to last, and there is time.",
    )


_KINDS = ("success", "latency", "freshness", "gauge", "custom")


class Slo(Model):
    """One service level objective: what is good, how much of it, over which time."""

    RULES = (
        Rule(
            "[" + ", ".join(f"has(self.{kind})" for kind in _KINDS) + "].filter(x, x).size() == 1",
            "an SLO needs exactly one of success, latency, freshness, gauge and custom; keep one of them",
            lambda slo: sum(getattr(slo, kind) is not None for kind in _KINDS) == 1,
        ),
    )

    name: Name = Field(
        description="Name of the SLO, unique within the workflow; the label slo of its series."
    )
    objective: Annotated[
        float,
        Obeys(
            (
                Rule(
                    "self > 0.0 && self <= 99.9999",
                    "objective is in percent, above 0 and at most 99.9999; 100 would leave no budget, choose for example"
                    " 99.9",
                    lambda objective: 0 < objective <= 99.9999,
                ),
            )
        ),
    ] = Field(
        description="Objective in percent, above 0 and at most 99.9999. 99.5 allows one bad run in 200."
    )
    window: Annotated[
        str,
        Field(max_length=6),
        like(
            r"^[1-9][0-9]{0,3}(m|h|d|w)$",
            "must be a whole number with a unit of m, h, d or w, such as 30d",
        ),
    ] = Field(
        "30d",
        description="Rolling window of the error budget. Below 7d the alert windows shrink in proportion.",
    )
    min_bad_events: Annotated[int, Field(ge=1, le=1000)] = Field(
        2,
        description="Bad events below which no burn alert fires, so that one failure of a quiet workflow pages nobody.",
    )
    alerts: BurnAlerts = Field(
        default_factory=BurnAlerts,
        description="The burn-rate alerts of this SLO. The budget is recorded in any case.",
    )
    success: Success | None = Field(None, description="Runs that ended well, of those that count.")
    latency: Latency | None = Field(None, description="Runs that ended within a threshold.")
    freshness: Freshness | None = Field(
        None, description="Time in which the newest good run was young enough."
    )
    gauge: Gauge | None = Field(None, description="Time in which a gauge was within its bound.")
    custom: Custom | None = Field(None, description="Own expressions over roles.")

    @property
    def kind(self) -> str:
        """Which of the five it is."""
        return next(kind for kind in _KINDS if getattr(self, kind) is not None)


class Override(Model):
    """Changes to one alert of the profile."""

    threshold: float | None = Field(
        None, description="Threshold in the alert's base unit: seconds, ratio, bytes, count."
    )
    for_: Hold | None = Field(
        None, alias="for", description="Time for which the condition must hold."
    )
    severity: Severity | None = Field(
        None, description="critical pages, warning makes a ticket, info is for the record."
    )


class ExtraAlert(Model):
    """An alert of the user's own."""

    name: AlertName = Field(description="Name of the alert, in CamelCase.")
    expr: PromQL = Field(
        description=(
            "PromQL; may name roles, as $rate(run.finished[5m]). Plain selectors must match namespace by equality."
        )
    )
    for_: Hold = Field("0s", alias="for", description="Time for which the condition must hold.")
    severity: Severity = Field(
        "warning", description="critical pages, warning makes a ticket, info is for the record."
    )
    summary: Line = Field(
        "",
        description="One line that names the state. Shown literally; templates are not expanded.",
    )
    description: Text = Field(
        "",
        description="What it means and what to do. Shown literally; templates are not expanded.",
    )
    labels: AlertLabels = Field(default_factory=dict, description="Further labels of this alert.")


class Alerts(Model):
    """Which alerts there are and how they behave."""

    disabled: Annotated[list[AlertName], Field(max_length=64, json_schema_extra=_SET)] = Field(
        default_factory=list,
        description=(
            "Alerts that are left out, by name, with or without prefix: those of the profile, and ErrorBudgetBurnFast and"
            " ErrorBudgetBurnSlow of all SLOs."
        ),
    )
    overrides: Annotated[
        dict[str, Override],
        Field(max_length=64),
        Obeys(
            (
                Rule(
                    f"self.all(k, k.matches('{_ALERT_NAME}'))",
                    "names of alerts are letters and digits that begin with a capital, such as HighErrorRate",
                    lambda overrides: all(matches(_ALERT_NAME, name) for name in overrides),
                ),
            )
        ),
    ] = Field(
        default_factory=dict,
        description=(
            "Changes to alerts, by name, with or without prefix: those of the profile, and ErrorBudgetBurnFast and"
            " ErrorBudgetBurnSlow of all SLOs."
        ),
    )
    extra: Annotated[
        list[ExtraAlert],
        Field(max_length=32, json_schema_extra=_BY_NAME),
        AfterValidator(_named_once),
    ] = Field(default_factory=list, description="Alerts of the user's own.")
    labels: AlertLabels = Field(
        default_factory=dict,
        description="Labels added to every alert, for routing: team: fulfilment.",
    )


class PanelQuery(Model):
    """One query of a panel."""

    expr: PromQL = Field(
        description=(
            "PromQL; may name roles, as $rate(run.finished[$__rate_interval]). Plain selectors must match namespace by"
            " equality."
        )
    )
    legend: Line = Field("", description="Legend of the series; {{step}} names a label.")
    unit: PanelUnit | None = Field(
        None, description="Base unit of a column of a table. Default: the panel's."
    )


class PanelStep(Model):
    """A colour from a value on."""

    value: float = Field(description="Value from which on the colour holds, in the base unit.")
    color: Colour = Field(description="Colour, as Grafana names it, such as green or #56a64b.")
    text: Line = Field(
        "", description="Shown in the place of the number, where values stand for states."
    )


class OwnPanel(Model):
    """A panel of the user's own, in the format of a profile's."""

    title: Annotated[str, Field(min_length=1, max_length=100, pattern=_LINE)] = Field(
        description="Title of the panel."
    )
    description: Text = Field("", description="What it shows, and what to do about it.")
    type: PanelType = Field("timeseries", description="Kind of the panel.")
    queries: Annotated[list[PanelQuery], Field(min_length=1, max_length=8)] = Field(
        description="Queries of the panel; in a table each is a column."
    )
    row: Annotated[str, Field(min_length=1, max_length=100, pattern=_LINE)] = Field(
        "Own", description="Row that it stands in; one that is not there yet is made."
    )
    unit: PanelUnit = Field(
        "", description="Base unit: ratio, seconds, bytes, per_second, cost or none."
    )
    width: Annotated[int, Field(ge=1, le=24)] = Field(12, description="Width, of 24 columns.")
    height: Annotated[int, Field(ge=3, le=32)] = Field(
        8, description="Height, in rows of the grid."
    )
    color: Colour = Field("green", description="Colour below the first step.")
    steps: Annotated[list[PanelStep], Field(max_length=8)] = Field(
        default_factory=list, description="From which value on which colour."
    )
    minimum: float | None = Field(None, description="Lower end of the axis.")
    maximum: float | None = Field(None, description="Upper end of the axis.")
    stack: bool = Field(False, description="Whether series are stacked.")
    empty: Line = Field("", description="What it means that there is nothing to show.")

    def panel(self) -> Panel:
        """The same as a profile has it."""
        given = self.model_dump(exclude={"queries", "steps"})
        given["description"] = self.description or "A panel that the workflow adds."
        queries = tuple(Query(**query.model_dump()) for query in self.queries)
        steps = tuple(Step(**step.model_dump()) for step in self.steps)
        return Panel(**given, queries=queries, steps=steps)


Title = Annotated[str, Field(min_length=1, max_length=256, pattern=_LINE)]


class Panels(Model):
    """What is changed on the dashboard that the profile gives."""

    hide: Annotated[list[Title], Field(max_length=64, json_schema_extra=_SET)] = Field(
        default_factory=list, description="Panels that are left out, by title."
    )
    order: Annotated[list[Title], Field(max_length=64, json_schema_extra=_SET)] = Field(
        default_factory=list,
        description="Rows and panels that come before the others, by title, in this order.",
    )
    add: Annotated[list[OwnPanel], Field(max_length=24)] = Field(
        default_factory=list, description="Panels of the user's own, at most 24."
    )


class Dashboard(Model):
    """Where the dashboard goes and what is on it."""

    # Grafana's sidecar makes a path of it, whatever it is.
    folder: (
        Annotated[
            str,
            Field(max_length=128),
            like(
                rf"^({_FOLDER}(/{_FOLDER})*)?$",
                "must be names of folders, separated by /, that neither are empty nor begin with a dot, such as Shop",
            ),
        ]
        | None
    ) = Field(None, description="Grafana folder. Default: the name of the namespace.")
    mode: Literal["ConfigMap", "None"] = Field(
        "ConfigMap",
        description="ConfigMap: with the label that Grafana's sidecar looks for. None: no dashboard.",
    )
    panels: Panels = Field(
        default_factory=Panels,
        json_schema_extra=_EMPTY,
        description="What is changed on the dashboard that the profile gives.",
    )


# Alertmanager expands templates in most texts of a receiver; no channel and no address has one.
_NO_TEMPLATE = Obeys(
    (
        Rule(
            "!self.contains('{{')",
            "must not contain {{, since templates are not expanded here; remove it",
            lambda text: "{{" not in text,
        ),
    )
)
Plain = Annotated[str, Field(min_length=1, max_length=256, pattern=_LINE), _NO_TEMPLATE]
# Stricter than URLs are: one that Alertmanager cannot read would keep it from loading anything of anybody.
Url = Annotated[
    str,
    Field(max_length=1024),
    like(
        r"^https?://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?"
        r"([/?]([-A-Za-z0-9._~:/?#@!$&()*+,;=]|%[0-9A-Fa-f]{2})*)?$",
        "must be a URL such as http://hooks.ops:8080/alerts, without user and password",
    ),
]


class Slack(Model):
    """Slack, by an incoming webhook."""

    api_url: SecretKey = Field(
        alias="apiURL", description="Secret key that holds the URL of the incoming webhook."
    )
    channel: Plain | None = Field(
        None, description="Channel, such as #orders, where it is not that of the webhook."
    )


class MsTeams(Model):
    """Microsoft Teams, by a webhook of its Workflows app."""

    webhook_url: SecretKey = Field(
        alias="webhookURL", description="Secret key that holds the URL of the webhook."
    )


class PagerDuty(Model):
    """PagerDuty, by its Events API v2."""

    routing_key: SecretKey = Field(description="Secret key that holds the integration key.")


class Opsgenie(Model):
    """Opsgenie, or what speaks its API."""

    api_key: SecretKey = Field(description="Secret key that holds the API key.")
    api_url: Url | None = Field(
        None,
        alias="apiURL",
        description="URL of the API, where it is not that of Alertmanager: https://api.eu.opsgenie.com/.",
    )


class Email(Model):
    """E-mail by SMTP."""

    RULES = (
        Rule(
            "has(self.authUsername) == has(self.authPassword)",
            "authUsername and authPassword belong together; give both or none",
            lambda email: (email.auth_username is None) == (email.auth_password is None),
        ),
    )

    to: Annotated[
        Plain, like("[^@ ]@[^@ ]", "must be an e-mail address; several are separated by commas")
    ] = Field(description="Address to notify; several are separated by commas.")
    from_: Annotated[Plain, like("[^@ ]@[^@ ]", "must be an e-mail address")] = Field(
        alias="from", description="Address of the sender."
    )
    smarthost: Annotated[
        str,
        Field(max_length=256),
        like(
            r"^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?:[0-9]{1,5}$",
            "must be HOST:PORT, such as smtp.example.com:587",
        ),
    ] = Field(description="SMTP server, as HOST:PORT.")
    auth_username: Plain | None = Field(None, description="User name at the SMTP server.")
    auth_password: SecretKey | None = Field(None, description="Secret key that holds the password.")
    require_tls: bool = Field(
        True, alias="requireTLS", description="Refuse a server that does not encrypt."
    )


class Webhook(Model):
    """A program of your own, which gets Alertmanager's JSON by POST."""

    RULES = (
        Rule(
            "has(self.url) != has(self.urlSecret)",
            "a webhook needs either url or urlSecret; give one of the two",
            lambda webhook: (webhook.url is None) != (webhook.url_secret is None),
        ),
    )

    url: Url | None = Field(None, description="URL, where nothing in it is secret.")
    url_secret: SecretKey | None = Field(None, description="Secret key that holds the URL.")


_RECEIVERS = ("slack", "msteams", "pagerduty", "opsgenie", "email", "webhook")


class Receiver(Model):
    """Who is notified, and by what: at least one of these, all of those that are given."""

    RULES = (
        Rule(
            "[" + ", ".join(f"has(self.{name})" for name in _RECEIVERS) + "].exists(x, x)",
            f"a receiver needs at least one of {', '.join(_RECEIVERS[:-1])} and {_RECEIVERS[-1]};"
            " say by what to notify",
            lambda receiver: any(getattr(receiver, name) is not None for name in _RECEIVERS),
        ),
    )

    slack: Slack | None = Field(None, description="Slack, by an incoming webhook.")
    msteams: MsTeams | None = Field(None, description="Microsoft Teams, by a webhook.")
    pagerduty: PagerDuty | None = Field(None, description="PagerDuty, by its Events API v2.")
    opsgenie: Opsgenie | None = Field(None, description="Opsgenie, or what speaks its API.")
    email: Email | None = Field(None, description="E-mail by SMTP.")
    webhook: Webhook | None = Field(
        None, description="A program of your own, which gets Alertmanager's JSON by POST."
    )


def _once(items: list[str]) -> list[str]:
    for item in items:
        if items.count(item) > 1:
            raise ValueError(f"{item} stands twice; remove one of the two")
    return items


class Notify(Model):
    """Who is told of the workflow's alerts. Alerts of severity info notify nobody."""

    receiver: Receiver = Field(description="Who is notified of alerts.")
    page: Receiver | None = Field(
        None,
        description="Who is notified of alerts of severity critical, in place of receiver: the pager.",
    )
    group_by: Annotated[
        list[
            Annotated[
                str,
                Field(max_length=63),
                like(
                    _LABEL_NAME, "must be a label name: letters, digits and underscores, as in team"
                ),
            ]
        ],
        Field(min_length=1, max_length=16, json_schema_extra=_SET),
        AfterValidator(_once),
    ] = Field(
        default=["namespace", "monitored_workflow", "alertname", "slo"],
        description="Labels of the alerts that share a notification. Default: one for each alert and objective.",
    )
    group_wait: Hold = Field(
        "30s", description="Time to wait for alerts that belong to the same notification."
    )
    group_interval: Duration = Field(
        "5m", description="Time between two notifications about a group that changes."
    )
    repeat_interval: Duration = Field(
        "4h", description="Time after which what still fires is told again."
    )
    send_resolved: bool = Field(True, description="Whether the end of an alert is told as well.")


class Spec(Model):
    """What is monitored and how."""

    RULES = (
        Rule(
            "self.scrape.mode in ['Push', 'None'] || has(self.selector)",
            "spec.selector is needed unless scrape.mode is Push or None; say which pods belong to the workflow",
            lambda spec: spec.scrape.mode in ("Push", "None") or spec.selector is not None,
        ),
    )

    profile: Name = Field(
        "workflow",
        description="Vocabulary of the metrics: the name of a built-in profile or of a WorkflowProfile.",
    )
    suspend: bool = Field(
        False, description="Stop alerting and spending budget; scraping and the dashboard stay."
    )
    selector: Selector | None = Field(
        None, description="Pods of the workflow, in its own namespace."
    )
    scrape: Scrape = Field(
        default_factory=Scrape,
        json_schema_extra=_EMPTY,
        description="How the metrics reach Prometheus.",
    )
    schedule: Schedule | None = Field(
        None, description="When runs are expected, so that silence is not taken for success."
    )
    maintenance: Annotated[
        list[Maintenance],
        Field(max_length=8, json_schema_extra=_BY_NAME),
        AfterValidator(_named_once),
    ] = Field(
        default_factory=list,
        description="Times in which nothing alerts and no budget is spent, at most 8.",
    )
    slos: Annotated[
        list[Slo], Field(max_length=16, json_schema_extra=_BY_NAME), AfterValidator(_named_once)
    ] = Field(default_factory=list, description="Service level objectives, at most 16.")
    alerts: Alerts = Field(
        default_factory=Alerts,
        json_schema_extra=_EMPTY,
        description="Which alerts there are and how they behave.",
    )
    dashboard: Dashboard = Field(
        default_factory=Dashboard,
        json_schema_extra=_EMPTY,
        description="Where the dashboard goes and what is on it.",
    )
    notify: Notify | None = Field(
        None,
        description="Who is told of alerts: an AlertmanagerConfig. Default: Alertmanager's own routes alone.",
    )


class Workflow(Model):
    """A parsed `MonitoredWorkflow`: identity and spec."""

    namespace: str
    name: str
    uid: str = ""
    generation: int = 0
    spec: Spec


class SpecError(ValueError):
    """A spec that cannot be used: the field, what is wrong with it, and the remedy.

    `faults` are all that were found in the spec, this one first.
    """

    def __init__(
        self,
        path: str,
        message: str,
        reason: str = "InvalidSpec",
        others: Sequence[SpecError] = (),
    ) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message
        self.reason = reason
        self.faults = (self, *others)


def parse(body: dict[str, Any], *, default_namespace: str = "default") -> Workflow:
    """The workflow in a decoded `MonitoredWorkflow` object.

    Raises:
        SpecError: the object does not fit the schema; the messages name each field at fault and the remedy.
    """
    metadata = body.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise SpecError("metadata", "must be a mapping with name and namespace")
    name = metadata.get("name") or ""
    if not isinstance(name, str) or not 0 < len(name) <= 63 or not matches(_OBJECT_NAME, name):
        message = "must be a valid object name of at most 63 characters: it becomes a label value"
        raise SpecError("metadata.name", message)
    namespace = metadata.get("namespace") or default_namespace
    if not isinstance(namespace, str) or not matches(_NAMESPACE, namespace):
        message = "must be the name of a namespace: lower-case letters, digits and dashes"
        raise SpecError("metadata.namespace", message)
    try:
        spec = Spec.model_validate(body.get("spec") or {})
    except ValidationError as error:
        first, *others = (
            (_dotted(("spec", *fault["loc"])), _message(fault))
            for fault in error.errors(include_url=False)
        )
        raise SpecError(*first, others=[SpecError(*other) for other in others]) from error
    return Workflow(
        namespace=namespace,
        name=name,
        uid=metadata.get("uid") or "",
        generation=metadata.get("generation") or 0,
        spec=spec,
    )


def _message(error: Mapping[str, Any]) -> str:
    text = str(error["msg"])
    if error["type"] == "value_error":
        return text.removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return "is no field of this resource; correct its name or remove it"
    given = repr(error["input"])
    return f"{text[0].lower()}{text[1:]}, not {given if len(given) < 80 else given[:80] + '…'}"


def _dotted(path: Sequence[str | int]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
