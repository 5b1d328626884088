"""What annotated pods ask for: a `MonitoredWorkflow`, and what is wrong with their annotations. Pure.

Values are read by the models of the CR, one after the other: a wrong one is told and left out, and the rest stands.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from flowgauge_operator import constraint, duration, model, names
from flowgauge_operator.model import SpecError
from flowgauge_operator.pods import Place, Said, Saying
from flowgauge_operator.render import Problem

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_PERCENT = r"\s*([0-9]+(?:\.[0-9]+)?)\s*%?\s*"
_SHARE = re.compile(_PERCENT)
_BOUND = re.compile(rf"{_PERCENT}<\s*([^\s<=]+)\s*")
_KEEP = r"^[1-9][0-9]{0,3}(s|m|h|d|w)$"
_BOOLEANS = {"true": True, "false": False}
_KIND = {"apiVersion": names.API_VERSION, "kind": names.KIND}

_P = f"{names.GROUP}/"
SUCCESS, LATENCY, FRESHNESS = f"{_P}slo-success", f"{_P}slo-latency", f"{_P}slo-freshness"
WINDOW = f"{_P}slo-window"
CRON, CRON_JOB = f"{_P}schedule", f"{_P}schedule-cron-job"
TIME_ZONE, DEADLINE = f"{_P}schedule-time-zone", f"{_P}schedule-deadline"
INTERMITTENT = f"{_P}intermittent"
PORTS = ("prometheus.io/port", names.POD_PORT)
PATHS = ("prometheus.io/path", names.PATH)
_SCHEME = "prometheus.io/scheme"
# What makes the workflow; port and path are each pod's own.
ASKING = (
    names.PROFILE,
    SUCCESS,
    LATENCY,
    FRESHNESS,
    WINDOW,
    CRON,
    CRON_JOB,
    TIME_ZONE,
    DEADLINE,
    INTERMITTENT,
    names.KEEP,
)
KNOWN = (names.WORKFLOW, *ASKING, names.POD_PORT, names.PATH)
# So many differences are told; more say nothing new.
_DIFFERENCES = 3
# So many annotations that nobody reads are told one by one: each of them is an Event.
_UNKNOWN = 5


@dataclass(frozen=True, slots=True)
class Keep:
    """For how long a workflow stays without a pod, in seconds: one whose pods run on, and one whose pods come and go."""

    steady: float
    intermittent: float


@dataclass(frozen=True, slots=True)
class Desired:
    """The workflow that pods ask for. `keep` is a duration, `pod` one of those whose word counts."""

    spec: Mapping[str, Any]
    keep: str
    pod: str
    problems: tuple[Problem, ...] = ()

    def manifest(self, place: Place) -> dict[str, Any]:
        """The object as it is applied."""
        digest = names.digest(
            orjson.dumps([self.spec, self.keep], option=orjson.OPT_SORT_KEYS).decode(), 20
        )
        return {
            **_KIND,
            "metadata": {
                "name": place.workflow,
                "namespace": place.namespace,
                "labels": {names.DISCOVERED: "true"},
                "annotations": {names.HASH: digest, names.KEEP: self.keep},
            },
            "spec": dict(self.spec),
        }


def released(place: Place, declared: Mapping[str, Any]) -> dict[str, Any]:
    """The object with nothing in it but what somebody declares: applied, it gives up what else we own."""
    return {
        **_KIND,
        "metadata": {"name": place.workflow, "namespace": place.namespace},
        **({"spec": dict(declared)} if declared else {}),
    }


def name_fault(text: str) -> str:
    """Why a text cannot be the name of a workflow; empty if it can."""
    if len(text) <= 63 and _NAME.fullmatch(text):
        return ""
    return (
        f"{_shown(text)} cannot be the name of a workflow; use at most 63 lower-case letters, digits, dashes and dots, such"
        " as orders"
    )


def desired(said: Mapping[Saying, Said], keep: Keep) -> Desired:
    """What at least one pod asks for; where they disagree, the newest template has its way."""
    winner = max(said, key=lambda saying: (said[saying].newest, saying.annotations))
    asked = dict(winner.annotations)
    reader = _Reader(asked, said[winner].pod)
    # Where only some pods come and go, there is one that stays.
    is_intermittent = all(saying.is_intermittent for saying in said)
    spec = reader.spec(is_intermittent=is_intermittent)
    is_intermittent = spec["scrape"].get("intermittent", False)
    usual = duration.text(keep.intermittent if is_intermittent else keep.steady)
    kept = reader.keep() or usual
    problems = (*reader.problems, *_differences(said, winner))
    return Desired(spec, kept, said[winner].pod, problems)


def unused(said: Mapping[Saying, Said], spec: Mapping[str, Any]) -> tuple[Problem, ...]:
    """What of the pods' annotations has no effect, since somebody made the workflow by hand."""
    is_annotated = (spec.get("scrape") or {}).get("mode") == "AnnotatedPods"
    for saying, pods in sorted(said.items(), key=lambda item: item[1].pod):
        idle = [
            key
            for key, _ in saying.annotations
            if key in (ASKING if is_annotated else (*KNOWN, *PORTS, *PATHS))
        ]
        if idle:
            message = (
                f"{', '.join(idle)} {'is' if len(idle) == 1 else 'are'} not used, since this MonitoredWorkflow was made by"
                " hand; say it in its spec, or delete it and pods are monitored by their annotations again"
            )
            return (Problem(f"annotations of pod {pods.pod}", "AnnotationsNotUsed", message),)
    return ()


