import math

import pytest

from flowgauge_operator import status
from flowgauge_operator.condition import Resource
from flowgauge_operator.render import Problem, Rendered, SloView, shared
from flowgauge_operator.status import Outcome, Policy
from flowgauge_operator.synchronized import NOT_YET, Synchronized
from flowgauge_operator.verify import Group, Observation, Owner

ORDERS = Owner("shop", "orders")
THEN, NOW = "2025-11-21T15:00:00Z", "2025-11-21T16:00:00Z"
SLO = SloView("success", 99.5, "30d", "slo:error:ratio_rate1h")
PROBLEMS = [
    Problem("spec.slos[0]", "WindowTooShort", "widen it"),
    Problem("spec.x", "InvalidSpec", "no"),
]
FAILED = {
    "Service orders-metrics": ("Conflict", "is somebody's"),
    "ConfigMap a": ("Forbidden", "no"),
}


def rendered(**more):
    content = {
        "children": (),
        "shares": (shared.MONITOR,),
        "revision": "r1",
        "rule_groups": ("flowgauge/shop/orders/info",),
        "pool": "p",
        "is_scraped": True,
        "required": ("workflow_runs_total",),
        "slos": (SLO,),
    }
    return Rendered(**(content | more))


def seen(**more):
    content = {
        "targets": {ORDERS: (2, 2)},
        "families": {ORDERS: {"workflow_runs_total"}},
        "groups": {"flowgauge/shop/orders/info": Group(1)},
        "revisions": {ORDERS: "r1"},
        "pools": {"p"},
    }
    return Observation(**(content | more))


def outcome(**more):
    return Outcome(**({"generation": 3, "profile": "workflow", "rendered": rendered()} | more))


WELL = seen()


def built(made=None, observed=WELL, policy=None, previous=None, now=NOW):
    return status.build(
        made or outcome(), ORDERS, observed, policy or Policy(), previous or {}, now
    )


def conditions(built_status):
    return {c["type"]: (c["status"], c["reason"]) for c in built_status["conditions"]}


OFF = Policy(asks_prometheus=False)
STRICT = Policy(asks_prometheus=False, requires_prometheus=True)
GOOD = {"Accepted": ("True", "Valid"), "Provisioned": ("True", "Applied")}
SEEN = {"Loaded": ("True", "Loaded"), "Healthy": ("True", "Measured")}
NOT_ACCEPTED = {"Loaded": ("Unknown", "NotAccepted"), "Healthy": ("Unknown", "NotAccepted")}
NOT_CONFIGURED = {
    "Loaded": ("Unknown", "PrometheusNotConfigured"),
    "Healthy": ("Unknown", "PrometheusNotConfigured"),
}
NOT_SEEN = {"Loaded": ("Unknown", "NotSeenYet"), "Healthy": ("Unknown", "NotSeenYet")}
UNREACHABLE = {
    "Loaded": ("Unknown", "PrometheusUnreachable"),
    "Healthy": ("Unknown", "PrometheusUnreachable"),
}

