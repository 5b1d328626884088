"""What annotations ask for, and what is wrong with them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hostile import HOSTILE

from flowgauge import profiles
from flowgauge_operator import discovery, model
from flowgauge_operator.discovery import Keep
from flowgauge_operator.pods import Place, Pods
from flowgauge_operator.render import Capabilities, Options, render

ORDERS = Place("shop", "orders")
# Some are names in earnest, and are taken for that.
_HOSTILE = [text for text in HOSTILE if not re.fullmatch(r"[a-z0-9-]+", text.strip())]
KEEP = Keep(steady=86400, intermittent=691200)


def pod(name="a", *, owner=("ReplicaSet", "r1"), created="2026-01-01T00:00:00Z", **annotations):
    """A pod's metadata; underscores stand for dashes, and prometheus_ for prometheus.io/."""
    told = {"flowgauge.dev/workflow": "orders"}
    for key, value in annotations.items():
        prefix, rest = ("flowgauge.dev", key)
        if key.startswith("prometheus_"):
            prefix, rest = "prometheus.io", key.removeprefix("prometheus_")
        told[f"{prefix}/{rest.replace('_', '-')}"] = value
    kind, uid = owner or ("", "")
    owners = [{"kind": kind, "uid": uid, "controller": True}] if owner else []
    return {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-{name}",
            "creationTimestamp": created,
            "annotations": told,
            "ownerReferences": owners,
        }
    }


def asked(*pods):
    known = Pods()
    for one in pods:
        known.put(one)
    return discovery.desired(known.at(ORDERS), KEEP)


def reasons(wanted):
    return [problem.reason for problem in wanted.problems]


def test_a_pod_that_says_nothing_else_gets_the_defaults():
    wanted = asked(pod())

    assert wanted.spec == {"scrape": {"mode": "AnnotatedPods"}}
    assert (wanted.keep, wanted.problems) == ("1d", ())


def test_everything_that_can_be_said_is_in_the_spec():
    wanted = asked(
        pod(
            profile=" contd\n",
            slo_success="99.5",
            slo_latency="95% < 5m",
            slo_freshness=" 99<2h ",
            slo_window="7d",
            schedule="30 2 * * *",
            schedule_time_zone="Europe/Zurich",
            schedule_deadline="1h",
            keep="30d",
            port="9090",
            path="/m",
        )
    )

    assert wanted.problems == ()
    assert wanted.keep == "30d"
    assert wanted.spec == {
        "profile": "contd",
        "scrape": {"mode": "AnnotatedPods"},
        "slos": [
            {"name": "success", "objective": 99.5, "success": {}, "window": "7d"},
            {"name": "latency", "objective": 95, "latency": {"threshold": "5m"}, "window": "7d"},
            {"name": "freshness", "objective": 99, "freshness": {"maxAge": "2h"}, "window": "7d"},
        ],
        "schedule": {"cron": "30 2 * * *", "timeZone": "Europe/Zurich", "deadline": "1h"},
    }
    assert model.parse({"metadata": {"name": "orders"}, "spec": dict(wanted.spec)})


