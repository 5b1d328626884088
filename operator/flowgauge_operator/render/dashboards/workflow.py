"""The dashboard of one workflow: is it well, is the budget being spent, what fails, where is the time going. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flowgauge.profiles import Family, Panel, Step
from flowgauge_operator import duration, measure, names, promql, slo
from flowgauge_operator.measure import MissingRoleError, Scope
from flowgauge_operator.model import Workflow
from flowgauge_operator.promql import ExpressionError
from flowgauge_operator.render.dashboards import budget, frame, grid, text
from flowgauge_operator.render.dashboards.panel import View, dashed, override
from flowgauge_operator.render.options import Options, Problem, SloView

# A query that counts by outcome and by nothing else.
_BY_OUTCOME = re.compile(r"\$\w+\(([a-z_]+\.[a-z_]+)(?:\{[^}]*\})?(?:\[[^\]]*\])?,\s*outcome\)")
# A value may look like anything.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
# What Prometheus itself says of a target.
_OF_SCRAPES = re.compile(r"(?<![\w:])(?:up|scrape_\w+)\{")
_OF_PUSHES = re.compile(r"(?<![\w:])push_time_seconds\{")
# A query of one outcome beside another of the next.
_OF_OUTCOME = re.compile(
    r'\$\w+\([a-z_]+\.(?:(?P<bad>failed|[a-z_]+\{outcome="bad"\})|succeeded|[a-z_]+\{outcome="good"\})\[[^\]]*\]\)'
)
# A ConfigMap holds ten times as much.
LARGEST = 100_000
# What Grafana fills in where PromQL has a duration.
_WINDOW = re.compile(r"\$__(rate_interval|range|interval)(_ms|_s)?\b")
_CHOSEN = re.compile(r"\$(?:job|instance)\b")
_VARIABLE = re.compile(r"\$\{?\w|\[\[")


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The dashboard as JSON, what of the spec could not be drawn, and what was drawn otherwise than wanted."""

    text: str
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def render(
    workflow: Workflow, scope: Scope, slos: Sequence[SloView], options: Options
) -> Dashboard:
    """The dashboard of a workflow; `scope` is that of its rules, with the series that they record."""
    own, problems = _own(workflow, scope)
    made = _drawn(workflow, scope, slos, own, options)
    if own and len(made.text.encode()) > LARGEST:
        message = f"the dashboard would be larger than {LARGEST // 1000} kB; remove or shorten some of them"
        problems.append(Problem("spec.dashboard.panels.add", "DashboardTooLarge", message))
        made = _drawn(workflow, scope, slos, [], options)
    return replace(made, problems=tuple(problems))


def _drawn(
    workflow: Workflow,
    scope: Scope,
    slos: Sequence[SloView],
    own: Sequence[View],
    options: Options,
) -> Dashboard:
    profile, wanted = scope.profile, workflow.spec.dashboard.panels
    views = [
        *_profile_views(workflow, scope, slos),
        *(budget.panels(workflow, slos) if slos else ()),
        *own,
    ]
    warnings = _unknown(views, wanted.hide, "hide", rows=False)
    warnings += _unknown(views, wanted.order, "order", rows=True)
    hidden = set(wanted.hide)
    owner = frame.owner(workflow.namespace, workflow.name)
    shown = [view for view in views if view.panel.title not in hidden]
    # What is known of a workflow without targets and pushes is recorded, and asks for no target.
    asks = any("$instance" in expr for view in shown for expr in view.exprs)
    variables, annotations = _variables(workflow, owner) if asks else [], frame.marks(owner)
    panels = grid.placed(
        shown,
        first=wanted.order,
        spent=len(variables) + len(annotations),
    )
    made = frame.dashboard(
        names.dashboard_uid(workflow.namespace, workflow.name),
        f"{workflow.name} · {workflow.namespace}",
        f"Workflow {workflow.name} in namespace {workflow.namespace}, profile {profile.name}.",
        panels,
        tags=[f"profile-{profile.name}"],
        variables=variables,
        annotations=annotations,
        links=_links(workflow, slos, options),
    )
    return Dashboard(made, warnings=tuple(warnings))


