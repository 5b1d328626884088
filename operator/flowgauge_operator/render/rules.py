"""The rule groups of a workflow: recordings, alerts, and those of its objectives. Pure.

Rules come out finished or as problems: one bad objective or alert never stops the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from flowgauge.profiles import Alert, Profile
from flowgauge_operator import duration, measure, promql, slo
from flowgauge_operator.measure import Scope
from flowgauge_operator.model import (
    ExtraAlert,
    Freshness,
    Override,
    Schedule,
    Selector,
    Slo,
    Spec,
    SpecError,
    Workflow,
)
from flowgauge_operator.render import maintenance, objective, rule, schedule
from flowgauge_operator.render.options import Options, Problem, SloView

_T = TypeVar("_T")


@dataclass
class Rules:
    """What was rendered, and what could not be; `scope` knows the series that are recorded."""

    scope: Scope
    groups: list[dict[str, Any]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    slos: list[SloView] = field(default_factory=list)


def render(workflow: Workflow, profile: Profile, options: Options) -> Rules:
    """All groups of one workflow. A suspended workflow keeps its recordings and loses alerts and objectives."""
    scope = _scope(workflow, profile)
    rules = Rules(scope)
    often = slo.evaluation_interval(duration.seconds(workflow.spec.scrape.interval))
    every = duration.text(often)
    recorded = _recordings(workflow, profile, scope)
    windows = maintenance.active(workflow)
    closed = [_record(maintenance.ACTIVE, windows, workflow)] if windows else []
    rules.groups += [
        rule.group(
            workflow, "recordings", every, [*closed, *(made for slow, made in recorded if not slow)]
        ),
        rule.group(
            workflow,
            "history",
            duration.text(slo.SLOWER * often),
            [made for slow, made in recorded if slow],
        ),
    ]
    scope = replace(scope, recorded=frozenset(made["record"] for _, made in recorded))
    rules.scope = scope
    if not workflow.spec.suspend:
        _add_alerts(workflow, profile, scope, options, rules)
        _add_objectives(workflow, profile, scope, options, rules)
    rules.groups = [group for group in rules.groups if group["rules"]]
    return rules


def _add_alerts(
    workflow: Workflow, profile: Profile, scope: Scope, options: Options, rules: Rules
) -> None:
    every = slo.evaluation_interval(duration.seconds(workflow.spec.scrape.interval))
    alerts = [
        *_profile_alerts(workflow, profile, scope, options, rules),
        *_extra_alerts(workflow, scope, options, rules),
    ]
    rules.groups.append(rule.group(workflow, "alerts", duration.text(every), alerts))


def _add_objectives(
    workflow: Workflow, profile: Profile, scope: Scope, options: Options, rules: Rules
) -> None:
    overrides = _burn_overrides(workflow, rules)
    for index, wanted in enumerate(workflow.spec.slos):
        path = f"spec.slos[{index}]"
        action = partial(objective.render, workflow, wanted, profile, scope, options, overrides)
        made = _collect(action, path, rules, profile)
        if made is None:
            continue
        rules.groups += made.groups
        rules.slos.append(made.view)
        rules.warnings += [replace(w, path=f"{path}.{w.path}") for w in made.warnings]


def _collect(
    action: Callable[[], _T], path: str, rules: Rules, profile: Profile | None = None
) -> _T | None:
    """What the action returns; None where it fails, which becomes a problem.

    With the profile, a record that is missing is told by the role for want of which it is.
    """
    try:
        return action()
    except measure.MissingRoleError as error:
        role = wanting(profile, error.role) if profile else ""
        missing = f"the profile {profile.name} has no {role}" if profile and role else str(error)
        message = f"{missing}; choose another profile or remove the entry"
        rules.problems.append(Problem(path, "RoleNotInProfile", message))
    except measure.ThresholdError as error:
        rules.problems.append(Problem(path, "ThresholdNotABucket", str(error)))
    except promql.ExpressionError as error:
        rules.problems.append(Problem(path, "InvalidExpression", str(error)))
    except slo.WindowError as error:
        rules.problems.append(Problem(path, error.reason, str(error)))
    except SpecError as error:
        rules.problems.append(Problem(error.path or path, error.reason, error.message))
    return None


def _scope(workflow: Workflow, profile: Profile) -> Scope:
    shortest = slo.shortest_rate_window(duration.seconds(workflow.spec.scrape.interval))
    often = slo.evaluation_interval(duration.seconds(workflow.spec.scrape.interval))
    native = workflow.spec.scrape.native_histograms
    scope = Scope(profile, workflow.namespace, workflow.name, shortest=shortest, native=native)
    return scope.with_values(slow=f"{slo.SLOWER * often}", **schedule.values(workflow, scope))


def _recordings(
    workflow: Workflow, profile: Profile, scope: Scope
) -> list[tuple[bool, dict[str, Any]]]:
    """The recording rules that the profile can express, in order, each with whether it is slow."""
    made: list[tuple[bool, dict[str, Any]]] = []
    has = {
        "": True,
        "schedule": workflow.spec.schedule is not None,
        "freshness": any(wanted.freshness for wanted in workflow.spec.slos),
    }
    for recording in profile.recordings:
        if not has[recording.needs]:
            continue
        # One that remembers reads itself, and later ones read earlier ones.
        known = frozenset({recording.record, *(earlier["record"] for _, earlier in made)})
        try:
            expr = measure.expand(recording.expr, replace(scope, recorded=known))
        except measure.MissingRoleError:
            continue
        promql.check(expr, workflow.namespace)
        made.append((recording.slow, _record(recording.record, expr, workflow)))
    return made


def _record(name: str, expr: str, workflow: Workflow) -> dict[str, Any]:
    return {"record": name, "expr": expr, "labels": rule.identity(workflow)}


def _profile_alerts(
    workflow: Workflow, profile: Profile, scope: Scope, options: Options, rules: Rules
) -> Iterator[dict[str, Any]]:
    spec = workflow.spec.alerts
    known = {
        name: alert
        for alert in profile.alerts
        for name in (alert.name, f"{profile.alert_prefix}{alert.name}")
    }
    names = [*dict.fromkeys(alert.name for alert in known.values()), *_BURNS.values()]
    for path, listed in (("disabled", spec.disabled), ("overrides", spec.overrides)):
        _check_known(listed, {*known, *_BURNS}, names, f"spec.alerts.{path}", rules)
    disabled = {known[name].name for name in spec.disabled if name in known}
    overrides = {
        known[name].name: override for name, override in spec.overrides.items() if name in known
    }
    for alert in profile.alerts:
        if alert.name in disabled or (
            workflow.spec.scrape.intermittent and alert.outage == "absence"
        ):
            continue
        override = overrides.get(alert.name) or Override()
        if override.threshold is not None and alert.threshold is None:
            message = f"{alert.name} has no threshold; remove it from the override"
            rules.problems.append(
                Problem(f"spec.alerts.overrides.{alert.name}.threshold", "InvalidSpec", message)
            )
        threshold = alert.threshold if override.threshold is None else override.threshold
        values = {} if threshold is None else {"threshold": f"{threshold:.12g}"}
        try:
            expr = measure.expand(alert.expr, scope.with_values(**values))
        except measure.MissingRoleError:
            continue
        promql.check(expr, workflow.namespace)
        yield _alert(workflow, profile, alert, expr, override, options)


def missing_role(profile: Profile, alert: Alert) -> str:
    """The role for want of which the profile cannot express the alert for a workflow that has all else; empty for none."""
    scope, made = _everything(profile)
    try:
        measure.expand(alert.expr, replace(scope.with_values(threshold="1"), recorded=made))
    except measure.MissingRoleError as error:
        return wanting(profile, error.role) or error.role
    return ""


def wanting(profile: Profile, record: str) -> str:
    """The role for want of which the profile does not record a series; empty where it does, or is not meant to."""
    recording = next((r for r in profile.recordings if r.record == record), None)
    if recording is None:
        return ""
    try:
        measure.expand(recording.expr, _everything(profile)[0])
    except measure.MissingRoleError as error:
        return error.role
    return record


def _everything(profile: Profile) -> tuple[Scope, frozenset[str]]:
    fresh = Slo(name="x", objective=99, freshness=Freshness(max_age="1h"))
    spec = Spec(
        selector=Selector(match_labels={"app": "x"}),
        # With a CronJob, whatever is about schedules can be expressed.
        schedule=Schedule(cron_job="x"),
        slos=[fresh],
    )
    workflow = Workflow(namespace="x", name="x", spec=spec)
    scope = _scope(workflow, profile)
    return scope, frozenset(made["record"] for _, made in _recordings(workflow, profile, scope))


# Both names of each burn alert -> the one that a rule has.
_BURNS = {
    name: burn.name
    for burn in objective.BURNS
    for name in (burn.name.removeprefix(objective.BURN_PREFIX), burn.name)
}


def _burn_overrides(workflow: Workflow, rules: Rules) -> Mapping[str, Override | None]:
    """Changes to the burn alerts of all objectives, by the names of the rules; None for one that is disabled."""
    spec = workflow.spec.alerts
    changed: dict[str, Override | None] = {}
    for name, override in spec.overrides.items():
        if name not in _BURNS:
            continue
        changed[_BURNS[name]] = override
        if override.threshold is not None:
            message = "is computed from objective and window and cannot be set; change these, or minBadEvents of the SLO"
            path = f"spec.alerts.overrides.{name}.threshold"
            rules.problems.append(Problem(path, "InvalidSpec", message))
    return changed | {_BURNS[name]: None for name in spec.disabled if name in _BURNS}


def _check_known(
    listed: Iterable[str], known: set[str], names: Iterable[str], path: str, rules: Rules
) -> None:
    for name in listed:
        if name not in known:
            message = f"{name} is no alert of the profile or of an objective; known are {', '.join(names)}"
            rules.problems.append(Problem(path, "UnknownAlert", message))


def _alert(
    workflow: Workflow,
    profile: Profile,
    alert: Alert,
    expr: str,
    override: Override,
    options: Options,
) -> dict[str, Any]:
    name = f"{profile.alert_prefix}{alert.name}"
    return rule.alert(
        name,
        maintenance.outside(expr, workflow),
        override.for_ or alert.for_,
        {
            **workflow.spec.alerts.labels,
            "severity": override.severity or alert.severity,
            **rule.outage(_part(workflow, alert)),
            **rule.identity(workflow),
        },
        rule.annotated(workflow, alert.summary, alert.description, options, alert.name),
    )


def _part(workflow: Workflow, alert: Alert) -> str:
    # What kube-state-metrics tells of a CronJob is no effect of what cannot be seen of its program: between two runs
    # nothing is, and a run that is overdue must be told all the same.
    is_told_by_kubernetes = schedule.cronjob(workflow) and "workflow:schedule:" in alert.expr
    return "" if is_told_by_kubernetes else alert.outage


def _extra_alerts(
    workflow: Workflow, scope: Scope, options: Options, rules: Rules
) -> Iterator[dict[str, Any]]:
    for index, extra in enumerate(workflow.spec.alerts.extra):
        made = partial(_extra, workflow, extra, scope, options)
        alert = _collect(made, f"spec.alerts.extra[{index}].expr", rules)
        if alert is not None:
            yield alert


def _extra(workflow: Workflow, extra: ExtraAlert, scope: Scope, options: Options) -> dict[str, Any]:
    expr = measure.expand(extra.expr, scope)
    promql.check(expr, workflow.namespace)
    labels = {
        **workflow.spec.alerts.labels,
        **extra.labels,
        "severity": extra.severity,
        **rule.identity(workflow),
    }
    summary, description = rule.literal(extra.summary), rule.literal(extra.description)
    return rule.alert(
        extra.name,
        maintenance.outside(expr, workflow),
        extra.for_,
        labels,
        rule.annotated(workflow, summary, description, options),
    )
