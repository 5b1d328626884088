"""Our bytes, read by the runtime of protobuf with the messages that Prometheus publishes."""

from __future__ import annotations

import json
import math
import random
import struct
import subprocess
import threading
import weakref
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from flowgauge import guard, protobuf, sketch, text, wire
from flowgauge.metrics import Distribution, Exemplar, Exponential, MetricFamily, Quantiles
from rig import builds

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """The class of MetricFamily, made from the .proto file of Prometheus' own module."""
    import grpc_tools  # noqa: PLC0415 - slow to load
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: PLC0415
    from grpc_tools import protoc  # noqa: PLC0415

    answer = subprocess.run(
        ["go", "mod", "download", "-json", "github.com/prometheus/client_model"],
        cwd=ROOT / "hack/tools/pushgateway",
        env=builds.go_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    module = json.loads(answer.stdout)["Dir"]
    out = tmp_path_factory.mktemp("protobuf") / "descriptors"
    status = protoc.main(
        [
            "protoc",
            f"-I{module}",
            f"-I{Path(grpc_tools.__file__).parent / '_proto'}",
            "--include_imports",
            f"--descriptor_set_out={out}",
            "io/prometheus/client/metrics.proto",
        ]
    )
    assert status == 0
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file:
        pool.Add(file)
    found = pool.FindMessageTypeByName("io.prometheus.client.MetricFamily")
    return message_factory.GetMessageClass(found)


@pytest.fixture
def decode(published):
    """All messages of a page."""

    def messages(page):
        found, at = [], 0
        while at < len(page):
            length, shift = 0, 0
            while True:
                byte = page[at]
                at += 1
                length |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            assert at + length <= len(page)
            message = published.FromString(page[at : at + length])
            # Nothing that the published messages do not know, and nothing is said twice.
            assert not _unknown(message)
            assert len(message.SerializeToString()) == length
            found.append(message)
            at += length
        return found

    return messages


def _unknown(message):
    from google.protobuf.unknown_fields import UnknownFieldSet  # noqa: PLC0415

    inner = []
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            inner += value if field.is_repeated else [value]
    return len(UnknownFieldSet(message)) or any(_unknown(m) for m in inner)


@pytest.fixture
def reports(monkeypatch):
    found = []
    monkeypatch.setattr(guard, "report", lambda place, error: found.append((place, error)))
    return found


def render(*families):
    return protobuf.Renderer().render(families)


def family(kind, *values, name="work", labels=("workflow",), keys=None, help="Work.", unit=""):  # noqa: A002
    keys = keys or [(f"w{i}",) for i in range(len(values))]
    return MetricFamily(name, kind, help, labels, keys, values, unit)


def labels_of(metric):
    return {pair.name: pair.value for pair in metric.label}


# Series as Prometheus makes them of both formats.


def series_of(messages):
    found = []
    for message in messages:
        name, kind = message.name, message.DESCRIPTOR.fields_by_name["type"].enum_type
        kind = kind.values_by_number[message.type].name.lower()
        for metric in message.metric:
            labels = labels_of(metric)
            (field,) = [f.name for f, _ in metric.ListFields() if f.name != "label"]
            assert field == kind
            value = getattr(metric, field)
            found += [
                (suffix, frozenset((labels | more).items()), number)
                for suffix, more, number in _samples(name, kind, value)
            ]
    return found


def _samples(name, kind, value):
    if kind in {"counter", "gauge", "untyped"}:
        yield name, {}, value.value
        return
    yield f"{name}_count", {}, float(value.sample_count)
    yield f"{name}_sum", {}, value.sample_sum
    if kind == "summary":
        for q in value.quantile:
            yield name, {"quantile": text.go(q.quantile)}, q.value
    for bucket in value.bucket if kind == "histogram" else ():
        yield f"{name}_bucket", {"le": text.go(bucket.upper_bound)}, float(bucket.cumulative_count)


def series_in_text(families):
    page = text.Renderer().render(families).decode()
    return [
        (sample.name, frozenset(sample.labels.items()), sample.value)
        for parsed in text_string_to_metric_families(page)
        for sample in parsed.samples
    ]


def comparable(series):
    # NaN is not equal to itself.
    return Counter((name, labels, repr(value)) for name, labels, value in series)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.floats(-1e15, 1e15) | st.sampled_from([math.nan, math.inf, -math.inf, 5e-324])
COUNTS = st.integers(0, 2**47)
DISTRIBUTIONS = st.builds(
    lambda counts, total: Distribution((0.1, 1.0, 25.0), counts, total),
    st.lists(COUNTS, min_size=4, max_size=4),
    NUMBERS,
)
SUMMARIES = st.builds(
    lambda count, total, values: Quantiles(
        count, total, tuple(zip((0.5, 0.9), values, strict=True))
    ),
    COUNTS,
    NUMBERS,
    st.lists(NUMBERS, min_size=2, max_size=2),
)
VALUES = {
    "counter": NUMBERS,
    "gauge": NUMBERS,
    "unknown": NUMBERS,
    "info": st.just(1.0),
    "histogram": DISTRIBUTIONS,
    "summary": SUMMARIES,
}


@st.composite
def some_families(draw):
    return [
        MetricFamily(
            f"{kind}_total" if kind == "counter" else f"{kind}_info" if kind == "info" else kind,
            kind,
            draw(TEXTS),
            ("workflow", "a"),
            keys := draw(st.lists(st.tuples(TEXTS, TEXTS), unique=True, min_size=1, max_size=3)),
            [draw(VALUES[kind]) for _ in keys],
        )
        for kind in draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True))
    ]


