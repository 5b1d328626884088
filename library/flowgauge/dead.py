"""The numbers of several processes as one, and what is left of those that died. Pure.

What was in progress when a process died will never end: it counts as failed, with the error `aborted`. The levels
that it added to a sum are gone with it.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable
from math import fsum
from operator import add
from typing import TYPE_CHECKING, Final

from flowgauge import cells
from flowgauge.bins import FAILED, OUTCOMES
from flowgauge.cell import BEGUN, COUNTS, ERRORS, LAST, OTHER, RESETS, STARTED, SUMS
from flowgauge.instruments.children import Found, merged
from flowgauge.slotfile import tuples

if TYPE_CHECKING:
    from flowgauge.slots import Description

    # A metric, or a scope of calls; and the label values of a series of it.
    Family = tuple[str, ...]
    Key = tuple[str, ...]

ABORTED: Final = "aborted"
_INFINITY: Final = float("inf")


class Sum:
    """Runs of slots that count the same, added up: exactly, whatever the order.

    Sums of floats depend on the order in which they are added, in their last bits. A counter that is less by one bit,
    because a process died and is added at another place, has begun anew for Prometheus, which then counts all of it
    once more.
    """

    def __init__(self) -> None:
        self._known: dict[Description, Found] = {}
        # Of each run, for each of the slots that are no whole numbers, what is to be added.
        self._terms: dict[Description, dict[int, list[float]]] = {}

    def add(self, found: Found) -> None:
        """Add a run; it may be changed afterwards.

        Raises:
            ValueError: it is not as its description says.

        """
        known = self._known.get(found.description)
        kind = found.description[0]
        if known is None:
            self._known[found.description] = found
            reals = _REALS.get(kind, ())
            self._terms[found.description] = {i: [found.values[i]] for i in reals}
            return
        if len(known.values) != len(found.values):
            raise ValueError(f"a run of {kind} has {len(found.values)} slots")
        for i, terms in self._terms[found.description].items():
            terms.append(found.values[i])
        if kind == "calls":
            _add_calls(known, found)
        elif kind == "meter":
            _add_meters(known.values, found.values)
        elif kind == "gauge":
            known.values[:] = merged(found.description[-1], [known.values, found.values])
        else:
            known.values[:] = map(add, known.values, found.values)

    def found(self) -> list[Found]:
        """The sums. A run whose sums are no floats is followed by runs of zeros with what is missing."""
        runs = []
        for description, found in self._known.items():
            runs.append(found)
            rests: list[Found] = []
            for i, terms in self._terms[description].items():
                if len(terms) > 1:
                    found.values[i], *rest = _exactly(terms)
                    while len(rests) < len(rest):
                        rests.append(Found(description, [0.0] * len(found.values), {}))
                    for part, missing in zip(rests, rest, strict=False):
                        part.values[i] = missing
            runs += rests
        return runs


# The slots that are no whole numbers.
_REALS: Final = {
    "calls": range(SUMS, BEGUN),
    "counter": (0,),
    "histogram": (0,),
    "summary": (0,),
    "number": (0,),
}


def _exactly(terms: list[float]) -> list[float]:
    """Floats, each smaller than the last bit of the one before, whose sum is exactly that of the terms."""
    rest = [*terms]
    parts: list[float] = []
    try:
        while part := fsum(rest):
            parts.append(part)
            rest.append(-part)
    except (OverflowError, ValueError):  # beyond what a float can hold
        return [sum(terms)]
    return parts or [0.0]


class Dead(Sum):
    """The numbers of all processes that died: as many label sets of a metric as one process may have.

    `buried` are the files whose numbers are in it, as far as they may still be there. `admitted` are the label sets
    that have a series of their own, of metrics that have too many for all processes together.
    """

    def __init__(self) -> None:
        super().__init__()
        self.buried: set[str] = set()
        self.admitted: dict[Family, frozenset[Key]] = {}
        self._keys: dict[Family, set[Key]] = {}

    @classmethod
    def parse(cls, raw: bytes, boot: str) -> Dead:
        """Read what `dump` made; nothing, if it is of another boot.

        Raises:
            ValueError: it was damaged.

        """
        dead = cls()
        try:
            data = json.loads(raw)
            if data["boot"] == boot:
                dead.buried = set(data["buried"])
                dead.admitted = {
                    tuples(family): frozenset(tuples(keys)) for family, keys in data["admitted"]
                }
                for description, values, errors in data["found"]:
                    dead.add(Found(tuples(description), values, errors))
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"it has not the expected form: {error!r}") from error
        return dead

    def dump(self, boot: str) -> str:
        """Everything as text."""
        admitted = [(family, sorted(keys)) for family, keys in self.admitted.items()]
        data = {
            "boot": boot,
            "buried": sorted(self.buried),
            "admitted": admitted,
            "found": self.found(),
        }
        return json.dumps(data, separators=(",", ":"))

    def add(self, found: Found) -> None:
        """Add a run; among the others, if its metric has too many label sets.

        Raises:
            ValueError: it is not as its description says.

        """
        family, key, limit = _label_set(found.description)
        if family:
            admitted, keys = self.admitted.get(family), self._keys.setdefault(family, set())
            if key not in (keys if admitted is None else admitted):
                if admitted is None and len(keys) < limit:
                    keys.add(key)
                else:
                    found = found._replace(description=_among_others(found.description))
        super().add(found)


def left(found: Found, died: float) -> Found | None:
    """What is left of a run of a process that was found dead then (`perf_counter`); the run is changed."""
    kind = found.description[0]
    if kind == "meter" or (kind == "gauge" and found.description[-1] == "sum"):
        return None
    if kind == "calls":
        _abort(found, died)
    return found


def _label_set(description: Description) -> tuple[Family, Key, int]:
    """What a run belongs to, its label values, and how many of them there may be; nothing for what has none."""
    if description[0] == "calls":
        return description[:2], description[1:6], cells.LIMIT
    if len(description) > 7:
        return ("metric", *description[1:3]), description[5], description[7]
    return (), (), 0


def _among_others(description: Description) -> Description:
    if description[0] == "calls":
        return ("calls", *cells.Key(*description[1:6]).others(), *description[6:])
    return (*description[:5], (OTHER,) * len(description[5]), *description[6:])


def _abort(found: Found, died: float) -> None:
    """Count what was in progress as failed."""
    values, bounds = found.values, found.description[-1]
    width = len(bounds) + 1
    begun = [moment for moment in values[BEGUN:ERRORS] if moment]
    cut_off = max(int(values[STARTED] - sum(values[COUNTS:])), 0)
    for i in range(min(cut_off, len(begun))):
        # When exactly it was cut off is not known; this is the most that it can be.
        elapsed = max(died - begun[i], 0.0)
        values[COUNTS + FAILED * width + bisect_left(bounds, elapsed)] += 1.0
        values[SUMS + FAILED] += elapsed
    # Of these not even the beginning is known.
    values[COUNTS + FAILED * width + width - 1] += max(cut_off - len(begun), 0)
    if cut_off:
        values[_slot(found, ABORTED)] += cut_off
        values[LAST + FAILED] = max(values[LAST + FAILED], died)
    values[BEGUN:ERRORS] = [0.0] * (ERRORS - BEGUN)


def _add_calls(known: Found, found: Found) -> None:
    values, more = known.values, found.values
    last = list(map(max, values[LAST:SUMS], more[LAST:SUMS]))
    # Who reads the sum wants the oldest.
    begun = sorted(filter(None, (*values[BEGUN:ERRORS], *more[BEGUN:ERRORS])))[: ERRORS - BEGUN]
    errors = values[ERRORS:COUNTS]
    resets = values[RESETS]
    values[:] = map(add, values, more)
    values[RESETS] = resets
    values[LAST:SUMS] = last
    values[BEGUN:ERRORS] = [*begun, *[0.0] * (ERRORS - BEGUN - len(begun))]
    if known.errors != found.errors:
        values[ERRORS:COUNTS] = errors
        names = {slot: name for name, slot in found.errors.items()}
        for slot in range(ERRORS, COUNTS):
            if more[slot]:
                values[_slot(known, names.get(slot, OTHER))] += more[slot]


def _add_meters(values: list[float], more: list[float]) -> None:
    """Add up rings: when the first event was, then for each place the second that it is of, and its count."""
    values[0] = min(filter(None, (values[0], more[0])), default=0.0)
    for i in range(1, len(values), 2):
        if more[i] == values[i]:
            values[i + 1] += more[i + 1]
        elif more[i] > values[i]:
            values[i : i + 2] = more[i : i + 2]


def _slot(found: Found, error: str) -> int:
    """The slot of a type of error; the last one for those that are too many."""
    slot = found.errors.get(error)
    if slot is None:
        taken = set(found.errors.values())
        free = next((i for i in range(ERRORS, COUNTS - 1) if i not in taken), None)
        if error == OTHER or free is None:
            return COUNTS - 1
        slot = found.errors[error] = free
    return slot


def named(runs: Iterable[tuple[Description, list[float]]]) -> list[Found]:
    """The runs of one process, with the names of their errors.

    Raises:
        ValueError: a run is not as its description says.

    """
    errors: dict[Key, dict[str, int]] = {}
    found: list[tuple[Description, list[float]]] = []
    for description, values in runs:
        if description[0] == "error":
            _, *key, error, slot = description
            errors.setdefault(tuple(key), {})[error] = slot
        else:
            found.append((description, values))
    named = [_named(description, values, errors) for description, values in found]
    calls: dict[Key, list[Found]] = {}
    for each in named:
        if each.description[0] == "calls":
            calls.setdefault(each.description[1:-1], []).append(each)
    for several in calls.values():
        if len(several) > 1:
            _balance(several)
    return named


def _balance(runs: list[Found]) -> None:
    """Have calls begin in the run of slots in which they ended, where they began in that of an earlier set-up."""
    active = [run.values[STARTED] - sum(run.values[COUNTS:]) for run in runs]
    for i, run in enumerate(runs):
        for k, other in enumerate(runs):
            moved = min(-active[i], active[k])
            if moved > 0:
                other.values[STARTED] -= moved
                run.values[STARTED] += moved
                active[k] -= moved
                active[i] += moved


def _named(
    description: Description, values: list[float], errors: dict[Key, dict[str, int]]
) -> Found:
    if description[0] != "calls":
        return Found(description, values, {})
    if len(values) != COUNTS + len(OUTCOMES) * (len(description[-1]) + 1):
        raise ValueError(f"a run of calls has {len(values)} slots")
    slots = dict(errors.get(description[1:-1], {}))
    # The name may be missing, where there was no room left for it.
    for slot in (
        set(range(ERRORS, COUNTS - 1)) - set(slots.values()) if any(values[ERRORS:COUNTS]) else ()
    ):
        values[COUNTS - 1] += values[slot]
        values[slot] = 0.0
    return Found(description, values, slots)
