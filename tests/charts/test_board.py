"""The dashboard of the operator keeps to the rules that all dashboards of the project keep to."""

from __future__ import annotations

import json
import re

import pytest
from grafana_units import UNITS
from linter import lint, panels

from flowgauge_operator import promql
from flowgauge_operator.render import Options
from flowgauge_operator.render.dashboards import itself

BOARD = json.loads(itself.render(Options(runbook_url="https://r.example")))


def test_grafanas_linter_finds_nothing():
    assert lint(BOARD) == []


def test_nothing_overlaps_and_ids_are_unique():
    shown = BOARD["panels"]
    taken = set()
    for panel in shown:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in shown]
    assert len(set(ids)) == len(ids) > 15


def test_all_of_it_is_there_when_it_opens_with_at_most_thirty_queries():
    queries = sum(len(panel.get("targets", ())) for panel in BOARD["panels"])
    variables = [each for each in BOARD["templating"]["list"] if each["type"] == "query"]

    assert queries + len(variables) <= 30
    assert not any(panel.get("collapsed") for panel in BOARD["panels"])


@pytest.mark.parametrize("panel", [*panels(BOARD)], ids=lambda panel: panel["title"])
def test_a_panel_is_described_has_a_unit_and_asks_for_the_chosen_targets(panel):
    assert len(panel["description"].split()) >= 3
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    for target in panel["targets"]:
        expr = re.sub(r"\[\$__rate_interval\]", "[5m]", target["expr"])
        for selector in promql.selectors(expr):
            assert {matcher.name for matcher in selector.matchers.matchers} >= {
                "namespace",
                "job",
                "instance",
            }


def test_links_lead_to_the_workflows_and_to_what_to_do():
    assert [(link["title"], link["url"].partition("?")[0]) for link in BOARD["links"]] == [
        ("Workflows", "/d/fg-fleet"),
        ("Runbooks", "https://r.example"),
    ]
