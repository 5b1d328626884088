import pytest

from flowgauge_operator import kinds
from flowgauge_operator.cache import Cache, Child, Expectation, Key, child_of, key_of
from flowgauge_operator.render import Rendered, Share, shared

ORDERS = Key("workflow", "shop", "orders")


def body(name="orders", *, generation=1, version="1", uid="u-1", deleting=False, status=None):
    metadata = {"name": name, "namespace": "shop", "uid": uid, "resourceVersion": version}
    metadata |= {"generation": generation, "managedFields": ["long"]}
    metadata |= {"deletionTimestamp": "2025-01-01T00:00:00Z"} if deleting else {}
    return {"metadata": metadata, "spec": {"profile": "workflow"}, "status": status or {}}


def child(name="a", workflow="orders"):
    return Child(kinds.SERVICE, "shop", name, "uid", "1", "u-1", workflow, "h")


BOARDS = Share("ConfigMap", "flowgauge-dashboards")


def expectation(*shares):
    rendered = Rendered((), shares, "r", (), None, True, (), ())
    return Expectation(1, rendered)


@pytest.mark.parametrize(
    ("second", "is_news"),
    [
        (body(version="2"), False),
        (body(version="2", status={"conditions": []}), False),
        (body(generation=2), True),
        (body(uid="u-2"), True),
        (body(deleting=True), True),
    ],
)
def test_news_is_spec_identity_or_deletion(second, is_news):
    cache = Cache()

    assert cache.put_workflow(body()) is True
    assert cache.put_workflow(second) is is_news
    assert list(cache.workflows) == [ORDERS]


def test_a_workflow_is_remembered_slim():
    cache = Cache()

    cache.put_workflow(body(status={"observedGeneration": 1}))

    assert "managedFields" not in cache.workflows[ORDERS].body["metadata"]
    assert cache.workflows[ORDERS].status == {"observedGeneration": 1}


def test_a_dropped_workflow_leaves_its_children_to_the_garbage_collector():
    cache = Cache()
    cache.put_workflow(body())
    cache.expected[ORDERS] = expectation(shared.MONITOR)
    cache.put_child(child())

    cache.drop_workflow(ORDERS)
    cache.drop_workflow(ORDERS)

    assert (cache.workflows, cache.expected) == ({}, {})
    assert list(cache.children_of(ORDERS)) == [child()]


def test_a_child_is_found_under_its_workflow_and_no_other():
    cache = Cache()

    cache.put_child(child("a"))
    cache.put_child(child("b", workflow="other"))
    cache.put_child(child("shared", workflow=""))

    assert [c.name for c in cache.children_of(ORDERS)] == ["a"]
    assert [c.name for c in cache.children_of(Key("namespace", "shop"))] == ["shared"]


def test_a_child_that_changes_hands_is_found_under_the_new_workflow_only():
    cache = Cache()
    cache.put_child(child("a"))

    cache.put_child(child("a", workflow="other"))

    assert list(cache.children_of(ORDERS)) == []
    assert [c.name for c in cache.children_of(Key("workflow", "shop", "other"))] == ["a"]


def test_a_child_can_be_dropped_while_its_fellows_are_walked():
    cache = Cache()
    for name in "abc":
        cache.put_child(child(name))

    dropped = [cache.drop_child(c.identity) for c in cache.children_of(ORDERS)]

    assert len(dropped) == 3
    assert cache.drop_child(("Service", "shop", "a")) is None


@pytest.mark.parametrize(
    ("known", "needed", "is_known"),
    [
        ({"orders": (shared.MONITOR,)}, {shared.MONITOR}, True),
        ({"orders": ()}, set(), True),
        ({"orders": None}, set(), False),
        ({"orders": None, "other": (shared.MONITOR,)}, {shared.MONITOR}, False),
        ({"orders": (BOARDS,), "other": (shared.MONITOR,)}, {BOARDS, shared.MONITOR}, True),
        ({"orders": (BOARDS,), "other": (BOARDS,)}, {BOARDS}, True),
        ({}, set(), True),
    ],
)
def test_a_namespace_needs_what_any_of_its_workflows_does(known, needed, is_known):
    cache = Cache()
    for name, shares in known.items():
        cache.put_workflow(body(name))
        if shares is not None:
            cache.expected[key_of(body(name))] = expectation(*shares)

    assert cache.shares("shop")[:2] == (needed, is_known)


def test_a_workflow_that_is_being_deleted_needs_nothing():
    cache = Cache()
    cache.put_workflow(body(deleting=True))
    cache.expected[ORDERS] = expectation(shared.MONITOR)

    assert cache.shares("shop")[:2] == (frozenset(), True)


@pytest.mark.parametrize(("digest", "is_drifted"), [("h", False), ("other", True), (None, False)])
def test_a_child_has_drifted_where_its_content_is_not_what_was_applied(digest, is_drifted):
    metadata = {
        "name": "a",
        "namespace": "shop",
        "uid": "uid",
        "resourceVersion": "1",
        "labels": {"flowgauge.dev/workflow": "orders"},
        "annotations": {"flowgauge.dev/hash": "h"},
        "ownerReferences": [{"uid": "u-0"}, {"uid": "u-1", "controller": True}],
    }

    made = child_of(kinds.SERVICE, {"metadata": metadata}, digest)

    assert (made.owner, made.workflow, made.hash, made.is_drifted) == (
        "u-1",
        "orders",
        "h",
        is_drifted,
    )


def test_an_object_without_labels_and_owner_is_nobodys():
    made = child_of(kinds.SERVICE, {"metadata": {"name": "a", "uid": "uid"}}, "d")

    assert (made.owner, made.workflow, made.hash, made.namespace) == ("", "", "", "")
