"""What the tests of the exporters share: families to send, servers that receive them, children to fork."""

import contextlib
import gzip
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from flowgauge.metrics import Distribution, MetricFamily, Quantiles


def family(kind, name, values, *, labels=(), unit=""):
    """A family of the values by their label values; a plain value is that of a series without labels."""
    by_key = values if isinstance(values, dict) else {(): values}
    return MetricFamily(name, kind, "Help.", labels, list(by_key), list(by_key.values()), unit)


def counter(name, values, **arguments):
    return family("counter", name, values, **arguments)


def gauge(name, values, **arguments):
    return family("gauge", name, values, **arguments)


def histogram(name, bounds, counts, total, **arguments):
    return family("histogram", name, Distribution(bounds, counts, total), **arguments)


def summary(name, count, total, quantiles, **arguments):
    return family("summary", name, Quantiles(count, total, quantiles), **arguments)


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition, seconds=5.0):
    """Wait until something is so, and fail when it never is."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail("it did not happen in time")
        time.sleep(0.005)


def identity(request):
    """The identity of the process that sent a request of OTLP."""
    message = ExportMetricsServiceRequest.FromString(gzip.decompress(request.body))
    (found,) = (
        pair.value.string_value
        for pair in message.resource_metrics[0].resource.attributes
        if pair.key == "service.instance.id"
    )
    return found


class StatsD:
    """A StatsD server: counters add up, gauges are set, and a gauge with a sign is moved."""

    def __init__(self, port=0, host="127.0.0.1"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        self._socket.bind((host, port))
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]
        self.packets = []
        self.counters = defaultdict(float)
        self.gauges = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def read(self):
        """Take in what has come; on the loopback it is there when the sender returns. Returns the lines."""
        lines = []
        with contextlib.suppress(BlockingIOError):
            while True:
                packet = self._socket.recv(65536)
                self.packets.append(packet)
                lines += packet.decode().split("\n")
        for line in lines:
            self._take(line)
        return lines

    def _take(self, line):
        head, _, tags = line.partition("|#")
        name, _, rest = head.partition(":")
        value, kind = rest.split("|")
        name += f"|#{tags}" if tags else ""
        if kind == "c":
            self.counters[name] += float(value)
        else:
            assert kind == "g"
            moved = self.gauges.get(name, 0.0) if value[0] in "+-" else 0.0
            self.gauges[name] = moved + float(value)


class Request:
    def __init__(self, path, headers, body):
        self.path = path
        self.headers = headers
        self.body = body


class Http:
    """An HTTP server that records requests and answers as told: with (status, headers, body), or by a function
    that gets the handler. `None` takes the request and breaks the connection off.
    """

    def __init__(self, port=0, tls=None):
        self.requests = []
        self.answers = []  # one for each of the next requests; then `default`
        self.default = (200, {}, b"")
        self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def setup(self):
                outer.connections += 1
                super().setup()

            def do_POST(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                outer.requests.append(Request(self.path, dict(self.headers), body))
                answer = outer.answers.pop(0) if outer.answers else outer.default
                if callable(answer):
                    answer = answer(outer.requests[-1])
                if answer is None:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                status, headers, content = answer
                with contextlib.suppress(OSError):  # who asked may have gone
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            def do_GET(self):
                self.do_POST()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
            # A client that refuses the certificate is no fault of the server.
            self._server.handle_error = lambda *_: None
        self.port = self._server.server_address[1]
        self.address = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def in_python(code, *, seconds=30):
    """What a fresh interpreter prints, without the last newline."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout.strip()


def certificate(folder):
    """Paths of a certificate for `localhost` that vouches for itself, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths
