"""The schema of a `WorkflowProfile`'s spec, generated from the records of the profile format. Pure; used by `crd`.

The API server checks the shape, so that a typing error is refused where it is made. What a shape cannot say (names,
units, expressions) is told by the condition `Accepted`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from flowgauge.profiles import ROLES, UNITS, ProfileSpec
from flowgauge.profiles.decode import key_of

# A profile is one object of at most 1.5 MB in etcd; these bounds are far above what the built-in ones use.
_NAME, _LINE, _TEXT = {"maxLength": 256}, {"maxLength": 1024}, {"maxLength": 4096}
_MANY = {"maxItems": 512}
_SOME = {"maxItems": 64}
_MAP = {"maxProperties": 32}
_PAIRS = {**_MAP, "additionalProperties": {"type": "string", **_NAME}}
_LISTS = {
    **_MAP,
    "additionalProperties": {"type": "array", **_SOME, "items": {"type": "string", **_NAME}},
}
_NAMES = {**_SOME, "items": {"type": "string", **_NAME}}
_DURATION = {"maxLength": 6, "pattern": "^(0|[1-9][0-9]{0,4})(s|m|h|d|w)$"}

# What each field means, and what its type does not say.
FIELDS: dict[str, tuple[str, dict[str, Any]]] = {
    "ProfileSpec.title": ("Name of the vocabulary for people.", _NAME),
    "ProfileSpec.description": ("One sentence that says whose vocabulary it is.", _TEXT),
    "ProfileSpec.extends": (
        "base: inherit rules and panels over roles. null: inherit nothing. Default: base.",
        {"maxLength": 16, "pattern": "^base$"},
    ),
    "ProfileSpec.scrape": ("Where pods serve their metrics when a workflow does not say it.", {}),
    "ProfileSpec.alert_prefix": ("Put before the names of alerts. Default: nothing.", _NAME),
    "ProfileSpec.families": ("The metrics of the vocabulary.", _MANY),
    "ProfileSpec.recordings": ("Recording rules over roles.", _MANY),
    "ProfileSpec.alerts": ("Alerts over roles.", _MANY),
    "ProfileSpec.slis": ("What objectives of success, latency and freshness count.", _SOME),
    "ProfileSpec.panels": ("Panels of the dashboard, over roles.", _MANY),
    "Scrape.port": (
        "Container port, by name or number. Default: metrics.",
        {"maxLength": 15},
    ),
    "Scrape.path": ("HTTP path of the metrics. Default: /metrics.", _LINE),
    "Family.name": (
        "Name as it stands in a scrape: with _total for counters, without _bucket, _count and _sum for histograms.",
        {"maxLength": 200, "pattern": "^[a-zA-Z_:][a-zA-Z0-9_:]*$"},
    ),
    "Family.role": ("What it means, from the closed list of roles.", {"enum": [*ROLES]}),
    "Family.type": (
        "Instrument: that of the role, or summary for a histogram's, gauge for a counter's or an info's.",
        {},
    ),
    "Family.help": ("What it counts or measures.", _LINE),
    "Family.unit": (
        "Unit of the values. Default: the role's base unit.",
        {"enum": [*UNITS, None]},
    ),
    "Family.labels": ("Semantic labels, each with this vocabulary's own label name.", _PAIRS),
    "Family.outcomes": ("Which values of the outcome label are good.", {}),
    "Family.values": (
        "Values of semantic labels that exist from the start, so that the first event is an increase.",
        _LISTS,
    ),
    "Family.where": ("Fixed matchers: the family is only this part of the metric.", _PAIRS),
    "Family.buckets": ("Bounds of a histogram, rising, in the family's own unit.", _SOME),
    "Family.cumulative": ("Whether a gauge only grows, and so plays a counter's role.", {}),
    "Family.required": ("Whether a workflow without series of it is not Healthy.", {}),
    "Outcomes.good": ("Values that are good. Every value that is not listed is bad.", _NAMES),
    "Outcomes.ignored": ("Values that do not count at all.", _NAMES),
    "Recording.record": (
        "Name of the recorded series, as level:metric:operation.",
        {"maxLength": 200, "pattern": "^[a-zA-Z_][a-zA-Z0-9_]*(:[a-zA-Z0-9_]+){2}$"},
    ),
    "Recording.expr": ("PromQL with macros over roles.", _TEXT),
    "Recording.help": ("What is recorded.", _LINE),
    "Recording.slow": ("Whether a fifth of the evaluations is enough.", {}),
    "Recording.needs": (
        "Only for workflows that have a spec.schedule, or an objective of freshness.",
        {},
    ),
    "Alert.name": (
        "Name of the alert in CamelCase, without the prefix.",
        {"maxLength": 100, "pattern": "^[A-Z][A-Za-z0-9]*$"},
    ),
    "Alert.expr": (
        "PromQL with macros over roles; $threshold stands for the threshold.",
        _TEXT,
    ),
    "Alert.severity": (
        "critical pages, warning makes a ticket, info is for the record.",
        {},
    ),
    "Alert.summary": ("One static line that names the state.", _LINE),
    "Alert.description": ("What it means, as a template of Prometheus.", _TEXT),
    "Alert.threshold": ("Default of the threshold, in the base unit.", {}),
    "Alert.unit": ("Unit of the threshold.", {"maxLength": 32}),
    "Alert.for_": ("Time for which the condition must hold. Default: 0s.", _DURATION),
    "Alert.outage": (
        "Part of the alert when a workflow is dead as a whole: cause, absence or effect. Default: none.",
        {},
    ),
    "Alert.replaces": ("Name of the inherited alert that this one takes the place of.", _NAME),
    "Sli.name": ("Kind of objective that it serves: success, latency or freshness.", _NAME),
    "Sli.description": ("What is counted.", _TEXT),
    "Sli.total": ("Rate of all events that count; $window is the rate window.", _TEXT),
    "Sli.bad": ("Rate of bad events; $window is the rate window.", _TEXT),
    "Query.expr": ("PromQL with macros over roles.", _TEXT),
    "Query.legend": ("Legend of the series; {{step}} names a semantic label.", _LINE),
    "Query.unit": ("Base unit of a column of a table. Default: the panel's.", _NAME),
    "Step.value": ("Value from which on the colour holds, in the panel's base unit.", {}),
    "Step.color": ("Colour, as Grafana names it.", {"maxLength": 32}),
    "Step.text": ("Shown in the place of the number, where values stand for states.", _NAME),
    "Panel.title": ("Title of the panel.", _NAME),
    "Panel.description": ("What to think of what one sees.", _TEXT),
    "Panel.type": ("Kind of the panel.", {}),
    "Panel.queries": ("Queries of the panel.", _SOME),
    "Panel.unit": ("Base unit: ratio, seconds, bytes, per_second, cost or none.", _NAME),
    "Panel.row": ("Row that it stands in. Default: Overview.", _NAME),
    "Panel.width": ("Width, of 24 columns. Default: 12.", {"minimum": 1, "maximum": 24}),
    "Panel.height": ("Height in rows of the grid. Default: 8.", {"minimum": 1, "maximum": 64}),
    "Panel.color": ("Colour below the first step. Default: green.", {"maxLength": 32}),
    "Panel.steps": ("From which value on which colour.", _SOME),
    "Panel.minimum": ("Lower end of the axis.", {}),
    "Panel.maximum": ("Upper end of the axis.", {}),
    "Panel.stack": ("Whether series are stacked.", {}),
    "Panel.empty": (
        "What it means that there is nothing to show, such as No failures. A panel without it always has data.",
        _NAME,
    ),
    "Panel.replaces": ("Title of the inherited panel that this one takes the place of.", _NAME),
}
_SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}


def spec() -> dict[str, Any]:
    """The structural OpenAPI v3 schema of `spec`; nothing has a default, so that an object stays as it was written."""
    return {"description": "The vocabulary.", **_record(ProfileSpec)}


def _record(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    properties, required = {}, []
    for field in dataclasses.fields(kind):
        description, beyond = FIELDS[f"{kind.__name__}.{field.name}"]
        key = key_of(field.name)
        properties[key] = {"description": description, **_schema(hints[field.name]), **beyond}
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            required.append(key)
    made: dict[str, Any] = {"type": "object", "properties": properties}
    return {**made, "required": required} if required else made


def _schema(kind: Any) -> dict[str, Any]:
    """The schema of one annotated type.

    Raises:
        KeyError: the format uses a type that is not expressed here yet.
    """
    if dataclasses.is_dataclass(kind):
        return _record(typing.cast("type", kind))
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return {"type": "string", "enum": [*args]}
    if origin in (typing.Union, types.UnionType):
        return _union(args)
    if origin is tuple:
        return {"type": "array", "items": _schema(args[0])}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _schema(args[1])}
    return {"type": _SCALARS[kind]}


def _union(members: tuple[Any, ...]) -> dict[str, Any]:
    plain = [member for member in members if member is not type(None)]
    if set(plain) == {str, int}:
        either = [{"type": "integer"}, {"type": "string"}]
        return {"x-kubernetes-int-or-string": True, "anyOf": either}
    (member,) = plain
    return {**_schema(member), "nullable": True}
