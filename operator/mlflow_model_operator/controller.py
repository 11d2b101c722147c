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
from mlflow_model_operator.kube.gateway_poller import GatewayPoller
from mlflow_model_operator.kube.reflector import Reflector
from mlflow_model_operator.kube.resync import delete_vanished
from mlflow_model_operator.kube.server_claims import ServerClaims
from mlflow_model_operator.measurement import MeasurementPoller, Reader, ShadowPoller
from mlflow_model_operator.metrics import Metrics
from mlflow_model_operator.reconcile import Reconciler
from mlflow_model_operator.registry import OwnServerClient, Registry, RegistryWriter
from mlflow_model_operator.settings import Settings
from mlflow_model_operator.workqueue import KeyedQueue

log = logging.getLogger("mlflow_model_operator")

# How long after the last heartbeat liveness fails.
LIVENESS_TIMEOUT = 300.0  # seconds
CRD_POLL_INTERVAL = 2.0
HEARTBEAT_INTERVAL = 10.0


class Operator:
    """The running operator: one queue, several workers, and what feeds them."""

    def __init__(self, settings: Settings, cluster: Cluster, metrics: Metrics) -> None:
        self.settings = settings
        self.cluster = cluster
        self.metrics = metrics
        servers = ServerClaims(settings.policy.max_tracking_servers, settings.tracking_uri)
        self.cache = Cache(on_change=self._enqueue, servers=servers)
        self.queue: KeyedQueue[Key] = KeyedQueue(
            group=lambda key: key.namespace, on_wait=metrics.queue_waited
        )
        self.registry = Registry(settings, on_change=self._enqueue, observer=metrics)
        self.gateways = GatewayPoller(cluster, on_change=self._enqueue)
        self.writer = RegistryWriter(
            lambda: OwnServerClient(settings.tracking_uri or ""),
            on_change=self._enqueue,
            cluster=settings.cluster_name,
        )
        self._reader = Reader(cluster, observe=metrics.pod_metrics_read)
        self.measurements = MeasurementPoller(self._reader.read, on_change=self._enqueue)
        self.shadows = ShadowPoller(self._reader.read_shadow, on_change=self._enqueue)
        self.reconciler = Reconciler(
            settings,
            cluster,
            self.cache,
            self.registry,
            self.gateways,
            self.measurements,
            self.shadows,
            self._enqueue,
            self.writer,
        )
        self.watching = asyncio.Event()  # set by kopf
        self.synced = asyncio.Event()  # set when all objects are in the cache
        self.stopping = asyncio.Event()
        self.leading = False
        self.last_heartbeat = time.monotonic()

    async def run(self) -> None:
        """Runs until `stopping` is set or a part of it fails."""
        self.leading = True
        self.last_heartbeat = time.monotonic()
        self.metrics.leading(True)
        await self._wait_for_crd()
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(self.registry.run()),
                group.create_task(self.writer.run()),
                group.create_task(self.gateways.run()),
                group.create_task(self._measure()),
                group.create_task(self._resync()),
                group.create_task(self._beat()),
                group.create_task(self._run_reflectors()),
                *(group.create_task(self._run_worker()) for _ in range(self.settings.workers)),
            ]
            await kopf_watch.watch(
                self.cache,
                self.cluster.login,
                namespaces=self.settings.namespaces,
                ready=self.watching,
                stop=self.stopping,
            )
            for task in background:
                task.cancel()

    @property
    def is_ready(self) -> bool:
        """Whether the cache has synced, or another replica leads."""
        return not self.leading or self.synced.is_set()

    @property
    def is_alive(self) -> bool:
        """Whether a reconcile was completed, or none was due, in the last minutes."""
        return not self.leading or time.monotonic() - self.last_heartbeat < LIVENESS_TIMEOUT

    def _enqueue(self, key: Key) -> None:
        self.queue.add(key)
        self.metrics.queue_depth(len(self.queue))

    async def _wait_for_crd(self) -> None:
        is_logged = False
        while not await self._serves(kinds.RESOURCE):
            if not is_logged:
                log.warning("waiting for CRD %s to be installed", kinds.RESOURCE.plural)
                is_logged = True
            self.last_heartbeat = time.monotonic()
            await asyncio.sleep(CRD_POLL_INTERVAL)

    async def _serves(self, kind: kinds.Kind) -> bool:
        """Whether the API has `kind`; waits while the API server is starting or away."""
        while True:
            try:
                return await self.cluster.serves(kind)
            except ApiError as error:
                if not error.is_transient:
                    raise
                log.warning("failed to look up CRD %s, trying again: %s", kind.plural, error)
            self.last_heartbeat = time.monotonic()
            await asyncio.sleep(CRD_POLL_INTERVAL)

    async def _run_reflectors(self) -> None:
        """Watches the children and their pods; routes as soon as the API serves them."""
        gateway_api = await self._serves(kinds.ROUTE)
        children = [kind for kind in kinds.CHILDREN if gateway_api or kind is not kinds.ROUTE]
        async with asyncio.TaskGroup() as group:
            await self._start_reflectors(group, [*children, kinds.POD])
            await self.watching.wait()
            self.synced.set()
            if not gateway_api:
                log.info("Gateway API not installed: traffic is split by numbers of pods")
                await self._wait_for_gateway_api()
                await self._start_reflectors(group, [kinds.ROUTE])
                self._enqueue_all()

    async def _start_reflectors(self, group: asyncio.TaskGroup, watched: list[kinds.Kind]) -> None:
        """Starts a reflector for each kind, and returns when all of them have synced."""
        reflectors = [
            Reflector(self.cluster, self.cache, kind, namespace, self.settings.resync_interval)
            for kind in watched
            for namespace in self.settings.namespaces or ("",)
        ]
        for reflector in reflectors:
            group.create_task(reflector.run())
        for reflector in reflectors:
            await reflector.synced.wait()

    async def _wait_for_gateway_api(self) -> None:
        while True:
            await asyncio.sleep(self.settings.poll_interval)
            with contextlib.suppress(ApiError):
                if await self.cluster.serves(kinds.ROUTE):
                    log.info("Gateway API installed: watching HTTPRoutes")
                    return

    async def _run_worker(self) -> None:
        await self.synced.wait()
        while True:
            key = await self.queue.get()
            try:
                await self._process(key)
            finally:
                self.last_heartbeat = time.monotonic()
                self.queue.done(key)
                self.metrics.queue_depth(len(self.queue))

    async def _process(self, key: Key) -> None:
        started = time.perf_counter()
        result = "error"
        try:
            requeue_after = await self.reconciler.reconcile(key)
            result = "success"
            self.queue.succeeded(key)
            if requeue_after is not None:
                self.queue.add_after(key, requeue_after)
        except ApiError as error:
            result = "retry" if error.is_transient else "error"
            delay = self.queue.add_failed(key)
            level = logging.INFO if error.is_transient else logging.ERROR
            log.log(level, "%s: %s; retrying in %.0f s", key, error, delay)
        except Exception:
            delay = self.queue.add_failed(key)
            log.exception("%s: reconcile failed; retrying in %.0f s", key, delay)
        finally:
            self.metrics.reconciled(result, time.perf_counter() - started)

    async def _measure(self) -> None:
        """Looks at rollouts that hold a step, and at what pods say of shadows."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.measurements.run())
                group.create_task(self.shadows.run())
        finally:
            await self._reader.close()

    async def _resync(self) -> None:
        """Reconciles everything at intervals, in case a watch has missed something."""
        while True:
            await asyncio.sleep(self.settings.resync_interval)
            try:
                await delete_vanished(self.cluster, self.cache, self.settings.namespaces)
            except ApiError as error:
                log.warning("resync failed: %s", error)
            self._enqueue_all()

    def _enqueue_all(self) -> None:
        for key in self.cache:
            self._enqueue(key)

    async def _beat(self) -> None:
        """An empty queue counts as a heartbeat too."""
        while True:
            if not len(self.queue):
                self.last_heartbeat = time.monotonic()
            self.metrics.resources(*self.cache.ready_counts(), self.cache.stuck_count())
            await asyncio.sleep(HEARTBEAT_INTERVAL)
