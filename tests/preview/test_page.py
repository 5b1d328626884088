"""The page as a whole, of answers that are written out here."""

import re
from html.parser import HTMLParser

import pytest
from hostile import HOSTILE

from flowgauge_operator.preview import board, questions
from flowgauge_operator.preview.answers import Answer, Answers
from flowgauge_operator.preview.colors import THEMES
from flowgauge_operator.preview.page import page
from flowgauge_operator.preview.svg import printable
from flowgauge_operator.preview.variables import Scope, Value, built_in
from flowgauge_operator.preview.window import Window

WINDOW = Window(1_700_000_000, 1_700_003_600)
EVIL = [
    *HOSTILE,
    "</svg><script>x</script>",
    "$x^2$ \\frac{a}{b} a_1",
    '" onload="x',
    "]]>",
    "&lt;b&gt; &amp;",
]
GRAPHS = {
    *EVIL[-6:],
    "\x00",
    "a\nb",
    "\ud800",
    "żółć ☃ 😀",
    "<script>alert(1)</script>",
    "x" * 5000,
    "$1",
    "\\",
    " ",
}
# Everything that a page of ours consists of.
ALLOWED = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "header",
    "h1",
    "h2",
    "h3",
    "p",
    "dl",
    "div",
    "dt",
    "dd",
    "nav",
    "span",
    "a",
    "main",
    "details",
    "summary",
    "article",
    "svg",
    "g",
    "path",
    "text",
    "defs",
    "clippath",
    "rect",
    "use",
    "image",
    "ul",
    "li",
    "i",
    "b",
    "time",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "pre",
    "footer",
}
VOID = {"meta", "path", "rect", "use", "image"}


