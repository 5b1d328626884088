"""The text formats, byte for byte as prometheus_client writes them."""

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client import exposition
from prometheus_client.openmetrics import exposition as openmetrics_exposition
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from flowgauge import collector, text
from flowgauge.metrics import Distribution, Exemplar, MetricFamily, Quantiles

HARD_NUMBERS = (
    *(0.0, -0.0, 1.0, -1.0, 0.1, -2.5, 5e-324, 1e-7, 1e-5, 999_999.0, 999_999.9999999999),
    *(1e6, 1_000_001.5, 1_234_567.0, 10_000_000.0, -1e6, 123_456_789.123, 9.5e15, 2.0**53),
    *(1e16, 1.5e20, 1e100, 1.7976931348623157e308, -1e16, math.inf, -math.inf, math.nan),
)
HARD_COUNTS = (0, 1, 999_999, 1_000_000, 1_000_001, 12_345_678, 10**15, 10**16, 15 * 10**19)
ODD = "\"'`\\\n\r\t%s%d%%{}=,# ~\x00\x85\u2028é漢🙂"

numbers = st.sampled_from(HARD_NUMBERS) | st.floats()
counts = st.sampled_from(HARD_COUNTS) | st.integers(0, 2 * 10**6)
texts = st.lists(st.sampled_from(ODD) | st.characters(exclude_categories=["Cs"]), max_size=6).map(
    "".join
)
names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,6}", fullmatch=True)
labels = names.filter(lambda name: name not in {"le", "quantile"})


class Registry:
    """What `generate_latest` asks for metrics."""

    def __init__(self, families):
        self._families = families

    def collect(self):
        return [collector.metric(family) for family in self._families]


def expected(families, *, openmetrics):
    if openmetrics:
        return openmetrics_exposition.generate_latest(Registry(families))
    return exposition.generate_latest(Registry(families))


def check(renderer, families):
    """Both formats are what prometheus_client makes of the same families."""
    for openmetrics in (False, True):
        page = renderer.render(families, openmetrics=openmetrics)
        assert page == expected(families, openmetrics=openmetrics)


def ascending(values):
    return tuple(sorted(values))


@st.composite
def exemplars(draw):
    pairs = draw(st.dictionaries(names, texts, max_size=2))
    return Exemplar(tuple(pairs.items()), draw(numbers), draw(st.floats(0, 4e9)))


@st.composite
def distributions(draw, bounds):
    size = len(bounds) + 1
    return Distribution(
        bounds,
        draw(st.lists(counts, min_size=size, max_size=size)),
        draw(numbers),
        draw(st.dictionaries(st.integers(0, size - 1), exemplars(), max_size=2)),
    )


@st.composite
def summaries(draw):
    asked = draw(st.lists(st.floats(0, 1), unique=True, max_size=3).map(ascending))
    return Quantiles(draw(counts), draw(numbers), tuple((q, draw(numbers)) for q in asked))


def values_of(draw, kind, size):
    if kind == "histogram":
        bounds = draw(
            st.lists(st.sampled_from(HARD_NUMBERS[:-3]) | st.floats(-1e7, 1e7), max_size=4).map(
                lambda found: tuple(sorted({bound + 0.0 for bound in found}))
            )
        )
        return [draw(distributions(bounds)) for _ in range(size)]
    if kind == "summary":
        return [draw(summaries()) for _ in range(size)]
    return [draw(numbers) for _ in range(size)]


@st.composite
def families(draw):
    kind = draw(st.sampled_from(["counter", "gauge", "histogram", "summary", "info", "unknown"]))
    name, unit = draw(names), draw(st.sampled_from(["", "seconds"]))
    name += draw(st.sampled_from(["", "_seconds", "_total", "_seconds_total", "_info"]))
    own = tuple(draw(st.lists(labels, unique=True, max_size=3)))
    keys = draw(st.lists(st.tuples(*[texts] * len(own)), unique=True, max_size=4 if own else 1))
    return MetricFamily(name, kind, draw(texts), own, keys, values_of(draw, kind, len(keys)), unit)


pages = st.lists(families(), max_size=3, unique_by=lambda family: family.name)


@settings(deadline=None, max_examples=400)
@given(pages)
def test_every_page_is_the_one_of_prometheus_client(page):
    check(text.Renderer(), page)