@pytest.mark.parametrize(
    ("annotation", "value", "part"),
    [
        ("profile", "Not A Name", "must be lower-case"),
        ("slo_success", "high", "must be a percentage, such as 99.5"),
        ("slo_success", "100", "above 0 and at most 99.9999"),
        ("slo_success", "0", "above 0"),
        ("slo_success", "0.999", "such as 99.5 where others write 0.995"),
        ("slo_latency", "0.95 < 5m", "such as 99.5 where others write 0.995"),
        ("slo_success", "1", "must be a percentage above 1"),
        ("slo_success", "-1", "must be a percentage"),
        ("slo_success", "nan", "must be a percentage"),
        ("slo_success", "1e9", "must be a percentage"),
        ("slo_success", "9" * 500, "not inf"),
        ("slo_success", "٩٩", "must be a percentage"),
        ("slo_success", "", "the empty text is not used"),
        ("slo_latency", "95", "such as 95% < 5m"),
        ("slo_latency", "95% < soon", "such as 500ms or 5s"),
        ("slo_latency", "95% <= 5m", "such as 95% < 5m"),
        ("slo_freshness", "95% < 5 m", "such as 99% < 2h"),
        ("slo_window", "30d", "is of no objective"),
        ("schedule", "at night", "must be five cron fields"),
        ("schedule_time_zone", "Europe/Zurich", "is of no schedule"),
        ("schedule_cron_job", "No Name", "must be the name of a CronJob"),
        ("intermittent", "maybe", 'must be "true" or "false"'),
        ("keep", "for ever", "such as 30d"),
        ("keep", "0d", "such as 30d"),
        ("port", "0", "a number from 1 to 65535"),
        ("port", "65536", "a number from 1 to 65535"),
        ("prometheus_port", "-1", "a number from 1 to 65535"),
        ("path", "metrics", "begins with a slash"),
        ("prometheus_path", "/m?x=1", "begins with a slash"),
        ("prometheus_scheme", "https", "make a MonitoredWorkflow by hand"),
    ],
)
def test_a_wrong_value_is_named_with_its_remedy_and_disables_nothing_else(annotation, value, part):
    beside = "slo_success" if annotation.startswith("schedule") else "schedule"
    sound = {"slo_success": "99"} if beside == "slo_success" else {"schedule": "0 2 * * *"}
    if annotation in ("schedule", "schedule_time_zone", "schedule_cron_job"):
        sound = {"slo_success": "99"}
    elif annotation == "slo_window":
        sound = {"schedule": "0 2 * * *"}

    wanted = asked(pod("a", **sound, **{annotation: value}))

    assert reasons(wanted) == ["InvalidAnnotation"]
    told = str(wanted.problems[0])
    assert (
        f"{annotation.replace('prometheus_', 'prometheus.io/').replace('_', '-')} of pod a" in told
    )
    assert part in told
    assert wanted.spec == asked(pod("a", **sound)).spec


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("slo_sucess", "did you mean flowgauge.dev/slo-success?"),
        ("SLO_Success", "did you mean flowgauge.dev/slo-success?"),
        ("monitor", "under flowgauge.dev/ are workflow, profile, "),
    ],
)
def test_a_misspelt_annotation_is_told_with_what_may_be_meant(key, meant):
    (problem,) = asked(pod(**{key: "99"})).problems

    assert problem.reason == "UnknownAnnotation"
    assert meant in str(problem)


def test_of_many_annotations_that_are_not_read_some_are_told():
    problems = asked(pod(**{f"x{number}": "" for number in range(2000)})).problems

    assert len(problems) == 6
    assert str(problems[-1]) == (
        "annotations of pod a: more under flowgauge.dev/ are none that are read"
    )


@pytest.mark.parametrize(
    "text", [*_HOSTILE, "x" * 100_000, "{{ $labels }}", "a\nb", "a|.*", "\ue000"]
)
def test_hostile_values_reach_neither_the_spec_nor_a_message_as_they_are(text):
    said = {key.removeprefix("flowgauge.dev/").replace("-", "_"): text for key in discovery.ASKING}

    wanted = asked(pod("a", **said, port=text, path=text))

    assert wanted.spec == {"scrape": {"mode": "AnnotatedPods"}}
    assert all(len(str(problem)) < 400 for problem in wanted.problems)
    assert all(str(problem).isprintable() for problem in wanted.problems)


@pytest.mark.parametrize(
    ("name", "is_sound"),
    [
        ("orders", True),
        ("orders.v2-x", True),
        ("0", True),
        ("x" * 63, True),
        ("x" * 64, False),
        ("", False),
        ("Orders", False),
        ("a..b", False),
        ("-a", False),
        ("a-", False),
        ("orders ", False),
        ("orders\n", False),
        ("örders", False),
        ("a|.*", False),
        ('x"} or vector(1) #', False),
    ],
)
def test_only_what_an_object_can_be_called_is_a_name(name, is_sound):
    fault = discovery.name_fault(name)

    assert (fault == "") is is_sound
    assert "\n" not in fault


def test_every_name_that_passes_is_one_for_the_model_too():
    for name in ("orders", "orders.v2-x", "0", "x" * 63):
        spec = {"scrape": {"mode": "AnnotatedPods"}}
        assert model.parse({"metadata": {"name": name}, "spec": spec}).name == name


def test_what_is_asked_for_renders_under_every_builtin_profile():
    for name in profiles.names():
        wanted = asked(pod(profile=name, schedule="0 2 * * *"))
        body = {"metadata": {"name": "orders", "namespace": "shop"}, "spec": dict(wanted.spec)}
        rendered = render(model.parse(body), profiles.builtin(name), Capabilities(), Options())
        assert {share.name for share in rendered.shares} >= {"flowgauge-pods"}


# -- pods that disagree


def test_the_newest_template_has_its_way_and_the_difference_is_told():
    old = pod("old", slo_success="99", created="2026-01-01T00:00:00Z")
    new = pod("new", slo_success="95", owner=("ReplicaSet", "r2"), created="2026-01-02T00:00:00Z")

    wanted = asked(old, new)

    assert wanted.spec["slos"][0]["objective"] == 95
    assert reasons(wanted) == ["PodsDisagree"]
    assert "of pod old: says '99', but pod new of the newest template says '95'" in str(
        wanted.problems[0]
    )


