"""Metadata that the operator's objects share: labels, owners, hashes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from mlflow_model_operator.api import names
from mlflow_model_operator.api.resource import MLflowModelDeployment

# Without vowels and look-alikes, so that no hash is a word, as Kubernetes does it.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_HASH_LENGTH = 10


def short_hash(value: Any) -> str:
    """Ten letters and digits that depend on all of `value` (JSON-like), and on nothing else."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    letters = []
    for _ in range(_HASH_LENGTH):
        number, rest = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[rest])
    return "".join(letters)


def common_labels(resource: MLflowModelDeployment) -> dict[str, str]:
    """On every object of the resource."""
    return {
        names.MANAGED_BY: names.MANAGED_BY_VALUE,
        "app.kubernetes.io/name": "mlflow-model",
        "app.kubernetes.io/instance": resource.name,
        names.DEPLOYMENT: resource.name,
    }


def revision_labels(resource: MLflowModelDeployment, revision: str) -> dict[str, str]:
    """On every object of one revision."""
    return {**common_labels(resource), names.REVISION: revision}


def object_metadata(
    resource: MLflowModelDeployment, name: str, object_labels: dict[str, str]
) -> dict[str, Any]:
    """Namespace, name, labels, and the owner, so that deleting the resource deletes the object."""
    owner = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": resource.name,
        "uid": resource.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "namespace": resource.namespace,
        "name": name,
        "labels": object_labels,
        "ownerReferences": [owner],
    }


def revision_metadata(resource: MLflowModelDeployment, revision: str) -> dict[str, Any]:
    """The metadata of the Deployment, and of the other objects, of one revision."""
    return object_metadata(resource, revision, revision_labels(resource, revision))


def with_applied(obj: dict[str, Any]) -> dict[str, Any]:
    """`obj` with an annotation that changes whenever its spec does, also by a removed field."""
    annotations = {names.APPLIED: short_hash(obj["spec"])}
    return {**obj, "metadata": {**obj["metadata"], "annotations": annotations}}
