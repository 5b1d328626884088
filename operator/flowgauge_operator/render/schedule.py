"""What a schedule plans, and what shows that a run of it began and ended well, as PromQL over roles. Pure.

A plan by cron is computed. That of a CronJob is read from what kube-state-metrics says of it, so that the operator needs
no right to read CronJobs: `kube_cronjob_next_schedule_time` is the first time after the last one that was started. Once
it has passed, Kubernetes owes a run.
"""

from __future__ import annotations

from flowgauge_operator import cron, duration, measure, names, promql
from flowgauge_operator.measure import Scope
from flowgauge_operator.model import Schedule, Workflow
from flowgauge_operator.render import maintenance

# There while the plan of the CronJob is seen: verification asks for it.
KNOWN = "workflow:schedule:known"
# For five minutes and one more, a start is taken up as one that was planned: kube-state-metrics may be late.
_FRESH = "5m:1m"
# All of that, and the age of a sample.
_LOOKBACK = "7m"
# Rules are evaluated group by group: before that, whether a maintenance window is open may not be known yet.
_SETTLED = "1m"


def zone(schedule: Schedule) -> str:
    """The time zone of the cron expression."""
    return schedule.time_zone or "UTC"


def cronjob(workflow: Workflow) -> str:
    """The CronJob whose plan counts; empty where there is none."""
    return (workflow.spec.schedule and workflow.spec.schedule.cron_job) or ""


def values(workflow: Workflow, scope: Scope) -> dict[str, str]:
    """What recordings over schedules are written with: times in Unix seconds, each nothing where there is none.

    `$due` is when the newest run was planned whose deadline is over, `$begun` and `$ended` are when one last began and
    ended well, `$paused` is when plans last did not count, 0 for never. `$known` is there while the plan of a CronJob is
    seen, and only for those. Nothing for a zone that is none, which is told as a problem of the field.
    """
    schedule = workflow.spec.schedule
    if schedule is None:
        return {}
    if schedule.cron_job is not None:
        return _of_cronjob(workflow, schedule, _series(workflow, schedule.cron_job), scope)
    try:
        planned = cron.planned(schedule.cron or "", zone(schedule))
    except (ValueError, KeyError, OSError):
        return {}
    # A plan counts only from when the workflow is monitored on: what was before is not known.
    since = f"last_over_time({_info(workflow)}[1h] offset {_SETTLED})"
    counted = maintenance.outside(f"{planned} and on () {since}", workflow)
    return {
        "due": f"max_over_time(({counted})[1h:1m] offset {schedule.deadline})",
        "begun": _BEGUN,
        "ended": _any([_ENDED, *_expressed([_LAST], scope)]),
        "paused": "vector(time())" if workflow.spec.suspend else "vector(0)",
    }


_BEGUN = "(vector(time()) and on () ($events(run.started[2m]) > 0))"
_ENDED = '(vector(time()) and on () ($events(run.finished{outcome="good"}[2m]) > 0))'
# A counter that is pushed once by each run does not increase. A time that has not come yet would be remembered for ever.
_LAST = "max($max(run.last_success) < time() + 60)"


def _of_cronjob(
    workflow: Workflow, schedule: Schedule, series: dict[str, str], scope: Scope
) -> dict[str, str]:
    own_begun, own_ended = _expressed([_BEGUN], scope), _expressed([_ENDED, _LAST], scope)
    in_progress = f"({series['active']} > 0)"
    suspended = f"({series['suspend']} == 1)"
    # The workflow's own metrics decide where there are any. Those of a Job's pods come and go with them, so a Job that
    # is in progress has begun, seen or not.
    begun = _where(f"({in_progress} or $absent(run.started))", f"max({series['last']})", scope)
    ended = _where("$absent(run.finished)", f"max({series['successful']})", scope)
    paused = f"(vector(time()) and on () {suspended}) or on () vector(0)"
    return {
        "due": _any([_owed(workflow, schedule, series), _started(workflow, schedule, series)]),
        "begun": _any([*own_begun, begun]),
        "ended": _any([*own_ended, ended]),
        "paused": "vector(time())" if workflow.spec.suspend else paused,
        "known": f"({series['next']} > bool 0) or {suspended}",
    }


def _where(condition: str, expr: str, scope: Scope) -> str:
    """The expression where the condition has a value; everywhere if the profile cannot express the condition."""
    return f"({expr} and on () {condition})" if _expressed([condition], scope) else expr


def _series(workflow: Workflow, name: str) -> dict[str, str]:
    """What kube-state-metrics tells of a CronJob, as selectors."""
    of = (names.NAMESPACE_LABEL, "=", workflow.namespace), ("cronjob", "=", name)
    families = {
        "next": "kube_cronjob_next_schedule_time",
        "last": "kube_cronjob_status_last_schedule_time",
        "successful": "kube_cronjob_status_last_successful_time",
        "active": "kube_cronjob_status_active",
        "suspend": "kube_cronjob_spec_suspend",
    }
    return {key: f"{family}{{{promql.matchers(of)}}}" for key, family in families.items()}


def _owed(workflow: Workflow, schedule: Schedule, series: dict[str, str]) -> str:
    """A plan that Kubernetes has not started. After a maintenance window it may take its deadline to catch up."""
    late = f"max({series['next']}) <= time() - {duration.seconds(schedule.deadline):.0f}"
    return f"({maintenance.outside(late, workflow, schedule.deadline)})"


def _started(workflow: Workflow, schedule: Schedule, series: dict[str, str]) -> str:
    """A plan that Kubernetes has started, if that was seen at the time."""
    # One from before the workflow was monitored is older than the oldest that is known of its rules.
    known = f"min(min_over_time(timestamp({_info(workflow)})[{_FRESH}] offset {_SETTLED}))"
    counted = maintenance.outside(f"max({series['last']}) > {known}", workflow, _LOOKBACK)
    return f"max_over_time(({counted})[1h:1m] offset {schedule.deadline})"


def _info(workflow: Workflow) -> str:
    owner = promql.matchers(promql.owner(workflow.namespace, workflow.name))
    return f"{names.INFO}{{{owner}}}"


def _any(parts: list[str]) -> str:
    return " or ".join(parts)


def _expressed(texts: list[str], scope: Scope) -> list[str]:
    """Those that the profile has the roles for."""
    return [text for text in texts if _can_be_expressed(text, scope)]


def _can_be_expressed(text: str, scope: Scope) -> bool:
    try:
        measure.expand(text, scope)
    except measure.MissingRoleError:
        return False
    return True
