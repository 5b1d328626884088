"""contd's collector: record by hand what decorators do not see. Nothing here raises; durations are in milliseconds."""

from __future__ import annotations

import math
from typing import Final

from flowgauge import guard, records
from flowgauge.records import Outcome

# Words of contd for an outcome. Others count as failed, and are logged.
_OUTCOMES: Final[dict[str, Outcome]] = {
    "completed": "good",
    "success": "good",
    "failed": "failed",
    "error": "failed",
    "cancelled": "cancelled",
}


class MetricsCollector:
    """Records into this process; all collectors are one."""

    __slots__ = ()

    def record_workflow_start(self, workflow_name: str, trigger: str = "manual") -> None:
        """Count a workflow that begins; its end is told by `record_workflow_complete`."""
        records.run_started(workflow_name, trigger=trigger)

    def record_workflow_complete(
        self, workflow_name: str, duration_seconds: float, status: str = "completed"
    ) -> None:
        """Count a workflow that ended, `completed` or `failed`."""
        records.run_finished(workflow_name, duration_seconds, _outcome(status))

    def record_step_execution(
        self,
        workflow_name: str,
        step_name: str,
        duration_ms: float,
        status: str = "completed",
        was_cached: bool = False,
        **_not_measured: object,
    ) -> None:
        """Count a step that ended, `completed` or `failed`; it is a managed step too.

        `was_cached` counts a hit of the idempotency cache. What contd takes besides, `user_id` and `plan_type`,
        is no label here: the first is another one for each user.
        """
        records.step_finished(workflow_name, step_name, _seconds(duration_ms), _outcome(status))
        if was_cached:
            self.record_idempotency_hit(workflow_name, step_name)

    def record_managed_step(self, workflow_name: str, count: float = 1.0) -> None:
        """Count steps that are billed and that neither a decorator nor `record_step_execution` counts."""
        records.count("step.billed", count, workflow=workflow_name)

    def record_idempotency_hit(self, workflow_name: str, step_name: str) -> None:
        """Count a step that was answered from the idempotency cache."""
        records.count("idempotency.hit", workflow=workflow_name, step=step_name)

    def record_restore(
        self,
        workflow_name: str,
        duration_ms: float,
        events_replayed: float = 0,
        had_snapshot: bool = False,
    ) -> None:
        """Count a restore, and how many events it replayed."""
        del had_snapshot  # told, and no label of contd's metric here
        records.observe("restore.duration", _seconds(duration_ms), workflow=workflow_name)
        records.observe("restore.replayed", events_replayed, workflow=workflow_name)

    def record_snapshot(
        self,
        workflow_name: str,
        duration_ms: float,
        size_bytes: float | None = None,
        **_not_measured: object,
    ) -> None:
        """Count a snapshot that was saved.

        Its size shows in vocabularies that have it. `workflow_id` and `storage_type`, which contd takes besides, are
        no labels here.
        """
        records.observe("checkpoint.duration", _seconds(duration_ms), workflow=workflow_name)
        if size_bytes is not None:
            records.set("checkpoint.size", size_bytes, workflow=workflow_name)

    def record_lease_acquisition(
        self,
        workflow_name: str,
        duration_ms: float,
        result: str = "acquired",
        **_not_measured: object,
    ) -> None:
        """Count an attempt to acquire a lease; each `result` but `acquired` is a failure too."""
        records.observe("lease.duration", _seconds(duration_ms), workflow=workflow_name)
        if result != "acquired":
            self.record_lease_failure(workflow_name)

    def record_lease_failure(self, workflow_name: str) -> None:
        """Count a lease that could not be acquired, where nobody measured how long that took."""
        records.count("lease.failed", workflow=workflow_name)

    def record_checksum_failure(self, workflow_name: str) -> None:
        """Count stored data that does not match its checksum."""
        records.count("checksum.failed", workflow=workflow_name)

    def record_data_corruption(self, workflow_name: str = "", **_not_measured: object) -> None:
        """Another name of `record_checksum_failure`."""
        self.record_checksum_failure(workflow_name)


def _outcome(status: str) -> Outcome:
    known = _OUTCOMES.get(status)
    if known is None:
        guard.warn(
            "contd status",
            f"status is {status!r}, must be one of {', '.join(_OUTCOMES)}; counts as failed",
        )
    return known or "failed"


def _seconds(milliseconds: float) -> float:
    try:
        return float(milliseconds) / 1000
    except (TypeError, ValueError) as error:
        guard.report("contd duration", error)
        return math.nan  # is not counted as an observation


collector: Final = MetricsCollector()
