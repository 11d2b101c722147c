"""Live objects as Kubernetes 1.37 shows them, cut down to what is looked at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from mlflow_model_operator.api import names
from mlflow_model_operator.api.model_version import ModelVersion, ResolutionError
from mlflow_model_operator.api.resource import Key, MLflowModelDeployment
from mlflow_model_operator.kube.gateway import GatewayState
from mlflow_model_operator.kube.objects import LiveChildren
from mlflow_model_operator.kube.transform import is_healthy_pod, transform
from mlflow_model_operator.rollout import Decision, Phase
from mlflow_model_operator.rollout.state import Revision, Weight
from mlflow_model_operator.status import ApplyFailure, Snapshot

Json = dict[str, Any]

NOW = 1_700_000_000.0

V3 = Revision("wine-3", ModelVersion("models:/wine@champion", "models:/wine/3", "3", "http://m"))
V4 = Revision("wine-4", ModelVersion("models:/wine@champion", "models:/wine/4", "4", "http://m"))


def resource(status: Json | None = None, **spec: Any) -> MLflowModelDeployment:
    return MLflowModelDeployment.parse(
        {
            "metadata": {"name": "wine", "namespace": "models", "uid": "u", "generation": 7},
            "spec": {"model": {"uri": "models:/wine@champion"}, **spec},
            "status": status or {},
        }
    )


def deployment(revision: Revision, ready: int = 0, desired: int = 1, **status: Any) -> Json:
    labels = {names.DEPLOYMENT: "wine", names.REVISION: revision.name}
    return {
        "metadata": {"name": revision.name, "generation": 1},
        "spec": {"replicas": desired, "template": {"metadata": {"labels": labels}}},
        "status": {"observedGeneration": 1, "readyReplicas": ready, **status},
    }


def pod(revision: Revision, name: str = "p1", **status: Any) -> Json:
    return {
        "metadata": {
            "name": name,
            "labels": {names.REVISION: revision.name},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "status": status,
    }


def container(name: str = "server", ready: bool = False, **state: Any) -> Json:
    """A container that is in `state`; `last` is how it ended before."""
    last = state.pop("last", {})
    return {"name": name, "ready": ready, "image": "scoring:1", "state": state, "lastState": last}


def ended(
    code: int = 1, message: str | None = None, reason: str = "Error", seconds: int = 5
) -> Json:
    """How a container ended that ran for so many seconds."""
    end = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return {
        "containerID": "containerd://791a1526dd6c8d71b1d898ed5363568f31db76a4b4e470e60ca6c57049742",
        "exitCode": code,
        "reason": reason,
        "startedAt": "2026-01-01T00:00:00Z",
        "finishedAt": end.isoformat().replace("+00:00", "Z"),
        **({"message": message} if message is not None else {}),
    }


def word(reason: str, message: str) -> str:
    """The termination message that our own containers leave."""
    return json.dumps({"reason": reason, "message": message})


def service(name: str, revision: str | None = None) -> Json:
    """A Service that selects the pods of a revision, or of all."""
    selector = {names.DEPLOYMENT: "wine", **({names.REVISION: revision} if revision else {})}
    return {"kind": "Service", "metadata": {"name": name}, "spec": {"selector": selector}}


def route(*conditions: Json, generation: int = 1, gateway: str = "shared", **weights: int) -> Json:
    """An HTTPRoute of Gateway gateways/shared, and what a gateway says of its generation 1.

    `weights` are of revisions: wine_3=100.
    """
    parent = {
        "controllerName": "gateway.envoyproxy.io/gatewayclass-controller",
        "parentRef": {
            "group": "gateway.networking.k8s.io",
            "kind": "Gateway",
            "name": gateway,
            "namespace": "gateways",
        },
        "conditions": [{"observedGeneration": 1, **condition} for condition in conditions],
    }
    refs = [
        {"name": name.replace("_", "-"), "port": 80, "weight": weight}
        for name, weight in weights.items()
    ]
    return {
        "metadata": {"name": "wine", "namespace": "models", "generation": generation},
        "spec": {
            "parentRefs": [{"name": "shared", "namespace": "gateways"}],
            "rules": [{"backendRefs": refs}],
        },
        "status": {"parents": [parent] if conditions else []},
    }


def snapshot(
    decision: Decision | None,
    *objects: Json,
    of: MLflowModelDeployment | None = None,
    resolution: ModelVersion | ResolutionError = V3.model,
    canary_resolution: ModelVersion | ResolutionError | None = None,
    errors: tuple[ApplyFailure, ...] = (),
    routes: tuple[Json, ...] = (),
    gateway: GatewayState | None = None,
    rivals: Mapping[str, Key] | None = None,
    is_deferred: bool = False,
    draining: tuple[Revision, ...] = (),
    now: float = NOW,
    scoring_python_versions: tuple[str, ...] = (),
) -> Snapshot:
    return Snapshot(
        resource=of or resource(),
        resolution=resolution,
        canary_resolution=canary_resolution,
        decision=decision,
        live=LiveChildren(
            deployments={
                o["metadata"]["name"]: o
                for o in objects
                if "spec" in o and o.get("kind") != "Service"
            },
            services=_services(decision, objects, errors),
            pods=_cached(o for o in objects if "spec" not in o and o.get("kind") != "Service"),
            routes={o["metadata"]["name"]: o for o in routes},
        ),
        apply_errors=errors,
        now=now,
        gateway=gateway,
        rivals=rivals or {},
        is_deferred=is_deferred,
        draining=draining,
        scoring_python_versions=scoring_python_versions,
    )


def _services(
    decision: Decision | None, objects: Iterable[Json], errors: tuple[ApplyFailure, ...]
) -> dict[str, Json]:
    """Those among the objects; else the public one as the decision asks, if it could be applied."""
    given = {o["metadata"]["name"]: o for o in objects if o.get("kind") == "Service"}
    is_refused = any((error.kind, error.name) == ("Service", "wine") for error in errors)
    if given or is_refused or decision is None:
        return given
    shares = decision.traffic
    return {"wine": service("wine", shares[0].revision if len(shares) == 1 else None)}


def _cached(pods: Iterable[Json]) -> dict[str, Json]:
    """As the cache keeps them."""
    transformed = [transform({**pod, "kind": "Pod"}) for pod in pods]
    return {pod["metadata"]["name"]: pod for pod in transformed if not is_healthy_pod(pod)}


def decision(
    stable: Revision = V3,
    target: Revision | None = None,
    canary: Revision | None = None,
    weight: int = 0,
    phase: Phase = Phase.STABLE,
    draining: dict[str, float] | None = None,
) -> Decision:
    shares = [Weight(stable.name, 100 - weight)]
    if canary and weight:
        shares.append(Weight(canary.name, weight))
    return Decision(
        stable=stable,
        target=target or stable,
        canary=canary,
        traffic=tuple(shares),
        draining=draining or {},
        phase=phase,
    )
