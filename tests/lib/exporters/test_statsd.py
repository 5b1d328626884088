import math
import socket
import threading
import time

import pytest
import receivers
from forked import in_child
from hypothesis import given, settings
from hypothesis import strategies as st
from receivers import counter, family, gauge, histogram, summary

from flowgauge.exporters import ExportError, StatsDExporter, datagrams


@pytest.fixture
def exporter(statsd):
    with StatsDExporter("127.0.0.1", statsd.port, "myapp") as exporter:
        yield exporter


def test_the_guides_example_arrives(statsd):
    exporter = StatsDExporter(host="localhost", port=statsd.port, prefix="myapp")
    exporter.export([counter("requests_total", 3.0)])
    exporter.close()

    assert statsd.read() == ["myapp.requests_total:3|c"]


def test_counters_arrive_as_what_is_new(statsd, exporter):
    for value in (0.0, 4.0, 4.0, 4.5):
        exporter.export([counter("items_total", value)])

    assert statsd.read() == [
        "myapp.items_total:0|c",
        "myapp.items_total:4|c",
        "myapp.items_total:0.5|c",
    ]


def test_a_gauge_goes_below_zero_and_comes_back(statsd, exporter):
    seen = []
    for value in (5.0, -3.5, -1.0, 0.0, 2.0):
        exporter.export([gauge("depth", value)])
        statsd.read()
        seen.append(statsd.gauges["myapp.depth"])

    assert seen == [5.0, -3.5, -1.0, 0.0, 2.0]


def test_the_two_steps_below_zero_stay_in_one_packet(statsd):
    with StatsDExporter("127.0.0.1", statsd.port, max_packet=64) as exporter:
        exporter.export(
            [gauge("depth", {(str(n),): -float(n + 1) for n in range(50)}, labels=("q",))]
        )
    statsd.read()

    assert all(len(packet) <= 64 for packet in statsd.packets)
    for packet in statsd.packets:
        lines = packet.decode().split("\n")
        names = [line.partition(":")[0] for line in lines]
        assert names[::2] == names[1::2]
    assert statsd.gauges == {f"depth.{n}": -float(n + 1) for n in range(50)}


def test_numbers_that_statsd_cannot_read_are_left_out(statsd, exporter):
    exporter.export([gauge("g", {("a",): math.nan, ("b",): math.inf, ("c",): 1.0}, labels=("x",))])

    assert statsd.read() == ["myapp.g.c:1|g"]


def test_large_counts_have_no_exponent(statsd, exporter):
    exporter.export([counter("bytes_total", 123_456_789_012.0)])

    assert statsd.read() == ["myapp.bytes_total:123456789012|c"]


def test_a_histogram_arrives_as_count_sum_and_the_percentiles_of_what_is_new(statsd, exporter):
    exporter.export([histogram("seconds", (1.0, 2.0), [100, 0, 0], 50.0)])
    statsd.read()
    exporter.export([histogram("seconds", (1.0, 2.0), [100, 10, 0], 65.0)])

    assert statsd.read() == [
        "myapp.seconds.count:10|c",
        "myapp.seconds.sum:15|c",
        "myapp.seconds.p50:1.5|g",
        "myapp.seconds.p95:1.95|g",
        "myapp.seconds.p99:1.99|g",
    ]
    assert statsd.counters == {"myapp.seconds.count": 110, "myapp.seconds.sum": 65}


def test_a_histogram_without_news_is_silent(statsd, exporter):
    exporter.export([histogram("seconds", (1.0,), [1, 0], 0.5)])
    statsd.read()
    exporter.export([histogram("seconds", (1.0,), [1, 0], 0.5)])

    assert statsd.read() == []


def test_a_summary_arrives_as_count_sum_and_its_quantiles(statsd, exporter):
    exporter.export([summary("latency", 4, 2.0, ((0.5, 0.4), (0.999, 0.9), (0.9, math.nan)))])

    assert statsd.read() == [
        "myapp.latency.count:4|c",
        "myapp.latency.sum:2|c",
        "myapp.latency.p50:0.4|g",
        "myapp.latency.p99_9:0.9|g",
    ]


LABELLED = family(
    "counter",
    "http_requests_total",
    {("GET", "/users/a.b", ""): 1.0, ("P|ST", "x:y, z", "ü"): 2.0},
    labels=("method", "path", "extra"),
)


