"""What an hour of each tool's rules costs a real Prometheus with a month of history: CPU of its process.

Every rule's expression is asked as an instant query, at instants of the last hour, as often as it takes to be measured.
What as many empty queries cost is subtracted, since a server that evaluates rules answers no requests.
"""

from __future__ import annotations

import http.client
import random
import socket
import statistics
import subprocess
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import usage
from benchmarks.rules.peers import Tool
from benchmarks.rules.scraping import METRIC, OWNER, STATUSES

from flowgauge_operator import duration
from rig import fetch, tools
from rig.process import Process

PODS, INTERVAL, DAYS = 10, 30, 31
ENOUGH = 0.4  # CPU seconds of a sample
END = 1_700_000_000


@dataclass(frozen=True)
class Cost:
    """CPU seconds for each hour, and the rules and series of one objective."""

    tool: str
    seconds: float
    least: float
    most: float
    rules: int
    series: int


def costs(made: Sequence[Tool], folder: Path, *, rounds: int, days: int = DAYS) -> list[Cost]:
    """Measure in turns; medians over the rounds."""
    scrapes = folder / "month.txt"
    with scrapes.open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in _month(made, days))
    storage = folder / "month"
    command = [tools.path("replay"), "-blocks", "-scrapes", scrapes, "-storage", storage]
    subprocess.run([str(word) for word in command], check=True)
    scrapes.unlink()
    dice, found = random.Random(1), {tool.name: [] for tool in made}  # noqa: S311
    with _server(storage, folder) as server:
        for _ in range(rounds):
            for tool in dice.sample(list(made), len(made)):
                found[tool.name].append(_hour(tool, server, dice))
    return [
        Cost(
            tool.name,
            statistics.median(found[tool.name]),
            min(found[tool.name]),
            max(found[tool.name]),
            len(tool.rules),
            sum("record" in rule for rule in tool.rules),
        )
        for tool in made
    ]


class _Server:
    def __init__(self, port: int, pid: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self._pid = pid

    def ask(self, expr: str, at: float) -> None:
        query = urllib.parse.urlencode({"query": expr, "time": at})
        self._connection.request("GET", f"/api/v1/query?{query}")
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status != http.client.OK:
            raise RuntimeError(f"{expr}: {text[:500]!r}")

    def cpu(self) -> float:
        return usage.cpu(self._pid)

    def measure(self, exprs: Sequence[str], dice: random.Random) -> float:
        """CPU seconds of evaluating each of these once."""
        return self._each(exprs, dice) - self._each(["vector(1)"], dice) * len(exprs)

    def _each(self, exprs: Sequence[str], dice: random.Random) -> float:
        times, began = 0, self.cpu()
        while (used := self.cpu() - began) < ENOUGH or times < 2:
            at = END - dice.random() * 3600
            for expr in exprs:
                self.ask(expr, at)
            times += 1
        return used / times


def _hour(tool: Tool, server: _Server, dice: random.Random) -> float:
    return sum(
        server.measure([rule["expr"] for rule in group["rules"]], dice)
        * 3600
        / duration.seconds(group["interval"])
        for group in tool.groups
    )


@contextmanager
def _server(storage: Path, folder: Path) -> Iterator[_Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    configuration = folder / "prometheus.yaml"
    configuration.write_text("global: {}\n", encoding="utf-8")
    process = Process(
        "prometheus",
        [
            str(tools.path("prometheus")),
            f"--config.file={configuration}",
            f"--storage.tsdb.path={storage}",
            "--storage.tsdb.retention.time=20y",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        log=folder / "prometheus.log",
    )
    process.start()
    try:
        process.wait_ready(lambda: fetch.is_ok(f"http://127.0.0.1:{port}/-/ready"), 120)
        yield _Server(port, process.pid or 0)
    finally:
        process.stop()


def _month(made: Sequence[Tool], days: int) -> Iterator[str]:
    """Counters of ten pods, and what each tool has recorded meanwhile: its records with a value for each evaluation.

    Evaluating all of that first would take longer than the measurement and change no figure: what a sum costs depends on
    how many samples there are.
    """
    begin = END - days * 86400
    sets = [
        {"__name__": METRIC, **OWNER, "status": status, "pod": f"orders-{pod}"}
        for pod in range(PODS)
        for status in STATUSES
    ]
    every = [INTERVAL] * len(sets)
    for tool in made:
        for group in tool.groups:
            for rule in group["rules"]:
                if "record" in rule:
                    sets.append({"__name__": rule["record"], **rule.get("labels", {})})
                    every.append(int(duration.seconds(group["interval"])))
    yield from (f"series {i} {_json(labels)}" for i, labels in enumerate(sets))
    yield f"until {END * 1000}"
    dice = random.Random(2)  # noqa: S311
    counts = [0] * (PODS * len(STATUSES))
    for at in range(begin, END + 1, INTERVAL):
        for i in range(len(counts)):
            counts[i] += dice.random() < (0.2 if i % 2 == 0 else 0.002)
            yield f"{at * 1000 + 7 * i} {i} {counts[i]}"
        for i in range(len(counts), len(sets)):
            if at % every[i] == 0:
                yield f"{at * 1000 + 1000 + i} {i} {dice.randrange(9) / 30}"


def _json(labels: dict[str, str]) -> str:
    pairs = ", ".join(f'"{key}": "{value}"' for key, value in labels.items())
    return f"{{{pairs}}}"
