"""When runs are expected, and when nothing counts: `spec.schedule` and `spec.maintenance`. Pure."""

from __future__ import annotations

from pydantic import Field

from flowgauge_operator.constraint import Model, Rule
from flowgauge_operator.model.fields import Cron, CronJobName, Duration, Instant, Name, TimeZone


class Schedule(Model):
    """When runs are expected, so that silence is not taken for success."""

    RULES = (
        Rule(
            "has(self.cron) != has(self.cronJob)",
            "schedule needs either cron or cronJob; give one of the two",
            lambda schedule: (schedule.cron is None) != (schedule.cron_job is None),
        ),
        Rule(
            "!has(self.timeZone) || has(self.cron)",
            "timeZone belongs to cron, and a CronJob has a time zone of its own; remove timeZone",
            lambda schedule: schedule.time_zone is None or schedule.cron is not None,
        ),
    )

    cron: Cron | None = Field(
        None,
        description="Cron expression of five fields, or @hourly, @daily, @weekly, @monthly, @yearly.",
    )
    time_zone: TimeZone | None = Field(
        None,
        description=(
            "Time zone of the cron expression, as in the IANA database: Europe/Zurich. Default: UTC."
        ),
    )
    cron_job: CronJobName | None = Field(
        None,
        description=(
            "Name of a CronJob in the same namespace, whose own plan counts. Needs kube-state-metrics in Prometheus."
        ),
    )
    deadline: Duration = Field(
        "10m", description="Time after a planned start in which a good run must have ended."
    )


class Maintenance(Model):
    """A time in which nothing alerts and no budget is spent: again and again by cron, or once."""

    RULES = (
        Rule(
            "has(self.cron) != has(self.start)",
            "maintenance needs either cron with duration, or start with end; give one of the two",
            lambda window: (window.cron is None) != (window.start is None),
        ),
        Rule(
            "has(self.cron) == has(self.duration)",
            "cron needs duration, and only cron has it; give for example duration: 2h",
            lambda window: (window.cron is None) == (window.duration is None),
        ),
        Rule(
            "has(self.start) == has(self.end) && (!has(self.start) || self.start < self.end)",
            "start needs end, which is later; correct the two",
            lambda window: (
                (window.start is None) == (window.end is None)
                and (window.start is None or window.start < window.end)
            ),
        ),
    )

    name: Name = Field(description="Name of the window, unique within the workflow.")
    cron: Cron | None = Field(None, description="When it begins, again and again.")
    time_zone: TimeZone = Field(
        "UTC",
        description="Time zone of the cron expression, as in the IANA database: Europe/Zurich.",
    )
    duration: Duration | None = Field(
        None, description="How long each lasts that begins by cron; at most 24h."
    )
    start: Instant | None = Field(None, description="When it begins, once: 2026-12-01T22:00:00Z.")
    end: Instant | None = Field(None, description="When it ends, once: 2026-12-02T02:00:00Z.")
