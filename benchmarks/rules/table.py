"""Findings as Markdown. Pure, but for `write`."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.rules.cost import Cost
from benchmarks.rules.peers import OURS, PERIOD, PERIOD_DAYS, SLOTH
from benchmarks.rules.replaying import HAPPENED, KNOWN, Finding

BEGIN, END = "<!-- bench-rules: begin -->", "<!-- bench-rules: end -->"
# Which windows are judged together.
COLUMNS: dict[str, tuple[int | str, ...]] = {
    "5m": (300,),
    "30m to 6h": (1800, 3600, 7200, 21600),
    "1d to 4d": (86400, 259200, 345600),
    f"{PERIOD_DAYS}d": (PERIOD,),
    "budget": (KNOWN,),
    "budget, by when runs ended": (HAPPENED,),
}


def errors(findings: Mapping[str, Sequence[Finding]], lost: Mapping[str, float]) -> str:
    """Median and worst error of each tool under each shape of traffic."""
    head = ["traffic", "rules of", *COLUMNS]
    lines = [_row(head), _row(["---", "---", *("---:" for _ in COLUMNS)])]
    for shape, found in findings.items():
        for tool in dict.fromkeys(finding.tool for finding in found):
            own = [finding for finding in found if finding.tool == tool]
            cells = [
                _spread(f.error for f in own if f.window in windows) for windows in COLUMNS.values()
            ]
            lines.append(_row([shape, tool, *cells]))
    unseen = ", ".join(f"{shape} {100 * share:.2g} %" for shape, share in lost.items() if share)
    note = f"Runs of which no scrape told, because their process ended first: {unseen or 'none'}."
    return "\n".join([*lines, "", note])


def costs(measured: Sequence[Cost]) -> str:
    """Rules and CPU of each tool."""
    sloth = next((cost.seconds for cost in measured if cost.tool == SLOTH), None)
    lines = [
        _row(["rules of", "rules", "of them recorded", "CPU an hour", "rounds", "Sloth's = 1"]),
        _row(["---", *["---:"] * 5]),
    ]
    for cost in measured:
        ratio = f"{cost.seconds / sloth:.3f}" if sloth else ""
        spread = f"{1000 * cost.least:,.0f} to {1000 * cost.most:,.0f} ms"
        cells = [
            cost.tool,
            cost.rules,
            cost.series,
            f"{1000 * cost.seconds:,.0f} ms",
            spread,
            ratio,
        ]
        lines.append(_row(cells))
    return "\n".join(lines)


def summary(findings: Mapping[str, Sequence[Finding]], measured: Sequence[Cost]) -> str:
    """Whether the two aims are met."""
    missed = [
        f"{shape}: {finding.window} s at {finding.at:.0f}: {finding.recorded} instead of {finding.true}"
        for shape, found in findings.items()
        for finding in found
        if finding.tool == OURS and finding.window != HAPPENED and finding.error > 0.01
    ]
    lines = [f"within 1 % of the truth: {'all' if not missed else f'{len(missed)} values are not'}"]
    by_name = {cost.tool: cost.seconds for cost in measured}
    if by_name.keys() >= {OURS, SLOTH}:
        share = by_name[OURS] / by_name[SLOTH]
        lines.append(f"a tenth of Sloth's CPU: {'met' if share <= 0.1 else 'missed'}, {share:.3f}")
    return "\n".join([*lines, *missed[:20]])


def write(page: Path, text: str) -> None:
    """Put the text between the markers of a page."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} has no lines {BEGIN} and {END} to write between")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def _row(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _spread(found: Iterable[float]) -> str:
    values = list(found)
    if not values:
        return ""
    return f"{_percent(statistics.median(values))} / {_percent(max(values))}"


def _percent(share: float) -> str:
    percent = 100 * share
    if percent < 0.005:
        return "0"
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.2g} %"
