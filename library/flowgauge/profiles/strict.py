"""Safe YAML for people: what would be lost in silence, or fill the memory, is an error with its line."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import yaml

# What a document stands for when its aliases are written out. The API server takes no object that comes near.
_MOST_VALUES = 1_000_000


class StrictLoader(yaml.SafeLoader):
    """Safe YAML in which a key that stands twice is an error, and aliases multiply nothing without end."""

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
