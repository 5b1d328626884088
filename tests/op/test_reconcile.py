"""The seam, with a cluster of a few lines: what is read, written and claimed in one turn."""

from __future__ import annotations

import asyncio
import dataclasses
from types import SimpleNamespace

import pytest

from flowgauge_operator import errors, kinds
from flowgauge_operator.cache import Cache, Key, child_of
from flowgauge_operator.reconcile import Reconciler
from flowgauge_operator.render import Capabilities, Options
from flowgauge_operator.status import Policy
from flowgauge_operator.verify import Group, Observation, Owner

KEY = Key("workflow", "shop", "orders")


class MemoryCluster:
    """Remembers what was asked of it; holds the workflow itself and nothing else."""

    def __init__(self):
        self.calls, self.statuses, self.has_workflow = [], [], True
        self.refusal, self.meanwhile, self.stored = None, lambda: None, {}
        self.unreadable = ""

    async def apply(self, manifest, *, only_new=False):
        if self.refusal:
            raise self.refusal
        kind = manifest["kind"]
        if only_new and kind in self.stored:
            raise errors.Conflict(409, "Conflict", "it exists")
        self.calls.append(("apply", kind))
        metadata = {**manifest["metadata"], "uid": f"uid-{kind}", "resourceVersion": "1"}
        self.stored[kind] = {**manifest, "metadata": metadata}
        self.meanwhile()
        return SimpleNamespace(uid=f"uid-{kind}", resource_version="1")

    async def restore(self, manifest):
        self.calls.append(("restore", manifest["kind"]))

    async def apply_status(self, ref, status):
        if not self.has_workflow:
            raise errors.NotFound(404, "NotFound", "not found")
        self.statuses.append(status)

    async def delete(self, ref, *, uid=None):
        self.calls.append(("delete", ref.kind.kind))
        return True

    async def get(self, ref, *, metadata_only=False):
        if ref.kind.kind == self.unreadable:
            raise errors.Forbidden(403, "Forbidden", "may not get")
        self.calls.append(("get", ref.kind.kind))
        if ref.kind.kind == "MonitoredWorkflow" and self.has_workflow:
            return {"metadata": {"uid": "u1"}}
        if ref.kind.kind in self.stored:
            return self.stored[ref.kind.kind]
        raise errors.NotFound(404, "NotFound", "not found")

    async def post(self, event):
        self.calls.append(("event", event.ref.kind.kind))


def body(generation=1):
    return {
        "metadata": {
            "name": "orders",
            "namespace": "shop",
            "uid": "u1",
            "resourceVersion": str(generation),
            "generation": generation,
        },
        "spec": {"selector": {"matchLabels": {"app": "orders"}}},
    }


@pytest.fixture
def turn():
    """A reconciler over a memory cluster, and `run` for one turn of the workflow."""
    cluster, cache, again = MemoryCluster(), Cache(), []
    reconciler = Reconciler(
        cluster,
        cache,
        Options(),
        Policy(),
        now=lambda: "2026-01-01T00:00:00Z",
        again=again.append,
        instance="test",
    )
    reconciler.capabilities = Capabilities()
    cache.put_workflow(body())

    def run(*, force=False):
        asyncio.run(reconciler.reconcile(KEY, force))
        return (
            {c["type"]: c["status"] for c in cluster.statuses[-1]["conditions"]}
            if cluster.statuses
            else {}
        )

    return SimpleNamespace(
        cluster=cluster, cache=cache, reconciler=reconciler, run=run, again=again
    )


def well(turn, number):
    """A look at Prometheus that finds everything in order."""
    rendered = turn.cache.expected[KEY].rendered
    owner = Owner("shop", "orders")
    return Observation(
        number=number,
        targets={owner: (2, 2)},
        families={owner: set(rendered.required)},
        groups={group: Group(1) for group in rendered.rule_groups},
        revisions={owner: rendered.revision},
        pools={rendered.pool},
    )


