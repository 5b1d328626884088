"""The flags of `flowgauge preview`; what draws is imported only when it is asked to, since it needs an extra."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from flowgauge_operator import cli, duration, values
from flowgauge_operator.preview import window

_EPILOG = (
    "Exit codes: 0 fine, also where a query failed, which its panel tells; 1 bad input, or Prometheus cannot be asked;"
    " 2 wrong use, or the extra [preview] is not installed."
)


def register(commands: Any) -> None:
    """Add the command to those of the command line."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "preview",
        help="draw the dashboard of a workflow with the data of a Prometheus, without Grafana",
        description="Draw the dashboard of a workflow with the data of a Prometheus, without Grafana.",
        epilog=_EPILOG,
    )
    _what(parser)
    _where(parser)
    _how(parser)
    parser.set_defaults(run=lambda arguments: _run(parser, arguments))


def _what(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is drawn")
    group.add_argument(
        "-f", "--filename", action="extend", nargs="+", default=[], metavar="FILE",
        help="YAML or JSON with MonitoredWorkflow and WorkflowProfile objects; - reads standard input; may be given more than once",
    )  # fmt: skip
    group.add_argument(
        "--profile", action="extend", nargs="+", default=[], metavar="FILE",
        help="YAML or JSON with WorkflowProfiles that the workflows may name; may be given more than once",
    )  # fmt: skip
    group.add_argument(
        "--dashboard", choices=("workflow", "fleet", "slo"), default="workflow",
        help="that of each workflow, or the fleet's or the objectives' of each namespace in the files; without files, the one over all namespaces",
    )  # fmt: skip
    group.add_argument(
        "--from-json", action="append", default=[], metavar="FILE",
        help="draw a dashboard's JSON, as Grafana exports it; may be given more than once",
    )  # fmt: skip
    group.add_argument(
        "--var", action="append", default=[], type=cli.reader(_variable), metavar="NAME=VALUE",
        help="value of a variable of the dashboard; more than once for several values",
    )  # fmt: skip
    group.add_argument(
        "--grafana-url", type=cli.reader(values.link), default="", metavar="URL",
        help="Grafana that links within it lead to",
    )  # fmt: skip
    group.add_argument(
        "--runbook-base-url", type=cli.reader(values.runbook_url), default="", metavar="URL",
        help="folder of the runbooks, or a URL with {alert} in the place of a page's name",
    )  # fmt: skip
    for what in ("logs", "traces"):
        group.add_argument(
            f"--{what}-url",
            type=cli.reader(values.template),
            default="",
            metavar="URL",
            help=f"where dashboards link to for {what}, as for generate",
        )


def _where(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("whose data")
    group.add_argument(
        "--prometheus", required=True, type=cli.reader(_url), metavar="URL",
        help="Prometheus, or what speaks its HTTP API; user and password may stand in it",
    )  # fmt: skip
    group.add_argument(
        "--bearer-token-file", default="", metavar="PATH", help="file with a token for Prometheus"
    )
    group.add_argument(
        "--ca-file", default="", metavar="PATH", help="file with the CA of Prometheus' certificate"
    )
    group.add_argument(
        "--timeout", type=cli.reader(values.seconds), default=20.0, metavar="SECONDS",
        help="for one query; 20 by default",
    )  # fmt: skip
    group.add_argument(
        "--since", type=cli.reader(window.since), metavar="DURATION",
        help="how far to look back, such as 6h; by default as far as the dashboard does",
    )  # fmt: skip
    group.add_argument(
        "--until", default="now", metavar="TIME",
        help="where to end: now-1h, 2026-03-01T12:00:00Z or Unix seconds; now by default",
    )  # fmt: skip
    group.add_argument(
        "--scrape-interval", type=cli.reader(duration.seconds), default=15.0, metavar="DURATION",
        help="what Grafana's data source is told of the scrape interval; 15s by default, as there",
    )  # fmt: skip


def _how(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how it is drawn (one of --html and --png at least)")
    group.add_argument(
        "--html",
        metavar="FILE",
        help="write one HTML file; for several dashboards one each, with their names; - prints it",
    )
    group.add_argument(
        "--png",
        metavar="DIR",
        help="write pictures as on a desk and on a phone; needs Chromium or Chrome",
    )
    group.add_argument(
        "--browser", default="", metavar="PATH", help="the browser for --png; $CHROME by default"
    )
    group.add_argument(
        "--width",
        type=cli.reader(_width),
        default=1280,
        metavar="PIXELS",
        help="of a desk; 1280 by default",
    )
    group.add_argument(
        "--theme", choices=("light", "dark"), default="light", help="light by default"
    )


def _url(text: str) -> str:
    if not text:
        raise ValueError("write a whole URL, such as http://prometheus.monitoring:9090")
    return values.url(text)


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise ValueError("write it as name=value")
    return name.strip(), value


def _width(text: str) -> int:
    number = values.count(text)
    if not 768 < number <= 4000:
        raise ValueError("write a number of pixels from 769 to 4000")
    return number


def _run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    if not arguments.html and not arguments.png:
        parser.error("one of --html FILE and --png DIR is required")
    if not arguments.filename and not arguments.from_json and arguments.dashboard == "workflow":
        parser.error("one of -f FILE and --from-json FILE is required")
    try:
        from flowgauge_operator.preview import command  # noqa: PLC0415 - only now it is needed
    except ModuleNotFoundError as error:
        print(
            f"{error.name} is not installed: this needs the extra [preview]; pip install 'flowgauge[preview]'",
            file=sys.stderr,
        )
        return 2
    return command.run(arguments)