@pytest.mark.filterwarnings("ignore:.*function-scoped fixture")
def test_the_series_are_those_of_the_text_format(decode):
    @given(some_families())
    def same(families):
        page = render(*families)

        assert comparable(series_of(decode(page))) == comparable(series_in_text(families))

    same()


# Each kind


@pytest.mark.parametrize(
    ("kind", "number", "field"),
    [
        ("counter", 0, "counter"),
        ("gauge", 1, "gauge"),
        ("unknown", 3, "untyped"),
        ("info", 1, "gauge"),
    ],
)
def test_numbers(decode, kind, number, field):
    (message,) = decode(render(family(kind, 0.0, 2.5, math.inf)))

    assert (message.name, message.help, message.type) == ("work", "Work.", number)
    assert message.HasField("type")  # counter is 0, the default
    assert [labels_of(m) for m in message.metric] == [{"workflow": f"w{i}"} for i in range(3)]
    assert [getattr(m, field).value for m in message.metric] == [0.0, 2.5, math.inf]
    assert all(getattr(m, field).HasField("value") for m in message.metric)


def test_a_value_may_be_an_int(decode):
    assert decode(render(family("gauge", 7)))[0].metric[0].gauge.value == 7.0


def test_help_and_unit(decode):
    (message,) = decode(render(family("gauge", 1.0, help='Ein Tag\n\\ "ä"', unit="seconds")))
    assert (message.help, message.unit) == ('Ein Tag\n\\ "ä"', "seconds")

    (message,) = decode(render(family("gauge", 1.0, help="")))
    assert not message.HasField("help")
    assert not message.HasField("unit")


def test_a_summary(decode):
    (message,) = decode(
        render(family("summary", Quantiles(300, 4.5, ((0.5, 0.1), (0.99, math.nan)))))
    )

    assert message.type == 2
    summary = message.metric[0].summary
    assert (summary.sample_count, summary.sample_sum) == (300, 4.5)
    assert [q.quantile for q in summary.quantile] == [0.5, 0.99]
    assert summary.quantile[0].value == 0.1
    assert math.isnan(summary.quantile[1].value)


def test_a_classic_histogram(decode):
    (message,) = decode(render(family("histogram", Distribution((0.1, 1.0), [3, 0, 200], 9.5))))

    assert message.type == 4
    histogram = message.metric[0].histogram
    assert (histogram.sample_count, histogram.sample_sum) == (203, 9.5)
    assert [(b.cumulative_count, b.upper_bound) for b in histogram.bucket] == [
        (3, 0.1),
        (3, 1.0),
        (203, math.inf),
    ]
    assert not histogram.HasField("schema")
    assert not histogram.positive_span
    assert not histogram.HasField("zero_threshold")


@pytest.mark.parametrize("count", [0, 1, 127, 128, 16383, 16384, 2**32, 2**53, 2**63])
def test_counts_of_every_length(decode, count):
    (message,) = decode(render(family("histogram", Distribution((1.0,), [count, 0], 0.0))))

    histogram = message.metric[0].histogram
    assert [b.cumulative_count for b in histogram.bucket] == [count, count]
    assert histogram.sample_count == count


