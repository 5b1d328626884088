import math

import numpy as np
import pytest

from flowgauge_operator.preview import heat, lines
from flowgauge_operator.preview.axes import Canvas, Event
from flowgauge_operator.preview.colors import LIGHT
from flowgauge_operator.preview.fields import Field
from flowgauge_operator.preview.frames import Series
from flowgauge_operator.preview.window import Window

WINDOW = Window(0, 60)
GRID = (0.0, 30.0, 60.0)


def bucket(bound, *values):
    return Series("A", bound, {"le": bound}, values)


def test_classic_buckets_become_what_fell_between_their_bounds():
    found = heat.cells([bucket("+Inf", 6, 6, 6), bucket("1", 1, 2, 3), bucket("5", 5, 5, 5)])

    assert found.bounds == ((-math.inf, 1), (1, 5), (5, math.inf))
    assert found.counts.tolist() == [[1, 2, 3], [4, 3, 2], [1, 1, 1]]


def test_a_bucket_that_was_scraped_later_than_the_next_makes_no_negative_cell():
    assert heat.cells([bucket("1", 5), bucket("2", 4)]).counts.min() == 0


def test_bounds_are_those_of_the_vocabulary_in_the_order_of_their_size():
    found = heat.cells([bucket("10", 3), bucket("9", 2), bucket("0.5", 1)])

    assert [high for _, high in found.bounds] == [0.5, 9, 10]


def test_rows_far_from_all_that_happened_are_left_out():
    found = heat.cells([bucket(str(n), 0 if n < 5 else 3) for n in range(10)])

    assert [high for _, high in found.bounds] == [4, 5, 6]


def test_native_histograms_bring_their_bounds_with_them():
    first = {"count": "3", "buckets": [[0, "0.5", "1", "2"], [0, "1", "2", "1"]]}
    second = {"count": "4", "buckets": [[0, "1", "2", "4"]]}
    found = heat.cells([Series("A", "x", {}, (3, math.nan, 4), (first, None, second))])

    assert found.bounds == ((0.5, 1), (1, 2))
    assert found.counts[:, 0].tolist() == [2, 1]
    assert np.isnan(found.counts[:, 1]).all()
    assert found.counts[:, 2].tolist() == [0, 4]


def test_without_buckets_there_are_no_cells():
    assert heat.cells([]) is None
    assert heat.cells([Series("A", "x", {}, (1.0,))]) is None


def stack(*values, mode="normal"):
    field = Field({"custom": {"stacking": {"mode": mode}}})
    return lines.stacked([(str(n), "#000000", field, v) for n, v in enumerate(values)])


def test_series_of_a_stack_stand_upon_each_other():
    assert [line.values.tolist() for line in stack((1, 1), (2, 3))] == [[1, 1], [3, 4]]
    assert [line.values.tolist() for line in stack((1, 1), (2, 3), mode="none")] == [[1, 1], [2, 3]]


def test_a_gap_in_one_series_lowers_those_above_and_stays_a_gap():
    lower, upper = stack((1, math.nan), (2, 3))

    assert math.isnan(lower.values[1])
    assert upper.values.tolist() == [3, 3]


def test_infinity_is_a_gap():
    assert math.isnan(stack((math.inf,))[0].values[0])


def graph(settings, values, **more):
    ready = lines.stacked([("a", "#56a64b", Field(settings), values)])
    canvas = Canvas(400, 200, LIGHT, WINDOW, **more)
    return lines.drawn(ready, GRID, canvas, key="k", label="a graph")


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({"custom": {"lineStyle": {"fill": "dash", "dash": [10, 6]}}}, "stroke-dasharray"),
        ({"custom": {"fillOpacity": 20}}, "fill-opacity: 0.2"),
        ({"custom": {"drawStyle": "bars"}}, "fill: #56a64b"),
        ({"custom": {"scaleDistribution": {"type": "log", "log": 10}}}, ">100<"),
        ({"min": 0, "max": 1, "unit": "percentunit"}, ">100%<"),
        (
            {
                "custom": {"thresholdsStyle": {"mode": "line"}},
                "thresholds": {
                    "steps": [{"color": "green", "value": None}, {"color": "red", "value": 7}]
                },
            },
            ">7<",
        ),
    ],
)
def test_a_setting_of_grafana_shows(settings, seen):
    assert seen in graph(settings, (1, 12, 30))


@pytest.mark.parametrize(
    "values", [(math.nan,) * 3, (0, 0, 0), (5, 5, 5), (-1e300, 1e300, 0), (1e-300, 0, 0)]
)
def test_no_values_break_a_graph(values):
    assert "<svg" in graph({}, values)


def test_numbers_of_events_that_are_near_are_told_together():
    events = [Event(n, "Alert", "#e02f44", n, n + 5, "") for n in (1, 2, 3)] + [
        Event(4, "Alert", "#e02f44", 50, 50, "")
    ]
    found = graph({}, (1, 2, 3), events=events)

    assert "▾1-3" in found
    assert "▾4" in found