def test_a_second_turn_with_nothing_changed_asks_for_nothing(turn):
    turn.run()
    done = len(turn.cluster.calls), len(turn.cluster.statuses)

    turn.run()

    assert turn.cluster.calls.count(("apply", "PrometheusRule")) == 1
    assert (len(turn.cluster.calls), len(turn.cluster.statuses)) == done


def test_nothing_is_claimed_before_prometheus_was_asked(turn):
    states = turn.run()

    assert (states["Provisioned"], states["Healthy"], states["Ready"]) == (
        "True",
        "Unknown",
        "Unknown",
    )


def test_a_look_that_began_before_a_change_does_not_speak_of_it(turn):
    turn.run()
    turn.reconciler.looks = 1
    turn.reconciler.seen = well(turn, 1)
    assert turn.run()["Ready"] == "True"

    turn.cache.put_workflow(body(generation=2) | {"status": turn.cluster.statuses[-1]})
    before = turn.run()
    turn.reconciler.looks = 2
    turn.reconciler.seen = well(turn, 2)
    after = turn.run()

    assert (before["Healthy"], before["Ready"]) == ("Unknown", "Unknown")
    assert (after["Healthy"], after["Ready"]) == ("True", "True")


def test_children_are_not_made_again_for_an_owner_that_is_gone(turn):
    turn.run()
    turn.cache.drop_child(("PrometheusRule", "shop", "orders-rules"))
    turn.cluster.has_workflow = False
    turn.cluster.calls.clear()

    turn.run(force=True)

    assert turn.cluster.calls == [("get", "MonitoredWorkflow")]
    assert KEY not in turn.cache.workflows


def test_a_namespace_that_goes_away_is_told_and_not_tried_again(turn):
    turn.cluster.refusal = errors.Forbidden(403, "Forbidden", "no", ("NamespaceTerminating",))

    turn.run()

    told = {c["type"]: c["reason"] for c in turn.cluster.statuses[-1]["conditions"]}
    assert told["Provisioned"] == "NamespaceTerminating"


def test_a_workflow_that_went_during_its_turn_is_not_tried_again(turn):
    turn.cluster.refusal = errors.NotFound(404, "NotFound", "the namespace is gone")
    turn.cluster.has_workflow = False

    turn.run()

    assert KEY not in turn.cache.workflows


def test_an_api_server_that_refuses_is_tried_again(turn):
    turn.cluster.refusal = errors.Unavailable(503, "Unavailable", "not now")

    with pytest.raises(errors.Unavailable):
        turn.run()


def written(turn, kind, version, **changes):
    """The news that somebody wrote a child: its metadata only."""
    stored = turn.cluster.stored[kind]
    stored |= changes
    stored["metadata"] = {**stored["metadata"], "resourceVersion": version}
    turn.cache.put_child(child_of(kinds.kind_of(stored), {"metadata": stored["metadata"]}))


def test_a_child_that_somebody_wrote_is_looked_at_and_put_right(turn):
    turn.run()
    turn.cluster.calls.clear()
    written(turn, "PrometheusRule", "7", spec={"groups": []})

    turn.run()

    assert turn.cluster.calls == [
        ("get", "PrometheusRule"),
        ("restore", "PrometheusRule"),
        ("apply", "PrometheusRule"),
    ]


def test_a_child_that_was_written_without_a_difference_is_left_alone(turn):
    turn.run()
    turn.cluster.calls.clear()
    written(turn, "PrometheusRule", "7")

    turn.run()
    turn.run()

    assert turn.cluster.calls == [("get", "PrometheusRule")]


def test_a_child_that_is_gone_when_it_is_looked_at_is_made_again(turn):
    turn.run()
    written(turn, "PrometheusRule", "7")
    del turn.cluster.stored["PrometheusRule"]
    turn.cluster.calls.clear()

    turn.run()

    assert turn.cluster.calls == [("get", "PrometheusRule"), ("apply", "PrometheusRule")]


