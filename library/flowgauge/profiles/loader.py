"""Read profiles: the built-in ones by name, a user's from text. The only file of this package that opens files."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from importlib import resources
from typing import Any

import yaml

from flowgauge.profiles import panels
from flowgauge.profiles.decode import Decoder, ProfileError
from flowgauge.profiles.roles import LABELS, ROLES, UNITS
from flowgauge.profiles.strict import StrictLoader
from flowgauge.profiles.types import Alert, Family, Profile, ProfileSpec

API_VERSION = "flowgauge.dev/v1alpha1"
KIND = "WorkflowProfile"
DEFAULT = "workflow"

_BASE = "base"
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,199}")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,62}")
_ALERT = re.compile(r"[A-Z][A-Za-z0-9]{0,99}")
_RECORD = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*(:[a-zA-Z0-9_]+){2}")
_DURATION = re.compile(r"(0|[1-9][0-9]{0,4})(s|m|h|d|w)")
_RESERVED = ("monitored_workflow", "namespace", "job", "instance", "le", "quantile")
# What a family may be exposed as, beyond its role's own instrument.
_ALLOWED = {
    "histogram": ("summary",),
    "counter": ("gauge",),
    "gauge": (),
    "summary": (),
    "info": ("gauge",),
}


@functools.cache
def names() -> tuple[str, ...]:
    """The names of the built-in profiles, sorted."""
    files = (
        entry.name for entry in resources.files("flowgauge.profiles").joinpath("builtin").iterdir()
    )
    return tuple(
        sorted(name[:-5] for name in files if name.endswith(".yaml") and name != f"{_BASE}.yaml")
    )


@functools.cache
def builtin(name: str) -> Profile:
    """The built-in profile `name`.

    Raises:
        ProfileError: there is none; the message lists those that exist.
    """
    if name != _BASE and name not in names():
        raise ProfileError(
            f"profile {name!r}", "", f"does not exist; built in are {', '.join(names())}"
        )
    file = resources.files("flowgauge.profiles").joinpath("builtin", f"{name}.yaml")
    return parse(file.read_text(encoding="utf-8"), source=f"{name}.yaml")


def parse(text: str, *, source: str) -> Profile:
    """The profile in one YAML document; `source` names it in errors.

    Raises:
        ProfileError: the text is no YAML or no profile; the message names path and remedy.
    """
    try:
        data = yaml.load(text, Loader=StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise ProfileError(
            source, "", f"is not valid YAML: {' '.join(str(error).split())}"
        ) from error
    except RecursionError as error:
        raise ProfileError(source, "", "is nested too deeply; no profile is") from error
    return from_object(data, source=source)


def from_object(data: Any, *, source: str) -> Profile:
    """The profile in a decoded document with apiVersion, kind, metadata and spec.

    Raises:
        ProfileError: the document is no profile; the message names path and remedy.
    """
    decoder = Decoder(source)
    if not isinstance(data, dict):
        decoder.fail("", "must be a mapping with apiVersion, kind, metadata and spec")
    for key, expected in (("apiVersion", API_VERSION), ("kind", KIND)):
        if data.get(key) != expected:
            decoder.fail(key, f"is {data.get(key)!r}, must be {expected!r}")
    metadata = data.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        decoder.fail("metadata.name", "is missing; give the profile a name")
    spec: ProfileSpec = decoder.decode(ProfileSpec, data.get("spec", {}), "spec")
    # Before the base is merged in: afterwards what stands twice is lost, and positions are those of nobody's file.
    _check(spec, decoder)
    return _assemble(metadata["name"], spec, decoder)


def _assemble(name: str, spec: ProfileSpec, decoder: Decoder) -> Profile:
    if spec.extends not in (None, _BASE):
        decoder.fail("spec.extends", f"is {spec.extends!r}, must be {_BASE!r} or null")
    base = builtin(_BASE) if spec.extends and name != _BASE else None
    return Profile(
        name=name,
        title=spec.title,
        description=spec.description,
        scrape=spec.scrape,
        alert_prefix=spec.alert_prefix,
        families=spec.families,
        recordings=_merged(base, spec.recordings, "recordings", "record", decoder),
        alerts=_merged(base, spec.alerts, "alerts", "name", decoder),
        slis=_merged(base, spec.slis, "slis", "name", decoder),
        panels=_merged(base, spec.panels, "panels", "title", decoder),
    )


def _merged(
    base: Profile | None, own: tuple[Any, ...], kind: str, key: str, decoder: Decoder
) -> tuple[Any, ...]:
    """What is inherited, with a profile's own entries in the places of those that they replace."""
    inherited = {getattr(item, key): item for item in getattr(base, kind, ())}
    # An entry stands where the one stood that it takes the place of: the order of panels is that of triage.
    places: dict[str, Any] = {}
    for i, item in enumerate(own):
        replaced = getattr(item, "replaces", "")
        if replaced and replaced not in inherited:
            known = ", ".join(inherited) or "none"
            message = f"is {replaced!r}, which is not inherited; inherited are {known}"
            decoder.fail(f"spec.{kind}[{i}].replaces", message)
        if places.setdefault(replaced or getattr(item, key), item) is not item:
            decoder.fail(f"spec.{kind}[{i}]", "takes a place that is taken; remove one of the two")
    named = {getattr(item, key) for item in own}
    merged = [
        places.pop(name, item)
        for name, item in inherited.items()
        if name in places or name not in named
    ]
    return (*merged, *places.values())


