"""The dashboard of the operator itself: does it run, does it keep up, what fails. Pure."""

from __future__ import annotations

from flowgauge.profiles import Panel, Query, Step
from flowgauge_operator import names
from flowgauge_operator.render.dashboards import frame, grid, panel
from flowgauge_operator.render.dashboards.panel import View
from flowgauge_operator.render.options import Options

_TARGET = 'namespace=~"$namespace",job=~"$job",instance=~"$instance"'
_RATE = "[$__rate_interval]"
# What every process exposes is the operator's where the same target has something that only operators have.
_OURS = f"and on (namespace, job, instance) flowgauge_leader{{{_TARGET}}}"


def render(options: Options) -> str:
    """The dashboard as JSON, with variables for the operators of a Prometheus and their replicas."""
    leaders = "flowgauge_leader"
    variables = [
        frame.variable("namespace", "Namespace", f"{leaders}, namespace"),
        frame.variable("job", "Job", f'{leaders}{{namespace=~"$namespace"}}, job'),
        frame.variable(
            "instance", "Instance", f'{leaders}{{namespace=~"$namespace",job=~"$job"}}, instance'
        ),
    ]
    views = [*_numbers(), *_work(), *_requests(), *_process()]
    return frame.dashboard(
        names.OPERATOR_UID,
        "Flowgauge operator",
        "Whether the operator runs, keeps up and can do what it must. For the workflows, see the fleet.",
        grid.placed(views, spent=len(variables)),
        tags=["operator"],
        variables=variables,
        links=[
            frame.link("Workflows", frame.path(names.fleet_uid(None))),
            *frame.outside(options, ".+", ".+"),
        ],
    )


def _numbers() -> list[View]:
    return [
        _number(
            "Leaders",
            "Replicas that work. One is right; none means that nothing is created, repaired or verified.",
            f"sum(flowgauge_leader{{{_TARGET}}})",
            Step(1, "green"),
            color="red",
        ),
        _number(
            "Replicas",
            "Replicas that answer Prometheus.",
            f"count(flowgauge_leader{{{_TARGET}}})",
            color="text",
        ),
        _number(
            "Workflows",
            "MonitoredWorkflows that the leader knows.",
            f"max(flowgauge_workflows{{{_TARGET}}})",
            color="text",
        ),
        _number(
            "Not ready",
            "Workflows whose condition Ready is not True. kubectl get mwf -A says which, and their status says why.",
            f"max(flowgauge_workflows{{{_TARGET}}}) - max(flowgauge_workflows_ready{{{_TARGET}}})",
            Step(1, "orange"),
        ),
        _number(
            "Kinds forbidden",
            "Kinds of object that the cluster has and RBAC keeps the operator from.",
            f"count(max by (kind) (flowgauge_kind_forbidden{{{_TARGET}}}) == 1) or vector(0)",
            Step(1, "orange"),
        ),
        _number(
            "Last good turn",
            "Time since a turn last ended well. It grows while nothing changes; with keys that wait it must not.",
            f"time() - max(flowgauge_last_successful_reconcile_timestamp_seconds{{{_TARGET}}})",
            color="text",
            unit="seconds",
        ),
    ]


def _number(
    title: str, description: str, expr: str, *steps: Step, color: str = "green", unit: str = ""
) -> View:
    return panel.literal(
        Panel(
            title=title,
            description=description,
            type="stat",
            width=4,
            height=4,
            color=color,
            steps=steps,
            unit=unit,
            queries=(Query(expr),),
            empty="No operator",
        )
    )


