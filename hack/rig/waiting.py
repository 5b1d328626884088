"""Wait by asking, never by sleeping alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
# What is waited for; what tells how things are then is asked when the time is over.
What = str | Callable[[], str]


def wait_for(predicate: Callable[[], T], timeout: float, what: What, *, every: float = 0.1) -> T:
    """Return the first true answer, or raise with what was waited for and why it did not come.

    A predicate that raises is asked again: what it asks may not be there yet.
    """
    deadline = time.monotonic() + timeout
    last: Exception | None = None
    while True:
        try:
            answer = predicate()
            last = None
            if answer:
                return answer
        except Stop:
            raise
        except Exception as error:
            last = error
        if time.monotonic() >= deadline:
            reason = f"; the last try said: {last}" if last else ""
            told = what if isinstance(what, str) else what()
            raise TimeoutError(f"waited {timeout:.0f} s for {told}{reason}")
        time.sleep(every)


class Stop(Exception):  # noqa: N818 - it ends a wait, and need not be an error in itself
    """Raised by a predicate when waiting longer is of no use."""
