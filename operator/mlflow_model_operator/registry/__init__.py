"""MLflow: what a model URI means now. The only place that talks to tracking servers."""

from mlflow_model_operator.registry.registry import Registry
from mlflow_model_operator.registry.shared import RegistryObserver

__all__ = ["Registry", "RegistryObserver"]
