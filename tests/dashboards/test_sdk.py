"""Grafana's own types, out of the Foundation SDK, over every dashboard; and that they refuse what is none."""

import json

import pytest
import sdk
from boards import GROUPS, group, of_profile


@pytest.mark.parametrize("chosen", GROUPS)
def test_every_dashboard_is_of_grafanas_types(chosen):
    found = {(board.name, fault) for board in group(chosen) for fault in sdk.findings(board.body)}

    assert found == set()


# `allValue: null` on a variable that is not multi is what null means anyway.
LOST = ("allValue",)


@pytest.mark.parametrize("chosen", GROUPS)
def test_nothing_is_lost_on_the_way_through_the_sdk(chosen):
    found = {
        (board.name, path)
        for board in group(chosen)
        for path in sdk.lost(board.body, sdk.encoded_again(board.body))
        if not path.endswith(LOST)
    }

    assert found == set()


def broken(spoil):
    board = json.loads(json.dumps(of_profile("workflow")[0].body))
    spoil(board)
    return sdk.findings(board)


def shown(board):
    return next(panel for panel in board["panels"] if panel["type"] == "stat")


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda board: board.update(title=5), ".title: 5 is no str"),
        (lambda board: board.update(colour="red"), ".colour: Dashboard has no such field"),
        (lambda board: board.pop("schemaVersion"), ".schemaVersion: is missing"),
        (lambda board: board.update(refresh=True), ".refresh: True is no str"),
        (lambda board: board.update(graphTooltip=3), ".graphTooltip: 3 is no DashboardCursorSync"),
        (lambda board: board.update(tags="a"), ".tags: 'a' is no list"),
        (lambda board: board.update(time=None, links=[{}]), ".links[0].title: is missing"),
    ],
)
def test_the_types_refuse_a_dashboard_that_is_none(spoil, fault):
    assert fault in broken(spoil)


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda panel: panel["gridPos"].update(x="a"), "gridPos.x: 'a' is no int"),
        (lambda panel: panel.update(id=True), "id: True is no int"),
        (lambda panel: panel["options"].update(graphMode="big"), "'big' is no BigValueGraphMode"),
        (
            lambda panel: panel["options"].update(graph=1),
            "options.graph: Options has no such field",
        ),
        (lambda panel: panel["targets"][0].update(format="csv"), "'csv' is no PromQueryFormat"),
        (lambda panel: panel["targets"][0].pop("expr"), "targets[0].expr: is missing"),
        (
            lambda panel: panel["fieldConfig"]["defaults"].update(color={"mode": "loud"}),
            "'loud' is no FieldColorModeId",
        ),
        (
            lambda panel: panel["fieldConfig"]["defaults"].update(
                mappings=[{"type": "value", "options": {"1": {"word": "well"}}}]
            ),
            "options.1.word: ValueMappingResult has no such field",
        ),
        (lambda panel: panel.update(type="pie"), "no type of panel is called pie"),
    ],
)
def test_the_types_refuse_a_panel_that_is_none(spoil, fault):
    assert any(found.endswith(fault) for found in broken(lambda board: spoil(shown(board))))
