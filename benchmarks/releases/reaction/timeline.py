"""When the objects of a model changed, by this machine's clock: what watches bring."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from dev import kube
from dev.kube import KubeObject
from e2e.steps.given import SHARED_GATEWAY
from mlflow_model_operator.api import names
from mlflow_model_operator.kube import httproute

READY = "Ready"


@dataclass
class PodTimes:
    """When a pod was created and became ready (`time.monotonic`)."""

    created: float
    ready: float | None = None


@dataclass(frozen=True)
class RouteState:
    """A route as it was from some time on: the Services that get requests, with their weights."""

    at: float
    weights: Mapping[str, int]
    is_accepted: bool  # by the gateway, with these weights


@dataclass
class Timeline:
    """What has happened to the revisions of a namespace. Times are of `time.monotonic`."""

    revisions: dict[str, float] = field(default_factory=dict)  # when its Deployment was created
    pods: dict[str, PodTimes] = field(default_factory=dict)  # the first of each revision
    routes: list[RouteState] = field(default_factory=list)

    def on_deployment(self, event: KubeObject) -> None:
        """Gets each event of a Deployment."""
        self.revisions.setdefault(event["object"]["metadata"]["name"], time.monotonic())

    def on_pod(self, event: KubeObject) -> None:
        """Gets each event of a pod."""
        now, pod = time.monotonic(), event["object"]
        revision = pod["metadata"].get("labels", {}).get(names.REVISION)
        if revision is None:
            return
        times = self.pods.setdefault(revision, PodTimes(now))
        is_ready = kube.conditions(pod).get(READY, {}).get("status") == "True"
        if is_ready and times.ready is None:
            times.ready = now

    def on_route(self, event: KubeObject) -> None:
        """Gets each event of an HTTPRoute."""
        route = event["object"]
        gateway, namespace = SHARED_GATEWAY["name"], SHARED_GATEWAY["namespace"]
        answer = httproute.acceptance(route, gateway, namespace)
        is_accepted = isinstance(answer, httproute.Accepted)
        self.routes.append(RouteState(time.monotonic(), httproute.weights(route), is_accepted))

    def routed(
        self, weights: Mapping[str, int], since: float, *, is_accepted: bool
    ) -> float | None:
        """When the route had these weights first after a time, and perhaps the gateway's consent.

        None where that was not seen.
        """
        times = (
            state.at
            for state in list(self.routes)
            if state.at >= since
            and state.weights == weights
            and (state.is_accepted or not is_accepted)
        )
        return next(times, None)


@contextmanager
def observe(namespace: str) -> Iterator[Timeline]:
    """Watches a namespace until the block ends."""
    timeline = Timeline()
    with ExitStack() as watches:
        for kind, on_event in (
            (kube.DEPLOYMENT, timeline.on_deployment),
            (kube.POD, timeline.on_pod),
            (kube.ROUTE, timeline.on_route),
        ):
            watches.enter_context(kube.watch(kind, namespace, on_event))
        yield timeline