class Read(HTMLParser):
    """What a reader of the page finds: elements, attributes and texts."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self.open = [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def answers(shown, *, data=None, errors=(), events=()):
    """The same series to every question, but for queries with an error."""
    asked = questions.questions(shown, Scope(), WINDOW, 1280)
    given = {}
    for (_, ref, instant), question in asked.items():
        metric = data if data is not None else {"step": "load"}
        points = [[at, str(at % 7)] for at in WINDOW.grid(question.step or 60)]
        sample = (
            {"metric": metric, "value": points[-1]}
            if instant
            else {"metric": metric, "values": points}
        )
        result = [] if data == {} else [sample]
        answer = {"resultType": "vector" if instant else "matrix", "result": result}
        given[question] = Answer(error=f"no {ref}") if ref in errors else Answer(answer)
    scope = Scope({"job": Value(("a",))}, built_in(WINDOW, 60))
    return Answers(WINDOW, scope, given, asked, events)


def drawn(dashboard, theme="light", **given):
    shown = board.board(dashboard)
    return page(shown, answers(shown, **given), theme=THEMES[theme], width=1280, source="http://p")


def panel(kind="timeseries", **more):
    target = {
        "refId": "A",
        "expr": "x",
        "legendFormat": "{{step}}",
        "instant": kind in ("stat", "table"),
    }
    target["format"] = {"table": "table", "heatmap": "heatmap"}.get(kind, "time_series")
    place = {"x": 0, "y": 0, "w": 12, "h": 8}
    return {"type": kind, "title": "Runs", "gridPos": place, "targets": [target], **more}


def hostile(text):
    """A dashboard with the text at every place that a user or an answer can fill."""
    config = {
        "defaults": {
            "unit": text,
            "noValue": text,
            "displayName": text,
            "mappings": [{"type": "value", "options": {"3": {"text": text, "color": text}}}],
            "thresholds": {"steps": [{"color": text, "value": None}, {"color": text, "value": 2}]},
            "custom": {"thresholdsStyle": {"mode": "line+area"}, "lineStyle": {"fill": "dash"}},
            "links": [{"title": text, "url": text}],
        },
        "overrides": [
            {
                "matcher": {"id": "byName", "options": text},
                "properties": [{"id": "unit", "value": text}],
            }
        ],
    }
    # Graphs take most of the time, and few texts are of another kind to them.
    graphs = ("timeseries", "heatmap") if text in GRAPHS else ()
    kinds = ("table", "stat", "text", text, *graphs)
    panels = [
        panel(
            kind,
            title=text,
            description=text,
            fieldConfig=config,
            links=[{"title": text, "url": text}],
        )
        | {"options": {"content": text, "yAxis": {"unit": text}, "legend": {"calcs": [text]}}}
        for kind in kinds
    ]
    rename = {"id": "organize", "options": {"renameByName": {"step": text, "Value": text}}}
    panels[0]["transformations"] = [rename, {"id": text}]
    row = {"type": "row", "title": text, "collapsed": True, "panels": panels, "gridPos": {"y": 1}}
    return {
        "title": text,
        "description": text,
        "panels": [row],
        "links": [{"title": text, "url": text, "tooltip": text}],
        "templating": {"list": [{"name": "job", "label": text, "type": "query"}]},
        "annotations": {
            "list": [
                {
                    "name": text,
                    "expr": "x",
                    "iconColor": text,
                    "titleFormat": "{{step}}",
                    "textFormat": text,
                }
            ]
        },
    }


def events_of(dashboard, metric):
    (annotation,) = board.board(dashboard).annotations
    points = [[WINDOW.start + 600, "1"], [WINDOW.start + 660, "1"]]
    return questions.events(
        [(annotation, {"result": [{"metric": metric, "values": points}]}, 60)], WINDOW
    )


@pytest.mark.parametrize("text", EVIL)
def test_a_text_is_shown_as_it_is_and_never_becomes_part_of_the_page(text):
    labels = {"step": text, "le": "5"}
    html = drawn(hostile(text), data=labels, events=events_of(hostile(text), labels))
    found = Read(html)

    assert not found.open
    assert {tag for tag, _ in found.elements} <= ALLOWED
    for _, attributes in found.elements:
        assert not [
            name for name in attributes if name.startswith("on") or name in ("src", "action")
        ]
        assert all(part.startswith(("#", "data:image/png", "http")) for part in links(attributes))
        assert "url(" not in attributes.get("style", "")
    shown = " ".join(" ".join(found.texts).split())
    assert " ".join(printable(text).split())[:90] in shown


def links(attributes):
    return [attributes[name] or "" for name in ("href", "xlink:href") if name in attributes]


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs():
    html = drawn(
        {"panels": [panel(), panel("heatmap"), panel("table"), panel("stat")]}, data={"le": "1"}
    )

    assert "default-src 'none'" in html
    assert not re.search(r"<script|<link|<iframe|@import|url\(http|src=", html)


def test_ids_are_there_once():
    html = drawn({"panels": [panel(), panel(), panel("heatmap")]}, data={"le": "1"})
    found = re.findall(r'\sid="([^"]+)"', html)

    assert len(found) == len(set(found)) > 0
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= set(found)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_graph_says_what_it_shows(theme):
    html = drawn({"panels": [panel(title="Runs")]}, theme, data={"step": "load"})
    labels = [attributes["aria-label"] for tag, attributes in Read(html).elements if tag == "svg"]

    assert len(labels) == 2
    assert set(labels) == {"Runs: load: last 3, largest 6"}
    assert '<html lang="en">' in html


def test_a_query_that_failed_is_told_in_its_panel_and_the_others_stand():
    both = {"panels": [panel(title="Broken"), panel(title="Fine")]}
    both["panels"][0]["targets"][0] |= {"refId": "X", "expr": "broken"}
    html = drawn(both, errors=["X"])

    assert "query X failed: no X" in html
    assert html.count("<svg") == 2
    assert "No data" not in html


@pytest.mark.parametrize("kind", ["timeseries", "stat", "table", "heatmap"])
def test_an_empty_panel_says_what_that_means(kind):
    told = drawn(
        {"panels": [panel(kind, fieldConfig={"defaults": {"noValue": "No failures"}})]}, data={}
    )

    assert ">No failures<" in told
    assert ">No data<" in drawn({"panels": [panel(kind)]}, data={})


def test_a_description_is_there_for_those_who_cannot_hover():
    html = drawn({"panels": [panel(description="What to do &#42;now&#42;.")]})

    assert html.count("What to do *now*.") == 2
    assert '<details class="about"><summary title=' in html


def test_panels_of_a_collapsed_row_are_shown_and_told_apart():
    row = {
        "type": "row",
        "title": "Costs",
        "collapsed": True,
        "gridPos": {"y": 9},
        "panels": [panel(title="Money")],
    }
    html = drawn({"panels": [panel(), row]})

    assert "Money" in html
    assert "collapsed in Grafana" in html


def test_a_gap_is_not_bridged():
    shown = board.board({"panels": [panel()]})
    given = answers(shown)
    (question,) = given.given
    points = given.given[question].data["result"][0]["values"]
    del points[20:30]
    html = page(shown, given, theme=THEMES["light"], width=1280, source="")
    line = max(
        re.findall(
            r'<path d="([^"]+)"[^>]*style="fill: none; stroke: #56a64b', html, re.IGNORECASE
        ),
        key=len,
    )

    assert line.count("M") == 2


def test_events_are_numbered_on_the_graph_and_told_above():
    annotation = {
        "name": "Firing alerts",
        "expr": "ALERTS",
        "iconColor": "red",
        "titleFormat": "{{alertname}}",
    }
    dashboard = {"panels": [panel()], "annotations": {"list": [annotation]}}
    html = drawn(dashboard, events=events_of(dashboard, {"alertname": "Late"}))

    assert re.search(r"▾1 Firing alerts</b> <time>11-14 22:23 to 22:24</time> Late", html)
    assert html.count(">▾1<") == 2


def test_an_event_of_a_metric_that_tells_the_time_is_at_that_time():
    annotation = {"name": "Start", "expr": "x", "useValueForTime": True}
    (read,) = board.board({"annotations": {"list": [annotation]}}).annotations
    data = {
        "result": [{"metric": {}, "values": [[1, "1700000060000"], [2, "1700000060000"], [3, "5"]]}]
    }

    assert [event.start for event in questions.events([(read, data, 60)], WINDOW)] == [
        1_700_000_060
    ]


def test_state_is_a_word_and_a_colour():
    words = [
        {
            "type": "range",
            "options": {"from": 0, "to": None, "result": {"text": "✓ Quiet", "color": "green"}},
        }
    ]
    html = drawn(
        {
            "panels": [
                panel(
                    "stat",
                    options={"colorMode": "background"},
                    fieldConfig={"defaults": {"mappings": words}},
                )
            ]
        }
    )

    assert re.search(r'background:#56A64B;color:#000000"><span class="value"[^>]*>✓ Quiet<', html)


@pytest.mark.parametrize(
    ("url", "leads"),
    [
        ("/d/fg-1?var-x=$job", "https://g.example/d/fg-1?var-x=a"),
        ("https://logs.example/?from=${__from}", "https://logs.example/?from=1700000000000"),
        ("javascript:alert(1)", None),
        ("//evil.example", None),
        ("data:text/html,x", None),
        ("java\nscript:alert(1)", None),
    ],
)
def test_a_link_leads_to_a_web_page_or_nowhere(url, leads):
    shown = board.board({"links": [{"title": "There", "url": url}], "panels": []})
    html = page(
        shown,
        answers(shown),
        theme=THEMES["light"],
        width=1280,
        source="",
        grafana="https://g.example",
    )
    found = [attributes["href"] for tag, attributes in Read(html).elements if tag == "a"]

    assert found == ([leads] if leads else [])


@pytest.mark.parametrize(
    "dashboard",
    [
        {},
        {"panels": None, "templating": None, "annotations": None, "links": None},
        {
            "panels": [
                None,
                1,
                {},
                {"type": "row"},
                {"type": "stat", "gridPos": {"x": "a", "w": 99}},
            ]
        },
        {
            "panels": [
                {
                    "type": "timeseries",
                    "targets": [{"expr": "x"}],
                    "fieldConfig": None,
                    "options": None,
                }
            ]
        },
        {
            "panels": [
                {
                    "type": "table",
                    "targets": [{"expr": "x"}],
                    "transformations": "x",
                    "options": {"sortBy": None},
                }
            ]
        },
        {"panels": [{"type": "logs", "datasource": {"type": "loki"}, "targets": [{"expr": "x"}]}]},
        {"panels": [{"type": "piechart", "targets": [{"expr": "x"}]}]},
        {"dashboard": {"title": "inner", "panels": []}},
    ],
)
def test_any_dashboard_is_drawn_as_far_as_it_can_be(dashboard):
    assert not Read(drawn(dashboard)).open


def test_the_same_data_are_the_same_bytes():
    dashboard = {"panels": [panel(), panel("heatmap")]}

    assert drawn(dashboard, data={"le": "1"}) == drawn(dashboard, data={"le": "1"})
