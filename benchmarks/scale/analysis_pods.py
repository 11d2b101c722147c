"""Pods that answer for their metrics as the scoring server does, each on its own address.

All are addresses of this machine, so that the operator connects to each as to a pod.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate

from mlflow_model_operator.api.contract import METRICS_PORT
from mlflow_model_server.drift.bins import AGES, Bins
from mlflow_model_server.metrics import slots
from mlflow_model_server.metrics.exposition import DriftSeries, Process, Snapshot, render

CIDR = "127.80.0.0/16"
FEATURES = 13  # as many as the model of the demo has
REQUESTS_PER_SECOND = 20  # of each pod
TEXT_SECONDS = 5.0  # for which a revision's pods answer the same


class MetricsPods:
    """Serves the metrics of pods, in a thread of its own."""

    def __init__(self) -> None:
        self.served: set[tuple[str, str]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._texts: dict[str, tuple[float, bytes]] = {}  # by revision
        self._began = time.time()

    def serve(self, pods: Iterable[tuple[str, str]]) -> None:
        """Answers from now on for these pods: address and revision of each."""
        for address, revision in pods:
            self.served.add((address, revision))
            asyncio.run_coroutine_threadsafe(self._listen(address, revision), self._loop).result()

    def close(self) -> None:
        """Ends the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _listen(self, address: str, revision: str) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            body = self._text(revision)
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            writer.close()

        await asyncio.start_server(answer, address, METRICS_PORT)

    def _text(self, revision: str) -> bytes:
        written, text = self._texts.get(revision, (0.0, b""))
        if time.time() - written > TEXT_SECONDS:
            text = exposition(revision, self._began, time.time())
            self._texts[revision] = time.time(), text
        return text


@contextmanager
def metrics_pods() -> Iterator[MetricsPods]:
    """Serves until the end of the block."""
    pods = MetricsPods()
    try:
        yield pods
    finally:
        pods.close()


def exposition(revision: str, began: float, now: float) -> bytes:
    """All metrics of a pod that has answered requests since it began, some of them with 500."""
    requests = round((now - began) * REQUESTS_PER_SECOND)
    series = [_bins(f"feature {number}", requests) for number in range(FEATURES)]
    snapshot = Snapshot(
        numbers=_numbers(requests),
        labels={"model": "beer", "version": "1", "revision": revision},
        workers=1,
        process=Process(cpu_seconds=1.0, start_time=began),
        features=series,
        predictions=[_bins("prediction", requests)],
        baseline_source="artifact",
        measures_feature_ages=True,
    )
    return render(snapshot).encode()


def _numbers(requests: int) -> list[float]:
    numbers = [0.0] * slots.SLOT
    route = slots.ROUTES.index(slots.INVOCATIONS)
    numbers[slots.requests_at(route) + 100] = requests
    numbers[slots.requests_at(route) + 400] = requests // 1000
    starts = [slots.duration_at(route), *map(slots.phase_at, range(len(slots.PHASES)))]
    for start in starts:
        _spread(numbers, start, len(slots.SECONDS), requests)
    _spread(numbers, slots.FEATURE_AGES, len(AGES), requests)
    return numbers


def _spread(numbers: list[float], start: int, bounds: int, requests: int) -> None:
    """Most in the middle of the histogram."""
    middle = bounds // 2
    for distance, share in enumerate((0.6, 0.3, 0.09, 0.01)):
        numbers[start + middle + distance] = int(share * requests)


def _bins(name: str, requests: int) -> DriftSeries:
    edges = tuple(accumulate([0.5] * 10))
    counts = tuple(requests // 12 for _ in range(len(edges) + 2))
    return DriftSeries(Bins(name, counts, edges), counts, counts)
