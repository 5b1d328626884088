"""Set up monitoring in a process: choose the vocabulary, name what was measured, serve it."""

from __future__ import annotations

import errno
import logging
import os
import threading
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, ProcessCollector

from flowgauge import forks, settings
from flowgauge.collector import ProfileCollector
from flowgauge.exposition import Exposition
from flowgauge.profiles import Profile
from flowgauge.server import Server

_log = logging.getLogger("flowgauge")


class EndpointError(RuntimeError):
    """The endpoint cannot be served; the message names address, reason and remedy."""


class Observability:
    """Monitoring of this process, as `setup_observability` made it. A context manager that closes it."""

    def __init__(self, chosen: settings.Settings) -> None:
        self.settings = chosen
        self.registry = CollectorRegistry() if chosen.registry is None else chosen.registry
        self._collector = ProfileCollector(chosen.profile)
        self.registry.register(self._collector)
        if chosen.registry is None:
            ProcessCollector(registry=self.registry)
        self._collector.bind()
        self._server: Server | None = None

    @property
    def profile(self) -> Profile:
        """The vocabulary."""
        return self.settings.profile

    @property
    def serving(self) -> bool:
        """Whether the endpoint answers."""
        return self._server is not None

    @property
    def port(self) -> int | None:
        """The port that the endpoint listens on, also where port 0 was asked for; None without an endpoint."""
        return self._server.port if self._server else None

    @property
    def address(self) -> str | None:
        """The URL of the metrics, reachable from this machine; None without an endpoint."""
        if self._server is None:
            return None
        host = self.settings.host or "localhost"
        return f"http://{f'[{host}]' if ':' in host else host}:{self._server.port}/metrics"

    def serve(self) -> None:
        """Start the endpoint.

        Raises:
            EndpointError: the address cannot be listened on.

        """
        host, port = self.settings.host, self.settings.port
        try:
            server = Server(host, port, Exposition(self.registry).render)
        except OSError as error:
            raise EndpointError(_remedy(host, port, error)) from error
        server.start()
        self._server = server
        _log.info("metrics of profile %s at %s", self.profile.name, self.address)

    def close(self) -> None:
        """Stop the endpoint and give the registry free. What was measured stays, for the next set-up."""
        global _current  # noqa: PLW0603 - there is one endpoint to a process
        with _lock:
            if _current is self:
                _current = None
                self.registry.unregister(self._collector)
            server, self._server = self._server, None
        if server is not None:
            server.stop()

    def abandon(self) -> None:
        """Let go of the endpoint in a forked child, where its threads do not exist; the parent's goes on."""
        if self._server is not None:
            self._server.let_go()
            self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


_lock = threading.Lock()
_current: Observability | None = None


def setup_observability(
    *,
    profile: str | os.PathLike[str] | Profile | None = None,
    port: int | None = None,
    host: str | None = None,
    registry: CollectorRegistry | None = None,
    serve: bool = True,
    strict: bool = False,
) -> Observability:
    """Name what decorated functions measure, and serve it at `/metrics`, with `/healthz` beside it.

    Call it once, at the start of the program; what was measured before is kept. A second call with the
    same settings returns the same handle.

    `profile` is the name of a built-in profile, a path (with a slash or ending in .yaml), or a
    `Profile`; else `FLOWGAUGE_PROFILE`, else `workflow`. `port` 0 takes a free one; else
    `FLOWGAUGE_PORT`, else the profile's port if it is a number, else 9090. `host` is the address to
    listen on; else `FLOWGAUGE_HOST`, else all. `registry` is a registry to add the metrics to, which
    is then served as it is; the default is one of our own, with the metrics of the process.
    `serve=False` opens no port. An address that cannot be listened on is logged and the program goes
    on without an endpoint; with `strict` it is an error.

    Raises:
        ProfileError: the profile does not exist or is no profile.
        OSError: the profile's file cannot be read.
        ValueError: the port is no port, or `registry` has a metric of the same name already.
        RuntimeError: monitoring is set up already, with other settings.
        EndpointError: `strict`, and the address cannot be listened on.

    """
    chosen = settings.resolve(
        profile=profile,
        host=host,
        port=port,
        serve=serve,
        registry=registry,
        environment=os.environ,
    )
    with _lock:
        return _set_up(chosen, strict=strict)


def _set_up(chosen: settings.Settings, *, strict: bool) -> Observability:
    global _current  # noqa: PLW0603 - there is one endpoint to a process
    if _current is not None:
        if _current.settings == chosen:
            return _current
        raise RuntimeError(
            f"monitoring is set up already ({_described(_current.settings)}), and now other settings were given "
            f"({_described(chosen)}); call setup_observability once, or close() the first handle before",
        )
    made = Observability(chosen)
    if chosen.serve:
        try:
            made.serve()
        except EndpointError as error:
            if strict:
                made.registry.unregister(made._collector)  # noqa: SLF001
                raise
            _log.error("%s. The program goes on without /metrics", error)
    _current = made
    return made


def _described(chosen: settings.Settings) -> str:
    where = f"host {chosen.host!r}, port {chosen.port}" if chosen.serve else "no endpoint"
    return f"profile {chosen.profile.name!r}, {where}"


def _remedy(host: str, port: int, error: OSError) -> str:
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno == errno.EADDRINUSE:
        remedy = "stop what uses the port, or choose another with FLOWGAUGE_PORT or port=; 0 takes a free one"
    elif error.errno == errno.EACCES:
        remedy = "choose a port above 1023 with FLOWGAUGE_PORT or port="
    else:
        remedy = (
            "set FLOWGAUGE_HOST or host= to an address of this machine, or leave it empty for all"
        )
    return f"cannot serve metrics on port {port} of {host or 'all addresses'}: {reason}; {remedy}"


def _reset() -> None:
    global _current, _lock  # noqa: PLW0603 - there is one endpoint to a process
    _lock = threading.Lock()
    if _current is not None:
        _current.abandon()
        _current = None


forks.on_fork(_reset)