@pytest.mark.parametrize(
    ("tags", "lines"),
    [
        (
            "none",
            ["http_requests_total.GET._users_a_b._:1|c", "http_requests_total.P_ST.x_y__z._:2|c"],
        ),
        (
            "datadog",
            [
                "http_requests_total:1|c|#method:GET,path:/users/a.b",
                "http_requests_total:2|c|#method:P_ST,path:x:y__z,extra:ü",
            ],
        ),
        (
            "influx",
            [
                "http_requests_total,method=GET,path=/users/a.b:1|c",
                "http_requests_total,method=P_ST,path=x_y__z,extra=ü:2|c",
            ],
        ),
        (
            "graphite",
            [
                "http_requests_total;method=GET;path=/users/a.b:1|c",
                "http_requests_total;method=P_ST;path=x_y,_z;extra=ü:2|c",
            ],
        ),
    ],
)
def test_labels_are_written_as_the_server_wants_them(statsd, tags, lines):
    with StatsDExporter("127.0.0.1", statsd.port, tags=tags) as exporter:
        exporter.export([LABELLED])

    assert statsd.read() == lines


def test_the_agent_of_datadog_gets_negative_gauges_in_one_step(statsd):
    with StatsDExporter("127.0.0.1", statsd.port, tags="datadog") as exporter:
        exporter.export([gauge("depth", -2.0)])

    assert statsd.read() == ["depth:-2|g"]


@pytest.mark.parametrize("tags", ["none", "datadog", "influx", "graphite"])
@given(value=st.text())
def test_no_label_value_makes_another_line(tags, value):
    exporter = StatsDExporter("127.0.0.1", 8125, tags=tags)
    exporter._deltas.read([counter("a", {(value, "z"): 1.0}, labels=("x", "y"))])
    (line,) = exporter._changed()
    text = line.text.decode()

    assert "\n" not in text
    head = text.partition("|#")[0]
    assert head.count("|") == 1
    assert head.count(":") == 1
    assert text.count("z") >= 1


def test_packets_are_filled_and_none_is_too_long(statsd):
    values = {(f"endpoint-{n}",): float(n + 1) for n in range(2000)}
    with StatsDExporter("127.0.0.1", statsd.port, max_packet=512) as exporter:
        exporter.export([counter("requests_total", values, labels=("endpoint",))])
    statsd.read()

    assert max(map(len, statsd.packets)) <= 512
    assert len(statsd.packets) < sum(map(len, statsd.packets)) / 460
    assert sum(statsd.counters.values()) == sum(values.values())


@pytest.mark.parametrize(("lengths", "packets"), [((31, 32), [64]), ((32, 32), [32, 32])])
def test_a_packet_has_the_bytes_that_it_may_have_and_not_one_more(statsd, lengths, packets):
    first, second = lengths
    values = {("x" * (first - 6),): 1.0, ("y" * (second - 6),): 1.0}  # beside `a.` and `:1|c`
    with StatsDExporter("127.0.0.1", statsd.port, max_packet=64) as exporter:
        exporter.export([counter("a", values, labels=("l",))])
    statsd.read()

    assert [len(packet) for packet in statsd.packets] == packets


def test_a_line_that_is_too_long_is_left_out_with_a_word_about_it(statsd, caplog):
    with StatsDExporter("127.0.0.1", statsd.port, max_packet=64) as exporter:
        exporter.export([counter("a", {("x" * 100,): 1.0, ("y",): 2.0}, labels=("l",))])

    assert statsd.read() == ["a.y:2|c"]
    assert "max_packet (64 bytes)" in caplog.text


def test_what_an_absent_server_did_not_get_it_gets_later():
    port = receivers.free_port(socket.SOCK_DGRAM)
    with StatsDExporter("127.0.0.1", port) as exporter:
        for value in (3.0, 5.0):
            with pytest.raises(ExportError, match=f"127.0.0.1:{port} over UDP: .*refused"):
                exporter.export([counter("a", value)])
        with receivers.StatsD(port) as server:
            exporter.export([counter("a", 6.0)])
            assert server.read() == ["a:6|c"]


def test_an_answer_to_the_last_packet_does_not_fail_the_next(statsd, exporter):
    """Another machine says that nobody listens after the export is over, when somebody may listen again."""
    exporter.export([counter("a", 1.0)])
    link = exporter._datagrams
    sender = link._socket
    gone = receivers.free_port(socket.SOCK_DGRAM)
    sender.connect(("127.0.0.1", gone))
    sender.send(b"lost")  # its refusal now waits in the socket
    sender.connect(("127.0.0.1", statsd.port))
    exporter.export([counter("a", 3.0)])

    assert statsd.read()[-1] == "myapp.a:2|c"


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 100), st.integers(0, 100)), min_size=1, max_size=8
    )
)
@settings(max_examples=40, deadline=None)
def test_a_server_that_comes_and_goes_gets_exact_totals(steps):
    port = receivers.free_port(socket.SOCK_DGRAM)
    total = {"items": 0, "seconds.count": 0, "seconds.sum": 0}
    arrived = dict.fromkeys(total, 0.0)
    with StatsDExporter("127.0.0.1", port, max_packet=64) as exporter:
        for up, items, observed in [*steps, (True, 0, 0)]:
            total["items"] += items
            total["seconds.count"] += observed
            total["seconds.sum"] += observed * 2
            count = total["seconds.count"]
            families = [
                counter("items", float(total["items"])),
                histogram("seconds", (1.0, 4.0), [0, count, 0], count * 2.0),
            ]
            if not up:
                with pytest.raises(ExportError):
                    exporter.export([*families, gauge("always", 1.0)])
                continue
            with receivers.StatsD(port) as server:
                exporter.export(families)
                server.read()
                for name, value in server.counters.items():
                    arrived[name] += value

    assert arrived == total


