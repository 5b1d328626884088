"""How fast the operator is with many workflows, on a real API server, beside Sloth's controller in the same run.

    make bench-operator N=1000

Both are started on objects that exist already: cold, when nothing is made of them yet, and again with nothing changed.
Ours makes three children and a status for each workflow with one objective, and a monitor and a ConfigMap with dashboards
for each namespace; Sloth makes one rule object and a status. A second turn without dashboards is nearer to what Sloth does. The rounds of the two take turns; figures are medians over
the rounds. CPU is that of the processes, user and system, from the kernel's accounting.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import secrets
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from benchmarks import usage

from rig import chart, fetch, tools
from rig.cluster import Cluster
from rig.kubelet import Container
from rig.process import Process

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv-operator/bin"
ACCOUNT = "system:serviceaccount:flowgauge-system:"


@dataclass(frozen=True)
class Measured:
    """One start of one controller; seconds, and MB at the peak."""

    wall: float
    own_cpu: float
    api_cpu: float
    peak_mb: float
    writes: int


def median(rows: Sequence[Measured]) -> Measured:
    """The median of each figure."""
    columns = zip(*map(astuple, rows), strict=True)
    return Measured(*(statistics.median(column) for column in columns))


def line(what: str, count: int, row: Measured) -> str:
    """One row of the table."""
    wall = "-" if math.isnan(row.wall) else f"{row.wall:.1f}"
    return (
        f"| {what:<42} | {wall:>8} | {row.own_cpu:8.2f} | {1000 * row.own_cpu / count:8.2f} |"
        f" {row.api_cpu:8.1f} | {1000 * row.api_cpu / count:8.2f} | {row.peak_mb:7.0f} | {row.writes:7.0f} |"
    )


HEADER = """\
| case                                       |  seconds |    CPU s | ms/object |  API CPU s | ms/object | peak MB |  writes |
|---|---|---|---|---|---|---|---|"""
COLD, AGAIN = "cold", "again, nothing changed"


@contextlib.contextmanager
def filled(cluster: Cluster, count: int, body: str) -> Iterator[None]:
    """So many objects in ten namespaces, which are gone afterwards."""
    token = secrets.token_hex(3)
    names = [f"bench-{token}-{number}" for number in range(10)]
    for name in names:
        cluster.create_namespace(name)
    chunk = [body.format(name=f"w{i:05}", namespace=names[i % 10]) for i in range(count)]
    for start in range(0, count, 250):
        cluster.apply("---\n".join(chunk[start : start + 250]))
    yield
    # All at once: each alone would take as long as all.
    for name in names:
        cluster.delete_namespace(name)
    for name in names:
        cluster.delete_namespace(name, wait=True)


WORKFLOW = """\
apiVersion: flowgauge.dev/v1alpha1
kind: MonitoredWorkflow
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  slos:
  - {{name: success, objective: 99.5, success: {{}}}}
"""
PLAIN = f"{WORKFLOW}  dashboard: {{{{mode: None}}}}\n"

SLOTH = """\
apiVersion: sloth.slok.dev/v1
kind: PrometheusServiceLevel
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  service: {name}
  slos:
  - name: success
    objective: 99.5
    sli:
      events:
        errorQuery: sum(rate(runs_total{{service="{name}",status="failed"}}[{{{{.window}}}}]))
        totalQuery: sum(rate(runs_total{{service="{name}"}}[{{{{.window}}}}]))
    alerting:
      name: Burn
      pageAlert: {{labels: {{severity: page}}}}
      ticketAlert: {{labels: {{severity: ticket}}}}
