"""Carries out the changes of a plan: applies, scales and deletes the children of a resource."""

from __future__ import annotations

import logging

from mlflow_model_operator.api import names
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.cache import Cache
from mlflow_model_operator.kube.client import ApiError, Cluster
from mlflow_model_operator.kube.kinds import Kind
from mlflow_model_operator.kube.objects import (
    KubeObject,
    is_owned_by,
    labels_of,
    name_of,
    namespace_of,
    owner_uids,
)
from mlflow_model_operator.plan import Change, Changes
from mlflow_model_operator.status import ApplyError, ApplyFailure, NameConflict

log = logging.getLogger(__name__)


class Applier:
    """Writes children; what the API server answers is in the cache before anybody looks again."""

    def __init__(self, cluster: Cluster, cache: Cache) -> None:
        self._cluster = cluster
        self._cache = cache

    async def apply(self, key: Key, changes: Changes) -> list[ApplyFailure]:
        """Carries out the changes of the resource `key`; returns those that failed for good.

        Raises ApiError where the API server can't be reached or asks for patience.
        """
        failures = [await self._apply(key, change) for change in services_first(changes.apply)]
        failures.append(await self._scale(key, changes))
        for obj in changes.prune:
            await self._cluster.delete(kinds.BY_NAME[obj["kind"]], obj)
        return [failure for failure in failures if failure]

    async def _apply(self, key: Key, change: Change) -> ApplyFailure | None:
        obj = change.desired
        kind, name = kinds.BY_NAME[obj["kind"]], name_of(obj)
        try:
            if change.is_missing and await self._is_name_taken(kind, obj):
                return NameConflict(kind.kind, name)
            if not change.is_missing:
                log.info("%s: applying %s %s: %s differs", key, kind.kind, name, change.difference)
            self._cache.store(kind, await self._cluster.apply(kind, obj))
        except ApiError as error:
            return _failure(error, kind, name)
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

    async def _is_name_taken(self, kind: Kind, obj: KubeObject) -> bool:
        """An apply would take over somebody else's object of that name: look first.

        Names with a revision's hash can't be taken by chance; the public names can.
        """
        if name_of(obj) != labels_of(obj)[names.DEPLOYMENT]:
            return False
        live = await self._cluster.get(kind, namespace_of(obj), name_of(obj))
        (owner,) = owner_uids(obj)
        return live is not None and not is_owned_by(live, owner)


def services_first(changes: list[Change]) -> list[Change]:
    """Of a resource whose Services are missing, only those for now.

    So of many new resources all get their Services before anybody gets a Deployment: the API server
    gives out addresses one at a time, and takes ten times as long for each while the controllers
    are busy with new pods.
    """
    kind = kinds.SERVICE.kind
    services = [
        change for change in changes if change.is_missing and change.desired["kind"] == kind
    ]
    return services or changes


def _failure(error: ApiError, kind: Kind, name: str) -> ApplyError:
    """What the API server refused; raises what will pass by itself."""
    if error.is_transient:
        raise error
    return ApplyError(kind.kind, name, error.status, error.reason, error.message)
