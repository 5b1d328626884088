"""What the operator would make of objects: manifests, their YAML, or the reason why there are none."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from flowgauge import profiles
from flowgauge.profiles import Profile, ProfileError
from flowgauge_operator import model, promql
from flowgauge_operator.cli import source
from flowgauge_operator.cli.source import InputError
from flowgauge_operator.model import SpecError
from flowgauge_operator.render import Capabilities, Options, Rendered, Share, render, shared
from flowgauge_operator.render.manifest import Manifest, hashed


class Dumper(yaml.CSafeDumper):
    """YAML in which long texts stay readable, and texts stay texts for readers that are written in Go, as kubectl is."""


def _text(dumper: yaml.CSafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", value, style="|" if "\n" in value else None
    )


Dumper.add_representer(str, _text)
# What Go takes for something else and PyYAML does not gets its quotes.
Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^[yYnN]$"), [*"yYnN"])
Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?_*(0_*([xX][\da-fA-F_]+|[oO][0-7_]+|[bB][01_]+)"
        r"|(\d[\d_]*\.?[\d_]*|\._*\d[\d_]*)([eE]_*[-+]?[\d_]+)?)$"
    ),
    [*"-+.0123456789"],
)


def generated(
    text: str,
    name: str,
    *,
    options: Options | None = None,
    capabilities: Capabilities | None = None,
) -> str:
    """The manifests of all workflows in a YAML text, as the operator applies them, minus owner references.

    Raises:
        InputError: the text or a workflow in it cannot be used.
    """
    found = source.objects([(name, text)])
    known = source.vocabularies(found.profiles)
    return dumped(manifests(found.workflows, options or Options(), capabilities, known))


def manifests(
    workflows: Sequence[tuple[str, dict[str, Any]]],
    options: Options,
    capabilities: Capabilities | None,
    known: Mapping[str, Profile],
) -> list[Manifest]:
    """What namespaces share, then what each workflow has of its own.

    Raises:
        InputError: one of the workflows cannot be rendered, or not all of it.
    """
    shares, made = set[tuple[str, Share]](), list[Manifest]()
    for name, body in workflows:
        check(body, name, capabilities, known)
        workflow = model.parse(body)
        result = rendered(body, options, capabilities, known)
        shares |= {(workflow.namespace, share) for share in result.shares}
        made += result.children
    common = [
        shared.manifest(share, namespace, options)
        for namespace in sorted({namespace for namespace, _ in shares})
        for share in shared.united(share for of, share in shares if of == namespace)
    ]
    return [hashed(manifest, options.keys) for manifest in (*common, *made)]


def dumped(objects: Sequence[Manifest]) -> str:
    """Manifests as YAML, one document each."""
    if not objects:
        return ""
    return yaml.dump_all(objects, Dumper=Dumper, sort_keys=False, width=10**6, allow_unicode=True)


def each_rendered(
    filenames: Sequence[str], profile_files: Sequence[str], options: Options
) -> Iterator[tuple[str, dict[str, Any], Rendered]]:
    """The workflows in files, each with its file, as the operator would render them.

    Raises:
        InputError: a file or a workflow in it cannot be used.
    """
    found = source.objects(source.texts(filenames))
    known = source.vocabularies([*source.given(profile_files), *found.profiles])
    for name, body in found.workflows:
        check(body, name, None, known)
        yield name, body, rendered(body, options, None, known)


def check(
    body: dict[str, Any],
    name: str,
    capabilities: Capabilities | None,
    known: Mapping[str, Profile],
) -> None:
    """Refuse a workflow that cannot be rendered as a whole; `name` is that of its file.

    Raises:
        InputError: says why.
    """
    if messages := problems(body, capabilities, known):
        raise InputError(f"{name}: {source.title(body)}: {'; '.join(messages)}")


def problems(
    body: dict[str, Any],
    capabilities: Capabilities | None = None,
    known: Mapping[str, Profile] | None = None,
) -> list[str]:
    """What the API server or the operator would refuse in a decoded object; empty if nothing.

    `known` are profiles beside the built-in ones.
    """
    try:
        result = rendered(body, Options(), capabilities, known or {})
        return [str(problem) for problem in result.problems]
    except SpecError as error:
        return [str(fault) for fault in error.faults]
    except ProfileError as error:
        hint = "one of your own has to be given with it, by -f or --profile, and be valid"
        return [f"spec.profile: {error.source} {error.message}; {hint}"]
    except promql.ExpressionError as error:
        return [str(error)]


def rendered(
    body: dict[str, Any],
    options: Options,
    capabilities: Capabilities | None,
    known: Mapping[str, Profile],
) -> Rendered:
    """What the operator would make of a decoded object, with what it would say about it.

    Raises:
        SpecError, ProfileError, ExpressionError: `problems` tells them.
    """
    workflow = model.parse(body)
    name = workflow.spec.profile
    profile = known.get(name) or profiles.builtin(name)
    return render(workflow, profile, capabilities or Capabilities(), options)


def warn(body: dict[str, Any], name: str, result: Rendered) -> None:
    """Print what is usable and yet probably not meant; `name` is that of the file."""
    for warning in result.warnings:
        print(f"{name}: {source.title(body)}: warning: {warning}", file=sys.stderr)
