"""`flowgauge generate`: what the operator would apply, printed or as files, for Kubernetes or without it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from flowgauge_operator import folder, layout, names, values
from flowgauge_operator.cli import flag, plain, product, source
from flowgauge_operator.cli.flag import reader
from flowgauge_operator.cli.source import InputError
from flowgauge_operator.kinds import GRAFANA_DASHBOARD
from flowgauge_operator.render import Capabilities, Options


def register(commands: Any) -> None:
    """Add the command to those of the command line."""
    parser = flag.command(
        commands, "generate", "print the manifests that the operator would apply", run
    )
    parser.set_defaults(run=lambda arguments: run(parser, arguments))
    flag.target(
        parser,
        "what is written: manifests for a cluster, which is the default, or with --out files that Prometheus, Alertmanager"
        " and Grafana read without Kubernetes",
    )
    _links(parser)
    parser.add_argument(
        "--without-prometheus-operator",
        action="store_true",
        help="rules as ConfigMaps and prometheus.io annotations, as where Prometheus Operator is missing",
    )
    _dashboards(parser)
    _folder(parser)
    plain.register(parser)


def _links(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runbook-base-url",
        type=reader(values.runbook_url),
        default="",
        metavar="URL",
        help="folder of the runbooks that alerts link to, or a URL with {alert} in the place of a page's name",
    )
    parser.add_argument(
        "--grafana-url",
        type=reader(values.link),
        default="",
        metavar="URL",
        help="Grafana that alerts link to",
    )
    for what in ("logs", "traces"):
        parser.add_argument(
            f"--{what}-url",
            type=reader(values.template),
            default="",
            metavar="URL",
            help=f"where dashboards link to for {what}, with {{{{namespace}}}}, {{{{workflow}}}}, {{{{from}}}} and {{{{to}}}}",
        )


def _dashboards(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dashboard-mode",
        type=reader(values.dashboard_mode),
        default="ConfigMap",
        metavar="MODE",
        help="ConfigMap, GrafanaDashboard or None where a workflow does not say how its dashboard reaches Grafana",
    )
    parser.add_argument(
        "--dashboard-folder",
        type=reader(values.folder),
        default="{namespace}",
        metavar="FOLDER",
        help="Grafana folder where a workflow names none; {namespace} stands for its namespace, which is the default",
    )
    parser.add_argument(
        "--dashboard-instances",
        type=reader(lambda text: dict(values.labels(text))),
        metavar="KEY=VALUE,...",
        help="labels of the Grafana objects that GrafanaDashboards are for",
    )
    parser.add_argument(
        "--without-namespace-dashboards",
        action="store_true",
        help="no dashboards of a namespace as a whole",
    )


def _folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=reader(_path),
        metavar="DIR",
        help="write a file for each object into this folder instead of printing, and the dashboards as plain JSON; files that"
        " an earlier run wrote and that are no longer wanted are removed",
    )
    parser.add_argument(
        "--dashboards-path",
        type=reader(values.absolute_path),
        default="/var/lib/grafana/dashboards",
        metavar="PATH",
        help="with --out: where Grafana finds the folder `dashboards`",
    )


def _path(text: str) -> Path:
    if not text:
        # A variable of a shell that is not set; it would be the folder in which one is.
        raise ValueError("write the path of a folder")
    return Path(text)


def run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Print or write what is made of the files.

    Raises:
        InputError: a file, an object in it or the folder cannot be used.
    """
    plain.check(parser, arguments)
    options = _options(arguments)
    found = source.objects(source.texts(arguments.filename))
    known = source.vocabularies([*source.given(arguments.profile), *found.profiles])
    if not found.workflows:
        # Taken for "none is wanted", it would remove all that an earlier run wrote.
        raise InputError(
            f"there is no {names.KIND} in {', '.join(arguments.filename)}; add its file by -f"
        )
    if twice := source.twice(found.workflows):
        raise InputError("; ".join(twice))
    if arguments.target == "prometheus":
        files = plain.files(arguments, found.workflows, known, options)
        _write(arguments, files, options)
        plain.warn(arguments, found.workflows, known, options)
        return 0
    capabilities = (
        Capabilities(frozenset({GRAFANA_DASHBOARD.kind}))
        if arguments.without_prometheus_operator
        else Capabilities()
    )
    manifests = product.manifests(found.workflows, options, capabilities, known)
    if arguments.out is None:
        print(product.dumped(manifests), end="")
    else:
        objects = layout.manifests(manifests, lambda manifest: product.dumped([manifest]))
        _write(arguments, {**objects, **layout.dashboards(manifests, options)}, options)
    for name, body in found.workflows:
        product.warn(body, name, product.rendered(body, options, capabilities, known))
    return 0


def _options(arguments: argparse.Namespace) -> Options:
    return Options(
        runbook_url=arguments.runbook_base_url,
        grafana_url=arguments.grafana_url,
        logs_url=arguments.logs_url,
        traces_url=arguments.traces_url,
        dashboard_mode=arguments.dashboard_mode,
        dashboard_folder=arguments.dashboard_folder,
        dashboard_instances=arguments.dashboard_instances or Options().dashboard_instances,
        namespace_dashboards=not arguments.without_namespace_dashboards
        and arguments.dashboard_mode != "None",
    )


def _write(
    arguments: argparse.Namespace, files: Mapping[PurePosixPath, str], options: Options
) -> None:
    everything = {
        **files,
        **layout.everywhere(options),
        **layout.provisioning(arguments.dashboards_path),
    }
    try:
        told = folder.write(arguments.out, everything)
    except folder.FolderError as error:
        raise InputError(str(error)) from error
    print("\n".join(told) or f"{arguments.out} is up to date")
