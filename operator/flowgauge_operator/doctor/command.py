"""`flowgauge doctor`: connect, gather, examine, print."""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
from importlib import metadata
from pathlib import Path

from flowgauge_operator.doctor import connecting, diagnosis, gather, report
from flowgauge_operator.doctor.connecting import ClusterError, Entry
from flowgauge_operator.doctor.gather import Request
from flowgauge_operator.doctor.impersonation import Impersonation
from flowgauge_operator.doctor.servers import Reach
from flowgauge_operator.doctor.snapshot import Snapshot

_WIDEST = 140


def run(arguments: argparse.Namespace) -> int:
    """Examine a cluster and perhaps a workflow; the exit code says what was found."""
    try:
        seen = _seen(arguments)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    findings = diagnosis.examine(seen)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What a terminal cannot show must not end the program.
        sys.stdout.reconfigure(errors="replace")
    if arguments.output == "json":
        told = report.as_json(seen, findings)
    else:
        told = report.text(
            seen,
            findings,
            colour=_has_colours(arguments),
            width=min(shutil.get_terminal_size((100, 24)).columns, _WIDEST),
            quiet=arguments.quiet,
        )
    # Unlike a write, it does without an output that was closed.
    print(told, end="", flush=True)
    return diagnosis.exit_code(findings, strict=arguments.strict)


def _has_colours(arguments: argparse.Namespace) -> bool:
    # https://no-color.org: the variable counts when it is not empty.
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return is_terminal and not arguments.no_color and not os.environ.get("NO_COLOR")


def _seen(arguments: argparse.Namespace) -> Snapshot:
    reach = Reach(
        arguments.prometheus,
        arguments.alertmanager,
        _token(arguments.bearer_token_file),
        _file(arguments.ca_file),
        arguments.timeout,
    )
    taken = Impersonation(
        arguments.impersonate, tuple(arguments.impersonate_group), arguments.impersonate_uid
    )
    entry = Entry(arguments.kubeconfig, arguments.context, arguments.timeout, taken)
    api, namespace = connecting.connect(entry)
    space, _, name = arguments.workflow.rpartition("/")
    where = space or arguments.namespace or namespace
    return gather.snapshot(
        api,
        Request(
            version=metadata.version("flowgauge"),
            namespace=where if name else arguments.namespace,
            name=name,
            operator_namespace=arguments.operator_namespace,
            reach=reach,
        ),
    )


def _token(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(_file(path)).read_text(encoding="ascii").strip()
    except UnicodeDecodeError as error:
        raise ClusterError(f"{path} is no file with a token: it is not ASCII") from error


def _file(path: str) -> str:
    """The path of a file that can be read.

    Raises:
        ClusterError: it cannot be.
    """
    if path:
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise ClusterError(f"{path} cannot be read: {error.strerror}") from error
    return path
