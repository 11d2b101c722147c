"""The operator's own Prometheus metrics; docs/metrics.md says what each is for.

The methods of `Metrics` are what the other parts call; none of them can fail.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from mlflow_model_operator import __version__

PREFIX = "mlflow_model_operator"
SUCCESS = "success"

# The client would add a `…_created` series to each counter and histogram, which nobody uses.
disable_created_metrics()  # type: ignore[no-untyped-call]

# Seconds. Reconciling mostly answers from memory, so the first are short; the last ones show an
# API server or a tracking server that hangs.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """All metrics of one operator, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._gauge(
            "build_info", "Always 1; the label is the version of the operator.", "version"
        ).labels(__version__).set(1)
        self._leader = self._gauge("leader", "1 if this replica is the leader, else 0.")
        self._add_resources()
        self._reconciles = self._counter("reconciles", "Completed reconciles, by result.", "result")
        self._reconcile_seconds = self._histogram(
            "reconcile_duration_seconds", "Duration of a reconcile."
        )
        self._last_reconcile = self._gauge(
            "reconcile_last_success_timestamp_seconds",
            "Unix time of the last successful reconcile; 0 if there was none.",
        )
        self._errors = self._counter("errors", "Errors, by the component that failed.", "kind")
        self._queue_depth = self._gauge("queue_depth", "Resources waiting in the work queue.")
        self._queue_seconds = self._histogram(
            "queue_latency_seconds", "Time that a resource waited in the work queue."
        )
        self._add_requests()
        self._add_polls()
        self._show_zeros()

    def _add_requests(self) -> None:
        self._requests = self._counter(
            "api_requests",
            "Requests to the Kubernetes API, except watches.",
            "verb",
            "kind",
            "code",
        )
        self._pod_reads = self._counter(
            "pod_metrics_reads", "Reads of the metrics of models' pods, by result.", "result"
        )

    def _add_resources(self) -> None:
        self._resources = self._gauge(
            "resources",
            "MLflowModelDeployments, by whether their condition Ready is True.",
            "ready",
        )
        self._stuck = self._gauge(
            "stuck",
            "MLflowModelDeployments with a change that does not proceed: their condition "
            "Progressing is False, and its reason is not Complete or Stopped, nor one that waits "
            "for a time (Frozen, Flapping, Debouncing).",
        )

    def _add_polls(self) -> None:
        self._polls = self._counter(
            "registry_polls", "Polls of tracking servers, by result.", "server", "result"
        )
        self._poll_seconds = self._histogram(
            "registry_poll_duration_seconds", "Duration of a poll of a tracking server.", "server"
        )
        self._last_poll = self._gauge(
            "registry_last_success_timestamp_seconds",
            "Unix time of the last successful poll of a tracking server.",
            "server",
        )
        self._deliveries = self._counter(
            "webhook_deliveries", "Deliveries of webhooks to this replica, by result.", "result"
        )

    def leading(self, leads: bool) -> None:
        """Whether this replica leads."""
        self._leader.set(leads)

    def resources(self, ready: int, other: int, stuck: int = 0) -> None:
        """How many resources are ready and not ready, and how many have a stuck change."""
        self._resources.labels("true").set(ready)
        self._resources.labels("false").set(other)
        self._stuck.set(stuck)

    def reconciled(self, result: str, seconds: float) -> None:
        """A reconcile has ended; `result` is "success", "retry" or "error"."""
        self._reconciles.labels(result).inc()
        self._reconcile_seconds.observe(seconds)
        if result == SUCCESS:
            self._last_reconcile.set_to_current_time()
        elif result == "error":
            self._errors.labels("reconcile").inc()

    def queue_depth(self, depth: int) -> None:
        """How many resources wait."""
        self._queue_depth.set(depth)

    def queue_waited(self, seconds: float) -> None:
        """How long a resource waited for a worker."""
        self._queue_seconds.observe(seconds)

    def api_request(self, verb: str, kind: str, code: int) -> None:
        """The Kubernetes API answered with an HTTP status, or could not be reached (code 0)."""
        self._requests.labels(verb, kind, str(code)).inc()
        # 404 is the normal answer for what does not exist; other refusals are worth a look.
        if code == 0 or (code >= 400 and code != 404):
            self._errors.labels("api").inc()

    def pod_metrics_read(self, result: str) -> None:
        """The metrics of a model's pod were read; `result` is "success" or "error"."""
        self._pod_reads.labels(result).inc()

    def registry_polled(self, server: str, result: str, seconds: float) -> None:
        """A tracking server was polled; `result` is "success" or the reason of the failure."""
        server = without_secrets(server)
        self._polls.labels(server, result).inc()
        self._poll_seconds.labels(server).observe(seconds)
        if result == SUCCESS:
            self._last_poll.labels(server).set_to_current_time()
        else:
            self._errors.labels("registry").inc()

    def registry_removed(self, server: str) -> None:
        """No resource uses a tracking server any more: its series go, for anybody may name one."""
        labels = {"server": without_secrets(server)}
        for metric in (self._polls, self._poll_seconds, self._last_poll):
            metric.remove_by_labels(labels)

    def webhook_delivered(self, result: str) -> None:
        """A webhook was delivered; `result` is accepted, repeated, forwarded or refused."""
        self._deliveries.labels(result).inc()

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _show_zeros(self) -> None:
        """A counter that is absent until its first event hides that event from `rate()`."""
        for result in (SUCCESS, "retry", "error"):
            self._reconciles.labels(result)
        for result in (SUCCESS, "error"):
            self._pod_reads.labels(result)
        for kind in ("api", "reconcile", "registry"):
            self._errors.labels(kind)
        for result in ("accepted", "repeated", "forwarded", "refused"):
            self._deliveries.labels(result)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{PREFIX}_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", text, labels, registry=self.registry, buckets=BUCKETS)


def without_secrets(server: str) -> str:
    """A tracking URI without user, password and query: metrics are read by many."""
    try:
        parts = urlsplit(server)
    except ValueError:  # not a URI, as its polls report too
        return "invalid"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
