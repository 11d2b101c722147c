"""Writes what was found out about a resource: its status, and Events about what has changed."""

from __future__ import annotations

from mlflow_model_operator import status
from mlflow_model_operator.api.resource import InvalidResource, Key
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.cache import Cache
from mlflow_model_operator.kube.client import Cluster
from mlflow_model_operator.kube.objects import KubeObject, name_of, namespace_of, status_of
from mlflow_model_operator.status import Snapshot


class Reporter:
    """Writes statuses and Events; where nothing has changed it sends nothing."""

    def __init__(self, cluster: Cluster, cache: Cache) -> None:
        self._cluster = cluster
        self._cache = cache

    async def report(self, raw: KubeObject, snapshot: Snapshot) -> KubeObject:
        """Brings the status of the resource `raw` to what `snapshot` shows, and returns it."""
        new = status.status(snapshot)
        await self._write(raw, new)
        for event in status.events(status_of(raw), new, snapshot):
            await self._cluster.record_event(raw, event)
        return new

    async def report_invalid(self, raw: KubeObject, error: InvalidResource, now: float) -> None:
        """Says in the status of `raw` that the operator can't use the spec, and why."""
        await self._write(raw, status.invalid_status(raw, str(error), now))

    async def _write(self, raw: KubeObject, new: KubeObject) -> None:
        patch = status.status_patch(status_of(raw), new)
        if patch is None:
            return
        key = Key(namespace_of(raw), name_of(raw))
        written = await self._cluster.patch_status(key, patch)
        if written is not None:
            self._cache.store(kinds.RESOURCE, written, patch={"status": patch})
