"""Every text that a user writes into a MonitoredWorkflow, as somebody would write it who wants to break out of its place.

The fields come from the CRD: one that `FULL` does not hold fails the suite. Each hostile text is either refused with the
path of its field, or what is rendered is as harmless as without it.
"""

import dataclasses
import functools
import json
import posixpath
import re

import grafana_text
import pytest
import re2
import yaml
from hostile import HOSTILE

from flowgauge import profiles
from flowgauge_operator import crd, measure, model, promql
from flowgauge_operator.cli import product
from flowgauge_operator.render import Capabilities, Options, render

SECRET = {"name": "certificates", "key": "ca.crt"}
# A value for every field, so that each can be replaced.
FULL = {
    "profile": "workflow",
    "selector": {"matchLabels": {"app": "orders"}},
    "scrape": {
        "mode": "ServiceMonitor",
        "port": "metrics",
        "path": "/metrics",
        "interval": "15s",
        "timeout": "10s",
        "scheme": "https",
        "tls": {"ca": SECRET, "cert": SECRET, "keySecret": SECRET, "serverName": "orders.local"},
        "authorization": {"type": "Bearer", "credentials": SECRET},
        "dropMetrics": ["go_.*"],
    },
    "schedule": {"cron": "0 * * * *", "timeZone": "UTC", "deadline": "20m"},
    "maintenance": [
        {"name": "night", "cron": "0 3 * * *", "timeZone": "UTC", "duration": "1h"},
        {"name": "move", "start": "2026-12-01T22:00:00Z", "end": "2026-12-02T02:00:00Z"},
    ],
    "slos": [
        {
            "name": "success",
            "objective": 99,
            "window": "30d",
            "success": {},
            "alerts": {
                "page": {"severity": "warning", "labels": {"pager": "night"}},
                "ticket": {"severity": "info", "labels": {"queue": "slow"}},
            },
        },
        {
            "name": "fast",
            "objective": 95,
            "latency": {"threshold": "5m", "rounding": "Down"},
        },
        {"name": "fresh", "objective": 99, "freshness": {"maxAge": "2h"}},
        {"name": "short", "objective": 99, "gauge": {"role": "queue.depth", "max": 100}},
        {"name": "own", "objective": 99, "custom": {"total": "vector(2)", "bad": "vector(1)"}},
    ],
    "alerts": {
        "disabled": ["LowThroughput"],
        "overrides": {"HighErrorRate": {"for": "10m", "severity": "critical"}},
        "extra": [
            {
                "name": "Own",
                "expr": "vector(1) > 0",
                "for": "5m",
                "severity": "info",
                "summary": "Odd.",
                "description": "Look.",
                "labels": {"area": "north"},
            }
        ],
        "labels": {"team": "fulfilment"},
    },
    "dashboard": {
        "folder": "Shop",
        "mode": "ConfigMap",
        "panels": {
            "hide": ["Targets up"],
            "order": ["Runs", "Success ratio"],
            "add": [
                {
                    "title": "Odd",
                    "description": "Look.",
                    "type": "table",
                    "queries": [{"expr": "vector(1)", "legend": "Oddness", "unit": "ratio"}],
                    "row": "Own",
                    "unit": "seconds",
                    "color": "green",
                    "steps": [{"value": 1, "color": "#56a64b", "text": "odd"}],
                    "empty": "Nothing is odd",
                }
            ],
        },
    },
    "notify": {
        "receiver": {
            "slack": {"apiURL": SECRET, "channel": "#orders"},
            "msteams": {"webhookURL": SECRET},
            "pagerduty": {"routingKey": SECRET},
            "opsgenie": {"apiKey": SECRET, "apiURL": "https://api.eu.opsgenie.com/"},
            "email": {
                "to": "orders@shop.example",
                "from": "alerts@shop.example",
                "smarthost": "smtp.shop.example:587",
                "authUsername": "alerts",
                "authPassword": SECRET,
            },
            "webhook": {"url": "http://hooks.ops:8080/alerts"},
        },
        "page": {"webhook": {"urlSecret": SECRET}},
        "groupBy": ["alertname"],
        "groupWait": "30s",
        "groupInterval": "5m",
        "repeatInterval": "4h",
    },
}
# What excludes something above.
OTHERWISE = {"schedule": {"cronJob": "nightly", "deadline": "20m"}}
PROMQL = (
    "alerts.extra[].expr",
    "slos[].custom.total",
    "slos[].custom.bad",
    "dashboard.panels.add[].queries[].expr",
)


