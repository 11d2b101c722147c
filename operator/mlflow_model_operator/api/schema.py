"""CEL rules and x-kubernetes-… extensions, which pydantic's JSON schema lacks.

A rule is written once, beside its field: the generated CRD has it, so the API server checks it
before the operator ever sees the resource.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

VALIDATIONS = "x-kubernetes-validations"


@dataclass(frozen=True)
class Rule:
    """One CEL rule (x-kubernetes-validations) with the message that users get."""

    cel: str
    message: str
    message_expression: str | None = None  # CEL; where naming the values helps
    field_path: str | None = None  # relative to the object, like ".maxReplicas"

    def to_schema(self) -> dict[str, str]:
        """The rule as it is written in the CRD."""
        fields = {
            "rule": self.cel,
            "message": self.message,
            "messageExpression": self.message_expression,
            "fieldPath": self.field_path,
        }
        return {key: text for key, text in fields.items() if text is not None}


def matches(pattern: str, subject: str = "self") -> str:
    """CEL that is true where the whole subject matches an RE2 pattern."""
    return f"{subject}.matches({literal(f'^({pattern})$')})"


def pattern(expected: str, message: str) -> Rule:
    """The whole text must match an RE2 pattern. Unlike `pattern` in a schema it has a message."""
    return Rule(matches(expected), message)


def literal(value: str | Mapping[str, str]) -> str:
    """The text, or map of texts, as a CEL literal; JSON's escapes are a subset of CEL's."""
    return json.dumps(value)


class Schema:
    """An annotation that adds rules and extensions to the JSON schema of a field or item."""

    def __init__(self, *rules: Rule, **extensions: Any) -> None:
        self.rules = rules
        self.extensions = extensions

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = dict(handler(core_schema))
        return extend(schema, self.rules, self.extensions)


def extend(
    schema: dict[str, Any], rules: tuple[Rule, ...], extensions: Mapping[str, Any]
) -> dict[str, Any]:
    """Adds rules and extensions; "list_type" becomes "x-kubernetes-list-type"."""
    for name, value in extensions.items():
        schema[f"x-kubernetes-{name.replace('_', '-')}"] = value
    if rules:
        schema[VALIDATIONS] = [*schema.get(VALIDATIONS, ()), *(r.to_schema() for r in rules)]
    return schema


# How lists merge when several field managers apply (server-side apply).
ATOMIC = Schema(list_type="atomic")
SET = Schema(list_type="set")


def map_by(*keys: str) -> Schema:
    """A list whose items are identified by these fields: no two may have the same."""
    return Schema(list_type="map", list_map_keys=list(keys))


class KubeModel(BaseModel):
    """A part of the resource: immutable, camelCase in YAML, unknown fields refused."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        frozen=True,
        extra="forbid",
    )

    # Rules that need more than one of the part's fields.
    RULES: ClassVar[tuple[Rule, ...]] = ()
    EXTENSIONS: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core_schema))
        return extend(schema, cls.RULES, cls.EXTENSIONS)

    def dump(self) -> dict[str, Any]:
        """The part as Kubernetes writes it: camelCase, nothing that is unset."""
        return self.model_dump(by_alias=True, exclude_none=True, mode="json")
