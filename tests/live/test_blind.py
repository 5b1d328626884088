"""A Prometheus that nobody answers for is told, and nothing else stops."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.cluster


def test_a_prometheus_that_cannot_be_reached_leaves_the_rest_alone(blind, namespace):
    blind.cluster.apply([blind.workflow(namespace)])

    loaded = blind.wait(
        lambda: (
            blind.condition("Loaded", namespace).get("reason") == "PrometheusUnreachable"
            and blind.condition("Loaded", namespace)
        ),
        "Loaded to say so",
    )

    assert loaded["status"] == "Unknown"
    assert "http://127.0.0.1:1 cannot be asked" in loaded["message"]
    assert blind.condition("Provisioned", namespace)["status"] == "True"
    assert blind.condition("Healthy", namespace)["status"] == "Unknown"
    assert blind.condition("Ready", namespace)["status"] == "Unknown"
    assert blind.get("prometheusrule", "orders-rules", namespace)
    assert "targets" not in blind.status(namespace)
