"""`flowgauge preview`: read what is to be drawn, ask Prometheus, draw, and write the files."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import re
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowgauge_operator import cli, names
from flowgauge_operator.cli import InputError
from flowgauge_operator.preview import board, browser, grid, window
from flowgauge_operator.preview.answers import Answers
from flowgauge_operator.preview.asking import Asking
from flowgauge_operator.preview.board import Board
from flowgauge_operator.preview.browser import BrowserError, Shot
from flowgauge_operator.preview.colors import THEMES
from flowgauge_operator.preview.page import page
from flowgauge_operator.preview.window import Window
from flowgauge_operator.prometheus import Prometheus, PrometheusError, without_credentials
from flowgauge_operator.render import Options, Rendered

_MODULES = {"fleet": "fleet", "slo": "objectives"}


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One dashboard as HTML; `name` is for its files."""

    name: str
    html: str


def run(arguments: argparse.Namespace) -> int:
    """Draw all dashboards that were asked for.

    Raises:
        InputError: something cannot be read, Prometheus cannot be asked, or there is no browser for pictures.
    """
    try:
        # Known before a minute has gone by with queries.
        program = browser.found(arguments.browser, os.environ) if arguments.png else ""
        if arguments.ca_file:
            _text(arguments.ca_file)
        drawn = asyncio.run(_drawn(arguments, list(_boards(arguments))))
        if arguments.html:
            _write_pages(arguments.html, drawn)
        if arguments.png:
            _write_pictures(Path(arguments.png), program, arguments.width, drawn)
    except (PrometheusError, BrowserError) as error:
        raise InputError(str(error)) from error
    except ssl.SSLError as error:
        raise InputError(f"{arguments.ca_file} holds no certificate: {error}") from error
    except OSError as error:
        raise InputError(f"{error.filename or 'a file'}: {error.strerror or error}") from error
    return 0


def _boards(arguments: argparse.Namespace) -> Iterator[tuple[str, Board]]:
    options = Options(
        runbook_url=arguments.runbook_base_url,
        grafana_url=arguments.grafana_url,
        logs_url=arguments.logs_url,
        traces_url=arguments.traces_url,
    )
    for path in arguments.from_json:
        yield _slug(Path(path).stem), board.board(_json(_text(path), path))
    if arguments.dashboard != "workflow":
        yield from _shared(arguments, options)
        return
    for source, body, rendered in cli.each_rendered(arguments.filename, arguments.profile, options):
        namespace, name = body["metadata"].get("namespace", "default"), body["metadata"]["name"]
        yield f"{namespace}-{name}", board.board(_json(_dashboard(rendered, name, source), source))


def _shared(arguments: argparse.Namespace, options: Options) -> Iterator[tuple[str, Board]]:
    """The dashboards of the namespaces of the workflows, or the one over all."""
    given = (
        cli.each_rendered(arguments.filename, arguments.profile, options)
        if arguments.filename
        else ()
    )
    spaces = dict.fromkeys(body["metadata"].get("namespace", "default") for _, body, _ in given)
    kind = _MODULES[arguments.dashboard]
    try:
        module = importlib.import_module(f"flowgauge_operator.render.dashboards.{kind}")
    except ModuleNotFoundError:
        raise InputError(
            f"this version of flowgauge has no {arguments.dashboard} dashboard"
        ) from None
    for space in spaces or [None]:
        text = module.render(space, options)
        yield (
            f"{space or 'all'}-{arguments.dashboard}",
            board.board(_json(text, arguments.dashboard)),
        )


def _dashboard(rendered: Rendered, name: str, source: str) -> str:
    """The dashboard's JSON among the objects of a workflow, in either of the forms that Grafana gets it in."""
    own = names.child(name, "dashboard")
    for child in rendered.children:
        if child["metadata"]["name"] != own:
            continue
        if child["kind"] == "GrafanaDashboard":
            return str(child["spec"]["json"])
        return str(next(iter(child["data"].values())))
    raise InputError(f"{source}: {name} has no dashboard: spec.dashboard.mode is None")


def _json(text: str, source: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"{source} is not valid JSON: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("dashboard", found), dict):
        raise InputError(f"{source} holds no dashboard: that is an object with panels")
    return found


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from error


async def _drawn(
    arguments: argparse.Namespace, boards: Sequence[tuple[str, Board]]
) -> list[_Drawn]:
    found = []
    given: dict[str, list[str]] = {}
    for name, value in arguments.var:
        given.setdefault(name, []).append(value)
    asked = Prometheus(
        arguments.prometheus,
        token_file=arguments.bearer_token_file,
        ca_file=arguments.ca_file,
        timeout=arguments.timeout,
    )
    async with asked as prometheus:
        for name, shown in boards:
            asking = Asking(prometheus, _window(arguments, shown), arguments.width, given)
            answers = await asking.everything(shown)
            _warn(name, shown, answers)
            html = page(
                shown,
                answers,
                theme=THEMES[arguments.theme],
                width=arguments.width,
                source=without_credentials(arguments.prometheus),
                grafana=arguments.grafana_url,
            )
            found.append(_Drawn(name, html))
    return found


def _window(arguments: argparse.Namespace, shown: Board) -> Window:
    try:
        end = window.instant(arguments.until, time.time())
        length = arguments.since or window.since(shown.since)
    except ValueError as error:
        if arguments.since is None and not str(error).startswith(repr(arguments.until)):
            raise InputError(f"{error}; or give --since") from error
        raise InputError(f"--until: {error}") from error
    return Window(end - length, end, arguments.scrape_interval)


def _warn(name: str, shown: Board, answers: Answers) -> None:
    for fault in answers.faults:
        print(f"{name}: warning: {fault}", file=sys.stderr)
    for panel in shown.panels:
        for target in panel.targets:
            for instant in (True, False):
                if error := answers.of(panel, target, instant=instant).error:
                    print(
                        f"{name}: {panel.title}: warning: query {target.ref} failed: {error}",
                        file=sys.stderr,
                    )


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:100] or "dashboard"


def _write_pages(given: str, drawn: Sequence[_Drawn]) -> None:
    if given == "-":
        for one in drawn:
            sys.stdout.write(one.html)
        return
    target = Path(given)
    target.parent.mkdir(parents=True, exist_ok=True)
    for one in drawn:
        path = target if len(drawn) == 1 else target.with_stem(f"{target.stem}-{one.name}")
        path.write_text(one.html, encoding="utf-8")
        print(path)


def _write_pictures(folder: Path, program: str, width: int, drawn: Sequence[_Drawn]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="flowgauge-preview-") as pages:
        shots = []
        for number, one in enumerate(drawn):
            path = Path(pages) / f"{number}.html"
            path.write_text(one.html, encoding="utf-8")
            shots += [
                Shot(path, pixels, folder / f"{one.name}-{pixels}.png")
                for pixels in (width, grid.NARROW)
            ]
        for written in asyncio.run(browser.take(program, shots)):
            print(written)
