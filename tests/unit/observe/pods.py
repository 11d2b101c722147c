"""Live objects as Kubernetes 1.37 shows them, cut down to what is looked at."""

from __future__ import annotations

from typing import Any

from mlflow_model_operator import labels
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.domain import (
    LiveChildren,
    ModelVersion,
    ResolutionError,
    Revision,
    Weight,
)
from mlflow_model_operator.observe import ApplyError, Situation
from mlflow_model_operator.rollout import Decision, Phase

Json = dict[str, Any]

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
    return {
        "metadata": {"name": revision.name, "generation": 1},
        "spec": {"replicas": desired},
        "status": {"observedGeneration": 1, "readyReplicas": ready, **status},
    }


def pod(revision: Revision, name: str = "p1", **status: Any) -> Json:
    return {
        "metadata": {
            "name": name,
            "labels": {labels.REVISION: revision.name},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "status": status,
    }


def container(name: str = "server", **state: Any) -> Json:
    last = state.pop("last", None)
    return {
        "name": name,
        "ready": False,
        "image": "scoring:1",
        "state": state,
        **({"lastState": last} if last else {}),
    }


def situation(
    decision: Decision | None,
    *objects: Json,
    of: MLflowModelDeployment | None = None,
    resolution: ModelVersion | ResolutionError = V3.model,
    canary_resolution: ModelVersion | ResolutionError | None = None,
    errors: tuple[ApplyError, ...] = (),
    routes: tuple[Json, ...] = (),
    gateway_exists: bool | None = None,
) -> Situation:
    return Situation(
        resource=of or resource(),
        resolution=resolution,
        canary_resolution=canary_resolution,
        decision=decision,
        live=LiveChildren(
            deployments={o["metadata"]["name"]: o for o in objects if "spec" in o},
            pods={o["metadata"]["name"]: o for o in objects if "spec" not in o},
            routes={o["metadata"]["name"]: o for o in routes},
        ),
        apply_errors=errors,
        now=1_700_000_000.0,
        gateway_exists=gateway_exists,
    )


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
