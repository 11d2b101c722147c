"""One model version with one pod template: its name and its objects."""

from __future__ import annotations

from mlflow_model_operator.api import names
from mlflow_model_operator.api.contract import GRPC_PORT
from mlflow_model_operator.api.model_version import ModelVersion
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.objects import KubeObject
from mlflow_model_operator.render.engine import fill
from mlflow_model_operator.render.metadata import (
    object_metadata,
    revision_labels,
    short_hash,
    with_applied,
)
from mlflow_model_operator.render.pod import pod_template, startup_seconds
from mlflow_model_operator.rollout.state import Revision
from mlflow_model_operator.settings import Settings

DEFAULT_CPU_TARGET = 70  # percent of the requested CPU
# From "should have started" to "Kubernetes calls the Deployment stuck".
DEADLINE_MARGIN = 60  # seconds


def revision(resource: MLflowModelDeployment, model: ModelVersion, settings: Settings) -> Revision:
    """The revision that `model` is with the pod template that `resource` states.

    Its name holds a hash of that template, which knows the model by its immutable URI alone: two
    URIs that mean the same version are the same revision, and scaling or traffic change nothing.
    """
    template = pod_template(resource, model, settings)
    return Revision(f"{resource.name}-{short_hash(template)}", model)


def revision_objects(
    resource: MLflowModelDeployment,
    which: Revision,
    settings: Settings,
    *,
    replicas: int,
    autoscale: bool,
) -> list[KubeObject]:
    """Deployment, Service, HorizontalPodAutoscaler and PodDisruptionBudget of a revision.

    The Service is there where a gateway is named, whose route leads to it.
    """
    metadata, selector = _metadata(resource, which), _selector(resource, which)
    template = pod_template(resource, which.model, settings)
    template["metadata"]["labels"][names.REVISION] = which.name
    objects = [
        fill(
            "deployment",
            metadata=metadata,
            replicas=replicas,
            selector=selector,
            template=template,
            deadline=round(startup_seconds(resource)) + DEADLINE_MARGIN,
        ),
    ]
    # The API server gives out addresses one at a time: a Service that nothing leads to is dear.
    if resource.spec.routing.gateway is not None:
        grpc_port = GRPC_PORT if resource.spec.server.grpc else None
        objects.append(fill("service", metadata=metadata, selector=selector, grpc_port=grpc_port))
    return objects + scaling_objects(resource, which, replicas=replicas, autoscale=autoscale)


def scaling_objects(
    resource: MLflowModelDeployment, which: Revision, *, replicas: int, autoscale: bool
) -> list[KubeObject]:
    """Those objects of a revision that know nothing of its pod template.

    The autoscaler is there if `autoscale`; the budget where there is more than one replica.
    """
    objects = [_autoscaler(resource, which)] if autoscale else []
    if replicas > 1:
        metadata, selector = _metadata(resource, which), _selector(resource, which)
        objects.append(fill("budget", metadata=metadata, selector=selector))
    return objects


def _metadata(resource: MLflowModelDeployment, which: Revision) -> KubeObject:
    return object_metadata(resource, which.name, revision_labels(resource, which.name))


def _selector(resource: MLflowModelDeployment, which: Revision) -> KubeObject:
    return {names.DEPLOYMENT: resource.name, names.REVISION: which.name}


def _autoscaler(resource: MLflowModelDeployment, which: Revision) -> KubeObject:
    scaling = resource.spec.scaling
    target = scaling.target_cpu_utilization or (None if scaling.metrics else DEFAULT_CPU_TARGET)
    return with_applied(
        fill(
            "autoscaler",
            metadata=_metadata(resource, which),
            deployment=which.name,
            least=scaling.min_replicas,
            most=scaling.effective_max_replicas,
            cpu_target=target,
            metrics=scaling.metrics,
            behavior=scaling.behavior,
        )
    )
