"""The real reconciler on the cluster in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from mlflow_model_operator.analysis import (
    Measurement,
    Report,
    ShadowCounts,
    ShadowMeasurement,
    ShadowReport,
)
from mlflow_model_operator.api import names
from mlflow_model_operator.api.model_version import ModelVersion, ResolutionError
from mlflow_model_operator.api.reasons import Reason
from mlflow_model_operator.api.resource import Key
from mlflow_model_operator.api.signature import Signature
from mlflow_model_operator.kube import kinds
from mlflow_model_operator.kube.cache import Cache
from mlflow_model_operator.kube.client import Cluster
from mlflow_model_operator.kube.gateway import GatewayState, gateway_state
from mlflow_model_operator.kube.gateway_poller import GatewayPoller
from mlflow_model_operator.measurement import MeasurementPoller, ShadowPoller
from mlflow_model_operator.reconcile import Reconciler
from mlflow_model_operator.registry import Registry
from mlflow_model_operator.rollout.progress import Verdict
from mlflow_model_operator.settings import Settings
from tests.unit.operator.simulation.cluster import GATEWAY, KEY, DataPlane, FakeCluster, Json

SETTINGS = Settings(
    tracking_uri="http://mlflow", scoring_images={"3.11": "scoring:3.11"}, drain_delay=5.0
)
ALIAS = "models:/wine@champion"
ROUTING = {
    "gateway": {"name": GATEWAY.name, "namespace": GATEWAY.namespace},
    "hostnames": ["wine.example.com"],
}


class FakeRegistry:
    """What model URIs resolve to: each alias to a version that tests move."""

    def __init__(self) -> None:
        self.aliases = {ALIAS: "1"}
        self.signatures: dict[str, Signature] = {}  # by version; of others none can be read
        self.is_down = False

    async def resolve(self, key: Key, uri: str, tracking_uri: str | None) -> ModelVersion:
        if self.is_down:
            raise ResolutionError(Reason.REGISTRY_UNREACHABLE, "no answer")
        version = self.aliases.get(uri) or uri.rpartition("/")[2]
        return ModelVersion(
            uri,
            f"models:/wine/{version}",
            version,
            "http://mlflow",
            "wine",
            signature=self.signatures.get(version),
        )

    def unsubscribe(self, key: Key, except_for: object = ()) -> None:
        """Nobody is notified: tests reconcile by themselves."""


class FakeGateways:
    """Gateways as they are now."""

    def __init__(self, cluster: FakeCluster) -> None:
        self._cluster = cluster

    def subscribe(self, key: Key, gateway: Key | None) -> GatewayState | None:
        if gateway is None:
            return None
        live = self._cluster.objects.get((kinds.GATEWAY.kind, gateway.namespace, gateway.name))
        return gateway_state(live)

    def unsubscribe(self, key: Key) -> None:
        """Nothing is kept."""


class FakeMeasurements:
    """What the metrics say, which tests decide: of the step that is followed, and of no other."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.followed: Measurement | None = None
        self.last: Report | None = None

    def follow(self, key: Key, measurement: Measurement | None) -> None:
        if measurement != self.followed:
            self.last = None
        self.followed = measurement

    def unsubscribe(self, key: Key) -> None:
        self.follow(key, None)

    def report(self, key: Key) -> Report | None:
        return self.last

    def look(self, verdict: Verdict) -> None:
        """A look at the step that is followed."""
        if self.followed is not None:
            step, now = self.followed.step, self._clock()
            figures = f"errors are {verdict.lower()}"
            self.last = Report(step, verdict, figures, step.since, now, observed_weight=9)


