"""Carries out the changes of a plan: applies, scales and deletes the children of a resource."""

from __future__ import annotations

import logging

from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.cache import Cache
from mlflow_model_operator.kube.client import ApiError, Cluster
from mlflow_model_operator.kube.kinds import Kind
from mlflow_model_operator.kube.objects import (
    KubeObject,
    is_hidden,
    name_of,
)
from mlflow_model_operator.plan import Change, Changes
from mlflow_model_operator.status import ApplyError, ApplyFailure, NameConflict

log = logging.getLogger(__name__)

ForeignObjects = frozenset[
    tuple[str, str]
]  # kinds and names of objects that belong to somebody else

INVALID = 422
_KINDS_WITH_KEYED_LISTS = (kinds.SERVICE, kinds.DEPLOYMENT)


class Applier:
    """Writes children; what the API server answers is in the cache before anybody looks again."""

    def __init__(self, cluster: Cluster, cache: Cache) -> None:
        self._cluster = cluster
        self._cache = cache

    async def apply(
        self, key: Key, changes: Changes, foreign: ForeignObjects
    ) -> list[ApplyFailure]:
        """Carries out the changes of the resource `key`; returns those that failed for good.

        An apply would take over somebody else's object of that name: `foreign` ones are left alone.
        Raises ApiError where the API server can't be reached or asks for patience.
        """
        guards, unguarded = guards_first(changes.apply)
        failures = [await self._apply(key, change, foreign) for change in guards]
        if any(failures):
            return [failure for failure in failures if failure]
        services, others = services_first(unguarded)
        failures = [await self._apply(key, change, foreign) for change in services]
        has_created = any(change.is_missing for change in services) and not any(failures)
        if any(failures):
            others = [change for change in others if not _leads_to_services(change)]
        for change in () if has_created else others:
            failures.append(await self._apply(key, change, foreign))
        for change in changes.adopt:
            failures.append(await self._adopt(key, change))
        failures.append(await self._scale(key, changes))
        for obj in changes.prune:
            failures.append(await self._delete(key, obj))
        return [failure for failure in failures if failure]

    async def _apply(
        self, key: Key, change: Change, foreign: ForeignObjects
    ) -> ApplyFailure | None:
        obj = change.desired
        kind, name = kinds.BY_NAME[obj["kind"]], name_of(obj)
        if (kind.kind, name) in foreign:
            return NameConflict(kind.kind, name)
        try:
            if not change.is_missing:
                log.info("%s: applying %s %s: %s differs", key, kind.kind, name, change.difference)
            self._cache.store(kind, await self._cluster.apply(kind, obj))
        except ApiError as error:
            if _may_be_keyed(kind, change, error) and await self._replace_lists(key, kind, obj):
                return None
            return _failure(error, kind, name)
        return None

    async def _replace_lists(self, key: Key, kind: Kind, obj: KubeObject) -> bool:
        """States the spec with its lists as they are to be, without entries that others added.

        An apply leaves entries with another key alone. Where somebody has edited the key of one of
        ours, like the number of a Service's port, ours is added again beside it, and the two may
        contradict each other.
        """
        try:
            merged = await self._cluster.merge(kind, obj, {"spec": obj["spec"]})
        except ApiError as error:
            if error.is_transient:
                raise
            return False
        log.info("%s: replaced the lists of %s %s", key, kind.kind, name_of(obj))
        self._cache.store(kind, merged)
        return True

    async def _adopt(self, key: Key, change: Change) -> ApplyError | None:
        """Labels and owner, again, of an object whose spec is of another time."""
        obj = change.desired
        kind, name = kinds.BY_NAME[obj["kind"]], name_of(obj)
        log.info("%s: adopting %s %s: %s differs", key, kind.kind, name, change.difference)
        metadata = {part: obj["metadata"][part] for part in ("labels", "ownerReferences")}
        try:
            merged = await self._cluster.merge(kind, obj, {"metadata": metadata})
            self._cache.store(kind, merged)
        except ApiError as error:
            return _failure(error, kind, name)
        return None

    async def _delete(self, key: Key, obj: KubeObject) -> ApplyError | None:
        kind = kinds.BY_NAME[obj["kind"]]
        try:
            await self._cluster.delete(kind, obj)
            if is_hidden(obj) or kind in kinds.UNWATCHED_CHILDREN:
                self._cache.discard(kind, key, name_of(obj))
        except ApiError as error:
            return _failure(error, kind, name_of(obj))
        return None

    async def _scale(self, key: Key, changes: Changes) -> ApplyError | None:
        """An apply of the replicas alone would take the rest of the Deployment away."""
        if changes.scale is None:
            return None
        deployment, replicas = changes.scale
        name = name_of(deployment)
        log.info("%s: scaling Deployment %s to %d replicas", key, name, replicas)
        try:
            scaled = await self._cluster.scale(kinds.DEPLOYMENT, deployment, replicas)
            self._cache.store(kinds.DEPLOYMENT, scaled)
        except ApiError as error:
            return _failure(error, kinds.DEPLOYMENT, name)
        return None


def guards_first(changes: list[Change]) -> tuple[list[Change], list[Change]]:
    """The NetworkPolicies, and all the rest: no pod may start before its policy guards it."""
    guards = [change for change in changes if change.desired["kind"] == kinds.NETWORK_POLICY.kind]
    return guards, [change for change in changes if change not in guards]


def services_first(changes: list[Change]) -> tuple[list[Change], list[Change]]:
    """Services to apply before anything else, and all the rest.

    Of a resource whose Services are missing, only those for now, so that of many new resources all
    get their Services before anybody gets a Deployment: the API server gives out addresses one at a
    time, and takes ten times as long for each while the controllers are busy with new pods. A
    Service that exists comes before new pods that it may have to leave out.
    """
    services = [change for change in changes if change.desired["kind"] == kinds.SERVICE.kind]
    missing = [change for change in services if change.is_missing]
    first = missing or services
    return first, [change for change in changes if change not in first]


def _leads_to_services(change: Change) -> bool:
    """Whether it has pods send copies to a Service, which must be this resource's by then."""
    return bool(change.desired["kind"] == kinds.CONFIG_MAP.kind)


def _may_be_keyed(kind: Kind, change: Change, error: ApiError) -> bool:
    """Whether a live object may be refused for what an edited key of a list has left in it."""
    return error.status == INVALID and not change.is_missing and kind in _KINDS_WITH_KEYED_LISTS


def _failure(error: ApiError, kind: Kind, name: str) -> ApplyError:
    """What the API server refused; raises what will pass by itself."""
    if error.is_transient:
        raise error
    return ApplyError(kind.kind, name, error.status, error.reason, error.message)
