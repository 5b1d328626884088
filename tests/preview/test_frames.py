import math

import pytest

from flowgauge_operator.preview import frames, transform
from flowgauge_operator.preview.board import Target
from flowgauge_operator.preview.frames import Column


def target(legend="__auto", ref="A"):
    return Target(ref, "sum(up)", legend, is_instant=False, is_range=True, form="time_series")


def matrix(*series):
    return {"resultType": "matrix", "result": [{"metric": m, "values": v} for m, v in series]}


def vector(*samples):
    return {
        "resultType": "vector",
        "result": [{"metric": m, "value": [0, str(v)]} for m, v in samples],
    }


def names(legend, *labels):
    return [
        one.name for one in frames.series(target(legend), matrix(*((m, []) for m in labels)), [0])
    ]


def test_an_instant_without_a_sample_is_a_gap():
    (one,) = frames.series(target(), matrix(({}, [[0, "1"], [30, "3"]])), [0, 15, 30])

    assert one.values[0] == 1
    assert math.isnan(one.values[1])
    assert one.values[2] == 3


def test_a_legend_takes_its_labels_and_nothing_where_there_are_none():
    assert names("{{ step }} of {{x}}", {"step": "load"}) == ["load of "]


def test_a_label_is_no_legend_itself():
    assert names("{{a}}", {"a": "{{b}}", "b": "secret"}) == ["{{b}}"]


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([{}], ["sum(up)"]),
        ([{"slo": "a"}, {"slo": "b"}], ["a", "b"]),
        ([{"slo": "a", "x": "1"}], ['{slo="a", x="1"}']),
    ],
)
def test_an_automatic_legend_is_as_short_as_it_can_be(labels, found):
    assert names("__auto", *labels) == found


def test_without_a_legend_a_series_is_written_out():
    assert names("", {"__name__": "up", "job": "a"}) == ['up{job="a"}']


def test_a_scalar_is_a_series():
    data = {"resultType": "scalar", "result": [0, "2.5"]}

    assert frames.series(target(), data, [0])[0].values == (2.5,)


@pytest.mark.parametrize(
    ("calculation", "value"),
    [("lastNotNull", 2), ("mean", 1.5), ("min", 1), ("max", 2), ("sum", 3), ("firstNotNull", 1)],
)
def test_many_values_become_one(calculation, value):
    assert frames.reduced([1, math.nan, 2, math.nan], calculation) == value


def test_nothing_becomes_no_value():
    assert math.isnan(frames.reduced([], "lastNotNull"))
    assert math.isnan(frames.reduced([math.nan], "mean"))


def test_a_table_has_a_column_for_each_label_and_one_for_the_value():
    found = frames.table(target(ref="B"), vector(({"a": "1", "b": "2"}, 5)), alone=False)

    assert [(column.name, column.cells) for column in found] == [
        ("Time", (0.0,)), ("a", ("1",)), ("b", ("2",)), ("Value #B", (5.0,)),
    ]  # fmt: skip


def merged(*tables, organize=None):
    steps = [{"id": "merge"}] + ([{"id": "organize", "options": organize}] if organize else [])
    return transform.transformed(tables, steps)


def two_queries():
    left = frames.table(target(ref="A"), vector(({"slo": "a"}, 1), ({"slo": "b"}, 2)), alone=False)
    right = frames.table(
        target(ref="B"),
        vector(
            ({"slo": "b"}, 20),
        ),
        alone=False,
    )
    return left, right


def test_rows_of_several_queries_become_one_where_their_labels_agree():
    (found,), _ = merged(*two_queries())
    rows = dict(zip(found[1].cells, zip(found[2].cells, found[3].cells, strict=True), strict=True))

    assert rows == {"a": (1.0, None), "b": (2.0, 20.0)}


def test_rows_whose_labels_contradict_each_other_stay_apart():
    left = frames.table(target(ref="A"), vector(({"__name__": "x", "slo": "a"}, 1)), alone=False)
    right = frames.table(target(ref="B"), vector(({"__name__": "y", "slo": "a"}, 2)), alone=False)
    (found,), _ = merged(left, right)

    assert len(found[0].cells) == 2


def test_a_query_without_an_answer_is_no_table():
    left, _ = two_queries()
    (found,), _ = merged(left, frames.table(target(ref="B"), vector(), alone=False))

    assert [column.name for column in found] == ["Time", "slo", "Value #A"]


def test_columns_are_renamed_ordered_and_left_out():
    organize = {
        "excludeByName": {"Time": True},
        "indexByName": {"Value #B": 0, "slo": 1},
        "renameByName": {"Value #A": "Left", "Value #B": "Right"},
    }
    (found,), _ = merged(*two_queries(), organize=organize)

    assert [column.title for column in found] == ["Right", "slo", "Left"]


def test_rows_without_a_number_come_last_in_either_order():
    table = (Column("a", (None, 1.0, 3.0, 2.0)),)

    assert transform.ordered(table, "a", descending=True)[0].cells == (3.0, 2.0, 1.0, None)
    assert transform.ordered(table, "a", descending=False)[0].cells == (1.0, 2.0, 3.0, None)


def test_a_transformation_that_we_do_not_know_is_told():
    assert transform.transformed([], [{"id": "groupBy"}, {"id": "x", "disabled": True}])[1] == [
        "groupBy"
    ]
