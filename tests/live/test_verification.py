"""A status never claims what was not seen, and forgets nothing over a restart."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.e2e


def test_a_restart_writes_nothing_where_prometheus_is_asked_too(orders):
    orders.monitor(slos=[])
    orders.operator.wait_condition("Ready", "True", orders.namespace, timeout=60)
    orders.operator.wait(
        lambda: orders.operator.status(orders.namespace)["summary"]["targets"] == "2/2",
        "both targets",
    )
    with orders.operator.resting():
        mark = orders.operator.cluster.audit_mark()

    orders.operator.wait(
        lambda: orders.operator.metric("flowgauge_verifications_total") > 2, "two looks"
    )

    orders.operator.wait_quiet()
    assert orders.operator.writes_since(mark, orders.namespace) == []
    assert orders.operator.condition("Ready", orders.namespace)["reason"] == "Monitored"


def test_a_changed_spec_is_looked_at_anew(orders):
    orders.monitor()
    orders.operator.wait_condition("Ready", "True", orders.namespace, timeout=60)

    orders.monitor(selector={"matchLabels": {"app": "nobody"}})

    orders.operator.wait(
        lambda: orders.operator.condition("Healthy", orders.namespace).get("reason") == "NoTargets",
        "Healthy to say NoTargets",
        60,
    )
    assert orders.operator.condition("Ready", orders.namespace)["status"] == "False"
