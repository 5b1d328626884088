import pytest

from flowgauge_operator import crd, model
from flowgauge_operator.model import SpecError


def parse(**spec):
    body = {"selector": {"matchLabels": {"app": "orders"}}, **spec}
    return model.parse({"metadata": {"name": "orders", "namespace": "shop"}, "spec": body})


def slo(**more):
    return {"slos": [{"name": "s", "objective": 99, **({"success": {}} | more)}]}


def extra(**more):
    return {"alerts": {"extra": [{"name": "Own", "expr": "vector(1)", **more}]}}


def override(**more):
    return {"alerts": {"overrides": {"SlowRuns": more}}}


def rules_of(node):
    """Every message of a CEL rule in the generated schema."""
    if isinstance(node, dict):
        yield from (rule["message"] for rule in node.get("x-kubernetes-validations", ()))
        for child in node.values():
            yield from rules_of(child)
    elif isinstance(node, list):
        for child in node:
            yield from rules_of(child)


CEL = set(rules_of(crd.monitored_workflow()["spec"]["versions"][0]["schema"]))
DURATION = "must be a whole number with a unit of s, m, h, d or w, such as 15s or 5m"
HOLD = "must be 0s or a whole number with a unit of s, m, h, d or w, such as 5m"
WINDOW = "must be a whole number with a unit of m, h, d or w, such as 30d"
THRESHOLD = "must be a whole number with a unit of ms, s, m or h, such as 500ms or 5s"
OBJECTIVE = "objective is in percent, above 0 and at most 99.9999; 100 would leave no budget, choose for example 99.9"
ONE_SLI = (
    "an SLO needs exactly one of success, latency, freshness, gauge and custom; keep one of them"
)
NAME = "must be lower-case letters, digits and dashes, such as success-rate"
ALERT = "must be letters and digits that begin with a capital, such as HighErrorRate"
LABELS = (
    "label names are letters, digits and underscores, do not begin with __ and are none of"
    " alertname, severity, namespace, monitored_workflow, slo, burn_tier, outage; rename the label"
)
PORT = "scrape.port must be a number from 1 to 65535 or the name of a container port"
PATH = "must be a path that begins with a slash, such as /metrics"
CRON = (
    "must be five cron fields (minute hour day month weekday), such as 0 2 * * *, or @hourly, @daily, @weekly,"
    " @monthly or @yearly"
)
PLAN = "schedule needs either cron or cronJob; give one of the two"
OWN_ZONE = "timeZone belongs to cron, and a CronJob has a time zone of its own; remove timeZone"
CRON_JOB = (
    "must be the name of a CronJob: lower-case letters, digits, dashes and dots, such as nightly"
)
ZONE = "must be a time zone of the IANA database, such as Europe/Zurich"
FOLDER = "must be names of folders, separated by /, that neither are empty nor begin with a dot, such as Shop"
COLOUR = "must be red, orange, yellow, green, blue or purple, also with light- or dark- before it, or such as #56a64b"
OVERRIDES = (
    "names of alerts are letters and digits that begin with a capital, such as HighErrorRate"
)
KEYS = "label keys must be valid Kubernetes label keys, such as app or app.kubernetes.io/name"
ROLE = "must be a role, such as queue.depth"
GAUGE = "gauge needs exactly one of max and min; give one of the two"
TIMEOUT = "scrape.interval must not be below scrape.timeout; raise interval or lower timeout"
TLS = "scrape.tls needs scrape.scheme: https; set the scheme or remove tls"
SELECTOR = "spec.selector is needed unless scrape.mode is AnnotatedPods, Push or None; say which pods belong to the workflow"

WINDOWS = "maintenance needs either cron with duration, or start with end; give one of the two"
LASTS = "cron needs duration, and only cron has it; give for example duration: 2h"
ENDS = "start needs end, which is later; correct the two"
INSTANT = "must be a time in UTC, in quotes, such as '2026-12-01T22:00:00Z'"
FIRST, SECOND = "2026-12-01T22:00:00Z", "2026-12-02T02:00:00Z"