class FakeShadows:
    """What the pods say of the copies that they send, which tests decide."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.followed: ShadowMeasurement | None = None
        self.last: ShadowReport | None = None

    def follow(self, key: Key, measurement: ShadowMeasurement | None) -> None:
        if measurement != self.followed:
            self.last = None
        self.followed = measurement

    def unsubscribe(self, key: Key) -> None:
        self.follow(key, None)

    def report(self, key: Key) -> ShadowReport | None:
        return self.last

    def look(self, senders: int = 1, **counts: Any) -> None:
        """So many pods report that they send copies, and what they have counted."""
        if self.followed is not None:
            self.last = ShadowReport(
                self.followed.stable,
                self.followed.shadow,
                self._clock(),
                senders,
                counts=ShadowCounts(**counts),
            )


class World:
    """One resource called wine, and all that happens to it."""

    # Makes what the operator sends its requests to.
    connect: Callable[[FakeCluster], object] = staticmethod(lambda cluster: cluster)

    def __init__(self, *, has_gateway: bool, **spec: Any) -> None:
        self.cluster = FakeCluster()
        self.data_plane = DataPlane(self.cluster)
        self.registry = FakeRegistry()
        self.now = 1_700_000_000.0
        self.enqueued: set[Key] = set()
        self.settings = SETTINGS
        self.restart()
        self.cluster.create(kinds.GATEWAY, _gateway())
        self.cluster.create(kinds.RESOURCE, _resource(has_gateway, spec))
        self.cluster.deliver()

    def restart(self) -> None:
        """A new process of the operator: nothing is left but what the API server has."""
        self.cluster.events.clear()
        self.measurements = FakeMeasurements(lambda: self.now)
        self.shadows = FakeShadows(lambda: self.now)
        cache = Cache(on_change=self.enqueued.add)
        self.cluster.cache = cache
        for (kind, _, _), obj in self.cluster.objects.items():
            is_ours = obj["metadata"].get("labels", {}).get(names.MANAGED_BY)
            if kinds.BY_NAME.get(kind) in kinds.UNWATCHED_CHILDREN:
                continue
            if kind == names.KIND or is_ours == names.MANAGED_BY_VALUE:
                cache.ingest_event(kinds.BY_NAME[kind], None, obj)
        self.reconciler = Reconciler(
            self.settings,
            cast(Cluster, self.connect(self.cluster)),
            cache,
            cast(Registry, self.registry),
            cast(GatewayPoller, FakeGateways(self.cluster)),
            cast(MeasurementPoller, self.measurements),
            cast(ShadowPoller, self.shadows),
            self.enqueued.add,
            clock=lambda: self.now,
        )

    def reconcile(self) -> None:
        """Until the operator sends nothing more by itself."""
        self.cluster.deliver()
        while asyncio.run(self.reconciler.reconcile(KEY)) == 0.0:
            self.cluster.deliver()
        self.cluster.deliver()

    def settle(self) -> None:
        """All pods get ready, the gateway accepts, time passes: until nothing changes any more."""
        for _ in range(30):
            before = self.cluster.objects.copy()
            self.reconcile()
            for name in list(self.cluster.live(kinds.DEPLOYMENT)):
                self.set_ready(name)
            self.data_plane.gateway_looks("True")
            self.now += 70.0
            self.reconcile()
            if self.cluster.objects == before and "postponed" not in self.status:
                return
        raise AssertionError("it never settles")

    def spec(self, patch: Json) -> None:
        """A user changes the spec."""
        self.cluster.edit(kinds.RESOURCE, KEY.name, {"spec": patch})

    def set_ready(self, revision: str, ready: int | None = None) -> None:
        """So many pods are ready, or all."""
        replicas = self.deployments[revision]["spec"]["replicas"]
        status = {"readyReplicas": replicas if ready is None else min(ready, replicas)}
        self.cluster.edit(kinds.DEPLOYMENT, revision, {"status": status})

    @property
    def deployments(self) -> dict[str, Json]:
        return self.cluster.live(kinds.DEPLOYMENT)

    @property
    def resource(self) -> Json:
        return self.cluster.live(kinds.RESOURCE)[KEY.name]

    @property
    def status(self) -> Json:
        status: Json = self.resource.get("status") or {}
        return status

    def condition(self, type_: str) -> tuple[str, str]:
        """Status and reason."""
        for condition in self.status.get("conditions", ()):
            if condition["type"] == type_:
                return condition["status"], condition["reason"]
        return "", ""

    def message(self, type_: str) -> str:
        found = (c for c in self.status["conditions"] if c["type"] == type_)
        return str(next(found)["message"])

    def revision_of(self, version: str) -> str:
        """The name of the Deployment that serves a version."""
        uri = {"name": "MODEL_URI", "value": f"models:/wine/{version}"}
        return next(
            name
            for name, deployment in self.deployments.items()
            if uri in deployment["spec"]["template"]["spec"]["containers"][0]["env"]
        )


def _resource(has_gateway: bool, spec: Json) -> Json:
    routing = {"routing": ROUTING} if has_gateway else {}
    return {
        "metadata": {"name": KEY.name, "namespace": KEY.namespace},
        "spec": {"model": {"uri": ALIAS}, **routing, **spec},
    }


def _gateway() -> Json:
    programmed = {"type": "Programmed", "status": "True", "observedGeneration": 1}
    return {
        "metadata": {"name": GATEWAY.name, "namespace": GATEWAY.namespace},
        "spec": {
            "gatewayClassName": "eg",
            "listeners": [{"name": "http", "protocol": "HTTP", "port": 80}],
        },
        "status": {"conditions": [programmed]},
    }
