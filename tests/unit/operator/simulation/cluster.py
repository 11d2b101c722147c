"""A cluster in memory: API server, gateway and the readiness of pods, as reconciling sees them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from mlflow_model_operator.api import names
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube import httproute, kinds
from mlflow_model_operator.kube.cache import Cache
from mlflow_model_operator.kube.client import ApiError
from mlflow_model_operator.kube.kinds import Kind
from mlflow_model_operator.kube.objects import (
    Event,
    labels_of,
    name_of,
    namespace_of,
    pod_labels_of,
    selector_of,
    uid_of,
)

Json = dict[str, Any]
KEY = Key("models", "wine")
GATEWAY = Key("gateways", "shared")
# Of lists that an apply merges by a key: that key.
_KEYS = {"ports": ("port", "protocol"), "ownerReferences": ("uid",)}


class FakeCluster:
    """The methods of kube.client.Cluster that reconciling uses, and what others do."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Json] = {}
        self.applied: dict[tuple[str, str, str], Json] = {}
        self.cache: Cache | None = None
        self.events: list[tuple[Kind, str, Json]] = []  # on their way to the cache
        self.recorded: list[Event] = []
        self.frozen: set[str] = set()  # kinds whose changes a policy refuses
        self.before_delete: Callable[[Json], None] = lambda _: None
        self.requests: list[str] = []
        self._version = 100

    # What the operator does.

    async def get(self, kind: Kind, namespace: str, name: str) -> Json | None:
        self.requests.append(f"get {kind.kind} {name}")
        return copy.deepcopy(self.objects.get((kind.kind, namespace, name)))

    async def apply(self, kind: Kind, obj: Json) -> Json:
        self.requests.append(f"apply {kind.kind} {name_of(obj)}")
        identity = (kind.kind, namespace_of(obj), name_of(obj))
        live = self.objects.get(identity)
        if live is not None:
            self._check_policy(kind)
        merged = _merged(live or {}, obj, self.applied.get(identity, {}))
        self.applied[identity] = copy.deepcopy(obj)
        return self._commit(kind, identity, merged)

    async def merge(self, kind: Kind, obj: Json, patch: Json) -> Json:
        self.requests.append(f"merge {kind.kind} {name_of(obj)}")
        self._check_policy(kind)
        return self.edit(kind, name_of(obj), patch, namespace_of(obj))

    async def scale(self, kind: Kind, obj: Json, replicas: int) -> Json:
        return await self.merge(kind, obj, {"spec": {"replicas": replicas}})

    async def delete(self, kind: Kind, obj: Json) -> None:
        self.requests.append(f"delete {kind.kind} {name_of(obj)}")
        identity = (kind.kind, namespace_of(obj), name_of(obj))
        live = self.objects.get(identity)
        if live is not None and uid_of(live) == uid_of(obj):
            self.before_delete(live)
            self.remove(kind, name_of(obj))

    async def patch_status(self, key: Key, patch: Json) -> Json | None:
        self.requests.append("status")
        return self.edit(kinds.RESOURCE, key.name, {"status": patch})

    async def record_event(self, resource: Json, event: Event) -> None:
        self.recorded.append(event)

    # What others do.

    def live(self, kind: Kind) -> dict[str, Json]:
        """All objects of a kind, by name."""
        return {name: obj for (of, _, name), obj in self.objects.items() if of == kind.kind}

    def create(self, kind: Kind, obj: Json) -> Json:
        return self._commit(kind, (kind.kind, namespace_of(obj), name_of(obj)), obj)

    def edit(self, kind: Kind, name: str, patch: Json, namespace: str = KEY.namespace) -> Json:
        """A merge patch, by anybody."""
        identity = (kind.kind, namespace, name)
        return self._commit(kind, identity, _patched(self.objects[identity], patch))

    def remove(self, kind: Kind, name: str, namespace: str = KEY.namespace) -> None:
        obj = self.objects.pop((kind.kind, namespace, name))
        self.applied.pop((kind.kind, namespace, name), None)
        self._version += 1
        obj["metadata"]["resourceVersion"] = str(self._version)
        if _is_watched(kind, obj):
            self.events.append((kind, "DELETED", obj))

    def deliver(self) -> None:
        """The watches bring what has happened."""
        assert self.cache is not None
        events, self.events = self.events, []
        for kind, event, obj in events:
            self.cache.ingest_event(kind, event, obj)

    def _check_policy(self, kind: Kind) -> None:
        if kind.kind in self.frozen:
            raise ApiError(403, "Forbidden", f"{kind.plural} may not be changed in the freeze")

    def _commit(self, kind: Kind, identity: tuple[str, str, str], obj: Json) -> Json:
        before = self.objects.get(identity)
        obj = copy.deepcopy(obj)
        metadata = obj.setdefault("metadata", {})
        if before is None:
            self._version += 1
            metadata |= {"uid": f"uid-{self._version}", "generation": 1}
            metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        elif obj == before:
            return copy.deepcopy(obj)
        elif obj.get("spec") != before.get("spec"):
            metadata["generation"] = before["metadata"]["generation"] + 1
        self._version += 1
        metadata["resourceVersion"] = str(self._version)
        obj["kind"] = kind.kind
        self.objects[identity] = obj
        self._emit(kind, before, obj)
        return copy.deepcopy(obj)

    def _emit(self, kind: Kind, before: Json | None, obj: Json) -> None:
        was_watched = before is not None and _is_watched(kind, before)
        if _is_watched(kind, obj):
            event = "MODIFIED" if was_watched else "ADDED"
            self.events.append((kind, event, copy.deepcopy(obj)))
        elif was_watched and before is not None:
            last = copy.deepcopy(before)
            last["metadata"]["resourceVersion"] = obj["metadata"]["resourceVersion"]
            self.events.append((kind, "DELETED", last))


