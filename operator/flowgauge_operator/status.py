"""Build the status of a workflow from what was done and seen. Pure; called once at the end of every turn.

A status never claims what was not seen: what could not be asked is Unknown, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowgauge_operator import condition, slo, verify
from flowgauge_operator.condition import Condition, Resource, SloStatus, Status, Summary, Targets
from flowgauge_operator.render import Problem, Rendered
from flowgauge_operator.synchronized import Synchronized
from flowgauge_operator.verify import Observation, Owner, Verdict

_LONGEST_MESSAGE = 1024
NOT_CONFIGURED = "no Prometheus URL is configured; set --prometheus-url to have this verified"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one turn did for a workflow.

    `problems` are parts of the spec that could not be rendered; `rendered` is None where nothing could. `failed` maps
    objects to the reason and message of their failure. `synchronized` is what grafana-operator says of the dashboard, None
    where it has none to bring. `remarks` are what is wrong with annotations of pods; they are no fault of the spec.
    """

    generation: int
    profile: str
    rendered: Rendered | None
    problems: Sequence[Problem] = ()
    resources: Sequence[Resource] = ()
    failed: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    synchronized: Synchronized | None = None
    remarks: Sequence[Problem] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """Whether Prometheus is asked at all, and whether Ready insists on it."""

    asks_prometheus: bool = True
    requires_prometheus: bool = False


def build(
    outcome: Outcome,
    owner: Owner,
    seen: Observation | None,
    policy: Policy,
    previous: Mapping[str, Any],
    now: str,
) -> dict[str, Any]:
    """The status as the API server stores it; `now` (RFC 3339) is used where a condition flips.

    Where nothing was seen since the process started, what `previous` says of the same generation still holds: a restart
    forgets nothing and writes nothing.
    """
    is_known = policy.asks_prometheus and previous.get("observedGeneration") == outcome.generation
    known = previous if is_known else {}
    verdicts = _verdicts(outcome, owner, seen, policy, known)
    status = Status(
        observed_generation=outcome.generation,
        conditions=[
            _condition(kind, verdict, outcome.generation, previous, now)
            for kind, verdict in verdicts.items()
        ],
        profile=outcome.profile or None,
        resources=list(outcome.resources),
        **_figures(outcome.rendered, owner, seen, known),
    )
    return status.model_dump(by_alias=True, exclude_none=True)


def of_profile(
    verdict: Verdict,
    generation: int,
    workflows: int,
    previous: Mapping[str, Any],
    now: str,
) -> dict[str, Any]:
    """The status of a `WorkflowProfile`; `now` is used where its condition flips."""
    accepted = _condition("Accepted", verdict, generation, previous, now)
    status = condition.ProfileStatus(
        observed_generation=generation, conditions=[accepted], workflows=workflows
    )
    return status.model_dump(by_alias=True, exclude_none=True)


def _verdicts(
    outcome: Outcome,
    owner: Owner,
    seen: Observation | None,
    policy: Policy,
    known: Mapping[str, Any],
) -> dict[str, Verdict]:
    verdicts = {"Accepted": _accepted(outcome), "Provisioned": _provisioned(outcome)}
    verdicts["Loaded"], verdicts["Healthy"] = _seen(outcome.rendered, owner, seen, policy, known)
    verdicts["Ready"] = _ready(verdicts, policy)
    return verdicts


def _accepted(outcome: Outcome) -> Verdict:
    warnings = (*outcome.remarks, *(outcome.rendered.warnings if outcome.rendered else ()))
    if not outcome.problems and warnings:
        message = "; ".join(str(warning) for warning in warnings)
        return Verdict(True, warnings[0].reason, message)
    if not outcome.problems:
        return Verdict(True, "Valid", "the spec and its profile make sense")
    message = "; ".join(str(problem) for problem in (*outcome.problems, *outcome.remarks))
    return Verdict(False, outcome.problems[0].reason, message)


def _provisioned(outcome: Outcome) -> Verdict:
    if outcome.rendered is None:
        return Verdict(None, "NotAccepted", "nothing was changed, because the spec is not accepted")
    if outcome.failed:
        reason = next(iter(outcome.failed.values()))[0]
        return Verdict(
            False,
            reason,
            "; ".join(f"{name}: {text}" for name, (_, text) in outcome.failed.items()),
        )
    told = outcome.synchronized
    grafana = (told.message,) if told is not None else ()
    if outcome.rendered.notes:
        return Verdict(True, "AppliedWithFallback", "; ".join((*outcome.rendered.notes, *grafana)))
    message = "; ".join(("every object is applied as rendered", *grafana))
    return Verdict(True, _DELIVERED[told.state] if told else "Applied", message)


# By what grafana-operator says: what has not reached Grafana keeps nobody from being monitored, so it is a warning.
_DELIVERED = {True: "Applied", False: "DashboardNotSynchronized", None: "DashboardNotSeenYet"}


def _seen(
    rendered: Rendered | None,
    owner: Owner,
    seen: Observation | None,
    policy: Policy,
    known: Mapping[str, Any],
) -> tuple[Verdict, Verdict]:
    if not policy.asks_prometheus:
        unknown = Verdict(None, "PrometheusNotConfigured", NOT_CONFIGURED)
    elif rendered is None:
        unknown = Verdict(None, "NotAccepted", "not looked for, because the spec is not accepted")
    elif seen is None:
        return _before("Loaded", known), _before("Healthy", known)
    else:
        return verify.loaded(rendered, owner, seen), verify.healthy(rendered, owner, seen)
    return unknown, unknown


