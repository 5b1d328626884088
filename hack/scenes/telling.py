"""What runs mean in roles: which counter rises when, what is observed, and what a gauge shows at an instant. Pure."""

from __future__ import annotations

import bisect
import math
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from flowgauge.profiles import ROLES
from scenes.story import CAUSE, QUEUES, STEPS, TRIGGERS, Run, Step, Story

KINDS = ("sequential", "parallel", "durable")
MESSAGES = (("command", "Charge"), ("event", "Charged"))
STORES = ("save", "load")
CATEGORIES = ("tokens", "compute")
APIS = ("payments", "mail")
SLOT_KINDS = ("WorkflowWorker", "ActivityWorker")
SLOTS = 20
# Roles of gauges that count what is there: each begin adds one and each end takes it away.
ADDED = {
    *("run.active", "run.waiting", "step.active", "step.waiting"),
    *("handler.active", "queue.depth", "queue.dead"),
}
# What no story tells: each would be a catastrophe of its own.
NEVER = {"checksum.failed", "replay.diverged", "series.dropped"}


@dataclass(frozen=True, slots=True)
class Happening:
    """A counter rises by an amount, a histogram observes it, or a gauge gets it; `labels` are in the order of the role's."""

    at: float
    pod: int
    role: str
    labels: tuple[str, ...]
    amount: float


def kind_of(name: str) -> str:
    """The sort of a workflow, which never changes."""
    return KINDS[zlib.crc32(name.encode()) % len(KINDS)]


def happenings(story: Story, roles: Collection[str]) -> list[Happening]:
    """Those of some roles, by time."""
    found = [
        one for run in story.runs for part in _PARTS for one in _of(run, part(run, story), roles)
    ]
    found.sort(key=lambda one: one.at)
    return found


_Told = Iterator[tuple[float, str, float, dict[str, str]]]


def _of(run: Run, told: _Told, roles: Collection[str]) -> Iterator[Happening]:
    for at, role, amount, labels in told:
        if role in roles:
            values = tuple([labels.get(label, "") for label in ROLES[role].labels])
            yield Happening(at, run.pod, role, values, amount)


def _run(run: Run, _: Story) -> _Told:
    end, who = run.end, {"workflow": run.name, "kind": kind_of(run.name)}
    outcome = {"outcome": "bad" if run.error else "good"}
    yield run.due, "run.waiting", 1, who
    yield run.start, "run.waiting", -1, who
    yield run.start, "run.started", 1, who | {"trigger": run.trigger}
    # Engines count what their own schedules start, whatever the plan of the workflow is.
    if run.trigger in ("schedule", "event"):
        yield run.start, "schedule.triggered", 1, who
    yield run.start, "run.active", 1, who
    yield end, "run.active", -1, who
    yield end, "run.finished", 1, who | outcome
    yield end, "run.duration", end - run.start, who | outcome
    yield end, "run.last_finish", end, who
    yield end, "run.failed" if run.error else "run.succeeded", 1, who | {"error": run.error}
    if run.error and run.dice < 0.4:
        yield end, "run.retried", 1, who
    if not run.error:
        yield end, "run.last_success", end, who


def _steps(run: Run, _: Story) -> _Told:
    before = run.due
    for step in run.steps:
        who = {"workflow": run.name, "step": step.name}
        yield before, "step.waiting", 1, who
        yield step.start, "step.waiting", -1, who
        yield step.start, "step.started", 1, who
        yield step.start, "step.active", 1, who
        yield step.start, "step.delay", step.start - before + 0.05, who | {"queue": run.queue}
        yield from _ended(step, who, run)
        before = step.end


def _ended(step: Step, who: dict[str, str], run: Run) -> _Told:
    end = step.end
    yield end, "step.active", -1, who
    yield end, "step.finished", 1, who | {"outcome": "bad" if step.error else "good"}
    yield end, "step.duration", end - step.start, who
    yield end, "step.failed" if step.error else "step.succeeded", 1, who | {"error": step.error}
    if step.retries:
        yield end, "step.retried", step.retries, who
    if not step.error:
        yield end, "step.billed", 1, who
        if run.dice < 0.12:
            yield end, "idempotency.hit", 1, who


def _queues(run: Run, story: Story) -> _Told:
    where = {"queue": run.queue, "workflow": run.name}
    yield run.due, "queue.enqueued", 1, where
    yield run.due, "queue.depth", 1, where
    yield run.start, "queue.dequeued", 1, where
    yield run.start, "queue.depth", -1, where
    yield run.start, "queue.delay", run.start - run.due, where
    if run.error == CAUSE and run.dice < 0.15:
        yield run.end, "queue.dead", 1, where
    if story.scenario.fails_since and run.dice < 0.0005:
        yield run.end, "schedule.missed", 1, where


def _messages(run: Run, _: Story) -> _Told:
    for step in run.steps:
        took, who = step.end - step.start, {"handler": step.name, "message": MESSAGES[0][1]}
        for kind, message in MESSAGES[: 1 if step.error else 2]:
            yield step.start, "message.published", 1, {"kind": kind, "message": message}
        yield step.start, "handler.active", 1, who
        yield step.end, "handler.active", -1, who
        yield step.end, "handler.duration", took, who
        if step.error:
            yield step.end, "handler.failed", 1, who | {"error": step.error}
        for i, operation in enumerate(STORES):
            done = {"operation": operation, "store": "events", "outcome": "good"}
            yield step.end, "store.finished", 1, done
            yield step.end, "store.duration", 0.02 + took * (i + 1) / 60, done
    if run.error and run.dice < 0.1:
        yield run.end, "store.failed", 1, {"error": "ConcurrencyError", "aggregate": "Order"}


