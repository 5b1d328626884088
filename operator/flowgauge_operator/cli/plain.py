"""`flowgauge generate --target prometheus`: files for Prometheus, Alertmanager and Grafana without Kubernetes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from flowgauge import profiles
from flowgauge.profiles import Profile
from flowgauge_operator import duration, layout, model, names, values
from flowgauge_operator.cli import product, source
from flowgauge_operator.cli.flag import reader
from flowgauge_operator.cli.source import InputError
from flowgauge_operator.model import Workflow
from flowgauge_operator.plain import notify, scrape, targets
from flowgauge_operator.plain.advice import advice
from flowgauge_operator.plain.targets import Targets, TargetsError
from flowgauge_operator.render import Options

_NOTE = (
    "# Written by `flowgauge generate`, which replaces it: change the MonitoredWorkflow instead.\n"
)
SECRETS = "/run/secrets"
Body = tuple[str, dict[str, Any]]


def register(parser: argparse.ArgumentParser) -> None:
    """Add the flags that only this target has."""
    group = parser.add_argument_group("without Kubernetes (--target prometheus)")
    group.add_argument(
        "--targets",
        action="append",
        default=[],
        type=reader(targets.given),
        metavar="[NAMESPACE/]NAME=WHERE",
        help="where the metrics of a workflow are: HOST:PORT, several by commas; dns:HOST:PORT for every address of a name;"
        f" or file:PATH of targets that you keep, below DIR or absolute. Wins over the annotation {targets.ANNOTATION}; may"
        " be given more than once",
    )
    group.add_argument(
        "--pushgateway",
        type=reader(targets.addresses),
        metavar="HOST:PORT,...",
        help="Pushgateway that is scraped for workflows that push",
    )
    group.add_argument(
        "--secrets-path",
        type=reader(values.absolute_path),
        metavar="PATH",
        help="where Prometheus and Alertmanager find the key of a Secret, as NAMESPACE/NAME/KEY below this folder;"
        f" {SECRETS} by default",
    )


def check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    """Refuse flags of the one target for the other, and what this one lacks."""
    own = {
        "--targets": arguments.targets,
        "--pushgateway": arguments.pushgateway,
        "--secrets-path": arguments.secrets_path,
    }
    others = {
        "--without-prometheus-operator": arguments.without_prometheus_operator,
        "--dashboard-instances": arguments.dashboard_instances,
    }
    is_plain = arguments.target == "prometheus"
    wrong = [name for name, given in (others if is_plain else own).items() if given]
    if wrong:
        right = "kubernetes" if is_plain else "prometheus"
        parser.error(
            f"{', '.join(wrong)} belongs to --target {right}; remove it, or change the target"
        )
    if is_plain and arguments.out is None:
        parser.error("--target prometheus writes several files; add --out DIR")


def files(
    arguments: argparse.Namespace,
    workflows: Sequence[Body],
    known: Mapping[str, Profile],
    options: Options,
) -> dict[PurePosixPath, str]:
    """Every file with its text.

    Raises:
        InputError: a workflow cannot be rendered, or it is not known where its metrics are.
    """
    bodies = [(name, without_pods(body)) for name, body in workflows]
    manifests = product.manifests(bodies, options, None, known)
    parsed = [model.parse(body) for _, body in bodies]
    return {
        **layout.rules(manifests, _text),
        **_scrape(arguments, parsed, _assigned(arguments, bodies, parsed), known),
        layout.ALERTMANAGER: _text(notify.config(parsed, _secrets(arguments))),
        **layout.dashboards(manifests, options),
    }


def warn(
    arguments: argparse.Namespace,
    workflows: Iterable[Body],
    known: Mapping[str, Profile],
    options: Options,
) -> None:
    """Print what is probably not meant, and what is left to do by hand."""
    for name, given in workflows:
        body = without_pods(given)
        product.warn(body, name, product.rendered(body, options, None, known))
        workflow = model.parse(body)
        for left in advice(
            workflow, _secrets(arguments), gateway=arguments.pushgateway is not None
        ):
            print(f"{name}: {source.title(body)}: warning: {left}", file=sys.stderr)


def faults(body: dict[str, Any]) -> list[str]:
    """What is wrong with where a valid workflow says that its metrics are; nothing where it does not say it."""
    try:
        if text := _annotation(body):
            targets.read(text)
    except ValueError as error:
        return [f"metadata.annotations[{targets.ANNOTATION}]: {error}"]
    return []


def without_pods(body: dict[str, Any]) -> dict[str, Any]:
    """The same workflow with a selector where its mode needs one: it selects nothing here, so nobody has to write it."""
    spec = {} if body.get("spec") is None else body["spec"]
    if not isinstance(spec, dict) or "selector" in spec:
        return body
    scrape = spec.get("scrape")
    if isinstance(scrape, dict) and scrape.get("mode") == "AnnotatedPods":
        return body
    nothing = {"matchLabels": {names.WORKFLOW: ""}}
    return {**body, "spec": {**spec, "selector": nothing}}


def _assigned(
    arguments: argparse.Namespace, bodies: Sequence[Body], parsed: Sequence[Workflow]
) -> dict[tuple[str, str], Targets]:
    try:
        annotated = [_annotation(body) for _, body in bodies]
        return targets.assigned(list(zip(parsed, annotated, strict=True)), arguments.targets)
    except TargetsError as error:
        raise InputError(str(error)) from error


def _annotation(body: dict[str, Any]) -> str:
    """The value of the annotation; empty where there is none.

    Raises:
        TargetsError: it is no text.
    """
    annotations = body["metadata"].get("annotations") or {}
    text = annotations.get(targets.ANNOTATION, "") if isinstance(annotations, dict) else annotations
    if not isinstance(text, str):
        raise TargetsError(
            f"{source.title(body)}: metadata.annotations: must be texts; quote the value"
        )
    return text


def _scrape(
    arguments: argparse.Namespace,
    parsed: Sequence[Workflow],
    assigned: Mapping[tuple[str, str], Targets],
    known: Mapping[str, Profile],
) -> dict[PurePosixPath, str]:
    made = {}
    for workflow in parsed:
        where = assigned.get((workflow.namespace, workflow.name))
        if where:
            name = workflow.spec.profile
            profile = known.get(name) or profiles.builtin(name)
            config = scrape.config(workflow, profile, where, _secrets(arguments))
            file = layout.of_workflow(workflow.namespace, workflow.name)
            made[layout.SCRAPE / file] = _text({"scrape_configs": [config]})
    if arguments.pushgateway:
        config = scrape.gateway(arguments.pushgateway, _shortest(parsed))
        made[layout.PUSHGATEWAY] = _text({"scrape_configs": [config]})
    return made


def _shortest(parsed: Iterable[Workflow]) -> str:
    """The shortest interval of workflows that push, since they share what is scraped."""
    pushing = [each.spec.scrape.interval for each in parsed if each.spec.scrape.mode == "Push"]
    return min(pushing, key=duration.seconds, default="15s")


def _secrets(arguments: argparse.Namespace) -> str:
    return arguments.secrets_path or SECRETS


def _text(document: Mapping[str, Any]) -> str:
    return _NOTE + product.dumped([dict(document)])
