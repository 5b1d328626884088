"""Flags that several commands have, and how their values are read."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, TypeVar

_T = TypeVar("_T")

EXIT_CODES = "Exit codes: 0 fine, 1 bad input, 2 wrong use."


def reader(read: Callable[[str], _T]) -> Callable[[str], _T]:
    """A reader of flags whose remedy argparse shows."""

    def value(text: str) -> _T:
        try:
            return read(text.strip())
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None

    return value


def command(commands: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    """A command that is given files with workflows and profiles."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text.capitalize() + ".", epilog=EXIT_CODES
    )
    parser.add_argument(
        "-f",
        "--filename",
        action="extend",
        nargs="+",
        required=True,
        metavar="FILE",
        help="YAML or JSON with MonitoredWorkflow and WorkflowProfile objects; - reads standard input; may be given more than once",
    )
    parser.add_argument(
        "--profile",
        action="extend",
        nargs="+",
        default=[],
        metavar="FILE",
        help="YAML or JSON with WorkflowProfiles that the workflows may name; may be given more than once",
    )
    parser.set_defaults(run=run)
    return parser


def target(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the flag that says for what is rendered."""
    parser.add_argument(
        "--target", choices=("kubernetes", "prometheus"), default="kubernetes", help=text
    )