def test_a_pod_that_was_replaced_does_not_make_its_template_new():
    first = pod("first", slo_success="99", created="2026-01-01T00:00:00Z")
    new = pod("new", slo_success="95", owner=("ReplicaSet", "r2"), created="2026-01-02T00:00:00Z")
    again = pod("again", slo_success="99", created="2026-01-03T00:00:00Z")

    assert asked(first, new, again).spec["slos"][0]["objective"] == 95


def test_the_revision_of_a_stateful_set_is_a_template():
    old = pod("s-1", slo_success="99", owner=("StatefulSet", "s"), created="2026-01-01T00:00:00Z")
    new = pod("s-0", slo_success="95", owner=("StatefulSet", "s"), created="2026-01-02T00:00:00Z")
    new["metadata"]["labels"] = {"controller-revision-hash": "2"}

    assert asked(old, new).spec["slos"][0]["objective"] == 95


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_order_in_which_pods_are_seen_says_nothing(order):
    pods = [pod(f"p{i}", owner=("Job", f"j{i}"), slo_success=f"9{i}") for i in range(3)]

    assert asked(*(pods[i] for i in order)).spec["slos"][0]["objective"] == 92


def test_port_and_path_may_differ_from_pod_to_pod():
    assert asked(pod("a", port="1"), pod("b", port="2", path="/x")).problems == ()


# -- pods that come and go


@pytest.mark.parametrize(
    ("owner", "said", "is_intermittent"),
    [
        (("ReplicaSet", "r"), {}, False),
        (("StatefulSet", "s"), {}, False),
        (("DaemonSet", "d"), {}, False),
        (("Job", "j"), {}, True),
        (("Workflow", "w"), {}, True),
        (None, {}, True),
        (("Job", "j"), {"intermittent": "false"}, False),
        (("ReplicaSet", "r"), {"intermittent": "true"}, True),
    ],
)
def test_who_made_a_pod_says_whether_it_comes_and_goes(owner, said, is_intermittent):
    wanted = asked(pod(owner=owner, **said))

    assert wanted.spec["scrape"].get("intermittent", False) is is_intermittent
    assert wanted.keep == ("8d" if is_intermittent else "1d")


def test_a_workflow_with_one_pod_that_stays_is_not_intermittent():
    wanted = asked(pod("job", owner=("Job", "j")), pod("api"))

    assert "intermittent" not in wanted.spec["scrape"]


# -- time


NOW = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("since", "keep", "left"),
    [
        ("2026-01-02T11:59:00Z", "5m", 240),
        ("2026-01-02T11:00:00Z", "5m", -3300),
        ("2026-01-02T13:00:00Z", "5m", None),  # a clock that was wrong
        ("2026-01-02T12:00:00Z", "rubbish", 3600),
        ("", "5m", None),
        ("yesterday", "5m", None),
    ],
)
def test_what_is_left_of_the_time_without_a_pod(since, keep, left):
    assert discovery.left(since, keep, "1h", NOW) == left


# -- by hand


@pytest.mark.parametrize(
    ("mode", "said", "unused"),
    [
        ("ServiceMonitor", {}, "flowgauge.dev/workflow is not used"),
        ("AnnotatedPods", {}, None),
        ("AnnotatedPods", {"port": "1", "path": "/x", "prometheus_port": "2"}, None),
        ("AnnotatedPods", {"port": "1", "slo_success": "99"}, "flowgauge.dev/slo-success is not"),
        ("Push", {"keep": "1d"}, "flowgauge.dev/keep, flowgauge.dev/workflow are not used"),
    ],
)
def test_of_a_workflow_by_hand_it_is_told_which_annotations_have_no_effect(mode, said, unused):
    known = Pods()
    known.put(pod("a", **said))

    problems = discovery.unused(known.at(ORDERS), {"scrape": {"mode": mode}})

    assert [problem.reason for problem in problems] == (["AnnotationsNotUsed"] if unused else [])
    assert unused is None or unused in str(problems[0])


def test_equal_wishes_have_one_digest_and_others_another():
    def digest(**said):
        return asked(pod(**said)).manifest(ORDERS)["metadata"]["annotations"]["flowgauge.dev/hash"]

    assert digest(slo_success="99") == digest(slo_success="99%")
    assert digest(slo_success="99") != digest(slo_success="98")
    assert digest(keep="1d") != digest(keep="2d")
