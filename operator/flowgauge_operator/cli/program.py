"""Read the arguments and run one command. Exit codes 0 fine, 1 bad input, 2 wrong use."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from typing import Any

from flowgauge_operator.cli import generate, profile, validate
from flowgauge_operator.cli.source import InputError


def main(argv: Sequence[str] | None = None, *, more: Iterable[Callable[[Any], None]] = ()) -> int:
    """Run one command; `more` add commands that ask others than the files they are given."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What is written is the same whatever the locale says; names of files may be no text at all.
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="\n")
    code = 0
    try:
        try:
            code = _run(_parser(more).parse_args(argv))
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except BrokenPipeError:
        # The reader, `head` perhaps, has seen enough.
        _forget_output()
    except OSError as error:
        # Files are told of where they are used; this is most likely a full disk behind the output.
        print(f"error: {error}", file=sys.stderr)
        _forget_output()
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _run(arguments: argparse.Namespace) -> int:
    try:
        code: int = arguments.run(arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return code


def _forget_output() -> None:
    # The interpreter would try to write once more what could not be written, and complain.
    sys.stdout = None


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