def leaves(schema, path=""):
    """The path of each text in a schema; keys of a map count, and a list is `[]`."""
    if "properties" in schema:
        for name, member in schema["properties"].items():
            yield from leaves(member, f"{path}.{name}" if path else name)
    elif "additionalProperties" in schema:
        yield f"{path}.{{key}}"
        yield from leaves(schema["additionalProperties"], f"{path}.{{value}}")
    elif "items" in schema:
        yield from leaves(schema["items"], f"{path}[]")
    elif schema.get("type") == "string" or schema.get("x-kubernetes-int-or-string"):
        yield path


def places(value, schema, path="", way=()):
    """Each text of a spec: its path in the schema, and the keys that lead to it; `None` last is the key itself."""
    if "properties" in schema:
        for name, member in value.items():
            below = f"{path}.{name}" if path else name
            yield from places(member, schema["properties"][name], below, (*way, name))
    elif "additionalProperties" in schema:
        for key, member in value.items():
            yield f"{path}.{{key}}", (*way, key, None)
            below = schema["additionalProperties"]
            yield from places(member, below, f"{path}.{{value}}", (*way, key))
    elif "items" in schema:
        for i, member in enumerate(value):
            yield from places(member, schema["items"], f"{path}[]", (*way, i))
    elif isinstance(value, str):
        yield path, way


def dotted(way):
    """The path as messages name it."""
    return "spec" + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in way)


def changed(way, text):
    """The full spec with one text replaced."""
    other = way[:2] == ("schedule", "cronJob")
    spec = json.loads(json.dumps(FULL | OTHERWISE if other else FULL))
    *above, last = way if way[-1] is not None else way[:-1]
    at = spec
    for key in above:
        at = at[key]
    if way[-1] is None:
        at[text] = at.pop(last)
    else:
        at[last] = text
    return spec


def workflow(spec):
    metadata = {"name": "orders", "namespace": "shop", "uid": "1"}
    return model.parse({"metadata": metadata, "spec": spec})


# The alerts and panels of few families are enough, and what is rendered in thousands is small.
ROLES = ("run.finished", "run.duration", "run.last_success", "queue.depth")
WORKFLOW = profiles.builtin("workflow")
PROFILE = dataclasses.replace(
    WORKFLOW, families=tuple(f for f in WORKFLOW.families if f.role in ROLES)
)


def rendered(spec, **without):
    """What is rendered, with links to runbooks and a Grafana."""
    options = Options(
        runbook_url="https://runbooks.example/", grafana_url="https://grafana.example"
    )
    return render(workflow(spec), PROFILE, Capabilities(**without), options)


SCHEMA = crd.monitored_workflow()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
PLACES = [
    *places(FULL, SCHEMA["properties"]["spec"]),
    *(p for p in places(OTHERWISE, SCHEMA["properties"]["spec"]) if p[0] == "schedule.cronJob"),
]


def rules(made):
    kind = next(child for child in made.children if child["kind"] == "PrometheusRule")
    return [rule for group in kind["spec"]["groups"] for rule in group["rules"]]


def dashboard(made):
    return next(
        json.loads(next(iter(child["data"].values())))
        for child in made.children
        if child["metadata"]["name"] == "orders-dashboard"
    )


def strings(value):
    """Every text below a value."""
    if isinstance(value, dict):
        for key, member in value.items():
            yield key
            yield from strings(member)
    elif isinstance(value, list):
        for member in value:
            yield from strings(member)
    elif isinstance(value, str):
        yield value


def templates(made):
    """The template actions in labels and annotations; an opening that is shown as text is none."""
    texts = [
        text
        for rule in rules(made)
        for text in strings([rule["labels"], rule.get("annotations", {})])
    ]
    return {
        action
        for text in texts
        for action in re.findall(r"\{\{.*?(?:\}\}|$)", text.replace('{{ "{{" }}', ""), re.DOTALL)
    }


def variables(made):
    """What Grafana would fill in."""
    return {name for text in strings(dashboard(made)) for name in grafana_text.variables(text)}


def panels(made):
    """Every panel, those in closed rows too."""
    for panel in dashboard(made)["panels"]:
        yield panel
        yield from panel.get("panels", ())


def reads(made):
    """The metrics that expressions read, with the namespaces that they read them of."""
    exprs = [rule["expr"] for rule in rules(made)]
    exprs += [
        re.sub(r"\$__(rate_interval|range|interval)", "5m", target["expr"])
        for panel in panels(made)
        for target in panel.get("targets", ())
    ]
    return {name for expr in exprs for name in checked(expr)}


@functools.cache
def checked(expr):
    """The metrics of an expression that Prometheus takes and that stays in its namespace."""
    promql.check(expr, "shop")
    return frozenset(selector.name for selector in promql.selectors(expr))


