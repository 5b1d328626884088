import contextlib
import gzip
import http.client
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest

from flowgauge import guard
from flowgauge.serving import answers, server
from flowgauge.serving.connection import Phase
from flowgauge.serving.pages import Page
from flowgauge.serving.server import Server

LONG = 60  # a test that waits so long has failed; it is no measure of speed


@pytest.fixture(autouse=True)
def told(monkeypatch):
    """Reports are rate limited for the whole process; each test begins without any."""
    monkeypatch.setattr(guard, "_reported", {})


@pytest.fixture
def serve():
    """Start a server on a free port of the loopback; stopped after the test."""
    servers = []

    def start(render=None, **arguments):
        registry = CollectorRegistry()
        Counter("parcels", "Parcels that left.", registry=registry).inc(3)
        default = lambda _: Page(generate_latest(registry), "text/plain; version=0.0.4")  # noqa: E731
        servers.append(Server("127.0.0.1", 0, render or default, **arguments))
        servers[-1].start()
        return servers[-1]

    yield start
    for endpoint in servers:
        endpoint.stop()


def ask(endpoint, path="/metrics", method="GET", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=LONG)
    with contextlib.closing(connection):
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers=sent)
        response = connection.getresponse()
        return response, response.read()


def connect(endpoint, data=b""):
    client = socket.create_connection(("127.0.0.1", endpoint.port), timeout=LONG)
    client.sendall(data)
    return client


def everything(client):
    """All that comes until the server closes."""
    with client:
        return b"".join(iter(lambda: client.recv(65536), b""))


