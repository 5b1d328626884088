"""`flowgauge validate`: say what the operator would refuse. One bad object never hides the others."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from flowgauge_operator.cli import flag, plain, product, source
from flowgauge_operator.cli.source import InputError
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
        InputError: a file or one given as a profile cannot be used.
    """
    found = source.objects(source.texts(arguments.filename))
    known = dict(source.vocabularies(source.given(arguments.profile)))
    count = 0
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
