"""Reads the metrics of pods over HTTP: bounded in time, in size, and in how many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace

import aiohttp

from mlflow_model_operator.analysis import (
    Exposition,
    ExpositionParser,
    InvalidExposition,
    ShadowMeasurement,
)
from mlflow_model_operator.analysis.prometheus import PATH, parameters, value
from mlflow_model_operator.analysis.report import Measurement, PodReading, Reading
from mlflow_model_operator.api import names
from mlflow_model_operator.api.contract import METRICS_PORT
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.api.spec import PrometheusQuery
from mlflow_model_operator.api.text import single_line
from mlflow_model_operator.kube.client import ApiError, Cluster
from mlflow_model_operator.measurement.pods import MAX_PODS, PodAddress, addresses
from mlflow_model_operator.registry.http import ForeignServerClient, TooLarge, Unreachable

CONNECT_TIMEOUT, REQUEST_TIMEOUT = 2.0, 5.0  # seconds
MAX_RESPONSE_BYTES = 4 * 2**20
# At the same time: of one rollout, so that pods that do not answer hold up no other, and of all.
MAX_READS_OF_ROLLOUT, MAX_READS = 8, 64
_CHUNK_BYTES = 65_536
_OK = 200


class Unreadable(Exception):
    """A pod's metrics could not be read; the message says why, the same at each try."""


class Reader:
    """Reads what a measurement needs; to be used from one event loop."""

    def __init__(
        self,
        cluster: Cluster,
        observe: Callable[[str], None] = lambda _: None,
        port: int = METRICS_PORT,
    ) -> None:
        """`observe` is called with "success" or "error" for each pod."""
        self._cluster = cluster
        self._observe = observe
        self._port = port
        self._slots = asyncio.Semaphore(MAX_READS)
        self._session: aiohttp.ClientSession | None = None

    async def read(self, measurement: Measurement) -> Reading:
        """The counters of all pods that are judged, and the values of the queries."""
        reading = await self.read_pods(measurement.key, measurement.revisions)
        if reading.problem or measurement.is_shadow:
            return reading
        queries = measurement.analysis.queries
        values = await asyncio.gather(*(_ask(query, measurement) for query in queries))
        by_name = {query.name: of for query, of in zip(queries, values, strict=True)}
        return replace(reading, queries=by_name)

    async def read_shadow(self, measurement: ShadowMeasurement) -> Reading:
        """The counters of the pods that send copies."""
        return await self.read_pods(measurement.key, (measurement.stable,))

    async def read_pods(self, key: Key, revisions: Collection[str]) -> Reading:
        """The counters of all pods of these revisions of a resource."""
        try:
            pods = await self._cluster.list_pods(key.namespace, {names.DEPLOYMENT: key.name})
        except ApiError as error:
            return Reading(problem=f"the pods can't be listed: {error.status} {error.reason}")
        present = addresses(pods, revisions)
        turns = asyncio.Semaphore(MAX_READS_OF_ROLLOUT)
        readings = await asyncio.gather(*(self._read_pod(pod, turns) for pod in present[:MAX_PODS]))
        return Reading(
            # One that is not ready yet, or no more, needs not answer.
            pods=tuple(
                reading
                for pod, reading in zip(present, readings, strict=False)
                if pod.is_ready or not isinstance(reading.result, str)
            ),
            listed=frozenset(pod.uid for pod in present),
        )

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _read_pod(self, pod: PodAddress, turns: asyncio.Semaphore) -> PodReading:
        result: Exposition | str
        try:
            async with turns, self._slots:
                result = await self._exposition(pod)
            self._observe("success")
        except (Unreadable, InvalidExposition) as error:
            self._observe("error")
            result = f"pod {pod.name}: {error}"
        return PodReading(pod.uid, pod.revision, result)

    async def _exposition(self, pod: PodAddress) -> Exposition:
        url = f"http://{pod.host}:{self._port}/metrics"
        parser = ExpositionParser(pod.revision)
        self._session = self._session or _session()
        try:
            async with (
                asyncio.timeout(REQUEST_TIMEOUT),
                self._session.get(url, allow_redirects=False) as response,
            ):
                if response.status != _OK:
                    raise Unreadable(f"its metrics port answers with status {response.status}")
                await _feed(parser, response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreadable(_describe(error)) from error
        return parser.finish()


async def _feed(parser: ExpositionParser, response: aiohttp.ClientResponse) -> None:
    received = 0
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        received += len(chunk)
        if received > MAX_RESPONSE_BYTES:
            raise Unreadable(f"its metrics have more than {MAX_RESPONSE_BYTES} bytes")
        parser.feed(chunk)


def _session() -> aiohttp.ClientSession:
    """Anonymous, without proxies, and each request on a connection of its own.

    The scoring server closes idle ones, and an address may be another pod's by the next look.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=MAX_READS, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT),
        headers={"Accept": "text/plain", "Accept-Encoding": "identity"},
        auto_decompress=False,
        trust_env=False,
    )


def _describe(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "its metrics port does not answer in time (do NetworkPolicies allow it?)"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "its metrics port can't be reached"
    return "its metrics port has closed the connection"


async def _ask(query: PrometheusQuery, measurement: Measurement) -> float | str:
    """The value of a query, or why there is none."""
    try:
        client = ForeignServerClient(query.url.rstrip("/"))
        try:
            return value(*await client.get(PATH, parameters(query, measurement)))
        finally:
            await client.close()
    except (Unreachable, TooLarge) as error:
        return single_line(f"Prometheus can't be asked: {error}")
