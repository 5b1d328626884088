"""Service level objectives: `spec.slos`. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flowgauge_operator.constraint import Model, Obeys, Rule, like
from flowgauge_operator.model.fields import AlertLabels, Duration, Name, PromQL, Severity


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
