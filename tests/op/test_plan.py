import pytest

from flowgauge_operator import kinds, names
from flowgauge_operator.cache import Child
from flowgauge_operator.kinds import Ref
from flowgauge_operator.plan import Apply, Delete, plan


def wanted(name="a", content="h1", kind=kinds.SERVICE):
    metadata = {"name": name, "namespace": "shop", "annotations": {names.HASH: content}}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}


def there(name="a", content="h1", owner="u-1", kind=kinds.SERVICE, *, is_drifted=False):
    return Child(kind, "shop", name, f"uid-{name}", "7", owner, "orders", content, is_drifted)


def test_what_stands_as_wanted_needs_no_step():
    assert plan([wanted()], [there()], "u-1") == []


@pytest.mark.parametrize(
    ("seen", "is_new", "is_drifted"),
    [
        ([], True, False),
        ([there(content="h0")], False, False),
        ([there(is_drifted=True)], False, True),
        ([there(content="h0", is_drifted=True)], False, True),
        ([there(owner="u-0")], False, True),
        ([there(owner="")], False, True),
        ([there(kind=kinds.CONFIG_MAP, owner="u-2")], True, False),
    ],
)
def test_what_does_not_stand_as_wanted_is_applied(seen, is_new, is_drifted):
    assert plan([wanted()], seen, "u-1") == [Apply(wanted(), is_new=is_new, is_drifted=is_drifted)]


def test_what_is_no_longer_wanted_is_deleted_by_its_uid():
    assert plan([], [there()], "u-1") == [Delete(Ref(kinds.SERVICE, "shop", "a", "uid-a"))]


def test_applies_come_before_deletes():
    steps = plan([wanted("new"), wanted("newer")], [there("old"), there("older")], "u-1")

    assert [type(step) for step in steps] == [Apply, Apply, Delete, Delete]
    assert [step.ref.name for step in steps] == ["new", "newer", "old", "older"]


@pytest.mark.parametrize("owner", ["u-2", ""])
def test_a_foreign_child_is_never_deleted(owner):
    assert plan([], [there(owner=owner), there("b", owner=owner)], "u-1") == []


def test_without_pruning_nothing_goes():
    steps = plan([wanted()], [there("old")], "u-1", prune=False)

    assert steps == [Apply(wanted(), is_new=True, is_drifted=False)]


def test_what_has_no_owner_is_planned_by_the_empty_one():
    assert plan([wanted()], [there(owner="")], "") == []
    assert [type(step) for step in plan([], [there(owner="")], "")] == [Delete]
    assert plan([], [there(owner="u-1")], "") == []


def test_the_same_name_of_another_kind_is_another_object():
    steps = plan([wanted()], [there(kind=kinds.CONFIG_MAP)], "u-1")

    assert [(type(step), step.ref.kind) for step in steps] == [
        (Apply, kinds.SERVICE),
        (Delete, kinds.CONFIG_MAP),
    ]
