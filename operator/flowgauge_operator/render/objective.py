"""The rule groups of one objective: what it counts, its records and its two burn-rate alerts. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from flowgauge.profiles import Family, Profile
from flowgauge_operator import duration, measure, names, promql, slo
from flowgauge_operator.measure import Scope, Step
from flowgauge_operator.model import BurnAlert, Override, Severity, Slo, SpecError, Workflow
from flowgauge_operator.render import maintenance, rule
from flowgauge_operator.render.options import Options, Problem, SloView

# Objectives are of no profile: their alerts have one name whatever the profile is.
BURN_PREFIX = "Workflow"
BURN_FAST = f"{BURN_PREFIX}ErrorBudgetBurnFast"
BURN_SLOW = f"{BURN_PREFIX}ErrorBudgetBurnSlow"
_FRESH = "workflow:run_success:last_timestamp_seconds"


@dataclass(frozen=True, slots=True)
class Made:
    """One objective as rules, what verification has to know of it, and what its owner should know."""

    groups: tuple[dict[str, Any], ...]
    view: SloView
    warnings: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class _Burn:
    """One of the two burn-rate alerts, as it is for every objective unless somebody says otherwise."""

    name: str
    severity: Severity
    tier: str
    summary: str


_FAST = _Burn(BURN_FAST, "critical", "page", "The error budget burns fast.")
_SLOW = _Burn(BURN_SLOW, "warning", "ticket", "The error budget burns steadily.")
BURNS = (_FAST, _SLOW)


def render(
    workflow: Workflow,
    objective: Slo,
    profile: Profile,
    scope: Scope,
    options: Options,
    overrides: Mapping[str, Override | None],
) -> Made:
    """The groups of one objective. `overrides` are changes to the burn alerts of all, by name; None leaves one out.

    Raises:
        SpecError, ExpressionError, WindowError: it cannot be rendered.
    """
    interval = duration.seconds(workflow.spec.scrape.interval)
    timing = slo.timing(duration.seconds(objective.window), interval)
    step = Step(
        every=timing.every,
        delay=timing.delay,
        reach=timing.reach,
        single=interval >= timing.every,
        window=timing.base,
    )
    # What is counted just after a maintenance window was in part begun in it. A step looks less far back than that, rates
    # of native histograms and of plain PromQL as far.
    window = duration.text(timing.base)
    _check_reach(objective, timing)
    total, bad = events(objective, profile, replace(scope, step=step))
    for expr in (total, bad):
        promql.check(expr, workflow.namespace)
    labels = {**rule.identity(workflow), "slo": objective.name}
    ready = slo.Objective(
        objective=objective.objective,
        total=maintenance.outside(total, workflow, window),
        bad=bad,
        outside=lambda expr: maintenance.outside(expr, workflow, window),
        timing=timing,
        identity=promql.matchers((key, "=", value) for key, value in labels.items()),
        labels=labels,
        # Freshness and gauge count time, where no number of events says anything.
        min_bad_events=None if objective.freshness or objective.gauge else objective.min_bad_events,
    )
    every, rarely = duration.text(timing.every), duration.text(timing.every_long)
    part = f"slo-{objective.name}"
    alerts = list(_burn_alerts(workflow, objective, ready, options, overrides))
    return Made(
        groups=(
            rule.group(workflow, f"{part}-short", every, slo.records_often(ready)),
            rule.group(workflow, f"{part}-long", rarely, slo.records_rarely(ready)),
            rule.group(workflow, f"{part}-alerts", every, alerts),
        ),
        view=SloView(
            objective.name,
            objective.objective,
            objective.window,
            slo.ratio_record(timing.page[0].long),
            _paged_above(objective, timing, alerts),
            objective.kind,
            duration.seconds(objective.latency.threshold) if objective.latency else None,
        ),
        warnings=(
            *_rounded(objective, profile, scope),
            *_unreachable(objective, timing, overrides),
        ),
    )


def _check_reach(objective: Slo, timing: slo.Timing) -> None:
    if objective.freshness and duration.seconds(objective.freshness.max_age) >= timing.period:
        raise SpecError(
            "",
            f"{objective.name}: freshness.maxAge must be shorter than the window; lower it",
        )


def events(objective: Slo, profile: Profile, scope: Scope) -> tuple[str, str]:
    """Expressions for all and bad events a second, or seconds of time a second.

    Raises:
        ExpressionError: the profile cannot express them, or the user's text is none.
    """
    if objective.custom:
        texts = (objective.custom.total, objective.custom.bad)
        if scope.step and any("$window" in measure.between(text) for text in texts):
            # Plain PromQL is a rate over some minutes. Beside steps it would be late: both sides have to look as far back.
            window = duration.text(scope.step.window)
            scope = replace(scope, step=None).with_values(window=window)
        total, bad = (measure.expand(text, scope) for text in texts)
        # Each by itself: one that closes a parenthesis of ours would be valid only together with it.
        for expr in (total, bad):
            promql.check(expr, scope.namespace)
        # One series each, whatever labels the user's expression keeps: an objective is one number.
        return f"sum({total})", f"sum({bad})"
    if objective.gauge:
        return _gauge(objective, scope)
    sli = next((s for s in profile.slis if s.name == objective.kind), None)
    if sli is None:
        raise measure.MissingRoleError(f"the profile {profile.name} has no SLI {objective.kind}")
    if objective.latency:
        bound = duration.seconds(objective.latency.threshold)
        scope = replace(scope, threshold=bound, rounding=objective.latency.rounding)
    if objective.freshness:
        age = objective.freshness.max_age
        scope = scope.with_values(threshold=age, seconds=f"{duration.seconds(age):g}")
    return measure.expand(sli.total, scope), measure.expand(sli.bad, scope)


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


# -- alerts -----------------------------------------------------------------------------------------------------------


def _tiers(
    objective: Slo, timing: slo.Timing
) -> tuple[tuple[_Burn, BurnAlert, tuple[slo.Tier, ...]], ...]:
    return (
        (_FAST, objective.alerts.page, timing.page),
        (_SLOW, objective.alerts.ticket, timing.ticket),
    )


def _burn_alerts(
    workflow: Workflow,
    objective: Slo,
    ready: slo.Objective,
    options: Options,
    overrides: Mapping[str, Override | None],
) -> Iterator[dict[str, Any]]:
    for burn, own, tiers in _tiers(objective, ready.timing):
        common = overrides.get(burn.name) or Override()
        expr = slo.burn(ready, tiers)
        if expr is None or not _is_wanted(burn, own, overrides):
            continue
        labels = {
            **workflow.spec.alerts.labels,
            **own.labels,
            "severity": own.severity or common.severity or burn.severity,
            names.BURN_TIER_LABEL: burn.tier,
            # Nothing can be fresh while nothing is seen; the other objectives are silent then.
            **rule.outage("effect" if objective.freshness else ""),
            **ready.labels,
        }
        page = burn.name.removeprefix(BURN_PREFIX)
        text = _description(workflow, objective, tiers)
        annotations = rule.annotated(workflow, burn.summary, text, options, page)
        outside = maintenance.outside(expr, workflow)
        yield rule.alert(burn.name, outside, common.for_ or "0s", labels, annotations)


def _is_wanted(burn: _Burn, own: BurnAlert, overrides: Mapping[str, Override | None]) -> bool:
    is_disabled = burn.name in overrides and overrides[burn.name] is None
    return own.enabled and not is_disabled


def _description(workflow: Workflow, objective: Slo, tiers: tuple[slo.Tier, ...]) -> str:
    factors = " or ".join(
        f"{float(t.factor):.3g} times over {duration.text(t.long)}"
        for t in slo.reachable_tiers(objective.objective, tiers)
    )
    return (
        f"SLO {objective.name} of {workflow.namespace}/{workflow.name} ({objective.objective:.12g} % over"
        f" {objective.window}): the share of bad events is {{{{ $value | humanizePercentage }}}}, which burns the"
        f" error budget more than {factors} as fast as it may."
    )


def _paged_above(
    objective: Slo, timing: slo.Timing, alerts: Iterable[Mapping[str, Any]]
) -> float | None:
    fast = timing.page[0]
    can_fire = fast in slo.reachable_tiers(objective.objective, timing.page)
    is_made = any(made["alert"] == BURN_FAST for made in alerts)
    return float(fast.factor) if can_fire and is_made else None


# -- what the owner should know ---------------------------------------------------------------------------------------


def _rounded(objective: Slo, profile: Profile, scope: Scope) -> Iterator[Problem]:
    """The bound that takes the place of a threshold, for each histogram that the objective reads."""
    latency = objective.latency
    if latency is None or latency.rounding == "None" or scope.native:
        return
    wanted = duration.seconds(latency.threshold)
    sli = next(s for s in profile.slis if s.name == "latency")
    for family in measure.families(sli.bad, scope):
        if family.type != "histogram":
            continue
        below, above = measure.neighbours(family, wanted)
        if below == above:
            continue
        chosen = _readable(measure.bucket(family, wanted, latency.rounding), family)
        if below is None or above is None:
            place = f"{'below the first' if below is None else 'beyond the last'} bucket {chosen}"
        else:
            place = f"between the buckets {_readable(below, family)} and {_readable(above, family)}"
        effect = "bad" if latency.rounding == "Down" else "good"
        yield Problem(
            "latency.threshold",
            "ThresholdRounded",
            f"{latency.threshold} lies {place} of {family.name}; rounded {latency.rounding.lower()}, {chosen} is what"
            f" counts, and runs between the two count as {effect}",
        )


def _readable(bound: Decimal, family: Family) -> str:
    return duration.text(float(bound * family.factor))


def _unreachable(
    objective: Slo, timing: slo.Timing, overrides: Mapping[str, Override | None]
) -> Iterator[Problem]:
    """Alerts, or parts of them, that no error ratio can make fire."""
    for burn, own, tiers in _tiers(objective, timing):
        reachable = slo.reachable_tiers(objective.objective, tiers)
        lost = [tier for tier in tiers if tier not in reachable]
        if not lost or not _is_wanted(burn, own, overrides):
            continue
        parts = " and ".join(
            f"over {duration.text(tier.long)} (possible from {slo.reachable_from(tier)} % on)"
            for tier in lost
        )
        rest = f"; it still fires over {duration.text(reachable[0].long)}" if reachable else ""
        what = "part of the" if reachable else "the"
        meant = objective.objective * 100
        share = f"; it is in percent: is {meant:.12g} meant?" if meant < 100 else ""
        yield Problem(
            "objective",
            "AlertUnreachable",
            f"at {objective.objective:.12g} % {what} {burn.tier} alert can never fire and is left out, because its"
            f" threshold is above an error ratio of 1: {parts}{rest}{share}",
        )