"""


class Meter:
    """What happened since it was made, seen from outside of the controller."""

    def __init__(self, cluster: Cluster, user: str) -> None:
        self._cluster, self._user = cluster, user
        self._api, self._mark = usage.api_pid(), cluster.audit_mark()
        self._cpu, self._began = usage.cpu(self._api), time.monotonic()

    def read(self, pid: int, *, wall: float | None = None) -> Measured:
        """The figures of a controller that was started when the meter was made."""
        wall = time.monotonic() - self._began if wall is None else wall
        own, api, memory = usage.cpu(pid), usage.cpu(self._api) - self._cpu, usage.peak(pid)
        writes = sum(
            request.is_write and request.resource not in ("selfsubjectaccessreviews", "leases")
            for request in self._cluster.audit(self._user, since=self._mark)
        )
        return Measured(wall, own, api, memory, writes)


def ours(
    cluster: Cluster, container: Container, count: int, body: str
) -> Iterator[tuple[str, Measured]]:
    """One round of the operator."""
    with filled(cluster, count, body):
        for case in (COLD, AGAIN):
            meter = Meter(cluster, ACCOUNT)
            container.restart()
            container.wait_ready()
            url = container.url("http", "/metrics")
            # Asking costs the operator time, too.
            cluster.wait_for(lambda u=url: done(u, count), 600, "every workflow's turn", every=0.5)
            yield case, meter.read(container.pid or 0)
            container.stop()


def done(url: str, count: int) -> bool:
    """Whether every workflow has had its turn and nothing waits."""
    values: dict[str, float] = {}
    for text in fetch.text(url).splitlines():
        if not text.startswith("#"):
            name, _, value = text.rpartition(" ")
            values[name] = float(value)
    turns = values.get('flowgauge_reconcile_total{result="success"}', 0)
    waiting = values.get("flowgauge_queue_depth", 1) + values.get("flowgauge_queue_active", 1)
    return turns >= count and waiting == 0


def sloth(cluster: Cluster, count: int) -> Iterator[tuple[str, Measured]]:
    """One round of the peer, with its own defaults."""
    command = [
        str(tools.path("sloth")),
        "kubernetes-controller",
        f"--kube-config={cluster.kubeconfig}",
        "--kube-local",
    ]
    with filled(cluster, count, SLOTH):
        for case in (COLD, AGAIN):
            meter = Meter(cluster, "admin")
            process = Process("sloth", command, log=cluster.logs / "sloth.log")
            process.start()
            try:
                if case == COLD:
                    cluster.wait_for(
                        lambda: generated(cluster) >= count, 600, "Sloth's objects", every=0.5
                    )
                    yield case, meter.read(process.pid or 0)
                else:
                    # Nothing shows when it is done, so its time says nothing; its CPU does.
                    time.sleep(10)
                    yield case, meter.read(process.pid or 0, wall=math.nan)
            finally:
                process.stop()


def generated(cluster: Cluster) -> int:
    """How many of Sloth's objects say that their rules are generated."""
    text = cluster.kubectl(
        "get",
        "prometheusservicelevels",
        "--all-namespaces",
        "-o",
        "jsonpath={.items[*].status.promOpRulesGenerated}",
    )
    return text.split().count("true")


def install(cluster: Cluster) -> Container:
    """Our chart, its pod stopped."""
    values = {"replicas": 1, "log": {"format": "text"}}
    release = chart.install(cluster, ROOT / "charts/flowgauge", path=[BIN], overrides=values)
    release.wait_ready()
    release.stop()
    return release.containers[0]


def turns(
    cluster: Cluster, container: Container, arguments: argparse.Namespace
) -> Iterator[tuple[str, Measured]]:
    """One round: everyone's cases, one after the other."""
    for what, body in (("flowgauge", WORKFLOW), ("without dashboards", PLAIN)):
        for case, row in ours(cluster, container, arguments.count, body):
            yield f"{what}, {case}", row
    if not arguments.without_peer:
        for case, row in sloth(cluster, arguments.count):
            yield f"sloth 0.16, {case}", row


def main() -> None:
    """Print one table of medians, and the ratios to the peer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="workflows")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each controller")
    parser.add_argument("--without-peer", action="store_true", help="leave Sloth out")
    arguments = parser.parse_args()
    rows: dict[str, list[Measured]] = defaultdict(list)
    with Cluster(audit=True, say=print) as cluster:
        container = install(cluster)
        if not arguments.without_peer:
            for file in tools.crds("sloth").glob("*.yaml"):
                cluster.apply(file.read_text())
            cluster.wait_established("crd/prometheusservicelevels.sloth.slok.dev")
        for number in range(arguments.rounds):
            print(f"round {number + 1} of {arguments.rounds}", flush=True)
            for what, row in turns(cluster, container, arguments):
                rows[what].append(row)
    medians = {what: median(found) for what, found in rows.items()}
    print(HEADER)
    for what, row in medians.items():
        print(line(what, arguments.count, row))
    if not arguments.without_peer:
        theirs = medians[f"sloth 0.16, {COLD}"]
        for what in ("flowgauge", "without dashboards"):
            mine = medians[f"{what}, {COLD}"]
            print(
                f"cold, {what} / sloth: time {mine.wall / theirs.wall:.2f}, CPU {mine.own_cpu / theirs.own_cpu:.2f},"
                f" memory {mine.peak_mb / theirs.peak_mb:.2f}, CPU of the API server a write"
                f" {mine.api_cpu / mine.writes / (theirs.api_cpu / theirs.writes):.2f}"
            )


if __name__ == "__main__":
    main()
