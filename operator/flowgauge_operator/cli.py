"""The command line: what the operator would make and say, without a cluster. Exit codes 0 fine, 1 bad input, 2 wrong use."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

import yaml

from flowgauge import profiles
from flowgauge.profiles import Profile, ProfileError, StrictLoader
from flowgauge_operator import folder, layout, model, names, promql, values, vocabulary
from flowgauge_operator.kinds import GRAFANA_DASHBOARD, PROFILE
from flowgauge_operator.model import SpecError
from flowgauge_operator.render import Capabilities, Options, Rendered, Share, render, shared
from flowgauge_operator.render.manifest import Manifest, hashed

_T = TypeVar("_T")


class InputError(ValueError):
    """Input that cannot be used; the message names file, object, field and remedy."""


class _Loader(StrictLoader):
    """Leaves a time as it is written, as kubectl does; YAML 1.1 would make an object of it."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in known if not tag.endswith(":timestamp")]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Objects(NamedTuple):
    """Our objects in some files, each with the name of its file."""

    workflows: list[tuple[str, dict[str, Any]]]
    profiles: list[tuple[str, dict[str, Any]]]


class _Dumper(yaml.CSafeDumper):
    """YAML in which long texts stay readable: expressions on one line, JSON documents as blocks."""


def _text(dumper: yaml.CSafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", value, style="|" if "\n" in value else None
    )


_Dumper.add_representer(str, _text)


def main(argv: Sequence[str] | None = None, *, more: Iterable[Callable[[Any], None]] = ()) -> int:
    """Run one command; `more` add commands that ask others than the files they are given."""
    arguments = _parser(more).parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader, `head` perhaps, has seen enough.
        sys.stderr.close()
        return 0
    return code


def _parser(more: Iterable[Callable[[Any], None]] = ()) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowgauge",
        description="Render and check the monitoring of workflows, without a cluster.",
    )
    parser.add_argument("--version", action="version", version=f"flowgauge {_version()}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    generate = _command(
        commands, "generate", "print the manifests that the operator would apply", _generate
    )
    generate.add_argument(
        "--runbook-base-url",
        type=reader(values.runbook_url),
        default="",
        metavar="URL",
        help="folder of the runbooks that alerts link to, or a URL with {alert} in the place of a page's name",
    )
    generate.add_argument(
        "--grafana-url",
        type=reader(values.link),
        default="",
        metavar="URL",
        help="Grafana that alerts link to",
    )
    for what in ("logs", "traces"):
        generate.add_argument(
            f"--{what}-url",
            type=reader(values.template),
            default="",
            metavar="URL",
            help=f"where dashboards link to for {what}, with {{{{namespace}}}}, {{{{workflow}}}}, {{{{from}}}} and {{{{to}}}}",
        )
    generate.add_argument(
        "--without-prometheus-operator",
        action="store_true",
        help="rules as ConfigMaps and prometheus.io annotations, as where Prometheus Operator is missing",
    )
    _delivery_options(generate)
    _command(commands, "validate", "say what the operator would refuse", _validate)
    _profile_commands(commands)
    for register in more:
        register(commands)
    return parser


def _delivery_options(generate: argparse.ArgumentParser) -> None:
    generate.add_argument(
        "--dashboard-mode",
        type=reader(values.dashboard_mode),
        default="ConfigMap",
        metavar="MODE",
        help="ConfigMap, GrafanaDashboard or None where a workflow does not say how its dashboard reaches Grafana",
    )
    generate.add_argument(
        "--dashboard-folder",
        type=reader(values.folder),
        default="{namespace}",
        metavar="FOLDER",
        help="Grafana folder where a workflow names none; {namespace} stands for its namespace, which is the default",
    )
    generate.add_argument(
        "--dashboard-instances",
        type=reader(lambda text: dict(values.labels(text))),
        default=Options().dashboard_instances,
        metavar="KEY=VALUE,...",
        help="labels of the Grafana objects that GrafanaDashboards are for",
    )
    generate.add_argument(
        "--without-namespace-dashboards",
        action="store_true",
        help="no dashboards of a namespace as a whole",
    )
    generate.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write a file for each object into this folder instead of printing, and the dashboards as plain JSON",
    )
    generate.add_argument(
        "--dashboards-path",
        default="/var/lib/grafana/dashboards",
        metavar="PATH",
        help="with --out: where Grafana finds the folder `dashboards`",
    )


