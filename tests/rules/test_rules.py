"""promtool over everything that the built-in profiles render: linted, and each alert in the situations it is for."""

import re
import subprocess
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from alert_cases import BURNS, CASES
from hostile import HOSTILE

from flowgauge import profiles
from flowgauge_operator import model, promql
from flowgauge_operator.render import Capabilities, Options, render

# What has no metrics and follows its CronJob only is in test_cronjob.
PROFILES = [name for name in profiles.names() if name != "cronjob"]
EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*/manifests.yaml"))
SLOS = {
    "success": {"objective": 99, "success": {}},
    "low": {"objective": 50, "window": "7d", "success": {}},
    "fast": {"objective": 95, "window": "28d", "latency": {"threshold": "5s"}},
    "short": {"objective": 99, "window": "1d", "success": {}},
    "custom": {
        "objective": 99.9999,
        "custom": {
            "total": "$rate(process.cpu[$window])",
            "bad": "y{$owner} # odd\n > 1",
        },
    },
}
ONLY_DEFAULT = {
    "fresh": {"objective": 99, "freshness": {"maxAge": "6h"}},
    "deep": {"objective": 99, "window": "90d", "gauge": {"role": "queue.depth", "max": 100}},
    "shallow": {"objective": 99, "gauge": {"role": "queue.depth", "min": 0.5}},
}


def objectives(profile):
    """Those of SLOS that a profile has the roles for."""
    missing = {
        name
        for name, role in (("fast", "run.duration"), ("custom", "process.cpu"))
        if not profiles.builtin(profile).by_role(role) and profile != "orchestrix"
    }
    return {name: slo for name, slo in SLOS.items() if name not in missing}


def groups(profile, namespace="shop", slos=None, **spec):
    """The rule groups of a workflow, as rendered."""
    body = {"profile": profile, "selector": {"matchLabels": {"app": "orders"}}, **spec}
    body.setdefault("schedule", {"cron": "0 * * * *"})
    body["slos"] = [{"name": name, **content} for name, content in (slos or {}).items()]
    workflow = model.parse({"metadata": {"name": "orders", "namespace": namespace}, "spec": body})
    rendered = render(workflow, profiles.builtin(profile), Capabilities(), Options())
    assert rendered.problems == ()
    return next(c for c in rendered.children if c["kind"] == "PrometheusRule")["spec"]["groups"]


def profile_of(manifests):
    """The profile of the workflow that an example's manifests were made of."""
    text = manifests.with_name("workflow.yaml").read_text(encoding="utf-8")
    (spec,) = (
        body["spec"] for body in yaml.safe_load_all(text) if body["kind"] == "MonitoredWorkflow"
    )
    return spec.get("profile", profiles.DEFAULT)


def alerts_of(profile):
    """Names of the profile's alerts as rendered -> the name of their cases."""
    prefix = profiles.builtin(profile).alert_prefix
    names = {
        rule["alert"]: rule["alert"].removeprefix(prefix) if prefix else rule["alert"]
        for group in groups(profile)
        for rule in group["rules"]
        if "alert" in rule
    }
    own = {alert: f"{profile}/{name}" for alert, name in names.items()}
    return {a: own[a] if own[a] in CASES else name for a, name in names.items()}


def run(promtool, *arguments, cwd):
    return subprocess.run(
        [promtool, *arguments], cwd=cwd, capture_output=True, text=True, check=False, timeout=280
    )


def write(path, content):
    # JSON is YAML, and much faster to write.
    path.write_text(yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False), encoding="utf-8")
    return path.name


def test_every_rendered_rule_passes_the_linter(promtool, tmp_path):
    files = []
    for profile in PROFILES:
        slos = objectives(profile) | (ONLY_DEFAULT if profile == "workflow" else {})
        content = groups(profile, slos=slos) + groups(profile, "other")
        files.append(write(tmp_path / f"{profile}.yaml", {"groups": content}))

    done = run(promtool, "check", "rules", "--lint=all", "--lint-fatal", *files, cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.parent.name)
