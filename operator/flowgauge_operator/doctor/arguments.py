"""The flags of `flowgauge doctor`; what asks is imported only when it is needed, since it needs an extra."""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any

from flowgauge_operator import cli, values

_EPILOG = (
    "Exit codes: 0 nothing is wrong, 1 an error was found (with --strict also a warning, or what could not be seen), 2 wrong"
    " use, the cluster cannot be reached, or the extra [cli] is not installed. Nothing is written to the cluster, and no"
    " Secret is read."
)
_PROXY = "by default it is reached through the API server"


def register(commands: Any) -> None:
    """Add the command to those of the command line."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "doctor",
        help="say what keeps a cluster, or one workflow in it, from being monitored",
        description="Say what keeps a cluster, or one workflow in it, from being monitored, and what to do about it.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "workflow", nargs="?", default="", metavar="[NAMESPACE/]NAME",
        help="a MonitoredWorkflow, checked from end to end; without, the cluster alone",
    )  # fmt: skip
    _cluster(parser)
    _servers(parser)
    _output(parser)
    parser.set_defaults(run=lambda arguments: _run(parser, arguments))


def _cluster(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("which cluster")
    group.add_argument(
        "--kubeconfig", default="", metavar="FILE", help="$KUBECONFIG or ~/.kube/config by default"
    )
    group.add_argument("--context", default="", metavar="NAME", help="the current one by default")
    group.add_argument(
        "--as", dest="impersonate", default="", metavar="USER",
        help="ask as this user, whom you must be allowed to impersonate; that of the kubeconfig by default",
    )  # fmt: skip
    group.add_argument(
        "--as-group", dest="impersonate_group", action="append", default=[], metavar="GROUP",
        help="and as a member of this group; may be repeated",
    )  # fmt: skip
    group.add_argument(
        "--as-uid", dest="impersonate_uid", default="", metavar="UID", help="and with this uid"
    )
    group.add_argument(
        "-n", "--namespace", default="", metavar="NAME", help="of the workflow, that of the context by default; without a workflow, only those of this one are looked at"
    )  # fmt: skip
    group.add_argument(
        "--operator-namespace", default="flowgauge-system", metavar="NAME",
        help="where the operator is, for those who may not list Deployments everywhere; flowgauge-system by default",
    )  # fmt: skip
    group.add_argument(
        "--timeout", type=cli.reader(values.seconds), default=10.0, metavar="SECONDS",
        help="of one request; 10 by default",
    )  # fmt: skip


def _servers(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("Prometheus and Alertmanager")
    for name in ("prometheus", "alertmanager"):
        group.add_argument(
            f"--{name}", type=cli.reader(values.url), default="", metavar="URL",
            help=f"{_PROXY}; user and password may stand in it",
        )  # fmt: skip
    group.add_argument(
        "--bearer-token-file", default="", metavar="PATH", help="file with a token for these URLs"
    )
    group.add_argument(
        "--ca-file", default="", metavar="PATH", help="file with the CA of their certificates"
    )


def _output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="text by default"
    )
    group.add_argument(
        "-q", "--quiet", action="store_true", help="leave out what is fine (text only)"
    )
    group.add_argument("--no-color", action="store_true", help="no colours, also on a terminal")
    group.add_argument(
        "--strict", action="store_true", help="exit with 1 also for warnings and for what could not be seen"
    )  # fmt: skip


def _is_name(text: str) -> bool:
    return re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", text) is not None


def _run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    space, slash, name = arguments.workflow.rpartition("/")
    if arguments.workflow and not (_is_name(name) and (_is_name(space) or not slash)):
        parser.error(f"{arguments.workflow!r} names no workflow: write NAMESPACE/NAME, or -n NAMESPACE NAME")  # fmt: skip
    for flag in ("namespace", "operator_namespace"):
        if (given := getattr(arguments, flag)) and not _is_name(given):
            parser.error(f"--{flag.replace('_', '-')} {given!r} is no name of a namespace")
    if space and arguments.namespace and space != arguments.namespace:
        parser.error(f"{arguments.workflow} and --namespace {arguments.namespace} contradict each other")  # fmt: skip
    try:
        return _examined(arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _examined(arguments: argparse.Namespace) -> int:
    try:
        import kubernetes  # noqa: F401, PLC0415 - only now it is needed
    except ModuleNotFoundError:
        print("kubernetes is not installed: flowgauge doctor needs the extra [cli]; pip install 'flowgauge[cli]'", file=sys.stderr)  # fmt: skip
        return 2
    from flowgauge_operator.doctor import command  # noqa: PLC0415

    return command.run(arguments)