def test_a_child_that_may_not_be_read_is_told_and_stops_no_other(turn):
    turn.run()
    written(turn, "ConfigMap", "7")
    written(turn, "PrometheusRule", "8", spec={"groups": []})
    turn.cluster.unreadable = "ConfigMap"
    turn.cluster.calls.clear()

    with pytest.raises(errors.Forbidden):
        turn.run()

    told = {c["type"]: c for c in turn.cluster.statuses[-1]["conditions"]}
    assert told["Provisioned"]["reason"] == "Forbidden"
    assert (
        "ConfigMap orders-dashboard: 403 Forbidden: may not get" in told["Provisioned"]["message"]
    )
    assert ("apply", "PrometheusRule") in turn.cluster.calls


def test_what_is_written_during_our_own_apply_is_looked_at_in_another_turn(turn):
    def edit():
        written(turn, "ConfigMap", "7", data={})
        turn.cluster.meanwhile = lambda: None

    turn.run()
    turn.cache.drop_child(("ConfigMap", "shop", "orders-dashboard"))
    del turn.cluster.stored["ConfigMap"]
    turn.cluster.meanwhile, turn.again[:] = edit, []

    turn.run()

    assert turn.again == [KEY]
    assert [child.kind.kind for child in turn.cache.unverified(KEY)] == ["ConfigMap"]


def test_the_echo_that_comes_before_the_answer_costs_nothing(turn):
    turn.cluster.meanwhile = lambda: written(turn, list(turn.cluster.stored)[-1], "1")

    turn.run()

    assert turn.cache.unverified(KEY) == []
    assert KEY not in turn.again


def test_an_object_of_ours_that_the_cache_does_not_know_is_taken_back(turn):
    turn.run()
    turn.cache.drop_child(("ConfigMap", "shop", "orders-dashboard"))
    turn.cluster.calls.clear()

    turn.run()

    assert turn.cluster.calls == [("get", "ConfigMap"), ("apply", "ConfigMap")]


def test_the_cache_keeps_no_bodies_of_children(turn):
    turn.run()

    assert turn.cache.expected[KEY].rendered.children == ()


SHOP = Key("namespace", "shop")


def shared_turn(turn):
    """One turn of what the namespace shares; return its calls."""
    turn.cluster.calls.clear()
    asyncio.run(turn.reconciler.reconcile(SHOP))
    return turn.cluster.calls


def test_a_namespace_gets_what_its_workflows_share_once(turn):
    turn.run()

    turn.cluster.stored.clear()  # it knows one object of each kind

    assert shared_turn(turn) == [("apply", "ConfigMap"), ("apply", "ServiceMonitor")]
    assert shared_turn(turn) == []


def test_what_is_shared_goes_with_the_last_workflow_that_is_known(turn):
    turn.run()
    shared_turn(turn)
    other = body()
    other["metadata"] |= {"name": "other", "uid": "u2"}
    turn.cache.put_workflow(other)
    turn.cache.drop_workflow(KEY)

    # Nobody has rendered the other one yet, so nobody knows what it shares.
    assert shared_turn(turn) == []

    turn.cache.drop_workflow(KEY._replace(name="other"))
    assert sorted(shared_turn(turn)) == [("delete", "ConfigMap"), ("delete", "ServiceMonitor")]


def test_a_monitor_that_names_workflows_waits_until_all_of_them_are_known(turn):
    annotated = body() | {"spec": {"scrape": {"mode": "AnnotatedPods"}}}
    turn.cache.put_workflow(annotated)
    turn.run()
    other = {**annotated, "metadata": annotated["metadata"] | {"name": "other", "uid": "u2"}}
    turn.cache.put_workflow(other)

    # Without the other one in it, the other one's pods would no longer be scraped.
    assert shared_turn(turn) == []

    turn.cache.refused.add(KEY._replace(name="other"))
    assert ("apply", "PodMonitor") in shared_turn(turn)


def test_a_workflow_that_cannot_be_rendered_keeps_no_others_waiting(turn):
    turn.cache.put_workflow(body(2) | {"spec": body()["spec"] | {"profile": "nobodys"}})
    turn.run()

    assert turn.cache.shares("shop").is_judged
    assert not turn.cache.shares("shop").is_known