@settings(deadline=None, max_examples=200)
@given(pages, st.data())
def test_a_renderer_that_rendered_before_renders_what_is_there_now(page, data):
    renderer = text.Renderer()
    for _ in range(4):
        check(renderer, page)
        page = [data.draw(changed(family)) for family in page]
        if data.draw(st.booleans()):
            page = page[1:] + page[:1]


@st.composite
def changed(draw, family):
    """The family of the next scrape: as a source that keeps its list of label sets gives it, or another one."""
    keys, kind = family.keys, family.kind
    changes = ["values", "grown", "shrunk", "other", "labels", "help", "kind", "gone"]
    change = draw(st.sampled_from(changes))
    if change == "grown" and family.labels:
        fresh = draw(st.tuples(*[texts] * len(family.labels)))
        if fresh not in keys:
            keys.append(fresh)  # the same list, longer
    elif change == "shrunk":
        keys = keys[:-1]
    elif change == "other":
        keys = [tuple(draw(texts) for _ in family.labels)]
    elif change == "labels":
        family = family._replace(labels=tuple(f"{label}_" for label in family.labels))
    elif change == "help":
        family = family._replace(help=draw(texts))
    elif change == "kind":
        kind = draw(st.sampled_from(["counter", "gauge", "unknown", "histogram", "summary"]))
    elif change == "gone":
        keys = []
    return family._replace(keys=keys, kind=kind, values=values_of(draw, kind, len(keys)))


def one(kind, *values, name="odd_seconds", labels=("a",), help_text="Help.", unit=""):
    keys = [(f"{i}",) for i in range(len(values))] if labels else [()]
    return MetricFamily(name, kind, help_text, labels, keys, list(values), unit)


@pytest.mark.parametrize("kind", ["counter", "gauge", "info", "unknown"])
@pytest.mark.parametrize("number", HARD_NUMBERS)
def test_every_number_stands_there_as_go_writes_it(kind, number):
    check(text.Renderer(), [one(kind, number, name="x_total")])
    check(text.Renderer(), [one(kind, 1.0, number, 2.0, name="x_total")])


@pytest.mark.parametrize("count", HARD_COUNTS)
def test_a_histogram_that_grows_past_a_million_changes_its_writing_and_may_come_back(count):
    renderer = text.Renderer()
    keys, bounds = [("a",), ("b",)], (0.1, 1.0, 1e6, 1e16)
    for grown in (3, count, 4):  # the last one: a counter that began anew
        values = [
            Distribution(bounds, [1, grown, 0, 2, 1], 12.5),
            Distribution(bounds, [1, 0, 0, 0, 0], float(grown)),
        ]
        check(renderer, [MetricFamily("x_seconds", "histogram", "", ("l",), keys, values)])


@pytest.mark.parametrize("count", [3, 2_000_000])
def test_a_histogram_may_change_its_bounds_between_two_pages(count):
    renderer, keys = text.Renderer(), [("a",)]
    for bounds in ((0.1, 1.0), (0.5, 2.5), (0.5,), (0.1, 1.0)):
        counts = [count, *[1] * len(bounds)]
        family = MetricFamily(
            "x_seconds", "histogram", "", ("l",), keys, [Distribution(bounds, counts, 2.0)]
        )
        check(renderer, [family])


@pytest.mark.parametrize("kind", ["gauge", "histogram", "summary"])
def test_what_depends_on_the_labels_only_is_made_once(monkeypatch, kind):
    made = []
    for lines in (text.Lines, text._HistogramLines, text._SummaryLines):
        monkeypatch.setattr(
            lines, "prepare", lambda self, prepare=lines.prepare: (made.append(1), prepare(self))
        )
    value = {
        "gauge": 1.0,
        "histogram": Distribution((1.0,), [1, 1], 2.0),
        "summary": Quantiles(1, 1.0, ()),
    }[kind]
    renderer, family = text.Renderer(), one(kind, value, value)

    for _ in range(3):
        renderer.render([family])
        renderer.render([family._replace(values=[value, value])], openmetrics=True)

    assert len(made) == 1