def answered(client):
    """One answer, by its length."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += client.recv(65536)
    start, _, body = got.partition(b"\r\n\r\n")
    [length] = [
        int(line[16:]) for line in start.split(b"\r\n") if line.startswith(b"Content-Length: ")
    ]
    while len(body) < length:
        body += client.recv(65536)
    return body


def send(endpoint, data):
    return everything(connect(endpoint, data))


def head(*lines):
    return "\r\n".join([*lines, "", ""]).encode()


GET = head("GET /metrics HTTP/1.1", "Host: x")
HEALTH = head("GET /healthz HTTP/1.1", "Host: x")
LAST = head("GET /healthz HTTP/1.1", "Host: x", "Connection: close")


@contextlib.contextmanager
def background(*targets):
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()


def ours():
    return [t.name for t in threading.enumerate() if t.name.startswith("flowgauge-")]


def wait_for(true, what):
    end = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)


# -- what is where


def test_metrics_health_and_readiness_are_served_and_nothing_else(serve):
    endpoint = serve()
    paths = ("/metrics", "/metrics?x=1", "/healthz", "/readyz", "/", "/metrics/", "/metrics/x")

    assert [ask(endpoint, path)[0].status for path in paths] == [200, 200, 200, 200, 404, 404, 404]
    assert b"parcels_total 3.0" in ask(endpoint)[1]
    assert ask(endpoint, "/healthz")[1] == b"ok\n"
    assert ask(endpoint, "/")[1] == b"not found; see /metrics, /healthz and /readyz\n"


def test_the_whole_url_may_be_sent_as_a_proxy_does(serve):
    answer = send(
        serve(), head("GET http://x:9090/healthz HTTP/1.1", "Host: x", "Connection: close")
    )

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


def test_the_path_can_be_chosen(serve):
    endpoint = serve(path="/internal/metrics")

    assert ask(endpoint, "/internal/metrics")[0].status == 200
    assert (
        ask(endpoint, "/metrics")[1] == b"not found; see /internal/metrics, /healthz and /readyz\n"
    )


@pytest.mark.parametrize(
    "path", ["metrics", "", "/a b", "/a?b", "/a#b", "/ä", "/healthz", "/readyz"]
)
def test_a_path_that_cannot_be_served_is_refused_with_the_remedy(path):
    with pytest.raises(ValueError, match=r"^path is .* /metrics"):
        Server("127.0.0.1", 0, lambda _: Page(b"", ""), path=path)


def test_head_has_the_headers_and_no_body(serve):
    endpoint = serve()
    response, body = ask(endpoint, method="HEAD")

    assert (response.status, body) == (200, b"")
    assert int(response.headers["Content-Length"]) == len(ask(endpoint)[1])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get"])
@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz"])
def test_other_methods_are_told_what_is_allowed(serve, method, path):
    response, body = ask(serve(), path, method)

    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
    assert body == b"only GET and HEAD are allowed here\n"


def test_the_date_is_that_of_http(serve):
    response, _ = ask(serve())

    when = time.strptime(response.headers["Date"], "%a, %d %b %Y %H:%M:%S GMT")
    assert abs(time.mktime(when) - time.mktime(time.gmtime())) < LONG


# -- packing


@pytest.mark.parametrize(
    ("accepts", "packed"),
    [("gzip", True), ("deflate, gzip;q=0.5", True), ("gzip;q=0", False), ("", False)],
)
def test_the_body_is_packed_only_if_the_client_allows_it(serve, accepts, packed):
    response, body = ask(serve(), Accept_Encoding=accepts)

    assert (response.headers["Content-Encoding"] == "gzip") == packed
    assert b"parcels_total 3.0" in (gzip.decompress(body) if packed else body)


def test_the_accept_header_reaches_the_renderer_also_when_it_stands_twice(serve):
    endpoint = serve(lambda accept: Page(accept.encode(), "text/plain"))
    twice = head(
        "GET /metrics HTTP/1.1", "Host: x", "Accept: a/b;q=1", "ACCEPT: c/d", "Connection: close"
    )

    assert ask(endpoint, Accept="text/plain;version=0.0.4")[1] == b"text/plain;version=0.0.4"
    assert send(endpoint, twice).endswith(b"\r\n\r\na/b;q=1, c/d")


# -- connections


def test_a_connection_is_kept_for_the_next_request(serve):
    endpoint = serve()
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=LONG)
    with contextlib.closing(connection):
        ports = set()
        for _ in range(3):
            connection.request("GET", "/metrics")
            assert connection.getresponse().read()
            ports.add(connection.sock.getsockname()[1])

    assert len(ports) == 1


def test_requests_that_are_sent_at_once_are_answered_in_order(serve):
    answer = send(serve(), GET + HEALTH + LAST)

    first, second, third = answer.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert b"parcels_total 3.0" in first
    assert second.endswith(b"\r\n\r\nok\n")
    assert b"Connection: close\r\n" not in first + second
    assert b"Connection: close\r\n" in third


def test_a_request_that_comes_in_pieces_is_answered(serve):
    client = connect(serve())
    for byte in LAST:
        client.sendall(bytes([byte]))

    assert everything(client).endswith(b"ok\n")


def test_a_client_that_sends_requests_without_end_stops_nobody(serve):
    endpoint = serve()
    greedy = connect(endpoint)
    stop = threading.Event()

    def flood():
        with contextlib.suppress(OSError):
            while not stop.is_set():
                greedy.sendall(HEALTH * 100)

    def devour():
        with contextlib.suppress(OSError):
            while not stop.is_set() and greedy.recv(1 << 20):
                pass

    with background(flood, devour):
        statuses = [ask(endpoint)[0].status for _ in range(5)]
        stop.set()
        greedy.shutdown(socket.SHUT_RDWR)
    greedy.close()

    assert statuses == [200] * 5


def test_http_1_0_and_connection_close_end_the_connection(serve):
    endpoint = serve()

    for request in (b"GET /healthz HTTP/1.0\r\n\r\n", LAST):
        answer = send(endpoint, request)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nConnection: close\r\n" in answer


def test_an_idle_connection_is_closed_in_the_end(serve, monkeypatch):
    monkeypatch.setitem(server.SECONDS, Phase.IDLE, 0.2)
    client = connect(serve(), HEALTH)

    assert everything(client).endswith(b"ok\n")


@pytest.mark.parametrize("before", [b"", HEALTH])
def test_a_client_that_never_finishes_its_request_is_cut_off(serve, monkeypatch, before):
    monkeypatch.setitem(server.SECONDS, Phase.ASKING, 0.2)
    client = connect(serve(), before + b"GET /metr")

    def trickle():  # one byte at a time, each in time for itself
        end = time.monotonic() + LONG
        while time.monotonic() < end:
            time.sleep(0.05)
            client.sendall(b"i")

    with client, pytest.raises(OSError):
        trickle()


# -- what could hide a request in another


def test_a_body_is_not_read_and_what_is_in_it_is_no_request(serve):
    hidden = head("GET /hidden HTTP/1.1", "Host: x")
    carrier = head("GET /healthz HTTP/1.1", "Host: x", f"Content-Length: {len(hidden)}")
    chunked = head("GET /healthz HTTP/1.1", "Host: x", "Transfer-Encoding: chunked")

    for request in (carrier, chunked):
        answer = send(serve(), request + hidden + LAST)
        assert answer.count(b"\r\nDate: ") == 1
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("POST /metrics HTTP/1.1", "Host: x", "Content-Length: 900000"), b"405"),
        (("nonsense",), b"400"),
    ],
)
def test_what_a_client_still_sends_does_not_destroy_its_answer(serve, lines, status):
    client = connect(serve(), head(*lines))
    select.select([client], [], [], LONG)  # the answer is there
    for _ in range(3):  # to a closed socket, this would throw it away
        client.sendall(b"x" * 300_000)
        time.sleep(0.1)

    client.shutdown(socket.SHUT_WR)
    assert everything(client).startswith(b"HTTP/1.1 " + status)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("GET /healthz HTTP/1.1",), 400),  # no Host
        (("GET /healthz HTTP/1.1", "Host: x", "Host: y"), 400),
        (("GET /healthz HTTP/1.1", "Host: x", "Content-Length: 1", "Content-Length: 2"), 400),
        (("GET /healthz HTTP/1.1", "Host: x", "Content-Length: 1, 2"), 400),
        (("GET /healthz HTTP/1.1", "Host: x", "Content-Length: +1"), 400),
        (
            ("GET /healthz HTTP/1.1", "Host: x", "Content-Length: 5", "Transfer-Encoding: chunked"),
            400,
        ),
        (("GET /healthz HTTP/1.1", "Host: x", "Content-Length : 5"), 400),
        (("GET /healthz HTTP/1.1", "Host: x", "A: b", " folded"), 400),
        (("GET /healthz HTTP/1.1", "Host: x", "no colon"), 400),
        (("GET /healthz HTTP/1.1", "Host: x", "A: b\nGET /hidden HTTP/1.1"), 400),
        (("GET /healthz HTTP/1.1", "Host: x", "A: b\rC: d"), 400),
        (("GET /healthz HTTP/1.1", "Host: x", "A: \0"), 400),
        (("GET  /healthz HTTP/1.1", "Host: x"), 400),
        (("GET /healthz", "Host: x"), 400),
        (("GET /healthz HTTP/2.0", "Host: x"), 505),
        ((f"GET /{'x' * 5000} HTTP/1.1", "Host: x"), 414),
        (("GET /healthz HTTP/1.1", "Host: x", *(f"H{n}: x" for n in range(64))), 431),
        (("GET /healthz HTTP/1.1", "Host: x", "A: " + "b" * 20_000), 431),
    ],
)
def test_a_malformed_request_is_refused_and_nothing_after_it_is_answered(serve, lines, status):
    answer = send(serve(), head(*lines) + LAST)

    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert answer.count(b"\r\nDate: ") == 1
    assert b"\r\nConnection: close\r\n" in answer


def test_63_headers_beside_host_and_16_kib_are_taken(serve):
    many = head(
        "GET /healthz HTTP/1.1", "Host: x", "Connection: close", *(f"H{n}: x" for n in range(62))
    )
    long = head("GET /healthz HTTP/1.1", "Host: x", "Connection: close", "A: " + "b" * 16_000)

    assert [send(serve(), request)[:15] for request in (many, long)] == [b"HTTP/1.1 200 OK"] * 2


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"GET\r\n\r\n",
        b"GET /healthz HTTP/1.0\n\n",
        b"G" * 70_000,
        b"\r\n" * 10,
        b"\0" * 100_000,
    ],
)
def test_garbage_is_refused_at_once_and_does_not_fill_the_log(serve, garbage, caplog):
    endpoint = serve()

    assert send(endpoint, garbage)[:11] in (b"HTTP/1.1 400", b"HTTP/1.1 43", b"HTTP/1.1 40")
    assert ask(endpoint)[0].status == 200
    assert caplog.records == []


# -- clients that are slow, silent, or many


def test_500_idle_and_50_slow_clients_do_not_stop_scrapes_and_cost_no_threads(serve):
    endpoint = serve()
    before = threading.active_count()
    idle = [connect(endpoint) for _ in range(500)]
    slow = [connect(endpoint) for _ in range(50)]
    stop = threading.Event()

    def trickle():  # one byte a second, until it is cut off
        for byte in GET:
            for client in slow:
                with contextlib.suppress(OSError):
                    client.sendall(bytes([byte]))
            if stop.wait(1):
                return

    threads = []
    with background(trickle):
        statuses = []
        for _ in range(30):
            statuses.append(ask(endpoint)[0].status)
            threads.append(threading.active_count())
            time.sleep(0.05)
        stop.set()
    for client in idle + slow:
        client.close()

    assert statuses == [200] * 30
    assert max(threads) <= before + 2  # the renderer, and the test's own


def test_places_are_limited_and_the_least_busy_client_loses_its_own(serve):
    endpoint = serve()
    kept = connect(endpoint, HEALTH)
    assert answered(kept) == b"ok\n"
    asking = [connect(endpoint, b"GET /he") for _ in range(server.CONNECTIONS - 1)]
    wait_for(lambda: len(endpoint._connections) == server.CONNECTIONS, "all places to be taken")

    assert ask(endpoint)[0].status == 200  # in the place of the one between two requests
    assert everything(kept) == b""
    for client in asking:  # the scrape has left again: nobody else lost anything
        client.sendall(b"althz HTTP/1.0\r\n\r\n")
        assert everything(client).endswith(b"ok\n")


def test_clients_that_do_not_read_do_not_stop_a_scrape(serve):
    endpoint = serve(lambda _: Page(b"x" * 5_000_000, "text/plain"))
    clients = [connect(endpoint, GET) for _ in range(20)]

    assert len(ask(endpoint)[1]) == 5_000_000
    for client in clients:
        client.close()


def test_pages_that_nobody_reads_are_not_kept_without_limit(serve):
    endpoint = serve(lambda accept: Page(accept.encode() * 5_000_000, "text/plain"))
    clients = []
    for number in range(server.UNREAD_PAGES + 3):  # pages of their own, as at different times
        letter = chr(ord("a") + number)
        request = head("GET /metrics HTTP/1.1", "Host: x", f"Accept: {letter}", "Connection: close")
        clients.append(connect(endpoint, request))
        assert clients[-1].recv(1) == b"H"

    lengths = []
    for client in clients:
        try:
            lengths.append(len(everything(client)))
        except ConnectionResetError:
            lengths.append(0)
    assert [length > 5_000_000 for length in lengths] == [False] * 3 + [True] * server.UNREAD_PAGES


def test_a_client_that_takes_too_long_to_read_is_cut_off(serve, monkeypatch):
    monkeypatch.setitem(server.SECONDS, Phase.SENDING, 0.2)
    endpoint = serve(lambda _: Page(b"x" * 5_000_000, "text/plain"))
    client = connect(endpoint, GET)

    wait_for(lambda: endpoint._connections, "the client to be there")
    wait_for(lambda: not endpoint._connections, "the client to be cut off")
    client.close()


def test_a_server_without_file_descriptors_recovers(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import logging, os, resource, socket, sys\n"
        "from flowgauge.serving.pages import Page\n"
        "from flowgauge.serving.server import Server\n"
        "endpoint = Server('127.0.0.1', 0, lambda _: Page(b'fine', 'text/plain'))\n"
        "endpoint.start()\n"
        "client = socket.socket()\n"
        "taken = len(os.listdir('/proc/self/fd'))\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 20, taken + 20))\n"
        "files = []\n"
        "try:\n"
        "    while True: files.append(open(os.devnull))\n"
        "except OSError: pass\n"
        "client.settimeout(60)\n"
        "client.connect(('127.0.0.1', endpoint.port))\n"
        "client.sendall(b'GET /metrics HTTP/1.0\\r\\n\\r\\n')\n"
        "pauses = []\n"
        "pause = endpoint._pause\n"
        "endpoint._pause = lambda error: pauses.append(pause(error))\n"
        "client.settimeout(1)\n"
        "try: sys.exit(repr(client.recv(100)))\n"
        "except TimeoutError: pass\n"
        "for file in files: file.close()\n"
        "client.settimeout(60)\n"
        "data = b''.join(iter(lambda: client.recv(1000), b''))\n"
        "print(data.endswith(b'fine'), len(pauses) < 10)\n"
    )
    done = subprocess.run(
        [sys.executable, program], check=False, capture_output=True, text=True, timeout=LONG
    )

    assert done.stdout == "True True\n", done.stderr
    assert "cannot accept connections for metrics (Too many open files)" in done.stderr


# -- rendering


class Slow:
    """Renders a number of its own each time, and only when it is allowed to."""

    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.allowed = threading.Semaphore(0)
        self.count = 0

    def __call__(self, accept):
        self.count += 1
        number = self.count
        self.begun.release()
        assert self.allowed.acquire(timeout=LONG)
        return Page(str(number).encode(), "text/plain")


def test_concurrent_scrapes_share_a_rendering_that_is_never_older_than_they(serve):
    render = Slow()
    endpoint = serve(render)
    first = connect(endpoint, GET)
    assert render.begun.acquire(timeout=LONG)

    others = [connect(endpoint, GET) for _ in range(20)]
    wait_for(
        lambda: [c.phase for c in endpoint._connections] == [Phase.WAITING] * 21, "all to wait"
    )
    render.allowed.release()
    render.allowed.release()

    def number(client):
        with client:
            return answered(client)

    assert number(first) == b"1"
    assert {number(client) for client in others} == {b"2"}
    assert render.count == 2


def test_different_formats_are_rendered_apart(serve):
    endpoint = serve(lambda accept: Page(accept.encode(), "text/plain"))
    results = []
    wanted = [f"text/{number % 3}" for number in range(30)]

    def scrape(accept):
        results.append((accept, ask(endpoint, Accept=accept)[1].decode()))

    with background(*(lambda a=accept: scrape(a) for accept in wanted)):
        pass

    assert sorted(results) == sorted(zip(wanted, wanted, strict=True))


def test_no_thread_is_left_between_scrapes(serve):
    endpoint = serve(ready=lambda: True)
    ask(endpoint)
    ask(endpoint, "/readyz")

    wait_for(lambda: ours() == ["flowgauge-metrics"], "the renderer to end")


@pytest.mark.parametrize("error", [RuntimeError("no luck"), SystemExit(3), MemoryError()])
def test_an_error_of_rendering_is_answered_and_logged_and_the_next_scrape_works(
    serve, error, caplog
):
    errors = [error]

    def render(_):
        if errors:
            raise errors.pop()
        return Page(b"fine", "text/plain")

    endpoint = serve(render)

    assert ask(endpoint)[0].status == 500
    assert ask(endpoint)[1] == b"fine"
    [record] = caplog.records
    assert type(error).__name__ in record.exc_text or str(error) in record.exc_text


def test_rendering_that_gives_no_page_is_an_error_too(serve, caplog):
    assert ask(serve(lambda _: None))[0].status == 500
    assert len(caplog.records) == 1


def test_rendering_that_hangs_is_told_and_health_is_still_answered(serve, monkeypatch, caplog):
    monkeypatch.setitem(server.SECONDS, Phase.WAITING, 0.3)
    render = Slow()
    endpoint = serve(render)

    try:
        response, body = ask(endpoint)
        assert (response.status, body) == (
            503,
            b"the answer takes longer than 60 s to make; see the log\n",
        )
        assert ask(endpoint, "/healthz")[0].status == 200
        assert "look for a slow collector" in caplog.text
    finally:
        for _ in range(3):
            render.allowed.release()


def test_readiness_is_what_the_program_says(serve, caplog):
    answers = [True, False, ValueError("no database")]

    def ready():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    endpoint = serve(ready=ready)

    assert [(r.status, b) for r, b in (ask(endpoint, "/readyz") for _ in range(3))] == [
        (200, b"ok\n"),
        (503, b"not ready\n"),
        (503, b"not ready: the check failed; see the log\n"),
    ]
    assert "no database" in caplog.text


def test_a_readiness_check_that_blocks_stops_no_scrape(serve):
    release = threading.Event()
    endpoint = serve(ready=lambda: release.wait(LONG))

    waiting = connect(endpoint, head("GET /readyz HTTP/1.0"))
    assert ask(endpoint)[0].status == 200
    assert ask(endpoint, "/healthz")[0].status == 200
    release.set()
    assert everything(waiting).endswith(b"ok\n")


# -- start and end


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="needs SO_REUSEPORT")
def test_a_port_can_be_shared_by_those_who_all_want_it():
    first = Server("127.0.0.1", 0, lambda _: Page(b"", ""), share=True)
    second = Server("127.0.0.1", first.port, lambda _: Page(b"", ""), share=True)
    with pytest.raises(OSError, match="in use"):
        Server("127.0.0.1", first.port, lambda _: Page(b"", ""))

    assert second.port == first.port
    first.stop()
    second.stop()


def test_a_port_in_use_is_an_error_of_the_constructor():
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(OSError, match="in use"):
        Server("127.0.0.1", other.getsockname()[1], lambda _: Page(b"", ""))


def test_a_request_that_has_come_is_answered_although_the_server_stops(serve):
    render = Slow()
    endpoint = serve(render)
    client = connect(endpoint, GET)
    assert render.begun.acquire(timeout=LONG)

    with background(endpoint.stop):
        wait_for(lambda: endpoint._listener.fileno() == -1, "the server to stop listening")
        render.allowed.release()
        answer = everything(client)

    assert answer.endswith(b"\r\n\r\n1")
    assert b"\r\nConnection: close\r\n" in answer
    with pytest.raises(OSError):
        connect(endpoint)


def test_stopping_does_not_wait_for_idle_clients_nor_for_ever_for_slow_ones(serve, monkeypatch):
    monkeypatch.setattr(server, "STOP_SECONDS", 0.2)
    endpoint = serve(lambda _: Page(b"x" * 5_000_000, "text/plain"))
    idle, deaf = connect(endpoint), connect(endpoint, GET)
    wait_for(lambda: len(endpoint._connections) == 2, "both clients")

    endpoint.stop()

    assert ours() == []
    assert idle.recv(1) == b""
    for client in (idle, deaf):
        client.close()


def test_stop_may_come_twice_and_without_start():
    endpoint = Server("127.0.0.1", 0, lambda _: Page(b"", ""))
    endpoint.stop()
    endpoint.stop()

    with socket.create_server(("127.0.0.1", endpoint.port)):
        pass


def test_a_server_that_gets_no_thread_lets_go_of_its_port():
    program = (
        "import resource, socket, threading\n"
        "from flowgauge.serving.pages import Page\n"
        "from flowgauge.serving.server import Server\n"
        'def refuse(*a): raise RuntimeError("can\'t start new thread")\n'
        "endpoint = Server('127.0.0.1', 0, lambda _: Page(b'', ''))\n"
        "threading._start_new_thread = refuse\n"
        "try: endpoint.start()\n"
        "except OSError as error: print(error)\n"
        "socket.create_server(('127.0.0.1', endpoint.port)).close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=LONG
    )

    assert (done.stdout, done.stderr) == ("[Errno 11] can't start new thread\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_lets_go_of_the_port_and_of_the_clients(serve):
    endpoint = serve()
    client = connect(endpoint, HEALTH)
    assert answered(client) == b"ok\n"
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        endpoint.let_go()
        os.write(writable, b"x")
        time.sleep(LONG)
        os._exit(0)
    try:
        assert os.read(readable, 1) == b"x"
        client.sendall(HEALTH)
        assert answered(client) == b"ok\n"  # the parent goes on
        endpoint.stop()
        assert client.recv(1) == b""
        with socket.create_server(("127.0.0.1", endpoint.port)):
            pass
    finally:
        client.close()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(readable)
        os.close(writable)


def test_a_forked_child_renders_although_the_parent_rendered_at_that_moment():
    render = Slow()
    metrics = answers.Metrics(render)
    asked = answers.Asked("GET", "", "", "")
    with background(lambda: metrics.wait(asked)):
        assert render.begun.acquire(timeout=LONG)
        pid = os.fork()
        if pid == 0:
            render.allowed.release()
            signal.alarm(LONG)
            os._exit(metrics.wait(asked).status - 200)
        render.allowed.release()

    assert os.waitpid(pid, 0)[1] == 0


def test_without_tls_and_credentials_neither_ssl_nor_a_framework_is_loaded():
    program = (
        "import sys\n"
        "import flowgauge.serving.server\n"
        "heavy = {'ssl', 'hashlib', 'asyncio', 'email', 'http.server', 'http.client', 'urllib.request',"
        " 'prometheus_client', 'inspect', 'dataclasses'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=LONG, check=True
    )

    assert done.stdout == "[]\n"
