"""`flowgauge validate`: say what the operator would refuse. One bad object never hides the others."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from flowgauge_operator.cli import flag, plain, product, source
from flowgauge_operator.cli.source import InputError, Objects
from flowgauge_operator.render import Options


def register(commands: Any) -> None:
    """Add the command to those of the command line."""
    parser = flag.command(commands, "validate", "say what the operator would refuse", run)
    flag.target(
        parser, "kubernetes is the default; prometheus needs no selector, since there are no pods"
    )


def run(arguments: argparse.Namespace) -> int:
    """Judge all objects in the files.

    Raises:
        InputError: a file that is given for its profiles cannot be used.
    """
    known = dict(source.vocabularies(source.given(arguments.profile)))
    found, faults = _found(arguments.filename)
    for fault in faults:
        print(fault, file=sys.stderr)
    count = len(faults)
    for name, body in found.profiles:
        try:
            known |= source.vocabularies([(name, body)], known)
        except InputError as error:
            print(error, file=sys.stderr)
            count += 1
        else:
            print(f"{name}: {source.title(body)}: valid")
    for name, given in found.workflows:
        is_plain = arguments.target == "prometheus"
        body = plain.without_pods(given) if is_plain else given
        messages = product.problems(body, known=known)
        if is_plain and not messages:
            messages = plain.faults(body)
        count += len(messages)
        for message in messages:
            print(f"{name}: {source.title(body)}: {message}", file=sys.stderr)
        if not messages:
            product.warn(body, name, product.rendered(body, Options(), None, known))
            print(f"{name}: {source.title(body)}: valid")
    return 1 if count else 0


def _found(filenames: Sequence[str]) -> tuple[Objects, list[str]]:
    """The objects in all files that can be used, and what is wrong with the others."""
    found, faults = Objects([], []), []
    for filename in filenames:
        try:
            workflows, profiles = source.objects(source.texts([filename]))
        except InputError as error:
            faults.append(f"error: {error}")
        else:
            found.workflows.extend(workflows)
            found.profiles.extend(profiles)
    return found, [*faults, *source.twice(found.workflows)]
