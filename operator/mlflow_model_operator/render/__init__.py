"""From a resource to Kubernetes objects, by one template per kind. Pure."""

from mlflow_model_operator.render.deployment import (
    Scale,
    progress_deadline,
    revision,
    revision_objects,
    revision_service,
    scaling_objects,
)
from mlflow_model_operator.render.metadata import revision_metadata
from mlflow_model_operator.render.network import network_objects
from mlflow_model_operator.render.readback import live_revision
from mlflow_model_operator.render.routing import routing_objects
from mlflow_model_operator.render.shadow import shadow_config, shadow_config_name

__all__ = [
    "Scale",
    "live_revision",
    "network_objects",
    "progress_deadline",
    "revision",
    "revision_metadata",
    "revision_objects",
    "revision_service",
    "routing_objects",
    "scaling_objects",
    "shadow_config",
    "shadow_config_name",
]
