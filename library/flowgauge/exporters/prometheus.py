"""Expose metrics to Prometheus as text, or from an endpoint of one's own.

    exporter = PrometheusExporter(prefix="myapp")
    exporter.export(collector.collect_all())
    exporter.get_metrics_text()

It sends nothing: Prometheus comes and reads what was exported last. `setup_observability` serves what the whole
program measures; this is for a collector by itself.
"""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from flowgauge import forks
from flowgauge.exposition import Exposition
from flowgauge.metrics import MetricFamily, Source

if TYPE_CHECKING:
    from flowgauge.serving.pages import Page
    from flowgauge.serving.server import Server

PORT: Final = 9090

_PREFIX: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)


class PrometheusExporter:
    """Keeps the families of the last `export` and renders them.

    `prefix` and an underscore come before each name: `myapp` makes `myapp_requests_total` of `requests_total`. Making
    an exporter opens no port; `start` listens on `port`, 0 for one that is free, at `host`, empty for all addresses.

    Raises:
        ValueError: the prefix or the port cannot be right.

    """

    def __init__(self, prefix: str = "", port: int = PORT, *, host: str = "") -> None:
        if prefix and not _PREFIX.fullmatch(prefix):
            raise ValueError(
                f"prefix is {prefix!r}, must be letters, digits and _, not a digit first, such as 'myapp'"
            )
        if not isinstance(port, int) or not 0 <= port <= 65535:
            raise ValueError(f"port is {port!r}, must be a number from 0 to 65535")
        self._prefix = f"{prefix.rstrip('_')}_" if prefix else ""
        self._address = (host, port)
        self._families: list[MetricFamily] = []
        self._exposition = Exposition(lambda: self._families)
        self._server: Server | None = None
        self._lock = threading.Lock()
        _all.add(self)

    @property
    def port(self) -> int:
        """The port that `start` listens on, or that was asked for."""
        server = self._server
        return server.port if server else self._address[1]

    def export(self, families: Iterable[MetricFamily]) -> None:
        """Show these families from now on, instead of those of the last call.

        Two that share a name become one; Prometheus would else refuse the whole page.
        """
        named = [family._replace(name=self._prefix + family.name) for family in families]
        if len({family.name for family in named}) < len(named):
            from flowgauge import readings  # noqa: PLC0415 - few collectors share names

            named = readings.combined(named)
        self._families = named

    def get_metrics_text(self) -> str:
        """The page in the plain text format; empty before the first export."""
        return self.render().body.decode()

    def render(self, accept: str = "") -> Page:
        """The page for a scrape with this `Accept` header; empty means the plain text format."""
        return self._exposition.render(accept)

    def start(self, collector: Source | None = None, *, path: str = "/metrics") -> Self:
        """Serve the page at `path`. With a `collector`, each scrape exports it anew; else it is the last export.

        Raises:
            OSError: the address cannot be listened on.
            RuntimeError: it serves already.

        """
        from flowgauge.serving.server import Server  # noqa: PLC0415 - only who serves needs it

        def render(accept: str) -> Page:
            if collector is not None:
                self.export(collector.collect())
            return self.render(accept)

        with self._lock:
            if self._server is not None:
                raise RuntimeError(
                    f"the exporter serves port {self.port} already; close() it before"
                )
            server = Server(*self._address, render, path=path)
            server.start()
            self._server = server
        return self

    def close(self) -> None:
        """Stop serving, if it does. May be called twice."""
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _forked(self) -> None:
        """Leave the endpoint to the parent: its threads do not exist here."""
        self._lock = threading.Lock()
        server, self._server = self._server, None
        if server is not None:
            server.let_go()


_all: weakref.WeakSet[PrometheusExporter] = weakref.WeakSet()


def _forked() -> None:
    for exporter in list(_all):
        exporter._forked()  # noqa: SLF001 - the hook is this module's


forks.on_fork(_forked)
