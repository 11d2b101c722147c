"""The page of all fields, made from the CRD: `python -m mlflow_model_operator.api.reference`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from mlflow_model_operator.api.generate.crd import COLUMNS, root_schema
from mlflow_model_operator.api.generate.freshness import write_or_check
from mlflow_model_operator.api.names import API_VERSION, KIND
from mlflow_model_operator.api.schema import VALIDATIONS

JsonSchema = dict[str, Any]

INTRODUCTION = f"""\
<!-- Made by `make generate` from operator/mlflow_model_operator/api: change it there. -->

# Reference: {KIND}

`apiVersion: {API_VERSION}`, `kind: {KIND}`, short name `mmd`, in the category `all`.

{{description}}

You write `spec`; the operator writes `status`, and never anything else of the resource. A default
that stands in the tables is filled in by the API server, so that `kubectl get -o yaml` shows it.
What is wrong is refused when it is applied, with one of the sentences that stand here as rules.
"""


def text() -> str:
    """The page, in Markdown."""
    root = root_schema()
    parts = [
        INTRODUCTION.format(description=root["description"]),
        *_rules("metadata", root),
        *(line for path in ("spec", "status") for line in _object(path, root["properties"][path])),
        *_columns(),
    ]
    return "\n".join(parts) + "\n"


def _object(path: str, schema: JsonSchema) -> Iterator[str]:
    """One section for an object, then one for each object in it."""
    yield f"## {path}\n\n{schema['description']}\n"
    yield "| field | type | default | allowed | meaning |\n| --- | --- | --- | --- | --- |"
    properties: dict[str, JsonSchema] = schema["properties"]
    for name, part in properties.items():
        yield _row(name, part, name in schema.get("required", ()))
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        yield "| … | | | | The other fields of this kind of object in the Kubernetes API. |"
    yield ""
    yield from _rules(path, schema)
    for name, part in properties.items():
        if "properties" in part:
            yield from _object(f"{path}.{name}", part)
        elif "properties" in part.get("items", {}):
            yield from _object(f"{path}.{name}[]", part["items"])


def _row(name: str, schema: JsonSchema, required: bool) -> str:
    cells = [
        f"`{name}`",
        _type(schema),
        "**required**" if required else _default(schema),
        _allowed(schema),
        schema["description"],
    ]
    return "| " + " | ".join(_escaped(cell).replace("|", "\\|") for cell in cells) + " |"


def _type(schema: JsonSchema) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "quantity"
    if "items" in schema:
        return f"list of {_type(schema['items'])}s"
    if "additionalProperties" in schema:
        return f"map of string to {_type(schema['additionalProperties'])}"
    if schema.get("format") == "date-time":
        return "time"
    return str(schema["type"])


def _default(schema: JsonSchema) -> str:
    return f"`{json.dumps(schema['default'])}`" if schema.get("default", {}) != {} else ""


def _allowed(schema: JsonSchema) -> str:
    """Limits and choices, for people."""
    limits = []
    if "minimum" in schema and "maximum" in schema:
        limits.append(f"{schema['minimum']} to {schema['maximum']}")
    if "enum" in schema:
        limits.append(", ".join(f"`{one}`" for one in schema["enum"]))
    for key, unit in (
        ("maxLength", "characters"),
        ("maxItems", "items"),
        ("maxProperties", "keys"),
    ):
        if key in schema:
            limits.append(f"at most {schema[key]} {unit}")
    if "x-kubernetes-list-map-keys" in schema:
        limits.append(f"each `{schema['x-kubernetes-list-map-keys'][0]}` once")
    if schema.get("x-kubernetes-list-type") == "set":
        limits.append("each item once")
    return "; ".join(limits)


def _rules(path: str, schema: JsonSchema) -> list[str]:
    """The rules of an object, and of its fields, items and values that are no objects."""
    found = [f"- `{path}`: {_sentence(rule)}" for rule in schema.get(VALIDATIONS, ())]
    for name, part in schema.get("properties", {}).items():
        if "properties" in part:
            continue
        for inner, suffix in ((part, ""), (part.get("items"), "[]"), (_values(part), ".*")):
            if inner is not None and "properties" not in inner:
                rules = inner.get(VALIDATIONS, ())
                found += [f"- `{path}.{name}{suffix}`: {_sentence(rule)}" for rule in rules]
    return ["Rules:\n", *found, ""] if found else []


def _sentence(rule: JsonSchema) -> str:
    return f"{_escaped(rule['message'])}."


def _escaped(text: str) -> str:
    """Keeps Markdown from taking <name> for HTML."""
    return text.replace("<", "\\<")


def _values(schema: JsonSchema) -> JsonSchema | None:
    values: JsonSchema | None = schema.get("additionalProperties")
    return values


def _columns() -> Iterator[str]:
    yield "## kubectl get mmd\n"
    yield "| column | from | meaning |\n| --- | --- | --- |"
    for name, _, path, description in COLUMNS:
        yield f"| {name.upper()} | `{path}` | {description} |"


if __name__ == "__main__":
    sys.exit(write_or_check(text(), sys.argv[1:]))
