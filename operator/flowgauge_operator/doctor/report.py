"""Findings for people and for programs. Pure: text in, text out; whether there are colours is the caller's to say."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from flowgauge_operator.doctor import catalogue, diagnosis
from flowgauge_operator.doctor.finding import Finding, Level
from flowgauge_operator.doctor.snapshot import Snapshot, Unseen

_DOCS = "docs/doctor-checks.md"
_MARKS = {Level.OK: "ok", Level.WARNING: "WARNING", Level.ERROR: "ERROR", Level.UNKNOWN: "unknown"}
_COLOURS = {Level.OK: "32", Level.WARNING: "33", Level.ERROR: "1;31", Level.UNKNOWN: "36"}
_COMMANDS = ("kubectl ", "helm ", "flowgauge ", "pip ", "echo ", "curl ", "grouping_key=")
_MARGIN = 10
_NAME = 21


def text(
    seen: Snapshot,
    findings: Sequence[Finding],
    *,
    colour: bool = False,
    width: int = 100,
    quiet: bool = False,
) -> str:
    """The findings by group; with `quiet` without those that are ok."""
    lines = list(_head(seen))
    shown = [f for f in findings if not quiet or f.level is not Level.OK]
    for group, some in groupby(shown, lambda f: catalogue.BY_NAME[f.check].group):
        lines += ["", _painted(group, "1", colour)]
        for finding in some:
            lines += _finding(finding, colour, width)
    lines += ["", _summary(findings)]
    return "\n".join(lines) + "\n"


def _head(seen: Snapshot) -> Iterator[str]:
    server = "" if isinstance(seen.server, Unseen) else f" ({seen.server.get('gitVersion', '')})"
    what = f"namespace {seen.namespace}" if seen.namespace else "the cluster as a whole"
    what = f"workflow {seen.workflow.title}" if seen.workflow else what
    yield f"flowgauge doctor {seen.version}: {what} at {seen.address}{server}"
    for name, way in (("Prometheus", seen.prometheus.way), ("Alertmanager", seen.alertmanager.way)):
        if way:
            yield f"{name}: {way}"


def _finding(finding: Finding, colour: bool, width: int) -> Iterator[str]:
    mark = _painted(f"{_MARKS[finding.level]:<{_MARGIN - 3}}", _COLOURS[finding.level], colour)
    told = f"{finding.about}: {finding.seen}" if finding.about else finding.seen
    indent = " " * (_MARGIN + _NAME)
    first, *rest = _wrapped(printable(told), width - len(indent))
    yield f"  {mark} {finding.check:<{_NAME}}{first}"
    yield from (indent + line for line in rest)
    lines = [
        part
        for line in map(printable, finding.remedy.splitlines())
        # Commands stay on one line, so that they can be copied.
        for part in (
            [line] if line.startswith(_COMMANDS) else _wrapped(line, width - len(indent) - 2)
        )
    ]
    for number, line in enumerate(lines):
        yield f"{indent}{'→' if number == 0 else ' '} {line}".rstrip()


def _wrapped(told: str, width: int) -> list[str]:
    return textwrap.wrap(told, max(width, 30), break_long_words=False, break_on_hyphens=False) or [
        ""
    ]


def printable(told: str) -> str:
    """A text without control characters: what comes from a cluster must not drive a terminal."""
    return "".join(c if c.isprintable() else " " for c in told)


def _painted(told: str, code: str, colour: bool) -> str:
    return f"\x1b[{code}m{told}\x1b[0m" if colour else told


def _summary(findings: Iterable[Finding]) -> str:
    count = diagnosis.counts(findings)
    plural = {"error": "errors", "warning": "warnings"}
    parts = [
        f"{count[level]} {plural.get(level, level) if count[level] != 1 else level}"
        for level in ("error", "warning", "unknown", "ok")
    ]
    return f"{', '.join(parts)}\nwhat each check means: {_DOCS}"


def document(seen: Snapshot, findings: Sequence[Finding]) -> dict[str, Any]:
    """The findings as the document whose schema docs/doctor.md describes."""
    server = seen.server
    return {
        "schema": 1,
        "flowgauge": seen.version,
        "cluster": {
            "address": seen.address,
            "kubernetes": None if isinstance(server, Unseen) else server.get("gitVersion"),
        },
        "workflow": seen.workflow.title if seen.workflow else None,
        "prometheus": seen.prometheus.way or None,
        "alertmanager": seen.alertmanager.way or None,
        "summary": diagnosis.counts(findings),
        "findings": [
            {
                "check": finding.check,
                "group": catalogue.BY_NAME[finding.check].group,
                "level": finding.level.value,
                "about": finding.about,
                "seen": finding.seen,
                "remedy": finding.remedy,
            }
            for finding in findings
        ],
    }


def as_json(seen: Snapshot, findings: Sequence[Finding]) -> str:
    """The same as text."""
    return json.dumps(document(seen, findings), indent=2, ensure_ascii=False) + "\n"
