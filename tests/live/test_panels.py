"""Every query of every panel answers: for each built-in profile, a workflow of that vocabulary is scraped by a real Prometheus.

Programs that use the library really run; engines are their captured pages, with values that grow. What takes longer than a
test may, such as a day of the workflow's own history, is written into the storage beforehand. A panel that may have
nothing to show says in its profile what that means, and only that one may stay empty.
"""

import contextlib
import json
import math
import re
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

import pytest
import yaml

from flowgauge import profiles
from flowgauge_operator import model
from flowgauge_operator.render import Capabilities, Options, render
from flowgauge_operator.render.dashboards import fleet, objectives
from rig import fetch, lone, scratch, waiting
from rig.pytest_plugin import binary

pytestmark = pytest.mark.parts

HERE = Path(__file__).parent
NAMES = profiles.names()
LIBRARY = [name for name in NAMES if profiles.builtin(name).by_role("library.info")]
NAMESPACE = "shop"
HOUR, DAY = 3600, 86400
SLOS = [
    {"name": "success", "objective": 99.5, "success": {}},
    {"name": "fast", "objective": 95, "latency": {"threshold": "1s", "rounding": "Up"}},
    {"name": "fresh", "objective": 99, "freshness": {"maxAge": "2h"}},
]
# What Grafana fills in, for a look at the last minute.
LOOK = {"__rate_interval": "10s", "__range": "1m", "__range_s": "60", "__interval": "5s"}