def maintenance(**window):
    return {"maintenance": [{"name": "a", **window}]}


TEMPLATE = "must not contain {{, since templates are not expanded here; remove it"
URL = "must be a URL such as http://hooks.ops:8080/alerts, without user and password"
LOGIN = "authUsername and authPassword belong together; give both or none"
TO = "must be an e-mail address; several are separated by commas"
FROM = "must be an e-mail address"
SMARTHOST = "must be HOST:PORT, such as smtp.example.com:587"
HOOK = "a webhook needs either url or urlSecret; give one of the two"
RECEIVER = "a receiver needs at least one of slack, msteams, pagerduty, opsgenie, email and webhook; say by what to notify"
GROUP_BY = "must be a label name: letters, digits and underscores, as in team"
KEY = {"name": "alerts", "key": "url"}


def notify(**receiver):
    return {"notify": {"receiver": receiver}}


def slack(**more):
    return notify(slack={"apiURL": KEY, **more})


def email(**more):
    mail = {"to": "a@b.c", "from": "d@e.f", "smarthost": "smtp.example.com:587", **more}
    return notify(email={key: value for key, value in mail.items() if value is not None})


def webhook(**more):
    return notify(webhook=more)


def grouped(*labels):
    return {"notify": {"receiver": {"webhook": {"url": "http://a"}}, "groupBy": list(labels)}}


def coloured(color):
    """A panel that the workflow adds, in a colour."""
    panel = {"title": "Own", "queries": [{"expr": "vector(1)"}], "color": color}
    return {"dashboard": {"panels": {"add": [panel]}}}


