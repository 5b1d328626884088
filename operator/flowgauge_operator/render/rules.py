"""The rule groups of a workflow: recordings, alerts and objectives. Pure.

Rules come out finished or as problems: one bad objective or alert never stops the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from flowgauge.profiles import Alert, Profile, Recording
from flowgauge_operator import cron, duration, measure, names, promql, slo
from flowgauge_operator.measure import Scope
from flowgauge_operator.model import (
    ExtraAlert,
    Override,
    Schedule,
    Selector,
    Slo,
    Spec,
    SpecError,
    Workflow,
)
from flowgauge_operator.render import maintenance
from flowgauge_operator.render.options import Options, Problem, SloView

_T = TypeVar("_T")

INFO = "workflow:monitoring:info"
# Objectives are of no profile: their alerts have one name whatever the profile is.
BURN_PREFIX = "Workflow"
BURN_FAST = f"{BURN_PREFIX}ErrorBudgetBurnFast"
BURN_SLOW = f"{BURN_PREFIX}ErrorBudgetBurnSlow"


@dataclass
class Rules:
    """What was rendered, and what could not be."""

    groups: list[dict[str, Any]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    slos: list[SloView] = field(default_factory=list)


def render(workflow: Workflow, profile: Profile, options: Options) -> Rules:
    """All groups of one workflow. A suspended workflow keeps its recordings and loses alerts and objectives."""
    rules = Rules()
    scope = _scope(workflow, profile)
    often = slo.evaluation_interval(duration.seconds(workflow.spec.scrape.interval))
    every = duration.text(often)
    recorded = _recordings(workflow, profile, scope)
    windows = maintenance.active(workflow)
    closed = [_record(maintenance.ACTIVE, windows, workflow)] if windows else []
    rules.groups += [
        _group(
            workflow, "recordings", every, [*closed, *(rule for slow, rule in recorded if not slow)]
        ),
        _group(
            workflow,
            "history",
            duration.text(slo.SLOWER * often),
            [rule for slow, rule in recorded if slow],
        ),
    ]
    scope = replace(scope, recorded=frozenset(rule["record"] for _, rule in recorded))
    if not workflow.spec.suspend:
        alerts = [
            *_profile_alerts(workflow, profile, scope, options, rules),
            *_extra_alerts(workflow, scope, options, rules),
        ]
        rules.groups.append(_group(workflow, "alerts", every, alerts))
        for index, objective in enumerate(workflow.spec.slos):
            _collect(
                partial(_objective, workflow, objective, profile, scope, options, rules),
                f"spec.slos[{index}]",
                rules,
            )
    rules.groups = [group for group in rules.groups if group["rules"]]
    return rules


def _collect(action: Callable[[], _T], path: str, rules: Rules) -> _T | None:
    """What the action returns; None where it fails, which becomes a problem."""
    try:
        return action()
    except measure.MissingRoleError as error:
        rules.problems.append(
            Problem(
                path, "RoleNotInProfile", f"{error}; choose another profile or remove the entry"
            )
        )
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
    scope = Scope(profile, workflow.namespace, workflow.name, shortest=shortest)
    return scope.with_values(slow=f"{slo.SLOWER * often}", **_schedule(workflow))


def _schedule(workflow: Workflow) -> dict[str, str]:
    """`$due` is when the newest run was planned whose deadline is over; nothing for a zone that is none."""
    schedule = workflow.spec.schedule
    if schedule is None:
        return {}
    try:
        planned = cron.planned(schedule.cron, schedule.time_zone)
    except (ValueError, KeyError, OSError):  # told as a problem of the field
        return {}
    owner = promql.matchers(promql.owner(workflow.namespace, workflow.name))
    # A plan counts only from when the workflow is monitored on: what was before is not known.
    since = f"last_over_time({INFO}{{{owner}}}[1h])"
    counted = maintenance.outside(f"{planned} and on () {since}", workflow)
    return {"due": f"max_over_time(({counted})[1h:1m] offset {schedule.deadline})"}


def _group(
    workflow: Workflow, part: str, interval: str, rules: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "name": names.group(workflow.namespace, workflow.name, part),
        "interval": interval,
        "rules": rules,
    }


def identity(workflow: Workflow) -> dict[str, str]:
    """The static labels that say whose a rule is."""
    return {names.NAMESPACE_LABEL: workflow.namespace, names.WORKFLOW_LABEL: workflow.name}


def _recordings(
    workflow: Workflow, profile: Profile, scope: Scope
) -> list[tuple[bool, dict[str, Any]]]:
    """The recording rules that the profile can express, in order, each with whether it is slow."""
    made: list[tuple[bool, dict[str, Any]]] = []
    for recording in profile.recordings:
        if recording.needs == "schedule" and workflow.spec.schedule is None:
            continue
        # One that remembers reads itself, and later ones read earlier ones.
        known = frozenset({recording.record, *(rule["record"] for _, rule in made)})
        try:
            expr = measure.expand(recording.expr, replace(scope, recorded=known))
        except measure.MissingRoleError:
            continue
        promql.check(expr, workflow.namespace)
        made.append((recording.slow, _record(recording.record, expr, workflow)))
    return made


def _record(name: str, expr: str, workflow: Workflow) -> dict[str, Any]:
    return {"record": name, "expr": expr, "labels": identity(workflow)}


def _profile_alerts(
    workflow: Workflow, profile: Profile, scope: Scope, options: Options, rules: Rules
) -> Iterator[dict[str, Any]]:
    spec = workflow.spec.alerts
    known = {
        name: alert
        for alert in profile.alerts
        for name in (alert.name, f"{profile.alert_prefix}{alert.name}")
    }
    _check_known(spec.disabled, known, "spec.alerts.disabled", rules)
    _check_known(spec.overrides, known, "spec.alerts.overrides", rules)
    disabled = {known[name].name for name in spec.disabled if name in known}
    overrides = {
        known[name].name: override for name, override in spec.overrides.items() if name in known
    }
    for alert in profile.alerts:
        if alert.name in disabled:
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
    spec = Spec(selector=Selector(match_labels={"app": "x"}), schedule=Schedule(cron="@hourly"))
    workflow = Workflow(namespace="x", name="x", spec=spec)
    scope = _scope(workflow, profile)
    made = frozenset(rule["record"] for _, rule in _recordings(workflow, profile, scope))
    try:
        measure.expand(alert.expr, replace(scope.with_values(threshold="1"), recorded=made))
    except measure.MissingRoleError as error:
        recording = next((r for r in profile.recordings if r.record == error.role), None)
        return _wanting(recording, scope) if recording else error.role
    return ""


def _wanting(recording: Recording, scope: Scope) -> str:
    try:
        measure.expand(recording.expr, scope)
    except measure.MissingRoleError as error:
        return error.role
    return recording.record


def _check_known(listed: Any, known: dict[str, Alert], path: str, rules: Rules) -> None:
    for name in listed:
        if name not in known:
            have = ", ".join(dict.fromkeys(alert.name for alert in known.values()))
            rules.problems.append(
                Problem(
                    path, "UnknownAlert", f"{name} is no alert of the profile; known are {have}"
                )
            )


def _alert(
    workflow: Workflow,
    profile: Profile,
    alert: Alert,
    expr: str,
    override: Override,
    options: Options,
) -> dict[str, Any]:
    name = f"{profile.alert_prefix}{alert.name}"
    return _rule(
        name,
        maintenance.outside(expr, workflow),
        override.for_ or alert.for_,
        {
            **workflow.spec.alerts.labels,
            "severity": override.severity or alert.severity,
            **identity(workflow),
        },
        _annotations(workflow, alert.summary, alert.description, options, alert.name),
    )


def _rule(
    name: str, expr: str, for_: str, labels: dict[str, str], annotations: dict[str, str]
) -> dict[str, Any]:
    held = {} if for_ == "0s" else {"for": for_}
    safe = {key: literal(value) for key, value in labels.items()}
    return {"alert": name, "expr": expr, **held, "labels": safe, "annotations": annotations}


def _annotations(
    workflow: Workflow, summary: str, description: str, options: Options, page: str = ""
) -> dict[str, str]:
    """The annotations of an alert; `page` is its runbook, which a user's own alert does not have."""
    annotations = {"summary": summary, "description": description}
    if page and options.runbook_url:
        annotations["runbook_url"] = options.runbook(page)
    if options.grafana_url and workflow.spec.dashboard.mode != "None":
        uid = names.dashboard_uid(workflow.namespace, workflow.name)
        annotations["dashboard_url"] = f"{options.grafana_url}/d/{uid}"
    return annotations


