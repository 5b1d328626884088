"""Each finding of the doctor: one thing is changed in a healthy snapshot, and the check that it concerns says so."""

from __future__ import annotations

import dataclasses
import json

import doctor_scene as scene
import pytest
from doctor_answers_cases import SEEN, remembering
from doctor_cluster_cases import CLUSTER, OPERATORS, definitions, operators, without
from doctor_monitoring_cases import BOARDS, DOWN, KPS, MONITORING, STRANGER
from doctor_scene import ABSENT, FORBIDDEN, changed, found, snapshot, the
from doctor_workflow_cases import ANNOTATED, DENY, WORKFLOWS, flow, noted

from flowgauge import profiles
from flowgauge_operator.doctor import access, catalogue, diagnosis
from flowgauge_operator.doctor.finding import Level
from flowgauge_operator.doctor.snapshot import Server, Unseen
from flowgauge_operator.operation import WATCHED
from flowgauge_operator.render import Capabilities


def test_a_healthy_snapshot_yields_nothing_but_ok():
    findings = diagnosis.examine(snapshot())

    assert [f for f in findings if f.level is not Level.OK] == []
    assert len(findings) > 35


def test_a_healthy_cluster_without_a_workflow_does_too():
    findings = diagnosis.examine(snapshot(None))

    assert [f for f in findings if f.level is not Level.OK] == []
    assert not {f.check for f in findings} & {"targets", "port", "conditions"}


PARTS = (CLUSTER, OPERATORS, MONITORING, BOARDS, WORKFLOWS, SEEN)
TABLE = {f"{case[1]}: {name}": case for part in PARTS for name, case in part.items()}


@pytest.mark.parametrize("name", TABLE)
def test_what_is_wrong_is_found(name):
    make, check, level, words = TABLE[name]

    seen = make()

    told = [f for f in found(seen, check, Level(level)) if words in f.seen]
    assert len(told) == 1, found(seen, check)
    assert told[0].remedy or level in ("ok", "unknown"), "what to do is missing"
    # Nothing else of the snapshot makes a check fail.
    assert not [f for f in diagnosis.examine(seen) if "the check itself failed" in f.seen]


def test_every_check_has_a_finding_that_is_not_fine():
    assert len(TABLE) == sum(map(len, PARTS))
    tried = {check for _, check, level, _ in TABLE.values() if level != "ok"}

    assert {check.name for check in catalogue.CHECKS} - tried == {"prometheus-limits"}


def test_where_prometheus_does_not_answer_its_reason_is_told_once():
    seen = snapshot(prometheus=DOWN)

    findings = [f for f in diagnosis.examine(seen) if f.level is Level.UNKNOWN]

    assert [f.check for f in findings if "no endpoints" in f.seen] == ["prometheus-answers"]
    assert {f.remedy for f in findings if f.check in ("targets", "labels")} == {
        "see the finding prometheus-answers"
    }


@pytest.mark.parametrize("seconds", ["2580000", "NaN"])
def test_data_of_the_whole_window_is_nothing_to_speak_of(seconds):
    told = the(remembering(seconds, days=90), "history", Level.OK)

    assert told.seen == "Prometheus keeps data for ever, or does not say; objectives look back 30d"


def test_the_policy_that_is_printed_opens_the_way():
    seen = flow(policies=[DENY])

    opened = printed(the(seen, "network-policy", Level.ERROR).remedy)

    assert the(changed(seen, policies=[DENY, opened]), "network-policy", Level.OK)


def printed(remedy):
    """The object that a command applies."""
    _, text, _ = remedy.split("'")
    return json.loads(text)


def annotated(**labels):
    found = flow(spec=ANNOTATED, pods=[noted()], policies=[DENY])
    found.workflow.pods[0]["metadata"]["labels"] = labels
    return found


def test_the_policy_for_annotated_pods_closes_no_others():
    passing = {"pod-template-hash": "x", "batch.kubernetes.io/job-name": "y"}
    remedy = the(annotated(app="batch", **passing), "network-policy", Level.ERROR).remedy

    assert printed(remedy)["spec"]["podSelector"] == {"matchLabels": {"app": "batch"}}
    remedy = the(annotated(**passing), "network-policy", Level.ERROR).remedy
    assert remedy.startswith("give the pods a label")


def test_a_prometheus_in_the_network_of_its_node_is_admitted_by_address():
    host = scene.prometheus(hostNetwork=True)
    pod = scene.pod("prometheus-main-0")
    labels = {"operator.prometheus.io/name": "main"}
    pod["metadata"] = {"name": "prometheus-main-0", "namespace": "monitoring", "labels": labels}
    pod["spec"] = {"hostNetwork": True, "containers": []}
    closed = flow(policies=[DENY])
    closed = dataclasses.replace(closed, prometheuses=[host], prometheus_pods=[pod])

    opened = printed(the(closed, "network-policy", Level.ERROR).remedy)

    assert not found(changed(closed, policies=[DENY, opened]), "network-policy", Level.ERROR)
    unknown = dataclasses.replace(closed, prometheus_pods=[])
    assert "hostNetwork" in the(unknown, "network-policy", Level.ERROR).remedy


def test_the_port_of_annotated_pods_is_mended_where_they_name_it():
    pods = [noted(**{"flowgauge.dev/port": "web"})]

    told = the(flow(spec=ANNOTATED, pods=pods), "port", Level.ERROR)

    assert 'the annotation flowgauge.dev/port: "metrics"' in told.remedy


