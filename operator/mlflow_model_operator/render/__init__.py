"""From a resource to Kubernetes objects, by one template per kind. Pure."""

from mlflow_model_operator.render.deployment import revision, revision_objects, scaling_objects
from mlflow_model_operator.render.routing import routing_objects

__all__ = ["revision", "revision_objects", "routing_objects", "scaling_objects"]