# Constraint -> (good specs, bad specs); CEL carries each of these messages too.
CONSTRAINTS = {
    DURATION: (
        [{"scrape": {"interval": "15s"}}, {"scrape": {"interval": "9999w"}}],
        [
            {"scrape": {"interval": text}}
            for text in ("0s", "-5m", "5", "1.5h", "P1D", "5M", "1h30m", "15s\n", "500ms", "")
        ],
    ),
    HOLD: (
        [override(**{"for": "0s"}), extra(**{"for": "5m"})],
        [override(**{"for": "0m"}), extra(**{"for": "5"}), extra(**{"for": "1m30s"})],
    ),
    WINDOW: (
        [slo(window="30d"), slo(window="1m")],
        [slo(window=text) for text in ("30s", "0d", "30", "1y")],
    ),
    THRESHOLD: (
        [slo(success=None, latency={"threshold": text}) for text in ("500ms", "999999h")],
        [slo(success=None, latency={"threshold": text}) for text in ("0ms", "5", "5d", "1.5s")],
    ),
    OBJECTIVE: (
        [slo(objective=value) for value in (0.0001, 50, 99.9, 99.9999)],
        [slo(objective=value) for value in (0, -1, 100, 100.0001, 99.99999999, 1e308)],
    ),
    TEMPLATE: (
        [
            slack(),
            slack(channel="#orders"),
            slack(channel="{a}"),
            email(authPassword=KEY, authUsername="a{b"),
        ],
        [
            slack(channel="{{ .x }}"),
            email(to="a@b.c{{"),
            email(authUsername="{{", authPassword=KEY),
        ],
    ),
    URL: (
        [
            webhook(url=url)
            for url in (
                "http://hooks",
                "https://hooks.ops:8080/a/b?c=%20d#e",
                "http://10.0.0.1:9/",
                "http://a/?b@c",
            )
        ],
        [
            webhook(url=url)
            for url in (
                "",
                "hooks",
                "ftp://a",
                "http://",
                "http:///a",
                "http://user:pass@host/",
                "http://a:port/",
                "http://a/%zz",
                "http://a/{{ .x }}",
                "http://a b/",
                "http://a/\n",
                "javascript:alert(1)",
            )
        ],
    ),
    LOGIN: (
        [email(), email(authUsername="a", authPassword=KEY)],
        [email(authUsername="a"), email(authPassword=KEY)],
    ),
    TO: ([email(to="Ops <a@b.c>, d@e.f")], [email(to="nobody"), email(to="@"), email(to="a@")]),
    FROM: ([email(**{"from": "Flowgauge <a@b.c>"})], [email(**{"from": "nobody"})]),
    SMARTHOST: (
        [email(smarthost="a:25"), email(smarthost="10.0.0.1:587")],
        [
            email(smarthost=host)
            for host in ("smtp.example.com", "a:", ":25", "a b:25", "a:25/", "")
        ],
    ),
    HOOK: ([webhook(urlSecret=KEY)], [webhook(), webhook(url="http://a", urlSecret=KEY)]),
    RECEIVER: (
        [
            notify(pagerduty={"routingKey": KEY}, opsgenie={"apiKey": KEY}),
            notify(msteams={"webhookURL": KEY}),
        ],
        [notify(), {"notify": {"receiver": {"webhook": {"url": "http://a"}}, "page": {}}}],
    ),
    GROUP_BY: (
        [grouped("team"), grouped("alertname", "_a1")],
        [grouped(label) for label in ("...", "a-b", "1a", "", "a\n")],
    ),
    ONE_SLI: (
        [slo(), slo(success=None, freshness={"maxAge": "6h"})],
        [slo(success=None), slo(freshness={"maxAge": "6h"})],
    ),
    NAME: (
        [{"profile": "tta-dev"}, slo(name="a" * 63)],
        [{"profile": "Workflow"}, slo(name="a_b"), slo(name="-a"), slo(name='x"} or up{a="')],
    ),
    ALERT: (
        [extra(name="A"), {"alerts": {"disabled": ["SlowRuns"]}}],
        [extra(name="own"), extra(name="A-b"), {"alerts": {"disabled": ["x"]}}],
    ),
    LABELS: (
        [
            {"alerts": {"labels": {"team": 'any "value" {{'}}},
            extra(labels={"_a1": ""}),
            slo(alerts={"page": {"labels": {"team": "x"}}}),
        ],
        [
            *(
                {"alerts": {"labels": {name: "x"}}}
                for name in (*model.RESERVED_LABELS, "__name__", "1a", "a-b", "", "a\n", "ä")
            ),
            *(
                slo(alerts={tier: {"labels": {name: "x"}}})
                for tier in ("page", "ticket")
                for name in model.RESERVED_LABELS
            ),
        ],
    ),
    PORT: (
        [{"scrape": {"port": port}} for port in (1, 65535, "metrics", "a", "9a")],
        [{"scrape": {"port": port}} for port in (0, 65536, "-a", "A", "123", "a" * 16, "")],
    ),
    PATH: (
        [{"scrape": {"path": "/a/b-c_d.e~%20"}}],
        [{"scrape": {"path": path}} for path in ("metrics", "/a b", "/a?b=c", "/{{", "/\n")],
    ),
    WINDOWS: (
        [maintenance(cron="0 2 * * *", duration="2h"), maintenance(start=FIRST, end=SECOND)],
        [
            maintenance(),
            maintenance(cron="0 2 * * *", duration="2h", start=FIRST, end=SECOND),
        ],
    ),
    LASTS: (
        [maintenance(cron="@daily", duration="24h")],
        [maintenance(cron="0 2 * * *"), maintenance(start=FIRST, end=SECOND, duration="2h")],
    ),
    ENDS: (
        [maintenance(start=FIRST, end=SECOND)],
        [
            maintenance(start=SECOND, end=FIRST),
            maintenance(start=FIRST, end=FIRST),
            maintenance(start=FIRST),
        ],
    ),
    INSTANT: (
        [maintenance(start=FIRST, end=SECOND)],
        [
            maintenance(start=text, end="9999-01-01T00:00:00Z")
            for text in (
                "2026-12-01",
                "2026-12-01T22:00Z",
                "2026-12-01T22:00:00",
                "2026-12-01T22:00:00+00:00",
                "2026-13-01T22:00:00Z",
                "2026-12-01T24:00:00Z",
                "",
            )
        ],
    ),
    CRON: (
        [
            {"schedule": {"cron": text}}
            for text in ("0 2 * * *", "*/15 0-6 1,15 JAN-MAR MON", "@daily", "59 23 31 12 7")
        ],
        [
            {"schedule": {"cron": text}}
            for text in (
                "",
                "* * * *",
                "60 * * * *",
                "0 24 * * *",
                "0 0 0 * *",
                "@never",
                "0 2 * * * *",
            )
        ],
    ),
    ZONE: (
        [{"schedule": {"cron": "@daily", "timeZone": zone}} for zone in ("UTC", "Europe/Zurich")],
        [
            {"schedule": {"cron": "@daily", "timeZone": zone}}
            for zone in ("", "Europe/", "../etc", "a b")
        ],
    ),
    PLAN: (
        [{"schedule": {"cron": "@daily"}}, {"schedule": {"cronJob": "nightly"}}],
        [
            {"schedule": plan}
            for plan in ({}, {"deadline": "5m"}, {"cron": "@daily", "cronJob": "nightly"})
        ],
    ),
    OWN_ZONE: (
        [{"schedule": {"cron": "@daily", "timeZone": "UTC"}}, {"schedule": {"cronJob": "nightly"}}],
        [{"schedule": {"cronJob": "nightly", "timeZone": "UTC"}}],
    ),
    CRON_JOB: (
        [{"schedule": {"cronJob": name}} for name in ("nightly", "a.b-9", "a" * 52)],
        [{"schedule": {"cronJob": name}} for name in ("", "Nightly", "a_b", "-a", 'a"} or up{b="')],
    ),
    KEYS: (
        [{"selector": {"matchLabels": {"app.kubernetes.io/name": "a"}}}],
        [{"selector": {"matchLabels": {key: "a"}}} for key in ("-a", "a/b/c", "a b", "a" * 400)],
    ),
    ROLE: (
        [slo(success=None, gauge={"role": "queue.depth", "max": 1})],
        [
            slo(success=None, gauge={"role": role, "max": 1})
            for role in ("queue", "queue.depth)", "Q.a")
        ],
    ),
    GAUGE: (
        [slo(success=None, gauge={"role": "queue.depth", "min": 1})],
        [
            slo(success=None, gauge={"role": "queue.depth"}),
            slo(success=None, gauge={"role": "queue.depth", "min": 1, "max": 2}),
        ],
    ),
    COLOUR: (
        [coloured(color) for color in ("red", "super-light-blue", "text", "#56a64b")],
        [coloured(color) for color in ("", "Red", "url(x)", "#56a64", "red;", "red\n", "$job")],
    ),
    FOLDER: (
        [
            {"dashboard": {"folder": folder}}
            for folder in ("Shop", "Shop/Orders", "", "a b.c", "Größe")
        ],
        [
            {"dashboard": {"folder": folder}}
            for folder in ("/etc", "..", "a/../b", "a//b", "a/", ".git", "a\nb", "\u202ea")
        ],
    ),
    OVERRIDES: (
        [{"alerts": {"overrides": {"WorkflowSlowRuns": {}}}}],
        [
            {"alerts": {"overrides": {name: {}}}}
            for name in ("slowRuns", "", "Slow Runs", "A" * 101, "\x1b[31m")
        ],
    ),
    TIMEOUT: (
        [{"scrape": {"interval": "1m", "timeout": "60s"}}, {"scrape": {"interval": "5m"}}],
        [{"scrape": {"interval": "15s", "timeout": "20s"}}, {"scrape": {"timeout": "1m"}}],
    ),
    TLS: (
        [{"scrape": {"scheme": "https", "tls": {"insecureSkipVerify": True}}}],
        [{"scrape": {"tls": {"serverName": "a"}}}],
    ),
    SELECTOR: (
        [{"selector": None, "scrape": {"mode": mode}} for mode in ("Push", "None")],
        [
            {"selector": None, "scrape": {"mode": mode}}
            for mode in ("ServiceMonitor", "PodMonitor", "Annotations")
        ],
    ),
}
GOOD = [(message, spec) for message, (good, _) in CONSTRAINTS.items() for spec in good]
BAD = [(message, spec) for message, (_, bad) in CONSTRAINTS.items() for spec in bad]