def reader(read: Callable[[str], _T]) -> Callable[[str], _T]:
    """A reader of flags whose remedy argparse shows."""

    def value(text: str) -> _T:
        try:
            return read(text.strip())
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None

    return value


def _profile_commands(commands: Any) -> None:
    group = commands.add_parser(
        "profile",
        help="show and check vocabularies",
        description="Show and check vocabularies of metrics.",
    )
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="name the built-in profiles")
    listed.set_defaults(run=_list_profiles)
    show = actions.add_parser(
        "show", help="what a profile measures, and which alerts and objectives it can express"
    )
    show.add_argument("profile", metavar="NAME|FILE", help="a built-in profile or a YAML file")
    show.set_defaults(run=_show_profile)
    lint = actions.add_parser(
        "lint",
        help="say what is wrong with profiles in files",
        epilog="Exit codes: 0 fine, 1 bad input, 2 wrong use.",
    )
    lint.add_argument("files", nargs="+", metavar="FILE", help="YAML with WorkflowProfile objects")
    lint.set_defaults(run=_lint_profiles)


def _command(commands: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text.capitalize() + ".",
        epilog="Exit codes: 0 fine, 1 bad input, 2 wrong use.",
    )
    parser.add_argument(
        "-f",
        "--filename",
        action="append",
        required=True,
        metavar="FILE",
        help="YAML with MonitoredWorkflow and WorkflowProfile objects; - reads standard input; may be given more than once",
    )
    parser.add_argument(
        "--profile",
        action="append",
        default=[],
        metavar="FILE",
        help="YAML with WorkflowProfiles that the workflows may name; may be given more than once",
    )
    parser.set_defaults(run=run)
    return parser


def _version() -> str:
    try:
        return metadata.version("flowgauge")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _generate(arguments: argparse.Namespace) -> int:
    options = _options(arguments)
    capabilities = (
        Capabilities(frozenset({GRAFANA_DASHBOARD.kind}))
        if arguments.without_prometheus_operator
        else Capabilities()
    )
    found = objects(_read(arguments.filename))
    known = _profiles([*_given(arguments.profile), *found.profiles])
    manifests = _manifests(found.workflows, options, capabilities, known)
    if arguments.out is None:
        sys.stdout.write(_dumped(manifests))
        sys.stdout.flush()
    else:
        _check_once(found.workflows)
        _write(arguments.out, manifests, options, arguments.dashboards_path)
    for name, body in found.workflows:
        _print_warnings(body, name, _render(body, options, capabilities, known))
    return 0


def _options(arguments: argparse.Namespace) -> Options:
    return Options(
        runbook_url=arguments.runbook_base_url,
        grafana_url=arguments.grafana_url,
        logs_url=arguments.logs_url,
        traces_url=arguments.traces_url,
        dashboard_mode=arguments.dashboard_mode,
        dashboard_folder=arguments.dashboard_folder,
        dashboard_instances=arguments.dashboard_instances,
        namespace_dashboards=not arguments.without_namespace_dashboards
        and arguments.dashboard_mode != "None",
    )


