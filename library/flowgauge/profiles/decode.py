"""Turn decoded YAML into the records of `types`, with errors that name the path and the remedy. No I/O."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types as python_types
import typing
from collections.abc import Mapping
from typing import Any


class ProfileError(ValueError):
    """A profile that cannot be used: where the fault is, what it is, and how to mend it."""

    def __init__(self, source: str, path: str, message: str) -> None:
        super().__init__(f"{source}: {path}: {message}" if path else f"{source}: {message}")
        self.source = source
        self.path = path
        self.message = message


def key_of(field: str) -> str:
    """The YAML key of a record's field: `for_` is `for`, `alert_prefix` is `alertPrefix`."""
    head, *rest = field.rstrip("_").split("_")
    return head + "".join(part.capitalize() for part in rest)


class Decoder:
    """Decodes one document; `source` names it in errors."""

    def __init__(self, source: str) -> None:
        self._source = source

    def fail(self, path: str, message: str) -> typing.NoReturn:
        """Raise the error of this document."""
        raise ProfileError(self._source, path, message)

    def decode(self, kind: Any, data: Any, path: str) -> Any:
        """Decode `data` as the annotated type `kind`.

        Raises:
            ProfileError: the data does not have that shape.
        """
        if dataclasses.is_dataclass(kind):
            return self._record(kind, data, path)
        origin, args = typing.get_origin(kind), typing.get_args(kind)
        if origin is typing.Literal:
            return self._choice(args, data, path)
        if origin in (typing.Union, python_types.UnionType):
            return self._union(args, data, path)
        if origin is tuple:
            return self._list(args[0], data, path)
        if origin is Mapping:
            return self._map(args[1], data, path)
        return self._scalar(kind, data, path)

    def _record(self, kind: Any, data: Any, path: str) -> Any:
        if not isinstance(data, dict):
            self.fail(path, f"is {_kind_of(data)}, must be a mapping")
        hints = typing.get_type_hints(kind)
        fields = {key_of(f.name): f for f in dataclasses.fields(kind)}
        for key in data:
            if key not in fields:
                self.fail(_join(path, str(key)), f"is not a field{_suggest(str(key), fields)}")
        values = {}
        for key, spec in fields.items():
            if key in data:
                values[spec.name] = self.decode(hints[spec.name], data[key], _join(path, key))
            elif (
                spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
            ):
                self.fail(_join(path, key), "is missing; add it")
        return kind(**values)

    def _choice(self, choices: tuple[Any, ...], data: Any, path: str) -> Any:
        if data not in choices:
            self.fail(path, f"is {data!r}, must be one of {', '.join(map(str, choices))}")
        return data

    def _union(self, members: tuple[Any, ...], data: Any, path: str) -> Any:
        if data is None and type(None) in members:
            return None
        plain = [member for member in members if member is not type(None)]
        for member in plain[:-1]:
            if isinstance(member, type) and isinstance(data, member) and not isinstance(data, bool):
                return data
        return self.decode(plain[-1], data, path)

    def _list(self, member: Any, data: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(data, list):
            self.fail(path, f"is {_kind_of(data)}, must be a list")
        return tuple(self.decode(member, item, f"{path}[{i}]") for i, item in enumerate(data))

    def _map(self, member: Any, data: Any, path: str) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail(path, f"is {_kind_of(data)}, must be a mapping")
        for key in data:
            if not isinstance(key, str):
                self.fail(path, f"has the key {key!r}, which is {_kind_of(key)}; put it in quotes")
        return {key: self.decode(member, value, _join(path, key)) for key, value in data.items()}

    def _scalar(self, kind: Any, data: Any, path: str) -> Any:
        if kind is float and isinstance(data, int | float) and not isinstance(data, bool):
            if not math.isfinite(data):
                self.fail(path, f"is {data}, must be a finite number")
            return float(data)
        if isinstance(data, str) and not _is_unicode(data):
            self.fail(path, f"is {data!r}, which has half a character; write it whole")
        if isinstance(data, kind) and not (kind is not bool and isinstance(data, bool)):
            return data
        hint = "; put it in quotes" if kind is str and data is not None else ""
        return self.fail(path, f"is {_kind_of(data)}, must be {_NAMES[kind]}{hint}")


_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _is_unicode(text: str) -> bool:
    """Whether nobody who writes the text down fails: YAML lets lone surrogates through."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _kind_of(data: Any) -> str:
    if data is None:
        return "empty"
    if isinstance(data, bool):
        return f"the boolean {str(data).lower()}"
    names = {int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping"}
    return names.get(type(data), f"a {type(data).__name__}")


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _suggest(key: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
