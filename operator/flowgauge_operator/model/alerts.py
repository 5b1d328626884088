"""Which alerts there are and how they behave: `spec.alerts`. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from flowgauge_operator.constraint import Model, Obeys, Rule, matches
from flowgauge_operator.model.fields import (
    ALERT_NAME,
    BY_NAME,
    SET,
    AlertLabels,
    AlertName,
    Hold,
    Line,
    PromQL,
    Severity,
    Text,
    named_once,
)


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

    disabled: Annotated[list[AlertName], Field(max_length=64, json_schema_extra=SET)] = Field(
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
                    f"self.all(k, k.matches('{ALERT_NAME}'))",
                    "names of alerts are letters and digits that begin with a capital, such as HighErrorRate",
                    lambda overrides: all(matches(ALERT_NAME, name) for name in overrides),
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
        Field(max_length=32, json_schema_extra=BY_NAME),
        AfterValidator(named_once),
    ] = Field(default_factory=list, description="Alerts of the user's own.")
    labels: AlertLabels = Field(
        default_factory=dict,
        description="Labels added to every alert, for routing: team: fulfilment.",
    )
