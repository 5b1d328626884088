"""The profile format as frozen records. `loader` fills them from YAML; the library and the operator read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from flowgauge.profiles.roles import ROLES, UNITS, Instrument

Severity = Literal["critical", "warning", "info"]
Outage = Literal["", "cause", "absence", "effect"]
PanelType = Literal["stat", "timeseries", "table", "heatmap"]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Which values of the outcome label are good, and which do not count at all; every other value is bad."""

    good: tuple[str, ...]
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family of a vocabulary.

    `name` is the name as it stands in a scrape, with `_total` for counters and without `_bucket` and the like for
    histograms. `labels` maps semantic labels to this vocabulary's label names. `values` lists the values of a label
    that exist from the start, so that the first event is an increase. `where` are fixed matchers: the family is only
    the part of the metric that they select.
    """

    name: str
    role: str
    type: Instrument
    help: str
    unit: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    outcomes: Outcomes | None = None
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()
    cumulative: bool = False
    required: bool = False

    @property
    def factor(self) -> Decimal:
        """One of the family's unit in the base unit of its role, for example 0.001 for milliseconds."""
        return Decimal(UNITS[self.unit if self.unit is not None else ROLES[self.role].unit][1])

    @property
    def probe(self) -> str:
        """The sample name whose presence proves the family: `_count` for histograms and summaries."""
        return f"{self.name}_count" if self.type in ("histogram", "summary") else self.name


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording rule over roles.

    A `slow` one is evaluated a fifth as often: what it says changes over hours. One that `needs` a schedule or an
    objective of freshness is made for workflows that have one.
    """

    record: str
    expr: str
    help: str = ""
    slow: bool = False
    needs: Literal["", "schedule", "freshness"] = ""


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert over roles. `$threshold` in `expr` is `threshold`, in the base unit that `unit` names.

    `outage` is its part when a workflow is dead as a whole: it is the `cause` that is seen, the `absence` of all metrics,
    or an `effect` that silence alone brings about; causes silence the others. `replaces` names the inherited alert that
    this one takes the place of.
    """

    name: str
    expr: str
    severity: Severity
    summary: str
    description: str
    threshold: float | None = None
    unit: str = ""
    for_: str = "0s"
    outage: Outage = ""
    replaces: str = ""


@dataclass(frozen=True, slots=True)
class Sli:
    """Events that count and events that are bad, as rates over roles; `base` stands for the rate window."""

    name: str
    description: str
    total: str
    bad: str


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel; `legend` is a Grafana legend format.

    In a table each query is a column, `legend` is its heading and `unit` its base unit, where it is not the panel's.
    """

    expr: str
    legend: str = ""
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """From this value on, in the panel's base unit, the panel has this colour.

    Where steps have a `text`, it is shown in the place of the number: for values that stand for a state.
    """

    value: float
    color: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """A dashboard panel over roles; below the first of its `steps` it has `color`.

    `empty` says what it means that there is nothing to show, such as "No failures"; a panel without it always has data
    while its workflow runs. `replaces` is the title of the inherited panel that this one takes the place of.
    """

    title: str
    description: str
    type: PanelType
    queries: tuple[Query, ...]
    unit: str = ""
    row: str = "Overview"
    width: int = 12
    height: int = 8
    color: str = "green"
    steps: tuple[Step, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    stack: bool = False
    empty: str = ""
    replaces: str = ""


@dataclass(frozen=True, slots=True)
class Scrape:
    """Where pods of this vocabulary serve their metrics when a workflow does not say it."""

    port: str | int = "metrics"
    path: str = "/metrics"


@dataclass(frozen=True, slots=True)
class ProfileSpec:
    """A profile as its file or object has it, before it inherits from what it extends."""

    title: str
    description: str
    extends: str | None = "base"
    scrape: Scrape = Scrape()
    alert_prefix: str = ""
    families: tuple[Family, ...] = ()
    recordings: tuple[Recording, ...] = ()
    alerts: tuple[Alert, ...] = ()
    slis: tuple[Sli, ...] = ()
    panels: tuple[Panel, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """A vocabulary of metrics: what the library emits and what the operator monitors.

    A profile is equal to itself only, so that it can be a key of what was computed from it.
    """

    name: str
    title: str
    description: str
    scrape: Scrape = Scrape()
    alert_prefix: str = ""
    families: tuple[Family, ...] = ()
    recordings: tuple[Recording, ...] = ()
    alerts: tuple[Alert, ...] = ()
    slis: tuple[Sli, ...] = ()
    panels: tuple[Panel, ...] = ()

    def by_role(self, role: str) -> tuple[Family, ...]:
        """The families that play this role, in the order of the file."""
        return tuple(family for family in self.families if family.role == role)
