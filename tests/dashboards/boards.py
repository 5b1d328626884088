"""Every dashboard that the project makes: each profile with the spec of each example, the fleet's and the objectives'.

What is read out of one is put in one place here, so that the tests speak of panels and queries and not of keys.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grafana_text
import yaml

from flowgauge import profiles
from flowgauge.profiles import Profile
from flowgauge_operator import cli, model
from flowgauge_operator.render import Capabilities, Options, Rendered, render

ROOT = Path(__file__).parents[2]
RUNBOOKS, GRAFANA = "https://runbooks.example", "https://grafana.example"
LOGS = "https://logs.example/?ns={{namespace}}&app={{workflow}}&from={{from}}&to={{to}}"
TRACES = "https://traces.example/{{namespace}}/{{workflow}}?from={{from}}&to={{to}}"

SIXTEEN = [{"name": f"s{i}", "objective": 99, "success": {}} for i in range(16)]
TWICE = [
    {"name": f"fast{objective}", "objective": objective, "latency": {"threshold": "5s"}}
    for objective in (95, 99)
]
# What no example has.
SPECS: dict[str, dict[str, Any]] = {
    "plain": {},
    "native": {"scrape": {"nativeHistograms": True}},
    "pushed": {"scrape": {"mode": "Push"}},
    "objectives": {"slos": SIXTEEN},
    "twice": {"slos": TWICE},
}

# Grafana replaces these by itself, whatever variables a dashboard has.
BUILT_IN = {"__rate_interval": "217s", "__range": "1h", "__interval": "1m"}


@dataclasses.dataclass(frozen=True)
class Board:
    """One dashboard; `namespace` and `workflow` are what its selectors name literally, if anything."""

    name: str
    text: str
    profile: Profile | None = None
    namespace: str | None = None
    workflow: str | None = None
    recorded: frozenset[str] = frozenset()
    spec: model.Spec | None = None
    objectives: tuple[str, ...] = ()

    @functools.cached_property
    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.text)
        return body

    @functools.cached_property
    def variables(self) -> dict[str, dict[str, Any]]:
        return {variable["name"]: variable for variable in self.body["templating"]["list"]}

    def rows(self) -> list[dict[str, Any]]:
        return [panel for panel in self.body["panels"] if panel["type"] == "row"]

    def panels(self) -> list[dict[str, Any]]:
        """Every panel that shows something, those in collapsed rows too."""
        return [*self.open(), *(panel for row in self.rows() for panel in row["panels"])]

    def open(self) -> list[dict[str, Any]]:
        """The panels that are there when the dashboard opens."""
        return [panel for panel in self.body["panels"] if panel["type"] != "row"]

    def annotations(self) -> list[dict[str, Any]]:
        return list(self.body["annotations"]["list"])

    def queried(self) -> list[dict[str, Any]]:
        """The variables that ask the data source."""
        return [each for each in self.variables.values() if each["type"] == "query"]

    def exprs(self) -> Iterator[tuple[str, str]]:
        """Every expression with the place that it stands in, as Grafana would send it."""
        for panel in self.panels():
            for target in panel.get("targets", ()):
                yield f"{panel['title']} {target['refId']}", self.sent(target["expr"])
        for annotation in self.annotations():
            yield f"annotation {annotation['name']}", self.sent(annotation["expr"])

    def sent(self, text: str) -> str:
        """The text with values in the place of variables."""
        return grafana_text.VARIABLE.sub(lambda found: BUILT_IN.get(called(found), ".+"), text)


def called(found: re.Match[str]) -> str:
    """The name of a variable that was found."""
    return found[1] or found[2] or found[4]


def options() -> Options:
    """The settings that show in dashboards, all of them set."""
    wanted = {"runbook_url": RUNBOOKS, "grafana_url": GRAFANA, "logs_url": LOGS}
    wanted["traces_url"] = TRACES
    known = {field.name for field in dataclasses.fields(Options)}
    return Options(**{name: value for name, value in wanted.items() if name in known})


@functools.cache
def examples() -> dict[str, dict[str, Any]]:
    """The MonitoredWorkflow of each example."""
    found = {}
    for file in sorted((ROOT / "examples").glob("*/workflow.yaml")):
        for name, body in cli.objects([(file.name, file.read_text())]).workflows:
            found[
                f"{file.parent.name} {name}" if file.parent.name in found else file.parent.name
            ] = body
    return found


@functools.cache
def known_profiles() -> dict[str, Profile]:
    """The built-in profiles, and the one that an example brings."""
    own = {
        body["metadata"]["name"]: profiles.from_object(body, source="own")
        for file in sorted((ROOT / "examples").glob("*/workflow.yaml"))
        for body in yaml.safe_load_all(file.read_text())
        if body["kind"] == "WorkflowProfile"
    }
    return {name: profiles.builtin(name) for name in profiles.names()} | own


def of_workflow(name: str, body: dict[str, Any], profile: Profile) -> Board:
    """The dashboard of one MonitoredWorkflow."""
    workflow = model.parse(body)
    made = render(workflow, profile, Capabilities(), options())
    return Board(
        name=name,
        text=dashboard(made),
        profile=profile,
        namespace=workflow.namespace,
        workflow=workflow.name,
        recorded=frozenset(records(made)),
        spec=workflow.spec,
        objectives=tuple(view.name for view in made.slos),
    )


def body(spec: dict[str, Any], name: str = "orders", namespace: str = "shop") -> dict[str, Any]:
    """A MonitoredWorkflow."""
    selector = {"matchLabels": {"app": name}}
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": selector, **spec},
    }


def dashboard(made: Rendered) -> str:
    """The JSON of what was rendered."""
    found = next(c for c in made.children if c["metadata"]["name"].endswith("-dashboard"))
    (text,) = found["data"].values()
    return str(text)


def records(made: Rendered) -> Iterator[str]:
    """The series that the rules record."""
    found = next(child for child in made.children if child["kind"] == "PrometheusRule")
    for group in found["spec"]["groups"]:
        yield from (rule["record"] for rule in group["rules"] if "record" in rule)


@functools.cache
def of_profile(profile: str) -> tuple[Board, ...]:
    """The dashboards of a profile: with the spec of each example, and with those that none has."""
    chosen = known_profiles()[profile]
    given = examples() | {name: body(spec) for name, spec in SPECS.items()}
    return tuple(
        of_workflow(
            f"{profile} x {name}", {**each, "spec": {**each["spec"], "profile": profile}}, chosen
        )
        for name, each in given.items()
    )


@functools.cache
def shared() -> dict[str, Board]:
    """The dashboards that are nobody's own, of one namespace and over all."""
    found = {}
    recorded = frozenset(
        itertools.chain.from_iterable(
            each.recorded for name in profiles.names() for each in of_profile(name)
        )
    )
    for kind, namespace in itertools.product(("fleet", "objectives"), ("shop", None)):
        module = importlib.import_module(f"flowgauge_operator.render.dashboards.{kind}")
        name = f"{kind} of {namespace or 'all'}"
        text = module.render(namespace, options())
        found[name] = Board(name, text, namespace=namespace, recorded=recorded)
    return found


GROUPS = [*known_profiles(), "shared"]


def group(name: str) -> tuple[Board, ...]:
    """The dashboards that one test looks at."""
    return tuple(shared().values()) if name == "shared" else of_profile(name)
