"""A real Pushgateway, and what may stand before it: a network that is slow or breaks."""

import contextlib
import re
import socket
import subprocess
import threading
import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from rig.pytest_plugin import binary


def pytest_collection_modifyitems(items):
    for item in items:
        if "binary" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.parts)


@pytest.fixture(scope="session", name="binary")
def _binary():
    """The Pushgateway; where it is not built, a skip with the command, and a failure in CI."""
    return binary("pushgateway")


class Gateway:
    """A running Pushgateway and what it holds."""

    def __init__(self, binary, *flags, address="127.0.0.1:0"):
        self._command = [binary, f"--web.listen-address={address}", "--log.level=info", *flags]
        self.address = ""
        self.start()

    def start(self):
        self._process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)
        for line in self._process.stderr:
            if found := re.search(r'msg="?Listening on"? address=(\S+)', line):
                self.address = found[1]
                break
        assert self.address, "the Pushgateway did not start"
        # Nobody may have to wait for a full pipe.
        self._drain = threading.Thread(target=self._process.stderr.read, daemon=True)
        self._drain.start()

    def stop(self):
        self._process.terminate()
        self._process.wait(10)
        self._drain.join()
        self._process.stderr.close()

    def samples(self, **labels):
        """What it exposes with these labels among others: values by name and the other labels."""
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=5) as response:
            families = parse(response.read().decode())
        return {
            (sample.name, *sorted(sample.labels.items() - labels.items())): sample.value
            for family in families
            for sample in family.samples
            if labels.items() <= sample.labels.items()
        }

    def value(self, name, **labels):
        """The value of the one sample with these labels among others; None where there is none."""
        found = [value for (found, *_), value in self.samples(**labels).items() if found == name]
        assert len(found) <= 1, f"{name}{labels} stands {len(found)} times"
        return found[0] if found else None

    def runs(self, job):
        """The runs of the workflow of the same name, by status; without those that are zero."""
        statuses = ("success", "failed", "cancelled")
        counts = {
            s: self.value("workflow_runs_total", job=job, workflow=job, status=s) for s in statuses
        }
        return {status: count for status, count in counts.items() if count}


@pytest.fixture(scope="session")
def gateway(binary):
    """One for all tests; each uses a job of its own."""
    running = Gateway(binary)
    yield running
    running.stop()


@pytest.fixture
def launch(binary):
    """Start one with flags of the test's own."""
    running = []

    def start(*flags, **options):
        running.append(Gateway(binary, *flags, **options))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.fixture
def job(request):
    """A job of the test's own."""
    return re.sub(r"\W+", "-", request.node.name)


class Wire:
    """A network before a gateway. `way(client, number)` handles the connections, each in a thread, from number 1."""

    def __init__(self, target, way):
        self.target = target
        self.connections = 0
        self._way = way
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._closing = False
        self._threads = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self):
        while True:
            client, _ = self._listener.accept()
            if self._closing:
                client.close()
                return
            self.connections += 1
            thread = threading.Thread(target=self._handle, args=(client, self.connections))
            thread.start()
            self._threads.append(thread)

    def _handle(self, client, number):
        with client, contextlib.suppress(OSError):
            self._way(self, client, number)

    def pass_on(self, client):
        """Carry bytes both ways until one side ends."""
        host, port = self.target.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=5) as server:
            back = threading.Thread(target=_copy, args=(server, client))
            back.start()
            _copy(client, server)
            back.join()

    def wait_closed(self, client, seconds=30):
        """Read until the client has gone."""
        client.settimeout(seconds)
        while client.recv(65536):
            pass

    def close(self):
        self._closing = True
        host, port = self._listener.getsockname()
        socket.create_connection((host, port)).close()
        self._thread.join()
        self._listener.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "a connection is still open"


def _copy(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def wire(gateway):
    """Make a network before the gateway."""
    made = []

    def lay(way):
        made.append(Wire(gateway.address, way))
        return made[-1]

    yield lay
    for one in made:
        one.close()


@pytest.fixture
def slow(wire):
    """A network that takes so many seconds before it carries on."""

    def lay(seconds):
        def way(network, client, number):
            time.sleep(seconds)
            network.pass_on(client)

        return wire(way)

    return lay


@pytest.fixture
def silent(wire):
    """A network that takes connections and everything that is said, and never answers."""

    def way(network, client, number):
        network.wait_closed(client)

    return wire(way)
