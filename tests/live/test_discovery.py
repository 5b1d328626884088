"""Annotated pods on a real API server: workflows that appear, follow, are taken over, and go."""

from __future__ import annotations

import json
import secrets
import time

import pytest
import yaml
from annotated_pods import ANNOTATION, Annotated, is_marked

from rig.kubectl import KubectlError

pytestmark = pytest.mark.cluster

# Without a pod, for so long a discovered workflow stays here.
KEEP = 4


@pytest.fixture(scope="module")
def discovering(operator, in_place_of):
    flags = [f"--discovery-keep={KEEP}s", f"--discovery-keep-intermittent={KEEP}s"]
    discovery = {"limit": 4}
    with in_place_of(operator, "discovering", extraArgs=flags, discovery=discovery) as running:
        yield running


@pytest.fixture
def annotated(discovering, namespace):
    return Annotated(discovering, namespace)


def test_an_annotated_pod_is_monitored_as_it_says_and_as_it_says_later(annotated):
    annotated.pod("a", workflow="orders", slo_success="99.5", slo_latency="95% < 5m")

    made = annotated.wait(lambda w: w.get("status"), "a status")

    assert is_marked(made)
    assert made["spec"]["scrape"]["mode"] == "AnnotatedPods"
    assert [(s["name"], s["objective"]) for s in made["spec"]["slos"]] == [
        ("success", 99.5),
        ("latency", 95),
    ]
    writers = annotated.cluster.get(
        "mwf", "orders", f"--namespace={annotated.namespace}", "--show-managed-fields"
    )["metadata"]["managedFields"]
    assert {m["manager"] for m in writers} == {
        "flowgauge-discovery",
        "flowgauge-status",
    }
    assert ("Discovered", f"made for pods with the annotation {ANNOTATION}: orders, such as a") in (
        annotated.events("MonitoredWorkflow")
    )
    annotated.operator.wait_condition("Provisioned", "True", annotated.namespace)
    monitor = annotated.operator.wait_get("podmonitor", "flowgauge-pods", annotated.namespace)
    assert "orders" in json.dumps(monitor["spec"])

    annotated.say("a", "slo-success=98", "slo-latency-", "profile=contd")
    changed = annotated.wait(lambda w: w["spec"]["profile"] == "contd", "the profile")

    assert [(s["name"], s["objective"]) for s in changed["spec"]["slos"]] == [("success", 98)]
    annotated.say("a", "workflow-")
    annotated.wait(lambda w: "flowgauge.dev/pods-gone-since" in w["metadata"]["annotations"], "age")
    annotated.wait_gone()
    annotated.operator.wait(
        lambda: annotated.operator.get("podmonitor", "flowgauge-pods", annotated.namespace) is None,
        "the shared PodMonitor to go with its last workflow",
    )


def test_a_wrong_annotation_is_told_and_disables_itself_alone(annotated):
    annotated.pod("a", workflow="orders", slo_success="99.5", slo_freshness="soon", port="0")

    told = annotated.operator.wait_condition("Accepted", "True", annotated.namespace)

    assert told["reason"] == "InvalidAnnotation"
    assert "annotation flowgauge.dev/slo-freshness of pod a: 'soon' is not used" in told["message"]
    assert "annotation flowgauge.dev/port of pod a: '0' is not used" in told["message"]
    assert [s["name"] for s in annotated.found()["spec"]["slos"]] == ["success"]
    notes = annotated.events("MonitoredWorkflow")
    assert len([note for reason, note in notes if reason == "InvalidAnnotation"]) == 2

    annotated.say("a", "slo-freshness=99% < 2h", "port-")
    annotated.operator.wait(
        lambda: annotated.accepted().get("reason") == "Valid", "the complaint to be over"
    )
    assert [s["name"] for s in annotated.found()["spec"]["slos"]] == ["success", "freshness"]


def test_an_unknown_profile_is_told_and_the_workflow_works_once_it_exists(annotated):
    annotated.pod("a", workflow="orders", profile="nobodys")

    told = annotated.operator.wait_condition("Accepted", "False", annotated.namespace)

    assert told["reason"] == "UnknownProfile"
    assert "create a WorkflowProfile nobodys" in told["message"]


