"""From the resource to Kubernetes objects: one template per kind. Pure."""

from mlflow_model_operator.render.public import public_objects
from mlflow_model_operator.render.revision import revision, revision_objects, scaling_objects

__all__ = ["public_objects", "revision", "revision_objects", "scaling_objects"]
