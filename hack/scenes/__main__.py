"""`make scenes`: a Prometheus with data of a workflow that is well, failing, idle or new, to look at dashboards with."""

from __future__ import annotations

import argparse
import datetime as dt
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flowgauge import profiles
from flowgauge.profiles import Profile
from flowgauge_operator import cli, model, vocabulary
from flowgauge_operator.model import Workflow
from rig import lone, scratch, tools
from scenes import history
from scenes.scenario import SCENARIOS, Scenario

# Workflows beside the given one, for dashboards of many: namespace, name, how it fares.
_NEIGHBOURS = (
    ("", "payments", "healthy"),
    ("", "returns", "failing"),
    ("", "newsletter", "idle"),
    ("", "loyalty", "new"),
    ("billing", "invoicing", "healthy"),
    ("billing", "dunning", "failing"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the data unless it is there, and serve it."""
    options = _parser().parse_args(arguments)
    tools.path("prometheus")
    if options.folder is None:
        with scratch.folder() as folder:
            return _show(folder, options)
    options.folder.mkdir(parents=True, exist_ok=True)
    return _show(options.folder.resolve(), options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scenes", description=__doc__)
    parser.add_argument(
        "file", type=Path, help="the MonitoredWorkflow, and WorkflowProfiles if it needs them"
    )
    parser.add_argument("--scenario", choices=SCENARIOS, default="healthy")
    parser.add_argument(
        "--fleet", action="store_true", help="with workflows beside it, in two namespaces"
    )
    parser.add_argument(
        "--end", type=dt.datetime.fromisoformat, help="until when the story goes; now without"
    )
    parser.add_argument(
        "--beyond", type=int, default=1200, help="seconds that it goes on after that"
    )
    parser.add_argument("--hours", type=int, help="how long the story is")
    parser.add_argument("--interval", type=int, default=30, help="seconds between two scrapes")
    parser.add_argument(
        "--folder", type=Path, help="keep the data here, and serve it if it is there already"
    )
    parser.add_argument("--port", type=int, default=0, help="of Prometheus; a free one without")
    parser.add_argument(
        "--run", help="a command, in which {url} is Prometheus; without, it is served until Ctrl-C"
    )
    return parser


def _show(folder: Path, options: argparse.Namespace) -> int:
    if not (folder / "tsdb").is_dir():
        began = time.monotonic()
        _make(folder, options)
        print(f"made in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    with lone.served("global: {}\n", folder, port=options.port, keeps="10y") as prometheus:
        if options.run:
            command = shlex.split(options.run.replace("{url}", prometheus.url))
            return subprocess.run(command, check=False).returncode
        print(prometheus.url, flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    return 0


def _make(folder: Path, options: argparse.Namespace) -> None:
    end = options.end.timestamp() if options.end else time.time() // 60 * 60
    watched, rules = [], []
    try:
        for workflow, profile, name in _workflows(options):
            scenario = _shortened(SCENARIOS[name], options.hours)
            watched.append(
                history.told(workflow, profile, scenario, end=end, beyond=options.beyond)
            )
            rules += history.groups(workflow, profile, options.interval)
        history.write(folder, watched, rules, options.interval)
    except BaseException:
        shutil.rmtree(folder / "tsdb", ignore_errors=True)
        raise


def _shortened(scenario: Scenario, hours: int | None) -> Scenario:
    return replace(scenario, seconds=min(scenario.seconds, hours * 3600)) if hours else scenario


def _workflows(options: argparse.Namespace) -> list[tuple[Workflow, Profile, str]]:
    """The workflow of the file and its neighbours, each with its profile and how it fares."""
    found = cli.objects([(str(options.file), options.file.read_text(encoding="utf-8"))])
    known = {name: profiles.builtin(name) for name in profiles.names()}
    for source, body in found.profiles:
        own = vocabulary.read(body, source)
        known[own.name] = own
    given = model.parse(found.workflows[0][1])
    scenes = [(given, options.scenario)]
    if options.fleet:
        scenes += [
            (
                given.model_copy(update={"namespace": namespace or given.namespace, "name": name}),
                scenario,
            )
            for namespace, name, scenario in _NEIGHBOURS
        ]
    return [(one, known[one.spec.profile], scenario) for one, scenario in scenes]


if __name__ == "__main__":
    sys.exit(main())
