"""The status of our objects as typed models: the source of the status schemas in the CRDs. Pure."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

ConditionType = Literal["Accepted", "Provisioned", "Loaded", "Healthy", "Ready"]
ConditionStatus = Literal["True", "False", "Unknown"]

_TYPES = ("Accepted", "Provisioned", "Loaded", "Healthy", "Ready")
_BY_TYPE: dict[str, Any] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
}
_SHORT = Annotated[str, Field(max_length=253)]


class _Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class Condition(_Model):
    """One aspect of whether the monitoring works."""

    type: ConditionType = Field(description="Accepted, Provisioned, Loaded, Healthy or Ready.")
    status: ConditionStatus = Field(
        description="True, False, or Unknown where it could not be seen."
    )
    reason: Annotated[str, Field(max_length=64)] = Field(
        description="Machine-readable reason, in CamelCase."
    )
    message: Annotated[str, Field(max_length=4096)] = Field(
        "", description="What was seen, and what to do about it."
    )
    observed_generation: int = Field(0, description="Generation of the spec that this speaks of.")
    last_transition_time: Annotated[
        str, Field(max_length=32, json_schema_extra={"format": "date-time"})
    ] = Field(description="When the status last changed.")


class Targets(_Model):
    """Scrape targets, as Prometheus sees them."""

    up: int = Field(description="Targets that answered their last scrape.")
    total: int = Field(description="Targets that Prometheus knows.")


class SloStatus(_Model):
    """Where one objective stands."""

    name: Annotated[str, Field(max_length=63)] = Field(description="Name of the SLO.")
    objective: float = Field(description="Objective in percent.")
    current: float | None = Field(
        None, description="Share of good events over the window, in percent."
    )
    error_budget_remaining: float | None = Field(
        None, description="Share of the error budget that is left; negative when it is overspent."
    )
    burn_rate: float | None = Field(
        None,
        description="Speed at which the budget burns over the long window of the fast page; 1 spends it exactly.",
    )
    firing: Annotated[list[_SHORT], Field(max_length=16)] = Field(
        default_factory=list, description="Alerts of this SLO that fire."
    )


class Resource(_Model):
    """An object that the operator made."""

    kind: Annotated[str, Field(max_length=63)] = Field(description="Kind of the object.")
    name: _SHORT = Field(description="Name of the object, in the namespace of the workflow.")
    applied: bool = Field(description="Whether it stands as rendered.")


class Summary(_Model):
    """The figures that `kubectl get` prints."""

    targets: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="Targets up of targets known."
    )
    budget: Annotated[str, Field(max_length=32)] | None = Field(
        None, description="Error budget left of the SLO that is worst off."
    )
    firing: int | None = Field(None, description="Alerts of this workflow that fire.")


class Status(_Model):
    """What the operator did and saw."""

    observed_generation: int = Field(
        0, description="Generation of the spec that the status speaks of."
    )
    conditions: Annotated[
        list[Condition],
        Field(max_length=8, json_schema_extra=_BY_TYPE),
    ] = Field(default_factory=list, description="Accepted, Provisioned, Loaded, Healthy and Ready.")
    profile: Annotated[str, Field(max_length=63)] | None = Field(
        None, description="Profile in use."
    )
    summary: Summary | None = Field(None, description="Figures for kubectl get.")
    targets: Targets | None = Field(None, description="Scrape targets, as Prometheus sees them.")
    missing_families: Annotated[list[_SHORT], Field(max_length=64)] = Field(
        default_factory=list,
        description="Metric families that the profile requires and Prometheus has no series of.",
    )
    slos: Annotated[
        list[SloStatus],
        Field(
            max_length=16,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
    ] = Field(default_factory=list, description="Where each objective stands.")
    resources: Annotated[list[Resource], Field(max_length=64)] = Field(
        default_factory=list, description="Objects that the operator made for this workflow."
    )


class ProfileStatus(_Model):
    """Whether the operator can use a profile, and who uses it."""

    observed_generation: int = Field(
        0, description="Generation of the spec that the status speaks of."
    )
    conditions: Annotated[list[Condition], Field(max_length=8, json_schema_extra=_BY_TYPE)] = Field(
        default_factory=list, description="Accepted: the operator can use the profile."
    )
    workflows: int = Field(0, description="MonitoredWorkflows that name this profile.")


def types() -> tuple[str, ...]:
    """The condition types, in the order in which they build on each other."""
    return _TYPES
