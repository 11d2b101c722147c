"""Which objects must exist."""

from __future__ import annotations

from mlflow_model_operator import render
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.objects import KubeObject, LiveChildren
from mlflow_model_operator.plan.replicas import replicas_for
from mlflow_model_operator.plan.revisions import Plan
from mlflow_model_operator.settings import Settings


def desired_objects(
    resource: MLflowModelDeployment, plan: Plan, live: LiveChildren, settings: Settings
) -> list[KubeObject]:
    """All objects that must exist, in the order in which to apply them."""
    objects: list[KubeObject] = []
    for revision in plan.renderable:
        replicas, autoscale = replicas_for(resource, plan.decision, revision, live)
        objects += render.revision_objects(
            resource, revision, settings, replicas=replicas, autoscale=autoscale
        )
    if plan.stale:
        replicas, autoscale = replicas_for(resource, plan.decision, plan.stale, live)
        objects += render.scaling_objects(
            resource, plan.stale, replicas=replicas, autoscale=autoscale
        )
    return objects + render.routing_objects(
        resource,
        plan.decision.stable,
        plan.decision.traffic,
        is_stale=plan.stale is not None,
    )