@pytest.mark.parametrize("kind", ["gauge", "histogram", "summary"])
@pytest.mark.parametrize("size", [31, 32, 33, 511, 512, 513, 1025])
def test_no_series_is_lost_where_the_page_is_rendered_in_parts(kind, size):
    made = {
        "gauge": float,
        "histogram": lambda i: Distribution((1.0,), [i, 1], float(i)),
        "summary": lambda i: Quantiles(i, float(i), ((0.5, float(i)),)),
    }[kind]
    family = one(kind, *[made(i) for i in range(size)])

    check(text.Renderer(), [family])


@example('say "hi"')
@example("back\\slash, \\n is no newline, this is one:\n")
@example("100 % of %s and %d and %%")
@example("ünïcödé 漢字 🙂")
@example("\r\t\x00\x1b")
@settings(deadline=None)
@given(texts)
def test_a_label_value_is_read_back_as_it_was(value):
    values = [Distribution((1.0,), [1, 2], 3.0)]
    family = MetricFamily("x", "histogram", value, ("a", "z"), [(value, "end")], values)
    gauge = MetricFamily("y", "gauge", value, ("a", "z"), [(value, "end")], [1.0])

    page = text.Renderer().render([family, gauge], openmetrics=True).decode()

    for made in parse_openmetrics(page):
        assert made.documentation.strip() == value.strip()  # the parser strips it
        for sample in made.samples:
            assert sample.labels.get("a", "") == value
            assert sample.labels["z"] == "end"


def test_what_cannot_be_encoded_costs_its_own_character_only():
    family = MetricFamily("x", "gauge", "a\udc80b", ("l",), [("a\udcffb",)], [1.0])

    page = text.Renderer().render([family])

    assert page == b'# HELP x a?b\n# TYPE x gauge\nx{l="a?b"} 1.0\n'


def test_an_exemplar_stands_behind_the_bucket_that_it_fell_into_and_in_openmetrics_only():
    mark = Exemplar((("trace_id", "ab"), ("span_id", '"')), 0.25, 1700000000.5)
    family = one("histogram", Distribution((0.1, 1.0), [1, 2, 0], 1.5, {1: mark}), labels=())
    renderer = text.Renderer()

    check(renderer, [family])
    plain = renderer.render([family]).decode()
    page = renderer.render([family], openmetrics=True).decode()

    assert "trace_id" not in plain
    line = 'odd_seconds_bucket{le="1.0"} 3.0 # {span_id="\\"",trace_id="ab"} 0.25 1700000000.5'
    assert line in page.splitlines()
    assert page.count(" # {") == 1


def test_a_colon_stays_in_a_name():
    # prometheus_client makes `_` of it in OpenMetrics; records of rules have colons.
    page = text.Renderer().render([one("gauge", 1.0, name="a:b", labels=())], openmetrics=True)

    assert page == b"# HELP a:b Help.\n# TYPE a:b gauge\na:b 1.0\n# EOF\n"


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("x_total", "counter", ("x", "counter")),
        ("x", "counter", ("x", "unknown")),
        ("_total", "counter", ("_total", "unknown")),
        ("build_info", "info", ("build", "info")),
        ("build", "info", ("build", "gauge")),
        ("_info", "info", ("_info", "gauge")),
        ("x_total", "gauge", ("x_total", "gauge")),
    ],
)
def test_the_type_is_one_that_openmetrics_allows_the_name_to_have(name, kind, told):
    family = one(kind, 1.0, name=name, labels=())

    assert text.typed(family) == told
    check(text.Renderer(), [family])
    list(parse_openmetrics(text.Renderer().render([family], openmetrics=True).decode()))


@pytest.mark.parametrize(
    ("name", "unit", "told"),
    [
        ("wait_seconds", "seconds", "seconds"),
        ("wait_seconds_total", "seconds", "seconds"),
        ("wait", "seconds", ""),
        ("seconds", "seconds", ""),
    ],
)
def test_the_unit_is_told_where_the_name_ends_with_it(name, unit, told):
    kind = "counter" if name.endswith("_total") else "gauge"
    family = one(kind, 1.0, name=name, labels=(), unit=unit)

    page = text.Renderer().render([family], openmetrics=True).decode()

    assert [line.split()[3] for line in page.splitlines() if "# UNIT" in line] == [told] * bool(
        told
    )
    check(text.Renderer(), [family])
