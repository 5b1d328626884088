"""`with run(...)` and `with stepping(...)`: measure a block where no function can be decorated."""

from __future__ import annotations

from flowgauge.bins import GOOD, SKIPPED
from flowgauge.probes import RunProbe, StepProbe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from flowgauge.probes import Mark, Probe


class Block:
    """A block that is measured. Make one for each `with`."""

    __slots__ = ("_ended", "_mark", "_probe")

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._mark: Mark | None = None
        self._ended = GOOD

    def __enter__(self) -> Self:
        self._mark = self._probe.enter()
        return self

    def skip(self) -> None:
        """Count the block as skipped when it ends, unless it raises: neither good nor bad, such as nothing to do.

        It is in no duration, ratio or budget. A vocabulary without a word for it counts its start only.
        """
        self._ended = SKIPPED

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        mark, self._mark = self._mark, None
        self._probe.leave(mark, error, self._ended)


def run(name: str, *, trigger: str = "manual", kind: str = "") -> Block:
    """Measure a block as a run of the workflow `name`; the arguments are those of `@workflow`.

    Each name is a label value that stays: take it from a small set, never from data.
    """
    return Block(RunProbe(name, trigger=trigger, kind=kind))


def stepping(name: str, *, workflow: str = "") -> Block:
    """Measure a block as a step of the current run; the arguments are those of `@step`."""
    return Block(StepProbe(name, workflow=workflow))
