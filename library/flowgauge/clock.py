"""Two clocks: `perf_counter`, which measures and never steps, and Unix time, which people read."""

from __future__ import annotations

from time import perf_counter, time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# Unix time drifts against the other clock. A conversion that followed every microsecond would give the same moment
# another value in each scrape; one that followed nothing would be wrong after somebody set the clock.
TOLERANCE: Final = 0.5  # seconds

_offset = time() - perf_counter()


def unix(moment: float) -> float:
    """The Unix time of a moment of `perf_counter`; 0 for 0, which stands for never."""
    global _offset  # noqa: PLW0603 - there is one clock
    offset = time() - perf_counter()
    if abs(offset - _offset) > TOLERANCE:
        _offset = offset
    return moment + _offset if moment else 0.0
