"""The CustomResourceDefinition, made from the models: `python -m mlflow_model_operator.api.crd`.

pydantic's JSON schema is turned into a structural schema, as Kubernetes wants it: no references,
no alternatives with null, defaults only where they say something.
"""

from __future__ import annotations

import sys
from typing import Any

import yaml

from mlflow_model_operator.api.generate.freshness import write_or_check
from mlflow_model_operator.api.names import GROUP, KIND, PLURAL, VERSION
from mlflow_model_operator.api.resource import ROOT_RULES, MLflowModelDeployment
from mlflow_model_operator.api.schema import extend
from mlflow_model_operator.api.spec import Spec
from mlflow_model_operator.api.status import Status

JsonSchema = dict[str, Any]

HEADER = "# Made by `make generate` from operator/mlflow_model_operator/api: change it there.\n"

COLUMNS = (
    ("Model", "string", ".spec.model.uri", "The model URI."),
    ("Version", "string", ".status.stable.modelVersion", "The version that has the traffic."),
    ("Canary", "string", ".status.canary.modelVersion", "The version on trial."),
    ("Weight", "integer", ".spec.canary.weight", "The canary's share, in percent."),
    ("Ready", "integer", ".status.stable.readyReplicas", "Pods that answer."),
    (
        "Available",
        "string",
        '.status.conditions[?(@.type=="Available")].status',
        "Whether the model is served.",
    ),
    ("URL", "string", ".status.url", "Where to send requests."),
    ("Age", "date", ".metadata.creationTimestamp", "How long the resource has existed."),
)

# What is kept of pydantic's schema besides x-kubernetes-…, in the order in which it is written.
_BEFORE = ("description", "type", "format", "anyOf", "enum", "default")
_LIMITS = (
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
)
_INSIDE = ("items", "additionalProperties", "properties")


def definition() -> dict[str, Any]:
    """The CustomResourceDefinition as a Kubernetes object."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["mmd"],
                "categories": ["all"],
            },
            "scope": "Namespaced",
            "versions": [_version()],
        },
    }


def _version() -> dict[str, Any]:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": root_schema()},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.scaling.minReplicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path, "description": description}
            for name, kind, path, description in COLUMNS
        ],
    }


def root_schema() -> JsonSchema:
    """The structural schema of the whole resource."""
    schema: JsonSchema = {
        "description": MLflowModelDeployment.__doc__,
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"description": f"{GROUP}/{VERSION}", "type": "string"},
            "kind": {"description": KIND, "type": "string"},
            "metadata": {"type": "object"},
            "spec": structural(Spec.model_json_schema()),
            "status": structural(Status.model_json_schema()),
        },
    }
    return extend(schema, ROOT_RULES, {})


def structural(schema: JsonSchema, definitions: JsonSchema | None = None) -> JsonSchema:
    """The structural schema that says the same as a pydantic JSON schema."""
    definitions = schema.get("$defs", {}) if definitions is None else definitions
    schema = dict(_resolved(schema, definitions))
    if schema.get("type") == "integer":
        schema["format"] = "int32" if "maximum" in schema else "int64"
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = structural(schema[key], definitions)
    schema["properties"] = {
        name: structural(part, definitions) for name, part in schema.get("properties", {}).items()
    }
    schema["default"] = _pruned(schema.get("default"), schema)
    return {key: schema[key] for key in _order(schema)}


def _order(schema: JsonSchema) -> list[str]:
    """The keys to write, in order: what is inside stands last."""
    extensions = sorted(key for key in schema if key.startswith("x-kubernetes-"))
    keys = (key for key in (*_BEFORE, *_LIMITS, *extensions, *_INSIDE) if key in schema)
    says_nothing = {
        "default": not _says_something(schema["default"], schema),
        "properties": not schema["properties"],
        "additionalProperties": not isinstance(schema.get("additionalProperties"), dict),
    }
    return [key for key in keys if not says_nothing.get(key, False)]


def _resolved(schema: JsonSchema, definitions: JsonSchema) -> JsonSchema:
    """Replaces a reference, or the alternative of null, by what is meant.

    What stands beside it (the field's own description) wins over what it stands for.
    """
    while True:
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            schema = definitions[name] | _without(schema, "$ref")
        elif {"type": "null"} in schema.get("anyOf", ()):
            (meant,) = (one for one in schema["anyOf"] if one != {"type": "null"})
            schema = meant | _without(schema, "anyOf")
        else:
            return schema


def _without(schema: JsonSchema, key: str) -> JsonSchema:
    return {name: value for name, value in schema.items() if name != key}


def _pruned(default: Any, schema: JsonSchema) -> Any:
    """A default without what is empty or what the defaults further down add by themselves."""
    properties = schema.get("properties", {})
    if not isinstance(default, dict) or not properties:
        return default
    parts = {name: _pruned(value, properties[name]) for name, value in default.items()}
    return {
        name: part
        for name, part in parts.items()
        if part is not False
        and part not in (None, [], {})
        and part != properties[name].get("default")
    }


def _says_something(default: Any, schema: JsonSchema) -> bool:
    """Whether to write a default: {} only where defaults further down need it, false never."""
    if default == {}:
        return any("default" in part for part in schema.get("properties", {}).values())
    return default is not False and default not in (None, [])


class _Dumper(yaml.SafeDumper):
    """Writes everything out: YAML anchors would only puzzle people."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def text() -> str:
    """The file's content."""
    written = yaml.dump(definition(), Dumper=_Dumper, sort_keys=False, width=98, allow_unicode=True)
    return HEADER + str(written)


if __name__ == "__main__":
    sys.exit(write_or_check(text(), sys.argv[1:]))
