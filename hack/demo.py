"""`make demo`: the main job from end to end on real parts, with one screen of summary. Ends by itself; --keep waits.

Runs inside the rig's namespace. Everything that makes it quick is configuration: `examples/orders/workflow-demo.yaml`
and the intervals of the stack.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import yaml

from rig import chart, given
from rig.cluster import Cluster
from rig.kubelet import Kubelet

ROOT = Path(__file__).resolve().parents[1]
ORDERS = ROOT / "examples/orders"
BIN = ROOT / ".venv-operator/bin"
NAMESPACE = "shop"
FAST_ALERT = "WorkflowErrorBudgetBurnFast"


class Demo:
    """Tells what happens, with the time since the start, and remembers how long each part took."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.started = time.monotonic()
        self.parts: list[tuple[str, float]] = []
        self.verified: list[str] = []

    def say(self, text: str) -> None:
        """Print one line, or several under one time."""
        first, *rest = text.rstrip().splitlines()
        print(f"{time.monotonic() - self.started:6.1f} s  {first}", flush=True)
        for line in rest:
            print(f"          {line}", flush=True)

    @contextmanager
    def part(self, title: str) -> Iterator[None]:
        """One step of the demo."""
        print(f"\n── {title} " + "─" * max(0, 100 - len(title)), flush=True)
        began = time.monotonic()
        yield
        self.parts.append((title, time.monotonic() - began))

    def table(self) -> str:
        """What `kubectl get mwf` prints."""
        return self.cluster.kubectl("get", "mwf", f"--namespace={NAMESPACE}").rstrip()

    def follow(
        self, is_done: Callable[[dict[str, Any]], Any], timeout: float, what: str
    ) -> dict[str, Any]:
        """Print `kubectl get mwf` whenever it changes, until the status is as wanted."""
        shown, deadline = "", time.monotonic() + timeout
        while time.monotonic() < deadline:
            table = self.table()
            # The age changes by itself and is no news.
            if (state := " ".join(table.splitlines()[-1].split()[:-1])) != shown:
                self.say(table if not shown else table.splitlines()[-1])
                shown = state
            status: dict[str, Any] = self.cluster.get(
                "mwf", "orders", f"--namespace={NAMESPACE}"
            ).get("status", {})
            if is_done(status):
                return status
            time.sleep(0.3)
        raise TimeoutError(
            f"waited {timeout:.0f} s for {what}; the status is {yaml.safe_dump(status)}"
        )


def ready(status: dict[str, Any]) -> bool:
    """Whether the condition Ready is True."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))


def start_operator(demo: Demo) -> chart.Release:
    """Install the chart and start what its Deployment says, under the RBAC that it brings."""
    prometheus = {"url": demo.cluster.prometheus_url, "verifyInterval": 1}
    overrides = {"replicas": 1, "prometheus": prometheus, "log": {"format": "text"}}
    release = chart.install(
        demo.cluster, ROOT / "charts/flowgauge", path=[BIN], overrides=overrides
    )
    release.wait_ready()
    pod = release.containers[0]
    demo.say(f"the chart is installed; {pod.name} runs at {pod.address} as its own ServiceAccount")
    return release


def start_orders(demo: Demo, folder: Path) -> None:
    """Run the example's program at the addresses of its pods."""
    shutil.copytree(ORDERS, folder, dirs_exist_ok=True)
    demo.cluster.create_namespace(NAMESPACE)
    demo.cluster.deploy((ORDERS / "deployment.yaml").read_text(encoding="utf-8"))
    kubelet = Kubelet(demo.cluster, path=[BIN], cwd=folder)
    containers = [
        kubelet.run(pod) for pod in demo.cluster.wait_pods(NAMESPACE, "app=orders", count=2)
    ]
    for container in containers:
        container.wait_ready()
        demo.say(f"{container.name} runs orders.py at {container.address}:9090")


