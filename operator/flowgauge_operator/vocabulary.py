"""Judge and describe a profile: what of it renders, and what it can express. Pure; used by `reconcile` and `cli`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from flowgauge import profiles
from flowgauge.profiles import ROLES, Profile, ProfileError, Sli
from flowgauge_operator import measure, promql
from flowgauge_operator.measure import MissingRoleError, Scope
from flowgauge_operator.promql import ExpressionError
from flowgauge_operator.render import rules

_OWNER = ("namespace-of-nobody", "workflow-of-nobody")
# What a workflow, an objective or Grafana fills in.
_VALUES = {"window": "5m", "threshold": "300", "seconds": "300", "slow": "150"}
_VALUES |= dict.fromkeys(measure.OPTIONAL, "vector(1)")


def read(data: Any, source: str) -> Profile:
    """The profile in a decoded `WorkflowProfile`, all of whose expressions can be used.

    Raises:
        ProfileError: it cannot be used; the message names each path at fault and the remedy.
    """
    profile = profiles.from_object(data, source=source)
    if profile.name in profiles.names():
        message = f"is {profile.name!r}, which is built in; choose another name"
        raise ProfileError(source, "metadata.name", message)
    if found := faults(profile):
        (path, message), *others = found
        more = "".join(f"; spec.{other}: {text}" for other, text in others)
        raise ProfileError(source, f"spec.{path}", f"{message}{more}")
    return profile


def expresses(profile: Profile) -> str:
    """One sentence for a status: how much of what there is a profile can express."""
    missing = [alert for alert in profile.alerts if rules.missing_role(profile, alert)]
    works = [sli.name for sli in profile.slis if not missing_role(profile, sli)]
    return (
        f"{len(profile.families)} families serve {len(profile.alerts) - len(missing)} of {len(profile.alerts)} alerts"
        f" and objectives of {', '.join(works) or 'no kind but gauge and custom'}"
    )


def faults(profile: Profile) -> list[tuple[str, str]]:
    """What is wrong with expressions of a profile: path and message.

    An inherited entry whose role is missing drops out by design; an entry of the profile's own is a mistake then.
    """
    found, inherited = [], {text for _, text, _ in _expressions(profiles.builtin("base"))}
    for path, text, scope in _expressions(profile):
        try:
            expr = measure.expand(text, scope)
            if "$__" not in expr:  # a variable of Grafana, which knows more than PromQL
                promql.check(expr, _OWNER[0])
        except MissingRoleError as error:
            if text not in inherited:
                found.append((path, f"{error}; add a family for it, or remove the entry"))
        except ExpressionError as error:
            found.append((path, str(error)))
    return found


def described(profile: Profile) -> str:
    """A profile for people: families, objectives, alerts and what it lacks for more."""
    missing = {alert.name: rules.missing_role(profile, alert) for alert in profile.alerts}
    lines = [
        f"{profile.name}: {profile.title}",
        f"  {profile.description}",
        f"  scraped at port {profile.scrape.port}, path {profile.scrape.path}",
        "",
        "families",
        *_columns(
            (family.role, family.name, family.type, family.unit or ROLES[family.role].unit or "-")
            for family in profile.families
        ),
        "",
        "objectives",
        *_columns(
            (sli.name, sli.description) for sli in profile.slis if not missing_role(profile, sli)
        ),
        "",
        "alerts",
        *_columns(
            (
                f"{profile.alert_prefix}{alert.name}",
                alert.severity,
                "-" if alert.threshold is None else f"{alert.threshold:g} {alert.unit}".strip(),
                alert.summary,
            )
            for alert in profile.alerts
            if not missing[alert.name]
        ),
    ]
    absent = [(name, role) for name, role in missing.items() if role]
    if absent:
        lines += ["", "alerts that it has no role for", *_columns(absent)]
    return "\n".join(lines) + "\n"


def missing_role(profile: Profile, sli: Sli) -> str:
    """The role for want of which the profile cannot express an objective; empty for none."""
    for path, text, scope in _expressions(profile):
        if path.startswith(f"slis.{sli.name}."):
            try:
                measure.expand(text, scope)
            except MissingRoleError as error:
                return rules.wanting(profile, error.role) or error.role
            except ExpressionError:
                continue
    return ""


def _expressions(profile: Profile) -> Iterator[tuple[str, str, Scope]]:
    scope = Scope(profile, *_OWNER, shortest=60).with_values(**_VALUES)
    made = _recorded(profile, scope)
    for recording in profile.recordings:
        own = made | {recording.record}
        yield f"recordings.{recording.record}.expr", recording.expr, replace(scope, recorded=own)
    for alert in profile.alerts:
        yield f"alerts.{alert.name}.expr", alert.expr, replace(scope, recorded=made)
    for sli in profile.slis:
        bound = _bound(profile, sli.bad)
        for field in ("total", "bad"):
            age = replace(scope.with_values(threshold="5m"), threshold=bound, recorded=made)
            yield f"slis.{sli.name}.{field}", getattr(sli, field), age
    for panel in profile.panels:
        for i, query in enumerate(panel.queries):
            yield f"panels.{panel.title}.queries[{i}]", query.expr, replace(scope, recorded=made)


def _recorded(profile: Profile, scope: Scope) -> frozenset[str]:
    """What the profile records for a workflow that has all that a recording may need."""
    made: frozenset[str] = frozenset()
    for recording in profile.recordings:
        own = made | {recording.record}
        try:
            measure.expand(recording.expr, replace(scope, recorded=own))
        except MissingRoleError:
            continue
        except ExpressionError:
            pass  # told where the recording is judged; what reads it is not at fault
        made = own
    return made


def _bound(profile: Profile, text: str) -> float | None:
    """A bucket bound in seconds of the histogram that a latency objective reads."""
    for family in profile.families:
        if f"$within({family.role}[" in text and family.buckets:
            return float(family.buckets[0] * float(family.factor))
    return 1.0


def _columns(rows: Iterable[tuple[str, ...]]) -> list[str]:
    listed = [*rows]
    widths = [max(map(len, column)) for column in zip(*listed, strict=True)]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in listed
    )
    return [f"  {row}".rstrip() for row in padded] or ["  none"]
