"""Serve /healthz, /readyz and /metrics over plain HTTP. It knows nothing; `__main__` hands in what to answer."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Self

from aiohttp import web

logger = logging.getLogger(__name__)

# A check returns None if all is well, else a sentence that says what is not.
Check = Callable[[], str | None]
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class ServerError(Exception):
    """Report that the address cannot be listened on; the message names the remedy."""


class Server:
    """Answer on one address while it is entered; port 0 takes any free one."""

    def __init__(
        self, host: str, port: int, *, live: Check, ready: Check, metrics: Callable[[], bytes]
    ) -> None:
        self._host = host
        self._port = port
        app = web.Application()
        app.router.add_get("/healthz", _answer(live))
        app.router.add_get("/readyz", _answer(ready))
        app.router.add_get("/metrics", _metrics(metrics))
        # An access log of probes would be the loudest thing that we write.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    @property
    def port(self) -> int:
        """Return the port that is listened on."""
        return int(self._runner.addresses[0][1])

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host or None, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            where = f"{self._host or '*'}:{self._port}"
            raise ServerError(
                f"cannot listen on {where}: {error.strerror or error};"
                " choose another address with --listen-address"
            ) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


def _answer(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(_request: web.Request) -> web.Response:
        try:
            problem = check()
        except Exception as error:
            logger.exception("A health check failed.")
            problem = f"the check failed: {error}"
        return web.Response(text=problem or "ok", status=503 if problem else 200)

    return handler


def _metrics(metrics: Callable[[], bytes]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": TEXT})

    return handler
