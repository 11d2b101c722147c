"""What the watches have seen, trimmed, and indexed by the resource that it belongs to.

Reconciling reads from here alone, so it costs the API server nothing. Our own writes are stored as
soon as they are answered, so that the next reconcile never acts on what it has just changed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlflow_model_operator import labels
from mlflow_model_operator.cluster import kinds
from mlflow_model_operator.cluster.kinds import Kind
from mlflow_model_operator.diff import trim
from mlflow_model_operator.domain import Key, KubeObject, LiveChildren

_FIELD_BY_KIND = {
    kinds.DEPLOYMENT.kind: "deployments",
    kinds.SERVICE.kind: "services",
    kinds.AUTOSCALER.kind: "autoscalers",
    kinds.BUDGET.kind: "budgets",
    kinds.ROUTE.kind: "routes",
    kinds.POD.kind: "pods",
}


@dataclass(frozen=True)
class _Entry:
    object: KubeObject
    # Of all but the status, so that a status change does not make us compare everything again.
    fingerprint: int


class Cache:
    """The resources and their children, by key."""

    def __init__(self) -> None:
        self._resources: dict[Key, KubeObject] = {}
        self._children: dict[Key, dict[tuple[str, str], _Entry]] = {}

    def resource(self, key: Key) -> KubeObject | None:
        """The resource as last seen, without managed fields."""
        return self._resources.get(key)

    def __iter__(self) -> Iterator[Key]:
        """The keys of all resources there are."""
        return iter(list(self._resources))

    def __len__(self) -> int:
        return len(self._resources)

    def ready_counts(self) -> tuple[int, int]:
        """How many resources are ready by their own status, and how many are not."""
        ready = sum(_is_ready(resource) for resource in self._resources.values())
        return ready, len(self._resources) - ready

    def store(self, kind: Kind, obj: KubeObject) -> Key | None:
        """Keeps `obj` unless something newer is known; returns the resource it concerns."""
        key = _owner_key(kind, obj)
        if key is None:
            return None
        if kind is kinds.RESOURCE:
            if not _older(obj, self._resources.get(key)):
                self._resources[key] = _without_managed_fields(obj)
            return key
        siblings = self._children.setdefault(key, {})
        identity = (kind.kind, obj["metadata"]["name"])
        known = siblings.get(identity)
        if not _older(obj, known.object if known else None):
            kept = _with_shared_text(trim({**obj, "kind": kind.kind}))
            siblings[identity] = _Entry(kept, _fingerprint(kind, kept))
        return key

    def drop(self, kind: Kind, obj: KubeObject) -> Key | None:
        """Forgets a deleted object; returns the resource it concerned."""
        key = _owner_key(kind, obj)
        if key is None:
            return None
        # A late farewell to an object that has been made anew meanwhile concerns the old one only.
        if kind is kinds.RESOURCE:
            if _same_uid(self._resources.get(key), obj):
                del self._resources[key]
            return key
        siblings = self._children.get(key, {})
        identity = (kind.kind, obj["metadata"]["name"])
        known = siblings.get(identity)
        if _same_uid(known.object if known else None, obj):
            del siblings[identity]
            if not siblings:
                self._children.pop(key, None)
        return key

    def children(self, key: Key, uid: str) -> LiveChildren:
        """The children of the resource `key` whose owner is `uid`; pods go by their labels."""
        found: dict[str, dict[str, KubeObject]] = {name: {} for name in _FIELD_BY_KIND.values()}
        for (kind, name), entry in self._children.get(key, {}).items():
            if kind == kinds.POD.kind or owned_by(entry.object, uid):
                found[_FIELD_BY_KIND[kind]][name] = entry.object
        return LiveChildren(**found)

    def child(self, key: Key, kind: Kind, name: str) -> KubeObject | None:
        """One child by kind and name, whoever owns it."""
        entry = self._children.get(key, {}).get((kind.kind, name))
        return entry.object if entry else None

    def uids(self, kind: Kind, namespace: str) -> dict[str, KubeObject]:
        """All known objects of a kind by uid; `namespace` "" means all namespaces."""
        if kind is kinds.RESOURCE:
            objects = list(self._resources.values())
        else:
            objects = [
                entry.object
                for siblings in self._children.values()
                for identity, entry in siblings.items()
                if identity[0] == kind.kind
            ]
        return {
            obj["metadata"]["uid"]: obj
            for obj in objects
            if namespace in ("", obj["metadata"]["namespace"])
        }

    def fingerprint(self, key: Key) -> int:
        """Changes when any child of `key` changes in anything but its status."""
        entries = self._children.get(key, {})
        return hash(
            frozenset(
                (identity, entry.fingerprint)
                for identity, entry in entries.items()
                if identity[0] != kinds.POD.kind
            )
        )


def owned_by(obj: KubeObject, uid: str) -> bool:
    """Whether `uid` is among the owners of `obj`."""
    return any(ref.get("uid") == uid for ref in obj["metadata"].get("ownerReferences", ()))


def _is_ready(resource: KubeObject) -> bool:
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in resource.get("status", {}).get("conditions", ())
    )


def _owner_key(kind: Kind, obj: KubeObject) -> Key | None:
    metadata = obj["metadata"]
    if kind is kinds.RESOURCE:
        return Key(metadata["namespace"], metadata["name"])
    name = metadata.get("labels", {}).get(labels.DEPLOYMENT)
    return Key(metadata["namespace"], name) if name else None


def _same_uid(known: KubeObject | None, obj: KubeObject) -> bool:
    return known is not None and known["metadata"].get("uid") == obj["metadata"].get("uid")


def _older(obj: KubeObject, known: KubeObject | None) -> bool:
    """Resource versions of one kind grow; Kubernetes guarantees that they compare as integers."""
    if known is None:
        return False
    return _version(obj) < _version(known)


def _version(obj: KubeObject) -> int:
    text = obj["metadata"].get("resourceVersion", "0")
    return int(text) if text.isdigit() else 0


def _without_managed_fields(obj: KubeObject) -> KubeObject:
    metadata = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    return {**obj, "metadata": metadata}


def _with_shared_text(value: Any) -> Any:
    """A copy with one instance of each text for all objects: they say mostly the same."""
    if isinstance(value, dict):
        return {sys.intern(name): _with_shared_text(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_shared_text(item) for item in value]
    return sys.intern(value) if type(value) is str else value


def _fingerprint(kind: Kind, obj: KubeObject) -> int:
    if kind is kinds.POD:
        return 0
    metadata = obj["metadata"]
    stated: dict[str, Any] = {
        # Where changes of the spec are counted, the count says it all.
        "spec": metadata.get("generation") or obj.get("spec"),
        "uid": metadata.get("uid"),
        "labels": metadata.get("labels"),
        "annotations": metadata.get("annotations"),
        "owners": metadata.get("ownerReferences"),
        "deleted": metadata.get("deletionTimestamp"),
    }
    return hash(json.dumps(stated, sort_keys=True))