def test_a_name_that_no_workflow_can_have_is_told_on_the_pod(annotated):
    hostile = 'x"} or vector(1) #{{ query "up" }}\n'
    annotated.pod("a", workflow=hostile)
    annotated.pod("b", workflow="")
    annotated.pod("c", workflow="ünïcödé")

    annotated.operator.wait(lambda: len(annotated.events("Pod")) == 3, "three Events")

    assert {reason for reason, _ in annotated.events("Pod")} == {"NotMonitored"}
    assert all("cannot be the name of a workflow" in note for _, note in annotated.events("Pod"))
    assert annotated.cluster.get("mwf", f"--namespace={annotated.namespace}")["items"] == []
    assert annotated.operator.metric("flowgauge_discovery_refused") == 3


def test_a_namespace_with_ever_new_names_gets_as_many_as_are_allowed(annotated):
    for number in range(6):
        annotated.pod(f"p{number}", workflow=f"run-{number}")

    def made():
        return annotated.cluster.get("mwf", f"--namespace={annotated.namespace}")["items"]

    annotated.operator.wait(lambda: len(annotated.events("Pod")) == 2, "two refusals")
    annotated.operator.wait(lambda: len(made()) == 4, "as many as are allowed")
    assert "raise --discovery-limit" in annotated.events("Pod")[0][1]

    before = {workflow["metadata"]["name"] for workflow in made()}
    annotated.remove(f"p{min(before).removeprefix('run-')}")
    annotated.operator.wait(
        lambda: {w["metadata"]["name"] for w in made()} not in (before, before - {min(before)}),
        "another one in its place",
    )
    assert len(made()) == 4


def test_a_workflow_by_hand_wins_and_its_owner_is_told(annotated):
    annotated.by_hand()
    annotated.operator.wait_condition("Provisioned", "True", annotated.namespace)
    annotated.pod("a", workflow="orders", slo_success="90")

    annotated.operator.wait(
        lambda: annotated.accepted().get("reason") == "AnnotationsNotUsed", "a remark"
    )

    found = annotated.found()
    assert not is_marked(found)
    assert found["spec"]["selector"] == {"matchLabels": {"app": "orders"}}
    assert "AnnotationsNotUsed" in dict(annotated.events("MonitoredWorkflow"))
    annotated.remove("a")
    annotated.operator.wait(lambda: annotated.accepted().get("reason") == "Valid", "its end")
    time.sleep(KEEP + 1)
    assert annotated.found()["metadata"]["uid"] == found["metadata"]["uid"]


@pytest.mark.parametrize("server_side", [False, True])
def test_who_applies_a_workflow_over_a_discovered_one_has_it_as_applied(annotated, server_side):
    # The objective that both ask for is in nobody's record of writers but ours.
    asked = {"slo_success": "99.5", "slo_latency": "95% < 5m"}
    annotated.pod("a", workflow="orders", profile="contd", **asked)
    uid = annotated.wait(lambda w: w.get("status"), "a status")["metadata"]["uid"]

    if server_side:
        body = yaml.dump(annotated.operator.workflow(annotated.namespace, profile="workflow"))
        how = ("apply", "--server-side", "--filename=-")
        with pytest.raises(KubectlError, match="flowgauge-discovery"):
            annotated.cluster.kubectl(*how, stdin=body)
        annotated.cluster.kubectl(*how, "--force-conflicts", stdin=body)
    else:
        annotated.by_hand(server_side=False)
    taken = annotated.wait(lambda w: not is_marked(w), "the mark to be gone")

    wanted = annotated.operator.workflow(annotated.namespace)["spec"]
    assert taken["metadata"]["uid"] == uid
    assert taken["spec"]["scrape"]["mode"] == "ServiceMonitor"
    assert [s["name"] for s in taken["spec"]["slos"]] == [s["name"] for s in wanted["slos"]]
    assert taken["spec"]["profile"] == "workflow"
    annotated.operator.wait(
        lambda: annotated.accepted().get("reason") == "AnnotationsNotUsed", "a remark"
    )
    annotated.remove("a")
    time.sleep(KEEP + 1)
    assert annotated.found()["metadata"]["uid"] == uid
    assert "TakenOver" in dict(annotated.events("MonitoredWorkflow"))


