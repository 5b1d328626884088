"""Bad input is refused by the real API server, with a message that names the field and the remedy."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from flowgauge_operator import cli, crd
from rig.kubectl import KubectlError

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def api(cluster):
    cluster.apply([crd.monitored_workflow()])
    cluster.wait_established("crd/monitoredworkflows.flowgauge.dev")
    return cluster


def workflow(namespace, **spec):
    body = copy.deepcopy(yaml.safe_load((ROOT / "examples/orders/workflow.yaml").read_text()))
    body["metadata"] = {"name": "bad", "namespace": namespace}
    body["spec"] |= spec
    return without_none(body)


def without_none(value):
    if isinstance(value, dict):
        return {key: without_none(member) for key, member in value.items() if member is not None}
    return [without_none(member) for member in value] if isinstance(value, list) else value


def slo(**fields):
    return {"slos": [{"name": "a", "objective": 99, "success": {}} | fields]}


OBJECTIVE = "objective is in percent, above 0 and at most 99.9999"
CRON = "must be five cron fields (minute hour day month weekday)"
LABEL = "label names are letters, digits and underscores"
WINDOW = "must be a whole number with a unit of m, h, d or w, such as 30d"

HOOK = {"webhook": {"url": "http://hooks.ops:8080/"}}
SLACK = {"apiURL": {"name": "alerts", "key": "slack"}}
MAIL = {"to": "a@b.c", "from": "d@e.f", "smarthost": "smtp.example.com:587"}


def notify(receiver, **more):
    return {"notify": {"receiver": receiver, **more}}


# spec, what the API server says, what the command line says
FIRST, SECOND = "2026-12-01T22:00:00Z", "2026-12-02T02:00:00Z"
REFUSED = [
    *[
        (slo(objective=value), OBJECTIVE, OBJECTIVE)
        for value in (0, 100, 101, -1, 100.0001, 1e308, 99.99999999)
    ],
    (slo(objective="99"), "expected numeric", "input should be a valid number, not '99'"),
    (
        {"slos": slo()["slos"] * 2},
        "duplicate entries for key",
        "the name a stands twice; rename one of the two",
    ),
    (
        slo(latency={"threshold": "5s"}),
        "exactly one of success, latency",
        "exactly one of success, latency",
    ),
    (
        {"slos": [{"name": "a", "objective": 99}]},
        "exactly one of success, latency",
        "exactly one of success, latency",
    ),
    (
        {"slos": [{"name": f"s{i}", "objective": 99, "success": {}} for i in range(17)]},
        "at most 16 items",
        "at most 16 items",
    ),
    *[
        (slo(window=value), WINDOW, WINDOW)
        for value in ("0s", "-5m", "5", "1.5h", "P1D", "99999d", "30d12")
    ],
    *[
        ({"schedule": {"cron": value}}, CRON, CRON)
        for value in (
            "61 * * * *",
            "* * * *",
            "0 0 0 * * *",
            "@reboot",
            "0 25 * * *",
            "0 0 * * 8",
            "0 0 31 13 *",
            "",
        )
    ],
    *[
        ({"schedule": plan}, message, message)
        for plan, message in (
            ({}, "either cron or cronJob"),
            ({"cron": "@daily", "cronJob": "nightly"}, "either cron or cronJob"),
            ({"cronJob": "nightly", "timeZone": "UTC"}, "timeZone belongs to cron"),
            ({"cronJob": "Nightly"}, "must be the name of a CronJob"),
        )
    ],
    ({"schedule": {"cronJob": "a" * 53}}, "more than 52", "at most 52"),
    *[
        ({"maintenance": [{"name": "a", **window}]}, message, message)
        for window, message in (
            ({}, "either cron with duration, or start with end"),
            ({"cron": "0 2 * * *"}, "cron needs duration"),
            ({"start": FIRST, "end": SECOND, "duration": "1h"}, "cron needs duration"),
            (
                {"cron": "0 2 * * *", "duration": "1h", "start": FIRST, "end": SECOND},
                "either cron with duration",
            ),
            ({"start": FIRST}, "start needs end"),
            ({"start": SECOND, "end": FIRST}, "start needs end, which is later"),
            ({"start": "tomorrow", "end": SECOND}, "must be a time in UTC"),
            ({"start": "2026-12-01T22:00:00+01:00", "end": SECOND}, "must be a time in UTC"),
            ({"cron": "0 25 * * *", "duration": "1h"}, CRON),
            ({"cron": "0 2 * * *", "duration": "0h"}, "must be a whole number with a unit"),
        )
    ],
    (
        {"scrape": {"interval": "5s", "timeout": "10s"}},
        "raise interval or lower timeout",
        "raise interval or lower timeout",
    ),
    *[
        ({"alerts": {"labels": {name: "x"}}}, LABEL, LABEL)
        for name in (
            "__name__",
            "namespace",
            "severity",
            "slo",
            "alertname",
            "monitored_workflow",
            "a-b",
            "1a",
            "é",
        )
    ],
    ({"alerts": {"labels": {f"l{i}": "x" for i in range(17)}}}, "at most 16", "at most 16"),
    ({"alerts": {"labels": {"team": "x" * 257}}}, "more than 256", "at most 256"),
    ({"selector": None}, "spec.selector is needed", "spec.selector is needed"),
    ({"selector": {"matchLabels": {}}}, "at least 1", "at least 1"),
    ({"profile": 'x"} or vector(1) or up{a="'}, "lower-case letters", "lower-case letters"),
    *[
        ({"scrape": {"port": value}}, "from 1 to 65535", "from 1 to 65535")
        for value in (0, 65536, "UP", "123")
    ],
    *[
        ({"scrape": {"path": value}}, "begins with a slash", "begins with a slash")
        for value in ("metrics", "http://169.254.169.254/", "/a b")
    ],
    (
        {"scrape": {"tls": {"serverName": "x"}}},
        "set the scheme or remove tls",
        "set the scheme or remove tls",
    ),
    ({"scrape": {"honorLabels": True}}, "field not declared", "is no field of this resource"),
    (
        {"scrape": {"namespaceSelector": {"any": True}}},
        "field not declared",
        "is no field of this resource",
    ),
    (
        slo(success=None, gauge={"role": "queue.depth"}),
        "exactly one of max and min",
        "exactly one of max and min",
    ),
    (slo(alerts={"page": {"labels": {"severity": "x"}}}), LABEL, LABEL),
    (slo(alerts={"ticket": {"severity": "page"}}), "Unsupported value", "'critical', 'warning'"),
    (slo(alerts={"wake": {}}), "field not declared", "is no field of this resource"),
    (
        slo(success=None, latency={"threshold": "5s", "rounding": "Nearest"}),
        "Unsupported value",
        "'None', 'Down' or 'Up'",
    ),
    (slo(success=None, latency={"threshold": "0s"}), "such as 500ms or 5s", "such as 500ms or 5s"),
    *[
        ({"dashboard": {"folder": value}}, "must be names of folders", "must be names of folders")
        for value in ("a\u202eb", "a\u0007b", "a\u200bb", "a\nb", "../../etc", "/etc")
    ],
    *[
        ({"alerts": {"overrides": {name: {}}}}, "names of alerts are", "names of alerts are")
        for name in ("slowRuns", "Slow Runs", "{{ . }}")
    ],
    (
        {"alerts": {"extra": [{"name": "lower", "expr": "vector(1)"}]}},
        "begin with a capital",
        "begin with a capital",
    ),
    *[
        (notify(receiver, **more), message, message)
        for receiver, more, message in (
            ({}, {}, "a receiver needs at least one of slack"),
            (HOOK, {"page": {}}, "a receiver needs at least one of slack"),
            ({"webhook": {}}, {}, "a webhook needs either url or urlSecret"),
            ({"webhook": {"url": "http://user:pass@host/"}}, {}, "must be a URL such as"),
            ({"webhook": {"url": "http://a/{{ .x }}"}}, {}, "must be a URL such as"),
            ({"slack": {**SLACK, "channel": "{{ .x }}"}}, {}, "must not contain {{"),
            ({"email": {**MAIL, "to": "nobody"}}, {}, "must be an e-mail address"),
            ({"email": {**MAIL, "from": "a@{{b}}"}}, {}, "must not contain {{"),
            ({"email": {**MAIL, "smarthost": "smtp"}}, {}, "must be HOST:PORT"),
            ({"email": {**MAIL, "authUsername": "a"}}, {}, "authPassword belong together"),
            (HOOK, {"groupBy": ["..."]}, "must be a label name"),
            (HOOK, {"groupInterval": "0s"}, "must be a whole number with a unit"),
        )
    ],
    (notify(HOOK, groupBy=["a", "a"]), "duplicate entries", "a stands twice"),
    (notify(HOOK, groupBy=[]), "at least 1 items", "at least 1 item"),
    (notify({"email": {"to": "a@b.c", "from": "d@e.f"}}), "Required value", "field required"),
    ({"notify": {"page": HOOK}}, "Required value", "field required"),
    ({"alerts": {"extra": [{"name": "A", "expr": "x" * 3000}]}}, "more than 2048", "at most 2048"),
    (
        {"alerts": {"extra": [{"name": "A", "expr": "up", "description": "x" * 200_000}]}},
        "more than 1024",
        "at most 1024",
    ),
]


@pytest.mark.parametrize(("spec", "server", "local"), REFUSED, ids=range(len(REFUSED)))
def test_bad_input_is_refused_by_both_with_the_remedy(api, namespace, spec, server, local):
    body = workflow(namespace, **spec)

    with pytest.raises(KubectlError) as refused:
        api.apply([body])

    assert server in str(refused.value)
    assert local in "; ".join(cli.problems(body))


def test_a_name_that_is_no_label_value_is_refused(api, namespace):
    body = workflow(namespace)
    body["metadata"]["name"] = "a" * 64

    with pytest.raises(KubectlError, match="use at most 63 characters"):
        api.apply([body])

    assert "at most 63 characters" in cli.problems(body)[0]


ACCEPTED = [
    {},
    {
        "schedule": {
            "cron": "*/5 0-6,22 1,15 JAN-MAR MON-FRI",
            "timeZone": "Europe/Zurich",
            "deadline": "20m",
        }
    },
    {"schedule": {"cron": "@hourly"}},
    {"schedule": {"cronJob": "nightly.shop-1", "deadline": "2h"}},
    {"scrape": {"port": 8000, "path": "/actuator/prometheus", "interval": "1m", "timeout": "30s"}},
    {"scrape": {"mode": "Push"}, "selector": None},
    slo(objective=99.9999, window="90d"),
    slo(objective=0.001),
    slo(alerts={"page": {"enabled": False}, "ticket": {"severity": "info", "labels": {"a": "b"}}}),
    slo(success=None, latency={"threshold": "7s", "rounding": "Down"}),
    {"scrape": {"nativeHistograms": True}} | slo(success=None, latency={"threshold": "7s"}),
    {"alerts": {"disabled": ["ErrorBudgetBurnSlow"]}},
    slo(success=None, freshness={"maxAge": "2h"}),
    slo(success=None, gauge={"role": "queue.depth", "max": 100}),
    {
        "alerts": {
            "labels": {"team": 'x"} or up{a="'},
            "overrides": {"HighErrorRate": {"threshold": 0.1, "for": "10m"}},
        }
    },
    {"suspend": True},
    notify(HOOK),
    notify(
        {"slack": SLACK, "email": MAIL, "msteams": {"webhookURL": SLACK["apiURL"]}},
        page={
            "pagerduty": {"routingKey": SLACK["apiURL"]},
            "opsgenie": {"apiKey": SLACK["apiURL"], "apiURL": "https://api.eu.opsgenie.com/"},
            "webhook": {"urlSecret": SLACK["apiURL"]},
        },
        groupBy=["team"],
        groupWait="0s",
        groupInterval="1m",
        repeatInterval="12h",
        sendResolved=False,
    ),
]


@pytest.mark.parametrize("spec", ACCEPTED, ids=range(len(ACCEPTED)))
def test_good_input_is_accepted_by_both(api, namespace, spec):
    body = workflow(namespace, **spec)

    api.apply([body])

    assert cli.problems(body) == []


def test_every_field_is_explained(api):
    for path in (
        "spec",
        "spec.slos",
        "spec.scrape.tls",
        "spec.alerts.overrides",
        "status.conditions",
    ):
        text = api.kubectl("explain", f"mwf.{path}", "--recursive=false")
        assert "<no description>" not in text