def test_histograms_with_bounds_of_their_own(decode):
    page = render(
        family(
            "histogram",
            Distribution((1.0,), [1, 0], 0.0),
            Distribution((2.0, 3.0), [0, 1, 0], 0.0),
            Distribution((), [4], 0.0),
        )
    )

    bounds = [[b.upper_bound for b in m.histogram.bucket] for m in decode(page)[0].metric]
    assert bounds == [[1.0, math.inf], [2.0, 3.0, math.inf], [math.inf]]


def test_exemplars(decode):
    marks = {
        0: Exemplar((("trace_id", "4b"), ("span_id", "")), 0.05, 1_700_000_000.25),
        2: Exemplar((), 7.0, 1.5),
    }
    (message,) = decode(
        render(family("histogram", Distribution((0.1, 1.0), [1, 0, 1], 7.05, marks)))
    )

    first, second, third = message.metric[0].histogram.bucket
    assert [b.cumulative_count for b in (first, second, third)] == [1, 1, 2]
    assert labels_of(first.exemplar) == {"trace_id": "4b"}
    assert first.exemplar.value == 0.05
    assert first.exemplar.timestamp.seconds == 1_700_000_000
    assert first.exemplar.timestamp.nanos == 250_000_000
    assert not second.HasField("exemplar")
    assert (third.exemplar.value, third.exemplar.timestamp.nanos) == (7.0, 500_000_000)


# Native histograms


def native(decode, exponential, counts=(0, 0)):
    page = render(family("histogram", Distribution((1.0,), counts, 1.5, exponential=exponential)))
    return decode(page)[0].metric[0].histogram


def unrolled(histogram):
    """Buckets by index, as Prometheus reads spans and deltas."""
    found, at, number = {}, 0, 0
    deltas = iter(histogram.positive_delta)
    for span in histogram.positive_span:
        at += span.offset
        for _ in range(span.length):
            number += next(deltas)
            found[at] = number
            at += 1
    assert next(deltas, None) is None
    return {i: n for i, n in found.items() if n}


def test_a_native_histogram_stands_beside_the_classic_buckets(decode):
    histogram = native(
        decode, Exponential(5, 2.0**-40, 4, {-70: 3, -69: 300, -66: 1, 0: 5, 12: 2}), [300, 15]
    )

    assert (histogram.schema, histogram.zero_threshold, histogram.zero_count) == (5, 2.0**-40, 4)
    assert unrolled(histogram) == {-70: 3, -69: 300, -66: 1, 0: 5, 12: 2}
    # -66 comes after a gap of two, which is filled.
    assert [(s.offset, s.length) for s in histogram.positive_span] == [(-70, 5), (65, 1), (11, 1)]
    assert list(histogram.positive_delta) == [3, 297, -300, 0, 1, 4, -3]
    assert [b.cumulative_count for b in histogram.bucket] == [300, 315]


def test_the_count_of_a_native_histogram_is_that_of_its_buckets(decode):
    # The classic ones were read at another moment; Prometheus refuses a sum that is wrong.
    histogram = native(decode, Exponential(0, 0.0, 1, {3: 2}), [7, 0])

    assert histogram.sample_count == 3


@pytest.mark.parametrize("threshold", [0.0, 2.0**-40])
def test_an_empty_native_histogram_is_told_from_a_classic_one(decode, threshold):
    histogram = native(decode, Exponential(3, threshold, 0, {}))

    assert [(s.offset, s.length) for s in histogram.positive_span] == [(0, 0)]
    assert not histogram.positive_delta
    assert histogram.zero_threshold == threshold


@pytest.mark.filterwarnings("ignore:.*function-scoped fixture")
def test_any_buckets_can_be_read_back(decode):
    @given(
        st.integers(-4, 8),
        st.dictionaries(st.integers(-2000, 2000), st.integers(1, 2**40), max_size=40),
    )
    def same(schema, counts):
        histogram = native(decode, Exponential(schema, 0.0, 2, counts))

        assert histogram.schema == schema
        assert unrolled(histogram) == counts
        assert histogram.sample_count == 2 + sum(counts.values())

    same()


def test_a_sketch_can_be_read_back(decode):
    rng = random.Random(5)
    store = sketch.Sketch()
    for _ in range(20_000):
        store.observe(rng.lognormvariate(-3, 1.2))
    total = store.total().exponential

    assert unrolled(native(decode, total)) == total.counts


# Labels


