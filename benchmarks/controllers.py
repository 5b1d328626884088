"""How fast the operator is with many workflows, on a real API server, beside Sloth's controller in the same run.

    make bench-operator N=1000

Both start on objects that exist already. Ours makes four children and a status for each workflow with one objective;
Sloth makes one rule object and a status. CPU is that of the processes, user and system, from the kernel's accounting.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rig import chart, fetch, tools
from rig.cluster import Cluster
from rig.process import Process

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv-operator/bin"
ACCOUNT = "system:serviceaccount:flowgauge-system:"
TICKS = 100  # of a second, as /proc counts them


@dataclass
class Measured:
    """One row of the table."""

    what: str
    count: int
    wall: float
    own_cpu: float
    api_cpu: float
    peak_mb: float
    writes: int

    def line(self) -> str:
        wall = "-" if math.isnan(self.wall) else f"{self.wall:.1f}"
        return (
            f"| {self.what:<38} | {wall:>8} | {self.own_cpu:8.2f} | {1000 * self.own_cpu / self.count:8.2f} |"
            f" {self.api_cpu:8.1f} | {1000 * self.api_cpu / self.count:8.2f} | {self.peak_mb:7.0f} | {self.writes:7d} |"
        )


HEADER = """\
| case                                   |  seconds |    CPU s | ms/object |  API CPU s | ms/object | peak MB |  writes |
|---|---|---|---|---|---|---|---|"""


def cpu(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak(pid: int) -> float:
    """Largest resident memory of a process so far, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def api_pid() -> int:
    """The API server, which is the only one in this namespace."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "exe").resolve().name == "kube-apiserver":
                return int(entry.name)
    raise SystemExit("no kube-apiserver runs here; use make bench-operator")


def objects(count: int, namespaces: int, body: str) -> Iterator[str]:
    """YAML of many objects, a chunk at a time."""
    chunk = [
        body.format(name=f"w{i:05}", namespace=f"bench-{i % namespaces}") for i in range(count)
    ]
    for start in range(0, count, 250):
        yield "---\n".join(chunk[start : start + 250])


WORKFLOW = """\
apiVersion: flowgauge.dev/v1alpha1
kind: MonitoredWorkflow
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  slos:
  - {{name: success, objective: 99.5, success: {{}}}}
"""

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


def written(cluster: Cluster, user: str, mark: int) -> int:
    """Writes of a user since a mark, reviews aside."""
    return sum(
        request.is_write and request.resource not in ("selfsubjectaccessreviews", "leases")
        for request in cluster.audit(user, since=mark)
    )


def ours(cluster: Cluster, count: int, runs: int) -> Iterator[Measured]:
    """Cold once, then restarts with nothing changed."""
    for text in objects(count, 10, WORKFLOW):
        cluster.apply(text)
    api, mark = api_pid(), cluster.audit_mark()
    before, began = cpu(api), time.monotonic()
    release = chart.install(
        cluster, ROOT / "charts/flowgauge", path=[BIN], overrides={"log": {"format": "text"}}
    )
    container = release.containers[0]
    container.wait_ready()
    for run in range(runs + 1):
        if run:
            container.stop()
            mark, before, began = cluster.audit_mark(), cpu(api), time.monotonic()
            container.restart()
            container.wait_ready()
        cluster.wait_for(
            lambda: done(container.url("http", "/metrics"), count), 600, "every workflow's turn"
        )
        wall = time.monotonic() - began
        pid = container.pid or 0
        what = "restart, nothing changed" if run else "cold: three children, a status each"
        yield Measured(
            f"flowgauge, {what}",
            count,
            wall,
            cpu(pid),
            cpu(api) - before,
            peak(pid),
            written(cluster, ACCOUNT, mark),
        )
    container.stop()


def done(url: str, count: int) -> bool:
    """Whether every workflow has had its turn and nothing waits."""
    values: dict[str, float] = {}
    for line in fetch.text(url).splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            values[name] = float(value)
    turns = values.get('flowgauge_reconcile_total{result="success"}', 0)
    waiting = values.get("flowgauge_queue_depth", 1) + values.get("flowgauge_queue_active", 1)
    return turns >= count and waiting == 0


def sloth(cluster: Cluster, count: int, runs: int) -> Iterator[Measured]:
    """The peer: its own CRD, its own defaults."""
    for file in tools.crds("sloth").glob("*.yaml"):
        cluster.apply(file.read_text())
    cluster.kubectl(
        "wait", "--for=condition=Established", "crd/prometheusservicelevels.sloth.slok.dev"
    )
    for text in objects(count, 10, SLOTH):
        cluster.apply(text)
    api = api_pid()
    command = [
        str(tools.path("sloth")),
        "kubernetes-controller",
        f"--kube-config={cluster.kubeconfig}",
        "--kube-local",
    ]
    for run in range(runs + 1):
        mark, before, began = cluster.audit_mark(), cpu(api), time.monotonic()
        process = Process("sloth", command, log=cluster.logs / "sloth.log")
        process.start()
        try:
            if run:
                # It writes nothing now; this is the time that ours took at most.
                time.sleep(15)
            else:
                cluster.wait_for(
                    lambda: generated(cluster) >= count, 600, "Sloth's rules and statuses"
                )
            pid = process.pid or 0
            what = "restart, nothing changed" if run else "cold: one rule and a status each"
            wall = float("nan") if run else time.monotonic() - began
            yield Measured(
                f"sloth 0.16, {what}",
                count,
                wall,
                cpu(pid),
                cpu(api) - before,
                peak(pid),
                written(cluster, "admin", mark),
            )
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


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="workflows")
    parser.add_argument("--restarts", type=int, default=3, help="restarts that are measured")
    parser.add_argument("--without-peer", action="store_true", help="leave Sloth out")
    arguments = parser.parse_args()
    with Cluster(audit=True, say=print) as cluster:
        cluster.apply((ROOT / "crds/flowgauge.dev_monitoredworkflows.yaml").read_text())
        cluster.kubectl(
            "wait", "--for=condition=Established", "crd/monitoredworkflows.flowgauge.dev"
        )
        for number in range(10):
            cluster.create_namespace(f"bench-{number}")
        print(HEADER, flush=True)
        for measured in ours(cluster, arguments.count, arguments.restarts):
            print(measured.line(), flush=True)
        if not arguments.without_peer:
            for measured in sloth(cluster, arguments.count, 1):
                print(measured.line(), flush=True)


if __name__ == "__main__":
    main()