@pytest.mark.parametrize(("message", "spec"), GOOD)
def test_a_good_value_is_taken(message, spec):
    assert parse(**spec).name == "orders"


@pytest.mark.parametrize(("message", "spec"), BAD)
def test_a_bad_value_is_refused_with_the_message_of_the_api_server(message, spec):
    with pytest.raises(SpecError) as caught:
        parse(**spec)

    assert caught.value.message == message
    assert message in CEL


def test_every_rule_of_the_schema_is_in_the_table():
    of_the_object = "metadata.name becomes a label value: use at most 63 characters"

    assert {*CONSTRAINTS, of_the_object} == CEL


@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        (
            {"selektor": {}},
            "spec.selektor",
            "is no field of this resource; correct its name or remove it",
        ),
        (slo(nmae="x"), "spec.slos[0].nmae", "is no field of this resource"),
        ({"suspend": "yes"}, "spec.suspend", "input should be a valid boolean, not 'yes'"),
        ({"suspend": 1}, "spec.suspend", "input should be a valid boolean, not 1"),
        (
            slo(objective="99.9"),
            "spec.slos[0].objective",
            "input should be a valid number, not '99.9'",
        ),
        (slo(objective=True), "spec.slos[0].objective", "input should be a valid number, not True"),
        (slo(objective=float("nan")), "spec.slos[0].objective", "input should be a finite number"),
        (
            override(threshold=float("inf")),
            "spec.alerts.overrides.SlowRuns.threshold",
            "finite number",
        ),
        (slo(minBadEvents=0), "spec.slos[0].minBadEvents", "greater than or equal to 1, not 0"),
        (slo(minBadEvents=1.5), "spec.slos[0].minBadEvents", "valid integer, not 1.5"),
        ({"scrape": {"port": True}}, "spec.scrape.port", "valid"),
        ({"scrape": {"mode": "Pull"}}, "spec.scrape.mode", "'ServiceMonitor', 'PodMonitor'"),
        (
            {"scrape": {"interval": 15}},
            "spec.scrape.interval",
            "input should be a valid string, not 15",
        ),
        (
            {"scrape": {"dropMetrics": ["a\nb"]}},
            "spec.scrape.dropMetrics[0]",
            "should match pattern",
        ),
        (
            extra(severity="page"),
            "spec.alerts.extra[0].severity",
            "'critical', 'warning' or 'info'",
        ),
        (extra(summary="a\u202eb"), "spec.alerts.extra[0].summary", "should match pattern"),
        (extra(summary="a\nb"), "spec.alerts.extra[0].summary", "should match pattern"),
        (extra(description="a\x00b"), "spec.alerts.extra[0].description", "should match pattern"),
        (
            extra(description="x" * 1025),
            "spec.alerts.extra[0].description",
            "at most 1024 characters",
        ),
        (extra(expr=""), "spec.alerts.extra[0].expr", "at least 1 character"),
        ({"selector": {"matchLabels": {}}}, "spec.selector.matchLabels", "at least 1 item"),
        (
            {"selector": {"matchLabels": {"a": "b c"}}},
            "spec.selector.matchLabels.a",
            "match pattern",
        ),
        (
            {"slos": [slo()["slos"][0]] * 2},
            "spec.slos",
            "the name s stands twice; rename one of the two",
        ),
        (
            {"slos": [{"name": f"s{i}", "objective": 99, "success": {}} for i in range(17)]},
            "spec.slos",
            "at most 16 items",
        ),
        ({"dashboard": {"folder": "a\tb"}}, "spec.dashboard.folder", FOLDER),
        (grouped(), "spec.notify.groupBy", "at least 1 item"),
        (grouped("a", "a"), "spec.notify.groupBy", "a stands twice; remove one of the two"),
        (slack(channel="a\nb"), "spec.notify.receiver.slack.channel", "should match pattern"),
        (email(to="a@b.c\nBcc: d@e.f"), "spec.notify.receiver.email.to", "should match pattern"),
        (email(smarthost=None), "spec.notify.receiver.email.smarthost", "field required"),
        (email(**{"from": None}), "spec.notify.receiver.email.from", "field required"),
        ({"notify": {"page": {}}}, "spec.notify.receiver", "field required"),
    ],
)
def test_a_spec_that_does_not_fit_names_the_field(spec, path, message):
    with pytest.raises(SpecError) as caught:
        parse(**spec)

    assert caught.value.path.startswith(path)
    assert message in caught.value.message


