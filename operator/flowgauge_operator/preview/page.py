"""One dashboard as one HTML file: nothing in it is fetched, and it is read without scripts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flowgauge_operator.preview import board, content, grid, markup
from flowgauge_operator.preview.answers import Answers
from flowgauge_operator.preview.axes import Event
from flowgauge_operator.preview.board import Board, Panel, Section
from flowgauge_operator.preview.colors import Theme, readable
from flowgauge_operator.preview.content import Drawing
from flowgauge_operator.preview.style import sheet
from flowgauge_operator.preview.window import Window, clock

_EVENTS_AT_ONCE = 12
# Even if a text found its way out of its place, nothing would be loaded or run.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"


def page(
    shown: Board, answers: Answers, *, theme: Theme, width: int, source: str, grafana: str = ""
) -> str:
    """The whole file."""
    sections = "".join(_section(part, answers, theme, width, grafana) for part in shown.sections)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{markup.text(shown.title, 200)}</title><style>{sheet(theme, width)}</style></head>\n"
        f"<body>{_header(shown, answers, theme, source, grafana)}<main>{sections}</main>"
        "<footer>Drawn by flowgauge preview from the dashboard's JSON. Times are UTC.</footer></body></html>\n"
    )


def _header(shown: Board, answers: Answers, theme: Theme, source: str, grafana: str) -> str:
    facts = [("Time", _times(answers.window)), ("Data source", source)]
    facts += [
        (variable.label, answers.scope.values[variable.name].shown)
        for variable in shown.variables
        if variable.name in answers.scope.values and not variable.hidden
    ]
    listed = "".join(
        f"<div><dt>{markup.text(name, 100)}</dt><dd>{markup.text(told, 300)}</dd></div>"
        for name, told in facts
    )
    description = f"<p>{markup.prose(shown.description)}</p>" if shown.description else ""
    faults = "".join(
        f'<p class="error" role="alert">{markup.text(fault, 400)}</p>' for fault in answers.faults
    )
    return (
        f"<header><h1>{markup.text(shown.title, 300)}</h1>{description}<dl>{listed}</dl>"
        f"{_links(shown.links, answers, grafana)}{faults}{_events(answers.events, theme)}</header>"
    )


def _times(window: Window) -> str:
    return f"{clock(window.start, '%Y-%m-%d %H:%M')} to {clock(window.end, '%Y-%m-%d %H:%M')} UTC"


def _links(links: Iterable[board.Link], answers: Answers, grafana: str) -> str:
    found = [
        markup.link(
            answers.scope.filled(link.title, "text"), _url(link, answers), grafana, link.tooltip
        )
        for link in links
    ]
    return f'<nav aria-label="Links of the dashboard">{"".join(found)}</nav>' if found else ""


def _url(link: board.Link, answers: Answers) -> str:
    url = answers.scope.filled(link.url, "url")
    if not link.keeps_time:
        return url
    return f"{url}{'&' if '?' in url else '?'}{answers.scope.built_in['__url_time_range']}"


def _events(events: Sequence[Event], theme: Theme) -> str:
    """The texts to the numbers on the graphs."""
    if not events:
        return ""
    items = [_event(event, theme) for event in events]
    rest = items[_EVENTS_AT_ONCE:]
    more = (
        f"<details><summary>{len(rest)} more</summary><ul>{''.join(rest)}</ul></details>"
        if rest
        else ""
    )
    return f'<div class="events">Events<ul>{"".join(items[:_EVENTS_AT_ONCE])}</ul>{more}</div>'


def _event(event: Event, theme: Theme) -> str:
    color = readable(theme.color(event.color), theme)
    lasting = f" to {clock(event.end, '%H:%M')}" if event.end > event.start else ""
    told = " · ".join(markup.text(part, 300) for part in (event.title, event.text) if part)
    return (
        f'<li><b style="color:{color}">▾{event.number} {markup.text(event.name, 100)}</b>'
        f" <time>{clock(event.start, '%m-%d %H:%M')}{lasting}</time> {told}</li>"
    )


def _section(part: Section, answers: Answers, theme: Theme, width: int, grafana: str) -> str:
    top = min((panel.place.y for panel in part.panels), default=0)
    panels = "".join(_panel(panel, top, answers, theme, width, grafana) for panel in part.panels)
    if not part.title:
        return f'<div class="grid">{panels}</div>'
    title = markup.text(answers.scope.filled(part.title, "text"), 200)
    badge = (
        '<span class="badge">collapsed in Grafana until it is opened</span>'
        if part.collapsed
        else ""
    )
    return f'<details open><summary><h2>{title}</h2>{badge}</summary><div class="grid">{panels}</div></details>'


def _panel(panel: Panel, top: int, answers: Answers, theme: Theme, width: int, grafana: str) -> str:
    drawing = Drawing(panel, answers, theme, grid.wide(panel, width), grid.narrow(panel), grafana)
    place = panel.place
    height = place.height * (grid.ROW + grid.GAP) - grid.GAP
    area = f"grid-area:{place.y - top + 1}/{place.x + 1}/span {place.height}/span {place.width};--h:{height}px"
    title = answers.scope.filled(panel.title, "text")
    hint = markup.prose(answers.scope.filled(panel.description, "text"))
    # Its own title in the pop-up, for readers of a screen: `i` says nothing.
    about = (
        f'<details class="about"><summary title="{hint}" aria-label="About {markup.text(title, 200)}">i</summary>'
        f"<p>{hint}</p></details>"
        if hint
        else ""
    )
    return (
        f'<article class="panel" style="{area}"><div class="head"><h3 title="{markup.text(title, 500)}">'
        f"{markup.text(title, 500)}</h3>{_panel_links(panel, answers, grafana)}{about}</div>"
        f'<div class="body">{content.body(drawing)}</div></article>'
    )


def _panel_links(panel: Panel, answers: Answers, grafana: str) -> str:
    found = "".join(
        markup.link(
            answers.scope.filled(link.title, "text"), answers.scope.filled(link.url, "url"), grafana
        )
        for link in board.links(panel.json.get("links"))
    )
    return f'<span class="links">{found}</span>' if found else ""
