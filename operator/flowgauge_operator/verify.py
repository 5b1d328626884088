"""What Prometheus' answers say about each workflow. Pure: `prometheus` asks, this reads.

A constant number of questions covers all workflows: one query each for targets, families, objectives and alerts, the
list of rules, the list of scrape pools, how long data is kept, and the errors of targets where any is down.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flowgauge_operator import duration, names, promql, slo
from flowgauge_operator.render import Rendered, SloView, schedule


class Owner(NamedTuple):
    """Namespace and name: the two labels that every series of a workflow carries."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Group:
    """A rule group as Prometheus has it."""

    rules: int
    error: str = ""


@dataclass(slots=True)
class Observation:
    """Everything that one look at Prometheus showed. `error` says why nothing could be seen.

    `number` counts looks, from 1: what was provisioned during a look was not seen by it. `retention` is how long data is
    kept, in seconds; None where Prometheus keeps it for ever, or does not say. `unscraped` names a pod that runs, of
    workflows without a target; the API server tells of it and not Prometheus. `pools` is None where what answers does not
    know its scrape jobs.
    """

    error: str = ""
    number: int = 0
    targets: dict[Owner, tuple[int, int]] = field(default_factory=dict)
    families: dict[Owner, set[str]] = field(default_factory=dict)
    values: dict[tuple[Owner, str], dict[str, float]] = field(default_factory=dict)
    firing: dict[Owner, list[tuple[str, str]]] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    revisions: dict[Owner, str] = field(default_factory=dict)
    pools: set[str] | None = field(default_factory=set)
    down: dict[Owner, str] = field(default_factory=dict)
    retention: float | None = None
    unscraped: Mapping[Owner, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Questions:
    """The instant queries of one look, as PromQL."""

    targets: str
    families: str
    values: str
    firing: str


_OURS = f'{names.WORKFLOW_LABEL}!=""'
_BY = f"{names.NAMESPACE_LABEL}, {names.WORKFLOW_LABEL}"


def questions(expected: Iterable[Rendered]) -> Questions:
    """The queries that cover all these workflows."""
    probes, burns = set[str](), set[str]()
    for rendered in expected:
        probes.update(rendered.required)
        probes.update([schedule.KNOWN] if rendered.cronjob else [])
        burns.update(view.burn_record for view in rendered.slos)
    families = promql.quote(promql.any_of(sorted(probes)))
    values = promql.quote(promql.any_of(sorted({slo.PERIOD, slo.REMAINING, *burns})))
    return Questions(
        targets=f'count_values by ({_BY}) ("up", up{{{_OURS}}})',
        families=f"count by ({_BY}, __name__) ({{__name__=~{families},{_OURS}}})",
        values=f"{{__name__=~{values},{_OURS}}}",
        firing=f'ALERTS{{alertstate="firing",{_OURS}}}',
    )


def read_targets(result: Iterable[Mapping[str, Any]], into: Observation) -> None:
    """Targets up and known, from the answer to `questions().targets`."""
    for item in result:
        owner, count = _owner(item["metric"]), int(float(item["value"][1]))
        up, total = into.targets.get(owner, (0, 0))
        is_up = float(item["metric"].get("up", "0")) == 1
        into.targets[owner] = (up + (count if is_up else 0), total + count)


def read_families(result: Iterable[Mapping[str, Any]], into: Observation) -> None:
    """Which required families have series."""
    for item in result:
        into.families.setdefault(_owner(item["metric"]), set()).add(
            item["metric"].get("__name__", "")
        )


def read_values(result: Iterable[Mapping[str, Any]], into: Observation) -> None:
    """Recorded figures of the objectives."""
    for item in result:
        metric = item["metric"]
        into.values.setdefault((_owner(metric), metric.get("slo", "")), {})[metric["__name__"]] = (
            float(item["value"][1])
        )


def read_firing(result: Iterable[Mapping[str, Any]], into: Observation) -> None:
    """Alerts that fire, with their objective where they have one."""
    for item in result:
        metric = item["metric"]
        into.firing.setdefault(_owner(metric), []).append(
            (metric.get("alertname", ""), metric.get("slo", ""))
        )


def read_rules(groups: Iterable[Mapping[str, Any]], into: Observation) -> None:
    """Our rule groups, their errors, and the revision that each workflow's rules carry."""
    for group in groups:
        if not group["name"].startswith("flowgauge/"):
            continue
        failing = (
            f"{rule['name']}: {rule['lastError']}"
            for rule in group["rules"]
            if rule.get("lastError")
        )
        into.groups[group["name"]] = Group(len(group["rules"]), next(failing, ""))
        for rule in group["rules"]:
            if rule["name"] == names.INFO:
                into.revisions[_owner(rule["labels"])] = rule["labels"].get("revision", "")


def read_down(targets: Iterable[Mapping[str, Any]], into: Observation) -> None:
    """Why targets are down: one error for each workflow is enough to begin with."""
    for target in targets:
        owner = _owner(target["labels"])
        if target.get("health") == "down" and owner.name:
            into.down.setdefault(owner, f"{target['scrapeUrl']}: {target['lastError']}")


def read_retention(info: Mapping[str, Any], into: Observation) -> None:
    """How long data is kept, from runtime information: `15d`, `30d or 50GiB`, or a size alone."""
    for part in str(info.get("storageRetention", "")).split(" or "):
        # A size is no duration, and zero means without limit.
        with contextlib.suppress(ValueError):
            into.retention = duration.seconds(part.strip()) or None


def _owner(metric: Mapping[str, str]) -> Owner:
    return Owner(metric.get(names.NAMESPACE_LABEL, ""), metric.get(names.WORKFLOW_LABEL, ""))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Loaded or healthy: True, False or None for not known, with reason and message."""

    state: bool | None
    reason: str
    message: str


def loaded(rendered: Rendered, owner: Owner, seen: Observation) -> Verdict:
    """Whether Prometheus has the scrape job and exactly these rules."""
    if seen.error:
        return Verdict(None, "PrometheusUnreachable", seen.error)
    missing = [group for group in rendered.rule_groups if group not in seen.groups]
    if missing:
        message = f"Prometheus does not have the rule group {missing[0]} yet; does its ruleSelector select our PrometheusRules?"
        return Verdict(False, "RulesNotLoaded", message)
    if seen.revisions.get(owner) != rendered.revision:
        return Verdict(
            False, "RulesOutdated", "Prometheus still has an earlier revision of the rules"
        )
    failing = next((seen.groups[g].error for g in rendered.rule_groups if seen.groups[g].error), "")
    if failing:
        return Verdict(False, "RuleFailing", f"Prometheus cannot evaluate a rule: {failing}")
    return _lacking_job(rendered, owner, seen) or _remembered(rendered.slos, seen.retention)


def _lacking_job(rendered: Rendered, owner: Owner, seen: Observation) -> Verdict | None:
    """What is wrong with the scrape job; None where it is there. A target shows it as well."""
    if not rendered.pool or seen.targets.get(owner, (0, 0))[1]:
        return None
    if seen.pools is None:
        message = f"what answers does not tell its scrape jobs, and there is no target that would show {rendered.pool}"
        return Verdict(None, "ScrapeJobUnknown", message)
    if rendered.pool in seen.pools:
        return None
    message = (
        f"Prometheus does not have the scrape job {rendered.pool} yet; does it select our monitors?"
    )
    return Verdict(False, "ScrapeJobNotLoaded", message)


def _remembered(slos: Iterable[SloView], retention: float | None) -> Verdict:
    """Loaded it is; whether data is kept for as long as the objectives look back is worth a remark."""
    longer = [v for v in slos if retention is not None and duration.seconds(v.window) > retention]
    if not longer:
        return Verdict(True, "Loaded", "Prometheus has the scrape job and the rules")
    named = ", ".join(f"{view.name} ({view.window})" for view in longer)
    longest = max((view.window for view in longer), key=duration.seconds)
    kept = duration.text(retention or 0)
    return Verdict(
        True,
        "RetentionTooShort",
        f"Prometheus has the scrape job and the rules, but keeps data for {kept} only, and these objectives look back"
        f" further: {named}. Their budgets speak of the last {kept}; set the retention of Prometheus to {longest} or"
        " more, or shorten the window",
    )


def missing_families(rendered: Rendered, owner: Owner, seen: Observation) -> list[str]:
    """Required families that Prometheus has no series of."""
    return [family for family in rendered.required if family not in seen.families.get(owner, set())]


def healthy(rendered: Rendered, owner: Owner, seen: Observation) -> Verdict:
    """Whether every target answers and every required family has series."""
    if seen.error:
        return Verdict(None, "PrometheusUnreachable", seen.error)
    up, total = seen.targets.get(owner, (0, 0))
    if rendered.is_scraped and total == 0:
        return _without_targets(rendered, owner, seen)
    if up < total:
        detail = seen.down.get(owner, "see the targets page of Prometheus")
        return Verdict(
            False, "TargetsDown", f"{total - up} of {total} targets do not answer; {detail}"
        )
    if rendered.cronjob and schedule.KNOWN not in seen.families.get(owner, set()):
        return Verdict(False, "ScheduleUnknown", _unknown(rendered.cronjob))
    missing = missing_families(rendered, owner, seen)
    if missing:
        hint = "does the program use this profile?"
        if rendered.native:
            hint = "do the program and Prometheus use this profile and native histograms?"
        message = f"no series of {', '.join(missing)}; {hint}"
        return Verdict(False, "MissingFamilies", message)
    return Verdict(
        True, "Measured", f"{up} of {total} targets answer and every required family has series"
    )


def is_idle(rendered: Rendered, owner: Owner, seen: Observation) -> bool:
    """Whether a workflow of annotated pods has no target and need not have one, as far as Prometheus tells."""
    is_wanted = rendered.is_scraped and rendered.is_annotated and rendered.is_intermittent
    return is_wanted and not seen.error and not seen.targets.get(owner, (0, 0))[1]


def _without_targets(rendered: Rendered, owner: Owner, seen: Observation) -> Verdict:
    if pod := seen.unscraped.get(owner):
        message = (
            f"pod {pod} runs, and Prometheus has no target of this workflow; does a container of it have the port that its"
            " annotations name, or else the profile?"
        )
        return Verdict(False, "NoTargets", message)
    if rendered.is_intermittent:
        which = "that has the port which its annotations name " if rendered.is_annotated else ""
        message = f"no pod of the workflow {which}runs now; it is measured while one does"
        return Verdict(True, "Idle", message)
    how = "does spec.selector match running pods?"
    if rendered.is_annotated:
        how = (
            f"are there running pods with the annotation {names.WORKFLOW}: {owner.name}, and does a container have the"
            " port that they name?"
        )
    return Verdict(False, "NoTargets", f"Prometheus has no target of this workflow; {how}")


def _unknown(cronjob: str) -> str:
    return (
        f"Prometheus does not see the plan of the CronJob {cronjob}; is it in this namespace, and is kube-state-metrics"
        " scraped with honorLabels?"
    )
