"""The tools of the rig: build what is missing, say where each binary is.

``python -m rig.tools [--list] [--key] [NAME ...]`` is what ``make tools`` calls; ``path("kubectl")`` is what everybody
else calls. Only the standard library, since it runs before anything else is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import threading
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from rig import builds, parts

_BUILD_COMMAND = "make tools"


class MissingTool(Exception):  # noqa: N818 - the name says what is wrong
    """A binary is not in the cache; the message names the command that builds it."""


@cache
def path(name: str) -> Path:
    """Return the path of a binary, for example ``kubectl`` or ``promtool``."""
    return _cached(name) / name


def crds(tool: str = "prometheus-operator") -> Path:
    """Return the folder with the CRDs of a tool, generated from its Go types."""
    return _cached(tool) / "crds"


def missing(names: Sequence[str]) -> list[str]:
    """Return those of the binaries that cannot be used yet."""
    return [name for name in names if not _is_there(name)]


def key() -> str:
    """Return one hash over all default tools, for the cache of a CI system."""
    return hashlib.sha256("".join(map(builds.digest, parts.TOOLS)).encode()).hexdigest()[:16]


def _cached(name: str) -> Path:
    try:
        tool = parts.find(name)
    except KeyError:
        raise MissingTool(f"the rig knows no tool called {name}") from None
    try:
        folder = builds.home(tool)
    except builds.BuildError as error:
        raise MissingTool(f"{name} is missing: {error} Then run `{_BUILD_COMMAND}`.") from error
    if not folder.is_dir():
        command = _BUILD_COMMAND
        if tool in parts.OPTIONAL:
            command = f"PYTHONPATH=hack python3 -m rig.tools {tool.name}"
        raise MissingTool(f"{name} {tool.version} is not built. Run `{command}`.")
    return folder


def _is_there(name: str) -> bool:
    try:
        return path(name).exists()
    except MissingTool:
        return False


def make(tools: Sequence[parts.Tool]) -> None:
    """Build what is missing, one after the other, with one line of progress each."""
    todo = [tool for tool in tools if not builds.is_cached(tool)]
    if todo:
        minutes = max(1, round(sum(tool.seconds for tool in todo) / 60))
        print(
            f"Building into {builds.cache_root()}: about {minutes} min on two cores, once.",
            flush=True,
        )
    # Downloads use no core worth naming, so they run ahead while a part compiles; compilations never overlap, since
    # two big ones do not fit into 4 GB.
    ahead = threading.Thread(target=_prefetch, args=(todo[1:],), daemon=True)
    ahead.start()
    for number, tool in enumerate(tools, start=1):
        _make_one(tool, f"[{number}/{len(tools)}] {tool.name} {tool.version}")


def _prefetch(tools: Sequence[parts.Tool]) -> None:
    for tool in tools:
        builds.prefetch(tool)


def _make_one(tool: parts.Tool, title: str) -> None:
    if builds.is_cached(tool):
        print(f"{title} · cached", flush=True)
        return
    verb = "building" if isinstance(tool, parts.GoTool) else "unpacking"
    print(f"{title} · {verb}, {_expected(tool.seconds)} …", end="", flush=True)
    started = time.monotonic()
    try:
        builds.build(tool)
    except BaseException:
        print(" failed", flush=True)
        raise
    print(f" done in {time.monotonic() - started:.0f} s", flush=True)


def _expected(seconds: int) -> str:
    if seconds < 45:
        return f"about {seconds} s"
    return f"about {round(seconds / 60) or 1} min on two cores"


def _list(tools: Sequence[parts.Tool]) -> None:
    for tool in tools:
        state = str(builds.home(tool)) if builds.is_cached(tool) else "not built"
        print(f"{tool.name:<20} {tool.version:<8} {' '.join(tool.binaries):<60} {state}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the named tools, or all that are not optional."""
    parser = argparse.ArgumentParser(prog="python -m rig.tools", description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a tool or one of its binaries")
    parser.add_argument("--list", action="store_true", help="show what there is and build nothing")
    parser.add_argument("--key", action="store_true", help="print one hash over all tools, for CI")
    options = parser.parse_args(arguments)
    try:
        if options.key:
            print(key())
            return 0
        chosen = list(dict.fromkeys(map(parts.find, options.names))) or list(parts.TOOLS)
        if options.list:
            _list(chosen if options.names else [*parts.TOOLS, *parts.OPTIONAL])
        else:
            make(chosen)
    except KeyError as unknown:
        print(f"error: the rig knows no tool called {unknown.args[0]}; see --list", file=sys.stderr)
        return 1
    except builds.BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing half done is left, run it again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
