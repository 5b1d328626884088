"""The shell of discovery, with a cluster of a few lines: what is written, and what is left alone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from flowgauge_operator import errors
from flowgauge_operator.cache import Cache, Key
from flowgauge_operator.discoverer import Discoverer, Policy
from flowgauge_operator.discovery import Keep
from flowgauge_operator.pods import Pods

KEY, FLOW = Key("pods", "shop", "orders"), Key("workflow", "shop", "orders")
NOW = datetime(2026, 1, 2, tzinfo=UTC)


class MemoryCluster:
    """Holds what was applied, and refuses what it is told to."""

    def __init__(self, cache):
        self.calls, self.refusals, self.cache = [], {}, cache

    def _called(self, verb, *what):
        self.calls.append((verb, *what))
        if error := self.refusals.pop(verb, None):
            raise error

    async def apply(self, manifest, *, only_new=False, manager="", force=True):
        self._called("create" if only_new else "apply", force)
        assert manager == "flowgauge-discovery"
        # Other turns go on meanwhile.
        await asyncio.sleep(0)
        made = manifest["metadata"]
        self.put(manifest["spec"], made["labels"], made["annotations"], name=made["name"])
        return SimpleNamespace(uid="u1")

    def put(
        self,
        spec,
        labels=None,
        annotations=None,
        writers=("flowgauge-discovery",),
        name="orders",
    ):
        fields = [
            {"manager": m, "operation": "Update", "fieldsV1": {"f:spec": {}}} for m in writers
        ]
        metadata = {"name": name, "namespace": "shop", "uid": "u1", "resourceVersion": "7"}
        metadata |= {"generation": 1, "managedFields": fields}
        metadata |= {"labels": labels or {}, "annotations": annotations or {}}
        self.cache.put_workflow({"metadata": metadata, "spec": spec})

    async def merge(self, ref, patch, *, manager=""):
        assert ref.uid == patch["metadata"].pop("uid") == "u1"
        self._called("merge", patch["metadata"])

    async def delete(self, ref, *, uid=None, version=None):
        self._called("delete", uid, version)

    async def post(self, event):
        self._called("event", event.ref.kind.kind, event.reason)


@pytest.fixture
def scene():
    cache, pods, again = Cache(), Pods(), []
    cluster, clock = MemoryCluster(cache), SimpleNamespace(now=NOW, knows=True)
    discoverer = Discoverer(
        cluster,
        cache,
        pods,
        Policy(Keep(60, 600), 2),
        now=lambda: clock.now,
        is_known=lambda _namespace: clock.knows,
        again=again.append,
        instance="test",
    )

    def turn(key=KEY):
        cluster.calls.clear()
        return asyncio.run(discoverer.turn(key))

    return SimpleNamespace(
        cluster=cluster,
        cache=cache,
        pods=pods,
        discoverer=discoverer,
        turn=turn,
        clock=clock,
        again=again,
    )


def pod(name="a", workflow="orders", **annotations):
    told = {f"flowgauge.dev/{key}": value for key, value in annotations.items()}
    told["flowgauge.dev/workflow"] = workflow
    owners = [{"kind": "ReplicaSet", "uid": "r", "controller": True}]
    metadata = {"name": name, "namespace": "shop", "uid": name, "annotations": told}
    return {"metadata": metadata | {"ownerReferences": owners}}


def verbs(scene):
    return [call[0] for call in scene.cluster.calls]


def discovered(scene, **annotations):
    scene.pods.put(pod(**annotations))
    scene.turn()


def test_the_same_wish_is_written_once(scene):
    discovered(scene)
    assert verbs(scene) == ["create", "event"]

    scene.turn()
    assert scene.cluster.calls == []


def test_a_workflow_that_somebody_makes_at_the_same_moment_is_left_alone(scene):
    scene.pods.put(pod())
    scene.cluster.refusals["create"] = errors.Conflict(409, "Conflict", "it exists")

    assert scene.turn() > 0
    assert verbs(scene) == ["create"]


def test_a_field_that_somebody_owns_is_not_taken_from_him(scene):
    discovered(scene)
    scene.pods.put(pod(profile="contd"))
    scene.cluster.refusals["apply"] = errors.Conflict(409, "Conflict", "owned by kubectl-edit")

    assert scene.turn() is None
    assert scene.cluster.calls[0] == ("apply", False)


def test_a_change_that_a_policy_refuses_is_told_and_tried_again(scene):
    discovered(scene)
    scene.pods.put(pod(profile="contd"))
    scene.cluster.refusals["apply"] = errors.Invalid(400, "BadRequest", "policy: no contd")

    assert scene.turn() == 60
    (remark,) = scene.discoverer.remarks(FLOW)
    assert (remark.reason, "policy: no contd" in remark.message) == ("ChangeRefused", True)
    assert ("event", "MonitoredWorkflow", "ChangeRefused") in scene.cluster.calls

    assert scene.turn() is None
    assert scene.discoverer.remarks(FLOW) == ()


def test_since_when_there_is_no_pod_is_written_once_and_counts_over_a_restart(scene):
    discovered(scene)
    scene.pods.drop("a")

    assert scene.turn() == 60
    ((_, patch),) = scene.cluster.calls
    assert patch == {"annotations": {"flowgauge.dev/pods-gone-since": "2026-01-02T00:00:00Z"}}

    entry = scene.cache.workflows[FLOW]
    said = patch["annotations"] | {"flowgauge.dev/keep": entry.mark.keep}
    scene.cluster.put(entry.body["spec"], {"flowgauge.dev/discovered": "true"}, said)
    scene.clock.now = NOW + timedelta(seconds=59)
    assert scene.turn() == 1
    assert scene.cluster.calls == []
    scene.clock.now = NOW + timedelta(seconds=60)
    assert scene.turn() is None
    assert scene.cluster.calls == [("delete", "u1", "7")]


def test_a_workflow_that_was_changed_since_it_was_seen_is_not_deleted(scene):
    said = {"flowgauge.dev/pods-gone-since": "2025-01-01T00:00:00Z", "flowgauge.dev/keep": "1m"}
    scene.cluster.put({}, {"flowgauge.dev/discovered": "true"}, said)
    scene.cluster.refusals["delete"] = errors.Conflict(409, "Conflict", "precondition")

    assert scene.turn() > 0


def test_a_pod_that_comes_back_ends_the_waiting(scene):
    said = {"flowgauge.dev/pods-gone-since": "2025-01-01T00:00:00Z"}
    scene.cluster.put({}, {"flowgauge.dev/discovered": "true"}, said)
    scene.pods.put(pod())

    scene.turn()

    assert (
        "merge",
        {"annotations": {"flowgauge.dev/pods-gone-since": None}},
    ) in scene.cluster.calls
    assert "delete" not in verbs(scene)


def test_a_pod_that_came_and_went_between_two_turns_counts(scene):
    said = {"flowgauge.dev/pods-gone-since": "2025-01-01T00:00:00Z", "flowgauge.dev/keep": "1m"}
    scene.cluster.put({}, {"flowgauge.dev/discovered": "true"}, said)
    scene.pods.put(pod())
    scene.pods.drop("a")

    assert scene.turn() > 0

    assert scene.cluster.calls == [
        ("merge", {"annotations": {"flowgauge.dev/pods-gone-since": "2026-01-02T00:00:00Z"}})
    ]


def test_a_pod_that_came_and_went_counts_also_after_a_turn_that_failed(scene):
    said = {"flowgauge.dev/pods-gone-since": "2025-01-01T00:00:00Z", "flowgauge.dev/keep": "1m"}
    scene.cluster.put({}, {"flowgauge.dev/discovered": "true"}, said)
    scene.pods.put(pod())
    scene.pods.drop("a")
    scene.cluster.refusals["merge"] = errors.ApiError(500, "InternalError", "not now")

    with pytest.raises(errors.ApiError):
        scene.turn()
    scene.turn()

    assert verbs(scene) == ["merge"]


def test_while_pods_cannot_be_seen_nothing_ages(scene):
    said = {"flowgauge.dev/pods-gone-since": "2025-01-01T00:00:00Z"}
    scene.cluster.put({}, {"flowgauge.dev/discovered": "true"}, said)
    scene.clock.knows = False

    assert (scene.turn(), scene.cluster.calls) == (None, [])


@pytest.mark.parametrize("labels", [{}, {"flowgauge.dev/discovered": "true"}])
def test_what_somebody_wrote_is_neither_changed_nor_deleted(scene, labels):
    scene.cluster.put({"selector": {}}, labels, writers=("flux",))

    for is_there in (True, False):
        scene.pods.put(pod()) if is_there else scene.pods.drop("a")
        scene.turn()
        assert set(verbs(scene)) <= {"event"}
        assert bool(scene.discoverer.remarks(FLOW)) is is_there


def test_a_complaint_is_told_once_and_not_again_after_a_restart(scene):
    discovered(scene, port="0")
    assert scene.cluster.calls.count(("event", "MonitoredWorkflow", "InvalidAnnotation")) == 1
    scene.turn()
    assert verbs(scene) == []

    scene.discoverer._remarks.clear()
    scene.discoverer.recall()
    scene.turn()
    assert verbs(scene) == []
    assert [p.reason for p in scene.discoverer.remarks(FLOW)] == ["InvalidAnnotation"]


def test_as_many_as_are_allowed_are_made_also_at_once_and_beside_those_by_hand(scene):
    scene.cluster.put({}, name="by-hand", writers=("kubectl",))
    workflows = ("one", "two", "three")
    for name in workflows:
        scene.pods.put(pod(name, workflow=name))

    async def at_once():
        turns = (scene.discoverer.turn(Key("pods", "shop", name)) for name in workflows)
        await asyncio.gather(*turns)

    asyncio.run(at_once())
    assert (verbs(scene).count("create"), scene.discoverer.refused) == (2, 1)


def test_refusals_are_counted_all_and_told_ten_times(scene):
    for number in range(30):
        scene.pods.put(pod(f"p{number}", workflow=f"No {number}"))
    told = 0
    for place in scene.pods.places():
        scene.turn(Key("pods", *place))
        told += verbs(scene).count("event")
        assert "create" not in verbs(scene)

    assert (told, scene.discoverer.refused) == (10, 30)
    for number in range(30):
        scene.pods.drop(f"p{number}")
        scene.turn(Key("pods", "shop", f"No {number}"))
    assert scene.discoverer.refused == 0


def test_a_refusal_is_told_again_where_the_pod_that_it_was_told_on_is_gone(scene):
    scene.pods.put(pod("a", workflow="No"))
    scene.pods.put(pod("b", workflow="No"))
    key = Key("pods", "shop", "No")

    told = []
    for gone in ("", "a", "b"):
        scene.pods.drop(gone)
        scene.turn(key)
        told.append(verbs(scene).count("event"))
        scene.pods.put(pod("c", workflow="No"))

    assert told == [1, 0, 1]


def test_what_is_no_name_is_not_in_the_way_of_what_waits_for_room(scene):
    names = (*(f"No {number}" for number in range(15)), "one", "two", "waits")
    for name in names:
        scene.pods.put(pod(name, workflow=name))
        scene.turn(Key("pods", "shop", name))

    assert [key.name for key in scene.discoverer.waiting("shop")] == ["waits"]


def test_what_a_quota_refuses_is_told_once_and_made_when_there_is_room(scene):
    scene.pods.put(pod())
    for told in (["create", "event"], ["create"]):
        scene.cluster.refusals["create"] = errors.Forbidden(403, "Forbidden", "exceeded quota: q")
        assert scene.turn() == 60
        assert verbs(scene) == told
    assert scene.discoverer.refused == 1

    assert scene.turn() is None
    assert verbs(scene) == ["create", "event"]
    assert scene.discoverer.refused == 0


def test_in_a_namespace_that_goes_away_nothing_is_tried_again(scene):
    scene.pods.put(pod())
    scene.cluster.refusals["create"] = errors.Forbidden(
        403, "Forbidden", "it is being terminated", ("NamespaceTerminating",)
    )

    assert scene.turn() is None
