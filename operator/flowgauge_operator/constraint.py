"""Constraints said once and enforced twice: as CEL by the API server, as a predicate by us. Pure; used by `model`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import re2
from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

VALIDATIONS = "x-kubernetes-validations"


@dataclass(frozen=True, slots=True)
class Rule:
    """One constraint: CEL, the message that names the remedy, and the same as a predicate."""

    cel: str
    message: str
    holds: Callable[[Any], bool]

    @property
    def schema(self) -> dict[str, str]:
        """The rule as a CRD has it."""
        return {"rule": self.cel, "message": self.message}


class Model(BaseModel):
    """Strict, immutable, camelCase on the wire. `RULES` speak of several fields."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,  # JSON, and so the API server, knows neither
    )
    RULES: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _check_rules(self) -> Self:
        _check(self.RULES, self)
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Add the rules to the schema of the class."""
        made = handler.resolve_ref_schema(handler(schema))
        return _with_rules(made, cls.RULES)


@dataclass(frozen=True, slots=True)
class Obeys:
    """Annotation of a field: rules that its value obeys."""

    rules: tuple[Rule, ...]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Check the rules after the type."""
        return core_schema.no_info_after_validator_function(
            lambda value: _check(self.rules, value), handler(source)
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Add the rules to the schema of the field, after those of its type."""
        made = handler(schema)
        made[VALIDATIONS] = [
            *made.get(VALIDATIONS, ()),
            *(rule.schema for rule in self.rules),
        ]
        return made


def like(pattern: str, message: str) -> Obeys:
    """Text that matches: a rule and not a schema pattern, because the error of a pattern shows nothing but itself."""
    quoted = pattern.replace("\\", "\\\\").replace("'", "\\'")
    return Obeys(
        (Rule(f"self.matches('{quoted}')", message, lambda value: matches(pattern, value)),)
    )


def matches(pattern: str, value: str) -> bool:
    """Whether `value` holds a match, by the same engine as CEL's."""
    try:
        return _compiled(pattern).search(value) is not None
    except UnicodeEncodeError:  # half a character, which YAML lets through
        return False


@functools.cache
def _compiled(pattern: str) -> Any:
    return re2.compile(pattern)


def _check(rules: tuple[Rule, ...], value: Any) -> Any:
    for rule in rules:
        if not rule.holds(value):
            raise ValueError(rule.message)
    return value


def _with_rules(schema: JsonSchemaValue, rules: tuple[Rule, ...]) -> JsonSchemaValue:
    if rules:
        schema[VALIDATIONS] = [rule.schema for rule in rules]
    return schema