@functools.cache
def baseline():
    """What is read, expanded and filled in without any hostile text."""
    made, other = rendered(FULL), rendered(FULL | OTHERWISE)
    assert (made.problems, other.problems) == ((), ())
    known = {*strings(list(made.children)), *strings(list(other.children))}
    return reads(made) | reads(other), templates(made), variables(made), known


def assert_harmless(made, place):
    read, expanded, filled, known = baseline()
    assert reads(made) <= read or place in PROMQL
    assert templates(made) <= expanded
    assert variables(made) <= filled
    assert [text for text in strings(dashboard(made)) if grafana_text.unseen(text)] == []
    for panel in panels(made):
        assert grafana_text.marked_up(panel.get("description", "")) == []
    for rule in rules(made):
        for name, value in rule["labels"].items():
            assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name)
            assert len(value.encode()) <= 1024
        assert rule["labels"]["namespace"] == "shop"
        assert rule["labels"]["monitored_workflow"] == "orders"
    for child in made.children:
        assert child["metadata"]["namespace"] == "shop"
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", child["metadata"]["name"])
    new = [text for text in strings(list(made.children)) if text not in known]
    written = yaml.dump(new, Dumper=product.Dumper, allow_unicode=True, width=10**6)
    assert yaml.load(written, Loader=yaml.CSafeLoader) == new
    assert json.loads(json.dumps(new)) == new
    assert not [text for text in new if "\x00" in text]
    for folder in (
        c["metadata"].get("annotations", {}).get("grafana_folder") for c in made.children
    ):
        # A sidecar makes a path of it.
        inside = posixpath.normpath(posixpath.join("/dashboards", folder or "shop"))
        assert inside.startswith("/dashboards/")
    receivers = [child for child in made.children if child["kind"] == "AlertmanagerConfig"]
    # Alertmanager expands templates too.
    assert [text for text in strings(receivers) if "{{" in text and text not in known] == []
    for regex in regexes(list(made.children)):
        re2.compile(regex)


def regexes(value):
    if isinstance(value, dict):
        yield from (member for key, member in value.items() if key == "regex")
        for member in value.values():
            yield from regexes(member)
    elif isinstance(value, list):
        for member in value:
            yield from regexes(member)


def is_named(path, way):
    """Whether a fault is told of the field, or of the map or object that it is in."""
    whole = dotted(key for key in way if key is not None)
    return path == whole or (path != "spec" and re.match(rf"{re.escape(path)}[.\[]", whole))


def test_every_text_of_the_schema_is_among_what_is_tried():
    # Both are receivers, and one receiver cannot hold all.
    tried = {place.replace("notify.page.", "notify.receiver.") for place, _ in PLACES}

    assert {
        place.replace("notify.page.", "notify.receiver.")
        for place in leaves(SCHEMA["properties"]["spec"])
    } == tried


@pytest.mark.parametrize(
    ("place", "way"), PLACES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_hostile_text_is_refused_by_path_or_does_nothing(place, way):
    for text in HOSTILE:
        made, told = attempt(way, text)
        assert all(is_named(path, way) for path in told), (text, told)
        if made is None:
            assert told, text
            continue
        assert_harmless(made, place)
        if place in PROMQL and not told:
            assert_whole(text)


def attempt(way, text):
    """What is rendered, None where the text is refused; and the paths that are told of."""
    try:
        made = rendered(changed(way, text))
        # Where Prometheus Operator is missing, rules are a text within a ConfigMap.
        plain = rendered(changed(way, text), kinds=frozenset())
    except model.SpecError as error:
        return None, [fault.path for fault in error.faults]
    content = next(c for c in plain.children if c["metadata"]["name"] == "orders-rules")["data"]
    assert json.loads(next(iter(content.values())))["groups"]
    return made, [problem.path for problem in made.problems]


def assert_whole(text):
    """An expression that stands by itself: one that closes a parenthesis of ours would stand only with it."""
    scope = measure.Scope(PROFILE, "shop", "orders")
    values = {"window": "5m", "due": "vector(1)", "__range": "1h"}
    promql.check(measure.expand(text, scope.with_values(**values)), "shop")


@pytest.mark.parametrize("field", ["name", "namespace"])
@pytest.mark.parametrize("text", [text for text in HOSTILE if text not in ("yes", "")])
def test_a_hostile_identity_is_refused(field, text):
    body = {"metadata": {"name": "orders", "namespace": "shop", field: text}, "spec": FULL}

    with pytest.raises(model.SpecError) as caught:
        model.parse(body)

    assert caught.value.path == f"metadata.{field}"
