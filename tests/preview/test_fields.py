import math

import pytest

from flowgauge_operator.preview import board, colors, fields
from flowgauge_operator.preview.fields import Field, Shown
from flowgauge_operator.preview.frames import Column, Series

BUDGET = {
    "unit": "percentunit",
    "noValue": "No events yet",
    "color": {"mode": "thresholds"},
    "thresholds": {
        "mode": "absolute",
        "steps": [
            {"color": "red", "value": None},
            {"color": "orange", "value": 0},
            {"color": "green", "value": 0.25},
        ],
    },
}
RED, ORANGE, GREEN = (colors.LIGHT.color(name) for name in ("red", "orange", "green"))


@pytest.mark.parametrize(
    ("value", "text", "color"),
    [(-0.5, "-50%", RED), (0, "0%", ORANGE), (0.1, "10%", ORANGE), (0.25, "25%", GREEN)],
)
def test_a_value_has_its_unit_and_the_colour_of_its_step(value, text, color):
    assert Field(BUDGET).shown(value, colors.LIGHT) == Shown(text, color)


@pytest.mark.parametrize("value", [None, math.nan, ""])
def test_no_value_is_what_it_means_and_has_no_colour(value):
    assert Field(BUDGET).shown(value, colors.LIGHT) == Shown("No events yet", is_empty=True)


STATES = [
    {"type": "value", "options": {"1": {"text": "Up", "color": "green"}}},
    {"type": "range", "options": {"from": 2, "to": None, "result": {"text": "Many"}}},
    {"type": "special", "options": {"match": "null+nan", "result": {"text": "Unknown"}}},
    {"type": "regex", "options": {"pattern": "^x", "result": {"text": "an x"}}},
]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "Up"),
        (2, "Many"),
        (1e9, "Many"),
        (0, "0"),
        (None, "Unknown"),
        ("xy", "an x"),
        ("y", "y"),
    ],
)
def test_a_state_is_a_word(value, text):
    assert Field({"mappings": STATES}).shown(value, colors.LIGHT).text == text


def panel(*overrides):
    return (
        board.board(
            {
                "panels": [
                    {
                        "type": "table",
                        "fieldConfig": {"defaults": BUDGET, "overrides": list(overrides)},
                    }
                ]
            }
        )
        .sections[0]
        .panels[0]
    )


def override(how, option, **properties):
    listed = [{"id": key.replace("_", "."), "value": value} for key, value in properties.items()]
    return {"matcher": {"id": how, "options": option}, "properties": listed}


@pytest.mark.parametrize(
    ("how", "option"),
    [
        ("byName", "p95"),
        ("byRegexp", "/^p9/"),
        ("byFrameRefID", "B"),
        ("byType", "number"),
        ("byNames", {"names": ["p95"]}),
    ],
)
def test_an_override_holds_for_the_series_that_it_names(how, option):
    one = panel(override(how, option, unit="s", custom_lineWidth=3))
    fitting = fields.of_series(one, Series("B", "p95", {}, ()))

    assert (fitting.unit, fitting.custom["lineWidth"]) == ("s", 3)
    assert (
        fields.of_series(panel(override("byName", "x", unit="s")), Series("A", "p95", {}, ())).unit
        == "percentunit"
    )


def test_a_column_is_named_by_its_heading_or_by_itself():
    column = Column("Value #A", (), heading="Burn rate", kind="number")

    assert fields.of_column(panel(override("byName", "Burn rate", unit="")), column).unit == ""
    assert fields.of_column(panel(override("byName", "Value #A", unit="s")), column).unit == "s"


@pytest.mark.parametrize("theme", colors.THEMES.values(), ids=str)
@pytest.mark.parametrize(
    "name", ["green", "super-light-yellow", "dark-blue", "#fff", "#000000", "rgb(1, 2, 3)"]
)
def test_text_in_any_colour_can_be_read(theme, name):
    color = theme.color(name)

    assert contrast(colors.readable(color, theme), theme.panel) >= 4.5
    assert contrast(colors.ink(color), color) >= 4.5
    assert contrast(theme.weak, theme.page) >= 4.5


def contrast(first, second):
    low, high = sorted((colors.luminance(first), colors.luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(
    "name", ["url(#x)", "red;background:url(x)", "expression(1)", "", None, "#12"]
)
def test_a_colour_that_is_none_is_grey(name):
    assert colors.LIGHT.color(name) == "#8e8e99"
