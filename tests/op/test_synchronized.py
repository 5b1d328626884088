"""What grafana-operator writes into a GrafanaDashboard's status, and what we say of it."""

import pytest

from flowgauge_operator import synchronized


def condition(kind="DashboardSynchronized", status="True", generation=2, message="said"):
    return {
        "type": kind,
        "status": status,
        "observedGeneration": generation,
        "reason": "r",
        "message": message,
    }


def told(*conditions):
    status = {"conditions": list(conditions), "lastResync": "2026-01-01T00:00:00Z"}
    return synchronized.of({"metadata": {"generation": 2}, "status": status})


@pytest.mark.parametrize(
    ("conditions", "state", "part"),
    [
        ([condition()], True, "grafana-operator: said"),
        ([condition(status="False")], False, "DashboardSynchronized: said"),
        ([condition("NoMatchingInstance")], False, "NoMatchingInstance: said"),
        ([condition("InvalidSpec")], False, "InvalidSpec: said"),
        ([condition("NoMatchingInstance", "False")], None, "has not said yet"),
        ([condition(generation=1)], None, "has not said yet"),
        ([], None, "has not said yet"),
    ],
)
def test_what_is_said_of_the_present_spec_counts(conditions, state, part):
    found = told(*conditions)

    assert found.state is state
    assert part in found.message


def test_an_object_without_status_claims_nothing():
    assert synchronized.of({"metadata": {"generation": 1}}) == synchronized.NOT_YET


def test_the_order_of_instances_and_the_ports_of_clients_change_no_message():
    first = condition(message="failed:\n- a/x: read 10.0.0.1:4711->10.0.0.2:80: reset\n- b/y: no")
    second = condition(message="failed:\n- b/y: no\n- a/x: read 10.0.0.1:4712->10.0.0.2:80: reset")

    assert told(first) == told(second)


def test_a_long_message_is_cut():
    assert len(told(condition(message="x" * 2000)).message) < 500
