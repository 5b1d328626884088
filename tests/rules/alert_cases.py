"""What each alert has to do, as series over roles: they are written in the vocabulary of each profile before promtool runs.

A series is `(role, labels, values)` in promtool's notation, one sample a minute unless the entry says otherwise.
`outcome` good and bad become a value of the family; `le` is in seconds. `bad` must fire at `at` with exactly
`description`; `good`, every entry of `silent` and the absence of all data must not; `resolves` fires at `at` and is
over at `resolved`.
"""

from dataclasses import dataclass, field

Series = tuple[tuple[str, dict[str, str], str], ...]


@dataclass(frozen=True)
class Cases:
    severity: str
    description: str
    at: str
    bad: Series
    good: Series
    resolves: Series
    resolved: str
    fires: dict[str, Series] = field(default_factory=dict)
    silent: dict[str, Series] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    outage: str = ""
    step: str = "1m"
    fires_without_data: bool = False
    # Why a series that begins with its first event does not fire, where it does not.
    unseen: str = ""


def runs(good, bad=None, **more):
    """Series of finished runs by outcome."""
    series = [("run.finished", {"outcome": "good"}, good)]
    series += [("run.finished", {"outcome": "bad"}, bad)] if bad else []
    return (
        *series,
        *(("run.finished", {"outcome": value}, values) for value, values in more.items()),
    )


def steps(good, bad, step="load"):
    """Series of finished executions of a step by outcome."""
    return (
        ("step.finished", {"step": step, "outcome": "good"}, good),
        ("step.finished", {"step": step, "outcome": "bad"}, bad),
    )


def active(values):
    """Runs in progress."""
    return (("run.active", {}, values),)


def items(values):
    """Items processed."""
    return (("record.processed", {}, values),)


def queue(values):
    """The depth of a queue."""
    return (("queue.depth", {"queue": "in"}, values),)


def calls(values, failed="0x60"):
    """Calls of a handler, and those that raised."""
    return (
        ("handler.duration_count", {"handler": "handle"}, values),
        ("handler.failed", {"error": "handler_error", "handler": "handle"}, failed),
    )


def stored(values, failed="0x60"):
    """Operations of an event store, and those that failed."""
    return (
        ("store.finished", {"operation": "save", "store": "postgres"}, values),
        ("store.failed", {"error": "concurrency_error", "aggregate": "order"}, failed),
    )


def took(seconds, number="0+2.5x1000"):
    """Sum and number of the durations of runs."""
    return (("run.duration_sum", {}, seconds), ("run.duration_count", {}, number))


def busy(used, total):
    """Slots of a worker."""
    return (
        ("worker.slots_used", {"worker": "a"}, used),
        ("worker.slots_total", {"worker": "a"}, total),
    )


def spent(step):
    """Money after so many steps of five minutes: much in the fifth hour of each day, little otherwise."""
    days, rest = divmod(step, 288)
    return (
        days * (276 * 0.5 + 12 * 5)
        + min(rest, 48) * 0.5
        + max(min(rest - 48, 12), 0) * 5
        + max(rest - 60, 0) * 0.5
    )


def cpu(**pods):
    """CPU seconds by pod."""
    return tuple(("process.cpu", {"pod": pod}, values) for pod, values in pods.items())


def memory(**pods):
    """Bytes of memory by pod."""
    return tuple(("process.memory", {"pod": pod}, values) for pod, values in pods.items())


def durations(role, labels=None, **buckets):
    """A histogram: bucket bounds in seconds as `le300`, with milliseconds as `le0_5`."""
    bounds = {bound.removeprefix("le").replace("_", "."): v for bound, v in buckets.items()}
    bounds["+Inf"] = list(buckets.values())[-1]
    own = labels or {}
    return tuple((f"{role}_bucket", own | {"le": b}, values) for b, values in bounds.items())


def up(**pods):
    """Targets by pod."""
    return tuple(("target.up", {"pod": pod}, values) for pod, values in pods.items())


def absent(what, reason, series):
    """The cases of MetricsAbsent over something that is there when nothing runs."""
    role, labels, _ = series
    return Cases(
        severity="warning",
        outage="absence",
        description=f"No series of {what} of {{owner}}; {reason}",
        at="15m",
        bad=(),
        good=(series,),
        resolves=((role, labels, "_x20 0x40"),),
        resolved="22m",
        silent={"a pod is replaced within minutes": ((role, labels, "0x10 _x8 0x40"),)},
        fires_without_data=True,
    )


def mean(total, count):
    """Sum and count of the durations of runs."""
    return (("run.duration_sum", {}, total), ("run.duration_count", {}, count))


def pods(good, bad):
    """Pods that ended, without a name of the step."""
    return (
        ("step.finished", {"outcome": "good"}, good),
        ("step.finished", {"outcome": "bad"}, bad),
    )


def recent(**states):
    """Runs of the recent past by state."""
    return tuple(("run.recent", {"outcome": state}, values) for state, values in states.items())


def consumers(values, name="in"):
    """Workers or polls of a queue."""
    return (("queue.consumers", {"queue": name}, values),)


def diverged(values):
    """Replays that did not repeat their history."""
    return (("replay.diverged", {"workflow": "Transfer"}, values),)


def tasks(values):
    """Workflow tasks that failed for another reason."""
    labels = {"handler": "Transfer", "error": "WorkflowError"}
    return (("handler.failed", labels, values),)


def slots(values):
    """Free slots of a worker."""
    return (("worker.slots_free", {"queue": "in", "kind": "ActivityWorker"}, values),)


