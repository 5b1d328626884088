"""Pushes to a real Pushgateway, and to one behind a network that misbehaves."""

import contextlib
import datetime as dt
import ipaddress
import itertools
import logging
import os
import select
import signal
import socket
import struct
import threading
import time
import traceback

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import flowgauge
from flowgauge import guard
from flowgauge.push import Deadline, Pusher, PushError

PAGE = b'# HELP x_total Things.\n# TYPE x_total counter\nx_total{kind="a"} 3\n'
# More than the buffers of a connection take, and no series that the gateway would have to keep.
LONG = PAGE + b"# " + b"x" * 20_000_000 + b"\n"
# Of the password s3cret.
BCRYPT = "$2b$04$sbTVlt9/UAtzzQzCllm3Xe0nozHtAuJV.zJpbEYP87UqYa6jwOJRy"


@pytest.fixture(autouse=True)
def unlimited(monkeypatch):
    """Each test sees its own reports, and no proxy or gateway of the machine."""
    monkeypatch.setattr(guard, "_reported", {})
    for name in ("FLOWGAUGE_PUSHGATEWAY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def pusher(gateway, job):
    """A pusher to the gateway, or to another address."""

    def make(address=gateway.address, *, render=lambda: PAGE, **options):
        return Pusher(address, job, render=render, **{"backoff": 0.05, **options})

    return make


def reset(client):
    """Close so that the other side gets a reset, and not an end."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def answer(client, status, body=b"", headers="", heads=None):
    """Read a whole request and answer it; its head is added to `heads` before."""
    client.settimeout(5)
    said = b""
    while b"\r\n\r\n" not in said:
        said += client.recv(65536)
    head, _, rest = said.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        ),
        0,
    )
    while len(rest) < length:
        rest += client.recv(65536)
    if heads is not None:
        heads.append(head.decode() + "\r\n")
    client.sendall(
        f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body
    )
    return head.decode() + "\r\n"


def replying(status, body=b"", headers="", heads=None):
    """A way that answers everything so; the heads of the requests are added to `heads`."""

    def way(network, client, number):
        answer(client, status, body, headers, heads)

    return way


# -- what arrives ---------------------------------------------------------------------------------


@pytest.mark.parametrize("gzip", [True, False])
@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_the_gateway_shows_what_was_pushed(gateway, pusher, job, gzip, method):
    pusher(method=method, gzip=gzip).push()

    assert gateway.value("x_total", job=job) == 3
    assert gateway.value("push_time_seconds", job=job) > time.time() - 60


GROUPINGS = [
    {"shard": "3"},
    {"shard": "3", "namespace": "shop", "monitored_workflow": "orders"},
    {"path": "/var/tmp"},
    {"first": "", "second": "foobar"},
    {"dots": "..", "dot": "."},
    {"name": "Προμηθεύς"},
    {"text": "a b%2F?#&=+;\\\"'\n"},
    {"bytes": "\x7f/ÿ?>>~~//"},
    {"mark": "@base64", "equal": "="},
]


@pytest.mark.parametrize("grouping", GROUPINGS, ids="-".join)
def test_every_grouping_arrives_as_labels(gateway, pusher, job, grouping):
    pusher(grouping=grouping).push()

    ((found, value),) = [
        (dict(labels), value)
        for (name, *labels), value in gateway.samples(job=job).items()
        if name == "x_total"
    ]
    # A label that is empty is no label; Prometheus' own parser drops it, the one used here does not.
    assert found == {"kind": "a", "instance": ""} | grouping
    assert value == 3


@pytest.mark.parametrize("name", ["night/ly", "night ly", "..", "ünicode", "a%b"])
def test_every_job_arrives_as_a_label(gateway, name):
    Pusher(gateway.address, name, render=lambda: PAGE).push()

    assert gateway.value("x_total", job=name) == 3


def test_a_number_is_a_value_of_a_grouping(gateway, pusher, job):
    pusher(grouping={"shard": 3}).push()

    assert gateway.value("x_total", job=job, shard="3") == 3


def test_put_replaces_the_group_and_post_adds_to_it(gateway, pusher, job):
    other = b"y 1\n"

    pusher().push()
    pusher(render=lambda: other, method="POST").push()
    assert gateway.value("x_total", job=job) == 3
    assert gateway.value("y", job=job) == 1

    pusher(render=lambda: other).push()
    assert gateway.value("x_total", job=job) is None
    assert gateway.value("y", job=job) == 1


def test_delete_removes_this_group_only(gateway, pusher, job):
    first, second = pusher(grouping={"shard": "1"}), pusher(grouping={"shard": "2"})
    first.push()
    second.push()

    first.delete()
    first.delete()

    assert gateway.samples(job=job, shard="1") == {}
    assert gateway.value("x_total", job=job, shard="2") == 3


def test_the_page_of_the_process_is_pushed_by_default(gateway, job):
    with flowgauge.run(job):
        pass

    Pusher(gateway.address, job).push()

    assert gateway.runs(job) == {"success": 1}


def test_the_address_comes_from_the_environment(gateway, pusher, job, monkeypatch):
    monkeypatch.setenv("FLOWGAUGE_PUSHGATEWAY", f" {gateway.address} ")

    pusher(None).push()

    assert gateway.value("x_total", job=job) == 3


def test_a_path_prefix_and_a_slash_at_the_end_belong_to_the_address(launch, pusher, job):
    behind = launch("--web.route-prefix=/push/gate", "--web.telemetry-path=/metrics")

    pusher(f"http://{behind.address}/push/gate/").push()

    with pytest.raises(PushError, match=r"404.*path prefix"):
        pusher(behind.address, deadline=5).push()


# -- access ---------------------------------------------------------------------------------------


def certificates(folder):
    """An authority, and one certificate of it for servers and clients; the paths of the PEM files."""

    def key():
        return ec.generate_private_key(ec.SECP256R1())

    def sign(name, own, issuer, by, *, authority):
        now = dt.datetime.now(dt.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(own.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), False
            )
            .add_extension(
                x509.KeyUsage(True, False, False, False, False, authority, False, False, False),
                critical=True,
            )
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                critical=False,
            )
        )
        return made.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    ca_key, leaf_key = key(), key()
    paths = [folder / name for name in ("ca.crt", "tls.crt", "tls.key")]
    paths[0].write_bytes(sign("ca", ca_key, "ca", ca_key, authority=True))
    paths[1].write_bytes(sign("leaf", leaf_key, "ca", ca_key, authority=False))
    paths[2].write_bytes(
        leaf_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return [str(path) for path in paths]


@pytest.fixture
def secured(launch, tmp_path):
    """A gateway with TLS that asks for a certificate and a password."""
    ca, cert, key = certificates(tmp_path)
    (tmp_path / "web.yaml").write_text(
        f"tls_server_config: {{cert_file: {cert}, key_file: {key}, client_ca_file: {ca},"
        f" client_auth_type: RequireAndVerifyClientCert}}\nbasic_auth_users: {{me: '{BCRYPT}'}}\n"
    )
    running = launch(f"--web.config.file={tmp_path / 'web.yaml'}")
    return f"https://{running.address}", ca, (cert, key)


def test_tls_a_client_certificate_and_a_password_open_the_gateway(secured, pusher):
    url, ca, cert = secured

    pusher(url, ca_file=ca, client_cert=cert, auth=("me", "s3cret")).push()
    pusher(url.replace("//", "//me:s3cret@"), ca_file=ca, client_cert=cert).push()


def test_without_them_it_says_what_is_missing_and_is_not_tried_again(secured, pusher):
    url, ca, cert = secured

    with pytest.raises(PushError, match=r"401 Unauthorized.*\(1 attempt in .*give auth"):
        pusher(url, ca_file=ca, client_cert=cert, auth=("me", "wrong")).push()
    with pytest.raises(PushError, match=r"certificate verify failed.*\(1 attempt .*ca_file"):
        pusher(url, client_cert=cert).push()
    with pytest.raises(PushError, match="400 Bad Request"):
        pusher(url.replace("https", "http")).push()


def test_a_gateway_without_tls_is_not_tried_twice(gateway, pusher):
    with pytest.raises(PushError, match=r"\(1 attempt in .*use http://"):
        pusher(f"https://{gateway.address}").push()


def test_a_password_is_shown_nowhere(pusher, caplog):
    broken = pusher("http://me:s3cret@127.0.0.1:1", deadline=0.3)

    with pytest.raises(PushError) as raised:
        broken.push()
    broken.push_safely()

    assert "s3cret" not in f"{raised.value} {broken.url} {caplog.text}"


def test_a_bearer_token_is_sent(wire, pusher):
    heads = []
    gate = wire(replying("200 OK", heads=heads))

    pusher(gate.address, auth="abc.def").push()

    assert "Authorization: Bearer abc.def\r\n" in heads[0]


def test_an_http_proxy_of_the_environment_is_used_unless_no_proxy_names_the_host(
    gateway, wire, pusher, job, monkeypatch
):
    heads = []
    proxy = wire(replying("202 Accepted", heads=heads))
    monkeypatch.setenv("http_proxy", f"http://user:pw@{proxy.address}")
    url = f"http://{gateway.address}/metrics/job/{job}"

    pusher().push()
    assert heads[0].startswith(f"PUT {url} HTTP/1.1\r\n")
    assert f"Host: {gateway.address}\r\n" in heads[0]
    assert "Proxy-Authorization: Basic dXNlcjpwdw==" in heads[0]
    assert gateway.value("x_total", job=job) is None

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    pusher().push()
    assert len(heads) == 1
    assert gateway.value("x_total", job=job) == 3


def test_https_goes_through_a_tunnel_of_the_proxy(secured, wire, pusher, monkeypatch):
    url, ca, cert = secured
    asked = []

    def tunnel(network, client, number):
        asked.append(client.recv(4096).decode())
        network.target = url.removeprefix("https://")
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        network.pass_on(client)

    proxy = wire(tunnel)
    monkeypatch.setenv("https_proxy", proxy.address)

    pusher(url, ca_file=ca, client_cert=cert, auth=("me", "s3cret")).push()

    assert asked[0].startswith(f"CONNECT {url.removeprefix('https://')} HTTP/1.")
    assert "Authorization" not in asked[0]


# -- what goes wrong ------------------------------------------------------------------------------


def test_a_gateway_that_is_absent_is_asked_until_the_deadline(pusher):
    began = time.monotonic()

    with pytest.raises(PushError) as raised:
        pusher("127.0.0.1:1", deadline=1.0).push()

    assert 0.5 < time.monotonic() - began < 6.5
    message = str(raised.value)
    assert "cannot push to http://127.0.0.1:1/metrics/job/" in message
    assert "Connection refused" in message
    assert "FLOWGAUGE_PUSHGATEWAY" in message
    assert int(message.partition(" (")[2].partition(" attempts")[0]) >= 3


def test_a_gateway_that_comes_back_before_the_deadline_gets_the_push(launch, pusher, job):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    pushed = threading.Thread(target=pusher(address, deadline=20.0).push)
    pushed.start()
    time.sleep(0.5)

    late = launch(address=address)
    pushed.join(20)

    assert late.value("x_total", job=job) == 3


def test_one_that_never_answers_costs_no_more_than_the_deadline(pusher, silent):
    began = time.monotonic()

    with pytest.raises(PushError, match=r"no answer within 0.*NetworkPolicy"):
        pusher(silent.address, timeout=0.5, deadline=1.5).push()

    assert 1.0 < time.monotonic() - began < 7
    assert silent.connections >= 2


@pytest.mark.parametrize("at_once", [b"", b"HTTP/1.1 200 OK\r\nX: "], ids=["status", "header"])
def test_one_that_drips_costs_no_more_than_the_deadline(pusher, wire, at_once):
    def drip(network, client, number):
        client.sendall(at_once)
        for byte in b"HTTP/1.1 200 " + b"x" * 100:
            client.sendall(bytes([byte]))
            time.sleep(0.1)

    began = time.monotonic()

    with pytest.raises(PushError):
        pusher(wire(drip).address, timeout=0.6, deadline=1.5).push()

    assert time.monotonic() - began < 7
    finish_attempts(1)


def test_one_that_reads_slowly_costs_no_more_than_the_deadline(pusher, wire):
    def sip(network, client, number):
        with contextlib.suppress(OSError):
            for _ in range(20):
                client.recv(1)
                time.sleep(0.1)

    began = time.monotonic()

    with pytest.raises(PushError):
        pusher(wire(sip).address, render=lambda: LONG, gzip=False, timeout=0.6, deadline=1.5).push()

    assert time.monotonic() - began < 7.5


def test_a_connection_reset_in_the_middle_of_the_body_is_tried_again(gateway, pusher, wire, job):
    def way(network, client, number):
        if number <= 2:
            client.recv(1000)
            reset(client)
        else:
            network.pass_on(client)

    network = wire(way)

    pusher(network.address, render=lambda: LONG, gzip=False, deadline=20.0).push()

    assert network.connections == 3
    assert gateway.value("x_total", job=job) == 3


def test_an_answer_that_breaks_off_is_tried_again(gateway, pusher, wire, job):
    def way(network, client, number):
        if number == 1:
            client.recv(65536)
            client.sendall(b"HTTP/1.1 20")
        elif number == 2:
            client.sendall(b"SSH-2.0-OpenSSH_9.9\r\n")
        else:
            network.pass_on(client)

    network = wire(way)

    pusher(network.address).push()

    assert network.connections == 3
    assert gateway.value("x_total", job=job) == 3


@pytest.mark.parametrize("status", ["500 Oops", "503 Service Unavailable", "429 Slow down"])
def test_a_fault_of_the_server_is_tried_again(gateway, pusher, wire, job, status):
    def way(network, client, number):
        answer(client, status) if number == 1 else network.pass_on(client)

    network = wire(way)

    pusher(network.address).push()

    assert network.connections == 2
    assert gateway.value("x_total", job=job) == 3


def test_a_fault_that_stays_is_told_with_what_the_server_said(pusher, wire):
    network = wire(replying("500 Oops", b"disk\n full"))

    with pytest.raises(PushError, match=r"500 Oops: disk full \(\d+ attempts .*log of the gateway"):
        pusher(network.address, deadline=0.7).push()


def test_the_server_says_how_long_to_wait(pusher, wire):
    times = []

    def way(network, client, number):
        times.append(time.monotonic())
        answer(client, "503 Busy" if number == 1 else "200 OK", headers="Retry-After: 1\r\n")

    pusher(wire(way).address).push()

    assert 0.95 < times[1] - times[0] < 6.5


def test_a_wait_beyond_the_deadline_is_not_begun(pusher, wire):
    network = wire(replying("503 Busy", headers="Retry-After: 60\r\n"))
    began = time.monotonic()

    with pytest.raises(PushError, match="503 Busy"):
        pusher(network.address, deadline=5.0).push()

    assert time.monotonic() - began < 6


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (b"x{ 3\n", "text format parsing error in line 1"),
        (b"x 3 1700000000000\n", "timestamp"),
        (b'x{a="1"} 1\nx{a="1"} 2\n', "collected before"),
    ],
)
def test_a_page_that_the_gateway_refuses_is_told_with_its_reason_and_not_tried_again(
    pusher, page, said
):
    with pytest.raises(PushError, match=rf"400 Bad Request: .*{said}.*\(1 attempt in"):
        pusher(render=lambda: page).push()


def test_a_redirect_is_not_followed_and_named(pusher, wire):
    network = wire(replying("308 Moved", headers="Location: https://new/\r\n"))

    with pytest.raises(
        PushError, match=r"308 Moved, redirected to https://new/ \(1 attempt .*gateway_url"
    ):
        pusher(network.address, auth="secret").push()

    assert network.connections == 1


def test_an_answer_before_the_body_is_read_is_understood(pusher, wire):
    def way(network, client, number):
        client.recv(1000)
        client.sendall(b"HTTP/1.1 413 Too large\r\nContent-Length: 0\r\n\r\n")
        time.sleep(0.2)  # what is closed with bytes unread is reset

    with pytest.raises(PushError, match=r"413 Too large.*limit of the proxy"):
        pusher(wire(way).address, render=lambda: LONG, gzip=False).push()


@pytest.fixture
def resolver(monkeypatch):
    """A name server that is dead until `set`. It makes the system's resolver wait, which nothing in Python ends."""
    alive = threading.Event()
    alive.asked = 0
    real = socket.getaddrinfo

    def look_up(*args, **kwargs):
        alive.asked += 1
        assert alive.wait(20)
        return real("127.0.0.1", *args[1:], **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield alive
    alive.set()
    finish_attempts()


def finish_attempts(seconds=5):
    """What was given up is over, too."""
    for thread in threading.enumerate():
        if thread.name == "flowgauge-push":
            thread.join(seconds)
            assert not thread.is_alive()


def test_a_look_up_of_a_name_that_hangs_costs_no_more_than_the_deadline(pusher, resolver):
    began = time.monotonic()

    with pytest.raises(PushError, match="still under way"):
        pusher("gateway.invalid", timeout=0.3, deadline=1.2).push()

    assert time.monotonic() - began < 6.7
    # One thread hangs, however often it is tried.
    assert resolver.asked == 1


def test_an_attempt_that_was_given_up_sends_nothing_later(gateway, pusher, resolver, job):
    port = gateway.address.rpartition(":")[2]
    with pytest.raises(PushError):
        pusher(f"gateway.invalid:{port}", deadline=0.3).push()

    resolver.set()
    finish_attempts()

    assert gateway.samples(job=job) == {}


def test_without_a_thread_it_is_pushed_all_the_same(gateway, pusher, job, monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    one = pusher()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    one.push()
    monkeypatch.undo()

    assert gateway.value("x_total", job=job) == 3


def test_push_safely_logs_and_says_whether_it_arrived(pusher, caplog):
    def broken():
        raise ZeroDivisionError

    assert pusher().push_safely() is True
    assert caplog.records == []
    assert pusher("127.0.0.1:1", deadline=0.2).push_safely() is False
    assert pusher(render=broken).push_safely() is False

    refused, fault = caplog.records
    assert refused.levelno == logging.WARNING
    assert "Connection refused" in refused.message
    assert "ZeroDivisionError" in caplog.text
    assert fault.levelno == logging.ERROR


def test_push_raises_what_render_raises_and_pushes_nothing(gateway, pusher, job):
    def broken():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pusher(render=broken).push()
    assert gateway.samples(job=job) == {}


# -- threads, forks, regular pushes ---------------------------------------------------------------


def test_pushes_of_several_threads_go_one_after_the_other(gateway, pusher, wire, job):
    inside, most, lock = 0, 0, threading.Lock()

    def way(network, client, number):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.05)
        with lock:
            inside -= 1
        network.pass_on(client)

    numbers = itertools.count(1)
    one = pusher(wire(way).address, render=lambda: b"x %d\n" % next(numbers))
    threads = [threading.Thread(target=one.push) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == 1
    assert gateway.value("x", job=job) == 8


def test_waiting_for_another_push_counts_for_the_deadline(pusher, silent):
    one = pusher(silent.address, deadline=1.0)
    thread = threading.Thread(target=one.push_safely)
    thread.start()
    time.sleep(0.2)

    began = time.monotonic()
    with pytest.raises(PushError, match="another push"):
        one.push(until=Deadline(0.3))

    assert time.monotonic() - began < 5.6
    thread.join()


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"did not happen in {seconds} s"
        time.sleep(0.02)
    return found


def test_a_regular_pusher_pushes_at_once_and_regularly_and_a_last_time(gateway, pusher, job):
    numbers = itertools.count(1)
    one = pusher(render=lambda: b"x %d\n" % next(numbers))

    assert one.every(1) is one
    # The first at once: the second, a second later, would be the first one that is seen if it were not.
    wait_for(lambda: (gateway.value("x", job=job) or 0) >= 1)
    wait_for(lambda: gateway.value("x", job=job) >= 2)
    seen = gateway.value("x", job=job)
    assert one.stop() is True
    last = gateway.value("x", job=job)
    assert last > seen

    time.sleep(1.3)
    assert gateway.value("x", job=job) == last
    assert one.stop() is True
    assert gateway.value("x", job=job) == last


def test_a_regular_pusher_stops_at_the_end_of_its_block(gateway, pusher, job):
    numbers = itertools.count(1)
    with pusher(render=lambda: b"x %d\n" % next(numbers)).every(60):
        wait_for(lambda: gateway.value("x", job=job) == 1)

    assert gateway.value("x", job=job) == 2
    assert not [t for t in threading.enumerate() if t.name == "flowgauge-pusher"]


def test_a_regular_pusher_goes_on_after_failures_and_stops_in_time(pusher, silent, caplog):
    one = pusher(silent.address, timeout=0.5, deadline=1.0)
    one.every(1)
    wait_for(lambda: silent.connections >= 4)

    began = time.monotonic()
    assert one.stop() is False

    assert time.monotonic() - began < 7.5
    assert len([r for r in caplog.records if r.message.startswith("cannot push")]) == 2


def test_a_pause_between_two_attempts_does_not_hold_up_the_end(pusher):
    one = pusher("127.0.0.1:1", timeout=3.0, backoff=100.0).every(60)
    time.sleep(0.3)

    began = time.monotonic()
    assert one.halt() is True

    assert time.monotonic() - began < 6


def test_every_again_changes_the_interval_and_leaves_one_thread(gateway, pusher, job):
    one = pusher().every(50)
    one.every(60)

    assert len([t for t in threading.enumerate() if t.name == "flowgauge-pusher"]) == 1
    one.stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_no_thread_and_no_lock_until_it_asks(gateway, wire, pusher, job):
    """The fork happens while the thread holds the lock of the pusher."""
    numbers = itertools.count(1)
    busy = threading.Event()

    def way(network, client, number):
        if number == 1:
            busy.set()
            time.sleep(0.5)
        network.pass_on(client)

    one = pusher(
        wire(way).address,
        # Names of their own: a POST replaces what is named the same.
        render=lambda: b"x_%d %d\n" % (os.getpid(), next(numbers)),
        method="POST",
        deadline=5.0,
    ).every(60)
    assert busy.wait(5)

    def child():
        one.stop()  # nothing to stop, and nothing is pushed
        assert not [t for t in threading.enumerate() if t.name == "flowgauge-pusher"]
        assert next(numbers) == 2
        one.every(60)
        wait_for(lambda: gateway.value(f"x_{os.getpid()}", job=job) == 3)
        assert one.stop() is True

    pid = os.fork()
    if pid == 0:
        status = 1
        with contextlib.suppress(BaseException):
            try:
                child()
                status = 0
            except BaseException:
                os.write(2, traceback.format_exc().encode())
        os._exit(status)
    try:
        descriptor = os.pidfd_open(pid)
        ended = select.select([descriptor], [], [], 15)[0]
        os.close(descriptor)
        if not ended:
            os.kill(pid, signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        one.stop()


def test_off_sends_nothing(pusher, monkeypatch):
    monkeypatch.setenv("FLOWGAUGE_PUSHGATEWAY", "off")

    def fail():
        raise AssertionError

    one = pusher(None, render=fail)
    one.push()
    one.delete()
    assert one.every(1).push_safely() is True
    assert one.stop() is True