def rendered(name):
    """The manifests of a workflow of the profile, which has the profile's name."""
    schedule = {"cronJob": name} if name == "cronjob" else {"cron": "* * * * *"}
    # Nobody scrapes the program of a CronJob.
    scraped = {"selector": {"matchLabels": {"app": name}}, "scrape": {"interval": "1s"}}
    spec = {
        "profile": name,
        **({"scrape": {"mode": "None", "interval": "1s"}} if name == "cronjob" else scraped),
        "schedule": {**schedule, "deadline": "1s"},
        "slos": SLOS,
    }
    workflow = model.parse({"metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec})
    made = render(workflow, profiles.builtin(name), Capabilities(), Options())
    assert {problem.reason for problem in made.problems} <= {"RoleNotInProfile"}
    return made


def of_kind(made, kind):
    return next(child for child in made.children if child["kind"] == kind)


def dashboard_of(made):
    return json.loads(next(iter(of_kind(made, "ConfigMap")["data"].values())))


def groups_of(made):
    # Nothing of a rule depends on how often it is looked at.
    return [
        {**group, "interval": "2s"} for group in of_kind(made, "PrometheusRule")["spec"]["groups"]
    ]


def jobs(ports, engines):
    """What the operator's monitors do, and the job of kube-state-metrics."""

    def job(name, port, path="/metrics"):
        owner = {"namespace": NAMESPACE, "monitored_workflow": name}
        labels = [{"target_label": key, "replacement": value} for key, value in owner.items()]
        return {
            "job_name": name,
            "metrics_path": path,
            "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
            **({"honor_labels": True} if name == "cronjob" else {"relabel_configs": labels}),
        }

    return [
        job(name, ports[name]) if name in ports else job(name, engines, f"/{name}")
        for name in NAMES
    ]


def history(made, now):
    """Series of the last day that rules look back to, as OpenMetrics: that these rules were loaded, and how long runs took."""
    lines = []
    for name, one in made.items():
        owner = f'namespace="{NAMESPACE}",monitored_workflow="{name}"'
        info = f'{owner},profile="{name}",revision="{one.revision}"'
        for record, labels, value, seconds in (
            ("workflow:monitoring:info", info, 1, 2 * HOUR),
            ("workflow:run_duration_seconds:mean1h_p95_14d", owner, 1, HOUR),
            ("workflow:runs:rate5m", owner, 1, 25 * HOUR),
            ("workflow:cost:increase1h", owner, 1, 7 * DAY + HOUR),
        ):
            times = range(int(now) - seconds, int(now), 60)
            lines += [f"{record}{{{labels}}} {value} {at}" for at in times]
    return "\n".join([*lines, "# EOF", ""])


@contextlib.contextmanager
def programs():
    """The programs that are scraped: the port of each that uses the library, and that of the engines."""
    ports = {name: lone.free_port() for name in LIBRARY}
    engines = lone.free_port()
    commands = [
        *(["vocabulary_program.py", name, str(port)] for name, port in ports.items()),
        ["exposition_program.py", str(engines)],
    ]
    started = [
        subprocess.Popen([sys.executable, str(HERE / script), *words])
        for script, *words in commands
    ]
    try:
        yield ports, engines
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(10)


class Grafana:
    """Asks a Prometheus what a dashboard's targets ask, with the variables as on opening: all, or the first value."""

    def __init__(self, url, dashboard):
        self.url = url
        self.variables = dict(LOOK)
        self.without = []
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                self._choose(variable)

    def _choose(self, variable):
        values = self._values(query_of(variable))
        if not values:
            self.without.append(variable["name"])
        all_or_first = variable["allValue"] if variable["includeAll"] else [*values, ""][0]
        self.variables[variable["name"]] = all_or_first

    def answer(self, expr, *, instant):
        """How many series have a number; an error is raised."""
        now = time.time()
        path, parameters = "query", {"query": self._filled(expr)}
        if not instant:
            path = "query_range"
            parameters |= {"start": now - 60, "end": now, "step": 2}
        found = self._ask(path, parameters)
        if found["resultType"] in ("scalar", "string"):
            return 1
        return sum(has_number(series) for series in found["result"])

    def _values(self, query):
        """The values of a variable of the sort `label_values(selector, label)`."""
        selector, label = re.fullmatch(r"label_values\((?:(.+),\s*)?(\w+)\)", query).groups()
        match = {"match[]": self._filled(selector)} if selector else {}
        return self._ask(f"label/{label}/values", match)

    def _filled(self, expr):
        def value(match):
            return self.variables.get(match[1] or match[2], match[0])

        return re.sub(r"\$(?:(\w+)|\{(\w+)(?::\w+)?\})", value, expr)

    def _ask(self, path, parameters):
        found = fetch.json_of(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}")
        assert found["status"] == "success"
        return found["data"]


def has_number(series):
    """Whether a series of an answer has anything to draw; Grafana draws no NaN."""
    values = (
        series.get("values") or [series["value"]] if "histogram" not in str(series.keys()) else []
    )
    return any(math.isfinite(float(value)) for _, value in values)


def query_of(variable):
    """The query of a variable, which is text or has some within."""
    query = variable["query"]
    return query if isinstance(query, str) else query["query"]


def panels(dashboard):
    """All panels, those in collapsed rows included."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def targets(dashboard):
    """Each query with its panel."""
    for panel in panels(dashboard):
        for target in panel.get("targets", ()):
            yield panel, target


@pytest.fixture(scope="module")
def made():
    return {name: rendered(name) for name in NAMES}


@pytest.fixture(scope="module")
def url(made):
    groups = [group for one in made.values() for group in groups_of(one)]
    with programs() as (ports, engines), scratch.folder() as run:
        (run / "rules.yaml").write_text(json.dumps({"groups": groups}))
        (run / "history.txt").write_text(history(made, time.time()))
        subprocess.run(
            [
                *(binary("promtool"), "tsdb", "create-blocks-from", "openmetrics"),
                *(run / "history.txt", run / "tsdb"),
            ],
            check=True,
            capture_output=True,
        )
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "2s"},
            "rule_files": [str(run / "rules.yaml")],
            "scrape_configs": jobs(ports, engines),
        }
        with lone.served(yaml.safe_dump(configuration), run, keeps="10y") as prometheus:
            prometheus.wait_series("count_over_time(up[1h]) > 10", 60)
            yield prometheus.url


def settled(question, seconds=60):
    """What is still unanswered when all is answered or the time is over."""
    with contextlib.suppress(TimeoutError):
        waiting.wait_for(lambda: not question(), seconds, "the answers", every=2)
    return question()


def unanswered(grafana, asked):
    """Of panels and targets, what nothing came back for."""
    return [
        f"{panel['title']}: {target['expr']}"
        for panel, target in asked
        if not grafana.answer(target["expr"], instant=target.get("instant", False))
    ]


# Those of many workflows, of a namespace and over all.
MANY = {
    f"{module.__name__.rsplit('.', maxsplit=1)[-1]} of {namespace or 'all'}": json.loads(
        module.render(namespace, Options())
    )
    for module in (fleet, objectives)
    for namespace in (NAMESPACE, None)
}


@pytest.fixture(params=[*NAMES, *MANY])
def dashboard(request, made):
    return MANY.get(request.param) or dashboard_of(made[request.param])


@pytest.fixture
def grafana(url, dashboard):
    return Grafana(url, dashboard)


# What is empty here, with the reason. All else answers, so that no panel hides a query of nothing behind its excuse.
EMPTY = {
    "SLO burn rate": "wants minutes of the program's own history",
    "Request rate trend": "wants an hour of the program's own history",
}


def test_every_query_answers(grafana, dashboard):
    asked = [one for one in targets(dashboard) if one[0]["title"] not in EMPTY]

    assert settled(lambda: unanswered(grafana, asked)) == []
    assert asked


def test_a_panel_that_may_be_empty_says_what_that_means(dashboard):
    may_be = [panel for panel, _ in targets(dashboard) if panel["title"] in EMPTY]

    without = [one["title"] for one in may_be if not one["fieldConfig"]["defaults"].get("noValue")]
    assert without == []


def test_no_query_and_no_annotation_is_an_error(grafana, dashboard):
    annotations = [one for one in dashboard["annotations"]["list"] if "expr" in one]

    for _, target in targets(dashboard):
        grafana.answer(target["expr"], instant=target.get("instant", False))
    for annotation in annotations:
        grafana.answer(annotation["expr"], instant=False)
    assert annotations


def test_every_variable_has_a_value(grafana):
    assert grafana.without == []
