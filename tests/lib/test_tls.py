import contextlib
import datetime as dt
import http.client
import os
import pty
import socket
import ssl
import subprocess
import sys
from ipaddress import IPv4Address
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from flowgauge import guard
from flowgauge.serving import changes, server
from flowgauge.serving.connection import Phase
from flowgauge.serving.pages import Page
from flowgauge.serving.server import Server
from flowgauge.serving.tls import Tls

LONG = 60


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Files are looked at for each connection, and each test begins without reports."""
    monkeypatch.setattr(changes, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(guard, "_reported", {})


class Authority:
    """Issues certificates."""

    def __init__(self):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self.pem = self._signed(self._name, self._key, authority=True)

    def issue(self, name):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return self._signed(subject, key), private(key)

    def _signed(self, subject, key, *, authority=False):
        now = dt.datetime.now(dt.UTC)
        names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(minutes=5))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(names, critical=False)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        signed = builder.sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)


def private(key, encryption=None):
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        encryption or serialization.NoEncryption(),
    )


class Files(NamedTuple):
    certificate: str
    key: str

    def write(self, pair):
        for file, content in zip(self, pair, strict=True):
            file.write_bytes(content)


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture
def files(tmp_path, authority):
    made = Files(tmp_path / "tls.crt", tmp_path / "tls.key")
    made.write(authority.issue("first"))
    return made


@pytest.fixture
def serve(files):
    servers = []

    def start(render=lambda _: Page(b"fine", "text/plain"), **arguments):
        tls = Tls(certificate=files.certificate, key=files.key, **arguments)
        servers.append(Server("127.0.0.1", 0, render, tls=tls))
        servers[-1].start()
        return servers[-1]

    yield start
    for endpoint in servers:
        endpoint.stop()


def trusting(authority):
    context = ssl.create_default_context(cadata=authority.pem.decode())
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def ask(endpoint, context, path="/metrics"):
    """Status, body, and the common name of the server's certificate."""
    connection = http.client.HTTPSConnection(
        "127.0.0.1", endpoint.port, timeout=LONG, context=context
    )
    with contextlib.closing(connection):
        connection.request("GET", path)
        name = dict(pair for [pair] in connection.sock.getpeercert()["subject"])["commonName"]
        response = connection.getresponse()
        return response.status, response.read(), name


def test_metrics_are_served_over_tls(serve, authority):
    endpoint = serve()
    context = trusting(authority)

    assert ask(endpoint, context) == (200, b"fine", "first")
    assert ask(endpoint, context, "/healthz") == (200, b"ok\n", "first")


def test_a_connection_is_kept_and_requests_may_be_sent_at_once(serve, authority):
    endpoint = serve()
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with (
        socket.create_connection(("127.0.0.1", endpoint.port), timeout=LONG) as plain,
        trusting(authority).wrap_socket(plain, server_hostname="127.0.0.1") as client,
    ):
        client.sendall(request)
        assert client.recv(65536).endswith(b"fine")
        client.sendall(request + request + last)
        got = b"".join(iter(lambda: client.recv(65536), b""))

    assert got.count(b"HTTP/1.1 200 OK") == 3


def test_the_end_of_a_connection_is_told_in_tls(serve, authority):
    last = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with (
        socket.create_connection(("127.0.0.1", serve().port), timeout=LONG) as plain,
        trusting(authority).wrap_socket(
            plain, server_hostname="127.0.0.1", suppress_ragged_eofs=False
        ) as client,
    ):
        client.sendall(last)
        assert b"".join(iter(lambda: client.recv(65536), b"")).endswith(b"fine")


def test_a_large_page_arrives_whole_although_the_client_reads_slowly(serve, authority):
    page = os.urandom(3_000_000)
    endpoint = serve(lambda _: Page(page, "application/octet-stream"))

    assert ask(endpoint, trusting(authority))[1] == page


def test_silent_clients_do_not_stop_a_scrape(serve, authority):
    endpoint = serve()
    silent = [socket.create_connection(("127.0.0.1", endpoint.port)) for _ in range(100)]
    half = [socket.create_connection(("127.0.0.1", endpoint.port)) for _ in range(100)]
    for client in half:
        client.sendall(b"\x16\x03\x01\x02\x00\x01\x00")  # the beginning of a handshake

    assert ask(endpoint, trusting(authority))[0] == 200
    for client in silent + half:
        client.close()


def test_a_handshake_that_does_not_end_is_cut_off(serve, monkeypatch):
    monkeypatch.setitem(server.SECONDS, Phase.ASKING, 0.2)
    endpoint = serve()

    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=LONG) as client:
        client.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        assert client.recv(1) == b""


