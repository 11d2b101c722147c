"""Who may connect to a model's pods: a NetworkPolicy, where the spec names namespaces."""

from __future__ import annotations

from mlflow_model_operator.api import names
from mlflow_model_operator.api.contract import GRPC_PORT, HTTP_PORT, METRICS_PORT
from mlflow_model_operator.api.resource import MLflowModelDeployment
from mlflow_model_operator.kube.objects import KubeObject
from mlflow_model_operator.render.engine import fill
from mlflow_model_operator.render.metadata import common_labels, object_metadata, with_applied


def network_objects(resource: MLflowModelDeployment) -> list[KubeObject]:
    """The NetworkPolicy of the pods of all revisions, if the callers' namespaces are stated."""
    namespaces = resource.spec.access.callers_namespaces
    if namespaces is None:
        return []
    policy = fill(
        "network_policy",
        metadata=object_metadata(resource, resource.name, common_labels(resource)),
        selector={names.DEPLOYMENT: resource.name},
        namespaces=list(namespaces),
        may_shadow=resource.spec.may_shadow,
        ports=[HTTP_PORT, GRPC_PORT],
        metrics_port=METRICS_PORT,
    )
    return [with_applied(policy)]