def _profile_views(workflow: Workflow, scope: Scope, slos: Sequence[SloView]) -> Iterator[View]:
    """The panels for which the profile has the roles, and the workflow the targets or pushes."""
    mode = workflow.spec.scrape.mode
    is_scraped = workflow.spec.selector is not None and mode not in ("Push", "None")
    wanting = [
        kind
        for kind, is_there in ((_OF_SCRAPES, is_scraped), (_OF_PUSHES, mode == "Push"))
        if not is_there
    ]
    for panel in scope.profile.panels:
        try:
            view = _view(panel, scope)
        except MissingRoleError:
            continue
        plain = [_QUOTED.sub("", expr) for expr in view.exprs]
        if not any(kind.search(expr) for kind in wanting for expr in plain):
            yield _with_objectives(view, slos)


# Workflows differ in few of their panels.
@functools.lru_cache(maxsize=2048)
def _view(panel: Panel, scope: Scope) -> View:
    exprs = tuple(measure.expand(query.expr, scope) for query in panel.queries)
    read = [family for query in panel.queries for family in measure.families(query.expr, scope)]
    named = tuple(
        replace(query, legend=measure.legend(query.legend, query.expr, scope))
        for query in panel.queries
    )
    panel = replace(panel, queries=named)
    labels = {label: name for family in read for name, label in family.labels.items()}
    owner = frame.owner(scope.namespace, scope.workflow)
    return View(
        panel,
        tuple(_of_targets(expr, owner) for expr in exprs),
        roles=frozenset(family.role for family in read),
        overrides=tuple(_outcomes(panel, read)),
        columns={label: name.replace("_", " ").capitalize() for label, name in labels.items()},
        hidden=(names.NAMESPACE_LABEL, names.WORKFLOW_LABEL),
        sort=f"-{panel.queries[0].legend}" if panel.type == "table" else "",
        native=scope.native,
    )


def _with_objectives(view: View, slos: Sequence[SloView]) -> View:
    """The panel with the objectives of the workflow as its thresholds, where it shows what they are about."""
    panel = view.panel
    if panel.type == "timeseries" and panel.unit == "seconds" and view.roles == {"run.duration"}:
        bounds = [(each.threshold, each) for each in slos if each.threshold]
        if bounds and not panel.steps:
            lines = ", ".join(f"{each.name}: {duration.text(bound)}" for bound, each in bounds)
            steps = tuple(Step(bound, "orange") for bound in sorted({bound for bound, _ in bounds}))
            return _judged(view, steps, f"Lines are the thresholds of objectives ({lines}).")
    if panel.type == "stat" and panel.unit == "ratio" and "success" in panel.title.lower():
        objective = next((each.objective for each in slos if each.kind == "success"), None)
        if objective is not None:
            # The budget of a whole day within two and a half hours or less.
            low = max(0.0, 1 - 10 * float(slo.budget(objective)))
            steps = (Step(low, "orange"), Step(objective / 100, "green"))
            return _judged(view, steps, f"Green from the objective of {objective:.12g} % on.")
    return view


def _judged(view: View, steps: tuple[Step, ...], told: str) -> View:
    description = f"{view.panel.description} {told}"
    return replace(view, panel=replace(view.panel, steps=steps, description=description))


def _outcomes(panel: Panel, read: Sequence[Family]) -> Iterator[dict[str, Any]]:
    """Good outcomes are green; bad ones are red and dashed, since colour alone is no sign for everybody."""
    if panel.type != "timeseries":
        return
    for query in panel.queries:
        if len(panel.queries) > 1 and (own := _OF_OUTCOME.fullmatch(query.expr.strip())):
            name = text.line(query.legend)
            yield dashed(name, "red") if own["bad"] else _fixed(name, "green")
            continue
        match = _BY_OUTCOME.fullmatch(" ".join(query.expr.split()))
        family = next((f for f in read if match and f.role == match[1] and f.outcomes), None)
        if family is None or family.outcomes is None:
            continue
        good, ignored = family.outcomes.good, family.outcomes.ignored
        # Grafana reads no expression that goes over two lines.
        known = "|".join(re.escape(value) for value in (*good, *ignored) if value.isprintable())
        yield dashed(f"/^(?!(?:{known})$)/", "red", by="byRegexp")
        for values, color in ((good, "green"), (ignored, "blue")):
            for value in values:
                yield _fixed(value, color)