def test_labels_are_by_name_and_empty_ones_are_left_out(decode):
    page = render(family("gauge", 1.0, 2.0, labels=("b", "a"), keys=[("x", "y"), ("", "only")]))

    pairs = [[(p.name, p.value) for p in m.label] for m in decode(page)[0].metric]
    assert pairs == [[("a", "y"), ("b", "x")], [("a", "only")]]


def test_labels_may_hold_anything(decode):
    odd = 'a "quote", a \\ and\na line; ü 漢字 🙂'

    (message,) = decode(render(family("gauge", 1.0, keys=[(odd,)])))

    assert labels_of(message.metric[0]) == {"workflow": odd}


def test_half_a_character_does_not_break_the_page(decode):
    (message,) = decode(render(family("gauge", 1.0, keys=[("a\ud800b",)])))

    assert labels_of(message.metric[0]) == {"workflow": "a?b"}


# Families


def test_families_of_one_name_and_kind_are_one_message(decode):
    page = render(
        family("gauge", 1.0, name="a"),
        family("gauge", 5.0, name="b"),
        family("gauge", 2.0, 3.0, name="a", keys=[("w1",), ("w0",)]),
    )

    first, second = decode(page)
    assert (first.name, second.name) == ("a", "b")
    # Of w0 the first one counts.
    assert [(labels_of(m)["workflow"], m.gauge.value) for m in first.metric] == [
        ("w0", 1.0),
        ("w1", 2.0),
    ]


def test_a_series_of_other_labels_is_another_one(decode):
    page = render(
        family("gauge", 1.0, labels=("a",), keys=[("x",)]),
        family("gauge", 2.0, labels=("b",), keys=[("x",)]),
    )

    assert [labels_of(m) for m in decode(page)[0].metric] == [{"a": "x"}, {"b": "x"}]


def test_a_family_without_series_is_left_out(decode):
    assert render(family("gauge")) == b""
    assert [m.name for m in decode(render(family("gauge"), family("counter", 1.0)))] == ["work"]


@pytest.mark.parametrize(
    "broken",
    [
        family("histogram", 1.0, name="broken"),
        family("summary", 1.0, name="broken"),
        family("gauge", Quantiles(0, 0.0, ()), name="broken"),
        family("nonsense", 1.0, name="broken"),
        family("gauge", 1.0, 2.0, name="broken", keys=[("a",)]),
        family("gauge", 1.0, name="broken", keys=[("a", "b")]),
        family("histogram", Distribution((1.0,), [1], 0.0), name="broken"),
        family(
            "histogram",
            Distribution((), [1], 0.0, {0: Exemplar((), 1.0, math.nan)}),
            name="broken",
        ),
    ],
)
def test_a_family_that_cannot_be_encoded_spoils_nothing_else(decode, reports, broken):
    page = render(family("gauge", 1.0, name="a"), broken, family("gauge", 2.0, name="b"))

    assert [message.name for message in decode(page)] == ["a", "b"]
    assert [place for place, _ in reports] == ["rendering broken"]


# What is kept between pages


class Counting(list):
    """Keys that tell how many of them were looked at."""

    def __init__(self, keys):
        super().__init__(keys)
        self.seen = 0

    def __getitem__(self, index):
        found = super().__getitem__(index)
        self.seen += len(found) if isinstance(index, slice) else 1
        return found


def test_labels_are_encoded_once(decode):
    renderer, keys = protobuf.Renderer(), Counting([("w0",), ("w1",)])

    pages = [
        renderer.render(
            [family("counter", 1.0, n, keys=keys, name="c"), family("gauge", n, 0.0, keys=keys)]
        )
        for n in (1.0, 2.0)
    ]

    assert keys.seen == 2
    assert [decode(page)[0].metric[1].counter.value for page in pages] == [1.0, 2.0]
    assert [decode(page)[1].metric[0].gauge.value for page in pages] == [1.0, 2.0]


def test_new_label_sets_of_a_known_list_are_found(decode):
    renderer, keys = protobuf.Renderer(), Counting([("w0",)])
    renderer.render([family("gauge", 1.0, keys=keys)])
    keys.append(("w1",))

    (message,) = decode(renderer.render([family("gauge", 1.0, 2.0, keys=keys)]))

    assert [labels_of(m)["workflow"] for m in message.metric] == ["w0", "w1"]
    assert keys.seen == 2


