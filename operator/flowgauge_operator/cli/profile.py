"""`flowgauge profile`: list, show and check vocabularies."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from flowgauge import profiles
from flowgauge_operator import vocabulary
from flowgauge_operator.cli import flag, source
from flowgauge_operator.cli.source import InputError


def register(commands: Any) -> None:
    """Add the command and its actions to those of the command line."""
    group = commands.add_parser(
        "profile",
        help="show and check vocabularies",
        description="Show and check vocabularies of metrics.",
    )
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="name the built-in profiles")
    listed.set_defaults(run=_list)
    show = actions.add_parser(
        "show", help="what a profile measures, and which alerts and objectives it can express"
    )
    show.add_argument("profile", metavar="NAME|FILE", help="a built-in profile or a YAML file")
    show.set_defaults(run=_show)
    lint = actions.add_parser(
        "lint", help="say what is wrong with profiles in files", epilog=flag.EXIT_CODES
    )
    lint.add_argument("files", nargs="+", metavar="FILE", help="YAML with WorkflowProfile objects")
    lint.set_defaults(run=_lint)


def _list(_: argparse.Namespace) -> int:
    for name in profiles.names():
        print(f"{name:16} {profiles.builtin(name).description}")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    name = arguments.profile
    if name not in ("-", *profiles.names()) and not Path(name).exists():
        built_in = ", ".join(profiles.names())
        raise InputError(
            f"{name} is neither a file nor a built-in profile; built in are {built_in}"
        )
    found = [profiles.builtin(name)] if name in profiles.names() else source.parsed(name)
    sys.stdout.write("\n".join(vocabulary.described(profile) for profile in found))
    return 0


def _lint(arguments: argparse.Namespace) -> int:
    found = 0
    for name in arguments.files:
        try:
            listed = source.parsed(name)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            found += 1
            continue
        for profile in listed:
            messages = vocabulary.faults(profile)
            found += len(messages)
            for path, message in messages:
                print(f"error: {name}: spec.{path}: {message}", file=sys.stderr)
            if not messages:
                print(f"{name}: {profile.name}: valid")
    return 1 if found else 0
