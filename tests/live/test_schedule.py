"""Planned runs on real parts: cron as PromQL, and CronJobs that the real controller starts or does not.

Everything is set up at once, since a plan cannot come sooner than the next full minute.
"""

from __future__ import annotations

import datetime as dt
import itertools
import secrets

import pytest

from rig import fetch
from rig.pytest_plugin import binary

# The time limit of a test is less than what a busy machine may need for all that is waited for.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
MINUTE = "* * * * *"
# Of what Prometheus tells while it reads a new configuration, Alertmanager may hear nothing; it tells it again after a
# minute.
TOLD_AGAIN = 110
# One plan in a year, whose time to start is over after a minute: Kubernetes leaves it be.
YEARLY = {"schedule": "0 0 1 1 *", "startingDeadlineSeconds": 60}


class Planned:
    """A namespace with CronJobs and workflows that follow them."""

    def __init__(self, operator, namespace):
        self.operator = operator
        self.cluster = operator.cluster
        self.namespace = namespace

    def cronjob(self, name, **spec):
        """A CronJob whose pods get the rig's node, and so run on until somebody ends them; those that are served, at once."""
        pod = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "nodeName": "rig-node",
            "containers": [{"name": "main", "image": "test/main"}],
        }
        ends = {"rig/ends": "true"} if name == "served" else {}
        template = {"metadata": {"labels": {"app": name}, "annotations": ends}, "spec": pod}
        body = {"schedule": MINUTE, "jobTemplate": {"spec": {"template": template}}} | spec
        metadata = {"name": name, "namespace": self.namespace}
        self.cluster.apply(
            [{"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": body}]
        )

    def forget(self, name):
        """Let the CronJob be one that was last started in the summer of the year before last."""
        year = dt.datetime.now(dt.UTC).year - 2
        self._patch_status("cronjob", name, f'{{"lastScheduleTime":"{year}-07-01T00:00:00Z"}}')

    def end(self, app):
        """End the pods of a CronJob well."""
        self.cluster.wait_for(
            lambda: self.cluster.pods(self.namespace, f"app={app}"), 20, f"pods of {app}"
        )
        self.cluster.kubectl(
            "annotate",
            "pod",
            f"--selector=app={app}",
            f"--namespace={self.namespace}",
            "rig/ends=true",
        )

    def push(self, name, started):
        """A counter of begun runs of the workflow, as a program would push it."""
        labels = f'namespace="{self.namespace}",monitored_workflow="{name}"'
        fetch.send(
            f"{self.cluster.pushgateway_url}/metrics/job/{self.namespace}",
            f"workflow_runs_started_total{{{labels}}} {started}\n".encode(),
            method="PUT",
            form="text/plain",
        )

    def suspend(self, name, *, value):
        """Suspend a CronJob, or let it go on."""
        patch = f'{{"spec":{{"suspend":{"true" if value else "false"}}}}}'
        where = f"--namespace={self.namespace}"
        self.cluster.kubectl("patch", "cronjob", name, where, f"--patch={patch}")

    def next(self, name):
        """What kube-state-metrics says of the next plan, as Prometheus has it."""
        return self.cluster.prometheus_query(
            f'kube_cronjob_next_schedule_time{{namespace="{self.namespace}",cronjob="{name}"}}'
        )

    def are_seen(self):
        """Whether Prometheus has all six CronJobs, and the plan of the one that is served."""
        told = f'kube_cronjob_spec_suspend{{namespace="{self.namespace}"}}'
        return len(self.cluster.prometheus_query(told)) == 6 and self.next("served")

    def _patch_status(self, kind, name, status):
        self.cluster.kubectl(
            "patch",
            kind,
            name,
            f"--namespace={self.namespace}",
            "--subresource=status",
            "--type=merge",
            f'--patch={{"status":{status}}}',
        )

    def follow(self, name, **schedule):
        """A workflow that nothing but its schedule is known of."""
        self.apply(name, {"deadline": "1s", "cronJob": name} | schedule)

    def apply(self, name, schedule, **spec):
        """A workflow that is scraped by nobody and looked at often."""
        scrape = {"mode": "None", "interval": "1s"}
        alerts = {"overrides": {"ScheduleUnknown": {"for": "1s"}}}
        body = self.operator.workflow(
            self.namespace, name, scrape=scrape, slos=[], alerts=alerts, schedule=schedule
        )
        del body["spec"]["selector"]
        body["spec"] |= spec
        self.cluster.apply([body])

    def alerts(self, alert, name):
        """Alerts of a workflow in the real Alertmanager."""
        return [
            found
            for found in self.cluster.alerts()
            if found["labels"].get("namespace") == self.namespace
            and found["labels"].get("monitored_workflow") == name
            and found["labels"]["alertname"] == f"Workflow{alert}"
        ]

    def wait_alert(self, alert, name, timeout=TOLD_AGAIN):
        """Wait until Alertmanager has it."""
        return self.operator.wait(
            lambda: self.alerts(alert, name), f"{alert} of {name} in Alertmanager", timeout
        )

    def wait_over(self, alert, name, timeout=TOLD_AGAIN):
        """Wait until Alertmanager has it no longer."""
        self.operator.wait(
            lambda: not self.alerts(alert, name), f"{alert} of {name} to be over", timeout
        )

    def fired(self, name):
        """Alerts on its schedule that a workflow has had at any time, firing."""
        found = self.cluster.prometheus_query(
            f'count by (alertname) (max_over_time(ALERTS{{namespace="{self.namespace}",'
            f'monitored_workflow="{name}",alertstate="firing",'
            'alertname=~".*(Schedule|Overdue).*"}[15m]))'
        )
        return sorted(sample["metric"]["alertname"] for sample in found)

    def due(self, name):
        """The plan whose deadline is over, in Unix seconds; None before there is one."""
        found = self.cluster.prometheus_query(
            f'workflow:schedule:due_timestamp_seconds{{namespace="{self.namespace}",'
            f'monitored_workflow="{name}"}}'
        )
        return float(found[0]["value"][1]) if found else None