# What was done and seen -> all five conditions.
TABLE = {
    "all is well": ({}, WELL, Policy(), {**GOOD, **SEEN, "Ready": ("True", "Monitored")}),
    "a problem": (
        {"problems": PROBLEMS},
        WELL,
        Policy(),
        {
            **GOOD,
            **SEEN,
            "Accepted": ("False", "WindowTooShort"),
            "Ready": ("False", "WindowTooShort"),
        },
    ),
    "nothing rendered": (
        {"problems": PROBLEMS, "rendered": None},
        WELL,
        Policy(),
        {
            "Accepted": ("False", "WindowTooShort"),
            "Provisioned": ("Unknown", "NotAccepted"),
            **NOT_ACCEPTED,
            "Ready": ("False", "WindowTooShort"),
        },
    ),
    "an apply failed": (
        {"failed": FAILED},
        WELL,
        Policy(),
        {**GOOD, **SEEN, "Provisioned": ("False", "Conflict"), "Ready": ("False", "Conflict")},
    ),
    "a fallback": (
        {"rendered": rendered(notes=("a note",))},
        WELL,
        Policy(),
        {
            **GOOD,
            **SEEN,
            "Provisioned": ("True", "AppliedWithFallback"),
            "Ready": ("True", "Monitored"),
        },
    ),
    "a dashboard that Grafana has": (
        {"synchronized": Synchronized(True, "brought")},
        WELL,
        Policy(),
        {**GOOD, **SEEN, "Ready": ("True", "Monitored")},
    ),
    "a dashboard that Grafana does not have": (
        {"synchronized": Synchronized(False, "no Grafana")},
        WELL,
        Policy(),
        {
            **GOOD,
            **SEEN,
            "Provisioned": ("True", "DashboardNotSynchronized"),
            "Ready": ("True", "Monitored"),
        },
    ),
    "a dashboard of which nothing is said": (
        {"synchronized": NOT_YET},
        WELL,
        Policy(),
        {
            **GOOD,
            **SEEN,
            "Provisioned": ("True", "DashboardNotSeenYet"),
            "Ready": ("True", "Monitored"),
        },
    ),
    "a dashboard that failed": (
        {"synchronized": Synchronized(True, "brought"), "failed": FAILED},
        WELL,
        Policy(),
        {**GOOD, **SEEN, "Provisioned": ("False", "Conflict"), "Ready": ("False", "Conflict")},
    ),
    "warnings": (
        {
            "rendered": rendered(
                warnings=(Problem("spec.slos[0].objective", "AlertUnreachable", "x"),)
            )
        },
        WELL,
        Policy(),
        {
            **GOOD,
            **SEEN,
            "Accepted": ("True", "AlertUnreachable"),
            "Ready": ("True", "Monitored"),
        },
    ),
    "a problem beside a warning": (
        {
            "problems": PROBLEMS,
            "rendered": rendered(warnings=(Problem("spec.slos[1]", "ThresholdRounded", "x"),)),
        },
        WELL,
        Policy(),
        {
            **GOOD,
            **SEEN,
            "Accepted": ("False", "WindowTooShort"),
            "Ready": ("False", "WindowTooShort"),
        },
    ),
    "a memory that is too short": (
        {},
        seen(retention=15 * 86400),
        Policy(),
        {
            **GOOD,
            **SEEN,
            "Loaded": ("True", "RetentionTooShort"),
            "Ready": ("True", "Monitored"),
        },
    ),
    "no Prometheus": (
        {},
        None,
        OFF,
        {**GOOD, **NOT_CONFIGURED, "Ready": ("True", "ReadyWithoutPrometheus")},
    ),
    "no Prometheus, but required": (
        {},
        None,
        STRICT,
        {**GOOD, **NOT_CONFIGURED, "Ready": ("Unknown", "PrometheusNotConfigured")},
    ),
    "no Prometheus, and nothing rendered": (
        {"problems": PROBLEMS, "rendered": None},
        None,
        OFF,
        {
            "Accepted": ("False", "WindowTooShort"),
            "Provisioned": ("Unknown", "NotAccepted"),
            **NOT_CONFIGURED,
            "Ready": ("False", "WindowTooShort"),
        },
    ),
    "not asked yet": ({}, None, Policy(), {**GOOD, **NOT_SEEN, "Ready": ("Unknown", "NotSeenYet")}),
    "unreachable": (
        {},
        seen(error="refused"),
        Policy(),
        {**GOOD, **UNREACHABLE, "Ready": ("Unknown", "PrometheusUnreachable")},
    ),
    "unreachable and failed": (
        {"failed": FAILED},
        seen(error="refused"),
        Policy(),
        {
            **GOOD,
            **UNREACHABLE,
            "Provisioned": ("False", "Conflict"),
            "Ready": ("False", "Conflict"),
        },
    ),
    "rules not loaded": (
        {},
        seen(groups={}),
        Policy(),
        {
            **GOOD,
            **SEEN,
            "Loaded": ("False", "RulesNotLoaded"),
            "Ready": ("False", "RulesNotLoaded"),
        },
    ),
    "old rules": (
        {},
        seen(revisions={}),
        Policy(),
        {**GOOD, **SEEN, "Loaded": ("False", "RulesOutdated"), "Ready": ("False", "RulesOutdated")},
    ),
    "a failing rule": (
        {},
        seen(groups={"flowgauge/shop/orders/info": Group(1, "boom")}),
        Policy(),
        {**GOOD, **SEEN, "Loaded": ("False", "RuleFailing"), "Ready": ("False", "RuleFailing")},
    ),
    "no job and no target": (
        {},
        seen(pools=set(), targets={}),
        Policy(),
        {
            **GOOD,
            "Loaded": ("False", "ScrapeJobNotLoaded"),
            "Healthy": ("False", "NoTargets"),
            "Ready": ("False", "ScrapeJobNotLoaded"),
        },
    ),
    "a target is down": (
        {},
        seen(targets={ORDERS: (1, 2)}),
        Policy(),
        {**GOOD, **SEEN, "Healthy": ("False", "TargetsDown"), "Ready": ("False", "TargetsDown")},
    ),
    "a family is missing": (
        {},
        seen(families={}),
        Policy(),
        {
            **GOOD,
            **SEEN,
            "Healthy": ("False", "MissingFamilies"),
            "Ready": ("False", "MissingFamilies"),
        },
    ),
}


