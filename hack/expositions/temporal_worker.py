"""Print what a worker of Temporal's Python SDK exposes. The worker is real; the server is a stand-in that plays three runs.

One run completes, one fails, and one has a history that the code does not repeat.
"""

# mypy: ignore-errors
from __future__ import annotations

import asyncio
import itertools
import queue
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio import activity, workflow
from temporalio.api.command.v1 import message_pb2 as commands
from temporalio.api.common.v1 import message_pb2 as common
from temporalio.api.enums.v1 import command_type_pb2, event_type_pb2
from temporalio.api.history.v1 import message_pb2 as history
from temporalio.api.namespace.v1 import message_pb2 as namespaces
from temporalio.api.taskqueue.v1 import message_pb2 as queues
from temporalio.api.workflowservice.v1 import request_response_pb2 as messages
from temporalio.api.workflowservice.v1 import service_pb2_grpc as service
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.worker import Worker

QUEUE = "transfers"
SERVER, METRICS = "127.0.0.1:17233", "127.0.0.1:19000"


@activity.defn
async def withdraw(amount: int) -> int:
    """Fail above 90."""
    if amount > 90:
        raise ApplicationError("the account has not as much", non_retryable=True)
    return amount


@workflow.defn
class Transfer:
    """One activity."""

    @workflow.run
    async def run(self, amount: int) -> int:
        """Withdraw."""
        return await workflow.execute_activity(
            withdraw, amount, start_to_close_timeout=timedelta(seconds=10)
        )


def now() -> Timestamp:
    """The time, as the API wants it."""
    stamp = Timestamp()
    stamp.GetCurrentTime()
    return stamp


class Run:
    """The history of one run, as a server keeps it."""

    def __init__(self, number: int, amount: int) -> None:
        self.execution = common.WorkflowExecution(
            workflow_id=f"run-{number}", run_id=f"id-{number}"
        )
        payload = common.Payload(metadata={"encoding": b"json/plain"}, data=str(amount).encode())
        self.input = common.Payloads(payloads=[payload])
        self.events: list[history.HistoryEvent] = []
        self.started = 0
        self.add(
            event_type_pb2.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED,
            workflow_execution_started_event_attributes={
                "workflow_type": {"name": "Transfer"},
                "task_queue": {"name": QUEUE},
                "input": self.input,
                "original_execution_run_id": self.execution.run_id,
                "first_execution_run_id": self.execution.run_id,
                "attempt": 1,
            },
        )

    def add(self, kind: int, **attributes: object) -> int:
        """Append an event; its number."""
        number = len(self.events) + 1
        event = history.HistoryEvent(event_id=number, event_time=now(), event_type=kind)
        for name, values in attributes.items():
            getattr(event, name).MergeFrom(type(getattr(event, name))(**values))
        self.events.append(event)
        return number

    def task(self) -> messages.PollWorkflowTaskQueueResponse:
        """The next workflow task, with the whole history."""
        scheduled = self.add(
            event_type_pb2.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
            workflow_task_scheduled_event_attributes={
                "task_queue": queues.TaskQueue(name=QUEUE),
                "attempt": 1,
            },
        )
        before, self.started = (
            self.started,
            self.add(
                event_type_pb2.EVENT_TYPE_WORKFLOW_TASK_STARTED,
                workflow_task_started_event_attributes={"scheduled_event_id": scheduled},
            ),
        )
        return messages.PollWorkflowTaskQueueResponse(
            task_token=self.execution.workflow_id.encode(),
            workflow_execution=self.execution,
            workflow_type=common.WorkflowType(name="Transfer"),
            previous_started_event_id=before,
            started_event_id=self.started,
            attempt=1,
            workflow_execution_task_queue=queues.TaskQueue(name=QUEUE),
            history=history.History(events=self.events),
            scheduled_time=now(),
            started_time=now(),
        )

    def completed_task(self) -> int:
        """Note that the last workflow task was completed; the number of the event."""
        return self.add(
            event_type_pb2.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
            workflow_task_completed_event_attributes={
                "scheduled_event_id": self.started - 1,
                "started_event_id": self.started,
            },
        )