def _durability(run: Run, _: Story) -> _Told:
    who, end = {"workflow": run.name}, run.end
    yield run.start, "lease.duration", 0.004 + 0.03 * run.dice, who
    if run.dice < 0.004:
        yield run.start, "lease.failed", 1, who
    if run.dice < 0.03 or run.error:
        yield run.start, "restore.duration", 0.05 + run.dice, who
        yield run.start, "restore.replayed", 5 + 60 * run.dice, who
    good = run.error != CAUSE or run.dice < 0.9
    yield end, "checkpoint.finished", 1, who | {"outcome": "good" if good else "bad"}
    yield end, "checkpoint.duration", 0.02 + 0.2 * run.dice**3, who
    yield end, "checkpoint.size", 200_000 + 100_000 * run.dice, who
    yield end, "checkpoint.last", end, who


def _costs(run: Run, _: Story) -> _Told:
    who = {"workflow": run.name, "kind": kind_of(run.name)}
    for i, category in enumerate(CATEGORIES):
        spent = 0.004 * (1 + i) * len(run.steps) * (0.5 + run.dice)
        yield run.end, "cost.total", spent, who | {"category": category}
        yield run.end, "cost.saved", spent * 0.3, who | {"category": category}
    items = 20 + 60 * run.dice
    yield run.end, "record.processed", round(items), who | {"outcome": "good"}
    if run.dice < 0.05:
        yield run.end, "record.processed", 1, who | {"outcome": "bad"}
    for api in APIS:
        yield run.end, "api.called", 1 + sum(s.retries for s in run.steps), who | {"api": api}
    yield run.end, "process.cpu", 0.08 * (run.end - run.start), {}


_PARTS = (_run, _steps, _queues, _messages, _durability, _costs)


def domain(story: Story) -> dict[str, tuple[str, ...]]:
    """The values that each semantic label has from the start; those without one come with their first event."""
    return {
        "workflow": story.cast.names,
        "step": STEPS,
        "handler": STEPS,
        "trigger": TRIGGERS,
        "queue": QUEUES,
        "outcome": ("good", "bad"),
        "operation": STORES,
        "store": ("events",),
        "category": CATEGORIES,
        "api": APIS,
    }


_Shown = Iterator[tuple[str, tuple[str, ...], float]]


@dataclass
class Gauges:
    """What is asked of a pod at an instant, and is not the sum of what happened."""

    story: Story
    pod: int
    _due: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self._runs = [run for run in self.story.runs if run.pod == self.pod]
        self._due = [run.due for run in self._runs]

    def at(self, now: float) -> _Shown:
        """Role, labels in the role's order, and value."""
        # What was due more than some hours ago has ended.
        first = bisect.bisect_right(self._due, now - 4 * 3600)
        recent = self._runs[first : bisect.bisect_right(self._due, now)]
        going = [run for run in recent if now < run.end]
        yield from self._ages(going, now)
        yield from self._workers([run for run in going if run.start <= now], now)
        yield from self._told([run for run in recent if run.start > now - 3600], now)
        wave = math.sin(now / 5000) + 0.2 * math.sin(now / 313)
        trouble = self.story.scenario.trouble(max(0, self.story.end - now))
        yield "process.memory", (), 190e6 + 15e6 * wave + 160e6 * trouble
        yield "schedule.broken", ("",), float(trouble > 0.5)
        began = sum(run.start > now - 60 for run in recent)
        yield "message.rate", (), 2 * len(STEPS) * began / 60

    def _ages(self, going: list[Run], now: float) -> _Shown:
        for name in self.story.cast.names:
            begun = [run.start for run in going if run.name == name and run.start <= now]
            yield "run.oldest_age", (name, kind_of(name)), now - min(begun, default=now)
            for queue in QUEUES:
                waits = (r for r in going if r.name == name and r.queue == queue and now < r.start)
                oldest = min((run.due for run in waits), default=now)
                yield "queue.oldest_age", (queue, name), now - oldest

    def _workers(self, going: list[Run], now: float) -> _Shown:
        worker = self.story.pods[self.pod].name
        yield "worker.heartbeat", (worker,), now - now % 5
        yield "worker.up", (worker,), 1
        yield "worker.beat", (worker,), now // 5 - self.story.begin // 5
        for queue in QUEUES:
            busy = min(SLOTS, sum(run.queue == queue for run in going))
            yield "queue.consumers", (queue, ""), 2
            for kind in SLOT_KINDS:
                of = (worker, queue, kind)
                yield "worker.slots_used", of, busy
                yield "worker.slots_free", of, SLOTS - busy
                yield "worker.slots_total", of, SLOTS

    def _told(self, hour: list[Run], now: float) -> _Shown:
        """What programs compute of their own runs."""
        for name in self.story.cast.names:
            who, own = (name, kind_of(name)), [run for run in hour if run.name == name]
            ended = [run for run in own if run.end <= now]
            bad = sum(bool(run.error) for run in ended)
            share = 1 - bad / len(ended) if ended else 1
            yield "run.success_ratio", who, share
            yield "slo.compliance", who, share
            yield "slo.budget", who, max(0, 1 - (1 - share) / 0.05)
            yield "run.recent", (*who, "good"), len(ended) - bad
            yield "run.recent", (*who, "bad"), bad
            yield "run.recent", (*who, "running"), len(own) - len(ended)
