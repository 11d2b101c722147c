"""Which objects must exist."""

from __future__ import annotations

from mlflow_model_operator import render
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.objects import KubeObject, LiveChildren
from mlflow_model_operator.plan.replicas import scale_of
from mlflow_model_operator.plan.revisions import Plan
from mlflow_model_operator.plan.shadow import active_shadow
from mlflow_model_operator.rollout.matches import pins
from mlflow_model_operator.rollout.route_features import RouteFeature
from mlflow_model_operator.rollout.users import revisions_by_place
from mlflow_model_operator.settings import Settings


def desired_objects(
    resource: MLflowModelDeployment, plan: Plan, live: LiveChildren, settings: Settings
) -> list[KubeObject]:
    """All objects that must exist, in the order in which to apply them."""
    objects = render.network_objects(resource)
    shadow = active_shadow(plan.decision)
    for revision in plan.renderable:
        scale = scale_of(resource, plan.decision, revision, live)
        is_shadow = shadow is not None and shadow.revision == revision
        objects += render.revision_objects(
            resource, revision, settings, scale, has_service=is_shadow
        )
    if plan.stale:
        scale = scale_of(resource, plan.decision, plan.stale, live)
        objects += render.scaling_objects(resource, plan.stale, scale)
    objects += _missing_services(resource, plan, live)
    if plan.copies_to is not None:
        objects.append(render.shadow_config(resource, plan.decision.stable, plan.copies_to))
    return objects + render.routing_objects(
        resource,
        plan.decision.listed,
        pins=() if RouteFeature.MATCH in plan.refused else pins(resource, plan.decision),
        users_of=_users_of(resource, plan),
        is_sticky=not _is_exchange(plan),
        is_stale=plan.stale is not None,
        excluded_hostnames=plan.excluded_hostnames,
    )


def _is_exchange(plan: Plan) -> bool:
    """Whether pods are exchanged: requests follow them, so users can't stay."""
    trial = plan.decision.trial
    return trial is not None and trial.is_exchange


def _users_of(resource: MLflowModelDeployment, plan: Plan) -> tuple[str | None, ...]:
    """Whose users the route has a rule for."""
    if RouteFeature.STICKY in plan.refused:
        return ()
    return revisions_by_place(resource, plan.decision)


def _missing_services(
    resource: MLflowModelDeployment, plan: Plan, live: LiveChildren
) -> list[KubeObject]:
    """Services that the route may lead to, of revisions that the spec can't render any more."""
    if resource.spec.routing.gateway is None:
        return []
    return [
        render.revision_service(resource, name, serves_grpc=False)
        for name in sorted(plan.retained_as_is)
        if name in live.deployments and name not in live.services
    ]
