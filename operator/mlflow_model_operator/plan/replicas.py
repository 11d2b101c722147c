"""How many replicas a revision has."""

from __future__ import annotations

from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.objects import LiveChildren
from mlflow_model_operator.rollout import (
    Decision,
    approximate_canary_replicas,
)
from mlflow_model_operator.rollout.state import Revision


def replicas_for(
    resource: MLflowModelDeployment, decision: Decision, revision: Revision, live: LiveChildren
) -> tuple[int, bool]:
    """The replicas of a revision, and whether a HorizontalPodAutoscaler owns that number.

    If so, the live number is stated, so that no apply undoes the autoscaler's work; a new revision
    starts with as many replicas as serve now, so that it can take over under load.
    """
    scaling = resource.spec.scaling
    minimum = scaling.min_replicas
    stable_now = _live_replicas(live, decision.stable.name) or minimum
    if _is_approximated_canary(resource, decision, revision):
        weight = resource.spec.canary.weight if resource.spec.canary else 0
        return approximate_canary_replicas(stable_now, weight), False
    if not scaling.is_autoscaled:
        return minimum, False
    initial = min(max(minimum, stable_now), scaling.effective_max_replicas)
    return _live_replicas(live, revision.name) or initial, True


def _is_approximated_canary(
    resource: MLflowModelDeployment, decision: Decision, revision: Revision
) -> bool:
    """Whether it is a canary whose weight is only approximated, by its number of pods."""
    is_canary = decision.canary is not None and decision.canary.name == revision.name
    return (
        is_canary
        and revision.name != decision.target.name
        and resource.spec.routing.gateway is None
        and resource.spec.scaling.min_replicas > 0
    )


def _live_replicas(live: LiveChildren, name: str) -> int | None:
    deployment = live.deployments.get(name)
    return deployment["spec"].get("replicas") if deployment else None
