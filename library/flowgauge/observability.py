"""Set up monitoring in a process: choose the vocabulary, name what was measured, serve it."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from flowgauge import cells, forks, profiles, settings, slots
from flowgauge.background import background
from flowgauge.exposition import Exposition
from flowgauge.metrics import MetricFamily
from flowgauge.profiles import Profile
from flowgauge.serving.pages import Page
from flowgauge.serving.server import Server
from flowgauge.view import View

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from flowgauge.serving.auth import Auth
    from flowgauge.serving.tls import Tls

_log = logging.getLogger("flowgauge")


class EndpointError(RuntimeError):
    """The endpoint cannot be served; the message names address, reason and remedy."""


class Observability:
    """Monitoring of this process, as `setup_observability` made it. A context manager that closes it."""

    def __init__(self, chosen: settings.Settings) -> None:
        self.settings = chosen
        # A registry of prometheus_client has these already, or does not want them.
        process = chosen.process and chosen.registry is None
        self._view = View(
            chosen.profile,
            native=chosen.native,
            objective=chosen.objective,
            more=_process_sources() if process else (),
        )
        self._exposition = Exposition(self._view.collect)
        self._unregister: Callable[[], None] = _nothing
        if chosen.registry is not None:
            foreign, self._unregister = _registered(self._view, chosen.registry)
            self._exposition = Exposition(self._view.collect, foreign)
        self._view.bind()
        if chosen.exemplars:
            from flowgauge.tracing.spans import exemplar_labels  # noqa: PLC0415 - few programs trace

            cells.trace(exemplar_labels)
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
        scheme = "https" if self.settings.tls else "http"
        address = f"[{host}]" if ":" in host else host
        return f"{scheme}://{address}:{self._server.port}{self.settings.path}"

    def collect(self) -> list[MetricFamily]:
        """Everything that this process measured, at this instant; for exporters."""
        return self._view.collect()

    def value(self, name: str, **labels: str) -> float | None:
        """The number of one series, for tests; of a histogram or summary the count. None if there is none.

        An empty label is as good as none.
        """
        wanted = {n: v for n, v in labels.items() if v}
        for family in self.collect():
            if family.name == name:
                for key, value in zip(family.keys, family.values, strict=True):
                    found = {n: v for n, v in zip(family.labels, key, strict=True) if v}
                    if found == wanted:
                        return value if isinstance(value, float | int) else float(value.count)
        return None

    def render(self, accept: str = "") -> Page:
        """The page for a scrape with this `Accept` header; empty means the plain text format."""
        return self._exposition.render(accept)

    def every(self, seconds: float, sampler: Callable[[], object]) -> None:
        """Call `sampler` every `seconds` from a thread of ours, for what has to be asked for, such as a queue's depth.

        Raises:
            ValueError: `seconds` is not above 0.

        """
        background.every(seconds, sampler)

    def serve(self) -> None:
        """Start the endpoint.

        Raises:
            EndpointError: the address cannot be listened on.

        """
        s = self.settings
        slots.settle()
        try:
            server = Server(
                s.host,
                s.port,
                self.render,
                path=s.path,
                tls=s.tls,
                auth=s.auth,
                ready=s.ready,
                # Each of several processes answers for all of them, so they can share the port.
                share=slots.is_shared() and s.port > 0,
            )
            server.start()
        except OSError as error:
            raise EndpointError(_remedy(s.host, s.port, error)) from error
        self._server = server
        _log.info("metrics of profile %s at %s", self.profile.name, self.address)

    def close(self) -> None:
        """Stop the endpoint and give the registry free. What was measured stays, for the next set-up."""
        global _current  # noqa: PLW0603 - there is one endpoint to a process
        with _lock:
            if _current is self:
                _current = None
                self._unregister()
                self._view.unbind()
                background.stop()
                if self.settings.exemplars:
                    cells.trace(None)
            server, self._server = self._server, None
        if server is not None:
            server.stop()

    def abandon(self) -> None:
        """Let go of the endpoint in a forked child, where its threads do not exist; the parent's goes on."""
        if self._server is not None:
            self._server.let_go()
            self._server = None

    def discard(self) -> None:
        """Give the registry free, where the set-up failed."""
        self._unregister()

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
# How to leave the registries that the parent of a forked child had set up. The child leaves them when it sets up
# itself: the lock of a registry may be held by a thread that the child does not have.
_abandoned: list[Callable[[], None]] = []


