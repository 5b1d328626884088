"""Record by hand what no decorator sees: restores, leases, queues, messages, cost. By role, in base units.

    records.observe("restore.duration", 0.25, workflow="orders")
    records.count("cost.total", 0.02, workflow="orders", category="llm")
    records.set("queue.depth", 17, queue="inbox")

The profile names them; a vocabulary without the role does not show it. A role or label that does not exist is
logged, rarely, and nothing is recorded; nothing is ever raised.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Final, Literal

from flowgauge import cells, forks, guard, slots
from flowgauge.bins import FAILED, GRID, WORDS
from flowgauge.cell import OTHER, Cell
from flowgauge.instruments import Counter, Declared, Gauge, Histogram, MetricsCollector
from flowgauge.instruments.children import CounterChild
from flowgauge.instruments.instrument import C, Instrument, Merge
from flowgauge.metrics import MetricFamily
from flowgauge.profiles.roles import ROLES

if TYPE_CHECKING:
    from flowgauge.bins import Bounds
    from flowgauge.slots import Values

Outcome = Literal["good", "failed", "cancelled", "skipped"]

# What the library or Prometheus tells: a value that was recorded would be seen nowhere.
_TOLD: Final = frozenset(
    {"message.rate", "series.dropped", "library.info", "target.up", "process.cpu", "process.memory"}
)
# Seconds over which a rate of messages is told.
WINDOW: Final = 10
# Triggers of runs in progress that are remembered, of each workflow.
BEGUN_LIMIT: Final = 1000
# Roles whose values of several processes are not added.
_MERGES: Final[dict[str, Merge]] = {"timestamp": "max", "ratio": "min"}

# Bounds until a profile is chosen: durations of the grid, and larger numbers such as counts of events and bytes.
_UNBOUND: Final = tuple(
    sorted({*GRID, *(float(f"{d}e{e}") for d in (1, 2, 2.5, 5) for e in range(6, 13))})
)

_collector = MetricsCollector(space="roles")
_bounds: dict[str, Bounds] = {}
# Triggers of runs that began, by workflow and kind: who tells of an end does not tell the trigger again.
_begun: dict[tuple[str, str], deque[str]] = {}
_SHARED: Final = (OTHER, OTHER)


def count(role: str, amount: float = 1.0, **labels: object) -> None:
    """Add to a counter; `labels` are semantic, those that are left out are empty."""
    if role == "message.published":
        _guarded(lambda: _meter.mark(amount))
    child = _child(role, Counter, labels)
    if child is not None:
        child.inc(amount)


def observe(role: str, value: float, **labels: object) -> None:
    """Count an observation of a histogram, in the base unit of the role: seconds, bytes."""
    child = _child(role, Histogram, labels)
    if child is not None:
        child.observe(value)


def set(role: str, value: float, **labels: object) -> None:  # noqa: A001 - what gauges call it everywhere
    """Make a gauge `value`, in the base unit of the role; moments are Unix seconds."""
    child = _child(role, Gauge, labels)
    if child is not None:
        child.set(value)


def add(role: str, amount: float, **labels: object) -> None:
    """Add to a gauge, or take away."""
    child = _child(role, Gauge, labels)
    if child is not None:
        child.inc(amount)


def touch(role: str, **labels: object) -> None:
    """Make the series of a role exist before anything is recorded, at zero."""
    _child(role, Instrument, labels)


def child(role: str, sort: type[Instrument[C]], **labels: object) -> C:
    """The label set of a role, to keep where it is recorded often; `sort` is the role's instrument.

    Raises:
        KeyError: there is no such role.
        TypeError: the role is recorded with another instrument.

    """
    instrument = _collector.get(_name(role)) or _declared(role)
    if not isinstance(instrument, sort):
        raise TypeError(f"{role} is a {instrument.kind}, and no {sort.kind}")
    return instrument.child(
        tuple([cells.text(labels.get(name, "")) for name in instrument.label_names])
    )


def published(series: CounterChild) -> None:
    """Count a message; `series` is a child of `message.published`."""
    series.inc()
    _guarded(lambda: _meter.mark(1.0))


def run_started(workflow: str, *, trigger: str = "", kind: str = "") -> None:
    """Count a run that begins where no decorator sees it; `run_finished` tells its end."""
    _guarded(lambda: _run_started(workflow, trigger, kind))


def run_finished(
    workflow: str,
    seconds: float,
    outcome: Outcome = "good",
    *,
    error: str = "",
    kind: str = "",
    started: bool = True,
) -> None:
    """Count the end of a run that took `seconds`; `started` is false if its start was not told."""
    _guarded(
        lambda: _finished(
            cells.run_cell(
                workflow, trigger=_trigger(workflow, kind) if started else "", kind=kind
            ),
            seconds,
            outcome,
            error,
            started=started,
        )
    )


def step_finished(
    workflow: str, step: str, seconds: float, outcome: Outcome = "good", *, error: str = ""
) -> None:
    """Count a step that took `seconds`, its start included."""
    _guarded(
        lambda: _finished(cells.step_cell(workflow, step), seconds, outcome, error, started=False)
    )


def retried(workflow: str, step: str = "") -> None:
    """Count an attempt after the first, of a step or of a run."""
    _guarded(
        # Making the cell may fail too, so it is made within.
        lambda: (cells.step_cell(workflow, step) if step else cells.run_cell(workflow)).retry()  # noqa: PLW0108
    )


def bind(bounds: dict[str, Bounds]) -> None:
    """Count the observations of these roles in these bounds (base units), and move what was counted."""
    for role, wanted in bounds.items():
        if _bounds.get(role) != wanted:
            _bounds[role] = wanted
            known = _collector.get(_name(role))
            if isinstance(known, Histogram):
                known.rebind(wanted)


def families() -> Iterator[tuple[str, MetricFamily]]:
    """Each role that was recorded, with its numbers in base units and its semantic labels."""
    for family in _collector.collect_all():
        yield family.name.replace(":", "."), family
    yield (
        "message.rate",
        MetricFamily("message:rate", "gauge", "", (), [()], [_meter.rate(perf_counter())]),
    )


def dropped() -> float:
    """How often a label set was looked up that has no series of its own, because there are too many."""
    return _collector.dropped[0]


def _guarded(act: Callable[[], None]) -> None:
    try:
        act()
    except Exception as error:
        guard.report("record", error)


def _run_started(workflow: str, trigger: str, kind: str) -> None:
    cell = cells.run_cell(workflow, trigger=trigger, kind=kind)
    key = (cells.text(workflow), cells.text(kind))
    begun = _begun.get(key)
    if begun is None:
        if len(_begun) >= cells.LIMIT:
            key = _SHARED  # as these workflows share a cell
        begun = _begun.setdefault(key, deque(maxlen=BEGUN_LIMIT))
    cell.begin()
    begun.append(cells.text(trigger))


def _trigger(workflow: str, kind: str) -> str:
    """The trigger of a run that began and has not ended, so that it ends where it was counted."""
    begun = _begun.get((cells.text(workflow), cells.text(kind))) or _begun.get(_SHARED)
    try:
        return begun.popleft() if begun else ""
    except IndexError:  # another thread was faster
        return ""


def _finished(cell: Cell, seconds: float, outcome: str, error: str, *, started: bool) -> None:
    # Whatever is told of an end, it is one: a run that was not counted would be in progress for ever.
    took, way, name = _seconds(seconds), _way(outcome), _text(error)
    if not started:
        cell.begin()
    cell.count(took, perf_counter(), way, name)


def _seconds(value: float) -> float:
    try:
        seconds = float(value)
    except Exception as error:
        guard.report("record", error)
        return 0.0
    if not 0 <= seconds < math.inf:
        guard.warn("duration", f"a duration cannot be {seconds} seconds; counted as 0")
        return 0.0
    return seconds


def _way(outcome: str) -> int:
    found = WORDS.get(outcome) if isinstance(outcome, str) else None
    if found is None:
        told = f"outcome is {_text(outcome)!r}, must be one of {', '.join(WORDS)}"
        guard.warn("outcome", f"{told}; counted as failed")
        return FAILED
    return found


def _text(value: object) -> str:
    try:
        return cells.text(value)
    except Exception:
        return OTHER


def _child(role: str, sort: type[Instrument[C]], labels: dict[str, object]) -> C | None:
    """The label set of a role that is recorded with this sort of instrument."""
    try:
        instrument = _collector.get(_name(role)) or _declared(role)
        if not isinstance(instrument, sort):
            guard.warn(
                f"role {role}",
                f"{role} is a {instrument.kind}; it cannot be recorded as a {sort.kind}",
            )
            return None
        names = instrument.label_names
        if not labels.keys() <= frozenset(names):
            guard.warn(
                f"labels of {role}",
                f"{role} has the labels {list(names)}, and was recorded with {sorted(labels)}; the others are left out",
            )
        return instrument.child(tuple([cells.text(labels.get(name, "")) for name in names]))
    except Exception as error:
        # A place for each role that exists only: what was reported is remembered.
        is_known = isinstance(role, str) and role in ROLES
        guard.report(f"role {role}" if is_known else "a role", error)
        return None


def _declared(role: str) -> Declared:
    """The instrument of a role, made at its first use.

    Raises:
        KeyError: there is no such role, or it cannot be recorded.

    """
    if not isinstance(role, str) or role not in ROLES:
        raise KeyError(f"there is no role {role!r}; docs/roles.md lists them")
    if role in _TOLD:
        raise KeyError(f"{role} is told by the library or by Prometheus, and cannot be recorded")
    meant = ROLES[role]
    if meant.instrument == "histogram":
        return _collector.histogram(_name(role), "", meant.labels, _bounds.get(role, _UNBOUND))
    if meant.instrument == "gauge":
        merge = _MERGES.get(meant.unit, "sum")
        return _collector.gauge(_name(role), "", meant.labels, merge=merge)
    return _collector.counter(_name(role), "", meant.labels)


def _name(role: str) -> str:
    return role.replace(".", ":") if isinstance(role, str) else ""


class _Meter:
    """How many a second, over the last whole seconds.

    A ring in a run of slots: when the first event was, then for each place the second that it is of, and its count.
    """

    def __init__(self) -> None:
        self._ring: Values | None = None

    def mark(self, amount: float) -> None:
        if not (amount > 0 and amount - amount == 0):
            return  # the counter says what is wrong with it
        number = float(amount)
        ring = self._ring
        if ring is None:
            self._ring = ring = slots.allocate(_METER, 1 + 4 * WINDOW)
        second = float(int(perf_counter()))
        i = 1 + 2 * (int(second) % (2 * WINDOW))
        # No call from here on (see `slots`).
        if not ring[0]:
            ring[0] = second
        if ring[i] != second:
            ring[i] = second
            ring[i + 1] = 0.0
        ring[i + 1] += number

    def rate(self, now: float) -> float:
        rings = [list(self._ring)] if self._ring is not None else []
        rings += _elsewhere(_METER)
        first = min((ring[0] for ring in rings if ring[0]), default=math.inf)
        newest = int(now)
        oldest = max(newest - WINDOW + 1, first)
        found = sum(
            ring[i + 1]
            for ring in rings
            for i in range(1, len(ring), 2)
            if oldest <= ring[i] <= newest
        )
        return found / max(now - oldest, 1.0)

    def move(self) -> None:
        old = self._ring
        if old is not None:
            self._ring = slots.allocate(_METER, len(old))
            for i, value in enumerate(old):
                self._ring[i] = value

    def forget(self) -> None:
        self._ring = None


def _elsewhere(description: slots.Description) -> list[list[float]]:
    # Loaded only where several processes are one program.
    shared = sys.modules.get("flowgauge.multiprocess")
    return shared.runs(description) if shared is not None else []


_METER: Final = ("meter", "message.rate")
_meter = _Meter()


def _reset() -> None:
    _begun.clear()
    _meter.forget()


forks.on_fork(_reset)
slots.on_move(_meter.move)