def test_who_edits_a_discovered_workflow_keeps_what_it_has(annotated):
    annotated.pod("a", workflow="orders", slo_success="99")
    annotated.wait(lambda w: w.get("status"), "a status")

    patch = '{"spec": {"alerts": {"disabled": ["HighErrorRate"]}}}'
    annotated.cluster.kubectl(
        "patch",
        "mwf",
        "orders",
        f"--namespace={annotated.namespace}",
        "--type=merge",
        f"-p={patch}",
    )
    taken = annotated.wait(lambda w: not is_marked(w), "the mark to be gone")

    assert taken["spec"]["slos"][0]["objective"] == 99
    assert taken["spec"]["scrape"]["mode"] == "AnnotatedPods"
    annotated.say("a", "slo-success=90")
    annotated.operator.wait(
        lambda: annotated.accepted().get("reason") == "AnnotationsNotUsed", "a remark"
    )
    assert annotated.found()["spec"]["slos"][0]["objective"] == 99


def test_who_removes_the_mark_keeps_the_workflow(annotated):
    annotated.pod("a", workflow="orders", slo_success="99")
    annotated.wait(lambda w: w.get("status"), "a status")

    annotated.cluster.kubectl(
        "label", "mwf", "orders", f"--namespace={annotated.namespace}", "flowgauge.dev/discovered-"
    )
    annotated.operator.wait(
        lambda: annotated.accepted().get("reason") == "AnnotationsNotUsed", "a remark"
    )
    annotated.remove("a")
    time.sleep(KEEP + 1)
    assert annotated.found()["spec"]["slos"][0]["objective"] == 99


def test_what_is_deleted_while_pods_ask_for_it_is_made_again(annotated):
    annotated.pod("a", workflow="orders")
    uid = annotated.wait(lambda w: w.get("status"), "a status")["metadata"]["uid"]

    annotated.cluster.kubectl("delete", "mwf", "orders", f"--namespace={annotated.namespace}")

    again = annotated.wait(lambda w: w["metadata"]["uid"] != uid, "another one")
    assert is_marked(again)


def test_a_restart_writes_nothing_and_forgets_neither_age_nor_complaints(annotated):
    annotated.pod("a", workflow="orders", slo_success="high")
    annotated.pod("b", workflow="late", keep="30s")
    annotated.operator.wait(lambda: annotated.accepted().get("reason"), "a status")
    annotated.operator.wait(lambda: annotated.accepted("late").get("reason"), "a status")
    annotated.remove("b")
    since = annotated.operator.wait(
        lambda: annotated.found("late")["metadata"]["annotations"].get(
            "flowgauge.dev/pods-gone-since"
        ),
        "its age",
    )
    annotated.operator.wait_quiet()
    with annotated.operator.resting():
        mark = annotated.cluster.audit_mark()

    annotated.operator.wait(
        lambda: annotated.operator.metric("flowgauge_annotated_pods") >= 1, "the pods"
    )
    annotated.operator.wait_quiet()
    time.sleep(2)

    assert annotated.operator.writes_since(mark, annotated.namespace) == []
    assert (
        annotated.found("late")["metadata"]["annotations"]["flowgauge.dev/pods-gone-since"] == since
    )
    assert annotated.accepted()["reason"] == "InvalidAnnotation"


def test_what_a_cronjob_starts_is_monitored_between_its_runs(annotated):
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "containers": [{"name": "main", "image": "test/main"}],
    }
    told = {ANNOTATION: "orders", "rig/ends": "true", "flowgauge.dev/keep": "1h"}
    cronjob = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "nightly", "namespace": annotated.namespace},
        "spec": {
            "schedule": "0 0 1 1 *",
            "jobTemplate": {
                "spec": {
                    "ttlSecondsAfterFinished": 0,
                    "template": {"metadata": {"annotations": told}, "spec": pod},
                }
            },
        },
    }
    annotated.cluster.deploy([cronjob])
    where = f"--namespace={annotated.namespace}"
    # As the controller would start it.
    annotated.cluster.kubectl("create", "job", "nightly-1", "--from=cronjob/nightly", where)

    made = annotated.wait(lambda w: w.get("status"), "a status")
    gone = annotated.wait(
        lambda w: "flowgauge.dev/pods-gone-since" in w["metadata"]["annotations"], "the end", 30
    )

    assert made["spec"]["scrape"]["intermittent"] is True
    since = gone["metadata"]["annotations"]["flowgauge.dev/pods-gone-since"]
    annotated.cluster.kubectl("create", "job", "nightly-2", "--from=cronjob/nightly", where)
    back = annotated.wait(
        # Its pod is there for a moment only.
        lambda w: w["metadata"]["annotations"].get("flowgauge.dev/pods-gone-since") != since,
        "its return",
        30,
    )
    assert back["metadata"]["uid"] == gone["metadata"]["uid"] == made["metadata"]["uid"]
    rules = annotated.operator.get("prometheusrule", "orders-rules", annotated.namespace)
    alerts = {rule.get("alert") for group in rules["spec"]["groups"] for rule in group["rules"]}
    assert "WorkflowHighErrorRate" in alerts
    assert "WorkflowMetricsAbsent" not in alerts


