"""The closed list of roles: what a measurement means, whatever a vocabulary calls it.

Profiles give families roles; rules and panels name roles only. `docs/roles.md` is generated from this table.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Instrument = Literal["counter", "gauge", "histogram", "summary", "info"]

# Semantic labels: a family says which of its own labels carries each of them.
LABELS = {
    "workflow": "name of the workflow in the code",
    "step": "name of a step within a run",
    "outcome": "how something ended; the family tells which values are good",
    "error": "type of an error, for example the class of an exception",
    "trigger": "what started a run: manual, schedule, api, event",
    "queue": "name of a queue or topic",
    "message": "name of a message type",
    "kind": "sort of a thing, where a vocabulary sorts them: command or event, api or llm",
    "handler": "name of a message handler",
    "operation": "what was done to a store: save, load",
    "store": "name of a store",
    "aggregate": "name of an aggregate of an event store",
    "category": "what money was spent on",
    "worker": "name of a worker process",
    "api": "name of a called interface",
    "version": "version of a program",
}


class Role(NamedTuple):
    """A meaning: its natural instrument, its base unit and the semantic labels that it may carry."""

    name: str
    instrument: Instrument
    unit: str
    labels: tuple[str, ...]
    meaning: str


_ROLES = (
    Role("run.started", "counter", "", ("workflow", "kind", "trigger"), "Runs that began."),
    Role(
        "run.finished",
        "counter",
        "",
        ("workflow", "kind", "outcome"),
        "Runs that ended, by outcome.",
    ),
    Role(
        "run.succeeded",
        "counter",
        "",
        ("workflow", "kind"),
        "Runs that ended well, where they have a counter of their own.",
    ),
    Role(
        "run.failed",
        "counter",
        "",
        ("workflow", "kind", "error"),
        "Runs that ended badly, by type of error.",
    ),
    Role(
        "run.duration",
        "histogram",
        "seconds",
        ("workflow", "kind", "outcome"),
        "Time from start to end of a run.",
    ),
    Role("run.active", "gauge", "", ("workflow", "kind"), "Runs in progress."),
    Role(
        "run.waiting",
        "gauge",
        "",
        ("workflow", "kind"),
        "Runs that are due or asked for, and have not begun.",
    ),
    Role(
        "run.oldest_age",
        "gauge",
        "seconds",
        ("workflow", "kind"),
        "Age of the oldest run in progress; 0 without one.",
    ),
    Role(
        "run.last_success",
        "gauge",
        "timestamp",
        ("workflow", "kind"),
        "When a run last ended well; 0 if none did yet.",
    ),
    Role(
        "run.last_finish",
        "gauge",
        "timestamp",
        ("workflow", "kind"),
        "When a run last ended, well or badly.",
    ),
    Role(
        "run.success_ratio",
        "gauge",
        "ratio",
        ("workflow", "kind"),
        "Share of good runs, as the program itself computes it.",
    ),
    Role(
        "run.recent",
        "gauge",
        "",
        ("workflow", "kind", "outcome"),
        "Runs of the recent past, by state, as the program itself counts them.",
    ),
    Role(
        "run.retried",
        "counter",
        "",
        ("workflow", "kind"),
        "Runs that were started again after a failure.",
    ),
    Role("step.started", "counter", "", ("workflow", "step"), "Steps that began."),
    Role(
        "step.finished",
        "counter",
        "",
        ("workflow", "step", "outcome"),
        "Steps that ended, by outcome.",
    ),
    Role("step.succeeded", "counter", "", ("workflow", "step"), "Steps that ended well."),
    Role(
        "step.failed",
        "counter",
        "",
        ("workflow", "step", "error"),
        "Steps that ended badly, by type of error.",
    ),
    Role(
        "step.duration",
        "histogram",
        "seconds",
        ("workflow", "step"),
        "Time from start to end of a step.",
    ),
    Role(
        "step.delay",
        "histogram",
        "seconds",
        ("workflow", "step", "queue"),
        "Time from due to started of a step.",
    ),
    Role("step.active", "gauge", "", ("workflow", "step"), "Steps in progress."),
    Role(
        "step.waiting",
        "gauge",
        "",
        ("workflow", "step"),
        "Steps that are due and wait for somebody to do them.",
    ),
    Role(
        "step.retried",
        "counter",
        "",
        ("workflow", "step"),
        "Attempts of a step after the first one.",
    ),
    Role("step.billed", "counter", "", ("workflow", "step"), "Steps that somebody pays for."),
    Role(
        "restore.duration",
        "histogram",
        "seconds",
        ("workflow",),
        "Time to bring a durable run back.",
    ),
    Role("restore.replayed", "histogram", "", ("workflow",), "Events replayed by one restore."),
    Role(
        "lease.duration",
        "histogram",
        "seconds",
        ("workflow",),
        "Time to acquire the lease of a run.",
    ),
    Role("lease.failed", "counter", "", ("workflow",), "Leases that could not be acquired."),
    Role(
        "checkpoint.finished",
        "counter",
        "",
        ("workflow", "outcome"),
        "Checkpoints (snapshots), by outcome.",
    ),
    Role(
        "checkpoint.duration", "histogram", "seconds", ("workflow",), "Time to save a checkpoint."
    ),
    Role("checkpoint.size", "gauge", "bytes", ("workflow",), "Size of the newest checkpoint."),
    Role(
        "checkpoint.last", "gauge", "timestamp", ("workflow",), "When a checkpoint was last saved."
    ),
    Role(
        "checksum.failed",
        "counter",
        "",
        ("workflow",),
        "Stored data that does not match its checksum.",
    ),
    Role(
        "idempotency.hit",
        "counter",
        "",
        ("workflow", "step"),
        "Steps answered from the idempotency cache.",
    ),
    Role(
        "replay.diverged",
        "counter",
        "",
        ("workflow", "error"),
        "Replays that did not repeat the recorded history.",
    ),
    Role("queue.depth", "gauge", "", ("queue", "workflow"), "Items that wait."),
    Role(
        "queue.oldest_age",
        "gauge",
        "seconds",
        ("queue", "workflow"),
        "Age of the oldest waiting item.",
    ),
    Role("queue.enqueued", "counter", "", ("queue", "workflow"), "Items put into a queue."),
    Role("queue.dequeued", "counter", "", ("queue", "workflow"), "Items taken from a queue."),
    Role("queue.dead", "gauge", "", ("queue", "workflow"), "Items given up on (dead letters)."),
    Role(
        "queue.delay",
        "histogram",
        "seconds",
        ("queue", "workflow"),
        "Time from enqueued or due to started.",
    ),
    Role(
        "queue.consumers",
        "gauge",
        "",
        ("queue", "workflow"),
        "Workers or polls that take from a queue.",
    ),
    Role("message.published", "counter", "", ("kind", "message"), "Messages published."),
    Role(
        "message.rate",
        "gauge",
        "per_second",
        (),
        "Messages a second, as the program itself computes it.",
    ),
    Role(
        "handler.duration",
        "histogram",
        "seconds",
        ("handler", "message"),
        "Time that a handler took.",
    ),
    Role("handler.failed", "counter", "", ("handler", "error"), "Handler calls that raised."),
    Role("handler.active", "gauge", "", ("handler",), "Handler calls in progress."),
    Role(
        "store.finished",
        "counter",
        "",
        ("operation", "store", "outcome"),
        "Operations of an event store.",
    ),
    Role(
        "store.duration",
        "histogram",
        "seconds",
        ("operation", "store"),
        "Time that a store operation took.",
    ),
    Role(
        "store.failed",
        "counter",
        "",
        ("error", "aggregate"),
        "Operations of an event store that failed, by type of error.",
    ),
    Role("schedule.triggered", "counter", "", ("workflow",), "Planned starts that happened."),
    Role("schedule.missed", "counter", "", ("workflow",), "Planned starts that did not happen."),
    Role(
        "schedule.broken",
        "gauge",
        "",
        ("workflow",),
        "Definitions of workflows that cannot be loaded, and so will not start.",
    ),
    Role(
        "worker.heartbeat",
        "gauge",
        "timestamp",
        ("worker",),
        "When a worker last gave a sign of life.",
    ),
    Role("worker.beat", "counter", "", ("worker",), "Signs of life that a worker gave."),
    Role("worker.up", "gauge", "", ("worker",), "1 for a worker that answers."),
    Role("worker.slots_used", "gauge", "", ("worker", "queue", "kind"), "Slots that are busy."),
    Role("worker.slots_free", "gauge", "", ("worker", "queue", "kind"), "Slots that are idle."),
    Role("worker.slots_total", "gauge", "", ("worker", "queue", "kind"), "Slots that there are."),
    Role(
        "record.processed",
        "counter",
        "",
        ("workflow", "outcome"),
        "Records, rows or items processed, by outcome.",
    ),
    Role(
        "cost.total", "counter", "cost", ("workflow", "kind", "category"), "Money or tokens spent."
    ),
    Role(
        "cost.saved",
        "counter",
        "cost",
        ("workflow", "kind", "category"),
        "Money or tokens not spent, thanks to a cache.",
    ),
    Role("api.called", "counter", "", ("api", "workflow"), "Calls of an interface outside."),
    Role(
        "slo.compliance",
        "gauge",
        "ratio",
        ("workflow", "kind"),
        "SLO compliance, as the program itself computes it.",
    ),
    Role(
        "slo.budget",
        "gauge",
        "ratio",
        ("workflow", "kind"),
        "Error budget left, as the program itself computes it.",
    ),
    Role("process.cpu", "counter", "seconds", (), "CPU time used by the process."),
    Role("process.memory", "gauge", "bytes", (), "Resident memory of the process."),
    Role(
        "series.dropped",
        "counter",
        "",
        (),
        "Label sets that the cardinality limit sent to the overflow series.",
    ),
    Role(
        "target.up",
        "gauge",
        "",
        (),
        "1 for a target that answered its last scrape; every scraped vocabulary has it.",
    ),
    Role("library.info", "info", "", ("version",), "1, labelled with the version of the library."),
)

ROLES = {role.name: role for role in _ROLES}

# What one of a unit is in its base unit. Units without an entry have only their base form.
UNITS = {
    "seconds": ("seconds", "1"),
    "milliseconds": ("seconds", "0.001"),
    "microseconds": ("seconds", "0.000001"),
    "minutes": ("seconds", "60"),
    "hours": ("seconds", "3600"),
    "timestamp": ("timestamp", "1"),
    "timestamp_milliseconds": ("timestamp", "0.001"),
    "bytes": ("bytes", "1"),
    "kibibytes": ("bytes", "1024"),
    "mebibytes": ("bytes", "1048576"),
    "ratio": ("ratio", "1"),
    "percent": ("ratio", "0.01"),
    "cost": ("cost", "1"),
    "per_second": ("per_second", "1"),
    "": ("", "1"),
}
