"""The watch of pods: what is decoded, what is dropped, what a new list tells."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from flowgauge_operator import errors
from flowgauge_operator.pods import Place, Pods
from flowgauge_operator.podwatch import PodWatch, selector

ORDERS = Place("shop", "orders")


def pod(uid, version="5", **annotations):
    told = {f"flowgauge.dev/{key}": value for key, value in annotations.items()}
    metadata = {"name": f"pod-{uid}", "namespace": "shop", "uid": uid, "resourceVersion": version}
    return {"metadata": metadata | ({"annotations": told} if told else {})}


def line(kind, body):
    return json.dumps({"type": kind, "object": body}, separators=(",", ":")).encode()


class Stream:
    """A cluster with a list of pods and streams of events, one for each watch; then it is silent."""

    def __init__(self, listed=(), *streams):
        self.listed, self.streams, self.asked, self.denied = list(listed), list(streams), [], ""
        self.silent = asyncio.Event()

    async def may(self, verb, _group, resource, _namespace):
        return f"{verb} {resource}" != self.denied

    async def pages(self, _kind, _namespace, label_selector):
        self.asked.append(("list", label_selector))
        yield {"metadata": {"resourceVersion": "3"}, "items": self.listed}

    async def watch(self, _kind, _namespace, _label_selector, version):
        self.asked.append(("watch", version))
        if not self.streams:
            self.silent.set()
            await asyncio.sleep(3600)
        found = self.streams.pop(0)
        if isinstance(found, Exception):
            raise found
        yield found


async def until_silent(cluster, watch):
    task = asyncio.create_task(watch.run(asyncio.Event()))
    # Without the permission nothing is watched at all.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.1 if cluster.denied else 10):
            await cluster.silent.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def watched(cluster, pods, **options):
    """What was told until the last stream is silent."""
    told = []
    watch = PodWatch(cluster, pods, told.extend, look_seconds=0.01, **options)

    async def run():
        await watch.begin()
        await until_silent(cluster, watch)

    asyncio.run(run())
    return told, watch


def test_only_what_concerns_us_is_decoded():
    lines = [line("MODIFIED", pod(f"other-{number}")) for number in range(100)]
    lines += [line("ADDED", pod("a", "9", workflow="orders"))]
    cluster, pods = Stream([], lines), Pods()

    told, watch = watched(cluster, pods)

    assert told == [ORDERS]
    assert (watch.counts.events, watch.counts.decoded) == (101, 1)
    assert cluster.asked[-1] == ("watch", "9")


def test_an_annotation_that_is_removed_is_seen_although_its_event_lacks_it():
    cluster, pods = Stream([pod("a", workflow="orders")], [line("MODIFIED", pod("a", "9"))]), Pods()

    watched(cluster, pods)

    assert len(pods) == 0


def test_a_deleted_pod_is_forgotten():
    gone = line("DELETED", pod("a", "9", workflow="orders"))
    cluster, pods = Stream([pod("a", workflow="orders"), pod("b")], [gone]), Pods()

    told, _ = watched(cluster, pods)

    assert (len(pods), told[-1]) == (0, ORDERS)


@pytest.mark.parametrize(
    "end",
    [
        errors.Expired(410, "Expired", "too old"),
        [line("ERROR", {"kind": "Status", "code": 410, "message": "too old"})],
    ],
)
def test_after_a_gap_a_list_tells_what_was_deleted_meanwhile(end, caplog):
    cluster, pods = Stream([pod("a", workflow="orders")], end), Pods()
    told = []
    changed = PodWatch(cluster, pods, told.extend)

    async def run():
        await changed.begin()
        cluster.listed = []
        await until_silent(cluster, changed)

    asyncio.run(run())

    assert (len(pods), told[-1]) == (0, ORDERS)
    assert [verb for verb, _ in cluster.asked] == ["list", "watch", "list", "watch"]
    assert caplog.text == ""


def test_a_bookmark_moves_the_place_where_a_watch_goes_on():
    mark = {"kind": "Pod", "metadata": {"resourceVersion": "77", "creationTimestamp": None}}
    cluster, pods = Stream([], [line("BOOKMARK", mark)]), Pods()

    watched(cluster, pods)

    assert cluster.asked[-1] == ("watch", "77")


@pytest.mark.parametrize("denied", ["list pods", "watch pods", "delete monitoredworkflows"])
def test_a_missing_permission_is_named_and_nothing_counts_as_gone(denied, caplog):
    cluster, pods = Stream([pod("a", workflow="orders")]), Pods()
    cluster.denied = denied

    told, watch = watched(cluster, pods)

    assert (told, cluster.asked, watch.is_known("shop")) == ([], [], False)
    verb, resource = denied.split()
    assert f"the operator may not {verb} {resource}" in caplog.text


def test_when_a_permission_is_taken_away_pods_stay_and_nothing_is_known_any_more():
    refused = errors.Forbidden(403, "Forbidden", "may not watch")
    cluster, pods = Stream([pod("a", workflow="orders")], refused), Pods()
    watch = PodWatch(cluster, pods, lambda _places: None, look_seconds=0.01)

    async def run():
        await watch.begin()
        assert watch.is_known("shop")
        cluster.denied = "list pods"
        await until_silent(cluster, watch)

    asyncio.run(run())

    assert (watch.is_known("shop"), len(pods)) == (False, 1)


def test_each_namespace_is_known_by_itself():
    cluster, pods = Stream(), Pods()

    _, watch = watched(cluster, pods, namespaces=("shop", "other"))

    assert [watch.is_known(name) for name in ("shop", "other", "third")] == [True, True, False]


def test_the_label_is_a_matter_of_the_mode():
    assert [selector(mode) for mode in ("annotation", "label")] == [
        None,
        "flowgauge.dev/monitor=true",
    ]
