"""Addresses, groups and the form of answers: what needs no gateway."""

import subprocess
import sys

import pytest

from flowgauge.push import Pusher, gateway, history


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv("FLOWGAUGE_PUSHGATEWAY", raising=False)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("localhost:9091", "http://localhost:9091"),
        ("pushgateway.monitoring", "http://pushgateway.monitoring"),
        ("http://gate:9091/", "http://gate:9091"),
        ("https://gate/prefix/", "https://gate/prefix"),
        ("gate:9091/a b".replace(" ", "%20"), "http://gate:9091/a%20b"),
        ("[::1]:9091", "http://[::1]:9091"),
        ("HTTP://gate", "http://gate"),
        ("http://me:p%40ss@gate:9091", "http://gate:9091"),
    ],
)
def test_an_address_is_completed(given, url):
    assert gateway.find(given).url == url


@pytest.mark.parametrize(
    "given",
    [
        "ftp://gate",
        "unix:///run/gate",
        "http://",
        "http://gate:http",
        "gate:0",
        "gate:70000",
        "http://gate?x=1",
        "http://gate#x",
        "http://ga te",
        "http://gate\r\nX: y",
        "http://[::1",
    ],
)
def test_what_is_no_address_is_refused_with_an_example(given):
    with pytest.raises(ValueError, match=r"gateway_url is .*pushgateway:9091"):
        gateway.find(given)


def test_the_message_names_the_variable_and_no_password(monkeypatch):
    monkeypatch.setenv("FLOWGAUGE_PUSHGATEWAY", "ftp://me:s3cret@gate")

    with pytest.raises(ValueError, match="FLOWGAUGE_PUSHGATEWAY is 'gate'"):
        gateway.find(None)


@pytest.mark.parametrize("given", [None, "", "  "])
def test_a_missing_address_names_both_ways_to_give_it(given, monkeypatch):
    monkeypatch.setenv("FLOWGAUGE_PUSHGATEWAY", "")

    with pytest.raises(ValueError, match="give gateway_url or set FLOWGAUGE_PUSHGATEWAY"):
        gateway.find(given)


def test_an_argument_beats_the_variable(monkeypatch):
    monkeypatch.setenv("FLOWGAUGE_PUSHGATEWAY", "other:1")

    assert gateway.find("gate:9091").url == "http://gate:9091"


# From the README of the Pushgateway.
@pytest.mark.parametrize(
    ("job", "grouping", "path"),
    [
        ("some_job", {}, "/metrics/job/some_job"),
        ("directory_cleaner", {"path": "/var/tmp"}, "/metrics/job/directory_cleaner/path@base64/L3Zhci90bXA"),
        ("example", {"first_label": "", "second_label": "foobar"}, "/metrics/job/example/first_label@base64/=/second_label/foobar"),
        ("titan", {"name": "Προμηθεύς"}, "/metrics/job/titan/name/%CE%A0%CF%81%CE%BF%CE%BC%CE%B7%CE%B8%CE%B5%CF%8D%CF%82"),
        ("a/b", {}, "/metrics/job@base64/YS9i"),
        ("a b%", {"x": ".."}, "/metrics/job/a%20b%25/x@base64/Li4"),
    ],
)  # fmt: skip
def test_a_group_is_a_path(job, grouping, path):
    assert gateway.path(job, grouping) == path


@pytest.mark.parametrize(
    ("job", "grouping", "message"),
    [
        ("", {}, "job is ''"),
        (None, {}, "job is None"),
        ("a", {"job": "b"}, "give it as job"),
        ("a", {"1x": "b"}, "'1x'"),
        ("a", {"a-b": "b"}, "'a-b'"),
        ("a", {"": "b"}, "''"),
        ("a", {"__x": "b"}, "two underscores"),
        ("a", {"x\n": "b"}, r"'x\\n'"),
        ("a", {"x@base64": "b"}, "'x@base64'"),
        ("a", {"x": None}, r"grouping\['x'\] is None, must be text"),
    ],
)
def test_what_is_no_group_is_refused(job, grouping, message):
    with pytest.raises(ValueError, match=message):
        gateway.path(job, grouping)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "PATCH"}, "method is 'PATCH'"),
        ({"timeout": 0}, "timeout is 0"),
        ({"deadline": -1}, "deadline is -1"),
        ({"backoff": float("inf")}, "backoff is inf"),
        ({"deadline": float("nan")}, "deadline is nan"),
        ({"auth": "a b"}, "bearer token"),
        ({"auth": "a\r\nX: y"}, "bearer token"),
        ({"auth": ("a:b", "c")}, "colon"),
        ({"ca_file": "/nonexistent"}, "begin gateway_url with https"),
        ({"client_cert": ("/a", "/b")}, "begin gateway_url with https"),
    ],
)
def test_bad_options_are_refused_at_once_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        Pusher("gate:9091", "a", **options)


def test_a_file_of_tls_that_cannot_be_read_is_named(tmp_path):
    empty = tmp_path / "empty.pem"
    empty.write_text("")

    with pytest.raises(ValueError, match="/nonexistent"):
        Pusher("https://gate", "a", ca_file="/nonexistent")
    with pytest.raises(ValueError, match=r"empty\.pem"):
        Pusher("https://gate", "a", client_cert=str(empty))


@pytest.mark.parametrize("seconds", [0, 0.5, -1, float("nan")])
def test_an_interval_below_a_second_is_refused(seconds):
    with pytest.raises(ValueError, match="every is"):
        Pusher("gate:9091", "a").every(seconds)


@pytest.mark.parametrize(
    "document",
    [b"", b"[]", b"{}", b'{"data": 1}', b'{"data": [1]}', b'{"data": [{}]}', b'{"data": {"x": 1}}'],
)
def test_a_history_of_another_form_is_an_error_of_one_kind(document):
    with pytest.raises(ValueError):
        history.parse(document, {"job": "a"})


def test_a_group_that_is_not_there_has_no_history():
    document = b'{"data": [{"labels": {"job": "a", "shard": "1"}}]}'

    assert history.parse(document, {"job": "a"}) == {}
    assert history.added(b"x 1\n", {}, {"job": "a"}) == b"x 1\n"


def test_importing_it_loads_no_network():
    code = "import sys, flowgauge.push; print([m for m in ('http', 'ssl', 'urllib.request', 'asyncio', 'inspect', 'random') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
