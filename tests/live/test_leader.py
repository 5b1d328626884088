"""Two replicas: one leads, the other takes over."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.cluster


def holder(replicas):
    lease = replicas.get("lease", "pair", "flowgauge-system") or {}
    return (lease.get("spec") or {}).get("holderIdentity")


def test_when_the_leader_is_killed_the_other_takes_over(replicas, namespace):
    first = replicas.wait(lambda: holder(replicas), "a leader")
    pods = {pod.pod["metadata"]["uid"]: pod for pod in replicas.release.containers}
    assert set(pods) >= {first}
    replicas.cluster.apply([replicas.workflow(namespace, "before")])
    replicas.wait_condition("Ready", "True", namespace, "before")

    pods[first].kill()
    replicas.cluster.apply([replicas.workflow(namespace, "after")])

    replicas.wait_condition("Ready", "True", namespace, "after", timeout=40)
    assert holder(replicas) in set(pods) - {first}


def test_a_leader_that_stops_in_order_hands_over_at_once(replicas, namespace):
    first = replicas.wait(lambda: holder(replicas), "a leader")
    pods = {pod.pod["metadata"]["uid"]: pod for pod in replicas.release.containers}
    for pod in pods.values():
        if not pod.is_running:
            pod.restart()
            pod.wait_ready()

    pods[first].stop()

    # The lease lasts 15 s; without a release nobody could lead before that.
    replicas.wait(lambda: holder(replicas) not in (first, None, ""), "the other to lead", 8)
    replicas.cluster.apply([replicas.workflow(namespace)])
    replicas.wait_condition("Ready", "True", namespace)