@pytest.fixture(scope="module")
def planned(verifying, stack):
    for name in ("kube-state-metrics", "pushgateway"):
        binary(name)
    stack.start_kube_state_metrics()
    stack.start_pushgateway()
    namespace = f"test-{secrets.token_hex(4)}"
    stack.create_namespace(namespace)
    made = Planned(verifying, namespace)
    for name in ("stuck", "served"):
        made.cronjob(name, concurrencyPolicy="Forbid")
    made.cronjob("slow")
    made.cronjob("forgotten", **YEARLY)
    made.forget("forgotten")
    made.cronjob("paused", **YEARLY, suspend=True)
    made.cronjob("pausing", **YEARLY)
    for name in ("paused", "pausing"):
        made.forget(name)
    # Workflows of CronJobs that nobody has told Prometheus of yet would rightly say so.
    made.operator.wait(made.are_seen, "the CronJobs in Prometheus", 60)
    for name in ("stuck", "forgotten", "paused", "pausing", "ghost"):
        made.follow(name)
    for name in ("served", "slow"):
        made.follow(name, deadline="10s")
    made.push("silent", 0)
    made.apply("silent", {"cron": MINUTE, "deadline": "1s"})
    now = dt.datetime.now(dt.UTC)
    window = {
        "name": "now",
        "start": f"{now - dt.timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
        "end": f"{now + dt.timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
    }
    made.apply("resting", {"cron": MINUTE, "deadline": "1s"}, maintenance=[window])
    yield made
    stack.delete_namespace(namespace)


def test_a_plan_that_kubernetes_passed_over_is_missed_until_somebody_runs_it(planned):
    (alert,) = planned.wait_alert("ScheduleMissed", "forgotten")
    year = dt.datetime.now(dt.UTC).year
    assert f"was planned for {year - 1}-01-01 00:00:00" in alert["annotations"]["description"]
    assert alert["labels"]["severity"] == "critical"

    planned.cluster.kubectl(
        "create", "job", "by-hand", "--from=cronjob/forgotten", f"--namespace={planned.namespace}"
    )
    planned.end("forgotten")

    planned.wait_over("ScheduleMissed", "forgotten")


def test_a_cronjob_that_is_suspended_is_silent_and_what_was_planned_is_forgiven(planned):
    """Kubernetes does not catch up on it either: it is past its startingDeadlineSeconds."""
    planned.wait_alert("ScheduleMissed", "pausing")

    planned.suspend("pausing", value=True)

    planned.wait_over("ScheduleMissed", "pausing")
    planned.suspend("pausing", value=False)
    planned.operator.wait(lambda: planned.next("pausing"), "the plan of one that goes on")


def test_a_cronjob_that_nobody_sees_is_told_by_status_and_alert(planned):
    planned.wait_alert("ScheduleUnknown", "ghost")

    def healthy(name, reason):
        def ask():
            found = planned.operator.condition("Healthy", planned.namespace, name)
            return found.get("reason") == reason and found

        return planned.operator.wait(ask, f"Healthy of {name} to say {reason}", 60)

    told = healthy("ghost", "ScheduleUnknown")
    assert told["status"] == "False"
    assert "the plan of the CronJob ghost" in told["message"]
    healthy("forgotten", "MissingFamilies")


def test_a_plan_by_cron_is_missed_until_a_run_begins(planned):
    planned.wait_alert("ScheduleMissed", "silent", 120)
    assert planned.due("silent") % 60 == 0

    def is_told():
        # The next plan is due within the minute, and Alertmanager hears of that later.
        plan = dt.datetime.fromtimestamp(planned.due("silent"), dt.UTC)
        (alert,) = planned.alerts("ScheduleMissed", "silent")
        return f"{plan:%H:%M:00}" in alert["annotations"]["description"]

    planned.operator.wait(is_told, "the alert to name the plan that is due", TOLD_AGAIN)

    # A run in every second from now on: one alone would be followed by the next plan within the minute, and that its end
    # was told may be what got lost.
    started = itertools.count(1)

    def is_over():
        planned.push("silent", next(started))
        return not planned.alerts("ScheduleMissed", "silent")

    planned.operator.wait(is_over, "ScheduleMissed of silent to be over", TOLD_AGAIN)


def test_a_run_that_may_not_begin_beside_the_last_one_is_missed(planned):
    """The controller itself refuses: the first Job is still going when the second is planned."""
    planned.wait_alert("ScheduleMissed", "stuck", 180)

    planned.end("stuck")

    planned.wait_over("ScheduleMissed", "stuck")


def test_a_run_that_began_and_does_not_end_is_overdue(planned):
    planned.wait_alert("RunOverdue", "slow", 120)
    assert not planned.alerts("ScheduleMissed", "slow")

    planned.end("slow")

    planned.wait_over("RunOverdue", "slow")


def test_what_runs_rests_or_is_suspended_has_never_alerted(planned):
    """Last, so that as much time as possible has passed."""
    planned.operator.wait(lambda: planned.due("served"), "a plan that is served to be due", 60)
    assert planned.alerts("ScheduleMissed", "pausing") == []
    assert planned.due("resting") is None
    assert {name: planned.fired(name) for name in ("served", "resting", "paused")} == {
        "served": [],
        "resting": [],
        "paused": [],
    }
