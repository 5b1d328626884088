"""Who is told of alerts: `spec.notify`. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from flowgauge_operator.constraint import Model, Obeys, Rule, like
from flowgauge_operator.model.fields import LABEL_NAME, LINE, SET, Duration, Hold
from flowgauge_operator.model.scrape import SecretKey

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
Plain = Annotated[str, Field(min_length=1, max_length=256, pattern=LINE), _NO_TEMPLATE]
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
                    LABEL_NAME, "must be a label name: letters, digits and underscores, as in team"
                ),
            ]
        ],
        Field(min_length=1, max_length=16, json_schema_extra=SET),
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
