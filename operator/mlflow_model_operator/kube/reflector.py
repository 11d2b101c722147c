"""Keeps the cache up with our objects of one kind: a list, then a watch from there on.

The same as client-go's reflector: what a list no longer has was deleted while nobody looked, a
watch that ends is begun again where it ended, and one that the API server has forgotten ("410
Gone") starts over with a list.

kopf watches the resources themselves. For the children, a dozen times as many, it would start a
task per object and prepare a handler's arguments per event, which took half of the operator's CPU
and memory (docs/decisions/0011-children-without-kopf.md).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import NoReturn

from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube.cache import Cache
from mlflow_model_operator.kube.client import ApiError, Change, Cluster
from mlflow_model_operator.kube.kinds import Kind

log = logging.getLogger(__name__)

FIRST_BACKOFF = 1.0  # seconds
MOST_BACKOFF = 30.0
GONE = 410


class Follower:
    """Follows one kind in one namespace ("" means all)."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        enqueue: Callable[[Key], None],
        kind: Kind,
        namespace: str,
    ) -> None:
        """`enqueue` is told each resource that a change concerns."""
        self._cluster = cluster
        self._cache = cache
        self._enqueue = enqueue
        self._kind = kind
        self._namespace = namespace
        self._version: str | None = None  # what the next watch starts from; None: list first
        self._failures = 0
        # Set when the first list is in the cache.
        self.listed = asyncio.Event()

    async def run(self) -> NoReturn:
        """Follows until it is cancelled, through whatever outages there are."""
        while True:
            try:
                if self._version is None:
                    await self._list()
                await self._watch(self._version or "")
            except ApiError as error:
                await self._bear(error)

    async def _list(self) -> None:
        items, version = await self._cluster.list_ours(self._kind, self._namespace)
        for item in items:
            self._tell(self._cache.take(self._kind, None, item))
        present = (item["metadata"]["uid"] for item in items)
        for key in self._cache.drop_others(self._kind, self._namespace, present, as_of=version):
            self._tell(key)
        self._version = version
        self._failures = 0
        self.listed.set()

    async def _watch(self, version: str) -> None:
        async for change in self._cluster.watch_ours(self._kind, self._namespace, version):
            self._version = change.object["metadata"]["resourceVersion"]
            self._failures = 0
            self._take(change)

    def _take(self, change: Change) -> None:
        if change.type != "BOOKMARK":
            self._tell(self._cache.take(self._kind, change.type, change.object))

    def _tell(self, key: Key | None) -> None:
        if key is not None:
            self._enqueue(key)

    async def _bear(self, error: ApiError) -> None:
        """Waits before the next try, longer from failure to failure, and not all kinds at once."""
        if error.status == GONE:
            self._version = None
        if self._failures:  # one alone is nothing unusual: the API server may just be restarting
            log.warning("watching %s: %s", self._kind.plural, error)
        delay = min(FIRST_BACKOFF * 2**self._failures, MOST_BACKOFF)
        self._failures = min(self._failures + 1, 10)
        await asyncio.sleep(delay * random.uniform(0.5, 1.0))
