"""CPU time of a statement, as `timeit` takes wall time: inlined in a loop, the empty loop subtracted.

Wall time on a busy machine is that of the neighbours; CPU time is ours. The garbage collector stays on, since programs
run with it.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from time import process_time
from typing import Any

Results = dict[str, list[float]]


@dataclass(frozen=True)
class Effort:
    """How long a suite may take. `loop` is seconds of one timed loop, `repeats` samples of a case in one process."""

    quick: bool
    loop: float
    repeats: int


FULL = Effort(quick=False, loop=0.08, repeats=3)
QUICK = Effort(quick=True, loop=0.02, repeats=3)


@dataclass(frozen=True)
class Case:
    """A statement that uses `names`, and `value`, which runs through `values`. With `await` in it, it is a coroutine's.

    `around` is entered for each loop, for what must be in place while the statement runs.
    """

    name: str
    statement: str
    names: dict[str, Any] = field(default_factory=dict)
    values: Sequence[Any] = ()
    around: Callable[[], AbstractContextManager[Any]] = nullcontext


def per_call(cases: Sequence[Case], effort: Effort) -> Results:
    """CPU nanoseconds of each case's statement, some samples each, in random order."""
    shuffled = list(cases)
    random.shuffle(shuffled)
    return {case.name: list(_samples(case, effort)) for case in shuffled}


def _samples(case: Case, effort: Effort) -> Iterator[float]:
    loop = _loop(case, case.statement)
    empty = _loop(case, "pass")
    count = _calibrated(loop, effort.loop)
    rest = min(empty(count) for _ in range(3))
    for _ in range(effort.repeats):
        yield max(loop(count) - rest, 0.0) / count * 1e9


def _calibrated(loop: Callable[[int], float], seconds: float) -> int:
    """How often fits into so many seconds. The calls are the warm-up, too."""
    count = 16
    while (taken := loop(count)) < seconds / 4:
        count *= 2 if taken > seconds / 64 else 4
    return max(1, int(count * seconds / taken))


def _loop(case: Case, statement: str) -> Callable[[int], float]:
    """Seconds of CPU that so many rounds of a statement take, where `case` would run."""
    is_async = "await" in case.statement
    source = "\n".join(
        [
            f"{'async ' if is_async else ''}def timed(items, clock, {', '.join(case.names)}):",
            " began = clock()",
            " for value in items:",
            *(f"  {line}" for line in statement.splitlines()),
            " return clock() - began",
        ]
    )
    scope: dict[str, Any] = {}
    exec(source, scope)  # noqa: S102 - our own statements, which a call would make dearer
    timed = scope["timed"]

    def loop(count: int) -> float:
        items: Iterator[Any] = itertools.repeat(None, count)
        if case.values:
            items = itertools.islice(itertools.cycle(case.values), count)
        with case.around():
            result = timed(items, process_time, **case.names)
            return float(asyncio.run(result) if is_async else result)

    return loop
