"""From the resource to Kubernetes objects: one template per kind. Pure."""

from mlflow_model_operator.render.deployment import revision, revision_objects, scaling_objects
from mlflow_model_operator.render.routing import public_objects

__all__ = ["public_objects", "revision", "revision_objects", "scaling_objects"]
