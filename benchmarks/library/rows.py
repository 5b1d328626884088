"""What is compared with what, and what is aimed at. An aim that is missed is told and stops nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from benchmarks.library.rounds import OURS, Case, Suite

# "times": the other / measured, at least. "share": measured / the other, at most. "limit": measured, at most.
# "always": measured is true in each sample.
Sense = Literal["times", "share", "limit", "always"]


@dataclass(frozen=True)
class Row:
    """One comparison. Without `aim` it is for information."""

    what: str
    measured: Case
    other: Case | None
    aim: float | None = None
    sense: Sense = "times"
    unit: str = "ns"


@dataclass(frozen=True)
class Section:
    """Rows of one table; `key` chooses it on the command line."""

    key: str
    title: str
    note: str
    rows: tuple[Row, ...]

    @property
    def suites(self) -> list[Suite]:
        """All that its rows need."""
        cases = [case for row in self.rows for case in (row.measured, row.other) if case]
        return list(dict.fromkeys(case.suite for case in cases))


OTEL = "opentelemetry"
SHAPES = {"counter": "counters", "histogram": "histograms"}
AMOUNTS = {"amounts": "counters of fractions"}


def _decorators() -> Section:
    ours = Suite("decorators.ours", OURS)
    prometheus = Suite("decorators.prometheus_client", OURS)
    peers = (
        ("prometheus_client, labels at each call", prometheus, "looked up", 12.0),
        ("prometheus_client, bound beforehand", prometheus, "bound", 3.7),
        (
            "autometrics, 2 metrics",
            Suite("decorators.autometrics", "autometrics"),
            "autometrics",
            6.0,
        ),
        ("OpenTelemetry SDK, 2 metrics", Suite("decorators.opentelemetry", OTEL), OTEL, 17.0),
    )
    rows = [
        Row("`@workflow` / two clock reads", ours / "workflow", ours / "two clocks", 2.2, "share"),
        Row("`@step` / two clock reads", ours / "step", ours / "two clocks", 2.2, "share"),
        Row(
            "`@step` within a run / two clock reads",
            ours / "step of a run",
            ours / "two clocks",
            2.2,
            "share",
        ),
        *(
            Row(
                f"`@{name}` on `async def` / two clock reads",
                ours / f"{name}, async",
                ours / "two clocks, async",
                2.0,
                "share",
            )
            for name in ("workflow", "step")
        ),
        *(
            Row(
                f"`@{name}`{what} beside {peer}", ours / f"{name}{end}", suite / f"{case}{end}", aim
            )
            for peer, suite, case, aim in peers
            for name, what, end in (
                ("workflow", "", ""),
                ("step", "", ""),
                ("workflow", " on `async def`", ", async"),
            )
        ),
        Row(
            "`@workflow`, raising, beside prometheus_client, bound beforehand",
            ours / "workflow, raising",
            prometheus / "bound, raising",
        ),
        Row(
            "`@step`, raising, beside prometheus_client, bound beforehand",
            ours / "step, raising",
            prometheus / "bound, raising",
        ),
    ]
    note = (
        "One call of an empty function. Ours and prometheus_client's keep five metrics: started, finished by status,"
        " errors by type, duration histogram, in progress."
    )
    return Section("decorators", "Decorators", note, tuple(rows))


def _instruments() -> Section:
    ours = Suite("instruments.ours", OURS)
    prometheus = Suite("instruments.prometheus_client", OURS)
    names = ("counter", "counter, keywords", "gauge", "histogram", "histogram, keywords")
    rows = [
        Row(f"{name} beside prometheus_client", ours / name, prometheus / name) for name in names
    ]
    note = "One `inc`, `set` or `observe` of a bound label set; *keywords*: with the labels as keywords at each call."
    return Section("instruments", "Instruments", note, tuple(rows))


def _exposition() -> Section:
    rows = [
        Row(
            f"bytes as prometheus_client's, 10,000 series of {plural}, {form}",
            Suite("exposition.identical", OURS, (shape, 10_000), rounds=1) / form,
            None,
            aim=1,
            sense="always",
            unit="bool",
        )
        for shape, plural in {**SHAPES, **AMOUNTS}.items()
        for form in ("text", "openmetrics")
    ]
    for series, rounds in ((1_000, 5), (10_000, 5), (100_000, 3)):
        for shape, plural in SHAPES.items():
            ours, prometheus, aio, otel = (
                Suite(f"exposition.{side}", peer, (shape, series), rounds)
                for side, peer in (
                    ("ours", OURS),
                    ("prometheus_client", OURS),
                    ("aioprometheus", "aioprometheus"),
                    ("opentelemetry", OTEL),
                )
            )
            of = f"{series:,} series of {plural}"
            text, openmetrics = "text", "openmetrics"
            rows += [
                Row(
                    f"{of}, text, beside prometheus_client",
                    ours / text,
                    prometheus / text,
                    20,
                    unit="ms",
                ),
                Row(
                    f"{of}, OpenMetrics, beside prometheus_client",
                    ours / openmetrics,
                    prometheus / openmetrics,
                    20,
                    unit="ms",
                ),
                Row(f"{of}, text, beside aioprometheus", ours / text, aio / text, unit="ms"),
                Row(
                    f"{of}, text, beside OpenTelemetry's reader",
                    ours / text,
                    otel / text,
                    unit="ms",
                ),
            ]
    for what, side, shapes in (
        ("", "ours", AMOUNTS),
        ("the first rendering of ", "first", SHAPES),
    ):
        for shape, plural in shapes.items():
            mine, theirs = (
                Suite(f"exposition.{name}", OURS, (shape, 10_000), rounds=5)
                for name in (side, "prometheus_client")
            )
            title = f"{what}10,000 series of {plural}, text, beside prometheus_client"
            rows.append(Row(title, mine / "text", theirs / "text", unit="ms"))
    note = (
        "Collect and render. Three labels, histograms of 15 buckets (a series is a line). Between two renderings every"
        " series gets a new value. `_created` is off on both sides."
    )
    return Section("exposition", "Exposition", note, tuple(rows))


def _processes() -> Section:
    ours, prometheus = (
        Suite("decorators.ours_shared", OURS),
        Suite("decorators.prometheus_client_shared", OURS),
    )
    mine, theirs = (
        Suite("workers.ours", OURS, rounds=3),
        Suite("workers.prometheus_client", OURS, rounds=3),
    )
    alive, dead = "alive", "with dead"
    peer = "beside prometheus_client"
    rows = (
        Row(f"`@workflow` {peer}, bound beforehand", ours / "workflow", prometheus / "bound", 5),
        Row(f"`@step` {peer}, bound beforehand", ours / "step", prometheus / "bound", 5),
        Row("scrape after 1,000 deaths / before", mine / dead, mine / alive, 1.2, "share", "ms"),
        Row(
            "the same, prometheus_client's", theirs / dead, theirs / alive, sense="share", unit="ms"
        ),
        Row(f"scrape of four processes {peer}", mine / alive, theirs / alive, unit="ms"),
        Row(f"scrape after 1,000 deaths {peer}", mine / dead, theirs / dead, unit="ms"),
        Row(f"the first scrape after them {peer}", mine / "merge", theirs / "merge", unit="ms"),
    )
    note = (
        "Numbers in files that other processes read, in memory-backed storage. Scrapes go through each library's"
        " endpoint; four processes live, each with ten workflows of five metrics, and as many died as said (100 in"
        " a quick run)."
    )
    return Section("processes", "Several processes", note, rows)


def _spans() -> Section:
    ours, otel = Suite("spans.ours", OURS), Suite("spans.opentelemetry", OTEL)
    row = Row("span beside OpenTelemetry's batch processor", ours / "span", otel / "span", 20)
    note = "A span with one attribute and one event, as a context manager; the exporter throws it away."
    return Section("spans", "Spans", note, (row,))


def _summaries() -> Section:
    ours, sketch = Suite("instruments.ours", OURS), Suite("instruments.ddsketch", "ddsketch")
    mine, theirs = (
        Suite("quantiles.ours", OURS, rounds=1),
        Suite("quantiles.ddsketch", "ddsketch", rounds=1),
    )
    rows = (
        Row("`observe` beside ddsketch's `add`", ours / "summary", sketch / "add", 1.5),
        *(
            Row(f"error of {name} quantiles", mine / name, theirs / name, 1.1, "limit", "%")
            for name in ("lognormal", "pareto", "bimodal")
        ),
    )
    note = "Errors are relative to the true quantile, the worst of p50, p90, p99 and p99.9, beside ddsketch at 1 %."
    return Section("summaries", "Summaries", note, rows)


def _imports() -> Section:
    suite = Suite("imports.all_of_them", OURS, rounds=5)
    what = {
        "flowgauge": "`import flowgauge`",
        "decorators": "`from flowgauge import workflow, step`",
    }
    rows = [
        Row(
            f"{text} / bare interpreter, {kind}",
            suite / f"{name}, {kind}",
            suite / f"bare, {kind}",
            1.2,
            "share",
            unit,
        )
        for kind, unit in (("CPU", "ms"), ("memory", "MiB"))
        for name, text in what.items()
    ]
    rows += [
        Row(
            f"`import prometheus_client` / bare interpreter, {kind}",
            suite / f"prometheus_client, {kind}",
            suite / f"bare, {kind}",
            sense="share",
            unit=unit,
        )
        for kind, unit in (("CPU", "ms"), ("memory", "MiB"))
    ]
    return Section("imports", "Import", "The whole process: start, import, end.", tuple(rows))


def _memory() -> Section:
    rows = []
    for shape, plural in SHAPES.items():
        mine = Suite("memory.ours", OURS, (shape, 100_000), rounds=1)
        theirs = Suite("memory.prometheus_client", OURS, (shape, 100_000), rounds=1)
        rows += [
            Row(f"{plural}, {when}, beside prometheus_client", mine / when, theirs / when, unit="B")
            for when in ("made", "scraped", "peak of a scrape")
        ]
    note = (
        "Bytes for each of 100,000 series: when it was made, after a scrape, which in ours keeps the text that does not"
        " change, and what a scrape takes besides."
    )
    return Section("memory", "Memory", note, tuple(rows))


def _threads() -> Section:
    ours = Suite("threads.ours", OURS, rounds=5, pinned=False)
    prometheus = Suite("threads.prometheus_client", OURS, rounds=5, pinned=False)
    mine = Suite("threads.ours_scraped", OURS, (100_000,), rounds=3, pinned=False)
    theirs = Suite("threads.prometheus_client_scraped", OURS, (100_000,), rounds=3, pinned=False)
    rows = (
        Row(
            "CPU of a call in 8 threads / in one, beside prometheus_client's",
            ours / "8 threads",
            prometheus / "8 threads",
            unit="x",
        ),
        Row(
            "longest stall of a busy thread during a scrape, beside prometheus_client's",
            mine / "scrape",
            theirs / "scrape",
            10,
            unit="ms",
        ),
        Row(
            "the same without a scrape, for as long as one takes",
            mine / "no scrape",
            theirs / "no scrape",
            unit="ms",
        ),
    )
    note = "Five metrics, bound beforehand; scrapes of 100,000 series in a second thread. Stalls are wall time."
    return Section("threads", "Threads", note, rows)


SECTIONS = (
    _decorators(),
    _instruments(),
    _exposition(),
    _processes(),
    _spans(),
    _summaries(),
    _imports(),
    _memory(),
    _threads(),
)