def test_a_server_that_dies_between_two_packets_loses_and_repeats_nothing(statsd):
    """The first packets arrive, then nobody listens; the rest, and only the rest, goes with the next export."""
    values = {(str(n),): 1.0 for n in range(200)}
    exporter = StatsDExporter("127.0.0.1", statsd.port, max_packet=64)
    send, sent = exporter._datagrams._try, []

    def dying(data, seconds):
        if len(sent) == 5:
            raise ConnectionRefusedError
        sent.append(data)
        send(data, seconds)

    exporter._datagrams._try = dying
    with pytest.raises(ExportError):
        exporter.export([counter("a", values, labels=("n",))])
    exporter._datagrams._try = send
    exporter.export([counter("a", values, labels=("n",))])
    statsd.read()

    assert statsd.counters == {f"a.{n}": 1.0 for n in range(200)}
    exporter.close()


def test_closing_sends_what_a_failed_export_left(statsd):
    port = receivers.free_port(socket.SOCK_DGRAM)
    exporter = StatsDExporter("127.0.0.1", port)
    with pytest.raises(ExportError):
        exporter.export([counter("a", 3.0)])
    with receivers.StatsD(port) as server:
        exporter.close()
        exporter.close()

        assert server.read() == ["a:3|c"]


def test_closing_without_a_server_says_so_and_raises_nothing(caplog):
    exporter = StatsDExporter("127.0.0.1", receivers.free_port(socket.SOCK_DGRAM))
    with pytest.raises(ExportError):
        exporter.export([counter("a", 3.0)])
    exporter.close()

    assert "StatsDExporter cannot send to 127.0.0.1" in caplog.text


def test_a_closed_exporter_says_that_it_is_closed(exporter):
    exporter.close()

    with pytest.raises(ExportError, match="it is closed"):
        exporter.export([])


def test_a_missing_host_is_no_error_before_something_is_sent():
    exporter = StatsDExporter("no-such-host.invalid")

    with pytest.raises(
        ExportError, match=r"StatsDExporter cannot send to no-such-host\.invalid:8125"
    ):
        exporter.export([counter("a", 1.0)])


def test_the_second_address_of_a_host_has_its_turn(statsd, monkeypatch):
    """`localhost` is two addresses where the agent listens on one."""
    addresses = [
        (socket.AF_INET6, ("::1", statsd.port, 0, 0)),
        (socket.AF_INET, ("127.0.0.1", statsd.port)),
    ]
    monkeypatch.setattr(datagrams, "_addresses", _resolver(lambda: list(addresses)))
    with StatsDExporter("agent", statsd.port) as exporter:
        exporter.export([counter("a", 1.0)])
        exporter.export([counter("a", 2.0)])

    assert statsd.read() == ["a:1|c", "a:1|c"]


def test_a_host_that_moves_is_found_again(statsd, monkeypatch):
    with receivers.StatsD() as second:
        where = [("127.0.0.1", statsd.port)]
        monkeypatch.setattr(
            datagrams, "_addresses", _resolver(lambda: [(socket.AF_INET, where[0])])
        )
        with StatsDExporter("agent", 8125) as exporter:
            exporter.export([counter("a", 1.0)])
            where[0] = ("127.0.0.1", second.port)
            exporter.export([counter("a", 2.0)])
            monkeypatch.setattr(datagrams, "LOOKUP_SECONDS", 0.0)
            exporter.export([counter("a", 3.0)])

        assert statsd.read() == ["a:1|c", "a:1|c"]
        assert second.read() == ["a:1|c"]


def test_known_addresses_stay_while_the_name_server_is_down(statsd, monkeypatch):
    answers = [[(socket.AF_INET, ("127.0.0.1", statsd.port))]]

    def answer():
        if not answers:
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return answers.pop()

    monkeypatch.setattr(datagrams, "_addresses", _resolver(answer))
    monkeypatch.setattr(datagrams, "LOOKUP_SECONDS", 0.0)
    with StatsDExporter("agent", statsd.port) as exporter:
        exporter.export([counter("a", 1.0)])
        exporter.export([counter("a", 2.0)])

    assert statsd.read() == ["a:1|c", "a:1|c"]


