"""Texts that somebody writes who wants to break out of a dashboard: of profiles, of workflows, of settings.

Each is either refused with the path of its field, or it is shown as the text that it is.
"""

import copy
import json
import re

import grafana_text
import pytest
from boards import body, of_workflow
from hostile import HOSTILE

from flowgauge import profiles
from flowgauge.profiles import ProfileError
from flowgauge_operator import model

PANEL = {
    "title": "Jobs",
    "row": "Queues",
    "description": "Jobs that wait.",
    "type": "stat",
    "empty": "None wait",
    "color": "green",
    "steps": [{"value": 1, "color": "red", "text": "many"}],
    "queries": [{"expr": "$sum(queue.depth, queue)", "legend": "{{queue}}"}],
}
TABLE = PANEL | {
    "title": "All jobs",
    "type": "table",
    "queries": [
        {"expr": "$sum(queue.depth, queue)", "legend": "Now"},
        {"expr": "$max(queue.depth, queue)", "legend": "At most"},
    ],
}
FIELDS = [
    ("title",),
    ("row",),
    ("description",),
    ("empty",),
    ("steps", 0, "text"),
    ("queries", 0, "legend"),
]


def profile(panels):
    """A profile with these panels."""
    family = {"name": "waiting", "role": "queue.depth", "type": "gauge", "help": "Jobs."}
    return {
        "apiVersion": "flowgauge.dev/v1alpha1",
        "kind": "WorkflowProfile",
        "metadata": {"name": "own"},
        "spec": {
            "title": "Own",
            "description": "Own.",
            # What is inherited is rendered in thousands for nothing.
            "extends": None,
            "families": [family | {"labels": {"queue": "pool"}}],
            "panels": panels,
        },
    }


def made(document):
    return of_workflow(
        "own", body({"profile": "own"}), profiles.from_object(document, source="own")
    )


def changed(panel, field, text):
    """The panel with one text replaced."""
    panel = copy.deepcopy(panel)
    *above, last = field
    at = panel
    for key in above:
        at = at[key]
    at[last] = text
    return panel


# Keys whose values are code and not text; what is chosen at first is Grafana's own `$__all`. A matcher is compared with
# names of series, and nothing is filled in.
CODE = ("expr", "query", "uid", "regex", "definition", "url", "current", "matcher")


