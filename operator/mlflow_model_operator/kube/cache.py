"""What the watches have seen, trimmed, and indexed by the resource that it belongs to.

Reconciling reads from here alone, so it costs the API server nothing. Our own writes are stored as
soon as they are answered, so that the next reconcile never acts on what it has just changed.

Objects are kept as JSON text and read when asked for: as dictionaries they would take ten times the
memory, and of a thousand resources only the few that are being reconciled are read at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from mlflow_model_operator.api import names
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.kinds import Kind
from mlflow_model_operator.kube.objects import KubeObject, LiveChildren
from mlflow_model_operator.kube.transform import tells_nothing, trim


@dataclass(frozen=True, slots=True)
class _Entry:
    text: bytes  # JSON
    uid: str
    version: int
    # Of all but the status, so that a status change does not make us compare everything again.
    fingerprint: int
    # Of a resource: whether its own status says that it is ready.
    ready: bool = False

    @property
    def object(self) -> KubeObject:
        """A copy of its own for each reader."""
        found: KubeObject = orjson.loads(self.text)
        return found


class Cache:
    """The resources and their children, by key."""

    def __init__(self) -> None:
        self._resources: dict[Key, _Entry] = {}
        self._children: dict[Key, dict[tuple[str, str], _Entry]] = {}

    def resource(self, key: Key) -> KubeObject | None:
        """The resource as last seen, without managed fields."""
        entry = self._resources.get(key)
        return entry.object if entry else None

    def __iter__(self) -> Iterator[Key]:
        """The keys of all resources there are."""
        return iter(list(self._resources))

    def __len__(self) -> int:
        return len(self._resources)

    def ready_counts(self) -> tuple[int, int]:
        """How many resources are ready by their own status, and how many are not."""
        ready = sum(entry.ready for entry in self._resources.values())
        return ready, len(self._resources) - ready

    def store(self, kind: Kind, obj: KubeObject) -> Key | None:
        """Keeps `obj` unless something newer is known; returns the resource it concerns."""
        key = _owner_key(kind, obj)
        if key is None:
            return None
        if kind is kinds.RESOURCE:
            if not _older(obj, self._resources.get(key)):
                self._resources[key] = _resource_entry(obj)
            return key
        if not _older(obj, self._child(key, kind, obj["metadata"]["name"])):
            self._keep(kind, key, obj)
        return key

    def take(self, kind: Kind, event: str | None, obj: KubeObject) -> Key | None:
        """Takes in an event of a watch; returns the resource it is news for.

        `event` is its type: ADDED, MODIFIED or DELETED; None for an object of a list. No news is
        what we wrote ourselves, and a change of what is not kept.
        """
        if event == "DELETED":
            return self.drop(kind, obj)
        if event is None:
            return self.store(kind, obj)
        if self.has(kind, obj):
            return None
        before = self._known(kind, obj)
        key = self.store(kind, obj)
        after = self._known(kind, obj)
        return key if _kept(before) != _kept(after) else None

    def has(self, kind: Kind, obj: KubeObject) -> bool:
        """Whether exactly this version of `obj` is kept: our own write, which was answered before.

        A watch's event about it is no news. A list may be, even so: it leaves out the versions
        before, and what others wrote just before us is in the answer to our write.
        """
        known = self._known(kind, obj)
        return known is not None and known.version == _version(obj)

    def drop(self, kind: Kind, obj: KubeObject) -> Key | None:
        """Forgets a deleted object; returns the resource it concerned, None if it was not kept.

        A late farewell to an object that has been made anew meanwhile concerns the old one only.
        """
        key, known = _owner_key(kind, obj), self._known(kind, obj)
        if key is None or known is None or known.uid != obj["metadata"].get("uid"):
            return None
        self._forget(kind, key, obj["metadata"]["name"])
        return key

    def drop_others(
        self, kind: Kind, namespace: str, present: Iterable[str], as_of: str
    ) -> list[Key]:
        """Forgets the objects of a kind whose uid was not `present`; returns whom they concerned.

        `namespace` "" means all namespaces. What is newer than the resource version `as_of`, that
        of the list which shows what was present, was made meanwhile, and stays.
        """
        uids = set(present)
        gone = [
            (key, name)
            for key, name, entry in self._of_kind(kind)
            if namespace in ("", key.namespace)
            and entry.uid not in uids
            and entry.version <= int(as_of)
        ]
        for key, name in gone:
            self._forget(kind, key, name)
        return [key for key, _ in gone]

    def children(self, key: Key, uid: str) -> LiveChildren:
        """The children of the resource `key` whose owner is `uid`; pods go by their labels."""
        live = LiveChildren()
        for (kind, name), entry in self._children.get(key, {}).items():
            obj = entry.object
            if kind == kinds.POD.kind or owned_by(obj, uid):
                live.of_kind(kind)[name] = obj
        return live

    def child(self, key: Key, kind: Kind, name: str) -> KubeObject | None:
        """One child by kind and name, whoever owns it."""
        entry = self._child(key, kind, name)
        return entry.object if entry else None

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

    def _keep(self, kind: Kind, key: Key, obj: KubeObject) -> None:
        kept, name = trim({**obj, "kind": kind.kind}), obj["metadata"]["name"]
        if tells_nothing(kept):
            self._forget(kind, key, name)
        else:
            siblings = self._children.setdefault(key, {})
            siblings[kind.kind, name] = _child_entry(kind, kept, _version(obj))

    def _known(self, kind: Kind, obj: KubeObject) -> _Entry | None:
        key = _owner_key(kind, obj)
        if key is None or kind is kinds.RESOURCE:
            return self._resources.get(key) if key else None
        return self._child(key, kind, obj["metadata"]["name"])

    def _child(self, key: Key, kind: Kind, name: str) -> _Entry | None:
        return self._children.get(key, {}).get((kind.kind, name))

    def _of_kind(self, kind: Kind) -> Iterator[tuple[Key, str, _Entry]]:
        if kind is kinds.RESOURCE:
            for key, entry in self._resources.items():
                yield key, key.name, entry
            return
        for key, siblings in self._children.items():
            for (of_kind, name), entry in siblings.items():
                if of_kind == kind.kind:
                    yield key, name, entry

    def _forget(self, kind: Kind, key: Key, name: str) -> None:
        if kind is kinds.RESOURCE:
            self._resources.pop(key, None)
            return
        siblings = self._children.get(key, {})
        siblings.pop((kind.kind, name), None)
        if not siblings:
            self._children.pop(key, None)


def owned_by(obj: KubeObject, uid: str) -> bool:
    """Whether `uid` is among the owners of `obj`."""
    return any(ref.get("uid") == uid for ref in obj["metadata"].get("ownerReferences", ()))


def _resource_entry(obj: KubeObject) -> _Entry:
    metadata = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    return _Entry(
        text=_text({**obj, "metadata": metadata}),
        uid=metadata["uid"],
        version=_version(obj),
        fingerprint=0,
        ready=_is_ready(obj),
    )


def _child_entry(kind: Kind, kept: KubeObject, version: int) -> _Entry:
    return _Entry(
        text=_text(kept),
        uid=kept["metadata"]["uid"],
        version=version,
        fingerprint=_fingerprint(kind, kept),
    )


def _text(obj: KubeObject) -> bytes:
    # A copy: orjson's own is the cut-off end of a larger piece, and thousands of them leave holes.
    return bytes(memoryview(orjson.dumps(obj)))


def _is_ready(resource: KubeObject) -> bool:
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in resource.get("status", {}).get("conditions", ())
    )


def _owner_key(kind: Kind, obj: KubeObject) -> Key | None:
    metadata = obj["metadata"]
    if kind is kinds.RESOURCE:
        return Key(metadata["namespace"], metadata["name"])
    name = metadata.get("labels", {}).get(names.DEPLOYMENT)
    return Key(metadata["namespace"], name) if name else None


def _kept(entry: _Entry | None) -> bytes | None:
    return entry.text if entry else None


def _older(obj: KubeObject, known: _Entry | None) -> bool:
    """Resource versions of one kind grow; Kubernetes guarantees that they compare as integers."""
    return known is not None and _version(obj) < known.version


def _version(obj: KubeObject) -> int:
    text = obj["metadata"].get("resourceVersion", "0")
    return int(text) if text.isdigit() else 0


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
    return hash(orjson.dumps(stated, option=orjson.OPT_SORT_KEYS))