def _before(kind: str, known: Mapping[str, Any]) -> Verdict:
    for condition_ in known.get("conditions") or []:
        if condition_["type"] == kind:
            state = {"True": True, "False": False}.get(condition_["status"])
            return Verdict(state, condition_["reason"], condition_["message"])
    return Verdict(None, "NotSeenYet", "Prometheus has not been asked since the spec changed")


def _ready(verdicts: Mapping[str, Verdict], policy: Policy) -> Verdict:
    needed = ["Accepted", "Provisioned"]
    if policy.asks_prometheus or policy.requires_prometheus:
        needed += ["Loaded", "Healthy"]
    for state in (False, None):
        for kind in needed:
            if verdicts[kind].state is state:
                return Verdict(state, verdicts[kind].reason, f"{kind}: {verdicts[kind].message}")
    if len(needed) == 2:
        return Verdict(
            True,
            "ReadyWithoutPrometheus",
            "applied; whether it works was not verified: " + NOT_CONFIGURED,
        )
    told = [kind for kind in needed if verdicts[kind].reason not in _USUAL]
    more = f"; {', '.join(told)} {'has' if len(told) == 1 else 'have'} more to say" if told else ""
    return Verdict(True, "Monitored", f"scraped, ruled and verified{more}")


# Reasons of conditions that are True and say no more than that.
_USUAL = ("Valid", "Applied", "Loaded", "Measured")

_STATUS = {True: "True", False: "False", None: "Unknown"}


def _condition(
    kind: str, verdict: Verdict, generation: int, previous: Mapping[str, Any], now: str
) -> Condition:
    status = _STATUS[verdict.state]
    conditions: list[Mapping[str, Any]] = previous.get("conditions") or []
    before = next((c for c in conditions if c.get("type") == kind), {})
    since = before.get("lastTransitionTime") if before.get("status") == status else None
    return Condition.model_validate(
        {
            "type": kind,
            "status": status,
            "reason": verdict.reason,
            "message": _short(verdict.message),
            "observedGeneration": generation,
            "lastTransitionTime": since or now,
        }
    )


def _short(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else message[: _LONGEST_MESSAGE - 1] + "…"


# What of a status only Prometheus can tell, as it is written.
_TOLD = ("targets", "missingFamilies", "slos", "summary")


def _figures(
    rendered: Rendered | None, owner: Owner, seen: Observation | None, known: Mapping[str, Any]
) -> dict[str, Any]:
    if rendered is not None and seen is None:
        return {key: known[key] for key in _TOLD if key in known}
    if rendered is None or seen is None or seen.error:
        return {}
    up, total = seen.targets.get(owner, (0, 0))
    slos = [_slo(rendered, index, owner, seen) for index in range(len(rendered.slos))]
    budgets = [s.error_budget_remaining for s in slos if s.error_budget_remaining is not None]
    firing = seen.firing.get(owner, [])
    return {
        "targets": Targets(up=up, total=total),
        "missing_families": verify.missing_families(rendered, owner, seen),
        "slos": slos,
        "summary": Summary(
            targets=f"{up}/{total}",
            budget=f"{min(budgets) * 100:.0f}%" if budgets else None,
            firing=len({*firing}),
        ),
    }


def _slo(rendered: Rendered, index: int, owner: Owner, seen: Observation) -> SloStatus:
    view = rendered.slos[index]
    values = seen.values.get((owner, view.name), {})
    error, remaining, burning = (
        values.get(r) for r in (slo.PERIOD, slo.REMAINING, view.burn_record)
    )
    allowed = float(slo.budget(view.objective))
    return SloStatus(
        name=view.name,
        objective=view.objective,
        current=None if error is None else _rounded(100 * (1 - error), 3),
        error_budget_remaining=None if remaining is None else _rounded(remaining, 2),
        burn_rate=None if burning is None else _rounded(burning / allowed, 1),
        firing=sorted({alert for alert, of in seen.firing.get(owner, []) if of == view.name}),
    )


def _rounded(value: float, digits: int) -> float | None:
    """Coarse enough that a status is not written for what nobody would read; None for NaN."""
    # Adding 0.0 turns -0.0 into 0.0, so that nobody reads "-0%".
    return round(value, digits) + 0.0 if math.isfinite(value) else None


def transitions(
    previous: Mapping[str, Any], status: Mapping[str, Any]
) -> list[tuple[str, str, str, str]]:
    """Conditions whose flip is worth an Event: (type, status, reason, message)."""
    before = {c["type"]: c["status"] for c in previous.get("conditions") or []}
    return [
        (c["type"], c["status"], c["reason"], c["message"])
        for c in status["conditions"]
        if c["status"] != before.get(c["type"]) and _is_news(c, before.get(c["type"]))
    ]


def _is_news(new: Mapping[str, Any], before: str | None) -> bool:
    if new["type"] in ("Accepted", "Provisioned"):
        return new["status"] == "False" or (new["status"] == "True" and before == "False")
    if new["type"] != "Ready":
        return False
    # While a fresh workflow comes up, False is the normal way to True: only the arrival is news.
    if new["status"] == "True":
        return new["reason"] == "Monitored" or before == "False"
    return new["status"] == "False" and before == "True"


def is_same(previous: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether the stored status already says this."""
    return dict(previous) == dict(status)


TYPES = condition.types()
