"""The rules of a route for the cookies by which users stay with a revision. Pure."""

from __future__ import annotations

from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.rollout.decision import Decision
from mlflow_model_operator.rollout.steps import schedule


def revisions_by_place(
    resource: MLflowModelDeployment, decision: Decision
) -> tuple[str | None, ...]:
    """Whose users each rule is for: first those of the stable revision, then by the spec's order.

    There are as many as the spec lets split requests, whatever exists of these: a gateway may have
    no endpoints for a rule that it has just learnt, so none may come or move with a rollout. None
    stands for a place that no revision needs now.
    """
    roles = _others(resource, decision)
    names: list[str | None] = [decision.stable.name] if roles else []
    for name in roles:
        names.append(None if name in names else name)
    return tuple(names)


def _others(resource: MLflowModelDeployment, decision: Decision) -> list[str | None]:
    """What may share requests with the stable revision, by role."""
    spec = resource.spec
    if spec.variants:
        names = decision.variant_names
        return [names.get(variant.name) for variant in spec.variants]
    if spec.canary is not None:
        return [decision.canary_name]
    if schedule(spec):
        return [decision.trial_name]
    return []
