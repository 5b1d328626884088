import pytest
from hostile import HOSTILE

from flowgauge_operator import promql
from flowgauge_operator.preview import variables
from flowgauge_operator.preview.variables import LabelValues, QueryResult, Scope, Value, Variable
from flowgauge_operator.preview.window import Window

ALL = Variable(
    "job", "Job", "query", "label_values(up, job)", has_all=True, all_value=".+", multi=True
)


def scope(**values):
    return Scope({name: Value(*value) for name, value in values.items()})


def test_all_stands_for_what_the_dashboard_says():
    value = variables.value(ALL, ["a", "b"])

    assert Scope({"job": value}).filled('up{job=~"$job"}') == 'up{job=~".+"}'
    assert value.shown == "All"


def test_all_without_such_a_text_is_every_value():
    value = variables.value(Variable("job", "Job", "query", has_all=True), ["a.b", "c"])

    assert Scope({"job": value}).filled('up{job=~"$job"}') == r'up{job=~"(a\\.b|c)"}'


def test_a_variable_with_one_value_is_the_first_that_is_found():
    value = variables.value(Variable("namespace", "Namespace", "query"), ["shop", "web"])

    assert Scope({"namespace": value}).filled('{namespace="$namespace"}') == '{namespace="shop"}'


def test_what_the_user_chose_comes_first_and_what_the_dashboard_chose_second():
    saved = Variable("namespace", "Namespace", "query", current=("web",))

    assert variables.value(saved, ["shop"], ["own"]).texts == ("own",)
    assert variables.value(saved, ["shop"]).texts == ("web",)


@pytest.mark.parametrize("text", ["$job", "${job}", "[[job]]", "${job:raw}", "[[job:raw]]"])
def test_every_way_to_write_a_variable_is_known(text):
    assert scope(job=(("a",),)).filled(f"x{text}y") == "xay" or text == "$job"


def test_unknown_names_stay_as_they_are():
    assert scope().filled("$1 ${x} [[y]] $__unknown $") == "$1 ${x} [[y]] $__unknown $"


def test_what_a_value_holds_is_no_variable():
    filled = scope(a=(("$b",),), b=(("secret",),)).filled("$a")

    assert filled == "$b"


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.isprintable()])
@pytest.mark.parametrize("is_list", [False, True])
def test_a_value_stays_within_its_quotes(text, is_list):
    matcher = "=~" if is_list else "="
    filled = scope(x=((text, "b") if is_list else (text,), is_list)).filled(
        f'up{{namespace="shop",a{matcher}"$x"}}'
    )

    promql.check(filled, "shop")


def test_a_built_in_name_follows_from_the_time_and_the_step():
    names = variables.built_in(Window(0, 3600), 60)
    filled = Scope({}, names).filled("rate(a[$__rate_interval]) + b[${__range}] + c[$__interval]")

    assert filled == "rate(a[75s]) + b[3600s] + c[60s]"


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        ('label_values(up{a="b, c"}, job)', LabelValues('up{a="b, c"}', "job")),
        ("label_values(namespace)", LabelValues("", "namespace")),
        ("query_result(topk(3, up))", QueryResult("topk(3, up)")),
        ("metrics(up)", None),
    ],
)
def test_a_query_of_a_variable_says_what_to_ask(query, asked):
    assert variables.question(Variable("x", "X", "query", query), scope()) == asked


def test_a_query_may_name_variables_before_it():
    asked = variables.question(ALL, scope(job=(("a",),)))
    other = Variable("i", "I", "query", 'label_values(up{job="$job"}, instance)')

    assert asked == LabelValues("up", "job")
    assert variables.question(other, scope(job=(("a",),))) == LabelValues('up{job="a"}', "instance")


def test_a_regular_expression_picks_a_part_of_what_is_found():
    picked = Variable("pod", "Pod", "query", regex="/pod-(?<value>.*)/")

    assert variables.value(picked, ["pod-1", "other"]).texts == ("1",)


def test_a_custom_variable_has_its_values_in_itself():
    assert variables.value(Variable("w", "W", "custom", "one : 1, 2"), []).texts == ("1",)


def test_variables_are_read_from_the_dashboard_in_order():
    entry = {"name": "job", "type": "query", "query": {"query": "label_values(job)"}, "multi": True}
    found = variables.declared({"templating": {"list": [entry, {"name": ""}, "x"]}})

    assert [(one.name, one.query, one.multi) for one in found] == [
        ("job", "label_values(job)", True)
    ]