def monitor(demo: Demo) -> None:
    """Apply the MonitoredWorkflow and watch it become READY."""
    demo.say(
        demo.cluster.apply((ORDERS / "workflow-demo.yaml").read_text(encoding="utf-8")).strip()
    )
    status = demo.follow(ready, 60, "READY True")
    for condition in status["conditions"]:
        demo.say(f"{condition['type']:<13}{condition['status']:<6}{condition['message']}")
    demo.verified.append(
        "READY True: scrape job and rules seen in Prometheus, targets up, every required family has series"
    )


def fail(demo: Demo, folder: Path) -> None:
    """Break the input as a bad upload would, until the burn alert arrives; then mend it."""
    orders = folder / "orders.csv"
    good = orders.read_bytes()
    demo.follow(
        lambda status: (status.get("summary") or {}).get("budget") == "100%", 60, "a full budget"
    )
    replace(orders, b"<html>502 Bad Gateway</html>\n")
    demo.say("orders.csv is now an error page; every run fails")
    try:
        found = demo.cluster.wait_for(
            lambda: burn_alert(demo), 120, f"{FAST_ALERT} in Alertmanager"
        )
    finally:
        replace(orders, good)
    labels = found["labels"]
    demo.say(f"Alertmanager has {labels['alertname']}")
    demo.say(", ".join(f"{key}={labels[key]}" for key in sorted(labels) if key != "alertname"))
    demo.say(found["annotations"]["description"])
    demo.verified.append(
        f"{FAST_ALERT} in Alertmanager with namespace={labels['namespace']}"
        f" monitored_workflow={labels['monitored_workflow']} slo={labels['slo']}"
    )
    demo.say("orders.csv is restored")


def burn_alert(demo: Demo) -> dict[str, Any] | None:
    """The burn alert, once Alertmanager has it."""
    alerts = (
        alert for alert in demo.cluster.alerts() if alert["labels"]["alertname"] == FAST_ALERT
    )
    return next(alerts, None)


def replace(path: Path, content: bytes) -> None:
    """Put a new file in the place of the old one in one move."""
    draft = path.with_suffix(".new")
    draft.write_bytes(content)
    draft.replace(path)


def show_budget(demo: Demo) -> None:
    """The status, with the budget spent and the alert that fires."""

    def is_spent(status: dict[str, Any]) -> bool:
        return any(
            s["name"] == "success" and s["firing"] and s.get("errorBudgetRemaining", 1) < 1
            for s in status.get("slos", [])
        )

    status = demo.follow(is_spent, 60, "the budget spent")
    demo.say(yaml.safe_dump({"slos": status["slos"]}, sort_keys=False))
    spent = next(s for s in status["slos"] if s["name"] == "success")
    demo.verified.append(
        f"status: {spent['errorBudgetRemaining'] * 100:.0f} % of the error budget left, burn rate {spent['burnRate']},"
        f" firing {', '.join(spent['firing'])}"
    )


def summary(demo: Demo) -> None:
    """One screen: what was created, what was verified, how long each part took."""
    print("\n" + "═" * 104)
    print("created")
    for resource in demo.cluster.get("mwf", "orders", f"--namespace={NAMESPACE}")["status"][
        "resources"
    ]:
        print(
            f"  {resource['kind']:<16}{NAMESPACE}/{resource['name']:<28}{'applied' if resource['applied'] else 'FAILED'}"
        )
    print("verified")
    for line in demo.verified:
        print(f"  {line}")
    print("took")
    for title, seconds in demo.parts:
        print(f"  {seconds:6.1f} s  {title}")
    print(f"  {time.monotonic() - demo.started:6.1f} s  altogether")
    print("\n".join(f"  {line}" for line in demo.table().splitlines()))
    print("═" * 104, flush=True)


