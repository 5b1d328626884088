"""What it costs to look for annotated pods among very many, on a real API server.

    make bench-discovery N=10000

So many pods are made, one in a hundred of them annotated; nobody runs them. For each mode the operator is started anew, when
everything is known and made; then pods change their status, as kubelets would have it. `off` is what all of that costs
without discovery: the API server stores the changes in any case. The last row is kopf with a handler that only looks for
the annotation, in the place of the operator's own watch. CPU is that of the processes, from the kernel's accounting.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from benchmarks import usage

from rig import fetch
from rig.cluster import Cluster
from rig.process import Process

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv-operator/bin"
NAMESPACES, ONE_IN, PER_WORKFLOW = 10, 100, 10
AT_ONCE = 16
LISTEN = "127.0.0.1:8080"
# After the last change, until everything that it brings about is over.
SETTLE_SECONDS = 4.0

HEADER = """\
| mode | start: CPU s | API CPU s | peak MB | per 1,000 changes: CPU s | API CPU s |
|---|---|---|---|---|---|"""


@dataclass(frozen=True)
class Row:
    """Figures of one mode; CPU in seconds."""

    mode: str
    start: float
    start_api: float
    peak_mb: float
    change: float
    change_api: float

    def __str__(self) -> str:
        return (
            f"| {self.mode} | {self.start:.2f} | {self.start_api:.2f} | {self.peak_mb:.0f} | {self.change:.3f}"
            f" | {self.change_api:.2f} |"
        )


def pod(number: int) -> dict[str, Any]:
    """A pod like many; it has no node, so nobody runs it."""
    metadata: dict[str, Any] = {
        "name": f"pod-{number:05}",
        "labels": {"app": f"app-{number % 50}", "pod-template-hash": "5d4f8c7b9"},
        "annotations": {"prometheus.io/scrape": "true", "checksum/config": "0" * 64},
    }
    if number % ONE_IN == 0:
        metadata["labels"]["flowgauge.dev/monitor"] = "true"
        name = f"workflow-{number // ONE_IN // PER_WORKFLOW}"
        metadata["annotations"]["flowgauge.dev/workflow"] = name
    env = [{"name": f"VARIABLE_{i}", "value": "x" * 40} for i in range(20)]
    container = {"name": "main", "image": "registry.example.com/app:1.2.3", "env": env}
    spec = {"automountServiceAccountToken": False, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def status(round_: int) -> dict[str, Any]:
    """What a kubelet writes, in turns."""
    ready = "True" if round_ % 2 else "False"
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    kinds = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    conditions = [{"type": kind, "status": ready, "lastTransitionTime": now} for kind in kinds]
    return {"status": {"phase": "Running", "message": f"change {round_}", "conditions": conditions}}


class Admin:
    """Writes many objects quickly."""

    def __init__(self, cluster: Cluster) -> None:
        self._url, self._token = cluster.server, cluster.admin_token
        self._tls = ssl.create_default_context(cafile=str(cluster.ca_file))

    def send(self, requests: Iterator[tuple[str, str, Any]]) -> None:
        """Send requests (method, path, body), some at a time."""
        asyncio.run(self._send(requests))

    async def _send(self, requests: Iterator[tuple[str, str, Any]]) -> None:
        connector = aiohttp.TCPConnector(limit=AT_ONCE, ssl=self._tls)
        headers = {"Authorization": f"Bearer {self._token}"}
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

            async def work() -> None:
                for method, path, body in requests:
                    kind = "merge-patch+json" if method == "PATCH" else "json"
                    async with session.request(
                        method,
                        self._url + path,
                        data=json.dumps(body),
                        headers={"Content-Type": f"application/{kind}"},
                    ) as answer:
                        if answer.status >= 300:
                            raise SystemExit(f"{path}: {await answer.text()}")

            await asyncio.gather(*(work() for _ in range(AT_ONCE)))


def place(number: int) -> str:
    """The path of the collection that a pod is in."""
    return f"/api/v1/namespaces/bench-{number // PER_WORKFLOW // ONE_IN % NAMESPACES}/pods"


def fill(cluster: Cluster, admin: Admin, count: int) -> None:
    """Make the pods."""
    for number in range(NAMESPACES):
        cluster.create_namespace(f"bench-{number}")
    admin.send(("POST", place(number), pod(number)) for number in range(count))
    change(admin, count, count, 0)


def change(admin: Admin, count: int, changes: int, first: int) -> None:
    """Change the status of pods, one after the other."""
    admin.send(
        ("PATCH", f"{place(i % count)}/pod-{i % count:05}/status", status(first + i // count + 1))
        for i in range(changes)
    )


def measured(mode: str, process: Any, is_settled: Any, churn: Any, changes: int) -> Row:
    """One start and some changes of one process that watches."""
    api = usage.api_pid()
    before = usage.cpu(api)
    process.start()
    is_settled()
    time.sleep(SETTLE_SECONDS)
    start, start_api, memory = (
        usage.cpu(process.pid),
        usage.cpu(api) - before,
        usage.peak(process.pid),
    )
    own, before = usage.cpu(process.pid), usage.cpu(api)
    churn()
    time.sleep(SETTLE_SECONDS)
    per = 1000 / changes
    row = Row(
        mode,
        start,
        start_api,
        max(memory, usage.peak(process.pid)),
        (usage.cpu(process.pid) - own) * per,
        (usage.cpu(api) - before) * per,
    )
    process.stop()
    return row


def operator(cluster: Cluster, mode: str) -> tuple[Process, Any]:
    """An operator of one mode, which is not started, and how to wait until it has settled."""
    command = [BIN / "flowgauge-operator", f"--discovery={mode}", f"--listen-address={LISTEN}"]
    env = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    process = Process(
        mode, [str(word) for word in command], log=cluster.logs / "operator.log", env=env
    )

    def metric(name: str) -> float:
        text = fetch.text(f"http://{LISTEN}/metrics")
        lines = (line.rpartition(" ") for line in text.splitlines() if line.startswith(name))
        return sum(float(value) for _, _, value in lines)

    def settle() -> None:
        process.wait_ready(lambda: fetch.is_ok(f"http://{LISTEN}/readyz"), 60)
        # All pods are listed before anything has its turn.
        time.sleep(SETTLE_SECONDS)
        cluster.wait_for(
            lambda: metric("flowgauge_queue_depth") + metric("flowgauge_queue_active") == 0,
            300,
            "an empty queue",
            every=0.5,
        )

    return process, settle


def kopf_alone() -> None:
    """Watch pods by kopf, with the operator's own settings, and look for the annotation."""
    from flowgauge_operator import credentials, kinds, watch  # noqa: PLC0415 - of this case only
    from flowgauge_operator.presence import Watched  # noqa: PLC0415

    async def handle(_kind: Any, _type: str | None, body: dict[str, Any]) -> None:
        "flowgauge.dev/workflow" in (body["metadata"].get("annotations") or {})  # noqa: B015

    async def listed(_kind: Any) -> None:
        return None

    watched = [Watched(kinds.POD, metadata_only=True)]
    found = credentials.load(os.environ)
    asyncio.run(watch.operate(watched, handle, listed, found, (), asyncio.Event()))


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10000, help="pods")
    parser.add_argument("--changes", type=int, default=5000, help="changes of status")
    parser.add_argument("--kopf-alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.kopf_alone:
        kopf_alone()
        return
    rows = []
    with Cluster(say=print) as cluster:
        admin = Admin(cluster)
        for file in (ROOT / "crds").glob("*.yaml"):
            cluster.apply(file.read_text())
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all")
        fill(cluster, admin, arguments.count)
        print(f"{arguments.count} pods are there", flush=True)
        # The first start makes what is discovered; those that are measured find it.
        process, settle = operator(cluster, "annotation")
        process.start()
        settle()
        process.stop()
        for number, mode in enumerate(("annotation", "label", "off")):
            first = 10 * (number + 1)
            process, settle = operator(cluster, mode)
            churn = lambda first=first: change(admin, arguments.count, arguments.changes, first)  # noqa: E731
            rows.append(measured(mode, process, settle, churn, arguments.changes))
            print(rows[-1], flush=True)
        command = [sys.executable, "-m", "benchmarks.discovery", "--kopf-alone"]
        env = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
        kopf = Process("kopf", command, log=cluster.logs / "kopf.log", env=env)
        churn = lambda: change(admin, arguments.count, arguments.changes, 50)  # noqa: E731
        rows.append(measured("(kopf)", kopf, lambda: time.sleep(20), churn, arguments.changes))
    print(HEADER)
    print(*rows, sep="\n")


if __name__ == "__main__":
    sys.exit(main())