@pytest.mark.parametrize(("made", "observed", "policy", "expected"), TABLE.values(), ids=TABLE)
def test_what_was_done_and_seen_gives_these_conditions(made, observed, policy, expected):
    assert conditions(built(outcome(**made), observed, policy)) == expected


@pytest.mark.parametrize(("made", "observed", "policy", "_expected"), TABLE.values(), ids=TABLE)
def test_ready_is_never_true_over_a_needed_condition_that_is_not(made, observed, policy, _expected):
    found = conditions(built(outcome(**made), observed, policy))

    needed = ["Accepted", "Provisioned"]
    needed += ["Loaded", "Healthy"] if policy.asks_prometheus or policy.requires_prometheus else []
    if found["Ready"][0] == "True":
        assert {found[kind][0] for kind in needed} == {"True"}


def test_messages_name_every_problem_and_every_failure():
    made = outcome(problems=PROBLEMS, failed=FAILED)

    messages = {c["type"]: c["message"] for c in built(made)["conditions"]}

    assert messages["Accepted"] == "spec.slos[0]: widen it; spec.x: no"
    assert messages["Provisioned"] == "Service orders-metrics: is somebody's; ConfigMap a: no"
    assert messages["Ready"] == "Accepted: spec.slos[0]: widen it; spec.x: no"


@pytest.mark.parametrize(("length", "expected"), [(1024, 1024), (1025, 1024), (100_000, 1024)])
def test_a_message_is_cut(length, expected):
    problem = Problem("p", "InvalidSpec", "x" * (length - len("p: ")))

    message = built(outcome(problems=[problem]))["conditions"][0]["message"]

    assert len(message) == expected
    assert message.endswith("x" if length == expected else "…")


def test_every_condition_speaks_of_the_generation():
    made = built()

    assert made["observedGeneration"] == 3
    assert {c["observedGeneration"] for c in made["conditions"]} == {3}


def test_a_time_moves_only_where_a_condition_flips():
    before = built(now=THEN)

    after = built(outcome(problems=PROBLEMS), previous=before)

    times = {c["type"]: c["lastTransitionTime"] for c in after["conditions"]}
    assert times == {
        "Accepted": NOW,
        "Provisioned": THEN,
        "Loaded": THEN,
        "Healthy": THEN,
        "Ready": NOW,
    }


def test_a_new_reason_alone_moves_no_time():
    before = built(observed=seen(targets={ORDERS: (1, 2)}), now=THEN)

    after = built(observed=seen(families={}), previous=before)

    assert {c["lastTransitionTime"] for c in after["conditions"]} == {THEN}


def test_the_same_turn_twice_is_the_same_status():
    before = built(now=THEN)

    assert status.is_same(before, built(previous=before))
    assert not status.is_same({}, before)


VALUES = {
    "slo:error:ratio_period": 0.0025,
    "slo:error_budget_remaining:ratio": 0.5,
    "slo:error:ratio_rate1h": 0.01,
}


def test_figures_are_what_prometheus_said():
    firing = {ORDERS: [("WorkflowErrorBudgetBurnFast", "success"), ("WorkflowSlowRuns", "")]}
    made = built(observed=seen(values={(ORDERS, "success"): VALUES}, firing=firing))

    assert made["slos"] == [
        {
            "name": "success",
            "objective": 99.5,
            "current": 99.75,
            "errorBudgetRemaining": 0.5,
            "burnRate": 2.0,
            "firing": ["WorkflowErrorBudgetBurnFast"],
        }
    ]
    assert made["summary"] == {"targets": "2/2", "budget": "50%", "firing": 2}
    assert made["targets"] == {"up": 2, "total": 2}


