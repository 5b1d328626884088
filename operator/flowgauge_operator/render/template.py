"""Rules and dashboard, rendered once for all workflows that differ by name only. Pure: a memo of values.

A thousand workflows of one kind have the same rules but for two names. They are rendered with tokens in their place, and
each workflow's names are put in afterwards. That is safe because a name is a DNS name: no character of it means anything
in JSON or PromQL; and because no name can hold a token, whose first character is none that DNS knows.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from flowgauge.profiles import Profile
from flowgauge_operator import duration, names, slo
from flowgauge_operator.model import Spec, Workflow
from flowgauge_operator.render import rule, rules
from flowgauge_operator.render.dashboards import workflow as dashboard
from flowgauge_operator.render.options import Options, Problem, SloView

_NAMESPACE, _NAME = "\ue000namespace\ue000", "\ue000name\ue000"
_SPEC = "\ue000spec\ue000"
# What is made of names, and so has to be made anew with the real ones.
_UIDS = (
    (names.dashboard_uid(_NAMESPACE, _NAME), names.dashboard_uid),
    (names.fleet_uid(_NAMESPACE), lambda namespace, _: names.fleet_uid(namespace)),
    (names.objectives_uid(_NAMESPACE), lambda namespace, _: names.objectives_uid(namespace)),
)


@dataclass(frozen=True)
class Template:
    """What a spec looks like for anybody; `groups` and `dashboard` are JSON, split at what has to be bound."""

    groups: tuple[str, ...]
    dashboard: tuple[str, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    slos: tuple[SloView, ...]
    revision: str

    def bound_groups(self, workflow: Workflow) -> list[dict[str, Any]]:
        """The rule groups of one workflow."""
        # Sorted, since the API server keeps no order either.
        spec = orjson.dumps(workflow.spec.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
        bound = _bound(self.groups, workflow, names.digest(spec.decode(), 12))
        groups: list[dict[str, Any]] = orjson.loads(bound)
        return groups

    def bound_dashboard(self, workflow: Workflow) -> str:
        """The dashboard of one workflow, as JSON."""
        return _bound(self.dashboard, workflow)

    def bound_problems(self, workflow: Workflow) -> tuple[Problem, ...]:
        """The problems, with the workflow's names in their messages."""
        return tuple(
            Problem(p.path, p.reason, _bound(_split(p.message), workflow)) for p in self.problems
        )


@dataclass(frozen=True)
class _Look:
    """The part of a spec that rules and dashboard depend on; two specs that look the same are the same."""

    text: str
    spec: Spec = field(compare=False)


_LOOK: dict[str, Any] = {
    "suspend": True,
    "scrape": {"interval", "native_histograms", "mode", "intermittent"},
    "schedule": True,
    "maintenance": True,
    "slos": True,
    "alerts": True,
    "dashboard": {"mode", "panels"},
}


def template(workflow: Workflow, profile: Profile, options: Options) -> Template:
    """The template of a workflow's spec."""
    look = _Look(workflow.spec.model_dump_json(include=_LOOK), workflow.spec)
    # Expressions of a user's own name the real namespace, and are judged by it.
    owner = (workflow.namespace, workflow.name) if _has_own(workflow.spec) else (_NAMESPACE, _NAME)
    urls = (options.runbook_url, options.grafana_url, options.logs_url, options.traces_url)
    return _rendered(look, profile, urls, options.namespace_dashboards, *owner)


def _has_own(spec: Spec) -> bool:
    return bool(
        spec.alerts.extra
        or spec.dashboard.panels.add
        or any(objective.custom for objective in spec.slos)
    )


@functools.lru_cache(maxsize=256)
def _rendered(
    look: _Look,
    profile: Profile,
    urls: tuple[str, str, str, str],
    namespace_dashboards: bool,
    namespace: str,
    name: str,
) -> Template:
    anybody = Workflow(namespace=namespace, name=name, spec=look.spec)
    runbook_url, grafana_url, logs_url, traces_url = urls
    options = Options(
        runbook_url=runbook_url,
        grafana_url=grafana_url,
        logs_url=logs_url,
        traces_url=traces_url,
        namespace_dashboards=namespace_dashboards,
    )
    made = rules.render(anybody, profile, options)
    # Sorted: the order in which a user wrote labels changes no rule.
    revision = names.digest(orjson.dumps(made.groups, option=orjson.OPT_SORT_KEYS).decode(), 12)
    groups = [_info(anybody, profile, revision), *made.groups]
    drawn = dashboard.render(anybody, made.scope, made.slos, options)
    return Template(
        groups=_split(_dump(groups)),
        dashboard=_split(drawn.text),
        problems=(*made.problems, *drawn.problems),
        warnings=(*made.warnings, *drawn.warnings),
        slos=tuple(made.slos),
        revision=revision,
    )


def _info(workflow: Workflow, profile: Profile, revision: str) -> dict[str, Any]:
    every = duration.text(slo.evaluation_interval(duration.seconds(workflow.spec.scrape.interval)))
    labels = {
        **rule.identity(workflow),
        "profile": profile.name,
        "revision": revision,
        "spec": _SPEC,
        "dashboard": names.dashboard_uid(workflow.namespace, workflow.name),
    }
    info = {"record": names.INFO, "expr": "vector(1)", "labels": labels}
    return rule.group(workflow, "info", every, [info])


def _dump(groups: Sequence[dict[str, Any]]) -> str:
    return orjson.dumps(groups).decode()


_BOUND = re.compile("(" + "|".join((_NAMESPACE, _NAME, _SPEC, *(uid for uid, _ in _UIDS))) + ")")


def _split(text: str) -> tuple[str, ...]:
    """The text in pieces; every second one is to be bound. Once, since it is ten times as dear as binding."""
    return tuple(_BOUND.split(text))


def _bound(pieces: Sequence[str], workflow: Workflow, spec: str = "") -> str:
    values = {_NAMESPACE: workflow.namespace, _NAME: workflow.name, _SPEC: spec}
    values |= {uid: made(workflow.namespace, workflow.name) for uid, made in _UIDS}
    bound = [*pieces]
    bound[1::2] = map(values.__getitem__, pieces[1::2])
    return "".join(bound)
