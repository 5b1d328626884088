"""One real Prometheus without a cluster, which scrapes what it is told to."""

from __future__ import annotations

import contextlib
import socket
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rig import fetch, scratch, waiting
from rig.process import Process
from rig.pytest_plugin import binary

_CONFIGURATION = """\
global:
  scrape_interval: {interval}
  evaluation_interval: 250ms
{rules}
scrape_configs:
- job_name: test
{job}
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


class Prometheus:
    """Questions to a running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **parameters: Any) -> Any:
        """The data that a call of the HTTP API gives."""
        found = fetch.json_of(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        if found["status"] != "success":
            raise RuntimeError(f"{path} {parameters}: {found}")
        return found["data"]

    def series(self, query: str) -> list[tuple[dict[str, str], float]]:
        """Label sets with their values."""
        found = self.ask("query", query=query)
        if found["resultType"] == "scalar":
            return [({}, float(found["result"][1]))]
        return [(sample["metric"], float(sample["value"][1])) for sample in found["result"]]

    def wait_series(self, query: str, seconds: float = 30) -> list[tuple[dict[str, str], float]]:
        """Wait for an answer with series."""
        return waiting.wait_for(lambda: self.series(query), seconds, f"an answer to {query}")

    def wait_healthy(self, seconds: float = 15) -> None:
        """Wait until its one target was scraped without an error: a busy machine may miss a scrape, but not all of them."""

        def state() -> tuple[str, str]:
            (target,) = self.ask("targets")["activeTargets"]
            return target["health"], target["lastError"]

        waiting.wait_for(
            lambda: state() == ("up", ""), seconds, lambda: f"a good scrape; it is {state()}"
        )


@contextlib.contextmanager
def prometheus(
    port: int, *, job: str = "", rules: str = "", interval: str = "250ms"
) -> Iterator[Prometheus]:
    """Run Prometheus, scraping this port of the loopback; `job` are lines of its job, `rules` a file of rules.

    A scrape may last as long as the interval: large pages want a longer one, or a busy machine never gets them.
    """
    with scratch.folder() as run:
        files = ""
        if rules:
            Path(run / "rules.yaml").write_text(rules, encoding="utf-8")
            files = f"rule_files: ['{run / 'rules.yaml'}']"
        lines = "\n".join(f"  {line}" for line in job.splitlines())
        configuration = _CONFIGURATION.format(port=port, job=lines, rules=files, interval=interval)
        with served(configuration, run) as found:
            yield found


@contextlib.contextmanager
def served(
    configuration: str, run: Path, *, port: int = 0, keeps: str = ""
) -> Iterator[Prometheus]:
    """Run Prometheus on the loopback, on what the folder `tsdb` of this folder holds already.

    `keeps` is for how long data is kept, where it is older than Prometheus keeps it by default.
    """
    own, file = port or free_port(), run / "prometheus.yaml"
    file.write_text(configuration, encoding="utf-8")
    command: list[str | Path] = [
        binary("prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={run / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{own}",
        *([f"--storage.tsdb.retention.time={keeps}"] if keeps else []),
        "--enable-feature=exemplar-storage",
    ]
    process = Process("prometheus", command, log=run / "prometheus.log")
    process.start()
    url = f"http://127.0.0.1:{own}"
    try:
        process.wait_ready(lambda: fetch.is_ok(f"{url}/-/ready"), 60)
        yield Prometheus(url)
    finally:
        process.stop()


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
    return number