def happened(severity, window, description, role, labels=None, *, by=None):
    """The cases of an alert for which one event is enough; `window` in minutes, two events at three hours less two."""

    def counted(values):
        return ((role, labels or {}, values),)

    before = 180 - window
    return Cases(
        severity=severity,
        description=description,
        at="180m",
        bad=counted("0x178 2x120"),
        good=counted("0x300"),
        resolves=counted("0x178 2x120"),
        resolved=f"{180 + window}m",
        fires={"seen by one scrape, by which its pod ends": counted("_x178 2 stale")},
        silent={
            "counter reset": counted("5x170 0x130"),
            "old totals, a window after a scrape that failed": counted(
                f"5x{before - 1} stale 5x200"
            ),
            "old totals, a window after half an hour without scrapes": counted(
                f"5x{before - 31} _x30 5x200"
            ),
        },
        labels=by or {},
    )


CASES = {
    "TargetDown": Cases(
        severity="critical",
        outage="cause",
        description="Prometheus knows targets of {owner} but none of them answered for five minutes.",
        at="10m",
        bad=up(a="0x60", b="0x60"),
        good=up(a="1x60", b="1x60"),
        resolves=up(a="0x20 1x40", b="0x60"),
        resolved="22m",
        silent={
            "one of two answers": up(a="1x60", b="0x60"),
            "a target that misses some scrapes": up(a="1 0 0 0 1 0 0 0 1 0 0 0 1 0 0 0 1"),
        },
    ),
    "TargetsDown": Cases(
        severity="warning",
        description="Only 50% of the targets of {owner} answer.",
        at="15m",
        bad=up(a="1x60", b="0x60"),
        good=up(a="1x60", b="1x60"),
        resolves=up(a="1x60", b="0x20 1x40"),
        resolved="22m",
        silent={
            "all are down, which is TargetDown": up(a="0x60", b="0x60"),
            "a pod is restarted": up(a="1x60", b="1x5 0x3 _x5 1x40"),
        },
    ),
    "MetricsAbsent": Cases(
        severity="warning",
        outage="absence",
        description=(
            "No series of finished runs of {owner}; an idle workflow has them at zero, so nothing is being measured."
        ),
        at="15m",
        bad=(),
        good=runs("0x60"),
        resolves=runs("_x20 0x40"),
        resolved="22m",
        silent={
            "counter reset": runs("5+1x10 0+1x40"),
            "a pod is replaced within minutes": runs("0x10 _x8 0x40"),
        },
        fires_without_data=True,
    ),
    "HighErrorRate": Cases(
        severity="warning",
        description="10% of the runs of {owner} ended badly in the last ten minutes.",
        at="20m",
        bad=runs("0+9x60", "0+1x60"),
        good=runs("0+99x60", "0+1x60"),
        resolves=runs("0+9x60", "0+1x20 20x60"),
        resolved="40m",
        silent={
            "counter reset": runs("900+9x10 0+9x50", "100x10 0x50"),
            "one failure of a quiet workflow": runs("0+1x60", "0x12 1x48"),
            "nothing but failures, too few to judge": runs("0x60", "0x12 1x60"),
            "idle": runs("7x60", "7x60"),
        },
    ),
    "SlowRuns": Cases(
        severity="warning",
        description="The 95th percentile of the duration of runs of {owner} is 9m 45s.",
        at="20m",
        bad=durations("run.duration", le300="0x60", le600="0+1x60"),
        good=durations("run.duration", le300="0+1x60", le600="0+1x60"),
        resolves=durations("run.duration", le300="0x20 1+1x60", le600="0+1x80"),
        resolved="40m",
        silent={
            "counter reset": durations(
                "run.duration", le300="90+1x20 0+1x40", le600="90+1x20 0+1x40"
            ),
            "idle": durations("run.duration", le300="0x60", le600="9x60"),
            "one in fifty is slow": durations("run.duration", le300="0+49x60", le600="0+50x60"),
        },
    ),
    # Where a profile has a threshold of its own.
    "tta-dev/SlowRuns": Cases(
        severity="warning",
        description="The 95th percentile of the duration of runs of {owner} is 29s.",
        at="20m",
        bad=durations("run.duration", le10="0x60", le30="0+1x60"),
        good=durations("run.duration", le10="0+1x60", le30="0+1x60"),
        resolves=durations("run.duration", le10="0x20 1+1x60", le30="0+1x80"),
        resolved="40m",
        silent={
            "counter reset": durations("run.duration", le10="90+1x20 0+1x40", le30="90+1x20 0+1x40")
        },
    ),
    "RunStuck": Cases(
        severity="warning",
        description="The oldest run of {owner} has been going for 40m 0s.",
        at="10m",
        bad=(("run.oldest_age", {}, "2400x60"),),
        good=(("run.oldest_age", {}, "600x60"),),
        resolves=(("run.oldest_age", {}, "2400x15 0x60"),),
        resolved="17m",
        silent={"no run": (("run.oldest_age", {}, "0x60"),)},
    ),
    "LowThroughput": Cases(
        severity="warning",
        outage="effect",
        description="Runs of {owner} end at 0% of yesterday's rate.",
        at="26h",
        bad=runs("0+10x288 2880x72"),
        good=runs("0+10x360"),
        resolves=runs("0+10x288 2880x36 2890+10x60"),
        resolved="29h",
        silent={
            "counter reset": runs("0+10x288 0+10x72"),
            "too few yesterday to judge": runs("0+0.5x288 144x72"),
            "half of yesterday": runs("0+10x288 2885+5x72"),
        },
        step="5m",
    ),
    "HighStepFailureRate": Cases(
        severity="warning",
        description="More than a tenth of the executions of a step of {owner} fail; now 20%.",
        at="20m",
        bad=steps("0+4x60", "0+1x60") + steps("0+9x60", "0x60", step="save"),
        good=steps("0+19x60", "0+1x60"),
        resolves=steps("0+4x60", "0+1x20 20x60"),
        resolved="40m",
        silent={
            "counter reset": steps("900+4x10 0+4x50", "100x10 0x50"),
            "two failures of a quiet step": steps("0x60", "0x10 2x60"),
        },
        labels={"step": "load"},
    ),
    "RetryStorm": Cases(
        severity="warning",
        description=(
            "Steps of {owner} were retried 150 times in the last 15 minutes, over five times the rate of the last day."
        ),
        at="1470m",
        bad=(("step.retried", {"step": "load"}, "0x288 50+50x40"),),
        good=(("step.retried", {"step": "load"}, "0+5x400"),),
        resolves=(("step.retried", {"step": "load"}, "0x288 50+50x6 350x60"),),
        resolved="25h",
        silent={
            "counter reset": (("step.retried", {"step": "load"}, "900+5x288 0+5x40"),),
            "few, though none before": (("step.retried", {"step": "load"}, "0x288 5+5x40"),),
            "always many": (("step.retried", {"step": "load"}, "0+50x400"),),
        },
        unseen="it asks for a day of history of retries, without which everything looks like a storm",
        step="5m",
    ),
    "PartialFailure": Cases(
        severity="warning",
        description="10% of the steps of {owner} fail although runs end well.",
        at="30m",
        bad=steps("0+9x60", "0+1x60") + runs("0+1x60"),
        good=steps("0+99x60", "0+1x60") + runs("0+1x60"),
        resolves=steps("0+9x120", "0+1x30 30x90") + runs("0+1x120"),
        resolved="100m",
        silent={
            "counter reset": steps("900+9x10 0+9x50", "100x10 0x50") + runs("100+1x10 0+1x50"),
            "the runs fail too": steps("0+9x60", "0+1x60") + runs("0x60", "0+1x60"),
        },
    ),
    "QueueItemOld": Cases(
        severity="warning",
        description="The oldest item of {owner} has waited for 20m 0s.",
        at="15m",
        bad=(("queue.oldest_age", {"queue": "in"}, "1200x60"),),
        good=(("queue.oldest_age", {"queue": "in"}, "60x60"),),
        resolves=(("queue.oldest_age", {"queue": "in"}, "1200x20 0x60"),),
        resolved="22m",
        labels={"queue": "in"},
    ),
    # Planned at each full hour, with ten minutes of grace; promtool's time begins at 1970.
    "ScheduleMissed": Cases(
        severity="critical",
        outage="effect",
        description=(
            "A run of {owner} was planned for 1970-01-01 01:00:00 +0000 UTC; none has begun since, and its deadline is"
            " over."
        ),
        at="75m",
        bad=(("run.started", {}, "0x20 1x140"), *runs("0x20 1x140")),
        good=(("run.started", {}, "0x20 1x40 2x100"), *runs("0x22 1x40 2x100")),
        resolves=(("run.started", {}, "0x80 1x80"), *runs("0x80 1x80")),
        resolved="90m",
        silent={
            "counter reset": (("run.started", {}, "5x60 0x1 1x100"), *runs("5x60 0x1 1x100")),
            "begun and failed": (("run.started", {}, "0x60 1x100"), *runs("0x160", "0x62 1x100")),
            "the run of a pod that starts for it, whose counters begin with it": (
                ("run.started", {}, "_x61 1x100"),
                *runs("_x61 1x100"),
            ),
        },
        fires_without_data=True,
    ),
    "RunOverdue": Cases(
        severity="warning",
        outage="effect",
        description=(
            "The run of {owner} that was planned for 1970-01-01 01:00:00 +0000 UTC has not ended well, and its deadline"
            " is over."
        ),
        at="75m",
        bad=(("run.started", {}, "0x20 1x40 2x100"), *runs("0x20 1x140", "0x62 1x100")),
        good=(("run.started", {}, "0x20 1x40 2x100"), *runs("0x20 1x42 2x100", "0x160")),
        resolves=(("run.started", {}, "0x60 1x100"), *runs("0x85 1x80", "0x62 1x100")),
        resolved="95m",
        silent={
            "counter reset": (("run.started", {}, "5x60 0 1x100"), *runs("5x61 0 1x100", "0x160")),
            "ended well in a pod that started for it, whose counters begin with it": (
                ("run.started", {}, "_x61 1x100"),
                *runs("_x62 1x100"),
            ),
            "not begun, which is ScheduleMissed": (
                ("run.started", {}, "0x160"),
                *runs("0x160", "0x160"),
            ),
        },
    ),
    "BacklogGrowing": Cases(
        severity="warning",
        description=(
            "A queue of {owner} has not been empty for half an hour and has grown over the last one; at least 91 items"
            " wait."
        ),
        at="120m",
        bad=queue("0+1x180"),
        good=queue("5x180"),
        resolves=queue("0+1x121 0x120"),
        resolved="130m",
        silent={
            "a burst that is worked off": queue(
                "0x60 " + " ".join(map(str, range(200, 0, -4))) + " 0x60"
            ),
            "empty now and then": queue(" ".join(str(i % 25 * i) for i in range(181))),
        },
        labels={"queue": "in"},
    ),
    "DeadLetters": Cases(
        severity="warning",
        description="3 items of {owner} were given up on and wait for a decision.",
        at="15m",
        bad=(("queue.dead", {"queue": "in"}, "3x60"),),
        good=(("queue.dead", {"queue": "in"}, "0x60"),),
        resolves=(("queue.dead", {"queue": "in"}, "3x20 0x60"),),
        resolved="22m",
        labels={"queue": "in"},
    ),
    "DurationAnomaly": Cases(
        severity="warning",
        description=(
            "Runs of {owner} took 10m 0s on average in the last hour, over one and a half times what they usually reach."
        ),
        at="28h",
        bad=took("0+150x624 93600+1500x96"),
        good=took("0+150x720"),
        resolves=took("0+150x624 93600+1500x48 165750+150x120"),
        resolved="31h",
        silent={
            "counter reset": took("0+150x624 0+150x96", "0+2.5x624 0+2.5x96"),
            "short runs, which take three times as long": took("0+15x624 9360+50x96"),
            "less than a day of history": took("_x480 0+150x144 21600+1500x96", "_x480 0+2.5x240"),
        },
        step="150s",
    ),
    "ReplayDiverged": happened(
        "critical",
        15,
        "2 replays of {owner} in the last 15 minutes did not repeat their history; such runs do not end by themselves.",
        "replay.diverged",
    ),
    "CheckpointOld": Cases(
        severity="warning",
        description="The newest checkpoint of {owner} is 30m 0s old while a run is in progress.",
        at="30m",
        bad=(("checkpoint.last", {}, "0x60"), ("run.oldest_age", {}, "0+60x60")),
        good=(("checkpoint.last", {}, "0+60x60"), ("run.oldest_age", {}, "0+60x60")),
        resolves=(("checkpoint.last", {}, "0x35 2100+60x60"), ("run.oldest_age", {}, "0+60x60")),
        resolved="40m",
        silent={
            "no run in progress": (("checkpoint.last", {}, "0x60"), ("run.oldest_age", {}, "0x60")),
            "a run that has just begun": (
                ("checkpoint.last", {}, "0x60"),
                ("run.oldest_age", {}, "0x20 0+60x40"),
            ),
        },
    ),
    "CheckpointFailed": happened(
        "warning",
        30,
        "2 checkpoints of {owner} failed in the last half hour.",
        "checkpoint.finished",
        {"outcome": "bad"},
    ),
    "CostSpike": Cases(
        severity="warning",
        description="{owner} spent 60 in the last hour, over three times the mean of this hour in the last seven days.",
        at="172h",
        bad=(("cost.total", {}, "0+0.5x2028 1014+5x60"),),
        good=(("cost.total", {}, "0+0.5x2100"),),
        resolves=(("cost.total", {}, "0+0.5x2028 1014+5x36 1194.5+0.5x200"),),
        resolved="175h",
        silent={
            "counter reset": (("cost.total", {}, "0+0.5x2028 0+0.5x60"),),
            "little money": (("cost.total", {}, "0+0.01x2028 20.28+0.1x60"),),
            "less than a week of history": (("cost.total", {}, "_x400 0+0.5x1628 814+5x60"),),
            "always much at this hour": (
                ("cost.total", {}, " ".join(f"{spent(i):g}" for i in range(2100))),
            ),
        },
        step="5m",
    ),
    "WorkerDown": Cases(
        severity="warning",
        description="A worker of {owner} has not answered for five minutes.",
        at="15m",
        bad=(("worker.up", {"worker": "a"}, "0x60"), ("worker.up", {"worker": "b"}, "1x60")),
        good=(("worker.up", {"worker": "a"}, "1x60"),),
        resolves=(("worker.up", {"worker": "a"}, "0x20 1x60"),),
        resolved="22m",
        silent={"a restart": (("worker.up", {"worker": "a"}, "1x10 0x3 1x60"),)},
        labels={"worker": "a"},
    ),
    "WorkerHeartbeatLost": Cases(
        severity="warning",
        description="A worker of {owner} last gave a sign of life 15m 0s ago.",
        at="15m",
        bad=(
            ("worker.heartbeat", {"worker": "a"}, "0x60"),
            ("worker.heartbeat", {"worker": "b"}, "0+60x60"),
        ),
        good=(("worker.heartbeat", {"worker": "a"}, "0+60x60"),),
        resolves=(("worker.heartbeat", {"worker": "a"}, "0x20 1260+60x60"),),
        resolved="22m",
        labels={"worker": "a"},
    ),
    "WorkersSaturated": Cases(
        severity="warning",
        description="100% of the slots of the workers of {owner} have been busy for 15 minutes; what comes waits.",
        at="20m",
        bad=busy(used="4x60", total="4x60"),
        good=busy(used="3x60", total="4x60"),
        resolves=busy(used="4x25 3x60", total="4x60"),
        resolved="27m",
        silent={
            "no slots": busy(used="0x60", total="0x60"),
            "a peak": busy(used="3x10 4x6 3x60", total="4x60"),
        },
    ),
    "CardinalityLimitHit": happened(
        "warning",
        15,
        "{owner} used 2 times a label set beyond the limit in the last 15 minutes; these count as other.",
        "series.dropped",
    ),
    "ChecksumMismatch": happened(
        "critical", 60, "2 checksum failures of {owner} in the last hour.", "checksum.failed"
    ),
    "DataCorruption": happened(
        "critical", 5, "2 checksum failures of {owner} in the last five minutes.", "checksum.failed"
    ),
    "RestoreLatencySLO": Cases(
        severity="warning",
        description="The 95th percentile of the duration of restores of {owner} is 2.425s.",
        at="10m",
        bad=durations("restore.duration", le1="0x60", le2_5="0+1x60"),
        good=durations("restore.duration", le1="0+1x60", le2_5="0+1x60"),
        resolves=durations("restore.duration", le1="0x20 1+1x60", le2_5="0+1x80"),
        resolved="40m",
        silent={
            "counter reset": durations(
                "restore.duration", le1="90+1x9 0+1x40", le2_5="90+1x9 0+1x40"
            ),
            "no restore": durations("restore.duration", le1="0x60", le2_5="9x60"),
        },
    ),
    "WorkflowSuccessRate": Cases(
        severity="critical",
        description="Only 90% of the workflows of {owner} succeed.",
        at="5m",
        bad=(("run.success_ratio", {}, "0.9x60"),),
        good=(("run.success_ratio", {}, "0.995x60"),),
        resolves=(("run.success_ratio", {}, "0.9x15 1x60"),),
        resolved="17m",
    ),
    "PipelineDurationAnomaly": Cases(
        severity="warning",
        description="The 95th percentile of the duration of pipelines of {owner} is 9m 45s.",
        at="20m",
        bad=durations("run.duration", le300="0x60", le600="0+1x60"),
        good=durations("run.duration", le300="0+1x60", le600="0+1x60"),
        resolves=durations("run.duration", le300="0x20 1+1x60", le600="0+1x80"),
        resolved="40m",
        silent={
            "counter reset": durations(
                "run.duration", le300="90+1x20 0+1x40", le600="90+1x20 0+1x40"
            ),
            "idle": durations("run.duration", le300="0x60", le600="9x60"),
        },
    ),
    "ia-modules/LowThroughput": Cases(
        severity="warning",
        description="Pipelines of {owner} are in progress all the time and process only 10 items a second.",
        at="35m",
        bad=items("0+600x60") + active("1x60"),
        good=items("0+12000x60") + active("1x60"),
        resolves=items("0+600x35 33000+12000x60") + active("1x95"),
        resolved="50m",
        silent={
            "counter reset": items("900000+12000x20 0+12000x40") + active("1x60"),
            "idle": items("0+12000x20 240000x40") + active("1x20 0x40"),
            "now and then a pipeline": items("0+600x60") + active("1 0 " * 30),
            "pipelines that count no items": items("0x60") + active("1x60"),
        },
    ),
    "HighCost": Cases(
        severity="warning",
        description="Pipelines of {owner} cost 30 in the last hour.",
        at="90m",
        bad=(("cost.total", {}, "0+0.5x180"),),
        good=(("cost.total", {}, "0+0.1x180"),),
        resolves=(("cost.total", {}, "0+0.5x90 45x90"),),
        resolved="140m",
        silent={"counter reset": (("cost.total", {}, "900+0.1x60 0+0.1x120"),)},
    ),
    "NoExecutions": Cases(
        severity="warning",
        outage="effect",
        description="No pipeline of {owner} has ended for twenty minutes, and none is in progress.",
        at="45m",
        bad=runs("0+1x20 20x60") + active("0x80"),
        good=runs("0+1x80") + active("0x80"),
        resolves=runs("0+1x20 20x30 21+1x40") + active("0x90"),
        resolved="55m",
        silent={
            "counter reset": runs("900+1x30 0+1x60") + active("0x90"),
            "one runs for long": runs("5x90") + active("1x90"),
            "one every ten minutes": runs("0x9 1x9 2x9 3x9 4x9 5x9 6x9") + active("0x90"),
            "one ended fifteen minutes ago": runs("0+1x30 30x60") + active("0x90"),
        },
    ),
    "APIRateLimitApproaching": Cases(
        severity="warning",
        description="Pipelines of {owner} call llm 1.5k times a second.",
        at="15m",
        bad=(("api.called", {"api": "llm"}, "0+90000x60"),),
        good=(("api.called", {"api": "llm"}, "0+30000x60"),),
        resolves=(("api.called", {"api": "llm"}, "0+90000x20 1800000+6000x60"),),
        resolved="35m",
        silent={
            "counter reset": (("api.called", {"api": "llm"}, "9000000+30000x10 0+30000x50"),),
            "two interfaces, each with a limit of its own": (
                ("api.called", {"api": "llm"}, "0+40000x60"),
                ("api.called", {"api": "search"}, "0+40000x60"),
            ),
        },
        labels={"api": "llm"},
    ),
    "QueueDepthGrowing": Cases(
        severity="warning",
        description="The queue in of {owner} grows by 54.3% of its depth an hour.",
        at="120m",
        bad=queue(" ".join(str(20 + i) for i in range(181))),
        good=queue("100x180"),
        resolves=queue(" ".join(str(20 + i) for i in range(121)) + " 140x120"),
        resolved="200m",
        silent={
            "a burst that is worked off": queue(
                " ".join(str(20 + i) for i in range(100)) + " 0x80"
            ),
            "empty now and then": queue(" ".join(str(i % 25 * i) for i in range(181))),
            "few items": queue(" ".join(str(1 + i // 40) for i in range(181))),
            "the noise of a deep queue": queue("1000 1080 960 1040 " * 45),
            "a deep queue that grows by a twentieth": queue(
                " ".join(str(1000 + i * 4 // 5) for i in range(181))
            ),
            "grown and steady": queue("20x30 200x150"),
        },
        labels={"queue": "in"},
    ),
    "HighMemoryUsage": Cases(
        severity="warning",
        description="A process of {owner} uses 1.118GiB of memory.",
        at="15m",
        bad=memory(a="1200000000x60", b="200000000x60"),
        good=memory(a="400000000x60", b="200000000x60"),
        resolves=memory(a="1200000000x20 400000000x60"),
        resolved="22m",
        silent={
            "two processes that use it together": memory(a="600000000x60", b="600000000x60"),
            "a peak": memory(a="400000000x8 1200000000x4 400000000x60"),
        },
    ),
    "HighCPUUsage": Cases(
        severity="warning",
        description="The processes of {owner} use 90% of a core each, in the mean.",
        at="20m",
        bad=cpu(a="0+57x60", b="0+51x60"),
        good=cpu(a="0+30x60", b="0+30x60"),
        resolves=cpu(a="0+57x20 1140+6x60", b="0+51x20 1020+6x60"),
        resolved="30m",
        silent={
            "counter reset": cpu(a="900+30x10 0+30x50", b="0+30x60"),
            "one of two is busy": cpu(a="0+57x60", b="0+3x60"),
        },
    ),
    "orchestrix/MetricsAbsent": Cases(
        severity="warning",
        outage="absence",
        description=(
            "No series of the rate of messages of {owner}; an idle program has it at zero, so nothing is being measured."
        ),
        at="15m",
        bad=(),
        good=(("message.rate", {}, "0x60"),),
        resolves=(("message.rate", {}, "_x20 0x40"),),
        resolved="22m",
        silent={"a pod is replaced within minutes": (("message.rate", {}, "0x10 _x8 0x40"),)},
        fires_without_data=True,
    ),
    "orchestrix/HighErrorRate": Cases(
        severity="warning",
        description="10% of the handler calls of {owner} failed in the last ten minutes.",
        at="20m",
        bad=calls("0+10x60", "0+1x60"),
        good=calls("0+100x60", "0+1x60"),
        resolves=calls("0+10x80", "0+1x20 20x60"),
        resolved="40m",
        silent={
            "counter reset": calls("900+10x10 0+10x50", "100x10 0x50"),
            "one failure of a quiet handler": calls("0+1x60", "0x12 1x48"),
            "idle": calls("7x60", "7x60"),
            "errors of the store, which have a rate of their own": calls("0+10x60")
            + stored("0+10x60", "0+5x60"),
        },
    ),
    "HighStoreErrorRate": Cases(
        severity="warning",
        description="10% of the operations of the event store of {owner} failed in the last ten minutes.",
        at="20m",
        bad=stored("0+10x60", "0+1x60"),
        good=stored("0+100x60", "0+1x60"),
        resolves=stored("0+10x80", "0+1x20 20x60"),
        resolved="40m",
        silent={
            "counter reset": stored("900+10x10 0+10x50", "100x10 0x50"),
            "one failure of a quiet store": stored("0+1x60", "0x12 1x48"),
            "errors of handlers, which have a rate of their own": stored("0+10x60")
            + calls("0+10x60", "0+5x60"),
        },
    ),
    "SlowHandlers": Cases(
        severity="warning",
        description="The 95th percentile of the duration of handle of {owner} is 4.8s.",
        at="20m",
        bad=durations("handler.duration", {"handler": "handle"}, le1="0x60", le5="0+1x60")
        + durations("handler.duration", {"handler": "other"}, le1="0+100x60", le5="0+100x60"),
        good=durations("handler.duration", {"handler": "handle"}, le1="0+1x60", le5="0+1x60"),
        resolves=durations(
            "handler.duration", {"handler": "handle"}, le1="0x20 1+1x60", le5="0+1x80"
        ),
        resolved="40m",
        silent={
            "counter reset": durations(
                "handler.duration",
                {"handler": "handle"},
                le1="90+1x20 0+1x40",
                le5="90+1x20 0+1x40",
            ),
            "idle": durations("handler.duration", {"handler": "handle"}, le1="0x60", le5="9x60"),
        },
        labels={"handler": "handle"},
    ),
    # -- engines: what is there when nothing runs, and what their metrics need otherwise ------------------------------
    "airflow/MetricsAbsent": absent(
        "heartbeats of the scheduler",
        "statsd_exporter hears nothing from it, or is not scraped.",
        ("worker.beat", {}, "0+1x60"),
    ),
    "argo-workflows/MetricsAbsent": absent(
        "workers of the controller",
        "a controller that leads has them from its start, so nothing is being measured.",
        ("worker.slots_used", {"queue": "workflow_queue"}, "0x60"),
    ),
    "celery/MetricsAbsent": absent(
        "workers",
        "the exporter hears no worker, or is not scraped.",
        ("worker.up", {"worker": "a"}, "1x60"),
    ),
    "prefect/MetricsAbsent": absent(
        "flow runs",
        "the exporter cannot ask Prefect's API, or is not scraped.",
        ("run.recent", {}, "0x60"),
    ),
    "temporal/MetricsAbsent": absent(
        "task slots",
        "a worker has them from its start, so nothing is being measured.",
        ("worker.slots_free", {"queue": "in", "kind": "ActivityWorker"}, "100x60"),
    ),
    "airflow/SlowRuns": Cases(
        severity="warning",
        description="The 95th percentile of the duration of DAG runs of {owner} is 1h 57m 0s.",
        at="20m",
        bad=durations("run.duration", le3600="0x60", le7200="0+1x60"),
        good=durations("run.duration", le3600="0+1x60", le7200="0+1x60"),
        resolves=durations("run.duration", le3600="0x20 1+1x60", le7200="0+1x80"),
        resolved="40m",
        silent={
            "counter reset": durations(
                "run.duration", le3600="90+1x20 0+1x40", le7200="90+1x20 0+1x40"
            )
        },
    ),
    "argo-workflows/SlowRuns": Cases(
        severity="warning",
        description=(
            "The 95th percentile of the duration of workflows from a template of {owner} is 1h 21m 15s."
        ),
        at="20m",
        bad=durations("run.duration", le2500="0x60", le5000="0+1x60"),
        good=durations("run.duration", le2500="0+1x60", le5000="0+1x60"),
        resolves=durations("run.duration", le2500="0x20 1+1x60", le5000="0+1x80"),
        resolved="40m",
        silent={
            "counter reset": durations(
                "run.duration", le2500="90+1x20 0+1x40", le5000="90+1x20 0+1x40"
            )
        },
    ),
    "celery/SlowRuns": Cases(
        severity="warning",
        description="Tasks of {owner} take 10m 0s in the mean.",
        at="20m",
        bad=mean("0+600x60", "0+1x60"),
        good=mean("0+10x60", "0+1x60"),
        resolves=mean("0+600x20 12000+10x60", "0+1x80"),
        resolved="40m",
        silent={
            "counter reset": mean("9000+10x20 0+10x40", "90+1x20 0+1x40"),
            "idle": mean("9000x60", "9x60"),
        },
    ),
    "argo-workflows/HighStepFailureRate": Cases(
        severity="warning",
        description="20% of the pods of workflows of {owner} failed in the last ten minutes.",
        at="20m",
        bad=pods("0+4x60", "0+1x60"),
        good=pods("0+19x60", "0+1x60"),
        resolves=pods("0+4x60", "0+1x20 20x60"),
        resolved="40m",
        silent={
            "counter reset": pods("900+4x10 0+4x50", "100x10 0x50"),
            "two failures of few pods": pods("0x60", "0x10 2x60"),
        },
    ),
    "celery/RetryStorm": Cases(
        severity="warning",
        description=(
            "Tasks of {owner} were retried 150 times in the last 15 minutes, over five times the rate of the last day."
        ),
        at="1470m",
        bad=(("run.retried", {}, "0x288 50+50x40"),),
        good=(("run.retried", {}, "0+5x400"),),
        resolves=(("run.retried", {}, "0x288 50+50x6 350x60"),),
        resolved="25h",
        silent={
            "counter reset": (("run.retried", {}, "900+5x288 0+5x40"),),
            "few, though none before": (("run.retried", {}, "0x288 5+5x40"),),
            "always many": (("run.retried", {}, "0+50x400"),),
        },
        unseen="it asks for a day of history of retries, without which everything looks like a storm",
        step="5m",
    ),
    "prefect/HighErrorRate": Cases(
        severity="warning",
        description="20% of the flow runs of {owner} that began within the last hour ended badly.",
        at="20m",
        bad=recent(Completed="8x60", Failed="2x60", Running="5x60"),
        good=recent(Completed="99x60", Failed="2x60"),
        resolves=recent(Completed="8x60", Failed="2x20 0x40"),
        resolved="22m",
        silent={
            "one failure of few runs": recent(Completed="3x60", Failed="1x60"),
            "runs that do not count": recent(Completed="8x60", Cancelled="5x60", Running="9x60"),
        },
    ),
    "SchedulerSilent": Cases(
        severity="critical",
        outage="cause",
        description="No scheduler of {owner} has sent a heartbeat for five minutes; nothing new is started.",
        at="32m",
        bad=(("worker.beat", {}, "0+12x20 240x40"),),
        good=(("worker.beat", {}, "0+12x60"),),
        resolves=(("worker.beat", {}, "0+12x20 240x20 252+12x40"),),
        resolved="45m",
        silent={
            "counter reset": (("worker.beat", {}, "900+12x28 0+12x30"),),
            "a restart of the scheduler": (("worker.beat", {}, "0+12x25 300x3 312+12x40"),),
        },
    ),
    "DefinitionsBroken": Cases(
        severity="warning",
        description=(
            "2 DAG files of {owner} cannot be imported; their DAGs keep their last good version, or do not run at all."
        ),
        at="20m",
        bad=(("schedule.broken", {}, "2x60"),),
        good=(("schedule.broken", {}, "0x60"),),
        resolves=(("schedule.broken", {}, "2x25 0x40"),),
        resolved="27m",
        silent={"a file that is being written": (("schedule.broken", {}, "0x10 1x8 0x40"),)},
    ),
    "PoolStarving": Cases(
        severity="warning",
        description=(
            "7 tasks of {owner} wait for a slot of the pool in, and have for a quarter of an hour."
        ),
        at="20m",
        bad=queue("7x60"),
        good=queue("0x60"),
        resolves=queue("7x25 0x40"),
        resolved="27m",
        silent={"free now and then": queue("7x9 0 " * 6)},
        labels={"queue": "in"},
    ),
    "StartsMissed": happened(
        "warning",
        60,
        "2 starts of CronWorkflows of {owner} did not happen in the last hour.",
        "schedule.missed",
        {"workflow": "nightly"},
    ),
    "celery/QueueWithoutConsumer": Cases(
        severity="critical",
        description="No worker takes from the queue in of {owner}.",
        at="10m",
        bad=(*consumers("0x60"), *consumers("1x60", "other")),
        good=consumers("1x60"),
        resolves=consumers("0x20 1x40"),
        resolved="22m",
        silent={"a worker is restarted": consumers("1x4 0x3 1x40")},
        labels={"queue": "in"},
    ),
    "temporal/QueueWithoutConsumer": Cases(
        severity="critical",
        description="No worker polls the task queue in of {owner}.",
        at="10m",
        bad=(*consumers("0x60"), *consumers("5x60", "other")),
        good=consumers("5x60"),
        resolves=consumers("0x20 5x40"),
        resolved="22m",
        silent={"a worker is restarted": consumers("5x4 0x3 5x40")},
        labels={"queue": "in"},
    ),
    "temporal/ReplayDiverged": happened(
        "critical",
        15,
        "2 workflow tasks of Transfer of {owner} did not repeat their history in the last 15 minutes.",
        "replay.diverged",
        {"workflow": "Transfer"},
        by={"workflow": "Transfer"},
    ),
    "WorkflowTasksFailing": Cases(
        severity="warning",
        description=(
            "15 workflow tasks of Transfer of {owner} failed in the last 15 minutes with WorkflowError."
        ),
        at="40m",
        bad=tasks("0+1x60"),
        good=tasks("0x60"),
        resolves=tasks("0+1x40 40x60"),
        resolved="70m",
        silent={
            "counter reset": tasks("50x20 0x40"),
            "two, which were tried again and went well": tasks("0x20 2x40"),
            "a history that does not fit, which is ReplayDiverged": diverged("0+1x60"),
        },
        labels={"handler": "Transfer", "error": "WorkflowError"},
    ),
    "SlotsExhausted": Cases(
        severity="warning",
        description=(
            "All slots of ActivityWorker for the task queue in of {owner} have been busy for a quarter of an hour."
        ),
        at="30m",
        bad=slots("0x60"),
        good=slots("5x60"),
        resolves=slots("0x30 5x40"),
        resolved="35m",
        silent={"one free now and then": slots("0x3 1 " * 15)},
        labels={"queue": "in", "kind": "ActivityWorker"},
    ),
    "RunsLate": Cases(
        severity="warning",
        description="3 flow runs of the work queue in of {owner} are due and have not begun.",
        at="15m",
        bad=queue("3x60"),
        good=queue("0x60"),
        resolves=queue("3x20 0x40"),
        resolved="22m",
        silent={"a worker takes its time": queue("0x8 3x5 0x40")},
        labels={"queue": "in"},
    ),
    "airflow/QueueDelayHigh": Cases(
        severity="warning",
        description=(
            "The 95th percentile of the time by which runs of daily of {owner} start too late is 9m 45s."
        ),
        at="20m",
        bad=durations("queue.delay", {"workflow": "daily"}, le300="0x60", le600="0+1x60"),
        good=durations("queue.delay", {"workflow": "daily"}, le300="0+1x60", le600="0+1x60"),
        resolves=durations(
            "queue.delay", {"workflow": "daily"}, le300="0x20 1+1x60", le600="0+1x80"
        ),
        resolved="40m",
        silent={
            "counter reset": durations(
                "queue.delay",
                {"workflow": "daily"},
                le300="90+1x20 0+1x40",
                le600="90+1x20 0+1x40",
            )
        },
        labels={"workflow": "daily"},
    ),
    "argo-workflows/QueueDelayHigh": Cases(
        severity="warning",
        description="The 95th percentile of the time that changes wait in in of {owner} is 2m 54s.",
        at="20m",
        bad=durations("queue.delay", {"queue": "in"}, le60="0x60", le180="0+1x60"),
        good=durations("queue.delay", {"queue": "in"}, le60="0+1x60", le180="0+1x60"),
        resolves=durations("queue.delay", {"queue": "in"}, le60="0x20 1+1x60", le180="0+1x80"),
        resolved="40m",
        silent={
            "counter reset": durations(
                "queue.delay", {"queue": "in"}, le60="90+1x20 0+1x40", le180="90+1x20 0+1x40"
            )
        },
        labels={"queue": "in"},
    ),
    "temporal/QueueDelayHigh": Cases(
        severity="warning",
        description=(
            "The 95th percentile of the time that workflow tasks of {owner} wait in in is 9.75s."
        ),
        at="20m",
        bad=durations("queue.delay", {"queue": "in"}, le5="0x60", le10="0+1x60"),
        good=durations("queue.delay", {"queue": "in"}, le5="0+1x60", le10="0+1x60"),
        resolves=durations("queue.delay", {"queue": "in"}, le5="0x20 1+1x60", le10="0+1x80"),
        resolved="40m",
        silent={
            "counter reset": durations(
                "queue.delay", {"queue": "in"}, le5="90+1x20 0+1x40", le10="90+1x20 0+1x40"
            )
        },
        labels={"queue": "in"},
    ),
}

# Objective 99 % over 30 days: the fast alert fires above 14.4 % over 1h and 5m or 6 % over 6h and 30m, the slow one
# above 3 % over 1d and 2h or 1 % over 3d and 6h.
BURNS = {
    "WorkflowErrorBudgetBurnFast": Cases(
        severity="critical",
        description=(
            "SLO success of {owner} (99 % over 30d): the share of bad events is 20%, which burns the error budget more"
            " than 14.4 times over 1h or 6 times over 6h as fast as it may."
        ),
        at="30m",
        bad=runs("0+4x90", "0+1x90"),
        good=runs("0+199x90", "0+1x90"),
        resolves=runs("0+4x30 1120+1000x30", "0+1x30 30x30"),
        resolved="45m",
        silent={
            "counter reset": runs("900+4x30 0+4x60", "100x30 0x60"),
            "one failure of a quiet workflow": runs("0x90", "0x15 1x75"),
            "idle": runs("9x90", "9x90"),
            "no failure has been counted yet": runs("0+4x90"),
            "a steady burn, which is BurnSlow": runs("0+95x90", "0+5x90"),
            "runs that do not count": runs("0+4x90", skipped="0+4x90"),
        },
        labels={"slo": "success", "burn_tier": "page"},
    ),
    "WorkflowErrorBudgetBurnSlow": Cases(
        severity="warning",
        description=(
            "SLO success of {owner} (99 % over 30d): the share of bad events is 5%, which burns the error budget more"
            " than 3 times over 1d or 1 times over 3d as fast as it may."
        ),
        at="30m",
        bad=runs("0+95x90", "0+5x90"),
        good=runs("0+199x90", "0+1x90"),
        resolves=runs("0+95x30 4850+2000x30", "0+5x30 150x30"),
        resolved="50m",
        silent={
            "counter reset": runs("900+95x10 0+95x60", "100x10 0x60"),
            "one failure of a quiet workflow": runs("0x90", "0x15 1x75"),
            "idle": runs("9x90", "9x90"),
        },
        labels={"slo": "success", "burn_tier": "ticket"},
    ),
}
