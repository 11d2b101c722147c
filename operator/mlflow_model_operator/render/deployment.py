"""One model version with one pod template: its name and its objects."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_model_operator.api import names
from mlflow_model_operator.api.contract import GRPC_PORT
from mlflow_model_operator.api.model_version import ModelVersion
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.objects import KubeObject
from mlflow_model_operator.render.engine import fill
from mlflow_model_operator.render.metadata import revision_metadata, short_hash, with_applied
from mlflow_model_operator.render.pod import pod_template, startup_seconds
from mlflow_model_operator.rollout.state import Revision
from mlflow_model_operator.settings import Settings

DEFAULT_CPU_TARGET = 70  # percent of the requested CPU
# From the startup timeout to progressDeadlineSeconds.
DEADLINE_MARGIN = 60  # seconds


@dataclass(frozen=True)
class Scale:
    """How many pods a revision has."""

    replicas: int
    autoscaler_minimum: int | None = None  # None: no autoscaler owns that number


def revision(resource: MLflowModelDeployment, model: ModelVersion, settings: Settings) -> Revision:
    """The revision of `model` with the pod template that the spec of `resource` renders.

    Its name holds a hash of that template, which has the model's immutable URI only: two URIs that
    resolve to the same version give the same revision, and so does another scale or traffic split.
    """
    template = pod_template(resource, model, settings)
    return Revision(f"{resource.name}-{short_hash(template)}", model)


def progress_deadline(resource: MLflowModelDeployment) -> int:
    """The seconds within which a pod of a new revision is to be ready."""
    return round(startup_seconds(resource)) + DEADLINE_MARGIN


def revision_objects(
    resource: MLflowModelDeployment,
    rendered: Revision,
    settings: Settings,
    scale: Scale,
    *,
    has_service: bool = False,
) -> list[KubeObject]:
    """Deployment, Service, HorizontalPodAutoscaler and PodDisruptionBudget of a revision.

    The Service only where a gateway is named, whose route refers to it, or where it `has_service`
    for another reason.
    """
    metadata = revision_metadata(resource, rendered.name)
    selector = _selector(resource, rendered.name)
    template = pod_template(resource, rendered.model, settings)
    template["metadata"]["labels"][names.REVISION] = rendered.name
    objects = [
        fill(
            "deployment",
            metadata=metadata,
            replicas=scale.replicas,
            selector=selector,
            template=template,
            deadline=progress_deadline(resource),
        ),
    ]
    # The API server allocates addresses one at a time: a Service that nothing refers to is costly.
    if has_service or resource.spec.routing.gateway is not None:
        objects.append(
            revision_service(resource, rendered.name, serves_grpc=resource.spec.server.grpc)
        )
    return objects + scaling_objects(resource, rendered, scale)


def revision_service(
    resource: MLflowModelDeployment, name: str, *, serves_grpc: bool
) -> KubeObject:
    """The Service of a revision, to which the route refers."""
    return fill(
        "service",
        metadata=revision_metadata(resource, name),
        selector=_selector(resource, name),
        grpc_port=GRPC_PORT if serves_grpc else None,
    )


def scaling_objects(
    resource: MLflowModelDeployment, rendered: Revision, scale: Scale
) -> list[KubeObject]:
    """The objects of a revision that don't depend on its pod template.

    A HorizontalPodAutoscaler if there is to be one; a PodDisruptionBudget for more than one
    replica.
    """
    minimum = scale.autoscaler_minimum
    objects = [] if minimum is None else [_autoscaler(resource, rendered, minimum)]
    if scale.replicas > 1:
        metadata = revision_metadata(resource, rendered.name)
        selector = _selector(resource, rendered.name)
        objects.append(fill("budget", metadata=metadata, selector=selector))
    return objects


def _selector(resource: MLflowModelDeployment, revision: str) -> KubeObject:
    return {names.DEPLOYMENT: resource.name, names.REVISION: revision}


def _autoscaler(resource: MLflowModelDeployment, rendered: Revision, minimum: int) -> KubeObject:
    scaling = resource.spec.scaling
    target = scaling.target_cpu_utilization or (None if scaling.metrics else DEFAULT_CPU_TARGET)
    return with_applied(
        fill(
            "autoscaler",
            metadata=revision_metadata(resource, rendered.name),
            deployment=rendered.name,
            min_replicas=minimum,
            max_replicas=scaling.effective_max_replicas,
            cpu_target=target,
            metrics=scaling.metrics,
            behavior=scaling.behavior,
        )
    )
