"""Lists and events together: what is known is the newest of both."""

from __future__ import annotations

import asyncio

import pytest

from flowgauge_operator import kinds, names, settings
from flowgauge_operator.cache import Key
from flowgauge_operator.credentials import Credentials
from flowgauge_operator.operation import Operation
from flowgauge_operator.telemetry import Telemetry
from flowgauge_operator.workqueue import WorkQueue

KEY = Key("workflow", "shop", "orders")


def workflow(version, generation=1):
    metadata = {"name": "orders", "namespace": "shop", "uid": "u1", "generation": generation}
    return {"metadata": {**metadata, "resourceVersion": version}, "spec": {}}


def child(version):
    labels = {names.MANAGED_BY: names.MANAGER, names.WORKFLOW: "orders"}
    metadata = {"name": "orders-rules", "namespace": "shop", "uid": "c1", "labels": labels}
    return {"metadata": {**metadata, "resourceVersion": version}}


class Lists:
    """A cluster that lists what it is given, and lets something happen before it does."""

    def __init__(self):
        self.items, self.meanwhile = [], lambda: None

    async def list(self, _kind, _namespace, _selector=None, **_):
        self.meanwhile()
        for item in self.items:
            yield item


@pytest.fixture
def during():
    """Run a scenario on an operation whose cluster is a `Lists`."""

    def run(scenario):
        async def main():
            cluster = Lists()
            found = Credentials(server="https://api")
            operation = Operation(settings.parse([], {}), found, cluster, Telemetry(), "test")
            operation._on_workflow("ADDED", workflow("1"))
            operation._on_child(kinds.PROMETHEUS_RULE, "ADDED", child("1"))
            return await scenario(operation, cluster)

        return asyncio.run(main())

    return run


def test_an_event_that_is_newer_than_a_list_wins(during):
    async def scenario(operation, cluster):
        cluster.items = [workflow("1")]
        cluster.meanwhile = lambda: operation._on_workflow("MODIFIED", workflow("2", 2))
        await operation._list_workflows()
        return operation._cache.workflows[KEY].version

    assert during(scenario) == "2"


def test_a_workflow_that_is_deleted_during_a_list_stays_deleted(during):
    async def scenario(operation, cluster):
        cluster.items = [workflow("1")]
        cluster.meanwhile = lambda: operation._on_workflow("DELETED", workflow("2"))
        await operation._list_workflows()
        return operation._cache.workflows

    assert during(scenario) == {}


def test_a_list_tells_what_no_event_told(during):
    async def scenario(operation, cluster):
        cluster.items = [workflow("5", 3)]
        await operation._list_workflows()
        changed = operation._cache.workflows[KEY].version
        cluster.items = []
        await operation._list_workflows()
        return changed, operation._cache.workflows

    assert during(scenario) == ("5", {})


def test_a_child_that_is_written_during_a_list_keeps_its_version(during):
    async def scenario(operation, cluster):
        cluster.items = [child("1")]
        cluster.meanwhile = lambda: operation._on_child(
            kinds.PROMETHEUS_RULE, "MODIFIED", child("2")
        )
        await operation._list_children(kinds.PROMETHEUS_RULE)
        return [c.version for c in operation._cache.children_of(KEY)]

    assert during(scenario) == ["2"]


def test_a_child_that_is_gone_without_an_event_is_missed(during):
    async def scenario(operation, _cluster):
        await operation._list_children(kinds.PROMETHEUS_RULE)
        return list(operation._cache.children_of(KEY)), operation._queue.depth

    children, depth = during(scenario)

    assert children == []
    assert sum(depth.values()) == 1


def test_it_looks_often_after_a_change_until_everything_is_ready(during):
    async def scenario(operation, _cluster):
        changed = operation._patience()
        ready = {"conditions": [{"type": "Ready", "status": "True"}]}
        operation._on_workflow("MODIFIED", workflow("2") | {"status": ready})
        return changed, operation._patience()

    assert during(scenario) == (5.0, 30.0)


def test_one_that_never_gets_ready_does_not_make_it_look_often_for_ever(during):
    async def scenario(operation, _cluster):
        operation._hurry_until -= 121
        return operation._patience()

    assert during(scenario) == 30.0


def board(version, *, generation=1, label="x", workflow="orders"):
    labels = {names.MANAGED_BY: names.MANAGER, "theirs": label}
    labels |= {names.WORKFLOW: workflow} if workflow else {}
    metadata = {"name": "orders-dashboard", "namespace": "shop", "uid": "b1", "labels": labels}
    return {"metadata": {**metadata, "generation": generation, "resourceVersion": version}}


def heard(operation, body, *, whole=False):
    """One event of a GrafanaDashboard; return whether its workflow waits for a turn, and how many wait for a time."""
    if whole:
        operation._cache.put_child(operation._reconciler.child_of(kinds.GRAFANA_DASHBOARD, body))
    else:
        operation._on_child(kinds.GRAFANA_DASHBOARD, "MODIFIED", body)
    return operation._queue.has(KEY), operation._queue.delayed


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (board("2"), (False, 1)),
        (board("2", generation=2), (True, 0)),
        (board("2", label="y"), (True, 0)),
    ],
)
def test_a_status_that_somebody_writes_waits_and_a_change_does_not(during, second, expected):
    async def scenario(operation, cluster):
        operation._queue = WorkQueue()
        heard(operation, board("1"), whole=True)
        return heard(operation, second)

    assert during(scenario) == expected


def test_many_statuses_are_one_turn_and_what_was_said_stands_until_then(during):
    async def scenario(operation, cluster):
        operation._queue = WorkQueue()
        said = {"type": "DashboardSynchronized", "status": "True", "observedGeneration": 1}
        heard(operation, board("1") | {"status": {"conditions": [said]}}, whole=True)
        waiting = [heard(operation, board(str(version))) for version in range(2, 9)]
        return set(waiting), operation._cache.synchronized(KEY).state

    assert during(scenario) == ({(False, 1)}, True)


def test_the_status_of_what_a_namespace_shares_costs_nothing(during):
    async def scenario(operation, cluster):
        operation._queue = WorkQueue()
        heard(operation, board("1", workflow=""), whole=True)
        heard(operation, board("2", workflow=""))
        (shared,) = operation._cache.children_of(Key("namespace", "shop"))
        return operation._queue.delayed, shared.is_verified, shared.version

    assert during(scenario) == (0, True, "2")
