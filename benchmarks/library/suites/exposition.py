"""CPU milliseconds of one scrape: collect and render. Between two of them every series changes.

The first rendering, in which ours prepares what does not change, is told apart.
"""

from __future__ import annotations

from time import process_time

from benchmarks.library.suites import contents
from benchmarks.library.suites.contents import Contents
from benchmarks.library.timing import Effort, Results

_SECONDS = {True: 0.3, False: 1.2}


def ours(effort: Effort, shape: str, series: int) -> Results:
    return _times(effort, contents.ours(shape, series))


def prometheus_client(effort: Effort, shape: str, series: int) -> Results:
    return _times(effort, contents.prometheus_client(shape, series))


def aioprometheus(effort: Effort, shape: str, series: int) -> Results:
    return _times(effort, contents.aioprometheus(shape, series))


def opentelemetry(effort: Effort, shape: str, series: int) -> Results:
    return _times(effort, contents.opentelemetry(shape, series))


def identical(_effort: Effort, shape: str, series: int) -> Results:
    """Whether ours gives the bytes of prometheus_client, twice, with other values the second time."""
    mine, theirs = contents.ours(shape, series), contents.prometheus_client(shape, series)
    results: Results = {}
    for _ in range(2):
        mine.change()
        theirs.change()
        for name, render in mine.renders.items():
            ours_now, theirs_now = render(), theirs.renders[name]()
            results.setdefault(name, []).append(float(ours_now == theirs_now))
    return results


def _times(effort: Effort, made: Contents) -> Results:
    results: Results = {}
    for name, render in made.renders.items():
        _check(made, render())
        samples: list[float] = []
        while len(samples) < effort.repeats and sum(samples) < 1e3 * _SECONDS[effort.quick]:
            made.change()
            began = process_time()
            render()
            samples.append((process_time() - began) * 1e3)
        results[name] = samples
    return results


def first(effort: Effort, shape: str, series: int) -> Results:
    """Ours, before anything is prepared."""
    samples = []
    for _ in range(effort.repeats):
        made = contents.ours(shape, series)
        began = process_time()
        made.renders["text"]()
        samples.append((process_time() - began) * 1e3)
    return {"text": samples}


def _check(made: Contents, body: bytes) -> None:
    lines = sum(not line.startswith(b"#") for line in body.splitlines())
    if lines < made.series - contents.LINES:
        raise SystemExit(f"{made.series} series were asked for, {lines} rendered")
