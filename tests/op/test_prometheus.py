"""Prometheus as it answers over HTTP, and what speaks a part of its API only."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flowgauge_operator.prometheus import Prometheus
from flowgauge_operator.verify import Owner

UP = {
    "metric": {"__name__": "x", "namespace": "shop", "monitored_workflow": "orders", "up": "0"},
    "value": [0, "1"],
}
KNOWN = {"/api/v1/query": {"result": [UP]}, "/api/v1/rules": {"groups": []}}


@pytest.fixture
def layer():
    """A layer above several: it answers queries and rules, and `refused` to everything else."""

    class Layer(BaseHTTPRequestHandler):
        refused = 404
        known = KNOWN

        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            known = self.known.get(self.path.partition("?")[0])
            self.send_response(self.refused if known is None else 200)
            self.end_headers()
            answer = {"status": "success", "data": known}
            self.wfile.write(json.dumps(answer).encode() if known is not None else b"not found")

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Layer)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def observe(refused, known=KNOWN):
        Layer.refused, Layer.known = refused, known

        async def look():
            async with Prometheus(f"http://127.0.0.1:{server.server_port}") as prometheus:
                return await prometheus.observe([])

        return asyncio.run(look())

    yield observe
    server.shutdown()
    server.server_close()


def test_what_knows_no_scrape_jobs_and_targets_is_observed_all_the_same(layer):
    seen = layer(404)

    assert (seen.error, seen.pools) == ("", None)
    assert seen.targets == {Owner("shop", "orders"): (0, 1)}


def test_what_fails_is_not_taken_for_that(layer):
    assert "scrape_pools answered 503" in layer(503).error


@pytest.mark.parametrize("path", KNOWN)
@pytest.mark.parametrize("data", [{}, [], 7, {"result": [{}]}, {"groups": [{"name": 1}]}])
def test_what_speaks_another_api_ends_nothing(layer, path, data):
    assert "speaks another API" in layer(404, KNOWN | {path: data}).error