def test_every_field_at_fault_is_named():
    with pytest.raises(SpecError) as caught:
        parse(suspend="no", alerts={"overrides": {"SlowRuns": {"for": "soon"}}}, unknown=1)

    assert [fault.path for fault in caught.value.faults] == [
        "spec.suspend",
        "spec.alerts.overrides.SlowRuns.for",
        "spec.unknown",
    ]


def test_a_long_value_is_cut_in_the_message():
    with pytest.raises(SpecError) as caught:
        parse(suspend="x" * 10_000)

    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ({}, "metadata.name"),
        ({"name": ""}, "metadata.name"),
        ({"name": 5}, "metadata.name"),
        ({"name": "x" * 64}, "metadata.name"),
        ({"name": "Orders"}, "metadata.name"),
        ({"name": 'x"} or vector(1) or up{a="'}, "metadata.name"),
        ({"name": "orders\n"}, "metadata.name"),
        ("orders", "metadata"),
        ({"name": "orders", "namespace": 5}, "metadata.namespace"),
        ({"name": "orders", "namespace": "sh op"}, "metadata.namespace"),
        ({"name": "orders", "namespace": "a.b"}, "metadata.namespace"),
    ],
)
def test_an_identity_that_no_label_can_carry_is_refused(metadata, path):
    with pytest.raises(SpecError) as caught:
        model.parse({"metadata": metadata, "spec": {"scrape": {"mode": "Push"}}})

    assert caught.value.path == path


