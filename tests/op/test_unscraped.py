"""Annotated pods that run although Prometheus has no target of them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from flowgauge_operator import errors
from flowgauge_operator.pods import Pods
from flowgauge_operator.unscraped import Unscraped
from flowgauge_operator.verify import Owner

ORDERS = Owner("shop", "orders")
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def body(name, created="2026-01-01T11:00:00Z", told="2026-01-01T11:00:00Z", **metadata):
    written = {"subresource": "status", "time": told, "fieldsV1": {}}
    return {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-{name}",
            "annotations": {"flowgauge.dev/workflow": "orders"},
            "creationTimestamp": created,
            "managedFields": [{"manager": "kubectl", "fieldsV1": {}}, written],
        }
        | metadata
    }


class Server:
    """Selects pods by their phase, as an API server does."""

    def __init__(self):
        self.pods, self.phases, self.asked, self.fails = Pods(), {}, [], False
        self.unscraped = Unscraped(self, self.pods, now=lambda: NOW, patience=timedelta(minutes=2))

    def add(self, phase, pod):
        self.pods.put(pod)
        self.phases[pod["metadata"]["name"]] = (phase, pod)

    async def select(self, ref, fields):
        self.asked.append(ref.name)
        if self.fails:
            raise errors.Unavailable(503, "ServiceUnavailable", "not now")
        phase, pod = self.phases[ref.name]
        is_so = phase == "Running" if "!=" not in fields else phase in ("Running", "Pending")
        return pod if is_so else None

    def find(self, interval=15):
        self.asked.clear()
        return asyncio.run(self.unscraped.find({ORDERS: timedelta(seconds=interval)}))


@pytest.fixture
def server():
    return Server()


def test_a_pod_that_runs_for_long_enough_is_named(server):
    server.add("Running", body("a"))

    assert server.find() == {ORDERS: "a"}


@pytest.mark.parametrize(
    ("phase", "changes"),
    [
        ("Succeeded", {}),
        ("Pending", {}),
        # It was made long ago and begins to run now.
        ("Running", {"told": "2026-01-01T11:59:00Z"}),
        ("Running", {"deletionTimestamp": "2026-01-01T12:00:20Z"}),
    ],
)
def test_a_pod_that_has_ended_or_is_not_due_yet_is_none(server, phase, changes):
    server.add(phase, body("a", **changes))

    assert server.find() == {}


def test_a_pod_that_is_scraped_seldom_has_its_time(server):
    server.add("Running", body("a", told="2026-01-01T11:56:00Z"))

    assert server.find(interval=300) == {}
    assert server.find(interval=15) == {ORDERS: "a"}


def test_what_has_ended_is_not_asked_for_again_and_an_older_pod_is_found(server):
    server.add("Running", body("old", "2026-01-01T10:00:00Z"))
    for number in range(4):
        server.add("Failed", body(f"p{number}"))

    assert server.find() == {}
    assert len(server.asked) == 3
    assert server.find() == {ORDERS: "old"}
    assert server.asked == ["p0", "old", "old"]


def test_another_pod_that_has_the_name_by_now_is_not_taken_for_it(server):
    server.add("Running", body("a"))
    server.phases["a"] = ("Running", body("a", uid="another"))

    assert server.find() == {}


def test_what_cannot_be_asked_stays_as_it_was(server):
    server.add("Running", body("a"))
    server.find()
    server.fails = True

    assert server.find() == {ORDERS: "a"}


def test_of_a_workflow_without_known_pods_nobody_is_asked(server):
    assert (server.find(), server.asked) == ({}, [])
