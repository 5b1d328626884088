"""`python -m flowgauge_operator`, also installed as `flowgauge-operator`: wire the parts together and run."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys

from flowgauge_operator import credentials, settings
from flowgauge_operator.cluster import Cluster
from flowgauge_operator.credentials import Credentials, CredentialsError
from flowgauge_operator.leader import Elector, Lost, Timing
from flowgauge_operator.lease import LeaseStore
from flowgauge_operator.operation import Operation
from flowgauge_operator.server import Server, ServerError
from flowgauge_operator.settings import Settings
from flowgauge_operator.shell import ShellFailed
from flowgauge_operator.telemetry import Telemetry
from flowgauge_operator.transport import Pace

logger = logging.getLogger("flowgauge_operator")


def main() -> None:
    """Run until SIGTERM or SIGINT. Exit code 0 after those, 1 on failure, 2 on wrong settings."""
    chosen = settings.parse(sys.argv[1:], os.environ)
    _log(chosen)
    try:
        found = credentials.load(os.environ)
        asyncio.run(_run(chosen, found))
    except (CredentialsError, ServerError) as error:
        logger.error("%s", error)  # noqa: TRY400 - the message says all
        raise SystemExit(1) from error
    except (Lost, ShellFailed) as error:
        logger.error("Ending: %s", error)  # noqa: TRY400
        raise SystemExit(1) from error


async def _run(chosen: Settings, found: Credentials) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    telemetry = Telemetry()
    pace = Pace(qps=chosen.kube_api_qps, burst=chosen.kube_api_burst, workers=chosen.workers)
    identity = os.environ.get("POD_UID") or f"{socket.gethostname()}-{os.getpid()}"
    instance = os.environ.get("POD_NAME") or socket.gethostname()
    async with Cluster(found, pace=pace, observe=telemetry.observe_request) as cluster:
        operation = Operation(chosen, found, cluster, telemetry, instance)
        server = Server(
            chosen.listen_host,
            chosen.listen_port,
            live=operation.problem,
            ready=lambda: None,
            metrics=telemetry.expose,
        )
        async with server:
            logger.info("Listening on port %d; API server %s.", server.port, found.server)
            await _lead(chosen, found, cluster, operation, telemetry, identity, stop)


async def _lead(
    chosen: Settings,
    found: Credentials,
    cluster: Cluster,
    operation: Operation,
    telemetry: Telemetry,
    identity: str,
    stop: asyncio.Event,
) -> None:
    async def work() -> None:
        telemetry.is_leader.set(1)
        await operation.run(stop)

    if not chosen.leader_elect:
        await work()
        return
    namespace = (
        chosen.leader_election_namespace
        or os.environ.get("POD_NAMESPACE")
        or found.namespace
        or "default"
    )
    store = LeaseStore(cluster, namespace, chosen.leader_election_id)
    elector = Elector(store, identity, Timing.of(chosen.lease_duration))
    cluster.fence(elector.may_write)
    leading = asyncio.create_task(elector.lead(work), name="election")
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({leading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not leading.done() and not elector.is_leader:
            leading.cancel()
        await asyncio.gather(leading)
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
    finally:
        stopping.cancel()


class _JsonFormatter(logging.Formatter):
    """One JSON object a line, as log collectors like it."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        entry = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def _log(chosen: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    if chosen.log_format == "json":
        handler.setFormatter(_JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=chosen.log_level.upper(), handlers=[handler], force=True)


if __name__ == "__main__":
    main()
