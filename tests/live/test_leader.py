"""Two replicas: one leads, and hands over when it stops in order; for all else see test_failover."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.cluster


def holder(replicas):
    lease = replicas.get("lease", "pair", "flowgauge-system") or {}
    return (lease.get("spec") or {}).get("holderIdentity")


def test_a_leader_that_stops_in_order_hands_over_at_once(replicas, namespace):
    first = replicas.wait(lambda: holder(replicas), "a leader")
    pods = {pod.pod["metadata"]["uid"]: pod for pod in replicas.release.containers}

    pods[first].stop()

    # The lease lasts 10 s; without a release nobody could lead before that.
    replicas.wait(lambda: holder(replicas) not in (first, None, ""), "the other to lead", 8)
    replicas.cluster.apply([replicas.workflow(namespace)])
    replicas.wait_condition("Ready", "True", namespace)
