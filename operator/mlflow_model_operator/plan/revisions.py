"""Which revisions a resource has, who serves, and which of them the spec can state in full."""

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
    last_known,
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
    """What the URIs of a resource mean now, or why they mean nothing."""

    model: ResolutionResult
    canary: ResolutionResult | None = None


@dataclass(frozen=True)
class Plan:
    """Who serves, and which revisions this version of the spec can state in full."""

    decision: Decision
    renderable: tuple[Revision, ...]

    @property
    def identity(self) -> Hashable:
        """Equal for plans that, for one generation of the spec, ask for the same objects."""
        return (self.decision.identity, self.renderable)

    @property
    def stale(self) -> Revision | None:
        """The stable revision, where it serves with a pod template that the spec states no more.

        Its pods stay as they are until others take their place; how many there are follows the
        spec.
        """
        stable = self.decision.stable
        is_renderable = any(revision.name == stable.name for revision in self.renderable)
        return None if is_renderable else stable


class RevisionNames:
    """Remembers the names of revisions: each costs a rendered pod template to find."""

    def __init__(self, settings: Settings, size: int = 8192) -> None:
        self._settings = settings
        self._size = size
        self._known: dict[tuple[str, int, ModelVersion], Revision] = {}

    def revision(self, resource: MLflowModelDeployment, model: ModelVersion) -> Revision:
        """The revision that `model` is with the pod template that `resource` states now."""
        key = (resource.uid, resource.generation, model)
        if key not in self._known:
            if len(self._known) >= self._size:
                self._known.clear()
            self._known[key] = render.revision(resource, model, self._settings)
        return self._known[key]


def make_plan(
    resource: MLflowModelDeployment,
    resolution: Resolution,
    live: LiveChildren,
    names: RevisionNames,
    settings: Settings,
    now: float,
) -> Plan | None:
    """Decides for one resource; None where nothing was ever resolved, so nothing can be served."""
    previous = previous_decision(resource)
    model = last_known(resolution.model, previous_models(resource, previous))
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
    """Whether the data plane surely follows `traffic`: the route says so and is accepted."""
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
    model = last_known(resolution.canary, [previous.model] if previous else [])
    return names.revision(resource, model) if model else None


def _renderable(
    resource: MLflowModelDeployment,
    previous: Previous,
    target: Revision,
    canary: Revision | None,
    names: RevisionNames,
) -> list[Revision]:
    """The revisions that the present spec states; an older template's revision it does not."""
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