def _check(profile: ProfileSpec, decoder: Decoder) -> None:
    for kind, key in (
        ("families", ("name", "role")),
        ("recordings", ("record",)),
        ("alerts", ("name",)),
        ("slis", ("name",)),
        ("panels", ("title",)),
    ):
        _check_unique(getattr(profile, kind), key, f"spec.{kind}", decoder)
    for i, family in enumerate(profile.families):
        _check_family(family, f"spec.families[{i}]", decoder)
    _check_shared(profile.families, decoder)
    for i, recording in enumerate(profile.recordings):
        if not _RECORD.fullmatch(recording.record):
            decoder.fail(
                f"spec.recordings[{i}].record",
                f"is {recording.record!r}, must look like level:metric:operation",
            )
    for i, alert in enumerate(profile.alerts):
        _check_alert(alert, f"spec.alerts[{i}]", decoder)
    for i, panel in enumerate(profile.panels):
        panels.check(panel, f"spec.panels[{i}]", decoder)
    if profile.alert_prefix and not _ALERT.fullmatch(profile.alert_prefix):
        decoder.fail("spec.alertPrefix", "must be letters and digits that begin with a capital")


def _check_unique(items: Iterable[Any], keys: tuple[str, ...], path: str, decoder: Decoder) -> None:
    seen: set[Any] = set()
    for i, item in enumerate(items):
        key = tuple(getattr(item, k) for k in keys)
        if isinstance(item, Family):
            key = (*key, *sorted(item.where.items()))
        if key in seen:
            decoder.fail(
                f"{path}[{i}]", f"repeats {' '.join(map(str, key))}; remove one of the two"
            )
        seen.add(key)


def _check_family(family: Family, path: str, decoder: Decoder) -> None:
    role = ROLES.get(family.role)
    if role is None:
        decoder.fail(
            f"{path}.role",
            f"is {family.role!r}, which is no role; see the list of roles in the documentation",
        )
    if not _METRIC.fullmatch(family.name):
        decoder.fail(f"{path}.name", f"is {family.name!r}, which is no metric name")
    if family.type != role.instrument and family.type not in _ALLOWED[role.instrument]:
        decoder.fail(f"{path}.type", f"is {family.type}, but {family.role} is a {role.instrument}")
    if role.instrument == "counter" and family.type == "gauge" and not family.cumulative:
        decoder.fail(
            f"{path}.cumulative",
            "must be true for a gauge that plays a counter's role: it must only grow",
        )
    _check_unit(family, role.unit, path, decoder)
    _check_labels(family, path, decoder)
    if family.buckets and list(family.buckets) != sorted(set(family.buckets)):
        decoder.fail(f"{path}.buckets", "must rise, each value once")
    if family.buckets and family.type != "histogram":
        decoder.fail(f"{path}.buckets", f"is for histograms, but {family.name} is a {family.type}")


def _check_shared(families: Iterable[Family], decoder: Decoder) -> None:
    """Families of one name are parts of one metric, which has one type and one help in a scrape."""
    first: dict[str, tuple[int, Family]] = {}
    for i, family in enumerate(families):
        j, other = first.setdefault(family.name, (i, family))
        for field in ("type", "help"):
            mine, its = getattr(family, field), getattr(other, field)
            if mine != its:
                decoder.fail(
                    f"spec.families[{i}].{field}",
                    f"is {mine!r}, but {family.name} has {its!r} in spec.families[{j}]; make them equal",
                )


def _check_unit(family: Family, base: str, path: str, decoder: Decoder) -> None:
    unit = base if family.unit is None else family.unit
    if unit not in UNITS:
        decoder.fail(
            f"{path}.unit", f"is {unit!r}, must be one of {', '.join(filter(None, UNITS))}"
        )
    if UNITS[unit][0] != base:
        fitting = [name for name, (of, _) in UNITS.items() if of == base and name]
        decoder.fail(
            f"{path}.unit", f"is {unit}, but {family.role} takes {', '.join(fitting) or 'no unit'}"
        )


def _check_labels(family: Family, path: str, decoder: Decoder) -> None:
    for semantic, label in family.labels.items():
        if semantic not in LABELS:
            decoder.fail(f"{path}.labels", f"has {semantic!r}, must be one of {', '.join(LABELS)}")
        if not _LABEL.fullmatch(label) or label.startswith("__") or label in _RESERVED:
            decoder.fail(
                f"{path}.labels.{semantic}", f"is {label!r}, which is reserved or no label name"
            )
    for label in family.where:
        if not _LABEL.fullmatch(label):
            decoder.fail(f"{path}.where", f"has {label!r}, which is no label name")
    if ("outcome" in family.labels) != (family.outcomes is not None):
        decoder.fail(f"{path}.outcomes", "and labels.outcome belong together: give both or none")
    for semantic in family.values:
        if semantic not in family.labels:
            decoder.fail(
                f"{path}.values.{semantic}", "has values for a label that the family does not have"
            )


def _check_alert(alert: Alert, path: str, decoder: Decoder) -> None:
    if not _ALERT.fullmatch(alert.name):
        decoder.fail(
            f"{path}.name",
            f"is {alert.name!r}, must be letters and digits that begin with a capital",
        )
    if not _DURATION.fullmatch(alert.for_):
        decoder.fail(f"{path}.for", f"is {alert.for_!r}, must be a duration such as 5m")
    if ("$threshold" in alert.expr) != (alert.threshold is not None):
        decoder.fail(
            f"{path}.threshold", "and $threshold in expr belong together: give both or none"
        )
