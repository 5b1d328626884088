"""A worker with Temporal's Python SDK that shows its metrics; `worker.py 20` makes 20 transfers besides."""

import asyncio
import os
import sys
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.worker import Worker

QUEUE = "transfers"


@activity.defn
async def withdraw(amount: int) -> int:
    """Take an amount from an account that has 90."""
    if amount > 90:
        raise ApplicationError("the account has not as much", non_retryable=True)
    return amount


@workflow.defn
class Transfer:
    """Move an amount from one account to another."""

    @workflow.run
    async def run(self, amount: int) -> int:
        """Withdraw; what follows is left out."""
        return await workflow.execute_activity(
            withdraw, amount, start_to_close_timeout=timedelta(seconds=10)
        )


async def transfer(client: Client, number: int) -> None:
    """One transfer; some ask for more than there is."""
    try:
        await client.execute_workflow(
            Transfer.run, number * 5, id=f"transfer-{number}", task_queue=QUEUE
        )
    except WorkflowFailureError as error:
        print(f"transfer {number} failed: {error.cause}")


async def main(transfers: int) -> None:
    """Work until interrupted."""
    metrics = PrometheusConfig(bind_address=f"0.0.0.0:{os.environ.get('METRICS_PORT', '9000')}")
    runtime = Runtime(telemetry=TelemetryConfig(metrics=metrics))
    address = os.environ.get("TEMPORAL_ADDRESS", "localhost:7233")
    client = await Client.connect(address, runtime=runtime)
    async with Worker(client, task_queue=QUEUE, workflows=[Transfer], activities=[withdraw]):
        await asyncio.gather(*(transfer(client, n) for n in range(1, transfers + 1)))
        await asyncio.Event().wait()


if __name__ == "__main__":
    try:
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
    except KeyboardInterrupt:
        sys.exit(0)
