"""Prometheus metrics of the operator itself; described in docs/metrics.md."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from mlflow_model_operator import __version__

PREFIX = "mlflow_model_operator"
_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """All metrics of one operator, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        Info(f"{PREFIX}_build", "The operator's version.", registry=self.registry).info(
            {"version": __version__}
        )
        self._reconciles = self._counter(
            "reconciles", "Reconciles by result: success, retry or error.", "result"
        )
        self._reconcile_seconds = self._histogram(
            "reconcile_duration_seconds", "How long a reconcile takes."
        )
        self._queue_seconds = self._histogram(
            "queue_wait_seconds", "How long a resource waits for a worker."
        )
        self._queue_depth = self._gauge("queue_depth", "Resources that wait for a worker.")
        self._requests = self._counter(
            "api_requests",
            "Requests to the Kubernetes API by verb, kind and HTTP status (0: not answered).",
            "verb",
            "kind",
            "code",
        )
        self._polls = self._counter(
            "registry_polls",
            "Polls of tracking servers by result: success, or the reason of the failure.",
            "server",
            "result",
        )
        self._poll_seconds = self._histogram(
            "registry_poll_duration_seconds", "How long a poll takes.", "server"
        )
        self._last_success = self._gauge(
            "registry_last_success_timestamp_seconds",
            "When a tracking server last answered a poll (Unix time).",
            "server",
        )
        self._resources = self._gauge(
            "resources", "MLflowModelDeployments by the status of their Ready condition.", "ready"
        )
        self._leader = self._gauge("leader", "1 while this replica leads, else 0.")

    def reconciled(self, result: str, seconds: float) -> None:
        """One reconcile has ended."""
        self._reconciles.labels(result).inc()
        self._reconcile_seconds.observe(seconds)

    def queue_waited(self, seconds: float) -> None:
        """A resource waited for a worker."""
        self._queue_seconds.observe(seconds)

    def queue_depth(self, depth: int) -> None:
        """So many resources wait."""
        self._queue_depth.set(depth)

    def api_request(self, verb: str, kind: str, code: int) -> None:
        """A request to the Kubernetes API was answered, or was not (code 0)."""
        self._requests.labels(verb, kind, str(code)).inc()

    def registry_polled(self, server: str, result: str, seconds: float) -> None:
        """A tracking server was polled."""
        self._polls.labels(server, result).inc()
        self._poll_seconds.labels(server).observe(seconds)
        if result == "success":
            self._last_success.labels(server).set(time.time())

    def resources(self, ready: int, other: int) -> None:
        """So many resources are ready, so many are not."""
        self._resources.labels("true").set(ready)
        self._resources.labels("false").set(other)

    def leading(self, leads: bool) -> None:
        """Whether this replica leads."""
        self._leader.set(1 if leads else 0)

    def exposition(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *names: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", text, names, registry=self.registry)

    def _gauge(self, name: str, text: str, *names: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", text, names, registry=self.registry)

    def _histogram(self, name: str, text: str, *names: str) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", text, names, buckets=_SECONDS, registry=self.registry)
