import gzip
import http.client
import socket
import threading
import time

import pytest

import flowgauge
from flowgauge import server
from flowgauge.exposition import Page


def ask(handle, path="/metrics", method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", handle.port, timeout=5)
    try:
        connection.request(
            method, path, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


class Flaky:
    broken = False

    def collect(self):
        if self.broken:
            raise RuntimeError
        return []


def test_metrics_and_health_are_served_and_nothing_else(observe):
    handle = observe()

    assert [
        ask(handle, path)[0].status
        for path in ("/metrics", "/metrics?x=1", "/healthz", "/", "/metrics/x")
    ] == [
        200,
        200,
        200,
        404,
        404,
    ]
    assert ask(handle, "/healthz")[1] == b"ok\n"
    assert ask(handle, method="POST")[0].status == 501


def test_head_has_the_headers_and_no_body(observe):
    response, body = ask(observe(), method="HEAD")

    assert response.status == 200
    assert int(response.headers["Content-Length"]) > 100
    assert body == b""


def test_the_format_is_the_one_that_the_scraper_asks_for(observe):
    handle = observe()

    text, _ = ask(handle, Accept="text/plain;version=0.0.4")
    openmetrics, body = ask(
        handle, Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    )

    assert text.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert openmetrics.headers["Content-Type"].startswith(
        "application/openmetrics-text; version=1.0.0"
    )
    assert body.endswith(b"# EOF\n")


@pytest.mark.parametrize(
    ("accepts", "packed"),
    [
        ("gzip", True),
        ("deflate, gzip;q=0.5", True),
        ("*", True),
        ("gzip;q=0", False),
        ("gzip;q=nonsense", False),
        ("deflate", False),
        ("", False),
    ],
)
def test_the_body_is_packed_only_if_the_client_allows_it(observe, accepts, packed):
    response, body = ask(observe(), Accept_Encoding=accepts)

    assert (response.headers["Content-Encoding"] == "gzip") == packed
    assert b"flowgauge_library_info" in (gzip.decompress(body) if packed else body)


def test_a_collector_that_fails_is_an_error_of_the_server_and_the_next_scrape_works(observe):
    handle = observe()
    collector = Flaky()
    handle.registry.register(collector)

    collector.broken = True
    failed = ask(handle)[0].status
    collector.broken = False

    assert (failed, ask(handle)[0].status) == (500, 200)


def slow_clients(port, count, first=b"GET /metr"):
    clients = []
    for _ in range(count):
        clients.append(socket.create_connection(("127.0.0.1", port), timeout=5))
        clients[-1].sendall(first)
    return clients


def test_fifty_slow_clients_do_not_stop_a_scrape(observe, name):
    handle = observe()
    with flowgauge.run(name):
        pass
    clients = slow_clients(handle.port, 50)

    try:
        begun = time.perf_counter()
        response, body = ask(handle)
        took = time.perf_counter() - begun
        threads = threading.active_count()
    finally:
        for client in clients:
            client.close()

    assert response.status == 200
    assert name.encode() in body
    assert took < 1.0
    assert threads < server.CONNECTIONS + 10


def test_clients_that_do_not_read_do_not_stop_a_scrape():
    big = Page(b"x" * 5_000_000, "text/plain")
    endpoint = server.Server("127.0.0.1", 0, lambda _: big)
    endpoint.start()
    clients = slow_clients(endpoint.port, 20, b"GET /metrics HTTP/1.1\r\n\r\n")

    try:
        connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=5)
        connection.request("GET", "/metrics")
        assert len(connection.getresponse().read()) == 5_000_000
        connection.close()
    finally:
        for client in clients:
            client.close()
        endpoint.stop()


def test_a_client_that_never_finishes_its_request_is_cut_off(observe, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.2)
    [client] = slow_clients(observe().port, 1)

    with client:
        for _ in range(20):  # one byte at a time, each in time for itself
            time.sleep(0.1)
            try:
                client.sendall(b"i")
            except OSError:
                break
        else:
            pytest.fail("the client was never cut off")


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"G" * 70_000, b"\r\n" * 10]
)
def test_garbage_neither_stops_the_server_nor_fills_the_log(observe, garbage, caplog):
    handle = observe()
    with socket.create_connection(("127.0.0.1", handle.port), timeout=5) as client:
        client.sendall(garbage)
        client.shutdown(socket.SHUT_WR)

    assert ask(handle)[0].status == 200
    assert [r for r in caplog.records if r.levelname != "INFO"] == []


def test_a_workflow_runs_while_it_is_scraped_without_pause(observe, name):
    handle = observe()
    stop = threading.Event()
    statuses = []

    def scrape():
        while not stop.is_set():
            statuses.append(ask(handle)[0].status)

    thread = threading.Thread(target=scrape)
    thread.start()
    with flowgauge.run(name):
        for _ in range(20_000):
            with flowgauge.stepping("s"):
                pass
    stop.set()
    thread.join()

    assert set(statuses) == {200}
    labels = {"workflow": name, "step": "s", "status": "success"}
    assert handle.registry.get_sample_value("workflow_steps_total", labels) == 20_000
