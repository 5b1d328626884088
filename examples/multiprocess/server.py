"""A server of several processes, as gunicorn and uWSGI are: one listens and watches, the others answer.

Every worker serves the metrics of all of them on one port. Kill one, and its counts stay; a new one takes its place.
"""

import logging
import os
import signal
import socket
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import flowgauge

WORKERS = int(os.environ.get("SERVER_WORKERS", "2"))
PORT = int(os.environ.get("SERVER_PORT", "8080"))

log = logging.getLogger("server")
requests = flowgauge.counter("http_requests_total", "Requests.", labels=["status"])
busy = flowgauge.gauge(
    "http_requests_in_progress", "Requests that are being answered, of all workers."
)


class Handler(BaseHTTPRequestHandler):
    """Answers /?seconds=0.5 after half a second."""

    def do_GET(self) -> None:
        """One request, which is a run."""
        busy.inc()
        try:
            with flowgauge.run("request", trigger="api"):
                time.sleep(float(self.path.partition("seconds=")[2] or 0))
            status = 200
        except ValueError:
            status = 400
        finally:
            busy.dec()
        requests.inc(status=status)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(f"process {os.getpid()}\n".encode())

    def log_message(self, *_: object) -> None:
        """Nothing for each request."""


def work(listener: socket.socket) -> None:
    """What a worker does until it is ended."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # After the fork: each worker has an endpoint of its own, and they share the port.
    flowgauge.setup_observability()
    server = HTTPServer(listener.getsockname(), Handler, bind_and_activate=False)
    server.socket = listener
    server.serve_forever()


def main() -> None:
    """Keep as many workers as there should be, until SIGTERM."""
    logging.basicConfig(level=logging.INFO)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    workers: set[int] = set()
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("", PORT)) as listener:
        # The workers inherit the directory.
        os.environ.setdefault("FLOWGAUGE_MULTIPROCESS_DIR", folder)
        try:
            while True:
                while len(workers) < WORKERS:
                    pid = os.fork()
                    if not pid:
                        work(listener)
                    workers.add(pid)
                pid, status = os.wait()
                workers.discard(pid)
                log.warning("worker %d ended (%d); starting another", pid, status)
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGTERM)


if __name__ == "__main__":
    main()