def scraped(turn):
    """The names of the workflows whose pods the PodMonitor scrapes."""
    (endpoint,) = turn.cluster.stored["PodMonitor"]["spec"]["podMetricsEndpoints"]
    return endpoint["relabelings"][0]["regex"].split("|")


def annotated_body(name, **spec):
    metadata = body()["metadata"] | {"name": name, "uid": f"u-{name}"}
    return {"metadata": metadata, "spec": {"scrape": {"mode": "AnnotatedPods"}} | spec}


def test_pods_of_a_workflow_that_cannot_be_rendered_are_scraped_on_after_a_restart(turn):
    turn.cache.put_workflow(annotated_body("orders"))
    turn.cache.put_workflow(annotated_body("other", profile="contd"))
    turn.run()
    asyncio.run(turn.reconciler.reconcile(KEY._replace(name="other")))
    shared_turn(turn)
    assert scraped(turn) == ["orders", "other"]

    # As an operator that has just been started knows it.
    turn.cache.expected.clear()
    turn.cache.put_workflow(annotated_body("never", profile="nobodys"))
    turn.cache.put_workflow(annotated_body("other", profile="nobodys"))
    for name in ("never", "other", "orders"):
        asyncio.run(turn.reconciler.reconcile(KEY._replace(name=name)))
    assert shared_turn(turn) == [("get", "PodMonitor")]
    assert scraped(turn) == ["orders", "other"]

    turn.cache.drop_workflow(KEY)
    assert shared_turn(turn) == [("apply", "PodMonitor")]
    assert scraped(turn) == ["other"]
    (endpoint,) = turn.cluster.stored["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert endpoint["relabelings"][4]["replacement"] == "9090"

    turn.cache.put_workflow(annotated_body("other", profile="workflow"))
    asyncio.run(turn.reconciler.reconcile(KEY._replace(name="other")))
    shared_turn(turn)
    assert turn.cache.kept.keys() == {KEY._replace(name="never")}


def by_grafana_operator(turn):
    spec = body()["spec"] | {"dashboard": {"mode": "GrafanaDashboard"}}
    turn.cache.put_workflow(body(2) | {"spec": spec})
    turn.run()


def test_of_a_grafana_dashboard_nothing_is_claimed_until_its_operator_speaks(turn):
    by_grafana_operator(turn)
    reasons = [{c["type"]: c["reason"] for c in s["conditions"]} for s in turn.cluster.statuses]
    assert reasons[-1]["Provisioned"] == "DashboardNotSeenYet"

    said = {"type": "NoMatchingInstance", "status": "True", "observedGeneration": 1}
    turn.cluster.stored["GrafanaDashboard"]["metadata"]["generation"] = 1
    written(turn, "GrafanaDashboard", "7", status={"conditions": [said | {"message": "none"}]})
    turn.run()

    told = {c["type"]: c for c in turn.cluster.statuses[-1]["conditions"]}
    assert told["Provisioned"]["reason"] == "DashboardNotSynchronized"
    assert "NoMatchingInstance: none" in told["Provisioned"]["message"]
    assert told["Provisioned"]["status"] == "True"


@pytest.mark.parametrize(
    ("message", "calls"),
    [
        ("spec.instanceSelector is immutable", [("delete", "GrafanaDashboard")]),
        ("requires a recreate to ensure desired state", [("delete", "GrafanaDashboard")]),
        ("spec.folder is too long", []),
    ],
)
def test_only_what_can_be_made_anew_alone_is_deleted_after_a_refusal(turn, message, calls):
    by_grafana_operator(turn)
    known = turn.cache.children["GrafanaDashboard", "shop", "orders-dashboard"]
    turn.cache.put_child(dataclasses.replace(known, hash="another setting"))
    turn.cluster.refusal = errors.Invalid(422, "Invalid", message)
    turn.cluster.calls.clear()

    with pytest.raises(errors.Invalid):
        turn.run()

    assert [call for call in turn.cluster.calls if call[0] == "delete"] == calls
