"""How long to wait before trying again. Used by `workqueue` for a key and by `watch` for the shell."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """Space retries, in seconds: `first`, doubled each time, at most `limit`."""

    first: float = 1.0
    limit: float = 300.0

    def delay(self, failures: int) -> float:
        """Return the seconds after so many failures in a row, with jitter of a quarter."""
        plain = self.first * 2.0 ** min(failures - 1, 32)
        return min(plain * random.uniform(0.75, 1.25), self.limit)  # noqa: S311 - jitter
