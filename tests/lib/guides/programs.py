"""Runs the programs of the pages beside this file, each in a process of its own, and reads the metrics that they serve.

What a test changes in a program is a port, an address, or how long it sleeps. Names that an excerpt takes for granted
come before it.
"""

import contextlib
import http.server
import os
import re
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families as parse

# Excerpts await where no function is.
RUNNER = """
import ast, asyncio, inspect, pathlib, sys
code = compile(pathlib.Path(sys.argv[1]).read_text("utf-8"), sys.argv[1], "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
result = eval(code, vars(sys.modules["__main__"]))
if code.co_flags & inspect.CO_COROUTINE:
    asyncio.run(result)
"""
MARK = "---- page ----\n"


def programs(system):
    """The programs of a system's users by name."""
    text = (Path(__file__).parent / f"{system}.txt").read_text(encoding="utf-8")
    _, *parts = re.split(r"^==== (.+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextlib.contextmanager
def started(text, *, before="", after="", changes=(), **environment):
    """A program that runs."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FLOWGAUGE_", "METRICS_"))}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "program.py"
        parts = [textwrap.dedent(before), text, textwrap.dedent(after)]
        file.write_text("\n".join(parts), encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", RUNNER, str(file)],
            env={**kept, "FLOWGAUGE_HOST": "127.0.0.1", **environment},
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def run(text, *, logged="", **options):
    """What a program printed, having come to its end; `logged` matches what it wrote to its log."""
    with started(text, **options) as process:
        out, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert re.fullmatch(logged, errors, re.DOTALL), errors
    return out


def page_of(port):
    """What a program does at its end to print its page."""
    return "\n".join(
        (
            "import urllib.request",
            f"print({MARK!r}, end='')",
            f"print(urllib.request.urlopen('http://127.0.0.1:{port}/metrics').read().decode(), end='')",
        )
    )


def printed(out):
    """The page that a program printed at its end."""
    return Page(out.partition(MARK)[2])


class Page:
    """A page as text, and what a parser of somebody else reads in it."""

    def __init__(self, text):
        self.text = text
        self.lines = text.splitlines()
        self.samples = [sample for family in parse(text) for sample in family.samples]

    def value(self, name, /, **labels):
        """The value of the one sample with exactly these labels; None where there is none."""
        found = [s.value for s in self.samples if s.name == name and s.labels == labels]
        assert len(found) <= 1, f"{name}{labels} stands {len(found)} times"
        return found[0] if found else None

    def bounds(self, name, **labels):
        """The bounds of a histogram, as they are written."""
        return [
            s.labels["le"]
            for s in self.samples
            if s.name == f"{name}_bucket" and labels.items() <= s.labels.items()
        ]

    def lacks(self, expected):
        """The comments, and the names and labels of samples, of an expected page that are not in this one."""
        series = {_key(sample) for sample in self.samples}
        wanted = [_key(s) for family in parse(expected) for s in family.samples]
        assert wanted or "#" in expected
        return [
            *(line for line in expected.splitlines() if line[:1] == "#" and line not in self.lines),
            *(key for key in wanted if key not in series),
        ]


def _key(sample):
    return (sample.name, *sorted(sample.labels.items()))


def get(address):
    """Read an address of a server that may still be starting."""
    until = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5) as response:
                return response.read().decode()
        except urllib.error.HTTPError:
            raise
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


@contextlib.contextmanager
def receiver(answer=b'{"status": "ok"}'):
    """A web server that takes everything that is posted: its port, and the bodies with their paths."""
    bodies = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1], bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
