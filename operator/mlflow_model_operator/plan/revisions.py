"""Which revisions a resource has, which of them serve, and which of them its spec renders."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

from mlflow_model_operator import render
from mlflow_model_operator.api.model_version import ModelVersion, ResolutionResult
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube import httproute
from mlflow_model_operator.kube.httproute import Accepted
from mlflow_model_operator.kube.objects import LiveChildren
from mlflow_model_operator.plan.previous import (
    model_to_serve,
    previous_decision,
    previous_models,
    revision_from_status,
)
from mlflow_model_operator.rollout import (
    Decision,
    Desired,
    Previous,
    decide,
    deployment_state,
)
from mlflow_model_operator.rollout.state import Revision, RevisionState, Weight
from mlflow_model_operator.settings import Settings


@dataclass(frozen=True)
class Resolution:
    """What the model URIs of a resource resolve to, or why they don't."""

    model: ResolutionResult
    canary: ResolutionResult | None = None


@dataclass(frozen=True)
class Plan:
    """Which revisions serve, and which of all can be rendered from the present spec."""

    decision: Decision
    renderable: tuple[Revision, ...]

    @property
    def identity(self) -> Hashable:
        """Equal for plans that, for one generation of the spec, ask for the same objects."""
        return (self.decision.identity, self.renderable)

    @property
    def stale(self) -> Revision | None:
        """The stable revision, where its pod template is no longer what the spec renders.

        Its pods stay as they are until others take their place; their number follows the spec.
        """
        stable = self.decision.stable
        is_renderable = any(revision.name == stable.name for revision in self.renderable)
        return None if is_renderable else stable


class RevisionNames:
    """Caches the names of revisions: to find one, a pod template must be rendered."""

    def __init__(self, settings: Settings, size: int = 8192) -> None:
        self._settings = settings
        self._size = size
        self._by_model: dict[tuple[str, int, ModelVersion], Revision] = {}

    def revision(self, resource: MLflowModelDeployment, model: ModelVersion) -> Revision:
        """The revision of `model` with the pod template that the spec of `resource` renders."""
        key = (resource.uid, resource.generation, model)
        if key not in self._by_model:
            if len(self._by_model) >= self._size:
                self._by_model.clear()
            self._by_model[key] = render.revision(resource, model, self._settings)
        return self._by_model[key]


def make_plan(
    resource: MLflowModelDeployment,
    resolution: Resolution,
    live: LiveChildren,
    names: RevisionNames,
    settings: Settings,
    now: float,
) -> Plan | None:
    """Plans for one resource; None where its URI was never resolved, so nothing can be served."""
    previous = previous_decision(resource)
    model = model_to_serve(resolution.model, previous_models(resource, previous))
    if model is None:
        return None
    target = names.revision(resource, model)
    canary = _canary(resource, resolution, names)
    renderable = _renderable(resource, previous, target, canary, names)
    decision = decide(
        Desired(
            target=target,
            canary=canary,
            canary_weight=resource.spec.canary.weight if resource.spec.canary else 0,
            stopped=resource.spec.scaling.min_replicas == 0,
        ),
        previous,
        _states(live, renderable),
        traffic_applied=traffic_applied(resource, live, previous.traffic),
        now=now,
        drain_delay=settings.drain_delay,
    )
    current = {revision.name for revision in decision.revisions}
    return Plan(decision, tuple(revision for revision in renderable if revision.name in current))


def traffic_applied(
    resource: MLflowModelDeployment, live: LiveChildren, traffic: tuple[Weight, ...]
) -> bool:
    """Whether the data plane follows `traffic` for certain: the route states it and is accepted."""
    gateway = resource.gateway
    if gateway is None:
        return True
    route = live.routes.get(resource.name)
    return (
        route is not None
        and httproute.weights(route) == dict(traffic)
        and isinstance(httproute.acceptance(route, gateway.name, gateway.namespace), Accepted)
    )


def _canary(
    resource: MLflowModelDeployment, resolution: Resolution, names: RevisionNames
) -> Revision | None:
    if resource.spec.canary is None or resolution.canary is None:
        return None
    previous = revision_from_status(resource.status.canary)
    model = model_to_serve(resolution.canary, [previous.model] if previous else [])
    return names.revision(resource, model) if model else None


def _renderable(
    resource: MLflowModelDeployment,
    previous: Previous,
    target: Revision,
    canary: Revision | None,
    names: RevisionNames,
) -> list[Revision]:
    """The revisions that the present spec renders; not those of an older pod template."""
    stable = previous.stable
    revisions = {target.name: target}
    if canary is not None:
        revisions.setdefault(canary.name, canary)
    if stable is not None and names.revision(resource, stable.model).name == stable.name:
        revisions.setdefault(stable.name, stable)
    return list(revisions.values())


def _states(live: LiveChildren, renderable: Iterable[Revision]) -> Mapping[str, RevisionState]:
    states = {
        revision.name: RevisionState(desired=1, ready=0)
        for revision in renderable
        if revision.name not in live.deployments
    }
    for name, deployment in live.deployments.items():
        states[name] = deployment_state(deployment)
    return states
