"""The resources and their children, as the API server last showed them: an informer's store.

Reconciling reads from here alone, so it costs the API server nothing. Three things write to it: the
watches, the lists that they start from, and the responses to our own writes, which are stored at
once so that the next reconcile never acts on what it has just changed. Whatever of that is news is
reported to `on_change`, also when it arrives inside the response to our own write.

A child belongs to the resource that its owner reference names. Its labels only decide where there
is none, since anybody may edit them.

Objects are stored as JSON text and parsed when read: as dictionaries they would take ten times the
memory, and of a thousand resources only the few that are being reconciled are read at a time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from mlflow_model_operator.api import names
from mlflow_model_operator.api.reasons import POSTPONED_REASONS, Reason
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.deletions import Deletions
from mlflow_model_operator.kube.kinds import Kind
from mlflow_model_operator.kube.objects import (
    KubeObject,
    LiveChildren,
    find_condition,
    is_child_of,
    is_true,
    labels_of,
    name_of,
    namespace_of,
    selected_resource,
    status_of,
    uid_of,
    version_of,
)
from mlflow_model_operator.kube.route_claims import RouteClaims
from mlflow_model_operator.kube.server_claims import ServerClaims
from mlflow_model_operator.kube.transform import is_healthy_pod, transform

_Identity = tuple[str, str, str]  # kind, namespace, name


@dataclass(frozen=True, slots=True)
class _Entry:
    text: bytes  # JSON
    uid: str
    version: int
    # Of all but the status, so that a status change does not make us compare everything again.
    fingerprint: int
    # Of a resource: whether its own status says that it is ready.
    is_ready: bool = False
    is_stuck: bool = False
    # Whether a watch or a list has brought this version, and not only the response to a request.
    is_delivered: bool = True

    @property
    def object(self) -> KubeObject:
        """A copy of its own for each reader."""
        obj: KubeObject = orjson.loads(self.text)
        return obj


class Cache:
    """The resources and their children, by the key of the resource."""

    def __init__(
        self,
        on_change: Callable[[Key], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        servers: ServerClaims | None = None,
    ) -> None:
        """`on_change` is called with each resource that something new concerns.

        `servers` says how many tracking servers a namespace may use; left out, any number.
        """
        self._on_change = on_change
        self._resources: dict[Key, _Entry] = {}
        self._children: dict[Key, dict[tuple[str, str], _Entry]] = {}
        # Under which resource a child is stored.
        self._keys: dict[_Identity, Key] = {}
        self._deletions = Deletions(clock)
        self._claims = RouteClaims()
        self._servers = servers or ServerClaims(limit=sys.maxsize)

    def resource(self, key: Key) -> KubeObject | None:
        """The latest version of the resource, without managed fields."""
        entry = self._resources.get(key)
        return entry.object if entry else None

    def __iter__(self) -> Iterator[Key]:
        """The keys of all resources there are."""
        return iter(list(self._resources))

    def __len__(self) -> int:
        return len(self._resources)

    def ready_counts(self) -> tuple[int, int]:
        """How many resources are ready by their own status, and how many are not."""
        ready = sum(entry.is_ready for entry in self._resources.values())
        return ready, len(self._resources) - ready

    def stuck_count(self) -> int:
        """How many resources have a change that does not proceed."""
        return sum(entry.is_stuck for entry in self._resources.values())

    def rivals(self, key: Key) -> Mapping[str, Key]:
        """By host name that the resource `key` may not serve, the resource that it leaves it to."""
        return self._claims.rivals(key)

    def uses_excess_server(self, key: Key) -> bool:
        """Whether the resource names one tracking server more than its namespace may use."""
        return self._servers.is_excess(key)

    def ingest_event(self, kind: Kind, event: str | None, obj: KubeObject) -> None:
        """Stores what a watch or a list brings, and reports it if it is news.

        `event` is its type: ADDED, MODIFIED or DELETED; None for an object of a list. No news is
        what we wrote ourselves, and a change of what `transform` leaves out.
        """
        if event == "DELETED":
            self._deletions.add(kind, obj)
            self._delete(kind, obj)
            return
        previous = self._entry(kind, obj)
        if previous is not None and version_of(obj) <= previous.version:
            self._ingest_overtaken(kind, event, obj, previous)
            return
        affected = self._put(kind, obj, is_delivered=True)
        # A list leaves out the versions before it, and of those a response may have hidden one.
        if event is None and previous is not None and not previous.is_delivered:
            affected.add(self._stored_key(kind, obj))
        self._report(affected)

    def _ingest_overtaken(
        self, kind: Kind, event: str | None, obj: KubeObject, previous: _Entry
    ) -> None:
        """An event that a response to our own write has overtaken.

        One of an older version tells of somebody else's change, which that response contained:
        whoever reconciled did not know. One of the same version is our own write, and ends that.
        A list may leave out the older ones.
        """
        if previous.is_delivered:
            return
        is_same_version = version_of(obj) == previous.version
        if is_same_version:
            self._set_delivered(kind, obj, previous)
        if event is None or not is_same_version:
            self._report({self._stored_key(kind, obj)})

    def store(self, kind: Kind, obj: KubeObject, patch: KubeObject | None = None) -> None:
        """Stores the response to a write of our own, unless something newer is known.

        It is reported where it may hold more than we wrote: where it was not stored before, takes
        the place of an object that somebody has deleted, or is already deleted again. So is a
        Deployment of another number of pods: we decided by how many of the former were ready.
        `patch` is what was sent, by a merge patch: where the response differs from the version
        before by more than that, somebody else has written in between. (Children need no such
        comparison: their watch brings each version, and so also the one that was hidden. Of the
        resources kopf may bring only the last of several.)
        """
        previous = self._entry(kind, obj)
        if previous is not None or not self._deletions.is_listed(kind, obj):
            self.store_read(kind, obj)
        is_stored = self._entry(kind, obj) is not previous
        if (
            previous is None
            or previous.uid != uid_of(obj)
            or (is_stored and patch and _is_overwritten(previous, obj, patch))
            or (is_stored and kind is kinds.DEPLOYMENT and _is_scaled(previous, obj))
        ):
            self._report({self._owner_key(kind, obj)})

    def store_read(self, kind: Kind, obj: KubeObject) -> None:
        """Stores what a GET has shown, unless something newer is known. Nothing is reported."""
        previous = self._entry(kind, obj)
        is_outdated = previous is not None and version_of(obj) <= previous.version
        if not is_outdated and not self._deletions.covers(obj):
            self._put(kind, obj, is_delivered=False)

    def discard(self, kind: Kind, key: Key, name: str) -> None:
        """Drops a child of `key` whose end no watch may bring: one that its labels hide."""
        if self._child(key, kind, name) is not None:
            self._remove(kind, key, name)

    def forget_unwatched(self, key: Key) -> None:
        """Drops what no watch will ever report as deleted, for the resource `key` is gone."""
        for kind in kinds.UNWATCHED_CHILDREN:
            for of_kind, name in list(self._children.get(key, {})):
                if of_kind == kind.kind:
                    self._remove(kind, key, name)

    def delete_absent(self, kind: Kind, namespace: str, present: Iterable[str], as_of: str) -> None:
        """Deletes the objects of a kind whose uid is not `present`, and reports them.

        `namespace` "" means all namespaces. What is newer than the resource version `as_of`, that
        of the list which shows what is present, was created after it, and stays.
        """
        uids = set(present)
        self._deletions.add_list(kind, namespace, int(as_of))
        absent = [
            (key, name)
            for key, name, entry in self._of_kind(kind)
            if namespace in ("", key.namespace)
            and entry.uid not in uids
            and entry.version <= int(as_of)
        ]
        for key, name in absent:
            self._remove(kind, key, name)
        self._report({key for key, _ in absent})

    def children(self, key: Key, uid: str) -> LiveChildren:
        """The children of the resource `key`, whose uid is `uid`, and their pods."""
        live = LiveChildren()
        for (kind, name), entry in self._children.get(key, {}).items():
            obj = entry.object
            if kind == kinds.POD.kind or is_child_of(obj, key.name, uid):
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

    def _report(self, keys: Iterable[Key | None]) -> None:
        for key in keys:
            if key is not None:
                self._on_change(key)

    def _put(self, kind: Kind, obj: KubeObject, is_delivered: bool) -> set[Key | None]:
        """Stores `obj` under its owner; returns the resources for which that changes anything."""
        before, previous = self._stored_key(kind, obj), self._entry(kind, obj)
        key, entry = self._owner_key(kind, obj), None
        if before is not None and before != key:
            self._remove(kind, before, name_of(obj))
        if key is not None:
            entry = self._put_under(key, kind, obj, is_delivered)
        if before == key and _text(previous) == _text(entry):
            return set()
        return {before if previous else None, key if entry else None}

    def _put_under(
        self, key: Key, kind: Kind, obj: KubeObject, is_delivered: bool
    ) -> _Entry | None:
        if kind is kinds.RESOURCE:
            self._resources[key] = entry = _resource_entry(obj, is_delivered)
            self._report(self._claims.update(key, obj) | self._servers.update(key, obj))
            return entry
        name = name_of(obj)
        transformed = transform({**obj, "kind": kind.kind})
        if is_healthy_pod(transformed):
            self._remove(kind, key, name)
            return None
        if kind is kinds.ROUTE:
            self._report(self._claims.update_route(key, obj))
        entry = _child_entry(kind, transformed, version_of(obj), is_delivered)
        self._children.setdefault(key, {})[kind.kind, name] = entry
        self._keys[_identity(kind, obj)] = key
        return entry

    def _set_delivered(self, kind: Kind, obj: KubeObject, entry: _Entry) -> None:
        key, delivered = self._stored_key(kind, obj), replace(entry, is_delivered=True)
        if key is None:
            return
        if kind is kinds.RESOURCE:
            self._resources[key] = delivered
        else:
            self._children[key][kind.kind, name_of(obj)] = delivered

    def _delete(self, kind: Kind, obj: KubeObject) -> None:
        """Deletes exactly this object: not one of the same name that was created after it."""
        key, entry = self._stored_key(kind, obj), self._entry(kind, obj)
        if key is None or entry is None or entry.uid != uid_of(obj):
            return
        # An object that only left the selection of our watch may be back in it.
        if entry.version <= version_of(obj):
            self._remove(kind, key, name_of(obj))
        self._report({key})

    def _entry(self, kind: Kind, obj: KubeObject) -> _Entry | None:
        key = self._stored_key(kind, obj)
        if key is None or kind is kinds.RESOURCE:
            return self._resources.get(key) if key else None
        return self._child(key, kind, name_of(obj))

    def _stored_key(self, kind: Kind, obj: KubeObject) -> Key | None:
        """The resource under which an object of that name is stored, if one is."""
        if kind is kinds.RESOURCE:
            return Key(namespace_of(obj), name_of(obj))
        return self._keys.get(_identity(kind, obj))

    def _owner_key(self, kind: Kind, obj: KubeObject) -> Key | None:
        """The resource that `obj` belongs to: by its owner references, else by its label."""
        if kind is kinds.RESOURCE:
            return Key(namespace_of(obj), name_of(obj))
        for owner in obj["metadata"].get("ownerReferences") or ():
            if owner.get("kind") == names.KIND:
                return Key(namespace_of(obj), owner["name"])
            if owner.get("kind") == "ReplicaSet" and (key := self._deployments_key(obj, owner)):
                return key
        name = selected_resource(obj) or labels_of(obj).get(names.DEPLOYMENT)
        return Key(namespace_of(obj), name) if name else None

    def _deployments_key(self, pod: KubeObject, replica_set: Mapping[str, str]) -> Key | None:
        """The resource of the Deployment whose ReplicaSet made the pod: NAME-HASH is its name."""
        deployment = replica_set["name"].rpartition("-")[0]
        return self._keys.get((kinds.DEPLOYMENT.kind, namespace_of(pod), deployment))

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

    def _remove(self, kind: Kind, key: Key, name: str) -> None:
        if kind is kinds.RESOURCE:
            self._resources.pop(key, None)
            self._report(self._claims.update(key, None) | self._servers.update(key, None))
            return
        if kind is kinds.ROUTE:
            self._report(self._claims.update_route(key, None))
        self._keys.pop((kind.kind, key.namespace, name), None)
        siblings = self._children.get(key, {})
        siblings.pop((kind.kind, name), None)
        if not siblings:
            self._children.pop(key, None)


def _identity(kind: Kind, obj: KubeObject) -> _Identity:
    return kind.kind, namespace_of(obj), name_of(obj)


def _resource_entry(obj: KubeObject, is_delivered: bool) -> _Entry:
    metadata = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    return _Entry(
        text=_json({**obj, "metadata": metadata}),
        uid=metadata["uid"],
        version=version_of(obj),
        fingerprint=0,
        is_ready=is_true(find_condition(obj, "Ready")),
        is_stuck=_is_stuck(find_condition(obj, "Progressing")),
        is_delivered=is_delivered,
    )


def _is_stuck(progressing: KubeObject | None) -> bool:
    if progressing is None or is_true(progressing):
        return False
    return progressing.get("reason") not in (Reason.COMPLETE, Reason.STOPPED, *POSTPONED_REASONS)


def _child_entry(kind: Kind, child: KubeObject, version: int, is_delivered: bool) -> _Entry:
    return _Entry(
        text=_json(child),
        uid=uid_of(child),
        version=version,
        fingerprint=_fingerprint(kind, child),
        is_delivered=is_delivered,
    )


def _json(obj: KubeObject) -> bytes:
    # A copy: orjson's own is the cut-off end of a larger piece, and thousands of them leave holes.
    return bytes(memoryview(orjson.dumps(obj)))


def _text(entry: _Entry | None) -> bytes | None:
    return entry.text if entry else None


def _is_overwritten(previous: _Entry, written: KubeObject, patch: KubeObject) -> bool:
    """Whether `written` differs from the version before by more than our own patch."""
    return bool(_overlaid(previous.object, patch) != _overlaid(written, patch))


def _is_scaled(previous: _Entry, written: KubeObject) -> bool:
    return bool(previous.object["spec"].get("replicas") != written["spec"].get("replicas"))


def _overlaid(obj: KubeObject, patch: KubeObject) -> Any:
    """What `obj` says apart from the fields of `patch` and the API server's own bookkeeping."""
    bookkeeping = ("resourceVersion", "managedFields")
    metadata = {k: v for k, v in obj["metadata"].items() if k not in bookkeeping}
    return _merged({**obj, "metadata": metadata, "status": status_of(obj)}, patch)


def _merged(value: Any, patch: Any) -> Any:
    """`value` after a JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for name, change in patch.items():
        if change is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), change)
    return merged


def _fingerprint(kind: Kind, obj: KubeObject) -> int:
    if kind is kinds.POD:
        return 0
    metadata = obj["metadata"]
    stated: dict[str, Any] = {
        # Where changes of the spec are counted, the count says it all.
        "spec": metadata.get("generation") or obj.get("spec"),
        "data": obj.get("data"),
        "uid": metadata.get("uid"),
        "labels": metadata.get("labels"),
        "annotations": metadata.get("annotations"),
        "owners": metadata.get("ownerReferences"),
        "deleted": metadata.get("deletionTimestamp"),
    }
    return hash(orjson.dumps(stated, option=orjson.OPT_SORT_KEYS))
