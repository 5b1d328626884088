"""Take pictures of pages with a headless browser, over its own pipe: no port, no library, no profile of the user's."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FLAGS = (
    "--headless", "--remote-debugging-pipe", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--disable-extensions", "--disable-dev-shm-usage", "--force-color-profile=srgb",
)  # fmt: skip
# The browser reads commands from descriptor 3 and answers on 4; its own output must not mix with them.
_SHELL = 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null'
_LONGEST_ANSWER = 2**28
# A picture beyond the largest texture of a browser is empty from there on.
_TALLEST = 16_000
_PATIENCE = 60.0


class BrowserError(Exception):
    """No picture could be taken; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A page to be taken in one width; parts beyond the largest height get a number."""

    page: Path
    width: int
    target: Path


def found(given: str, environment: Mapping[str, str]) -> str:
    """The browser to use: the one that is given, the one in `$CHROME`, or one in the path.

    Raises:
        BrowserError: there is none.
    """
    for name in (given, environment.get("CHROME", "")):
        if name:
            if program := shutil.which(name):
                return program
            raise BrowserError(
                f"{name} is no program; give --browser or $CHROME the path of Chromium or Chrome"
            )
    for name in NAMES:
        if program := shutil.which(name):
            return program
    raise BrowserError(
        "a picture needs Chromium or Chrome, and none is in the path: install it (on Debian and Ubuntu: apt-get install"
        " chromium), or give --browser or $CHROME its path; --html needs no browser"
    )


async def take(program: str, shots: Sequence[Shot]) -> list[Path]:
    """Take all pictures with one browser; the files that were written.

    Raises:
        BrowserError: the browser does not start, or does not answer in time.
    """
    try:
        async with asyncio.timeout(_PATIENCE + 20 * len(shots)), _running(program) as browser:
            return [path for shot in shots for path in await _take(browser, shot)]
    except TimeoutError:
        raise BrowserError(f"{program} did not answer in time") from None


@dataclass(slots=True)
class _Browser:
    """A running browser that is asked one thing after the other."""

    process: asyncio.subprocess.Process
    session: str = ""
    count: int = 0
    events: list[str] = field(default_factory=list)

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of its protocol."""
        self.count += 1
        message: dict[str, Any] = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        assert self.process.stdin is not None  # noqa: S101 - both ends are pipes
        self.process.stdin.write(json.dumps(message).encode() + b"\0")
        await self.process.stdin.drain()
        while True:
            answer = await self._read()
            if answer.get("id") == self.count:
                if "error" in answer:
                    raise BrowserError(
                        f"the browser refuses {method}: {answer['error'].get('message')}"
                    )
                result: dict[str, Any] = answer["result"]
                return result

    async def wait(self, event: str) -> None:
        """Wait for something to happen, if it has not yet."""
        while event not in self.events:
            await self._read()
        self.events.clear()

    async def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None  # noqa: S101 - both ends are pipes
        answer: dict[str, Any] = json.loads((await self.process.stdout.readuntil(b"\0"))[:-1])
        if "method" in answer:
            self.events.append(answer["method"])
        return answer


@contextlib.asynccontextmanager
async def _running(program: str) -> AsyncIterator[_Browser]:
    with tempfile.TemporaryDirectory(
        prefix="flowgauge-preview-", ignore_cleanup_errors=True
    ) as folder:
        said = Path(folder) / "stderr"
        # A browser's sandbox does not run as root, and nothing of the page runs in it anyway.
        sandbox = ("--no-sandbox",) if os.geteuid() == 0 else ()
        with said.open("wb") as stream:
            process = await asyncio.create_subprocess_exec(
                "sh", "-c", _SHELL, "sh", program, *_FLAGS, *sandbox, f"--user-data-dir={folder}/profile",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=stream,
                limit=_LONGEST_ANSWER, start_new_session=True,
            )  # fmt: skip
        try:
            yield await _opened(process)
        except (asyncio.IncompleteReadError, BrokenPipeError, ConnectionResetError) as error:
            raise BrowserError(f"{program} ended: {_last(said)}") from error
        finally:
            await _end(process)


def _last(said: Path) -> str:
    lines = [
        line
        for line in said.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.strip()
    ]
    return lines[-1][:300] if lines else "it said nothing"


async def _opened(process: asyncio.subprocess.Process) -> _Browser:
    browser = _Browser(process)
    target = (await browser.ask("Target.createTarget", url="about:blank"))["targetId"]
    attached = await browser.ask("Target.attachToTarget", targetId=target, flatten=True)
    browser.session = attached["sessionId"]
    await browser.ask("Page.enable")
    await browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    return browser


async def _end(process: asyncio.subprocess.Process) -> None:
    # Its children are of its group, and none of them may outlive the folder of the profile.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


async def _take(browser: _Browser, shot: Shot) -> list[Path]:
    screen = {"width": shot.width, "deviceScaleFactor": 1, "mobile": shot.width < 768}
    # A page is never told to be less high than its window.
    await browser.ask("Emulation.setDeviceMetricsOverride", height=100, **screen)
    browser.events.clear()
    await browser.ask("Page.navigate", url=shot.page.resolve().as_uri())
    await browser.wait("Page.loadEventFired")
    size = (await browser.ask("Page.getLayoutMetrics"))["cssContentSize"]
    height, written = max(int(size["height"]), 1), []
    for part, top in enumerate(range(0, height, _TALLEST)):
        clip = {
            "x": 0,
            "y": top,
            "width": shot.width,
            "height": min(_TALLEST, height - top),
            "scale": 1,
        }
        answer = await browser.ask(
            "Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True
        )
        target = (
            shot.target if not part else shot.target.with_stem(f"{shot.target.stem}-{part + 1}")
        )
        target.write_bytes(base64.b64decode(answer["data"]))
        written.append(target)
    return written
