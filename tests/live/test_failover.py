"""Two replicas: whatever the leader was writing when it was killed, stopped or cut off, the other finishes the work.

Several pairs, each with a namespace of its own, work at the same time: most of the time is waiting for leases.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from turnstile import PORT, Trap, Turnstile, Write

from rig import chart, controlplane, fetch, waiting
from rig.chart import Release
from rig.cluster import Cluster
from rig.kubelet import Container

pytestmark = [
    pytest.mark.cluster,
    # As in `test_outage`: those that are killed reset connections that the turnstile takes.
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
]

ROOT = Path(__file__).resolve().parents[2]
CHART, BIN = ROOT / "charts/flowgauge", ROOT / ".venv-operator/bin"
PAIRS = 4
LEASE = 4  # seconds; the shortest that is allowed
CORE, MONITORING = "api/v1", "apis/monitoring.coreos.com/v1"
KINDS = {
    "services": CORE,
    "configmaps": CORE,
    "servicemonitors": MONITORING,
    "podmonitors": MONITORING,
    "prometheusrules": MONITORING,
}
OURS = "labelSelector=app.kubernetes.io%2Fmanaged-by%3Dflowgauge"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/flowgauge-system/leases"
WORKFLOWS = "/apis/flowgauge.dev/v1alpha1/namespaces/{}/monitoredworkflows/orders"
HASH = "flowgauge.dev/hash"


@dataclass
class Outcome:
    """What became of one leader."""

    what: str
    objects: dict[tuple[str, str], str]
    at: float
    last_of_dead: float
    first_of_other: float
    left_first: list[Write] = field(default_factory=list)
    exit_status: int | None = None
    ended: float = 0.0


@dataclass
class Pair:
    """Two replicas, the namespace that they serve, and the gate that they pass."""

    usual: Any
    gate: Turnstile
    release: Release
    lease: str
    namespace: str
    expected: dict[tuple[str, str], str] = field(default_factory=dict)
    writes: int = 0

    def wait(self, ask: Callable[[], Any], what: str, timeout: float = 60) -> Any:
        return waiting.wait_for(ask, timeout, f"{self.lease}: {what}", every=0.25)

    def read(self, path: str) -> dict[str, Any]:
        """Ask the API server itself: a kubectl for each look would cost more than what is looked at."""
        access = self.usual.cluster.access
        return fetch.json_of(f"{access.server}{path}", ca=access.ca_file, token=access.admin_token)

    def elected(self) -> tuple[Container, Container]:
        """The leader and the other, when both run."""
        for container in self.release.containers:
            if not container.is_running:
                container.restart()
            container.wait_ready()
        by_uid = {
            container.pod["metadata"]["uid"]: container for container in self.release.containers
        }

        def leader() -> Container | None:
            holder = self.read(f"{LEASES}/{self.lease}")["spec"].get("holderIdentity", "")
            return by_uid.get(holder)

        first = self.wait(leader, "a leader")
        (other,) = [container for container in self.release.containers if container is not first]
        return first, other

    def objects(self) -> dict[tuple[str, str], str]:
        """What the operator made here, with the digest of its content."""
        return {
            (kind, item["metadata"]["name"]): item["metadata"]["annotations"][HASH]
            for kind, group in KINDS.items()
            for item in self.read(f"/{group}/namespaces/{self.namespace}/{kind}?{OURS}")["items"]
        }

    def finished(self) -> dict[tuple[str, str], str]:
        """What is made, as soon as it is all that is expected: what a namespace shares comes after the status."""
        with suppress(TimeoutError):
            self.wait(lambda: self.objects() == self.expected, "everything to be made", 20)
        return self.objects()

    def apply(self) -> None:
        self.usual.cluster.apply([self.usual.workflow(self.namespace)])

    def is_ready(self) -> bool:
        found = self.read(WORKFLOWS.format(self.namespace))["status"]["conditions"]
        return any(item["type"] == "Ready" and item["status"] == "True" for item in found)

    def clear(self) -> None:
        """Delete the workflow, and wait until all that was made for it is gone."""
        self.usual.cluster.kubectl("delete", "mwf", "orders", f"--namespace={self.namespace}")
        # The garbage collector looks for new kinds first where a definition has come or gone.
        self.wait(lambda: not self.objects(), "an empty namespace", 150)

    def learn(self) -> None:
        """See what is made, and by how many writes, when nobody disturbs."""
        leader, _ = self.elected()
        since = time.monotonic()
        self.apply()
        self.wait(self.is_ready, "the first workflow to be ready")

        def settled() -> dict[tuple[str, str], str]:
            before = self.objects()
            time.sleep(1)
            return before if self.objects() == before else {}

        self.expected = self.wait(settled, "nothing more to be made")
        self.writes = sum(not write.is_lease for write in self.gate.of(leader.address, since))
        self.clear()

    def disturb(
        self,
        what: str,
        act: Callable[[Container], None],
        number: int,
        *,
        is_before: bool,
        part: str = "",
    ) -> Outcome:
        """Do something to the leader at one of its writes, and see the other finish."""
        leader, other = self.elected()
        at: list[float] = []

        def sprung() -> None:
            at.append(time.monotonic())
            act(leader)

        trap = Trap(leader.address, part or self.namespace, number, is_before, sprung)
        self.gate.set(trap)
        self.apply()
        self.wait(lambda: at, f"the leader to come to {what}")

        def ready() -> bool:
            # As a kubelet would: on a busy machine it may lose so short a lease, and ends.
            if not other.is_running:
                other.restart()
            return self.is_ready()

        self.wait(ready, f"the workflow to be ready after {what}", 120)
        theirs = [write.at for write in self.gate.of(other.address, at[0]) if not write.is_lease]
        mine = [write.at for write in self.gate.of(leader.address) if not write.is_lease]
        return Outcome(what, self.finished(), at[0], max(mine, default=0), min(theirs, default=0))

    def kill(self, number: int, *, is_before: bool, part: str = "") -> Outcome:
        name = "lease write" if part else "write"
        what = f"{name} {number}, {'before it arrives' if is_before else 'before its answer'}"
        found = self.disturb(what, Container.kill, number, is_before=is_before, part=part)
        self.clear()
        return found

    def stop_and_continue(self) -> Outcome:
        """Stop it within its second write, until the other has led for a while; its answer waits meanwhile."""
        stopped: list[Container] = []

        def stop(leader: Container) -> None:
            stopped.append(leader)
            os.kill(leader.pid, signal.SIGSTOP)

        found = self.disturb("SIGSTOP", stop, 2, is_before=False)
        (leader,) = stopped
        continued = time.monotonic()
        os.kill(leader.pid, signal.SIGCONT)
        return self._ended(found, leader, continued)

    def cut_off(self) -> Outcome:
        """Let nothing of the leader through."""
        cut: list[Container] = []

        def block(leader: Container) -> None:
            cut.append(leader)
            self.gate.block(leader.address)

        found = self.disturb("no way to the API server", block, 2, is_before=False)
        (leader,) = cut
        found = self._ended(found, leader, found.at)
        self.gate.unblock(leader.address)
        return found

    def _ended(self, found: Outcome, leader: Container, since: float) -> Outcome:
        self.wait(lambda: not leader.is_running, "the old leader to end")
        found.exit_status, found.ended = leader.exit_status, time.monotonic()
        # What was on its way already may still pass.
        writes = self.gate.of(leader.address, since + 0.2)
        found.left_first = [write for write in writes if not write.is_lease]
        found.objects = self.finished()
        self.clear()
        return found


@contextmanager
def pair_of(operator, gate: Turnstile, name: str, *flags: str) -> Iterator[Pair]:
    namespace = f"{name}-served"
    operator.cluster.create_namespace(namespace)
    overrides = {
        "fullnameOverride": name,
        "replicas": 2,
        "namespaces": [namespace],
        "log": {"format": "text", "level": "info"},
        "crds": {"enabled": False},
        "serviceMonitor": {"enabled": False},
        "prometheusRule": {"enabled": False},
        "extraArgs": list(flags),
    }
    env = {"KUBERNETES_SERVICE_PORT": str(PORT)}
    release = chart.install(
        operator.cluster, CHART, path=[BIN], release=name, overrides=overrides, env=env
    )
    try:
        release.wait_ready()
        yield Pair(operator, gate, release, name, namespace)
    finally:
        release.stop()
        operator.cluster.delete_namespace(namespace)


def measure(pair: Pair) -> Outcome:
    """A leader with the usual lease is killed when the other has the longest to wait: right after a renewal."""
    pair.learn()
    leader, other = pair.elected()
    at: list[float] = []

    def kill() -> None:
        leader.kill()
        at.append(time.monotonic())

    pair.gate.set(Trap(leader.address, "leases", 1, is_before=False, act=kill))
    pair.wait(lambda: at, "a renewal")
    pair.apply()
    pair.wait(pair.is_ready, "the workflow to be ready")
    theirs = [write.at for write in pair.gate.of(other.address, at[0]) if not write.is_lease]
    return Outcome("a renewal", pair.finished(), at[0], 0, min(theirs))


@pytest.fixture(scope="module")
def gate(operator, own_cluster: Cluster) -> Iterator[Turnstile]:
    upstream = ("127.0.0.1", controlplane.PORT)
    certificates = own_cluster.run_folder / "certs"
    with operator.resting(), Turnstile(certificates, upstream) as opened:
        yield opened


@pytest.fixture(scope="module")
def usual(operator, gate: Turnstile) -> Outcome:
    """What a pair with the usual lease does, before there are others."""
    with pair_of(operator, gate, "usual") as pair:
        found = measure(pair)
        found.objects = differing(found.objects, pair.expected)
        return found


@pytest.fixture(scope="module")
def outcomes(usual: Outcome, operator, gate: Turnstile) -> dict[str, list[Outcome]]:
    """Everything else that happens to leaders, at the same time as far as it can be."""
    found: dict[str, list[Outcome]] = {}
    with ExitStack() as pairs, ThreadPoolExecutor(PAIRS) as threads:
        short = [
            pairs.enter_context(
                pair_of(operator, gate, f"pair{number}", f"--lease-duration={LEASE}")
            )
            for number in range(PAIRS)
        ]
        list(threads.map(Pair.learn, short))
        tasks = everything(short[0].writes)
        lock = threading.Lock()

        def work(pair: Pair) -> None:
            while True:
                with lock:
                    if not tasks:
                        return
                    name, task = tasks.pop()
                outcome = task(pair)
                outcome.objects = differing(outcome.objects, pair.expected)
                with lock:
                    found.setdefault(name, []).append(outcome)

        list(threads.map(work, short))
    return found | {"writes": [short[0].writes]}


def everything(writes: int) -> list[tuple[str, Callable[[Pair], Outcome]]]:
    """What is to happen to some leader; the last comes first."""

    def killing(number: int, *, is_before: bool, part: str = "") -> Callable[[Pair], Outcome]:
        return lambda pair: pair.kill(number, is_before=is_before, part=part)

    tasks: list[tuple[str, Callable[[Pair], Outcome]]] = []
    for is_before in (True, False):
        tasks.append(("killed", killing(2, is_before=is_before, part="leases")))
        tasks += [
            ("killed", killing(number, is_before=is_before)) for number in range(1, writes + 1)
        ]
    return [*tasks, ("stopped", Pair.stop_and_continue), ("cut off", Pair.cut_off)]


def differing(found: dict[tuple[str, str], str], expected: dict[tuple[str, str], str]) -> Any:
    return {key: (found.get(key), expected.get(key)) for key in found.keys() ^ expected.keys()} | {
        key: (found[key], expected[key])
        for key in found.keys() & expected.keys()
        if found[key] != expected[key]
    }


@pytest.mark.timeout(600)
def test_whatever_it_was_writing_when_it_was_killed_the_other_finishes(outcomes):
    killed = outcomes["killed"]

    assert outcomes["writes"][0] >= 6
    assert len(killed) == 2 * outcomes["writes"][0] + 2
    assert {outcome.what: outcome.objects for outcome in killed if outcome.objects} == {}


def test_the_killed_one_writes_nothing_more(outcomes):
    assert [
        outcome.what for outcome in outcomes["killed"] if outcome.last_of_dead > outcome.at + 0.5
    ] == []


def test_with_a_short_lease_the_other_is_there_soon(outcomes):
    killed = outcomes["killed"]
    took = [one.first_of_other - one.at for one in killed if one.first_of_other]

    shown = sorted(round(one, 1) for one in took)
    print(
        f"{len(killed)} kills, lease of {LEASE} s; seconds to the first write of the other: {shown}"
    )
    # Where it died at the last write, the other has nothing left to write.
    assert len(took) >= outcomes["writes"][0]
    assert max(took) < 15


def test_with_the_usual_lease_the_other_writes_within_15_seconds_of_the_kill(usual):
    took = usual.first_of_other - usual.at

    print(f"first write after the kill, lease of 10 s: {took:.1f} s")
    assert usual.objects == {}
    # Sooner would mean that the lease was not waited for.
    assert 8 < took < 15


def test_a_leader_that_was_stopped_for_longer_than_its_lease_writes_nothing_when_it_goes_on(
    outcomes,
):
    (outcome,) = outcomes["stopped"]

    assert outcome.first_of_other > outcome.at
    assert outcome.left_first == []
    assert outcome.exit_status == 1
    assert outcome.objects == {}


def test_a_leader_that_cannot_reach_the_api_server_ends_before_the_other_writes(outcomes):
    (outcome,) = outcomes["cut off"]

    assert outcome.left_first == []
    assert outcome.exit_status == 1
    assert outcome.objects == {}
    assert outcome.first_of_other - outcome.at > LEASE - 1