def setup_observability(
    *,
    profile: str | os.PathLike[str] | Profile | None = None,
    port: int | None = None,
    host: str | None = None,
    path: str | None = None,
    registry: CollectorRegistry | None = None,
    serve: bool = True,
    strict: bool = False,
    native_histograms: bool | None = None,
    exemplars: bool | None = None,
    objective: float = 99.0,
    process_metrics: bool = True,
    multiprocess_dir: str | os.PathLike[str] | None = None,
    tls: Tls | None = None,
    auth: Auth | None = None,
    ready: Callable[[], bool] | None = None,
) -> Observability:
    """Name what decorated functions measure, and serve it at `/metrics`, with `/healthz` beside it.

    Call it once, at the start of the program; what was measured before is kept. A second call with the
    same settings returns the same handle.

    `profile` is the name of a built-in profile, a path (with a slash or ending in .yaml), or a
    `Profile`; else `FLOWGAUGE_PROFILE`, else `workflow`. `port` 0 takes a free one; else
    `FLOWGAUGE_PORT`, else the profile's port if it is a number, else 9090. `host` is the address to
    listen on; else `FLOWGAUGE_HOST`, else all. `path` is that of the metrics; else `FLOWGAUGE_PATH`,
    else the profile's. `tls` and `auth` protect the endpoint; else `FLOWGAUGE_TLS_...` and
    `FLOWGAUGE_AUTH_...` name their files. `ready` is what `/readyz` asks. `serve=False` opens no port.
    An address that cannot be listened on is logged and the program goes on without an endpoint; with
    `strict` it is an error.

    `registry` is a registry of prometheus_client to add the metrics to, which is then served as a
    whole. `process_metrics` are CPU, memory and files of the process and the garbage collector's work;
    a registry of yours has them if it wants them.

    `native_histograms` (else `FLOWGAUGE_NATIVE_HISTOGRAMS`) adds native histograms for a Prometheus
    that asks for them. `exemplars` (else `FLOWGAUGE_EXEMPLARS`) links durations to the traces in which
    they were measured, in OpenMetrics. `objective`, in percent, is what vocabularies that tell SLO
    compliance themselves compare with. `multiprocess_dir` (else `FLOWGAUGE_MULTIPROCESS_DIR`, which
    child processes inherit) makes several processes one program: each of them serves the numbers of all.

    Raises:
        ProfileError: the profile does not exist or is no profile.
        OSError: the profile's file cannot be read, or the directory cannot be written to.
        ValueError: a value is none that the setting can have, or `registry` has a metric of the same name already.
        RuntimeError: monitoring is set up already, with other settings.
        EndpointError: `strict`, and the address cannot be listened on.

    """
    chosen = settings.resolve(
        profile=profile,
        host=host,
        port=port,
        path=path,
        serve=serve,
        registry=registry,
        native_histograms=native_histograms,
        exemplars=exemplars,
        objective=objective,
        process_metrics=process_metrics,
        tls=tls,
        auth=auth,
        ready=ready,
        environment=os.environ,
    )
    if multiprocess_dir is not None:
        from flowgauge import multiprocess  # noqa: PLC0415 - few programs are several processes

        os.environ[slots.MULTIPROCESS] = multiprocess.share(os.fspath(multiprocess_dir))
    else:
        slots.choose()
    with _lock:
        return _set_up(chosen, strict=strict)


def current() -> Observability | None:
    """What was set up in this process."""
    return _current


def collect_current(profile: str | None = None) -> list[MetricFamily]:
    """Everything that this process measured, in the names of what was set up, or of `profile` if nothing was."""
    made = _current
    return made.collect() if made is not None else list(_unset(profile)[0].collect())


def render_current(accept: str = "", profile: str | None = None) -> Page:
    """The page of what was set up in this process, or in the names of `profile` if nothing was."""
    made = _current
    return made.render(accept) if made is not None else _unset(profile)[1].render(accept)


def _unset(profile: str | None) -> tuple[View, Exposition]:
    name = profile or os.environ.get(settings.PROFILE) or profiles.DEFAULT
    made = _unset_views.get(name)
    if made is None:
        view = View(settings.resolve(profile=name, environment={}).profile, more=_process_sources())
        made = _unset_views[name] = (view, Exposition(view.collect))
        view.bind()
    return made


_unset_views: dict[str, tuple[View, Exposition]] = {}


def _set_up(chosen: settings.Settings, *, strict: bool) -> Observability:
    global _current  # noqa: PLW0603 - there is one endpoint to a process
    if _current is not None:
        if _current.settings == chosen:
            return _current
        raise RuntimeError(
            f"monitoring is set up already ({_described(_current.settings)}), and now other settings were given "
            f"({_described(chosen)}); call setup_observability once, or close() the first handle before",
        )
    while _abandoned:
        with contextlib.suppress(KeyError):  # somebody else took it out
            _abandoned.pop()()
    made = Observability(chosen)
    if chosen.serve:
        try:
            made.serve()
        except EndpointError as error:
            if strict:
                made.discard()
                raise
            _log.error("%s. The program goes on without %s", error, chosen.path)
    _current = made
    return made


def _process_sources() -> tuple[Callable[[], Any], ...]:
    from flowgauge import process  # noqa: PLC0415 - a name of this module would hide it

    def usage() -> Iterator[MetricFamily]:
        if slots.is_shared():
            # Whoever is asked tells what all use: numbers of one at a time would make no sense.
            from flowgauge import multiprocess  # noqa: PLC0415 - few programs are several processes

            yield from process.families(*multiprocess.usage())
            yield from process.interpreter(of_several=True)
        else:
            yield from process.families()
            yield from process.interpreter()

    return (usage,)


def _registered(
    view: View, registry: CollectorRegistry
) -> tuple[Callable[[bool], bytes], Callable[[], None]]:
    """How to render the rest of the registry, and how to leave it."""
    # Imported here, because everything else works where prometheus_client is not installed.
    from prometheus_client import exposition  # noqa: PLC0415
    from prometheus_client.openmetrics import exposition as openmetrics_exposition  # noqa: PLC0415

    from flowgauge.collector import ViewCollector  # noqa: PLC0415

    collector = ViewCollector(view)
    registry.register(collector)

    def rest(in_openmetrics: bool) -> bytes:
        collector.mute()
        try:
            if in_openmetrics:
                return bytes(openmetrics_exposition.generate_latest(registry))  # type: ignore[no-untyped-call]
            return exposition.generate_latest(registry)
        finally:
            collector.unmute()

    return rest, lambda: registry.unregister(collector)


def _nothing() -> None:
    """There is no registry to leave."""


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
        _abandoned.append(_current.discard)
        _current = None


forks.on_fork(_reset)
