"""Annotated pods as they are remembered."""

from __future__ import annotations

from flowgauge_operator.pods import Place, Pods

ORDERS = Place("shop", "orders")


def pod(uid="u1", namespace="shop", **annotations):
    told = {f"flowgauge.dev/{key}": value for key, value in annotations.items()}
    metadata = {"name": f"pod-{uid}", "namespace": namespace, "uid": uid, "annotations": told}
    return {"metadata": metadata | {"creationTimestamp": "2026-01-01T00:00:00Z"}}


def test_only_a_change_of_what_is_read_is_news():
    pods = Pods()

    assert pods.put(pod(workflow="orders")) == {ORDERS}
    again = pod(workflow="orders")
    again["metadata"]["annotations"]["else.where/x"] = "1"
    again["metadata"]["labels"] = {"a": "b"}
    assert pods.put(again) == set()
    assert pods.put(pod(workflow="orders", profile="contd")) == {ORDERS}


def test_a_pod_that_names_another_workflow_is_news_for_both():
    pods = Pods()
    pods.put(pod(workflow="orders"))

    assert pods.put(pod(workflow="other")) == {ORDERS, Place("shop", "other")}
    assert pods.at(ORDERS) == {}


def test_a_pod_without_the_annotation_is_forgotten():
    pods = Pods()
    pods.put(pod(workflow="orders"))

    assert pods.put(pod(profile="contd")) == {ORDERS}
    assert pods.put(pod(profile="contd")) == set()
    assert (len(pods), pods.places()) == (0, [])


def test_a_thousand_pods_of_one_template_are_one_saying():
    pods = Pods()
    for number in range(1000):
        body = pod(str(number), workflow="orders")
        body["metadata"]["ownerReferences"] = [
            {"kind": "ReplicaSet", "uid": "r", "controller": True}
        ]
        pods.put(body)

    (said,) = pods.at(ORDERS).values()
    assert (len(said.pods), len(said.born)) == (1000, 1)
    for number in range(1000):
        pods.drop(str(number))
    assert (len(pods), pods.at(ORDERS), pods._by_namespace) == (0, {}, {})


def test_a_pod_that_is_gone_is_named_no_more():
    pods = Pods()
    for uid in "bac":
        pods.put(pod(uid, workflow="orders"))
    (said,) = pods.at(ORDERS).values()

    assert said.pod == "pod-a"
    pods.drop("a")
    assert said.pod == "pod-b"


def test_what_a_list_does_not_hold_is_gone_in_its_namespace_only():
    pods = Pods()
    pods.put(pod("a", workflow="orders"))
    pods.put(pod("b", workflow="orders"))
    pods.put(pod("c", namespace="other", workflow="orders"))

    assert pods.keep_only({"a"}, "shop") == {ORDERS}
    assert ("a" in pods, "b" in pods, "c" in pods) == (True, False, True)
    assert pods.keep_only((), None) == {ORDERS, Place("other", "orders")}


def test_an_endless_value_is_not_remembered_whole():
    pods = Pods()
    pods.put(pod(workflow="x" * 100_000, profile="y" * 100_000))

    (place,) = pods.places()
    (saying,) = pods.at(place)
    assert max(map(len, (place.workflow, *dict(saying.annotations).values()))) <= 512


def test_endless_annotations_are_not_remembered_all():
    pods = Pods()
    pods.put(pod(workflow="orders", **{f"x{number}": "" for number in range(2000)}))

    (saying,) = pods.at(ORDERS)
    assert len(saying.annotations) == 64