def test_a_silent_name_server_holds_nobody_up_and_is_asked_once(monkeypatch):
    asked, silence = [], threading.Event()

    def answer():
        asked.append(1)
        silence.wait(10)
        raise socket.gaierror(-3, "nothing")

    monkeypatch.setattr(datagrams, "_addresses", _resolver(answer))
    exporter = StatsDExporter("agent", 8125, timeout=0.1)
    began = time.monotonic()
    for _ in range(3):
        with pytest.raises(ExportError, match="looking up agent takes longer"):
            exporter.export([counter("a", 1.0)])
    silence.set()

    assert time.monotonic() - began < 7
    assert asked == [1]


def _resolver(answer):
    def addresses(host, port, flags=0):
        if flags:
            raise socket.gaierror(-2, "not numeric")
        return answer()

    return addresses


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"host": ""}, "host is ''"),
        ({"host": "udp://x"}, "host is 'udp://x'"),
        ({"port": 0}, "port is 0"),
        ({"port": 65536}, "port is 65536"),
        ({"port": "8125"}, "port is '8125'"),
        ({"prefix": "my app"}, "prefix is 'my app'"),
        ({"prefix": "myapp."}, "prefix is 'myapp.'"),
        ({"prefix": "a:b"}, "prefix is 'a:b'"),
        ({"tags": "dogstatsd"}, "tags is 'dogstatsd'"),
        ({"max_packet": 10}, "max_packet is 10"),
        ({"max_packet": 70000}, "max_packet is 70000"),
        ({"timeout": 0}, "timeout is 0"),
        ({"timeout": math.inf}, "timeout is inf"),
    ],
)
def test_what_cannot_be_right_is_said_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        StatsDExporter(**arguments)


def test_threads_that_export_at_once_send_each_count_once(statsd):
    value = [0.0]
    lock = threading.Lock()
    with StatsDExporter("127.0.0.1", statsd.port, timeout=10) as exporter:

        def run():
            for _ in range(50):
                with lock:
                    value[0] += 1
                    families = [counter("a", value[0])]
                    exporter.export(families)

        def look():
            for _ in range(100):
                exporter.export([gauge("g", 1.0)])

        threads = [threading.Thread(target=target) for target in (run, run, run, look)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    statsd.read()

    assert statsd.counters["a"] == 150


def test_a_second_export_does_not_wait_for_ever_for_the_first():
    started, done = threading.Event(), threading.Event()
    exporter = StatsDExporter("127.0.0.1", 8125, timeout=0.2)

    def slow():
        started.set()
        done.wait(10)
        yield gauge("g", 1.0)

    thread = threading.Thread(target=_quietly, args=(exporter, slow()))
    thread.start()
    started.wait(5)
    with pytest.raises(ExportError, match="still running"):
        exporter.export([])
    done.set()
    thread.join()


def _quietly(exporter, families):
    try:
        exporter.export(families)
    except ExportError:
        return


def test_a_forked_child_sends_its_own_counts_and_not_what_the_parent_has_left(statsd):
    """The library's numbers begin at zero in a child; here the child hands over such numbers."""
    port = receivers.free_port(socket.SOCK_DGRAM)
    exporter = StatsDExporter("127.0.0.1", port)
    with pytest.raises(ExportError):
        exporter.export([counter("a", 10.0)])

    def child():
        with receivers.StatsD(port) as server:
            exporter.export([counter("a", 2.0)])
            exporter.close()
            return server.read()

    assert in_child(child) == "['a:2|c']"
    with receivers.StatsD(port) as server:
        exporter.export([counter("a", 11.0)])
        assert server.read() == ["a:11|c"]
    exporter.close()


def test_a_fork_in_the_middle_of_an_export_does_not_hang_the_child(statsd):
    exporter = StatsDExporter("127.0.0.1", statsd.port, timeout=5)
    started, done = threading.Event(), threading.Event()

    def slow():
        started.set()
        done.wait(20)
        yield counter("a", 1.0)

    thread = threading.Thread(target=_quietly, args=(exporter, slow()))
    thread.start()
    started.wait(5)

    def child():
        began = time.monotonic()
        exporter.export([counter("a", 2.0)])
        return time.monotonic() - began < 7

    try:
        assert in_child(child) == "True"
    finally:
        done.set()
        thread.join()
    assert statsd.read() == ["a:2|c", "a:1|c"]
    exporter.close()