ARGO = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "workflows.argoproj.io"},
    "spec": {
        "group": "argoproj.io",
        "scope": "Namespaced",
        "names": {"kind": "Workflow", "plural": "workflows", "singular": "workflow"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
            }
        ],
    },
}


@pytest.fixture
def argo(annotated):
    """Start the pods of an Argo Workflow, as its controller would: each step is a pod that the Workflow owns."""
    annotated.cluster.apply([ARGO])
    annotated.operator.wait(
        lambda: annotated.cluster.get("workflows.argoproj.io") is not None, "the kind to be served"
    )

    def start(name, **steps):
        run = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow"}
        run |= {"metadata": {"name": name, "namespace": annotated.namespace}}
        annotated.cluster.apply([run])
        where = f"--namespace={annotated.namespace}"
        uid = annotated.cluster.get("workflows.argoproj.io", name, where)["metadata"]["uid"]
        owner = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": name}
        owner |= {"uid": uid, "controller": True, "blockOwnerDeletion": True}
        for step, told in steps.items():
            annotated.pod(f"{name}-{step}", owner=owner, **told)

    yield start
    annotated.cluster.kubectl("delete", "crd", "workflows.argoproj.io")


def test_what_argo_starts_is_monitored_from_run_to_run(annotated, argo):
    told = {"workflow": "orders", "keep": "1h", "slo_success": "99"}
    where = f"--namespace={annotated.namespace}"
    argo("orders-1764300000", load=told, ship=told, exit={})

    made = annotated.wait(lambda w: w.get("status"), "a status")
    assert made["spec"]["scrape"]["intermittent"] is True
    # The garbage collector removes the pods with the Workflow, as Argo's time to live does. It looks for new kinds every half
    # minute, and longer where others went away.
    annotated.cluster.kubectl("delete", "workflows.argoproj.io", "orders-1764300000", where)
    gone = annotated.wait(
        lambda w: "flowgauge.dev/pods-gone-since" in w["metadata"]["annotations"], "the end", 150
    )
    # What CronWorkflow starts next has another name, and may say something else.
    argo("orders-1764303600", load=told | {"slo_success": "98"})
    back = annotated.wait(lambda w: w["spec"]["slos"][0]["objective"] == 98, "the next run", 30)

    assert "flowgauge.dev/pods-gone-since" not in back["metadata"]["annotations"]
    assert back["metadata"]["uid"] == gone["metadata"]["uid"] == made["metadata"]["uid"]
    assert annotated.accepted()["reason"] == "Valid"
    rules = annotated.operator.get("prometheusrule", "orders-rules", annotated.namespace)
    alerts = {rule.get("alert") for group in rules["spec"]["groups"] for rule in group["rules"]}
    assert "WorkflowMetricsAbsent" not in alerts
    monitor = annotated.operator.get("podmonitor", "flowgauge-pods", annotated.namespace)
    assert monitor["spec"]["podMetricsEndpoints"][0]["relabelings"][0]["regex"] == "orders"


def test_a_namespace_that_goes_away_takes_everything_with_it(annotated):
    elsewhere = f"test-{secrets.token_hex(4)}"
    annotated.cluster.create_namespace(elsewhere)
    annotated.pod("a", workflow="orders", namespace=elsewhere)
    annotated.operator.wait(lambda: annotated.operator.get("mwf", "orders", elsewhere), "it")
    annotated.operator.wait_quiet()
    (container,) = annotated.operator.release.containers
    before = container.log.read_text()

    annotated.cluster.delete_namespace(elsewhere, wait=True)
    annotated.operator.wait_quiet()

    assert "Could not" not in container.log.read_text().removeprefix(before)
