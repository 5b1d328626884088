"""Print the client metrics of Prefect after a flow that ends well and one that fails, on a server of its own."""

# mypy: ignore-errors
from __future__ import annotations

import contextlib
import os
import urllib.request

PORT = 14201
os.environ |= {
    "PREFECT_CLIENT_METRICS_ENABLED": "true",
    "PREFECT_CLIENT_METRICS_PORT": str(PORT),
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    "DO_NOT_TRACK": "1",
}

from prefect import flow  # noqa: E402 - reads the environment when it is imported
from prefect.utilities.services import start_client_metrics_server  # noqa: E402


@flow
def good() -> None:
    """End well."""


@flow
def bad() -> None:
    """Fail."""
    raise ValueError("no")


def main() -> None:
    """Run both, then print."""
    start_client_metrics_server()
    good()
    with contextlib.suppress(ValueError):
        bad()
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=10) as response:
        print(response.read().decode())


if __name__ == "__main__":
    main()