def refused(pod: str, why: str) -> Problem:
    """What is to be said of a workflow whose change the API server refuses."""
    message = (
        f"the API server refuses the change that they ask for, so the spec stays as it was: {why}"
    )
    return Problem(f"annotations of pod {pod}", "ChangeRefused", message)


def left(gone_since: str, keep: str, usual: str, now: datetime) -> float | None:
    """The seconds that a workflow without a pod has left; None where it does not say since when.

    A time that is to come says nothing: it was a clock that was wrong, and the workflow would be kept for ever.
    """
    try:
        since = datetime.strptime(gone_since, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
    if since > now:
        return None
    try:
        kept = duration.seconds(keep)
    except ValueError:
        kept = duration.seconds(usual)
    return kept - (now - since).total_seconds()


class _Reader:
    """Reads the annotations of one pod."""

    def __init__(self, annotations: Mapping[str, str], pod: str) -> None:
        self._annotations = annotations
        self._pod = pod
        self.problems: list[Problem] = []

    def spec(self, *, is_intermittent: bool) -> dict[str, Any]:
        """The spec, without what is wrong."""
        spec: dict[str, Any] = {"scrape": {"mode": "AnnotatedPods"}}
        if self._intermittent(default=is_intermittent):
            spec["scrape"]["intermittent"] = True
        self._take(spec, names.PROFILE, lambda text: {"profile": text.strip()})
        window = self._window()
        for key, read in _OBJECTIVES.items():
            self._take(spec, key, lambda text, read=read: _with_slo(spec, read(text) | window))
        self._schedule(spec)
        self._check_target(spec)
        self._check_known()
        return spec

    def keep(self) -> str:
        """For how long the workflow is to stay without a pod; empty where that is not said."""
        text = self._annotations.get(names.KEEP, "").strip()
        if names.KEEP in self._annotations and not constraint.matches(_KEEP, text):
            self._refuse(
                names.KEEP, "must be a whole number with a unit of s, m, h, d or w, such as 30d"
            )
            return ""
        return text

    def _intermittent(self, *, default: bool) -> bool:
        if INTERMITTENT not in self._annotations:
            return default
        text = self._annotations[INTERMITTENT].strip()
        if text not in _BOOLEANS:
            self._refuse(INTERMITTENT, 'must be "true" or "false"')
        return _BOOLEANS.get(text, default)

    def _window(self) -> dict[str, str]:
        text = self._annotations.get(WINDOW)
        if text is None:
            return {}
        if not _OBJECTIVES.keys() & self._annotations.keys():
            self._refuse(WINDOW, f"is of no objective; add one, such as {SUCCESS}, or remove it")
            return {}
        probe = {"slos": [_success("99") | {"window": text.strip()}]}
        if fault := _fault({"scrape": {"mode": "AnnotatedPods"}, **probe}):
            self._refuse(WINDOW, fault)
            return {}
        return {"window": text.strip()}

    def _schedule(self, spec: dict[str, Any]) -> None:
        self._take(spec, CRON, lambda text: {"schedule": {"cron": text.strip()}})
        if CRON_JOB in self._annotations and "schedule" in spec:
            self._refuse(CRON_JOB, f"cannot be beside {CRON}; give one of the two")
        else:
            self._take(spec, CRON_JOB, lambda text: {"schedule": {"cronJob": text.strip()}})
        for key, field in ((TIME_ZONE, "timeZone"), (DEADLINE, "deadline")):
            if key in self._annotations and "schedule" not in spec:
                self._refuse(key, f"is of no schedule; add {CRON} or {CRON_JOB}, or remove it")
                continue
            self._take(
                spec,
                key,
                lambda text, field=field: {"schedule": {**spec["schedule"], field: text.strip()}},
            )

    def _check_target(self, spec: Mapping[str, Any]) -> None:
        """Tell of a port or path that Prometheus will pass over; what it reads it reads from the pod itself."""
        for keys, field in ((PORTS, "port"), (PATHS, "path")):
            for key in keys:
                text = self._annotations.get(key)
                if text is None:
                    continue
                value = int(text) if field == "port" and _is_number(text) else text
                if fault := _fault({"scrape": {**spec["scrape"], field: value}}):
                    self._refuse(key, fault)
        if self._annotations.get(_SCHEME, "http") != "http":
            message = (
                "annotated pods are scraped by http; for https make a MonitoredWorkflow by hand"
            )
            self._refuse(_SCHEME, message)

    def _check_known(self) -> None:
        unknown = [key for key in self._annotations if key.startswith(_P) and key not in KNOWN]
        for key in unknown[:_UNKNOWN]:
            message = f"is no annotation that is read; {_meant(key.removeprefix(_P))}"
            self.problems.append(Problem(self._path(key), "UnknownAnnotation", message))
        if len(unknown) > _UNKNOWN:
            message = f"more under {_P} are none that are read"
            where = f"annotations of pod {self._pod}"
            self.problems.append(Problem(where, "UnknownAnnotation", message))

    def _take(self, spec: dict[str, Any], key: str, read: Any) -> None:
        """Add to the spec what an annotation says, if it is there and makes sense."""
        text = self._annotations.get(key)
        if text is None:
            return
        try:
            piece = read(text)
        except ValueError as error:
            self._refuse(key, str(error))
            return
        if fault := _fault({**spec, **piece}):
            self._refuse(key, fault)
        else:
            spec.update(piece)

    def _refuse(self, key: str, why: str) -> None:
        message = f"{_shown(self._annotations.get(key, ''))} is not used: {why}"
        self.problems.append(Problem(self._path(key), "InvalidAnnotation", message))

    def _path(self, key: str) -> str:
        return f"annotation {_clipped(key)} of pod {self._pod}"


def _meant(name: str) -> str:
    known = [key.removeprefix(_P) for key in KNOWN]
    near = difflib.get_close_matches(name.lower(), known, 1)
    return f"did you mean {_P}{near[0]}?" if near else f"under {_P} are {', '.join(known)}"


def _with_slo(spec: Mapping[str, Any], slo: Mapping[str, Any]) -> dict[str, Any]:
    return {"slos": [*spec.get("slos", ()), slo]}


def _success(text: str) -> dict[str, Any]:
    found = _SHARE.fullmatch(text)
    if not found:
        raise ValueError("must be a percentage, such as 99.5")
    return {"name": "success", "objective": _objective(found[1]), "success": {}}


def _latency(text: str) -> dict[str, Any]:
    objective, bound = _bounded(text, "95% < 5m")
    return {"name": "latency", "objective": objective, "latency": {"threshold": bound}}


def _freshness(text: str) -> dict[str, Any]:
    objective, bound = _bounded(text, "99% < 2h")
    return {"name": "freshness", "objective": objective, "freshness": {"maxAge": bound}}


_OBJECTIVES = {SUCCESS: _success, LATENCY: _latency, FRESHNESS: _freshness}


def _bounded(text: str, example: str) -> tuple[float, str]:
    found = _BOUND.fullmatch(text)
    if not found:
        raise ValueError(f"must be a percentage, < and a duration, such as {example}")
    return _objective(found[1]), found[2]


def _objective(text: str) -> float:
    """A percentage as people write it: 95, not 95.0.

    Raises:
        ValueError: it is a share of one, as others write an objective; as a percentage it would ask for nothing.
    """
    number = float(text)
    if 0 < number <= 1:
        raise ValueError("must be a percentage above 1, such as 99.5 where others write 0.995")
    return int(number) if number.is_integer() else number


def _fault(spec: Mapping[str, Any]) -> str:
    """What the model says against a spec; empty if nothing."""
    try:
        model.parse({"metadata": {"name": "x"}, "spec": dict(spec)})
    except SpecError as error:
        return error.message
    return ""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9 and text == str(int(text))


def _differences(said: Mapping[Saying, Said], winner: Saying) -> Iterator[Problem]:
    """Where other pods ask for something else."""
    asked = dict(winner.annotations)
    others: Sequence[Saying] = sorted(
        (s for s in said if s is not winner), key=lambda s: said[s].pod
    )
    told = 0
    for key in ASKING:
        other = next((s for s in others if dict(s.annotations).get(key) != asked.get(key)), None)
        if other is None or told == _DIFFERENCES:
            continue
        told += 1
        message = (
            f"says {_say(dict(other.annotations).get(key))}, but pod {said[winner].pod} of the newest template says"
            f" {_say(asked.get(key))}, which counts; let all pods of the workflow say the same"
        )
        yield Problem(f"annotation {key} of pod {said[other].pod}", "PodsDisagree", message)


def _say(value: str | None) -> str:
    return "nothing" if value is None else _shown(value)


def _shown(value: str) -> str:
    """A value for people, short and without anything that could turn or break a line."""
    return ascii(_clipped(value)) if value else "the empty text"


def _clipped(text: str) -> str:
    return text if len(text) <= 64 else f"{text[:64]}…"
