"""Grafana's own types, out of the Foundation SDK, as a judge of dashboards.

The JSON schema is not part of the SDK's packages, so the typed classes stand in for it: `findings` walks a dashboard
beside their annotations and tells of keys that no class has, keys that are missing, types and enumerated values. What a
class does not type (options of transformations, say) is not judged.
"""

from __future__ import annotations

import enum
import functools
import inspect
import json
import re
import sys
import types
import typing
import warnings
from collections.abc import Iterator
from typing import Any

with warnings.catch_warnings():
    # It would rather have dashboards of schema v2, which Grafana 10 and 11 cannot read.
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.cog import plugins, runtime, variants
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models import dashboard, prometheus

plugins.register_default_plugins()

# What may be missing although the type wants it, by class and field.
MAY_BE_MISSING = {
    ("DashboardLink", "placement"): "newer than Grafana 10 to 12; above the panels is the default",
    ("AnnotationQuery", "placement"): "the same",
    ("VariableOption", "text"): "nothing is chosen until Grafana has asked the data source",
    ("VariableOption", "value"): "the same",
}
_READ = re.compile(r'if "(\w+)" in data:\s+args\["(\w+)"\]')
_MAPPINGS = {
    "value": dashboard.ValueMap,
    "range": dashboard.RangeMap,
    "regex": dashboard.RegexMap,
    "special": dashboard.SpecialValueMap,
}


def encoded_again(body: dict[str, Any]) -> dict[str, Any]:
    """The dashboard after a way through the SDK's classes."""
    again: dict[str, Any] = json.loads(
        json.dumps(dashboard.Dashboard.from_json(body), cls=JSONEncoder)
    )
    return again


def lost(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """What is in ours and not in theirs; what they add is theirs."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key in theirs:
                yield from lost(value, theirs[key], f"{path}.{key}")
            else:
                yield f"{path}.{key}"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from lost(one, other, f"{path}[{index}]")
    elif ours != theirs:
        yield path


def findings(body: dict[str, Any]) -> list[str]:
    """What the SDK's types say against a dashboard."""
    return [*_object(body, dashboard.Dashboard, "")]


def _object(value: Any, kind: type, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is no {kind.__name__}"
        return
    fields = _fields(kind)
    for key, below in value.items():
        if key not in fields:
            yield f"{path}.{key}: {kind.__name__} has no such field"
        elif kind is dashboard.Panel and key in ("options", "fieldConfig", "targets"):
            yield from _of_panel(key, below, value, f"{path}.{key}")
        else:
            yield from _value(below, fields[key], f"{path}.{key}")
    for key, hint in fields.items():
        if key not in value and not _may_be_missing(kind, key, hint):
            yield f"{path}.{key}: is missing"


def _may_be_missing(kind: type, key: str, hint: Any) -> bool:
    # A panel's own options have defaults in its plugin, which the types do not know.
    of_plugin = kind.__module__ not in (dashboard.__name__, prometheus.__name__)
    return of_plugin or _is_optional(hint) or (kind.__name__, key) in MAY_BE_MISSING


def _of_panel(key: str, value: Any, panel: dict[str, Any], path: str) -> Iterator[str]:
    """What depends on the type of a panel, or on its data source."""
    config = runtime.panelcfg_config(panel["type"])
    if key == "targets":
        for index, target in enumerate(value):
            name = (target.get("datasource") or panel["datasource"])["type"]
            reader = runtime.Runtime().dataquery_variants[name].from_json_hook
            yield from _object(target, reader.__self__, f"{path}[{index}]")
    elif config is None:
        yield f"{path}: no type of panel is called {panel['type']}"
    elif key == "options":
        yield from _object(value, config.options_from_json_hook.__self__, path)
    else:
        yield from _object(value, dashboard.FieldConfigSource, path)
        custom = value.get("defaults", {}).get("custom")
        if custom is not None and config.field_config_from_json_hook:
            yield from _object(
                custom, config.field_config_from_json_hook.__self__, f"{path}.custom"
            )


def _value(value: Any, hint: Any, path: str) -> Iterator[str]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        yield from _any(value, arguments, path)
    elif origin is list:
        yield from _list(value, arguments[0], path)
    elif origin is dict:
        yield from _dict(value, arguments[1], path)
    elif origin is typing.Literal:
        if value not in arguments:
            yield f"{path}: {value!r} is none of {', '.join(map(str, arguments))}"
    elif hint in (object, Any, variants.Dataquery):
        return
    elif hint in (str, bool, int, float, type(None)):
        yield from _plain(value, hint, path)
    elif issubclass(hint, enum.Enum):
        if value not in [member.value for member in hint]:
            yield f"{path}: {value!r} is no {hint.__name__}"
    else:
        yield from _object(value, hint, path)


def _any(value: Any, hints: tuple[Any, ...], path: str) -> Iterator[str]:
    """The fewest findings of any of the alternatives; what says its type itself has but one."""
    if value is None and type(None) in hints:
        return
    named = value.get("type") if isinstance(value, dict) else None
    if dashboard.RowPanel in hints:
        hints = (dashboard.RowPanel if named == "row" else dashboard.Panel,)
    elif dashboard.ValueMap in hints and named in _MAPPINGS:
        hints = (_MAPPINGS[named],)
    judged = [[*_value(value, hint, path)] for hint in hints if hint is not type(None)]
    yield from min(judged, key=len)


def _list(value: Any, hint: Any, path: str) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{path}: {value!r} is no list"
        return
    for index, member in enumerate(value):
        yield from _value(member, hint, f"{path}[{index}]")


def _dict(value: Any, hint: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is no mapping"
        return
    for key, member in value.items():
        yield from _value(member, hint, f"{path}.{key}")


def _plain(value: Any, hint: type, path: str) -> Iterator[str]:
    # To Python, a truth value is a number.
    fits = isinstance(value, (int, float) if hint is float else hint)
    if not fits or (isinstance(value, bool) and hint is not bool):
        yield f"{path}: {value!r} is no {hint.__name__}"


def _is_optional(hint: Any) -> bool:
    return type(None) in typing.get_args(hint) or hint is object


@functools.cache
def _fields(kind: type) -> dict[str, Any]:
    """The JSON names of a class's fields, with their types."""
    hints: dict[str, Any] = {}
    for each in reversed(kind.__mro__):
        module = vars(sys.modules[each.__module__])
        for attribute, hint in vars(each).get("__annotations__", {}).items():
            hints[attribute] = _resolved(hint, module)
    named = {attribute: key for key, attribute in _READ.findall(inspect.getsource(kind.from_json))}
    return {named.get(attribute, _camel(attribute)): hint for attribute, hint in hints.items()}


def _resolved(hint: Any, module: dict[str, Any]) -> Any:
    """The hint with real classes in the place of names."""
    carrier = type("carrier", (), {"__annotations__": {"it": hint}})
    return typing.get_type_hints(carrier, globalns=module)["it"]


def _camel(attribute: str) -> str:
    first, *rest = attribute.removesuffix("_val").split("_")
    return first + "".join(word.capitalize() for word in rest)
