"""Read the objects and profiles that a command is given, from files or standard input."""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from flowgauge import profiles
from flowgauge.profiles import Profile, ProfileError, StrictLoader
from flowgauge_operator import names, vocabulary
from flowgauge_operator.kinds import PROFILE


class InputError(ValueError):
    """Input that cannot be used; the message names file, object, field and remedy."""


class Objects(NamedTuple):
    """Our objects in some files, each with the name of its file."""

    workflows: list[tuple[str, dict[str, Any]]]
    profiles: list[tuple[str, dict[str, Any]]]


def objects(files: Iterable[tuple[str, str]]) -> Objects:
    """Our objects in YAML texts, given with the names of their files; other objects are left alone.

    Raises:
        InputError: a text is no YAML, or holds none of ours.
    """
    found = Objects([], [])
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


def texts(paths: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each file's name and text; `-` is standard input.

    Raises:
        InputError: one cannot be read.
    """
    for path in paths:
        name = "standard input" if path == "-" else path
        try:
            yield name, _decoded(_read(path))
        except IsADirectoryError as error:
            raise InputError(f"{name or '.'} is a folder; name the files in it") from error
        except OSError as error:
            raise InputError(f"{name} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{name} cannot be read: {error}; save it as UTF-8") from error


def _read(path: str) -> bytes:
    if path != "-":
        return Path(path).read_bytes()
    # A shell that has closed it leaves none.
    return sys.stdin.buffer.read() if sys.stdin else b""


def _decoded(data: bytes) -> str:
    """Text as kubectl reads it: UTF-8 whatever the locale says, or UTF-16 by its mark, as PowerShell writes it."""
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_utf16 else "utf-8-sig")


def vocabularies(
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


def given(paths: Sequence[str]) -> list[tuple[str, Any]]:
    """What files hold that are named as profiles; a workflow beside a profile is none of it.

    Raises:
        InputError: a file cannot be read, is no YAML, or holds nothing else than workflows.
    """
    found = []
    for name, text in texts(paths):
        bodies = [body for body in _loaded(text, name) if body and _kind(body) != names.KIND]
        if not bodies:
            raise InputError(
                f"{name} holds no {PROFILE.kind}; each needs apiVersion: {names.API_VERSION} and kind: {PROFILE.kind}"
            )
        found += [(name, body) for body in bodies]
    return found


def parsed(path: str) -> list[Profile]:
    """The profiles in a file; whether their expressions can be used is another question.

    Raises:
        InputError: the file cannot be read, or holds something that is none.
    """
    try:
        return [profiles.from_object(body, source=name) for name, body in given([path])]
    except ProfileError as error:
        raise InputError(str(error)) from error


def twice(workflows: Iterable[tuple[str, dict[str, Any]]]) -> list[str]:
    """What is wrong with workflows of one name, of which one would silently take the place of the other."""
    seen, found = set[str](), []
    for name, body in workflows:
        if (of := title(body)) in seen:
            found.append(f"{name}: {of} is there twice; remove one of them")
        seen.add(of)
    return found


def title(body: dict[str, Any]) -> str:
    """How messages call an object: namespace and name, as far as it has them."""
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        return "default/?"
    if _kind(body) == PROFILE.kind:
        return f"{PROFILE.kind} {metadata.get('name', '?')}"
    return f"{metadata.get('namespace') or 'default'}/{metadata.get('name') or '?'}"


def _loaded(text: str, source: str) -> list[Any]:
    try:
        documents = _json(text) if text.lstrip().startswith("{") else None
        if documents is None:
            documents = list(yaml.load_all(text, Loader=StrictLoader))
    except yaml.YAMLError as error:
        raise InputError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise InputError(f"{source} is nested too deeply; no object of ours is") from error
    return [body for document in documents for body in _listed(document)]


def _json(text: str) -> list[Any] | None:
    """The documents of a text that is JSON, of which YAML knows neither tabs nor pairs of surrogates; None if it is none."""
    read = json.JSONDecoder(object_pairs_hook=_once)
    found, position = list[Any](), 0
    text = text.strip()
    try:
        while position < len(text):
            document, position = read.raw_decode(text, position)
            found.append(document)
            while position < len(text) and text[position].isspace():
                position += 1
    except ValueError:
        return None
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(made := dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice, and YAML tells its line")
    return made


def _listed(document: Any) -> list[Any]:
    """The objects of a document: `kubectl get --output yaml` prints one List."""
    items = document.get("items") if isinstance(document, dict) else None
    if isinstance(items, list) and str(_kind(document)).endswith("List"):
        return items
    return [document]


def _kind(body: Any) -> Any:
    return body.get("kind") if isinstance(body, dict) else None
