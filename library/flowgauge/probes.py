"""Measure one call: which cell it belongs to, and which workflow is current while it runs.

Called by the wrappers and blocks. No method raises an error of its own: see `guard`.
"""

from __future__ import annotations

import gc
import sys
from _thread import get_ident
from contextvars import ContextVar, Token
from time import perf_counter

from flowgauge import cells, forks, guard
from flowgauge.bins import CANCELLED, FAILED, GOOD
from flowgauge.cell import OTHER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from flowgauge.cell import Cell, Started

    Var = Token[str] | None
    # A measurement that has begun: its cell, the call in progress, and how to undo the current workflow.
    # A plain tuple, which costs a sixth of a named one.
    Mark = tuple[Cell, Started, Var]

# The name of the workflow whose run this is; steps read it.
current: ContextVar[str] = ContextVar("flowgauge_workflow", default="")

# Not empty while garbage is collected; `running` is the thread that does. Before 3.12 CPython collects wherever an
# object is made, also within `ContextVar.set`, and crashes if a finalizer or signal handler then sets a variable too.
# So what they run meanwhile does not become the current workflow: its steps count for the one that was interrupted.
collecting: dict[str, object] = {}


def _collect(phase: str, _: object) -> None:
    if phase == "start":
        collecting["running"] = get_ident()
    else:
        collecting.pop("running", None)


def _forked() -> None:
    if collecting.get("running") != get_ident():
        collecting.clear()


if sys.version_info < (3, 12):
    # A signal handler may run at every step of `_collect`, so a method that is no Python code puts the phase in before,
    # and another one takes it out behind.
    gc.callbacks += [collecting.__setitem__, _collect, collecting.pop]
    forks.on_fork(_forked)


class Probe:
    """What the runs of a workflow and the steps of a run have in common."""

    __slots__ = ()

    # The workflow that is current during a call; empty leaves it as it is.
    workflow = ""

    def cell(self) -> Cell:
        """The cell that counts a call made now."""
        raise NotImplementedError

    def begin(self) -> Mark | None:
        """Count a call that begins."""
        try:
            cell = self.cell()
            return (cell, cell.start(), None)
        except Exception as error:
            guard.report("begin", error)
            return None

    def enter(self) -> Mark | None:
        """Count a call that begins, and make its workflow the current one until `leave`."""
        mark = self.begin()
        if mark is not None and self.workflow:
            mark = (mark[0], mark[1], self.resume())
        return mark

    def leave(
        self, mark: Mark | None, error: BaseException | None = None, ended: int = GOOD
    ) -> None:
        """Count the end of the call; `error` is what it raised, `ended` the outcome if it raised nothing."""
        if mark is None:
            return
        cell, started, var = mark
        if var is not None:
            self.suspend(var)
        finish(cell, started, error, GOOD if error else ended)

    def retry(self) -> None:
        """Count an attempt after the first."""
        try:
            self.cell().retry()
        except Exception as error:
            guard.report("retry", error)

    def resume(self) -> Var:
        """Make the workflow the current one, for a generator that goes on."""
        if not self.workflow or (
            collecting and collecting.get("running", get_ident()) == get_ident()
        ):
            return None
        return current.set(self.workflow)

    def suspend(self, var: Var) -> None:
        """Undo `resume`; a finalizer may run in another context, which has nothing to undo."""
        if var is not None:
            try:
                current.reset(var)
            except ValueError:
                return


class RunProbe(Probe):
    """Measures runs of one workflow."""

    __slots__ = ("_cell", "workflow")

    def __init__(self, name: str, *, trigger: str, kind: str) -> None:
        self.workflow = name
        self._cell = cells.run_cell(name, trigger=trigger, kind=kind)

    def cell(self) -> Cell:
        """The cell of the workflow."""
        return self._cell


class StepProbe(Probe):
    """Measures a step; `home` is the workflow that it belongs to when it is called outside every run."""

    __slots__ = ("_home", "_name", "known")

    def __init__(self, name: str, *, workflow: str) -> None:
        self._name = name
        self._home = workflow
        # One entry for each workflow that calls the step: a dictionary of text keys is the fastest look-up there is.
        self.known: dict[str, Cell] = {}
        if workflow:
            self.known[""] = self._bind(workflow)

    def cell(self) -> Cell:
        """The cell of this step in the current workflow."""
        workflow = current.get()
        return self.known.get(workflow) or self._bind(workflow or self._home)

    def _bind(self, workflow: str) -> Cell:
        found = cells.step_cell(workflow, self._name)
        # Workflows beyond the limit share a cell, and must not fill this dictionary instead.
        return self.known.setdefault(workflow, found) if len(self.known) < cells.LIMIT else found


def finish(cell: Cell, started: Started, error: BaseException | None, closed: int = GOOD) -> None:
    """Count the end of a call that raised `error`, or nothing.

    `closed` is the outcome of what raised nothing, or is closed early.
    """
    name, outcome = "", closed
    try:
        if error is not None:
            # Before anything is asked of the error, which may be of any sort.
            name, outcome = OTHER, FAILED
            name, outcome = _ended(type(error), closed)
        cell.finish(started, outcome, name)
    except Exception as fault:
        cells.remember(cell, started, perf_counter(), outcome, name)
        # The stack may be too short even for the report; the caller must not count the end again.
        try:  # noqa: SIM105 - `suppress` would be a call
            guard.report("finish", fault)
        except RecursionError:
            pass


def _ended(kind: type[BaseException], closed: int) -> tuple[str, int]:
    if issubclass(kind, GeneratorExit):
        # A consumer that has had enough closes its generator: nothing went wrong.
        return ("", GOOD) if closed == GOOD else (kind.__name__, closed)
    # asyncio is not imported for this: who raised its error has imported it.
    asyncio = sys.modules.get("asyncio.exceptions")
    is_cancelled = asyncio is not None and issubclass(kind, asyncio.CancelledError)
    return cells.text(kind.__name__), CANCELLED if is_cancelled else FAILED
