"""Where the dashboard goes and what is on it: `spec.dashboard`. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flowgauge.profiles import Panel, PanelType, Query, Step
from flowgauge_operator.constraint import Model, like
from flowgauge_operator.model.fields import (
    EMPTY,
    FOLDER,
    LINE,
    SET,
    Colour,
    Line,
    PanelUnit,
    PromQL,
    Text,
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

    title: Annotated[str, Field(min_length=1, max_length=100, pattern=LINE)] = Field(
        description="Title of the panel."
    )
    description: Text = Field("", description="What it shows, and what to do about it.")
    type: PanelType = Field("timeseries", description="Kind of the panel.")
    queries: Annotated[list[PanelQuery], Field(min_length=1, max_length=8)] = Field(
        description="Queries of the panel; in a table each is a column."
    )
    row: Annotated[str, Field(min_length=1, max_length=100, pattern=LINE)] = Field(
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


Title = Annotated[str, Field(min_length=1, max_length=256, pattern=LINE)]


class Panels(Model):
    """What is changed on the dashboard that the profile gives."""

    hide: Annotated[list[Title], Field(max_length=64, json_schema_extra=SET)] = Field(
        default_factory=list, description="Panels that are left out, by title."
    )
    order: Annotated[list[Title], Field(max_length=64, json_schema_extra=SET)] = Field(
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
                rf"^({FOLDER}(/{FOLDER})*)?$",
                "must be names of folders, separated by /, that neither are empty nor begin with a dot, such as Shop",
            ),
        ]
        | None
    ) = Field(
        None,
        description="Grafana folder. Default: the administrator's, else the name of the namespace.",
    )
    mode: Literal["ConfigMap", "GrafanaDashboard", "None"] | None = Field(
        None,
        description=(
            "ConfigMap: with the label that Grafana's sidecar looks for. GrafanaDashboard: for grafana-operator. None: no"
            " dashboard. Default: what the administrator has set, else ConfigMap."
        ),
    )
    panels: Panels = Field(
        default_factory=Panels,
        json_schema_extra=EMPTY,
        description="What is changed on the dashboard that the profile gives.",
    )
