"""How many replicas a revision has."""

from __future__ import annotations

from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.objects import LiveChildren
from mlflow_model_operator.render import Scale
from mlflow_model_operator.rollout import (
    Decision,
    approximate_canary_replicas,
)
from mlflow_model_operator.rollout.state import Revision


def scale_of(
    resource: MLflowModelDeployment, decision: Decision, revision: Revision, live: LiveChildren
) -> Scale:
    """The replicas of a revision, and the minimum of its HorizontalPodAutoscaler, if it has one.

    If so, the live number is stated, so that no apply undoes the autoscaler's work; a new revision
    starts with as many replicas as serve now, so that it can take over under load.
    """
    scaling = resource.spec.scaling
    minimum = scaling.min_replicas
    shadow = decision.shadow
    if shadow is not None and shadow.revision == revision and shadow.replicas is not None:
        return Scale(shadow.replicas if minimum > 0 else 0)
    stable_now = _live_replicas(live, decision.stable.name) or minimum
    required = _required_on_trial(decision, revision)
    if required is not None and minimum > 0:
        if decision.trial and decision.trial.is_exchange:
            return Scale(required)
        return _scale_on_trial(resource, required, _live_replicas(live, revision.name))
    if _is_approximated_canary(resource, decision, revision):
        weight = resource.spec.canary.weight if resource.spec.canary else 0
        return Scale(approximate_canary_replicas(stable_now, weight))
    if not scaling.is_autoscaled:
        return Scale(minimum)
    if decision.trial is None and revision == decision.target != decision.stable and minimum > 0:
        required = takeover_replicas(resource, decision.stable, live)
        return _scale_on_trial(
            resource, max(required, minimum), _live_replicas(live, revision.name)
        )
    initial = min(max(minimum, stable_now), scaling.effective_max_replicas)
    return Scale(_live_replicas(live, revision.name) or initial, minimum)


def takeover_replicas(
    resource: MLflowModelDeployment, stable: Revision | None, live: LiveChildren
) -> int:
    """The pods that a target without steps needs to take over: as many as serve now.

    It may run already, as a canary, a variant or a shadow, with the pods for that.
    """
    scaling = resource.spec.scaling
    most = scaling.effective_max_replicas if scaling.is_autoscaled else scaling.min_replicas
    serving = _live_replicas(live, stable.name) if stable else None
    return max(min(serving or 1, most), 1)


def _required_on_trial(decision: Decision, revision: Revision) -> int | None:
    """The pods that a side of a rollout in steps must have; None for any other revision."""
    if decision.trial is None:
        return None
    if revision.name == decision.target.name:
        return decision.trial.replicas
    is_stable = revision.name == decision.stable.name
    return decision.trial.stable_replicas if is_stable else None


def _scale_on_trial(resource: MLflowModelDeployment, required: int, live: int | None) -> Scale:
    """So many, or more where an autoscaler asks for them."""
    scaling = resource.spec.scaling
    if not scaling.is_autoscaled:
        return Scale(required)
    replicas = min(max(required, live or 0), scaling.effective_max_replicas)
    return Scale(replicas, min(required, scaling.effective_max_replicas))


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