def test_plain_http_and_garbage_are_not_answered_and_do_no_harm(serve, authority, caplog):
    endpoint = serve()
    for data in (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 1000):
        with socket.create_connection(("127.0.0.1", endpoint.port), timeout=LONG) as client:
            client.sendall(data)
            with contextlib.suppress(ConnectionResetError):
                assert b"fine" not in client.recv(65536)

    assert ask(endpoint, trusting(authority))[0] == 200
    assert caplog.records == []


def test_a_certificate_that_is_renewed_is_served_without_restart(serve, files, authority):
    endpoint = serve()
    context = trusting(authority)
    assert ask(endpoint, context)[2] == "first"

    files.write(authority.issue("second"))

    assert ask(endpoint, context)[2] == "second"


def test_a_half_renewed_pair_leaves_the_old_one_in_use(serve, files, authority, caplog):
    endpoint = serve()
    context = trusting(authority)
    certificate, key = authority.issue("second")

    files.certificate.write_bytes(certificate)
    assert ask(endpoint, context)[2] == "first"
    assert "does not belong to the certificate" in caplog.text
    assert "What was there before stays in use" in caplog.text

    files.key.write_bytes(key)
    assert ask(endpoint, context)[2] == "second"


def test_with_a_client_authority_only_its_clients_are_served(serve, tmp_path, authority):
    ca, own, foreign = (tmp_path / name for name in ("ca.pem", "own.pem", "foreign.pem"))
    ca.write_bytes(authority.pem)
    own.write_bytes(b"".join(authority.issue("scraper")))
    foreign.write_bytes(b"".join(Authority().issue("scraper")))
    endpoint = serve(client_ca=ca)

    context = trusting(authority)
    for stranger in (None, foreign):
        if stranger:
            context.load_cert_chain(stranger)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            ask(endpoint, context)
    context = trusting(authority)
    context.load_cert_chain(own)
    assert ask(endpoint, context)[0] == 200


def test_versions_below_the_minimum_are_refused(serve, authority):
    old = trusting(authority)
    old.maximum_version = ssl.TLSVersion.TLSv1_2

    assert ask(serve(), old)[0] == 200
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(serve(minimum="1.3"), old)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_1_1_is_never_spoken(serve, authority):
    ancient = trusting(authority)
    ancient.minimum_version = ancient.maximum_version = ssl.TLSVersion.TLSv1_1
    ancient.set_ciphers("ALL:@SECLEVEL=0")  # or the client itself would refuse

    with pytest.raises((ssl.SSLError, ConnectionError), match=r"(?i)version|protocol|reset|eof"):
        ask(serve(), ancient)


def bad(files, tmp_path, authority):
    other = tmp_path / "other"
    other.write_bytes(authority.issue("other")[1])
    text = tmp_path / "text"
    text.write_text("no certificate")
    locked = tmp_path / "locked"
    key = ec.generate_private_key(ec.SECP256R1())
    locked.write_bytes(private(key, serialization.BestAvailableEncryption(b"x")))
    return [
        ({"certificate": "", "key": files.key}, "tls certificate is missing; give certificate and key"),
        ({"certificate": files.certificate, "key": ""}, "tls key is missing"),
        ({"certificate": "/no", "key": files.key}, r"tls certificate '/no' cannot be read \(No such file"),
        ({"certificate": files.certificate, "key": "/no"}, r"tls key '/no' cannot be read \(No such file"),
        ({"certificate": files.certificate, "key": other}, "tls key '.*other' does not belong to the certificate"),
        ({"certificate": text, "key": files.key}, "tls certificate '.*text' or key '.*' is no PEM file"),
        ({"certificate": files.certificate, "key": locked}, "tls key '.*locked' has a passphrase; store it without"),
        ({"certificate": files.certificate, "key": files.key, "client_ca": text}, "tls client_ca '.*text' has no cert"),
        ({"certificate": files.certificate, "key": files.key, "client_ca": "/no"}, "tls client_ca '/no' cannot be read"),
        ({"certificate": files.certificate, "key": files.key, "minimum": "1.1"}, "tls minimum is '1.1', must be '1.2' or"),
    ]  # fmt: skip


def test_what_cannot_be_used_is_refused_with_field_and_remedy(files, tmp_path, authority):
    for fields, message in bad(files, tmp_path, authority):
        with pytest.raises(ValueError, match=message):
            Tls(**fields)


def test_a_key_with_a_passphrase_does_not_ask_on_the_terminal(files):
    key = ec.generate_private_key(ec.SECP256R1())
    files.key.write_bytes(private(key, serialization.BestAvailableEncryption(b"x")))
    program = f"from flowgauge.serving.tls import Tls\nTls(certificate={str(files.certificate)!r}, key={str(files.key)!r})\n"
    controller, terminal = pty.openpty()
    with os.fdopen(controller), os.fdopen(terminal):
        done = subprocess.run(
            [sys.executable, "-c", program],
            check=False,
            stdin=terminal,
            capture_output=True,
            text=True,
            timeout=LONG,
        )

    assert "ValueError: tls key" in done.stderr
