"""The running operator: its queue, its workers, and what feeds them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.kube import kinds, kopf_watch
from mlflow_model_operator.kube.cache import Cache
from mlflow_model_operator.kube.client import ApiError, Cluster
from mlflow_model_operator.kube.reflector import Follower
from mlflow_model_operator.kube.resync import drop_vanished
from mlflow_model_operator.metrics import Metrics
from mlflow_model_operator.reconcile import Reconciler
from mlflow_model_operator.registry import Registry
from mlflow_model_operator.settings import Settings
from mlflow_model_operator.workqueue import KeyedQueue

log = logging.getLogger("mlflow_model_operator")

# How long a worker may be busy or idle without a sign of life before liveness fails.
STALLED_AFTER = 300.0  # seconds
CRD_POLL = 2.0
TICK = 10.0


class Operator:
    """The running operator: one queue, several workers, and what feeds them."""

    def __init__(self, settings: Settings, cluster: Cluster, metrics: Metrics) -> None:
        self.settings = settings
        self.cluster = cluster
        self.metrics = metrics
        self.cache = Cache()
        self.queue: KeyedQueue[Key] = KeyedQueue(on_wait=metrics.queue_waited)
        self.registry = Registry(settings, on_change=self._enqueue, observer=metrics)
        self.reconciler = Reconciler(settings, cluster, self.cache, self.registry)
        self.watching = asyncio.Event()  # set by kopf
        self.synced = asyncio.Event()  # set when all that there is is in the cache
        self.stopping = asyncio.Event()
        self.leading = False
        self.last_sign_of_life = time.monotonic()

    async def run(self) -> None:
        """Works until `stopping` is set or a part of it fails."""
        self.leading = True
        self.last_sign_of_life = time.monotonic()
        self.metrics.leading(True)
        await self._wait_for_crd()
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(self.registry.run()),
                group.create_task(self._resync()),
                group.create_task(self._tick()),
                group.create_task(self._follow()),
                *(group.create_task(self._work()) for _ in range(self.settings.workers)),
            ]
            await kopf_watch.watch(
                self.cache,
                self._enqueue,
                self.cluster.login,
                namespaces=self.settings.namespaces,
                ready=self.watching,
                stop=self.stopping,
            )
            for task in background:
                task.cancel()

    @property
    def is_ready(self) -> bool:
        """Whether it watches, or stands by."""
        return not self.leading or self.synced.is_set()

    @property
    def is_alive(self) -> bool:
        """Whether work was completed, or there was none, in the last minutes."""
        return not self.leading or time.monotonic() - self.last_sign_of_life < STALLED_AFTER

    def _enqueue(self, key: Key) -> None:
        self.queue.add(key)
        self.metrics.queue_depth(len(self.queue))

    async def _wait_for_crd(self) -> None:
        told = False
        while not await self.cluster.serves(kinds.RESOURCE):
            if not told:
                log.warning("waiting for the CRD %s to be installed", kinds.RESOURCE.plural)
                told = True
            self.last_sign_of_life = time.monotonic()
            await asyncio.sleep(CRD_POLL)

    async def _follow(self) -> None:
        """Follows the children and their pods; routes as soon as the API has them."""
        gateway_api = await self.cluster.serves(kinds.ROUTE)
        followed = [kind for kind in kinds.CHILDREN if gateway_api or kind is not kinds.ROUTE]
        async with asyncio.TaskGroup() as group:
            await self._follow_kinds(group, [*followed, kinds.POD])
            await self.watching.wait()
            self.synced.set()
            if not gateway_api:
                log.info("the Gateway API is not installed: traffic is split by numbers of pods")
                await self._wait_for_gateway_api()
                await self._follow_kinds(group, [kinds.ROUTE])
                self._enqueue_all()

    async def _follow_kinds(self, group: asyncio.TaskGroup, followed: list[kinds.Kind]) -> None:
        """Begins to follow, and returns when all that there is was listed."""
        followers = [
            Follower(self.cluster, self.cache, self._enqueue, kind, namespace)
            for kind in followed
            for namespace in self.settings.namespaces or ("",)
        ]
        for follower in followers:
            group.create_task(follower.run())
        for follower in followers:
            await follower.listed.wait()

    async def _wait_for_gateway_api(self) -> None:
        while True:
            await asyncio.sleep(self.settings.poll_interval)
            with contextlib.suppress(ApiError):
                if await self.cluster.serves(kinds.ROUTE):
                    log.info("the Gateway API was installed: watching its routes")
                    return

    async def _work(self) -> None:
        await self.synced.wait()
        while True:
            key = await self.queue.get()
            try:
                await self._work_on(key)
            finally:
                self.last_sign_of_life = time.monotonic()
                self.queue.done(key)
                self.metrics.queue_depth(len(self.queue))

    async def _work_on(self, key: Key) -> None:
        started = time.perf_counter()
        result = "error"
        try:
            recheck = await self.reconciler.reconcile(key)
            result = "success"
            self.queue.succeeded(key)
            if recheck is not None:
                self.queue.add_after(key, recheck)
        except ApiError as error:
            result = "retry" if error.is_transient else "error"
            delay = self.queue.add_failed(key)
            level = logging.INFO if error.is_transient else logging.ERROR
            log.log(level, "%s: %s; again in %.0f s", key, error, delay)
        except Exception:
            delay = self.queue.add_failed(key)
            log.exception("%s: reconciling failed; again in %.0f s", key, delay)
        finally:
            self.metrics.reconciled(result, time.perf_counter() - started)

    async def _resync(self) -> None:
        """Looks at everything again now and then, in case that a watch has missed something."""
        while True:
            await asyncio.sleep(self.settings.resync_interval)
            try:
                namespaces = self.settings.namespaces
                for key in await drop_vanished(self.cluster, self.cache, namespaces):
                    self._enqueue(key)
            except ApiError as error:
                log.warning("resync: %s", error)
            self._enqueue_all()

    def _enqueue_all(self) -> None:
        for key in self.cache:
            self._enqueue(key)

    async def _tick(self) -> None:
        """An empty queue is a sign of life too."""
        while True:
            if not len(self.queue):
                self.last_sign_of_life = time.monotonic()
            self.metrics.resources(*self.cache.ready_counts())
            await asyncio.sleep(TICK)