@pytest.mark.parametrize(
    ("remaining", "share", "text"),
    [(0.5049, 0.5, "50%"), (-0.001, 0.0, "0%"), (-1.234, -1.23, "-123%"), (0.999, 1.0, "100%")],
)
def test_figures_are_rounded_to_what_somebody_reads(remaining, share, text):
    values = {(ORDERS, "success"): {"slo:error_budget_remaining:ratio": remaining}}
    made = built(observed=seen(values=values))

    assert made["slos"][0]["errorBudgetRemaining"] == share
    assert made["summary"]["budget"] == text
    assert "-0" not in made["summary"]["budget"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_left_out(value):
    made = built(observed=seen(values={(ORDERS, "success"): dict.fromkeys(VALUES, value)}))

    assert made["slos"] == [{"name": "success", "objective": 99.5, "firing": []}]
    assert "budget" not in made["summary"]


def test_an_alert_that_fires_for_many_steps_counts_once():
    made = built(observed=seen(firing={ORDERS: [("WorkflowHighStepFailureRate", "")] * 5}))

    assert made["summary"]["firing"] == 1


def test_the_budget_shown_is_that_of_the_objective_that_is_worst_off():
    slos = (SLO, SloView("fast", 95, "30d", "slo:error:ratio_rate1h"))
    values = {
        (ORDERS, "success"): {"slo:error_budget_remaining:ratio": 0.9},
        (ORDERS, "fast"): {"slo:error_budget_remaining:ratio": 0.2},
    }

    made = built(outcome(rendered=rendered(slos=slos)), seen(values=values))

    assert made["summary"]["budget"] == "20%"


@pytest.mark.parametrize("observed", [None, seen(error="refused")])
def test_without_an_answer_no_figure_is_claimed(observed):
    made = built(observed=observed)

    assert not {"targets", "summary"} & set(made)
    assert made["slos"] == []


def test_a_restart_forgets_nothing_of_the_same_generation():
    before = built(observed=seen(values={(ORDERS, "success"): VALUES}), now=THEN)

    assert built(observed=None, previous=before) == before


def test_a_new_generation_has_not_been_seen_yet():
    before = built(outcome(generation=2), seen(values={(ORDERS, "success"): VALUES}), now=THEN)

    after = built(observed=None, previous=before)

    assert conditions(after)["Ready"] == ("Unknown", "NotSeenYet")
    assert not {"targets", "summary"} & set(after)


def test_what_was_seen_before_is_not_claimed_once_nobody_asks():
    before = built(observed=seen(values={(ORDERS, "success"): VALUES}), now=THEN)

    after = built(observed=None, policy=OFF, previous=before)

    assert conditions(after) == {
        **GOOD,
        **NOT_CONFIGURED,
        "Ready": ("True", "ReadyWithoutPrometheus"),
    }
    assert not {"targets", "summary"} & set(after)


def test_resources_are_listed():
    made = built(outcome(resources=[Resource(kind="Service", name="a", applied=True)]))

    assert made["resources"] == [{"kind": "Service", "name": "a", "applied": True}]


def flip(kind, before, after, reason="R"):
    previous = {"conditions": [{"type": kind, "status": before}] if before else []}
    now = {"conditions": [{"type": kind, "status": after, "reason": reason, "message": "m"}]}
    return [(k, s) for k, s, _, _ in status.transitions(previous, now)]


NEWS = {
    ("Accepted", None, "False"),
    ("Accepted", "True", "False"),
    ("Accepted", "Unknown", "False"),
    ("Accepted", "False", "True"),
    ("Provisioned", None, "False"),
    ("Provisioned", "True", "False"),
    ("Provisioned", "Unknown", "False"),
    ("Provisioned", "False", "True"),
    ("Ready", "False", "True"),
    ("Ready", "True", "False"),
}


@pytest.mark.parametrize("after", ["True", "False", "Unknown"])
@pytest.mark.parametrize("before", [None, "True", "False", "Unknown"])
@pytest.mark.parametrize("kind", status.TYPES)
def test_an_event_is_posted_only_where_there_is_news(kind, before, after):
    expected = [(kind, after)] if (kind, before, after) in NEWS else []

    assert flip(kind, before, after) == expected


@pytest.mark.parametrize("before", [None, "Unknown", "False"])
def test_the_arrival_at_monitored_is_news(before):
    assert flip("Ready", before, "True", "Monitored") == [("Ready", "True")]


def test_a_transition_tells_reason_and_message():
    previous = {"conditions": [{"type": "Ready", "status": "True"}]}
    now = {"conditions": [{"type": "Ready", "status": "False", "reason": "R", "message": "m"}]}

    assert status.transitions(previous, now) == [("Ready", "False", "R", "m")]


@pytest.mark.parametrize(
    ("made", "observed", "message"),
    [
        ({}, WELL, "scraped, ruled and verified"),
        (
            {},
            seen(retention=86400),
            "scraped, ruled and verified; Loaded has more to say",
        ),
        (
            {"warnings": (Problem("spec.slos[0]", "ThresholdRounded", "x"),), "notes": ("y",)},
            seen(retention=86400),
            "scraped, ruled and verified; Accepted, Provisioned, Loaded have more to say",
        ),
    ],
)
def test_ready_says_where_a_reader_should_look(made, observed, message):
    found = built(outcome(rendered=rendered(**made)), observed)

    assert found["conditions"][-1]["message"] == message


def test_a_warning_names_its_field():
    warnings = (Problem("spec.slos[0].objective", "AlertUnreachable", "no page"),)

    found = built(outcome(rendered=rendered(warnings=warnings)))

    assert found["conditions"][0]["message"] == "spec.slos[0].objective: no page"