def test_a_list_that_shrank_is_read_anew(decode):
    renderer, keys = protobuf.Renderer(), [("w0",), ("w1",)]
    renderer.render([family("gauge", 1.0, 2.0, keys=keys)])
    del keys[0]

    (message,) = decode(renderer.render([family("gauge", 2.0, keys=keys)]))

    assert [labels_of(m)["workflow"] for m in message.metric] == ["w1"]


def test_a_list_lives_as_long_as_it_is_known():
    # Else another list could get its identity, and with it its labels.
    renderer, keys = protobuf.Renderer(), Counting([("w0",)])
    held = weakref.ref(keys)
    renderer.render([family("gauge", 1.0, keys=keys)])
    del keys
    assert held() is not None

    renderer.render([family("gauge", 1.0, keys=[("w1",)])])
    assert held() is None


def test_one_list_may_have_several_names_of_labels(decode):
    renderer, keys = protobuf.Renderer(), [("x",)]
    for _ in range(2):
        page = renderer.render(
            [
                family("gauge", 1.0, keys=keys, labels=("a",), name="g"),
                family("counter", 1.0, keys=keys, labels=("b",), name="c"),
            ]
        )
        first, second = decode(page)
        assert (labels_of(first.metric[0]), labels_of(second.metric[0])) == ({"a": "x"}, {"b": "x"})


def test_what_is_gone_takes_no_memory():
    renderer = protobuf.Renderer()
    for number in range(50):
        renderer.render([family("gauge", 1.0, keys=[(f"w{number}",)])])

    assert len(renderer._known) == 1


def test_pages_of_several_threads_may_overlap(decode):
    renderer, keys = protobuf.Renderer(), [(f"w{i}",) for i in range(50)]
    pages, gate = [], threading.Barrier(4)

    def work():
        gate.wait(10)
        for _ in range(50):
            size = len(keys)
            snapshot = family("gauge", *([1.0] * size), keys=keys[:size])
            pages.append(renderer.render([snapshot, family("counter", 1.0, keys=keys[:1])]))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(pages) == 200
    assert len(set(pages)) == 1
    assert len(decode(pages[0])[0].metric) == 50


def test_the_content_type_is_what_prometheus_asks_for():
    assert protobuf.CONTENT_TYPE == (
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
    )


def test_the_shared_renderer_takes_any_iterable(decode):
    families = iter([family("gauge", 1.0)])

    assert [m.name for m in decode(protobuf.render(families))] == ["work"]


# The wire itself


@given(st.integers(-(2**63), 2**64 - 1))
def test_varints_by_the_definition(number):
    groups, rest = [], number % 2**64
    while True:
        groups.append(rest % 128)
        rest //= 128
        if not rest:
            break

    expected = bytes([g + 128 for g in groups[:-1]] + groups[-1:])
    assert wire.varint(number) == expected


@pytest.mark.parametrize(
    ("number", "folded"),
    [
        (0, 0),
        (-1, 1),
        (1, 2),
        (-2, 3),
        (2**31 - 1, 2**32 - 2),
        (-(2**31), 2**32 - 1),
        (-(2**63), 2**64 - 1),
    ],
)
def test_signed_numbers_are_folded(number, folded):
    assert wire.zigzag(number) == folded


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (wire.field_varint(1, 150), b"\x08\x96\x01"),
        (wire.field_varint(1, -1), b"\x08" + b"\xff" * 9 + b"\x01"),
        (wire.field_sint(13, -1), b"\x68\x01"),
        (wire.field_text(2, "testing"), b"\x12\x07testing"),
        (wire.field_bytes(16, b"x" * 200), b"\x82\x01\xc8\x01" + b"x" * 200),
        (wire.field_double(1, 1.0), b"\x09" + struct.pack("<d", 1.0)),
        (wire.field_fixed64(2, 2**64 - 1), b"\x11" + b"\xff" * 8),
        (wire.field_fixed64(2, -1), b"\x11" + b"\xff" * 8),
        (wire.packed_varints(4, [3, 270, 86942]), b"\x22\x06\x03\x8e\x02\x9e\xa7\x05"),
        (wire.packed_doubles(7, [1.0, 2.0]), b"\x3a\x10" + struct.pack("<2d", 1.0, 2.0)),
        (wire.packed_fixed64(6, [1, 2]), b"\x32\x10" + struct.pack("<2Q", 1, 2)),
        (wire.delimited(b"abc"), b"\x03abc"),
    ],
)
def test_fields(field, expected):
    assert field == expected
