"""MLflowModelDeployments in a file, read and checked as far as that goes offline. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from mlflow_model_operator.api import names, uri
from mlflow_model_operator.api.resource import (
    MAX_NAME_LENGTH,
    ROOT_RULES,
    InvalidResource,
    MLflowModelDeployment,
)
from mlflow_model_operator.cli.kubectl import CommandError

Json = dict[str, Any]

MAX_BYTES = 4 * 1024 * 1024  # of a file; more would be no manifest
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


@dataclass(frozen=True)
class Manifest:
    """One resource of a file, and how it is written there."""

    raw: Json
    resource: MLflowModelDeployment


def read_manifests(text: str, filename: str, namespace: str) -> list[Manifest]:
    """The MLflowModelDeployments of a YAML stream; other objects are passed over.

    Raises CommandError with one sentence that names the object, the field and what to write.
    """
    if len(text) > MAX_BYTES:
        raise CommandError(f"{filename} has more than {MAX_BYTES} bytes: split it")
    try:
        documents = list(yaml.load_all(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise CommandError(f"{filename} is not YAML: {' '.join(str(error).split())}") from None
    objects = [obj for document in documents for obj in _objects(document)]
    ours = [obj for obj in objects if isinstance(obj, dict) and obj.get("kind") == names.KIND]
    if not ours:
        raise CommandError(
            f"{filename} has no {names.KIND}: write apiVersion, kind and spec of one"
        )
    return [_manifest(obj, filename, namespace) for obj in ours]


def _objects(document: Any) -> list[Any]:
    is_list = isinstance(document, dict) and document.get("kind") == "List"
    return list(document.get("items") or []) if is_list else [document]


def _manifest(obj: Json, filename: str, namespace: str) -> Manifest:
    metadata = obj.get("metadata") if isinstance(obj.get("metadata"), dict) else {}
    raw = {**obj, "metadata": {"namespace": namespace, **(metadata or {}), "generation": 1}}
    where = f"{filename}: {raw['metadata'].get('name') or names.KIND}"
    problem = _problem(raw)
    if problem:
        raise CommandError(f"{where}: {problem}")
    try:
        resource = MLflowModelDeployment.parse(raw)
        _check_uris(resource)
    except (InvalidResource, uri.InvalidModelUri) as error:
        raise CommandError(f"{where}: {error}") from None
    return Manifest(raw, resource)


def _check_uris(resource: MLflowModelDeployment) -> None:
    """The model URIs, which the CRD's rules check in a cluster."""
    spec = resource.spec
    uris = {"spec.model.uri": spec.model.uri}
    if spec.canary is not None:
        uris["spec.canary.uri"] = spec.canary.uri
    uris |= {f"spec.variants[{n}].uri": entry.uri for n, entry in enumerate(spec.variants)}
    for path, text in uris.items():
        try:
            uri.parse(text)
        except uri.InvalidModelUri as error:
            raise uri.InvalidModelUri(f"{path}: {error}") from None


def _problem(raw: Json) -> str | None:
    """What is wrong with the resource outside of its spec."""
    name = raw["metadata"].get("name")
    if raw.get("apiVersion") != names.API_VERSION:
        return f"apiVersion is {raw.get('apiVersion')!r}: write {names.API_VERSION}"
    if not isinstance(raw.get("spec"), dict):
        return "spec is missing: set spec.model.uri"
    if not isinstance(name, str) or not name:
        return "metadata.name is missing: set it"
    if len(name) > MAX_NAME_LENGTH:
        return ROOT_RULES[0].message
    return None if _NAME.fullmatch(name) else ROOT_RULES[1].message
