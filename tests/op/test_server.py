import asyncio

import aiohttp
import pytest

from flowgauge_operator.server import Server, ServerError


def asked(path, *, live=lambda: None, ready=lambda: None, metrics=lambda: b"up 1\n"):
    async def main():
        async with (
            Server("127.0.0.1", 0, live=live, ready=ready, metrics=metrics) as server,
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{server.port}{path}") as answer,
        ):
            return answer.status, await answer.text(), answer.headers["Content-Type"]

    return asyncio.run(main())


def test_a_healthy_process_says_so():
    assert asked("/healthz")[:2] == (200, "ok")


def test_a_failing_check_is_a_503_with_its_reason():
    assert asked("/readyz", ready=lambda: "no list yet")[:2] == (503, "no list yet")


def test_a_check_that_raises_is_a_failing_check():
    def live():
        raise ZeroDivisionError("division by zero")

    assert asked("/healthz", live=live)[:2] == (503, "the check failed: division by zero")


def test_metrics_are_served_as_they_are():
    kind = "text/plain; version=0.0.4; charset=utf-8"

    assert asked("/metrics") == (200, "up 1\n", kind)


def test_other_paths_are_not_found():
    assert asked("/")[0] == 404


def test_a_port_in_use_is_explained():
    async def main():
        options = {"live": lambda: None, "ready": lambda: None, "metrics": lambda: b""}
        async with Server("127.0.0.1", 0, **options) as first:
            with pytest.raises(ServerError, match="choose another address with --listen-address"):
                await Server("127.0.0.1", first.port, **options).__aenter__()

    asyncio.run(main())
