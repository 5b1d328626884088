"""Safe YAML for people: what would be lost in silence, or fill the memory, is an error with its line."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import Any, ClassVar

import yaml

# What a document stands for when its aliases are written out. The API server takes no object that comes near.
_MOST_VALUES = 1_000_000


class StrictLoader(yaml.SafeLoader):
    """Safe YAML in which a key that stands twice is an error, and aliases multiply nothing without end.

    Words without quotes mean what they mean to kubectl, so that a file and the object made of it are the same: `1e3` and
    `08` are numbers, `y` is true, and times are text.
    """

    bool_values: ClassVar[dict[str, bool]] = {**yaml.SafeLoader.bool_values, "y": True, "n": False}
    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - as the base class has it

    def construct_document(self, node: yaml.Node) -> Any:
        """Construct a document that was found to be sound."""
        # Before anything is constructed: merging by `<<` gives a mapping keys twice that nobody wrote twice.
        _size(node, {})
        return super().construct_document(node)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct one value; a number that is none is an error like any other."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, ArithmeticError) as error:
            raise _fault(str(error), node) from error


_FLOAT = r"[-+]?(\.[0-9_]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
for _tag, _form, _first in (
    ("bool", "[yYnN]|yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", "yYnNtTfFoO"),
    ("int", r"[-+]?(0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)", "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", "<<", "<"),
):  # fmt: skip
    # The order counts: a number is an integer if it can be one.
    StrictLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"({_form})$"), list(_first)
    )


def _number(loader: StrictLoader, node: yaml.ScalarNode) -> float:
    """A number as JSON has it, which knows no difference between 5 and 5.0."""
    number: float = loader.construct_yaml_float(node)
    return int(number) if number.is_integer() else number


StrictLoader.add_constructor("tag:yaml.org,2002:float", _number)


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """How many values a node stands for when its aliases are written out; `sizes` are those that are known.

    Raises:
        ConstructorError: too many, or a key is no text or stands twice.
    """
    if id(node) in sizes:
        return sizes[id(node)]
    # Until it is known, and so for ever where a node is part of itself.
    sizes[id(node)] = _MOST_VALUES
    below: Iterable[yaml.Node] = ()
    if isinstance(node, yaml.MappingNode):
        _check_keys(node)
        below = itertools.chain.from_iterable(node.value)
    elif isinstance(node, yaml.SequenceNode):
        below = node.value
    size = 1 + sum(_size(each, sizes) for each in below)
    if size > _MOST_VALUES:
        raise _fault(f"its aliases stand for more than {_MOST_VALUES} values; use fewer", node)
    sizes[id(node)] = size
    return size


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set[tuple[str, str]]()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _fault("a key must be text", key)
        if (key.tag, key.value) in seen:
            raise _fault(f"the key {key.value!r} stands twice", key)
        seen.add((key.tag, key.value))


def _fault(message: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, message, node.start_mark)
