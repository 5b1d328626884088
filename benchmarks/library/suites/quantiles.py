"""How far quantiles are from the true ones, relative to them, in percent: the worst of p50, p90, p99 and p99.9."""

# ruff: noqa: PLC0415 - each suite runs where only its own library is installed

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from benchmarks.library.timing import Effort, Results

QUANTILES = (0.5, 0.9, 0.99, 0.999)


def ours(effort: Effort) -> Results:
    from flowgauge.instruments import MetricsCollector

    def estimate(name: str, values: Sequence[float]) -> list[float]:
        summary = MetricsCollector().summary(f"{name}_seconds", "Seconds.", quantiles=QUANTILES)
        for value in values:
            summary.observe(value)
        return [value for _, value in summary.get().quantiles]

    return _errors(effort, estimate)


def ddsketch(effort: Effort) -> Results:
    from ddsketch import DDSketch

    def estimate(_name: str, values: Sequence[float]) -> list[float]:
        sketch = DDSketch(0.01)
        for value in values:
            sketch.add(value)
        return [sketch.get_quantile_value(q) or 0.0 for q in QUANTILES]

    return _errors(effort, estimate)


def _errors(effort: Effort, estimate: Callable[[str, Sequence[float]], list[float]]) -> Results:
    count = 50_000 if effort.quick else 200_000
    dice = random.Random(11)  # noqa: S311 - the same values on both sides
    # The p90 of the last lies at the jump from 10 ms to 2 s.
    draws: dict[str, Callable[[], float]] = {
        "lognormal": lambda: dice.lognormvariate(-3, 1),
        "pareto": lambda: 0.01 * dice.paretovariate(1.2),
        "bimodal": lambda: abs(
            dice.gauss(0.01, 0.001) if dice.random() < 0.9 else dice.gauss(2, 0.1)
        ),
    }
    results: Results = {}
    for name, draw in draws.items():
        values = [draw() for _ in range(count)]
        exact = _exact(values)
        found = estimate(name, values)
        results[name] = [max(abs(f / e - 1) for f, e in zip(found, exact, strict=True)) * 100]
    return results


def _exact(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered[int(q * (len(ordered) - 1))] for q in QUANTILES]
