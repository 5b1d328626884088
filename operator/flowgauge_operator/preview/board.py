"""A dashboard's JSON read into what is drawn: sections of panels, annotations and links. Pure; tolerates any JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowgauge_operator.preview import variables
from flowgauge_operator.preview.variables import Variable

_GRAPHS = frozenset(
    {"timeseries", "graph", "heatmap", "barchart", "state-timeline", "status-history"}
)
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a panel is, in a grid of 24 columns."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Target:
    """One query of a panel."""

    ref: str
    expr: str
    legend: str
    is_instant: bool
    is_range: bool
    form: str
    least_step: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel; `json` is what it was read from."""

    key: str
    title: str
    description: str
    type: str
    place: Place
    targets: tuple[Target, ...]
    json: Json
    foreign: str = ""

    @property
    def is_graph(self) -> bool:
        """Whether it has a time axis, so that events are drawn on it."""
        return self.type in _GRAPHS

    @property
    def options(self) -> Json:
        """Options of its type."""
        return mapping(self.json.get("options"))

    @property
    def defaults(self) -> Json:
        """What holds for every field."""
        return mapping(mapping(self.json.get("fieldConfig")).get("defaults"))


@dataclass(frozen=True, slots=True)
class Section:
    """A row with its panels; before the first row there may be panels without a title."""

    title: str
    collapsed: bool
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Annotation:
    """A query whose answer is drawn as events."""

    name: str
    expr: str
    color: str
    title: str
    text: str
    step: str
    value_is_time: bool


@dataclass(frozen=True, slots=True)
class Link:
    """A link of the dashboard or of a panel."""

    title: str
    url: str
    tooltip: str = ""
    keeps_time: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """A whole dashboard."""

    title: str
    description: str
    since: str
    variables: tuple[Variable, ...]
    sections: tuple[Section, ...]
    annotations: tuple[Annotation, ...]
    links: tuple[Link, ...]

    @property
    def panels(self) -> Iterator[Panel]:
        """All panels, of open and of collapsed rows."""
        return (panel for section in self.sections for panel in section.panels)


def board(dashboard: Json) -> Board:
    """Read a dashboard; what is exported for the API holds it under `dashboard`."""
    body = mapping(dashboard.get("dashboard")) or dashboard
    return Board(
        title=str(body.get("title") or "Dashboard"),
        description=str(body.get("description") or ""),
        since=str(mapping(body.get("time")).get("from") or "now-6h"),
        variables=tuple(variables.declared(body)),
        sections=tuple(_sections(_listed(body.get("panels")))),
        annotations=tuple(_annotations(_listed(mapping(body.get("annotations")).get("list")))),
        links=tuple(links(body.get("links"))),
    )


def _sections(panels: Sequence[Json]) -> Iterator[Section]:
    title, collapsed, found = "", False, list[Panel]()
    for number, entry in enumerate(sorted(panels, key=_position)):
        if entry.get("type") != "row":
            found.append(_panel(entry, str(number)))
            continue
        if found or title:
            yield Section(title, collapsed, tuple(found))
        title, collapsed = str(entry.get("title") or "Row"), bool(entry.get("collapsed"))
        nested = sorted(_listed(entry.get("panels")), key=_position) if collapsed else []
        found = [_panel(inner, f"{number}-{index}") for index, inner in enumerate(nested)]
    if found or title:
        yield Section(title, collapsed, tuple(found))


def _position(entry: Json) -> tuple[int, int]:
    place = _place(entry)
    return place.y, place.x


def _place(entry: Json) -> Place:
    given = mapping(entry.get("gridPos"))
    width = min(max(_whole(given.get("w"), 12), 1), 24)
    return Place(
        min(_whole(given.get("x"), 0), 24 - width),
        _whole(given.get("y"), 0),
        width,
        max(_whole(given.get("h"), 8), 2),
    )


def _panel(entry: Json, key: str) -> Panel:
    sources = [
        mapping(entry.get("datasource")),
        *(mapping(t.get("datasource")) for t in _listed(entry.get("targets"))),
    ]
    kinds = {str(source["type"]) for source in sources if source.get("type")} - {
        "prometheus",
        "datasource",
    }
    targets = () if kinds else tuple(_targets(_listed(entry.get("targets"))))
    return Panel(
        key=key,
        title=str(entry.get("title") or ""),
        description=str(entry.get("description") or ""),
        type=str(entry.get("type")),
        place=_place(entry),
        targets=targets,
        json=entry,
        foreign=", ".join(sorted(kinds)),
    )


def _targets(entries: Sequence[Json]) -> Iterator[Target]:
    for number, entry in enumerate(entries):
        if entry.get("hide") or not entry.get("expr"):
            continue
        is_instant = bool(entry.get("instant"))
        yield Target(
            ref=str(entry.get("refId") or chr(ord("A") + number % 26)),
            expr=str(entry["expr"]),
            legend=str(entry.get("legendFormat") or ""),
            is_instant=is_instant,
            is_range=bool(entry.get("range")) or not is_instant,
            form=str(entry.get("format") or "time_series"),
            least_step=str(entry.get("interval") or ""),
        )


def _annotations(entries: Sequence[Json]) -> Iterator[Annotation]:
    for entry in entries:
        inner = mapping(entry.get("target"))
        expr = entry.get("expr") or inner.get("expr")
        if not expr or not entry.get("enable", True):
            continue
        yield Annotation(
            name=str(entry.get("name") or "Event"),
            expr=str(expr),
            color=str(entry.get("iconColor") or "blue"),
            title=str(entry.get("titleFormat") or ""),
            text=str(entry.get("textFormat") or ""),
            step=str(entry.get("step") or inner.get("interval") or "60s"),
            value_is_time=bool(entry.get("useValueForTime")),
        )


def links(entries: object) -> Iterator[Link]:
    """Links of a dashboard, a panel or a field; those that search by tags lead nowhere without a Grafana."""
    for entry in _listed(entries):
        if entry.get("url"):
            yield Link(
                title=str(entry.get("title") or entry["url"]),
                url=str(entry["url"]),
                tooltip=str(entry.get("tooltip") or ""),
                keeps_time=bool(entry.get("keepTime")),
            )


def mapping(found: object) -> Json:
    """A JSON object, or an empty one in the place of anything else."""
    return found if isinstance(found, dict) else {}


def _listed(found: object) -> list[Json]:
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _whole(found: object, default: int) -> int:
    return max(int(found), 0) if isinstance(found, int | float) else default
