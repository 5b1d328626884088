"""Bytes that a series costs: allocated by Python when it is made, after a scrape, and at the peak of a scrape."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

from benchmarks.library.suites import contents
from benchmarks.library.suites.contents import Contents
from benchmarks.library.timing import Effort, Results


def ours(_effort: Effort, shape: str, series: int) -> Results:
    return _bytes(contents.ours, shape, series)


def prometheus_client(_effort: Effort, shape: str, series: int) -> Results:
    return _bytes(contents.prometheus_client, shape, series)


def _bytes(make: Callable[[str, int], Contents], shape: str, series: int) -> Results:
    make(shape, 100)  # imports, and what a library makes once
    tracemalloc.start()
    made = make(shape, series)
    gc.collect()
    fresh, _ = tracemalloc.get_traced_memory()
    made.renders["text"]()
    _, peak = tracemalloc.get_traced_memory()
    gc.collect()
    scraped, _ = tracemalloc.get_traced_memory()
    return {
        "made": [fresh / series],
        "scraped": [scraped / series],
        "peak of a scrape": [(peak - fresh) / series],
    }
