"""Maintenance windows as PromQL: when nothing alerts, and what happens spends no budget. Pure."""

from __future__ import annotations

import datetime as dt

from flowgauge_operator import cron, duration, promql
from flowgauge_operator.model import Maintenance, Workflow
from flowgauge_operator.render.options import Problem

ACTIVE = "workflow:maintenance:active"
LONGEST_SECONDS = 86400.0


def active(workflow: Workflow) -> str | None:
    """An expression with a value while a window is open; None for a workflow without usable windows."""
    opened = [
        expr
        for window in workflow.spec.maintenance
        if not _fault(window) and (expr := _opened(window))
    ]
    return f"max({' or '.join(opened)})" if opened else None


def problems(workflow: Workflow) -> list[Problem]:
    """What is wrong with windows that the schema lets pass. Such a window is left out; the others stand."""
    found = [(i, _fault(window)) for i, window in enumerate(workflow.spec.maintenance)]
    return [
        Problem(f"spec.maintenance[{i}].{fault[0]}", fault[1], fault[2])
        for i, fault in found
        if fault
    ]


def outside(expr: str, workflow: Workflow, lookback: str = "") -> str:
    """The expression, without a value while a window is open or was within `lookback`; for workflows that have one."""
    if active(workflow) is None:
        return expr
    owner = promql.matchers(promql.owner(workflow.namespace, workflow.name))
    series = f"{ACTIVE}{{{owner}}}"
    # There is one such series, so no label has to match.
    return f"({expr}) unless on () {f'max_over_time({series}[{lookback}])' if lookback else series}"


def _opened(window: Maintenance) -> str:
    if window.cron and window.duration:
        return (
            f"max_over_time(({cron.planned(window.cron, window.time_zone)})[{window.duration}:1m])"
        )
    return f"(vector(time()) >= {_unix(window.start)} < {_unix(window.end)})"


def _fault(window: Maintenance) -> tuple[str, str, str] | None:
    """The field, the reason and the message."""
    try:
        if window.cron:
            cron.planned(window.cron, window.time_zone)
    except cron.CronError as error:
        return "cron", "InvalidSpec", f"{error}; mend the field"
    except (KeyError, OSError):
        return (
            "timeZone",
            "UnknownTimeZone",
            f"{window.time_zone!r} is no time zone of the IANA database; write for example Europe/Zurich",
        )
    for field, instant in (("start", window.start), ("end", window.end)):
        if instant is not None and not _exists(instant):
            return field, "InvalidSpec", f"{instant} is no day of the calendar; correct it"
    if window.duration and duration.seconds(window.duration) > LONGEST_SECONDS:
        return (
            "duration",
            "InvalidSpec",
            f"{window.duration} is longer than 24h; give start and end, or use suspend",
        )
    return None


def _exists(instant: str) -> bool:
    try:
        _unix(instant)
    except ValueError:
        return False
    return True


def _unix(instant: str | None) -> int:
    return int(dt.datetime.strptime(instant or "", "%Y-%m-%dT%H:%M:%S%z").timestamp())
