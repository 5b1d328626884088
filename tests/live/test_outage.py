"""The API server goes away without a word and comes back; the operator goes on as if nothing had been."""

from __future__ import annotations

import time

import pytest

pytestmark = [
    pytest.mark.cluster,
    # `ssl` leaves the socket of a connection open that is reset before its handshake, as those to a dying server are.
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
]


def test_an_api_server_that_comes_back_finds_the_operator_at_work(operator, namespace):
    operator.cluster.apply([operator.workflow(namespace)])
    operator.wait_condition("Ready", "True", namespace)
    operator.wait_quiet()
    mark = operator.cluster.audit_mark()

    with operator.cluster.outage():
        time.sleep(10)

    assert operator.release.containers[0].is_running
    operator.cluster.kubectl("delete", "configmap", "orders-dashboard", f"--namespace={namespace}")
    operator.cluster.apply([operator.workflow(namespace, "after")])
    operator.wait(
        lambda: operator.get("configmap", "orders-dashboard", namespace),
        "the dashboard to come back",
        90,
    )
    operator.wait_condition("Ready", "True", namespace, "after", timeout=90)
    operator.wait_quiet()
    # What stood before was not written again.
    written = {(r.resource, r.name) for r in operator.writes_since(mark, namespace)}
    assert {name for _, name in written if not name.startswith("after")} == {"orders-dashboard"}
