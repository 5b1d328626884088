"""``python -m rig exec [--forward NAME=PORT] -- COMMAND``: run a command in a namespace of the rig."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from rig import forward, given, namespace


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run the command; its exit status is ours."""
    parser = argparse.ArgumentParser(prog="python -m rig")
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("exec", help="run a command in a namespace of its own")
    run.add_argument(
        "--forward",
        action="append",
        default=[],
        metavar="NAME=PORT",
        type=_named_port,
        help="open a port of the host's loopback for a part, or a free one if it is taken",
    )
    run.add_argument("--forward-all", action="store_true", help="the same for every usual part")
    run.add_argument("command", nargs="+", metavar="COMMAND")
    options = parser.parse_args(arguments)
    if given.is_given():
        print(
            f"KUBECONFIG is set: {os.environ[given.VARIABLE]} is used, nothing is started",
            file=sys.stderr,
        )
    if namespace.is_inside() or given.is_given():
        # Nothing to enter twice, and no way out to a given cluster once inside.
        os.execvp(options.command[0], options.command)  # noqa: S606 - running it is the point
    wanted = (dict(forward.USUAL) if options.forward_all else {}) | dict(options.forward)
    doors = forward.listen(wanted)
    env = dict(os.environ) | forward.variable(doors)
    try:
        return namespace.run(
            options.command, env=env, keep_fds=[door.fd for door in doors.values()]
        )
    except namespace.NamespaceError as error:
        print(error, file=sys.stderr)
        return 1


def _named_port(text: str) -> tuple[str, int]:
    name, _, port = text.partition("=")
    if not name or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PORT")
    return name, int(port)


if __name__ == "__main__":
    sys.exit(main())