def texts(value, key=""):
    """Every text of a dashboard that is shown, with the key that it stands under."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from ((name, name), *(texts(member, name) if name not in CODE else ()))
    elif isinstance(value, list):
        for member in value:
            yield from texts(member, key)
    elif isinstance(value, str):
        yield key, value


def faults(board):
    """What Grafana would make of a text that is more than showing it."""
    for key, text in texts(board.body):
        yield from ((key, found) for found in grafana_text.variables(text))
        yield from ((key, f"{ord(found):#x}") for found in grafana_text.unseen(text))
        if key == "description":
            yield from ((key, found) for found in grafana_text.marked_up(text))


def words(text):
    """The letters and digits, which are to be read whatever becomes of the rest."""
    return re.findall(r"[^\W_]+", text)


def by_profile(panel):
    return made(profile([panel]))


def by_workflow(panel):
    """The same panel as one that a workflow adds."""
    given = {"profile": "own", "dashboard": {"panels": {"add": [panel]}}}
    return of_workflow("own", body(given), profiles.from_object(profile([]), source="own"))


def attempt(board, panel):
    """What is wrong with the dashboard; where the text is refused, whether another path is told of."""
    try:
        return [*faults(board(panel))]
    except ProfileError as error:
        paths = [error.path]
    except model.SpecError as error:
        paths = [fault.path for fault in error.faults]
    where = ("spec.panels[0]", "spec.dashboard.panels.add[0]")
    return [path for path in paths if not path.startswith(where)]


@pytest.mark.parametrize("board", [by_profile, by_workflow])
@pytest.mark.parametrize("panel", [PANEL, TABLE], ids=["stat", "table"])
@pytest.mark.parametrize("field", FIELDS, ids=lambda field: str(field[-1]))
def test_a_hostile_text_of_a_panel_is_refused_by_path_or_only_shown(board, panel, field):
    found = {text: attempt(board, changed(panel, field, text)) for text in HOSTILE}

    assert {text: told for text, told in found.items() if told} == {}


def outcomes(text):
    """A profile in which a value of a label is the text; panels colour the series of good ones."""
    document = profile([])
    del document["spec"]["extends"]
    document["spec"]["families"] = [
        {
            "name": "jobs_total",
            "role": "run.finished",
            "type": "counter",
            "help": "Jobs.",
            "labels": {"outcome": "end"},
            "outcomes": {"good": ["ok", text], "ignored": [f"{text}2"]},
        }
    ]
    return document


def told(document):
    """What is wrong with the dashboard of a profile, or that another path is told of."""
    try:
        board = made(document)
    except ProfileError as error:
        return [] if error.path.startswith("spec.families[0].outcomes") else [error.path]
    return [*faults(board), *broken(board)]


def broken(board):
    """Matchers by regular expression that Grafana would not read; it shows an error instead of the panel."""
    for panel in board.panels():
        for override in panel["fieldConfig"]["overrides"]:
            matcher = override["matcher"]
            if matcher["id"] == "byRegexp" and not re.fullmatch(
                r"/(.*?)/(g?i?m?y?)", matcher["options"]
            ):
                yield matcher["options"]


def test_a_hostile_outcome_of_a_profile_is_refused_by_path_or_only_matched():
    found = {text: told(outcomes(text)) for text in HOSTILE}

    assert {text: faults for text, faults in found.items() if faults} == {}


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.strip().isprintable()])
def test_what_a_hostile_description_says_is_still_read(text):
    board = made(profile([changed(PANEL, ("description",), f"Look. {text}")]))

    (panel,) = (panel for panel in board.panels() if panel["title"] == "Jobs")
    read = grafana_text.read(panel["description"])
    assert words(read) == words(f"Look. {text}")


def test_a_label_in_a_legend_stays_one():
    board = made(profile([PANEL]))

    (panel,) = (panel for panel in board.panels() if panel["title"] == "Jobs")
    assert [target["legendFormat"] for target in panel["targets"]] == ["{{pool}}"]


def test_the_built_in_texts_are_read_as_they_are_written():
    board = of_workflow("own", body({}), profiles.builtin("workflow"))
    written = {panel.title: panel.description for panel in profiles.builtin("workflow").panels}

    read = {panel["title"]: grafana_text.read(panel["description"]) for panel in board.panels()}

    assert read.keys() & written.keys()
    assert [title for title in read if title in written and read[title] != written[title]] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[x](https://a.example)", ["link_open", "link_close"]),
        ("![x](https://a.example/p.png)", ["image"]),
        ("see https://a.example", ["link_open", "link_close"]),
        ("<img src=x>", ["html_block"]),
        ("a <b>c</b>", ["html_inline", "html_inline"]),
        ("# a", ["heading_open", "heading_close"]),
        ("plain, (100 %) at most: 3 - 1 = 2.", []),
        ("&#91;x&#93;(https&#58;//a.example) &#36;{job}", []),
    ],
)
def test_markup_is_found(text, found):
    assert grafana_text.marked_up(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("$job", ["$job"]),
        ("5 $ for [x] and ${", []),
        ("a[[job:raw]]b${__user.email}", ["[[job:raw]]", "${__user.email}"]),
        ("&#36;{job} \uff04job", []),
    ],
)
def test_variables_are_found(text, found):
    assert grafana_text.variables(text) == found


def test_a_hostile_text_does_nothing_to_the_rest_of_the_dashboard():
    plain = made(profile([PANEL])).body
    other = made(profile([changed(PANEL, ("description",), '"}],"panels":[')])).body

    for board in (plain, other):
        for panel in board["panels"]:
            panel.pop("description", None)
            [each.pop("description") for each in panel.get("panels", ())]
    assert json.dumps(plain) == json.dumps(other)