def literal(text: str) -> str:
    """A user's text with every template opening made harmless: Prometheus would run queries in it otherwise."""
    return text.replace("{{", '{{ "{{" }}')


def _extra_alerts(
    workflow: Workflow, scope: Scope, options: Options, rules: Rules
) -> Iterator[dict[str, Any]]:
    for index, extra in enumerate(workflow.spec.alerts.extra):
        made = partial(_extra, workflow, extra, scope, options)
        rule = _collect(made, f"spec.alerts.extra[{index}].expr", rules)
        if rule is not None:
            yield rule


def _extra(workflow: Workflow, extra: ExtraAlert, scope: Scope, options: Options) -> dict[str, Any]:
    expr = measure.expand(extra.expr, scope)
    promql.check(expr, workflow.namespace)
    labels = {
        **workflow.spec.alerts.labels,
        **extra.labels,
        "severity": extra.severity,
        **identity(workflow),
    }
    summary, description = literal(extra.summary), literal(extra.description)
    return _rule(
        extra.name,
        maintenance.outside(expr, workflow),
        extra.for_,
        labels,
        _annotations(workflow, summary, description, options),
    )


def _objective(
    workflow: Workflow,
    objective: Slo,
    profile: Profile,
    scope: Scope,
    options: Options,
    rules: Rules,
) -> None:
    interval = duration.seconds(workflow.spec.scrape.interval)
    timing = slo.timing(duration.seconds(objective.window), interval)
    window = duration.text(timing.base)
    total, bad, counts = _events(objective, profile, scope.with_values(window=window))
    for expr in (total, bad):
        promql.check(expr, workflow.namespace)
    labels = {**identity(workflow), "slo": objective.name}
    ready = slo.Objective(
        objective=objective.objective,
        total=maintenance.outside(total, workflow, window),
        bad=bad,
        outside=lambda expr: maintenance.outside(expr, workflow, window),
        timing=timing,
        identity=promql.matchers((key, "=", value) for key, value in labels.items()),
        labels=labels,
        min_bad_events=objective.min_bad_events if counts else None,
    )
    _check_reach(objective, timing)
    every = duration.text(timing.every)
    part = f"slo-{objective.name}"
    alerts = list(_burn_alerts(workflow, objective, ready, options)) if objective.alerting else []
    rules.groups += [
        _group(workflow, f"{part}-short", every, slo.records_often(ready)),
        _group(
            workflow, f"{part}-long", duration.text(timing.every_long), slo.records_rarely(ready)
        ),
        _group(workflow, f"{part}-alerts", every, alerts),
    ]
    rules.slos.append(
        SloView(
            objective.name,
            objective.objective,
            objective.window,
            slo.ratio_record(timing.page[0].long),
        )
    )


