"""Findings as Markdown. Pure, but for `write`."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from benchmarks.library.rounds import Case, Findings, Spread
from benchmarks.library.rows import Row, Section

BEGIN, END = "<!-- bench-library: begin -->", "<!-- bench-library: end -->"
HEAD = "| case | measured | beside | ratio | aim | |\n|---|---:|---:|---:|---:|---|"


def tables(sections: Sequence[Section], findings: Findings) -> str:
    """One table for each section."""
    return "\n\n".join(_table(section, findings) for section in sections)


def summary(sections: Sequence[Section], findings: Findings) -> str:
    """How many aims are met, and which are not."""
    judged = [(row, _verdict(row, findings)) for section in sections for row in section.rows]
    missed = [
        f"{row.what}: {_ratio(row, findings)}" for row, verdict in judged if verdict == MISSED
    ]
    met = sum(verdict == MET for _, verdict in judged)
    return "\n".join(
        [
            f"{met} aims met, {len(missed)} missed",
            *(f"- missed: {text}" for text in missed),
            *(f"- {suite}: {p.short}: {p.reason}" for suite, p in findings.problems.items()),
        ]
    )


def references(findings: Findings) -> str:
    """How far processes were alike; what differs by less means nothing."""
    names = ("two clocks", "two clocks, async", "empty decorator", "plain call", "raise and catch")
    found = [(name, findings.everywhere(name)) for name in names]
    lines = [
        f"| {name} | {_number(spread.median, 'ns')} |"
        f" {_number(spread.least, 'ns')} to {_number(spread.most, 'ns')} |"
        for name, spread in found
        if spread
    ]
    head = "### The machine\n\nThe same cases run in every process. What differs by less than they do means nothing.\n"
    return "\n".join([head, "| reference | median | of the processes |", "|---|---:|---:|", *lines])


def write(page: Path, text: str) -> None:
    """Put the text between the markers of a page."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} has no lines {BEGIN} and {END} to write between")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


MET, MISSED = "met", "**missed**"


def _table(section: Section, findings: Findings) -> str:
    lines = [_line(row, findings) for row in section.rows]
    return "\n".join([f"### {section.title}", "", _paragraph(section.note), "", HEAD, *lines])


def _paragraph(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _line(row: Row, findings: Findings) -> str:
    cells = (
        row.what,
        _median(row.measured, row.unit, findings),
        _median(row.other, row.unit, findings) if row.other else "",
        _ratio(row, findings),
        _aim(row),
        _verdict(row, findings),
    )
    return f"| {' | '.join(cells)} |"


def _median(case: Case, unit: str, findings: Findings) -> str:
    spread = findings.spread(case)
    if spread is None:
        return "none"
    if unit == "bool":
        return "yes" if spread.least else "no"
    return f"{_number(spread.median, unit)}"


def _number(value: float, unit: str) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}"


def _spread(row: Row, findings: Findings) -> Spread | None:
    """What the aim is about."""
    if row.sense == "limit":
        return findings.spread(row.measured)
    if row.sense == "always":
        found = findings.spread(row.measured)
        return found and Spread(found.least, found.least, found.least)
    if row.other is None:
        return None
    above, below = (row.other, row.measured) if row.sense == "times" else (row.measured, row.other)
    return findings.ratio(above, below)


def _ratio(row: Row, findings: Findings) -> str:
    spread = _spread(row, findings)
    if spread is None:
        return ""
    if row.sense in ("limit", "always"):
        return ""
    if spread.least == spread.most:
        return f"{spread.median:.3g}"
    return f"{spread.median:.3g} ({spread.least:.3g} to {spread.most:.3g})"


def _problems(row: Row, findings: Findings) -> list[str]:
    judged = [row.measured] if row.sense in ("limit", "always") else [row.measured, row.other]
    suites = dict.fromkeys(case.suite for case in judged if case)
    return [problem.short for suite in suites if (problem := findings.problems.get(suite))]


def _aim(row: Row) -> str:
    if row.aim is None:
        return ""
    return {
        "times": f"at least {row.aim:g}",
        "share": f"at most {row.aim:g}",
        "limit": f"at most {row.aim:g} {row.unit}",
        "always": "always",
    }[row.sense]


def _verdict(row: Row, findings: Findings) -> str:
    if problems := _problems(row, findings):
        return "; ".join(problems)
    spread = _spread(row, findings)
    if spread is None:
        return "not measured"
    if row.aim is None:
        return ""
    wants_more = row.sense in ("times", "always")
    good = spread.median >= row.aim if wants_more else spread.median <= row.aim
    return MET if good else MISSED