def keep(demo: Demo) -> None:
    """Print where to look, and wait for Ctrl-C."""
    folder = ROOT / ".run"
    folder.mkdir(exist_ok=True)
    kubeconfig = demo.cluster.write_outside_kubeconfig(folder / "kubeconfig")
    print("\nit keeps running; look around from another terminal, Ctrl-C ends it:")
    print(f"  export KUBECONFIG={kubeconfig}")
    for name in ("prometheus", "alertmanager"):
        print(f"  {name:<13} {demo.cluster.outside_url(name)}")
    print(f"  logs          {demo.cluster.logs}", flush=True)
    try:
        signal.pause()
    finally:
        shutil.rmtree(folder)


def the_whole_way(demo: Demo) -> None:
    """Everything after the cluster stands."""
    folder = demo.cluster.run_folder / "orders"
    with demo.part("a real workflow program starts at the addresses of its pods"):
        start_orders(demo, folder)
    with demo.part("kubectl apply -f workflow-demo.yaml, until READY"):
        monitor(demo)
    with demo.part("the workflow fails for a while, until someone is paged"):
        fail(demo, folder)
    with demo.part("the status says what it cost"):
        show_budget(demo)
    summary(demo)


def on_own_cluster(keep_running: bool) -> None:
    """Start everything, show everything, end everything in order."""
    print("── real parts start " + "─" * 85, flush=True)
    began = time.monotonic()
    with Cluster(stack=True, say=lambda text: print(f"          {text}", flush=True)) as cluster:
        demo = Demo(cluster)
        demo.started = began
        demo.parts.append(("real parts start", time.monotonic() - began))
        with demo.part("helm install charts/flowgauge; the operator starts"):
            release = start_operator(demo)
        cluster.forward("operator", release.containers[0].address, 8080)
        the_whole_way(demo)
        if keep_running:
            keep(demo)


def on_given_cluster() -> None:
    """KUBECONFIG is set: use that cluster, start nothing in it but our own objects, and remove them again."""
    name = f"flowgauge-demo-{secrets.token_hex(3)}"
    with Cluster(say=lambda text: print(text, flush=True)) as cluster:
        cluster.apply(
            (ROOT / "crds/flowgauge.dev_monitoredworkflows.yaml").read_text(encoding="utf-8")
        )
        command = [
            str(BIN / "flowgauge-operator"),
            f"--namespaces={name}",
            "--listen-address=127.0.0.1:0",
        ]
        if cluster.prometheus_url:
            command.append(f"--prometheus-url={cluster.prometheus_url}")
        cluster.create_namespace(name)
        operator = subprocess.Popen(command, env=dict(os.environ))
        try:
            body = yaml.safe_load((ORDERS / "workflow-demo.yaml").read_text(encoding="utf-8"))
            body["metadata"]["namespace"] = name
            cluster.apply([body])
            cluster.kubectl(
                "wait",
                "mwf/orders",
                f"--namespace={name}",
                f"--for=condition={'Loaded' if cluster.prometheus_url else 'Provisioned'}",
                "--timeout=60s",
            )
            print(cluster.kubectl("get", "mwf", f"--namespace={name}", "-o", "wide"))
            print(
                cluster.kubectl(
                    "get", "service,servicemonitor,prometheusrule,configmap", f"--namespace={name}"
                )
            )
            print(
                "The workflow program needs an image in a given cluster, so alerts are left out here."
            )
        finally:
            operator.terminate()
            operator.wait(30)
            cluster.delete_namespace(name)
            print(f"namespace {name} is deleted; the CRD stays")


def main() -> int:
    """Run the demo; exit code 0 when everything was seen, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave everything running until Ctrl-C")
    arguments = parser.parse_args()

    def stop(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        if given.is_given():
            on_given_cluster()
        else:
            on_own_cluster(arguments.keep)
    except KeyboardInterrupt:
        print("\nended in order", flush=True)
        return 0 if arguments.keep else 130
    except TimeoutError as error:
        print(f"\nthe demo failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