def _check_reach(objective: Slo, timing: slo.Timing) -> None:
    if objective.freshness and duration.seconds(objective.freshness.max_age) >= timing.period:
        raise SpecError(
            "",
            f"{objective.name}: freshness.maxAge must be shorter than the window; lower it",
        )


def _events(objective: Slo, profile: Profile, scope: Scope) -> tuple[str, str, bool]:
    """Expressions for all and bad events, and whether they are events (or else seconds)."""
    if objective.custom:
        total, bad = (
            measure.expand(text, scope) for text in (objective.custom.total, objective.custom.bad)
        )
        # Each by itself: one that closes a parenthesis of ours would be valid only together with it.
        for expr in (total, bad):
            promql.check(expr, scope.namespace)
        # One series each, whatever labels the user's expression keeps: an objective is one number.
        return f"sum({total})", f"sum({bad})", True
    if objective.gauge:
        return (*_gauge(objective, scope), False)
    sli = next((s for s in profile.slis if s.name == objective.kind), None)
    if sli is None:
        raise measure.MissingRoleError(f"the profile {profile.name} has no SLI {objective.kind}")
    if objective.latency:
        bound = duration.seconds(objective.latency.threshold)
        scope = Scope(profile, scope.namespace, scope.workflow, scope.shortest, bound, scope.values)
    if objective.freshness:
        age = objective.freshness.max_age
        scope = scope.with_values(threshold=age, seconds=f"{duration.seconds(age):g}")
    return (
        measure.expand(sli.total, scope),
        measure.expand(sli.bad, scope),
        objective.freshness is None,
    )


def _gauge(objective: Slo, scope: Scope) -> tuple[str, str]:
    gauge = objective.gauge
    if gauge is None:
        raise ValueError("not a gauge objective")
    value = measure.expand(
        f"$max({gauge.role})" if gauge.max is not None else f"$min({gauge.role})", scope
    )
    if not re.fullmatch(r"[a-z]+\.[a-z_]+", gauge.role):
        raise promql.ExpressionError(f"{gauge.role!r} is no role")
    bad = (
        f"{value} > bool {gauge.max:.12g}"
        if gauge.max is not None
        else f"{value} < bool {gauge.min:.12g}"
    )
    return f"0 * {value} + 1", bad


def _burn_alerts(
    workflow: Workflow, objective: Slo, ready: slo.Objective, options: Options
) -> Iterator[dict[str, Any]]:
    tiers = (
        (BURN_FAST, "critical", "page", ready.timing.page, "The error budget burns fast."),
        (BURN_SLOW, "warning", "ticket", ready.timing.ticket, "The error budget burns steadily."),
    )
    for name, severity, tier, windows, summary in tiers:
        expr = slo.burn(ready, windows)
        if expr is None:
            continue
        factors = " or ".join(
            f"{float(t.factor):.3g} times over {duration.text(t.long)}"
            for t in slo.reachable_tiers(objective.objective, windows)
        )
        description = (
            f"SLO {objective.name} of {workflow.namespace}/{workflow.name} ({objective.objective:.12g} % over"
            f" {objective.window}): the share of bad events is {{{{ $value | humanizePercentage }}}}, which burns the"
            f" error budget more than {factors} as fast as it may."
        )
        labels = {
            **workflow.spec.alerts.labels,
            "severity": severity,
            "burn_tier": tier,
            **ready.labels,
        }
        page = name.removeprefix(BURN_PREFIX)
        annotations = _annotations(workflow, summary, description, options, page)
        yield _rule(name, maintenance.outside(expr, workflow), "0s", labels, annotations)
