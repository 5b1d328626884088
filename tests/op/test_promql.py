import json

import promql_parser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgauge_operator import promql
from flowgauge_operator.promql import ExpressionError

BOUND = 'namespace="shop"'
# Every text but lone surrogates, which are no characters.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@settings(deadline=None)  # a busy machine is no failure
@given(TEXT, TEXT)
def test_matchers_are_exactly_the_intended_ones(first, second):
    inside = promql.matchers((("a", "=", first), ("b", "!=", second)))

    selector = promql_parser.parse(f"up{{{inside}}}")

    assert [(m.name, m.op, m.value) for m in selector.matchers.matchers] == [
        ("a", promql_parser.MatchOp.Equal, first),
        ("b", promql_parser.MatchOp.NotEqual, second),
    ]


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(TEXT, min_size=1, max_size=4), TEXT)
def test_any_of_matches_its_values_and_nothing_else(values, other):
    import re2  # noqa: PLC0415 - the engine of Prometheus, used for this test alone

    pattern = re2.compile(f"(?s)^(?:{promql.any_of(values)})$")

    assert all(pattern.search(value) for value in values)
    assert bool(pattern.search(other)) == (other in values)


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        ("plain", '"plain"'),
        ('say "hi"', r'"say \"hi\""'),
        ("a\\b", r'"a\\b"'),
        ("a\nb", r'"a\nb"'),
        ("größe 🙂", '"größe 🙂"'),
    ],
)
def test_a_value_is_quoted_once(value, literal):
    assert promql.quote(value) == literal
    assert json.loads(literal) == value


@pytest.mark.parametrize(
    "expr",
    [
        f"up{{{BOUND}}}",
        f'up{{{BOUND},job=~"a|b"}} > 0',
        "up{namespace='shop'}",
        "up{namespace=`shop`}",
        r'up{namespace="\x73hop"}',
        '{"up","namespace"="shop"}',
        f"max_over_time(rate(up{{{BOUND}}}[5m])[1h:1m] offset 5m)",
        f"up{{{BOUND}}} @ 1700000000",
        f"up{{{BOUND}}} offset 1d",
        f"sum by (a) (rate(up{{{BOUND}}}[5m])) / on (a) group_left () up{{{BOUND}}}",
        f"quantile(scalar(up{{{BOUND}}}), up{{{BOUND}}})",
        "vector(1)",
        "1",
    ],
)
def test_an_expression_over_the_own_namespace_is_accepted(expr):
    promql.check(expr, "shop")


@pytest.mark.parametrize(
    "expr",
    [
        "up",
        "up{}",
        'up{namespace="other"}',
        'up{namespace=~"shop"}',
        'up{namespace!="other"}',
        'up{namespace=~"shop|other"}',
        'up{namespace=""}',
        '{__name__="up"}',
        '{__name__=~".+"}',
        '{"up"}',
        'up{exported_namespace="shop"}',
        f'up{{{BOUND} or namespace="other"}}',
        f'up{{{BOUND},a="1" or {BOUND},b="2"}}',
        f"up{{{BOUND}}} or down",
        f"up{{{BOUND}}} and on () (down offset 5m)",
        f"up{{{BOUND}}} unless down @ 5",
        f"rate(down[5m]) + up{{{BOUND}}}",
        "max_over_time(down[1h:1m])",
        f"max_over_time((up{{{BOUND}}} + down)[1h:1m] @ end())",
        f"quantile(scalar(down), up{{{BOUND}}})",
        f"histogram_quantile(scalar(down), rate(up_bucket{{{BOUND}}}[5m]))",
        "absent(down)",
        "-down",
        "(((down)))",
    ],
)
def test_an_expression_that_may_read_another_namespace_is_refused(expr):
    with pytest.raises(ExpressionError) as caught:
        promql.check(expr, "shop")

    assert 'does not match namespace="shop" by equality; add the matcher' in str(caught.value)


@pytest.mark.parametrize(
    "expr",
    [
        "",
        "up{",
        f"rate(up{{{BOUND}}})",
        f"rate(up{{{BOUND}}}[$__rate_interval])",
        f"up{{{BOUND}}} >",
        "1 > 2",
        f"sum(up{{{BOUND}}}) by",
        f"up{{{BOUND}}}; down",
    ],
)
def test_what_does_not_parse_is_refused(expr):
    with pytest.raises(ExpressionError, match="is not valid PromQL"):
        promql.check(expr, "shop")


@pytest.mark.parametrize(
    "expr",
    [
        f"limitk(1, up{{{BOUND}}})",
        f"limit_ratio(0.5, up{{{BOUND}}})",
        f"mad_over_time(up{{{BOUND}}}[5m])",
        f'sort_by_label(up{{{BOUND}}}, "a")',
        f"info(up{{{BOUND}}})",
        f"double_exponential_smoothing(up{{{BOUND}}}[5m], 0.1, 0.1)",
        f"ts_of_max_over_time(up{{{BOUND}}}[5m])",
        f"up{{{BOUND}}} + fill(0) up{{{BOUND}}}",
        f"sum(up{{{BOUND}}} + on () group_left () fill_left(0) up{{{BOUND}}})",
    ],
)
def test_what_prometheus_knows_only_as_an_experiment_is_refused(expr):
    with pytest.raises(ExpressionError, match="only as an experiment"):
        promql.check(expr, "shop")


@pytest.mark.parametrize("expr", [f"up{{{BOUND}}}[5m]", f"(up{{{BOUND}}}[1h:5m])", '"text"'])
def test_what_yields_no_number_is_refused(expr):
    with pytest.raises(ExpressionError, match="yields no number"):
        promql.check(expr, "shop")


@pytest.mark.parametrize("regex", ["[a&&b", r"(?P<x", r"\\u{200b}", "(?x) a", "a{2000}"])
def test_a_regular_expression_that_prometheus_would_not_take_is_refused(regex):
    with pytest.raises(ExpressionError):
        promql.check(f'up{{{BOUND},a=~"{regex}"}}', "shop")


def test_every_selector_of_an_expression_is_seen():
    text = "a + sum(b[5m:1m]) + max_over_time(c[5m]) + quantile(scalar(d), e) + label_replace(f, '', '', '', '')"
    text = text.replace("sum(b[5m:1m])", "sum_over_time(b[5m:1m])")

    assert [selector.name for selector in promql.selectors(text)] == ["a", "b", "c", "d", "e", "f"]