def test_what_is_not_given_has_these_values():
    spec = parse().spec

    assert (spec.profile, spec.suspend, spec.slos, spec.schedule) == ("workflow", False, [], None)
    assert (spec.scrape.mode, spec.scrape.interval, spec.scrape.port) == (
        "ServiceMonitor",
        "15s",
        None,
    )
    assert (spec.dashboard.mode, spec.alerts.disabled) == (None, [])


def test_a_workflow_without_namespace_takes_the_default():
    body = {"metadata": {"name": "orders"}, "spec": {"scrape": {"mode": "Push"}}}

    assert model.parse(body, default_namespace="team").namespace == "team"


@pytest.mark.parametrize("kind", ["success", "latency", "freshness", "gauge", "custom"])
def test_an_objective_knows_its_kind(kind):
    content = {
        "success": {},
        "latency": {"threshold": "5s"},
        "freshness": {"maxAge": "6h"},
        "gauge": {"role": "queue.depth", "max": 1},
        "custom": {"total": "a", "bad": "b"},
    }

    spec = parse(**slo(**({"success": None} | {kind: content[kind]}))).spec

    assert spec.slos[0].kind == kind


def test_a_parsed_spec_does_not_change():
    with pytest.raises(ValueError, match="frozen"):
        parse().spec.suspend = True
