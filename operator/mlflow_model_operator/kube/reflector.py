"""Keeps the cache up to date with our objects of one kind: a list, then a watch from there on.

The same as client-go's reflector: what a list no longer has was deleted while nobody watched, a
watch that ends is resumed where it ended, and one that the API server has forgotten ("410 Gone")
starts over with a list. So it does now and then without need, in case a watch has missed something.

kopf watches the resources themselves. For the children, a dozen times as many, it would start a
task per object and prepare a handler's arguments per event, which took half of the operator's CPU
and memory (docs/decisions/0011-children-without-kopf.md).
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import NoReturn

from mlflow_model_operator.kube.cache import Cache
from mlflow_model_operator.kube.client import ApiError, Cluster, WatchEvent
from mlflow_model_operator.kube.kinds import Kind
from mlflow_model_operator.kube.objects import resource_version_of, uid_of

log = logging.getLogger(__name__)

INITIAL_BACKOFF = 1.0  # seconds
MAX_BACKOFF = 30.0
GONE = 410


class Reflector:
    """Reflects one kind in one namespace ("" means all)."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        kind: Kind,
        namespace: str,
        relist_interval: float,
    ) -> None:
        """`relist_interval` is in seconds."""
        self._cluster = cluster
        self._cache = cache
        self._kind = kind
        self._namespace = namespace
        self._relist_interval = relist_interval
        self._version: str | None = None  # what the next watch starts from; None: list first
        self._relist_at = 0.0
        self._failures = 0
        # Set when the first list is in the cache.
        self.synced = asyncio.Event()

    async def run(self) -> NoReturn:
        """Lists and watches until it is cancelled, through whatever outages there are."""
        while True:
            try:
                if self._version is None:
                    await self._list()
                await self._watch(self._version or "")
            except ApiError as error:
                await self._back_off(error)

    async def _list(self) -> None:
        items, version = await self._cluster.list_managed(self._kind, self._namespace)
        for item in items:
            self._cache.ingest_event(self._kind, None, item)
        self._cache.delete_absent(self._kind, self._namespace, map(uid_of, items), as_of=version)
        self._version = version
        self._failures = 0
        # Not all kinds at once.
        self._relist_at = _now() + self._relist_interval * random.uniform(0.75, 1.25)
        self.synced.set()

    async def _watch(self, version: str) -> None:
        """Until the API server ends the watch, or the next list is due."""
        try:
            async with asyncio.timeout_at(self._relist_at) as limit:
                async for event in self._cluster.watch_managed(
                    self._kind, self._namespace, version
                ):
                    self._ingest(event)
        except TimeoutError:
            if not limit.expired():
                raise
            self._version = None

    def _ingest(self, event: WatchEvent) -> None:
        self._version = resource_version_of(event.object)
        self._failures = 0
        if event.type != "BOOKMARK":
            self._cache.ingest_event(self._kind, event.type, event.object)

    async def _back_off(self, error: ApiError) -> None:
        """Waits before the next try, longer from failure to failure, and not all kinds at once."""
        if error.status == GONE:
            self._version = None
        if self._failures:  # a single one is usual: the API server may just be restarting
            log.warning("failed to watch %s: %s", self._kind.plural, error)
        delay = min(INITIAL_BACKOFF * 2**self._failures, MAX_BACKOFF)
        self._failures = min(self._failures + 1, 10)
        await asyncio.sleep(delay * random.uniform(0.5, 1.0))


def _now() -> float:
    return asyncio.get_running_loop().time()
