"""All cells of the process by label set: made at decoration or at first use, read at every scrape."""

from __future__ import annotations

from operator import itemgetter

from flowgauge import forks, guard, slots
from flowgauge.bins import GRID
from flowgauge.cell import OTHER, Cell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Final, Literal, Protocol, Self

    from flowgauge.bins import Bounds
    from flowgauge.cell import Snapshot, Started, Tracer
    from flowgauge.slots import Values

    Scope = Literal["run", "step"]
    Cells = list[tuple["Key", Snapshot]]

    class Others(Protocol):
        """The other processes of the program."""

        def calls(self, scope: Scope) -> Iterable[tuple[Key, Snapshot]]:
            """Their cells of this scope."""

        def admitted(
            self, family: tuple[str, ...], keys: Collection[tuple[str, ...]], limit: int
        ) -> Collection[tuple[str, ...]]:
            """Which label sets have a series of their own, where all processes together have too many."""


# Label sets of one scope that a process tells apart; later ones share `OTHER`. A name that is made of data would else
# fill the memory of the program, and 500 of each are 30,000 samples, below the operator's limit of a scrape.
LIMIT: Final = 500


class Key(tuple[str, ...]):
    """What a cell counts: runs of a workflow, or a step of one. The other fields are semantic labels."""

    __slots__ = ()

    def __new__(
        cls, scope: Scope, workflow: str, step: str = "", trigger: str = "", kind: str = ""
    ) -> Self:
        """Make the key of a cell."""
        return super().__new__(cls, (scope, workflow, step, trigger, kind))

    scope: Scope = property(itemgetter(0))  # type: ignore[assignment]
    workflow: str = property(itemgetter(1))  # type: ignore[assignment]
    step: str = property(itemgetter(2))  # type: ignore[assignment]
    trigger: str = property(itemgetter(3))  # type: ignore[assignment]
    kind: str = property(itemgetter(4))  # type: ignore[assignment]

    def others(self) -> Key:
        """The label set that stands for all that are too many."""
        return Key(
            self.scope,
            OTHER,
            step=self.step and OTHER,
            trigger=self.trigger and OTHER,
            kind=self.kind and OTHER,
        )


_cells: dict[Scope, dict[Key, Cell]] = {"run": {}, "step": {}}
# Ends that could not be counted when they came, for want of stack or memory: (cell, call, now, outcome, error).
# Without them a call would seem to be in progress for ever. Counted before the next scrape.
late: list[tuple[Cell, Started, float, int, str]] = []
LATE: Final = 1000
_bounds: dict[Scope, Bounds] = {"run": GRID, "step": GRID}
_tracer: Tracer | None = None
# Cells of other processes, where several of them are one program.
_elsewhere: Others | None = None
# How often a name was looked up that has no label set of its own.
_dropped: Values = [0.0]


def cell(key: Key) -> Cell:
    """The cell of this label set, or of all others where there are too many; the same one for every caller."""
    known = _cells[key.scope]
    found = known.get(key)
    if found is None:
        if len(known) >= LIMIT:
            _warn(key)
            key = key.others()
            _dropped[0] += 1.0
        # No lock: `setdefault` is atomic, and a lock here could be copied locked into a forked child.
        found = known.get(key) or known.setdefault(key, _new(key))
    return found


def _warn(key: Key) -> None:
    guard.warn(
        f"too many {key.scope}s",
        f"more than {LIMIT} {key.scope}s of different names; {key.workflow!r} and others count as {OTHER!r}."
        " Names are label values: take them from a small set, never from data",
    )


def _new(key: Key) -> Cell:
    made = Cell(_bounds[key.scope], key)
    made.trace(_tracer)
    return made


def run_cell(workflow: str, *, trigger: str = "", kind: str = "") -> Cell:
    """The cell of a workflow's runs."""
    return cell(Key("run", text(workflow), trigger=text(trigger), kind=text(kind)))


def step_cell(workflow: str, step: str) -> Cell:
    """The cell of a step of a workflow."""
    return cell(Key("step", text(workflow), step=text(step)))


def snapshots(scope: Scope) -> Cells:
    """The numbers of every cell of this scope, each of one instant, in the order in which they appeared.

    Where several processes are one program, a label set appears once for each of them.
    """
    while late:
        try:
            ended, started, now, outcome, error = late.pop()
        except IndexError:  # another scrape was faster
            break
        ended.end(started, now, outcome, error)
    # Copied without making a tuple for each: the garbage collector could run, and finalizers that make cells.
    known = {**_cells[scope]}
    if _elsewhere is None:
        return [(key, found.snapshot()) for key, found in known.items()]
    own = [(key, each) for key, found in known.items() for each in found.snapshots()]
    return _with_others(own, scope, _elsewhere)


def _with_others(own: Cells, scope: Scope, others: Others) -> Cells:
    whole = [*own, *others.calls(scope)]
    keys = dict.fromkeys(key for key, _ in whole if key != key.others())
    if len(keys) <= LIMIT:
        return whole
    admitted = others.admitted(("calls", scope), keys, LIMIT)
    _warn(next(key for key in keys if key not in admitted))
    return [(key if key in admitted else key.others(), snapshot) for key, snapshot in whole]


def remember(cell: Cell, started: Started, now: float, outcome: int, error: str) -> None:
    """Count an end before the next scrape."""
    if len(late) < LATE:
        late.append((cell, started, now, outcome, error))


def dropped() -> float:
    """How often a name was looked up that has no label set of its own, because there are too many."""
    return _dropped[0]


def rebind(scope: Scope, bounds: Bounds) -> None:
    """Count durations of this scope in `bounds` (seconds). One thread at a time."""
    _bounds[scope] = bounds
    for found in list(_cells[scope].values()):
        found.rebind(bounds)


def trace(tracer: Tracer | None) -> None:
    """Keep measurements for which `tracer` has labels that lead to a trace; None keeps none."""
    global _tracer  # noqa: PLW0603 - a process has one
    _tracer = tracer
    for found in _all():
        found.trace(tracer)


def share(others: Others) -> None:
    """Move every cell to the storage that is used now, and count in those of `others` from now on."""
    global _elsewhere, _dropped  # noqa: PLW0603 - a process has one storage
    for found in _all():
        found.move()
    old, _dropped = _dropped, slots.allocate(("number", "dropped"), 1)
    _dropped[0] += old[0]
    _elsewhere = others


def text(value: object) -> str:
    """The value as a label value that can be encoded; a word of an enumeration that is text is that text."""
    # A lone surrogate in one name would make the whole scrape impossible to encode.
    given = value if isinstance(value, str) else str(value)
    return given.encode("utf-8", "replace").decode("utf-8")


def _all() -> list[Cell]:
    return [found for known in list(_cells.values()) for found in list(known.values())]


def reset() -> None:
    """Forget everything, in a forked child."""
    global _dropped  # noqa: PLW0603 - a process has one storage
    late.clear()
    _dropped = [0.0] if _elsewhere is None else slots.allocate(("number", "dropped"), 1)
    for found in _all():
        found.reset()


forks.on_fork(reset)