class Server(service.WorkflowServiceServicer):
    """As much of a server as a worker needs."""

    def __init__(self) -> None:
        self.workflow_tasks: queue.Queue[messages.PollWorkflowTaskQueueResponse] = queue.Queue()
        self.activity_tasks: queue.Queue[messages.PollActivityTaskQueueResponse] = queue.Queue()
        self.runs: dict[bytes, Run] = {}
        self.scheduled: dict[bytes, int] = {}
        for number, amount in ((1, 10), (2, 100), (3, 20)):
            run = Run(number, amount)
            self.runs[run.execution.workflow_id.encode()] = run
            if number == 3:
                self._diverge(run)
            self.workflow_tasks.put(run.task())

    def _diverge(self, run: Run) -> None:
        """Give the run a history with a timer, which the code does not start."""
        run.task()
        completed = run.completed_task()
        timer = run.add(
            event_type_pb2.EVENT_TYPE_TIMER_STARTED,
            timer_started_event_attributes={
                "timer_id": "1",
                "start_to_fire_timeout": timedelta(seconds=1),
                "workflow_task_completed_event_id": completed,
            },
        )
        run.add(
            event_type_pb2.EVENT_TYPE_TIMER_FIRED,
            timer_fired_event_attributes={"timer_id": "1", "started_event_id": timer},
        )

    def GetSystemInfo(self, request, context):  # noqa: N802, ANN001, ANN201, ARG002, D102
        return messages.GetSystemInfoResponse()

    def DescribeNamespace(self, request, context):  # noqa: N802, ANN001, ANN201, ARG002, D102
        info = namespaces.NamespaceInfo(name=request.namespace)
        return messages.DescribeNamespaceResponse(namespace_info=info)

    def PollWorkflowTaskQueue(self, request, context):  # noqa: N802, ANN001, ANN201, ARG002, D102
        if request.task_queue.name != QUEUE:
            time.sleep(2)
            return messages.PollWorkflowTaskQueueResponse()
        try:
            return self.workflow_tasks.get(timeout=2)
        except queue.Empty:
            return messages.PollWorkflowTaskQueueResponse()

    def PollActivityTaskQueue(self, request, context):  # noqa: N802, ANN001, ANN201, ARG002, D102
        try:
            return self.activity_tasks.get(timeout=2)
        except queue.Empty:
            return messages.PollActivityTaskQueueResponse()

    def RespondWorkflowTaskCompleted(self, request, context):  # noqa: N802, ANN001, ANN201, ARG002, D102
        run = self.runs[request.task_token]
        completed = run.completed_task()
        for command in request.commands:
            if command.command_type == command_type_pb2.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK:
                self._schedule(run, command.schedule_activity_task_command_attributes, completed)
        return messages.RespondWorkflowTaskCompletedResponse()

    def RespondWorkflowTaskFailed(self, request, context):  # noqa: N802, ANN001, ANN201, ARG002, D102
        return messages.RespondWorkflowTaskFailedResponse()

    def _schedule(
        self, run: Run, asked: commands.ScheduleActivityTaskCommandAttributes, completed: int
    ) -> None:
        token = run.execution.workflow_id.encode()
        self.scheduled[token] = run.add(
            event_type_pb2.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED,
            activity_task_scheduled_event_attributes={
                "activity_id": asked.activity_id,
                "activity_type": asked.activity_type,
                "task_queue": asked.task_queue,
                "input": asked.input,
                "workflow_task_completed_event_id": completed,
            },
        )
        self.activity_tasks.put(
            messages.PollActivityTaskQueueResponse(
                task_token=token,
                workflow_namespace="default",
                workflow_type=common.WorkflowType(name="Transfer"),
                workflow_execution=run.execution,
                activity_type=asked.activity_type,
                activity_id=asked.activity_id,
                input=asked.input,
                scheduled_time=now(),
                current_attempt_scheduled_time=now(),
                started_time=now(),
                attempt=1,
                start_to_close_timeout=asked.start_to_close_timeout,
            )
        )

    def _ended(self, token: bytes, kind: int, name: str, **values: object) -> None:
        run = self.runs[token]
        scheduled = self.scheduled[token]
        started = run.add(
            event_type_pb2.EVENT_TYPE_ACTIVITY_TASK_STARTED,
            activity_task_started_event_attributes={"scheduled_event_id": scheduled, "attempt": 1},
        )
        run.add(
            kind,
            **{name: {"scheduled_event_id": scheduled, "started_event_id": started, **values}},
        )
        self.workflow_tasks.put(run.task())

    def RespondActivityTaskCompleted(self, request, context):  # noqa: N802, ANN001, ANN201, ARG002, D102
        kind = event_type_pb2.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
        name = "activity_task_completed_event_attributes"
        self._ended(request.task_token, kind, name, result=request.result)
        return messages.RespondActivityTaskCompletedResponse()

    def RespondActivityTaskFailed(self, request, context):  # noqa: N802, ANN001, ANN201, ARG002, D102
        kind = event_type_pb2.EVENT_TYPE_ACTIVITY_TASK_FAILED
        name = "activity_task_failed_event_attributes"
        self._ended(request.task_token, kind, name, failure=request.failure)
        return messages.RespondActivityTaskFailedResponse()


async def work() -> str:
    """The exposition of a worker after a few seconds."""
    runtime = Runtime(telemetry=TelemetryConfig(metrics=PrometheusConfig(bind_address=METRICS)))
    client = await Client.connect(SERVER, runtime=runtime)
    async with Worker(client, task_queue=QUEUE, workflows=[Transfer], activities=[withdraw]):
        for _ in itertools.repeat(None, 20):
            await asyncio.sleep(0.5)
            text = await asyncio.to_thread(scrape)
            if all(name in text for name in ("workflow_completed", "workflow_failed")):
                await asyncio.sleep(1)
                return await asyncio.to_thread(scrape)
    return text


def scrape() -> str:
    """What the worker exposes now."""
    with urllib.request.urlopen(f"http://{METRICS}/metrics", timeout=5) as response:
        return response.read().decode()


def main() -> None:
    """Serve, work, print."""
    server = grpc.server(ThreadPoolExecutor(32))
    service.add_WorkflowServiceServicer_to_server(Server(), server)
    server.add_insecure_port(SERVER)
    server.start()
    text = asyncio.run(work())
    server.stop(None)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