def _work() -> list[View]:
    wait = f"sum by (le, lane) (rate(flowgauge_queue_wait_seconds_bucket{{{_TARGET}}}{_RATE}))"
    turn = f"sum by (le) (rate(flowgauge_reconcile_duration_seconds_bucket{{{_TARGET}}}{_RATE}))"
    return [
        _graph(
            "Queue",
            "Keys that wait for their turn, and those that have it. A queue that does not empty means that changes show late.",
            ("waiting {{instance}}", f"flowgauge_queue_depth{{{_TARGET}}}"),
            ("in turn {{instance}}", f"flowgauge_queue_active{{{_TARGET}}}"),
            row="Work",
        ),
        _graph(
            "Turns",
            "Turns a second, by result. One that fails is tried again later, after five minutes at most.",
            (
                "{{result}}",
                f"sum by (result) (rate(flowgauge_reconcile_total{{{_TARGET}}}{_RATE}))",
            ),
            row="Work",
            unit="per_second",
        ),
        _graph(
            "Time of a turn and before it",
            "What 95 % of the turns took at most, and what keys waited before: those that somebody waits for in the fast lane.",
            ("turn", f"histogram_quantile(0.95, {turn})"),
            ("wait, {{lane}} lane", f"histogram_quantile(0.95, {wait})"),
            row="Work",
            unit="seconds",
        ),
        _graph(
            "Repaired",
            "Changes by others that were undone, a second, and objects that were gone without an event.",
            (
                "{{kind}}",
                f"sum by (kind) (rate(flowgauge_drifts_repaired_total{{{_TARGET}}}{_RATE}))",
            ),
            ("gone unseen", f"sum(rate(flowgauge_ghosts_purged_total{{{_TARGET}}}{_RATE}))"),
            row="Work",
            unit="per_second",
        ),
    ]


def _requests() -> list[View]:
    sent = f"flowgauge_api_requests_total{{{_TARGET}}}{_RATE}"
    # 404 is an answer: a kind that the cluster does not have is asked for every minute.
    failed = f'flowgauge_api_requests_total{{{_TARGET},code!~"2..|404"}}{_RATE}'
    return [
        _graph(
            "Requests to the API server",
            "Requests a second, by verb. Without changes they are for the lease and for what exists and is allowed.",
            ("{{verb}}", f"sum by (verb) (rate({sent}))"),
            row="Cluster",
            unit="per_second",
        ),
        _graph(
            "Refused requests",
            "Requests a second that did not succeed, by code. 409 is ordinary now and then; 403 is a missing permission. Asking for"
            " what is not there (404) is no failure.",
            ("{{verb}} {{kind}} {{code}}", f"sum by (verb, kind, code) (rate({failed}))"),
            row="Cluster",
            unit="per_second",
            empty="None refused",
        ),
        _graph(
            "Events and restarts of watches",
            "Events a second, by kind, and starts of the watches after a failure.",
            ("{{kind}}", f"sum by (kind) (rate(flowgauge_watch_events_total{{{_TARGET}}}{_RATE}))"),
            ("restarts", f"sum(rate(flowgauge_watch_restarts_total{{{_TARGET}}}{_RATE}))"),
            row="Cluster",
            unit="per_second",
        ),
        _graph(
            "Looks at Prometheus",
            "Looks a second, by result. With errors alone, Loaded and Healthy of all workflows are Unknown.",
            (
                "{{result}}",
                f"sum by (result) (rate(flowgauge_verifications_total{{{_TARGET}}}{_RATE}))",
            ),
            row="Cluster",
            unit="per_second",
            empty="Prometheus is not asked",
        ),
    ]


def _process() -> list[View]:
    return [
        _graph(
            "CPU",
            "Cores that are used.",
            ("{{instance}}", f"rate(process_cpu_seconds_total{{{_TARGET}}}{_RATE}) {_OURS}"),
            row="Process",
        ),
        _graph(
            "Memory",
            "Memory that is resident; beyond the limit of its container the process is ended.",
            ("{{instance}}", f"process_resident_memory_bytes{{{_TARGET}}} {_OURS}"),
            row="Process",
            unit="bytes",
        ),
    ]


def _graph(
    title: str,
    description: str,
    *queries: tuple[str, str],
    row: str,
    unit: str = "",
    empty: str = "",
) -> View:
    return panel.literal(
        Panel(
            title=title,
            description=description,
            type="timeseries",
            row=row,
            unit=unit,
            minimum=0,
            empty=empty,
            queries=tuple(Query(expr, legend) for legend, expr in queries),
        )
    )
