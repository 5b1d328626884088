"""Read the arguments and run one command. Exit codes 0 fine, 1 bad input, 2 wrong use."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from typing import Any

from flowgauge_operator.cli import generate, profile, validate
from flowgauge_operator.cli.source import InputError


def main(argv: Sequence[str] | None = None, *, more: Iterable[Callable[[Any], None]] = ()) -> int:
    """Run one command; `more` add commands that ask others than the files they are given."""
    arguments = _parser(more).parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader, `head` perhaps, has seen enough.
        sys.stderr.close()
        return 0
    return code


def _parser(more: Iterable[Callable[[Any], None]]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowgauge",
        description="Render and check the monitoring of workflows, without a cluster.",
    )
    parser.add_argument("--version", action="version", version=f"flowgauge {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for register in (generate.register, validate.register, profile.register, *more):
        register(commands)
    return parser


def _version() -> str:
    try:
        return metadata.version("flowgauge")
    except metadata.PackageNotFoundError:
        return "(not installed)"