def test_the_rules_of_every_example_pass_the_linter(promtool, tmp_path, example):
    manifests = yaml.safe_load_all(example.read_text(encoding="utf-8"))
    rules = next(m for m in manifests if m["kind"] == "PrometheusRule")

    file = write(tmp_path / "rules.yaml", rules["spec"])
    done = run(promtool, "check", "rules", "--lint=all", "--lint-fatal", file, cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_profile_has_an_example():
    assert {profile_of(path) for path in EXAMPLES} >= set(PROFILES)


# -- behaviour ---------------------------------------------------------------------------------------------------------


def series(profile, namespace, entries):
    """Series over roles in the vocabulary of a profile."""
    known = profiles.builtin(profile)
    return [
        {
            "series": _series(known, namespace, role, labels),
            "values": _in_unit(known, role, labels, values),
        }
        for role, labels, values in entries
        # Where a vocabulary has no counter of starts, that of ends stands in.
        if role != "run.started" or profiles.builtin(profile).by_role(role)
    ]


def _in_unit(profile, role, labels, values):
    """Sums of seconds in the unit of the family; counts have none."""
    name, suffix = _parted(role)
    if suffix != "_sum":
        return values
    factor = _family(profile, name, labels).factor

    def scaled(match):
        return f"{(Decimal(match[0]) / factor).normalize():f}"

    # What stands behind an `x` is a number of samples.
    return re.sub(r"(?<![x\d.])\d+(\.\d+)?", scaled, values)


def _series(profile, namespace, role, labels):
    owner = {"namespace": namespace, "monitored_workflow": "orders"}
    if role == "target.up":
        return _selector("up", owner | labels)
    role, suffix = _parted(role)
    family = _family(profile, role, labels)
    named = {
        family.labels.get(key, key): _value(family, key, value)
        for key, value in labels.items()
        if key != "outcome" or family.outcomes
    }
    return _selector(f"{family.name}{suffix}", owner | named | dict(family.where))


def _family(profile, role, labels):
    """The family that plays a role; where outcomes are counted separately, that of the outcome."""
    outcome = labels.get("outcome")
    families = [f for f in profile.by_role(role) if f.outcomes or not outcome]
    if not families:
        pair = {"good": "succeeded", "bad": "failed"}
        families = profile.by_role(role.replace("finished", pair[outcome]))
    return families[0]


def _parted(role):
    """A role, and the suffix of the sample that is meant."""
    suffix = next((s for s in ("_bucket", "_count", "_sum") if role.endswith(s)), "")
    return role.removesuffix(suffix), suffix


def _value(family, label, value):
    if label == "outcome":
        return {"good": family.outcomes.good[0], "bad": "failed"}.get(value, value)
    if label == "le" and value != "+Inf":
        return f"{(Decimal(value) / family.factor).normalize():f}"
    return value


def _selector(name, labels):
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


def labels_of(profile, cases):
    """The labels of an alert beyond the owner's, as the vocabulary calls them."""
    families = [
        _family(profiles.builtin(profile), _parted(role)[0], labels)
        for role, labels, _ in (cases.bad if cases.labels else ())
    ]
    return {
        next((f.labels[key] for f in families if key in f.labels), key): value
        for key, value in cases.labels.items()
    }


def expected(cases, labels, summary, *namespaces):
    """The alerts that must fire, to the last label and annotation."""
    return [
        {
            "exp_labels": {
                "severity": cases.severity,
                "namespace": namespace,
                "monitored_workflow": "orders",
                **({"outage": cases.outage} if cases.outage else {}),
                **labels,
            },
            "exp_annotations": {
                "summary": summary,
                "description": cases.description.format(owner=f"{namespace}/orders"),
            },
        }
        for namespace in namespaces
    ]


def cases_of(alert, cases, profile, summary):
    """The tests of one alert: fires, silent, resolves, no data, two workflows of one name, and the series just born."""

    # The other workflow has series only where they matter, which saves time; absence would fire without them.
    quiet = cases.good if cases.fires_without_data else ()

    def check(at, *namespaces):
        fired = expected(cases, labels_of(profile, cases), summary, *namespaces)
        return {"eval_time": at, "alertname": alert, "exp_alerts": fired}

    def case(name, shop, *checks, other=quiet):
        inputs = series(profile, "shop", shop) + series(profile, "other", other)
        return {
            "name": name,
            "interval": cases.step,
            "input_series": inputs,
            "alert_rule_test": list(checks),
        }

    without = ("shop", "other") if cases.fires_without_data else ()
    late = () if cases.unseen else ("shop",)
    return [
        case("fires", cases.bad, check(cases.at, "shop"), other=cases.good),
        case("stays silent", cases.good, check(cases.at)),
        case("resolves", cases.resolves, check(cases.at, "shop"), check(cases.resolved)),
        case("no data", (), check(cases.at, *without), other=()),
        case("two of one name", cases.bad, check(cases.at, "shop", "other"), other=cases.bad),
        *(case(name, given, check(cases.at, "shop")) for name, given in cases.fires.items()),
        *(case(name, given, check(cases.at)) for name, given in cases.silent.items()),
        *([case(BORN, born(cases.bad), check(cases.at, *late))] if counters(cases) else []),
    ]


BORN = "series that begin with their first event"


def counters(cases):
    """The entries of a case that count, as series that begin at zero do."""
    kinds = ("counter", "histogram")
    return [e for e in cases.bad if profiles.ROLES[_parted(e[0])[0]].instrument in kinds]


def born(entries):
    """The same series, each counter without what was before its first event; a histogram's begin together."""
    counted = {id(entry) for entry in counters(SimpleNamespace(bad=entries))}

    def whole(role, labels):
        return _parted(role)[0], *sorted((k, v) for k, v in labels.items() if k != "le")

    begin = {}
    for role, labels, values in entries:
        first = next((i for i, v in enumerate(samples(values)) if v not in ("_", 0)), None)
        if first is not None:
            key = whole(role, labels)
            begin[key] = min(first, begin.get(key, first))

    def late(role, labels, values):
        first = begin.get(whole(role, labels))
        rest = [] if first is None else samples(values)[first:]
        return role, labels, " ".join(["_"] * (first or 1) + [f"{v}" for v in rest])

    return tuple(late(*entry) if id(entry) in counted else entry for entry in entries)


def samples(values):
    """Each sample of promtool's notation, as a number or `_`."""
    found = []
    for part in values.split():
        if match := re.fullmatch(r"(-?[\d.]+)(?:([+-][\d.]+))?x(\d+)", part):
            start, step = Decimal(match[1]), Decimal(match[2] or 0)
            found += [start + i * step for i in range(int(match[3]) + 1)]
        elif match := re.fullmatch(r"_x(\d+)", part):
            found += ["_"] * int(match[1])
        else:
            found.append(part if part in ("_", "stale") else Decimal(part))
    return found


def write_tests(folder, profile, alert, cases, content, *, whole=True):
    """A rule file and a test file of one alert; the name of the latter."""
    rule = next(r for group in content for r in group["rules"] if r.get("alert") == alert)
    rules = write(folder / f"{profile}-{alert}.yaml", {"groups": content})
    # promtool looks at all groups at this interval; the guard of burn alerts counts on 30 s.
    every = "30s" if cases.step == "1m" else cases.step
    made = cases_of(alert, cases, profile, rule["annotations"]["summary"])
    if not whole:
        # The form of an alert is tested once; here it is whether the vocabulary's names and units are right.
        made = [
            case for case in made if case["name"] in ("fires", "resolves", "counter reset", BORN)
        ]
    # Otherwise promtool takes the groups in any order, and an alert may read what is recorded a step later.
    order = [group["name"] for group in content]
    content = {
        "rule_files": [rules],
        "evaluation_interval": every,
        "group_eval_order": order,
        "tests": made,
    }
    return write(folder / f"{profile}-{alert}-test.yaml", content)


def only(alert, content):
    """The groups without any rule but the alert's, and what it reads of recorded series."""
    rules = [rule for group in content for rule in group["rules"]]
    wanted, names = [rule for rule in rules if rule.get("alert") == alert], set()
    while wanted:
        used = {s.name for rule in wanted for s in promql.selectors(rule["expr"])} - names
        names |= used
        wanted = [rule for rule in rules if rule.get("record") in used]

    def kept(rule):
        return rule.get("alert") == alert or rule.get("record") in names

    groups = ({**g, "rules": [r for r in g["rules"] if kept(r)]} for g in content)
    return [group for group in groups if group["rules"]]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_alert_does_what_it_is_for(promtool, tmp_path, profile):
    both = groups(profile) + groups(profile, "other")

    def whole(name):
        return profile == profiles.DEFAULT or name not in alerts_of(profiles.DEFAULT).values()

    files = [
        write_tests(tmp_path, profile, alert, CASES[name], only(alert, both), whole=whole(name))
        for alert, name in alerts_of(profile).items()
    ]
    done = run(promtool, "test", "rules", *files, cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", BURNS)
def test_a_burn_alert_does_what_it_is_for(promtool, tmp_path, alert):
    slos = {"success": SLOS["success"]}
    content = [
        group
        for namespace in ("shop", "other")
        for group in groups("workflow", namespace, slos=slos)
        if "/slo-" in group["name"]
    ]

    file = write_tests(tmp_path, "workflow", alert, BURNS[alert], content)
    done = run(promtool, "test", "rules", file, cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


WINDOWS = ("7d", "10d", "14d", "21d", "27d", "28d", "30d", "45d", "60d", "90d")


@pytest.mark.parametrize(
    ("pace", "page", "ticket"),
    [("0.92", (), ()), ("1.1", (), WINDOWS), ("3.4", (), WINDOWS), ("15", WINDOWS, WINDOWS)],
)
def test_a_pace_alerts_in_every_window_if_the_budget_would_not_last(
    promtool, tmp_path, pace, page, ticket
):
    slos = {f"w{w}": {"objective": 99, "window": w, "success": {}} for w in WINDOWS}
    content = [g for g in groups("workflow", slos=slos) if "/slo-" in g["name"]]
    bad = Decimal(pace) * 100
    given = [
        ("run.finished", {"outcome": "good"}, f"0+{10_000 - bad:f}x60"),
        ("run.finished", {"outcome": "bad"}, f"0+{bad:f}x60"),
    ]

    def firing(alert, windows):
        expr = f'count by (slo) (ALERTS{{alertname="{alert}",alertstate="firing"}})'
        samples = [{"labels": f'{{slo="w{w}"}}', "value": 1} for w in windows]
        return {"expr": expr, "eval_time": "45m", "exp_samples": samples}

    rules = write(tmp_path / "rules.yaml", {"groups": content})
    checks = [firing(name, w) for name, w in zip(BURNS, (page, ticket), strict=True)]
    test = {
        "interval": "1m",
        "input_series": series("workflow", "shop", given),
        "promql_expr_test": checks,
    }
    content = {
        "rule_files": [rules],
        "evaluation_interval": "30s",
        "group_eval_order": [group["name"] for group in content],
        "tests": [test],
    }
    done = run(promtool, "test", "rules", write(tmp_path / "test.yaml", content), cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


def is_accepted(text):
    """Whether a text can be said of an alert."""
    try:
        groups("workflow", alerts=said(text))
    except model.SpecError:
        return False
    return True


def said(text, name="Own"):
    """An alert of a user's with a text in each place that a text can have."""
    alert = {"name": name, "expr": "vector(1)", "summary": text, "description": text}
    return {"labels": {"area": text}, "extra": [alert | {"labels": {"team": text}}]}


def test_a_users_text_is_shown_to_the_letter_and_never_expanded(promtool, tmp_path):
    texts = [text for text in HOSTILE if is_accepted(text)]
    texts.append('{{ query "count(up)" }} {{ $externalLabels }} {{{ .Foo {{ end }} {{')
    files = []
    for i, text in enumerate(texts):
        content = only(f"Own{i}", groups("workflow", alerts=said(text, f"Own{i}")))
        labels = {"severity": "warning", "namespace": "shop", "monitored_workflow": "orders"}
        # Prometheus knows no label without a value.
        labels |= {"team": text, "area": text} if text else {}
        shown = {"exp_labels": labels, "exp_annotations": {"summary": text, "description": text}}
        check = {"eval_time": "1m", "alertname": f"Own{i}", "exp_alerts": [shown]}
        rules = write(tmp_path / f"rules{i}.yaml", {"groups": content})
        tests = [{"interval": "1m", "alert_rule_test": [check]}]
        files.append(write(tmp_path / f"test{i}.yaml", {"rule_files": [rules], "tests": tests}))

    done = run(promtool, "test", "rules", *files, cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    assert len(texts) > 30


def test_time_objectives_count_bad_time_with_and_without_data(promtool, tmp_path):
    slos = ONLY_DEFAULT | {"own": {"objective": 99, "custom": OWN}}
    content = counting(groups("workflow", slos=slos))
    old = series(
        "workflow", "shop", [("run.last_success", {}, "0x30"), ("queue.depth", {}, "200x30")]
    )
    own = [{"series": f'x{{namespace="shop",y="{y}"}}', "values": "0+1x30"} for y in "ab"]

    def ratio(slo, *values):
        samples = [
            {"labels": f'{RATIO}{{namespace="shop",monitored_workflow="orders",slo="{slo}"}}'}
        ]
        samples = [
            sample | {"value": value} for sample, value in zip(samples, values, strict=False)
        ]
        return {"expr": f'{RATIO}{{slo="{slo}"}}', "eval_time": "20m", "exp_samples": samples}

    rules = write(tmp_path / "rules.yaml", {"groups": content})
    checks = [ratio("fresh", 0), ratio("deep", 1), ratio("shallow", 0), ratio("own", 0.5)]
    without = [ratio("fresh", 1), ratio("deep"), ratio("shallow"), ratio("own")]
    tests = [
        {"name": "data", "interval": "1m", "input_series": old + own, "promql_expr_test": checks},
        {"name": "no data", "interval": "1m", "promql_expr_test": without},
    ]
    order = [group["name"] for group in content]
    content = {
        "rule_files": [rules],
        "evaluation_interval": "30s",
        "group_eval_order": order,
        "tests": tests,
    }
    done = run(promtool, "test", "rules", write(tmp_path / "test.yaml", content), cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


def counting(content):
    """The groups that count what is good and bad, from when the workflow is monitored on."""
    return [g for g in content if g["name"].endswith(("/info", "/recordings", "-short"))]


def test_the_newest_good_run_outlives_its_pod_and_only_a_later_one_takes_its_place(
    promtool, tmp_path
):
    content = counting(groups("workflow", slos={"fresh": ONLY_DEFAULT["fresh"]}))
    name = "workflow_last_success_timestamp_seconds"

    def pod(number, values):
        labels = {"namespace": "shop", "monitored_workflow": "orders", "pod": number}
        return {"series": _selector(name, labels), "values": values}

    def newest(at, value):
        expr = "workflow:run_success:last_timestamp_seconds"
        return {"expr": expr, "eval_time": at, "exp_samples": [sample(expr, value)]}

    def bad(at, value):
        expr = "slo:events_bad:rate"
        return {"expr": expr, "eval_time": at, "exp_samples": [sample(expr, value, slo="fresh")]}

    given = [
        pod("a", "0x5 300x25"),
        # It starts when the first one ends, and has seen no good run.
        pod("b", "_x30 0x600"),
        # An hour of milliseconds is no time that has come.
        pod("c", "_x100 9e12x60 _x200 18000x400"),
    ]
    checks = [newest(at, 300) for at in ("10m", "1h", "2h", "5h")]
    checks += [bad("10m", 0), bad("6h", 0), newest("7h", 18000), bad("7h", 0), bad("11h10m", 1)]
    rules = write(tmp_path / "rules.yaml", {"groups": content})
    content = {
        "rule_files": [rules],
        "evaluation_interval": "30s",
        "group_eval_order": [group["name"] for group in content],
        "tests": [{"interval": "1m", "input_series": given, "promql_expr_test": checks}],
    }
    done = run(promtool, "test", "rules", write(tmp_path / "test.yaml", content), cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


def sample(name, value, **labels):
    """A sample that an expression must yield, of the workflow `orders` in `shop`."""
    owner = {"namespace": "shop", "monitored_workflow": "orders"}
    return {"labels": _selector(name, owner | labels), "value": value}


def test_objectives_over_handlers_count_failed_and_slow_calls(promtool, tmp_path):
    slos = {"ok": {"objective": 99, "success": {}}}
    slos["fast"] = {"objective": 95, "latency": {"threshold": "1s"}}
    content = [g for g in groups("orchestrix", slos=slos) if g["name"].endswith("-short")]
    handler = {"handler": "handle"}
    buckets = {"1": "0+2x30", "5": "0+4x30", "+Inf": "0+4x30"}
    given = [("handler.duration_bucket", handler | {"le": le}, v) for le, v in buckets.items()]
    given += [("handler.duration_count", handler, "0+4x30")]
    given += [("handler.failed", handler | {"error": "handler_error"}, "0+1x30")]
    given += [("store.failed", {"aggregate": "order", "error": "concurrency_error"}, "0+9x30")]

    def ratio(slo, value):
        expected = [sample(RATIO, value, slo=slo)]
        return {"expr": f'{RATIO}{{slo="{slo}"}}', "eval_time": "20m", "exp_samples": expected}

    rules = write(tmp_path / "rules.yaml", {"groups": content})
    tests = [
        {
            "interval": "1m",
            "input_series": series("orchestrix", "shop", given),
            "promql_expr_test": [ratio("ok", 0.25), ratio("fast", 0.5)],
        }
    ]
    # Steps are as long as the interval of the group, which promtool does not look at.
    content = {"rule_files": [rules], "evaluation_interval": "30s", "fuzzy_compare": True}
    content["tests"] = tests
    done = run(promtool, "test", "rules", write(tmp_path / "test.yaml", content), cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("profile", ["airflow", "argo-workflows", "celery", "temporal"])
def test_freshness_by_a_counter_is_bad_from_the_age_after_the_last_good_run(
    promtool, tmp_path, profile
):
    slos = {"fresh": {"objective": 99, "freshness": {"maxAge": "2h"}}}
    content = counting(groups(profile, slos=slos))
    order = [group["name"] for group in content]
    given = [("run.finished", {"outcome": "good"}, "1+1x30 31x330")]
    given += [("run.finished", {"outcome": "bad"}, "0+1x360")]

    def bad(at, value):
        expected = [sample("slo:events_bad:rate", value, slo="fresh")]
        return {"expr": "slo:events_bad:rate", "eval_time": at, "exp_samples": expected}

    rules = write(tmp_path / "rules.yaml", {"groups": content})
    checks = [bad("10m", 0), bad("2h20m", 0), bad("2h40m", 1), bad("6h", 1)]
    first = [("run.finished", {"outcome": "good"}, "_x30 1x330")]
    tests = [
        {
            "name": "the first good run, with which its series begins",
            "interval": "1m",
            "input_series": series(profile, "shop", first),
            "promql_expr_test": [bad("20m", 1), bad("2h20m", 0), bad("2h40m", 1)],
        },
        {
            "name": "data",
            "interval": "1m",
            "input_series": series(profile, "shop", given),
            "promql_expr_test": checks,
        },
        {"name": "no data", "interval": "1m", "promql_expr_test": [bad("20m", 1)]},
    ]
    content = {"rule_files": [rules], "group_eval_order": order, "tests": tests}
    done = run(promtool, "test", "rules", write(tmp_path / "test.yaml", content), cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


def test_an_objective_over_the_runs_of_the_last_hour_is_their_share(promtool, tmp_path):
    content = [
        g
        for g in groups("prefect", slos={"success": SLOS["success"]})
        if g["name"].endswith("-short")
    ]
    states = {"Completed": "8x60", "Crashed": "_x30 2x30", "Running": "5x60", "Cancelled": "3x60"}
    given = [("run.recent", {"outcome": state}, values) for state, values in states.items()]

    def ratio(at, value):
        expected = [sample(RATIO, value, slo="success")]
        return {"expr": f'{RATIO}{{slo="success"}}', "eval_time": at, "exp_samples": expected}

    rules = write(tmp_path / "rules.yaml", {"groups": content})
    test = {
        "interval": "1m",
        "input_series": series("prefect", "shop", given),
        "promql_expr_test": [ratio("20m", 0), ratio("50m", 0.2)],
    }
    content = {"rule_files": [rules], "fuzzy_compare": True, "tests": [test]}
    done = run(promtool, "test", "rules", write(tmp_path / "test.yaml", content), cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_recordings_of_tta_dev_are_by_primitive(promtool, tmp_path):
    content = [g for g in groups("tta-dev") if g["name"].endswith("/recordings")]
    given = [
        ("run.finished", {"workflow": "a", "outcome": "good"}, "0+3x30"),
        ("run.finished", {"workflow": "a", "outcome": "bad"}, "0+1x30"),
        ("run.finished", {"workflow": "b", "outcome": "good"}, "0+4x30"),
        ("run.finished", {"workflow": "idle", "outcome": "good"}, "4x30"),
        *(
            ("run.duration_bucket", {"workflow": "a", "le": le}, values)
            for le, values in {"1": "0x30", "2": "0+4x30", "+Inf": "0+4x30"}.items()
        ),
    ]
    rate, latency = "primitive:error_rate:5m", "primitive:latency:p95"
    rates = [sample(rate, 0.25, primitive_name="a"), sample(rate, 0, primitive_name="b")]
    checks = {rate: rates, latency: [sample(latency, 1.95, primitive_name="a")]}
    test = {
        "interval": "1m",
        "input_series": series("tta-dev", "shop", given),
        "promql_expr_test": [
            {"expr": expr, "eval_time": "20m", "exp_samples": samples}
            for expr, samples in checks.items()
        ],
    }

    rules = write(tmp_path / "rules.yaml", {"groups": content})
    content = {"rule_files": [rules], "fuzzy_compare": True, "tests": [test]}
    done = run(promtool, "test", "rules", write(tmp_path / "test.yaml", content), cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


RATIO = "slo:error:ratio_rate5m"
# As users write it: with labels of its own on one side, none on the other.
OWN = {
    "total": 'rate(x{namespace="shop"}[$window])',
    "bad": 'sum(rate(x{namespace="shop",y="b"}[$window]))',
}


@pytest.mark.parametrize("profile", PROFILES)
def test_every_alert_of_a_profile_has_cases(profile):
    assert set(alerts_of(profile).values()) <= set(CASES)


def test_every_alert_over_a_counter_has_a_reset_among_its_cases():
    counted = [name for name, cases in (CASES | BURNS).items() if counters(cases)]

    assert [name for name in counted if "counter reset" not in (CASES | BURNS)[name].silent] == []


def test_every_alert_has_every_kind_of_case():
    kinds = {"fires", "stays silent", "resolves", "no data", "two of one name"}
    for profile in PROFILES:
        for alert, name in alerts_of(profile).items():
            made = {case["name"] for case in cases_of(alert, CASES[name], profile, "")}
            assert kinds | ({BORN} if counters(CASES[name]) else set()) <= made, alert


def test_a_series_just_born_has_nothing_before_its_first_event():
    run = {"handler": "handle"}
    given = [("run.finished", {"outcome": "bad"}, "0x2 1+2x2"), ("run.finished", {}, "0x3")]
    given += [("run.duration_bucket", {"le": "1"}, "0x4"), ("run.active", {}, "0x1 1")]
    given += [("run.duration_bucket", {"le": "+Inf"}, "0x1 2x2")]
    given += [("handler.failed", run, "_x2 1 stale")]

    assert [values for *_, values in born(given)] == [
        "_ _ _ 1 3 5",
        "_",
        "_ _ 0 0 0",
        "0x1 1",
        "_ _ 2 2 2",
        "_ _ 1 stale",
    ]


def test_every_case_is_of_an_alert_that_is_rendered():
    rendered = {name for profile in PROFILES for name in alerts_of(profile).values()}
    burns = {
        rule["alert"]
        for group in groups("workflow", slos={"success": SLOS["success"]})
        for rule in group["rules"]
        if "slo" in rule["labels"] and "alert" in rule
    }

    assert (set(CASES), set(BURNS)) == (rendered, burns)


def test_what_fires_without_data_has_a_part_in_an_outage():
    """Else a dead target would be told twice: by TargetDown, and by what fires because nothing is scraped."""
    silent = {name for name, cases in CASES.items() if cases.fires_without_data}

    assert silent
    assert [name for name in silent if not CASES[name].outage] == []