def _check_once(workflows: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """One of two files would silently take the place of the other."""
    seen = set[str]()
    for source, body in workflows:
        if (title := _title(body)) in seen:
            raise InputError(f"{source}: {title} is there twice; remove one of them")
        seen.add(title)


def _write(target: Path, manifests: Sequence[Manifest], options: Options, path: str) -> None:
    files = {
        **layout.manifests(manifests, lambda manifest: _dumped([manifest])),
        **layout.dashboards(manifests, options),
        **layout.everywhere(options),
        **layout.provisioning(path),
    }
    try:
        told = folder.write(target, files)
    except folder.FolderError as error:
        raise InputError(str(error)) from error
    print("\n".join(told) or f"{target} is up to date")


def each_rendered(
    filenames: Sequence[str], profile_files: Sequence[str], options: Options
) -> Iterator[tuple[str, dict[str, Any], Rendered]]:
    """The workflows in files, each with its file, as the operator would render them.

    Raises:
        InputError: a file or a workflow in it cannot be used.
    """
    found = objects(_read(filenames))
    known = _profiles([*_given(profile_files), *found.profiles])
    for source, body in found.workflows:
        if messages := problems(body, known=known):
            raise InputError(f"{source}: {_title(body)}: {'; '.join(messages)}")
        yield source, body, _render(body, options, None, known)


def _validate(arguments: argparse.Namespace) -> int:
    found = objects(_read(arguments.filename))
    given = _profiles(_given(arguments.profile))
    known, count = dict(given), 0
    for name, body in found.profiles:
        try:
            known |= _profiles([(name, body)], known)
        except InputError as error:
            print(error, file=sys.stderr)
            count += 1
        else:
            print(f"{name}: {_title(body)}: valid")
    for name, body in found.workflows:
        messages = problems(body, known=known)
        count += len(messages)
        for message in messages:
            print(f"{name}: {_title(body)}: {message}", file=sys.stderr)
        if not messages:
            _print_warnings(body, name, _render(body, Options(), None, known))
            print(f"{name}: {_title(body)}: valid")
    return 1 if count else 0


def _print_warnings(body: dict[str, Any], source: str, rendered: Rendered) -> None:
    for warning in rendered.warnings:
        print(f"{source}: {_title(body)}: warning: {warning}", file=sys.stderr)


def _list_profiles(_: argparse.Namespace) -> int:
    for name in profiles.names():
        print(f"{name:16} {profiles.builtin(name).description}")
    return 0


def _show_profile(arguments: argparse.Namespace) -> int:
    name = arguments.profile
    if name not in profiles.names() and not Path(name).exists():
        built_in = ", ".join(profiles.names())
        raise InputError(
            f"{name} is neither a file nor a built-in profile; built in are {built_in}"
        )
    found = [profiles.builtin(name)] if name in profiles.names() else _parsed(name)
    sys.stdout.write("\n".join(vocabulary.described(profile) for profile in found))
    return 0


def _lint_profiles(arguments: argparse.Namespace) -> int:
    found = 0
    for name in arguments.files:
        try:
            listed = _parsed(name)
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


def _parsed(path: str) -> list[Profile]:
    """The profiles in a file; whether their expressions can be used is another question.

    Raises:
        InputError: the file cannot be read, or holds something that is none.
    """
    try:
        return [profiles.from_object(body, source=name) for name, body in _given([path])]
    except ProfileError as error:
        raise InputError(str(error)) from error


def _given(paths: Sequence[str]) -> list[tuple[str, Any]]:
    """What files hold that are named as profiles; a workflow beside a profile is none of it.

    Raises:
        InputError: a file cannot be read, is no YAML, or holds nothing else than workflows.
    """
    found = []
    for name, text in _read(paths):
        bodies = [body for body in _loaded(text, name) if body and _kind(body) != names.KIND]
        if not bodies:
            raise InputError(
                f"{name} holds no {PROFILE.kind}; each needs apiVersion: {names.API_VERSION} and kind: {PROFILE.kind}"
            )
        found += [(name, body) for body in bodies]
    return found


def _profiles(
    bodies: Iterable[tuple[str, Any]], taken: Mapping[str, Profile] | None = None
) -> dict[str, Profile]:
    """The profiles in decoded objects, by name.

    Raises:
        InputError: one of them is none, has an error, or has a name that is taken.
    """
    known: dict[str, Profile] = {}
    for source, body in bodies:
        try:
            profile = vocabulary.read(body, source)
        except ProfileError as error:
            raise InputError(str(error)) from error
        if profile.name in known or profile.name in (taken or {}):
            raise InputError(
                f"{source}: metadata.name: {profile.name} is taken; choose another name"
            )
        known[profile.name] = profile
    return known


def generated(
    text: str,
    source: str,
    *,
    options: Options | None = None,
    capabilities: Capabilities | None = None,
) -> str:
    """The manifests of all workflows in a YAML text, as the operator applies them, minus owner references.

    Raises:
        InputError: the text or a workflow in it cannot be used.
    """
    found = objects([(source, text)])
    known = _profiles(found.profiles)
    return _dumped(_manifests(found.workflows, options or Options(), capabilities, known))


def _manifests(
    workflows: Sequence[tuple[str, dict[str, Any]]],
    options: Options,
    capabilities: Capabilities | None,
    known: Mapping[str, Profile],
) -> list[Manifest]:
    """What namespaces share, then what each workflow has of its own."""
    shares, manifests = set[tuple[str, Share]](), list[Manifest]()
    for source, body in workflows:
        if messages := problems(body, capabilities, known):
            raise InputError(f"{source}: {_title(body)}: {'; '.join(messages)}")
        workflow = model.parse(body)
        rendered = _render(body, options, capabilities, known)
        shares |= {(workflow.namespace, share) for share in rendered.shares}
        manifests += rendered.children
    common = [
        shared.manifest(share, namespace, options)
        for namespace in sorted({namespace for namespace, _ in shares})
        for share in shared.united(share for of, share in shares if of == namespace)
    ]
    return [hashed(manifest, options.keys) for manifest in (*common, *manifests)]


def _dumped(manifests: Sequence[Manifest]) -> str:
    if not manifests:
        return ""
    return yaml.dump_all(
        manifests, Dumper=_Dumper, sort_keys=False, width=10**6, allow_unicode=True
    )


def problems(
    body: dict[str, Any],
    capabilities: Capabilities | None = None,
    known: Mapping[str, Profile] | None = None,
) -> list[str]:
    """What the API server or the operator would refuse in a decoded object; empty if nothing.

    `known` are profiles beside the built-in ones.
    """
    try:
        rendered = _render(body, Options(), capabilities, known or {})
        return [str(problem) for problem in rendered.problems]
    except SpecError as error:
        return [str(fault) for fault in error.faults]
    except ProfileError as error:
        hint = "one of your own has to be given with it, by -f or --profile, and be valid"
        return [f"spec.profile: {error.source} {error.message}; {hint}"]
    except promql.ExpressionError as error:
        return [str(error)]


def _render(
    body: dict[str, Any],
    options: Options,
    capabilities: Capabilities | None,
    known: Mapping[str, Profile],
) -> Rendered:
    workflow = model.parse(body)
    name = workflow.spec.profile
    profile = known.get(name) or profiles.builtin(name)
    return render(workflow, profile, capabilities or Capabilities(), options)


def objects(files: Iterable[tuple[str, str]]) -> _Objects:
    """Our objects in YAML texts, given with the names of their files; other objects are left alone.

    Raises:
        InputError: a text is no YAML, or holds none of ours.
    """
    found = _Objects([], [])
    for source, text in files:
        ours = [body for body in _loaded(text, source) if _kind(body) in (names.KIND, PROFILE.kind)]
        if not ours:
            raise InputError(
                f"{source} holds no {names.KIND}; each needs apiVersion: {names.API_VERSION} and kind: {names.KIND}"
            )
        for body in ours:
            if body.get("apiVersion") != names.API_VERSION:
                raise InputError(
                    f"{source}: apiVersion is {body.get('apiVersion')!r}, must be {names.API_VERSION}"
                )
            (found.profiles if _kind(body) == PROFILE.kind else found.workflows).append(
                (source, body)
            )
    return found


def _loaded(text: str, source: str) -> list[Any]:
    try:
        return list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        raise InputError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from error


def _kind(body: Any) -> Any:
    return body.get("kind") if isinstance(body, dict) else None


def _title(body: dict[str, Any]) -> str:
    metadata_ = body.get("metadata")
    if not isinstance(metadata_, dict):
        return "default/?"
    if _kind(body) == PROFILE.kind:
        return f"{PROFILE.kind} {metadata_.get('name', '?')}"
    return f"{metadata_.get('namespace', 'default')}/{metadata_.get('name', '?')}"


def _read(paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    for path in paths:
        if path == "-":
            yield "standard input", sys.stdin.read()
            continue
        try:
            yield path, Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            _fail(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}")


def _fail(message: str) -> NoReturn:
    raise InputError(message)


if __name__ == "__main__":
    raise SystemExit(main())
