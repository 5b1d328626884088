"""Measure one call: which cell it belongs to, and which workflow is current while it runs.

Called by the wrappers and blocks. No method raises an error of its own: see `guard`.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar, Token

from flowgauge import cells, guard
from flowgauge.bins import CANCELLED, FAILED, GOOD
from flowgauge.cell import Cell

# The name of the workflow whose run this is; steps read it.
_workflow: ContextVar[str] = ContextVar("flowgauge_workflow", default="")

Var = Token[str] | None


# A measurement that has begun: its cell, the cell's token, and how to undo the current workflow.
# A plain tuple, which costs a sixth of a named one.
Mark = tuple[Cell, int, Var]


class Probe:
    """What the runs of a workflow and the steps of a run have in common."""

    __slots__ = ()

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
        return self.begin()

    def leave(self, mark: Mark | None, error: BaseException | None = None) -> None:
        """Count the end of the call; `error` is what it raised."""
        if mark is None:
            return
        if isinstance(error, GeneratorExit):
            # A consumer that has had enough closes its generator: nothing went wrong.
            error = None
        try:
            cell, token, var = mark
            if var is not None:
                self.suspend(var)
            if error is None:
                cell.finish(token)
            else:
                cell.finish(token, _outcome(error), cells.text(type(error).__name__))
        except Exception as fault:
            name = "" if error is None else type(error).__name__
            cells.late.append((mark[0], mark[1], FAILED if name else GOOD, name))
            guard.report("leave", fault)

    def retry(self) -> None:
        """Count an attempt after the first."""
        try:
            self.cell().retry()
        except Exception as error:
            guard.report("retry", error)

    def resume(self) -> Var:
        """Make the workflow the current one, for a generator that goes on."""
        return None

    def suspend(self, var: Var) -> None:
        """Undo `resume`."""


class RunProbe(Probe):
    """Measures runs of one workflow."""

    __slots__ = ("_cell", "_name")

    def __init__(self, name: str, *, trigger: str, kind: str) -> None:
        self._name = name
        self._cell = cells.run_cell(name, trigger=trigger, kind=kind)

    def cell(self) -> Cell:
        """The cell of the workflow."""
        return self._cell

    def enter(self) -> Mark | None:
        """Count a run that begins, and make its workflow the current one until `leave`."""
        try:
            return (self._cell, self._cell.start(), _workflow.set(self._name))
        except Exception as error:
            guard.report("enter", error)
            return None

    def resume(self) -> Var:
        """Make the workflow the current one."""
        return _workflow.set(self._name)

    def suspend(self, var: Var) -> None:
        """Undo `resume`; a finalizer may run in another context, which has nothing to undo."""
        if var is not None:
            try:
                _workflow.reset(var)
            except ValueError:
                return


class StepProbe(Probe):
    """Measures a step; `workflow` is where it belongs when it is called outside every run."""

    __slots__ = ("_cells", "_home", "_name")

    def __init__(self, name: str, *, workflow: str) -> None:
        self._name = name
        self._home = workflow
        # One entry for each workflow that calls the step: a dictionary of text keys is the fastest look-up there is.
        self._cells: dict[str, Cell] = {}
        if workflow:
            self._bind(workflow)

    def cell(self) -> Cell:
        """The cell of this step in the current workflow."""
        workflow = _workflow.get() or self._home
        return self._cells.get(workflow) or self._bind(workflow)

    def _bind(self, workflow: str) -> Cell:
        found = cells.step_cell(workflow, self._name)
        # Workflows beyond the limit share a cell, and must not fill this dictionary instead.
        return self._cells.setdefault(workflow, found) if len(self._cells) < cells.LIMIT else found


def _outcome(error: BaseException) -> int:
    # asyncio is not imported for this: who raised its error has imported it.
    asyncio = sys.modules.get("asyncio.exceptions")
    if asyncio is not None and isinstance(error, asyncio.CancelledError):
        return CANCELLED
    return FAILED