def _fixed(name: str, color: str) -> dict[str, Any]:
    return override(name, color={"mode": "fixed", "fixedColor": color})


def _own(workflow: Workflow, scope: Scope) -> tuple[list[View], list[Problem]]:
    """The panels that the workflow adds; one that cannot be drawn is a problem and is left out."""
    views, problems = [], []
    for index, wanted in enumerate(workflow.spec.dashboard.panels.add):
        path = f"spec.dashboard.panels.add[{index}]"
        panel = wanted.panel()
        fault = _fault(panel, workflow.namespace, scope)
        if fault is None:
            views.append(_view(panel, scope))
        else:
            where, reason, message = fault
            problems.append(Problem(f"{path}.queries[{where}].expr", reason, message))
    return views, problems


def _fault(panel: Panel, namespace: str, scope: Scope) -> tuple[int, str, str] | None:
    for index, query in enumerate(panel.queries):
        try:
            _check(_WINDOW.sub("5m", measure.expand(query.expr, scope)), namespace)
        except MissingRoleError as error:
            return index, "RoleNotInProfile", f"{error}; choose another profile or remove the panel"
        except ExpressionError as error:
            return index, "InvalidExpression", str(error)
    return None


def _check(expr: str, namespace: str) -> None:
    expr = _CHOSEN.sub("x", expr)
    if _VARIABLE.search(expr):
        raise ExpressionError(
            "has a variable of Grafana other than $__rate_interval, $__range, $__interval, $job and $instance; write what"
            " it stands for"
        )
    promql.check(expr, namespace)


def _unknown(
    views: Sequence[View], wanted: Sequence[str], field: str, *, rows: bool
) -> list[Problem]:
    known = {view.panel.title for view in views}
    known |= {view.panel.row for view in views} if rows else set()
    what = "row or panel" if rows else "panel"
    return [
        Problem(
            f"spec.dashboard.panels.{field}[{index}]",
            "UnknownPanel",
            f"the dashboard has no {what} called {title!r}; there are {', '.join(sorted(known))}",
        )
        for index, title in enumerate(wanted)
        if title not in known
    ]


def _of_targets(expr: str, owner: str) -> str:
    """The same for the targets that are chosen. What is recorded is of all of them and has no such labels."""
    scraped = re.compile(rf"(?<![\w:])(?!ALERTS\b)([a-zA-Z_]\w*)\{{{re.escape(owner)}")
    chosen = f'{owner},job=~"$job",instance=~"$instance"'
    return scraped.sub(lambda match: f"{match[1]}{{{chosen}", expr)


def _variables(workflow: Workflow, owner: str) -> list[dict[str, Any]]:
    # What was pushed has the labels of who pushed it, and no instance.
    pushed = workflow.spec.scrape.mode == "Push"
    series, every = (f"{{{owner}}}", ".*") if pushed else (f"up{{{owner}}}", ".+")
    within = f'{series[:-1]},job=~"$job"}}'
    return [
        frame.variable("job", "Job", f"{series}, job", every=every),
        frame.variable("instance", "Instance", f"{within}, instance", every=every),
    ]


def _links(workflow: Workflow, slos: Sequence[SloView], options: Options) -> list[dict[str, Any]]:
    made = []
    if options.namespace_dashboards:
        fleet = frame.path(names.fleet_uid(workflow.namespace))
        made.append(frame.link(f"Workflows in {workflow.namespace}", fleet))
        if slos:
            uid = names.objectives_uid(workflow.namespace)
            made.append(frame.link("Objectives", frame.path(uid, workflow=workflow.name)))
    return [*made, *frame.outside(options, workflow.namespace, workflow.name)]