def test_what_annotations_say_is_mended_in_annotations():
    """Whoever changes a discovered workflow takes it over."""
    pods = [noted()]
    seen = flow(spec=ANNOTATED, pods=pods)
    discovered = seen.workflow.body
    discovered["metadata"]["labels"] = {"flowgauge.dev/discovered": "true"}
    contd = [family.name for family in profiles.builtin("contd").families]
    answers = scene.answered(
        names=scene.named(*contd, *(f"{name}_count" for name in contd)),
        targets=[scene.target("server returned HTTP status 404 Not Found")],
    )
    seen = changed(seen, observation=scene.observation(seen.workflow.rendered, families={}))
    seen = dataclasses.replace(seen, prometheus=answers)

    assert the(seen, "families", Level.ERROR).remedy.endswith("flowgauge.dev/profile: contd")
    assert "flowgauge.dev/port and flowgauge.dev/path" in the(seen, "targets", Level.ERROR).remedy
    pods[0]["status"] = {"phase": "Failed"}
    ended = changed(seen, pods=pods)
    assert "flowgauge.dev/intermittent" in the(ended, "selector", Level.WARNING).remedy


def test_the_label_that_is_set_is_the_one_that_was_missing():
    key = {"matchLabels": {"monitoring.example.com/tier": "gold"}}
    seen = snapshot(prometheuses=[scene.prometheus(ruleSelector=key)])

    remedy = the(seen, "rule-selector", Level.ERROR).remedy

    assert r"--set 'ruleLabels.monitoring\.example\.com/tier=gold'" in remedy


def test_a_prometheus_that_has_nothing_to_do_with_us_is_not_judged():
    seen = snapshot(prometheuses=[STRANGER, scene.prometheus()])

    assert [f.about for f in found(seen, "prometheus-rights")] == ["Prometheus monitoring/main"]
    assert len(found(seen, "network-policy")) == 1
    # Whoever scrapes need not evaluate the rules: a ThanosRuler may.
    rules = {"ruleSelector": None, "ruleNamespaceSelector": None}
    seen = snapshot(prometheuses=[STRANGER, scene.prometheus(**rules)])
    assert [f.about for f in found(seen, "prometheus-rights")] == ["Prometheus monitoring/main"]


def test_an_operator_that_is_scaled_to_nothing_needs_no_lease():
    seen = snapshot(operators=operators("--leader-elect", replicas=0, lease=ABSENT))

    assert found(seen, "operator-lease") == []


def test_a_definition_is_upgraded_by_who_brought_it():
    (name, old), *_ = without("tls").items()
    notes = {"meta.helm.sh/release-name": "fg", "meta.helm.sh/release-namespace": "ops"}
    helms = old | {"metadata": old["metadata"] | {"annotations": notes}}

    by_hand = the(snapshot(crds=definitions(**{name: old})), "crd-fields", Level.ERROR)
    by_helm = the(snapshot(crds=definitions(**{name: helms})), "crd-fields", Level.ERROR)

    assert by_hand.remedy.startswith("kubectl apply --server-side -f crds/ ")
    assert by_helm.remedy.startswith("helm upgrade fg charts/flowgauge --namespace ops ")


def test_an_operator_that_discovers_nothing_needs_no_rights_on_pods():
    off = operators("--discovery=off", "--prometheus-url=http://p:1")
    rights = access.of_operator(off[0], WATCHED, Capabilities())

    assert not [right for right in rights if right.resource == "pods"]
    assert {r.verb for r in rights if r.resource == "monitoredworkflows"} == {"list", "watch", "patch"}  # fmt: skip


def test_a_check_that_fails_stops_no_other():
    def broken(_):
        raise ValueError("no")

    findings = diagnosis.examine(snapshot(), [("crds", broken), *diagnosis.CHECKS])

    assert [f.seen for f in findings if f.level is not Level.OK] == [
        "the check itself failed: ValueError: no"
    ]


@pytest.mark.parametrize("what", [FORBIDDEN, Unseen("no answer in time"), ABSENT])
def test_whatever_cannot_be_seen_breaks_no_check_and_is_not_fine(what):
    parts = (
        "pods",
        "services",
        "slices",
        "monitors",
        "rules",
        "dashboards",
        "notifications",
        "policies",
    )
    blind = dataclasses.replace(scene.workflow(), **dict.fromkeys(parts, what))
    bodies = (
        "server",
        "workloads",
        "namespaces",
        "prometheuses",
        "alertmanagers",
        "grafanas",
        "workflows",
        "prometheus_pods",
    )
    seen = snapshot(blind, crds=dict.fromkeys(snapshot().crds, what), **dict.fromkeys(bodies, what))
    seen = dataclasses.replace(
        seen, prometheus=Server(error=what), alertmanager=Server(error=what, name="Alertmanager")
    )

    findings = diagnosis.examine(seen)

    assert not [f for f in findings if "the check itself failed" in f.seen]
    fine = {f.check for f in findings if f.level is Level.OK}
    assert not fine & {"selector", "port", "service", "monitor", "targets", "network-policy", "rule-selector", "prometheus-answers"}  # fmt: skip


@pytest.mark.parametrize(("selector", "level"), [({}, Level.OK), (KPS, Level.ERROR)])
def test_what_is_the_same_for_many_namespaces_is_said_once(selector, level):
    spaces = [f"team-{number}" for number in range(300)]
    seen = snapshot(
        None,
        namespaces=[{"metadata": {"name": space}} for space in spaces],
        workflows=[scene.body() | {"metadata": {"name": "x", "namespace": s}} for s in spaces],
        prometheuses=[scene.prometheus(ruleNamespaceSelector=selector)],
    )

    told = the(seen, "rule-selector", level)

    assert "and 295 more" in told.seen
    labelled = told.remedy.startswith("kubectl label namespace team-0 team-1 ")
    assert labelled is (level is Level.ERROR)