class DataPlane:
    """Where requests go: kube-proxy follows the Service at once, the gateway when it looks."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster
        self._active: frozenset[str] = frozenset()
        self.is_simple = False  # a gateway that refuses all rules but those by weight
        self._active_uid = ""  # of the route that it follows
        # The revisions that the rules for a header listed when the route was accepted last.
        self.listed: dict[str, set[str]] = {}

    def gateway_looks(self, verdict: str) -> None:
        """The gateway's controller reads the route as it stands, and says what it thinks of it."""
        route = self._cluster.live(kinds.ROUTE).get(KEY.name)
        if route is None or GATEWAY.name not in self._cluster.live(kinds.GATEWAY):
            self._active = frozenset()
            return
        if self.is_simple and httproute.header_rules(route):
            verdict = "False"
        self._active = httproute.backends(route) if verdict == "True" else frozenset()
        self._active_uid = uid_of(route)
        if verdict == "True":
            self.listed = {
                header.value: set(rule.weights)
                for rule in httproute.header_rules(route)
                for header in rule.headers
            }
        conditions = [
            {
                "type": type_,
                "status": verdict,
                "reason": "Test",
                "message": "",
                "observedGeneration": route["metadata"]["generation"],
            }
            for type_ in ("Accepted", "ResolvedRefs")
        ]
        parent = {"parentRef": {"name": GATEWAY.name, "namespace": GATEWAY.namespace}}
        status = {"parents": [{**parent, "conditions": conditions}]}
        self._cluster.edit(kinds.ROUTE, KEY.name, {"status": status})

    def by_service(self) -> set[str]:
        """The revisions whose pods the public Service selects."""
        service = self._cluster.live(kinds.SERVICE).get(KEY.name)
        selector = selector_of(service)
        return {
            name
            for name, deployment in self._cluster.live(kinds.DEPLOYMENT).items()
            if selector and selector.items() <= pod_labels_of(deployment).items()
        }

    def by_route(self) -> set[str]:
        """The revisions that the gateway sends requests to; none once the route is deleted."""
        route = self._cluster.live(kinds.ROUTE).get(KEY.name)
        is_same = route is not None and uid_of(route) == self._active_uid
        return set(self._active) if is_same else set()

    def reached(self) -> set[str]:
        return self.by_service() | self.by_route()

    def ready(self, revision: str) -> int:
        """Its ready pods."""
        deployment = self._cluster.live(kinds.DEPLOYMENT).get(revision)
        status: Json = (deployment or {}).get("status") or {}
        return int(status.get("readyReplicas") or 0)

    def is_answering(self) -> bool:
        """Whether no request fails for want of pods."""
        by_service = any(self.ready(name) for name in self.by_service())
        return by_service and all(self.ready(name) for name in self.by_route())


def _is_watched(kind: Kind, obj: Json) -> bool:
    if kind in (kinds.RESOURCE, kinds.GATEWAY, *kinds.UNWATCHED_CHILDREN):
        return kind is kinds.RESOURCE
    return labels_of(obj).get(names.MANAGED_BY) == names.MANAGED_BY_VALUE


def _patched(obj: Json, patch: Json) -> Json:
    """RFC 7396."""
    result = dict(obj)
    for field, value in patch.items():
        if value is None:
            result.pop(field, None)
        elif isinstance(value, dict):
            result[field] = _patched(result.get(field) or {}, value)
        else:
            result[field] = value
    return result


def _merged(live: Json, desired: Json, before: Json) -> Json:
    """Server-side apply: states `desired`, and drops what was stated `before` and no longer is."""
    result = {k: v for k, v in live.items() if k in desired or k not in before}
    for field, value in desired.items():
        old = result.get(field)
        if isinstance(value, dict):
            result[field] = _merged(old or {}, value, before.get(field) or {})
        elif field in _KEYS and isinstance(value, list):
            result[field] = list(_merged_list(old or [], value, _KEYS[field]))
        else:
            result[field] = value
    return result


def _merged_list(live: list[Json], desired: list[Json], keys: tuple[str, ...]) -> Iterator[Json]:
    def key(entry: Json) -> tuple[Any, ...]:
        return tuple(entry.get(part) for part in keys)

    stated = {key(entry): entry for entry in desired}
    for entry in live:
        yield {**entry, **stated.pop(key(entry), {})}
    yield from stated.values()
