"""All cells of the process by label set: made at decoration or at first use, read at every scrape."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import Final, Literal, NamedTuple

from flowgauge import forks, guard
from flowgauge.bins import GRID, Bounds
from flowgauge.cell import OTHER, Cell, Snapshot

Scope = Literal["run", "step"]

# Label sets of one scope that a process tells apart; later ones share `OTHER`. A name that is made of data would else
# fill the memory of the program, and 500 of each are 30,000 samples, below the operator's limit of a scrape.
LIMIT: Final = 500


class Key(NamedTuple):
    """What a cell counts: runs of a workflow, or a step of one. The other fields are semantic labels."""

    scope: Scope
    workflow: str
    step: str = ""
    trigger: str = ""
    kind: str = ""

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
# Ends that could not be counted when they came, for want of stack or memory: (cell, token, outcome, error).
# Without them a call would seem to be in progress for ever. Counted before the next scrape.
late: deque[tuple[Cell, int, int, str]] = deque(maxlen=1000)
_bounds: dict[Scope, Bounds] = {"run": GRID, "step": GRID}


def cell(key: Key) -> Cell:
    """The cell of this label set, or of all others where there are too many; the same one for every caller."""
    known = _cells[key.scope]
    found = known.get(key)
    if found is None:
        if len(known) >= LIMIT:
            guard.warn(
                f"too many {key.scope}s",
                f"more than {LIMIT} {key.scope}s of different names; {key.workflow!r} and others count as {OTHER!r}."
                " Names are label values: take them from a small set, never from data",
            )
            key = key.others()
        # No lock: `setdefault` is atomic, and a lock here could be copied locked into a forked child.
        found = known.get(key) or known.setdefault(key, Cell(_bounds[key.scope]))
    return found


def run_cell(workflow: str, *, trigger: str, kind: str) -> Cell:
    """The cell of a workflow's runs."""
    return cell(Key("run", text(workflow), trigger=text(trigger), kind=text(kind)))


def step_cell(workflow: str, step: str) -> Cell:
    """The cell of a step of a workflow."""
    return cell(Key("step", text(workflow), step=text(step)))


def snapshots(scope: Scope) -> list[tuple[Key, Snapshot]]:
    """The numbers of every cell of this scope, each of one instant, in the order in which they appeared."""
    with contextlib.suppress(IndexError):  # none is left
        while True:
            ended, token, outcome, error = late.popleft()
            ended.finish(token, outcome, error)
    return [(key, found.snapshot()) for key, found in list(_cells[scope].items())]


def rebind(scope: Scope, bounds: Bounds) -> None:
    """Count durations of this scope in `bounds` (seconds). One thread at a time."""
    _bounds[scope] = bounds
    for found in list(_cells[scope].values()):
        found.rebind(bounds)


def text(value: object) -> str:
    """The value as a label value that can be encoded."""
    # A lone surrogate in one name would make the whole scrape impossible to encode.
    return str(value).encode("utf-8", "replace").decode("utf-8")


def _reset() -> None:
    for known in _cells.values():
        for found in known.values():
            found.reset()


forks.on_fork(_reset)
