"""What a pod exposes: roles in the names of a profile, as series with the numbers that they show now. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from flowgauge.profiles import ROLES, Family, Profile
from scenes.telling import ADDED, Happening, kind_of

Labels = tuple[tuple[str, str], ...]
Key = tuple[str, Labels]
# Of these, several label sets that are one series here are added; of others the greatest is told.
_SUMMED = (
    "run.recent",
    "queue.consumers",
    "worker.slots_used",
    "worker.slots_free",
    "worker.slots_total",
)


@dataclass
class Page:
    """Series of one pod. `domain` has the values of labels that are there from the start."""

    profile: Profile
    domain: Mapping[str, tuple[str, ...]]
    values: dict[Key, float] = field(default_factory=dict)
    _parts: dict[str, list[_Part]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        eager = bool(self.profile.by_role("library.info"))
        counted = {f.name for f in self.profile.families if f.role == "run.succeeded"}
        observed = {f"{f.name}_count" for f in self.profile.families if f.type == "histogram"}
        for family in self.profile.families:
            if family.name in observed:
                continue  # the histogram counts it
            part = _Part(family, self.values, good_only=f"{family.name}_count" in counted)
            self._parts.setdefault(family.role, []).append(part)
            if family.type == "info":
                self.values[(family.name, tuple((n, "1.0.0") for n in family.labels.values()))] = 1
            elif eager:
                part.begin(self.domain)

    def take(self, one: Happening) -> None:
        """Let something happen."""
        for part in self._part(one):
            part.take(one.labels, one.amount, added=one.role in ADDED)

    def show(self, readings: Iterable[tuple[str, tuple[str, ...], float]]) -> None:
        """Let gauges have values: role, labels in its order, value."""
        shown: dict[Key, float] = {}
        for role, labels, value in readings:
            for part in self._parts.get(role, ()):
                if part.tells(labels):
                    key, own = part.key(labels), value / float(part.family.factor)
                    before = shown.get(key, 0)
                    shown[key] = before + own if role in _SUMMED else max(before, own)
        self.values |= shown

    def _part(self, one: Happening) -> Iterable[_Part]:
        parts = self._parts.get(one.role, [])
        # Several parts of one metric, told apart by fixed labels: most is in the first.
        if len(parts) > 1 and all(part.family.where for part in parts):
            return parts[-1:] if int(one.at) % 7 == 0 else parts[:1]
        return parts


@dataclass
class _Part:
    """One family of the page."""

    family: Family
    values: dict[Key, float]
    good_only: bool = False
    _known: dict[tuple[str, ...], Callable[[float], None]] = field(default_factory=dict)
    _keys: dict[tuple[str, ...], Key] = field(default_factory=dict)

    def begin(self, domain: Mapping[str, tuple[str, ...]]) -> None:
        """All series that there can be, at zero, but for those whose labels are only known when they come."""
        named, meanings = self._meanings(), ROLES[self.family.role].labels
        # A workflow has one kind.
        if "workflow" in named:
            named -= {"kind"}
        if named <= domain.keys():
            known = [domain[n] if n in named else ("",) for n in meanings]
            for labels in itertools.product(*known):
                self._sink(tuple(map(_with_kind, meanings, labels, itertools.repeat(labels[:1]))))

    def take(self, labels: tuple[str, ...], amount: float, *, added: bool) -> None:
        amount /= float(self.family.factor)
        if self.good_only and "bad" in labels:
            return
        if self.family.type in ("histogram", "summary"):
            self._sink(labels)(amount)
            return
        key = self.key(labels)
        grows = added or self.family.type == "counter" or self.family.cumulative
        self.values[key] = max(0, self.values.get(key, 0) + amount) if grows else amount

    def tells(self, labels: tuple[str, ...]) -> bool:
        """Whether it has those that run as well: one without outcomes counts what has ended."""
        return "running" not in labels or "outcome" in self.family.labels

    def _meanings(self) -> set[str]:
        return set(self.family.labels) - set(self.family.where)

    def key(self, labels: tuple[str, ...]) -> Key:
        """The series of a label set, whose values are in the order of the role's labels."""
        if labels not in self._keys:
            self._keys[labels] = self._named(labels)
        return self._keys[labels]

    def _named(self, labels: tuple[str, ...]) -> Key:
        meanings = ROLES[self.family.role].labels
        named = {
            self.family.labels[meaning]: self._text(meaning, value)
            for meaning, value in zip(meanings, labels, strict=True)
            if meaning in self.family.labels
        }
        return self.family.name, tuple(sorted((named | dict(self.family.where)).items()))

    def _text(self, meaning: str, value: str) -> str:
        return outcome(self.family, value) if meaning == "outcome" else value

    def _sink(self, labels: tuple[str, ...]) -> Callable[[float], None]:
        """How a label set observes; its series are there from now on."""
        if labels not in self._known:
            name, own = self.key(labels)
            if self.family.type in ("histogram", "summary"):
                self._known[labels] = self._histogram(name, own)
            else:
                self.values.setdefault((name, own), 0)
                self._known[labels] = lambda _: None
        return self._known[labels]

    def _histogram(self, name: str, own: Labels) -> Callable[[float], None]:
        bounds = [*self.family.buckets, float("inf")]
        keys = [(f"{name}_bucket", (*own, ("le", _bound(bound)))) for bound in bounds]
        total, count = (f"{name}_sum", own), (f"{name}_count", own)
        for key in (*keys, total, count):
            self.values.setdefault(key, 0)

        def observe(amount: float) -> None:
            self.values[total] += amount
            self.values[count] += 1
            for bound, key in zip(bounds, keys, strict=True):
                if amount <= bound:
                    self.values[key] += 1

        return observe


def _with_kind(meaning: str, value: str, workflow: tuple[str, ...]) -> str:
    return kind_of(*workflow) if meaning == "kind" and not value else value


def _bound(bound: float) -> str:
    return "+Inf" if bound == float("inf") else repr(float(bound))


def outcome(family: Family, value: str) -> str:
    """The word of a vocabulary for a good, a bad or a running one."""
    good = family.outcomes.good if family.outcomes else ("success",)
    ignored = family.outcomes.ignored if family.outcomes else ()
    listed = family.values.get("outcome", ())
    bad = next((v for v in listed if v not in (*good, *ignored)), "failed")
    word = {"good": good[0], "bad": bad, "running": "running"}[value]
    return word.capitalize() if good[0][0].isupper() else word
