"""Rules and dashboard, rendered once for all workflows that differ by name only. Pure: a memo of values.

A thousand workflows of one kind have the same rules but for two names. They are rendered with tokens in their place, and
each workflow's names are put in afterwards. That is safe because a name is a DNS name: no character of it means anything
in JSON or PromQL; and because no name can hold a token, whose first character is none that DNS knows.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from flowgauge.profiles import Profile
from flowgauge_operator import duration, names, slo
from flowgauge_operator.model import Spec, Workflow
from flowgauge_operator.render import dashboard, rule, rules
from flowgauge_operator.render.options import Options, Problem, SloView

_NAMESPACE, _NAME = "\ue000namespace\ue000", "\ue000name\ue000"
_ANYBODY_UID = names.dashboard_uid(_NAMESPACE, _NAME)


@dataclass(frozen=True)
class Template:
    """What a spec looks like for anybody; `groups` and `dashboard` are JSON."""

    groups: str
    dashboard: str
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    slos: tuple[SloView, ...]
    revision: str

    def bound_groups(self, workflow: Workflow) -> list[dict[str, Any]]:
        """The rule groups of one workflow."""
        groups: list[dict[str, Any]] = orjson.loads(_bind(self.groups, workflow))
        return groups

    def bound_dashboard(self, workflow: Workflow) -> str:
        """The dashboard of one workflow, as JSON."""
        return _bind(self.dashboard, workflow)

    def bound_problems(self, workflow: Workflow) -> tuple[Problem, ...]:
        """The problems, with the workflow's names in their messages."""
        return tuple(Problem(p.path, p.reason, _bind(p.message, workflow)) for p in self.problems)


@dataclass(frozen=True)
class _Look:
    """The part of a spec that rules and dashboard depend on; two specs that look the same are the same."""

    text: str
    spec: Spec = field(compare=False)


_LOOK: dict[str, Any] = {
    "suspend": True,
    "scrape": {"interval", "native_histograms"},
    "schedule": True,
    "maintenance": True,
    "slos": True,
    "alerts": True,
    "dashboard": {"mode"},
}


def template(workflow: Workflow, profile: Profile, options: Options) -> Template:
    """The template of a workflow's spec."""
    look = _Look(workflow.spec.model_dump_json(include=_LOOK), workflow.spec)
    # Expressions of a user's own name the real namespace, and are judged by it.
    owner = (workflow.namespace, workflow.name) if _has_own(workflow.spec) else (_NAMESPACE, _NAME)
    return _rendered(look, profile, options.runbook_url, options.grafana_url, *owner)


def _has_own(spec: Spec) -> bool:
    return bool(spec.alerts.extra) or any(objective.custom for objective in spec.slos)


@functools.lru_cache(maxsize=256)
def _rendered(
    look: _Look, profile: Profile, runbook_url: str, grafana_url: str, namespace: str, name: str
) -> Template:
    anybody = Workflow(namespace=namespace, name=name, spec=look.spec)
    options = Options(runbook_url=runbook_url, grafana_url=grafana_url)
    made = rules.render(anybody, profile, options)
    # Sorted: the order in which a user wrote labels changes no rule.
    revision = names.digest(orjson.dumps(made.groups, option=orjson.OPT_SORT_KEYS).decode(), 12)
    groups = [_info(anybody, profile, revision), *made.groups]
    return Template(
        groups=_dump(groups),
        dashboard=dashboard.render(anybody, profile, made.slos),
        problems=tuple(made.problems),
        warnings=tuple(made.warnings),
        slos=tuple(made.slos),
        revision=revision,
    )


def _info(workflow: Workflow, profile: Profile, revision: str) -> dict[str, Any]:
    every = duration.text(slo.evaluation_interval(duration.seconds(workflow.spec.scrape.interval)))
    labels = {**rule.identity(workflow), "profile": profile.name, "revision": revision}
    info = {"record": names.INFO, "expr": "vector(1)", "labels": labels}
    return rule.group(workflow, "info", every, [info])


def _dump(groups: Sequence[dict[str, Any]]) -> str:
    return orjson.dumps(groups).decode()


def _bind(text: str, workflow: Workflow) -> str:
    uid = names.dashboard_uid(workflow.namespace, workflow.name)
    bound = text.replace(_NAMESPACE, workflow.namespace).replace(_NAME, workflow.name)
    return bound.replace(_ANYBODY_UID, uid)
